"""Whatever the bytes are, a reader gives what they say, or an error of ours: no other one, no crash, no memory without end.

Where a checksum would end each try at once, it is made right again, as somebody would who means harm. `make fuzz` tries for longer.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import resource
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.table import MemoryTable
from smr_notebook.control import rows
from smr_notebook.control.layout import Layout
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.manifests import read_manifest
from smr_notebook.control.messages import AttemptRange, attempt_message, coordinate, decode, encode, route, tenant
from smr_notebook.control.plans import StoredRequest, read_code, read_plan, read_request, read_split_page
from smr_notebook.control.rows import JobEntry, ManifestEntry, RowCodec
from smr_notebook.dataflow import decoding
from smr_notebook.dataflow.arrow_kinds import is_arrow_kind, kind_of_schema, rows_of_struct
from smr_notebook.dataflow.blocks import GroupBlock, holds_pickles, iter_blocks, pack, unpack
from smr_notebook.dataflow.columns import Column, decode_values, encode_values
from smr_notebook.dataflow.exchange import ObjectExchange, gather_index
from smr_notebook.dataflow.formats.stored import frame_ends, read_frame, read_items, store_frame, store_items
from smr_notebook.dataflow.frames.pandas_rows import frame_of, rows_of
from smr_notebook.dataflow.inputs import JobInput
from smr_notebook.dataflow.keys import decode_keys, encode_key, split_keys
from smr_notebook.dataflow.kinds import arrow_type, parse_kind
from smr_notebook.dataflow.outputs import PartWriter
from smr_notebook.dataflow.results import head_frame, load_frame
from smr_notebook.dataflow.runs import RunWriter, as_slice, read_rows, read_slice
from smr_notebook.dataflow.sealing import seal, unseal
from smr_notebook.environment import environment
from smr_notebook.errors import CorruptObjectError, SmrError
from smr_notebook.model import (
    AttemptId,
    Commit,
    Format,
    Manifest,
    Numbers,
    Part,
    PartFile,
    Phase,
    Plan,
    Policy,
    Receipt,
    Span,
    Split,
    TaskId,
)
from smr_notebook.testing.keys import KEYS
from smr_notebook.testing.mutations import mutated, nearly

FUZZ = settings(max_examples=int(os.environ.get("SMR_TEST_FUZZ", "150")))
JOB = "3f9a"
LAYOUT = Layout(JOB)
MOST_BYTES = 8 << 30


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    """Let nobody have more address space than a few gigabytes, whatever a length says."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def ours(read: Callable[[], object]) -> bool:
    """Whether something can be read; what it raises if not is one of our errors."""
    try:
        read()
    except SmrError:
        return False
    return True


# ---------------------------------------------------------------- sealed documents


def signed(kind: str, body: bytes, key: str) -> bytes:
    """Return a document as this workspace stores it."""
    sealed = seal(kind, body)
    return sealed + KEYS.of_object(key).sign(kind, key, sealed)


PLAN = Plan(JOB, "", 1.0, Format.TEXT, 2, 1, False, False, 10, None, 1 << 28, Policy(), environment())  # noqa: FBT003 - facts in a row
SPLITS = tuple(Split(number, (Span("file", "/a", number, number + 1, 2, "v"),)) for number in range(2))
REQUEST = StoredRequest(("a.txt",), "auto", 0, 0, "", 1.0, 0, Policy(), 0.0)
RECEIPT = Receipt(AttemptId(TaskId(Phase.MAP, 0), 1), "jobs/3f9a/map/000000/001/run", 100, 10, 5, 3)
COMMIT = Commit(RECEIPT.attempt, "w", 1.0, 2.0, Numbers(1, 2, 3), (RECEIPT,))
MANIFEST = Manifest(JOB, Phase.MAP, (COMMIT,), Numbers(1, 2, 3), 1, LAYOUT.index, (7,), (3,), (9,))


@FUZZ
@given(nearly(seal("plan", b"{}"), seal("code", b"x" * 50, 2)))
def test_seals(data: bytes) -> None:
    ours(lambda: unseal("plan", data, name="a"))


