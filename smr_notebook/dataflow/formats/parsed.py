"""The reader that a user wrote: `parse(stream)` makes records of one whole object.

Rules:

* An object is never cut, and an attempt that goes on behind a leg parses it from its beginning again, and skips what is done. So the same
  object must give the same records each time.
* All bytes of the object are accounted for when `parse` has come to its end, also those that it left unread. An object without bytes
  has no records, and `parse` is not called for it.
* What goes wrong in the stream is an error of the input, also where `parse` catches it. All else that it raises is the user's.
* Records are mapped as they were when they were given, though `parse` may fill the same buffer again, or clear what it has given. So plain
  values, and lists, dicts and tuples of such, are mapped in small blocks, as copies; any other record is mapped before `parse` goes on.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any, Final
from uuid import UUID

from smr_notebook.counting import uncounted
from smr_notebook.dataflow.formats.streams import FETCH_BYTES, ObjectStream, open_stream
from smr_notebook.dataflow.functions import UserCodeError, place_of, short_repr
from smr_notebook.dataflow.records import RecordBlock, SpanBytes, nowhere
from smr_notebook.model import Reading, Span
from smr_notebook.ports import InputSource

MOST_RECORDS: Final = 64
"""Of a block: a wish to stop is heard between blocks only, and `parse` may be slow."""
BLOCK_BYTES: Final = 1 << 20
"""About how many bytes of records a block has at most, unless one alone has more."""

_SCALARS: Final = frozenset({str, bytes, int, float, complex, bool, type(None), Decimal, UUID, date, datetime, time, timedelta})
_CONTAINERS: Final = frozenset({list, tuple, set, frozenset})
_FOREIGN: Final = object()
_ONE_RECORD: Final = (str, bytes, bytearray, memoryview, Mapping)
_LOOKED_AT: Final = 20


@dataclass(frozen=True, slots=True)
class ParsedReader:
    """Implements `records.Reader` by a user's function.

    Attributes:
        parse: Called with a binary file, or with (source, file) if `takes_source`; gives an iterable of records.
        takes_source: Whether `parse` has two parameters.
    """

    parse: Callable[..., Any]
    takes_source: bool

    def named(self) -> Iterable[tuple[str, Callable[..., Any]]]:
        """Return the user's function, by the name that messages call it."""
        return [("parse", self.parse)]

    def __call__(self, span: Span, source: InputSource, reading: Reading) -> Iterator[RecordBlock]:
        """Yield the records of one whole object.

        Raises:
            InputError: The object is gone, has changed, cannot be read, or is damaged compressed data.
            UserCodeError: `parse` raised, or gave no records. Its record number counts in the block that was being made.
        """
        planned = SpanBytes(span, source)
        if span.size:
            yield from self._parsed(span, open_stream(span, planned, decompress=reading.decompress))
        planned.verify()

    def _parsed(self, span: Span, stream: ObjectStream) -> Iterator[RecordBlock]:
        accounted = 0
        making = _Making(self, span, stream)
        while True:
            batch = making.batch()
            size = (span.size if making.ended else stream.reached) - accounted
            accounted += size
            yield RecordBlock(span.key, batch, size, nowhere, None)
            if making.ended:
                return


class _Making:
    """The records of one object as they are made."""

    def __init__(self, reader: ParsedReader, span: Span, stream: ObjectStream) -> None:
        self._reader = reader
        self._span = span
        self._stream = stream
        self._file = io.BufferedReader(stream, max(min(FETCH_BYTES, span.size), 1))
        self._records: Iterator[Any] | None = None
        self._limit = 1
        self.ended = False

    def batch(self) -> list[Any]:
        """Return the next records; the last ones, or none, once `ended`."""
        batch: list[Any] = []
        try:
            with uncounted():  # a continuation reads again what lies before it
                self._fill(batch)
        except BaseException as error:  # noqa: BLE001 - it is raised again, as whose it is
            if self._stream.failure is None:
                raise self._failure(len(batch) + 1, error) from (error.cause if isinstance(error, _NoRecords) else error)
        if self._stream.failure is not None:
            raise self._stream.failure from None
        if batch:
            self._limit = max(1, min(2 * self._limit, MOST_RECORDS, BLOCK_BYTES // _weight(batch[-1])))
        return batch

    def _fill(self, batch: list[Any]) -> None:
        if self._records is None:
            self._records = self._begun()
        for record in self._records:
            kept = _as_it_is(record)
            batch.append(record if kept is _FOREIGN else kept)
            if len(batch) >= self._limit or kept is _FOREIGN:
                return
        self.ended = True

    def _begun(self) -> Iterator[Any]:
        parse = self._reader.parse
        made = parse(self._span.key, self._file) if self._reader.takes_source else parse(self._file)
        iterable = hasattr(type(made), "__iter__") or hasattr(type(made), "__getitem__")
        if not iterable or isinstance(made, _ONE_RECORD) or hasattr(type(made), "__dataframe__"):
            told = f"parse must yield records, or return an iterable of them; got {short_repr(made)} ({type(made).__name__})"
            raise _NoRecords(
                TypeError(f"{told}. If that is one record, yield it; if it holds some, yield from them" if iterable else told), made
            )
        return iter(made)

    def _failure(self, number: int, error: BaseException) -> UserCodeError:
        try:
            offset = -1 if self._file.closed else self._file.tell()
        except (OSError, ValueError):  # it is compressed, or detached
            offset = -1
        failure = UserCodeError("parse", "", source=self._span.key, offset=offset, record_number=number)
        if isinstance(error, _NoRecords):
            failure.place = place_of(self._reader.parse, error.made)
        return failure


class _NoRecords(Exception):  # noqa: N818 - carries the error to where its place is told
    """`parse` gave something else than records.

    Attributes:
        cause: What is wrong.
        made: What `parse` returned.
    """

    def __init__(self, cause: Exception, made: object) -> None:
        super().__init__()
        self.cause = cause
        self.made = made


def _as_it_is(record: Any) -> Any:
    """Return a record that stays as it is now, whatever becomes of what it is made from; `_FOREIGN` where only its maker knows how.

    Raises:
        RecursionError: It holds itself.
    """
    kind = type(record)
    if kind in _SCALARS:
        return record
    if kind is dict:
        if not _SCALARS.issuperset(map(type, record)):
            return _FOREIGN
        values = _all_as_they_are(record.values())
        return _FOREIGN if values is None else dict(zip(record, values, strict=True))
    if kind in _CONTAINERS:
        items = _all_as_they_are(record)
        return _FOREIGN if items is None else items if kind is list else kind(items)
    return _FOREIGN


def _all_as_they_are(values: Iterable[Any]) -> list[Any] | None:
    if _SCALARS.issuperset(map(type, values)):
        return list(values)
    found = list(map(_as_it_is, values))
    return None if any(item is _FOREIGN for item in found) else found


def _weight(record: object, depth: int = 3) -> int:
    """Return about how many bytes a record takes, from some of what it holds."""
    size = sys.getsizeof(record)
    held = record.values() if isinstance(record, dict) else record if isinstance(record, list | tuple | set | frozenset) else ()
    some = list(islice(held, _LOOKED_AT)) if depth else []
    return size + sum(_weight(item, depth - 1) for item in some) * len(held) // max(len(some), 1)
