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

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, cast

import pyarrow as pa
import pyarrow.parquet as pq

from smr_notebook.dataflow.formats.arrow_objects import (
    RECORDS_BYTES,
    ObjectFile,
    RowGroup,
    dtypes_of,
    read_groups,
    refuse_repeated,
    told_of,
)
from smr_notebook.dataflow.records import RecordBlock, SpanBytes
from smr_notebook.errors import InputFormatError
from smr_notebook.model import PLAINLY, Reading, Span
from smr_notebook.ports import InputSource

if TYPE_CHECKING:
    import pyarrow.compute as pc

MAGIC: Final = b"PAR1"
"""First and last bytes of an object."""

_ENCRYPTED = b"PARE"
_END = 8
_PREFETCH_BYTES = 64 << 20
_STREAM_BYTES = 4 << 20
_MOST_ROWS = 1 << 20


class ParquetSpan:
    """The row groups of one span, and what they hold. As a context manager's body, it is open.

    Attributes:
        names: Of the columns of the object.
        schema: Of its rows, as Arrow.
        dtypes: As of `tables.TableBlock`, where pandas wrote the object.
        groups: Those of the span, in order.
    """

    def __init__(self, span: Span, file: ObjectFile) -> None:
        self._span = span
        self._file = file
        self._opened = pq.ParquetFile(pa.PythonFile(file, mode="r"), pre_buffer=True, page_checksum_verification=True)
        self._metadata = self._opened.metadata
        self.schema: pa.Schema = self._opened.schema_arrow
        self.names: list[str] = self.schema.names
        self.dtypes = dtypes_of(self.schema)
        refuse_repeated(self.names, span.key)
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
    file = ObjectFile(span, planned)
    _refuse_others(span, file.tail)
    with told_of(span, file, "Parquet"):
        yield ParquetSpan(span, file)
    planned.verify()


def _refuse_others(span: Span, tail: bytes) -> None:
    end = tail[-len(MAGIC) :]
    if end == _ENCRYPTED:
        raise InputFormatError(f"{span.key} is encrypted Parquet, which is not read here. Give an object that is not encrypted.")
    if end != MAGIC or span.size < len(MAGIC) + _END:
        raise InputFormatError(
            f"{span.key} is not Parquet, or is cut: it does not end as Parquet does. Copy it anew, or name its format (format=…)."
        )


def read_parquet(span: Span, source: InputSource, reading: Reading = PLAINLY) -> Iterator[RecordBlock]:
    """Yield the rows of the row groups that begin in a span, as dicts.

    Args:
        span: What to read.
        source: Where to read it.
        reading: Which columns.

    Raises:
        InputError: As of `open_span`; of a value that no Python type holds, or a column that is not there, as well.
    """
    return read_groups(open_span, span, source, columns=reading.columns, block_bytes=RECORDS_BYTES)


def is_cuttable(span: Span, source: InputSource) -> bool:
    """Whether an object has several row groups. What cannot be read is not cut: whoever reads it tells why."""
    try:
        with open_span(span, source) as opened:
            return len(opened.groups) > 1
    except InputFormatError:
        return False


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
