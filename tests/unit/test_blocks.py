"""Group blocks: bytes and back, and every kind of damage found."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smr_notebook.dataflow.blocks import GroupBlock, iter_blocks, pack, unpack
from smr_notebook.dataflow.columns import decode_values, encode_values
from smr_notebook.dataflow.keys import decode_keys, split_keys
from smr_notebook.errors import CorruptObjectError, FormatVersionError

GOLDEN = Path(__file__).parents[1] / "golden" / "blocks-v1.bin"
Groups = list[tuple[Any, list[Any]]]

# What the golden file holds, block by block. A new version of the format gets a new file (`GOLDEN.write_bytes(golden_bytes())`);
# this one is never written again.
GOLDEN_GROUPS: list[Groups] = [
    [(False, [1, 2]), (True, [3])],
    [(-5, ["a", None]), (7, ["b"])],
    [(-1.5, [[1, 2], []]), (float("inf"), [[3]])],
    [("a", [(1, "x")]), ("b", [(2, None), (3, "y")])],
    [(b"\0", [{"n": 1, "s": "a"}]), (b"\xff", [{"n": None, "s": "b"}])],
    [(2**70, [Decimal("1.50"), {1, 2}])],
    [(-(2**70), [None])],
    [(None, [1.5]), (("a", 1), [2.5]), (datetime(2020, 1, 1, tzinfo=UTC), [-0.0])],
]


def block_of(groups: Groups) -> GroupBlock:
    [(keys, rows)] = split_keys([key for key, _ in groups])
    assert rows is None
    values = encode_values([value for _, group in groups for value in group])
    return GroupBlock(keys, values, np.cumsum([0, *(len(group) for _, group in groups)], dtype=np.int64))


def groups_of(block: GroupBlock) -> Groups:
    values = decode_values(block.values)
    edges = block.offsets.tolist()
    return [(key, values[start:stop]) for key, start, stop in zip(decode_keys(block.keys), edges, edges[1:], strict=False)]


def golden_bytes() -> bytes:
    return b"".join(pack(block_of(groups)) for groups in GOLDEN_GROUPS)


def test_blocks_written_by_the_first_version_are_read() -> None:
    assert [groups_of(block) for block in iter_blocks(GOLDEN.read_bytes())] == GOLDEN_GROUPS


VALUES: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.integers(),
    st.text(),
    st.floats(allow_nan=False),
    st.tuples(st.integers(), st.text()),
    st.lists(st.integers(), max_size=3),
)
KEYS = st.sampled_from([st.integers(-(2**63), 2**63 - 1), st.text(), st.binary(), st.booleans(), st.decimals(allow_nan=False)])


@st.composite
def blocks(draw: st.DrawFn) -> Groups:
    keys = draw(st.lists(draw(KEYS), min_size=1, max_size=6))
    kind = draw(st.sampled_from([VALUES, st.integers(0, 9), st.text()]))
    return [(key, draw(st.lists(kind, max_size=4))) for key in keys]


@given(st.lists(blocks(), max_size=3), st.sampled_from(["lz4", "zstd", None]))
def test_blocks_come_back_one_behind_the_other(all_groups: list[Groups], compression: Literal["lz4", "zstd"] | None) -> None:
    data = b"".join(pack(block_of(groups), compression) for groups in all_groups)
    assert [groups_of(block) for block in iter_blocks(data)] == all_groups
    assert [groups_of(block) for block in iter_blocks(memoryview(data))] == all_groups


@given(blocks(), st.data())
def test_a_slice_of_a_block_packs_alone(groups: Groups, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(groups) - 1))
    stop = data.draw(st.integers(start + 1, len(groups)))
    block = block_of(groups)
    first, last = int(block.offsets[start]), int(block.offsets[stop])
    part = GroupBlock(block.keys.slice(start, stop), block.values.slice(first, last), block.offsets[start : stop + 1] - first)
    back = unpack(pack(part))
    assert groups_of(back) == groups[start:stop]
    assert back.keys.kind is block.keys.kind
    assert back.values.kind == block.values.kind


def test_each_changed_byte_is_found() -> None:
    data = pack(block_of(GOLDEN_GROUPS[3]))
    for at in range(len(data)):
        for change in (1, 128, 255):
            damaged = bytearray(data)
            damaged[at] ^= change
            with pytest.raises(CorruptObjectError):
                unpack(bytes(damaged))


def test_each_cut_is_found() -> None:
    data = pack(block_of(GOLDEN_GROUPS[3]))
    for size in range(len(data)):
        with pytest.raises(CorruptObjectError):
            unpack(data[:size])
    with pytest.raises(CorruptObjectError):
        unpack(data + b"\0")


@settings(max_examples=min(50, settings().max_examples))
@given(st.binary(max_size=100))
def test_random_bytes_are_no_blocks(data: bytes) -> None:
    with pytest.raises(CorruptObjectError):
        list(iter_blocks(b"SMRB" + data))


def test_a_later_version_is_told_apart_from_damage() -> None:
    import struct
    import zlib

    data = bytearray(pack(block_of(GOLDEN_GROUPS[0])))
    data[4] = 9
    data[36:40] = struct.pack("<I", zlib.crc32(data[40:], zlib.crc32(data[:36])))
    with pytest.raises(FormatVersionError, match="format version 9"):
        unpack(bytes(data))


def test_unpack_takes_one_block() -> None:
    data = pack(block_of(GOLDEN_GROUPS[0]))
    with pytest.raises(CorruptObjectError, match="2 blocks"):
        unpack(data + data)


def test_repetitive_values_are_compressed() -> None:
    block = block_of([("a", ["the same text"] * 10_000)])
    assert len(pack(block)) < len(pack(block, None)) / 4
