"""What is written to a spool comes out of it, wherever it was kept; and what does not get smaller is not compressed."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.dataflow.blocks import Codec, GroupBlock, unpack
from smr_notebook.dataflow.columns import Column, decode_values, encode_values
from smr_notebook.dataflow.grouping import group_pairs
from smr_notebook.dataflow.keys import split_keys
from smr_notebook.dataflow.outputs import PartWriter
from smr_notebook.dataflow.runs import RunReader, RunWriter, read_rows
from smr_notebook.dataflow.spilling import BlockWriter
from smr_notebook.dataflow.spooling import Spool


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 100_000), max_size=12), st.sampled_from([0, 1_000, 200_000, 1 << 30]))
def test_all_that_was_written_comes_out_once_and_in_order(tmp_path: Path, sizes: list[int], in_memory: int) -> None:
    written = [random.Random(number).randbytes(size) for number, size in enumerate(sizes)]
    spool = Spool(tmp_path, in_memory=in_memory)
    for number, data in enumerate(written):
        spool.write(memoryview(data) if number % 2 else data)
    assert spool.tell() == sum(sizes)
    assert b"".join(spool.pieces()) == b"".join(written)
    spool.close()
    assert list(tmp_path.iterdir()) == []


def test_a_buffer_may_be_used_again_after_it_was_written(tmp_path: Path) -> None:
    spool, buffer = Spool(tmp_path), bytearray(b"first")
    spool.write(memoryview(buffer))
    buffer[:] = b"other"
    assert b"".join(spool.pieces()) == b"first"


CODECS: list[Codec] = ["lz4", "zstd"]


def block_of(texts: list[Any]) -> GroupBlock:
    (keys, _), *_ = split_keys(list(range(len(texts))))
    return group_pairs([(keys, encode_values(texts))])


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("repeats", [True, False])
def test_blocks_are_compressed_as_long_as_that_makes_them_smaller(codec: Codec, repeats: bool) -> None:
    chance = random.Random(5)
    texts = [["the same again and again"] * 500 if repeats else [chance.randbytes(40) for _ in range(500)] for _ in range(20)]
    file = io.BytesIO()
    run = RunWriter(file, 1)
    writer = BlockWriter(run, codec)
    for some in texts:
        writer.write(0, block_of(some))
    end = run.close()
    data = file.getvalue()
    rows = read_rows(lambda start, stop: data[start:stop], size=end.size, footer=end.footer, crc=end.crc, name="run")
    blocks = list(RunReader(lambda start, stop: data[start:stop], rows, "run").blocks(0))
    assert [decode_values(unpack(block).values) for block in blocks] == texts
    assert all(len(block) < 8_000 for block in blocks) is repeats


@pytest.mark.parametrize(("repeats", "codec"), [(True, "ZSTD"), (False, "UNCOMPRESSED")])
def test_parts_that_hardly_shrink_are_not_compressed(tmp_path: Path, repeats: bool, codec: str) -> None:
    chance, store = random.Random(5), MemoryStore()
    again = "a line that comes again and again, so that it is worth the time"
    values = encode_values([again] * 70_000 if repeats else [chance.randbytes(60) for _ in range(70_000)])
    writer = PartWriter(store, "part", 0, grouped_order=False, scratch=tmp_path)
    writer.add_columns(Column("int", pa.array(range(70_000))), values, ordered=True)
    (file,) = writer.close().files
    parquet = pq.ParquetFile(pa.BufferReader(store.get(file.key)))
    assert parquet.metadata.row_group(0).column(1).compression == codec
    assert parquet.read().column("value").to_pylist() == decode_values(values)