@FUZZ
@given(nearly(msgspec.json.encode(PLAN)), nearly(msgspec.json.encode(SPLITS)), nearly(msgspec.json.encode(REQUEST)))
def test_plans_and_requests(plan: bytes, splits: bytes, request: bytes) -> None:
    objects = MemoryStore()
    objects.put(LAYOUT.plan, signed("plan", plan, LAYOUT.plan))
    objects.put(LAYOUT.request, signed("request", request, LAYOUT.request))
    objects.put(f"{LAYOUT.splits}000000", signed("splits", splits, f"{LAYOUT.splits}000000"))
    ours(lambda: read_plan(objects, JOB, KEYS))
    ours(lambda: read_request(objects, JOB, KEYS))
    ours(lambda: read_split_page(objects, LAYOUT.splits, 0, KEYS))


@FUZZ
@given(nearly(seal("code", b"x" * 30) + bytes(16)))
def test_code_that_nobody_signed(data: bytes) -> None:
    objects = MemoryStore()
    objects.put(LAYOUT.code, data)
    with pytest.raises(CorruptObjectError):
        read_code(objects, JOB, KEYS)


@FUZZ
@given(nearly(msgspec.json.encode(MANIFEST)))
def test_manifests(data: bytes) -> None:
    objects, ledger, sealed = MemoryStore(), Ledger(MemoryTable(), JOB), seal("manifest", data, 2)
    objects.put("m", sealed)
    ledger.put_manifest(Phase.MAP, ManifestEntry("m", zlib.crc32(sealed), hashlib.blake2b(sealed, digest_size=32).digest()))
    ours(lambda: read_manifest(objects, ledger, Phase.MAP, job=JOB))


# ---------------------------------------------------------------- rows and payloads


CODECS: list[RowCodec[Any]] = [codec for codec in vars(rows).values() if isinstance(codec, RowCodec)]
ROW = rows.COMMIT.encode(COMMIT)


@FUZZ
@given(st.sampled_from(CODECS), nearly(ROW, rows.ENTRY.encode(JobEntry(JOB, "n", 1.0, "p"))))
def test_rows(codec: RowCodec[Any], data: bytes) -> None:
    ours(lambda: codec.decode("key", data))


@FUZZ
@given(mutated(ROW))
def test_a_changed_row_is_no_other_row(data: bytes) -> None:
    try:
        assert rows.COMMIT.decode("key", data) == COMMIT
    except CorruptObjectError:
        return


MESSAGES = [
    encode(coordinate(JOB)),
    encode(attempt_message(JOB, RECEIPT.attempt, (AttemptRange(1, 9, 1),))),
    json.dumps({"failed": encode(coordinate(JOB)).decode(), "invocation": "a/b", "reason": "r"}).encode(),
    b'{"failed":"{\\"failed\\":\\"{}\\"}"}',
]


@FUZZ
@given(nearly(*MESSAGES))
def test_payloads(data: bytes) -> None:
    ours(lambda: decode(data))
    ours(lambda: route(data))
    assert isinstance(tenant(data), str)


def test_a_payload_of_a_thousand_notices_in_one_another_is_refused() -> None:
    payload = encode(coordinate(JOB)).decode()
    for _ in range(12):  # each one doubles the backslashes of those inside
        payload = json.dumps({"failed": payload})
    ours(lambda: decode(payload.encode()))


# ---------------------------------------------------------------- blocks and keys


def block_of(keys: list[Any], values: list[Any]) -> GroupBlock:
    ((column, _),) = split_keys(sorted(keys))
    return GroupBlock(column, encode_values(values), np.linspace(0, len(values), len(keys) + 1).astype(np.int64))


SAMPLES = [
    block_of(["a", "b"], ["x", "yy", None]),
    block_of([1, 2, 3], [1, 2, 3, 4]),
    block_of([(1, "a"), (2, "b")], [(1, 2.5, "x"), (2, 3.5, "y")]),
    block_of([1.5, 2.5], [[1, 2], [], [3]]),
    block_of([b"k"], [{"a": 1, "b": "t"}, {"a": 2, "b": "u"}]),
    block_of(["a"], [pd.Timestamp("2026-01-01").date(), None]),
]
BLOCKS = [pack(block, codec) for block in SAMPLES for codec in (None, "lz4", "zstd")]


