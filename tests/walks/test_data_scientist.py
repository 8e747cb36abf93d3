"""A data scientist's first hour: a folder of logs, an empty home, the cells of README.md, and the slips that people make.

Kernels and the service behind them are real processes; kernels are killed and started anew, and everything lies where it lies for a person,
below the home. What is right is counted by a bare loop.
"""

from __future__ import annotations

import ast
import gzip
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import start_new_kernel

import smr_notebook

README = Path(__file__).parents[2] / "README.md"
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
BROKEN = "yield line.split()[8], int(line.split()[9])"  # where nothing was sent, the size is a dash
MENDED = "yield line.split()[8], int(line.split()[9].replace('-', '0'))"
WAITING = (
    "import os, threading\ndef map(line):\n    while not os.path.exists({gate!r}):\n        threading.Event().wait(0.01)\n"
    "    yield line.split()[8], 1\nreduce = sum\n"
)
TWO = "def map(line):\n    yield line.split()[8], 1\nreduce = sum\n"

pytestmark = [
    pytest.mark.filterwarnings("default::DeprecationWarning"),  # of jupyter_client and zmq
    pytest.mark.filterwarnings("default::ResourceWarning"),
]


@dataclass
class Ran:
    """What a person sees of a cell: whether it went well, the error, and all text that was printed or shown."""

    status: str = ""
    error: str = ""
    told: str = ""
    values: list[str] = field(default_factory=list)

    def take(self, message: dict[str, Any]) -> None:
        content = message["content"]
        match message["msg_type"]:
            case "stream":
                self.told += content["text"]
            case "error":
                self.told += COLOURS.sub("", "\n".join(content["traceback"]))
            case "display_data" | "update_display_data":
                self.told += content["data"].get("text/plain", "") + "\n"
            case "execute_result":
                self.values.append(content["data"]["text/plain"])


