"""The first records of an input: what a job would read, ended early.

Rules of this module: nothing but where it ends differs from what a task reads, so that records, their numbers and their places are those
of the job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from smr_notebook.dataflow.inputs import SplitInput
from smr_notebook.dataflow.records import RecordBlock


class FirstRecords:
    """So many records, over all splits of an input.

    Args:
        most: How many.
        now: Tells the time in seconds.

    Attributes:
        left: How many may still be read.
        records: How many were.
        bytes: Input bytes that these account for.
        seconds: How long reading took.
        fetched: Input bytes that the blocks account for which were read for them: the last one may have had more records.
    """

    def __init__(self, most: int, now: Callable[[], float]) -> None:
        self.left = most
        self.records = 0
        self.bytes = 0
        self.seconds = 0.0
        self.fetched = 0
        self._now = now

    def take(self, blocks: Iterable[RecordBlock]) -> Iterator[RecordBlock]:
        """Yield blocks as long as records are wanted, and of the last one its beginning."""
        stream = iter(blocks)
        while self.left > 0:
            began = self._now()
            block = next(stream, None)
            self.seconds += self._now() - began
            if block is None:
                return
            self.fetched += block.size
            taken = _beginning(block, self.left)
            self.left -= taken.count
            self.records += taken.count
            self.bytes += taken.size
            yield taken


def _beginning(block: RecordBlock, most: int) -> RecordBlock:
    if block.count <= most:
        return block
    return replace(block, records=block.records[:most], size=max(1, block.size * most // block.count))


@dataclass(frozen=True, slots=True)
class BeginningOfSplit(SplitInput):
    """A split of which only the records are read that are wanted still."""

    wanted: FirstRecords = field(kw_only=True)

    def blocks(self) -> Iterator[RecordBlock]:
        """Yield the records. Raises as `open_blocks` does."""
        return self.wanted.take(SplitInput.blocks(self))


def beginning_of(input: SplitInput, wanted: FirstRecords) -> BeginningOfSplit:
    """Return an input of which only the records are read that are wanted still."""
    return BeginningOfSplit(
        input.split, input.format, input.sources, after=input.after, reading=input.reading, reader=input.reader, wanted=wanted
    )
