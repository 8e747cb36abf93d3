"""Parquet: row groups of a span, as Arrow batches or as dicts.

Rules:

* A row group belongs to the span in which the first byte of its first column lies, so that any plan over the bytes of an object reads
  each row once. Row groups are read in the order of those bytes. Within a span, each accounts for the bytes up to the next one.
* A footer is read once for each span, and only what is asked for is read besides: columns by name, row groups that a filter leaves.
* Memory holds one row group as it is stored (or, when that is large, a few MiB of each of its columns) and one batch of its rows.
* Footer, pages and values that are not what Parquet says are an `InputFormatError` that names the object. Checksums of pages are
  checked where the writer left some.
* Statistics leave out NaN, and Arrow's own pruning believes them: `~(x <= 5)` loses a group that holds NaN. So a filter that looks at
  numbers with NaN prunes only when it is made of plain comparisons, which NaN never meets.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, cast

import pyarrow as pa
import pyarrow.parquet as pq

from smr_notebook.dataflow.records import RecordBlock, SpanBytes
from smr_notebook.errors import InputError, InputFormatError
from smr_notebook.model import PLAINLY, Reading, Span
from smr_notebook.ports import InputSource

if TYPE_CHECKING:
    import pyarrow.compute as pc

MAGIC: Final = b"PAR1"
"""First and last bytes of an object."""

RECORDS_BYTES: Final = 1 << 20
"""About how many bytes of columns become dicts at a time."""

_ENCRYPTED = b"PARE"
_END = 8
_TAIL_BYTES = 256 << 10
_PREFETCH_BYTES = 64 << 20
_STREAM_BYTES = 4 << 20
_MOST_ROWS = 1 << 20


@dataclass(frozen=True, slots=True)
class RowGroup:
    """A row group of a span.

    Attributes:
        number: Index in the footer.
        rows: How many it has.
        size: Input bytes that it accounts for.
        begin: Byte at which a span can begin with it; `None` where it shares that byte with the group before it.
    """

    number: int
    rows: int
    size: int
    begin: int | None


class ParquetSpan:
    """The row groups of one span, and what they hold. As a context manager's body, it is open.

    Attributes:
        names: Of the columns of the object.
        schema: Of its rows, as Arrow.
        dtypes: As of `tables.TableBlock`, where pandas wrote the object.
        groups: Those of the span, in order.
    """

    def __init__(self, span: Span, file: _ObjectFile) -> None:
        self._span = span
        self._file = file
        self._opened = pq.ParquetFile(pa.PythonFile(file, mode="r"), pre_buffer=True, page_checksum_verification=True)
        self._metadata = self._opened.metadata
        self.schema: pa.Schema = self._opened.schema_arrow
        self.names: list[str] = self.schema.names
        self.dtypes = _dtypes(self.schema)
        repeated = sorted({name for name in self.names if self.names.count(name) > 1})
        if repeated:
            raise InputFormatError(f"{span.key} has more than one column named {repeated[0]!r}. Write it anew with distinct names.")
        self.groups: list[RowGroup] = list(self._groups())

    def _groups(self) -> Iterator[RowGroup]:
        begins = [(self._begin(number), number) for number in range(self._metadata.num_row_groups)]
        inside = sorted(item for item in begins if self._span.start <= item[0] < self._span.stop)
        if not inside:
            return
        edges = [self._span.start, *(begin for begin, _ in inside[1:]), self._span.stop]
        before = None
        for (begin, number), (start, stop) in zip(inside, pairwise(edges), strict=True):
            place = start if before is None or begin > before else None
            yield RowGroup(number, self._metadata.row_group(number).num_rows, stop - start, place)
            before = begin

    def _begin(self, number: int) -> int:
        group = self._metadata.row_group(number)
        if group.num_columns == 0:
            return len(MAGIC)
        column = group.column(0)
        if column.file_path:
            raise InputFormatError(
                f"{self._span.key} is a summary of other files (`{column.file_path}`), without rows of its own. Name those files instead."
            )
        starts = [offset for offset in (column.dictionary_page_offset, column.data_page_offset) if offset]
        return min(starts, default=len(MAGIC))

    def rest(self) -> int:
        """Return the bytes of the span that no row group accounts for."""
        return 0 if self.groups else self._span.stop - self._span.start

    def kept(self, filter: pc.Expression | None) -> set[int]:
        """Return the numbers of the row groups that hold, for all that their statistics say, rows for a filter."""
        if filter is None or not self.groups or not self._trusted(filter):
            return {group.number for group in self.groups}
        import pyarrow.dataset as ds  # noqa: PLC0415 - a tenth of a second that few inputs need

        fragment: Any = ds.ParquetFileFormat().make_fragment(cast("Any", pa.PythonFile(self._file, mode="r")))
        try:
            return {group.id for group in fragment.subset(filter, schema=self.schema).row_groups}
        except (pa.ArrowException, TypeError):  # it does not fit the columns: whoever applies it says so
            return {group.number for group in self.groups}

    def _trusted(self, filter: pc.Expression) -> bool:
        without_nan = [field for field in self.schema if not _may_hold_nan(field.type)]
        try:
            pa.schema(without_nan).empty_table().filter(filter)
        except (pa.ArrowException, TypeError):
            return only_plain_comparisons(str(filter))
        return True

    def batches(self, group: RowGroup, *, columns: Sequence[str], batch_bytes: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows of one row group.

        Args:
            group: Which.
            columns: Names of those that are read.
            batch_bytes: About how many bytes of them a batch has.
        """
        stored, raw = self._weight(group, set(columns))
        opened = self._opened if stored <= _PREFETCH_BYTES else self._streamed()
        rows = max(1, min(_MOST_ROWS, group.rows * batch_bytes // max(raw, 1)))
        for batch in opened.iter_batches(batch_size=rows, row_groups=[group.number], columns=list(columns), use_threads=False):
            batch.validate(full=True)
            yield batch.select(list(columns))

    def _streamed(self) -> pq.ParquetFile:
        file = pa.PythonFile(self._file, mode="r")
        return pq.ParquetFile(file, metadata=self._metadata, pre_buffer=False, buffer_size=_STREAM_BYTES, page_checksum_verification=True)

    def _weight(self, group: RowGroup, columns: set[str]) -> tuple[int, int]:
        """Return the bytes of some columns of a row group, stored and decompressed."""
        parts = self._metadata.row_group(group.number)
        chunks = [parts.column(number) for number in range(parts.num_columns)]
        named = [chunk for chunk in chunks if chunk.path_in_schema in columns or chunk.path_in_schema.split(".")[0] in columns]
        return sum(chunk.total_compressed_size for chunk in named), sum(chunk.total_uncompressed_size for chunk in named)


@contextmanager
def open_span(span: Span, source: InputSource) -> Iterator[ParquetSpan]:
    """Open the row groups of a span.

    Args:
        span: What to read; it has at least one byte.
        source: Where to read it.

    Raises:
        InputChangedError: The object is not the one that was planned.
        InputFormatError: It is not Parquet, encrypted, or damaged. While the context is open, so are its rows.
        InputMissingError: It is gone.
        InputReadError: It cannot be read.
    """
    planned = SpanBytes(span, source)
    file = _ObjectFile(span, planned)
    try:
        yield ParquetSpan(span, file)
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        if file.failure is not None:
            raise file.failure from None
        if isinstance(error, MemoryError):
            raise
        raise InputFormatError(
            f"{span.key} cannot be read as Parquet: {str(error) or type(error).__name__}. "
            "It is damaged, or holds what this version of pyarrow does not read. Write it anew."
        ) from error
    planned.verify()


def read_parquet(span: Span, source: InputSource, reading: Reading = PLAINLY, *, block_bytes: int = RECORDS_BYTES) -> Iterator[RecordBlock]:  # noqa: ARG001 - the face of Reader
    """Yield the rows of the row groups that begin in a span, as dicts.

    Args:
        span: What to read.
        source: Where to read it.
        reading: What is said of the format besides its name.
        block_bytes: About how many bytes of columns become dicts at a time.

    Raises:
        InputError: As of `open_span`; of a value that no Python type holds as well.
    """
    if span.start == span.stop:
        SpanBytes(span, source).verify()
        return
    with open_span(span, source) as opened:
        for group in opened.groups:
            left, begin = group.size, group.begin
            done = 0
            for batch in opened.batches(group, columns=opened.names, batch_bytes=block_bytes):
                records = _dicts(batch)
                done += len(records)
                size = left if done >= group.rows else group.size * len(records) // group.rows
                left -= size
                yield RecordBlock(span.key, records, size, _nowhere, begin)
                begin = None
            if left:
                yield RecordBlock(span.key, [], left, _nowhere, begin)
        if opened.rest():
            yield RecordBlock(span.key, [], opened.rest(), _nowhere, None)


def is_cuttable(span: Span, source: InputSource) -> bool:
    """Whether an object has several row groups. What cannot be read is not cut: whoever reads it tells why."""
    try:
        with open_span(span, source) as opened:
            return len(opened.groups) > 1
    except InputFormatError:
        return False


# ---------------------------------------------------------------- the object as a file


class _ObjectFile(io.RawIOBase):
    """One planned object as the file that pyarrow reads, its last bytes read once.

    Attributes:
        failure: Why reading failed, where that was no fault of the bytes.
    """

    def __init__(self, span: Span, planned: SpanBytes) -> None:
        self.failure: InputError | None = None
        self._planned = planned
        self._size = span.size
        self._position = 0
        self._tail_start = max(0, span.size - _TAIL_BYTES)
        self._tail = planned.read(self._tail_start, span.size)
        end = self._tail[-len(MAGIC) :]
        if end == _ENCRYPTED:
            raise InputFormatError(f"{span.key} is encrypted Parquet, which is not read here. Give an object that is not encrypted.")
        if end != MAGIC or span.size < len(MAGIC) + _END:
            raise InputFormatError(
                f"{span.key} is not Parquet, or is cut: it does not end as Parquet does. Copy it anew, or name its format (format=…)."
            )

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}
        self._position = max(0, origin[whence] + offset)
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        start = min(self._position, self._size)
        stop = self._size if size < 0 else min(start + size, self._size)
        if start >= self._tail_start:
            data = self._tail[start - self._tail_start : stop - self._tail_start]
        else:
            try:
                data = self._planned.read(start, stop)
            except InputError as error:
                self.failure = error
                raise
        self._position = stop
        return data


# ---------------------------------------------------------------- values


def _dicts(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    names = batch.schema.names
    if not names:
        return [{} for _ in range(batch.num_rows)]
    columns = [_exact(array).to_pylist() for array in batch.columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _exact(array: Any) -> Any:
    """Return an array whose values Python can hold: `datetime.time` knows microseconds, and `to_pylist` cuts what is finer."""
    return array.cast(pa.time64("us")) if array.type == pa.time64("ns") else array


def _dtypes(schema: pa.Schema) -> dict[str, str]:
    columns = (schema.pandas_metadata or {}).get("columns", [])
    found = {column.get("field_name"): str(column.get("numpy_type")) for column in columns}
    marks = {name: "pyarrow" if dtype.endswith("[pyarrow]") else dtype for name, dtype in found.items()}
    return {name: dtype for name, dtype in marks.items() if name in schema.names and _MARKED.fullmatch(dtype)}


_MARKED = re.compile(r"U?Int(8|16|32|64)|Float(32|64)|boolean|string|pyarrow")


def _nowhere(index: int) -> int:  # noqa: ARG001 - the face of RecordBlock.locate
    return -1


# ---------------------------------------------------------------- filters

_PLAIN = "\1"
_COMPARISON = re.compile(r"\((?:\w+ (?:<|<=|>|>=|==) [^()\1]*)\)|is_in\(\w+, \{[^(){}\1]*\}\)")
_JUNCTION = re.compile(rf"\({_PLAIN} (?:and|or) {_PLAIN}\)")


def only_plain_comparisons(filter: str) -> bool:
    """Whether an expression, as text, is made of comparisons of a column with something, `isin`, `&` and `|`: no row with NaN meets one."""
    text = _COMPARISON.sub(_PLAIN, filter)
    while text != (shorter := _JUNCTION.sub(_PLAIN, text)):
        text = shorter
    return text == _PLAIN and "nan" not in filter.lower()


def _may_hold_nan(type: pa.DataType) -> bool:
    return pa.types.is_floating(type) or pa.types.is_nested(type) or (pa.types.is_dictionary(type) and _may_hold_nan(type.value_type))
