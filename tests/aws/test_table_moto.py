"""The table in DynamoDB before a second emulator, in process and one call at a time: pages, conditions, and what errors become."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from moto import mock_aws

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.table import TABLE_SCHEMA, DynamoTable
from smr_notebook.backends.system_clock import SystemClock
from smr_notebook.errors import AccessDeniedError, CredentialsError, StoreError
from smr_notebook.ports import LASTING, Row, Table


@pytest.fixture
def clients(lead_to: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> Iterator[Clients]:
    """Clients of moto, which try once."""
    lead_to("")
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    with mock_aws():
        clients = Clients(retries=1)
        clients["dynamodb"].create_table(TableName="smr", **TABLE_SCHEMA)
        yield clients


@pytest.fixture
def table(clients: Clients) -> DynamoTable:
    return DynamoTable(clients, "smr", clock=SystemClock())


@pytest.fixture
def asked(clients: Clients, table: DynamoTable) -> list[tuple[str, dict[str, Any]]]:
    """What is asked for from now on: operation and body."""
    asked: list[tuple[str, dict[str, Any]]] = []

    def note(model: Any, params: dict[str, Any], **_: object) -> None:
        asked.append((model.name, json.loads(params["body"])))

    clients["dynamodb"].meta.events.register("before-call.dynamodb", note)
    return asked


def test_whoever_loses_gets_the_row_that_stands(table: DynamoTable) -> None:
    assert table.put("g", "k", b"first", expect=0) == Row("k", 1, b"first")
    assert table.put("g", "k", b"second", expect=0) == Row("k", 1, b"first")
    assert table.put("g", "k", b"second", expect=1) == Row("k", 2, b"second")
    assert table.put("g", "k", b"third", expect=1) == table.get("g", "k") == Row("k", 2, b"second")
    assert table.put("g", "none", b"x", expect=3) == Row("none", 0, b"")
    assert table.get("g", "none") is None


def test_empty_names_and_values_are_rows_as_others(table: DynamoTable) -> None:
    assert table.put("", "", b"", expect=0) == table.get("", "") == Row("", 1, b"")
    assert table.query("") == [Row("", 1, b"")]


def test_reads_are_strongly_consistent(table: DynamoTable, asked: list[tuple[str, dict[str, Any]]]) -> None:
    table.get("g", "k")
    table.query("g")
    table.delete_group("g")
    assert [(operation, body["ConsistentRead"]) for operation, body in asked] == [("GetItem", True), ("Query", True), ("Query", True)]


def test_a_group_of_several_pages_is_read_and_deleted_whole(table: DynamoTable, asked: list[tuple[str, dict[str, Any]]]) -> None:
    rows = [Row(f"{number:03d}", 1, bytes(50_000)) for number in range(60)]
    for row in rows:
        table.put("g", row.key, row.value, expect=0)
    assert table.query("g") == rows
    assert Counter(operation for operation, _ in asked)["Query"] > 2
    table.delete_group("g")
    assert table.query("g") == []


def test_rows_expire_but_those_that_outlive_all_jobs(clients: Clients) -> None:
    table = DynamoTable(clients, "smr", clock=SystemClock(), keep_seconds=60)
    for group in (LASTING, "3f9a"):
        table.put(group, "key", b"x", expect=0)
        table.put(group, "key", b"y", expect=1)
    items = clients["dynamodb"].scan(TableName="smr")["Items"]
    assert {item["group"]["S"]: "ttl" in item for item in items} == {f"/{LASTING}": False, "/3f9a": True}


def refuse(clients: Clients, code: str, *, status: int = 400, message: str = "Words of AWS.") -> None:
    """Let every call be refused from now on."""
    body = json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": message}).encode()

    class Body:
        def stream(self, **_: object) -> Iterator[bytes]:
            yield body

    clients["dynamodb"].meta.events.register_first(
        "before-send.dynamodb",
        lambda request, **_: AWSResponse(request.url, status, {"content-type": "application/x-amz-json-1.0"}, Body()),
    )


CALLS: tuple[Callable[[Table], object], ...] = (
    lambda table: table.get("g", "k"),
    lambda table: table.put("g", "k", b"x", expect=0),
    lambda table: table.query("g"),
    lambda table: table.delete_group("g"),
)
BUSY = ("ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded")
CLASHING = ("TransactionConflictException", "TransactionInProgressException", "ReplicatedWriteConflictException")
BROKEN = ("InternalServerError", "ServiceUnavailable", "ValidationException", "SomethingThatNobodyKnowsException")


@pytest.mark.parametrize("code", [*BUSY, *CLASHING, *BROKEN])
def test_what_dynamodb_refuses_is_a_store_error(clients: Clients, table: DynamoTable, code: str) -> None:
    refuse(clients, code)
    for call in CALLS:
        with pytest.raises(StoreError, match=rf"'smr' failed: .*{code}: Words of AWS"):
            call(table)


@pytest.mark.parametrize(("code", "error"), [("AccessDeniedException", AccessDeniedError), ("ExpiredTokenException", CredentialsError)])
def test_who_we_are_and_what_we_may_are_errors_of_their_own(
    clients: Clients, table: DynamoTable, code: str, error: type[Exception]
) -> None:
    refuse(clients, code)
    with pytest.raises(error):
        table.get("g", "k")


def test_a_table_that_cannot_be_reached_is_a_store_error(lead_to: Callable[[str], None]) -> None:
    lead_to("http://127.0.0.1:9")
    with pytest.raises(StoreError, match="cannot be reached"):
        DynamoTable(Clients(retries=1), "smr", clock=SystemClock()).get("g", "k")
