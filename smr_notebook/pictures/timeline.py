"""The timeline of a job: when each attempt was launched, when it ran, and what became of it."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from smr_notebook.pictures.packing import at_once
from smr_notebook.pictures.picture import Picture
from smr_notebook.pictures.timed_attempts import Fate, TimedAttempt
from smr_notebook.pictures.timeline_drawing import draw, inches, plot_into
from smr_notebook.pictures.timeline_lines import lines_of
from smr_notebook.showing.amounts import counted, span

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS: Final = (
    "phase",
    "task",
    "attempt",
    "state",
    "launched",
    "started",
    "ended",
    "waited_seconds",
    "ran_seconds",
    "speculative",
    "straggler",
    "error",
    "worker",
)


@dataclass(frozen=True, slots=True, repr=False)
class Timeline(Picture):
    """When the attempts of a job ran, as far as rows of the table tell. As the value of a cell it is a picture.

    Attributes:
        job: Identifier of the job.
        state: How the job stood.
        submitted: When it was submitted, in seconds since 1970.
        until: When it ended; while it runs, the time of the look.
        attempts: Its attempts, by phase, task and number.
        taken_over: How many tasks another job had done before.
    """

    what: ClassVar[str] = "timeline"
    job: str
    state: str
    submitted: float
    until: float
    attempts: tuple[TimedAttempt, ...]
    taken_over: int = 0

    @property
    def seconds(self) -> float:
        """How long the job took, or has taken so far."""
        return max(0.0, self.until - self.submitted)

    def at_once(self) -> list[tuple[float, int]]:
        """Return how many attempts ran at one time, as steps: a time in seconds since 1970, and how many ran from then on."""
        return at_once((attempt.begin(), attempt.end(self.until)) for attempt in self.attempts if attempt.started is not None)

    def waiting(self) -> list[tuple[float, int]]:
        """Return likewise how many were launched and waited for a worker."""
        return at_once((attempt.launched, attempt.launched + attempt.waited(self.until)) for attempt in self.attempts)

    def summary(self) -> str:
        """Return its numbers in one sentence."""
        counts = Counter(attempt.phase for attempt in self.attempts)
        parts = [counted(count, f"{phase} attempt") for phase, count in sorted(counts.items())] or ["no attempt so far"]
        parts += [f"at most {most:,} at once"] if (most := max((count for _, count in self.at_once()), default=0)) else []
        fates: Counter[Fate] = Counter(attempt.fate for attempt in self.attempts if attempt.fate is not Fate.DONE)
        parts += [f"{fates[fate]:,} {fate}" for fate in Fate if fates[fate]]
        notes = (
            (sum(attempt.speculative for attempt in self.attempts), "backup"),
            (sum(attempt.straggler for attempt in self.attempts), "straggler"),
        )
        parts += [counted(count, noun) for count, noun in notes if count]
        took = [attempt.ran(self.until) for attempt in self.attempts if attempt.fate is Fate.DONE]
        parts += [f"median attempt {span(statistics.median(took))}, longest {span(max(took))}"] if took else []
        waits = [attempt.waited(self.until) for attempt in self.attempts]
        parts += [f"longest wait {span(max(waits))}"] if waits else []
        parts += [f"{counted(self.taken_over, 'task')} taken over"] if self.taken_over else []
        return f"{self.job} · {self.state} · {span(self.seconds)} · {', '.join(parts)}"

    def lines(self) -> list[str]:
        """Return the workers as a curve, and the attempts as bars: those that took long or came to nothing if there are many."""
        return lines_of(self.attempts, self.submitted, self.until, steps=self.at_once())

    def drawn(self, title: str) -> str:
        """Return the picture as an SVG file with this title: some hundred kilobytes at most, however many attempts there are."""
        return draw(self.attempts, self.submitted, self.until, title=title, curves=(self.at_once(), self.waiting()))

    def plot_into(self, into: Any) -> None:
        """See `Picture.plot_into`."""
        plot_into(self.attempts, self.submitted, self.until, into)

    def inches(self) -> float:
        """See `Picture.inches`."""
        return inches(self.attempts, self.until)

    def to_frame(self) -> pd.DataFrame:
        """Return a row for each attempt; times are in UTC, those that nobody wrote down are missing."""
        import pandas as pd  # noqa: PLC0415 - workers import this module, and must not import pandas

        rows = [
            (
                *(attempt.phase, attempt.task, attempt.number, attempt.fate.value, attempt.launched, attempt.started, attempt.ended),
                *(
                    attempt.waited(self.until),
                    attempt.ran(self.until),
                    attempt.speculative,
                    attempt.straggler,
                    attempt.error,
                    attempt.worker,
                ),
            )
            for attempt in self.attempts
        ]
        frame = pd.DataFrame(rows, columns=list(_COLUMNS))
        times = {name: pd.to_datetime(frame[name].astype("float64"), unit="s", utc=True) for name in ("launched", "started", "ended")}
        return frame.assign(**times)
