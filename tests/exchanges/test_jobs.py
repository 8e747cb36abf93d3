"""The same jobs by each exchange: the same answers byte for byte, whoever is killed, and nothing left behind."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd
import pytest

import smr_notebook as smr
from smr_notebook.backends.local.client import LocalFunctions
from smr_notebook.control.layout import Layout
from smr_notebook.errors import ConfigError, CorruptObjectError, InputMissingError, JobError, StoreError
from smr_notebook.testing.redis_server import RedisServer
from smr_notebook.testing.sample_jobs import JOBS as SAMPLE_JOBS
from smr_notebook.testing.sample_jobs import Submit, write_input
from smr_notebook.testing.waiting import wait_until

OpenSession = Callable[..., smr.Session]


def large(item: int) -> Iterator[tuple[str, bytes]]:
    yield f"k{item % 3}", random.Random(item).randbytes(700_000)


def lengths(key: str, values: Iterator[bytes]) -> tuple[int, list[int]]:
    kept = list(values)
    return len(kept), [sum(value[:1000]) for value in kept]


def fails_on_some(line: str) -> Iterator[tuple[str, int]]:
    first, _, word = line.split()
    yield word, 100 // (int(first) % 20)


JOBS: dict[str, Submit] = {
    **SAMPLE_JOBS,
    "large values": lambda session, _, exchange: session.map_reduce(
        large, lengths, list(range(12)), reducers=2, split_size="1MB", exchange=exchange
    ),
    "columns": lambda session, folder, exchange: session.aggregate(
        folder / "sales.parquet",
        by="user",
        total=smr.sum("amount"),
        best=smr.top("amount", 2),
        reducers=2,
        split_size="10kB",
        exchange=exchange,
    ),
    "left out": lambda session, folder, exchange: session.map_reduce(
        fails_on_some, sum, folder / "lines.txt", reducers=2, split_size="20kB", on_error="skip", max_bad=0.2, exchange=exchange
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("input")
    write_input(folder)
    return folder


@pytest.fixture(params=["redis", "sqs", "kinesis"])
def carried(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """The name of an exchange, and the settings with which it works."""
    if request.param == "redis":
        return "redis", {"redis_url": request.getfixturevalue("server").url}
    request.getfixturevalue("aws")
    return request.param, {}


def parts(session: smr.Session, job: smr.Job) -> list[tuple[str, bytes]]:
    """Return the objects of a result, by their names without the job and the attempt."""
    root = Layout(job.id).root
    found = [info.key for info in session.backend.objects.list_prefix(root) if info.key.endswith(".parquet")]
    return [(key.split("/")[-1], session.backend.objects.get(key)) for key in found]


def workers(session: smr.Session) -> tuple[int, ...]:
    functions = session.backend.functions
    assert isinstance(functions, LocalFunctions)
    status = functions.status()
    return tuple(status.workers) if status else ()


@pytest.mark.filterwarnings("ignore:The result leaves out")
def test_the_same_answer_byte_by_byte(own_session: OpenSession, folder: Path, carried: tuple[str, dict[str, Any]]) -> None:
    exchange, settings = carried
    session = own_session(**settings)
    for name, submit in JOBS.items():
        plain, other = submit(session, folder, "objects"), submit(session, folder, exchange)
        pd.testing.assert_frame_equal(plain.result(), other.result(), obj=name)
        assert parts(session, plain) == parts(session, other), name
        assert plain.proof == other.proof, name


def slow(item: int) -> Iterator[tuple[int, int]]:
    threading.Event().wait(0.02)
    yield item % 5, item


def slow_list(key: int, values: Iterator[int]) -> list[int]:
    threading.Event().wait(0.1)
    return list(values)


EXPECTED = [(key, [item for item in range(48) if item % 5 == key]) for key in range(5)]


@pytest.mark.parametrize("seed", range(4))
def test_a_worker_is_killed_while_it_writes_or_reads(own_session: OpenSession, carried: tuple[str, dict[str, Any]], seed: int) -> None:
    exchange, settings = carried
    chance, session = random.Random(seed), own_session(**settings)
    job = session.map_reduce(slow, slow_list, list(range(48)), reducers=3, exchange=exchange)
    done = chance.randrange(0, 13)  # of 10 map tasks and 3 reduce tasks, or of as many as there are

    def far_enough() -> bool:
        status = job.status()
        return bool(workers(session)) and (status.map.done + status.reduce.done >= done or status.state.ended)

    wait_until(far_enough)
    os.kill(chance.choice(workers(session)), signal.SIGKILL)
    assert list(job.result().itertuples(index=False, name=None)) == EXPECTED


# ---------------------------------------------------------------- by Redis alone


def keys(server: RedisServer, job: smr.Job) -> list[bytes]:
    redis = pytest.importorskip("redis")
    found: list[bytes] = redis.Redis.from_url(server.url).keys(f"smr:{Layout(job.id).folder}*")
    return found


def fails_late(key: int, values: Iterator[int]) -> int:
    raise ValueError("reduce never works")


def test_nothing_is_left_in_redis_however_a_job_ends(own_session: OpenSession, server: RedisServer) -> None:
    session = own_session(redis_url=server.url, exchange="redis", retries=0)
    done = session.map_reduce(slow, slow_list, list(range(8)))
    done.result()
    failed = session.map_reduce(slow, fails_late, list(range(8)))
    with pytest.raises(JobError, match="reduce never works"):
        failed.result()
    wait_until(lambda: not keys(server, failed))
    with pytest.raises(InputMissingError, match=r"sent by redis is not there any more.*exchange='objects'"):
        failed.debug()
    cancelled = session.map_reduce(slow, slow_list, list(range(400)), reducers=2)
    wait_until(lambda: bool(keys(server, cancelled)))
    cancelled.cancel()
    wait_until(lambda: not any(keys(server, job) for job in (done, failed, cancelled)))


def test_a_job_that_goes_on_from_a_carried_one_maps_again(own_session: OpenSession, server: RedisServer, tmp_path: Path) -> None:
    session, mended = own_session(redis_url=server.url, exchange="redis", retries=0), tmp_path / "mended"

    def reduce(key: int, values: Iterator[int]) -> list[int]:
        if not mended.exists():
            raise ValueError("not yet")
        return list(values)

    job = session.map_reduce(slow, reduce, list(range(48)), reducers=2)
    with pytest.raises(JobError, match="not yet"):
        job.result()
    mended.touch()
    again = job.resume()
    assert list(again.result().itertuples(index=False, name=None)) == EXPECTED
    wait_until(lambda: keys(server, again) == [])


def test_a_lost_key_ends_the_job_under_its_name(own_session: OpenSession, server: RedisServer, tmp_path: Path) -> None:
    """A reduce task waits in another one's `reduce` while keys go."""
    redis, session = pytest.importorskip("redis"), own_session(redis_url=server.url, exchange="redis", retries=1, workers=1)
    gone, seen = tmp_path / "gone", tmp_path / "seen"

    def reduce(key: int, values: Iterator[int]) -> int:
        seen.touch()
        while not gone.exists():
            threading.Event().wait(0.01)
        return sum(values)

    job = session.map_reduce(slow, reduce, list(range(20)), reducers=2)
    wait_until(seen.exists)
    redis.Redis.from_url(server.url).delete(*keys(server, job))
    gone.touch()
    with pytest.raises(CorruptObjectError, match=r"has lost smr:jobs/.*Submit the job again"):
        job.result()


