"""The same six jobs by each exchange on each backend: the same answers, byte for byte.

A backend is a line in `BACKENDS`, an exchange one in `EXCHANGES`, a job one in `JOBS`: each is met by all others.
"""

from __future__ import annotations

import json
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ConnectionClosedError
from distributed import LocalCluster

import smr_notebook as smr
from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.queues import QueueCarrier
from smr_notebook.backends.aws.streams import StreamCarrier
from smr_notebook.backends.local.source import FileSource
from smr_notebook.backends.memory.functions import MemoryFunctions
from smr_notebook.backends.memory.platform import open_memory
from smr_notebook.control.coordinator import run_coordinator
from smr_notebook.control.layout import Layout
from smr_notebook.control.messages import Message, decode
from smr_notebook.control.worker import run_attempt
from smr_notebook.ports import Carrier, Context
from smr_notebook.sessions.carriers import carriers_of
from smr_notebook.testing.cloud import Shape, deployed
from smr_notebook.testing.emulators import aws_environment
from smr_notebook.testing.redis_server import RedisServer

pytestmark = pytest.mark.filterwarnings("ignore:.*tasks run .* at a time")  # of a small account, which this is

Open = Callable[..., smr.Session]
Answer = tuple[list[tuple[Any, Any]], list[tuple[str, bytes]]]
"""Keys and values as they come out of a result, and the objects that hold them."""

# ---------------------------------------------------------------- input

TEXTS = {f"t{number}.txt": [f"{number * 7 + line} w{line % 13} w{line * line % 7} the" for line in range(30)] for number in range(4)}
LOG = [f'10.0.0.{line % 9} - - "GET /p{line % 17}" {[200, 200, 404, 301, 500][line * 31 % 5]} {line * 37 % 1009}' for line in range(400)]
USERS = [{"user": f"u{number}", "name": f"name {number}"} for number in range(25)]
ORDERS = [{"user": f"u{number * 7 % 31}", "amount": number % 11 / 4} for number in range(150)]


def files() -> Iterator[tuple[str, bytes]]:
    for name, lines in TEXTS.items():
        yield f"texts/{name}", "\n".join(lines).encode()
    yield "log/access.log", "\n".join(LOG).encode()
    for name, rows in (("users", USERS), ("orders", ORDERS)):
        yield f"shop/{name}.jsonl", "\n".join(map(json.dumps, rows)).encode()


# ---------------------------------------------------------------- jobs


def words(line: str) -> Iterator[tuple[str, int]]:
    for word in line.split():
        yield word, 1


def statuses(line: str) -> Iterator[tuple[int, tuple[int, int]]]:
    status, size = line.rsplit(" ", 2)[1:]
    yield int(status), (1, int(size))


def added(status: int, values: Iterator[tuple[int, int]]) -> tuple[int, int]:
    kept = list(values)
    return sum(count for count, _ in kept), sum(size for _, size in kept)


def places(source: str, line: str) -> Iterator[tuple[str, tuple[str, int]]]:
    number, *found = line.split()
    for word in found:
        yield word, (Path(source).name, int(number))


def by_length(line: str) -> Iterator[tuple[tuple[int, str], int]]:
    for word in line.split():
        yield (len(word), word), len(line)


def sides(source: str, row: dict[str, Any]) -> Iterator[tuple[str, tuple[str, Any]]]:
    yield row["user"], ("name", row["name"]) if Path(source).name == "users.jsonl" else ("amount", row["amount"])


def joined(user: str, values: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, tuple[str, float]]]:
    kept = list(values)
    for name in (value for side, value in kept if side == "name"):
        for amount in (value for side, value in kept if side == "amount"):
            yield user, (name, amount)


@dataclass(frozen=True)
class Job:
    """One of the jobs.

    Attributes:
        submit: Submits it: to a session, over inputs below a place, by an exchange.
        expected: Keys and values of its answer, by the plainest means.
    """

    submit: Callable[[smr.Session, str, str], smr.Job]
    expected: Callable[[], list[tuple[Any, Any]]]


def _words() -> list[tuple[Any, Any]]:
    return sorted(Counter(word for lines in TEXTS.values() for line in lines for word in line.split()).items())


def _statuses() -> list[tuple[Any, Any]]:
    found = defaultdict(list)
    for line in LOG:
        for status, value in statuses(line):
            found[status].append(value)
    return [(status, added(status, iter(values))) for status, values in sorted(found.items())]


