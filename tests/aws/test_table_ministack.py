"""The table in DynamoDB holds the contract of `Table`, and what only DynamoDB can get wrong, on an emulator."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from botocore.awsrequest import AWSResponse

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.table import TABLE_EXPIRY, TABLE_SCHEMA, DynamoTable
from smr_notebook.backends.memory.clock import SimulatedClock
from smr_notebook.backends.system_clock import SystemClock
from smr_notebook.errors import DeploymentError, StoreError
from smr_notebook.ports import Row, Table
from smr_notebook.testing.emulators import FaultProxy
from smr_notebook.testing.races import count_up, in_threads
from smr_notebook.testing.table import SharedTableTests

START = 1_700_000_000.25


def created(clients: Clients) -> str:
    """Create a table of the test's own where it was led to, and return its name."""
    name = f"t-{uuid4().hex}"
    clients["dynamodb"].create_table(TableName=name, **TABLE_SCHEMA)
    return name


@pytest.fixture
def clients(aws: str) -> Clients:
    """Clients of the emulator that no other test has hung hooks on."""
    return Clients()


@pytest.fixture
def name(clients: Clients) -> str:
    return created(clients)


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock(START)


@pytest.fixture
def table(clients: Clients, name: str, clock: SimulatedClock) -> DynamoTable:
    return DynamoTable(clients, name, clock=clock)


class TestDynamoTable(SharedTableTests):
    @pytest.fixture
    def open_table(self, clients: Clients, name: str) -> partial[DynamoTable]:
        return partial(DynamoTable, clients, name, clock=SystemClock(), keep_seconds=86_400)


# ---------------------------------------------------------------- many callers


def test_64_threads_use_one_table_at_once(table: DynamoTable) -> None:
    in_threads(64, lambda thread: count_up(table, f"counter {thread % 8}", 4, writer=f"{thread}"))
    assert [(row.version, row.value.split()[0]) for row in table.query("race")] == [(32, b"32")] * 8


def test_a_put_costs_one_request_won_or_lost(clients: Clients, table: DynamoTable) -> None:
    asked: list[bytes] = []
    clients["dynamodb"].meta.events.register("before-send.dynamodb", lambda request, **_: asked.append(request.headers["X-Amz-Target"]))
    table.put("g", "k", b"won", expect=0)
    table.put("g", "k", b"lost", expect=0)
    table.put("g", "k", b"lost", expect=7)
    table.put("g", "none", b"lost", expect=7)
    assert asked == [b"DynamoDB_20120810.PutItem"] * 4


# ---------------------------------------------------------------- replies that get lost


@pytest.mark.parametrize("version", [0, 1, 2])
def test_who_lost_the_reply_still_learns_that_it_won(clients: Clients, table: DynamoTable, hooks: Any, version: int) -> None:
    for number in range(version):
        table.put("g", "k", b"before", expect=number)
    lost = hooks.lose_replies(clients["dynamodb"], "PutItem")
    assert table.put("g", "k", b"mine", expect=version) == Row("k", version + 1, b"mine")
    assert len(lost) == 1
    assert table.get("g", "k") == Row("k", version + 1, b"mine")


def test_who_lost_the_reply_and_then_the_row_sees_the_next_owner(clients: Clients, table: DynamoTable, name: str, hooks: Any) -> None:
    other = DynamoTable(Clients(), name, clock=SystemClock())
    lost = hooks.lose_replies(clients["dynamodb"], "PutItem")

    def take(**_: object) -> None:
        if lost:
            other.put("g", "k", b"theirs", expect=1)

    clients["dynamodb"].meta.events.register_first("before-send.dynamodb.PutItem", take)
    assert table.put("g", "k", b"mine", expect=0) == Row("k", 2, b"theirs")


def test_when_all_replies_are_lost_the_call_fails_and_was_applied_once(name: str, hooks: Any) -> None:
    clients = Clients(retries=2)
    table = DynamoTable(clients, name, clock=SystemClock())
    lost = hooks.lose_replies(clients["dynamodb"], "PutItem", times=2)
    with pytest.raises(StoreError, match="cannot be reached"):
        table.put("g", "k", b"mine", expect=0)
    assert len(lost) == 2
    assert table.get("g", "k") == Row("k", 1, b"mine")


# ---------------------------------------------------------------- groups that go


def put_off(clients: Clients, *, taken: int) -> list[int]:
    """Let no more than the first rows of each batch be deleted, and the others be put off. Return how many were asked for, call by call."""
    asked: list[int] = []
    other = Clients()["dynamodb"]

    def answer(params: dict[str, Any], **_: object) -> tuple[AWSResponse, dict[str, Any]]:
        [(name, requests)] = json.loads(params["body"])["RequestItems"].items()
        asked.append(len(requests))
        for request in requests[:taken]:
            other.delete_item(TableName=name, Key=request["DeleteRequest"]["Key"])
        left = requests[taken:]
        return AWSResponse("", 200, {}, None), {"UnprocessedItems": {name: left} if left else {}}

    clients["dynamodb"].meta.events.register("before-call.dynamodb.BatchWriteItem", answer)
    return asked


