"""The plan, the code and the splits of a job in the object store, and the request that a driver makes them from.

Rules of this module:

* Written once, by the submission before the job's first row stands, or by a driver; only read afterwards. Of several drivers the one
  whose plan is there first counts, and a plan names the splits that belong to it.
* Each is a sealed object: a worker of another version, or a damaged object, is an error and no wrong answer.
* Each is signed, and read with the proof: code runs, and the others say what is read, of all that workers may read, and when that is all
  of it. Who coordinates, or only looks for a result, would take a part for the whole by another plan.
* Splits lie in pages, so that a worker reads one small object, and not the splits of ten thousand others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec

from smr_notebook.control.inlets import AnyInput, Inlet, Inlets
from smr_notebook.control.layout import SPLITS_PER_PAGE, Layout, split_page
from smr_notebook.control.naming import Files, JobRows
from smr_notebook.control.reading import StoredInput
from smr_notebook.dataflow.sealing import seal, unseal
from smr_notebook.dataflow.signing import SIGNATURE_BYTES, Keyring
from smr_notebook.errors import CorruptObjectError, ObjectNotFoundError
from smr_notebook.model import OBJECTS, PLAINLY, Plan, Policy, Reading, Split
from smr_notebook.ports import ObjectStore
from smr_notebook.values.tolerance import STRICT, Tolerance

T = TypeVar("T")

_CODE: Final = "code"
_PLAN: Final = msgspec.json.Decoder(Plan)
_SPLITS: Final = msgspec.json.Decoder(tuple[Split, ...])


@dataclass(frozen=True, slots=True)
class StoredInlet:
    """One of several inputs. Attributes as of `StoredRequest`."""

    patterns: tuple[str, ...]
    format: str
    reading: Reading = PLAINLY
    stored: StoredInput | None = None
    rows_of: str = ""


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """What a driver plans from: what the user asked for, besides the functions.

    Attributes:
        patterns: Locations of the input; none where it is stored beside the job.
        stored: What is stored beside the job, or `None`.
        format: Name of a format, or `auto`.
        reducers: Partitions; 0 for automatic.
        split_size: Bytes for each map task; 0 for automatic.
        name: What the job is called, or an empty string.
        created: Time of submission.
        budget: Resident bytes that a worker may take before it spills; 0 for automatic.
        policy: How hard to try.
        max_cost: US dollars that the job may cost; 0 for any.
        warnings: What the user should know of already.
        reading: What is said of the format besides its name.
        tolerance: What may be left out.
        exchange: What pairs travel by.
        carrier: Where that is, if it is not the object store.
        merge_above: Reads of the shuffle above which runs are merged; 0 for what prices say.
        rows_of: The job whose result is the input; empty for none.
        inlets: Of several inputs, each of them.
        versions: For each location the version of the object that is meant; none for whatever stands there.
    """

    patterns: tuple[str, ...]
    format: str
    reducers: int
    split_size: int
    name: str
    created: float
    budget: int
    policy: Policy
    max_cost: float
    stored: StoredInput | None = None
    warnings: tuple[str, ...] = ()
    reading: Reading = PLAINLY
    tolerance: Tolerance = STRICT
    exchange: str = OBJECTS
    carrier: str = ""
    merge_above: int = 0
    rows_of: str = ""
    inlets: tuple[StoredInlet, ...] = ()
    versions: tuple[str, ...] = ()


_REQUEST: Final = msgspec.json.Decoder(StoredRequest)


def input_of(request: StoredRequest) -> Files | StoredInput | JobRows | Inlets:
    """Return what a stored request names as input."""
    if request.inlets:
        return Inlets(tuple(Inlet(_input_of(one), one.format, one.reading) for one in request.inlets))
    return _input_of(request)


def _input_of(told: StoredRequest | StoredInlet) -> Files | StoredInput | JobRows:
    versions = told.versions if isinstance(told, StoredRequest) else ()
    return JobRows(told.rows_of) if told.rows_of else told.stored or Files(told.patterns, versions)


def stored_inlets(named: AnyInput) -> tuple[StoredInlet, ...]:
    """Return what a stored request says of several inputs, whose items and rows are stored; nothing of a single one."""
    return tuple(
        StoredInlet(
            patterns=one.input.patterns if isinstance(one.input, Files) else (),
            format=one.format,
            reading=one.reading,
            stored=one.input if isinstance(one.input, StoredInput) else None,
            rows_of=one.input.job if isinstance(one.input, JobRows) else "",
        )
        for one in (named.inlets if isinstance(named, Inlets) else ())
    )


def write_code(objects: ObjectStore, job: str, code: bytes, keys: Keyring) -> None:
    """Store the sealed bundle of the functions, signed. Raises as `write_plan` does."""
    write_code_under(objects, Layout(job).code, code, keys)


def write_code_under(objects: ObjectStore, key: str, code: bytes, keys: Keyring) -> None:
    """Store the same under a key: of a job, or of a trigger."""
    objects.put(key, code + keys.of_object(key).sign(_CODE, key, code))


def write_plan(objects: ObjectStore, plan: Plan, splits: Sequence[Split], keys: Keyring) -> bool:
    """Store the splits, and then the plan that names them.

    Args:
        objects: Where.
        plan: The plan.
        splits: One for each map task, in task order.
        keys: The key of the workspace.

    Returns:
        Whether this plan is the one that stands: another planner may have been faster.

    Raises:
        StoreError: The store cannot be written; nothing has been submitted.
    """
    prefix = plan.splits or Layout(plan.job).splits
    for start in range(0, len(splits), SPLITS_PER_PAGE):
        page = msgspec.json.encode(splits[start : start + SPLITS_PER_PAGE])
        objects.put(split_page(prefix, start), _signed("splits", page, split_page(prefix, start), keys))
    key = Layout(plan.job).plan
    return objects.put(key, _signed("plan", msgspec.json.encode(plan), key, keys), if_absent=True)


def write_request(objects: ObjectStore, job: str, request: StoredRequest, keys: Keyring) -> None:
    """Store what a driver plans from. Raises as `write_plan` does."""
    write_request_under(objects, Layout(job).request, request, keys)


def write_request_under(objects: ObjectStore, key: str, request: StoredRequest, keys: Keyring) -> None:
    """Store the same under a key: of a job, or of a trigger."""
    objects.put(key, _signed("request", msgspec.json.encode(request), key, keys))


def read_request(objects: ObjectStore, job: str, keys: Keyring) -> StoredRequest:
    """Return what a driver plans from. Raises as `read_plan` does."""
    return read_request_under(objects, Layout(job).request, keys)


def read_request_under(objects: ObjectStore, key: str, keys: Keyring) -> StoredRequest:
    """Return the same from under a key. Raises as `read_plan` does."""
    return decoded(_REQUEST, _opened("request", objects, key, keys), name=key)


def read_plan(objects: ObjectStore, job: str, keys: Keyring) -> Plan:
    """Return the plan of a job.

    Args:
        objects: Where it is.
        job: Identifier of the job.
        keys: The key of the workspace.

    Raises:
        ObjectNotFoundError: There is none.
        UntrustedObjectError: It is not what a process of this workspace stored for this job.
        CorruptObjectError: It is not what was written.
        StoreError: The store cannot be read.
    """
    key = Layout(job).plan
    plan = decoded(_PLAN, _opened("plan", objects, key, keys), name=key)
    if plan.job != job:
        raise CorruptObjectError(f"{key} is the plan of job {plan.job}. Submit the job again.")
    return plan


def is_planned(objects: ObjectStore, job: str) -> bool:
    """Whether a plan of the job stands.

    Raises:
        StoreError: The store cannot be read.
    """
    try:
        objects.get(Layout(job).plan, 0, 1)
    except ObjectNotFoundError:
        return False
    return True


def read_code(objects: ObjectStore, job: str, keys: Keyring) -> bytes:
    """Return the sealed bundle of the user's functions.

    Raises:
        UntrustedObjectError: It is not what a process of this workspace stored for this job.
        StoreError: The store cannot be read, or there is none.
    """
    return read_code_under(objects, Layout(job).code, keys)


def read_code_under(objects: ObjectStore, key: str, keys: Keyring) -> bytes:
    """Return the same from under a key: of a job, or of a trigger. Raises as `read_code` does."""
    data = objects.get(key)
    code = data[:-SIGNATURE_BYTES]
    unseal(_CODE, code, name=key)  # so that damage is told from an attack
    keys.of_object(key).check(_CODE, key, code, signature=data[-SIGNATURE_BYTES:], name=key)
    return code


def read_split_page(objects: ObjectStore, prefix: str, page: int, keys: Keyring) -> tuple[Split, ...]:
    """Return the splits of one page below a prefix, counted from 0. Raises as `read_plan` does."""
    first = page * SPLITS_PER_PAGE
    key = split_page(prefix, first)
    splits = decoded(_SPLITS, _opened("splits", objects, key, keys), name=key)
    if any(split.number != first + place for place, split in enumerate(splits)):
        raise CorruptObjectError(f"{key} holds the splits of another page: it belongs to another plan. Submit the job again.")
    return splits


def split_of(page: Sequence[Split], prefix: str, number: int) -> Split:
    """Return the split of one map task from its page.

    Raises:
        CorruptObjectError: The page ends before it.
    """
    place = number % SPLITS_PER_PAGE
    if place >= len(page):
        raise CorruptObjectError(f"{split_page(prefix, number)} does not hold split {number}: it belongs to another plan.")
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


def _signed(kind: str, body: bytes, key: str, keys: Keyring) -> bytes:
    """Return a document, sealed, with its signature behind it."""
    sealed = seal(kind, body)
    return sealed + keys.of_object(key).sign(kind, key, sealed)


def _opened(kind: str, objects: ObjectStore, key: str, keys: Keyring) -> bytes:
    """Return the body of a document whose seal is whole, and whose signature is right."""
    data = objects.get(key)
    sealed, signature = data[:-SIGNATURE_BYTES], data[-SIGNATURE_BYTES:]
    body = unseal(kind, sealed, name=key)
    keys.of_object(key).check(kind, key, sealed, signature=signature, name=key)
    return body
