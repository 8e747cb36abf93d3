"""What a job reads, from what the user named: objects that are there already, or items and rows that are stored beside the job first.

Storing and planning are two steps, because they may happen in two places: what is in the notebook's memory is stored by the notebook,
wherever the job is planned.

A thousand short items that are a task each are not worth a thousand objects: neighbours that are one frame each travel in a *pack*, an
object of their frames, one behind the other, under the key of the first and `.pack`. Planning cuts it into those frames again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import BoundedSemaphore
from types import MappingProxyType
from typing import Final, Self

from smr_notebook.control.input_warnings import warnings_of
from smr_notebook.control.layout import Layout
from smr_notebook.control.naming import Files, FoundObject, Items, Storable, choose_format, find
from smr_notebook.dataflow.code import modules_by_value
from smr_notebook.dataflow.formats.compression import HEAD_BYTES, plain
from smr_notebook.dataflow.formats.csv_cuts import csv_cuts
from smr_notebook.dataflow.formats.csv_sniffing import settle
from smr_notebook.dataflow.formats.stored import frame_ends, is_one_frame, store_frame, store_items
from smr_notebook.dataflow.known_formats import KNOWN, cuttable
from smr_notebook.dataflow.signing import Keyring
from smr_notebook.dataflow.splits import PlannedObject, choose_split_bytes
from smr_notebook.errors import CorruptObjectError, InputEmptyError
from smr_notebook.model import PLAINLY, Format, ObjectInfo, Reading, Span
from smr_notebook.ports import InputSource, ObjectStore

LARGEST_CHUNK: Final = 128 * 2**20
"""Bytes of items or rows for each map task at most; smaller inputs are shared out among the workers."""


_STORING_SLOTS: Final = 64
"""Workers that items are shared out among, at most: a thousand workers are no reason for thousands of objects of a few bytes each."""

_PACK: Final = ".pack"
"""How the key of a pack ends."""

_PACK_BYTES: Final = 1 << 20
"""Bytes at which a pack is full."""

_MEMBER_BYTES: Final = 64 << 10
"""Bytes of the largest frame that shares an object."""

_SMALL: Final = 4 << 20
"""Bytes of an object up to which it is sent while the next one is made."""


@dataclass(frozen=True, slots=True)
class StoredInput:
    """Items or rows that stand beside a job.

    Attributes:
        format: Which of the two.
        records: How many.
        split_bytes: Bytes of them for each map task at most.
        job: Beside which job; empty for the one that is planned.
        bytes: How many bytes they take; 0 where that is not known.
        folder: In which folder of the job's input, with a slash behind it; empty for the input itself.
    """

    format: Format
    records: int
    split_bytes: int
    job: str = ""
    bytes: int = 0
    folder: str = ""


@dataclass(frozen=True, slots=True)
class PlannedInput:
    """What a job reads.

    Attributes:
        objects: The objects, in order.
        format: How their bytes become records.
        split_bytes: Bytes for each map task.
        records: How many records there are, where it is known beforehand.
        warnings: What the user should know, a sentence each.
        reading: What is said of the format besides its name.
        parts: Of several inputs, each of them.
    """

    objects: tuple[PlannedObject, ...]
    format: Format
    split_bytes: int
    records: int | None
    warnings: tuple[str, ...] = ()
    reading: Reading = PLAINLY
    parts: tuple[PlannedInput, ...] = ()


def store_input(
    named: Storable, store: ObjectStore, *, job: str, keys: Keyring, split_size: int, slots: int, parallel: int, folder: str = ""
) -> Files | StoredInput:
    """Store items or rows beside a job; locations are left as they are.

    Args:
        named: What the user named.
        store: Where it is put.
        job: Identifier of the job.
        keys: The key of the workspace.
        split_size: Bytes for each map task; 0 for automatic.
        slots: How many workers run at once.
        parallel: How many objects may be on their way at once.
        folder: In which folder of the job's input, with a slash behind it.

    Raises:
        InputEmptyError: There is nothing to map over.
        UnpicklableError: An item does not pickle.
        StoreError: It cannot be written.
    """
    if isinstance(named, Files):
        return named
    prefix, split_bytes, slots = Layout(job).input + folder, split_size or LARGEST_CHUNK, min(slots, _STORING_SLOTS)
    with Sender(store, parallel) as sender:
        if isinstance(named, Items):
            with modules_by_value():
                infos, records = store_items(named.values, sender, prefix, keys=keys, split_bytes=split_bytes, slots=slots, each=named.each)
            format, what = Format.ITEMS, "The iterable has no items"
        else:
            infos, records = store_frame(named.frame, sender, prefix, keys=keys, split_bytes=split_bytes, slots=slots)
            format, what = Format.FRAME, "The DataFrame has no rows"
    if not records:
        raise InputEmptyError(f"{what}: there is nothing to map over.")
    return StoredInput(format, records, split_bytes, bytes=sum(info.size for info in infos), folder=folder)


class Sender:
    """Puts objects while the next ones are made, where each put is a journey. As a context, it ends when all have arrived.

    Args:
        store: Where to.
        parallel: How many may be on their way at once.
    """

    def __init__(self, store: ObjectStore, parallel: int) -> None:
        self._store = store
        self._pool = ThreadPoolExecutor(parallel) if parallel > 1 else None
        self._room = BoundedSemaphore(max(parallel, 1))
        self._sent: list[Future[bool]] = []
        self._pack: list[tuple[str, Sequence[bytes]]] = []
        self._pack_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, raised: object, *_: object) -> None:
        if raised is None:
            self._send_pack()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=raised is not None)
            for sent in self._sent if raised is None else ():
                sent.result()

    def put(self, key: str, data: Sequence[bytes]) -> None:
        """Put one object, or begin to, or pack it with its neighbours. What fails is raised here or when the context ends.

        Raises:
            StoreError: It, or one before it, could not be written.
        """
        size = sum(map(len, data))
        if not is_one_frame(data) or size > _MEMBER_BYTES:
            self._send_pack()
            self._send(key, data)
            return
        self._pack.append((key, data))
        self._pack_bytes += size
        if self._pack_bytes >= _PACK_BYTES:
            self._send_pack()

    def _send_pack(self) -> None:
        pack, self._pack, self._pack_bytes = self._pack, [], 0
        if pack:
            key = pack[0][0]
            self._send(key if len(pack) == 1 else key + _PACK, [piece for _, data in pack for piece in data])

    def _send(self, key: str, data: Sequence[bytes]) -> None:
        if self._pool is None or sum(map(len, data)) > _SMALL:
            self._store.put(key, data)
            return
        self._room.acquire()
        arrived, self._sent = [sent for sent in self._sent if sent.done()], [sent for sent in self._sent if not sent.done()]
        for sent in arrived:
            sent.result()
        sent = self._pool.submit(self._store.put, key, data)
        sent.add_done_callback(lambda _: self._room.release())
        self._sent.append(sent)


def plan_input(
    named: Files | StoredInput,
    sources: Mapping[str, InputSource],
    *,
    store: ObjectStore,
    job: str,
    format: str,
    split_size: int,
    slots: int,
    per_slot: int = 4,
    reading: Reading = PLAINLY,
) -> PlannedInput:
    """List what a job reads.

    Args:
        named: What the user named, or what was stored of it.
        sources: Input sources by scheme.
        store: Where items and rows were put.
        job: Identifier of the job.
        format: Name of a format, or `auto`.
        split_size: Bytes for each map task; 0 for automatic.
        slots: How many workers run at once.
        per_slot: How many splits each of them should get at least.
        reading: What is said of the format besides its name.

    Raises:
        InputError: The input is missing, empty, mixed or unreadable.
        ConfigError, PlanError: The format is none, or is not read.
    """
    if isinstance(named, StoredInput):
        prefix = Layout(named.job or job).input + named.folder
        objects = tuple(_stored_object(info, store) for info in store.list_prefix(prefix))
        _check_stored(named, objects, prefix)
        return PlannedInput(objects, named.format, named.split_bytes, named.records, reading=reading)
    found = find(named, sources)
    chosen = _told_format(format, found, sources)
    split_bytes = choose_split_bytes(sum(item.info.size for item in found), slots=slots, requested=split_size or None, per_slot=per_slot)
    if chosen is Format.CSV:
        first = _first(found)
        reading = settle(reading, _whole(first), sources[first.scheme])
    objects = tuple(_planned_object(item, chosen, sources[item.scheme], split_bytes, reading) for item in found)
    warnings = warnings_of(named, objects, chosen, reading, split_bytes=split_bytes)
    return PlannedInput(objects, chosen, split_bytes, None, warnings, reading)


def _check_stored(stored: StoredInput, objects: Sequence[PlannedObject], prefix: str) -> None:
    """Refuse what is not all that was stored. What is in it is checked when it is read."""
    found = sum(planned.info.size for planned in objects)
    if stored.bytes and found != stored.bytes:
        names = ", ".join(planned.info.key for planned in objects[:3]) + (", …" if len(objects) > 3 else "")
        raise CorruptObjectError(
            f"The input of the job is not what was stored below {prefix}: {stored.bytes:,} bytes were, and {found:,} are there"
            f"{f' ({names})' if names else ''}. Submit the job again."
        )


def _stored_object(info: ObjectInfo, store: ObjectStore) -> PlannedObject:
    cuts = frame_ends(store.get(info.key), name=info.key) if info.key.endswith(_PACK) else ()
    return PlannedObject("job", replace(info, version=""), cuttable=False, packable=False, cuts=cuts[:-1])


def _told_format(requested: str, found: Sequence[FoundObject], sources: Mapping[str, InputSource]) -> Format:
    """Return the format of the objects: what their names tell, or how the first one begins where names tell nothing."""
    chosen = choose_format(requested, found)
    if chosen is not Format.TEXT or requested != "auto":
        return chosen
    first = _first(found)
    if "." in first.info.key.rpartition("/")[2]:
        return chosen
    head = sources[first.scheme].get(first.info.key, 0, max(map(len, _BEGINNINGS)))
    return next((format for magic, format in _BEGINNINGS.items() if head.startswith(magic)), chosen)


_BEGINNINGS: Final[Mapping[bytes, Format]] = MappingProxyType({known.magic: format for format, known in KNOWN.items() if known.magic})


def _first(found: Sequence[FoundObject]) -> FoundObject:
    """Return the first object that holds something; there is one."""
    return next(item for item in found if item.info.size)


def _planned_object(item: FoundObject, format: Format, source: InputSource, split_bytes: int, reading: Reading) -> PlannedObject:
    if item.info.size <= split_bytes:  # nobody needs to know: it is not cut, and its reader looks at its head anyway
        return PlannedObject(item.scheme, item.info, cuttable=False)
    if format is Format.TABLE:
        return PlannedObject(item.scheme, item.info, cuttable=False)
    whole = _whole(item)
    parts = KNOWN[format].parts if format in KNOWN else None
    if parts is not None:
        return PlannedObject(item.scheme, item.info, cuttable=parts(whole, source))
    head = source.get(item.info.key, 0, HEAD_BYTES)
    cuts = csv_cuts(whole, source, reading, split_bytes=split_bytes) if format is Format.CSV and plain(head) else ()
    return PlannedObject(item.scheme, item.info, cuttable=cuttable(head, format, reading), cuts=cuts)


def _whole(item: FoundObject) -> Span:
    return Span(item.scheme, item.info.key, 0, item.info.size, item.info.size, item.info.version)
