"""Tables of DynamoDB in and out, on an emulator: exact types, segments that part the table, throttles, duplicates, clear errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.awsrequest import AWSResponse
from hypothesis import given, settings
from hypothesis import strategies as st

import smr_notebook as smr
from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.item_sink import DynamoSink
from smr_notebook.backends.aws.items import decoded, encoded, packed, unpacked
from smr_notebook.backends.aws.scans import DynamoSource
from smr_notebook.backends.memory.clock import SimulatedClock
from smr_notebook.control.naming import Files, find
from smr_notebook.dataflow.export_items import WrittenItems, open_items, write_items
from smr_notebook.dataflow.exporting import Staged
from smr_notebook.errors import AccessDeniedError, ConfigError, InputMissingError, InputMixedError, InputReadError, SmrError, StoreError
from smr_notebook.ports import InputSource
from smr_notebook.testing.items import ItemSourceTests, Place, Remove, items_of
from smr_notebook.testing.lambdas.service import Service

Deploy = Callable[..., AbstractContextManager[tuple[smr.Session, Service]]]


@pytest.fixture
def clients(aws: str, clients: Clients) -> Clients:
    """Clients of the emulator, shared: who hangs hooks on some makes them."""
    return clients


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock(1_700_000_000.0)


def made(clients: Clients, *key: str) -> str:
    """Make a table of the test's own, and return its name; its key is given as `name:type`."""
    parts = [part.split(":") for part in key]
    name = f"t-{uuid4().hex}"
    clients["dynamodb"].create_table(
        TableName=name,
        AttributeDefinitions=[{"AttributeName": part, "AttributeType": kind} for part, kind in parts],
        KeySchema=[{"AttributeName": part, "KeyType": kind} for (part, _), kind in zip(parts, ("HASH", "RANGE"), strict=False)],
        BillingMode="PAY_PER_REQUEST",
    )
    return name


def fill(clients: Clients, table: str, items: list[dict[str, Any]]) -> None:
    for item in items:
        clients["dynamodb"].put_item(TableName=table, Item={name: encoded(value) for name, value in item.items()})


def scanned(source: DynamoSource, pattern: str) -> list[dict[str, Any]]:
    return [item for info in source.find(pattern) for page in source.scan(info.key) for item in page.items]


# ---------------------------------------------------------------- values

NUMBERS = (
    st.integers(-(10**38) + 1, 10**38 - 1)
    | st.decimals("-1e30", "1e30", places=5)
    | st.floats(-1e100, 1e100).filter(lambda x: not x or abs(x) > 1e-100)
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.text(max_size=5) | st.binary(max_size=5) | NUMBERS,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=3), values, max_size=3),
    max_leaves=6,
)


def as_read(value: Any) -> Any:
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, list):
        return [as_read(item) for item in value]
    if isinstance(value, dict):
        return {name: as_read(item) for name, item in value.items()}
    return Decimal(value) if isinstance(value, int) and not isinstance(value, bool) else value


@settings(max_examples=150)
@given(VALUES)
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    assert decoded({"a": encoded(value)}) == {"a": as_read(value)}


@given(st.one_of(st.text(), st.binary(), st.integers(-(10**20), 10**20)))
def test_a_key_travels_as_text(value: Any) -> None:
    key = {"a": encoded(value), "b": encoded("x")}
    assert unpacked(packed(key)) == key


@pytest.mark.parametrize(
    "value",
    [math.nan, -math.inf, 10**38 + 1, Decimal("1e126"), Decimal("1e-131"), 1e-200, Decimal("NaN"), {1}, 1j],
    ids=["nan", "inf", "digits", "large", "small", "float", "no-decimal", "set", "complex"],
)
def test_what_is_no_value_of_dynamodb_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="its"):
        encoded(value)


# ---------------------------------------------------------------- in


def typed(value: Any) -> str:
    """Return a value with the types of all that is in it, as text: `1`, `Decimal(1)` and `True` are equal, and not the same."""
    if isinstance(value, dict):
        inner = sorted(f"{name!r}: {typed(each)}" for name, each in value.items())
    elif isinstance(value, list | set):
        inner = [typed(each) for each in value] if isinstance(value, list) else sorted(map(typed, value))
    else:
        inner = [repr(value)]
    return f"{type(value).__name__}({', '.join(inner)})"


