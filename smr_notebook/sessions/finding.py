"""Which job a person means by what they say: an identifier, the beginning of one, a name, or nothing.

Jobs are shown and found by whom they belong to, so that two users of one workspace do not meet each other's by accident. It is no lock:
whoever says the whole identifier of a job means it, whosever it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from smr_notebook.control.registering import is_of
from smr_notebook.control.rows import JobEntry
from smr_notebook.errors import JobNotFoundError

_ELSEWHERE = (
    "Those of another platform or deployment are found by --platform and --stack in a shell (`--platform aws`), "
    'by smr.Session("aws", stack=…) in Python.'
)


def find_entry(entries: Sequence[JobEntry], wanted: str | None, *, user: str, place: str) -> JobEntry:
    """Return the job that is meant.

    Args:
        entries: All jobs there are, oldest first.
        wanted: A whole identifier, of any job; the beginning of one, or the name, of a job of the user's own; `None` for their latest.
        user: Who asks; empty if that is not known.
        place: Where the jobs are, for people.

    Raises:
        JobNotFoundError: No job, or more than one, is meant; the message says what there is.
    """
    own = [entry for entry in entries if is_of(entry, user)]
    if wanted is None and own:
        return own[-1]
    whole = [entry for entry in entries if entry.job == wanted]
    begun = [entry for entry in own if wanted and entry.job.startswith(wanted)]
    found = whole or begun or [entry for entry in own if wanted and entry.name == wanted][-1:]
    if len(found) == 1:
        return found[0]
    if found:
        some = ", ".join(entry.job for entry in found[:5])
        raise JobNotFoundError(f"{wanted!r} is the beginning of {len(found)} jobs: {some}. Say more of it.")
    raise JobNotFoundError(_missing(entries, own, wanted, user=user, place=place))


def _missing(entries: Sequence[JobEntry], own: Sequence[JobEntry], wanted: str | None, *, user: str, place: str) -> str:
    others = [entry for entry in entries if wanted and (entry.job.startswith(wanted) or entry.name == wanted)]
    if others:
        last = others[-1]
        return f"{wanted!r} is a job of {last.user}, and you are {user}. Say its whole identifier, {last.job}, to have it all the same."
    if not entries:
        return f"There are no jobs in {place}. {_ELSEWHERE}"
    if not own:
        theirs = ", ".join(sorted({entry.user for entry in entries})[:5])
        wish = f"no job {wanted!r}" if wanted else "no job of yours"
        told = f"There is {wish} in {place}: you are {user}, and those that are there belong to {theirs}."
        return f"{told} smr.jobs(everyone=True), in a shell `smr jobs --everyone`, lists them."
    latest = ", ".join(entry.job for entry in own[:-4:-1])
    names = {entry.job for entry in own} | {entry.name for entry in own if entry.name}
    close = get_close_matches(wanted or "", sorted(names), n=3)
    near = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    return f"There is no job {wanted!r} in {place}.{near} The latest are {latest}; smr.jobs(), in a shell `smr jobs`, lists all."
