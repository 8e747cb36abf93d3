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

A subclass that keeps the builtin's `__eq__` (a namedtuple, a `str` subclass) is the class's name and the builtin's encoding. An
enum member is its class and its value; a NumPy scalar its type and its item; a dataclass its class and its compared fields. Any
other object is what `__reduce_ex__(4)` says it is made of: equal parts, one key. An object that Python compares by identity has no
value that another process could know, so it is refused rather than grouped by chance.

Not all of it can be read back exactly: `encode` says so, and the caller keeps a pickled original beside it.

The bytes are a stored format: they order and partition keys across versions. A tag is never given another meaning.
"""

from __future__ import annotations

import copyreg
import struct
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np

from smr_notebook.dataflow.pickles import type_name

END = 0x00


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


def encode(key: object) -> tuple[bytes, bool]:
    """Return the encoding of a key, and whether `decode` gives back exactly this key.

    Raises:
        TypeError: The key is not hashable, or has no value that is the same in every process.
    """
    encoder = _Encoder()
    try:
        hash(key)
        encoder.put(key)
    except RecursionError as error:
        raise _refusal(key, "it is nested too deeply or contains itself", "a flat tuple of its parts") from error
    except _UnfitError as error:
        raise _refusal(key, error.why, error.instead) from error.__cause__
    except TypeError as error:
        instead = _INSTEAD.get(type_name(type(key)), "a tuple of its parts")
        raise _refusal(key, str(error), instead) from error
    return bytes(encoder.out), encoder.exact


class _UnfitError(Exception):
    """Why a key, or a part of it, has no encoding."""

    def __init__(self, why: str, instead: str) -> None:
        super().__init__(why)
        self.why = why
        self.instead = instead


_INSTEAD = {"list": "tuple(key)", "dict": "tuple(sorted(key.items()))", "set": "frozenset(key)", "bytearray": "bytes(key)"}


def _refusal(key: object, why: str, instead: str) -> TypeError:
    return TypeError(f"A key of type {type_name(type(key))} cannot be grouped: {why}. Use {instead} as key instead.")


class _Encoder:
    """Writes one key. `exact` falls when something is written that cannot be read back as it was."""

    __slots__ = ("exact", "inside", "out")

    def __init__(self) -> None:
        self.out = bytearray()
        self.exact = True
        self.inside = 0

    def put(self, value: object) -> None:
        writer = _WRITERS.get(type(value))
        if writer is None and self.inside:
            writer = _PART_WRITERS.get(type(value))
        if writer is None:
            self.exact = False
            writer = _writer_for(value)
        writer(self, value)

    def tag(self, tag: Tag, data: bytes = b"") -> None:
        self.out.append(tag)
        self.out += data

    def text(self, tag: Tag, data: bytes) -> None:
        self.out.append(tag)
        self.out += data.replace(b"\0", b"\0\xff")
        self.out.append(END)

    def items(self, tag: Tag, values: Iterable[object]) -> None:
        self.out.append(tag)
        for value in values:
            self.put(value)
        self.out.append(END)

    def unordered(self, tag: Tag, values: Iterable[object]) -> None:
        self.out.append(tag)
        whole, tokens = self.out, []
        for value in values:
            self.out = bytearray()
            self.put(value)
            tokens.append(bytes(self.out))
        self.out = whole
        self.out += b"".join(sorted(tokens))
        self.out.append(END)

    def named(self, cls: type) -> None:
        self.text(Tag.STR, type_name(cls).encode("utf-8", "surrogatepass"))


# ---------------------------------------------------------------- builtin types

_FIRST = datetime(1, 1, 1)  # noqa: DTZ001 - naive on purpose: it stands for the start of counting
_MICROSECOND = timedelta(microseconds=1)


def signed(number: int, width: int = 8) -> bytes:
    """Return a two's complement integer, sign bit flipped, so that byte order is number order."""
    return (number + (1 << (8 * width - 1))).to_bytes(width, "big")


