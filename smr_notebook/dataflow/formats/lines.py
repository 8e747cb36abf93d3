"""Lines: from a span to blocks of whole lines, the same lines whatever the plan.

Rules:

* A line belongs to the span in which its first byte lies. A span that starts inside an object reads the byte before it too:
  its first line is the one after the first newline from there on. It reads on past its end until its last line ends.
* A line ends with LF; the reader of the records drops a CR before it. A lone CR, and every other sign that Python's
  `splitlines` cuts at, is part of a line. The last line may lack its end.
* Blocks are cut at newlines, which UTF-8 never has inside a character: so blocks decode one by one.
* A UTF-8 byte order mark counts as bytes of the first line and is no part of it; it is known at byte 0 only.
* Nothing here works line by line: this is the hot path.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain

from smr_notebook.dataflow.formats import compression
from smr_notebook.dataflow.records import SpanBytes
from smr_notebook.model import Span
from smr_notebook.ports import InputSource

BLOCK_BYTES = 256 << 10
"""What is decoded at a time: large enough for few calls, small enough to stay in the caches (1 MiB is a tenth slower, 4 MiB a half)."""

_BLOCKS_PER_READ = 8
_STORED_BYTES = 4 << 20
_AHEAD_BYTES = 64 << 10
_AHEAD_LIMIT = 16 << 20
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class LineBlock:
    """Whole lines.

    Attributes:
        data: Their bytes with line ends; empty in a block that only accounts for bytes.
        offset: Of `data` in the (decompressed) object.
        size: Input bytes that the block accounts for.
        begin: Byte of the object at which a span can begin with this very block; `None` in a compressed object.
    """

    data: bytes
    offset: int
    size: int
    begin: int | None = None

    def locate(self, index: int) -> int:
        """Return the byte offset of a line in the (decompressed) object."""
        position = 0
        for _ in range(index):
            position = self.data.index(b"\n", position) + 1
        return self.offset + position


def read_lines(span: Span, source: InputSource, *, block_bytes: int) -> Iterator[LineBlock]:
    """Yield the lines that start in a span.

    Args:
        span: What to read.
        source: Where to read it.
        block_bytes: About how many bytes a block has; a longer line makes a longer block.

    Raises:
        InputChangedError: The object is not the one that was planned.
        InputFormatError: It is an archive, or damaged compressed data.
        InputMissingError: It is gone.
        InputReadError: It cannot be read.
    """
    planned = SpanBytes(span, source)
    if span.start < span.stop:
        head = planned.read(0, min(span.size, max(_BLOCKS_PER_READ * block_bytes, compression.HEAD_BYTES))) if span.whole else b""
        compression.refuse_archive(head, span.key)
        codec = compression.sniff(head)
        if codec is None:
            yield from _plain(span, planned, head=head, block_bytes=block_bytes)
        else:
            yield from _compressed(span, planned, codec=codec, head=head, block_bytes=block_bytes)
    planned.verify()


def where(span: Span, line: int) -> str:
    """Return how a message names line `line` (counted from 1) of those that start in a span."""
    return f"line {line:,}" if span.start == 0 else f"line {line:,} of those that start after byte {span.start:,}"


def _plain(span: Span, planned: SpanBytes, *, head: bytes, block_bytes: int) -> Iterator[LineBlock]:
    for offset, data in _whole_lines(_span_chunks(span, planned, head=head, block_bytes=block_bytes)):
        yield _without_bom(LineBlock(data, offset, len(data), begin=offset))


def _compressed(span: Span, planned: SpanBytes, *, codec: compression.Codec, head: bytes, block_bytes: int) -> Iterator[LineBlock]:
    accounted = 0

    def stored() -> Iterator[bytes]:
        yield head
        yield from planned.chunks(len(head), span.size, _STORED_BYTES)

    contents = compression.decompress(codec, stored(), name=span.key, block_bytes=block_bytes)
    end = 0
    for offset, data in _whole_lines(_content_chunks(contents, span.key)):
        size = planned.fetched - accounted
        accounted += size
        end = offset + len(data)
        yield _without_bom(LineBlock(data, offset, size))
    if accounted < span.size:
        yield LineBlock(b"", end, span.size - accounted)


def _span_chunks(span: Span, planned: SpanBytes, *, head: bytes, block_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, bytes) from the first line that starts in the span to the end of the last one."""
    position = max(span.start - 1, 0)
    inside = span.start == 0
    last = b""
    for chunk in _stepwise(planned, head=head, start=position, stop=span.stop, step=block_bytes):
        begin = 0 if inside else chunk.find(b"\n") + 1
        if inside or begin:
            inside = True
            last = chunk
            if begin < len(chunk):
                yield position + begin, chunk[begin:]
        position += len(chunk)
    step = min(_AHEAD_BYTES, block_bytes)
    while last and not last.endswith(b"\n") and position < span.size:
        last = planned.read(position, min(position + step, span.size))
        end = last.find(b"\n") + 1
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


def _content_chunks(contents: Iterable[bytes], name: str) -> Iterator[tuple[int, bytes]]:
    offset = 0
    for content in contents:
        if offset == 0:
            compression.refuse_archive(content, name)
        yield offset, content
        offset += len(content)


def _whole_lines(chunks: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Join chunks that follow one another into (offset, bytes) of whole lines."""
    begun: list[bytes] = []
    start = 0
    for offset, chunk in chunks:
        end = chunk.rfind(b"\n") + 1
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


def _without_bom(block: LineBlock) -> LineBlock:
    if block.offset == 0 and block.data.startswith(_BOM):
        return replace(block, data=block.data[len(_BOM) :], offset=len(_BOM))
    return block
