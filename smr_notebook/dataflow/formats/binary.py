"""The binary reader: one record for each object, its stored bytes. Nothing is decompressed; an empty object is `b""`."""

from __future__ import annotations

from collections.abc import Iterator

from smr_notebook.dataflow.records import RecordBlock, SpanBytes
from smr_notebook.model import PLAINLY, Reading, Span
from smr_notebook.ports import InputSource


def read_binary(span: Span, source: InputSource, reading: Reading = PLAINLY) -> Iterator[RecordBlock]:  # noqa: ARG001 - the face of Reader
    """Yield one block with one record.

    Args:
        span: A whole object.
        source: Where to read it.
        reading: Nothing of it concerns whole objects.

    Raises:
        InputChangedError: The object is not the one that was planned.
        InputMissingError: It is gone.
        InputReadError: It cannot be read.
    """
    planned = SpanBytes(span, source)
    data = planned.read(span.start, span.stop)
    yield RecordBlock(span.key, [data], span.size, lambda _: 0, begin=None)
