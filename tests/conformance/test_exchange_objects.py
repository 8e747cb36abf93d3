"""The object exchange holds the contract of `Exchange`, with and without a gathered index."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from smr_notebook.dataflow.exchange import ObjectExchange, gather_index
from smr_notebook.errors import CorruptObjectError, ObjectNotFoundError
from smr_notebook.model import ObjectInfo, Receipt
from smr_notebook.ports import Buffer
from smr_notebook.testing.exchange import Damage, ExchangeTests, OpenExchange, attempt_of, read, write


class DictObjects:
    """An object store of a few lines: these tests are about the exchange, and need to damage what it keeps."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.gets: list[tuple[str, int, int | None]] = []

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        self.gets.append((key, start, stop))
        if key not in self.blobs:
            raise ObjectNotFoundError(f"There is no object {key}.")
        return self.blobs[key][start:stop]

    def put(self, key: str, data: Buffer | Iterable[Buffer], *, if_absent: bool = False) -> bool:
        if if_absent and key in self.blobs:
            return False
        self.blobs[key] = bytes(data) if isinstance(data, bytes | bytearray | memoryview) else b"".join(data)
        return True

    def list_prefix(self, prefix: str) -> Iterator[ObjectInfo]:
        raise AssertionError("the exchange never trusts a listing")

    def delete_prefix(self, prefix: str) -> int:
        raise AssertionError("the exchange deletes nothing")

    def damage(self, receipt: Receipt, offset: int) -> None:
        data = bytearray(self.blobs[receipt.key])
        data[offset] ^= 0x20
        self.blobs[receipt.key] = bytes(data)


@pytest.fixture
def objects() -> DictObjects:
    return DictObjects()


@pytest.fixture
def damage(objects: DictObjects) -> Damage:
    return objects.damage


def gathered(objects: DictObjects, receipts: Sequence[Receipt], partitions: int, scratch: Path) -> ObjectExchange:
    index = gather_index(objects, receipts, partitions)
    objects.put("jobs/j/index", index.data)
    return ObjectExchange(objects, "jobs/j", scratch=scratch, index="jobs/j/index", index_crcs=index.crcs)


class TestFooters(ExchangeTests):
    @pytest.fixture
    def open_exchange(self, objects: DictObjects, tmp_path: Path) -> OpenExchange:
        return lambda _receipts: ObjectExchange(objects, "jobs/j", scratch=tmp_path)

    def test_a_missing_run_is_noticed(self, objects: DictObjects, open_exchange: OpenExchange) -> None:
        receipt = write(open_exchange(()), attempt_of(0), {0: [b"x"]}, partitions=1)
        del objects.blobs[receipt.key]
        with pytest.raises(CorruptObjectError, match="missing"):
            read(open_exchange((receipt,)), 0, (receipt,))

    def test_an_aborted_run_is_no_object(self, objects: DictObjects, open_exchange: OpenExchange) -> None:
        writer = open_exchange(()).writer(attempt_of(0), 1)
        writer.write(0, b"x", groups=1, pairs=1, checksum=0)
        writer.abort()
        assert objects.blobs == {}

    def test_the_key_carries_the_attempt(self, open_exchange: OpenExchange) -> None:
        assert write(open_exchange(()), attempt_of(5, 2), {}, partitions=1).key == "jobs/j/map/000005/002/run"

    def test_another_run_under_the_key_is_noticed(self, objects: DictObjects, open_exchange: OpenExchange) -> None:
        receipt = write(open_exchange(()), attempt_of(0), {0: [b"x"]}, partitions=1)
        other = write(open_exchange(()), attempt_of(1), {0: [b"y"]}, partitions=1)
        objects.blobs[receipt.key] = objects.blobs[other.key]
        with pytest.raises(CorruptObjectError):
            read(open_exchange((receipt,)), 0, (receipt,))


class TestGathered(ExchangeTests):
    @pytest.fixture
    def open_exchange(self, objects: DictObjects, tmp_path: Path) -> OpenExchange:
        def opened(receipts: Sequence[Receipt]) -> ObjectExchange:
            if not receipts:
                return ObjectExchange(objects, "jobs/j", scratch=tmp_path)
            partitions = (receipts[0].size - receipts[0].footer - 32) // 48
            return gathered(objects, receipts, partitions, tmp_path)

        return opened

    def test_a_reducer_reads_the_index_once_and_each_run_once(self, objects: DictObjects, open_exchange: OpenExchange) -> None:
        receipts = [write(open_exchange(()), attempt_of(task), {0: [b"a"], 1: [b"b", b"c"]}, partitions=3) for task in range(4)]
        reader = open_exchange(receipts)
        objects.gets.clear()
        read(reader, 1, receipts)
        assert [key for key, _, _ in objects.gets] == ["jobs/j/index", *(receipt.key for receipt in receipts)]

    def test_a_damaged_index_is_noticed(self, objects: DictObjects, tmp_path: Path) -> None:
        plain = ObjectExchange(objects, "jobs/j", scratch=tmp_path)
        receipts = [write(plain, attempt_of(task), {0: [b"a"], 1: [b"b"]}, partitions=2) for task in range(2)]
        reader = gathered(objects, receipts, 2, tmp_path)
        whole = objects.blobs["jobs/j/index"]
        for offset in range(len(whole)):
            objects.blobs["jobs/j/index"] = whole[:offset] + bytes([whole[offset] ^ 1]) + whole[offset + 1 :]
            with pytest.raises(CorruptObjectError):
                read(reader, 0 if offset < len(whole) // 2 else 1, receipts)

    def test_the_gathered_sums_are_those_of_the_partitions(self, objects: DictObjects, tmp_path: Path) -> None:
        receipts = []
        for task in range(3):
            writer = ObjectExchange(objects, "jobs/j", scratch=tmp_path).writer(attempt_of(task), 2)
            writer.write(0, b"x", groups=1, pairs=task + 1, checksum=2**63)
            writer.write(1, b"y", groups=1, pairs=10, checksum=task)
            receipts.append(writer.close())
        index = gather_index(objects, receipts, 2)
        assert index.pairs == (6, 30)
        assert index.checksums == (2**63, 3)

    def test_runs_of_another_job_are_not_gathered(self, objects: DictObjects, tmp_path: Path) -> None:
        receipt = write(ObjectExchange(objects, "jobs/j", scratch=tmp_path), attempt_of(0), {}, partitions=2)
        with pytest.raises(CorruptObjectError, match="2 partitions instead of 3"):
            gather_index(objects, [receipt], 3)

    def test_the_index_of_many_runs_takes_little_more_memory_than_its_bytes(self, objects: DictObjects, tmp_path: Path) -> None:
        """It is half a gigabyte for ten thousand runs of a thousand partitions."""
        writer = ObjectExchange(objects, "jobs/j", scratch=tmp_path).writer(attempt_of(0), 100)
        for partition in range(100):
            writer.write(partition, b"x", groups=1, pairs=partition, checksum=1)
        receipts = [writer.close()] * 1200
        tracemalloc.start()
        index = gather_index(objects, receipts, 100)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert index.pairs == tuple(1200 * partition for partition in range(100))
        assert b"".join(index.pieces()) == index.data
        assert peak < 1.6 * len(index.data)

    def test_no_runs_give_an_empty_index(self, objects: DictObjects, tmp_path: Path) -> None:
        reader = gathered(objects, (), 2, tmp_path)
        assert read(reader, 1, ()) == []