def summed(block: bytes) -> bytes:
    """Return a block with lengths and checksum made right, so that its reader looks into it."""
    if len(block) < 40:
        return block
    data = bytearray(block)
    kind = min(struct.unpack_from("<I", data, 8)[0], len(data) - 40)
    struct.pack_into("<IQ", data, 8, kind, len(data) - 40 - kind)
    data[36:40] = zlib.crc32(data[40:], zlib.crc32(data[:36])).to_bytes(4, "little")
    return bytes(data)


def look_into(block: GroupBlock) -> None:
    decode_keys(block.keys)
    decode_values(block.values)
    assert list(block.offsets) == sorted(block.offsets)


@FUZZ
@given(nearly(*BLOCKS))
def test_blocks(data: bytes) -> None:
    ours(lambda: list(iter_blocks(data, foreign=True)))


@FUZZ
@given(mutated(*BLOCKS).map(summed))
def test_blocks_with_right_checksums(data: bytes) -> None:
    assume(not holds_pickles(data))
    ours(lambda: look_into(unpack(data, foreign=True)))


ROWS = Column(
    kind_of_schema(pa.table({"n": [1], "t": ["a"]}).schema),
    pa.StructArray.from_arrays([pa.array([1, 2, 3]), pa.array(["a", None, "c"])], names=["n", "t"]),
)
FRAME_BLOCK = pack(GroupBlock(SAMPLES[0].keys, ROWS, np.array([0, 1, 3], np.int64)), None)


@FUZZ
@given(mutated(FRAME_BLOCK).map(summed))
def test_blocks_of_rows_of_frames(data: bytes) -> None:
    assume(not holds_pickles(data))

    def read() -> None:
        column = unpack(data, foreign=True).values  # noqa: PD011 - no frame's
        if is_arrow_kind(column.kind):
            frame_of(rows_of_struct(column.kind, column.array))

    ours(read)


@FUZZ
@given(nearly(*(encode_key(key) for key in ((1, "a", None, 2.5), 1 << 80, -(1 << 90), frozenset({b"x"}), "\ud800"))))
def test_keys(data: bytes) -> None:
    ours(lambda: decoding.decode(data))


def test_keys_in_one_another_without_end_are_refused() -> None:
    with pytest.raises(CorruptObjectError):
        decoding.decode(b"\x6a" * 100_000)


@FUZZ
@given(
    st.one_of(
        st.text(), nearly(b"tuple(int,list(str))", b'dict(["a","b"],int,float)', b"arrow(AAAA)").map(lambda data: data.decode("latin-1"))
    )
)
def test_kinds(kind: str) -> None:
    for read in (parse_kind, arrow_type):
        try:
            read(kind)
        except ValueError:
            continue


# ---------------------------------------------------------------- runs and the index


def run_of(partitions: list[list[bytes]]) -> tuple[bytes, Receipt]:
    file = io.BytesIO()
    writer = RunWriter(file, len(partitions))
    for number, blocks in enumerate(partitions):
        for block in blocks:
            writer.write(number, block, groups=1, pairs=1, checksum=1)
    end = writer.close()
    return file.getvalue(), Receipt(RECEIPT.attempt, "run", end.size, end.footer, end.crc, end.pairs)


RUN, RUN_RECEIPT = run_of([[b"hello", b""], [], [b"world" * 10]])


