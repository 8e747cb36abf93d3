"""Folds: what the built-in aggregations compute, as steps over all groups of a block at once.

A fold is a small algebra. Values become a *state*, one for each group; states of a group become one; a state becomes a result. All
three are columns, so that states travel, spill and merge as values do, and no step makes Python objects of the groups::

    values ─begin→ state ─merge→ state ─finish→ result

Rules of this module:

* How a group is cut, and in how many steps its states are merged, does not change a result (a digest that was shortened apart:
  `dataflow.folds.digests`). What order there is, is input order.
* A column whose values are of one typed kind is never looked at value by value; a pickled one is.
* `None` means that there is nothing: only `CountRows` and `Collect` see it. A group with nothing gives `None`, or an empty list.
* `reference` says the same in plain Python over all values of a group: it is what the tests compare with.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from smr_notebook.dataflow.columns import Column, decode_values, encode_values
from smr_notebook.dataflow.folds import choices, references
from smr_notebook.dataflow.folds.choices import descending
from smr_notebook.dataflow.folds.digests import Digests, digest, quantiles
from smr_notebook.dataflow.folds.means import means
from smr_notebook.dataflow.folds.segments import (
    GroupError,
    Indices,
    Segments,
    list_array,
    list_parts,
    of_lists,
    over_groups,
    to_lists,
    to_states,
)
from smr_notebook.dataflow.folds.totals import Totals, add_up, merge_totals, read_totals, rounded, totals_of
from smr_notebook.dataflow.folds.tuples import tuple_column, tuple_parts
from smr_notebook.dataflow.kinds import fields_of, parse_kind

_FLOAT_INTEGERS = 1 << 53
"""Every integer up to this is a float."""


class Fold(Protocol):
    """One built-in aggregation. Its objects are pickled."""

    @property
    def additive(self) -> bool:
        """Whether a value is its own state wherever values are integers: then these may be added at any place before `begin`."""
        ...

    def prepare(self, values: Column) -> Column:
        """Return what of the values `begin` needs, row by row."""
        ...

    def begin(self, segments: Segments) -> Column:
        """Return the state of each group's prepared values. Raises `GroupError`."""
        ...

    def merge(self, states: Column, offsets: Indices) -> Column:
        """Return one state for the states of each group, which stand in input order. Raises `GroupError`."""
        ...

    def finish(self, states: Column) -> Column:
        """Return the result of each state. Raises `GroupError`."""
        ...

    def reference(self, values: list[Any]) -> Any:
        """Return the result of a group of these values."""
        ...


# ---------------------------------------------------------------- counts


@dataclass(frozen=True, slots=True)
class CountRows:
    """How many values there are, `None` or not."""

    @property
    def additive(self) -> bool:
        """It is."""
        return True

    def prepare(self, values: Column) -> Column:
        """One for each value."""
        return Column("int", pa.array(np.ones(len(values), np.int64)))

    def begin(self, segments: Segments) -> Column:
        """Their sum."""
        return self.merge(segments.values, segments.offsets)

    def merge(self, states: Column, offsets: Indices) -> Column:
        """The sum of counts."""
        counts: Any = states.array
        return Column("int", pa.array(over_groups(np.add, counts.to_numpy(), offsets, 0)))

    def finish(self, states: Column) -> Column:
        """The counts themselves."""
        return states

    def reference(self, values: list[Any]) -> int:
        """`len`."""
        return len(values)


@dataclass(frozen=True, slots=True)
class CountValues(CountRows):
    """How many values are not `None`."""

    def prepare(self, values: Column) -> Column:
        """One for each value, zero for `None`."""
        valid: Any = values.array.is_valid()
        return Column("int", valid.cast(pa.int64()))

    def reference(self, values: list[Any]) -> int:
        """A count."""
        return sum(value is not None for value in values)


# ---------------------------------------------------------------- numbers


class Prepared:
    """A fold that begins with the values as they are."""

    __slots__ = ()

    @property
    def additive(self) -> bool:
        """Not unless a fold says so."""
        return False

    def prepare(self, values: Column) -> Column:
        """The values."""
        return values


