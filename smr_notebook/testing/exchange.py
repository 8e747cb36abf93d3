"""What every `Exchange` holds.

An adapter subclasses `ExchangeTests` and provides two fixtures:

* `open_exchange`: a function that opens the exchange as a worker does. It is called with `()` to write, and with the committed
  receipts to read.
* `damage`: a function that changes one stored byte of what a receipt names, at the given offset.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from smr_notebook.errors import CorruptObjectError
from smr_notebook.model import AttemptId, Phase, Receipt, TaskId
from smr_notebook.ports import Exchange

OpenExchange = Callable[[Sequence[Receipt]], Exchange]
Damage = Callable[[Receipt, int], None]
Blocks = dict[int, list[bytes]]


def attempt_of(task: int, number: int = 1) -> AttemptId:
    """Return the name of a map attempt."""
    return AttemptId(TaskId(Phase.MAP, task), number)


def write(exchange: Exchange, attempt: AttemptId, blocks: Blocks, *, partitions: int) -> Receipt:
    """Write blocks of one pair each through one attempt, and return its receipt."""
    writer = exchange.writer(attempt, partitions)
    for partition in sorted(blocks):
        for block in blocks[partition]:
            writer.write(partition, block, groups=1, pairs=1, checksum=len(block))
    return writer.close()


def read(exchange: Exchange, partition: int, receipts: Sequence[Receipt]) -> list[list[bytes]]:
    """Read one partition to the end."""
    return [list(blocks) for blocks in exchange.read(partition, receipts)]


class ExchangeTests:
    """The contract of `ports.Exchange` and `ports.ExchangeWriter`."""

    def test_blocks_come_back_whole_and_in_order(self, open_exchange: OpenExchange) -> None:
        """Order of tasks is that of the receipts; order of blocks is that of writing."""
        first = write(open_exchange(()), attempt_of(0), {0: [b"a", b"bb"], 1: [b"c"]}, partitions=2)
        second = write(open_exchange(()), attempt_of(1), {0: [b"d"], 1: [b"e", b"", b"ff"]}, partitions=2)
        reader = open_exchange((first, second))
        assert read(reader, 0, (first, second)) == [[b"a", b"bb"], [b"d"]]
        assert read(reader, 1, (first, second)) == [[b"c"], [b"e", b"", b"ff"]]

    def test_a_partition_nobody_wrote_to_is_empty(self, open_exchange: OpenExchange) -> None:
        """Each receipt still gives one iterator."""
        first = write(open_exchange(()), attempt_of(0), {1: [b"x"]}, partitions=4)
        second = write(open_exchange(()), attempt_of(1), {}, partitions=4)
        reader = open_exchange((first, second))
        assert [read(reader, number, (first, second)) for number in range(4)] == [[[], []], [[b"x"], []], [[], []], [[], []]]

    def test_a_job_without_map_tasks_has_empty_partitions(self, open_exchange: OpenExchange) -> None:
        """No receipts, no blocks."""
        assert read(open_exchange(()), 0, ()) == []

    def test_only_the_attempts_of_the_receipts_are_read(self, open_exchange: OpenExchange) -> None:
        """A zombie that writes before, between and after changes nothing."""
        write(open_exchange(()), attempt_of(0, 1), {0: [b"zombie"]}, partitions=1)
        committed = write(open_exchange(()), attempt_of(0, 2), {0: [b"committed"]}, partitions=1)
        reader = open_exchange((committed,))
        write(open_exchange(()), attempt_of(0, 3), {0: [b"late"]}, partitions=1)
        write(open_exchange(()), attempt_of(7, 1), {0: [b"stranger"]}, partitions=1)
        assert read(reader, 0, (committed,)) == [[b"committed"]]

    def test_doubled_attempts_do_not_mix_while_both_write(self, open_exchange: OpenExchange) -> None:
        """Two writers of one task, block by block in turn."""
        writers = [open_exchange(()).writer(attempt_of(0, number), 2) for number in (1, 2)]
        for partition in (0, 1):
            for number, writer in enumerate(writers):
                writer.write(partition, bytes([number, partition]), groups=1, pairs=1, checksum=0)
        receipts = [writer.close() for writer in writers]
        for number, receipt in enumerate(receipts):
            reader = open_exchange((receipt,))
            assert [read(reader, partition, (receipt,)) for partition in (0, 1)] == [[[bytes([number, 0])]], [[bytes([number, 1])]]]

    def test_many_partitions(self, open_exchange: OpenExchange) -> None:
        """Each partition gives its own blocks, whatever their number."""
        blocks = {number: [b"%d" % number] * (number % 3) for number in range(300)}
        receipts = [write(open_exchange(()), attempt_of(task), blocks, partitions=300) for task in (0, 1)]
        reader = open_exchange(receipts)
        for number in range(300):
            assert read(reader, number, receipts) == [blocks[number]] * 2

    def test_large_blocks(self, open_exchange: OpenExchange) -> None:
        """Blocks longer than any buffer, between small ones."""
        large = [bytes([number]) * size for number, size in enumerate((1, 5 << 20, 7, 3 << 20, (4 << 20) - 8, 0, 9 << 20, 2))]
        receipt = write(open_exchange(()), attempt_of(0), {0: [b"before"], 1: large, 2: [b"after"]}, partitions=3)
        reader = open_exchange((receipt,))
        assert read(reader, 1, (receipt,)) == [large]
        assert read(reader, 2, (receipt,)) == [[b"after"]]

    def test_a_partition_can_be_read_again(self, open_exchange: OpenExchange) -> None:
        """A retried reduce attempt reads what the first one read."""
        receipt = write(open_exchange(()), attempt_of(0), {0: [b"x", b"y"]}, partitions=1)
        reader = open_exchange((receipt,))
        next(next(reader.read(0, (receipt,))))
        assert read(reader, 0, (receipt,)) == read(open_exchange((receipt,)), 0, (receipt,)) == [[b"x", b"y"]]

    def test_a_receipt_counts_what_was_written(self, open_exchange: OpenExchange) -> None:
        """Its numbers are those of the blocks, over all partitions."""
        writer = open_exchange(()).writer(attempt_of(3, 2), 3)
        writer.write(0, b"x", groups=1, pairs=10, checksum=2**64 - 1)
        writer.write(0, b"y", groups=2, pairs=20, checksum=5)
        writer.write(2, b"z", groups=3, pairs=30, checksum=0)
        receipt = writer.close()
        assert receipt.attempt == attempt_of(3, 2)
        assert receipt.pairs == 60

    def test_partitions_must_ascend(self, open_exchange: OpenExchange) -> None:
        """A writer that goes back, or beyond the last one, is refused."""
        writer = open_exchange(()).writer(attempt_of(0), 3)
        writer.write(1, b"x", groups=1, pairs=1, checksum=0)
        for partition in (0, 3):
            with pytest.raises(ValueError, match="partition"):
                writer.write(partition, b"y", groups=1, pairs=1, checksum=0)
        writer.abort()

    def test_an_aborted_attempt_leaves_the_others_alone(self, open_exchange: OpenExchange) -> None:
        """What was written before the abort is in nobody's way, and `abort` after `close` or `abort` is harmless."""
        writer = open_exchange(()).writer(attempt_of(0, 1), 1)
        writer.write(0, b"dropped", groups=1, pairs=1, checksum=0)
        writer.abort()
        writer.abort()
        after = open_exchange(()).writer(attempt_of(0, 2), 1)
        after.write(0, b"kept", groups=1, pairs=1, checksum=0)
        receipt = after.close()
        after.abort()
        assert read(open_exchange((receipt,)), 0, (receipt,)) == [[b"kept"]]

    @pytest.mark.parametrize("offset", [0, 7, 8, 20, 1007])
    def test_a_changed_byte_is_noticed(self, open_exchange: OpenExchange, damage: Damage, offset: int) -> None:
        """Wrong data is an error, whether a length or a block was hit."""
        receipt = write(open_exchange(()), attempt_of(0), {0: [bytes(1000)]}, partitions=1)
        damage(receipt, offset)
        with pytest.raises(CorruptObjectError):
            read(open_exchange((receipt,)), 0, (receipt,))
