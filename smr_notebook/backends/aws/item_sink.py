"""The user's table in DynamoDB as a place for results: an item for each row.

Rules of this module:

* An item is put under its key, whatever stood there: to write the same rows twice is to write them once.
* Whatever an index of the table is over is checked as its own key is: DynamoDB would refuse the item, with others before it written.
* Items are sent 25 at a time. What DynamoDB leaves for later, and what it refuses for its rate, is sent again, with pauses that grow, for
  some minutes. When `put` returns, all of them stand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Final

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.faults import BOTO_ERRORS, code_of, told
from smr_notebook.backends.aws.items import encoded, packed, same_number, size_of
from smr_notebook.backends.aws.scans import meant_table, pause, throttled
from smr_notebook.errors import ConfigError, SmrError, StoreError
from smr_notebook.ports import Clock

MOST_BYTES: Final = 400 * 1024
"""Of an item, with the names of its attributes."""

_BATCH: Final = 25
_TRIES: Final = 14
_MOST_KEY_BYTES: Final[Mapping[str, int]] = {"HASH": 2048, "RANGE": 1024}
_KINDS: Final[Mapping[str, str]] = {"S": "text", "N": "a number", "B": "bytes"}


class DynamoSink:
    """An `ItemSink` for the scheme `dynamodb`.

    Args:
        clients: Who writes.
        table: Name of the table.
        clock: Waits, where DynamoDB wants fewer writes.
    """

    def __init__(self, clients: Clients, table: str, *, clock: Clock) -> None:
        self._clients = clients
        self._table = table
        self._clock = clock

    @property
    def keys(self) -> tuple[str, ...]:
        """See `ports.ItemSink.keys`."""
        return tuple(part["AttributeName"] for part in self._described["KeySchema"])

    def check(self, row: Mapping[str, object]) -> bytes:
        """See `ports.ItemSink.check`."""
        item = self._item(row)
        size = sum(len(name.encode()) + size_of(value) for name, value in item.items())
        if size > MOST_BYTES:
            raise ValueError(f"it takes about {size:,} bytes, and an item has {MOST_BYTES:,} (400 KB) at most")
        for name, (kind, most) in self._parts.items():
            if name in item:  # but for the table's own key, whoever has none is not in the index
                _check_key(name, item[name], kind=kind, most=most)
        key = {name: {kind: same_number(held) if kind == "N" else held} for name in self.keys for kind, held in item[name].items()}
        return packed(key).encode()

    def put(self, rows: Sequence[Mapping[str, object]]) -> None:
        """See `ports.ItemSink.put`."""
        for first in range(0, len(rows), _BATCH):
            self._send([{"PutRequest": {"Item": self._item(row)}} for row in rows[first : first + _BATCH]])

    def _item(self, row: Mapping[str, object]) -> dict[str, Any]:
        item = {}
        for name, value in row.items():
            if not name:
                raise ValueError("one of its columns has an empty name, which no attribute may have")
            try:
                item[name] = encoded(value)
            except ValueError as error:
                raise ValueError(f"DynamoDB does not hold its {name!r}: {error}") from None
        return item

    def _send(self, requests: Sequence[Any]) -> None:
        for number in range(_TRIES):
            try:
                answer = self._clients["dynamodb"].batch_write_item(RequestItems={self._table: requests})
                requests = answer.get("UnprocessedItems", {}).get(self._table, [])
            except BOTO_ERRORS as error:
                if not throttled(error):
                    raise self._told(error, "writing to") from None
            if not requests:
                return
            pause(self._clock, number)
        raise StoreError(
            f"Writing to the table {self._table!r} failed: DynamoDB put off {len(requests)} items again and again. Give the table more "
            "capacity, and write again: what is written stays the same."
        )

    @cached_property
    def _described(self) -> Mapping[str, Any]:
        try:
            found: Mapping[str, Any] = self._clients["dynamodb"].describe_table(TableName=self._table)["Table"]
        except BOTO_ERRORS as error:
            raise self._told(error, "looking at") from None
        return found

    @cached_property
    def _parts(self) -> dict[str, tuple[str, int]]:
        """The type, and the most bytes, of each attribute that is of a key: the table's own, or an index's."""
        found = self._described
        kinds = {one["AttributeName"]: one["AttributeType"] for one in found["AttributeDefinitions"]}
        most: dict[str, int] = {}
        for keyed in (found, *found.get("GlobalSecondaryIndexes", ()), *found.get("LocalSecondaryIndexes", ())):
            for part in keyed["KeySchema"]:
                name, bytes_ = part["AttributeName"], _MOST_KEY_BYTES[part["KeyType"]]
                most[name] = min(bytes_, most.get(name, bytes_))
        return {name: (kinds[name], bytes_) for name, bytes_ in most.items()}

    def _told(self, error: Exception, doing: str) -> SmrError:
        if code_of(error) == "ResourceNotFoundException":
            where = f"There is no table {self._table!r} in {self._clients.region}."
            return ConfigError(f"{where}{meant_table(self._clients, self._table)} Make it first, or check its name and the region.")
        return told(error, f"{doing} the table {self._table!r}")


def _check_key(name: str, value: Mapping[str, Any], *, kind: str, most: int) -> None:
    """Raise `ValueError` where a value cannot be that attribute of a key."""
    ((found, held),) = value.items()
    if found != kind:
        raise ValueError(f"its key {name!r} is {held!r}, and the table wants {_KINDS[kind]} there")
    if held in {"", b""}:
        raise ValueError(f"its key {name!r} is empty, which no key may be")
    if kind != "N" and (size := size_of(value)) > most:
        raise ValueError(f"its key {name!r} takes {size:,} bytes, and has {most:,} at most")
