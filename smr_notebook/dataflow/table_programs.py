"""The program of `aggregate`: columns in, built-in aggregations of groups of rows, columns out. No Python for each row.

A pair is a row that the filter keeps: its key is what it is grouped by, its value the tuple of what is aggregated. What the rows are
grouped by travels as values too where a key does not tell it exactly, and then is that of the first row of the group.

Rules:

* Only columns that something names are read. Parquet row groups that the filter rules out are not.
* Rows are grouped as frames are (`dataflow.frames.keys`): `1` and `1.0` are one group, missing values are one.
* An attempt that is due ends in front of a block.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from smr_notebook.dataflow.aggregates import Aggregation, told
from smr_notebook.dataflow.aggregating import FoldCombiner, aggregate_groups
from smr_notebook.dataflow.arrow_kinds import Rows
from smr_notebook.dataflow.columns import Column
from smr_notebook.dataflow.exact_arrays import exact_array
from smr_notebook.dataflow.expressions import evaluate, names_in
from smr_notebook.dataflow.folds.arrow_values import array_of, values_of
from smr_notebook.dataflow.folds.composite import Several
from smr_notebook.dataflow.folds.number_columns import Numbers, numbers_of
from smr_notebook.dataflow.folds.steps import CountRows, Fold, Mean, One, Sum
from smr_notebook.dataflow.folds.tuples import tuple_column, tuple_parts
from smr_notebook.dataflow.frames.keys import keys_of
from smr_notebook.dataflow.frames.reducing import RowSink
from smr_notebook.dataflow.frames.rows import rows_of_arrays
from smr_notebook.dataflow.functions import Pair, UserCodeError, short_repr
from smr_notebook.dataflow.grouping import Pairs
from smr_notebook.dataflow.inputs import SplitInput, require_columns
from smr_notebook.dataflow.keys import KeyColumn, KeyKind, decode_keys
from smr_notebook.dataflow.merging import Blocks
from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.passing import key_values
from smr_notebook.dataflow.programs import Handed, Tried
from smr_notebook.dataflow.table_blocks import TableBlock
from smr_notebook.dataflow.tables import has_columns
from smr_notebook.dataflow.tolerant_tables import leave_out
from smr_notebook.errors import InputFormatError, PairShapeError, PlanError
from smr_notebook.model import UNSORTED, Position

Named = str | pc.Expression
"""A column: its name, or what it is computed from."""

_TRIED_BYTES: Final = 256 << 10
_TOLD_BY_KEY: Final = (pa.types.is_boolean, pa.types.is_integer, pa.types.is_string, pa.types.is_large_string)
"""Types of columns whose keys are their values."""


@dataclass(frozen=True, slots=True, eq=False)
class Aggregated:
    """What the user asked for.

    Attributes:
        by: What rows are grouped by: names of the result's columns, and what they are.
        aggregations: Names of the result's further columns, and what they are.
        where: Which rows; `None` for all.
    """

    by: tuple[tuple[str, Named], ...]
    aggregations: tuple[tuple[str, Aggregation], ...]
    where: pc.Expression | None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read."""
        parts: list[Any] = [part for _, part in self.by] + [aggregation.column for _, aggregation in self.aggregations] + [self.where]
        found: dict[str, None] = {}
        for part in parts:
            found.update(dict.fromkeys([part] if isinstance(part, str) else [] if part is None else names_in(part)))
        return tuple(found)

    @property
    def fold(self) -> Several:
        """The first value of what is grouped by, and the aggregations."""
        folds = (*(One("first") for _ in self.by), *(_in_columns(aggregation.fold) for _, aggregation in self.aggregations))
        return Several(folds, tuple(name for name, _ in (*self.by, *self.aggregations)))


def _in_columns(fold: Fold) -> Fold:
    return Numbers(fold) if isinstance(fold, Sum | Mean) else fold


