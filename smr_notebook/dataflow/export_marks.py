"""The mark of a folder that holds all of a result: `_SUCCESS`, as Hadoop and Spark write it, here with what the folder holds.

It is JSON, written when all files are, last of all where they appear one by one: who finds it finds all that it names. What begins with an
underscore is no data to Athena, Hive, Spark, pandas and pyarrow, nor to this package unless it is named itself.

```json
{"version": 1, "format": "parquet", "rows": 7, "size": 812,
 "files": [{"name": "part-00000.parquet", "rows": 7, "size": 812, "crc32": "0f1e2d3c"}]}
```

`size` counts bytes, and `crc32` is that of zlib over them, in hexadecimal digits. A field may be added to version 1, none goes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from smr_notebook.dataflow.export_shapes import MARK

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class MarkedFile:
    """A file of a result.

    Attributes:
        name: In its folder.
        rows: How many it holds.
        size: How many bytes.
        crc32: Of these, eight hexadecimal digits.
    """

    name: str
    rows: int
    size: int
    crc32: str


@dataclass(frozen=True, slots=True)
class Mark:
    """What a folder holds.

    Attributes:
        version: Of this very form.
        format: Of the files.
        rows: Of all.
        size: Of all, in bytes.
        files: In the order of the partitions.
    """

    version: int
    format: str
    rows: int
    size: int
    files: tuple[MarkedFile, ...]


def write_mark(files: Iterable[tuple[Path, int]], folder: Path, *, format: str) -> Path:
    """Write the mark for files, each with its number of rows, into a folder, and return where it is. Raises `OSError`."""
    marked = [MarkedFile(file.name, rows, file.stat().st_size, _crc32(file)) for file, rows in files]
    mark = Mark(1, format, sum(file.rows for file in marked), sum(file.size for file in marked), tuple(marked))
    place = folder / MARK
    place.write_bytes(msgspec.json.format(msgspec.json.encode(mark), indent=1) + b"\n")
    return place


def without_marks(keys: Sequence[tuple[str, int]], location: str) -> list[bool]:
    """Return, for objects with their sizes, which are data: marks that hold something are none, unless the location names them itself."""
    named = location.rpartition("/")[2] == MARK
    return [named or not size or key.rpartition("/")[2] != MARK for key, size in keys]


def _crc32(file: Path) -> str:
    crc = 0
    with file.open("rb") as source:
        while piece := source.read(_PIECE):
            crc = zlib.crc32(piece, crc)
    return f"{crc:08x}"
