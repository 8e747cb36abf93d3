"""Inputs: from a split to blocks of records, and the source of what a job stored itself.

Rules:

* The spans of a split are read in order, and record numbers run on through the split, also where an attempt goes on from the position
  that another one reached.
* What reads a format is known to `known_formats`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from smr_notebook.dataflow import tables
from smr_notebook.dataflow.known_formats import KNOWN
from smr_notebook.dataflow.positions import walk
from smr_notebook.dataflow.records import Reader, RecordBlock
from smr_notebook.dataflow.signing import Keyring
from smr_notebook.dataflow.table_blocks import TableBlock
from smr_notebook.dataflow.tables import BATCH_BYTES, open_tables
from smr_notebook.errors import InputMissingError, InputReadError, ObjectNotFoundError, StoreError
from smr_notebook.model import PLAINLY, Format, ObjectInfo, Position, Reading, Split
from smr_notebook.ports import InputSource, ObjectStore

if TYPE_CHECKING:
    import pyarrow.compute as pc

__all__ = ["JobInput", "RecordBlock", "SplitInput", "open_blocks", "require_columns"]


def open_blocks(
    split: Split,
    format: Format,
    sources: Mapping[str, InputSource],
    *,
    after: Position | None = None,
    reading: Reading = PLAINLY,
    reader: Reader | None = None,
) -> Iterator[RecordBlock]:
    """Yield the records of a split, block by block, in input order.

    Args:
        split: What to read.
        format: How bytes become records.
        sources: Input sources by scheme.
        after: The position that another attempt reached: only what follows it is given. `None` for the whole split.
        reading: What is said of the format besides its name.
        reader: What reads, where that is no format of ours.

    Raises:
        CorruptObjectError: An object that the job stored is not what was written.
        InputChangedError: An object is not the one that was planned.
        InputFormatError: Bytes are not what the format says.
        InputMissingError: An object is gone.
        InputReadError: An object cannot be read here.
    """
    return walk(split, partial(reader or KNOWN[format].read, reading=reading), sources, after=after)


@dataclass(frozen=True, slots=True)
class SplitInput:
    """What one map attempt reads, in whichever way its program wants it.

    Attributes:
        split: What to read.
        format: How bytes become records.
        sources: Input sources by scheme.
        after: The position that another attempt reached; `None` for the whole split.
        reading: What is said of the format besides its name.
        reader: What reads, where that is no format of ours; its program knows it.
    """

    split: Split
    format: Format
    sources: Mapping[str, InputSource]
    after: Position | None = None
    reading: Reading = PLAINLY
    reader: Reader | None = None

    def blocks(self) -> Iterator[RecordBlock]:
        """Yield the records. Raises as `open_blocks` does."""
        return open_blocks(self.split, self.format, self.sources, after=self.after, reading=self.reading, reader=self.reader)

    def tables(
        self, columns: tuple[str, ...] | None = None, *, filter: pc.Expression | None = None, batch_bytes: int = BATCH_BYTES
    ) -> Iterator[TableBlock]:
        """Yield the records as columns. Arguments, result and errors as of `tables.open_tables`."""
        return open_tables(
            self.split,
            self.format,
            self.sources,
            columns=columns,
            filter=filter,
            after=self.after,
            batch_bytes=batch_bytes,
            reading=self.reading,
            reader=self.reader,
        )


def require_columns(columns: Iterable[str], inputs: Sequence[SplitInput]) -> None:
    """Refuse a job whose input, at least one split, seems to lack a column. Errors as of `tables.require_columns`."""
    first = inputs[0]
    splits = [input.split for input in inputs]
    tables.require_columns(columns, splits, first.format, first.sources, reading=first.reading, reader=first.reader)


class JobInput:
    """The input source of scheme `job`: what the session stored (see `stored`). Its objects never change and have no version.

    Args:
        objects: Where they are.
        keys: The key of the workspace, which proves that they are.
    """

    def __init__(self, objects: ObjectStore, keys: Keyring) -> None:
        self._objects = objects
        self.keys = keys

    def find(self, pattern: str) -> Iterator[ObjectInfo]:
        """Yield the object of that key, or all below that folder, in key order. Raises `InputReadError`."""
        folder = pattern.removesuffix("/") + "/"
        try:
            for info in self._objects.list_prefix(pattern):
                if info.key == pattern or info.key.startswith(folder):
                    yield ObjectInfo(info.key, info.size, "")
        except StoreError as error:
            raise InputReadError(f"The input of the job cannot be listed: {error}") from error

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return bytes `[start, stop)` of one object. Raises `InputMissingError` and `InputReadError`."""
        try:
            return self._objects.get(key, start, stop)
        except ObjectNotFoundError as error:
            raise _missing(key) from error
        except StoreError as error:
            raise InputReadError(f"The input of the job cannot be read: {error}") from error

    def stat(self, key: str) -> ObjectInfo:
        """Return size and version of one object. Raises as `get` does."""
        for info in self.find(key):
            if info.key == key:
                return info
        raise _missing(key)


def _missing(key: str) -> InputMissingError:
    return InputMissingError(f"{key}, which the session stored as input of the job, is gone. Submit the job again.")
