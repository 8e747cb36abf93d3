"""The table as one DynamoDB table: partition key = group, sort key = key.

* **Compare-and-set** is one conditional `PutItem` that asks for the old item when its condition fails. So who lost learns in the
  same reply which row stands; and where a reply is lost and the SDK repeats the call, the row that stands is the caller's own.
* **Keys.** DynamoDB compares strings by their UTF-8 bytes, as the port wants it, but takes no empty ones: a `/` goes before each.
  It takes groups of 2,047 bytes, keys of 1,023, and rows of 400 KB with all that belongs to them.
* **Expiry.** With `keep_seconds`, each write says when its row may go, but in the group `LASTING`. DynamoDB deletes such rows some days
  later, each for itself. Until then they stand, for every verb; after that they never were, and whoever creates one wins. So `keep_seconds`
  has to be far longer than anybody acts on a group.
* **Rate.** DynamoDB takes some 1,000 writes a second of one group: whoever writes more spreads over several. What is refused for
  its rate is tried again, with pauses, before it is a `StoreError`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.faults import BOTO_ERRORS, Mends, code_of, told
from smr_notebook.errors import DeploymentError, StoreError
from smr_notebook.ports import LASTING, Clock, Row

TABLE_SCHEMA: Final[Mapping[str, Any]] = {
    "AttributeDefinitions": [{"AttributeName": "group", "AttributeType": "S"}, {"AttributeName": "key", "AttributeType": "S"}],
    "KeySchema": [{"AttributeName": "group", "KeyType": "HASH"}, {"AttributeName": "key", "KeyType": "RANGE"}],
    "BillingMode": "PAY_PER_REQUEST",
}
"""What such a table is created with, in the words that the API and CloudFormation share."""

TABLE_EXPIRY: Final[Mapping[str, Any]] = {"AttributeName": "ttl", "Enabled": True}
"""Its `TimeToLiveSpecification`."""

_ROWS: Final = {
    "ProjectionExpression": "#key, version, #value",
    "ExpressionAttributeNames": {"#group": "group", "#key": "key", "#value": "value"},
}
_ADDRESSES: Final = {"ProjectionExpression": "#group, #key", "ExpressionAttributeNames": {"#group": "group", "#key": "key"}}

_BATCH = 25
_PAUSES = (0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0)
"""Seconds to wait before each try of a deletion."""


class DynamoTable:
    """A `Table` in DynamoDB, for any number of threads, processes and machines.

    Args:
        clients: Where the table is, and who we are.
        name: Name of the table.
        clock: Tells when a row was written, and waits before a deletion is tried again.
        keep_seconds: How long a row is kept after its last write, at least; 0 for always.
        mend: What helps where there is no such table.
    """

    def __init__(self, clients: Clients, name: str, *, clock: Clock, keep_seconds: float = 0.0, mend: str = "") -> None:
        self._clients = clients
        self._name = name
        self._clock = clock
        self._keep_seconds = keep_seconds
        self._mend = mend

    def get(self, group: str, key: str) -> Row | None:
        """See `ports.Table.get`."""
        answer = self._call("get_item", {"TableName": self._name, "Key": _address(group, key), "ConsistentRead": True})
        return _row(answer["Item"]) if "Item" in answer else None

    def put(self, group: str, key: str, value: bytes, *, expect: int) -> Row:
        """See `ports.Table.put`."""
        item = {**_address(group, key), "version": {"N": str(expect + 1)}, "value": {"B": value}}
        if self._keep_seconds and group != LASTING:
            item["ttl"] = {"N": str(math.ceil(self._clock.now() + self._keep_seconds))}
        request = {"TableName": self._name, "Item": item, "ReturnValuesOnConditionCheckFailure": "ALL_OLD", **_condition(expect)}
        answer = self._call("put_item", request)
        if "Error" not in answer:
            return Row(key, expect + 1, value)
        return _row(answer["Item"]) if "Item" in answer else Row(key, 0, b"")

    def query(self, group: str, prefix: str = "") -> list[Row]:
        """See `ports.Table.query`."""
        return [_row(item) for page in self._pages(group, prefix, wanted=_ROWS) for item in page]

    def delete_group(self, group: str) -> None:
        """See `ports.Table.delete_group`."""
        for page in self._pages(group, "", wanted=_ADDRESSES):
            for start in range(0, len(page), _BATCH):
                self._delete([{"DeleteRequest": {"Key": item}} for item in page[start : start + _BATCH]])

    def _pages(self, group: str, prefix: str, *, wanted: Mapping[str, Any]) -> Iterator[list[Any]]:
        request: dict[str, Any] = {
            "TableName": self._name,
            "KeyConditionExpression": "#group = :group AND begins_with(#key, :prefix)",
            "ExpressionAttributeValues": {":group": _text(group), ":prefix": _text(prefix)},
            "ConsistentRead": True,
            **wanted,
        }
        while True:
            answer = self._call("query", request)
            yield answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def _delete(self, requests: Sequence[Any]) -> None:
        """Delete at most `_BATCH` rows. What DynamoDB leaves for later is tried again, after a pause that grows."""
        for pause in _PAUSES:
            self._clock.sleep(pause)
            answer = self._call("batch_write_item", {"RequestItems": {self._name: requests}})
            requests = answer.get("UnprocessedItems", {}).get(self._name, [])
            if not requests:
                return
        left = f"DynamoDB put off {len(requests)} rows again and again"
        raise StoreError(f"Deleting from the table {self._name!r} failed: {left}. Try again in a minute.")

    def _call(self, operation: str, request: Mapping[str, Any]) -> Any:
        """Return the answer. A condition that failed is one, too: with `Error`, and with the `Item` that stands, if one does."""
        try:
            return getattr(self._clients["dynamodb"], operation)(**request)
        except BOTO_ERRORS as error:
            if code_of(error) == "ConditionalCheckFailedException":
                return error.response
            mends: Mends = {DeploymentError: self._mend} if self._mend and code_of(error) == "ResourceNotFoundException" else {}
            raise told(error, f"using the table {self._name!r}", mends=mends) from None


def _condition(expect: int) -> dict[str, Any]:
    if expect == 0:
        return {"ConditionExpression": "attribute_not_exists(version)"}
    return {"ConditionExpression": "version = :expect", "ExpressionAttributeValues": {":expect": {"N": str(expect)}}}


def stored_as(text: str) -> str:
    """Return what a group, or a key, is called in DynamoDB."""
    return f"/{text}"


def _address(group: str, key: str) -> dict[str, Any]:
    return {"group": _text(group), "key": _text(key)}


def _text(text: str) -> dict[str, str]:
    return {"S": stored_as(text)}


def _row(item: Mapping[str, Any]) -> Row:
    return Row(item["key"]["S"][1:], int(item["version"]["N"]), item["value"]["B"])
