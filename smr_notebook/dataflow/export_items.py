"""A result as items of a table of the user's own, one for each row.

Rules of this module:

* All rows are looked at before the first is written: whether the table holds each value exactly, and whether two rows have one key, so that
  the second would replace the first.
* A missing value is an attribute that the item does not have.
* Items appear one after the other. What fails in between leaves those that were written, and to write again completes them: a row is the
  same item each time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import numpy as np

from smr_notebook.dataflow.export_values import python_rows
from smr_notebook.dataflow.exporting import Staged
from smr_notebook.dataflow.functions import short_repr
from smr_notebook.errors import ConfigError
from smr_notebook.ports import ItemSink
from smr_notebook.values.suggestions import near

_SCHEME: Final = "dynamodb"
_ROWS: Final = 1_000
_DIGEST: Final = np.dtype([("high", "<u8"), ("low", "<u8")])

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class WrittenItems:
    """What `Job.to_dynamodb` wrote.

    Attributes:
        table: The table.
        items: How many items.
    """

    table: str
    items: int


@dataclass(frozen=True, slots=True)
class ItemPlace:
    """Where items go.

    Attributes:
        table: Name of the table.
        sink: Takes them.
        keys: Names of the attributes that are its key.
        names: What columns are called in it, where that is something else.
    """

    table: str
    sink: ItemSink
    keys: tuple[str, ...]
    names: Mapping[str, str]


def open_items(table: object, *, sinks: Mapping[str, Callable[[str], ItemSink]], platform: str, names: Any) -> ItemPlace:
    """Return where the user wants items.

    Args:
        table: Name of a table of DynamoDB, or its URL.
        sinks: As of `ports.Backend`.
        platform: Name of the platform, for messages.
        names: What columns are called there, where that is something else.

    Raises:
        ConfigError: It is no table, there is none, or names of attributes are none.
        StoreError: It cannot be looked at.
    """
    if not isinstance(table, str) or not (name := table.removeprefix(f"{_SCHEME}://")) or "/" in name or "?" in name:
        raise ConfigError(f"to_dynamodb: {table!r} names no table. Give its name, or dynamodb://name.")
    if _SCHEME not in sinks:
        raise ConfigError(f"to_dynamodb: a session on the platform {platform!r} cannot. Attach to the job from one on AWS.")
    told = names.items() if isinstance(names, Mapping) else [("",)]
    if not all(isinstance(one, str) and one for pair in told for one in pair) or len(set(names.values())) < len(names):
        raise ConfigError(f"to_dynamodb: names={names!r} must give each column a name of its own, as text.")
    sink = sinks[_SCHEME](name)
    return ItemPlace(name, sink, sink.keys, names)


def write_items(staged: Staged, place: ItemPlace) -> WrittenItems:
    """Write all rows.

    Raises:
        ConfigError: A column is not there, a row does not go into the table, or two have one key. Nothing was written.
        StoreError: The table failed.
    """
    columns = _columns(staged.schema.names, place.names)
    _check_keys(list(columns.values()), place)
    _check_rows(staged, columns, place)
    rows = _rows(staged, columns)
    while batch := list(islice(rows, _ROWS)):
        place.sink.put(batch)
    return WrittenItems(place.table, staged.rows)


def _columns(there: list[str], names: Mapping[str, str]) -> dict[str, str]:
    """Return what each column is called in the table."""
    for name in names:
        if name not in there:
            raise ConfigError(f"to_dynamodb: the result has no column {name!r}.{near(name, there)} It has {', '.join(there)}.")
    columns = {name: names.get(name, name) for name in there}
    if len(set(columns.values())) < len(columns):
        raise ConfigError(f"to_dynamodb: names={dict(names)!r} gives two columns one name.")
    return columns


def _check_keys(columns: list[str], place: ItemPlace) -> None:
    for key in place.keys:
        if key not in columns:
            raise ConfigError(
                f"to_dynamodb: the key of the table {place.table!r} is {', '.join(map(repr, place.keys))}, and no column is called {key!r}."
                f"{near(key, columns)} Say which one it is: names={{'key': {key!r}}}."
            )


def _check_rows(staged: Staged, columns: Mapping[str, str], place: ItemPlace) -> None:
    """Raise `ConfigError` for a row that does not go into the table, and for two with one key."""
    digests = np.empty(staged.rows, _DIGEST)
    for number, row in enumerate(_rows(staged, columns)):
        missing = [key for key in place.keys if key not in row]
        if missing:
            raise ConfigError(
                f"to_dynamodb: the row {short_repr(row)} has no value for {missing[0]!r}, which is a key. Nothing was written."
            )
        try:
            key = place.sink.check(row)
        except ValueError as error:
            raise ConfigError(
                f"to_dynamodb: the row {short_repr(row)} does not go into the table {place.table!r}: {error}. Nothing was written."
            ) from None
        digests[number] = np.frombuffer(hashlib.blake2b(key, digest_size=16).digest(), _DIGEST)[0]
    order = np.argsort(digests, order=("high", "low"), kind="stable")
    twice = np.flatnonzero(digests[order][1:] == digests[order][:-1])
    if len(twice):
        row = next(islice(_rows(staged, columns), int(order[twice[0]]), None))
        told = {key: row[key] for key in place.keys}
        raise ConfigError(
            f"to_dynamodb: {len(twice) + 1:,} rows or more share keys, such as {told!r}: of each key one item would be left. "
            "Aggregate them, or give the table a key that tells them apart. Nothing was written."
        )


def _rows(staged: Staged, columns: Mapping[str, str]) -> Iterator[Row]:
    """Yield the rows as items, without what is missing."""
    for table in staged.tables(_ROWS):
        for row in python_rows(table):
            yield {columns[name]: value for name, value in row.items() if value is not None}
