"""Objects as pyarrow reads them: as files whose bytes are those that were planned, and its rows as dicts of Python values.

Rules:

* What pyarrow raises while an object is open is an `InputFormatError` that names it, unless reading the bytes failed: then it is that
  failure.
* The last bytes of an object are read once: footers stand there.
* Values are exact, or there is an error.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import pyarrow as pa

from smr_notebook.dataflow.records import RecordBlock, SpanBytes, nowhere
from smr_notebook.errors import InputError, InputFormatError
from smr_notebook.model import Span
from smr_notebook.ports import InputSource

if TYPE_CHECKING:
    import pyarrow.compute as pc

RECORDS_BYTES: Final = 1 << 20
"""About how many bytes of columns become dicts at a time."""

_TAIL_BYTES: Final = 256 << 10
_ASKED: Final = re.compile(r"of size (\d+) failed")
_PLAUSIBLE_BYTES: Final = 1 << 30
_PLAUSIBLE_RATIO: Final = 10_000


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Rows of a span that stand together: a row group of Parquet, a batch of Arrow.

    Attributes:
        number: Index in the footer.
        rows: How many it has; 0 where only reading tells.
        size: Input bytes that it accounts for.
        begin: Byte at which a span can begin with it; `None` where it shares that byte with the group before it.
    """

    number: int
    rows: int
    size: int
    begin: int | None


class OpenedSpan(Protocol):
    """The rows of a span while it is open, whatever holds them.

    Attributes:
        names: Of the columns of the object.
        schema: Of its rows.
        dtypes: As of `tables.TableBlock`.
        groups: Those of the span, in order.
    """

    names: list[str]
    schema: pa.Schema
    dtypes: dict[str, str]
    groups: list[RowGroup]

    def batches(self, group: RowGroup, *, columns: Sequence[str], batch_bytes: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a group, of some columns, in batches of about so many bytes."""
        ...

    def kept(self, filter: pc.Expression | None) -> set[int]:
        """Return the numbers of the groups that may hold rows for a filter."""
        ...

    def rest(self) -> int:
        """Return the bytes of the span that no group accounts for."""
        ...


Opener = Callable[[Span, InputSource], AbstractContextManager[OpenedSpan]]


class ObjectFile(io.RawIOBase):
    """One planned object as the file that pyarrow reads, its last bytes read once.

    Attributes:
        failure: Why reading failed, where that was no fault of the bytes.
        tail: The last bytes.
    """

    def __init__(self, span: Span, planned: SpanBytes) -> None:
        self.failure: InputError | None = None
        self._planned = planned
        self._size = span.size
        self._position = 0
        self._tail_start = max(0, span.size - _TAIL_BYTES)
        self.tail = planned.read(self._tail_start, span.size)

    def readable(self) -> bool:
        """Return that it is."""
        return True

    def seekable(self) -> bool:
        """Return that it is."""
        return True

    def tell(self) -> int:
        """Return where the next byte is read."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Say where the next byte is read, and return it."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}
        self._position = max(0, origin[whence] + offset)
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        """Return so many bytes, or those that are left; all for a negative number."""
        start = min(self._position, self._size)
        stop = self._size if size < 0 else min(start + size, self._size)
        if start >= self._tail_start:
            data = self.tail[start - self._tail_start : stop - self._tail_start]
        else:
            try:
                data = self._planned.read(start, stop)
            except InputError as error:
                self.failure = error
                raise
        self._position = stop
        return data


@contextmanager
def told_of(span: Span, file: ObjectFile, kind: str) -> Iterator[None]:
    """Tell what goes wrong inside as an `InputError` that names the object; `kind` is what it should be."""
    try:
        yield
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, ArithmeticError, LookupError, TypeError) as error:
        if file.failure is not None:
            raise file.failure from None
        if isinstance(error, MemoryError) and not _is_absurd(str(error), span.size):
            raise
        raise InputFormatError(
            f"{span.key} cannot be read as {kind}: {str(error) or type(error).__name__}. "
            "It is damaged, or holds what this version of pyarrow does not read. Write it anew."
        ) from error


