"""Parsers of one's own: whose fault it is when something goes wrong, and that nothing is lost or given twice."""

from __future__ import annotations

import gzip
import importlib.util
import io
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smr_notebook import formats
from smr_notebook.backends.memory.source import MemorySource
from smr_notebook.dataflow.code import capture, load_program
from smr_notebook.dataflow.formats.parsed import BLOCK_BYTES, MOST_RECORDS, ParsedReader
from smr_notebook.dataflow.functions import UserCodeError
from smr_notebook.dataflow.inputs import SplitInput, open_blocks
from smr_notebook.dataflow.keys import decode_keys
from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.pair_programs import program_of_pairs
from smr_notebook.dataflow.parsed_programs import ParsedProgram
from smr_notebook.dataflow.records import RecordBlock
from smr_notebook.errors import InputChangedError, InputFormatError, InputReadError, PlanError, UnpicklableError
from smr_notebook.model import Format, Position, Reading, Span, Split

Parse = Callable[..., Any]


class Flaky(MemorySource):
    """An object that cannot be read behind its first bytes."""

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        if start >= 512:
            raise InputReadError("The disk is away.")
        return super().get(key, start, stop)


def split_of(source: MemorySource, *, keys: tuple[str, ...] = ("key",)) -> Split:
    infos = [source.stat(key) for key in keys]
    return Split(0, tuple(Span("m", info.key, 0, info.size, info.size, info.version) for info in infos))


def blocks_of(
    parse: Parse, data: bytes = b"x" * 1000, *, source: MemorySource | None = None, after: Position | None = None
) -> list[RecordBlock]:
    source = source or MemorySource({"key": data})
    reader = formats.parse(parse).parser
    return list(open_blocks(split_of(source), Format.PARSED, {"m": source}, after=after, reader=reader))


def records_of(parse: Parse, data: bytes = b"x" * 1000, *, source: MemorySource | None = None) -> list[Any]:
    return [record for block in blocks_of(parse, data, source=source) for record in block.records]


def test_a_file_is_what_parse_gets_and_the_source_where_it_asks_for_it() -> None:
    def parse(stream: io.BufferedReader) -> Iterator[Any]:
        yield stream.read(3)
        yield stream.readline()
        yield stream.seek(-2, io.SEEK_END)
        yield stream.peek(1)[:1], stream.read(), stream.read()

    assert records_of(parse, b"abcd\nefgh") == [b"abc", b"d\n", 7, (b"g", b"gh", b"")]
    assert records_of(lambda source, stream: [(source, stream.read())], b"abc") == [("key", b"abc")]


def test_a_compressed_object_is_decompressed_unless_it_shall_not() -> None:
    packed = gzip.compress(b"content") + gzip.compress(b" and more")
    source = MemorySource({"key": packed})
    reader = formats.parse(lambda stream: [stream.read()]).parser
    assert reader is not None

    assert records_of(lambda stream: [stream.read(), stream.seekable()], packed) == [b"content and more", False]
    stored = [record for block in reader(split_of(source).spans[0], source, Reading(decompress=False)) for record in block.records]
    assert stored == [packed]


def test_an_object_without_bytes_is_not_parsed() -> None:
    assert records_of(lambda _: 1 / 0, b"") == []


@pytest.mark.parametrize("wrong", [5, "text", None, lambda: None, lambda a, b, c: None])
def test_what_cannot_parse_is_refused_at_once(wrong: Any) -> None:
    with pytest.raises(PlanError, match="parse"):
        formats.parse(wrong)


def test_an_error_in_parse_names_the_object_the_place_and_the_record() -> None:
    def parse(stream: io.BufferedReader) -> Iterator[bytes]:
        while chunk := stream.read(10):
            if stream.tell() > 700:
                raise ZeroDivisionError("here")
            yield chunk

    with pytest.raises(UserCodeError) as caught:
        records_of(parse)
    failure = caught.value
    assert (failure.function, failure.source, failure.offset, failure.record_number) == ("parse", "key", 710, 71)
    assert isinstance(failure.__cause__, ZeroDivisionError)


def detached(stream: io.BufferedReader) -> Iterator[bytes]:
    stream.detach()
    raise ZeroDivisionError("here")


def closed(stream: io.BufferedReader) -> Iterator[bytes]:
    stream.close()
    raise ZeroDivisionError("here")


def plain(stream: io.BufferedReader) -> Iterator[bytes]:
    raise ZeroDivisionError("here")


@pytest.mark.parametrize("parse", [plain, closed, detached])
@pytest.mark.parametrize("data", [b"x" * 1000, gzip.compress(b"x" * 1000)], ids=["plain", "gzip"])
def test_an_error_in_parse_is_told_where_nobody_can_say_the_place(parse: Parse, data: bytes) -> None:
    with pytest.raises(UserCodeError) as caught:
        records_of(parse, data)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert (caught.value.source, caught.value.record_number) == ("key", 1)
    assert caught.value.offset == (0 if parse is plain and data[0] == ord("x") else -1)