def test_what_cannot_be_used_is_told_when_a_job_is_submitted(own_session: OpenSession, own_server: Callable[..., RedisServer]) -> None:
    with pytest.raises(ConfigError, match="needs the setting redis_url"):
        own_session(exchange="redis").map_reduce(slow, sum, [1])
    with pytest.raises(StoreError, match="cannot be reached"):
        own_session(redis_url="redis://127.0.0.1:1").map_reduce(slow, sum, [1], exchange="redis")
    with pytest.raises(ConfigError, match=r"exchange must be one of objects, redis.*Did you mean 'redis'"):
        own_session().map_reduce(slow, sum, [1], exchange="reddis")
    lossy = own_server("--maxmemory-policy", "allkeys-lru")
    with pytest.raises(ConfigError, match="noeviction"):
        own_session(redis_url=lossy.url).map_reduce(slow, sum, [1], exchange="redis")


def test_the_password_is_in_no_object_no_row_and_no_message(
    own_session: OpenSession, own_server: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secret = uuid4().hex
    server = own_server(password=secret)
    monkeypatch.setenv("SMR_REDIS_URL", server.url)
    session = own_session(redis_url=server.url, exchange="redis")
    job = session.map_reduce(slow, slow_list, list(range(48)), reducers=2)
    assert list(job.result().itertuples(index=False, name=None)) == EXPECTED
    session.close()  # so that nobody removes what is no longer wanted while we look at it
    stored = [path for path in (tmp_path / "ws").rglob("*") if path.is_file()]
    assert len(stored) > 3
    assert not [path for path in stored if secret.encode() in path.read_bytes()]
    assert secret not in repr(session.settings)


def test_workers_without_the_password_say_what_they_need(
    own_session: OpenSession, own_server: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = own_server(password=uuid4().hex)
    monkeypatch.delenv("SMR_REDIS_URL", raising=False)
    session = own_session(redis_url=server.url, exchange="redis", retries=0)
    job = session.map_reduce(slow, slow_list, list(range(4)))
    with pytest.raises((JobError, ConfigError, CorruptObjectError), match="set SMR_REDIS_URL"):
        job.result()


def test_without_a_reduce_nothing_travels(own_session: OpenSession) -> None:
    """No Redis is needed for that."""
    frame = own_session().map_reduce(slow, None, [3], exchange="redis", wait=True)
    assert frame.itertuples(index=False, name=None).__next__() == (3, 3)
