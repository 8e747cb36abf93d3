"""Whether a job counts under more names than it may: each task has few, and all together might have many. Pure."""

from __future__ import annotations

from smr_notebook.counting import check_names
from smr_notebook.errors import CounterError
from smr_notebook.model import JobState, Phase
from smr_notebook.standing import Outcome, Snapshot


def too_many_counters(snapshot: Snapshot, phase: Phase, *, now: float) -> Outcome | None:
    """Return how a job ends whose tasks count under too many names together; `None` while they do not."""
    committed = [commit.numbers for task, commit in snapshot.commits.items() if task.phase is phase]
    names = {name for numbers in (snapshot.settled_in(phase).progress.numbers, *committed) for name, _ in numbers.counters}
    try:
        check_names(names)
    except CounterError as error:
        return Outcome(JobState.FAILED, now, error=CounterError.__name__, message=str(error))
    return None