def test_the_number_of_a_record_counts_in_the_split_also_behind_a_leg() -> None:
    source = MemorySource({"a": b"abc", "b": b"defgh"})

    def parse(stream: io.BufferedReader) -> Iterator[bytes]:
        while char := stream.read(1):
            yield char if char != b"g" else 1 / 0  # type: ignore[misc]

    def number(after: Position | None) -> int:
        reader = ParsedReader(parse, takes_source=False)
        with pytest.raises(UserCodeError) as caught:
            list(open_blocks(split_of(source, keys=("a", "b")), Format.PARSED, {"m": source}, after=after, reader=reader))
        return caught.value.record_number

    assert number(None) == 7
    assert number(Position(done=2, span=0, skip=2)) == 7
    assert number(Position(done=5, span=1, skip=2)) == 7


@pytest.mark.parametrize("made", [None, 5, "text", b"bytes", {"a": 1}, pd.DataFrame({"a": [1]})])
def test_what_holds_no_records_is_an_error_of_parse(made: object) -> None:
    with pytest.raises(UserCodeError) as caught:
        records_of(lambda _: made)
    assert str(caught.value.__cause__).startswith("parse must yield records, or return an iterable of them; got")
    assert caught.value.place is not None


def test_what_goes_wrong_in_the_stream_is_no_error_of_parse() -> None:
    data = b"".join(bytes([byte]) * 4096 for byte in range(256)) * 8
    with pytest.raises(InputReadError, match="The disk is away"):
        records_of(lambda stream: iter(lambda: stream.read(100), b""), source=Flaky({"key": data}))


def test_a_failure_that_parse_catches_is_not_lost() -> None:
    """Else a parser that takes any error for the end of the object would give a part of it, and nobody would know."""

    def careless(stream: io.BufferedReader) -> Iterator[bytes]:
        try:
            while chunk := stream.read(100):
                yield chunk
        except (OSError, ValueError):
            return

    packed = gzip.compress(bytes(range(256)) * 200)
    with pytest.raises(InputFormatError, match="cut or damaged"):
        records_of(careless, packed[:-9])
    with pytest.raises(InputReadError, match="The disk is away"):
        records_of(careless, source=Flaky({"key": bytes(5 << 20)}))
    source = MemorySource({"key": b"abc"})
    span = Span("m", "key", 0, 3, 3, "planned before")
    with pytest.raises(InputChangedError):
        list(ParsedReader(careless, takes_source=False)(span, source, Reading()))


def mapped(parse: Parse, data: bytes, see: Callable[[Any], Any]) -> list[Any]:
    """What `map` sees of each record while it is mapped."""
    source = MemorySource({"key": data})
    blocks = ParsedReader(parse, takes_source=False)(split_of(source).spans[0], source, Reading())
    return [see(record) for block in blocks for record in block.records]


def test_a_buffer_that_is_filled_again_is_mapped_before() -> None:
    def refill(stream: io.BufferedReader) -> Iterator[Any]:
        buffer = bytearray(4)
        array = np.frombuffer(buffer, np.uint8)
        while stream.readinto(buffer):
            yield array, "beside it"

    assert mapped(refill, b"aaaabbbbcccc", lambda record: record[0].tobytes()) == [b"aaaa", b"bbbb", b"cccc"]


def test_a_dict_that_is_given_again_or_cleared_is_mapped_as_it_was() -> None:
    def reuse(stream: io.BufferedReader) -> Iterator[dict[str, Any]]:
        row: dict[str, Any] = {"tags": [set[bytes]()]}
        while char := stream.read(1):
            row["char"] = char
            row["tags"][0].add(char)
            yield row
            row["tags"][0].clear()
            if char == b"c":
                row = {"tags": [set()]}

    wanted = [{"tags": [{bytes([char])}], "char": bytes([char])} for char in b"abcdefgh"]
    assert mapped(reuse, b"abcdefgh", lambda record: record) == wanted


def test_an_element_that_is_cleared_behind_its_record_was_there_when_it_was_mapped() -> None:
    """As everybody writes who reads large XML."""

    def parse(stream: io.BufferedReader) -> Iterator[tuple[str, ET.Element]]:
        for event, element in ET.iterparse(stream):  # noqa: S314 - our own bytes
            if element.tag == "item":
                yield event, element
                element.clear()

    data = b"<all>" + b"".join(b"<item><name>%d</name></item>" % number for number in range(100)) + b"</all>"
    names = mapped(parse, data, lambda record: record[1].findtext("name"))
    assert names == [str(number) for number in range(100)]


