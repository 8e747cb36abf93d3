"""The order-preserving encoding of keys, in the manner of FoundationDB's tuple layer.

A key becomes bytes whose order is the order of the keys, and two keys are one key exactly when their bytes are equal.
A tag byte stands first and gives the type; tags ascend in the rank order of `keys.KeyKind`. What follows is
self-delimiting, so that no encoding is a prefix of another:

* fixed width numbers are big-endian with the sign bit flipped (floats: all bits, when negative);
* integers beyond 64 bits are length and magnitude, complemented when negative;
* text and bytes end with 00; a 00 inside is written 00 FF; no tag is FF;
* a tuple is its items, then 00, which is less than any tag; a frozenset is its items' encodings, sorted, then 00.

**One key** means: exact type and value are equal, at each depth. `1`, `1.0` and `True` are three keys. All NaNs are
one key; `-0.0` is `0.0`. Aware datetimes are one key when they name one instant; `Decimal("1.0")` is `Decimal("1.00")`.

This module holds the format and the builtin types; `dataflow.key_objects` everything else, `dataflow.decoding` the way back.
Not all of it can be read back exactly: then `Encoder.exact` is false, and the caller keeps a pickled original beside it.

The bytes are a stored format: they order and partition keys across versions. A tag is never given another meaning.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import IntEnum
from typing import Any

from smr_notebook.dataflow.pickles import type_name

END = 0x00
DEPTH = 100
"""Keys nested deeper than this are refused."""


class Tag(IntEnum):
    """First byte of an encoding. The rank order of the key kinds, then the order of types within `OTHER`."""

    BOOL = 0x10
    INT_LOW = 0x20
    INT = 0x21
    INT_HIGH = 0x22
    FLOAT = 0x30
    STR = 0x40
    BYTES = 0x50
    NONE = 0x60
    SURROGATES = 0x61
    DECIMAL = 0x62
    DATE = 0x63
    DATETIME = 0x64
    INSTANT = 0x65
    TIME = 0x66
    TIME_OFFSET = 0x67
    TIMEDELTA = 0x68
    UUID = 0x69
    TUPLE = 0x6A
    FROZENSET = 0x6B
    RANGE = 0x6C
    SUBCLASS = 0x70
    ENUM = 0x71
    NUMPY = 0x72
    DATACLASS = 0x73
    NAMED = 0x74
    OBJECT = 0x75
    LIST = 0x80
    DICT = 0x81
    SET = 0x82


class Encoder:
    """Writes one key.

    Attributes:
        out: The bytes so far.
        exact: Falls when something is written that cannot be read back as it was.
        inside: How many objects are being taken apart: lists, dicts and sets have a value only as their parts.
        depth: How many containers are open.
    """

    __slots__ = ("_find", "depth", "exact", "inside", "out")

    def __init__(self, find: Callable[[object], Writer]) -> None:
        self._find = find
        self.out = bytearray()
        self.exact = True
        self.inside = 0
        self.depth = 0

    def put(self, value: object) -> None:
        """Write a value. What is no builtin one goes to the writer that `find` gives."""
        writer = WRITERS.get(type(value))
        if writer is None and self.inside:
            writer = PART_WRITERS.get(type(value))
        if writer is None:
            self.exact = False
            writer = self._find(value)
        writer(self, value)

    def tag(self, tag: Tag, data: bytes = b"") -> None:
        """Write a tag and data of fixed width, or of a width that it tells."""
        self.out.append(tag)
        self.out += data

    def text(self, tag: Tag, data: bytes) -> None:
        """Write data of any width."""
        self.out.append(tag)
        self.out += data.replace(b"\0", b"\0\xff")
        self.out.append(END)

    def items(self, tag: Tag, values: Iterable[object]) -> None:
        """Write values in their order."""
        self._open(tag)
        for value in values:
            self.put(value)
        self._close()

    def unordered(self, tag: Tag, values: Iterable[object]) -> None:
        """Write values in the order of their encodings."""
        self._open(tag)
        whole, tokens = self.out, []
        for value in values:
            self.out = bytearray()
            self.put(value)
            tokens.append(bytes(self.out))
        self.out = whole
        self.out += b"".join(sorted(tokens))
        self._close()

    def _open(self, tag: Tag) -> None:
        self.depth += 1
        if self.depth > DEPTH:
            raise RecursionError
        self.out.append(tag)

    def _close(self) -> None:
        self.depth -= 1
        self.out.append(END)

    def named(self, cls: type) -> None:
        """Write the name of a class."""
        self.text(Tag.STR, type_name(cls).encode("utf-8", "surrogatepass"))


# ---------------------------------------------------------------- builtin types

FIRST = datetime(1, 1, 1)  # noqa: DTZ001 - naive on purpose: it stands for the start of counting
_MICROSECOND = timedelta(microseconds=1)


def signed(number: int, width: int = 8) -> bytes:
    """Return a two's complement integer, sign bit flipped, so that byte order is number order."""
    return (number + (1 << (8 * width - 1))).to_bytes(width, "big")


def _put_bool(encoder: Encoder, value: bool) -> None:  # noqa: FBT001 - the key itself
    encoder.tag(Tag.BOOL, b"\1" if value else b"\0")


