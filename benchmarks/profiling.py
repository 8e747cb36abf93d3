"""Where the time of one workload goes, by py-spy: `make bench-profile W=W1`, or `python benchmarks/profiling.py W1 --scale 0.2`.

Samples all processes of a contestant while it runs, those that wait left out. Two lists are printed: the lines that were being
executed (a call into C counts for the line that makes it), and the functions of this package and of the contestant that were on the stack.
The stacks stay in `build/bench/profiles`, for flame graphs.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import sysconfig
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from data import prepare
from race import HERE, Contestant, Course, Host
from run import FOLDER, OURS, WORKLOADS

RATE = 200
OURS_IN = ("smr_notebook/dataflow/", "smr_notebook/control/", "smr_notebook/backends/", "smr_notebook/job", "benchmarks/contestants/")
TRUNK = ("backends/local/service.py", "backends/local/process.py")
"""What all of a worker's stacks have in common."""

WAITING = ("wait ", "select ", "sleep ", "poll ", "recv ", "_read_exactly ", "acquire ")
"""Functions that wait in the kernel, though py-spy may take them for busy."""

PLACES = (str(HERE.parent) + "/", sysconfig.get_path("purelib") + "/", sysconfig.get_path("stdlib") + "/")


@dataclass(frozen=True)
class Stack:
    """The frames of one sample, outermost first, as `function (file:line)`, and how often it was seen."""

    frames: tuple[str, ...]
    count: int


def read_stacks(text: str) -> list[Stack]:
    """Return the samples of py-spy's raw format that are at work, without the frames that name a process or a thread."""
    stacks = []
    for place in PLACES:
        text = text.replace(f"({place}", "(")
    for line in text.splitlines():
        path, _, count = line.rpartition(" ")
        frames = tuple(frame for frame in path.split(";") if not frame.startswith(("process ", "thread ")))
        stacks.append(Stack(frames, int(count)))
    return [stack for stack in stacks if stack.frames and not stack.frames[-1].rpartition(".")[0].rpartition("(")[0].endswith(WAITING)]


def by_line(stacks: list[Stack]) -> Counter[str]:
    """Count the samples of each line that was being executed."""
    found: Counter[str] = Counter()
    for stack in stacks:
        found[stack.frames[-1]] += stack.count
    return found


def by_function(stacks: list[Stack]) -> Counter[str]:
    """Count the samples below each function of ours, those of its callees included."""
    found: Counter[str] = Counter()
    for stack in stacks:
        ours = {frame.rpartition(":")[0] + ")" for frame in stack.frames if any(place in frame for place in OURS_IN)}
        for function in {function for function in ours if not function.endswith(tuple(f"{place})" for place in TRUNK))}:
            found[function] += stack.count
    return found


def shown(title: str, counts: Counter[str], *, whole: int, most: int) -> str:
    """Return the largest counts as parts of the whole."""
    rows = [f"{count / whole:7.1%}  {name}" for name, count in counts.most_common(most)]
    return "\n".join([title, *rows])


def record(contestant: Contestant, course: Course, *, name: str) -> Path:
    """Run a workload under py-spy, after a run without, and return the file of its stacks."""
    workload = next(workload for workload in WORKLOADS if workload.name == name)
    paths = prepare(workload.dataset, scale=course.scale, folder=course.folder / "data") if workload.dataset else []
    target = course.folder / "profiles" / f"{contestant.module}-{name.replace(' ', '-')}.txt"
    target.parent.mkdir(parents=True, exist_ok=True)
    host = Host(contestant, workload, course, paths)
    try:
        host.run()
        program = str(course.environments / "py-spy" / "bin" / "py-spy")
        told = [
            "--pid",
            str(host.pid),
            "--subprocesses",
            "--format",
            "raw",
            "--rate",
            str(RATE),
            "--output",
            str(target),
            "--full-filenames",
        ]
        with subprocess.Popen([program, "record", *told], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as spy:
            runs = [host.run() for _ in range(course.rounds)]
            spy.send_signal(signal.SIGINT)
            errors = (spy.communicate()[1] or b"").decode()
        if not target.exists():
            raise SystemExit(f"py-spy left no samples:\n{errors}")
    finally:
        host.quit()
    for run in runs:
        print(f"{contestant.name} {name}: {run.wall:.2f} s, processor time {run.cpu:.2f} s, peak memory {run.memory / 1e6:,.0f} MB")
    return target


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks/profiling.py", description=(__doc__ or "").split(":")[0])
    parser.add_argument("workload", choices=[workload.name for workload in WORKLOADS if not workload.cold])
    parser.add_argument("--contestant", default="product", choices=[contestant.name for contestant in OURS])
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="one if not said: what waits for a processor is no answer")
    parser.add_argument("--lines", type=int, default=25, help="length of the lists")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    told = parser.parse_args(arguments)
    course = Course(told.folder.absolute(), told.scale, told.rounds, told.workers, patience=0)
    contestant = next(contestant for contestant in OURS if contestant.name == told.contestant)
    stacks = read_stacks(record(contestant, course, name=told.workload).read_text())
    whole = sum(stack.count for stack in stacks)
    print(f"{whole} samples, {RATE} a second from each thread at work\n")
    print(shown("being executed", by_line(stacks), whole=whole, most=told.lines) + "\n")
    print(shown("on the stack, of ours", by_function(stacks), whole=whole, most=told.lines))


if __name__ == "__main__":
    main(sys.argv[1:])