def _index() -> list[tuple[Any, Any]]:
    found = defaultdict(list)
    for name, lines in TEXTS.items():
        for line in lines:
            for word, value in places(name, line):
                found[word].append(value)
    return sorted(found.items())


def _sorted() -> list[tuple[Any, Any]]:
    found = defaultdict(list)
    for lines in TEXTS.values():
        for line in lines:
            for key, value in by_length(line):
                found[key].append(value)
    return [(key, max(values)) for key, values in sorted(found.items())]


def _joined() -> list[tuple[Any, Any]]:
    names = {row["user"]: row["name"] for row in USERS}
    rows = [(row["user"], (names[row["user"]], row["amount"])) for row in ORDERS if row["user"] in names]
    return sorted(rows, key=lambda row: row[0])


def _totals() -> list[tuple[Any, Any]]:
    amounts = defaultdict(list)
    for row in ORDERS:
        amounts[row["user"]].append(row["amount"])
    return [(user, sum(found)) for user, found in sorted(amounts.items())]


JOBS = {
    "word count": Job(
        lambda session, place, exchange: session.map_reduce(words, sum, f"{place}/texts", reducers=2, split_size=1_200, exchange=exchange),
        _words,
    ),
    "status codes, combined": Job(
        lambda session, place, exchange: session.map_reduce(
            statuses, added, f"{place}/log", combine=True, reducers=2, split_size=8_000, exchange=exchange
        ),
        _statuses,
    ),
    "inverted index": Job(
        lambda session, place, exchange: session.map_reduce(
            places, smr.collect, f"{place}/texts", reducers=2, split_size=1_200, exchange=exchange
        ),
        _index,
    ),
    "sort": Job(
        lambda session, place, exchange: session.map_reduce(
            by_length, max, f"{place}/texts", reducers=2, split_size=1_200, sort="keys", exchange=exchange
        ),
        _sorted,
    ),
    "join": Job(
        lambda session, place, exchange: session.map_reduce(
            sides, joined, f"{place}/shop", reducers=2, split_size=4_000, exchange=exchange
        ),
        _joined,
    ),
    "aggregate": Job(
        lambda session, place, exchange: session.aggregate(
            f"{place}/shop/orders.jsonl", by="user", total=smr.sum("amount"), reducers=2, split_size=3_000, exchange=exchange
        ),
        _totals,
    ),
}

# ---------------------------------------------------------------- exchanges

EXCHANGES: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "objects": ("objects", {}, ()),
    "objects, merged": ("objects", {"merge_above": 1}, ()),
    "redis": ("redis", {}, ("server",)),
    "sqs": ("sqs", {}, ("cloud",)),
    "kinesis": ("kinesis", {}, ("cloud",)),
}
"""What `exchange=` says, the settings with which it works, and the fixtures that it needs."""

# ---------------------------------------------------------------- backends


@dataclass(frozen=True)
class Place:
    """A backend.

    Attributes:
        open: Opens a session on it, with settings of its own.
        input: Where the input lies.
    """

    open: Open
    input: str


@contextmanager
def in_memory(folder: Path, _: pytest.FixtureRequest, **others: Carrier) -> Iterator[Place]:
    carriers = carriers_of(lambda: "") | {name: partial(_same, carrier) for name, carrier in others.items()}
    backend = replace(open_memory(), sources={"file": FileSource()}, carriers=carriers)

    def handle(payload: bytes, context: Context) -> bytes:
        message = decode(payload)
        assert isinstance(message, Message)
        (run_attempt if message.works else run_coordinator)(backend, message, context)
        return b""

    functions = MemoryFunctions(handle, workers=2)
    backend = replace(backend, functions=functions)
    yield Place(lambda **settings: smr.Session(backend=backend, settings={"workspace": folder / "nowhere", **settings}), str(folder))
    functions.close()


def _same(carrier: Carrier, _: str) -> Carrier:
    return carrier


@contextmanager
def on_this_machine(folder: Path, _: pytest.FixtureRequest) -> Iterator[Place]:
    fixed = {"workspace": folder / "workspace", "workers": 1, "lease_seconds": 5.0}
    yield Place(lambda **settings: smr.Session("local", settings={**fixed, **settings}), str(folder))
    smr.Session("local", settings=fixed).close()


