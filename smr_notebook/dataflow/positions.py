"""Positions: where in its split an attempt is, and how the next one goes on from there.

A block can be read again from its own first byte where its reader can begin there (`RecordBlock.begin`: lines that are not
compressed, frames of stored items and rows); else only from the beginning of its span. So a position is a place to begin, and what
from there on is done already: records to skip, and bytes that are counted.

Rules of this module (where nothing is written with `dataclasses.replace` that is written for each of twenty thousand small objects):

* The records that the attempts of a task are given, one after the other, are those of its split; so are their numbers.
* The bytes of a block count where its last record is done. What all attempts count sums to the bytes of the split, also where a
  reader cuts its blocks differently the second time, as it does when it begins in the middle of a span.
* A block of a table, which has no bytes, has a token in their place, and so has a position: what reading goes on behind. Then there is
  nothing to skip, and bytes are counted from the beginning of the span.
* Only `walk`, `placed` and `advanced` compute with positions. Everybody else passes them on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Protocol, Self, TypeVar

from smr_notebook.dataflow.functions import UserCodeError
from smr_notebook.dataflow.records import RecordBlock
from smr_notebook.errors import InputReadError
from smr_notebook.model import Position, Span, Split
from smr_notebook.ports import InputSource, ItemSource


class Block(Protocol):
    """Some records of one object, in order, in whatever shape: what `RecordBlock` and `TableBlock` have in common."""

    @property
    def count(self) -> int:
        """How many records there are."""
        ...

    @property
    def size(self) -> int:
        """Input bytes that it accounts for."""
        ...

    @property
    def begin(self) -> int | None:
        """Byte of the object at which a reader can begin with this very block; `None` where it must begin with the span."""
        ...

    @property
    def at(self) -> Position:
        """Position of the first record in the split."""
        ...

    @property
    def token(self) -> str | None:
        """Of an object without bytes, what reading goes on behind to begin with this very block; `None` for any other."""
        ...

    def rest(self, dropped: int, *, size: int, at: Position) -> Self:
        """Return the block without its first records, at a position, and accounting for so many bytes."""
        ...


_Block = TypeVar("_Block", bound=Block)


def advanced(position: Position, records: int, size: int = 0) -> Position:
    """Return the position so many records behind another in the same span, when `size` more bytes are counted."""
    return Position(
        position.done + records, position.span, position.offset, position.skip + records, position.counted + size, position.token
    )


def reached(block: RecordBlock, index: int) -> Position:
    """Return the position of a record of a block, by its index."""
    if block.token_at is None:
        return advanced(block.at, index)
    return replace(block.at, done=block.at.done + index, token=block.token_at(index))


def walk(
    split: Split, read: Callable[[Span, InputSource], Iterable[_Block]], sources: Mapping[str, InputSource], *, after: Position | None
) -> Iterator[_Block]:
    """Yield the blocks of a split with their positions, span after span.

    Args:
        split: What to read.
        read: Reads one span.
        sources: Input sources by scheme.
        after: The position that another attempt reached: only what follows it is given. `None` for the whole split.

    Raises:
        InputReadError: No source reads that scheme here, or a span gives fewer records than before; and whatever `read` raises.
    """
    begin = after or Position(done=0, offset=split.spans[0].start)
    done = begin.done - begin.skip
    for number, span in enumerate(split.spans[begin.span :], begin.span):
        here = begin if number == begin.span else Position(done=done, span=number, offset=span.start)
        source = sources.get(span.scheme)
        if source is None:
            raise InputReadError(
                f"{span.key} is to be read from {span.scheme!r}, which this worker cannot: it reads {', '.join(sorted(sources))}. "
                "Submit the job to a session whose workers can."
            )
        rest = span if span.start == here.offset else replace(span, start=here.offset)
        if here.token and isinstance(source, ItemSource):
            source = source.behind(here.token)
        try:
            for block in placed(read(rest, source), here):
                yield block
                done = block.at.done + block.count
        except UserCodeError as failure:  # of a user's own reader, which does not know where in the split it is
            failure.record_number += done
            raise
        if done < here.done:
            raise InputReadError(
                f"{span.key} gave {here.done - done:,} records fewer than when it was read before, so that the task cannot go on. "
                "A function that parses must give the same records each time. Submit the job again."
            )


def placed(blocks: Iterable[_Block], after: Position) -> Iterator[_Block]:
    """Yield the blocks of one span with their positions, without the records and bytes that are done.

    Args:
        blocks: What a reader gives that begins at `after.offset`.
        after: How far the task is. A block of which nothing is left is still given, without records: so that the wish to stop is
            noticed while much is skipped, and because its bytes may count.
    """
    skip, counted = after.skip, after.counted
    here = Position(after.done - skip, after.span, after.offset, 0, counted)
    for block in blocks:
        if block.begin is not None:
            here = Position(here.done, here.span, block.begin, 0, counted)  # what is counted from here on, this block or the next
        elif block.token is not None:
            here = Position(here.done, here.span, here.offset, 0, here.counted, block.token)
        dropped, known = min(skip, block.count), min(counted, block.size)
        skip -= dropped
        counted -= known
        yield block.rest(dropped, size=block.size - known, at=advanced(here, dropped))
        here = advanced(here, block.count, block.size - known)
