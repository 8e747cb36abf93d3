"""The built-in aggregations, as a user names them.

Each is a function of what it aggregates, a column by name or by expression: `smr.sum("amount")`. Where pairs have one value, in
`smr.map_reduce`, the function itself is the `reduce`: `smr.sum`; one with a parameter is called with that alone: `smr.top(3)`.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from smr_notebook.dataflow.folds.builtin_folds import Builtin
from smr_notebook.dataflow.folds.steps import Collect, CountRows, CountValues, Distinct, Fold, Mean, One, Quantiles, Sum, Top
from smr_notebook.dataflow.functions import short_repr
from smr_notebook.errors import PlanError

if TYPE_CHECKING:
    import pyarrow.compute as pc

    Aggregated = str | pc.Expression
    """A column: its name, or what it is computed from."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Aggregation:
    """A built-in aggregation, of a column or (`None`) of the values of pairs."""

    fold: Fold
    column: Aggregated | None
    name: str

    def __repr__(self) -> str:
        return f"<smr.{self.name}{'' if self.column is None else f' of {self.column}'}>"

    def __call__(self, values: Iterable[Any]) -> Any:
        """Return what it gives for these values, in plain Python."""
        return self.fold.reference(builtins.list(values))


def sum(column: Aggregated) -> Aggregation:
    """Add up: exactly, and rounded once where there are floats, so that no plan changes a bit. `None` is left out."""
    return _of(Sum(), column, "sum")


def count(column: Aggregated | None = None) -> Aggregation:
    """Count the rows; of a column, those in which it is not `None`."""
    return _of(CountRows() if column is None else CountValues(), column, "count")


def mean(column: Aggregated) -> Aggregation:
    """Take the mean: the exact sum divided by the number of values, rounded once. `None` is left out."""
    return _of(Mean(), column, "mean")


def min(column: Aggregated) -> Aggregation:
    """Take the least value. NaN is less than everything here, `None` is left out."""
    return _of(One("min"), column, "min")


def max(column: Aggregated) -> Aggregation:
    """Take the greatest value. NaN is greater than everything, `None` is left out."""
    return _of(One("max"), column, "max")


def first(column: Aggregated) -> Aggregation:
    """Take the first value in input order that is not `None`."""
    return _of(One("first"), column, "first")


def collect(column: Aggregated) -> Aggregation:
    """Collect all values, `None` too, as a list in input order."""
    return _of(Collect(), column, "collect")


def distinct(column: Aggregated) -> Aggregation:
    """Collect the distinct values as a sorted list; `1`, `1.0` and `True` are three, NaN is one. `None` is left out."""
    return _of(Distinct(), column, "distinct")


@overload
def top(column: int) -> Aggregation: ...
@overload
def top(column: Aggregated, n: int) -> Aggregation: ...
def top(column: Aggregated | int, n: int | None = None) -> Aggregation:
    """Take the `n` largest values as a list, the largest first: `top("amount", 3)`, or `top(3)` of the values of pairs.

    NaN is greater than everything, `None` is left out.
    """
    of, most = (None, column) if n is None else (column, n)
    if isinstance(most, bool) or not isinstance(most, int) or most < 1 or isinstance(of, int):
        raise PlanError(f'top takes a column and a number of values, 1 or more, such as top("amount", 3) or top(3); got {column!r}, {n!r}.')
    return _of(Top(most), of, "top")


@overload
def quantiles(column: Iterable[float]) -> Aggregation: ...
@overload
def quantiles(column: Aggregated, shares: Iterable[float]) -> Aggregation: ...
def quantiles(column: Aggregated | Iterable[float], shares: Iterable[float] | None = None) -> Aggregation:
    """Take quantiles as a list of floats: `quantiles("amount", [0.5, 0.9])`, or `quantiles([0.5, 0.9])` of the values of pairs.

    Groups of up to 4,096 values give exactly what `numpy.quantile` gives; larger ones may be sketched (t-digest), so that the rank
    of the answer is about a thousandth off, less towards the ends. NaN among the values makes all of them NaN, `None` is left out.
    """
    of: Any = None if shares is None else column
    wanted = column if shares is None else shares
    try:
        asked = tuple(float(share) for share in wanted)  # type: ignore[union-attr] # what is no share is refused here
    except (TypeError, ValueError):
        asked = ()
    if not asked or not builtins.all(0 <= share <= 1 for share in asked):
        raise PlanError(f'quantiles takes a column and shares from 0 to 1, such as quantiles("amount", [0.5, 0.9]); got {wanted!r}.')
    return _of(Quantiles(asked), of, "quantiles")


def col(name: str) -> pc.Expression:
    """Return a column as an expression, to compute and to compare with: `smr.col("price") * smr.col("n")`, `smr.col("amount") > 10`.

    It is `pyarrow.compute.field`, and what that and the functions of `pyarrow.compute` give is taken wherever this is.
    """
    import pyarrow.compute  # noqa: PLC0415 - whoever names aggregations need not compute

    return pyarrow.compute.field(name)


_FOLDS: dict[Callable[..., Any], Fold] = {
    sum: Sum(),
    count: CountRows(),
    mean: Mean(),
    min: One("min"),
    max: One("max"),
    first: One("first"),
    collect: Collect(),
    distinct: Distinct(),
    builtins.sum: Builtin("sum"),
    builtins.min: Builtin("min"),
    builtins.max: Builtin("max"),
    builtins.len: CountRows(),
    builtins.list: Collect(),
}


def _of(fold: Fold, column: Aggregated | None, name: str) -> Aggregation:
    """Refuse what is no column, such as the values that Python's own `sum` was meant for. Raises `PlanError`."""
    if column is not None and not isinstance(column, str) and not _is_expression(column):
        raise PlanError(
            f'smr.{name} takes the name of a column, or an expression such as smr.col("price") * smr.col("n"); got '
            f"{short_repr(column)}. (Python's own sum, min and max are in builtins.)"
        )
    return Aggregation(fold, column, name)


def told(value: object) -> str | None:
    """Return how a user names one of the aggregations here, with a column or without; `None` for what is none."""
    if isinstance(value, Aggregation):
        return repr(value)
    here = callable(value) and getattr(value, "__module__", None) == __name__
    return f"smr.{getattr(value, '__name__', '')}" if here else None


def _is_expression(value: object) -> bool:
    import pyarrow.compute  # noqa: PLC0415 - whoever names columns need not compute

    return isinstance(value, pyarrow.compute.Expression)


def fold_of(reduce: object) -> Fold | None:
    """Return the fold of a `reduce` that is a built-in aggregation or one of Python's builtins that have one; else `None`.

    Raises:
        PlanError: It names a column, where there are pairs, or lacks its parameter.
    """
    if isinstance(reduce, Aggregation):
        if reduce.column is not None:
            raise PlanError(
                f"This reduce names a column, {reduce.column!r}, and map_reduce has pairs of one value. Leave the column out, "
                "or give it to smr.aggregate."
            )
        return reduce.fold
    if reduce is top or reduce is quantiles:
        raise PlanError("This reduce lacks its parameter: write smr.top(3), or smr.quantiles([0.5, 0.9]).")
    try:
        return _FOLDS.get(reduce)  # type: ignore[call-overload, no-any-return] # what is no key is no key
    except TypeError:
        return None
