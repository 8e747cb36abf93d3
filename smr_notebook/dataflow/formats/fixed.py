"""The reader of records of one size: `bytes` of so many bytes each, behind a header that may be skipped.

Rules:

* A record belongs to the span in which its first byte lies; the bytes of the header count where the object begins.
* What is left over at the end is no record: an error, and where the reading is tolerant it is given in the place of one.
* A compressed object is read whole. As any record may begin like compressed data, `decompress=False` says that nothing is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain

from smr_notebook.dataflow.formats import compression
from smr_notebook.dataflow.records import RecordBlock, SpanBytes, Unreadable
from smr_notebook.errors import InputFormatError
from smr_notebook.model import Reading, Span
from smr_notebook.ports import InputSource

BLOCK_BYTES = 256 << 10
"""About how many bytes become records at a time."""

_READ_BYTES = 2 << 20


def read_fixed(span: Span, source: InputSource, reading: Reading, *, block_bytes: int = BLOCK_BYTES) -> Iterator[RecordBlock]:
    """Yield the records that start in a span.

    Args:
        span: What to read.
        source: Where to read it.
        reading: Bytes of a record and of the header; whether compressed objects are decompressed; whether a rest is tolerated.
        block_bytes: About how many bytes become records at a time.

    Raises:
        InputChangedError: The object is not the one that was planned.
        InputFormatError: It does not consist of whole records, or is damaged compressed data.
        InputMissingError: It is gone.
        InputReadError: It cannot be read.
    """
    planned = SpanBytes(span, source)
    if span.start < span.stop:
        whole = span.whole and reading.decompress
        head = planned.read(0, min(span.size, max(compression.HEAD_BYTES, block_bytes))) if whole else b""
        codec = compression.sniff(head)
        if codec is None:
            yield from _plain(span, planned, reading, head=head, block_bytes=block_bytes)
        else:
            stored = chain([head], planned.chunks(len(head), span.size, _READ_BYTES))
            contents = compression.decompress(codec, stored, name=span.key, block_bytes=block_bytes)
            yield from _compressed(contents, span, planned, reading, block_bytes=block_bytes)
    planned.verify()


def cuts(head: bytes, reading: Reading) -> bool:
    """Whether a task may read some records of an object that begins so: not where it is compressed."""
    return not reading.decompress or compression.sniff(head) is None


def _plain(span: Span, planned: SpanBytes, reading: Reading, *, head: bytes, block_bytes: int) -> Iterator[RecordBlock]:
    size, header = reading.record_bytes, reading.header_bytes
    left_over = max(span.size - header, 0) % size
    if span.size < header or (left_over and not reading.tolerant):
        raise _incomplete(span.key, span.size, reading)
    start, stop = (_record_start(place, reading, span.size) for place in (span.start, span.stop))
    counted = span.start if span.start == 0 else start  # a header counts with the first block
    step = max(block_bytes // size, 1) * size
    for begin in range(start, stop, step):
        end = min(begin + step, stop)
        records = _records(_bytes(planned, head, begin, end), span.key, reading, total=span.size)
        yield RecordBlock(span.key, records, end - counted, partial(_locate, begin, size), begin if counted == begin else None)
        counted = end
    if counted < stop:
        yield RecordBlock(span.key, [], stop - counted, partial(_locate, stop, size), None)


def _record_start(place: int, reading: Reading, total: int) -> int:
    """Return where the first record stands that does not start before a place, or the end of the object."""
    size, header = reading.record_bytes, reading.header_bytes
    behind = max(place - header, 0)
    return min(header + -(-behind // size) * size, total)


def _bytes(planned: SpanBytes, head: bytes, begin: int, end: int) -> bytes:
    known = head[begin:end]
    return known + planned.read(begin + len(known), end) if len(known) < end - begin else known


def _compressed(contents: Iterable[bytes], span: Span, planned: SpanBytes, reading: Reading, *, block_bytes: int) -> Iterator[RecordBlock]:
    size, skip = reading.record_bytes, reading.header_bytes
    offset, accounted, parts, held = skip, 0, [], 0
    total = 0
    for content in contents:
        total += len(content)
        part = content[skip:]
        skip -= len(content) - len(part)
        if part:
            parts.append(part)
            held += len(part)
        if held >= max(size, block_bytes):
            data = b"".join(parts)
            end = held - held % size
            stored, accounted = planned.fetched - accounted, planned.fetched
            yield RecordBlock(span.key, _records(data[:end], span.key, reading, total=total), stored, partial(_locate, offset, size), None)
            parts, held, offset = [data[end:]], held - end, offset + end
    data = b"".join(parts)
    if total < reading.header_bytes or (len(data) % size and not reading.tolerant):
        raise _incomplete(span.key, total, reading)
    records = _records(data, span.key, reading, total=total)
    yield RecordBlock(span.key, records, span.size - accounted, partial(_locate, offset, size), None)


def _records(data: bytes, name: str, reading: Reading, *, total: int) -> list[object]:
    size = reading.record_bytes
    records: list[object] = [data[at : at + size] for at in range(0, len(data), size)]
    if len(data) % size:
        records[-1] = Unreadable(data[-(len(data) % size) :], _incomplete(name, total, reading))
    return records


def _locate(offset: int, size: int, index: int) -> int:
    return offset + index * size


def _incomplete(name: str, total: int, reading: Reading) -> InputFormatError:
    header = f" behind a header of {reading.header_bytes:,}" if reading.header_bytes else ""
    left = max(total - reading.header_bytes, 0) % reading.record_bytes
    wrong = f"{left:,} are left over" if total >= reading.header_bytes else "it ends inside the header"
    return InputFormatError(
        f"{name} has {total:,} bytes, which are no whole number of records of {reading.record_bytes:,} bytes{header}: {wrong}. "
        "Check the size of a record, or copy the object anew if it was cut."
    )
