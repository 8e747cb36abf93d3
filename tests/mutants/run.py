"""Plants each bug of `mutants.toml` in a copy of the package, and demands that the tests named there fail.

    python tests/mutants/run.py [words of a name ...]

Prints a line for each mutant, and a sum. Ends with an error when one survives, or cannot be planted.
That the tests pass without mutants, `make test` says.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FAILED = 1
"""What pytest returns when tests failed; anything else above 0 means that they could not even run."""


@dataclass(frozen=True)
class Mutant:
    """One bug: in each of `edits`, a text of a file becomes another one; each of `tests` is what pytest is called with."""

    name: str
    edits: tuple[tuple[str, str, str], ...]
    tests: tuple[str, ...]

    def planted(self) -> dict[str, str]:
        """Return the files that it changes, with the bug in them. Raises `ValueError` unless each place is found exactly once."""
        files: dict[str, str] = {}
        for file, old, new in self.edits:
            text = files.get(file) or original(file)
            if text.count(old) != 1:
                raise ValueError(f"{self.name}: a text is found {text.count(old)} times in {file}")
            files[file] = text.replace(old, new)
        return files


def original(file: str) -> str:
    """Return a module of the package as it is."""
    return (ROOT / "smr_notebook" / file).read_text(encoding="utf-8")


def read_mutants() -> list[Mutant]:
    """Return all mutants."""
    table = tomllib.loads((Path(__file__).parent / "mutants.toml").read_text(encoding="utf-8"))
    return [
        Mutant(
            found["name"],
            tuple((edit["file"], edit["old"], edit["new"]) for edit in (found, *found.get("also", ()))),
            tuple(found["tests"]),
        )
        for found in table["mutant"]
    ]


class Laboratory:
    """A copy of the package in a temporary folder, in which tests run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ticks = int(time.time())
        shutil.copytree(ROOT / "smr_notebook", folder / "smr_notebook")

    def write(self, file: str, text: str) -> None:
        """Write a module, with a time of its own, so that what was compiled before is compiled again."""
        path = self._folder / "smr_notebook" / file
        path.write_text(text, encoding="utf-8")
        self._ticks += 2
        os.utime(path, (self._ticks, self._ticks))

    def status(self, tests: str) -> int:
        """Return what pytest says to some tests: 0 when they pass."""
        path, *options = shlex.split(tests)
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-c", str(ROOT / "setup.cfg"), "--timeout", "120"]
        env = {**os.environ, "PYTHONPATH": str(self._folder), "CI": "1", "SMR_TEST_STORIES": "80"}
        found = subprocess.run(
            [*command, str(ROOT / path), *options], cwd=self._folder, env=env, capture_output=True, text=True, check=False
        )
        return found.returncode

    def kills(self, mutant: Mutant) -> str:
        """Return which of its tests fail with a mutant; an empty string when it survives. Raises `ValueError`."""
        planted = mutant.planted()
        for file, text in planted.items():
            self.write(file, text)
        try:
            for tests in mutant.tests:
                status = self.status(tests)
                if status == FAILED:
                    return tests
                if status:
                    raise ValueError(f"{mutant.name}: {tests} cannot run (pytest ends with {status})")
            return ""
        finally:
            for file in planted:
                self.write(file, original(file))


def main(words: list[str]) -> int:
    """Try the mutants whose name holds all the words, and return 0 when each is caught."""
    mutants = [mutant for mutant in read_mutants() if all(word in mutant.name for word in words)]
    began, survivors = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="smr-mutants-") as folder:
        laboratory = Laboratory(Path(folder))
        for mutant in mutants:
            try:
                told = laboratory.kills(mutant)
            except ValueError as error:
                told, survivors = "", survivors + 1
                print(f"BROKEN   {error}", flush=True)
                continue
            survivors += not told
            print(f"caught   {mutant.name}: {told}" if told else f"SURVIVES {mutant.name}", flush=True)
    print(f"{len(mutants)} mutants, {len(mutants) - survivors} caught, {survivors} not, in {time.monotonic() - began:.0f} seconds")
    return int(survivors > 0 or not mutants)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
