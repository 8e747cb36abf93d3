"""The benchmark itself, at a size where nothing is measured: the table has its lines, and a wrong answer ends it."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SMALL = ["--scale", "0.0005", "--rounds", "1", "--workers", "2"]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the benchmark with its data, logs and results in a folder."""
    command = [sys.executable, str(BENCHMARKS / "run.py"), "--folder", str(folder), *SMALL, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def run_beside_the_floor(module: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the benchmark with the floor and a contestant that is the text of a module."""
    (folder / "other.py").write_text(textwrap.dedent(module))
    start = f"""
        import sys
        from pathlib import Path
        sys.path.insert(0, {str(BENCHMARKS)!r})
        from race import Contestant
        from run import OURS, main
        sys.exit(main(sys.argv[1:], (OURS[0], Contestant("other", "other", folder=Path({str(folder)!r})))))
    """
    command = [sys.executable, "-c", textwrap.dedent(start), "--folder", str(folder), *SMALL, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def results(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the cells that a run has kept, by workload and contestant."""
    (path,) = (folder / "results").iterdir()
    return {(cell["workload"], cell["contestant"]): cell for cell in json.loads(path.read_text())}


def test_floor_and_product_answer_alike_and_each_has_its_line(tmp_path: Path) -> None:
    done = run(tmp_path, "--workloads", "W1,W2,W3,W4", "--contestants", "product")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [[text.strip() for text in line.split("|")[1:-1]] for line in done.stdout.splitlines() if line.startswith("| W")]
    cells = results(tmp_path)
    assert [(line[0], line[1]) for line in lines] == list(cells)
    for workload in ("W1", "W2", "W3", "W4"):
        assert len(cells[workload, "floor"]["runs"]) == 1
        assert len(cells[workload, "product"]["runs"]) == 1 or cells[workload, "product"]["note"].startswith("no ")
    assert all(line[3] == "1.00" for line in lines if line[1] == "floor")


def test_a_wrong_answer_ends_the_benchmark_and_has_no_time(tmp_path: Path) -> None:
    liar = """
        import floor
        from floor import opened

        def one_short(pool, setup):
            answer = floor.shuffled_count(pool, setup)
            return lambda: list(answer())[1:]

        CELLS = {"W1": floor.word_count, "W2": one_short}
    """
    path = f"import sys; sys.path.append({str(BENCHMARKS / 'contestants')!r})\n"
    done = run_beside_the_floor(path + textwrap.dedent(liar), tmp_path, "--workloads", "W1,W2")
    assert done.returncode != 0
    assert "W2: the answer of other is" in done.stderr
    assert ("W2", "other") not in results(tmp_path)
    assert len(results(tmp_path)["W1", "other"]["runs"]) == 1


def test_a_contestant_that_fails_is_told_in_its_line(tmp_path: Path) -> None:
    failing = """
        from contextlib import nullcontext

        def fail(executor, setup):
            raise ValueError("out of luck")

        opened = nullcontext
        CELLS = {"W1": fail}
    """
    done = run_beside_the_floor(failing, tmp_path, "--workloads", "W1")
    assert done.returncode == 1
    assert "failed: ValueError: out of luck" in done.stdout


def test_what_a_daemon_works_counts_for_the_contestant_that_left_it_behind(tmp_path: Path) -> None:
    daemon = """
        import os, time
        from contextlib import nullcontext

        def work(executor, setup):
            ends, end = os.pipe()
            if os.fork() == 0:
                if os.fork() == 0:
                    os.setsid()
                    while time.process_time() < 0.5:
                        pass
                    os.write(end, b"done")
                os._exit(0)
            os.wait()
            os.read(ends, 4)
            return lambda: [("the", 2), ("quick", 1), ("brown", 1), ("fox", 1), ("end", 1)]

        opened = nullcontext
        CELLS = {"W5 first": work}
    """
    done = run_beside_the_floor(daemon, tmp_path, "--workloads", "W5 first")
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(taken["cpu"] >= 0.45 for taken in results(tmp_path)["W5 first", "other"]["runs"])


def test_a_name_that_is_not_known_is_told_with_those_that_are(tmp_path: Path) -> None:
    done = run(tmp_path, "--workloads", "W99")
    assert done.returncode != 0
    assert "There is no W99. There are: W1; W2;" in done.stderr


@pytest.mark.parametrize("name", ["pandas", "numpy", "pyarrow"])
def test_peers_and_product_stand_on_the_same_versions(name: str) -> None:
    pins = (BENCHMARKS.parent / "constraints.txt").read_text().splitlines()
    ours = {line for line in pins if line.startswith(f"{name}==")}
    texts = [path.read_text() for path in (BENCHMARKS / "peers").glob("*.txt")]
    assert {line for text in texts for line in text.splitlines() if line.startswith(f"{name}==")} <= ours
