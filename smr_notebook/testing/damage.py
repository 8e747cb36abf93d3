"""What happens to stored bytes: one changes, the end is missing, a piece is zeros, stands twice, or has changed places with another."""

from __future__ import annotations

from collections.abc import Iterator

_SPARSE = 7
"""Of cuts and pieces only some are tried, at distances that no power of two divides."""


def flips(data: bytes, *, every: int = 1) -> Iterator[tuple[str, bytes]]:
    """Yield the bytes with each of them changed in turn, or only some, by one bit or by all, and what was done."""
    for at in range(0, len(data), every):
        changed = data[at] ^ (0xFF if at % 9 == 8 else 1 << at % 8)
        yield f"byte {at} changed", data[:at] + bytes([changed]) + data[at + 1 :]


def cuts(data: bytes, *, every: int = _SPARSE) -> Iterator[tuple[str, bytes]]:
    """Yield what is left when the end is missing, from nothing on, and what was done."""
    for size in sorted({*range(0, len(data), every), len(data) - 1}):
        yield f"cut after {size} bytes", data[:size]


def moves(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the bytes with a piece as zeros, doubled, or exchanged with another one, and with bytes behind them; and what was done.

    What comes out as it was is left out.
    """
    for size in (1, 16, 64, len(data) // 3):
        for at in range(0, len(data) - 2 * size, max(size, len(data) // 200, 1) * _SPARSE):
            piece, next_piece = data[at : at + size], data[at + size : at + 2 * size]
            rest = data[at + 2 * size :]
            for what, damaged in (
                ("zeros", data[:at] + bytes(size) + next_piece + rest),
                ("twice", data[:at] + piece + piece + next_piece + rest),
                ("twice, and so not the next", data[:at] + piece + piece + rest),
                ("exchanged with the next", data[:at] + next_piece + piece + rest),
            ):
                if damaged != data:
                    yield f"bytes {at} to {at + size} {what}", damaged
    yield "a byte behind it", data + b"\0"
    yield "itself behind it", data + data


def damages(data: bytes, *, most: int = 500) -> Iterator[tuple[str, bytes]]:
    """Yield all of them; of what has more than `most` bytes, some."""
    every = 1 + len(data) // most
    yield from flips(data, every=every)
    yield from cuts(data, every=_SPARSE * every)
    yield from moves(data)
