"""Compressed objects: told by content, never by name, and read to their exact end.

Rules:

* A compressed object is one record stream: it is never cut.
* It may hold many members (gzip), streams (bz2, xz) or frames (zstd), and zero bytes between and after them. Anything else
  there, a cut or a failed check of the format is an error. (The file objects of `bz2`, `lzma` and `zstd` drop silently all
  that follows the first damaged header, taking it for trailing garbage: so the loop here is our own.)
* Memory stays bounded whatever the ratio: stored bytes are fed in small pieces, and output is asked for by the megabyte.
* Archives (zip, tar, 7z, rar, also inside a compressed object) hold files, not records: they are refused where lines are read. So is what
  is compressed in ways that are not read here.
"""

from __future__ import annotations

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from smr_notebook.errors import InputFormatError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["HEAD_BYTES", "Codec", "decompress", "plain", "refuse_archive", "sniff", "zstd"]

HEAD_BYTES = 512
"""How much of an object `sniff`, `plain` and `refuse_archive` want to see of its beginning."""

FEED_BYTES = 128 << 10
"""Stored bytes that a decompressor gets at a time: what is left over of them is copied with each call."""

_BROKEN = (zlib.error, OSError, EOFError, ValueError, lzma.LZMAError, zstd.ZstdError)


class Decompressor(Protocol):
    """One member, as the standard library's decompressors read it."""

    @property
    def eof(self) -> bool:
        """Whether the end of the member was reached."""
        ...

    @property
    def needs_input(self) -> bool:
        """Whether the next call needs data."""
        ...

    @property
    def unused_data(self) -> bytes:
        """What followed the member in the data given."""
        ...

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Take data, and return at most `max_length` bytes."""
        ...


class _GzipMember:
    """`zlib` with the face of the other decompressors; it checks CRC and length itself."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        found = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        self.needs_input = not self._inner.unconsumed_tail and len(found) < max_length
        return found


@dataclass(frozen=True, slots=True)
class Codec:
    """A way of compressing. `open` begins a member."""

    name: str
    open: Callable[[], Decompressor]


_GZIP = Codec("gzip", _GzipMember)
_BZ2 = Codec("bz2", bz2.BZ2Decompressor)
_XZ = Codec("xz", lambda: lzma.LZMADecompressor(format=lzma.FORMAT_XZ))
_ZSTD = Codec("zstd", zstd.ZstdDecompressor)

_BZ2_BLOCKS = (b"1AY&SY", b"\x17rE8P\x90")  # a block, or the end of a stream without any
_BZ2_TOLD = 3  # bytes of that which tell bz2 from text, where the object ends within them

_ARCHIVES: Mapping[bytes, str] = MappingProxyType(
    {b"PK\x03\x04": "zip", b"PK\x05\x06": "zip", b"PK\x07\x08": "zip", b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!\x1a\x07": "rar"}
)
_UNREAD: Mapping[bytes, str] = MappingProxyType(
    {
        b"\x04\x22\x4d\x18": "lz4",
        b"\x02\x21\x4c\x18": "lz4",
        b"\xff\x06\0\0sNaPpY": "snappy",
        b"\x1f\x9d": "compress (.Z)",
        b"\x89LZO\0\r\n\x1a\n": "lzop",
        b"LZIP\x01": "lzip",
    }
)


def sniff(head: bytes) -> Codec | None:
    """Return how an object is compressed, from its first `HEAD_BYTES` bytes; `None` when it is not."""
    if head.startswith(b"\x1f\x8b"):
        return _GZIP
    told = head[4:10] if head.startswith(b"BZh") and head[3:4].isdigit() else b""
    if len(told) >= _BZ2_TOLD and any(block.startswith(told) for block in _BZ2_BLOCKS):
        return _BZ2
    if head.startswith(b"\xfd7zXZ\0"):
        return _XZ
    skippable = head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F  # pzstd begins with such a frame
    return _ZSTD if skippable or head.startswith(b"\x28\xb5\x2f\xfd") else None


def plain(head: bytes) -> bool:
    """Whether an object that begins so is neither compressed nor an archive."""
    return sniff(head) is None and _archive(head) is None


def refuse_archive(head: bytes, name: str) -> None:
    """Raise `InputFormatError` when the first `HEAD_BYTES` bytes of lines are those of an archive, of Parquet, or of what is not read."""
    kind, unread = _archive(head), _named(head, _UNREAD)
    if head.startswith(b"PAR1"):
        raise InputFormatError(f"{name} is Parquet: it holds tables, not lines. Read it with format='parquet'.")
    if kind is not None:
        raise InputFormatError(
            f"{name} is a {kind} archive: it holds files, not records. Unpack it and give the files, or read them out of it with a "
            "function of your own: format=smr.formats.parse(...)."
        )
    if unread is not None:
        raise InputFormatError(
            f"{name} is {unread} data, which is not decompressed here. Compress it with zstd or gzip instead, or read it with a "
            "function of your own: format=smr.formats.parse(...)."
        )


def decompress(codec: Codec, stored: Iterable[bytes], *, name: str, block_bytes: int) -> Iterator[bytes]:
    """Yield the content of a compressed object.

    Args:
        codec: How it is compressed.
        stored: Its bytes, all of them, in pieces of any size.
        name: Of the object, for messages.
        block_bytes: Most bytes that are yielded at once.

    Raises:
        InputFormatError: It is damaged, cut, or followed by something else.
    """
    member: Decompressor | None = None
    for chunk in stored:
        for start in range(0, len(chunk), FEED_BYTES):
            data = chunk[start : start + FEED_BYTES]
            while data or not (member is None or member.needs_input):
                if member is None:
                    data = data.lstrip(b"\0")
                    if not data:
                        break
                    member = codec.open()
                try:
                    content = member.decompress(data, block_bytes)
                except _BROKEN as error:
                    raise InputFormatError(_broken(name, codec, str(error))) from error
                if content:
                    yield content
                data = b""
                if member.eof:
                    data = member.unused_data
                    member = None
    if member is not None:
        raise InputFormatError(_broken(name, codec, "it ends before its end mark"))


def _archive(head: bytes) -> str | None:
    return "tar" if head[257:262] == b"ustar" else _named(head, _ARCHIVES)


def _named(head: bytes, kinds: Mapping[bytes, str]) -> str | None:
    return next((kind for magic, kind in kinds.items() if head.startswith(magic)), None)


def _broken(name: str, codec: Codec, reason: str) -> str:
    return f"{name} is {codec.name} data that is cut or damaged: {reason}. Copy the object anew and submit the job again."
