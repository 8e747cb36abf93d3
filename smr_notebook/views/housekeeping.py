"""What a person asks now and then: what a job has cost, that jobs stop, and that old ones go. Each answer is a sheet (`showing.sheets`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from smr_notebook.control.expiry import remove_ended
from smr_notebook.control.registering import is_of
from smr_notebook.job.handle import cancel_and_tell
from smr_notebook.ports import Backend
from smr_notebook.showing.amounts import counted, dollars
from smr_notebook.showing.sheets import Fact, Sheet, sheet_html, sheet_text
from smr_notebook.views.render import Shown

if TYPE_CHECKING:
    from smr_notebook.job.handle import Job
    from smr_notebook.standing import Progress

_NAMED = 10
"""Jobs that are named when they are removed, at most."""


def cost_table(job: Job) -> Shown:
    """Return what a job has cost so far, by service, and what it was thought to cost."""
    return _shown("cost", lambda: ("Cost of a job", _costs(job.id, job.status())))


def cancel_jobs(jobs: Sequence[Job], *, all_of_them: bool) -> Shown:
    """Cancel jobs, and return what a person is told.

    Args:
        jobs: The jobs; one, unless all were meant.
        all_of_them: Whether all were meant that have not ended.
    """
    if all_of_them and not jobs:
        return Shown("no job of yours is running")

    def cancel() -> tuple[str, Iterator[Fact]]:
        told = [cancel_and_tell(job) for job in jobs]
        title = counted(len(jobs), "job") if all_of_them else f"Job{told[0].removeprefix(jobs[0].id)}"
        return title, (Fact("Job", line if all_of_them else job.id, varies=True) for job, line in zip(jobs, told, strict=True))

    return _shown("cancel", cancel)


def clean(backend: Backend, *, older: float) -> Shown:
    """Remove the jobs of one's own that ended long enough ago, and return what a person is told.

    Args:
        backend: Where they are.
        older: Seconds since their end.
    """
    if backend.expires:
        return Shown("nothing to do: here jobs expire by themselves, with all that they stored (`smr deploy --keep-days`)")

    def remove() -> tuple[str, Iterator[Fact]]:
        removed = remove_ended(
            backend.objects, backend.table, now=backend.clock.now(), older=older, mine=lambda entry: is_of(entry, backend.user)
        )
        some = ", ".join([*removed[:_NAMED], *(["…"] if len(removed) > _NAMED else [])])
        return f"{counted(len(removed), 'job')} removed", (Fact("Jobs", text, varies=True) for text in [some] if text)

    return _shown("clean", remove)


def _costs(job: str, progress: Progress) -> Iterator[Fact]:
    yield Fact("Job", job, varies=True)
    cost, thought = progress.cost, progress.estimate
    if cost is None:
        yield Fact("Cost", "none: nobody bills for it, or it has not begun")
        return
    yield Fact("Cost", f"{dollars(cost.total)}{'' if progress.state.ended else ' so far'}", varies=True)
    carrier = (("carrier", cost.carrier),) if cost.carrier else ()
    for service, amount in (("compute", cost.compute), ("objects", cost.objects), ("table", cost.table), *carrier):
        yield Fact(service, dollars(amount), varies=True)
    if thought is not None:
        yield Fact("Thought", f"{dollars(thought.low)} to {dollars(thought.high)}, before it ran", varies=True)


def _shown(kind: str, ask: Callable[[], tuple[str, Iterator[Fact]]]) -> Shown:
    """Return the sheet of an answer: its title and its facts."""
    begun = time.monotonic()
    title, facts = ask()
    sheet = Sheet(kind, title, time.monotonic() - begun, tuple(facts))
    return Shown(sheet_text(sheet), sheet_html(sheet))
