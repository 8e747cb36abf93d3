"""Rows of a table where records that cannot be read, or have no columns, are left out.

There the records are read one by one, as `map` would get them: slower than columns alone, and each that is no row is known by its number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any

from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.records import RecordBlock, Unreadable
from smr_notebook.errors import InputFormatError


@dataclass(frozen=True, slots=True, eq=False)
class NoRow:
    """A record of a block that is no row.

    Attributes:
        index: Its index among the records of the block.
        record: It, or what stands in its place.
        error: What is wrong with it.
        offset: Finds its byte offset in the (decompressed) object.
    """

    index: int
    record: object
    error: InputFormatError
    offset: Callable[[], int]


def rows_among(block: RecordBlock) -> tuple[list[dict[Any, Any]], tuple[NoRow, ...]]:
    """Return the records of a block that are rows, and the others."""
    rows: list[dict[Any, Any]] = []
    others: list[NoRow] = []
    for index, record in enumerate(block.records):
        if isinstance(record, dict):
            rows.append(record)
        elif type(record) is Unreadable:
            others.append(NoRow(index, record.raw, record.error, partial(block.locate, index)))
        else:
            error = InputFormatError(f"no JSON object or dict but of type {type(record).__name__}, which has no columns")
            others.append(NoRow(index, record, error, partial(block.locate, index)))
    return rows, tuple(others)


def columns_of(rows: Sequence[dict[Any, Any]], names: Sequence[str] | None) -> dict[str, list[Any]]:
    """Return the named columns of some rows, `None` where a row lacks one; without names, all that occur."""
    if names is None:
        names = [name for name in dict.fromkeys(chain.from_iterable(rows)) if isinstance(name, str)]
    return {name: [row.get(name) for row in rows] for name in names}


def behind(others: Iterable[NoRow], dropped: int) -> tuple[NoRow, ...]:
    """Return what is no row behind so many records, which are dropped."""
    return tuple(replace(one, index=one.index - dropped) for one in others if one.index >= dropped)


def leave_out(meter: Meter, others: Iterable[NoRow], *, source: str, done: int) -> None:
    """Count and tell what is no row.

    Args:
        meter: Takes it.
        others: Of one block.
        source: The object of the block.
        done: How many records of the split stand in front of it.
    """
    for one in others:
        meter.records_bad += 1
        if meter.bad is not None:
            meter.bad.add("read", one.record, one.error, number=done + one.index + 1, source=source, offset=one.offset)