def _put_bool(encoder: _Encoder, value: bool) -> None:  # noqa: FBT001 - the key itself
    encoder.tag(Tag.BOOL, b"\1" if value else b"\0")


def _put_int(encoder: _Encoder, value: int) -> None:
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


def _put_float(encoder: _Encoder, value: float) -> None:
    if value != value:  # noqa: PLR0124 - NaN
        encoder.tag(Tag.FLOAT, b"\xff\xf8\0\0\0\0\0\0")
        return
    (bits,) = struct.unpack(">Q", struct.pack(">d", value + 0.0))
    encoder.tag(Tag.FLOAT, ((bits ^ 0xFFFFFFFFFFFFFFFF) if bits >> 63 else (bits | 1 << 63)).to_bytes(8, "big"))


def _put_str(encoder: _Encoder, value: str) -> None:
    try:
        encoder.text(Tag.STR, str.encode(value, "utf-8"))
    except UnicodeEncodeError:
        encoder.text(Tag.SURROGATES, str.encode(value, "utf-8", "surrogatepass"))


def _put_bytes(encoder: _Encoder, value: bytes) -> None:
    encoder.text(Tag.BYTES, value)


def _put_none(encoder: _Encoder, _value: None) -> None:
    encoder.tag(Tag.NONE)


def _put_decimal(encoder: _Encoder, value: Decimal) -> None:
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


def _put_date(encoder: _Encoder, value: date) -> None:
    encoder.tag(Tag.DATE, signed(value.toordinal(), 4))


