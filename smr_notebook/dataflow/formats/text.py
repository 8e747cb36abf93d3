"""The text reader: a `str` for each line, without its line end (LF or CRLF)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from smr_notebook.dataflow.formats.lines import BLOCK_BYTES, LineBlock, read_lines, where
from smr_notebook.dataflow.records import Offsets, RecordBlock, Unreadable
from smr_notebook.errors import InputFormatError
from smr_notebook.model import PLAINLY, Reading, Span
from smr_notebook.ports import InputSource


def read_text(span: Span, source: InputSource, reading: Reading = PLAINLY, *, block_bytes: int = BLOCK_BYTES) -> Iterator[RecordBlock]:
    """Yield the lines that start in a span. An empty line is an empty record.

    Args:
        span: What to read.
        source: Where to read it.
        reading: Encoding and error policy; tolerant, a line that is no text is given as `Unreadable`.
        block_bytes: About how many bytes are read and decoded at a time.

    Raises:
        InputChangedError: The object is not the one that was planned.
        InputFormatError: It is not text in that encoding, an archive, or damaged compressed data.
        InputMissingError: It is gone.
        InputReadError: It cannot be read.
    """
    before = 0
    for block in read_lines(span, source, reading, block_bytes=block_bytes):
        records = _at_once(block)
        if records is None:
            records = _one_by_one(block, span, before=before, tolerant=reading.tolerant)
        yield RecordBlock(span.key, records, block.size, Offsets(partial(_offsets, block)), block.begin)
        before += len(records)


def _offsets(block: LineBlock) -> Sequence[int]:
    return [offset for offset, _ in block.starts()]


def _at_once(block: LineBlock) -> Sequence[object] | None:
    """Return the lines of a block, or `None` where it is not clean."""
    try:
        text = block.data.decode(block.encoding.name)
    except UnicodeDecodeError:
        return None
    if "\r" in text:
        text = text.replace("\r\n", "\n")
    records = text.split("\n")
    if not records[-1]:  # what follows the last line end is no line
        records.pop()
    return records


def _one_by_one(block: LineBlock, span: Span, *, before: int, tolerant: bool) -> list[object]:
    """Return the lines of a block that is not clean."""
    records: list[object] = []
    lines = list(block.starts())
    for number, (offset, line) in enumerate(lines, start=1):
        if number == len(lines) and not line:
            break
        try:
            text = decode(line, block, span, offset=offset, number=before + number)
        except InputFormatError as error:
            if not tolerant:
                raise
            records.append(Unreadable(line, error))
        else:
            records.append(text.removesuffix("\r") if number < len(lines) else text)
    return records


def decode(line: bytes, block: LineBlock, span: Span, *, offset: int, number: int) -> str:
    """Return a line as text.

    Args:
        line: Its bytes.
        block: Knows how text stands in them.
        span: Where it was read.
        offset: Of the line in the object, -1 unknown.
        number: Of the line in the span, from 1.

    Raises:
        InputFormatError: It is no text.
    """
    try:
        return line.decode(block.encoding.name, block.errors)
    except UnicodeDecodeError as error:
        place = f"offset {offset + error.start:,} ({where(span, number)})" if offset >= 0 else where(span, number)
        raise InputFormatError(
            f"{span.key} is not {block.encoding.name.upper()} text: byte 0x{line[error.start]:02X} at {place}: {error.reason}. Name its "
            "encoding, as with format=smr.formats.text(encoding='cp1252'), or what to do about such bytes, as with errors='replace'."
        ) from error
