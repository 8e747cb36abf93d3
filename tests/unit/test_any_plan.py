"""The law of `smr_notebook.testing.readers` for every format of lines and bytes, over content that is drawn."""

from __future__ import annotations

import encodings
import io
import json
import pkgutil
from collections.abc import Callable, Iterator
from functools import partial
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smr_notebook.dataflow.formats.binary import read_binary
from smr_notebook.dataflow.formats.compression import sniff
from smr_notebook.dataflow.formats.fixed import read_fixed
from smr_notebook.dataflow.formats.jsonl import read_jsonl
from smr_notebook.dataflow.formats.parsed import ParsedReader
from smr_notebook.dataflow.formats.passages import PassageReader
from smr_notebook.dataflow.formats.text import read_text
from smr_notebook.dataflow.formats.text_encodings import POLICIES, check_encoding, encoding_of
from smr_notebook.dataflow.records import Unreadable
from smr_notebook.errors import ConfigError, InputFormatError
from smr_notebook.model import Format, Reading
from smr_notebook.testing.readers import PACKINGS, PLANS, Case, check_any_plan

# ---------------------------------------------------------------- text

CHARACTERS = "\n\n\n\r\tab \x0b\x85\xa0é€ß\u2028\u0a0a\u0d0a\u010a\u0a00я語漢字カ한글ﾊ𝄞😀ع\ufeff"
NAMES = sorted({check_encoding(name.name, "strict")[0] for name in pkgutil.iter_modules(encodings.__path__) if name.name not in {
    "aliases", "base64_codec", "bz2_codec", "charmap", "hex_codec", "idna", "mbcs", "oem", "punycode", "quopri_codec", "raw_unicode_escape",
    "rot_13", "undefined", "unicode_escape", "uu_codec", "zlib_codec"}})  # fmt: skip


def plain_name(name: str) -> str:
    """The encoding that writes no byte order mark."""
    return f"{name}-le" if name in {"utf-16", "utf-32"} else name


def characters_of(name: str) -> str:
    def can(character: str) -> bool:
        try:
            return character.encode(plain_name(name)).decode(plain_name(name)) == character
        except UnicodeError:
            return False

    return "".join(filter(can, CHARACTERS))


def wanted_lines(body: bytes, reading: Reading) -> list[tuple[object, int]]:
    """Line by line: cut the bytes first, where each unit is LF, and decode each piece."""
    encoding = encoding_of(reading.encoding, body[:4])
    if not encoding.cuttable:
        text = body.decode(encoding.name, reading.errors)
        lines = text.split("\n")
        ended = [line.removesuffix("\r") for line in lines[:-1]]
        return [(line, -1) for line in (ended + lines[-1:] if lines[-1] else ended)]
    start = len(encoding.mark) if encoding.mark and body.startswith(encoding.mark) else 0
    found: list[tuple[object, int]] = []
    while start < len(body):
        end = next((at for at in range(start, len(body), encoding.unit) if body[at : at + encoding.unit] == encoding.newline), len(body))
        line = body[start:end]
        try:
            text = line.decode(encoding.name, reading.errors)
            found.append((text.removesuffix("\r") if end < len(body) else text, start))
        except UnicodeDecodeError:
            found.append((Unreadable(line, InputFormatError("")), start))
        start = end + encoding.unit
    return found


@st.composite
def text_cases(draw: st.DrawFn) -> Case:
    name = draw(st.sampled_from(NAMES))
    encoding = encoding_of(name)
    damaged = draw(st.booleans()) and encoding.cuttable
    policies = [policy for policy in POLICIES if not (policy == "surrogateescape" and encoding.unit > 1)]
    reading = Reading(tolerant=damaged, encoding=name, errors=draw(st.sampled_from(policies if damaged else ["strict"])))
    characters = st.sampled_from(characters_of(name))
    bodies = draw(st.lists(st.text(characters, max_size=30).map(lambda text: text.encode(plain_name(name))), min_size=1, max_size=3))
    if name in {"utf-16", "utf-32"} and draw(st.booleans()):
        bodies = [encoding_of(f"{name}-be").mark + body.decode(f"{name}-le").encode(f"{name}-be") for body in bodies]
    if damaged:
        noise = st.sampled_from(
            [b"", b"\x81", b"\x8f\xa1", b"\xa4\xd4", b"\xff\xfd", b"\xd8\x00", b"\x00\xd8", b"\x0a", b"\xe2\x82", b"\x80\x30"]
        )
        bodies = [body[:at] + draw(noise) + body[at:] for body in bodies for at in [draw(st.integers(0, len(body)))]]
    return Case(Format.TEXT, reading, bodies, lambda body: wanted_lines(body, reading), read_text)


