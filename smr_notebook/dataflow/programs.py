"""A program: what a job runs, and all that one kind of job does otherwise than another.

A job is planned, coordinated, proved and committed in one way, whatever it computes. What it computes is a program: it travels as the
job's code, turns the input of a split into pairs as columns, says how they are combined before they travel, and turns the groups of
a partition into rows. Between these steps everything is shared: grouping, spilling, the exchange, counting, checksums.

`pair_programs` is the program of a user's `map` and `reduce`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from smr_notebook.dataflow.combining import Combiner
from smr_notebook.dataflow.functions import Pair
from smr_notebook.dataflow.grouping import Pairs
from smr_notebook.dataflow.inputs import SplitInput
from smr_notebook.dataflow.merging import Blocks
from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.outputs import PartWriter
from smr_notebook.model import Position, Sorting


class Emitter(Protocol):
    """The pairs of a split."""

    @property
    def position(self) -> Position | None:
        """Once the batches have ended: that of the first record not mapped, because the attempt was due; `None` at the end."""
        ...

    def batches(self) -> Iterator[Sequence[Pairs]]:
        """Yield batches of pairs as columns, one for each kind of key; what they hold is counted by the meter before it is given.

        Raises:
            UserCodeError: `map` raised, or gave something else than it should.
            AttemptStopped: The meter was told to stop.
        """
        ...


@dataclass(frozen=True, slots=True)
class Handed:
    """What a reduce task did with the groups of a partition.

    Attributes:
        checksum: Sum of the hashes of the pairs that it was given, modulo 2**64, taken anew from the groups.
        position: Where the next attempt goes on; `None` when the groups came to their end.
    """

    checksum: int
    position: Position | None


@dataclass(frozen=True, slots=True)
class Tried:
    """Something that was mapped to see what it gives: so many records of so many input bytes, and their pairs, or the first of them."""

    records: int
    size: float
    pairs: Sequence[Pair]


class Program(Protocol):
    """What a job runs. Its objects are pickled, and made of what the user gave."""

    @property
    def reduces(self) -> bool:
        """Whether pairs are shuffled and reduced; else the map tasks write the rows."""
        ...

    @property
    def combines(self) -> bool:
        """Whether pairs are combined before they travel."""
        ...

    @property
    def splits_per_worker(self) -> int:
        """How many splits each worker should get at least of an input that is small: many balance well, few shuffle less."""
        ...

    @property
    def grouped_order(self) -> bool:
        """Whether rows carry the key of the group that they came from."""
        ...

    @property
    def sorting(self) -> Sorting:
        """What is sorted besides the keys of a partition."""
        ...

    def named(self) -> Iterable[tuple[str, Callable[..., Any]]]:
        """Return the user's functions, with the names that messages call them by."""
        ...

    def check_input(self, inputs: Sequence[SplitInput]) -> None:
        """Refuse input that it cannot read, before anything runs; there is at least one split. Raises `PlanError`."""
        ...

    def try_out(self, input: SplitInput) -> Iterator[Tried]:
        """Map the records of a split, for a sample: nothing is counted and nothing is kept. Raises whatever the user's code raises."""
        ...

    @property
    def has_law(self) -> bool:
        """Whether there is something that only a sample of pairs can show to be right."""
        ...

    def check(self, pairs: Sequence[Pair]) -> None:
        """Check that on a sample. Raises `PlanError`."""
        ...

    def emitter(self, input: SplitInput, *, meter: Meter, batch_bytes: int) -> Emitter:
        """Return what maps the records of a split.

        Args:
            input: The split.
            meter: Counts, and may end or stop the attempt.
            batch_bytes: About how large a batch may become.
        """
        ...

    def combiner(self, *, tolerant: bool = False) -> Combiner:
        """Return what combines the pairs of one map attempt; where it is `tolerant`, what cannot be combined is left for `reduce`."""
        ...

    def map_to_rows(self, input: SplitInput, sink: PartWriter, *, meter: Meter) -> Position | None:
        """Map the records of a split and write the pairs as rows, where nothing is reduced; return the position as of `Emitter`.

        Raises as `Emitter.batches` does.
        """
        ...

    def reduce(self, blocks: Blocks, sink: PartWriter, *, meter: Meter, done: int) -> Handed:
        """Turn the groups of a partition into rows.

        Args:
            blocks: All groups, in the order of (key kind, key), and their values in theirs if they are sorted; a large group goes on from
                block to block.
            sink: Takes the rows.
            meter: Counts groups as records, and pairs; may end or stop the attempt.
            done: How many groups are left out, because they are reduced already.

        Raises:
            UserCodeError: `reduce` raised, or gave something else than it should.
            AttemptStopped: The meter was told to stop.
        """
        ...
