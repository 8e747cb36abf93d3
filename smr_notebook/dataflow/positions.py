"""Positions: where in its split an attempt is, and how the next one goes on from there.

A block can be read again from its own first byte where its reader can begin there (`RecordBlock.begin`: lines that are not
compressed, frames of stored items and rows); else only from the beginning of its span. So a position is a place to begin, and what
from there on is done already: records to skip, and bytes that are counted.

Rules of this module:

* The records that the attempts of a task are given, one after the other, are those of its split; so are their numbers.
* The bytes of a block count where its last record is done. What all attempts count sums to the bytes of the split, also where a
  reader cuts its blocks differently the second time, as it does when it begins in the middle of a span.
* Only `placed` and `advanced` compute with positions. Everybody else passes them on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from smr_notebook.dataflow.records import RecordBlock
from smr_notebook.model import Position


def advanced(position: Position, records: int, size: int = 0) -> Position:
    """Return the position so many records behind another in the same span, when `size` more bytes are counted."""
    return replace(position, done=position.done + records, skip=position.skip + records, counted=position.counted + size)


def placed(blocks: Iterable[RecordBlock], after: Position) -> Iterator[RecordBlock]:
    """Yield the blocks of one span with their positions, without the records and bytes that are done.

    Args:
        blocks: What a reader gives that begins at `after.offset`.
        after: How far the task is. A block of which nothing is left is still given, without records: so that the wish to stop is
            noticed while much is skipped, and because its bytes may count.
    """
    skip, counted = after.skip, after.counted
    here = replace(after, done=after.done - skip, skip=0)
    for block in blocks:
        if block.begin is not None:
            here = replace(here, offset=block.begin, skip=0, counted=0)
        dropped, known = min(skip, len(block.records)), min(counted, block.size)
        skip -= dropped
        counted -= known
        yield replace(
            block,
            records=block.records[dropped:] if dropped else block.records,
            size=block.size - known,
            locate=_behind(block.locate, dropped) if dropped else block.locate,
            at=advanced(here, dropped),
        )
        here = advanced(here, len(block.records), block.size - known)


def _behind(locate: Callable[[int], int], dropped: int) -> Callable[[int], int]:
    return lambda index: locate(index + dropped)
