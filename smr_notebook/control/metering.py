"""Ports that count what they are asked for, where somebody bills it.

A process counts into one tally, whoever of its invocations asked: where calls are billed, a process runs one invocation at a time.
What an adapter repeats by itself is not seen here; a large object that is sent in pieces counts a request for each `_PIECE` bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from smr_notebook.control.carriage import Tariff
from smr_notebook.model import ObjectInfo
from smr_notebook.ports import (
    PIECE_BYTES,
    Backend,
    Buffer,
    Carrier,
    Fetched,
    InputSource,
    ItemSource,
    ObjectStore,
    Piece,
    Row,
    ScannedPage,
    Table,
    Wanted,
)
from smr_notebook.values.usage import Tally, Usage, read_units, write_units

_PIECE: Final = 8 << 20
_PAGE: Final = 1000


def metered(backend: Backend) -> Backend:
    """Return a backend whose ports count, if anything of it costs."""
    if not backend.tariff or backend.tally is not None:
        return backend
    tally = Tally()
    return replace(
        backend,
        objects=MeteredStore(backend.objects, tally),
        table=MeteredTable(backend.table, tally),
        sources={scheme: _metered_source(source, tally) for scheme, source in backend.sources.items()},
        tally=tally,
    )


class Spending:
    """What an invocation uses from its beginning on; nothing where nobody bills it.

    Args:
        tally: Counts for the whole process, if anybody bills it.
        since: When the invocation began.
    """

    def __init__(self, tally: Tally | None, since: float) -> None:
        self._tally = tally
        self._before = tally.usage if tally else Usage()
        self._since = since

    def usage(self, now: float, *, row_writes: int = 0) -> Usage:
        """Return it, with so many units of rows that are about to be written."""
        if self._tally is None:
            return Usage()
        return self._tally.usage - self._before + Usage(seconds=now - self._since, row_writes=row_writes)


class MeteredStore:
    """Implements `ports.ObjectStore` by another one."""

    def __init__(self, store: ObjectStore, tally: Tally) -> None:
        self._store = store
        self._tally = tally

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """See `ports.ObjectStore.get`."""
        self._tally.add(Usage(gets=1))
        return self._store.get(key, start, stop)

    def put(self, key: str, data: Buffer | Iterable[Buffer], *, if_absent: bool = False) -> bool:
        """See `ports.ObjectStore.put`."""
        counted = _Counted(data)
        written = self._store.put(key, data if isinstance(data, Buffer) else counted, if_absent=if_absent)
        self._tally.add(Usage(puts=1 + counted.size // _PIECE))
        return written

    def list_prefix(self, prefix: str) -> Iterator[ObjectInfo]:
        """See `ports.ObjectStore.list_prefix`."""
        return _listed(self._store.list_prefix(prefix), self._tally)

    def delete_prefix(self, prefix: str) -> int:
        """See `ports.ObjectStore.delete_prefix`. Deleting is free, listing is not."""
        self._tally.add(Usage(puts=1))
        return self._store.delete_prefix(prefix)


class MeteredTable:
    """Implements `ports.Table` by another one."""

    def __init__(self, table: Table, tally: Tally) -> None:
        self._table = table
        self._tally = tally

    def get(self, group: str, key: str) -> Row | None:
        """See `ports.Table.get`."""
        row = self._table.get(group, key)
        self._tally.add(Usage(row_reads=read_units(len(row.value) if row else 0)))
        return row

    def put(self, group: str, key: str, value: bytes, *, expect: int) -> Row:
        """See `ports.Table.put`. A write that comes too late is billed like any other."""
        self._tally.add(Usage(row_writes=write_units(len(value))))
        return self._table.put(group, key, value, expect=expect)

    def query(self, group: str, prefix: str = "") -> list[Row]:
        """See `ports.Table.query`."""
        rows = self._table.query(group, prefix)
        self._tally.add(Usage(row_reads=read_units(sum(len(row.value) for row in rows), len(rows))))
        return rows

    def delete_group(self, group: str) -> None:
        """See `ports.Table.delete_group`."""
        self._table.delete_group(group)


class MeteredCarrier:
    """Implements `ports.Carrier` by another one."""

    def __init__(self, carrier: Carrier, tariff: Tariff, tally: Tally) -> None:
        self._carrier = carrier
        self._tariff = tariff
        self._tally = tally

    def hold(self, box: str, partitions: int) -> None:
        """See `ports.Carrier.hold`."""
        self._tally.add(Usage(carried=partitions * self._tariff.partition))
        self._carrier.hold(box, partitions)

    def send(self, box: str, name: str, pieces: Iterable[Piece]) -> None:
        """See `ports.Carrier.send`."""
        self._carrier.send(box, name, self._counted(pieces))

    def fetch(self, box: str, partition: int, wanted: Sequence[Wanted]) -> Iterator[Fetched]:
        """See `ports.Carrier.fetch`."""
        sizes = (min(PIECE_BYTES, each.length - offset) for each in wanted for offset in range(0, each.length, PIECE_BYTES))
        self._tally.add(Usage(carried=sum(map(self._tariff.fetched, sizes))))
        return self._carrier.fetch(box, partition, wanted)

    def remove(self, box: str, partitions: int, name: str = "") -> None:
        """See `ports.Carrier.remove`."""
        self._tally.add(Usage(carried=0 if name else partitions * self._tariff.partition))
        self._carrier.remove(box, partitions, name)

    def _counted(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        for piece in pieces:
            self._tally.add(Usage(carried=self._tariff.sent(len(piece.data))))
            yield piece


class MeteredSource:
    """Implements `ports.InputSource` by another one."""

    def __init__(self, source: InputSource, tally: Tally) -> None:
        self._source = source
        self._tally = tally

    def find(self, pattern: str) -> Iterator[ObjectInfo]:
        """See `ports.InputSource.find`."""
        return _listed(self._source.find(pattern), self._tally)

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """See `ports.InputSource.get`."""
        self._tally.add(Usage(gets=1))
        return self._source.get(key, start, stop)

    def stat(self, key: str) -> ObjectInfo:
        """See `ports.InputSource.stat`."""
        self._tally.add(Usage(gets=1))
        return self._source.stat(key)


class MeteredItemSource(MeteredSource):
    """Implements `ports.ItemSource` by another one, too."""

    def __init__(self, source: InputSource, items: ItemSource, tally: Tally) -> None:
        super().__init__(source, tally)
        self._items = items

    def scan(self, key: str) -> Iterator[ScannedPage]:
        """See `ports.ItemSource.scan`."""
        for page in self._items.scan(key):
            self._tally.add(Usage(row_reads=math.ceil(page.units)))
            yield page

    def behind(self, token: str) -> InputSource:
        """See `ports.ItemSource.behind`."""
        return _metered_source(self._items.behind(token), self._tally)


def _metered_source(source: InputSource, tally: Tally) -> MeteredSource:
    return MeteredItemSource(source, source, tally) if isinstance(source, ItemSource) else MeteredSource(source, tally)


class _Counted:
    """The pieces of an object on their way, and how many bytes they were."""

    def __init__(self, data: Buffer | Iterable[Buffer]) -> None:
        self._pieces: Iterable[Buffer] = () if isinstance(data, Buffer) else data
        self.size = len(data) if isinstance(data, Buffer) else 0

    def __iter__(self) -> Iterator[Buffer]:
        for piece in self._pieces:
            self.size += len(piece)
            yield piece


def _listed(found: Iterator[ObjectInfo], tally: Tally) -> Iterator[ObjectInfo]:
    for number, info in enumerate(found):
        if number % _PAGE == 0:
            tally.add(Usage(puts=1))
        yield info