odd_values = st.one_of(
    st.sampled_from([None, True, bytearray(b"x"), OrderedDict(a=1), Path()]), st.integers(), st.floats(allow_nan=False),
    st.text(max_size=3), st.binary(max_size=3), st.decimals(allow_nan=False), st.dates(), st.uuids(),
)  # fmt: skip
nested = st.recursive(
    odd_values,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(st.text(max_size=2), st.tuples(st.integers())), inner, max_size=3),
        st.tuples(inner, inner), st.frozensets(st.integers(), max_size=1), st.sets(st.text(max_size=2), max_size=1),
    ),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=2 * settings().max_examples)
@given(records=st.lists(nested, max_size=100))
def test_a_record_keeps_its_value_and_all_its_types(records: list[Any]) -> None:
    assert repr(records_of(lambda _: records)) == repr(records)


def test_a_record_that_holds_itself_is_told() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(UserCodeError) as caught:
        records_of(lambda _: [endless])
    assert isinstance(caught.value.__cause__, RecursionError)


def test_memory_is_bounded_by_what_records_weigh() -> None:
    large = BLOCK_BYTES // 4
    assert max(len(block.records) for block in blocks_of(lambda stream: (b"%d" % number for number in range(1000)))) == MOST_RECORDS
    assert max(len(block.records) for block in blocks_of(lambda stream: ([bytes(large)] for _ in range(50)))) <= 4


def test_a_parser_that_gives_fewer_records_the_second_time_is_found_out() -> None:
    with pytest.raises(InputReadError, match="key gave 3 records fewer than when it was read before"):
        blocks_of(lambda stream: [1, 2], after=Position(done=5, skip=5))


def test_parse_travels_with_the_code_and_its_own_modules_are_looked_at() -> None:
    def parse(stream: io.BufferedReader) -> Iterator[int]:
        yield len(stream.read())

    reader = formats.parse(parse).parser
    assert reader is not None
    program = ParsedProgram(program_of_pairs(lambda record: [(record, 1)], None, None), reader)
    loaded, sources = load_program(capture(program).data)
    source = MemorySource({"key": b"abc"})

    assert [name for name, _ in loaded.named()] == ["parse", "map"]
    assert __file__ in sources
    assert [tried.pairs for tried in loaded.try_out(SplitInput(split_of(source), Format.PARSED, {"m": source}))] == [[(3, 1)]]


def test_a_module_of_ones_own_inside_parse_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "my_parser.py").write_text("def split(data): return data.split()\n")
    spec = importlib.util.spec_from_file_location("my_parser", tmp_path / "my_parser.py")
    assert spec is not None
    sys.modules["my_parser"] = importlib.util.module_from_spec(spec)
    try:

        def parse(stream: io.BufferedReader) -> Any:
            import my_parser  # type: ignore[import-not-found]

            return my_parser.split(stream.read())

        reader = formats.parse(parse).parser
        assert reader is not None
        with pytest.raises(UnpicklableError, match="parse imports your own module 'my_parser' inside its body"):
            capture(ParsedProgram(program_of_pairs(lambda record: [(record, 1)], None, None), reader))
    finally:
        del sys.modules["my_parser"]


def test_an_attempt_that_is_due_goes_on_behind_what_is_done_and_parses_the_object_again() -> None:
    source = MemorySource({"a": b"abc", "b": bytes(range(97, 123)) * 5})
    parsed: list[str] = []

    def parse(name: str, stream: io.BufferedReader) -> Iterator[bytes]:
        parsed.append(name)
        while char := stream.read(1):
            yield char

    def attempt(after: Position | None, calls: int) -> tuple[list[Any], Position | None, int]:
        meter = Meter()
        left = iter(range(calls, 0, -1))

        def map(record: bytes) -> Iterator[tuple[bytes, int]]:
            if next(left, 1) == 1:
                meter.wind_up()
            yield record, 1

        program = ParsedProgram(program_of_pairs(map, None, None), ParsedReader(parse, takes_source=True))
        emitter = program.emitter(
            SplitInput(split_of(source, keys=("a", "b")), Format.PARSED, {"m": source}, after=after), meter=meter, batch_bytes=100
        )
        keys = [key for batch in emitter.batches() for found, _ in batch for key in decode_keys(found)]
        return keys, emitter.position, meter.bytes_read

    found: list[Any] = []
    counted, at, calls = 0, None, 2
    while True:
        keys, at, size = attempt(at, calls)
        found += keys
        counted += size
        calls += 9
        if at is None:
            break
    assert b"".join(found) == b"abc" + bytes(range(97, 123)) * 5
    assert counted == 133
    assert parsed[:3] == ["a", "a", "b"]
    assert parsed.count("b") > 3
