"""Rows of delimited text: from the lines of a span to lists of fields, exactly as `csv.reader` gives them in its strict mode.

Theory. A line end inside quotes ends no row, and no span can know from its own bytes alone whether it begins inside quotes. So a span
of an object that may hold such line ends begins where `csv_cuts` found the beginning of a row, and *each span proves the next one*: it
must end where a row ends. The first span begins with the object; so if no span fails, all of them began right. A wrong cut is an error,
never a wrong row. Where no field holds a line end (`Dialect.newlines` is false), every line is a row, an object is cut anywhere, and a
quote that is open at the end of its line is an error.

Rules:

* `csv.reader` decides, once for each block. Only a block with something wrong in it, or one that ends inside quotes, is looked at row
  by row.
* Strict: `"a"b` is an error, and so is a quote that is never closed. Lenient readers guess there, or swallow the rest of the object.
* A carriage return that ends no line and stands outside quotes is an error: it was a line end once. So is a zero byte: UTF-16, or damage.
* A line without anything is no row.
* Memory holds one block, or one row that is longer, up to `MOST_ROW_BYTES`.
* A broken quote can be passed over where every line is a row. Elsewhere nobody can know where its row ends: it is an error, always.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from smr_notebook.dataflow.formats.lines import LineBlock, where
from smr_notebook.dataflow.formats.text import decode
from smr_notebook.dataflow.records import Unreadable
from smr_notebook.errors import InputFormatError
from smr_notebook.model import Dialect, Span

MOST_ROW_BYTES: Final = 64 << 20
"""Bytes of the longest row: what a quote that is never closed may take."""

_SHOWN: Final = 80
_UNFINISHED: Final = "unexpected end of data"
_SURROGATE: Final = re.compile("[\udc80-\udcff]")

Row = list[str] | Unreadable


@dataclass(frozen=True, slots=True)
class RowBlock:
    """Some rows of a span, and the lines that they stand on.

    Attributes:
        lines: The lines, all of them.
        text: The same as text.
        before: How many lines of the span are before them.
        rows: The fields of each row; or what is none, where the reading is tolerant. Lines without anything are left out.
        parsed: Whether that is so: else only the lines are there, and no text.
    """

    lines: LineBlock
    text: str
    before: int
    rows: list[Row]
    parsed: bool = True

    def place(self, dialect: Dialect, index: int) -> tuple[int, int]:
        """Return the first line of a row and the one behind its last, counted from 0 in the block."""
        return self.places(dialect)[index]

    def places(self, dialect: Dialect) -> list[tuple[int, int]]:
        """Return the same for all rows."""
        lines = text_lines(self.text)
        if dialect.newlines:
            return [(start, stop) for row, start, stop in _one_by_one(lines, dialect) if row]
        return [(number, number + 1) for number, line in enumerate(lines) if line.rstrip("\r\n")]

    def told(self, span: Span, dialect: Dialect, index: int) -> tuple[str, str]:
        """Return how a message names the place of a row, and the text of the row."""
        start, stop = self.place(dialect, index)
        text = "".join(text_lines(self.text)[start:stop]).rstrip("\r\n")
        return placed(span, self, start), text


def placed(span: Span, block: RowBlock, line: int) -> str:
    """Return how a message names a line of a block, which counts from 0."""
    return f"{span.key}, {where(span, block.before + line + 1)} (offset {block.lines.locate(line):,})"


def shortened(text: str) -> str:
    """Return the text of a row as a message shows it."""
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…")


def text_lines(text: str) -> list[str]:
    """Return lines with their ends."""
    return list(io.StringIO(text, newline="\n"))


def parser(lines: Iterable[str], dialect: Dialect) -> Any:
    """Return the `csv.reader` of a dialect. Raises `csv.Error` while it is read."""
    return csv.reader(
        lines,
        delimiter=dialect.delimiter,
        quotechar=dialect.quote or None,
        escapechar=dialect.escape or None,
        doublequote=dialect.doubled,
        quoting=csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE,
        strict=True,
    )


def rows_of(
    blocks: Iterable[LineBlock],
    span: Span,
    dialect: Dialect,
    *,
    tolerant: bool = False,
    passes: Callable[[LineBlock], bool] | None = None,
) -> Iterator[RowBlock]:
    """Yield the rows that stand on the lines of a span.

    Args:
        blocks: The lines.
        span: Whose they are, for messages.
        dialect: How they are written.
        tolerant: Whether a line that is no row is given in its place, where every line is one.
        passes: Says of lines whether they are whole rows, which somebody else parses.

    Raises:
        InputFormatError: Something is no row; the last row ends behind the span.
    """
    if csv.field_size_limit() < MOST_ROW_BYTES:
        csv.field_size_limit(MOST_ROW_BYTES)  # 128 KiB otherwise
    begun: LineBlock | None = None
    before = wanted = 0
    for lines in blocks:
        block = lines if begun is None else _joined(begun, lines)
        if begun is not None and len(block.data) < wanted:
            begun = block
            continue
        if passes is not None and passes(block):
            yield RowBlock(block, "", before, [], parsed=False)
            before += block.data.count(b"\n")
            begun = None
            continue
        text = text_of(block, span, before=before, tolerant=tolerant)
        ended = RowBlock(block, text, before, [])
        if dialect.newlines:
            ended, begun = _ended(ended, span, dialect)
            wanted = 0 if begun is None else 2 * len(begun.data)  # so that a long row is not read over and over again
        else:
            ended.rows.extend(_each_line(ended, span, dialect, tolerant=tolerant))
        yield _only_text(ended, span, dialect) if tolerant else ended
        before += ended.text.count("\n")
    if begun is not None:
        text = text_of(begun, span, before=before, tolerant=tolerant)
        ended, open_ = _ended(RowBlock(begun, text, before, []), span, dialect)
        if open_ is not None:
            raise _never_closed(RowBlock(open_, text[len(ended.text) :], before + ended.text.count("\n"), []), span, dialect)
        yield _only_text(ended, span, dialect) if tolerant else ended


def _only_text(block: RowBlock, span: Span, dialect: Dialect) -> RowBlock:
    """Return a block with what is no text in the place of rows that are none."""
    if block.lines.errors != "strict" or block.text.isascii() or not _SURROGATE.search(block.text):
        return block
    rows: list[Row] = []
    for index, row in enumerate(block.rows):
        if isinstance(row, list) and _SURROGATE.search("".join(row)):
            place, text = block.told(span, dialect, index)
            raw = text.encode(block.lines.encoding.name, "surrogateescape")
            rows.append(
                Unreadable(raw, InputFormatError(f"{place} is not {block.lines.encoding.name.upper()} text. It reads {raw[:_SHOWN]!r}."))
            )
        else:
            rows.append(row)
    return replace(block, rows=rows)


def parsed(block: RowBlock, span: Span, dialect: Dialect) -> RowBlock:
    """Return a block of whole rows with its rows. Raises as `rows_of` does."""
    (found,) = rows_of([block.lines], span, dialect)
    return replace(found, before=block.before)


def _joined(first: LineBlock, second: LineBlock) -> LineBlock:
    return replace(first, data=first.data + second.data, size=first.size + second.size)


def text_of(block: LineBlock, span: Span, *, before: int, tolerant: bool) -> str:
    """Return lines as text, `before` being how many lines of the span are before them. Raises as `rows_of` does.

    Where the reading is tolerant, and nothing is said of bytes that are no text, they become lone surrogates.
    """
    try:
        text = block.data.decode(block.encoding.name)
    except UnicodeDecodeError:
        lines = block.starts()
        if tolerant and block.errors == "strict":
            text = block.data.decode(block.encoding.name, "surrogateescape")
        else:
            text = "\n".join(decode(line, block, span, offset=at, number=before + number) for number, (at, line) in enumerate(lines, 1))
    if "\0" in text:
        line = before + text.count("\n", 0, text.index("\0")) + 1
        raise InputFormatError(
            f"{span.key}, {where(span, line)}: there is a zero byte, which no CSV has. The object is damaged, or UTF-16: say "
            "encoding='utf-16' then, or convert it (`iconv -t utf-8`)."
        )
    return text


def _ended(block: RowBlock, span: Span, dialect: Dialect) -> tuple[RowBlock, LineBlock | None]:
    """Return the rows that end in a block, and the lines on which the last one begins that does not."""
    lines = text_lines(block.text)
    try:
        return replace(block, rows=_full(parser(lines, dialect))), None
    except csv.Error:
        rows, stop, reason = _until_broken(lines, dialect)
    if not reason.startswith(_UNFINISHED):
        raise InputFormatError(_broken(reason, placed(span, block, stop), lines[stop]))
    offset = replace(block.lines, offset=0).locate(stop)
    head, tail = block.lines.data[:offset], block.lines.data[offset:]
    if len(tail) > MOST_ROW_BYTES:
        rest = replace(block.lines, data=tail, offset=_behind(block.lines, offset))
        raise _never_closed(RowBlock(rest, "".join(lines[stop:]), block.before + stop, []), span, dialect)
    known = 0 if block.lines.begin is None else len(tail)
    begin = None if block.lines.begin is None else block.lines.offset + offset
    rest = replace(block.lines, data=tail, offset=_behind(block.lines, offset), size=known, begin=begin)
    ended = replace(block.lines, data=head, size=block.lines.size - known)
    return replace(block, lines=ended, text="".join(lines[:stop]), rows=rows), rest


def _behind(lines: LineBlock, offset: int) -> int:
    return lines.offset + offset if lines.offset >= 0 else -1


def _full(rows: Iterable[list[str]]) -> list[Row]:
    found: list[Any] = list(rows)
    return [row for row in found if row] if [] in found else found


def _one_by_one(lines: list[str], dialect: Dialect) -> Iterator[tuple[list[str], int, int]]:
    """Yield each row with its first line and the one behind its last. Raises `csv.Error`."""
    reader = parser(lines, dialect)
    start = 0
    for row in reader:
        yield row, start, reader.line_num
        start = reader.line_num


def _until_broken(lines: list[str], dialect: Dialect) -> tuple[list[Row], int, str]:
    """Return the rows before one that is broken, its first line, and what is wrong."""
    rows: list[Row] = []
    stop = 0
    try:
        for row, _, behind in _one_by_one(lines, dialect):
            stop = behind
            if row:
                rows.append(row)
    except csv.Error as error:
        return rows, stop, str(error)
    return rows, stop, ""


def _each_line(block: RowBlock, span: Span, dialect: Dialect, *, tolerant: bool) -> list[Row]:
    """Return a row for each line."""
    lines = text_lines(block.text)
    try:
        reader = parser(lines, dialect)
        rows = list(reader)
        if reader.line_num == len(rows):
            return _full(rows)
    except csv.Error:
        pass
    found: list[Row] = []
    for number, line in enumerate(lines):
        try:
            found += [row for row in parser([line], dialect) if row]
        except csv.Error as error:
            wrong = InputFormatError(_broken(str(error), placed(span, block, number), line))
            if not tolerant:
                raise wrong from error
            found.append(Unreadable(line.rstrip("\r\n"), wrong))
    return found


def _broken(reason: str, place: str, line: str) -> str:
    text = shortened(line.rstrip("\r\n"))
    if reason.startswith(_UNFINISHED):
        return (
            f"{place}: a quote is open at the end of the line, and no field holds line ends, as it was said (newlines=False). "
            f"It reads {text}. Mend the line, or leave newlines out."
        )
    if reason.startswith("new-line"):
        return (
            f"{place}: a carriage return (\\r) stands alone outside quotes, as in files of old Macs. It reads {text}. "
            "Convert the object (`mac2unix`), or put such fields into quotes."
        )
    advice = "Mend the row, or say what the quotes are: quotechar='' for none, escapechar='\\\\'."
    return f"{place} is no row of this dialect: {reason}. It reads {text}. {advice}"


def _never_closed(block: RowBlock, span: Span, dialect: Dialect) -> InputFormatError:
    opened = _opening(block.text, dialect)
    line = block.text.count("\n", 0, opened)
    where_ends = "the end of the object" if span.stop == span.size else f"byte {span.stop:,}, where the object was cut"
    return InputFormatError(
        f"{placed(span, block, line)}: the quote that opens here is not closed before {where_ends}. It reads "
        f"{shortened(block.text[opened:].partition(chr(10))[0])}. Close it. If no field holds line ends, say newlines=False, so that each "
        f"line stands alone; if this one does, and is closed further on, say split_size={span.size}, so that the object is not cut."
    )


def _opening(text: str, dialect: Dialect) -> int:
    """Return where in an unfinished row the quote opens that is never closed."""
    opened, at, inside, begins = 0, 0, False, True
    while at < len(text):
        sign = text[at]
        if dialect.escape and sign == dialect.escape:
            at += 1
        elif inside and sign == dialect.quote:
            if dialect.doubled and text[at + 1 : at + 2] == dialect.quote:
                at += 1
            else:
                inside = False
        elif not inside and begins and sign == dialect.quote:
            opened, inside = at, True
        begins = not inside and sign == dialect.delimiter
        at += 1
    return opened
