"""A Redis holds the contract of `Carrier`, and the exchange by it that of `Exchange`; and what it can do to keys is told."""

from __future__ import annotations

import importlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from smr_notebook.dataflow.carrying import CarriedExchange
from smr_notebook.dataflow.exchange import gather_index
from smr_notebook.errors import ConfigError, CorruptObjectError, StoreError
from smr_notebook.model import Receipt
from smr_notebook.ports import Carrier, ObjectStore
from smr_notebook.testing.carrier import PARTITIONS, CarrierTests, box, fetched, pieces  # noqa: F401 - a fixture
from smr_notebook.testing.exchange import Damage, ExchangeTests, OpenExchange, attempt_of, read, write
from smr_notebook.testing.redis_server import RedisServer

redis = importlib.import_module("redis") if "CI" in os.environ else pytest.importorskip("redis")
from smr_notebook.backends.memory.objects import MemoryStore  # noqa: E402
from smr_notebook.backends.redis.carrier import KEEP_SECONDS, open_redis  # noqa: E402

FOLDER = "jobs/3f9a"


@pytest.fixture
def carrier(server: RedisServer) -> Carrier:
    return open_redis(server.address)


@pytest.fixture
def client(server: RedisServer) -> Any:
    return redis.Redis.from_url(server.url)


@pytest.fixture
def open_carried(carrier: Carrier, tmp_path: Path) -> Iterator[Callable[[], CarriedExchange]]:
    yield lambda: CarriedExchange(MemoryStore(), FOLDER, carrier, scratch=tmp_path)
    carrier.remove(FOLDER, PARTITIONS)


class TestCarrier(CarrierTests):
    pass


