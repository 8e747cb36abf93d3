"""Bytes that are nearly right: what a reader that trusts too much is found with. Strategies of hypothesis."""

from __future__ import annotations

import struct
from collections.abc import Callable

from hypothesis import strategies as st

HUGE = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, (1 << 31) - 1, (1 << 32) - 1, 1 << 40, 1 << 60, (1 << 63) - 1, (1 << 64) - 1)
"""Numbers that a length, a count or an offset must not be believed to be."""

_WIDTHS = (("<B", 0xFF), ("<H", 0xFFFF), ("<I", 0xFFFFFFFF), (">I", 0xFFFFFFFF), ("<Q", (1 << 64) - 1), (">Q", (1 << 64) - 1))

Change = Callable[[bytes], bytes]


def _written(at: int, piece: bytes) -> Change:
    return lambda data: data[: at % (len(data) + 1)] + piece + data[at % (len(data) + 1) + len(piece) :]


def _inserted(at: int, piece: bytes) -> Change:
    return lambda data: data[: at % (len(data) + 1)] + piece + data[at % (len(data) + 1) :]


def _removed(at: int, size: int) -> Change:
    return lambda data: data[: at % (len(data) + 1)] + data[at % (len(data) + 1) + size :]


def _copied(at: int, size: int, to: int) -> Change:
    def copy(data: bytes) -> bytes:
        start = at % (len(data) + 1)
        return _written(to, data[start : start + size])(data)

    return copy


def _numbers() -> st.SearchStrategy[bytes]:
    return st.builds(lambda width, number: struct.pack(width[0], number & width[1]), st.sampled_from(_WIDTHS), st.sampled_from(HUGE))


_PLACES = st.integers(0, 1 << 20)
_CHANGES = st.one_of(
    st.builds(_written, _PLACES, st.binary(min_size=1, max_size=4)),
    st.builds(_written, _PLACES, _numbers()),
    st.builds(_inserted, _PLACES, st.binary(min_size=1, max_size=16)),
    st.builds(_removed, _PLACES, st.integers(1, 64)),
    st.builds(_copied, _PLACES, st.integers(1, 64), _PLACES),
)


def mutated(*valid: bytes) -> st.SearchStrategy[bytes]:
    """Return what gives valid bytes with a few changes."""

    def changed(data: bytes, changes: list[Change]) -> bytes:
        for change in changes:
            data = change(data)
        return data

    return st.builds(changed, st.sampled_from(valid), st.lists(_CHANGES, min_size=1, max_size=4))


def nearly(*valid: bytes) -> st.SearchStrategy[bytes]:
    """Return what gives any bytes: some at random, most of them valid ones with a few changes."""
    return st.one_of(mutated(*valid), mutated(*valid), mutated(*valid), st.binary(max_size=400))
