"""The plan, the code and the splits of a job in the object store.

Rules of this module:

* Written once by the submission, before the job's first row stands; only read afterwards.
* Each is a sealed object: a worker of another version, or a damaged object, is an error and no wrong answer.
* Splits lie in pages, so that a worker reads one small object, and not the splits of ten thousand others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec

from smr_notebook.control.layout import SPLITS_PER_PAGE, Layout
from smr_notebook.dataflow.sealing import seal, unseal
from smr_notebook.errors import CorruptObjectError
from smr_notebook.model import Plan, Split
from smr_notebook.ports import ObjectStore

T = TypeVar("T")

_PLAN: Final = msgspec.json.Decoder(Plan)
_SPLITS: Final = msgspec.json.Decoder(tuple[Split, ...])


def write_job(objects: ObjectStore, plan: Plan, splits: Sequence[Split], code: bytes) -> None:
    """Store all that workers need to know.

    Args:
        objects: Where.
        plan: The plan.
        splits: One for each map task, in task order.
        code: The sealed bundle of the functions.

    Raises:
        StoreError: The store cannot be written; nothing has been submitted.
    """
    layout = Layout(plan.job)
    objects.put(layout.code, code)
    for start in range(0, len(splits), SPLITS_PER_PAGE):
        page = msgspec.json.encode(splits[start : start + SPLITS_PER_PAGE])
        objects.put(layout.split_page(start), seal("splits", page))
    objects.put(layout.plan, seal("plan", msgspec.json.encode(plan)))


def read_plan(objects: ObjectStore, job: str) -> Plan:
    """Return the plan of a job.

    Raises:
        ObjectNotFoundError: There is none.
        CorruptObjectError: It is not what was written.
        StoreError: The store cannot be read.
    """
    key = Layout(job).plan
    return decoded(_PLAN, unseal("plan", objects.get(key), name=key), name=key)


def read_code(objects: ObjectStore, job: str) -> bytes:
    """Return the sealed bundle of the user's functions. Raises as `read_plan` does, damage excepted."""
    return objects.get(Layout(job).code)


def read_split_page(objects: ObjectStore, job: str, page: int) -> tuple[Split, ...]:
    """Return the splits of one page, counted from 0. Raises as `read_plan` does."""
    first = page * SPLITS_PER_PAGE
    key = Layout(job).split_page(first)
    splits = decoded(_SPLITS, unseal("splits", objects.get(key), name=key), name=key)
    if any(split.number != first + place for place, split in enumerate(splits)):
        raise CorruptObjectError(f"{key} holds the splits of another page: it belongs to another plan. Submit the job again.")
    return splits


def split_of(page: Sequence[Split], job: str, number: int) -> Split:
    """Return the split of one map task from its page.

    Raises:
        CorruptObjectError: The page ends before it.
    """
    place = number % SPLITS_PER_PAGE
    if place >= len(page):
        raise CorruptObjectError(f"{Layout(job).split_page(number)} does not hold split {number}: it belongs to another plan.")
    return page[place]


def decoded(decoder: msgspec.json.Decoder[T], body: bytes, *, name: str) -> T:
    """Return the noun that an unsealed body holds.

    Raises:
        CorruptObjectError: The body is not what this package writes.
    """
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CorruptObjectError(f"{name} is not what this package writes ({error}). Submit the job again.") from error