@settings(max_examples=6 * settings().max_examples)
@given(case=text_cases(), plan=PLANS, compress=PACKINGS)
def test_lines_in_any_encoding(case: Case, plan: tuple[int, int, list[int]], compress: Callable[[bytes], bytes] | None) -> None:
    check_any_plan(case, plan, compress)


def wanted_passages(body: bytes, reading: Reading, size: int) -> list[tuple[object, int]]:
    """The lines, by the stretch that they begin in: first those that are text, as one; then the others."""
    found: list[tuple[object, int]] = []
    for _, group in groupby(wanted_lines(body, reading), lambda line: line[1] // size):
        lines = list(group)
        texts = [(str(line), place) for line, place in lines if not isinstance(line, Unreadable)]
        found += [("\n".join(line for line, _ in texts), texts[0][1])] if texts else []
        found += [(line, place) for line, place in lines if isinstance(line, Unreadable)]
    return found


@settings(max_examples=6 * settings().max_examples)
@given(case=text_cases(), size=st.integers(1, 50), plan=PLANS, compress=PACKINGS)
def test_passages_are_the_same_compressed_or_not(
    case: Case, size: int, plan: tuple[int, int, list[int]], compress: Callable[[bytes], bytes] | None
) -> None:
    if not encoding_of(case.reading.encoding).cuttable:
        size = 1 << 20  # there a stretch is counted in characters, block by block
    reader = PassageReader(size)
    wanted = partial(wanted_passages, reading=case.reading, size=size)
    check_any_plan(Case(Format.TEXT, case.reading, case.bodies, wanted, reader, blocks=False), plan, compress)


def test_every_encoding_of_this_python_is_read_or_refused() -> None:
    assert len(NAMES) > 90
    for name in ("punycode", "idna", "unicode_escape", "rot_13", "zlib", "charmap", "no such", "utf-8\0", 8):
        with pytest.raises(ConfigError, match="encoding="):
            check_encoding(name, "strict")


# ---------------------------------------------------------------- JSON lines

json_values = st.one_of(
    st.none(), st.integers(), st.floats(), st.text(max_size=5), st.dictionaries(st.text(max_size=2), st.integers(), max_size=3)
)
json_texts = st.one_of(
    st.builds(lambda value: json.dumps(value, ensure_ascii=False), json_values), st.sampled_from(["", " ", "{}", "[{}]", "{", "1 2", "é"])
)


def wanted_values(body: bytes, reading: Reading) -> list[tuple[object, int]]:
    found: list[tuple[object, int]] = []
    for line, start in wanted_lines(body, reading):
        text = str(line)
        try:
            if text.strip(" \t\r\n"):
                found.append((json.loads(text), start))
        except ValueError:
            found.append((Unreadable(text, InputFormatError("")), start))
    return found


@st.composite
def json_cases(draw: st.DrawFn) -> Case:
    name = draw(st.sampled_from(["utf-8", "utf-16", "utf-16-be", "utf-32", "gb18030", "cp1252", "iso2022_jp", "utf-7"]))

    def fits(text: str) -> bool:
        try:
            return text.encode(plain_name(name)).decode(plain_name(name)) == text
        except UnicodeError:
            return False

    texts = st.lists(json_texts.filter(fits), max_size=8).map("\n".join)
    bodies = draw(st.lists(texts.map(lambda text: text.encode(plain_name(name))), min_size=1, max_size=3))
    reading = Reading(tolerant=True, encoding=name)
    return Case(Format.JSONL, reading, bodies, lambda body: wanted_values(body, reading), read_jsonl)


@settings(max_examples=3 * settings().max_examples)
@given(case=json_cases(), plan=PLANS, compress=PACKINGS)
def test_json_lines_in_any_encoding_some_of_which_are_none(
    case: Case, plan: tuple[int, int, list[int]], compress: Callable[[bytes], bytes] | None
) -> None:
    check_any_plan(case, plan, compress)


# ---------------------------------------------------------------- records of one size


def wanted_records(body: bytes, reading: Reading) -> list[tuple[object, int]]:
    found: list[tuple[object, int]] = []
    for at in range(reading.header_bytes, len(body), reading.record_bytes):
        record = body[at : at + reading.record_bytes]
        whole = len(record) == reading.record_bytes
        found.append((record if whole else Unreadable(record, InputFormatError("")), at))
    return found


@st.composite
def fixed_cases(draw: st.DrawFn) -> Case:
    size, header = draw(st.integers(1, 50)), draw(st.integers(0, 70))
    tolerant = draw(st.booleans())
    reading = Reading(tolerant=tolerant, record_bytes=size, header_bytes=header, decompress=draw(st.booleans()))
    rest = st.integers(0, size - 1) if tolerant else st.just(0)
    lengths = st.builds(lambda records, rest: header + records * size + rest, st.integers(0, 9), rest)
    bodies = draw(st.lists(lengths.flatmap(lambda length: st.binary(min_size=length, max_size=length)), min_size=1, max_size=3))
    plain = [body for body in bodies if sniff(body[:512]) is None and (body or not header)]
    return Case(Format.FIXED, reading, plain, lambda body: wanted_records(body, reading), read_fixed)


@settings(max_examples=4 * settings().max_examples)
@given(case=fixed_cases(), plan=PLANS, compress=PACKINGS)
def test_records_of_one_size(case: Case, plan: tuple[int, int, list[int]], compress: Callable[[bytes], bytes] | None) -> None:
    check_any_plan(case, plan, compress if case.reading.decompress else None)


# ---------------------------------------------------------------- whole objects, and parsers of one's own


@given(bodies=st.lists(st.binary(max_size=40), min_size=1, max_size=6), plan=PLANS)
def test_whole_objects(bodies: list[bytes], plan: tuple[int, int, list[int]]) -> None:
    check_any_plan(Case(Format.BINARY, Reading(), bodies, lambda body: [(body, 0)], read_binary, blocks=False), plan, None)


def parse_counted(stream: io.BufferedReader) -> Iterator[bytes]:
    """Records behind their length; a record of length 0 ends the object, whatever follows."""
    while head := stream.read(1):
        if head == b"\0":
            return
        yield stream.read(head[0])


def parse_lines(stream: io.BufferedReader) -> Iterator[dict[str, Any]]:
    return ({"line": line} for line in io.TextIOWrapper(stream, "utf-8", "replace", newline="\n"))


def parse_backwards(stream: io.BufferedReader) -> Iterator[int]:
    for at in range(stream.seek(0, io.SEEK_END) - 1, -1, -1):
        stream.seek(at)
        yield stream.read(1)[0]


def parse_at_once(stream: io.BufferedReader) -> list[bytes]:
    return stream.read().split(b"\n")


def parse_nothing(stream: io.BufferedReader) -> tuple[()]:
    return ()


PARSERS = [parse_counted, parse_lines, parse_backwards, parse_at_once, parse_nothing]


@settings(max_examples=3 * settings().max_examples)
@given(bodies=st.lists(st.binary(max_size=300), min_size=1, max_size=4), parse=st.sampled_from(PARSERS), plan=PLANS, compress=PACKINGS)
def test_a_parser_of_ones_own(
    bodies: list[bytes], parse: Callable[[Any], Any], plan: tuple[int, int, list[int]], compress: Callable[[bytes], bytes] | None
) -> None:
    def wanted(body: bytes) -> list[tuple[object, int]]:
        return [(record, -1) for record in parse(io.BufferedReader(io.BytesIO(body)))] if body else []

    plain = [body for body in bodies if sniff(body[:512]) is None]
    case = Case(Format.PARSED, Reading(), plain, wanted, ParsedReader(parse, takes_source=False), blocks=False)
    check_any_plan(case, plan, compress if parse is not parse_backwards else None)
