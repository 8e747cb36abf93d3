"""Folds of Python's own `sum`, `min` and `max`: what the builtin gives for the values of a group, to the last bit and the last error.

What cannot be taken together without a difference is kept as it came, and the builtin is called for it in the end: floats, above all,
whose sum depends on their order, and NaN, whose place decides what `min` gives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from smr_notebook.dataflow.columns import Column, encode_values
from smr_notebook.dataflow.folds import choices
from smr_notebook.dataflow.folds.segments import GroupError, Segments, offsets_of, to_states
from smr_notebook.dataflow.folds.steps import Choice, segments_of
from smr_notebook.dataflow.folds.totals import add_integers

_WHOLE = frozenset({int, bool})
_COMPARED = frozenset({"bool", "int", "str", "bytes", "date", "datetime"})


def sum_in_order(values: list[Any]) -> Any:
    """Return what `reduce=sum` gives: the sum of the integers, added to the sum of everything else in input order."""
    whole = sum(value for value in values if type(value) in _WHOLE)
    rest = sum(value for value in values if type(value) not in _WHOLE)
    return rest + whole if whole else rest


def _sum_integers(segments: Segments) -> Segments:
    array: Any = segments.values.array
    if segments.values.kind != "int" or array.null_count:
        return segments
    sums, large = add_integers(array.to_numpy(), segments.offsets)
    if large:
        return segments
    there = segments.counts > 0
    return Segments(Column("int", pa.array(sums[there])), offsets_of(there))


def _compared(choose: choices.Choose) -> choices.Choose:
    def keep(segments: Segments) -> Segments:
        comparable = segments.values.kind in _COMPARED and not segments.values.array.null_count
        return choose(segments) if comparable else segments

    return keep


@dataclass(frozen=True, slots=True)
class Builtin(Choice):
    """`sum`, `min` or `max`, by its name."""

    name: str

    @property
    def additive(self) -> bool:
        """Of `sum`, it is."""
        return self.name == "sum"

    def begin(self, segments: Segments) -> Column:
        """What matters of the values, `None` among them."""
        return to_states(self.choose(segments))

    def choose(self, segments: Segments) -> Segments:
        """Take together what can be."""
        return _CHOOSE[self.name](segments)

    def finish(self, states: Column) -> Column:
        """Call the builtin, unless one value is left of each group."""
        segments = segments_of(states)
        if segments.values.kind in _AS_IT_IS[self.name] and not segments.values.array.null_count and (segments.counts == 1).all():
            return segments.values
        return encode_values([self._call(group, values) for group, values in enumerate(segments.lists())])

    def _call(self, group: int, values: list[Any]) -> Any:
        try:
            return _CALL[self.name](values)
        except Exception as error:
            raise GroupError(group) from error

    def reference(self, values: list[Any]) -> Any:
        """The builtin."""
        return _CALL[self.name](values)


_CHOOSE: dict[str, choices.Choose] = {"sum": _sum_integers, "min": _compared(choices.least), "max": _compared(choices.greatest)}
_AS_IT_IS = {"sum": frozenset({"int"}), "min": _COMPARED, "max": _COMPARED}
"""Kinds of which one value is the result for itself."""
_CALL: dict[str, Callable[[list[Any]], Any]] = {"sum": sum_in_order, "min": min, "max": max}
