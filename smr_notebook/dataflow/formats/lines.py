"""Lines: from a span to blocks of whole lines, the same lines whatever the plan.

Rules:

* A line belongs to the span in which its first byte lies. A span that starts inside an object reads the byte before it too:
  its first line is the one after the first newline from there on. It reads on past its end until its last line ends.
* A line ends with LF; the reader of the records drops a CR before it. A lone CR, and every other sign that Python's
  `splitlines` cuts at, is part of a line. The last line may lack its end.
* Blocks are cut at newlines, which no character of the encoding has inside (`text_encodings`): so blocks decode one by one. Where only a
  decoder that has read all before can tell, text becomes UTF-8 first, the object is one span, and no line has a place in it.
* A byte order mark counts as bytes of the first line and is no part of it; it is known at byte 0 only.
* Nothing here works line by line: this is the hot path.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain

from smr_notebook.dataflow.formats import compression
from smr_notebook.dataflow.formats.text_encodings import HEAD_BYTES, UTF8, TextEncoding, encoding_of, foreign_mark, needs_head
from smr_notebook.dataflow.records import SpanBytes
from smr_notebook.errors import InputFormatError
from smr_notebook.model import Reading, Span
from smr_notebook.ports import InputSource

BLOCK_BYTES = 256 << 10
"""What is decoded at a time: large enough for few calls, small enough to stay in the caches (1 MiB is a tenth slower, 4 MiB a half)."""

_BLOCKS_PER_READ = 8
_STORED_BYTES = 4 << 20
_AHEAD_BYTES = 64 << 10
_AHEAD_LIMIT = 16 << 20


@dataclass(frozen=True, slots=True)
class LineBlock:
    """Whole lines.

    Attributes:
        data: Their bytes with line ends; empty in a block that only accounts for bytes.
        offset: Of `data` in the (decompressed) object; -1 where no line has a place there.
        size: Input bytes that the block accounts for.
        begin: Byte of the object at which a span can begin with this very block; `None` in a compressed object.
        encoding: How text stands in `data`.
        errors: What is done about bytes that are no text, by Python's name.
    """

    data: bytes
    offset: int
    size: int
    begin: int | None = None
    encoding: TextEncoding = UTF8
    errors: str = "strict"

    def locate(self, index: int) -> int:
        """Return the byte offset of a line in the (decompressed) object; -1 where it has none."""
        if self.offset < 0:
            return -1
        position = 0
        for _ in range(index):
            position = self.encoding.after_first(self.data, position)
        return self.offset + position

    def starts(self) -> Iterator[tuple[int, bytes]]:
        """Yield each line without its end, and its byte offset as `locate` gives it; also the nothing that follows the last end."""
        offset, unit = self.offset, self.encoding.unit
        for line in self.encoding.split(self.data):
            yield offset, line
            if offset >= 0:
                offset += len(line) + unit


def read_lines(span: Span, source: InputSource, reading: Reading, *, block_bytes: int) -> Iterator[LineBlock]:
    """Yield the lines that start in a span.

    Args:
        span: What to read.
        source: Where to read it.
        reading: Names the encoding, and what is done about bytes that are no text.
        block_bytes: About how many bytes a block has; a longer line makes a longer block.

    Raises:
        InputChangedError: The object is not the one that was planned.
        InputFormatError: It is an archive, or damaged compressed data, or begins with the mark of another encoding.
        InputMissingError: It is gone.
        InputReadError: It cannot be read.
    """
    planned = SpanBytes(span, source)
    if span.start < span.stop:
        wanted = max(_BLOCKS_PER_READ * -(-block_bytes // HEAD_BYTES) * HEAD_BYTES, compression.HEAD_BYTES)  # whole units of any encoding
        head = planned.read(0, min(span.size, wanted)) if span.whole else b""
        compression.refuse_archive(head, span.key)
        codec = compression.sniff(head)
        if codec is not None:
            yield from _compressed(span, planned, reading, codec=codec, head=head, block_bytes=block_bytes)
        elif not encoding_of(reading.encoding).cuttable:
            stored = _stepwise(planned, head=head, start=0, stop=span.size, step=block_bytes)
            yield from _accounted(_transcoded(stored, reading, span.key), span, planned, reading)
        else:
            yield from _plain(span, planned, reading, head=head, block_bytes=block_bytes)
    planned.verify()


def cuts(head: bytes, reading: Reading) -> bool:
    """Whether a task may read some lines of an object that begins so: not where it is compressed, or its encoding has a state."""
    return encoding_of(reading.encoding).cuttable and compression.plain(head)


def where(span: Span, line: int) -> str:
    """Return how a message names line `line` (counted from 1) of those that start in a span."""
    return f"line {line:,}" if span.start == 0 else f"line {line:,} of those that start after byte {span.start:,}"


def _plain(span: Span, planned: SpanBytes, reading: Reading, *, head: bytes, block_bytes: int) -> Iterator[LineBlock]:
    mark = (head[:HEAD_BYTES] or planned.read(0, min(HEAD_BYTES, span.size))) if needs_head(reading.encoding) else b""
    encoding = encoding_of(reading.encoding, mark)
    chunks = _span_chunks(span, planned, encoding, head=head, block_bytes=encoding.aligned(block_bytes))
    for offset, data in _whole_lines(chunks, encoding):
        yield _without_mark(LineBlock(data, offset, len(data), offset, encoding, reading.errors), span.key)


def _compressed(
    span: Span, planned: SpanBytes, reading: Reading, *, codec: compression.Codec, head: bytes, block_bytes: int
) -> Iterator[LineBlock]:
    stored = chain([head], planned.chunks(len(head), span.size, _STORED_BYTES))
    contents = _checked(compression.decompress(codec, stored, name=span.key, block_bytes=block_bytes), span.key)
    if not encoding_of(reading.encoding).cuttable:
        contents = _transcoded(contents, reading, span.key)
    yield from _accounted(contents, span, planned, reading)


def _accounted(contents: Iterable[bytes], span: Span, planned: SpanBytes, reading: Reading) -> Iterator[LineBlock]:
    """Yield the lines of a content whose bytes are not those that are stored."""
    first, contents = _begun(contents, HEAD_BYTES)
    encoding, placed, errors = encoding_of(reading.encoding, first[:HEAD_BYTES]), True, reading.errors
    if not encoding.cuttable:  # the content has become UTF-8, with what the policy made of it
        encoding, placed, errors = UTF8, False, "surrogatepass"
    accounted = end = 0
    for offset, data in _whole_lines(_offset_chunks(contents, encoding.unit), encoding):
        size = planned.fetched - accounted
        accounted += size
        end = offset + len(data)
        block = LineBlock(data, offset, size, None, encoding, errors)
        yield _without_mark(block, span.key) if placed else replace(block, offset=-1)
    if accounted < span.size:
        yield LineBlock(b"", end if placed else -1, span.size - accounted)


def _transcoded(contents: Iterable[bytes], reading: Reading, name: str) -> Iterator[bytes]:
    """Yield a content as UTF-8."""
    decoder = codecs.getincrementaldecoder(reading.encoding)(reading.errors)
    done = 0
    try:
        for content in contents:
            done += len(content)
            yield decoder.decode(content).encode("utf-8", "surrogatepass")
        yield decoder.decode(b"", final=True).encode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise InputFormatError(
            f"{name} is not {reading.encoding.upper()} text: {error.reason}, at byte {max(done - len(error.object) + error.start, 0):,}. "
            "Name another encoding, or say what is to be done about such bytes, as with errors='replace'."
        ) from error


def _span_chunks(span: Span, planned: SpanBytes, encoding: TextEncoding, *, head: bytes, block_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, bytes) from the first line that starts in the span to the end of the last one."""
    position = max(encoding.aligned(span.start) - encoding.unit, 0)
    stop = min(encoding.aligned(span.stop), span.size)
    inside = span.start == 0
    last = b""
    for chunk in _stepwise(planned, head=head, start=position, stop=stop, step=block_bytes):
        begin = 0 if inside else encoding.after_first(chunk)
        if inside or begin:
            inside = True
            last = chunk
            if begin < len(chunk):
                yield position + begin, chunk[begin:]
        position += len(chunk)
    step = min(_AHEAD_BYTES, block_bytes)
    while last and not encoding.ends_line(last) and position < span.size:
        last = planned.read(position, min(position + step, span.size))
        end = encoding.after_first(last)
        yield position, last[: end or None]
        if end:
            break
        position += len(last)
        step = min(2 * step, _AHEAD_LIMIT)


