"""Running the user's `map` over the records: the hottest loop of the package.

A bare loop and two bound appends a pair are as fast as Python goes, so the loop does nothing that can be done later:

* Where a record stands is worked out only when one fails, or when the attempt ends before its records do: from where each
  record's pairs end in the batch.
* Whether the attempt should end is asked when a loop over records ends; `meter` says why that is soon enough.
* A pair is checked by its exact type before it is unpacked, since a string of two characters unpacks as well; unless the bytecode of
  `map` proves that it yields nothing else (`yields`). Where the same proof gives the value, only keys are collected.
* `islice` bounds what one record can add to a batch, so that a record with millions of pairs is cut into batches.
* The cyclic garbage collector would walk millions of live pairs again and again: it rests while a batch grows, and looks
  at what is young after each batch.

Batches start tiny and grow as long as their measured size allows: nobody knows beforehand how large a pair is.
"""

from __future__ import annotations

import gc
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any

from smr_notebook.dataflow.columns import encode_values
from smr_notebook.dataflow.functions import Functions, UserCodeError, place_of, short_repr
from smr_notebook.dataflow.meter import AttemptStopped, Meter
from smr_notebook.dataflow.positions import reached
from smr_notebook.dataflow.records import RecordBlock
from smr_notebook.dataflow.yields import proved_of
from smr_notebook.errors import PairShapeError
from smr_notebook.model import Position

MOST_PAIRS = 100_000
"""Larger batches are slower: their pages are fetched from the system anew each time."""
MOST_BYTES = 1 << 20
"""The same, for large values: of 100 bytes, batches of 8 MiB take half as long again."""
_FIRST_PAIRS = 16
_GROWTH = 8


