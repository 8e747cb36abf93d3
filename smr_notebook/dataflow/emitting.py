"""The pairs that the user's `map` emits, as columns for the exchange or as rows: a record at a time in, a batch at a time out.

A key that cannot be grouped, or a value that cannot be stored, is blamed on the record that emitted it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Protocol

from smr_notebook.dataflow.columns import encode_values, repeated
from smr_notebook.dataflow.draining import MOST_PAIRS, Batch, collect_young, sample_bytes
from smr_notebook.dataflow.functions import Functions, UserCodeError, short_repr
from smr_notebook.dataflow.grouping import Pairs, pair_bytes
from smr_notebook.dataflow.keys import split_keys
from smr_notebook.dataflow.mapping import Sink
from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.records import RecordBlock
from smr_notebook.dataflow.tolerating import Check, drain_of
from smr_notebook.dataflow.value_order import check_values, value_tokens
from smr_notebook.model import Position

_PLAIN: Final = frozenset({bool, int, float, str, bytes})
"""Types whose values can be grouped, stored and ordered, whatever they are."""


class PairSink(Sink, Protocol):
    """A sink that takes pairs as rows: `dataflow.outputs.PartWriter`."""

    def add(self, keys: list[Any], values: list[Any], groups: list[Any] | None = None) -> None:
        """Append rows; `groups` is the key of each row's group, or `None` where rows are not ordered by it."""
        ...


class PairEmitter:
    """Implements `programs.Emitter` for the user's `map` over records.

    Args:
        functions: The user's.
        blocks: The records.
        meter: Counts, and may end or stop the attempt.
        batch_bytes: About how large a batch may become.
        ordered: Whether values must have an order.
        check: Where failures are left out, refuses values for another reason; `None` for no other.
    """

    def __init__(
        self,
        functions: Functions,
        blocks: Iterable[RecordBlock],
        *,
        meter: Meter,
        batch_bytes: int,
        ordered: bool = False,
        check: Callable[[list[Any]], object] | None = None,
    ) -> None:
        self._ordered = ordered
        self._drain = drain_of(functions, blocks, meter=meter, batch_bytes=batch_bytes, check=_check_of(check, ordered=ordered))

    @property
    def position(self) -> Position | None:
        """As of `Drain`."""
        return self._drain.position

    def batches(self) -> Iterator[Sequence[Pairs]]:
        """Yield the batches that `map` emits.

        Raises:
            UserCodeError: `map` raised, a key cannot be grouped, or a value cannot be stored, or has no order and needs one.
            AttemptStopped: The meter was told to stop.
        """
        mapped = 0
        for batch in self._drain.batches():
            columns = _columns(batch, ordered=self._ordered)
            self._drain.fit(len(batch.keys), sum(pair_bytes(keys, values) for keys, values in columns))
            mapped += len(batch.keys)
            batch.clear()
            if mapped >= MOST_PAIRS:
                mapped = 0
                collect_young()
            yield columns


def write_rows(functions: Functions, blocks: Iterable[RecordBlock], sink: PairSink, *, meter: Meter) -> Position | None:
    """Write what the user's `map` emits as rows, as `programs.Program.map_to_rows` says."""
    drain = drain_of(functions, blocks, meter=meter, batch_bytes=4 << 20, check=check_row)
    for batch in drain.batches():
        _add_rows(sink, batch)
        meter.pairs_out += len(batch.keys)
        drain.fit(len(batch.keys), sample_bytes(batch.keys) + sample_bytes(batch.values))
        batch.clear()
        collect_young()
    return drain.position


def _check_of(also: Callable[[list[Any]], object] | None, *, ordered: bool) -> Check:
    """Return what refuses pairs that cannot be grouped or stored, or whose values have no order, quickly where all are plain."""

    def check(keys: list[Any], values: list[Any]) -> None:
        if not set(map(type, keys)) <= _PLAIN:
            split_keys(keys)
        if not set(map(type, values)) <= _PLAIN:
            encoded = encode_values(values)
            if ordered:
                check_values(encoded)
        if also is not None:
            also(values)

    return check


def check_row(keys: list[Any], values: list[Any]) -> None:
    """Refuse what cannot be stored as rows, quickly where all is plain. Raises `TypeError`."""
    for items in (keys, values):
        if not set(map(type, items)) <= _PLAIN:
            encode_values(items)


def _columns(batch: Batch, *, ordered: bool) -> list[Pairs]:
    try:
        columns = split_keys(batch.keys)
    except TypeError as error:
        raise _blame(batch, batch.keys, split_keys) from error
    try:
        values = repeated(batch.values[0], len(batch.values)) if batch.constant else encode_values(batch.values)
    except TypeError as error:
        raise _blame(batch, batch.values, encode_values) from error
    if ordered:
        try:
            check_values(values)
        except TypeError as error:
            raise _blame(batch, batch.values, value_tokens) from error
    return [(keys, values if rows is None else values.take(rows)) for keys, rows in columns]


def _add_rows(sink: PairSink, batch: Batch) -> None:
    try:
        sink.add(batch.keys, batch.values, None)
    except TypeError as error:
        raise _blame(batch, list(zip(batch.keys, batch.values, strict=True)), encode_values) from error


def _blame(batch: Batch, items: list[Any], encode: Callable[[list[Any]], object]) -> UserCodeError:
    """Return the error that names the record whose key or value cannot be encoded."""
    for row, item in enumerate(items):
        try:
            encode([item])
        except TypeError:
            return batch.failure(row)
    return UserCodeError("map", short_repr(items[0]), source=batch.blocks[0][0].source)