def _put_int(encoder: Encoder, value: int) -> None:
    if -(1 << 63) <= value < 1 << 63:
        encoder.tag(Tag.INT, signed(value))
        return
    magnitude = int.__abs__(value)
    width = (magnitude.bit_length() + 7) // 8
    data = width.to_bytes(4, "big") + magnitude.to_bytes(width, "big")
    if value > 0:
        encoder.tag(Tag.INT_HIGH, data)
    else:
        encoder.tag(Tag.INT_LOW, bytes(255 - byte for byte in data))


def _put_float(encoder: Encoder, value: float) -> None:
    if value != value:  # noqa: PLR0124 - NaN
        encoder.tag(Tag.FLOAT, b"\xff\xf8\0\0\0\0\0\0")
        return
    (bits,) = struct.unpack(">Q", struct.pack(">d", value + 0.0))
    encoder.tag(Tag.FLOAT, ((bits ^ 0xFFFFFFFFFFFFFFFF) if bits >> 63 else (bits | 1 << 63)).to_bytes(8, "big"))


def _put_str(encoder: Encoder, value: str) -> None:
    try:
        encoder.text(Tag.STR, str.encode(value, "utf-8"))
    except UnicodeEncodeError:
        encoder.text(Tag.SURROGATES, str.encode(value, "utf-8", "surrogatepass"))


def _put_bytes(encoder: Encoder, value: bytes) -> None:
    encoder.text(Tag.BYTES, value)


def _put_none(encoder: Encoder, _value: None) -> None:
    encoder.tag(Tag.NONE)


def _put_decimal(encoder: Encoder, value: Decimal) -> None:
    encoder.exact = False
    if value.is_nan():
        encoder.tag(Tag.DECIMAL, b"\6")
    elif value.is_infinite():
        encoder.tag(Tag.DECIMAL, b"\5" if value > 0 else b"\1")
    elif not value:
        encoder.tag(Tag.DECIMAL, b"\3")
    else:
        digits = bytes(digit + 1 for digit in value.as_tuple().digits)
        data = signed(value.adjusted()) + digits.lstrip(b"\1").rstrip(b"\1") + b"\0"
        encoder.tag(Tag.DECIMAL, b"\4" + data if value > 0 else b"\2" + bytes(255 - byte for byte in data))


def _put_date(encoder: Encoder, value: date) -> None:
    encoder.tag(Tag.DATE, signed(value.toordinal(), 4))


def _put_datetime(encoder: Encoder, value: datetime) -> None:
    offset = value.utcoffset()
    micros = (datetime.combine(value.date(), value.time()) - FIRST) // _MICROSECOND
    if offset is None:
        encoder.exact = encoder.exact and value.tzinfo is None and value.fold == 0
        encoder.tag(Tag.DATETIME, signed(micros))
    else:
        encoder.exact = False
        encoder.tag(Tag.INSTANT, signed(micros - offset // _MICROSECOND))


def _put_time(encoder: Encoder, value: time) -> None:
    offset = value.utcoffset()
    micros = ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond
    if offset is None:
        encoder.exact = encoder.exact and value.tzinfo is None and value.fold == 0
        encoder.tag(Tag.TIME, signed(micros))
    else:
        encoder.exact = False
        encoder.tag(Tag.TIME_OFFSET, signed(micros - offset // _MICROSECOND))


def _put_timedelta(encoder: Encoder, value: timedelta) -> None:
    encoder.tag(Tag.TIMEDELTA, signed(value.days, 4) + signed(value.seconds, 4) + signed(value.microseconds, 4))


def _put_uuid(encoder: Encoder, value: uuid.UUID) -> None:
    encoder.exact = encoder.exact and value.is_safe is uuid.SafeUUID.unknown
    encoder.tag(Tag.UUID, value.int.to_bytes(16, "big"))


def _put_tuple(encoder: Encoder, value: tuple[object, ...]) -> None:
    encoder.items(Tag.TUPLE, tuple.__iter__(value))


def _put_frozenset(encoder: Encoder, value: frozenset[object]) -> None:
    encoder.unordered(Tag.FROZENSET, frozenset.__iter__(value))


def _put_range(encoder: Encoder, value: range) -> None:
    encoder.exact = False
    encoder.items(Tag.RANGE, (len(value), *value[:1], *value[1:2]))


Writer = Callable[[Encoder, Any], None]

WRITERS: dict[type, Writer] = {
    bool: _put_bool,
    int: _put_int,
    float: _put_float,
    str: _put_str,
    bytes: _put_bytes,
    type(None): _put_none,
    Decimal: _put_decimal,
    date: _put_date,
    datetime: _put_datetime,
    time: _put_time,
    timedelta: _put_timedelta,
    uuid.UUID: _put_uuid,
    tuple: _put_tuple,
    frozenset: _put_frozenset,
    range: _put_range,
}

PART_WRITERS: dict[type, Writer] = {
    list: lambda encoder, value: encoder.items(Tag.LIST, value),
    dict: lambda encoder, value: encoder.unordered(Tag.DICT, value.items()),
    set: lambda encoder, value: encoder.unordered(Tag.SET, value),
}
