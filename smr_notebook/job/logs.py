"""The logs of a job as a notebook looks at them: lines, in the order in which they were written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from smr_notebook.control.ledger import Ledger
from smr_notebook.control.logs import FoundPiece, read_pieces
from smr_notebook.errors import ConfigError
from smr_notebook.model import AttemptId, AttemptState, FailureKind, Phase
from smr_notebook.ports import Backend

if TYPE_CHECKING:
    import pandas as pd

SHOWN_LINES: Final = 1_000
"""Lines that the value of a cell shows at most: the last ones."""

_COLUMNS: Final = ("time", "phase", "task", "attempt", "stream", "text", "mark")


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line that a user's function wrote.

    Attributes:
        time: When it was read from the worker, in seconds since 1970: some seconds after it was written, at most.
        phase: `map` or `reduce`.
        task: Number of the task.
        attempt: Number of the attempt.
        stream: `stdout` or `stderr`; or `cut` for a line that says how much was left out.
        text: The line, without its end.
        mark: `failed`, `lost` or `stopped` if the attempt came to nothing; empty if it counts, or may.
    """

    time: float
    phase: str
    task: int
    attempt: int
    stream: str
    text: str
    mark: str = ""

    def __str__(self) -> str:
        clock = datetime.fromtimestamp(self.time, UTC).strftime("%H:%M:%S")
        tries = [f"attempt {self.attempt}"] if self.attempt > 1 else []
        told = ", ".join([*tries, *([self.mark] if self.mark else [])])
        return f"{clock}  {self.phase} {self.task}{f' ({told})' if told else ''}  {self.stream}  {self.text.rpartition(chr(13))[2]}"


class JobLogs:
    """The logs of a job: iterating gives each `LogLine`, and as the value of a cell it reads as a log.

    Args:
        backend: Where they are.
        job: Identifier of the job.
        looks: Gives something each time that there may be more to see; it ends with the job.
        phase: `map` or `reduce`; both if not given.
        task: Only of the tasks with this number.

    Raises:
        ConfigError: There is no such phase.
    """

    def __init__(
        self, backend: Backend, job: str, *, looks: Callable[[], Iterable[object]] | None, phase: str | None, task: int | None
    ) -> None:
        if phase is not None and phase not in list(Phase):
            raise ConfigError(f"phase={phase!r}: a job has the phases {', '.join(Phase)}.")
        self._backend = backend
        self._job = job
        self._looks = looks
        self._phase = None if phase is None else Phase(phase)
        self._task = task

    def __iter__(self) -> Iterator[LogLine]:
        """Yield the lines that there are; when it follows, those to come as well, until the job ends.

        Raises:
            CorruptObjectError: A piece of the log is not what was written.
            StoreError: The store cannot be read.
        """
        return self._there() if self._looks is None else self._coming(self._looks())

    def to_frame(self) -> pd.DataFrame:
        """Return the lines that there are as a DataFrame; `time` is in UTC."""
        import pandas as pd  # noqa: PLC0415 - workers import this module, and must not import pandas

        lines = [(line.time, line.phase, line.task, line.attempt, line.stream, line.text, line.mark) for line in self._there()]
        frame = pd.DataFrame(lines, columns=list(_COLUMNS))
        return frame.assign(time=pd.to_datetime(frame["time"], unit="s", utc=True))

    def __repr__(self) -> str:
        lines = list(self._there())
        if not lines:
            return f"nothing was written to standard output or error by the functions of {self._job} so far"
        left_out = len(lines) - SHOWN_LINES
        head = [f"… {left_out:,} lines before these: iterate, or to_frame()"] if left_out > 0 else []
        return "\n".join([*head, *map(str, lines[-SHOWN_LINES:])])

    def _there(self) -> Iterator[LogLine]:
        found = self._found(set())
        marks = _marks(self._backend, self._job) if found else {}
        for piece in found:
            yield from _lines(piece, marks.get(piece.attempt, ""))

    def _coming(self, looks: Iterable[object]) -> Iterator[LogLine]:
        known: set[str] = set()
        for _ in looks:
            for piece in self._found(known):
                yield from _lines(piece, "")

    def _found(self, known: set[str]) -> list[FoundPiece]:
        found = read_pieces(self._backend, self._job, known=known, phase=self._phase, task=self._task)
        return sorted(found, key=lambda piece: (piece.piece.time, piece.attempt, piece.number))


def _lines(found: FoundPiece, mark: str) -> Iterator[LogLine]:
    piece, task = found.piece, found.attempt.task
    for stream, text in piece.texts:
        for line in text.removesuffix("\n").split("\n"):
            yield LogLine(piece.time, task.phase.value, task.number, found.attempt.number, stream, line, mark)
    if piece.dropped:
        cut = f"{piece.dropped:,} more bytes were written and not kept"
        yield LogLine(piece.time, task.phase.value, task.number, found.attempt.number, "cut", cut, mark)


def _marks(backend: Backend, job: str) -> dict[AttemptId, str]:
    """Return what is to be said of attempts that came to nothing."""
    snapshot = Ledger(backend.table, job).snapshot()
    counted = {commit.id for commit in snapshot.commits.values()}
    marks = {}
    for attempt in (attempt for of_task in snapshot.attempts.values() for attempt in of_task):
        lost = attempt.failure is not None and attempt.failure.kind is FailureKind.LOST
        if attempt.id not in counted and attempt.state in {AttemptState.FAILED, AttemptState.STOPPED}:
            marks[attempt.id] = "lost" if lost else attempt.state.value
    return marks
