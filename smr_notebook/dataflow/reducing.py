"""A reduce attempt: the blocks of one partition in, the rows of one part out.

The blocks are loaded run by run. While they fit, they are regrouped in memory at the end, in one vectorised step; past the
budget they go to spills, sorted, and the spills are merged. Either way the result is one stream of small blocks in the
order of (key kind, key), in which a large group goes on from block to block. Of that stream only one block at a time
becomes Python objects.

Rules of this module:

* `reduce` is called once for each key, by the attempt that gets there; it may stop early, or never look at its values.
* The values of a key come in input order (that of the map tasks, then that of the run), or in their own where the job asks for that.
* Pairs and checksum are those of the groups that `reduce` was given, hashed anew: so they prove all that lies between the two functions,
  and over all attempts of a task they sum to those of the partition.
* An attempt that is due ends behind a group, and another one goes on from there, with a leg of its own. Groups come in the same order each
  time: so the position is how many are done.
* What fails inside our own iterator while `reduce` is reading from it is not the user's failure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeVar

from smr_notebook.dataflow.blocks import GroupBlock, unpack
from smr_notebook.dataflow.columns import decode_values
from smr_notebook.dataflow.draining import checked_pair, collect_young, resting_collector
from smr_notebook.dataflow.emitting import PairSink
from smr_notebook.dataflow.functions import CodePlace, Functions, UserCodeError, place_of, short_repr
from smr_notebook.dataflow.grouping import block_bytes, block_checksum, order_key, slice_groups
from smr_notebook.dataflow.keys import KeyKind, decode_keys
from smr_notebook.dataflow.mapping import Sink
from smr_notebook.dataflow.memory import Room, release
from smr_notebook.dataflow.merging import BY_KEY, BlockOrder, Blocks, merge_streams
from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.programs import Handed
from smr_notebook.dataflow.row_buffers import MOST_ROWS, RowBuffer
from smr_notebook.dataflow.spilling import Spills, collect
from smr_notebook.errors import PairShapeError
from smr_notebook.model import Part, Position

_PIECE_BYTES = 1 << 20
_LITTLE = 8  # less than such a part of what may be held is not worth a spill, however tight memory is
_MOST_HELD = 1 << 30  # text columns have 32-bit offsets
_COUNTED_BLOCKS = 64  # of a group that failed: it is told how many values it has, unless there are very many


@dataclass(frozen=True, slots=True)
class Reduced:
    """What a reduce attempt gives.

    Attributes:
        part: Its rows.
        groups: Distinct keys that it reduced.
        checksum: Sum of the hashes of the pairs that `reduce` was given, modulo 2**64.
        position: Where the next attempt goes on; `None` when the groups came to their end.
    """

    part: Part
    groups: int
    checksum: int
    position: Position | None


S = TypeVar("S", bound=Sink)
In_contra = TypeVar("In_contra", contravariant=True)


class Reduces(Protocol[In_contra]):
    """What of a program `run_reduce` needs."""

    def reduce(self, blocks: Blocks, sink: In_contra, *, meter: Meter, done: int) -> Handed:
        """Turn the groups of a partition into rows: `programs.Program`."""
        ...


def run_reduce(
    program: Reduces[S],
    runs: Iterable[Iterator[bytes]],
    sink: S,
    *,
    meter: Meter,
    room: Room,
    scratch: Path,
    after: Position | None = None,
    order: BlockOrder = BY_KEY,
) -> Reduced:
    """Reduce one partition.

    Args:
        program: What turns groups into rows.
        runs: For each map task, in order, the blocks of the partition.
        sink: Takes the rows; it is closed, or aborted on any error.
        meter: Counts, and may end or stop the attempt.
        room: Memory that it may take.
        scratch: Folder for spills.
        after: The position that another attempt reached: only what follows it is reduced. `None` for the whole partition.
        order: By what the pairs are sorted.

    Raises:
        UserCodeError: `reduce` raised, or gave the wrong shape.
        CorruptObjectError: Bytes are not what was written.
        AttemptStopped: The meter was told to stop.
    """
    partition = Partition(room=room, scratch=scratch, order=order)
    try:
        with resting_collector():
            for run in runs:
                meter.check()
                for data in run:
                    meter.bytes_read += len(data)
                    partition.add(unpack(data, foreign=True))
            handed = program.reduce(partition.blocks(), sink, meter=meter, done=after.done if after else 0)
        return Reduced(sink.close(), meter.records_read, handed.checksum, handed.position)
    except BaseException:
        sink.abort()
        raise
    finally:
        partition.close()


def reduce_groups(functions: Functions, blocks: Blocks, sink: PairSink, *, meter: Meter, done: int) -> Handed:
    """Call the user's `reduce` for each group, as `programs.Program.reduce` says. The sink wants groups exactly when it is a generator."""
    groups = Groups(blocks, meter, done=done)
    rows = RowBuffer(sink, meter)
    (_reduce_yielding if functions.reduce_yields else _reduce_plain)(functions, groups, rows)
    rows.flush()
    return Handed(groups.checksum, groups.position)