@dataclass(frozen=True, slots=True, eq=False)
class TableProgram:
    """Implements `programs.Program`."""

    asked: Aggregated

    reduces = True
    combines = True
    splits_per_worker = 2
    sorting = UNSORTED
    grouped_order = False
    has_law = False

    def named(self) -> Iterable[tuple[str, Callable[..., Any]]]:
        """There are no functions of the user's."""
        return ()

    def check_input(self, inputs: Sequence[SplitInput]) -> None:
        """Refuse input without columns, or without those that are named. Raises `PlanError`."""
        first = inputs[0]
        if not has_columns(first.format):
            raise PlanError(
                f"The input is {first.format}, whose records have no columns to aggregate. Give Parquet, JSON lines, dicts or a "
                "DataFrame, or use map_reduce."
            )
        if self.asked.columns:
            require_columns(self.asked.columns, inputs)

    def try_out(self, input: SplitInput) -> Iterator[Tried]:
        """Take small blocks."""
        for block in self._tables(input, _TRIED_BYTES):
            pairs = sum(len(keys) for keys, _ in pairs_of(self.asked, block))
            yield Tried(block.records, block.size, [(None, None)] * pairs)

    def check(self, pairs: Sequence[Pair]) -> None:
        """There is nothing to check."""

    def emitter(self, input: SplitInput, *, meter: Meter, batch_bytes: int) -> TableEmitter:
        """Return what takes columns from tables."""
        return TableEmitter(self.asked, self._tables(input, batch_bytes), meter=meter)

    def combiner(self, *, tolerant: bool = False) -> FoldCombiner:  # noqa: ARG002 - the face of Program
        """Return what makes states."""
        return FoldCombiner(self.asked.fold)

    def map_to_rows(self, input: SplitInput, _sink: RowSink, *, meter: Meter) -> Position | None:
        """Map, and write nothing: the rows of an aggregation are made where groups are whole."""
        emitter = self.emitter(input, meter=meter, batch_bytes=_TRIED_BYTES)
        deque(emitter.batches(), maxlen=0)
        return emitter.position

    def reduce(self, blocks: Blocks, sink: RowSink, *, meter: Meter, done: int) -> Handed:
        """Merge and finish states, and write rows."""
        write = partial(write_rows, self.asked, sink)
        handed = aggregate_groups(self.asked.fold, blocks, write, meter=meter, done=done)
        if not meter.pairs_out:
            names = [name for name, _ in (*self.asked.by, *self.asked.aggregations)]
            nothing = Rows(pa.schema([pa.field(name, pa.null()) for name in names]), [pa.nulls(0) for _ in names], 0)
            sink.add_rows(nothing, by=[name for name, _ in self.asked.by])  # so that a result without rows has its columns
        return handed

    def _tables(self, input: SplitInput, batch_bytes: int) -> Iterator[TableBlock]:
        return input.tables(self.asked.columns, filter=self.asked.where, batch_bytes=batch_bytes)


class TableEmitter:
    """Implements `programs.Emitter` for the rows of tables.

    Args:
        asked: What is aggregated.
        blocks: The rows.
        meter: Counts, and may end or stop the attempt.
    """

    def __init__(self, asked: Aggregated, blocks: Iterable[TableBlock], *, meter: Meter) -> None:
        self._asked = asked
        self._blocks = blocks
        self._meter = meter
        self.position: Position | None = None

    def batches(self) -> Iterator[Sequence[Pairs]]:
        """Yield the pairs of each block. Raises as `Emitter.batches` does."""
        meter = self._meter
        for block in self._blocks:
            meter.check()
            if meter.ending:
                self.position = block.at
                return
            pairs = pairs_of(self._asked, block) if block.rows else []
            meter.bytes_read += block.size
            meter.records_read += block.records
            meter.records_mapped += block.records - len(block.others)
            leave_out(meter, block.others, source=block.source, done=block.at.done)
            meter.pairs_in += sum(len(keys) for keys, _ in pairs)
            if pairs:
                yield pairs


def pairs_of(asked: Aggregated, block: TableBlock) -> list[Pairs]:
    """Return the rows of a block that the filter keeps as pairs, one column for each kind of key.

    Raises:
        InputFormatError: An expression cannot be computed, or a column cannot be grouped by.
    """
    wanted: dict[str, Named] = {f"by {place}": part for place, (_, part) in enumerate(asked.by)}
    for place, (_, aggregation) in enumerate(asked.aggregations):
        if aggregation.column is not None:
            wanted[f"of {place}"] = aggregation.column
    columns, count = _columns(asked.where, wanted, block)
    if not count:
        return []
    by = _grouped(asked, columns, count, block.source)
    told = [_value_of_key(column) for column in by.columns] if len(by.columns) == 1 else [False] * len(by.columns)
    values = [Column("null", pa.nulls(count)) if plain else values_of(column) for plain, column in zip(told, by.columns, strict=True)]
    for place, (_, aggregation) in enumerate(asked.aggregations):
        if aggregation.column is None:
            values.append(Column("null", pa.nulls(count)))
        else:
            take = numbers_of if isinstance(aggregation.fold, Sum | Mean) else values_of
            values.append(take(_plain(columns[f"of {place}"])))
    row = tuple_column(values)
    return [(keys, row if rows is None else row.take(rows)) for keys, rows in _keys(by, block.source)]


def _columns(where: pc.Expression | None, wanted: dict[str, Named], block: TableBlock) -> tuple[dict[str, Any], int]:
    """Return the wanted columns of the rows that are kept, and how many these are."""
    computed = {name: part for name, part in wanted.items() if not isinstance(part, str)}
    needed: dict[str, None] = {}
    for expression in [*computed.values(), *([] if where is None else [where])]:
        needed.update(dict.fromkeys(names_in(expression)))
    arrays = {name: _array(name, block.columns[name], block.source) for name in needed}
    found = evaluate(arrays, block.rows, where=where, computed=computed, source=block.source)
    columns = dict(found.columns)
    for name, part in wanted.items():
        if isinstance(part, str):
            columns[name] = _taken(block.columns[part], found.rows)
    return columns, block.rows if found.rows is None else len(found.rows)


def _taken(column: Any, rows: Any) -> Any:
    if rows is None or len(rows) == len(column):
        return column
    return [column[row] for row in rows.tolist()] if isinstance(column, list) else column.take(rows)


