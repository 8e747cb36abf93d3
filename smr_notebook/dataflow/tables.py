"""Tables: from a split to blocks of columns, for whoever works on columns and needs no record of its own.

The rows of a split are its records in the same order, whatever the plan, with the same positions. A column is an Arrow array where
the format has types (Parquet, Arrow, CSV, the rows of a DataFrame), and a list of exact Python values where it has not (JSON lines, items).

Rules:

* Only named columns are read and decoded.
* A record that lacks a field has `None` there. A Parquet object, or a DataFrame, that lacks a column is an error.
* A row group whose statistics rule a filter out is not read: it counts as records, and gives no rows. Nothing else is filtered here.
* Columns are made of records where `known_formats` says that these are dicts. What is read as columns, for their types or because that is
  faster, is a row of `_READERS`. Lines of text and whole objects have none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from smr_notebook.dataflow.formats.arrow_ipc import open_arrow
from smr_notebook.dataflow.formats.arrow_objects import OpenedSpan, Opener, RowGroup, lacking, listed, wanted_columns
from smr_notebook.dataflow.formats.csv_columns import read_csv_columns, refuse_unnamed
from smr_notebook.dataflow.formats.csv_records import read_csv
from smr_notebook.dataflow.formats.json_columns import read_json_columns
from smr_notebook.dataflow.formats.jsonl import read_jsonl
from smr_notebook.dataflow.formats.parquet import open_span
from smr_notebook.dataflow.formats.result_rows import read_blocks
from smr_notebook.dataflow.formats.stored import FRAME, read_slices
from smr_notebook.dataflow.known_formats import KNOWN
from smr_notebook.dataflow.positions import walk
from smr_notebook.dataflow.records import Reader, RecordBlock, SpanBytes
from smr_notebook.dataflow.table_blocks import TableBlock, TableColumn
from smr_notebook.dataflow.tolerant_tables import columns_of, rows_among
from smr_notebook.errors import InputFormatError, PlanError
from smr_notebook.model import PLAINLY, Format, Position, Reading, Span, Split
from smr_notebook.ports import InputSource

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow.compute as pc

__all__ = ["column_names", "has_columns", "open_tables", "require_columns"]

BATCH_BYTES: Final = 8 << 20
"""About how many bytes of Arrow columns a block has."""

_LOOKED_AT: Final = 10_000


def open_tables(
    split: Split,
    format: Format,
    sources: Mapping[str, InputSource],
    *,
    columns: tuple[str, ...] | None = None,
    filter: pc.Expression | None = None,
    after: Position | None = None,
    batch_bytes: int = BATCH_BYTES,
    reading: Reading = PLAINLY,
    reader: Reader | None = None,
) -> Iterator[TableBlock]:
    """Yield the rows of a split as columns, block by block, in input order.

    Args:
        split: What to read.
        format: How bytes become records.
        sources: Input sources by scheme.
        columns: Names of those that are read, in the order in which they are given; `None` for all. Without types, all are those that
            occur in a block.
        filter: What the rows are going to be filtered by. Row groups that cannot have such rows are not read, and count as records;
            the filter is left to the caller.
        after: The position that another attempt reached: only what follows it is given. `None` for the whole split.
        batch_bytes: About how many bytes of Arrow columns a block has.
        reading: What is said of the format besides its name.
        reader: What reads, where that is no format of ours; its records are dicts.

    Raises:
        PlanError: The format has no columns.
        InputError: As of `inputs.open_blocks`; a record has no columns; an object lacks a column.
    """
    read = _reader_of(format, reading, reader)
    if read is None:
        raise PlanError(
            f"The input is {format}, whose records have no columns. "
            f"Columns are read from {listed(other for other in Format if has_columns(other))}; else use a map function."
        )
    names = None if columns is None else tuple(dict.fromkeys(columns))
    return walk(split, partial(read, want=_Want(names, filter, batch_bytes, reading)), sources, after=after)


def has_columns(format: Format) -> bool:
    """Whether `open_tables` reads a format."""
    return format in _READERS or format is Format.PARSED or (format in KNOWN and KNOWN[format].rows)


def column_names(
    splits: Iterable[Split],
    format: Format,
    sources: Mapping[str, InputSource],
    *,
    reading: Reading = PLAINLY,
    reader: Reader | None = None,
) -> tuple[str, ...]:
    """Return the names of the columns: all of a typed format, else those of the first records, at least 10,000 of them.

    Args:
        splits: What is going to be read.
        format: How bytes become records.
        sources: Input sources by scheme.
        reading: What is said of the format besides its name.
        reader: What reads, where that is no format of ours.

    Raises:
        PlanError, InputError: As of `open_tables`.
    """
    if reading.columns:
        return reading.columns
    if format in _OPENERS:
        return _footer_names(splits, sources, _OPENERS[format])
    found: dict[str, None] = {}
    records = 0
    for block in chain.from_iterable(open_tables(split, format, sources, reading=reading, reader=reader) for split in splits):
        found.update(dict.fromkeys(block.columns))
        records += block.records
        if records >= _LOOKED_AT or (records and format in {Format.FRAME, Format.CSV}):
            break
    return tuple(found)


def _footer_names(splits: Iterable[Split], sources: Mapping[str, InputSource], opener: Opener) -> tuple[str, ...]:
    """Return the names that the first footer tells."""
    for span in chain.from_iterable(split.spans for split in splits):
        if span.size and span.scheme in sources:
            with opener(span, sources[span.scheme]) as opened:
                return tuple(opened.names)
    return ()


def require_columns(
    columns: Iterable[str],
    splits: Iterable[Split],
    format: Format,
    sources: Mapping[str, InputSource],
    *,
    reading: Reading = PLAINLY,
    reader: Reader | None = None,
) -> None:
    """Refuse a job whose input seems to lack a column, before it runs. Arguments as of `column_names`.

    Raises:
        PlanError: There is no such column (in what `column_names` looks at).
        InputError: The input cannot be read.
    """
    there = column_names(splits, format, sources, reading=reading, reader=reader)
    missing = [name for name in columns if name not in there]
    if missing:
        raise PlanError(lacking("The input", missing, there))


# ---------------------------------------------------------------- readers


@dataclass(frozen=True, slots=True)
class _Want:
    """What is asked for, beside the split."""

    columns: tuple[str, ...] | None
    filter: pc.Expression | None
    batch_bytes: int
    reading: Reading

    def of(self, there: Sequence[str], name: str) -> Sequence[str]:
        """Return the names to read of an object that has these. Raises `InputFormatError`."""
        if self.columns is None:
            return wanted_columns(there, self.reading.columns, name)
        return wanted_columns(there, self.columns, name) if self.columns else ()


def _read_groups(span: Span, source: InputSource, want: _Want, *, opener: Opener) -> Iterator[TableBlock]:
    if span.start == span.stop:
        SpanBytes(span, source).verify()
        return
    with opener(span, source) as opened:
        names = want.of(opened.names, span.key)
        kept = opened.kept(want.filter)
        for group in opened.groups:
            if group.number in kept:
                yield from _read_group(span, opened, group, names=names, batch_bytes=want.batch_bytes)
            else:
                nothing = {name: pa.array([], opened.schema.field(name).type) for name in names}
                yield TableBlock(span.key, nothing, 0, group.size, group.begin, group.rows)
        if opened.rest():
            yield TableBlock(span.key, {}, 0, opened.rest(), None, 0)


def _read_group(span: Span, opened: OpenedSpan, group: RowGroup, *, names: Sequence[str], batch_bytes: int) -> Iterator[TableBlock]:
    left, begin, done = group.size, group.begin, 0
    for batch in opened.batches(group, columns=names, batch_bytes=batch_bytes):
        rows = batch.num_rows
        done += rows
        size = left if done >= group.rows else group.size * rows // group.rows
        left -= size
        yield TableBlock(span.key, dict(zip(names, batch.columns, strict=True)), rows, size, begin, rows, dtypes=opened.dtypes)
        begin = None
    if left:
        yield TableBlock(span.key, {name: pa.array([], opened.schema.field(name).type) for name in names}, 0, left, begin, 0)


def _read_tolerantly(span: Span, source: InputSource, want: _Want, *, read: Reader) -> Iterator[TableBlock]:
    for block in read(span, source, want.reading):
        rows, others = rows_among(block)
        columns: Mapping[str, TableColumn] = columns_of(rows, want.columns)
        count = len(block.records)
        yield TableBlock(block.source, columns, len(rows), block.size, block.begin, count, others=others, token=block.token)


def _read_csv(span: Span, source: InputSource, want: _Want) -> Iterator[TableBlock]:
    for found in read_csv_columns(span, source, want.reading, want.columns):
        yield TableBlock(span.key, found.columns, found.rows, found.lines.size, found.lines.begin, found.rows)


def _read_csv_tolerantly(span: Span, source: InputSource, want: _Want) -> Iterator[TableBlock]:
    refuse_unnamed(want.reading, span.key)
    named = replace(want.reading, columns=want.columns or want.reading.columns)  # one that is not there is no fault of a row
    return _read_tolerantly(span, source, replace(want, reading=named), read=read_csv)


def _read_jsonl(span: Span, source: InputSource, want: _Want) -> Iterator[TableBlock]:
    if want.columns is None:
        yield from (_of_dicts(block, span, None) for block in read_jsonl(span, source, want.reading))
        return
    for block, columns, rows in read_json_columns(span, source, want.columns, want.reading):
        yield TableBlock(span.key, columns, rows, block.size, block.begin, rows)


def _read_dicts(span: Span, source: InputSource, want: _Want, *, read: Reader) -> Iterator[TableBlock]:
    return (_of_dicts(block, span, want.columns) for block in read(span, source, want.reading))


def _of_dicts(block: RecordBlock, span: Span, names: Sequence[str] | None) -> TableBlock:
    records: Sequence[Any] = block.records
    if not set(map(type, records)) <= {dict}:
        _refuse_others(block, span)
    columns: dict[str, TableColumn] = {**columns_of(records, names)}
    return TableBlock(block.source, columns, len(records), block.size, block.begin, len(records), token=block.token)


def _refuse_others(block: RecordBlock, span: Span) -> None:
    for index, record in enumerate(block.records):
        if not isinstance(record, dict):
            offset = block.locate(index)
            place = f"{span.key}, the line at offset {offset:,}," if offset >= 0 else f"A record of the input ({span.key})"
            raise InputFormatError(
                f"{place} is no JSON object or dict but of type {type(record).__name__}, which has no columns: {str(record)[:80]!r}. "
                "Give records that are dicts, or use a map function."
            )


def _read_frame(span: Span, source: InputSource, want: _Want) -> Iterator[TableBlock]:
    from smr_notebook.dataflow.frames.pandas_rows import dtype_mark  # noqa: PLC0415 - pandas, which nobody else here needs

    for frame, begin, size in read_slices(span, source):
        names = want.of(list(frame.columns), "The DataFrame")
        columns = {name: _of_series(frame[name]) for name in names}
        dtypes = {name: mark for name in names if (mark := dtype_mark(frame[name].dtype))}
        yield TableBlock(FRAME, columns, len(frame), size, begin, len(frame), dtypes=dtypes)


def _read_result(span: Span, source: InputSource, want: _Want) -> Iterator[TableBlock]:
    for block in read_blocks(span, source):
        rows = block.table.num_rows
        yield TableBlock(block.job, block.columns(want.columns), rows, block.size, block.begin, rows, dtypes=block.dtypes())


def _of_series(series: pd.Series[Any]) -> TableColumn:
    """Return a column of a DataFrame as Arrow, where its dtype has a type there and holds no Python objects."""
    if series.dtype != object:
        try:
            array: Any = pa.array(series, from_pandas=False)
        except (pa.ArrowException, TypeError, ValueError):
            pass
        else:
            return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    return series.tolist()


_OPENERS: Mapping[Format, Opener] = MappingProxyType({Format.PARQUET: open_span, Format.ARROW: open_arrow})

_READERS: Mapping[Format, Callable[..., Iterator[TableBlock]]] = MappingProxyType(
    {
        **{format: partial(_read_groups, opener=opener) for format, opener in _OPENERS.items()},
        Format.FRAME: _read_frame,
        Format.CSV: _read_csv,
        Format.JSONL: _read_jsonl,
        Format.RESULT: _read_result,
    }
)


def _reader_of(format: Format, reading: Reading, own: Reader | None) -> Callable[..., Iterator[TableBlock]] | None:
    """Return what reads columns; `None` where there are none. `own` reads what is no format of ours."""
    if own is None and reading.tolerant and format is Format.CSV:
        return _read_csv_tolerantly
    dicts = own or (KNOWN[format].read if format in KNOWN and KNOWN[format].rows else None)
    if dicts is not None and reading.tolerant:
        return partial(_read_tolerantly, read=dicts)
    if own is None and format in _READERS:
        return _READERS[format]
    return None if dicts is None else partial(_read_dicts, read=dicts)