def _put_datetime(encoder: _Encoder, value: datetime) -> None:
    offset = value.utcoffset()
    micros = (datetime.combine(value.date(), value.time()) - _FIRST) // _MICROSECOND
    if offset is None:
        encoder.exact = encoder.exact and value.tzinfo is None and value.fold == 0
        encoder.tag(Tag.DATETIME, signed(micros))
    else:
        encoder.exact = False
        encoder.tag(Tag.INSTANT, signed(micros - offset // _MICROSECOND))


def _put_time(encoder: _Encoder, value: time) -> None:
    offset = value.utcoffset()
    micros = ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond
    if offset is None:
        encoder.exact = encoder.exact and value.tzinfo is None and value.fold == 0
        encoder.tag(Tag.TIME, signed(micros))
    else:
        encoder.exact = False
        encoder.tag(Tag.TIME_OFFSET, signed(micros - offset // _MICROSECOND))


def _put_timedelta(encoder: _Encoder, value: timedelta) -> None:
    encoder.tag(Tag.TIMEDELTA, signed(value.days, 4) + signed(value.seconds, 4) + signed(value.microseconds, 4))


def _put_uuid(encoder: _Encoder, value: uuid.UUID) -> None:
    encoder.exact = encoder.exact and value.is_safe is uuid.SafeUUID.unknown
    encoder.tag(Tag.UUID, value.int.to_bytes(16, "big"))


def _put_tuple(encoder: _Encoder, value: tuple[object, ...]) -> None:
    encoder.items(Tag.TUPLE, tuple.__iter__(value))


def _put_frozenset(encoder: _Encoder, value: frozenset[object]) -> None:
    encoder.unordered(Tag.FROZENSET, frozenset.__iter__(value))


def _put_range(encoder: _Encoder, value: range) -> None:
    encoder.exact = False
    encoder.items(Tag.RANGE, (len(value), *value[:1], *value[1:2]))


Writer = Callable[[_Encoder, Any], None]

_WRITERS: dict[type, Writer] = {
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

_PART_WRITERS: dict[type, Writer] = {
    list: lambda encoder, value: encoder.items(Tag.LIST, value),
    dict: lambda encoder, value: encoder.unordered(Tag.DICT, value.items()),
    set: lambda encoder, value: encoder.unordered(Tag.SET, value),
}

# ---------------------------------------------------------------- all other types


def _writer_for(value: object) -> Writer:
    cls = type(value)
    if isinstance(value, Enum):
        return _put_enum
    if isinstance(value, np.generic) and type(value.item()) in _WRITERS:
        return _put_numpy
    if any(base in _WRITERS and _own(cls, "__eq__") is _own(base, "__eq__") for base in cls.__mro__):
        return _put_subclass
    if is_dataclass(cls) and getattr(cls, "__dataclass_params__").eq:  # noqa: B009 - not in the stubs
        return _put_dataclass
    if isinstance(value, type | FunctionType) or (isinstance(value, BuiltinFunctionType) and isinstance(value.__self__, ModuleType)):
        return _put_named
    return _put_object


def _own(cls: type, name: str) -> object:
    return getattr(cls, name)


def _put_enum(encoder: _Encoder, value: Enum) -> None:
    encoder.tag(Tag.ENUM)
    encoder.named(type(value))
    plain = value.value if type(value.value) in {bool, int, float, str, bytes} else value.name
    encoder.put(plain)


def _put_numpy(encoder: _Encoder, value: np.generic) -> None:
    encoder.tag(Tag.NUMPY)
    # Dates and spans of time have their unit in the dtype; a string's dtype is its length, which is no type.
    kind = value.dtype.str if isinstance(value, np.datetime64 | np.timedelta64) else type(value).__name__
    encoder.text(Tag.STR, kind.encode())
    encoder.put(value.item())


def _put_subclass(encoder: _Encoder, value: object) -> None:
    cls = type(value)
    encoder.tag(Tag.SUBCLASS)
    encoder.named(cls)
    base = next(base for base in cls.__mro__ if base in _WRITERS)
    _WRITERS[base](encoder, value)


def _put_dataclass(encoder: _Encoder, value: Any) -> None:
    encoder.tag(Tag.DATACLASS)
    encoder.named(type(value))
    _put_parts(encoder, [getattr(value, field.name) for field in fields(value) if field.compare])


def _put_named(encoder: _Encoder, value: Any) -> None:
    name = f"{value.__module__}.{value.__qualname__}"
    if "<lambda>" in name or (isinstance(value, FunctionType) and "<locals>" in name):
        raise _UnfitError(f"the function {name} has no name of its own", "a string that names it")
    encoder.text(Tag.NAMED, name.encode("utf-8", "surrogatepass"))


def _put_object(encoder: _Encoder, value: object) -> None:
    cls = type(value)
    try:
        reduce = copyreg.dispatch_table.get(cls)
        parts = reduce(value) if reduce else value.__reduce_ex__(4)
    except Exception as error:
        raise _UnfitError(f"{type_name(cls)} cannot be pickled ({error})", "a tuple of its parts") from error
    if isinstance(parts, str):
        module = getattr(value, "__module__", None) or cls.__module__
        encoder.text(Tag.NAMED, f"{module}.{parts}".encode("utf-8", "surrogatepass"))
        return
    if _own(cls, "__eq__") is object.__eq__ and not encoder.inside:
        raise _UnfitError(
            f"{type_name(cls)} defines no __eq__, so that its copy in another process would be another key",
            "a tuple of its parts, or a dataclass with frozen=True,",
        )
    function, arguments, *more = parts
    state, items, pairs = (*more, None, None, None)[:3]
    listed = sorted_pairs = None
    if items is not None:
        listed = list(items)
    if pairs is not None:
        sorted_pairs = list(pairs) if isinstance(value, OrderedDict) else dict(pairs)
    encoder.tag(Tag.OBJECT)
    encoder.named(cls)
    _put_parts(encoder, [function, arguments, state, listed, sorted_pairs])


def _put_parts(encoder: _Encoder, parts: list[object]) -> None:
    encoder.inside += 1
    encoder.items(Tag.LIST, parts)
    encoder.inside -= 1


# ---------------------------------------------------------------- reading back


def decode(data: bytes) -> Any:
    """Return the key of an encoding for which `encode` said that it can be read back exactly."""
    value, _ = _read(data, 0)
    return value


def _read(data: bytes, at: int) -> tuple[Any, int]:
    return _READERS[data[at]](data, at + 1)


def unsigned(data: bytes) -> int:
    """Return the number that `signed` wrote."""
    return int.from_bytes(data, "big") - (1 << (8 * len(data) - 1))


def _read_big(data: bytes, at: int, flip: int) -> tuple[int, int]:
    width = int.from_bytes(bytes(byte ^ flip for byte in data[at : at + 4]), "big")
    start = at + 4
    magnitude = int.from_bytes(bytes(byte ^ flip for byte in data[start : start + width]), "big")
    return (-magnitude if flip else magnitude), start + width


def _read_float(data: bytes, at: int) -> tuple[float, int]:
    bits = int.from_bytes(data[at : at + 8], "big")
    bits = bits & 0x7FFFFFFFFFFFFFFF if bits >> 63 else bits ^ 0xFFFFFFFFFFFFFFFF
    return struct.unpack(">d", bits.to_bytes(8, "big"))[0], at + 8


def _read_text(data: bytes, at: int) -> tuple[bytes, int]:
    stop = at
    while True:
        stop = data.index(END, stop)
        if data[stop + 1 : stop + 2] != b"\xff":
            return data[at:stop].replace(b"\0\xff", b"\0"), stop + 1
        stop += 2


def _read_str(data: bytes, at: int) -> tuple[str, int]:
    text, at = _read_text(data, at)
    return text.decode("utf-8", "surrogatepass"), at


def _read_items(data: bytes, at: int) -> tuple[list[Any], int]:
    items = []
    while data[at] != END:
        item, at = _read(data, at)
        items.append(item)
    return items, at + 1


def _read_tuple(data: bytes, at: int) -> tuple[tuple[Any, ...], int]:
    items, at = _read_items(data, at)
    return tuple(items), at


def _read_frozenset(data: bytes, at: int) -> tuple[frozenset[Any], int]:
    items, at = _read_items(data, at)
    return frozenset(items), at


def _read_time(data: bytes, at: int) -> tuple[time, int]:
    return (_FIRST + timedelta(microseconds=unsigned(data[at : at + 8]))).time(), at + 8


def _read_timedelta(data: bytes, at: int) -> tuple[timedelta, int]:
    days, seconds, microseconds = (unsigned(data[at + part : at + part + 4]) for part in (0, 4, 8))
    return timedelta(days, seconds, microseconds), at + 12


_READERS: dict[int, Callable[[bytes, int], tuple[Any, int]]] = {
    Tag.BOOL: lambda data, at: (data[at] == 1, at + 1),
    Tag.INT_LOW: lambda data, at: _read_big(data, at, 255),
    Tag.INT: lambda data, at: (unsigned(data[at : at + 8]), at + 8),
    Tag.INT_HIGH: lambda data, at: _read_big(data, at, 0),
    Tag.FLOAT: _read_float,
    Tag.STR: _read_str,
    Tag.BYTES: _read_text,
    Tag.NONE: lambda _data, at: (None, at),
    Tag.SURROGATES: _read_str,
    Tag.DATE: lambda data, at: (date.fromordinal(unsigned(data[at : at + 4])), at + 4),
    Tag.DATETIME: lambda data, at: (_FIRST + timedelta(microseconds=unsigned(data[at : at + 8])), at + 8),
    Tag.TIME: _read_time,
    Tag.TIMEDELTA: _read_timedelta,
    Tag.UUID: lambda data, at: (uuid.UUID(bytes=data[at : at + 16]), at + 16),
    Tag.TUPLE: _read_tuple,
    Tag.FROZENSET: _read_frozenset,
}
