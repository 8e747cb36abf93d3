"""Running the user's `map` where a record that fails is left out: the drain of a tolerant job.

A record counts as a whole or not at all. So its pairs stand at the end of the batch until it is done, and are cut off when it fails; a
batch holds whole records only, and is as large as its last record makes it.

What cannot be grouped or stored is noticed batch by batch, as everywhere: by the types of its keys and values if these are plain, else by
encoding them. Only a batch that is refused is looked at record by record.

Rules of this module:

* A record that fails leaves no pair, whatever it had yielded before, and one line (`bad_records`).
* What a call counted that failed does not count (`counting`).
* What is left out is what an `Exception` of the user's names. Memory that is used up, an exit and an interrupt end the attempt.
* A record whose pairs take more memory than a batch may ends the attempt under its name: it is not left out, because it is not wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any, Final

from smr_notebook.dataflow.bad_records import BadRecords
from smr_notebook.dataflow.draining import Batch, Drain, checked_pair, record_failure, sample_bytes, shape_error
from smr_notebook.dataflow.functions import Functions
from smr_notebook.dataflow.meter import AttemptStopped, Meter
from smr_notebook.dataflow.records import RecordBlock, Unreadable
from smr_notebook.errors import PairShapeError

Check = Callable[[list[Any], list[Any]], object]
"""Raises whatever keys and values cannot be written for, a pair for each row."""

MOST_HELD: Final = 16 << 20
"""Bytes that the pairs of one record, or the rows of one group, may take at least, because they are held until it is done."""

MOST_STRETCH: Final = 10_000
"""Pairs of one record, or rows of one group, after which they are weighed at the latest: sooner where those before were large."""

_FATAL: Final = (AttemptStopped, MemoryError)


def drain_of(functions: Functions, blocks: Iterable[RecordBlock], *, meter: Meter, batch_bytes: int, check: Check) -> Drain:
    """Return what drains `map`: where the meter takes what is left out, a drain that leaves out.

    Args:
        functions: As of `Drain`; so are `blocks`, `meter` and `batch_bytes`.
        blocks: See above.
        meter: See above.
        batch_bytes: See above.
        check: Refuses what cannot be written.
    """
    if meter.bad is None:
        return Drain(functions, blocks, meter=meter, batch_bytes=batch_bytes)
    return TolerantDrain(functions, blocks, meter.bad, meter=meter, batch_bytes=batch_bytes, check=check)


def is_fatal(error: BaseException) -> bool:
    """Whether what a user's function raised ends the attempt, even where failures are left out."""
    return not isinstance(error, Exception) or isinstance(error, _FATAL)


def weight_of(keys: list[Any], values: list[Any]) -> int:
    """Return about how many bytes some pairs take; 0 for what cannot be stored, of which the check tells."""
    try:
        return sample_bytes(keys) + sample_bytes(values)
    except Exception as error:
        if is_fatal(error):
            raise
        return 0


