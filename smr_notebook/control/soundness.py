"""What of the outputs of a job is still what was written: that, and nothing else, is taken over by a job that goes on from it.

Theory. A commit says what was written: each object's key, its size and its checksum. Whether that still stands is asked in two ways:

* **Always**: one listing of each folder that outputs lie in. What is gone, or has another size, is lost.
* **With care**, of a job that ended because of a stored object: what its failures name is lost, whatever its checksum says today, and the
  others are read to the end, as whoever uses them would (checksums, and the signatures of what holds pickles). Where one object has
  rotted, others may have. Reading is bounded (`MOST_READ`): what is behind that is found as ever, when it is used.

Rules of this module:

* What is lost is lost with its task: its commit is not taken over, of its legs only those before the first one that is lost.
* Nothing is removed or repaired here. A store that cannot be reached is no verdict: it raises.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from smr_notebook.control.launching import side_by_side
from smr_notebook.dataflow.bad_records import read_bad
from smr_notebook.dataflow.outputs import DIGEST_BYTES
from smr_notebook.dataflow.runs import STEP, RunReader, read_rows
from smr_notebook.dataflow.vouching import proved_runs
from smr_notebook.errors import CorruptObjectError, ObjectNotFoundError, UntrustedObjectError
from smr_notebook.model import Commit, Leg, PartFile, Receipt, TaskId

if TYPE_CHECKING:
    from smr_notebook.dataflow.signing import Keyring
    from smr_notebook.ports import ObjectStore
    from smr_notebook.standing import Outcome
    from smr_notebook.values.tolerance import BadFile

ROTTEN: Final = frozenset(error.__name__ for error in (CorruptObjectError, UntrustedObjectError, ObjectNotFoundError))
"""Ends of a job after which it is looked at with care: a stored object was not what was written."""

MOST_READ: Final = 1 << 30
"""Bytes of outputs that are read, when they are looked at with care."""

_KEY: Final = re.compile(r"jobs/[\w./-]*\w")
_SUBMITTED: Final = re.compile(r"jobs/\w+/(?:plan|code|request|splits/.+|input/.+)")


@dataclass(frozen=True, slots=True)
class Sound:
    """What is sound of the outputs of a job.

    Attributes:
        outputs: In the order given.
        lost: Tasks whose commit, or one of whose legs, is not among them.
        unread: Bytes that should have been read, but for their number.
    """

    outputs: Sequence[Commit | Leg]
    lost: frozenset[TaskId] = frozenset()
    unread: int = 0


@dataclass(frozen=True, slots=True)
class _Stored:
    """An object that an output names: how large it was written, and what reads it to the end and raises if it is another one."""

    key: str
    size: int
    read: Callable[[], object]


def doubted(outcome: Outcome | None) -> frozenset[str] | None:
    """Return the objects that a job which ended because of a stored object names; `None` if it ended otherwise."""
    if outcome is None or outcome.error not in ROTTEN:
        return None
    texts = (outcome.message, *(failed.failure.message for failed in outcome.failures))
    return frozenset(key for text in texts for key in _KEY.findall(text))


def irreplaceable(keys: frozenset[str]) -> str:
    """Return one of the keys that stands for what a job was submitted with, or an empty string: no task makes that again."""
    return min((key for key in keys if _SUBMITTED.fullmatch(key)), default="")


def sound_outputs(
    outputs: Sequence[Commit | Leg],
    objects: ObjectStore,
    keys: Keyring,
    *,
    doubts: frozenset[str] | None,
    threads: int,
    most_read: int = MOST_READ,
) -> Sound:
    """Return those outputs whose objects still stand as they were written.

    Args:
        outputs: Commits and legs.
        objects: Where they lie.
        keys: Proves what holds pickles.
        doubts: Objects that are lost for certain, where the others are to be looked at with care; `None` for a listing alone.
        threads: How many reads are worth having under way at once.
        most_read: Bytes that are read at most.

    Raises:
        StoreError: The store cannot be listed or read.
    """
    stored = [list(_stored(output, objects, keys)) for output in outputs]
    named = [each for of_output in stored for each in of_output]
    sizes = {info.key: info.size for folder in sorted({_folder(each.key) for each in named}) for info in objects.list_prefix(folder)}
    lost = {each.key for each in named if sizes.get(each.key) != each.size} | (doubts or set())
    unread = 0
    if doubts is not None:
        left = list({each.key: each for each in named if each.key not in lost}.values())
        some, unread = _within(left, most_read)
        rotten = side_by_side(_is_rotten, some, threads=threads)
        lost |= {each.key for each, is_rotten in zip(some, rotten, strict=True) if is_rotten}
    gone = [output for output, of_output in zip(outputs, stored, strict=True) if any(each.key in lost for each in of_output)]
    return Sound(_without(outputs, gone), frozenset(output.id.task for output in gone), unread)


def _without(outputs: Sequence[Commit | Leg], gone: Sequence[Commit | Leg]) -> list[Commit | Leg]:
    """Return the outputs without the commits that are gone, and without the legs from the first one of a task on that is."""
    committed = {output.id.task for output in gone if isinstance(output, Commit)}
    legs: dict[TaskId, int] = {}
    for output in gone:
        if isinstance(output, Leg):
            legs[output.id.task] = min(output.number, legs.get(output.id.task, output.number))

    def stays(output: Commit | Leg) -> bool:
        task = output.id.task
        return task not in committed if isinstance(output, Commit) else task not in legs or output.number < legs[task]

    return [output for output in outputs if stays(output)]


def _folder(key: str) -> str:
    """Return the folder that is listed for an object: all that the attempts of a phase wrote, or left out."""
    return "/".join(key.split("/")[:3]) + "/"


def _within(stored: Sequence[_Stored], most: int) -> tuple[list[_Stored], int]:
    """Return those that are read, and the bytes of the others."""
    some: list[_Stored] = []
    total = unread = 0
    for each in stored:
        if total + each.size <= most:
            total += each.size
            some.append(each)
        else:
            unread += each.size
    return some, unread


def _is_rotten(stored: _Stored) -> bool:
    try:
        stored.read()
    except (CorruptObjectError, ObjectNotFoundError):
        return True
    return False


# ---------------------------------------------------------------- what outputs name


def _stored(output: Commit | Leg, objects: ObjectStore, keys: Keyring) -> Iterator[_Stored]:
    receipts = output.receipts if isinstance(output, Commit) else [output.receipt] if output.receipt else []
    told = output.bad if isinstance(output, Commit) else [output.bad] if output.bad else []
    for receipt in receipts:
        yield _Stored(receipt.key, receipt.size, partial(_read_run, objects, receipt, keys))
    for file in output.part.files if output.part else ():
        yield _Stored(file.key, file.size, partial(_read_part, objects, file))
    for bad in told:
        yield _Stored(bad.key, bad.size, partial(_read_told, objects, bad))


def _read_run(objects: ObjectStore, receipt: Receipt, keys: Keyring) -> None:
    get = partial(objects.get, receipt.key)
    rows = read_rows(get, size=receipt.size, footer=receipt.footer, crc=receipt.crc, name=receipt.key)
    run = RunReader(get, rows, receipt.key)
    for partition in range(run.partitions):
        for blocks in proved_runs([run.blocks(partition)], partition, [receipt], [keys.of_object(receipt.key)]):
            deque(blocks, maxlen=0)


def _read_part(objects: ObjectStore, file: PartFile) -> None:
    crc, digest = 0, hashlib.blake2b(digest_size=DIGEST_BYTES)
    for start in range(0, file.size, STEP):
        piece = objects.get(file.key, start, min(start + STEP, file.size))
        crc = zlib.crc32(piece, crc)
        digest.update(piece)
    if crc != file.crc or (file.digest and not hmac.compare_digest(digest.digest(), file.digest)):
        raise CorruptObjectError(f"{file.key} is not what was written: its checksum differs.")


def _read_told(objects: ObjectStore, bad: BadFile) -> None:
    deque(read_bad(objects, bad), maxlen=0)