@dataclass(frozen=True, slots=True)
class Sum(Prepared):
    """The exact sum, rounded once."""

    @property
    def additive(self) -> bool:
        """It is."""
        return True

    def begin(self, segments: Segments) -> Column:
        """Totals."""
        return totals_of(segments).column()

    def merge(self, states: Column, offsets: Indices) -> Column:
        """Totals of totals."""
        return merge_totals(states, offsets).column()

    def finish(self, states: Column) -> Column:
        """Integers where there are integers only, else floats; with anything else among them, one by one."""
        totals = read_totals(states)
        has_floats = np.diff(totals.bounds) > 0
        if not totals.others and not has_floats.any():
            return Column("int", pa.array(totals.ints, mask=~totals.has_ints))
        floats = rounded(totals)
        if not totals.others and not (totals.has_ints & ~has_floats).any():
            return Column("float", pa.array(floats, mask=~has_floats))
        return encode_values([_total(totals, group, floats) for group in range(len(totals))])

    def finish_as_column(self, states: Column) -> Column:
        """As `finish`, but all of them floats where there are floats, if each integer has one: a column of a table has one type."""
        totals = read_totals(states)
        small = (np.abs(totals.ints) <= _FLOAT_INTEGERS).all()
        if totals.others or not len(totals.floats) or not small:
            return self.finish(states)
        return Column("float", pa.array(rounded(totals), mask=~totals.has_ints & (np.diff(totals.bounds) == 0)))

    def reference(self, values: list[Any]) -> Any:
        """See `references.total`."""
        return references.total(values)


def _total(totals: Totals, group: int, floats: Any) -> Any:
    has_floats = bool(totals.bounds[group] < totals.bounds[group + 1])
    if group in totals.others:
        return references.round_total(_add_up(totals, group), as_float=has_floats)
    if has_floats:
        return float(floats[group])
    return int(totals.ints[group]) if totals.has_ints[group] else None


def _add_up(totals: Totals, group: int) -> Any:
    try:
        return add_up(totals, group)
    except Exception as error:
        raise GroupError(group) from error


@dataclass(frozen=True, slots=True)
class Mean(Prepared):
    """The exact sum divided by the number of values, rounded once."""

    def begin(self, segments: Segments) -> Column:
        """Totals and counts."""
        valid: Any = segments.values.array.is_valid()
        return self.state(totals_of(segments), over_groups(np.add, valid.cast(pa.int64()).to_numpy(), segments.offsets, 0))

    def merge(self, states: Column, offsets: Indices) -> Column:
        """Totals of totals, and sums of counts."""
        array: Any = states.array
        counts = over_groups(np.add, array.field(1).to_numpy(), offsets, 0)
        return self.state(merge_totals(tuple_parts(states)[0], offsets), counts)

    def state(self, totals: Totals, counts: Any) -> Column:
        """Return totals and counts as states."""
        return tuple_column([totals.column(), Column("int", pa.array(counts))])

    def finish(self, states: Column) -> Column:
        """Floats; with anything else than integers and floats among the values, one by one."""
        array: Any = states.array
        counts = array.field(1).to_numpy()
        totals = read_totals(tuple_parts(states)[0])
        floats = pa.array(means(totals, counts), mask=counts == 0)
        if not totals.others:
            return Column("float", floats)
        results = floats.to_pylist()
        for group in totals.others:
            has_floats = bool(totals.bounds[group] < totals.bounds[group + 1])
            total = _add_up(totals, group)
            try:
                results[group] = references.divide(total, int(counts[group]), as_float=has_floats)
            except Exception as error:
                raise GroupError(group) from error
        return encode_values(results)

    def reference(self, values: list[Any]) -> Any:
        """See `references.mean`."""
        return references.mean(values)


# ---------------------------------------------------------------- choices


class Choice(Prepared, ABC):
    """A fold whose state is a list: of the values of a group those that matter."""

    __slots__ = ()

    @abstractmethod
    def choose(self, segments: Segments) -> Segments:
        """Return what matters."""

    def begin(self, segments: Segments) -> Column:
        """What matters of the values."""
        return to_states(self.choose(segments.without_none()))

    def merge(self, states: Column, offsets: Indices) -> Column:
        """What matters of what mattered."""
        return to_states(self.choose(of_lists(states, offsets)))

    def finish(self, states: Column) -> Column:
        """The lists."""
        return _as_values(segments_of(states))


@dataclass(frozen=True, slots=True)
class One(Choice):
    """One value of each group: the first, the least or the greatest."""

    which: str

    def choose(self, segments: Segments) -> Segments:
        """Keep that one."""
        return _ONE[self.which](segments)

    def finish(self, states: Column) -> Column:
        """The value, or `None`."""
        segments = segments_of(states)
        rows: Any = pa.array(segments.offsets[:-1], mask=segments.counts == 0)
        found = Column(segments.values.kind, segments.values.array.take(rows))
        return encode_values(decode_values(found)) if found.kind == "pickle" else found

    def reference(self, values: list[Any]) -> Any:
        """See `references`."""
        return _ONE_REFERENCE[self.which](values)


