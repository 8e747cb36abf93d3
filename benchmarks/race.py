"""One workload after the other, the contestants in turn: start, one run that does not count, then the runs that do.

Rules of this module:

* Everybody's answer must be that of the floor, which runs first; each answer is checked before its time counts, and a wrong one
  ends the whole benchmark (`WrongAnswer`).
* The contestants of a workload are up together and run in turn, never at once, so that what disturbs the machine meets all alike. A ratio
  is the median of the ratios to the floor's run of the same round.
* A contestant whose first run took longer than the patience is not run again: that run is what counts.
* A cell that cannot be filled says why.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cells import NO_CELL, Setup
from data import prepare
from gauge import Sampler, cpu_seconds, memory_bytes, tree

HERE = Path(__file__).parent
FLOOR = "floor"
SETTLE_SECONDS = 0.05
QUIT_SECONDS = 20.0
SILENCE_SECONDS = 3_600.0
NOTE_LENGTH = 80


class WrongAnswer(SystemExit):
    """A contestant's answer is not the floor's."""


class Broken(Exception):  # noqa: N818 - an outcome of one cell, told in the table
    """A contestant cannot go on."""


@dataclass(frozen=True)
class Contestant:
    """Somebody who runs: `module` lies in `folder`, and what it needs in the environment that `peers/venv.txt` describes, or in ours."""

    name: str
    module: str
    venv: str = ""
    folder: Path = HERE / "contestants"

    def python(self, environments: Path) -> Path:
        """Return the interpreter; it need not be there."""
        return environments / self.venv / "bin" / "python" if self.venv else Path(sys.executable)


@dataclass(frozen=True)
class Workload:
    """A row of the table.

    Attributes:
        name: As the contestants' `CELLS` call it.
        says: What is done, in a few words.
        dataset: Its input; none in W5.
        count: Number of tasks, in W5.
        cold: The start of the executor is part of it: each run has a process of its own.
        ordered: The order of the answer's rows is part of the answer.
        times: How many runs count for one of others: short ones are many.
        once: The first run counts, and is the only one.
        budget: Bytes of data that a worker may hold, if that is part of the workload.
    """

    name: str
    says: str
    dataset: str = ""
    count: int = 0
    cold: bool = False
    ordered: bool = False
    times: int = 1
    once: bool = False
    budget: int = 0


@dataclass(frozen=True)
class Run:
    """What one run took: seconds, processor seconds, and bytes of all its processes before it and at their peak, and of the largest."""

    wall: float
    cpu: float
    idle: int
    memory: int
    largest: int


@dataclass
class Cell:
    """The runs of one contestant in one workload, by round; or why there are none."""

    workload: str
    contestant: str
    runs: list[Run] = field(default_factory=list)
    idle: int = 0
    peak: int = 0
    largest: int = 0
    note: str = ""


@dataclass(frozen=True)
class Course:
    """Where and how the race is run.

    Attributes:
        folder: Holds data, scratch and logs.
        scale: Part of the full size of each input.
        rounds: Runs that count.
        workers: Processes that each contestant may use.
        patience: Seconds; a first run that takes longer is the only one.
    """

    folder: Path
    scale: float
    rounds: int
    workers: int
    patience: float

    @property
    def environments(self) -> Path:
        """Where the environments of the peers are."""
        return self.folder / "peers"


class Host:
    """The process of a contestant, and the talk with it."""

    def __init__(self, contestant: Contestant, workload: Workload, course: Course, paths: list[str]) -> None:
        scratch = course.folder / "scratch" / contestant.module / "run"
        setup = Setup(paths, workload.count, str(scratch), course.workers, workload.budget)
        self._log = course.folder / "logs" / f"{contestant.module}.log"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as errors:
            self._process = subprocess.Popen(
                [str(contestant.python(course.environments)), str(HERE / "host.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=_environment(contestant, course),
                start_new_session=True,
            )
        self.pid = self._process.pid
        told = {"module": contestant.module, "workload": workload.name, "cold": workload.cold, "ordered": workload.ordered}
        self._ask({**told, "setup": asdict(setup)})

    def run(self) -> Run:
        """Have the work done once, and return what it took."""
        idle, before = memory_bytes(self.pid)[0], cpu_seconds(self.pid)
        with Sampler(self.pid) as sampler:
            wall = self._ask({"do": "run"})["wall"]
        time.sleep(SETTLE_SECONDS)  # what ends with the run has ended
        return Run(wall, cpu_seconds(self.pid) - before, idle, sampler.peak, sampler.largest)

    def digest(self) -> str:
        """Return the hash of the last run's answer."""
        return str(self._ask({"do": "answer"})["digest"])

    def quit(self) -> None:
        """End the contestant, and all of its processes if it does not."""
        with contextlib.suppress(Broken, OSError):
            self._tell({"do": "quit"})
        try:
            self._process.wait(QUIT_SECONDS)
        except subprocess.TimeoutExpired:
            for pid in tree(self.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()

    def _tell(self, message: dict[str, Any]) -> None:
        stdin = self._process.stdin
        if stdin is None:
            raise Broken("no stdin")
        stdin.write(json.dumps(message).encode() + b"\n")
        stdin.flush()

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        with contextlib.suppress(BrokenPipeError):  # the end of its stdout says more
            self._tell(message)
        stdout = self._process.stdout
        if stdout is None or not select.select([stdout], [], [], SILENCE_SECONDS)[0]:
            raise Broken(f"failed: no answer in {SILENCE_SECONDS / 60:.0f} minutes")
        line = stdout.readline()
        reply: dict[str, Any] = json.loads(line) if line else {"error": f"its process ended with {self._process.wait()}"}
        if "absent" in reply:
            self._process.wait()
            raise Broken(reply["absent"])
        if "error" in reply:
            raise Broken(f"failed: {' '.join(reply['error'].split())[:NOTE_LENGTH]} (logs/{self._log.name})")
        return reply


def _environment(contestant: Contestant, course: Course) -> dict[str, str]:
    """Return the variables of a contestant's process: our modules are found, and a peer's environment is its own."""
    places, programs = [str(HERE), str(contestant.folder)], str(contestant.python(course.environments).parent)
    if not contestant.venv:
        places += filter(None, [os.environ.get("PYTHONPATH")])
    path = os.pathsep.join([programs, os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(places), "PATH": path}


class Race:
    """One workload: its contestants, the floor first, their hosts, and their cells."""

    def __init__(self, workload: Workload, contestants: list[Contestant], course: Course) -> None:
        self._workload, self._course = workload, course
        self._contestants = {contestant.name: contestant for contestant in contestants}
        self._paths = prepare(workload.dataset, scale=course.scale, folder=course.folder / "data") if workload.dataset else []
        self._hosts: dict[str, Host] = {}
        self._right = ""
        self.cells = {name: Cell(workload.name, name) for name in self._contestants}

    def run(self) -> list[Cell]:
        """Run the rounds, and return the cells of those who take part in this workload.

        Raises:
            WrongAnswer: An answer is not the floor's.
        """
        try:
            for name in self.cells:
                self._turn(name, counts=self._workload.once)
            for _ in range(0 if self._workload.once else self._course.rounds * self._workload.times):
                for name, cell in self.cells.items():
                    if not cell.note:
                        self._turn(name, counts=True)
        finally:
            for name in list(self._hosts):
                self._hosts.pop(name).quit()
        return [cell for cell in self.cells.values() if cell.note != NO_CELL]

    def _turn(self, name: str, *, counts: bool) -> None:
        cell = self.cells[name]
        try:
            if name not in self._hosts:
                self._hosts[name] = Host(self._contestants[name], self._workload, self._course, self._paths)
            run = self._hosts[name].run()
            self._check(name, self._hosts[name].digest())
        except Broken as broken:
            cell.note = str(broken)
        else:
            cell.idle = run.idle
            cell.peak, cell.largest = max(cell.peak, run.memory), max(cell.largest, run.largest)
            slow = run.wall > self._course.patience
            if counts or slow:
                cell.runs.append(run)
            if slow or self._workload.once:
                cell.note = "one run"
        if (cell.note or self._workload.cold) and name in self._hosts:
            self._hosts.pop(name).quit()

    def _check(self, name: str, answer: str) -> None:
        if name == FLOOR:
            self._right = self._right or answer
        if answer != self._right:
            raise WrongAnswer(
                f"{self._workload.name}: the answer of {name} is {answer}, that of the floor is {self._right or 'not known'}."
            )