class Person:
    """Somebody at a notebook: a home, a folder with data, a kernel."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "work"
        self.folder.mkdir(parents=True)
        quiet = {name: value for name, value in os.environ.items() if not name.startswith(("SMR_", "XDG_"))}
        self.environment = quiet | {"HOME": str(home), "PYTHONPATH": str(Path(smr_notebook.__file__).parents[1])}
        self.manager, self.client = start_new_kernel(kernel_name="python3", env=self.environment, cwd=str(self.folder))

    def run(self, cell: str) -> Ran:
        ran = Ran()
        reply = self.client.execute_interactive(cell, allow_stdin=True, output_hook=ran.take, timeout=60)["content"]
        ran.status, ran.error = reply["status"], reply.get("ename", "")
        return ran

    def told(self, cell: str, error: str) -> str:
        """Return what is told by a cell that ends with an error."""
        ran = self.run(cell)
        assert (ran.status, ran.error) == ("error", error), ran.told
        return ran.told

    def totals(self, frame: str) -> dict[str, int]:
        """Return a DataFrame of the notebook as a dict."""
        (value,) = self.run(f"dict(zip({frame}.key.tolist(), {frame}.value.tolist()))").values
        found: dict[str, int] = ast.literal_eval(value)
        return found

    def kill_the_kernel(self) -> None:
        self.manager.restart_kernel(now=True)
        self.client.wait_for_ready(timeout=60)

    def leave(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        closing = "import smr_notebook; smr_notebook.Session().close()"
        subprocess.run([sys.executable, "-c", closing], env=self.environment, cwd=self.folder, check=True)


def cells() -> list[str]:
    """Return the blocks of README.md that are cells of a notebook, in their order."""
    blocks = re.findall(r"^```\w*\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    return [block for block in blocks if block.startswith("%")]


CELL = next(cell for cell in cells() if cell.startswith("%%smr access.log --into codes"))


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory, access_log: Path) -> Iterator[Person]:
    someone = Person(tmp_path_factory.mktemp("home"))
    lines = access_log.read_bytes().splitlines(keepends=True)
    (someone.folder / "access.log").write_bytes(b"".join(lines))
    (someone.folder / "logs").mkdir()
    for number in range(4):
        (someone.folder / "logs" / f"{number}.log.gz").write_bytes(gzip.compress(b"".join(lines[number::4])))
    (someone.folder / "status_codes.py").write_text("def status(line):\n    return line.split()[8]\n")
    yield someone
    someone.leave()


@pytest.fixture(scope="module")
def codes(access_log: Path) -> dict[str, int]:
    """How often each status code is there, in the order of the codes."""
    return dict(sorted(Counter(line.split()[8] for line in access_log.read_text().splitlines()).items()))


@pytest.fixture(scope="module")
def ready(person: Person) -> Person:
    """Whoever has loaded the magics."""
    assert "`%%smr` not found" in person.told(CELL, "UsageError")  # IPython's own words, where the line of README.md was passed over
    assert "`%load_ext smr_notebook`" in README.read_text() or "%load_ext smr_notebook\n" in cells()
    ran = person.run("%load_ext smr_notebook")
    assert (ran.status, ran.told) == ("ok", "")
    return person


def test_the_cell_of_the_readme_counts_the_status_codes(ready: Person, codes: dict[str, int]) -> None:
    ran = ready.run(CELL)
    assert ran.status == "ok"
    assert "codes: 8 rows × 2 columns (key, value)" in ran.told
    assert ready.totals("codes") == codes


def test_an_error_is_the_line_of_the_cell_and_the_record_and_can_be_mended(ready: Person, access_log: Path) -> None:
    told = ready.told(CELL.replace("yield line.split()[8], 1", BROKEN), "TaskError")
    assert re.search(r"^ValueError in map task \d+ \(\d attempts?\): invalid literal", told, re.MULTILINE)
    assert re.search(r"^Cell In\[\d+\], line 3, in map$", told, re.MULTILINE)
    assert f"---->   3     {BROKEN}" in told
    record = re.search(r"^record: '(.+?)…? +\(.*access\.log, byte ([\d,]+), record [\d,]+ of split \d+\)$", told, re.MULTILINE)
    assert record is not None
    assert access_log.read_bytes()[int(record[2].replace(",", "")) :].startswith(record[1][:40].encode())
    again = ready.told("%smr debug", "ValueError")
    assert f"----> 3     {BROKEN}" in again
    assert "invalid literal for int() with base 10: '-'" in again
    assert ready.run(CELL.replace("yield line.split()[8], 1", MENDED)).status == "ok"
    sizes: Counter[str] = Counter()
    for line in access_log.read_text().splitlines():
        sizes[line.split()[8]] += int(line.split()[9].replace("-", "0"))
    assert ready.totals("codes") == sizes


def test_a_detached_job_outlives_its_kernel_and_is_found_in_a_new_one(ready: Person, codes: dict[str, int]) -> None:
    gate = ready.folder / "detached"
    assert ready.run("%%smr logs/*.gz --detach --name counting\n" + WAITING.format(gate=str(gate))).status == "ok"
    ready.kill_the_kernel()
    assert "`%smr` not found" in ready.told("%smr attach counting --into codes", "UsageError")
    ready.run("%load_ext smr_notebook")
    assert "'counting'" in ready.run("%smr status").values[0]
    gate.touch()
    assert ready.run("%smr attach counting --into codes").status == "ok"
    assert ready.totals("codes") == codes


def test_what_was_cancelled_goes_on_where_it_was(ready: Person, codes: dict[str, int]) -> None:
    gate = ready.folder / "resumed"
    ready.run("%%smr logs --detach --name by_mistake\n" + WAITING.format(gate=str(gate)))
    ready.run("%smr cancel by_mistake")
    told = ready.told("%smr attach by_mistake --into codes", "JobCancelled")
    assert "what is done stands: %smr resume " in told
    gate.touch()
    assert ready.run("%smr resume by_mistake --into codes").status == "ok"
    assert ready.totals("codes") == codes


def test_functions_variables_and_modules_of_the_notebook_travel(ready: Person, codes: dict[str, int]) -> None:
    ready.run("import status_codes\nnames = {'200': 'fine'}")
    cell = (
        "%%smr logs/ --into named\nimport re\ndef map(line):\n    code = status_codes.status(line)\n    yield names.get(code, 'other'), 1\n"
    )
    assert ready.run(cell + "def reduce(counts):\n    return sum(counts)\n").status == "ok"
    assert ready.totals("named") == {"fine": codes["200"], "other": sum(codes.values()) - codes["200"]}


@pytest.mark.parametrize(
    ("cell", "error", "told"),
    [
        (f"%%smr acces.log\n{TWO}", "InputMissingError", r"Nothing found under 'acces.log' \(in .*work\).* Did you mean 'access.log'\?"),
        (f"%%smr logs/*.txt\n{TWO}", "InputMissingError", r"Nothing found under 'logs/\*\.txt' \(in .*work\)"),
        (f"%%smr lgos\n{TWO}", "ConfigError", r"neither a variable of this notebook nor a file or folder here. Did you mean 'logs'\?"),
        (f"%%smr access.log --inot codes\n{TWO}", "ConfigError", r"no option '--inot'\. Did you mean '--into'\?"),
        (f"%%smr access.log into codes\n{TWO}", "ConfigError", r"'into' is neither .* Did you mean '--into'\?"),
        (f"%%smr access.log --detach --into codes\n{TWO}", "ConfigError", r"%smr attach --into codes` has its result later"),
        ("%%smr access.log --reduce summ\ndef map(line):\n    yield line, 1\n", "ConfigError", r"Did you mean 'sum'\?"),
        ("%%smr\ndef map(line):\n    yield line, 1\n", "ConfigError", r"no input\. Name a path"),
        ("%smr access.log", "ConfigError", r"a cell that begins with `%%smr access\.log`"),
        ("%smr lsit", "ConfigError", r"no subcommand 'lsit'\. Known: run, preview, jobs"),
    ],
    ids=["path", "glob", "folder", "option", "no dashes", "detach and into", "function", "no input", "no subcommand", "no such word"],
)
def test_a_mistyped_line_is_told_with_what_was_meant(ready: Person, cell: str, error: str, told: str) -> None:
    assert re.search(told, ready.told(cell, error))


@pytest.mark.parametrize(
    ("body", "error", "told"),
    [
        ("def map(line):\n    return line.split()[8], 1\n", "PairShapeError", "Write `yield key, value`, or return a list of such pairs"),
        ("def map(line):\n    import absent\n", "TaskError", "Import a module of your own above the function: then it travels along"),
        ("def map(line):\n    yield 1, 1\ndef reduce(key, values):\n    return len(values)\n", "TaskError", "`values = list(values)`"),
        (
            "def map(line):\n    yield 1, 1\ndef reduce(key, values):\n    yield 1\n",
            "PairShapeError",
            "or return the one value of the group",
        ),
    ],
    ids=["return", "import inside", "len", "yield one"],
)
def test_a_mistake_in_a_function_is_told_with_its_mend(ready: Person, body: str, error: str, told: str) -> None:
    assert told in ready.told(f"%%smr access.log --retries 0\n{body}", error)


def test_a_forgotten_yield_is_a_warning(ready: Person) -> None:
    ran = ready.run("%%smr access.log --into empty\ndef map(line):\n    line.split()[8], 1\n")
    assert ran.status == "ok"
    assert "map gives no pair: it has no `yield`" in ran.told


def test_help_is_where_people_look_for_it(ready: Person) -> None:
    for line in ("%smr", "%smr help", "%smr --help", "%%smr --help"):
        (shown,) = ready.run(line).values
        assert shown.startswith("usage:")