_ONE: dict[str, choices.Choose] = {"first": choices.first, "min": choices.least, "max": choices.greatest}
_ONE_REFERENCE: dict[str, Callable[[list[Any]], Any]] = {
    "first": references.first,
    "min": references.least,
    "max": references.greatest,
}


@dataclass(frozen=True, slots=True)
class Collect(Choice):
    """All values in input order, `None` too."""

    def begin(self, segments: Segments) -> Column:
        """The values."""
        return to_states(segments)

    def choose(self, segments: Segments) -> Segments:
        """Keep all."""
        return segments

    def reference(self, values: list[Any]) -> list[Any]:
        """The values."""
        return values


@dataclass(frozen=True, slots=True)
class Distinct(Choice):
    """Each value once, in the order of keys."""

    def choose(self, segments: Segments) -> Segments:
        """Keep each once."""
        return choices.distinct(segments)

    def reference(self, values: list[Any]) -> list[Any]:
        """See `references.distinct`."""
        return references.distinct(values)


@dataclass(frozen=True, slots=True)
class Top(Choice):
    """The `n` largest values, the largest first."""

    n: int

    def choose(self, segments: Segments) -> Segments:
        """Keep the largest."""
        return choices.keep_top(self.n)(segments)

    def finish(self, states: Column) -> Column:
        """The lists, sorted."""
        return _as_values(descending(segments_of(states)))

    def reference(self, values: list[Any]) -> list[Any]:
        """See `references.top`."""
        return references.top(values, self.n)


def segments_of(lists: Column) -> Segments:
    """Return states that are lists, one for each group, as segments."""
    return of_lists(lists, np.arange(len(lists) + 1, dtype=np.int64))


def _as_values(segments: Segments) -> Column:
    return encode_values(segments.lists()) if segments.values.kind == "pickle" else to_lists(segments)


# ---------------------------------------------------------------- quantiles


@dataclass(frozen=True, slots=True)
class Quantiles(Prepared):
    """Quantiles at given shares: a list of floats for each group, `None` for an empty one."""

    shares: tuple[float, ...]
    kind = "tuple(list(float),list(float))"

    def begin(self, segments: Segments) -> Column:
        """Digests."""
        segments = segments.without_none()
        array: Any = segments.values.array
        if segments.values.kind in {"int", "float", "bool"}:
            return self._state(array.cast(pa.int64() if segments.values.kind == "bool" else array.type).to_numpy(), None, segments.offsets)
        floats = []
        for group, value in zip(segments.owners.tolist(), decode_values(segments.values), strict=True):
            try:
                floats.append(references.number(value))
            except (TypeError, ValueError, OverflowError) as error:
                raise GroupError(group) from error
        return self._state(np.array(floats, np.float64), None, segments.offsets)

    def merge(self, states: Column, offsets: Indices) -> Column:
        """Digests of digests."""
        array: Any = states.array
        (values, bounds), (weights, _) = list_parts(array.field(0)), list_parts(array.field(1))
        numbers: Any = values
        shares: Any = weights
        return self._state(numbers.to_numpy(), shares.to_numpy(), bounds[offsets])

    def _state(self, values: Any, weights: Any, offsets: Indices) -> Column:
        found = digest(values.astype(np.float64) + 0.0, np.ones(len(values)) if weights is None else weights, offsets)
        arrays = [list_array(pa.array(part), found.offsets) for part in (found.values, found.weights)]
        fields = fields_of(parse_kind(self.kind), [array.type for array in arrays])
        return Column(self.kind, pa.StructArray.from_arrays(arrays, fields=fields))

    def finish(self, states: Column) -> Column:
        """The quantiles."""
        array: Any = states.array
        (values, bounds), (weights, _) = list_parts(array.field(0)), list_parts(array.field(1))
        numbers: Any = values
        shares: Any = weights
        found = quantiles(Digests(numbers.to_numpy(), shares.to_numpy(), bounds), self.shares)
        offsets: Any = pa.array(np.arange(len(found) + 1, dtype=np.int32) * len(self.shares))
        empty = pa.array(np.diff(bounds) == 0)
        flat: Any = pa.array(found.reshape(-1))
        return Column("list(float)", pa.ListArray.from_arrays(offsets, flat, mask=empty))

    def reference(self, values: list[Any]) -> Any:
        """See `references.exact_quantiles`."""
        return references.exact_quantiles(values, self.shares)
