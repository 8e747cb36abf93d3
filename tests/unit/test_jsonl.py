"""The JSON lines reader against `json.loads`, line by line."""

from __future__ import annotations

import gzip
import json
import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smr_notebook.backends.memory.source import MemorySource
from smr_notebook.dataflow.formats.jsonl import read_jsonl
from smr_notebook.dataflow.records import RecordBlock, Unreadable
from smr_notebook.dataflow.splits import PlannedObject, plan_splits
from smr_notebook.errors import InputFormatError
from smr_notebook.model import Reading, Span

BOM = b"\xef\xbb\xbf"


def expected(data: bytes) -> list[object]:
    """The reference. Raises `ValueError` where a line is not JSON."""
    return [json.loads(line.decode()) for line in data.removeprefix(BOM).split(b"\n") if line.strip(b" \t\r\n")]


def read(data: bytes, *, split_bytes: int = 1 << 30, block_bytes: int = 1 << 20, cuttable: bool = True) -> list[RecordBlock]:
    source = MemorySource({"key": data})
    spans = [
        span for split in plan_splits([PlannedObject("m", source.stat("key"), cuttable)], split_bytes=split_bytes) for span in split.spans
    ]
    return [block for span in spans for block in read_jsonl(span, source, block_bytes=block_bytes)]


def records(blocks: list[RecordBlock]) -> list[object]:
    return [record for block in blocks for record in block.records]


def exact(value: object) -> str:
    """Tell apart what `==` does not: 1 and 1.0, 0.0 and -0.0, the order of keys; and hold NaN equal."""
    return repr(value)


numbers = st.one_of(
    st.integers(),
    st.integers(-(1 << 70), 1 << 70),
    st.floats(),
    st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf, 1e308, 5e-324, 2**63, 2**64, -(2**63) - 1]),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=4,
)
dumped = st.builds(lambda value, escaped: json.dumps(value, ensure_ascii=escaped).encode("utf-8", "replace"), values, st.booleans())
digits = st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?", fullmatch=True).map(str.encode)
odd = st.sampled_from(
    [
        b"", b" ", b"\t\r", b'{"a":1,"a":2}', b'"\\ud800"', b'"\\ud83d\\ude00"', b"1e400", b"-1e400", b"1E5", b"-0", b"NaN", b"-Infinity",
        b'{"a":NaN}', b"9" * 400, b"1" + b"0" * 400 + b".5", b'{"x":{}}', b"{}", b"[]", b" {} ",
        b'"\\u2028\\u000b"', '"\u2028\x7f"'.encode(),
    ]
)  # fmt: skip
broken = st.sampled_from(
    [b"{", b"}", b"{}{}", b"1 2", b"[1,", b"2]", b"01", b"'a'", b"\x0b", b'"\x01"', b'"\xff"', b"\xef\xbb\xbf1", b"nan", b"{},"]
)
line_ends = st.sampled_from([b"\n", b"\n", b"\r\n"])


