"""The text reader: a `str` for each line, without its line end (LF or CRLF)."""

from __future__ import annotations

from collections.abc import Iterator

from smr_notebook.dataflow.formats.lines import BLOCK_BYTES, LineBlock, read_lines, where
from smr_notebook.dataflow.records import RecordBlock
from smr_notebook.errors import InputFormatError
from smr_notebook.model import PLAINLY, Reading, Span
from smr_notebook.ports import InputSource


def read_text(span: Span, source: InputSource, reading: Reading = PLAINLY, *, block_bytes: int = BLOCK_BYTES) -> Iterator[RecordBlock]:  # noqa: ARG001 - the face of Reader
    """Yield the lines that start in a span. An empty line is an empty record.

    Args:
        span: What to read.
        source: Where to read it.
        reading: What is said of the format besides its name.
        block_bytes: About how many bytes are read and decoded at a time.

    Raises:
        InputChangedError: The object is not the one that was planned.
        InputFormatError: It is not UTF-8, an archive, or damaged compressed data.
        InputMissingError: It is gone.
        InputReadError: It cannot be read.
    """
    before = 0
    for block in read_lines(span, source, block_bytes=block_bytes):
        text = decode(block, span, before=before)
        if "\r" in text:
            text = text.replace("\r\n", "\n")
        records = text.split("\n")
        if not records[-1]:  # what follows the last line end is no line
            records.pop()
        yield RecordBlock(span.key, records, block.size, block.locate, block.begin)
        before += len(records)


def decode(block: LineBlock, span: Span, *, before: int) -> str:
    """Return lines as text. `before` is the number of lines of the span before them; raises `InputFormatError`."""
    try:
        return block.data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = before + block.data.count(b"\n", 0, error.start) + 1
        raise InputFormatError(
            f"{span.key} is not UTF-8 text: byte 0x{block.data[error.start]:02X} at offset {block.offset + error.start:,} "
            f"({where(span, line)}): {error.reason}. Convert it (`iconv -t utf-8`), or read it with format='binary'."
        ) from error