def test_each_item_is_in_one_segment_with_exact_types(clients: Clients, clock: SimulatedClock) -> None:
    table = made(clients, "user:S", "n:N")
    items: list[dict[str, Any]] = [
        {"user": f"u{number % 5}", "n": number, "x": [b"\0", None, {"a": True}], "d": Decimal("0.1")} for number in range(40)
    ]
    fill(clients, table, items)
    odd = {"user": {"S": "odd"}, "n": {"N": "1"}, "ss": {"SS": ["a", "b"]}, "ns": {"NS": ["1", "2.50"]}, "bs": {"BS": [b"\xff"]}}
    clients["dynamodb"].put_item(TableName=table, Item=odd)
    source = DynamoSource(clients, clock=clock)
    expected = [*({**item, "n": Decimal(item["n"])} for item in items)]
    expected.append({"user": "odd", "n": Decimal(1), "ss": {"a", "b"}, "ns": {Decimal(1), Decimal("2.5")}, "bs": {b"\xff"}})
    for pattern in (table, f"{table}?segments=1", f"{table}?segments=7&consistent=true"):
        found = scanned(source, pattern)
        assert sorted(map(typed, found)) == sorted(map(typed, expected))
    keys = [info.key for info in source.find(f"{table}?segments=2&consistent=true")]
    assert keys == [f"{table}/00000-00002?consistent=true", f"{table}/00001-00002?consistent=true"]


class TestDynamoSource(ItemSourceTests):
    @pytest.fixture
    def source(self, clients: Clients, clock: SimulatedClock) -> DynamoSource:
        return DynamoSource(clients, clock=clock)

    @pytest.fixture
    def place(self, clients: Clients) -> Place:
        def place(items: Sequence[dict[str, Any]]) -> str:
            table = made(clients, "n:N")
            fill(clients, table, list(items))
            return f"{table}?segments=3"

        return place

    @pytest.fixture
    def remove(self, clients: Clients) -> Remove:
        def remove(pattern: str, number: int) -> None:
            clients["dynamodb"].delete_item(TableName=pattern.partition("?")[0], Key={"n": {"N": str(number)}})

        return remove


def test_a_scan_goes_on_behind_keys_of_bytes(clients: Clients, clock: SimulatedClock) -> None:
    table = made(clients, "user:B", "n:N")
    fill(clients, table, [{"user": bytes([number % 3]), "n": number} for number in range(12)])
    source = DynamoSource(clients, clock=clock)
    (info,) = source.find(f"{table}?segments=1")
    (page,) = source.scan(info.key)
    for count in (1, 5, 12):
        assert items_of(source.behind(page.behind(count)).scan(info.key)) == page.items[count:]


def test_pages_keep_to_the_read_units_that_are_allowed(clients: Clients, clock: SimulatedClock) -> None:
    """By the clock: with 8 units a second, what costs more takes as much longer."""
    table = made(clients, "n:N")
    fill(clients, table, [{"n": number, "text": "x" * 3000} for number in range(60)])
    free, units = DynamoSource(clients, clock=clock), list[float]()
    began = clock.now()
    assert len(scanned(free, table)) == 60
    assert clock.now() == began
    found = 0
    for info in free.find(f"{table}?read_units=8"):
        for page in free.scan(info.key):
            found += len(page.items)
            units.append(page.units)
    assert found == 60
    assert clock.now() - began == pytest.approx(sum(units[:-1]) / 8)  # after the last page nobody waits
    assert len(units) > 1
    assert [info.key for info in free.find(f"{table}?read_units=8")] == [f"{table}/00000-00001?read_units=8"]
    empty = made(clients, "n:N")  # which tells no size
    assert [len(list(free.find(f"{empty}{options}"))) for options in ("", "?read_units=17", "?read_units=17&segments=5")] == [8, 2, 5]