def lines_of(line: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    body = st.lists(st.builds(lambda text, end: text + end, line, line_ends), max_size=8).map(b"".join)
    return st.builds(lambda bom, lines, last: (BOM if bom else b"") + lines + last, st.booleans(), body, st.one_of(st.just(b""), line))


@settings(max_examples=3 * settings().max_examples)
@given(data=lines_of(st.one_of(dumped, odd, digits)), split_bytes=st.integers(1, 60), block_bytes=st.integers(1, 60))
@example(data=b'{"a":{}}\n{}\n{"b":1}', split_bytes=3, block_bytes=60)
def test_any_plan_gives_what_json_loads_gives(data: bytes, split_bytes: int, block_bytes: int) -> None:
    blocks = read(data, split_bytes=split_bytes, block_bytes=block_bytes)

    assert exact(records(blocks)) == exact(expected(data))
    assert exact(records(read(data))) == exact(expected(data))
    assert sum(block.size for block in blocks) == len(data)
    for block in blocks:
        for index, record in enumerate(block.records):
            line = data[block.locate(index) :].split(b"\n")[0]
            assert exact(json.loads(line.decode())) == exact(record)


@settings(max_examples=3 * settings().max_examples)
@given(data=lines_of(st.one_of(broken, odd, dumped)))
@example(data=b"{}{}\n[1,\n2]\n")
@example(data=b"[{}\n{}]\n{} {}\n")
@example(data=b'{"a":1}\n{"b":2} {"c":3}\n\n')
def test_what_json_loads_refuses_is_refused(data: bytes) -> None:
    try:
        wanted = expected(data)
    except ValueError:
        with pytest.raises(InputFormatError, match="key"):
            read(data)
    else:
        assert exact(records(read(data))) == exact(wanted)


json_bytes = st.lists(st.sampled_from([bytes([byte]) for byte in b'{}[]",:0123456789-+.eE\\ut \nan\x80\xc3f']), max_size=14).map(b"".join)


@settings(max_examples=6 * settings().max_examples)
@given(data=json_bytes)
def test_arbitrary_bytes_are_accepted_as_json_loads_accepts_them(data: bytes) -> None:
    try:
        wanted = exact(expected(data))
    except ValueError:
        wanted = "refused"
    try:
        found = exact(records(read(data)))
    except InputFormatError:
        found = "refused"

    assert found == wanted


def test_compressed_lines_give_the_same_records() -> None:
    data = b"".join(b'{"n": %d}\n' % number for number in range(1000))
    stored = gzip.compress(data)

    blocks = read(stored, cuttable=False)

    assert records(blocks) == [{"n": number} for number in range(1000)]
    assert sum(block.size for block in blocks) == len(stored)


def test_a_broken_line_is_named_with_its_place_and_text() -> None:
    data = b'{"a": 1}\n\n{"a": NaN}\n{"a": ' + b"x" * 100 + b"\n"

    with pytest.raises(
        InputFormatError, match=r"key, line 4 \(offset 21\) is not JSON: Expecting value.* It reads '\{\"a\": x{73}…'\. Mend"
    ):
        read(data, block_bytes=5)


def test_a_line_that_is_not_utf8_is_named_with_its_place() -> None:
    with pytest.raises(InputFormatError, match=r"key is not UTF-8 text: byte 0xE9 at offset 5 \(line 2\)"):
        read(b'{}\n"b\xe9"\n')


@pytest.mark.parametrize("line", [b"[" * 100_000 + b"]" * 100_000, b"9" * 5000])
def test_what_is_too_deep_or_too_long_for_python_is_an_error(line: bytes) -> None:
    with pytest.raises(InputFormatError, match="line 1"):
        read(line)


def test_lines_of_blanks_account_for_their_bytes() -> None:
    blocks = read(b"\n \r\n\t\n")

    assert records(blocks) == []
    assert sum(block.size for block in blocks) == 6


def test_bytes_that_are_no_text_are_treated_before_json_looks_at_them() -> None:
    source = MemorySource({"key": b'"a\xff"\n{"b": "\xe9"}\n'})
    info = source.stat("key")
    span = Span("m", "key", 0, info.size, info.size, info.version)

    def values(reading: Reading) -> list[object]:
        return records(list(read_jsonl(span, source, reading)))

    with pytest.raises(InputFormatError, match=r"key is not UTF-8 text: byte 0xFF at offset 2 \(line 1\)"):
        values(Reading())
    assert values(Reading(errors="replace")) == ["a\ufffd", {"b": "\ufffd"}]
    assert values(Reading(errors="surrogateescape")) == ["a\udcff", {"b": "\udce9"}]
    assert values(Reading(encoding="cp1252")) == ["aÿ", {"b": "é"}]
    (first, second) = values(Reading(tolerant=True))
    assert isinstance(first, Unreadable)
    assert isinstance(second, Unreadable)
    assert (first.raw, second.raw) == (b'"a\xff"', b'{"b": "\xe9"}')
