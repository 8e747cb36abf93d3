r"""Sealed objects: small stored documents that say whether they are still what was written.

Layout, big endian::

    magic "SMR\n"   4 bytes
    version          2 bytes   of the body's format, not of the seal
    length of kind   1 byte
    length of body   8 bytes
    CRC-32           4 bytes   of all other bytes of the object
    kind             ASCII
    body

Rules: every byte is covered by the magic, a length or the checksum, so that one changed byte or a cut at any place is
found before anybody reads the body. The version is looked at last: a version that cannot be read is told apart from damage.
"""

from __future__ import annotations

import struct
import zlib

from smr_notebook.errors import CorruptObjectError, FormatVersionError

_MAGIC = b"SMR\n"
_HEAD = struct.Struct(">4sHBQ")
_CRC = struct.Struct(">I")
_FIXED = _HEAD.size + _CRC.size


def seal(kind: str, body: bytes, version: int = 1) -> bytes:
    """Wrap a body.

    Args:
        kind: What the body is, ASCII, at most 255 characters: `unseal` wants the same.
        body: Any bytes.
        version: Of the body's format, 0 to 65,535.

    Returns:
        The sealed object.
    """
    name = kind.encode("ascii")
    head = _HEAD.pack(_MAGIC, version, len(name), len(body))
    return b"".join((head, _CRC.pack(_checksum(head, name, body)), name, body))


def unseal(kind: str, data: bytes, *, name: str, versions: frozenset[int] = frozenset({1})) -> bytes:
    """Check a sealed object and return its body.

    Args:
        kind: What it should be.
        data: The whole object.
        name: Where it came from, for the message.
        versions: Versions of the body's format that the caller reads.

    Raises:
        CorruptObjectError: It is damaged, cut, or of another kind.
        FormatVersionError: It is intact, and of a version that the caller does not read.
    """
    if len(data) < _FIXED or not data.startswith(_MAGIC):
        raise CorruptObjectError(_damaged(name, kind, "it does not begin as a sealed object does"))
    head = data[: _HEAD.size]
    _, version, kind_bytes, body_bytes = _HEAD.unpack(head)
    if len(data) != _FIXED + kind_bytes + body_bytes:
        raise CorruptObjectError(_damaged(name, kind, f"it has {len(data):,} bytes, its head says {_FIXED + kind_bytes + body_bytes:,}"))
    rest = memoryview(data)[_FIXED:]
    (stored,) = _CRC.unpack_from(data, _HEAD.size)
    if _checksum(head, rest) != stored:
        raise CorruptObjectError(_damaged(name, kind, "its checksum differs"))
    found = bytes(rest[:kind_bytes])
    if found != kind.encode("ascii"):
        raise CorruptObjectError(_damaged(name, kind, f"it holds {found.decode('ascii', 'replace')!r}"))
    if version not in versions:
        known = ", ".join(map(str, sorted(versions)))
        raise FormatVersionError(
            f"{name} is a {kind!r} object of format version {version}; this version of smr_notebook reads {known}. "
            "Use the version of smr_notebook that wrote it, or submit the job again."
        )
    return bytes(rest[kind_bytes:])


def _checksum(*parts: bytes | memoryview) -> int:
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    return crc


def _damaged(name: str, kind: str, reason: str) -> str:
    return f"{name} is not the {kind!r} object that was written: {reason}. Submit the job again."