@contextmanager
def resting_collector() -> Iterator[None]:
    """Keep the cyclic garbage collector from running by itself, and leave it as it was found."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def collect_young() -> None:
    """Collect what has become garbage since the last call. Cheap when a batch has just been dropped."""
    gc.collect(1)


def sample_bytes(items: list[Any]) -> int:
    """Return about how many bytes the items take as a column, from a sample of them."""
    if not items:
        return 0
    sample = items[:: max(1, len(items) // 16)]
    return encode_values(sample).array.nbytes * len(items) // len(sample)


class Batch:
    """Pairs in the order in which `map` emitted them, and what is needed to find the record of a pair.

    Attributes:
        keys: A key for each pair.
        values: A value for each pair.
        constant: Whether all values are one object.
        ends: For each record, how many pairs the batch held after it.
        blocks: For each block of records that the batch draws on: the block, where its records begin in `ends`, and the index
            in the block of the first of them.
    """

    __slots__ = ("blocks", "constant", "ends", "keys", "values")

    def __init__(self) -> None:
        self.keys: list[Any] = []
        self.values: list[Any] = []
        self.constant = False
        self.ends: list[int] = []
        self.blocks: list[tuple[RecordBlock, int, int]] = []

    @property
    def reached(self) -> int:
        """Index in its block of the record whose pairs come next."""
        _, begin, first = self.blocks[-1]
        return first + len(self.ends) - begin

    def clear(self) -> None:
        """Let go of the pairs, which are the most of it."""
        self.keys.clear()
        self.values.clear()

    def failure(self, pair: int) -> UserCodeError:
        """Return the error that names the record which emitted a pair; its cause is for the caller to set."""
        place = bisect_right(self.ends, pair)
        block, begin, first = self.blocks[bisect_right([begin for _, begin, _ in self.blocks], place) - 1]
        return record_failure(block, first + place - begin)


def record_failure(block: RecordBlock, index: int) -> UserCodeError:
    """Return the error that names one record of a block."""
    return UserCodeError(
        "map",
        short_repr(block.records[index]),
        source=block.source,
        offset=block.locate(index),
        record_number=block.at.done + index + 1,
    )


def checked_pair(item: object, function: str) -> Sequence[Any]:
    """Return the item if it is a tuple or list of two.

    Raises:
        PairShapeError: It is anything else.
    """
    if isinstance(item, tuple | list) and len(item) == 2:
        return item
    instead = "return a list of such pairs" if function == "map" else "return the one value of the group"
    raise PairShapeError(
        f"{function} must yield (key, value) pairs; got {short_repr(item)} ({type(item).__name__}). Write `yield key, value`, or {instead}"
    )


class Drain:
    """The pairs that `map` emits for the records of a split, in batches.

    Args:
        functions: The user's.
        blocks: The records.
        meter: Counts bytes, records and pairs, and may end the attempt.
        batch_bytes: About how large a batch may become, as `fit` is told.

    Attributes:
        position: Once the batches have ended, that of the first record not mapped, because the attempt was due; `None` at the end.
    """

    def __init__(self, functions: Functions, blocks: Iterable[RecordBlock], *, meter: Meter, batch_bytes: int) -> None:
        self._functions = functions
        self._proved = proved_of(functions.map)
        self._blocks = blocks
        self._meter = meter
        self._batch_bytes = min(batch_bytes, MOST_BYTES)
        self._limit = _FIRST_PAIRS
        self._batch = Batch()
        self.position: Position | None = None

    def fit(self, pairs: int, size: int) -> None:
        """Tell that so many pairs took so many bytes: the next batches grow or shrink to suit.

        Args:
            pairs: Pairs of the last batch.
            size: Bytes that they take.
        """
        affordable = self._batch_bytes * pairs // max(size, 1)
        self._limit = max(1, min(self._limit * _GROWTH, affordable, MOST_PAIRS))

    def batches(self) -> Iterator[Batch]:
        """Yield the batches; none is empty.

        Raises:
            UserCodeError: `map` raised, or gave something else than pairs.
            AttemptStopped: The meter was told to stop.
        """
        meter = self._meter
        meter.place = self._under_way
        unflushed = 0
        for block in self._blocks:
            meter.check()
            index = 0
            while index < len(block.records) and self.position is None:
                if meter.ending:
                    self.position = reached(block, index)
                else:
                    yield from self._drain(block, index)
                    index = self._batch.reached
            if self.position is not None:
                meter.records_read += index
                break
            meter.bytes_read += block.size
            meter.records_read += len(block.records)
            unflushed += block.size
            if unflushed >= self._batch_bytes:  # values are often as large as the records they come from
                yield from self._flush()
                unflushed = 0
        meter.ahead = []
        yield from self._flush()

    def _flush(self) -> Iterator[Batch]:
        batch, self._batch = self._batch, Batch()
        if batch.keys:
            self._meter.pairs_in += len(batch.keys)
            batch.constant = bool(self._proved.value)
            if batch.constant:
                batch.values = [*self._proved.value] * len(batch.keys)
            yield batch
            self._meter.check()

    def _drain(self, block: RecordBlock, first: int) -> Iterator[Batch]:
        """Map the records of a block from index `first` on, as far as the meter lets it."""
        call: Callable[[object], Any] = self._functions.map
        if self._functions.map_takes_source:
            call = partial(self._functions.map, block.source)
        rest = self._meter.lay_out(block.records, first)
        self._begin(block, first)
        try:
            if not self._proved.pairs:
                yield from self._checked(call, rest)
            elif self._proved.value:
                yield from self._keys(call, rest)
            elif self._proved.once:
                yield from self._single(call, rest)
            else:
                yield from self._pairs(call, rest)
        except (AttemptStopped, GeneratorExit):  # the second when nobody wants more batches
            raise
        except BaseException as error:
            failure = record_failure(block, self._batch.reached)
            if isinstance(error, _Misshapen):
                failure.place = place_of(self._functions.map, error.emitted)
                raise failure from error.cause
            raise failure from error
        self._meter.records_mapped += self._batch.reached - first  # what the loop did, not what it was given

    def _checked(self, call: Callable[[object], Any], records: list[Any]) -> Iterator[Batch]:
        """Map records to whatever it may be."""
        pairs: Any = None
        pair: Any = None
        batch, limit = self._batch, self._limit
        add_key, add_value, add_end, keys = batch.keys.append, batch.values.append, batch.ends.append, batch.keys
        try:
            for record in records:
                pairs = call(record)
                if pairs is None:
                    add_end(len(keys))
                    continue
                stream = iter(pairs)
                while True:
                    for pair in islice(stream, limit):
                        if type(pair) is tuple:
                            key, value = pair
                        else:
                            key, value = checked_pair(pair, "map")
                        add_key(key)
                        add_value(value)
                    add_end(len(keys))
                    if len(keys) < limit:
                        break
                    yield from self._next()
                    batch, limit = self._batch, self._limit
                    add_key, add_value, add_end, keys = batch.keys.append, batch.values.append, batch.ends.append, batch.keys
        except (AttemptStopped, GeneratorExit):
            raise
        except BaseException as error:
            cause = error if isinstance(error, PairShapeError) else shape_error(pairs, pair)
            if cause is not None:
                raise _Misshapen(cause, pairs) from None
            raise

    def _pairs(self, call: Callable[[object], Iterator[Any]], records: list[Any]) -> Iterator[Batch]:
        """Map records by a generator function that is proved to yield pairs."""
        batch, limit = self._batch, self._limit
        add_key, add_value, add_end, keys = batch.keys.append, batch.values.append, batch.ends.append, batch.keys
        for record in records:
            stream = call(record)
            while True:
                for key, value in islice(stream, limit):
                    add_key(key)
                    add_value(value)
                add_end(len(keys))
                if len(keys) < limit:
                    break
                yield from self._next()
                batch, limit = self._batch, self._limit
                add_key, add_value, add_end, keys = batch.keys.append, batch.values.append, batch.ends.append, batch.keys

    def _single(self, call: Callable[[object], Iterator[Any]], records: list[Any]) -> Iterator[Batch]:
        """Map records by a generator function that is proved to yield one pair, or none: as many records as there is room for pairs."""
        rest = iter(records)
        while True:
            batch, keys = self._batch, self._batch.keys
            add_key, add_value, add_end = keys.append, batch.values.append, batch.ends.append
            wanted = len(batch.ends) + self._limit - len(keys)
            for record in islice(rest, self._limit - len(keys)):
                for key, value in call(record):
                    add_key(key)
                    add_value(value)
                add_end(len(keys))
            if len(batch.ends) < wanted:
                return
            if len(keys) >= self._limit:
                block, index = batch.blocks[-1][0], batch.reached
                yield from self._flush()
                self._begin(block, index)

    def _keys(self, call: Callable[[object], Iterator[Any]], records: list[Any]) -> Iterator[Batch]:
        """Map records by a generator function that is proved to yield pairs of one value."""
        batch, limit = self._batch, self._limit
        add_key, add_end, keys = batch.keys.append, batch.ends.append, batch.keys
        for record in records:
            stream = call(record)
            while True:
                for key, _ in islice(stream, limit):
                    add_key(key)
                add_end(len(keys))
                if len(keys) < limit:
                    break
                yield from self._next()
                batch, limit = self._batch, self._limit
                add_key, add_end, keys = batch.keys.append, batch.ends.append, batch.keys

    def _next(self) -> Iterator[Batch]:
        """Give the batch away while a record is under way, and begin another one."""
        block, index = self._batch.blocks[-1][0], self._batch.reached - 1
        yield from self._flush()
        self._begin(block, index)

    def _under_way(self) -> UserCodeError | None:
        """Return the error that names the record which is being mapped; `None` between two blocks."""
        if not self._batch.blocks:
            return None
        block, index = self._batch.blocks[-1][0], self._batch.reached
        return record_failure(block, index) if index < len(block.records) else None

    def _begin(self, block: RecordBlock, index: int) -> None:
        """Note that the pairs which follow come from the block's records from `index` on."""
        self._batch.blocks.append((block, len(self._batch.ends), index))
        self._meter.ends = self._batch.ends
        self._meter.emitted = self._batch.keys


class _Misshapen(Exception):  # noqa: N818 - carries the error to where its record is known
    """`map` gave something else than it should.

    Attributes:
        cause: What is wrong.
        emitted: What `map` returned.
    """

    def __init__(self, cause: PairShapeError, emitted: object) -> None:
        super().__init__()
        self.cause = cause
        self.emitted = emitted


def shape_error(pairs: object, pair: object) -> PairShapeError | None:
    """Return what is wrong with the last pair that `map` gave, or with all of them; `None` when the fault is another."""
    if pairs is not None and not hasattr(type(pairs), "__iter__") and not hasattr(type(pairs), "__getitem__"):
        return PairShapeError(
            f"map must yield (key, value) pairs, or return an iterable of them, or None; got {short_repr(pairs)} ({type(pairs).__name__})"
        )
    if type(pair) is tuple and len(pair) != 2:
        return PairShapeError(f"map must yield (key, value) pairs; got {short_repr(pair)} (tuple of {len(pair)})")
    return None