def _is_absurd(message: str, size: int) -> bool:
    """Whether memory was asked for that no rows of an object of so many bytes take: a length is damaged."""
    asked = _ASKED.search(message)
    return asked is not None and int(asked[1]) > max(_PLAUSIBLE_BYTES, _PLAUSIBLE_RATIO * size)


def refuse_repeated(names: list[str], key: str) -> None:
    """Refuse columns that no dict can tell apart. Raises `InputFormatError`."""
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputFormatError(f"{key} has more than one column named {repeated[0]!r}. Write it anew with distinct names.")


def read_groups(opener: Opener, span: Span, source: InputSource, *, columns: tuple[str, ...], block_bytes: int) -> Iterator[RecordBlock]:
    """Yield the rows of a span as dicts.

    Args:
        opener: Opens it.
        span: What to read.
        source: Where to read it.
        columns: Names of those that are read, in this order; none for all.
        block_bytes: About how many bytes of columns become dicts at a time.

    Raises:
        InputError: As of `opener`; a column is not there.
    """
    if span.start == span.stop:
        SpanBytes(span, source).verify()
        return
    with opener(span, source) as opened:
        names = wanted_columns(opened.names, columns, span.key)
        for group in opened.groups:
            left, begin, done = group.size, group.begin, 0
            for batch in opened.batches(group, columns=names, batch_bytes=block_bytes):
                records = dicts_of(batch)
                done += len(records)
                size = left if done >= group.rows else group.size * len(records) // group.rows
                left -= size
                yield RecordBlock(span.key, records, size, nowhere, begin)
                begin = None
            if left:
                yield RecordBlock(span.key, [], left, nowhere, begin)
        if opened.rest():
            yield RecordBlock(span.key, [], opened.rest(), nowhere, None)


def wanted_columns(there: Sequence[str], columns: Sequence[str], key: str) -> Sequence[str]:
    """Return the names to read of an object that has these: all, if none is named. Raises `InputFormatError` where one is not there."""
    missing = [name for name in columns if name not in there]
    if missing:
        raise InputFormatError(lacking(key, missing, there))
    return columns or there


def lacking(name: str, missing: Sequence[str], there: Iterable[str]) -> str:
    """Return how a message says that columns are not there."""
    columns = "no columns" if not there else "the columns " + listed(there)
    return f"{name} has no column {listed(missing)}; it has {columns}. Check the spelling."


def listed(names: Iterable[object]) -> str:
    """Return names as a message lists them."""
    shown = [repr(name) if isinstance(name, str) else str(name) for name in names]
    return ", ".join(shown[:50]) + (f" and {len(shown) - 50:,} more" if len(shown) > 50 else "")


def dicts_of(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Return the rows of a batch."""
    names = batch.schema.names
    if not names:
        return [{} for _ in range(batch.num_rows)]
    columns = [_exact(array).to_pylist() for array in batch.columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _exact(array: Any) -> Any:
    """Return an array whose values Python can hold: `datetime.time` knows microseconds, and `to_pylist` cuts what is finer."""
    return array.cast(pa.time64("us")) if array.type == pa.time64("ns") else array


def dtypes_of(schema: pa.Schema) -> dict[str, str]:
    """Return the names of the pandas dtypes of columns, where pandas wrote them and the Arrow type alone does not lead back."""
    columns = (schema.pandas_metadata or {}).get("columns", [])
    found = {column.get("field_name"): str(column.get("numpy_type")) for column in columns}
    marks = {name: "pyarrow" if dtype.endswith("[pyarrow]") else dtype for name, dtype in found.items()}
    return {name: dtype for name, dtype in marks.items() if name in schema.names and _MARKED.fullmatch(dtype)}


_MARKED: Final = re.compile(r"U?Int(8|16|32|64)|Float(32|64)|boolean|string|pyarrow")
