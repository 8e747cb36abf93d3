"""The text reader against plain Python: the same records, sizes and places, whatever the plan."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smr_notebook.backends.memory.source import MemorySource
from smr_notebook.dataflow.formats.compression import zstd
from smr_notebook.dataflow.formats.text import read_text
from smr_notebook.dataflow.records import RecordBlock
from smr_notebook.dataflow.splits import PlannedObject, plan_splits
from smr_notebook.errors import InputChangedError, InputFormatError, InputMissingError, InputReadError
from smr_notebook.model import ObjectInfo, Reading, Span

BOM = b"\xef\xbb\xbf"
COMPRESSORS: list[Callable[[bytes], bytes]] = [gzip.compress, bz2.compress, lzma.compress, zstd.compress]


def expected_lines(data: bytes) -> list[str]:
    """The reference: the slow and plain way, byte strings all the way."""
    content = data[3:] if data[:3] == BOM else data
    lines, rest = [], content
    while rest:
        line, end, rest = rest.partition(b"\n")
        lines.append((line[:-1] if end and line[-1:] == b"\r" else line).decode())
    return lines


def read(data: bytes, *, split_bytes: int = 1 << 30, block_bytes: int = 1 << 20, cuttable: bool = True) -> list[RecordBlock]:
    source = MemorySource({"key": data})
    blocks: list[RecordBlock] = []
    for split in plan_splits([PlannedObject("memory", source.stat("key"), cuttable)], split_bytes=split_bytes):
        for span in split.spans:
            blocks += read_text(span, source, block_bytes=block_bytes)
    return blocks


def records(blocks: list[RecordBlock]) -> list[object]:
    return [record for block in blocks for record in block.records]


pieces = st.sampled_from(["\n", "\r\n", "\r", "\ufeff", "a", "é", "€", "😀", "\x0b", "\x1c", "\u2028", "\x85", " ", "x" * 30, "\0", "\n\n"])
texts = st.builds(lambda bom, parts: (BOM if bom else b"") + "".join(parts).encode(), st.booleans(), st.lists(pieces, max_size=30))


@settings(max_examples=8 * settings().max_examples)
@given(data=texts, split_bytes=st.integers(1, 40), block_bytes=st.integers(1, 40))
@example(data=BOM, split_bytes=1, block_bytes=1)
@example(data=BOM + b"\n", split_bytes=2, block_bytes=1)
@example(data=BOM + BOM + b"a\r\n" + BOM + b"b", split_bytes=3, block_bytes=2)
@example(data=b"a\r\r\nb\r", split_bytes=3, block_bytes=1)
def test_any_plan_gives_the_records_of_plain_python(data: bytes, split_bytes: int, block_bytes: int) -> None:
    blocks = read(data, split_bytes=split_bytes, block_bytes=block_bytes)

    assert records(blocks) == expected_lines(data)
    assert records(read(data)) == expected_lines(data)
    assert sum(block.size for block in blocks) == len(data)


@settings(max_examples=5 * settings().max_examples)
@given(data=texts, split_bytes=st.integers(1, 40), block_bytes=st.integers(1, 40))
def test_locate_points_at_the_bytes_of_the_record(data: bytes, split_bytes: int, block_bytes: int) -> None:
    for block in read(data, split_bytes=split_bytes, block_bytes=block_bytes):
        for index, record in enumerate(block.records):
            assert isinstance(record, str)
            offset = block.locate(index)
            encoded = record.encode()
            assert data[offset : offset + len(encoded)] == encoded
            assert data[offset + len(encoded) :][:2].startswith((b"\n", b"\r\n")) or offset + len(encoded) == len(data)
            assert data[:offset] in {b"", BOM} or data[:offset].endswith(b"\n")


@settings(max_examples=2 * settings().max_examples)
@given(data=texts, more=texts, compress=st.sampled_from(COMPRESSORS), block_bytes=st.integers(1, 40))
def test_compressed_objects_give_the_records_of_their_content(
    data: bytes, more: bytes, compress: Callable[[bytes], bytes], block_bytes: int
) -> None:
    stored = compress(data) + compress(more)

    blocks = read(stored, block_bytes=block_bytes, cuttable=False)

    assert records(blocks) == expected_lines(data + more)
    assert sum(block.size for block in blocks) == len(stored)
    for block in blocks:
        for index, record in enumerate(block.records):
            assert isinstance(record, str)
            assert (data + more)[block.locate(index) :].startswith(record.encode())


@pytest.mark.parametrize("split_bytes", [700_001, 1 << 20, 3_000_000])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_real_block_sizes_and_lines_longer_than_many_blocks(split_bytes: int, line_end: bytes) -> None:
    seed = random.Random(7)
    lines = [("ä€😀x" * seed.choice([0, 1, 5, 40, 400]))[seed.randrange(4) :] for _ in range(20_000)]
    lines[3000] = "long😀" * 900_000
    data = line_end.join(line.encode() for line in lines) + line_end

    blocks = read(data, split_bytes=split_bytes)

    assert records(blocks) == lines
    assert sum(block.size for block in blocks) == len(data)


def test_a_real_book_with_mark_and_crlf(war_and_peace: Path) -> None:
    data = war_and_peace.read_bytes()
    expected = data.decode("utf-8-sig").replace("\r\n", "\n").removesuffix("\n").split("\n")

    for split_bytes in (100_000, 1_234_567, 1 << 30):
        assert records(read(data, split_bytes=split_bytes)) == expected


@settings(max_examples=3 * settings().max_examples)
@given(data=texts, split_bytes=st.integers(1, 40), block_bytes=st.integers(1, 40), position=st.integers(0, 10_000))
def test_a_byte_that_is_not_utf8_is_named_with_its_place(data: bytes, split_bytes: int, block_bytes: int, position: int) -> None:
    position %= len(data) + 1
    while position < len(data) and 0x80 <= data[position] < 0xC0:  # to the next character
        position += 1
    damaged = data[:position] + b"\xff" + data[position:]

    with pytest.raises(InputFormatError, match=rf"key is not UTF-8 text: byte 0xFF at offset {position:,} \(line .*errors='replace'"):
        read(damaged, split_bytes=split_bytes, block_bytes=block_bytes)


def test_the_line_of_a_bad_byte_is_counted_from_the_start_of_the_span() -> None:
    with pytest.raises(InputFormatError, match=r"offset 8 \(line 4\): invalid start byte"):
        read(b"a\nb\nc\nd \xff\n", block_bytes=2)
    with pytest.raises(InputFormatError, match=r"offset 8 \(line 2 of those that start after byte 4\)"):
        list(read_text(Span("m", "key", 4, 10, 10, "1"), Versioned(b"a\nb\nc\nd \xff\n")))


def test_a_character_cut_at_the_end_of_the_object_is_an_error() -> None:
    with pytest.raises(InputFormatError, match="unexpected end of data"):
        read("a\nb€".encode()[:-1])


def test_every_record_starts_in_its_split() -> None:
    data = b"aa\nbb\n\ncc"
    source = MemorySource({"key": data})
    version = source.stat("key").version

    def starting_in(start: int, stop: int) -> list[object]:
        return records(list(read_text(Span("m", "key", start, stop, len(data), version), source)))

    assert [starting_in(start, start + 1) for start in range(len(data))] == [["aa"], [], [], ["bb"], [], [], [""], ["cc"], []]


class Versioned:
    """A source whose object changes at will: `get` gives `data`, `stat` what `found` says."""

    def __init__(self, data: bytes, found: ObjectInfo | None = None) -> None:
        self.data = data
        self.found = found or ObjectInfo("key", len(data), "1")
        self.calls: list[str] = []

    def find(self, pattern: str) -> Iterator[ObjectInfo]:
        yield self.found

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        self.calls.append(f"get {start} {stop}")
        return self.data[start:stop]

    def stat(self, key: str) -> ObjectInfo:
        self.calls.append("stat")
        return self.found


@pytest.mark.parametrize("found", [ObjectInfo("key", 4, "2"), ObjectInfo("key", 5, "1"), ObjectInfo("key", 0, "1")])
def test_an_object_that_is_not_the_planned_one_gives_no_record(found: ObjectInfo) -> None:
    for start, stop in [(0, 4), (2, 4), (0, 0)]:
        with pytest.raises(InputChangedError, match=r"key has changed .*4 bytes, version '1'.* were planned; .* Submit the job again"):
            next(read_text(Span("m", "key", start, stop, 4, "1"), Versioned(b"a\nb\n"[: found.size], found)))


def test_an_object_that_changes_under_the_reader_is_found_at_the_end() -> None:
    source = Versioned(b"a\n" * 10_000)
    blocks = read_text(Span("m", "key", 0, 20_000, 20_000, "1"), source, block_bytes=600)
    next(blocks)
    source.found = ObjectInfo("key", 20_000, "2")

    with pytest.raises(InputChangedError):
        list(blocks)


def test_a_small_object_costs_one_get_and_one_stat() -> None:
    source = Versioned(b"a\nb\n")

    assert records(list(read_text(Span("m", "key", 0, 4, 4, "1"), source))) == ["a", "b"]
    assert source.calls == ["get 0 4", "stat"]


def test_an_object_that_is_gone_is_missing() -> None:
    with pytest.raises(InputMissingError):
        list(read_text(Span("m", "key", 0, 4, 4, "1"), MemorySource({})))


def test_a_source_that_gives_too_few_bytes_is_an_error() -> None:
    source = Versioned(b"a\n", ObjectInfo("key", 4, "1"))

    with pytest.raises(InputReadError, match="gave 2 bytes at offset 0 where 4 were asked for"):
        list(read_text(Span("m", "key", 0, 4, 4, "1"), source))


def test_a_span_that_lies_inside_one_line_reads_only_itself() -> None:
    source = Versioned(b"x" * 10_000)

    assert list(read_text(Span("m", "key", 5000, 6000, 10_000, "1"), source)) == []
    assert source.calls == ["get 4999 6000", "stat"]


def text_blocks(data: bytes, reading: Reading, *, split_bytes: int = 1 << 30) -> list[RecordBlock]:
    source = MemorySource({"key": data})
    objects = [PlannedObject("m", source.stat("key"), cuttable=True)]
    spans = [span for split in plan_splits(objects, split_bytes=split_bytes) for span in split.spans]
    return [block for span in spans for block in read_text(span, source, reading)]


def test_what_is_no_text_is_named_with_its_place_in_any_encoding() -> None:
    data = "one\ntwo\n".encode("utf-16-le") + b"\x41\x00\x00\xd8\n\x00last\n"
    with pytest.raises(InputFormatError, match=r"key is not UTF-16-LE text: byte 0x00 at offset 18 \(line 3\): unexpected end"):
        text_blocks(data, Reading(encoding="utf-16-le"))
    with pytest.raises(InputFormatError, match=r"offset 18 \(line 1 of those that start after byte 13\)"):
        text_blocks(data, Reading(encoding="utf-16-le"), split_bytes=15)
    with pytest.raises(InputFormatError, match=r"key is not ISO2022_JP text: illegal multibyte sequence, at byte 4\. Name another"):
        text_blocks(b"abc\n\xff\n", Reading(encoding="iso2022_jp"))


@pytest.mark.parametrize("name", ["utf-16", "utf-32"])
@pytest.mark.parametrize("order", ["le", "be"])
def test_a_mark_of_another_encoding_says_what_to_say_whatever_the_policy(name: str, order: str) -> None:
    data = "\ufeffa\n".encode(f"{name}-{order}")
    for reading in (Reading(), Reading(errors="replace"), Reading(tolerant=True)):
        with pytest.raises(InputFormatError, match=rf"begins with the byte order mark of {name.upper()}.*text\(encoding='{name}'\)"):
            text_blocks(data, reading)
    assert records(text_blocks(data, Reading(encoding=name))) == ["a"]


def test_damaged_compressed_data_is_an_error_also_where_lines_may_be_left_out() -> None:
    packed = gzip.compress(b"line\n" * 1000)
    with pytest.raises(InputFormatError, match="key is gzip data that is cut or damaged"):
        text_blocks(packed[:-1], Reading(tolerant=True))
