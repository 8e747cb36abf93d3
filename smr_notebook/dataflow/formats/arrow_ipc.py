"""Arrow IPC: the record batches of a span, of the file format (Feather) or the stream format.

Rules:

* A file's footer lists its batches, but pyarrow does not tell where they lie. So batch `i` of `n` belongs to the span in which byte
  `size * i // n` lies, and accounts for the bytes up to the next one's: any plan reads each batch once. A stream is read whole.
* A stream must end with its end mark, and the object with the stream: pyarrow takes a cut between two batches for the end, and
  leaves out silently what follows the mark.
* Only the columns that are asked for are read. Memory holds one batch.
* Arrow has no checksums. What pyarrow's full validation finds is an `InputFormatError`; other flipped bits are values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from smr_notebook.dataflow.formats.arrow_objects import (
    RECORDS_BYTES,
    ObjectFile,
    OpenedSpan,
    RowGroup,
    dtypes_of,
    read_groups,
    refuse_repeated,
    told_of,
)
from smr_notebook.dataflow.records import RecordBlock, SpanBytes
from smr_notebook.errors import InputFormatError
from smr_notebook.model import PLAINLY, Reading, Span
from smr_notebook.ports import InputSource

if TYPE_CHECKING:
    import pyarrow.compute as pc

FILE_MAGIC: Final = b"ARROW1"
"""First and last bytes of an object of the file format."""

_FEATHER_1 = b"FEA1"
_MARK = b"\xff\xff\xff\xff"
_STREAM_END = _MARK + bytes(4)


class _Batches:
    """What files and streams of batches have in common."""

    def __init__(self, span: Span, schema: pa.Schema) -> None:
        self._span = span
        self.schema = schema
        self.names: list[str] = schema.names
        self.dtypes = dtypes_of(schema)
        self.groups: list[RowGroup] = []
        refuse_repeated(self.names, span.key)

    def kept(self, filter: pc.Expression | None) -> set[int]:  # noqa: ARG002 - Arrow has no statistics
        """Return the numbers of all groups."""
        return {group.number for group in self.groups}

    def rest(self) -> int:
        """Return the bytes of the span that no group accounts for."""
        return 0 if self.groups else self._span.stop - self._span.start

    def _slices(self, batch: pa.RecordBatch, columns: Sequence[str], batch_bytes: int) -> Iterator[pa.RecordBatch]:
        batch.validate(full=True)
        chosen = batch.select(list(columns))
        rows = max(1, batch.num_rows * batch_bytes // max(chosen.nbytes, 1))
        for start in range(0, max(batch.num_rows, 1), rows):
            yield chosen.slice(start, rows)


class _FileSpan(_Batches):
    """The batches of a span of a file."""

    def __init__(self, span: Span, file: ObjectFile) -> None:
        self._file = file
        opened = self._opened(None)
        super().__init__(span, opened.schema)
        count = opened.num_record_batches
        begins = [(span.size * number // count, number) for number in range(count)]
        inside = [(begin, number) for begin, number in begins if span.start <= begin < span.stop]
        if inside:
            edges = [span.start, *(begin for begin, _ in inside[1:]), span.stop]
            self.groups = [
                RowGroup(number, 0, stop - start, start) for (_, number), (start, stop) in zip(inside, pairwise(edges), strict=True)
            ]
        self._reader: Any = None

    def _opened(self, columns: Sequence[str] | None) -> Any:
        fields = None if columns is None else [self.names.index(name) for name in columns]
        options: Any = pa.ipc.IpcReadOptions(included_fields=fields) if fields else pa.ipc.IpcReadOptions()
        return pa.ipc.open_file(pa.PythonFile(self._file, mode="r"), options=options)

    def batches(self, group: RowGroup, *, columns: Sequence[str], batch_bytes: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a batch."""
        if self._reader is None:
            self._reader = self._opened(columns)
        yield from self._slices(self._reader.get_batch(group.number), columns, batch_bytes)


class _StreamSpan(_Batches):
    """All batches of a stream, as one group."""

    def __init__(self, span: Span, file: ObjectFile) -> None:
        self._file = file
        self._reader = pa.ipc.open_stream(pa.PythonFile(file, mode="r"))
        super().__init__(span, self._reader.schema)
        self.groups = [RowGroup(0, 0, span.stop - span.start, span.start)]

    def batches(self, group: RowGroup, *, columns: Sequence[str], batch_bytes: int) -> Iterator[pa.RecordBatch]:  # noqa: ARG002 - there is one
        """Yield the rows of all batches."""
        for batch in self._reader:
            yield from self._slices(batch, columns, batch_bytes)
        left = self._span.size - self._file.tell()
        if left:
            raise InputFormatError(
                f"{self._span.key} holds {left:,} bytes behind the end of its Arrow stream: another stream, or damage. "
                "Write one stream to an object."
            )


@contextmanager
def open_arrow(span: Span, source: InputSource) -> Iterator[OpenedSpan]:
    """Open the batches of a span. Arguments and errors as of `parquet.open_span`."""
    planned = SpanBytes(span, source)
    file = ObjectFile(span, planned)
    head = file.read(len(FILE_MAGIC))
    file.seek(0)
    kind = _FileSpan if head == FILE_MAGIC else _StreamSpan
    _refuse_others(span, head, file.tail)
    with told_of(span, file, "Arrow IPC"):
        yield kind(span, file)
    planned.verify()


def read_arrow(span: Span, source: InputSource, reading: Reading = PLAINLY, *, block_bytes: int = RECORDS_BYTES) -> Iterator[RecordBlock]:
    """Yield the rows of the batches that belong to a span, as dicts. Arguments and errors as of `parquet.read_parquet`."""
    return read_groups(open_arrow, span, source, columns=reading.columns, block_bytes=block_bytes)


def has_batches(span: Span, source: InputSource) -> bool:
    """Whether an object has several batches that can be read apart. What cannot be read is not cut: whoever reads it tells why."""
    try:
        with open_arrow(span, source) as opened:
            return len(opened.groups) > 1
    except InputFormatError:
        return False


def _refuse_others(span: Span, head: bytes, tail: bytes) -> None:
    """Refuse what is no Arrow IPC, or only a part of it. Raises `InputFormatError`."""
    if head.startswith(_FEATHER_1):
        raise InputFormatError(
            f"{span.key} is Feather of version 1, which is not read here: it knows fewer types. Write it anew: "
            "pyarrow.feather.write_feather(pyarrow.feather.read_table(old), new)."
        )
    if head == FILE_MAGIC:
        if not tail.endswith(FILE_MAGIC) or span.size < 2 * len(FILE_MAGIC):
            raise InputFormatError(f"{span.key} is Arrow IPC that is cut: it does not end as a file of that format does. Copy it anew.")
    elif not head.startswith(_MARK):
        raise InputFormatError(
            f"{span.key} is not Arrow IPC: it begins as neither a file nor a stream of it does. Name its format (format=…); Arrow that is "
            "compressed as a whole (`.gz`) is to be unpacked first."
        )
    elif not tail.endswith(_STREAM_END):
        raise InputFormatError(
            f"{span.key} is an Arrow stream without its end mark: it is cut, or whoever wrote it did not close it. Write or copy it anew."
        )
