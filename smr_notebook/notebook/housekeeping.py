"""What a person asks now and then: what a job has cost, and that old jobs go."""

from __future__ import annotations

from smr_notebook.control.expiry import remove_ended
from smr_notebook.control.registering import is_of
from smr_notebook.notebook.render import Shown
from smr_notebook.ports import Backend
from smr_notebook.showing.amounts import dollars
from smr_notebook.standing import Progress

_NAMED = 10
"""Jobs that are named when they are removed, at most."""


def cost_table(job: str, progress: Progress) -> Shown:
    """Return what a job has cost so far, by service, and what it was thought to cost.

    Args:
        job: Its identifier.
        progress: How far it is.
    """
    cost, thought = progress.cost, progress.estimate
    if cost is None:
        return Shown(f"{job} has no cost: nobody bills for it, or it has not begun")
    services = (("compute", cost.compute), ("objects", cost.objects), ("table", cost.table))
    lines = [f"{job} has cost {dollars(cost.total)}{'' if progress.state.ended else ' so far'}"]
    lines += [f"  {name:<8} {dollars(amount)}" for name, amount in services]
    if thought is not None:
        lines.append(f"  thought  {dollars(thought.low)} to {dollars(thought.high)}, before it ran")
    return Shown("\n".join(lines))


def clean(backend: Backend, *, older: float) -> str:
    """Remove the jobs of one's own that ended long enough ago, and return what a person is told.

    Args:
        backend: Where they are.
        older: Seconds since their end.
    """
    if backend.expires:
        return "nothing to do: here jobs expire by themselves, with all that they stored (`smr deploy --keep-days`)"
    removed = remove_ended(
        backend.objects, backend.table, now=backend.clock.now(), older=older, mine=lambda entry: is_of(entry, backend.user)
    )
    some = ", ".join([*removed[:_NAMED], *(["…"] if len(removed) > _NAMED else [])])
    return f"{len(removed):,} job{'s' * (len(removed) != 1)} removed{': ' if some else ''}{some}"
