"""The run format: what is written comes back, and nothing else passes for it."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smr_notebook.dataflow.runs import Get, RunEnd, RunReader, RunWriter, read_rows
from smr_notebook.errors import CorruptObjectError, FormatVersionError

GOLDEN = Path(__file__).parents[1] / "golden" / "run-v1.bin"


def getter(data: bytes) -> Get:
    return lambda start, stop: data[start:stop]


def write(partitions: list[list[bytes]]) -> tuple[bytes, RunEnd]:
    file = io.BytesIO()
    writer = RunWriter(file, len(partitions))
    for number, blocks in enumerate(partitions):
        for block in blocks:
            writer.write(number, block, groups=1, pairs=len(block), checksum=zlib.crc32(block))
    end = writer.close()
    return file.getvalue(), end


def read(data: bytes, end: RunEnd, *, step: int = 1 << 20) -> list[list[bytes]]:
    rows = read_rows(getter(data), size=end.size, footer=end.footer, crc=end.crc, name="the run")
    reader = RunReader(getter(data), rows, "the run")
    return [list(reader.blocks(number, step=step)) for number in range(reader.partitions)]


@given(st.lists(st.lists(st.binary(max_size=40), max_size=5), min_size=1, max_size=6), st.integers(1, 64))
def test_what_is_written_comes_back_whatever_the_step(partitions: list[list[bytes]], step: int) -> None:
    data, end = write(partitions)
    assert len(data) == end.size
    assert read(data, end, step=step) == partitions


@given(st.lists(st.lists(st.binary(max_size=40), max_size=5), min_size=1, max_size=6))
def test_the_index_tells_what_is_there(partitions: list[list[bytes]]) -> None:
    data, end = write(partitions)
    rows = read_rows(getter(data), size=end.size, footer=end.footer, crc=end.crc, name="the run")
    slices = [RunReader(getter(data), rows, "the run").slice(number) for number in range(len(partitions))]
    assert [part.groups for part in slices] == [len(blocks) for blocks in partitions]
    assert [part.pairs for part in slices] == [sum(map(len, blocks)) for blocks in partitions]
    assert [part.checksum for part in slices] == [sum(map(zlib.crc32, blocks)) for blocks in partitions]
    assert end.pairs == sum(part.pairs for part in slices)
    assert sum(part.length for part in slices) == end.footer


def test_every_changed_byte_is_noticed() -> None:
    data, end = write([[b"hello", b""], [], [b"world" * 10]])
    for offset in range(len(data)):
        for bit in (1, 128):
            changed = data[:offset] + bytes([data[offset] ^ bit]) + data[offset + 1 :]
            for step in (7, 1 << 20):
                with pytest.raises(CorruptObjectError):
                    read(changed, end, step=step)


def test_every_cut_is_noticed() -> None:
    data, end = write([[b"hello"], [b"world"]])
    for length in range(len(data)):
        with pytest.raises(CorruptObjectError):
            read(data[:length], end)


def test_a_slice_that_fits_in_a_step_is_checked_before_anything_is_handed_out() -> None:
    data, end = write([[b"first", b"second"]])
    rows = read_rows(getter(data), size=end.size, footer=end.footer, crc=end.crc, name="the run")
    reader = RunReader(getter(b"\xff" * end.footer), rows, "the run")
    with pytest.raises(CorruptObjectError):
        next(reader.blocks(0))


def test_another_version_is_named() -> None:
    data, end = write([[b"x"]])
    tail = bytearray(data[-32:-4])
    struct.pack_into("<I", tail, 16, 2)
    changed = data[:-32] + bytes(tail) + zlib.crc32(tail).to_bytes(4, "little")
    with pytest.raises(FormatVersionError, match="version 2; this package reads version 1"):
        read(changed, end)


def test_a_writer_never_goes_back() -> None:
    writer = RunWriter(io.BytesIO(), 3)
    writer.write(2, b"x", groups=1, pairs=1, checksum=0)
    with pytest.raises(ValueError, match="partition 1 cannot follow 2"):
        writer.write(1, b"x", groups=1, pairs=1, checksum=0)
    with pytest.raises(ValueError, match="partition 3"):
        writer.write(3, b"x", groups=1, pairs=1, checksum=0)


def golden() -> tuple[bytes, RunEnd]:
    return write([[b"alpha", b"beta"], [], [b"gamma"]])


def test_version_1_is_written_as_it_was() -> None:
    """The golden file changes with a new VERSION, and never otherwise."""
    data, end = golden()
    assert data == GOLDEN.read_bytes()
    assert end == RunEnd(size=214, footer=38, crc=end.crc, pairs=14)


def test_version_1_is_read_as_it_was() -> None:
    _, end = golden()
    assert read(GOLDEN.read_bytes(), end) == [[b"alpha", b"beta"], [], [b"gamma"]]