def _plain(column: Any) -> Any:
    """Return a column without dictionary or extension."""
    return column if isinstance(column, list) else rows_of_arrays(["x"], [column], count=len(column), function="the input").columns[0]


def _array(name: str, column: Any, source: str) -> Any:
    if not isinstance(column, list):
        return _plain(column)
    try:
        return exact_array(column)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise InputFormatError(
            f"{source}: the column {name!r} has values that go into no one type of Arrow ({error}), and so can be neither grouped by "
            "nor computed with. Use a map function over records."
        ) from error


def _grouped(asked: Aggregated, columns: dict[str, Any], count: int, source: str) -> Rows:
    names = [name for name, _ in asked.by]
    arrays = [_array(name, columns[f"by {place}"], source) for place, name in enumerate(names)]
    return rows_of_arrays(names, arrays, count=count, function="the input")


def _keys(by: Rows, source: str) -> list[tuple[KeyColumn, Any]]:
    try:
        return keys_of(by, by.schema.names, "the input")
    except PairShapeError as error:
        raise InputFormatError(f"{source}: {error}") from error


def _value_of_key(column: Any) -> bool:
    return not column.null_count and any(belongs(column.type) for belongs in _TOLD_BY_KEY)


# ---------------------------------------------------------------- rows


def write_rows(asked: Aggregated, sink: RowSink, keys: KeyColumn, results: Column) -> None:
    """Write finished groups as rows: what they are grouped by, and the aggregations.

    Raises:
        UserCodeError: Results go into no one type of a column.
    """
    found = tuple_parts(results)
    names = [name for name, _ in asked.by]
    columns = [_by_value(keys, column) for column in found[: len(names)]] if len(names) == 1 else found[: len(names)]
    columns += found[len(names) :]
    names += [name for name, _ in asked.aggregations]
    try:
        arrays = [array_of(column, name) for name, column in zip(names, columns, strict=True)]
    except TypeError as error:
        raise UserCodeError("reduce", short_repr(decode_keys(keys.slice(0, 1))[0])) from error
    sink.add_rows(rows_of_arrays(names, arrays, count=len(keys), function="the aggregation"), by=[name for name, _ in asked.by])


def _by_value(keys: KeyColumn, first: Column) -> Column:
    """Return the values that groups are grouped by: of the first row where that has been kept, else the keys."""
    if keys.kind is KeyKind.OTHER or not first.array.null_count:
        return first
    if first.array.null_count == len(first):
        return key_values(keys)
    rows: Any = pc.coalesce(first.array, key_values(keys).array.cast(first.array.type))
    return Column(first.kind, rows)


# ---------------------------------------------------------------- what was asked for


def program_of_aggregations(by: object, where: object, aggregations: Mapping[str, object]) -> TableProgram:
    """Return the program of what the user asked for. Arguments as of `Session.aggregate`.

    Raises:
        PlanError: One of them is not what it should be.
    """
    grouped = _grouped_by(by)
    if where is not None and not isinstance(where, pc.Expression):
        raise PlanError(f'where must be an expression over columns, such as smr.col("amount") > 10; got {where!r}.')
    for name, aggregation in aggregations.items():
        if not isinstance(aggregation, Aggregation) or (aggregation.column is None and not isinstance(aggregation.fold, CountRows)):
            raise PlanError(
                f'{name}= must be a built-in aggregation of a column, such as smr.sum("amount"), or smr.count(); '
                f"got {told(aggregation) or repr(aggregation)}. ({name} is no option of aggregate.)"
            )
        _check_named(f"{name}=", "rows" if aggregation.column is None else aggregation.column)
        if name in dict(grouped):
            raise PlanError(f"The result would have two columns {name!r}: rows are grouped by it already. Name the aggregation otherwise.")
    found = tuple((name, aggregation) for name, aggregation in aggregations.items() if isinstance(aggregation, Aggregation))
    return TableProgram(Aggregated(grouped, found, where if isinstance(where, pc.Expression) else None))


def _grouped_by(by: object) -> tuple[tuple[str, Named], ...]:
    """Return the columns that are grouped by, with their names in the result."""
    if isinstance(by, Mapping):
        pairs = list(by.items())
    else:
        pairs = [(part, part) for part in (by if isinstance(by, Iterable) and not isinstance(by, str | pc.Expression) else [by])]
    for name, part in pairs:
        if isinstance(name, pc.Expression):
            raise PlanError(f'An expression to group by needs a name, {{"name": …}} with names for all that is grouped by; got {name}.')
        _check_named("by", name if isinstance(part, pc.Expression) else part)
        if not isinstance(name, str):
            raise PlanError(f"by: the name of a column must be a str; got {name!r}.")
    names = [name for name, _ in pairs]
    if not names or len(set(names)) < len(names):
        raise PlanError(f"by must name a column, or several, each once; got {by!r}.")
    return tuple(pairs)


def _check_named(what: str, part: object) -> None:
    if not isinstance(part, str | pc.Expression):
        raise PlanError(f'{what} must be the name of a column or an expression such as smr.col("price") * smr.col("n"); got {part!r}.')