@contextmanager
def on_emulated_aws(_: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    clients, shape, bucket = Clients(), replace(Shape(), stack=f"s{uuid4().hex[:12]}"), f"in-{uuid4().hex[:12]}"
    with deployed(request.getfixturevalue("cloud"), clients, shape) as service, pytest.MonkeyPatch.context() as patch:
        clients["s3"].create_bucket(Bucket=bucket)
        for name, data in files():
            clients["s3"].put_object(Bucket=bucket, Key=name, Body=data)
        for variable, value in service.access.items():
            patch.setenv(variable, value)
        yield Place(lambda **settings: smr.Session("aws", stack=shape.stack, settings=settings), f"s3://{bucket}")


@contextmanager
def on_a_dask_cluster(folder: Path, _: pytest.FixtureRequest) -> Iterator[Place]:
    with LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0", host="127.0.0.1") as cluster:
        fixed = {"workspace": folder / "dask", "lease_seconds": 5.0}
        opened: list[smr.Session] = []

        def open_one(**settings: Any) -> smr.Session:
            opened.append(smr.Session("dask", address=cluster.scheduler_address, settings={**fixed, **settings}))
            return opened[-1]

        yield Place(open_one, str(folder))
        for session in opened:  # else their clients look for the cluster when it has gone
            session.close()


BACKENDS: dict[str, Callable[[Path, pytest.FixtureRequest], AbstractContextManager[Place]]] = {
    "memory": in_memory,
    "local": on_this_machine,
    "aws": on_emulated_aws,
    "dask": on_a_dask_cluster,
}

CELLS = [
    (backend, exchange) for backend in BACKENDS for exchange in EXCHANGES if backend != "dask" or "cloud" not in EXCHANGES[exchange][2]
]
"""A cluster's workers began before anybody knew of an emulator of AWS."""

# ---------------------------------------------------------------- the matrix


@pytest.fixture(scope="module")
def cloud(ministack: str) -> Iterator[str]:
    """Lead boto3's own chain to the emulator, here and in processes started here, as long as this module is tested; its URL."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in aws_environment(ministack).items():
            patch.delenv(name, raising=False) if value is None else patch.setenv(name, value)
        yield ministack


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the input, on this machine."""
    folder = tmp_path_factory.mktemp("matrix")
    for name, data in files():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def answers(place: Place, exchange: str, settings: Mapping[str, Any]) -> dict[str, Answer]:
    """Run all jobs, side by side."""
    session = place.open(**settings)
    jobs = {name: job.submit(session, place.input, exchange) for name, job in JOBS.items()}
    found = {name: answer(session, job) for name, job in jobs.items()}
    for job in jobs.values():
        assert job._plan().exchange == exchange, "else these were the answers of another one"
        assert bool(job.status().merge.tasks) == bool(settings.get("merge_above"))
    return found


def answer(session: smr.Session, job: smr.Job) -> Answer:
    frame = job.result()
    keys = [info.key for info in session.backend.objects.list_prefix(Layout(job.id).root) if info.key.endswith(".parquet")]
    parts = [(key.split("/")[-1], session.backend.objects.get(key)) for key in keys]
    return list(zip(frame.iloc[:, 0].tolist(), frame.iloc[:, 1].tolist(), strict=True)), parts


@pytest.fixture(scope="module")
def expected(folder: Path, request: pytest.FixtureRequest) -> dict[str, Answer]:
    """What all must give: by objects, in memory; and the rows of that are those of plain Python."""
    with in_memory(folder, request) as place:
        found = answers(place, "objects", {})
    assert {name: rows for name, (rows, _) in found.items()} == {name: job.expected() for name, job in JOBS.items()}
    assert all(len(parts) >= 2 for _, parts in found.values())
    return found


def check(found: dict[str, Answer], expected: dict[str, Answer]) -> None:
    for job, (rows, parts) in expected.items():
        assert found[job][0] == rows, job
        assert found[job][1] == parts, job


@pytest.fixture(scope="module")
def place(request: pytest.FixtureRequest, folder: Path) -> Iterator[Place]:
    with BACKENDS[request.param](folder, request) as place:
        yield place


@pytest.mark.parametrize(("place", "exchange"), CELLS, indirect=["place"])
def test_the_same_answers_byte_for_byte(place: Place, exchange: str, expected: dict[str, Answer], request: pytest.FixtureRequest) -> None:
    name, settings, needs = EXCHANGES[exchange]
    there = {need: request.getfixturevalue(need) for need in needs}
    server = there.get("server")
    settings = {**settings, "redis_url": server.url} if isinstance(server, RedisServer) else settings
    check(answers(place, name, settings), expected)


# ---------------------------------------------------------------- with faults


class Hostile(Clients):
    """Clients of an AWS that does what it may: it takes batches in part, stores twice what it took, loses its answers, and gives what it
    has late, twice and in any order.

    Attributes:
        done: How often each was done.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._chance = Random(seed)
        self._lock = threading.Lock()
        self.done: Counter[str] = Counter()

    def __getitem__(self, service: str) -> Any:
        return _Service(super().__getitem__(service), self)

    def happens(self, what: str, odds: float) -> bool:
        """Whether it is done this time: the first time in any case, however few calls there are."""
        with self._lock:
            so = not self.done[what] or self._chance.random() < odds
            self.done[what] += so
        return so

    def shuffled(self, items: list[Any]) -> list[Any]:
        with self._lock:
            return self._chance.sample(items, len(items))


@dataclass(frozen=True)
class _Service:
    client: Any
    hostile: Hostile

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        meddle = _MEDDLES.get(operation)
        call = getattr(self.client, operation)
        return partial(meddle, call, self.hostile) if meddle else call


def _send(call: Callable[..., Any], hostile: Hostile, **arguments: Any) -> dict[str, Any]:
    """Messages, of which some are refused, some are stored twice, and sometimes nobody hears of it."""
    taken = [entry for entry in arguments["Entries"] if not hostile.happens("refused", 0.2)]
    refused = [entry for entry in arguments["Entries"] if entry not in taken]
    answer = call(**{**arguments, "Entries": taken}) if taken else {"Successful": []}
    if taken and hostile.happens("stored twice", 0.3):
        call(**{**arguments, "Entries": taken})
    if hostile.happens("lost", 0.02):
        raise ConnectionClosedError(endpoint_url="https://emulator")
    failed = [{"Id": entry["Id"], "SenderFault": False, "Code": "InternalError"} for entry in refused]
    return {**answer, "Failed": [*answer.get("Failed", ()), *failed]}


def _receive(call: Callable[..., Any], hostile: Hostile, **arguments: Any) -> dict[str, Any]:
    """Messages of which some come later, some twice, and none in order."""
    messages = [message for message in call(**arguments).get("Messages", ()) if not hostile.happens("held back", 0.2)]
    return {"Messages": hostile.shuffled([*messages, *(each for each in messages if hostile.happens("given twice", 0.3))])}


def _put(call: Callable[..., Any], hostile: Hostile, **arguments: Any) -> dict[str, Any]:
    """Records, as messages are sent."""
    took = [not hostile.happens("refused", 0.2) for _ in arguments["Records"]]
    taken = [record for record, is_taken in zip(arguments["Records"], took, strict=True) if is_taken]
    told = iter(call(**{**arguments, "Records": taken})["Records"] if taken else [])
    if taken and hostile.happens("stored twice", 0.3):
        call(**{**arguments, "Records": taken})
    if hostile.happens("lost", 0.02):
        raise ConnectionClosedError(endpoint_url="https://emulator")
    return {"Records": [next(told) if is_taken else {"ErrorCode": "ProvisionedThroughputExceededException"} for is_taken in took]}


def _get(call: Callable[..., Any], hostile: Hostile, **arguments: Any) -> dict[str, Any]:
    """Records of which some come twice, and pages that do not come at first."""
    if hostile.happens("held back", 0.2):
        return {"Records": [], "NextShardIterator": arguments["ShardIterator"], "MillisBehindLatest": 1}
    answer: dict[str, Any] = call(**arguments)
    again = [record for record in answer["Records"] if hostile.happens("given twice", 0.3)]
    return {**answer, "Records": [*hostile.shuffled([*answer["Records"], *again]), *answer["Records"][-1:]]}


_MEDDLES = {"send_message_batch": _send, "receive_message": _receive, "put_records": _put, "get_records": _get}

FAULTY: dict[str, Callable[[Clients], Carrier]] = {
    "sqs": lambda clients: QueueCarrier(clients, "smr", visible_seconds=1, patience=120),
    "kinesis": lambda clients: StreamCarrier(clients, "smr", patience=30.0),
}


@pytest.mark.parametrize("exchange", FAULTY)
def test_the_same_answers_whatever_aws_does(
    cloud: str, exchange: str, folder: Path, expected: dict[str, Answer], request: pytest.FixtureRequest
) -> None:
    hostile = Hostile(7)
    with in_memory(folder, request, **{exchange: FAULTY[exchange](hostile)}) as place:
        check(answers(place, exchange, {"retries": 8}), expected)
    assert {what for what, times in hostile.done.items() if times} >= {"refused", "stored twice", "held back", "given twice"}
