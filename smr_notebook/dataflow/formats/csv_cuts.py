"""Where a large CSV object may be cut: where a row begins, told from some bytes around.

Theory. Read from the middle of an object, the same bytes may lie inside quotes or outside, and one of the two is wrong. Text read the wrong
way round breaks the rules of quotes almost at once: its closing quotes are followed by letters, its rows have too few fields or too many.
So both ways are tried, on a window that grows until one of them alone stands, or both see a row begin: there is a cut. Where neither
comes about, none is made.
What is found here is a guess that is nearly always right; that it *was* right is proved by who reads the spans (see `csv_rows`).

Rules:

* Cuts are as near behind even ones as rows begin. None lies in the header, or in the rows before it.
* Where no field holds line ends, even cuts do: the reader of lines finds the line itself.
* Bytes are counted: objects whose delimiter or quote is beyond ASCII, or whose encoding has ASCII bytes in other characters, are not cut.
"""

from __future__ import annotations

import csv
import io
from functools import partial
from itertools import accumulate
from typing import Final

from smr_notebook.dataflow.fetching import fetch_ahead
from smr_notebook.dataflow.formats.csv_records import named_rows
from smr_notebook.dataflow.formats.csv_rows import parser
from smr_notebook.dataflow.formats.text_encodings import ASCII_WITHIN, UTF8, TextEncoding, encoding_of
from smr_notebook.dataflow.records import SpanBytes
from smr_notebook.model import Dialect, Reading, Span
from smr_notebook.ports import InputSource

WINDOWS: Final = (16 << 10, 128 << 10, 1 << 20)
"""Bytes that are looked at to find a row: first, and where those before do not tell."""

_BESIDES: Final = 2
"""Rows that must be as wide as the header, where the other way of reading is not refuted."""

_THREADS: Final = 16
_AHEAD_BYTES: Final = 32 << 20
_HEADER_BYTES: Final = 64 << 10


def csv_cuts(span: Span, source: InputSource, reading: Reading, *, split_bytes: int) -> tuple[int, ...]:
    """Return where an object that is not compressed can be cut.

    Args:
        span: The whole object.
        source: Where to read it.
        reading: How it is written, as the plan says.
        split_bytes: Bytes that a split should have.

    Returns:
        Bytes, ascending, without its ends; none where it must be read whole.

    Raises:
        InputError: The header cannot be read.
    """
    dialect, encoding = reading.dialect, encoding_of(reading.encoding)
    if not encoding.cuttable or (dialect.newlines and not _is_plain(dialect, encoding)):
        return ()
    behind, width = _behind_header(span, source, reading)
    pieces = -(-span.size // split_bytes)
    even = [cut for cut in sorted({span.size * number // pieces for number in range(1, pieces)}) if cut >= max(behind, 1)]
    if not dialect.newlines:
        return tuple(even)
    looks = ((WINDOWS[0], partial(_row_behind, span, source, dialect, cut, width=width)) for cut in even)
    found: list[int] = []
    for begin in fetch_ahead(looks, threads=_THREADS if len(even) > _BESIDES else 1, most_bytes=_AHEAD_BYTES):
        if begin is not None and begin > max([behind, *found[-1:]]):
            found.append(begin)
    return tuple(found)


def _is_plain(dialect: Dialect, encoding: TextEncoding) -> bool:
    """Whether the signs of a dialect are the bytes that they are in ASCII, and no part of another character."""
    signs = f"{dialect.delimiter}{dialect.quote}{dialect.escape}\n"
    several = encoding.name in ASCII_WITHIN and encoding is not UTF8
    return signs.isascii() and not several and signs.encode(encoding.name) == signs.encode()


def _behind_header(span: Span, source: InputSource, reading: Reading) -> tuple[int, int]:
    """Return the byte behind the header, and how many columns there are; 0 where nobody says."""
    left = reading.dialect.skip + reading.dialect.header
    width = len(reading.dialect.names)
    behind = 0
    for found in named_rows(span, source, reading, block_bytes=_HEADER_BYTES):
        if not left:
            break
        left -= found.skipped
        width = len(found.names) or width
        behind = found.block.lines.offset + len(found.block.lines.data)
        if found.skipped:
            behind = found.block.lines.locate(found.block.place(reading.dialect, found.skipped - 1)[1])
    return behind, width


def _row_behind(span: Span, source: InputSource, dialect: Dialect, cut: int, *, width: int) -> int | None:
    """Return the first byte behind a cut at which a row surely seems to begin; `None` if nothing tells."""
    planned = SpanBytes(span, source)
    for size in WINDOWS:
        window = planned.read(cut, min(cut + size, span.size))
        begin = first_row(window, dialect, width=width)
        if begin is not None:
            return cut + begin
        if cut + size >= span.size:
            break
    return None


def first_row(window: bytes, dialect: Dialect, *, width: int) -> int | None:
    """Return where in some bytes from the middle of an object the first row begins; `None` if they do not tell.

    Args:
        window: The bytes.
        dialect: How rows are written.
        width: Fields of a row; 0 for any number.
    """
    text = window[: window.rfind(b"\n") + 1].decode("latin-1")  # one sign for each byte
    ways = [_begins(text, before, dialect, width=width) for before in ({"", dialect.quote} if dialect.newlines else {""})]
    stands = sorted((begins for begins in ways if begins is not None), key=len)
    if not stands:
        return None
    shared = sorted(set(stands[0]).intersection(*stands))  # where both ways see a row begin, it does whichever is right
    if not shared and stands[0] == [] and len(stands[-1]) > _BESIDES:  # read the other way, all of it is in one field
        shared = stands[-1]
    return next((begin for begin in shared if begin < len(text)), None)


def _begins(text: str, before: str, dialect: Dialect, *, width: int) -> list[int] | None:
    """Return where rows begin behind the first one, which is cut, when so much stands before the text; `None` if it cannot be read so."""
    lines = list(io.StringIO(before + text, newline="\n"))
    ends = list(accumulate(map(len, lines), initial=-len(before)))
    begins: list[int] = []
    reader = parser(lines, dialect)
    try:
        for row in reader:
            if begins and width and len(row) not in {0, width}:
                return None
            begins.append(ends[reader.line_num])
    except csv.Error as error:
        if not str(error).startswith("unexpected end of data"):
            return None
    return begins