def _stepwise(planned: SpanBytes, *, head: bytes, start: int, stop: int, step: int) -> Iterator[bytes]:
    """Yield `[start, stop)`, of which `head` is known already, in pieces of `step` bytes."""
    for piece in chain([head], planned.chunks(start + len(head), stop, _BLOCKS_PER_READ * step)):
        for position in range(0, len(piece), step):
            yield piece[position : position + step]


def _checked(contents: Iterable[bytes], name: str) -> Iterator[bytes]:
    """Yield a content that is no archive."""
    first, contents = _begun(contents, compression.HEAD_BYTES)
    compression.refuse_archive(first[: compression.HEAD_BYTES], name)
    return contents


def _begun(contents: Iterable[bytes], wanted: int) -> tuple[bytes, Iterator[bytes]]:
    """Return the first so many bytes of a content, if there are as many and perhaps some more, and the content with them."""
    rest = iter(contents)
    first = b""
    while len(first) < wanted and (more := next(rest, None)) is not None:
        first += more
    return first, chain([first] if first else [], rest)


def _offset_chunks(contents: Iterable[bytes], unit: int) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, bytes) of a content, cut where a unit begins."""
    offset = 0
    left = b""
    for content in contents:
        chunk = left + content if left else content
        whole = len(chunk) - len(chunk) % unit
        left = chunk[whole:]
        if whole:
            yield offset, chunk[:whole]
            offset += whole
    if left:
        yield offset, left


def _whole_lines(chunks: Iterable[tuple[int, bytes]], encoding: TextEncoding) -> Iterator[tuple[int, bytes]]:
    """Join chunks that follow one another into (offset, bytes) of whole lines."""
    begun: list[bytes] = []
    start = 0
    for offset, chunk in chunks:
        end = encoding.after_last(chunk)
        if not begun:
            start = offset
        if end == 0:
            begun.append(chunk)
            continue
        begun.append(chunk[:end])
        yield start, b"".join(begun)
        begun = [chunk[end:]] if end < len(chunk) else []
        start = offset + end
    if begun:
        yield start, b"".join(begun)


def _without_mark(block: LineBlock, name: str) -> LineBlock:
    if block.offset != 0:
        return block
    mark = block.encoding.mark
    if mark and block.data.startswith(mark):
        return replace(block, data=block.data[len(mark) :], offset=len(mark))
    other = foreign_mark(block.data[:HEAD_BYTES]) if block.encoding is UTF8 else ""
    if other:
        raise InputFormatError(
            f"{name} begins with the byte order mark of {other.upper()}, and was to be read as UTF-8. Say so with "
            f"format=smr.formats.text(encoding={other!r}), or smr.formats.jsonl of that encoding."
        )
    return block