class Partition:
    """The groups of one partition, within a budget.

    Args:
        room: Memory that it may take.
        scratch: Folder for spills.
        order: By what the blocks are sorted.

    Attributes:
        spills: What went to disk.
    """

    def __init__(self, *, room: Room, scratch: Path, order: BlockOrder = BY_KEY) -> None:
        self._order = order
        self._held: dict[KeyKind, list[GroupBlock]] = {}
        self._held_bytes = 0
        self._most_held = min(room.budget // order.held_share, _MOST_HELD)
        self._tight = room.tight
        self._piece_bytes = min(_PIECE_BYTES, max(room.budget // 16, 1))
        self.spills = Spills(scratch, partitions=1, budget=room.budget, order=order)

    def add(self, block: GroupBlock) -> None:
        """Take a block."""
        self._held.setdefault(block.keys.kind, []).append(block)
        self._held_bytes += block_bytes(block)
        if self._held_bytes > self._most_held or (self._held_bytes > self._most_held // _LITTLE and self._tight()):
            self.spills.add(lambda _: self._drain())
            self._held_bytes = 0
            release()

    def blocks(self) -> Blocks:
        """Yield all groups in the order of (key kind, key), in blocks of a size that decodes well; nothing may be added after."""
        self.spills.settle()
        yield from collect(merge_streams([*self.spills.streams(0), self._drain()], self._order), self._piece_bytes)

    def close(self) -> None:
        """Drop everything."""
        self._held.clear()
        self.spills.close()

    def _drain(self) -> Blocks:
        for kind in sorted(self._held):
            yield self._order.merge(self._held.pop(kind))


@dataclass(slots=True)
class Stretch:
    """Some groups, one after the other.

    Attributes:
        keys: The keys; emptied when the attempt should end, so that a loop over them does.
        values: The values of them all, and of others.
        offsets: Where the values of each key begin, and the last ones end.
        long: The values of the only key, which may go on in what was not read yet; `None` where all values are here.
        done: How many groups are done.
    """

    keys: list[Any]
    values: list[Any]
    offsets: list[int]
    long: Iterator[Any] | None = None
    done: int = 0

    def __iter__(self) -> Iterator[tuple[Any, Iterator[Any]]]:
        """Yield each key with an iterator of its values."""
        if self.long is not None:
            yield self.keys[0], self.long
            return
        for key, (begin, end) in zip(self.keys, pairwise(self.offsets), strict=False):
            yield key, iter(self.values[begin:end])


class Groups:
    """Hands out groups as a key and an iterator of its values.

    Args:
        blocks: In order; a key may go on in the next block.
        meter: Counts pairs, and may end or stop the attempt.
        done: How many groups are left out, because they are reduced already.

    Attributes:
        meter: As given.
        checksum: Sum of the hashes of the pairs handed out so far, modulo 2**64.
        position: Once the groups have ended, that of the first one not handed out, because the attempt was due; `None` at the end.
    """

    def __init__(self, blocks: Blocks, meter: Meter, *, done: int = 0) -> None:
        self._blocks = behind(blocks, done, meter)
        self._done = done
        self.meter = meter
        self.checksum = 0
        self.position: Position | None = None
        self._open: GroupBlock | None = None
        self._following: GroupBlock | None = None
        self._broken: Exception | None = None
        self._stretch: Stretch | None = None
        self._long_values = 0

    def __iter__(self) -> Iterator[tuple[Any, Iterator[Any]]]:
        """Yield each key with its values; the iterator is good until the next key is asked for."""
        for stretch in self.stretches():
            for key, values in stretch:
                yield key, values
                stretch.done += 1

    def stretches(self, most: Callable[[], int] = lambda: MOST_ROWS) -> Iterator[Stretch]:
        """Yield stretches of groups, of which whoever gets one says how many are done before asking for the next.

        Args:
            most: Says how many groups the next stretch may have.
        """
        block = next(self._blocks, None)
        while block is not None:
            self.meter.check()
            keys, values = decode_keys(block.keys), decode_values(block.values)
            offsets = block.offsets.tolist()
            last = len(keys) - 1
            row = 0
            while row < last and not self.meter.ending:
                self._stretch = stretch = Stretch(self.meter.lay_out(keys[row : min(last, row + most())]), values, offsets[row : last + 1])
                yield stretch
                row += stretch.done
            if self.meter.ending:
                self.position = Position(done=self._done + self.meter.done)
                self._count(slice_groups(block, 0, row))
                return
            self._count(block)
            self._open = slice_groups(block, last, last + 1)
            self._following = None
            self._long_values = offsets[last + 1] - offsets[last]
            self._stretch = Stretch(keys[last:], values, offsets[last:], self._long(self._open, values[offsets[last] :]))
            yield self._stretch
            self.drain()
            block = self._following
            collect_young()

    def drain(self) -> None:
        """Read what is left of the open group, whose pairs are counted as they are read."""
        while self._more() is not None:
            pass

    def _count(self, block: GroupBlock) -> None:
        """Count the pairs of groups that are handed out."""
        if len(block.keys):
            self.meter.pairs_in += len(block.values)
            self.checksum = (self.checksum + block_checksum(block)) % 2**64

    def check(self) -> None:
        """Raise what failed in the iterator while `reduce` was reading from it, even if `reduce` swallowed that."""
        if self._broken is not None:
            raise self._broken

    def fail(self, key: Any, error: BaseException, *, place: CodePlace | None = None) -> NoReturn:
        """Raise the right error after `reduce` raised one, or gave a wrong shape at some `place`."""
        self.check()
        number, count = self._done + self.meter.records_read, self._count_values()
        failure = UserCodeError("reduce", short_repr(key), record_number=number, value_count=count)
        failure.place = place if isinstance(error, PairShapeError) else None
        raise failure from error

    def _count_values(self) -> int:
        """Return how many values the group has that was handed out last; -1 if they are too many to be counted now."""
        stretch = self._stretch
        if stretch is None:
            return -1
        if stretch.long is None:
            return stretch.offsets[stretch.done + 1] - stretch.offsets[stretch.done]
        with suppress(Exception):  # what broke is told: the failure of `reduce`
            if any(self._more() is None for _ in range(_COUNTED_BLOCKS)):
                return self._long_values
        return -1

    def _long(self, group: GroupBlock, values: list[Any]) -> Iterator[Any]:
        """Yield the values of a group that may go on in the blocks that follow."""
        yield from values
        while self._open is group and (more := self._more()) is not None:
            yield from decode_values(more.values)

    def _more(self) -> GroupBlock | None:
        """Return what the next block holds of the open group; `None`, and the group is closed, when it has ended."""
        if self._open is None:
            return None
        try:
            self.meter.check()
            block = next(self._blocks, None)
            if block is None or not goes_on(self._open, block):
                self._open, self._following = None, block
                return None
        except Exception as error:
            self._open, self._broken = None, error
            raise
        if len(block.keys) > 1:
            self._open, self._following = None, slice_groups(block, 1, len(block.keys))
        more = slice_groups(block, 0, 1)
        self._long_values += len(more.values)
        self._count(more)
        return more


def behind(blocks: Blocks, groups: int, meter: Meter) -> Blocks:
    """Yield what follows so many groups; one that goes on from block to block is one."""
    last: GroupBlock | None = None
    for block in blocks:
        meter.check()
        begun = last is not None and goes_on(last, block)
        first = groups + begun
        if first < len(block.keys):
            yield slice_groups(block, first, len(block.keys))
            break
        groups -= len(block.keys) - begun
        last = slice_groups(block, len(block.keys) - 1, len(block.keys))
    yield from blocks


def goes_on(group: GroupBlock, block: GroupBlock) -> bool:
    """Whether a block of one group, or more, begins with the group that another one begins with."""
    return group.keys.kind is block.keys.kind and bool(order_key(group.keys, 0) == order_key(block.keys, 0))


def _under_way(keys: Sequence[Any], results: Sequence[Any]) -> UserCodeError | None:
    """Return the error that names the group which is being reduced, behind those that have a result."""
    return UserCodeError("reduce", short_repr(keys[len(results)])) if len(results) < len(keys) else None


def _reduce_plain(functions: Functions, groups: Groups, rows: RowBuffer) -> None:
    """Call a `reduce` that returns the value of a row: a tight loop, whose results are counted a stretch at a time."""
    reduce, meter = functions.reduce, groups.meter
    assert reduce is not None  # noqa: S101 - a plan without `reduce` has no reduce phase
    for stretch in groups.stretches(lambda: rows.limit):
        keys, values, begin = list(stretch.keys), stretch.values, stretch.offsets[0]
        results: list[Any] = []
        meter.ends = results
        meter.place = partial(_under_way, keys, results)
        try:
            if stretch.long is not None:
                results.append(reduce(keys[0], stretch.long))
            else:
                add = results.append
                for key, end in zip(stretch.keys, stretch.offsets[1:], strict=False):
                    add(reduce(key, iter(values[begin:end])))
                    begin = end
        except BaseException as error:  # noqa: BLE001 - `fail` raises it again
            meter.records_read += len(results) + 1
            meter.records_mapped += len(results)
            stretch.done = len(results)
            groups.fail(keys[len(results)], error)
        groups.check()
        stretch.done = len(results)
        meter.records_read += stretch.done
        meter.records_mapped += stretch.done
        rows.keys += keys[: stretch.done]
        rows.values += results
        if len(rows.keys) >= rows.limit:
            rows.flush()


def _reduce_yielding(functions: Functions, groups: Groups, rows: RowBuffer) -> None:
    reduce, meter = functions.reduce, groups.meter
    assert reduce is not None  # noqa: S101 - a plan without `reduce` has no reduce phase
    rows.groups = []
    meter.emitted = rows.keys
    meter.place = lambda: UserCodeError("reduce", short_repr(group))
    for group, values in groups:
        meter.records_read += 1
        more = True
        try:
            stream: Iterator[Any] = iter(reduce(group, values))
        except BaseException as error:  # noqa: BLE001 - `fail` raises it again
            groups.fail(group, error)
        while more:
            before, limit = len(rows.keys), rows.limit
            try:
                for item in islice(stream, limit):
                    key, value = checked_pair(item, "reduce")
                    rows.keys.append(key)
                    rows.values.append(value)
            except BaseException as error:  # noqa: BLE001 - `fail` raises it again
                groups.fail(group, error, place=place_of(reduce, stream))
            added = len(rows.keys) - before
            rows.groups += [group] * added
            more = added == limit
            if len(rows.keys) >= rows.limit:
                rows.flush()
        groups.check()
        meter.records_mapped += 1
