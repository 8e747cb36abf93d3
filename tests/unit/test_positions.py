"""Positions: wherever attempts end and go on, together they read what one would have read."""

from __future__ import annotations

import bz2
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.source import MemorySource
from smr_notebook.dataflow.formats.jsonl import read_jsonl
from smr_notebook.dataflow.formats.stored import store_frame, store_items
from smr_notebook.dataflow.formats.text import read_text
from smr_notebook.dataflow.inputs import JobInput, open_blocks
from smr_notebook.dataflow.known_formats import cuttable
from smr_notebook.dataflow.positions import advanced, placed
from smr_notebook.dataflow.records import RecordBlock
from smr_notebook.dataflow.splits import PlannedObject, plan_splits
from smr_notebook.model import Format, Position, Span, Split
from smr_notebook.ports import InputSource
from smr_notebook.testing.keys import KEYS

BOM = b"\xef\xbb\xbf"


@dataclass
class Read:
    """What attempts read: each record with its number in the split and its place in the object; and the bytes that they count."""

    records: list[tuple[int, int, str]]
    size: int = 0

    def take(self, blocks: Iterator[RecordBlock], most: int) -> Position | None:
        """Read so many records, as a map attempt does that is due then, and return the position reached."""
        taken = 0
        for block in blocks:
            for index, record in enumerate(block.records):
                if taken == most:
                    return advanced(block.at, index)
                place = block.locate(index) if index < 100 else -1  # it walks from the beginning of the block
                self.records.append((block.at.done + index + 1, place, repr(record)))
                taken += 1
            self.size += block.size
        return None


pieces = st.sampled_from(["\n", "\r\n", "\r", "a", "é", "😀", "\u2028", "x" * 30, "{}\n", '{"a": 1}\n', " \n", "\n\n"])
texts = st.builds(lambda bom, parts: (BOM if bom else b"") + "".join(parts).encode(), st.booleans(), st.lists(pieces, max_size=30))
json_lines = st.sampled_from([b"{}\n", b'{"a": 1}\n', b'"\xc3\xa9"\r\n', b"[1, 2]\n", b"NaN\n", b"\n", b" \r\n"])
jsons = st.builds(
    lambda bom, lines, last: (BOM if bom else b"") + b"".join(lines) + last,
    st.booleans(),
    st.lists(json_lines, max_size=20),
    st.sampled_from([b"", b"7"]),
)
legs = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 40)), max_size=12)
"""For each attempt: how many records it takes, and how many bytes its reader has in a block."""


@settings(max_examples=5 * settings().max_examples)
@given(
    given_input=st.one_of(st.tuples(st.just(read_text), texts), st.tuples(st.just(read_jsonl), jsons)),
    compress=st.sampled_from([None, None, gzip.compress, bz2.compress]),
    split_bytes=st.integers(1, 60),
    block_bytes=st.integers(1, 40),
    legs=legs,
)
@example((read_text, BOM + b"a\nb\nc\n"), None, 60, 40, [(1, 1), (1, 40)])
@example((read_text, b"a\n" * 9), None, 60, 40, [(5, 40), (1, 1), (1, 40)])
def test_lines_are_the_same_wherever_attempts_end_and_however_readers_cut(
    given_input: tuple[object, bytes], compress: object, split_bytes: int, block_bytes: int, legs: list[tuple[int, int]]
) -> None:
    read, content = given_input
    data = compress(content) if callable(compress) else content
    source = MemorySource({"key": data})
    assert callable(read)

    def blocks(span: Span, after: Position, block_bytes: int) -> Iterator[RecordBlock]:
        return placed(read(replace(span, start=after.offset), source, block_bytes=block_bytes), after)

    for split in plan_splits([PlannedObject("m", source.stat("key"), cuttable=compress is None)], split_bytes=split_bytes):
        (span,) = split.spans
        at: Position | None = Position(done=0, offset=span.start)
        assert at is not None
        whole, cut = Read([]), Read([])
        whole.take(blocks(span, at, block_bytes), -1)
        for most, leg_block_bytes in legs:
            if at is not None:
                at = cut.take(blocks(span, at, leg_block_bytes), most)
        if at is not None:
            cut.take(blocks(span, at, block_bytes), -1)
        assert cut == whole


def read_in_legs(split: Split, format: Format, source: InputSource, legs: list[int]) -> Read:
    """Read a split through the face that workers use; the last attempt reads to the end."""
    found = Read([])
    at: Position | None = None
    for most in [*legs, -1]:
        at = found.take(open_blocks(split, format, {span.scheme: source for span in split.spans}, after=at), most)
        if at is None:
            break
        at = msgspec.json.decode(msgspec.json.encode(at), type=Position)
    return found


bodies = st.lists(
    st.builds(lambda data, zipped: gzip.compress(data) if zipped else data, st.one_of(texts, jsons), st.booleans()), max_size=6
)


