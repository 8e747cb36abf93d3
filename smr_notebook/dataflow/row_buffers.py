"""The rows that `reduce` gives, collected until there are enough of them for the sink."""

from __future__ import annotations

from typing import Any, Final

from smr_notebook.dataflow.columns import encode_values
from smr_notebook.dataflow.draining import sample_bytes
from smr_notebook.dataflow.emitting import PairSink
from smr_notebook.dataflow.functions import UserCodeError, short_repr
from smr_notebook.dataflow.meter import Meter

MOST_ROWS: Final = 10_000
_ROW_BYTES: Final = 4 << 20


class RowBuffer:
    """Collects rows for the sink. How many at once depends on how large they turn out to be.

    Args:
        sink: Takes them.
        meter: Counts them.

    Attributes:
        keys: The keys of the rows.
        values: Their values.
        groups: The key of the group of each row; `None` where the sink does not want it.
        limit: How many rows should be there before they are handed over.
    """

    def __init__(self, sink: PairSink, meter: Meter) -> None:
        self._sink = sink
        self._meter = meter
        self.keys: list[Any] = []
        self.values: list[Any] = []
        self.groups: list[Any] | None = None
        self.limit = 16

    def add(self, group: Any, keys: list[Any], values: list[Any]) -> None:
        """Take the rows of one group."""
        self.keys += keys
        self.values += values
        if self.groups is not None:
            self.groups += [group] * len(keys)

    def flush(self) -> None:
        """Hand the rows over."""
        keys, values, groups = self.keys, self.values, self.groups
        if not keys:
            return
        try:
            self._sink.add(keys, values, groups)
            size = sample_bytes(keys) + sample_bytes(values)
        except TypeError as error:
            raise UserCodeError("reduce", short_repr(_unstorable(keys, values, groups))) from error
        self._meter.pairs_out += len(keys)
        self.limit = max(1, min(self.limit * 8, _ROW_BYTES * len(keys) // max(size, 1), MOST_ROWS))
        self.keys, self.values = [], []
        self._meter.emitted = self.keys
        self.groups = None if groups is None else []


def _unstorable(keys: list[Any], values: list[Any], groups: list[Any] | None) -> Any:
    """Return the key of the group whose row cannot be stored."""
    for row in range(len(keys)):
        try:
            encode_values([keys[row]])
            encode_values([values[row]])
        except TypeError:
            return (groups or keys)[row]
    return keys[0]