class TolerantDrain(Drain):
    """The pairs that `map` emits for the records that do not fail.

    Args:
        functions: As of `Drain`; so are `blocks`, `meter` and `batch_bytes`, which bounds the pairs of one record, too, if it is large.
        blocks: See above.
        bad: Takes the others.
        meter: See above.
        batch_bytes: See above.
        check: Refuses what cannot be written.
    """

    def __init__(
        self,
        functions: Functions,
        blocks: Iterable[RecordBlock],
        bad: BadRecords,
        *,
        meter: Meter,
        batch_bytes: int,
        check: Check,
    ) -> None:
        super().__init__(functions, blocks, meter=meter, batch_bytes=batch_bytes)
        self._bad = bad
        self._check = check
        self._most_held = max(batch_bytes, MOST_HELD)

    def _flush(self) -> Iterator[Batch]:
        batch = self._batch
        try:
            self._check(batch.keys, batch.values)
        except Exception as error:
            if is_fatal(error):
                raise
            self._leave_out_refused(batch)
        yield from super()._flush()

    def _drain(self, block: RecordBlock, first: int) -> Iterator[Batch]:
        """Map the records of a block from index `first` on, as far as the meter lets it."""
        call: Callable[[object], Any] = self._functions.map
        if self._functions.map_takes_source:
            call = partial(self._functions.map, block.source)
        take = self._take_proved if self._proved.pairs else self._take
        meter = self._meter
        rest = meter.lay_out(block.records, first)
        self._begin(block, first)
        batch, limit, counts = self._batch, self._limit, meter.counts
        own, others = counts.own, counts.others
        for record in rest:
            mark = len(batch.keys)
            if type(record) is Unreadable:
                self._leave_out(block, batch.reached, record.error)
            else:
                try:
                    take(call(record), batch)
                except BaseException as error:  # noqa: BLE001 - the user's function may raise anything
                    del batch.keys[mark:], batch.values[mark:]
                    counts.drop()
                    self._leave_out(block, batch.reached, error)
                else:
                    meter.records_mapped += 1
                    if own or others:
                        counts.keep()
            batch.ends.append(len(batch.keys))
            if len(batch.keys) >= limit:
                index = batch.reached
                yield from self._flush()
                self._begin(block, index)
                batch, limit = self._batch, self._limit

    def _take_proved(self, pairs: Any, batch: Batch) -> None:
        """Take what a generator gives that is proved to yield pairs."""
        add_key, add_value, keys = batch.keys.append, batch.values.append, batch.keys
        stretch, held = min(self._limit, MOST_STRETCH), 0
        while True:
            mark = len(keys)
            for key, value in islice(pairs, stretch):
                add_key(key)
                add_value(value)
            if len(keys) - mark < stretch:
                return
            held = self._weigh(held, batch, mark)

    def _take(self, pairs: Any, batch: Batch) -> None:
        """Take what a function gives, whatever it may be."""
        if pairs is None:
            return
        add_key, add_value, keys = batch.keys.append, batch.values.append, batch.keys
        stretch, held = min(self._limit, MOST_STRETCH), 0
        pair: Any = None
        try:
            stream = iter(pairs)
            while True:
                mark = len(keys)
                for pair in islice(stream, stretch):
                    key, value = pair if type(pair) is tuple else checked_pair(pair, "map")
                    add_key(key)
                    add_value(value)
                if len(keys) - mark < stretch:
                    return
                held = self._weigh(held, batch, mark)
        except Exception as error:
            cause = None if isinstance(error, PairShapeError) else shape_error(pairs, pair)
            if cause is not None:
                raise cause from None
            raise

    def _weigh(self, held: int, batch: Batch, mark: int) -> int:
        """Return what a record holds with its pairs from `mark` on, which held so many bytes before them. Refuses too much."""
        held += weight_of(batch.keys[mark:], batch.values[mark:])
        if held > self._most_held:
            raise MemoryError(
                f"map gave more than {self._most_held:,} bytes of pairs for one record, and where failures are left out, the pairs of a "
                "record are held until it is done. Raise worker_memory, yield less for a record, or leave on_error out."
            )
        return held

    def _leave_out(self, block: RecordBlock, index: int, error: BaseException) -> None:
        if is_fatal(error):
            raise record_failure(block, index) from error
        record, function = block.records[index], "map"
        if type(record) is Unreadable:
            record, function = record.raw, "read"
        self._meter.records_bad += 1
        number = block.at.done + index + 1
        self._bad.add(function, record, error, number=number, source=block.source, offset=partial(block.locate, index))

    def _leave_out_refused(self, batch: Batch) -> None:
        """Take the pairs of those records out of a batch that have one that cannot be written."""
        keys, values, ends, begin = batch.keys, batch.values, batch.ends, 0
        batch.keys, batch.values, batch.ends = [], [], []
        for (block, start, first), stop in zip(batch.blocks, [*(start for _, start, _ in batch.blocks[1:]), len(ends)], strict=True):
            for place in range(start, stop):
                end = ends[place]
                try:
                    if end > begin:
                        self._check(keys[begin:end], values[begin:end])
                except Exception as error:  # noqa: BLE001 - as in `_flush`
                    self._meter.records_mapped -= 1
                    self._leave_out(block, first + place - start, error)
                else:
                    batch.keys += keys[begin:end]
                    batch.values += values[begin:end]
                batch.ends.append(len(batch.keys))
                begin = end