@settings(max_examples=3 * settings().max_examples)
@given(
    bodies=bodies, format=st.sampled_from([Format.TEXT, Format.BINARY]), split_bytes=st.integers(1, 200), legs=st.lists(st.integers(1, 5))
)
def test_a_split_of_many_objects_is_the_same_wherever_attempts_end(
    bodies: list[bytes], format: Format, split_bytes: int, legs: list[int]
) -> None:
    source = MemorySource({f"object-{number}": data for number, data in enumerate(bodies)})
    objects = [PlannedObject("m", source.stat(f"object-{number}"), cuttable(data[:512], format)) for number, data in enumerate(bodies)]
    found = 0
    for split in plan_splits(objects, split_bytes=split_bytes):
        whole = read_in_legs(split, format, source, [])
        assert [number for number, _, _ in whole.records] == list(range(1, len(whole.records) + 1))
        assert read_in_legs(split, format, source, legs) == whole
        found += whole.size
    assert found == sum(map(len, bodies))


@given(
    items=st.lists(st.one_of(st.integers(), st.text(max_size=30), st.binary(max_size=50)), min_size=1, max_size=60),
    as_iterator=st.booleans(),
    split_bytes=st.integers(1, 2000),
    legs=st.lists(st.integers(1, 5)),
)
def test_stored_items_are_the_same_wherever_attempts_end(items: list[object], as_iterator: bool, split_bytes: int, legs: list[int]) -> None:
    objects = MemoryStore()
    infos, _ = store_items(iter(items) if as_iterator else items, objects, "p", keys=KEYS, split_bytes=split_bytes, slots=1)
    found = []
    for split in plan_splits([PlannedObject("job", info, cuttable=False) for info in infos], split_bytes=4 * split_bytes):
        read = read_in_legs(split, Format.ITEMS, JobInput(objects, KEYS), legs)
        assert read == read_in_legs(split, Format.ITEMS, JobInput(objects, KEYS), [])
        assert read.size == split.bytes
        found += [record for _, _, record in read.records]
    assert found == list(map(repr, items))


@pytest.mark.parametrize("legs", [[], [1], [9_999, 1, 2], [10_000], [10_001, 1_500]])
def test_an_object_of_many_frames_goes_on_with_the_frame_that_was_begun(legs: list[int]) -> None:
    objects = MemoryStore()
    items, _ = store_items([bytes([n % 256]) * 500 for n in range(20_000)], objects, "items", keys=KEYS, split_bytes=1 << 30, slots=1)
    rows, _ = store_frame(pd.DataFrame({"a": np.arange(100_000)}), objects, "rows", keys=KEYS, split_bytes=1 << 30, slots=1)

    for format, stored in ((Format.ITEMS, items), (Format.FRAME, rows)):
        (split,) = plan_splits([PlannedObject("job", info, cuttable=False) for info in stored], split_bytes=1 << 30)
        whole = read_in_legs(split, format, JobInput(objects, KEYS), [])
        assert len(whole.records) >= 20_000
        assert read_in_legs(split, format, JobInput(objects, KEYS), legs) == whole


class Watched(MemorySource):
    """Notes what is read."""

    def __init__(self, inputs: dict[str, bytes]) -> None:
        super().__init__(inputs)
        self.reads: list[tuple[str, int]] = []

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        self.reads.append((key, start))
        return super().get(key, start, stop)


def test_what_is_done_is_not_read_again() -> None:
    data = b"".join(b'{"number": %d}\n' % number for number in range(200_000))
    source = Watched({"first": data, "second": data})
    split = Split(0, tuple(Span("m", key, 0, len(data), len(data), source.stat(key).version) for key in ("first", "second")))
    at = Read([]).take(open_blocks(split, Format.JSONL, {"m": source}), 350_000)
    assert at is not None
    assert (at.done, at.span) == (350_000, 1)
    source.reads.clear()

    block = next(open_blocks(split, Format.JSONL, {"m": source}, after=at))

    assert source.reads == [("second", at.offset - 1)]
    assert at.offset > len(data) // 2
    assert at.skip < 20_000
    assert block.records[0] == {"number": 150_000}
    assert json.loads(data[block.locate(0) :].split(b"\n")[0]) == {"number": 150_000}


def test_a_compressed_object_is_read_from_its_beginning_and_its_bytes_count_once() -> None:
    data = gzip.compress(b"".join(b"line %d\n" % number for number in range(200_000)), 1)
    source = Watched({"key": data})
    split = Split(0, (Span("m", "key", 0, len(data), len(data), source.stat("key").version),))
    read = Read([])
    at = read.take(open_blocks(split, Format.TEXT, {"m": source}), 150_000)
    assert at is not None
    assert (at.done, at.offset, at.skip, at.counted) == (150_000, 0, 150_000, read.size)

    blocks = list(open_blocks(split, Format.TEXT, {"m": source}, after=at))

    assert [record for block in blocks for record in block.records] == [f"line {number}" for number in range(150_000, 200_000)]
    assert sum(len(block.records) == 0 for block in blocks) > 3
    assert read.size + sum(block.size for block in blocks) == len(data)