def fill(table: Table, rows: int, *, size: int = 10) -> None:
    def write(thread: int) -> None:
        for number in range(thread, rows, 8):
            table.put("g", f"{number:05d}", b"v" * size, expect=0)

    in_threads(8, write)


def test_rows_that_are_put_off_are_deleted_later(clients: Clients, table: DynamoTable, clock: SimulatedClock) -> None:
    fill(table, 60)
    table.put("other", "k", b"x", expect=0)
    asked = put_off(clients, taken=10)
    table.delete_group("g")
    assert table.query("g") == []
    assert table.query("other") == [Row("k", 1, b"x")]
    assert asked == [25, 15, 5, 25, 15, 5, 10]
    assert clock.now() > START


def test_rows_that_are_put_off_for_ever_are_an_error(clients: Clients, table: DynamoTable, clock: SimulatedClock) -> None:
    fill(table, 30)
    asked = put_off(clients, taken=0)
    with pytest.raises(StoreError, match=r"put off 25 rows.*Try again"):
        table.delete_group("g")
    assert asked == [25] * len(asked)
    assert 10 < clock.now() - START < 60
    assert len(table.query("g")) == 30


def test_a_group_of_many_pages_is_deleted(table: DynamoTable) -> None:
    fill(table, 300, size=10_000)
    table.delete_group("g")
    assert table.query("g") == []


# ---------------------------------------------------------------- rows that expire


def expiries(clients: Clients, name: str) -> list[float | None]:
    items = clients["dynamodb"].scan(TableName=name, ConsistentRead=True)["Items"]
    attribute = TABLE_EXPIRY["AttributeName"]
    return [float(item[attribute]["N"]) if attribute in item else None for item in items]


def test_each_write_says_when_the_row_may_go(clients: Clients, name: str, clock: SimulatedClock) -> None:
    table = DynamoTable(clients, name, clock=clock, keep_seconds=3600)
    table.put("g", "k", b"x", expect=0)
    assert expiries(clients, name) == [math.ceil(START + 3600)]
    clock.sleep(100)
    table.put("g", "k", b"late", expect=0)
    assert expiries(clients, name) == [math.ceil(START + 3600)]
    table.put("g", "k", b"y", expect=1)
    assert expiries(clients, name) == [math.ceil(START + 3700)]


def test_a_row_that_is_kept_for_ever_has_no_expiry(clients: Clients, name: str, table: DynamoTable) -> None:
    table.put("g", "k", b"x", expect=0)
    assert expiries(clients, name) == [None]


def test_a_row_whose_time_is_over_stands_until_it_is_deleted(clients: Clients, name: str, clock: SimulatedClock) -> None:
    table = DynamoTable(clients, name, clock=clock, keep_seconds=3600)
    table.put("g", "k", b"x", expect=0)
    clock.sleep(7200)
    assert table.put("g", "k", b"y", expect=0) == Row("k", 1, b"x")
    assert table.query("g") == [table.get("g", "k")] == [Row("k", 1, b"x")]
    assert table.put("g", "k", b"y", expect=1) == Row("k", 2, b"y")


def test_dynamodb_takes_our_word_for_when_rows_expire(clients: Clients, name: str) -> None:
    clients["dynamodb"].update_time_to_live(TableName=name, TimeToLiveSpecification=TABLE_EXPIRY)
    told = clients["dynamodb"].describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    assert told == {"TimeToLiveStatus": "ENABLED", "AttributeName": TABLE_EXPIRY["AttributeName"]}


# ---------------------------------------------------------------- what DynamoDB refuses


def test_names_may_be_as_long_as_the_module_says(table: DynamoTable) -> None:
    group, key = "g" * 2047, "é" * 511 + "k"
    assert table.put(group, key, b"x", expect=0) == table.get(group, key) == Row(key, 1, b"x")
    with pytest.raises(StoreError, match="1024 bytes"):
        table.put("g", f"{key}k", b"x", expect=0)
    with pytest.raises(StoreError, match="2048 bytes"):
        table.put(f"{group}g", "k", b"x", expect=0)


CALLS: dict[str, Callable[[Table], object]] = {
    "get": lambda table: table.get("g", "k"),
    "put": lambda table: table.put("g", "k", b"x", expect=0),
    "query": lambda table: table.query("g"),
    "delete_group": lambda table: table.delete_group("g"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_table_that_is_not_there_was_not_deployed(clients: Clients, call: Callable[[Table], object]) -> None:
    with pytest.raises(DeploymentError, match=r"'no-such-table' failed.*smr deploy"):
        call(DynamoTable(clients, "no-such-table", clock=SystemClock()))


def test_throttles_and_failures_are_tried_again_by_the_sdk(faults: FaultProxy) -> None:
    clients = Clients()
    table = DynamoTable(clients, created(clients), clock=SystemClock())
    faults.set(
        {"service": "dynamodb", "operation": "PutItem", "times": 1, "error": {"code": "ProvisionedThroughputExceededException"}},
        {"service": "dynamodb", "operation": "Query", "times": 1, "error": {"code": "InternalServerError"}},
    )
    assert table.put("g", "k", b"x", expect=0) == Row("k", 1, b"x")
    assert table.query("g") == [Row("k", 1, b"x")]
    assert faults.fired() == ["PutItem error:ProvisionedThroughputExceededException", "Query error:InternalServerError"]