class TestExchange(ExchangeTests):
    @pytest.fixture
    def objects(self) -> MemoryStore:
        return MemoryStore()

    @pytest.fixture(autouse=True)
    def _empty(self, carrier: Carrier) -> None:
        carrier.remove(FOLDER, PARTITIONS)

    @pytest.fixture
    def open_exchange(self, carrier: Carrier, objects: ObjectStore, tmp_path: Path) -> OpenExchange:
        def opened(receipts: Sequence[Receipt]) -> CarriedExchange:
            if not receipts:
                return CarriedExchange(objects, FOLDER, carrier, scratch=tmp_path)
            index = gather_index(objects, receipts, (receipts[0].size - 32) // 48)
            objects.put(f"{FOLDER}/index", index.pieces())
            return CarriedExchange(objects, FOLDER, carrier, scratch=tmp_path, index=f"{FOLDER}/index", index_crcs=index.crcs)

        return opened

    @pytest.fixture
    def damage(self, client: Any) -> Damage:
        def damage(receipt: Receipt, offset: int) -> None:
            key = f"smr:{FOLDER}:{receipt.attempt}"
            data = bytearray(client.hget(key, "0:0"))
            data[offset] ^= 0x20
            client.hset(key, "0:0", bytes(data))

        return damage

    def test_a_lost_key_is_told_with_what_to_do(self, open_exchange: OpenExchange, client: Any, server: RedisServer) -> None:
        receipt = write(open_exchange(()), attempt_of(0), {0: [b"x"]}, partitions=1)
        client.delete(f"smr:{FOLDER}:{receipt.attempt}")
        with pytest.raises(CorruptObjectError, match=rf"{server.address} has lost smr:{FOLDER}:map/000000/001, .*Submit the job again"):
            read(open_exchange((receipt,)), 0, (receipt,))

    def test_a_run_of_another_kind_is_refused(self, open_exchange: OpenExchange) -> None:
        receipt = write(open_exchange(()), attempt_of(0), {0: [b"x"]}, partitions=1)
        stranger = Receipt(receipt.attempt, receipt.key.replace("3f9a", "0000"), receipt.size, 0, receipt.crc, receipt.pairs)
        reader = open_exchange((receipt,))
        with pytest.raises(CorruptObjectError, match="no index of a run that jobs/3f9a sent"):
            read(reader, 0, (stranger,))

    def test_without_a_gathered_index_the_own_ones_are_read(
        self, open_exchange: OpenExchange, carrier: Carrier, objects: ObjectStore, tmp_path: Path
    ) -> None:
        receipt = write(open_exchange(()), attempt_of(0), {1: [b"x"]}, partitions=2)
        assert read(CarriedExchange(objects, FOLDER, carrier, scratch=tmp_path), 1, (receipt,)) == [[b"x"]]


def test_a_long_slice_is_read_once(open_carried: Callable[[], CarriedExchange], client: Any) -> None:
    """Its beginning is read ahead, and nothing of that again when it is asked for."""
    exchange = open_carried()
    receipt = write(exchange, attempt_of(0), {0: [bytes(5 << 20)]}, partitions=1)
    client.config_resetstat()
    assert [sum(map(len, blocks)) for blocks in read(exchange, 0, (receipt,))] == [5 << 20]
    assert client.info("stats")["total_net_output_bytes"] < 6 << 20


def test_keys_expire_and_are_held(carrier: Carrier, client: Any, box: str) -> None:  # noqa: F811
    carrier.send(box, "a", pieces({0: b"x"}))
    keys = [f"smr:{box}", f"smr:{box}:a"]
    assert all(0 < client.ttl(key) <= KEEP_SECONDS for key in keys)
    for key in keys:
        client.expire(key, 100)
    carrier.hold(box, 1)
    assert all(client.ttl(key) > 100 for key in keys)


def test_nothing_is_left_of_a_box(carrier: Carrier, client: Any, box: str) -> None:  # noqa: F811
    for number in range(20):
        carrier.send(box, f"map/{number}", pieces({0: b"x", 3: b"y"}))
    assert client.keys(f"smr:{box}*")
    carrier.remove(box, PARTITIONS, "map/3")
    assert not client.exists(f"smr:{box}:map/3")
    carrier.remove(box, PARTITIONS)
    assert client.keys(f"smr:{box}*") == []


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_redis_that_drops_keys_is_refused(own_server: Callable[..., RedisServer], policy: str) -> None:
    server = own_server("--maxmemory-policy", policy)
    with pytest.raises(ConfigError, match=rf"maxmemory-policy is {policy}.*noeviction"):
        open_redis(server.address)


def test_a_redis_that_begins_to_drop_keys_is_refused_by_the_next_sender(own_server: Callable[..., RedisServer]) -> None:
    server = own_server()
    carrier = open_redis(server.address)
    redis.Redis.from_url(server.url).config_set("maxmemory-policy", "allkeys-lfu")
    with pytest.raises(ConfigError, match="allkeys-lfu"):
        carrier.send("jobs/j", "a", pieces({0: b"x"}))


def test_a_full_redis_is_told_before_it_is_full(own_server: Callable[..., RedisServer]) -> None:
    server = own_server("--maxmemory", "12mb")
    carrier, client = open_redis(server.address), redis.Redis.from_url(server.url)
    for number in range(6):
        carrier.send("jobs/j", f"map/{number}", pieces({0: bytes(1 << 20)}))
    with pytest.raises(StoreError, match=r"has no room: [\d,]+ of 12,582,912 bytes are in use.*exchange='objects'"):
        carrier.send("jobs/j", "map/more", pieces({0: bytes(4 << 20)}))
    assert client.set("another", b"x"), "there is room for others"
    carrier.remove("jobs/j", PARTITIONS)
    carrier.send("jobs/j", "map/again", pieces({0: bytes(1 << 20)}))


def test_a_redis_that_fills_up_meanwhile_says_the_same(own_server: Callable[..., RedisServer]) -> None:
    """One send is longer than what is watched at once."""
    server = own_server("--maxmemory", "20mb")
    with pytest.raises(StoreError, match="has no room"):
        open_redis(server.address).send("jobs/j", "a", pieces({0: bytes(28 << 20)}))


def test_a_redis_that_is_not_there_is_told(own_server: Callable[..., RedisServer]) -> None:
    with pytest.raises(StoreError, match=r"redis://127.0.0.1:1/0 cannot be reached: .*[^.]\. Check that"):
        open_redis("redis://127.0.0.1:1/0")


def test_credentials_are_the_own_ones_and_are_never_shown(own_server: Callable[..., RedisServer]) -> None:
    server = own_server(password="geheim")  # noqa: S106 - of a server that lives for a second
    for told in ("", "redis://:falsch@127.0.0.1:1/0", server.url.replace("geheim", "falsch")):
        with pytest.raises(ConfigError, match=r"does not let us in.*SMR_REDIS_URL") as refused:
            open_redis(server.address, told=told)
        assert "geheim" not in str(refused.value)
        assert "falsch" not in str(refused.value)
    carrier = open_redis(server.address, told=server.url)
    carrier.send("jobs/j", "a", pieces({0: b"x"}))
    assert fetched(carrier, "jobs/j", 0, [("a", b"x")]) == [b"x"]


def test_connections_that_break_are_made_anew(carrier: Carrier, client: Any, box: str) -> None:  # noqa: F811
    carrier.send(box, "a", pieces({0: b"x"}))
    client.client_kill_filter(_type="normal", skipme=True)
    carrier.send(box, "b", pieces({0: b"y"}))
    client.client_kill_filter(_type="normal", skipme=True)
    assert fetched(carrier, box, 0, [("a", b"x"), ("b", b"y")]) == [b"x", b"y"]


def test_a_process_that_forks_may_go_on(carrier: Carrier, box: str) -> None:  # noqa: F811
    carrier.send(box, "a", pieces({0: b"x"}))
    child = os.fork()
    if child == 0:
        try:
            carrier.send(box, "b", pieces({0: b"y"}))
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert fetched(carrier, box, 0, [("a", b"x"), ("b", b"y")]) == [b"x", b"y"]
