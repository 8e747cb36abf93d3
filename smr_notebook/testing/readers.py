"""What every reader of a format holds.

The law: any plan, read in any legs, gives the records of no plan at all, each with its object, number and place; and all bytes are counted.

A test of a reader subclasses `ReaderTests` and provides the fixture `case`: some objects of the format, and what they hold by a slow and
plain way. Where content can be drawn, `check_any_plan` says the law of it, with `PLANS` and `PACKINGS` for hypothesis.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smr_notebook.backends.memory.source import MemorySource
from smr_notebook.dataflow.formats.compression import HEAD_BYTES, zstd
from smr_notebook.dataflow.known_formats import cuttable
from smr_notebook.dataflow.positions import advanced, walk
from smr_notebook.dataflow.records import RecordBlock, Unreadable
from smr_notebook.dataflow.splits import PlannedObject, plan_splits
from smr_notebook.errors import InputChangedError
from smr_notebook.model import Format, Position, Reading, Span, Split

Read = Callable[..., Iterator[RecordBlock]]
Record = tuple[str, object, int]
"""A record as it is compared: its object, itself, its place."""

Compress = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Case:
    """Some objects, how they are read, and what they hold by a slow and plain way.

    Attributes:
        format: How: what `known_formats` says of it tells what is cut.
        reading: What is said of the format besides its name.
        bodies: The objects.
        wanted: Returns the records of one of them, each with the byte at which it begins, or -1.
        read: The reader.
        blocks: Whether it takes `block_bytes`.
    """

    format: Format
    reading: Reading
    bodies: list[bytes]
    wanted: Callable[[bytes], Sequence[tuple[object, int]]]
    read: Read
    blocks: bool = True

    @property
    def expected(self) -> list[Record]:
        """All records, as they are compared."""
        records = [(f"object-{number}", record) for number, body in enumerate(self.bodies) for record in self.wanted(body)]
        return [(name, _comparable(record), at) for name, (record, at) in records]


COMPRESSORS: Final[list[Compress]] = [gzip.compress, bz2.compress, lzma.compress, zstd.compress]
PLANS: Final = st.tuples(st.integers(1, 60), st.integers(1, 40), st.lists(st.integers(1, 5), max_size=6))
"""Bytes of a split, bytes of a block, and how many records each leg reads."""

PACKINGS: Final = st.sampled_from([None, None, None, *COMPRESSORS])


def check_any_plan(case: Case, plan: tuple[int, int, list[int]], compress: Compress | None) -> None:
    """Compare what a plan, and no plan, reads of the objects with what they hold.

    Args:
        case: The objects.
        plan: As of `PLANS`.
        compress: How objects are stored; `None` for as they are.
    """
    stored = [compress(body) if compress and body else body for body in case.bodies]
    split_bytes, block_bytes, legs = plan
    wanted = (case.expected, sum(map(len, stored)))
    assert _read_all(case, stored, split_bytes=1 << 30, block_bytes=1 << 20, legs=[]) == wanted
    assert _read_all(case, stored, split_bytes=split_bytes, block_bytes=block_bytes, legs=legs) == wanted


class ReaderTests:
    """The contract of `records.Reader`."""

    def test_any_plan_gives_the_records_of_no_plan(self, case: Case) -> None:
        """Whatever is cut, packed with others, compressed, or begun again."""

        @settings(max_examples=100, deadline=None)
        @given(plan=PLANS, compress=PACKINGS)
        def check(plan: tuple[int, int, list[int]], compress: Compress | None) -> None:
            check_any_plan(case, plan, compress if case.reading.decompress else None)

        assert any(case.bodies), "The case has no bytes: nothing would be proved."
        check()

    def test_an_object_that_is_not_the_planned_one_is_refused(self, case: Case) -> None:
        """`records.SpanBytes` compares; who reads past it reads parts of two versions."""
        for source, span in _whole(case):
            with pytest.raises(InputChangedError):
                list(case.read(replace(span, version="another"), source, case.reading))

    def test_an_empty_span_is_compared_as_well(self, case: Case) -> None:
        """What was planned as an object without bytes may hold some by now."""
        for source, span in _whole(case):
            with pytest.raises(InputChangedError):
                list(case.read(replace(span, stop=0, size=0, version=""), source, case.reading))


def _whole(case: Case) -> Iterator[tuple[MemorySource, Span]]:
    """Yield each object that has bytes, as a source, with the span that is all of it."""
    for number, body in enumerate(case.bodies):
        if body:
            source = MemorySource({f"object-{number}": body})
            info = source.stat(f"object-{number}")
            yield source, Span("m", info.key, 0, info.size, info.size, info.version)


def _comparable(record: object) -> object:
    return ("unreadable", record.raw) if isinstance(record, Unreadable) else repr(record)


def _read_all(case: Case, stored: list[bytes], *, split_bytes: int, block_bytes: int, legs: list[int]) -> tuple[list[Record], int]:
    """Read all objects by a plan, each split in legs; return the records and the bytes that were counted."""
    source = MemorySource({f"object-{number}": body for number, body in enumerate(stored)})
    objects = [
        PlannedObject("m", source.stat(f"object-{number}"), cuttable(body[:HEAD_BYTES], case.format, case.reading))
        for number, body in enumerate(stored)
    ]
    read = partial(case.read, reading=case.reading, **({"block_bytes": block_bytes} if case.blocks else {}))
    found: list[Record] = []
    counted = 0
    for split in plan_splits(objects, split_bytes=split_bytes):
        at: Position | None = None
        numbers = 0
        for most in [*legs, -1]:
            at, records, size = _leg(split, read, source, after=at, most=most, numbers=numbers)
            numbers += len(records)
            found += records
            counted += size
            if at is None:
                break
    return found, counted


def _leg(
    split: Split, read: Read, source: MemorySource, *, after: Position | None, most: int, numbers: int
) -> tuple[Position | None, list[Record], int]:
    """Read so many records, as a map attempt does that is due then; return the position, the records and the bytes that it counts."""
    found: list[Record] = []
    counted = 0
    for block in walk(split, read, {"m": source}, after=after):
        for index, record in enumerate(block.records):
            if len(found) == most:
                return advanced(block.at, index), found, counted
            assert block.at.done + index == numbers + len(found)
            found.append((block.source, _comparable(record), block.locate(index)))
        counted += block.size
    return None, found, counted
