"""The JSON lines reader: what the JSON text on each line stands for, as `json.loads` gives it.

Rules:

* One line, one JSON text. A line of nothing but blanks is no record.
* `json.loads` decides. `msgspec` is faster, and where it accepts a text it gives the same value (a property test); where it
  refuses one (NaN, numbers beyond a double, lone surrogates, damage), `json.loads` is asked.
* `msgspec` reads a whole block at once when that cannot blur the lines: when each newline stands between `}` and `{`, which
  no JSON text has inside, and there are as many values as lines.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec
import numpy as np

from smr_notebook.dataflow.formats.lines import BLOCK_BYTES, LineBlock, read_lines, where
from smr_notebook.dataflow.formats.text import decode
from smr_notebook.dataflow.formats.text_encodings import UTF8
from smr_notebook.dataflow.records import Offsets, RecordBlock, Unreadable
from smr_notebook.errors import InputFormatError
from smr_notebook.model import PLAINLY, Reading, Span
from smr_notebook.ports import InputSource

BLANKS = b" \t\r\n"
"""What a line without a record is made of."""

FAST_REFUSES = (msgspec.DecodeError, ValueError, RecursionError)
"""What `msgspec` raises where `json.loads` is to be asked."""

_decoder = msgspec.json.Decoder()
_NEWLINE, _CLOSING, _OPENING = b"\n}{"
_NO_TEXT = b"\xff"


def read_jsonl(span: Span, source: InputSource, reading: Reading = PLAINLY, *, block_bytes: int = BLOCK_BYTES) -> Iterator[RecordBlock]:
    """Yield the values of the lines that start in a span.

    Args:
        span: What to read.
        source: Where to read it.
        reading: Encoding and error policy; tolerant, a line that is not JSON is given as `Unreadable`.
        block_bytes: About how many bytes are read and decoded at a time.

    Raises:
        InputChangedError: The object is not the one that was planned.
        InputFormatError: A line is not JSON, or not text in that encoding; or the object is an archive, or damaged compressed data.
        InputMissingError: It is gone.
        InputReadError: It cannot be read.
    """
    lines = 0
    for block in read_lines(span, source, reading, block_bytes=block_bytes):
        data = as_utf8(block)
        count = counted_lines(data)
        records = decode_at_once(_decoder, data)
        if records is None:
            records = _one_by_one(block, data, span, before=lines, tolerant=reading.tolerant)
        yield RecordBlock(span.key, records, block.size, Offsets(partial(_offsets, block, data)), block.begin)
        lines += count


def as_utf8(block: LineBlock) -> bytes:
    """Return lines as UTF-8, as many as there are; what is no text becomes something that is not JSON."""
    if block.encoding is UTF8:
        return block.data
    try:
        return block.data.decode(block.encoding.name).encode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return b"\n".join(map(partial(_line_as_utf8, block), block.encoding.split(block.data)))


def _line_as_utf8(block: LineBlock, line: bytes) -> bytes:
    try:
        return line.decode(block.encoding.name).encode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return _NO_TEXT


def counted_lines(data: bytes) -> int:
    """Return how many lines there are, the last one with or without its end."""
    ends = int(np.count_nonzero(np.frombuffer(data, np.uint8) == _NEWLINE))
    return ends + (not data.endswith(b"\n") and data != b"")


def decode_at_once(decoder: msgspec.json.Decoder[Any], data: bytes) -> list[Any] | None:
    """Decode lines of UTF-8 in one call, or return `None` when only a look at each line can tell."""
    octets = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(octets[:-1] == _NEWLINE)  # four times as fast as `bytes.count`, and lets us look around each
    if not ((octets[ends - 1] == _CLOSING) & (octets[ends + 1] == _OPENING)).all():
        return None
    try:
        records: list[Any] = decoder.decode_lines(data)
    except FAST_REFUSES:
        return None
    return records if len(records) == (len(ends) + 1 if data else 0) else None


def _one_by_one(block: LineBlock, data: bytes, span: Span, *, before: int, tolerant: bool) -> list[object]:
    records: list[object] = []
    for number, (line, (offset, stored)) in enumerate(zip(data.split(b"\n"), block.starts(), strict=True), start=before + 1):
        try:
            records.append(_decoder.decode(line))
        except FAST_REFUSES:
            if line.strip(BLANKS):
                try:
                    records.append(slowly(stored, block, span, offset=offset, number=number))
                except InputFormatError as error:
                    if not tolerant:
                        raise
                    records.append(Unreadable(_told(stored, block), error))
    return records


def _told(line: bytes, block: LineBlock) -> str | bytes:
    try:
        return line.decode(block.encoding.name, block.errors)
    except UnicodeDecodeError:
        return line


def slowly(line: bytes, block: LineBlock, span: Span, *, offset: int, number: int) -> object:
    """Return what one line stands for, as `json.loads` gives it. Arguments as of `text.decode`.

    Raises:
        InputFormatError: It is not JSON.
    """
    text = decode(line, block, span, offset=offset, number=number)
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        shown = text if len(text) <= 80 else text[:79] + "…"
        place = f"{span.key}, {where(span, number)}" + (f" (offset {offset:,})" if offset >= 0 else "")
        raise InputFormatError(
            f"{place} is not JSON: {error}. It reads {shown!r}. Mend the line, or read the object with format='text' and parse it in map."
        ) from error
    return value


def _offsets(block: LineBlock, data: bytes) -> list[int]:
    """Return the byte offset of each record of a block: of the lines that are not blank."""
    lines = zip(data.split(b"\n"), block.starts(), strict=True)
    return [offset for line, (offset, _) in lines if line.strip(BLANKS)]
