"""A program that is watched while it runs in this process: how long its functions take, and which keys they give.

Rules of this module: the program does what it does unwatched; only whole steps are timed, and never single calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from smr_notebook.dataflow.columns import decode_values, encode_values
from smr_notebook.dataflow.functions import Pair
from smr_notebook.dataflow.grouping import Pairs, group_pairs
from smr_notebook.dataflow.heavy_keys import heaviest_keys
from smr_notebook.dataflow.inputs import SplitInput
from smr_notebook.dataflow.keys import KeyColumn, KeyKind, concat_keys, decode_keys
from smr_notebook.dataflow.merging import Blocks
from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.outputs import PartWriter
from smr_notebook.dataflow.programs import Emitter, Handed, Program
from smr_notebook.model import AttemptId, Position, Receipt

HEAVIEST: Final = 5
"""How many keys are told."""


@dataclass(frozen=True, slots=True)
class HeavyKey:
    """A key that has many of the pairs.

    Attributes:
        key: The key.
        pairs: How many pairs it has.
        share: Which part of all pairs.
    """

    key: Any
    pairs: int
    share: float


class Watched:
    """What of a program `run_map`, `run_map_to_part` and `run_reduce` need, watched.

    Args:
        program: The program.
        now: Tells the time in seconds.
        kept: How many of the first pairs are kept.

    Attributes:
        map_seconds: How long mapping took, with the reading that it waits for.
        reduce_seconds: How long reducing took.
        pairs: The first pairs that were given.
    """

    def __init__(self, program: Program, now: Callable[[], float], *, kept: int = 0) -> None:
        self._program = program
        self._now = now
        self._kept = kept
        self._keys: dict[KeyKind, list[KeyColumn]] = {}
        self.map_seconds = 0.0
        self.reduce_seconds = 0.0
        self.pairs: list[Pair] = []

    @contextmanager
    def watching(self, program: Program) -> Iterator[None]:
        """Watch another program within the block: the same with its functions set up."""
        before, self._program = self._program, program
        try:
            yield
        finally:
            self._program = before

    def emitter(self, input: SplitInput, *, meter: Meter, batch_bytes: int) -> Emitter:
        """Return what maps the records of a split."""
        return _WatchedEmitter(self._program.emitter(input, meter=meter, batch_bytes=batch_bytes), self)

    def map_to_rows(self, input: SplitInput, sink: PartWriter, *, meter: Meter) -> Position | None:
        """See `programs.Program.map_to_rows`."""
        began = self._now()
        try:
            return self._program.map_to_rows(input, sink, meter=meter)
        finally:
            self.map_seconds += self._now() - began

    def reduce(self, blocks: Blocks, sink: PartWriter, *, meter: Meter, done: int) -> Handed:
        """See `programs.Program.reduce`."""
        began = self._now()
        try:
            return self._program.reduce(blocks, sink, meter=meter, done=done)
        finally:
            self.reduce_seconds += self._now() - began

    def next_of(self, batches: Iterator[Sequence[Pairs]]) -> Sequence[Pairs] | None:
        """Return the next batch, timed; `None` at the end."""
        began = self._now()
        batch = next(batches, None)
        self.map_seconds += self._now() - began
        for keys, values in batch or ():
            self._keys.setdefault(keys.kind, []).append(keys)
            wanted = min(self._kept - len(self.pairs), len(keys))
            if wanted > 0:
                self.pairs += zip(decode_keys(keys.slice(0, wanted)), decode_values(values.slice(0, wanted)), strict=True)
        return batch

    def heaviest(self) -> tuple[HeavyKey, ...]:
        """Return the keys that have most pairs, the heaviest first; of equal ones, the first in key order."""
        columns = [concat_keys(self._keys[kind]) for kind in sorted(self._keys)]
        total = sum(map(len, columns))
        groups = (group_pairs([(keys, encode_values([None] * len(keys)))]) for keys in columns)
        found = heaviest_keys(groups, HEAVIEST)
        return tuple(HeavyKey(decode_keys(key)[0], pairs, pairs / total) for key, pairs in found)


class _WatchedEmitter:
    """Implements `programs.Emitter`."""

    def __init__(self, inner: Emitter, watched: Watched) -> None:
        self._inner = inner
        self._watched = watched

    @property
    def position(self) -> Position | None:
        """As the inner one."""
        return self._inner.position

    def batches(self) -> Iterator[Sequence[Pairs]]:
        """As the inner one."""
        inner = self._inner.batches()
        while (batch := self._watched.next_of(inner)) is not None:
            yield batch


class RunInMemory:
    """The run of one map attempt, where one partition is all there is; implements `ports.ExchangeWriter`.

    Args:
        attempt: Which attempt.

    Attributes:
        blocks: What was written.
    """

    def __init__(self, attempt: AttemptId) -> None:
        self._attempt = attempt
        self._pairs = 0
        self.blocks: list[bytes] = []

    def write(self, partition: int, block: bytes, *, groups: int, pairs: int, checksum: int) -> None:  # noqa: ARG002 - the port's verb
        """See `ports.ExchangeWriter.write`."""
        self.blocks.append(block)
        self._pairs += pairs

    def close(self) -> Receipt:
        """See `ports.ExchangeWriter.close`. It names nothing: whoever reads has the blocks."""
        return Receipt(self._attempt, "", sum(map(len, self.blocks)), 0, 0, self._pairs)

    def abort(self) -> None:
        """See `ports.ExchangeWriter.abort`."""
        self.blocks.clear()
