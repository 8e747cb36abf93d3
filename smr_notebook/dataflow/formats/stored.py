"""Input that the session stores for a job: the items of an iterable, the rows of a DataFrame.

An object is a sequence of frames, each with its length (8 bytes, little endian) before it and sealed (see `sealing`). A frame
holds some items or rows, about 1 MiB of them, so that neither side ever needs more than that at once.

* Frame of items: one byte that says whether the items share a memo, their count (4 bytes), and one pickle after the other.
* Frame of rows: a pickled slice of the DataFrame.

Before either stands the number of its first record (8 bytes), and behind the sealed frame its signature (see `signing`).

Rules:

* Item order is kept, and each item is taken from the iterable once and stored as it is at that moment. So only the items of a
  list or tuple share a memo (which saves storing a notebook's class with each instance): an iterator may give the same
  object again with other content, and a memo would repeat the first.
* An object is one map task; whoever stores it may put several that are one frame each behind one another. With a known length there are
  `8 * slots` objects of equal count, or one for each item; without one, each takes so many items that it stays a small share of those
  before it. No object is much larger than `split_bytes`.
* Objects of a job never change and carry checksums: they have no version, and are read without a look at the plan.
* The name of an object is the number of its first record. So an intact object that stands under another's name is noticed.
* Nothing of a frame is unpickled before its checksum and its signature were found right.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

import cloudpickle

from smr_notebook.dataflow.records import RecordBlock, nowhere
from smr_notebook.dataflow.sealing import seal, unseal
from smr_notebook.dataflow.signing import SIGNATURE_BYTES, JobKey, Keyring
from smr_notebook.errors import CorruptObjectError, InputReadError, PlanError, UnpicklableError, UntrustedObjectError
from smr_notebook.model import PLAINLY, ObjectInfo, Reading, Span
from smr_notebook.ports import InputSource

if TYPE_CHECKING:
    import pandas as pd

ITEMS = "items"
"""Kind of the frames of items, and the source that `map` sees."""
FRAME = "frame"
"""Kind of the frames of rows, and the source that `map` sees."""

_CHUNKS_PER_SLOT = 8
_FRAME_BYTES = 1 << 20
_FRAME_RECORDS = 10_000
_FETCH_BYTES = 4 << 20
_PLACE = "input"
_LENGTH = struct.Struct("<Q")
_FIRST = struct.Struct("<Q")
_ITEMS_HEAD = struct.Struct("<?I")
_VERSION = 2
_VERSIONS = frozenset({_VERSION})

_Loaded = TypeVar("_Loaded")
_NextFrame = Callable[[int, int], tuple[bytes, int]]
"""Called with the number of the next record and the most records to take; gives a sealed frame and their count, 0 at the end."""


@runtime_checkable
class ProvingSource(Protocol):
    """The source of what a job stored itself: it has the keys that prove it."""

    @property
    def keys(self) -> Keyring:
        """The key of the workspace."""
        ...


class Objects(Protocol):
    """Where stored objects go."""

    def put(self, key: str, data: Sequence[bytes]) -> object:
        """Write one object, from its pieces."""
        ...


def store_items(
    items: Iterable[Any], objects: Objects, prefix: str, *, keys: Keyring, split_bytes: int, slots: int, each: int = 0
) -> tuple[list[ObjectInfo], int]:
    """Store the items of an iterable; it is consumed once.

    Args:
        items: Anything that pickles, by value where it was defined in the notebook.
        objects: Where to.
        prefix: Folder of the objects.
        keys: The key of the workspace.
        split_bytes: About the most bytes of an object.
        slots: How many workers run at once.
        each: How many items an object holds at most; 0 for automatic.

    Returns:
        The objects in item order, and how many items they hold.

    Raises:
        UnpicklableError: An item does not pickle.
        StoreError: An object cannot be written.
    """
    stream, key = iter(items), keys.of_object(f"{prefix}/")
    shared = isinstance(items, list | tuple)
    frame_bytes = min(_FRAME_BYTES, split_bytes)

    def next_frame(first: int, most: int) -> tuple[bytes, int]:
        body, count = _pickle_items(islice(stream, min(most, _FRAME_RECORDS)), first, shared=shared, frame_bytes=frame_bytes)
        return (_signed(ITEMS, first, body, key), count) if count else (b"", 0)

    total = len(items) if isinstance(items, Sized) else None
    return _store(next_frame, objects, prefix, total=total, split_bytes=split_bytes, wanted=_CHUNKS_PER_SLOT * slots, each=each)


def store_frame(
    frame: pd.DataFrame, objects: Objects, prefix: str, *, keys: Keyring, split_bytes: int, slots: int
) -> tuple[list[ObjectInfo], int]:
    """Store the rows of a DataFrame, without its index. Arguments and result as of `store_items`.

    Raises:
        PlanError: The columns do not have distinct strings as names, or there is none.
        UnpicklableError: A value does not pickle.
        StoreError: An object cannot be written.
    """
    names: list[Any] = list(frame.columns)
    wrong = sorted({repr(name) for name in names if not isinstance(name, str) or names.count(name) > 1})
    if wrong or not names:
        found = f"has columns named {', '.join(wrong)}" if wrong else "has no columns"
        raise PlanError(
            f"The DataFrame {found}, but its rows become dicts: each column needs a name of its own, a str. "
            "Rename them, for instance with frame.columns = [...]."
        )
    total, key = len(frame), keys.of_object(f"{prefix}/")
    row_bytes = int(frame.memory_usage(index=False, deep=True).sum()) // max(total, 1)
    rows = max(1, min(_FRAME_RECORDS, min(_FRAME_BYTES, split_bytes) // max(row_bytes, 1)))

    def next_frame(first: int, most: int) -> tuple[bytes, int]:
        part = frame.iloc[first : first + min(most, rows)].reset_index(drop=True)
        try:
            return _signed(FRAME, first, cloudpickle.dumps(part), key), len(part)
        except Exception as error:
            raise UnpicklableError(
                f"Rows {first:,} to {first + len(part) - 1:,} of the DataFrame cannot travel to a worker: {error}. "
                "Drop the column that holds such values, or convert it to plain ones."
            ) from error

    return _store(next_frame, objects, prefix, total=total, split_bytes=split_bytes, wanted=_CHUNKS_PER_SLOT * slots)


def read_items(span: Span, source: InputSource, reading: Reading = PLAINLY) -> Iterator[RecordBlock]:  # noqa: ARG001 - the face of Reader
    """Yield the items of one stored object, from the frame that the span begins with.

    Raises:
        CorruptObjectError: It is not what was written.
        InputMissingError: It is gone.
        InputReadError: It cannot be read, or an item cannot be unpickled here.
    """
    for body, begin, size in _frames(span, source, ITEMS):
        yield RecordBlock(ITEMS, _load(_unpickle_items, body, span), size, nowhere, begin)


def read_frame(span: Span, source: InputSource, reading: Reading = PLAINLY) -> Iterator[RecordBlock]:  # noqa: ARG001 - the face of Reader
    """Yield the rows of one stored object as `DataFrame.to_dict("records")` gives them. Raises as `read_items` does."""
    for body, begin, size in _frames(span, source, FRAME):
        yield RecordBlock(FRAME, _load(_unpickle_rows, body, span), size, nowhere, begin)


def is_one_frame(data: Sequence[bytes]) -> bool:
    """Whether the pieces of a stored object are one frame."""
    return len(data) == 2  # its length, and itself


def frame_ends(data: bytes, *, name: str) -> tuple[int, ...]:
    """Return where each frame of a stored object ends.

    Raises:
        CorruptObjectError: It does not consist of frames.
    """
    ends, at = [], 0
    while at < len(data):
        at += _LENGTH.size + _LENGTH.unpack_from(data, at)[0] if at + _LENGTH.size <= len(data) else len(data) + 1
        ends.append(at)
    if at > len(data):
        raise CorruptObjectError(f"{name} is not what was stored: it is cut, or a length in it differs. Submit the job again.")
    return tuple(ends)


def read_slices(span: Span, source: InputSource) -> Iterator[tuple[pd.DataFrame, int, int]]:
    """Yield the DataFrames of one stored object, where each begins in it, and its bytes there. Raises as `read_items` does."""
    for body, begin, size in _frames(span, source, FRAME):
        yield _load(_unpickle_slice, body, span), begin, size


# ---------------------------------------------------------------- writing


def _store(
    next_frame: _NextFrame, objects: Objects, prefix: str, *, total: int | None, split_bytes: int, wanted: int, each: int = 0
) -> tuple[list[ObjectInfo], int]:
    infos: list[ObjectInfo] = []
    records = 0
    while True:
        end = records + (each or _share(records, total, wanted))
        buffers: list[bytes] = []
        begin, size = records, 0
        while records < end and size < split_bytes:
            frame, count = next_frame(records, end - records)
            if count == 0:
                break
            buffers += _LENGTH.pack(len(frame)), frame
            size += _LENGTH.size + len(frame)
            records += count
        if records == begin:
            return infos, records
        key = f"{prefix.removesuffix('/')}/{begin:012d}"
        objects.put(key, buffers)
        infos.append(ObjectInfo(key, size, ""))


def _share(records: int, total: int | None, wanted: int) -> int:
    """Return how many records the next object should take when `records` are stored already."""
    if total is None or records >= total:
        return max(1, records // wanted)
    chunks = min(total, wanted)
    number = -(-(records + 1) * chunks // total)  # counted from 1, so that chunk n ends at record total * n // chunks
    return number * total // chunks - records


def _pickle_items(items: Iterator[Any], first: int, *, shared: bool, frame_bytes: int) -> tuple[bytes, int]:
    buffer = io.BytesIO()
    pickler = cloudpickle.Pickler(buffer)
    count = 0
    for item in items:
        try:
            pickler.dump(item)
        except Exception as error:
            raise UnpicklableError(
                f"Item {first + count:,} (counted from 0), a {type(item).__name__!r}, cannot travel to a worker: {error}. "
                "Give plain values, and open files, locks and connections inside map."
            ) from error
        count += 1
        if not shared:
            pickler.clear_memo()
        if buffer.tell() >= frame_bytes:
            break
    return _ITEMS_HEAD.pack(shared, count) + buffer.getvalue(), count


def _signed(kind: str, first: int, body: bytes, key: JobKey) -> bytes:
    """Return a frame, sealed and signed."""
    sealed = seal(kind, _FIRST.pack(first) + body, _VERSION)
    return sealed + key.sign(kind, _PLACE, sealed)


# ---------------------------------------------------------------- reading


class _Stored(io.RawIOBase):
    """One stored object as a file, so that `io.BufferedReader` fetches ahead."""

    def __init__(self, span: Span, source: InputSource) -> None:
        self._span = span
        self._source = source
        self._position = span.start

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._source.get(self._span.key, self._position, min(self._position + len(buffer), self._span.stop))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def _frames(span: Span, source: InputSource, kind: str) -> Iterator[tuple[bytes, int, int]]:
    """Yield the body of each frame, where the frame begins in the object, and the bytes that it takes there."""
    file = io.BufferedReader(_Stored(span, source), max(min(_FETCH_BYTES, span.stop - span.start), 1))
    key = _key_of(span, source)
    left = span.stop - span.start
    while left:
        begin = span.stop - left
        head = file.read(_LENGTH.size)
        length = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else left
        left -= _LENGTH.size + length
        if left < 0:
            raise CorruptObjectError(f"{span.key} is not what was stored: it is cut, or a length in it differs. Submit the job again.")
        body = _proved(kind, file.read(length), key, name=span.key)
        first = int.from_bytes(body[: _FIRST.size], "little")
        if (begin == 0) != (first == _first_of(span.key)):
            raise CorruptObjectError(f"{span.key} holds what was stored under another name. Submit the job again.")
        yield body[_FIRST.size :], begin, _LENGTH.size + length


def _key_of(span: Span, source: InputSource) -> JobKey:
    if not isinstance(source, ProvingSource):
        raise UntrustedObjectError(f"{span.key} is not what a job stored itself: nothing proves who wrote it, so it is not unpickled.")
    return source.keys.of_object(span.key)


def _proved(kind: str, frame: bytes, key: JobKey, *, name: str) -> bytes:
    """Return the body of a frame whose seal is whole and whose signature is right."""
    sealed, signature = frame[:-SIGNATURE_BYTES], frame[-SIGNATURE_BYTES:]
    body = unseal(kind, sealed, name=name, versions=_VERSIONS)
    key.check(kind, _PLACE, sealed, signature=signature, name=name)
    if len(body) < _FIRST.size + (_ITEMS_HEAD.size if kind == ITEMS else 0):
        raise CorruptObjectError(f"{name} has a frame that is too short. Submit the job again.")
    return body


def _first_of(key: str) -> int:
    """Return the number of the first record of an object, by its name; -1 if that is no such name."""
    name = key.rpartition("/")[2].partition(".")[0]
    return int(name) if name.isascii() and name.isdigit() else -1


def _load(unpickle: Callable[[bytes], _Loaded], body: bytes, span: Span) -> _Loaded:
    try:
        return unpickle(body)
    except Exception as error:
        raise InputReadError(
            f"The input stored as {span.key} cannot be unpickled on the worker: {type(error).__name__}: {error}. "
            "Install there the package that its values come from, or give plain values."
        ) from error


def _unpickle_items(body: bytes) -> list[Any]:
    shared, count = _ITEMS_HEAD.unpack_from(body)
    file = io.BytesIO(body)
    file.seek(_ITEMS_HEAD.size)
    if shared:
        load = pickle.Unpickler(file).load
        return [load() for _ in range(count)]
    return [pickle.load(file) for _ in range(count)]


def _unpickle_slice(body: bytes) -> pd.DataFrame:
    frame: pd.DataFrame = pickle.loads(body)  # imports pandas here and nowhere else in a worker: that takes half a second
    return frame


def _unpickle_rows(body: bytes) -> list[Any]:
    return _unpickle_slice(body).to_dict("records")
