"""How a job comes to stand: an identifier that is its own, and a submission that leaves nothing behind when it breaks off.

Theory. Identifiers are short, because people type them, so that two may be drawn alike. Hence an identifier is *reserved* before anything
is stored under it: by a row that is created at most once, and that says who created it. Who comes second draws again. Where rows and
objects expire each by themselves, an identifier is free only when no plan of an older job stands under it either: the first plan counts.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from smr_notebook.control.driving import tell_end
from smr_notebook.control.expiry import remove_job
from smr_notebook.control.keys import forget_keys
from smr_notebook.control.ledger import Ledger, list_jobs
from smr_notebook.control.messages import Message, encode
from smr_notebook.control.plans import is_planned
from smr_notebook.control.rows import JobEntry
from smr_notebook.control.verdicts import cancelled_outcome
from smr_notebook.errors import PlatformError, ThrottledError
from smr_notebook.ports import Backend


@contextmanager
def new_job(backend: Backend) -> Iterator[str]:
    """Give the identifier of a new job to a block that stores and registers it; a block that breaks off leaves no job that could run.

    Raises:
        PlatformError: The table or the store cannot be reached.
    """
    forget_keys()
    job = reserve_identifier(backend)
    try:
        yield job
    except BaseException:
        with suppress(PlatformError):
            _withdraw(backend, job)
        raise


def reserve_identifier(backend: Backend) -> str:
    """Return an identifier that no other job has or will be given, of those that `backend.draw` gives."""
    return reserve_first(backend, iter(backend.draw, None), token=secrets.token_hex(16))


def reserve_first(backend: Backend, candidates: Iterable[str], *, token: str) -> str:
    """Return the first identifier that no other job has or will be given.

    Args:
        backend: Where the job shall stand.
        candidates: Identifiers, without an end.
        token: Stands for the job: whoever comes with it again is given the same one.
    """
    free = (
        job
        for job in candidates
        if Ledger(backend.table, job).reserve(token) and not (backend.expires and is_planned(backend.objects, job))
    )
    return next(free)


def register(backend: Backend, entry: JobEntry, message: Message) -> JobEntry:
    """Let a job stand whose plan, or request, is stored, and call who goes on with it; return its entry.

    Raises:
        PlatformError: The table or the service cannot be reached.
    """
    standing = Ledger(backend.table, entry.job).create_job(entry)
    with suppress(ThrottledError):  # whoever watches the job calls again
        backend.functions.invoke(encode(message))
    return standing


def told_of_name(backend: Backend, name: str) -> tuple[str, ...]:
    """Return a sentence about the latest job of one's own that has this name, if there is one."""
    if not name:
        return ()
    same = [entry for entry in list_jobs(backend.table) if entry.name == name and is_of(entry, backend.user)]
    if not same:
        return ()
    return (f"The name {name!r} was used before, by job {same[-1].job}: attach({name!r}) finds the latest, an identifier finds any.",)


def is_of(entry: JobEntry, user: str) -> bool:
    """Whether a job counts as a user's own: it is theirs, it is nobody's in particular, or we do not know who they are."""
    return not entry.user or not user or entry.user == user


def _withdraw(backend: Backend, job: str) -> None:
    """Remove a job whose submission broke off; or where nobody removes anything, see to it that it does not run."""
    if not backend.expires:
        remove_job(backend.objects, backend.table, job)
        return
    ledger, now = Ledger(backend.table, job), backend.clock.now()
    entry = ledger.job()
    if entry is not None:
        tell_end(backend, entry, cancelled_outcome("The submission of the job broke off.", now=now), now=now)
