"""Slices put together from pieces that come in any order, some of them twice, and with others among them.

A queue or a stream gives what it has, and not what is asked for. So whoever fetches slices collects: pieces of what is wanted are written
to their places in a file without a name, a piece that is there already is dropped, and so is what nobody wants. All is there when each
slice has as many bytes as it must have.

A piece carries its own CRC as well: what a message has lost on its way must not take the place of a good one.
"""

from __future__ import annotations

import os
import struct
import tempfile
import weakref
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from smr_notebook.errors import CorruptObjectError
from smr_notebook.ports import PIECE_BYTES, Piece, Wanted

if TYPE_CHECKING:
    from smr_notebook.ports import Fetched

_HEAD: Final = struct.Struct("<4sIQIH")  # magic, partition, offset, CRC of these, name and bytes, length of the name
_MAGIC: Final = b"SMR1"


def packed(name: str, piece: Piece) -> bytes:
    """Return a piece with what says which one it is."""
    told = name.encode()
    return _HEAD.pack(_MAGIC, piece.partition, piece.offset, _crc(piece, told), len(told)) + told + piece.data


def unpacked(data: bytes) -> tuple[str, Piece]:
    """Return the name and the piece that `packed` made one of.

    Raises:
        CorruptObjectError: It is not what was sent.
    """
    if len(data) >= _HEAD.size:
        magic, partition, offset, crc, size = _HEAD.unpack_from(data)
        name, piece = data[_HEAD.size : _HEAD.size + size], Piece(partition, offset, data[_HEAD.size + size :])
        if magic == _MAGIC and len(name) == size and _crc(piece, name) == crc:
            return name.decode(), piece
    raise CorruptObjectError("A message is not what was sent: it is damaged, or somebody else's. Submit the job again.")


class Collector:
    """What is wanted, as far as it has come.

    Args:
        partition: Of which partition.
        wanted: Which slices.
    """

    def __init__(self, partition: int, wanted: Sequence[Wanted]) -> None:
        self._partition = partition
        self._wanted = wanted
        self._starts: dict[str, tuple[int, int]] = {}
        self._here: dict[str, set[int]] = {}
        self._missing = 0
        for each in wanted:
            self._starts[each.name] = (self._missing, each.length)
            self._here[each.name] = set()
            self._missing += each.length
        self._file = _Nameless()

    @property
    def complete(self) -> bool:
        """Whether all is here."""
        return self._missing == 0

    def take(self, data: bytes) -> bool:
        """Take what a queue or a stream gave, as `add` does. What does not even begin like ours is somebody else's, and is dropped."""
        return data.startswith(_MAGIC) and self.add(*unpacked(data))

    def add(self, name: str, piece: Piece) -> bool:
        """Take a piece, and return whether it is one that was wanted and had not come.

        Raises:
            CorruptObjectError: It is no piece of the slice that is wanted.
        """
        if piece.partition != self._partition or name not in self._starts or piece.offset in self._here[name]:
            return False
        start, length = self._starts[name]
        if piece.offset % PIECE_BYTES or len(piece.data) != min(PIECE_BYTES, length - piece.offset):
            what = f"{name} was sent with other pieces of partition {self._partition} than its index says"
            raise CorruptObjectError(f"{what}. Submit the job again.")
        self._file.put(piece.data, start + piece.offset)
        self._here[name].add(piece.offset)
        self._missing -= len(piece.data)
        return True

    def told(self) -> str:
        """Return what is missing, for people."""
        names = [name for name, (_, length) in self._starts.items() if len(self._here[name]) * PIECE_BYTES < length]
        others = f" and {len(names) - 1:,} others" if len(names) > 1 else ""
        return f"{self._missing:,} bytes of {names[0]}{others}" if names else "nothing"

    def slices(self) -> Iterator[Fetched]:
        """Yield what gives the bytes of each slice that was wanted, in order."""
        return (self._get(self._starts[each.name][0]) for each in self._wanted)

    def _get(self, begin: int) -> Fetched:
        file = self._file
        return lambda start, stop: file.get(begin + start, begin + stop)


class _Nameless:
    """A file of local disk that is gone when nobody knows it any more."""

    def __init__(self) -> None:
        self._descriptor, path = tempfile.mkstemp(prefix="smr-")
        weakref.finalize(self, os.close, self._descriptor)
        Path(path).unlink()

    def put(self, data: bytes, at: int) -> None:
        """Write bytes at a place."""
        view = memoryview(data)
        while view:
            written = os.pwrite(self._descriptor, view, at)
            view, at = view[written:], at + written

    def get(self, start: int, stop: int) -> bytes:
        """Return bytes `[start, stop)`; the system may give fewer at once."""
        data = os.pread(self._descriptor, stop - start, start)
        while data and len(data) < stop - start:
            more = os.pread(self._descriptor, stop - start - len(data), start + len(data))
            if not more:
                break
            data += more
        return data


def _crc(piece: Piece, name: bytes) -> int:
    return zlib.crc32(piece.data, zlib.crc32(name, zlib.crc32(struct.pack("<IQH", piece.partition, piece.offset, len(name)))))