def tailed(run: bytes) -> tuple[bytes, Receipt]:
    """Return a run whose tail and receipt say what its index is, whatever that is."""
    rows_bytes = run[RUN_RECEIPT.footer : -32] if len(run) > 32 else b""
    tail = struct.pack("<QIII8s", RUN_RECEIPT.footer, len(rows_bytes) // 48, zlib.crc32(rows_bytes), 1, b"SMRrun\r\n")
    data = run[: RUN_RECEIPT.footer].ljust(RUN_RECEIPT.footer, b"\0") + rows_bytes + tail + zlib.crc32(tail).to_bytes(4, "little")
    return data, replace(RUN_RECEIPT, size=len(data), crc=zlib.crc32(rows_bytes))


def read_run(data: bytes, receipt: Receipt) -> None:
    found = read_rows(lambda start, stop: data[start:stop], size=receipt.size, footer=receipt.footer, crc=receipt.crc, name="run")
    for row in found:
        for _ in read_slice(lambda start, stop: data[start:stop], as_slice(row), name="run"):
            pass


@FUZZ
@given(nearly(RUN))
def test_runs(data: bytes) -> None:
    ours(lambda: read_run(data, RUN_RECEIPT))
    ours(lambda: read_run(*tailed(data)))


@FUZZ
@given(nearly(RUN))
def test_runs_through_the_exchange(data: bytes) -> None:
    tail, receipt = tailed(data)
    objects = MemoryStore()
    objects.put("run", tail)

    def read() -> None:
        exchange = ObjectExchange(objects, "jobs/3f9a", scratch=Path())
        for partition in range(3):
            for run in exchange.read(partition, [receipt]):
                list(run)

    ours(read)
    ours(lambda: gather_index(objects, [receipt], 3))


# ---------------------------------------------------------------- what the session stored


def frames() -> list[tuple[bytes, bool]]:
    found = []
    for rows_too in (False, True):
        objects = MemoryStore()
        if rows_too:
            store_frame(pd.DataFrame({"a": [1, 2]}), objects, "jobs/3f9a/input", keys=KEYS, split_bytes=1 << 20, slots=1)
        else:
            store_items(["a", "b"], objects, "jobs/3f9a/input", keys=KEYS, split_bytes=1 << 20, slots=1)
        found.append((objects.get("jobs/3f9a/input/000000000000"), rows_too))
    return found


FRAMES = frames()


@FUZZ
@given(nearly(*(data for data, _ in FRAMES)), st.booleans())
def test_stored_items_and_rows(data: bytes, rows_too: bool) -> None:
    objects = MemoryStore()
    key = "jobs/3f9a/input/000000000000"
    objects.put(key, data)
    for size in {len(data), len(FRAMES[rows_too][0])}:
        span = Span("job", key, 0, size, size, "")
        ours(lambda: list((read_frame if rows_too else read_items)(span, JobInput(objects, KEYS))))  # noqa: B023 - called at once
    ours(lambda: frame_ends(data, name=key))


# ---------------------------------------------------------------- parts


def part_of(keys: list[Any], values: list[Any], folder: Path) -> tuple[MemoryStore, Part]:
    objects = MemoryStore()
    writer = PartWriter(objects, "jobs/3f9a/reduce/000000/001", 0, grouped_order=False, scratch=folder)
    writer.add(keys, values)
    return objects, writer.close()


def part_of_rows() -> tuple[MemoryStore, Part]:
    objects = MemoryStore()
    writer = PartWriter(objects, "jobs/3f9a/reduce/000000/001", 0, grouped_order=False, scratch=Path())
    writer.add_rows(rows_of(pd.DataFrame({"n": [2, 1], "c": pd.Categorical(["x", "y"])}), "reduce"), by=["n"])
    return objects, writer.close()


PARTS = [
    part_of(["a", "b"], [1, 2], Path()),
    part_of([1, 2], [(1, "x"), (2, "y")], Path()),
    part_of([1.5], [[1, 2]], Path()),
    part_of_rows(),
]


@FUZZ
@given(st.sampled_from(PARTS), st.data())
def test_parts_with_right_checksums(made: tuple[MemoryStore, Part], data: st.DataObject) -> None:
    store, part = made
    (file,) = part.files
    forged = data.draw(nearly(store.get(file.key)))
    objects = MemoryStore()
    objects.put(file.key, forged)
    told: PartFile = replace(file, size=len(forged), crc=zlib.crc32(forged))
    parts = [replace(part, files=(told,))]
    ours(lambda: load_frame(objects, parts, limit_bytes=None))
    ours(lambda: head_frame(objects, parts, 1))


def test_a_file_with_other_columns_is_refused() -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"other": [1, 2]}), sink)
    objects, data = MemoryStore(), sink.getvalue()
    objects.put("part", data)
    parts = [Part(0, (PartFile("part", 2, len(data), zlib.crc32(data), 16, ("int", "int")),))]
    with pytest.raises(CorruptObjectError, match="part is not what was written"):
        load_frame(objects, parts, limit_bytes=None)
    with pytest.raises(CorruptObjectError, match="part is not what was written"):
        head_frame(objects, parts, 1)
