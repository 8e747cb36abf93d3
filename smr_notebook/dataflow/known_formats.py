"""The formats that an input may have, with all that others must know of each: one table.

Rules of this module:

* A new format is a member of `model.Format`, a reader in `formats/`, and a row here. What its row leaves out, it does not have: nothing
  is cut, no name tells it, and its records have no columns.
* Nothing here reads. A reader is a `records.Reader`; the suite that says what one promises is `smr_notebook.testing.readers`.
* What a parser of the user's makes of an object has no row: its program brings the reader.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from smr_notebook.dataflow.formats import arrow_ipc, fixed, lines, parquet
from smr_notebook.dataflow.formats.binary import read_binary
from smr_notebook.dataflow.formats.csv_records import read_csv
from smr_notebook.dataflow.formats.jsonl import read_jsonl
from smr_notebook.dataflow.formats.result_rows import read_result
from smr_notebook.dataflow.formats.scanned import read_scanned
from smr_notebook.dataflow.formats.stored import read_frame, read_items
from smr_notebook.dataflow.formats.text import read_text
from smr_notebook.dataflow.records import Reader
from smr_notebook.model import PLAINLY, Format, Reading, Span
from smr_notebook.ports import InputSource


@dataclass(frozen=True, slots=True)
class KnownFormat:
    """What is to be known of a format.

    Attributes:
        read: Turns a span into blocks of records.
        called: What messages call it, where names of objects tell it.
        suffixes: Ends of the names of objects that have it, in lower case and with their dot.
        magic: How an object begins that has it, where its name tells nothing; empty where no beginning is sure.
        encoded: Whether it is text, so that a reading names its encoding.
        rows: Whether each record is a dict, so that columns can be made of records. (`tables` knows those that are read as columns.)
        cuts: Whether a task may read a part of an object that begins so (`compression.HEAD_BYTES` bytes); `None` where it never may.
        parts: Whether an object has parts that can be read apart, where only a look into it tells.
    """

    read: Reader
    called: str = ""
    suffixes: tuple[str, ...] = ()
    magic: bytes = b""
    encoded: bool = False
    rows: bool = False
    cuts: Callable[[bytes, Reading], bool] | None = None
    parts: Callable[[Span, InputSource], bool] | None = None


KNOWN: Final[Mapping[Format, KnownFormat]] = MappingProxyType(
    {
        Format.TEXT: KnownFormat(read_text, called="text", encoded=True, cuts=lines.cuts),
        Format.JSONL: KnownFormat(
            read_jsonl, called="JSON lines", suffixes=(".jsonl", ".ndjson"), encoded=True, rows=True, cuts=lines.cuts
        ),
        Format.CSV: KnownFormat(read_csv, called="CSV", suffixes=(".csv", ".tsv", ".tab"), encoded=True),
        Format.PARQUET: KnownFormat(
            parquet.read_parquet, called="Parquet", suffixes=(".parquet", ".pq"), magic=parquet.MAGIC, parts=parquet.is_cuttable
        ),
        Format.ARROW: KnownFormat(
            arrow_ipc.read_arrow,
            called="Arrow",
            suffixes=(".arrow", ".arrows", ".feather", ".ipc"),
            magic=arrow_ipc.FILE_MAGIC,
            parts=arrow_ipc.has_batches,
        ),
        Format.BINARY: KnownFormat(read_binary),
        Format.FIXED: KnownFormat(fixed.read_fixed, cuts=fixed.cuts),
        Format.ITEMS: KnownFormat(read_items, rows=True),
        Format.FRAME: KnownFormat(read_frame),
        Format.RESULT: KnownFormat(read_result),
        Format.TABLE: KnownFormat(read_scanned, rows=True),
    }
)


def cuttable(head: bytes, format: Format, reading: Reading = PLAINLY) -> bool:
    """Whether a task may read a part of an object, as its beginning tells.

    Args:
        head: The first `compression.HEAD_BYTES` bytes. Only objects larger than a split need this look.
        format: How the object is to be read.
        reading: What is said of the format besides its name.
    """
    cuts = KNOWN[format].cuts if format in KNOWN else None
    return cuts is not None and cuts(head, reading)