def refuse(client: Any, operation: str, times: int, code: str = "ProvisionedThroughputExceededException") -> list[str]:
    """Refuse so many calls, for their rate if nothing else is said, without sending them."""
    met: list[str] = []

    def hook(request: Any, **_: object) -> object:
        if len(met) == times:
            return None
        met.append(operation)
        body = f'{{"__type": "com.amazonaws.dynamodb.v20120810#{code}", "message": "no"}}'
        return AWSResponse(request.url, 400, {"Content-Type": "application/x-amz-json-1.0"}, _Raw(body.encode()))

    client.meta.events.register(f"before-send.dynamodb.{operation}", hook)
    return met


class _Raw:
    """A body as botocore reads it."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self) -> Iterator[bytes]:
        yield self._body


def test_a_table_that_is_named_twice_is_refused_whatever_else_is_said(clients: Clients, clock: SimulatedClock) -> None:
    table = made(clients, "k:N")
    sources: dict[str, InputSource] = {"dynamodb": DynamoSource(clients, clock=clock)}
    assert len(find(Files((f"dynamodb://{table}?segments=3",)), sources)) == 3
    with pytest.raises(InputMixedError, match="are of one table: its items would count twice"):
        find(Files((f"dynamodb://{table}?segments=3", f"dynamodb://{table}?consistent=true")), sources)


@pytest.mark.parametrize("units", ["2000000", "123456.75", "1e8"])
def test_a_segment_says_exactly_how_many_units_are_allowed(clients: Clients, clock: SimulatedClock, units: str) -> None:
    table = made(clients, "k:N")
    fill(clients, table, [{"k": 1}])
    source = DynamoSource(clients, clock=clock)
    keys = [info.key for info in source.find(f"{table}?segments=2&read_units={units}")]
    assert [float(key.rpartition("=")[2]) for key in keys] == [float(units)] * 2
    assert [item for key in keys for page in source.scan(key) for item in page.items] == [{"k": 1}]


def test_what_is_refused_for_its_rate_is_asked_again(aws: str, clock: SimulatedClock) -> None:
    clients = Clients(retries=1)
    table = made(clients, "n:N")
    sink = DynamoSink(clients, table, clock=clock)
    writes = refuse(clients["dynamodb"], "BatchWriteItem", 3)
    sink.put([{"n": number} for number in range(60)])
    reads = refuse(clients["dynamodb"], "Scan", 5)
    began = clock.now()
    assert len(scanned(DynamoSource(clients, clock=clock), table)) == 60
    assert (len(reads), len(writes)) == (5, 3)
    assert clock.now() > began
    refuse(clients["dynamodb"], "Scan", 1 << 20)
    with pytest.raises(InputReadError, match="AWS wants fewer calls"):
        scanned(DynamoSource(clients, clock=clock), table)
    refuse(clients["dynamodb"], "BatchWriteItem", 1 << 20)
    with pytest.raises(StoreError, match="put off 1 items again and again"):
        sink.put([{"n": 1}])


def test_what_a_worker_may_not_read_is_told_with_what_lets_it(aws: str, clock: SimulatedClock) -> None:
    clients = Clients(retries=1)
    refuse(clients["dynamodb"], "DescribeTable", 2, "AccessDeniedException")
    source = DynamoSource(clients, clock=clock, mend="Let the workers read it: `smr deploy --input dynamodb://{table}`.")
    with pytest.raises(AccessDeniedError, match="Let the workers read it: `smr deploy --input dynamodb://orders`"):
        list(source.find("orders"))
    with pytest.raises(AccessDeniedError, match="your credentials do not allow it"):
        _ = DynamoSink(clients, "orders", clock=clock).keys


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("?consistant=true", "Did you mean 'consistent'"),
        ("?consistent=yes", "it is true or false"),
        ("?read_units=0", "1 or more"),
        ("?segments=x", "segments='x' cannot be that"),
        ("/folder", "no folder behind it"),
    ],
    ids=["name", "flag", "units", "segments", "folder"],
)
def test_an_option_that_there_is_not_is_refused(clients: Clients, clock: SimulatedClock, options: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        list(DynamoSource(clients, clock=clock).find(f"orders{options}"))


def test_a_table_that_is_not_there_is_told_with_the_one_that_was_meant(clients: Clients, clock: SimulatedClock) -> None:
    table = made(clients, "n:N")
    wrong = table[:-1] + ("0" if table[-1] != "0" else "1")
    with pytest.raises(InputMissingError, match=f"There is no table '{wrong}' in .* Did you mean '{table}'"):
        list(DynamoSource(clients, clock=clock).find(wrong))
    with pytest.raises(ConfigError, match=f"Did you mean '{table}'"):
        _ = DynamoSink(clients, wrong, clock=clock).keys


# ---------------------------------------------------------------- out


def write(clients: Clients, table: str, rows: pa.Table, tmp_path: Path, names: dict[str, str] | None = None) -> WrittenItems:
    file = tmp_path / f"{uuid4().hex}.parquet"
    pq.write_table(rows, file)
    place = open_items(
        table, sinks={"dynamodb": lambda name: DynamoSink(clients, name, clock=SimulatedClock())}, platform="x", names=names or {}
    )
    return write_items(Staged(((file, 0, rows.num_rows),), rows.schema, rows.num_rows), place)


def test_rows_are_items_and_to_write_them_twice_is_to_write_them_once(clients: Clients, tmp_path: Path) -> None:
    table = made(clients, "user:S")
    rows = pa.table({"key": ["a", "b"], "value": [0.1, None], "at": [date(2026, 1, 2), None], "n": [1, 2]})
    for _ in range(2):
        assert write(clients, f"dynamodb://{table}", rows, tmp_path, {"key": "user"}) == WrittenItems(table, 2)
    found = scanned(DynamoSource(clients, clock=SimulatedClock()), table)
    assert sorted(found, key=str) == [
        {"user": "a", "value": Decimal("0.1"), "at": "2026-01-02", "n": Decimal(1)},
        {"user": "b", "n": Decimal(2)},
    ]


@pytest.mark.parametrize(
    ("rows", "names", "told"),
    [
        ({"n": [1.0, 2.0, 1.0]}, {}, r"share keys, such as \{'n': 1\.0\}"),
        ({"n": [1, None]}, {}, "has no value for 'n'"),
        ({"n": ["x"]}, {}, "wants a number there"),
        ({"nn": [1]}, {}, "no column is called 'n'. Did you mean 'nn'"),
        ({"n": [1]}, {"x": "n"}, "has no column 'x'"),
        ({"n": [1], "m": [2]}, {"m": "n"}, "gives two columns one name"),
        ({"n": [1, 2], "x": [0.5, math.nan]}, {}, "DynamoDB does not hold its 'x': nan"),
        ({"n": [1, 2], "x": ["", "x" * 410_000]}, {}, r"takes about 410,00\d bytes, and an item has 409,600 \(400 KB\) at most"),
    ],
    ids=["twice", "missing", "type", "column", "name", "names", "nan", "large"],
)
def test_what_does_not_go_into_the_table_is_refused_before_anything_is_written(
    clients: Clients, tmp_path: Path, rows: dict[str, Any], names: dict[str, str], told: str
) -> None:
    table = made(clients, "n:N")
    with pytest.raises(ConfigError, match=told):
        write(clients, table, pa.table(rows), tmp_path, names)
    assert scanned(DynamoSource(clients, clock=SimulatedClock()), table) == []


@pytest.mark.parametrize("names", ["user", ["user"], {"key": 5}, {"key": ""}, {"a": "x", "b": "x"}])
def test_names_that_are_none_are_refused(names: Any) -> None:
    with pytest.raises(ConfigError, match="must give each column a name of its own, as text"):
        open_items("t", sinks={"dynamodb": lambda _: pytest.fail("looked at the table")}, platform="x", names=names)


def test_a_key_that_is_empty_is_refused(clients: Clients, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="its key 's' is empty"):
        write(clients, made(clients, "s:S"), pa.table({"s": ["a", ""]}), tmp_path)


def test_two_rows_of_one_key_are_told_apart_by_each_digit_and_not_by_the_sign_of_nothing(clients: Clients, tmp_path: Path) -> None:
    """Of numbers with 38 digits, and of 0 and -0, of which DynamoDB would keep one item."""
    table, wide = made(clients, "n:N"), [Decimal(10**37 + last) for last in range(3)]
    write(clients, table, pa.table({"n": wide}), tmp_path)
    assert sorted(item["n"] for item in scanned(DynamoSource(clients, clock=SimulatedClock()), table)) == wide
    with pytest.raises(ConfigError, match="share keys"):
        write(clients, table, pa.table({"n": [0.0, 1.0, -0.0]}), tmp_path)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ({"s": ["a"], "n": ["x"]}, "its key 'n' is 'x', and the table wants a number there"),
        ({"s": ["a"], "r": [1]}, "its key 'r' is '1', and the table wants text there"),
        ({"s": ["a"], "r": [""]}, "its key 'r' is empty"),
        ({"s": ["a"], "r": ["é" * 513]}, "its key 'r' takes 1,026 bytes, and has 1,024 at most"),
        ({"s": ["a" * 2049]}, "its key 's' takes 2,049 bytes, and has 2,048 at most"),
        ({"s": ["a"], "": [1]}, "has an empty name"),
    ],
    ids=["number", "text", "empty", "range", "hash", "name"],
)
def test_what_dynamodb_would_refuse_among_others_is_refused_before_them(
    clients: Clients, tmp_path: Path, rows: dict[str, Any], told: str
) -> None:
    """Keys of indexes are checked, too: an item that has none is not in the index, one of another type is refused."""
    table = f"t-{uuid4().hex}"
    clients["dynamodb"].create_table(
        TableName=table,
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": kind} for name, kind in (("s", "S"), ("n", "N"), ("r", "S"))],
        KeySchema=[{"AttributeName": "s", "KeyType": "HASH"}],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "by-n",
                "KeySchema": [{"AttributeName": "n", "KeyType": "HASH"}, {"AttributeName": "r", "KeyType": "RANGE"}],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    with pytest.raises(ConfigError, match=told):
        write(clients, table, pa.table(rows), tmp_path)
    assert write(clients, table, pa.table({"s": ["a", "b"], "n": [1, None]}), tmp_path).items == 2


def test_times_are_text_with_all_their_digits_or_refused(clients: Clients, tmp_path: Path) -> None:
    table = made(clients, "k:N")
    when = pa.array([1577836800123456789, None], pa.timestamp("ns"))
    write(clients, table, pa.table({"k": [1, 2], "at": when}), tmp_path)
    found = scanned(DynamoSource(clients, clock=SimulatedClock()), table)
    assert [item.get("at") for item in sorted(found, key=str)] == ["2020-01-01T00:00:00.123456789", None]
    with pytest.raises(ConfigError, match="'at' has a time of day finer than a microsecond"):
        write(clients, table, pa.table({"k": [1], "at": pa.array([1], pa.time64("ns"))}), tmp_path)


# ---------------------------------------------------------------- a job


def test_a_job_reads_one_table_and_its_result_is_another(deploy: Deploy, clients: Clients) -> None:
    """Twice the same answer whatever the segments; from the local platform it is refused with what helps."""
    orders, totals = made(clients, "order:N"), made(clients, "user:S")
    fill(clients, orders, [{"order": number, "user": f"u{number % 3}", "amount": Decimal(number) / 4} for number in range(30)])
    expected = {f"u{user}": sum((Decimal(number) / 4 for number in range(user, 30, 3)), Decimal(0)) for user in range(3)}
    with deploy() as (session, _):
        job = session.map_reduce(lambda item: [(item["user"], item["amount"])], sum, f"dynamodb://{orders}?segments=3")
        assert dict(job.result().itertuples(index=False)) == expected
        assert job.to_dynamodb(totals, names={"key": "user"}) == WrittenItems(totals, 3)
        frame = session.aggregate(f"dynamodb://{orders}", by="user", n=smr.count()).result()
        assert frame.to_dict("list") == {"user": ["u0", "u1", "u2"], "n": [10, 10, 10]}
        with pytest.raises(SmrError, match="There is no table"):
            session.map_reduce(lambda item: [(1, 1)], sum, f"dynamodb://{orders}x", wait=True)
    found = scanned(DynamoSource(clients, clock=SimulatedClock()), totals)
    assert {item["user"]: item["value"] for item in found} == expected
