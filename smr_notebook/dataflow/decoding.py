"""Reading keys back from their encoding (see `dataflow.encoding`)."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable
from datetime import date, time, timedelta
from typing import Any

from smr_notebook.dataflow.encoding import END, FIRST, Tag
from smr_notebook.errors import CorruptObjectError


def decode(data: bytes) -> Any:
    """Return the key of an encoding for which `encode` said that it can be read back exactly.

    Raises:
        CorruptObjectError: It is none.
    """
    try:
        value, _ = _read(data, 0)
    except (LookupError, OverflowError, RecursionError, TypeError, ValueError, struct.error) as error:
        raise CorruptObjectError(f"A key is not what was written ({error}): the data is damaged. Submit the job again.") from error
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
    return (FIRST + timedelta(microseconds=unsigned(data[at : at + 8]))).time(), at + 8


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
    Tag.DATETIME: lambda data, at: (FIRST + timedelta(microseconds=unsigned(data[at : at + 8])), at + 8),
    Tag.TIME: _read_time,
    Tag.TIMEDELTA: _read_timedelta,
    Tag.UUID: lambda data, at: (uuid.UUID(bytes=data[at : at + 16]), at + 16),
    Tag.TUPLE: _read_tuple,
    Tag.FROZENSET: _read_frozenset,
}
