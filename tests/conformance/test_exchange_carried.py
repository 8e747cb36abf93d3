"""The exchange by the carrier of reference holds the contract of `Exchange`, and that carrier its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smr_notebook.backends.memory.carrier import MemoryCarrier
from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.dataflow.carrying import CarriedExchange, pieces_of
from smr_notebook.dataflow.exchange import gather_index
from smr_notebook.dataflow.runs import Slice
from smr_notebook.model import Receipt
from smr_notebook.ports import PIECE_BYTES
from smr_notebook.testing.carrier import CarrierTests, box  # noqa: F401 - a fixture
from smr_notebook.testing.exchange import Damage, ExchangeTests, OpenExchange, attempt_of, write


@pytest.fixture
def carrier() -> MemoryCarrier:
    return MemoryCarrier()


class TestCarrier(CarrierTests):
    pass


class TestExchange(ExchangeTests):
    @pytest.fixture
    def objects(self) -> MemoryStore:
        return MemoryStore()

    @pytest.fixture
    def open_exchange(self, carrier: MemoryCarrier, objects: MemoryStore, tmp_path: Path) -> OpenExchange:
        def opened(receipts: Sequence[Receipt]) -> CarriedExchange:
            if not receipts:
                return CarriedExchange(objects, "jobs/j", carrier, scratch=tmp_path)
            index = gather_index(objects, receipts, (receipts[0].size - 32) // 48)
            objects.put("jobs/j/index", index.pieces())
            return CarriedExchange(objects, "jobs/j", carrier, scratch=tmp_path, index="jobs/j/index", index_crcs=index.crcs)

        return opened

    @pytest.fixture
    def damage(self, carrier: MemoryCarrier) -> Damage:
        def damage(receipt: Receipt, offset: int) -> None:
            carrier.slices["jobs/j", str(receipt.attempt), 0][offset] ^= 0x20

        return damage

    def test_only_the_index_is_an_object(self, open_exchange: OpenExchange, objects: MemoryStore) -> None:
        receipt = write(open_exchange(()), attempt_of(0), {0: [bytes(100_000)]}, partitions=5)
        assert [(info.key, info.size) for info in objects.list_prefix("")] == [("jobs/j/map/000000/001/run", 5 * 48 + 32)]
        assert (receipt.size, receipt.footer) == (5 * 48 + 32, 0)

    def test_an_aborted_attempt_sends_nothing(self, open_exchange: OpenExchange, carrier: MemoryCarrier, objects: MemoryStore) -> None:
        writer = open_exchange(()).writer(attempt_of(0), 1)
        writer.write(0, b"x", groups=1, pairs=1, checksum=0)
        writer.abort()
        assert carrier.slices == {}
        assert list(objects.list_prefix("")) == []


@given(
    st.lists(st.sampled_from([0, 1, 5, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES + 3]), max_size=5),
    st.integers(1_000, 2 * PIECE_BYTES),
)
def test_slices_are_cut_into_pieces_wherever_buffers_end(lengths: list[int], step: int) -> None:
    data = bytes(range(256)) * (sum(lengths) // 256 + 1)
    data = data[: sum(lengths)]
    slices, position = [], 0
    for length in lengths:
        slices.append(Slice(position, length, 0, 0, 0, 0))
        position += length

    buffers = (data[start : start + step] for start in range(0, len(data), step))
    found: dict[int, bytes] = {}
    for piece in pieces_of(slices, buffers):
        assert 0 < len(piece.data) <= PIECE_BYTES
        assert piece.offset == len(found.get(piece.partition, b"")), "in order, without gaps"
        assert piece.offset % PIECE_BYTES == 0
        found[piece.partition] = found.get(piece.partition, b"") + piece.data
    for number, part in enumerate(slices):
        assert found.get(number, b"") == data[part.offset : part.offset + part.length]
