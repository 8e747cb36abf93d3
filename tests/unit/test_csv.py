"""CSV against `csv.reader` over the whole: any content, dialect, blocks and cuts."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import random
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import smr_notebook as smr
from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.source import MemorySource
from smr_notebook.control.naming import Files
from smr_notebook.control.reading import plan_input
from smr_notebook.dataflow.formats.csv_columns import read_csv_columns, well_formed
from smr_notebook.dataflow.formats.csv_cuts import csv_cuts, first_row
from smr_notebook.dataflow.formats.csv_records import read_csv
from smr_notebook.dataflow.formats.csv_sniffing import described, settle
from smr_notebook.dataflow.inputs import open_blocks
from smr_notebook.dataflow.records import RecordBlock, Unreadable
from smr_notebook.dataflow.splits import PlannedObject, plan_splits
from smr_notebook.dataflow.table_blocks import TableBlock
from smr_notebook.dataflow.tables import column_names, open_tables
from smr_notebook.errors import InputFormatError, InputMixedError
from smr_notebook.model import Dialect, Format, Reading, Span, Split

COMMA = Dialect(delimiter=",")
LISTS = Dialect(delimiter=",", header=False)


def span_of(source: MemorySource, key: str = "key") -> Span:
    info = source.stat(key)
    return Span("m", key, 0, info.size, info.size, info.version)


def read(data: bytes, dialect: Dialect, *, cuts: tuple[int, ...] = (), block_bytes: int = 1 << 18, tolerant: bool = False) -> list[Any]:
    return [
        record
        for block in blocks_of(data, Reading(tolerant=tolerant, dialect=dialect), cuts=cuts, block_bytes=block_bytes)
        for record in block.records
    ]


def blocks_of(data: bytes, reading: Reading, *, cuts: tuple[int, ...] = (), block_bytes: int = 1 << 18) -> list[RecordBlock]:
    source = MemorySource({"key": data})
    planned = PlannedObject("m", source.stat("key"), cuttable=False, cuts=cuts)
    blocks: list[RecordBlock] = []
    for split in plan_splits([planned], split_bytes=1):
        for span in split.spans:
            blocks += read_csv(span, source, reading, block_bytes=block_bytes)
    assert sum(block.size for block in blocks) == len(data)
    return blocks


def expected(text: str, dialect: Dialect) -> list[list[str]]:
    """The reference, over the whole text. Raises `csv.Error`."""
    reader = csv.reader(
        io.StringIO(text, newline="\n"),  # a lone carriage return ends no line: `csv.reader` refuses it outside quotes
        delimiter=dialect.delimiter,
        quotechar=dialect.quote or None,
        escapechar=dialect.escape or None,
        doublequote=dialect.doubled,
        quoting=csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE,
        strict=True,
    )
    return [row for row in reader if row]


dialects = st.builds(
    Dialect,
    delimiter=st.sampled_from([",", ";", "\t", "|", "§"]),
    quote=st.sampled_from(['"', "'"]),
    escape=st.sampled_from(["", "\\"]),
    header=st.just(value=False),
)
QUOTINGS: Any = st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL])
fields = st.one_of(
    st.text(alphabet="ab1 é\U0001f600,;|\t'\"\\\n", max_size=8),
    st.sampled_from(["", "\r\n", 'a"b', "\n\n", ",,,", '","', '"\n"', "\r", "a,b\nc,d"]),
)


@st.composite
def written(draw: st.DrawFn) -> tuple[str, Dialect, list[list[str]]]:
    """Rows as some program would write them, each line with one of the usual ends."""
    dialect = draw(dialects)
    width = draw(st.integers(1, 4))
    rows = draw(st.lists(st.lists(fields, min_size=width, max_size=width), max_size=12))
    lines = []
    for row in rows:
        line = io.StringIO(newline="")
        quoting = draw(QUOTINGS)
        writer = csv.writer(
            line,
            delimiter=dialect.delimiter,
            quotechar=dialect.quote,
            escapechar=dialect.escape or None,
            lineterminator=draw(st.sampled_from(["\n", "\r\n", "\n\n"])),
            quoting=quoting,
        )
        writer.writerow(row)
        lines.append(line.getvalue())
    text = "".join(lines)
    return (text.rstrip("\n") if draw(st.booleans()) and lines and not lines[-1].endswith('"\n') else text), dialect, rows


@settings(max_examples=4 * settings().max_examples)
@given(content=written(), block_bytes=st.integers(1, 60), bom=st.booleans())
def test_rows_are_what_csv_reader_gives_whatever_the_blocks(
    content: tuple[str, Dialect, list[list[str]]], block_bytes: int, bom: bool
) -> None:
    text, dialect, _ = content
    data = (b"\xef\xbb\xbf" if bom else b"") + text.encode()
    try:
        wanted = expected(text, dialect)
    except csv.Error:
        with pytest.raises(InputFormatError):
            read(data, dialect, block_bytes=block_bytes)
        return

    assert read(data, dialect, block_bytes=block_bytes) == wanted


@settings(max_examples=4 * settings().max_examples)
@given(content=written(), block_bytes=st.integers(1, 60), places=st.sets(st.integers(1, 200), max_size=4))
def test_any_cut_whatsoever_gives_the_same_rows_or_an_error(
    content: tuple[str, Dialect, list[list[str]]], block_bytes: int, places: set[int]
) -> None:
    text, dialect, _ = content
    data = text.encode()
    cuts = tuple(sorted(place for place in places if place < len(data)))
    try:
        whole = read(data, dialect)
        found = read(data, dialect, cuts=cuts, block_bytes=block_bytes)
    except InputFormatError:
        return
    assert found == whole


@settings(max_examples=3 * settings().max_examples)
@given(
    pieces=st.lists(st.sampled_from(['"', ",", "\n", "\r\n", "a", "é", '""', '","', '"\n', '\n"']), max_size=40),
    places=st.sets(st.integers(1, 60), max_size=3),
)
def test_broken_text_is_never_read_differently_when_it_is_cut(pieces: list[str], places: set[int]) -> None:
    text = "".join(pieces)
    data = text.encode()
    cuts = tuple(sorted(place for place in places if place < len(data)))
    try:
        found = read(data, LISTS, cuts=cuts)
    except InputFormatError:
        return
    assert found == expected(text, LISTS)


WORDS = ["", "berlin", "o'neill", 'the "big" one', "a, b and c", "two\nlines", "\n\n", '"', "é€😀", "x" * 50, "1.5", "\r\n"]


@settings(max_examples=3 * settings().max_examples // 2)
@given(
    seed=st.integers(0, 1 << 30),
    split_bytes=st.integers(40, 3000),
    block_bytes=st.integers(20, 2000),
    quoting=QUOTINGS,
)
def test_planned_cuts_lie_between_rows(seed: int, split_bytes: int, block_bytes: int, quoting: Any) -> None:
    chance = random.Random(seed)
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=quoting, lineterminator=chance.choice(["\n", "\r\n"]))
    writer.writerow(["id", "word", "other"])
    writer.writerows([number, chance.choice(WORDS), chance.choice(WORDS)] for number in range(chance.randrange(1, 150)))
    data = out.getvalue().encode()
    source = MemorySource({"key": data})
    reading = settle(Reading(dialect=COMMA), span_of(source), source)

    cuts = csv_cuts(span_of(source), source, reading, split_bytes=split_bytes)

    whole = [dict(zip(["id", "word", "other"], row, strict=True)) for row in expected(out.getvalue(), COMMA)[1:]]
    assert read(data, reading.dialect, cuts=cuts, block_bytes=block_bytes) == whole


def test_large_objects_are_cut_near_even_places() -> None:
    rows = "".join(f'{number},"a ""quoted"" word, or\ntwo",b\n' for number in range(20_000))
    source = MemorySource({"key": b"id,text,other\n" + rows.encode()})
    reading = settle(Reading(dialect=COMMA), span_of(source), source)

    cuts = csv_cuts(span_of(source), source, reading, split_bytes=100_000)

    assert len(cuts) == source.stat("key").size // 100_000
    assert all(source.get("key")[cut - 1 : cut] == b"\n" and cut % 1 == 0 for cut in cuts)
    assert len(read(source.get("key"), reading.dialect, cuts=cuts)) == 20_000


def test_a_window_that_can_be_read_both_ways_gives_no_cut() -> None:
    assert first_row(b'a",",b\nc",",d\n' * 3, COMMA, width=0) is None
    assert first_row(b"a,b\nc,d\ne,f\ng,h\n", COMMA, width=2) == 4
    assert first_row(b'tail of a field",b\n"next",d\n"x",y\n', COMMA, width=2) == 19


def test_a_wrong_cut_is_an_error_and_no_wrong_row() -> None:
    data = b'a,b\n1,"x\n2,y\n3,z"\n4,w\n'
    with pytest.raises(InputFormatError, match=r"line 2 \(offset 4\): the quote that opens here is not closed before byte 9"):
        read(data, COMMA, cuts=(9,))
    assert read(data, COMMA) == [{"a": "1", "b": "x\n2,y\n3,z"}, {"a": "4", "b": "w"}]


def test_a_quote_that_is_never_closed_tells_where_it_opened() -> None:
    data = b"a,b\n1,x\n2,y\n" + b'3,"z\n' + b"4,w\n" * 50_000
    with pytest.raises(
        InputFormatError, match=r"key, line 4 \(offset 12\): the quote that opens here is not closed before the end of the object"
    ):
        read(data, COMMA, block_bytes=1000)


def test_where_no_field_holds_line_ends_each_line_stands_alone() -> None:
    data = b'a,b\n1,"x\n2,y\n3,"z"\n'
    dialect = replace(COMMA, newlines=False, names=("a", "b"))
    with pytest.raises(InputFormatError, match=r"line 2 \(offset 4\): a quote is open at the end of the line"):
        read(data, dialect)

    for cut in range(4, len(data)):
        found = read(data, dialect, cuts=(cut,), tolerant=True)
        assert [item for item in found if isinstance(item, dict)] == [{"a": "2", "b": "y"}, {"a": "3", "b": "z"}]
        assert [item.raw for item in found if isinstance(item, Unreadable)] == ['1,"x']


def test_a_row_of_another_width_is_an_error_that_shows_it() -> None:
    data = b'a,b\n1,2\n"one\ntwo",2,3\n4\n5,6\n'
    with pytest.raises(
        InputFormatError, match=r"key, line 3 \(offset 8\) has 3 fields where the header has 2 \('a, b'\). It reads '\"one.*two\",2,3'"
    ):
        read(data, COMMA)
    found = read(data, COMMA, tolerant=True)
    assert [item.raw if isinstance(item, Unreadable) else item for item in found] == [
        {"a": "1", "b": "2"},
        '"one\ntwo",2,3',
        "4",
        {"a": "5", "b": "6"},
    ]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"a,b\r1,2\r3,4\r", "a carriage return .* stands alone outside quotes"),
        (b'a,b\n"x"y,2\n', r"line 2 \(offset 4\) is no row of this dialect"),
        (b"a,b\n1,\0\n", "line 2: there is a zero byte"),
        ("a,b\n1,2\n".encode("utf-16-le"), "zero byte, which no CSV has. The object is damaged, or UTF-16"),
        (b"a,b\n\xff,2\n", "not UTF-8"),
        (b"a,a\n1,2\n", "has the column 'a' more than once"),
        (b"a,\n1,2\n", "has a column without a name, number 2"),
        (b"\n\n", None),
        (b"a,b\n", None),
        (b"", None),
    ],
)
def test_what_is_no_csv_is_told(data: bytes, told: str | None) -> None:
    if told is None:
        assert read(data, COMMA) == []
    else:
        with pytest.raises(InputFormatError, match=told):
            read(data, COMMA)


def test_a_field_may_be_long() -> None:
    long = "x\n" * 300_000
    assert read(f'a,b\n1,"{long}"\n'.encode(), COMMA, block_bytes=10_000) == [{"a": "1", "b": long}]


def test_each_object_has_the_planned_header() -> None:
    dialect = replace(COMMA, names=("a", "b"))
    assert read(b"a,b\n1,2\n", dialect) == [{"a": "1", "b": "2"}]
    with pytest.raises(InputMixedError, match="key has another header than was planned: 1, 2 instead of a, b"):
        read(b"1,2\n3,4\n", dialect)


def test_columns_are_picked_by_name_from_any_header_that_has_them() -> None:
    reading = Reading(columns=("c", "a"), dialect=replace(COMMA, types=(("c", "int"),)))
    for data in (b"a,b,c\n1,2,3\n", b"c,a\n3,1\n"):
        assert [record for block in blocks_of(data, reading, cuts=(len(data) - 2,)) for record in block.records] == [{"c": 3, "a": "1"}]
    with pytest.raises(InputFormatError, match="key has no column 'c'; it has the columns 'a', 'b'"):
        blocks_of(b"a,b\n1,2\n", reading)


def test_rows_before_the_header_are_left_out_in_each_object() -> None:
    data = b"report,of,today\n\nnote\na,b\n1,2\n3,4\n"
    dialect = replace(COMMA, skip=2)
    source = MemorySource({"key": data})
    settled = settle(Reading(dialect=dialect), span_of(source), source)
    assert settled.dialect.names == ("a", "b")
    for split_bytes in range(1, 40):
        cuts = csv_cuts(span_of(source), source, settled, split_bytes=split_bytes)
        assert read(data, settled.dialect, cuts=cuts) == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]
        even = csv_cuts(
            span_of(source), source, replace(settled, dialect=replace(settled.dialect, newlines=False)), split_bytes=split_bytes
        )
        assert read(data, replace(settled.dialect, newlines=False), cuts=even) == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]
    with pytest.raises(InputFormatError, match="ends in the rows that are its header"):
        read(data, dialect, cuts=(10,))


def test_types_are_exact_or_an_error() -> None:
    types = (("i", "int"), ("x", "float"), ("t", "bool"), ("d", "date"), ("z", "datetime"), ("n", "decimal"))
    dialect = replace(COMMA, types=types)
    data = (
        b"i,x,t,d,z,n,s\n1,2.5,true,2024-02-29,2024-02-29T01:02:03,1.10,007\n,,,,,,\n-9007199254740993,1e3,0,2024-01-01,2024-01-01,0, x \n"
    )
    assert read(data, dialect) == [
        {"i": 1, "x": 2.5, "t": True, "d": date(2024, 2, 29), "z": datetime(2024, 2, 29, 1, 2, 3), "n": Decimal("1.10"), "s": "007"},  # noqa: DTZ001 - as written
        {"i": None, "x": None, "t": None, "d": None, "z": None, "n": None, "s": ""},
        {"i": -9007199254740993, "x": 1000.0, "t": False, "d": date(2024, 1, 1), "z": datetime(2024, 1, 1), "n": Decimal(0), "s": " x "},  # noqa: DTZ001 - as written
    ]
    for wrong in ("1.0", "1_0", " 1", "x", "१"):
        with pytest.raises(InputFormatError, match=r"line 3 .*in the column 'i', which is no int"):
            read(f"i,x\n1,2\n{wrong},3\n".encode(), replace(COMMA, types=(("i", "int"),)))
    found = read(b"i\n1\nx\n3\n", replace(COMMA, types=(("i", "int"),)), tolerant=True)
    assert [item.raw if isinstance(item, Unreadable) else item for item in found] == [{"i": 1}, "x", {"i": 3}]


@pytest.mark.parametrize(
    ("data", "key", "delimiter"),
    [
        (b"a,b\n1,2\n", "k.csv", ","),
        (b"a;b\n1,5;2,5\n", "k.csv", ";"),
        (b"a\tb\n1\t2\n", "k", "\t"),
        (b"a,b\n1\t2,3\n", "k.tsv", "\t"),
        (b'a|b\n"x|y"|2\n', "k.csv", "|"),
        (b"word\nx\ny\n", "k.csv", ","),
        (b"a;b\n1\n2;3,4\n", "k.csv", ";"),
        (b"", "k.csv", ","),
    ],
)
def test_a_delimiter_is_told_by_a_sample(data: bytes, key: str, delimiter: str) -> None:
    source = MemorySource({key: data})
    assert settle(Reading(), span_of(source, key), source).dialect.delimiter == delimiter
    source = MemorySource({key: gzip.compress(data)})
    assert settle(Reading(), span_of(source, key), source).dialect.delimiter == delimiter


@pytest.mark.parametrize("data", [b"a,b;c\n1,2;3\n", b"a;b,c\n1\n", b"word\na,b\nc\n"])
def test_a_delimiter_that_is_not_sure_is_asked_for(data: bytes) -> None:
    source = MemorySource({"key": data})
    with pytest.raises(InputFormatError, match=r"The delimiter of key is not sure.*format=smr\.formats\.csv\(delimiter=','\)"):
        settle(Reading(), span_of(source), source)


def test_types_are_told_by_a_sample_only_when_asked_for() -> None:
    data = b"i,x,zip,day,s,none\n" + b"".join(b"%d,%d.5,00%d,2024-01-0%d,w%d,\n" % (n, n, n, n % 9 + 1, n) for n in range(50))
    source = MemorySource({"key": data})
    told = settle(Reading(dialect=Dialect(infer=True)), span_of(source), source)
    assert told.dialect.types == (("i", "int"), ("x", "float"), ("day", "date"))
    assert settle(Reading(), span_of(source), source).dialect.types == ()
    assert "columns i (int), x (float), zip, day (date), s, none" in described(told)


@given(content=written(), stop=st.integers(0, 12), place=st.integers(1, 100))
def test_a_task_goes_on_at_any_row(content: tuple[str, Dialect, list[list[str]]], stop: int, place: int) -> None:
    text, dialect, _ = content
    data = text.encode()
    source = MemorySource({"key": data})
    try:
        whole = read(data, dialect)
        cuts = csv_cuts(span_of(source), source, Reading(dialect=dialect), split_bytes=place)
        assert read(data, dialect, cuts=cuts) == whole
    except InputFormatError:
        return
    found: list[Any] = []
    size = 0
    for split in plan_splits([PlannedObject("m", source.stat("key"), cuttable=False, cuts=cuts)], split_bytes=1 << 20):
        blocks = open_blocks(split, Format.CSV, {"m": source}, reading=Reading(dialect=dialect))
        first, size_before, after = _until(list(blocks), stop)
        rest = list(open_blocks(split, Format.CSV, {"m": source}, after=after, reading=Reading(dialect=dialect)))
        found += first + [record for block in rest for record in block.records]
        size += size_before + sum(block.size for block in rest)
    assert found == whole
    assert size == len(data)


def _until(blocks: list[RecordBlock], stop: int) -> tuple[list[Any], int, Any]:
    found: list[Any] = []
    size = 0
    at = None
    for block in blocks:
        if len(found) + len(block.records) > stop:
            taken = stop - len(found)
            found += block.records[:taken]
            return found, size, replace(block.at, done=block.at.done + taken, skip=block.at.skip + taken)
        found += block.records
        size += block.size
        at = replace(block.at, done=block.at.done + block.count, skip=block.at.skip + block.count, counted=block.at.counted + block.size)
    return found, size, at


def test_compressed_csv_is_read_whole() -> None:
    text = "a,b\n" + "".join(f'{number},"x\n{number}"\n' for number in range(5000))
    wanted = [{"a": str(number), "b": f"x\n{number}"} for number in range(5000)]
    for data in (
        gzip.compress(text.encode()),
        bz2.compress(text.encode()),
        gzip.compress(text[:20000].encode()) + gzip.compress(text[20000:].encode()),
    ):
        assert read(data, COMMA, block_bytes=700) == wanted


def column_rows(blocks: list[TableBlock]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for block in blocks:
        columns = {name: column if isinstance(column, list) else column.to_pylist() for name, column in block.columns.items()}
        found += [{name: column[index] for name, column in columns.items()} for index in range(block.rows)]
    return found


@settings(max_examples=4 * settings().max_examples)
@given(content=written(), block_bytes=st.integers(1, 80), width=st.integers(1, 4))
def test_columns_are_those_of_the_records(content: tuple[str, Dialect, list[list[str]]], block_bytes: int, width: int) -> None:
    text, dialect, rows = content
    names = tuple("abcd"[: len(rows[0]) if rows else width])
    dialect = replace(dialect, names=names)
    source = MemorySource({"key": text.encode()})
    reading = Reading(dialect=dialect)
    try:
        records = read(text.encode(), dialect)
    except InputFormatError:
        with pytest.raises(InputFormatError):
            list(read_csv_columns(span_of(source), source, reading, None, block_bytes=block_bytes))
        return
    for columns in (None, names, names[:1]):
        found = list(read_csv_columns(span_of(source), source, reading, columns, block_bytes=block_bytes))
        tables = [TableBlock("", part.columns, part.rows, 0, None, part.rows) for part in found]
        assert column_rows(tables) == [{name: record[name] for name in columns or names} for record in records]
        assert sum(part.lines.size for part in found) == len(text.encode())


@settings(max_examples=3 * settings().max_examples)
@given(
    pieces=st.lists(st.sampled_from(['"', ",", "\n", "\r\n", "\r", "a", "é", '""', '","', '"\n', '\n"', "'"]), max_size=30),
    newlines=st.booleans(),
)
def test_what_looks_well_formed_is_read_alike_by_all(pieces: list[str], newlines: bool) -> None:
    text = "".join(pieces)
    dialect = replace(LISTS, newlines=newlines)
    if well_formed(text.encode(), dialect):
        assert read(text.encode(), dialect) == expected(text, dialect)
        if not newlines:
            assert all("\n" not in field for row in expected(text, dialect) for field in row)


def test_typed_columns_are_arrow_and_exact() -> None:
    data = b"i,x,t,d,n,s\n" + b"1,2.5,true,2024-02-29,1.10,007\n,,,,,\n" * 3 + b"99999999999999999999,0.1,0,2024-01-01,0,x\n"
    types = (("i", "int"), ("x", "float"), ("t", "bool"), ("d", "date"), ("n", "decimal"))
    source = MemorySource({"key": data})
    reading = Reading(dialect=replace(COMMA, types=types))

    for block_bytes in (1, 40, 1 << 20):
        found = list(read_csv_columns(span_of(source), source, reading, None, block_bytes=block_bytes))
        tables = [TableBlock("", part.columns, part.rows, 0, None, part.rows) for part in found]
        assert column_rows(tables) == read(data, reading.dialect)
    assert {str(column.type) for column in found[-1].columns.values() if not isinstance(column, list)} == {
        "double",
        "bool",
        "date32[day]",
        "string",
    }
    with pytest.raises(InputFormatError, match=r"line 2 .*in the column 'i', which is no int"):
        list(read_csv_columns(span_of(MemorySource({"key": b"i\n0x1\n"})), MemorySource({"key": b"i\n0x1\n"}), reading, ("i",)))


def test_columns_of_a_split_are_named() -> None:
    source = MemorySource({"key": b"a,b\n1,2\n"})
    split = Split(0, (span_of(source),))
    reading = Reading(dialect=COMMA)
    assert column_names([split], Format.CSV, {"m": source}, reading=reading) == ("a", "b")
    assert column_rows(list(open_tables(split, Format.CSV, {"m": source}, columns=("b",), reading=reading))) == [{"b": "2"}]
    with pytest.raises(InputFormatError, match="key has no column 'z'; it has the columns 'a', 'b'"):
        list(open_tables(split, Format.CSV, {"m": source}, columns=("z",), reading=reading))
    with pytest.raises(InputFormatError, match="key is CSV without names for its columns"):
        list(open_tables(split, Format.CSV, {"m": source}, reading=Reading(dialect=LISTS)))


@pytest.mark.parametrize("newlines", [True, False])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "cp1252", "utf-16", "utf-16-be", "shift_jis", "cp500", "iso2022_jp"])
def test_any_encoding_is_read_under_any_plan(encoding: str, newlines: bool) -> None:
    texts = [
        "plain",
        "with, comma",
        "a\\b|c",
        "日本ソ十" if encoding in {"utf-8", "utf-16", "utf-16-be", "shift_jis", "iso2022_jp"} else "é ü",
    ]
    texts += ["two\nlines"] if newlines else []
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\r\n").writerows([["id", "text"], *([number, texts[number % len(texts)]] for number in range(200))])
    source = MemorySource({"key": out.getvalue().encode(encoding)})
    format = smr.formats.csv(encoding=encoding, newlines=newlines)
    wanted = [{"id": str(number), "text": texts[number % len(texts)]} for number in range(200)]
    for split_size in (1 << 20, 400):
        planned = plan_input(
            Files(("key",)),
            {"file": source},
            store=MemoryStore(),
            job="j",
            format="csv",
            split_size=split_size,
            slots=1,
            reading=format.reading,
        )
        splits = plan_splits(planned.objects, split_bytes=planned.split_bytes)
        blocks = [block for split in splits for block in open_blocks(split, Format.CSV, {"file": source}, reading=planned.reading)]
        assert [record for block in blocks for record in block.records] == wanted
        assert sum(block.size for block in blocks) == len(source.get("key"))
        tables = [table for split in splits for table in open_tables(split, Format.CSV, {"file": source}, reading=planned.reading)]
        assert column_rows(tables) == wanted
        if split_size == 400 and encoding in {"utf-8", "latin-1", "cp1252"}:
            assert len(splits) > 5


def test_bytes_that_are_no_text_are_told_or_stand_in_the_place_of_their_row() -> None:
    data = b"a,b\n1,x\n2,\xff\n3,\xc3\xa9\n"
    with pytest.raises(InputFormatError, match=r"key is not UTF-8 text: byte 0xFF at offset 10 \(line 3\)"):
        read(data, COMMA)
    for cuts in ((), (8,), (12,)):
        found = read(data, replace(COMMA, names=("a", "b")), cuts=cuts, tolerant=True)
        assert [item.raw if isinstance(item, Unreadable) else item for item in found] == [
            {"a": "1", "b": "x"},
            b"2,\xff",
            {"a": "3", "b": "é"},
        ]
    for policy, kept in (("replace", "\ufffd"), ("surrogateescape", "\udcff")):
        for tolerant in (False, True):
            reading = Reading(dialect=COMMA, errors=policy, tolerant=tolerant)
            assert [record for block in blocks_of(data, reading) for record in block.records][1] == {"a": "2", "b": kept}
