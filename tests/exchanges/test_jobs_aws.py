"""The exchanges where code runs on AWS's functions: the same answer, and nothing left."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from uuid import uuid4

import pytest

import smr_notebook as smr
from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.deploy.down import remove_carried
from smr_notebook.backends.aws.names import Names
from smr_notebook.testing.cloud import Shape, deployed
from smr_notebook.testing.redis_server import RedisServer
from smr_notebook.testing.waiting import wait_until

pytestmark = pytest.mark.filterwarnings("ignore:.*tasks run .* at a time")  # of a small account, which this is

ITEMS = list(range(600))


def spread(item: int) -> Iterator[tuple[int, tuple[int, bytes]]]:
    yield item % 31, (item, bytes(700))


def in_order(key: int, values: Iterator[tuple[int, bytes]]) -> str:
    return "-".join(str(item) for item, _ in values)


@pytest.fixture
def session(aws: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[smr.Session]:
    named = replace(Shape(), stack=f"s{uuid4().hex[:12]}")
    with deployed(aws, Clients(), named) as service:
        for name, value in service.access.items():
            monkeypatch.setenv(name, value)
        yield smr.Session("aws", stack=named.stack)


def left(session: smr.Session) -> list[str]:
    """Return the queues and streams of a deployment."""
    clients, prefix = Clients(), f"{session.settings.stack}_"
    queues = clients["sqs"].list_queues(QueueNamePrefix=prefix).get("QueueUrls", [])
    return [*queues, *(name for name in clients["kinesis"].list_streams()["StreamNames"] if name.startswith(prefix))]


def test_the_same_answer_by_each_exchange(session: smr.Session, server: RedisServer) -> None:
    """Functions reach this Redis without a password: its address stands in the plan."""
    by_redis = smr.Session("aws", stack=session.settings.stack, settings={"redis_url": server.url})
    frames = {
        exchange: by_redis.map_reduce(spread, in_order, ITEMS, reducers=3, exchange=exchange, wait=True)
        for exchange in ("objects", "redis", "sqs", "kinesis")
    }
    expected = [(key, "-".join(str(item) for item in ITEMS if item % 31 == key)) for key in range(31)]
    assert {exchange: list(frame.itertuples(index=False, name=None)) for exchange, frame in frames.items()} == dict.fromkeys(
        frames, expected
    )
    wait_until(lambda: left(session) == [])


def test_what_jobs_left_goes_with_the_deployment(aws: str) -> None:
    names = Names(f"s{uuid4().hex[:12]}", "000000000000", "us-east-1")
    clients, other = Clients(), f"{names.stack}-other"
    clients["sqs"].create_queue(QueueName=f"{names.stack}_jobs-09af09af-0")
    clients["kinesis"].create_stream(StreamName=f"{names.stack}_jobs-09af09af", ShardCount=1)
    clients["sqs"].create_queue(QueueName=other)
    remove_carried(clients, names)
    assert clients["sqs"].list_queues(QueueNamePrefix=f"{names.stack}_").get("QueueUrls", []) == []
    assert f"{names.stack}_jobs-09af09af" not in clients["kinesis"].list_streams()["StreamNames"]
    assert clients["sqs"].get_queue_url(QueueName=other)["QueueUrl"].endswith(other)
