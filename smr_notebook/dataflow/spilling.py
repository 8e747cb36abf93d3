"""Sorted groups on local disk: how a task handles more than its memory holds.

A *spill* is a run (`dataflow.runs`) in a nameless file of the scratch folder: it is gone when it is closed, and when the process
dies. Merging (`dataflow.merging`) reads a few blocks of each spill at a time.

Rules of this module:

* The order of streams is the order of the values of a key.
* Spills are merged as digits are carried: `fan_in` neighbours of one level become one of the next. So their number stays small, each
  pair is rewritten once per level, and only neighbours ever merge, which keeps the order.
* Within a partition, blocks stand in the order of (key kind, key), and where the values are sorted, too, of (key kind, key, value).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from smr_notebook.dataflow.blocks import Codec, GroupBlock, pack, unpack
from smr_notebook.dataflow.grouping import block_bytes, block_checksum, cut_block, merge_blocks
from smr_notebook.dataflow.merging import BlockOrder, Blocks, merge_streams
from smr_notebook.dataflow.runs import RunReader, RunWriter, read_rows
from smr_notebook.ports import ExchangeWriter

_SMALL = 4096
"""Compressing a block of up to so many bytes costs more than it saves."""

_WORTHWHILE = 0.9
_UNTRIED = 15


class BlockWriter:
    """Writes blocks of groups, with their counts and checksums; compressed, as long as that makes them smaller.

    Args:
        writer: Takes the packed blocks.
        codec: How they are compressed.
    """

    def __init__(self, writer: ExchangeWriter | RunWriter, codec: Codec = "lz4") -> None:
        self._writer = writer
        self._codec: Codec = codec
        self._plain = 0  # blocks that are not compressed before it is tried again

    def write(self, partition: int, block: GroupBlock) -> None:
        """Write one block."""
        size = block_bytes(block)
        compressed = size > _SMALL and not self._plain
        data = pack(block, self._codec if compressed else None)
        if compressed and len(data) > _WORTHWHILE * size:
            self._plain = _UNTRIED
        else:
            self._plain -= self._plain > 0
        self._writer.write(partition, data, groups=len(block.keys), pairs=len(block.values), checksum=block_checksum(block))


def collect(blocks: Blocks, size: int) -> Blocks:
    """Make blocks of about `size` bytes out of blocks that stand in (kind, key) order."""
    held: list[GroupBlock] = []
    held_bytes = 0
    for block in blocks:
        if held and (held_bytes >= size or held[0].keys.kind is not block.keys.kind):
            yield from cut_block(merge_blocks(held), size)
            held, held_bytes = [], 0
        held.append(block)
        held_bytes += block_bytes(block)
    if held:
        yield from cut_block(merge_blocks(held), size)


@dataclass(frozen=True, slots=True)
class _Spill:
    file: BinaryIO
    run: RunReader
    level: int


class Spills:
    """The spills of one task, in order.

    Args:
        scratch: Folder for their files.
        partitions: Partitions of each.
        budget: Bytes of memory that merging may take.
        order: By what the blocks of a partition are sorted.

    Attributes:
        written: How many spills were written, those of merging included.
    """

    def __init__(self, scratch: Path, *, partitions: int, budget: int, order: BlockOrder) -> None:
        self._scratch = scratch
        self._order = order
        self._partitions = partitions
        self._spills: list[_Spill] = []
        self.block_size = min(max(budget // 64, 1 << 12), 1 << 20)
        self.fan_in = min(max(budget // (4 * self.block_size), 2), 64)
        self.written = 0

    def __len__(self) -> int:
        return len(self._spills)

    def add(self, partition: Callable[[int], Blocks]) -> None:
        """Write a spill behind the others.

        Args:
            partition: Gives the blocks of one partition, in (kind, key) order.
        """
        self._spills.append(self._write(partition, 0))
        while len(self._spills) >= self.fan_in and self._spills[-self.fan_in].level == self._spills[-1].level:
            self._carry(self.fan_in)

    def settle(self) -> None:
        """Merge until one more pass can read all spills at once."""
        while len(self._spills) > self.fan_in:
            self._carry(min(len(self._spills) - self.fan_in + 1, self.fan_in))

    def streams(self, partition: int) -> list[Blocks]:
        """Return the blocks of one partition, spill by spill."""
        return [self._blocks(spill, partition) for spill in self._spills]

    def close(self) -> None:
        """Give the disk space back."""
        for spill in self._spills:
            spill.file.close()
        self._spills.clear()

    def _carry(self, count: int) -> None:
        merged = self._spills[-count:]
        spill = self._write(
            lambda partition: merge_streams([self._blocks(spill, partition) for spill in merged], self._order), merged[0].level + 1
        )
        self._spills[-count:] = [spill]
        for old in merged:
            old.file.close()

    def _write(self, partition: Callable[[int], Blocks], level: int) -> _Spill:
        file = cast("BinaryIO", tempfile.TemporaryFile(dir=self._scratch))  # noqa: SIM115 - closed by `close`
        try:
            writer = RunWriter(file, self._partitions)
            blocks = BlockWriter(writer)
            for number in range(self._partitions):
                for block in collect(partition(number), self.block_size):
                    blocks.write(number, block)
            end = writer.close()
            rows = read_rows(_reader(file), size=end.size, footer=end.footer, crc=end.crc, name="a spill")
        except BaseException:
            file.close()
            raise
        self.written += 1
        return _Spill(file, RunReader(_reader(file), rows, "a spill"), level)

    def _blocks(self, spill: _Spill, partition: int) -> Blocks:
        return map(unpack, spill.run.blocks(partition, step=self.block_size))


def _reader(file: BinaryIO) -> Callable[[int, int], bytes]:
    def get(start: int, stop: int) -> bytes:
        file.seek(start)
        return file.read(stop - start)

    return get


def write_partition(writer: BlockWriter, partition: int, blocks: Iterable[GroupBlock]) -> int:
    """Write the blocks of one partition, and return how many pairs they hold."""
    pairs = 0
    for block in blocks:
        writer.write(partition, block)
        pairs += len(block.values)
    return pairs
