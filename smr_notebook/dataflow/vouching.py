"""Blocks on their way through the exchange: those that hold pickles are signed by the mapper, and believed by the reducer only then.

A block of typed columns travels as it is: to decode it runs nothing, whatever its bytes are. One that holds pickles, among its values
or as the originals of its keys, has a signature behind it (see `signing`) that covers the block and its place: attempt, partition, and
how many blocks of the partition come before it. Both sides ask the block itself which of the two it is, by the very bytes by which it
is decoded.

This stands above the port: an exchange carries opaque bytes, wherever they pass through. Spills do not come here: they are nameless
files of their own process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from smr_notebook.dataflow.blocks import holds_pickles
from smr_notebook.dataflow.signing import SIGNATURE_BYTES, JobKey
from smr_notebook.errors import UntrustedObjectError
from smr_notebook.model import AttemptId, Receipt
from smr_notebook.ports import ExchangeWriter

_KIND = "block"


class SigningWriter:
    """Implements `ports.ExchangeWriter` by another one, with signatures behind the blocks that need them.

    Args:
        writer: Takes the blocks.
        attempt: Whose they are.
        key: The key of the job.
    """

    def __init__(self, writer: ExchangeWriter, attempt: AttemptId, key: JobKey) -> None:
        self._writer = writer
        self._attempt = attempt
        self._key = key
        self._partition = 0
        self._written = 0

    def write(self, partition: int, block: bytes, *, groups: int, pairs: int, checksum: int) -> None:
        """Append one block to a partition."""
        if partition != self._partition:
            self._partition, self._written = partition, 0
        sealed = signed(block, self._attempt, partition, self._written, self._key)
        self._written += 1
        self._writer.write(partition, sealed, groups=groups, pairs=pairs, checksum=checksum)

    def close(self) -> Receipt:
        """Make the blocks readable, and return the receipt."""
        return self._writer.close()

    def abort(self) -> None:
        """Drop what was written."""
        self._writer.abort()


def signed(block: bytes, attempt: AttemptId, partition: int, number: int, key: JobKey) -> bytes:
    """Return a block as it travels: with a signature behind it if it holds pickles.

    Args:
        block: What is written.
        attempt: By whom.
        partition: To which partition.
        number: How many blocks of it come before.
        key: The key of the job.
    """
    return block + key.sign(_KIND, _place(attempt, partition, number), block) if holds_pickles(block) else block


def proved_runs(
    runs: Iterable[Iterator[bytes]], partition: int, receipts: Sequence[Receipt], keys: Sequence[JobKey]
) -> Iterator[Iterator[bytes]]:
    """Yield, run by run, the blocks of a partition, each proved if it holds pickles.

    Args:
        runs: What `ports.Exchange.read` gives.
        partition: Which one.
        receipts: Of the runs, in order.
        keys: Of the job that wrote each.

    Raises:
        UntrustedObjectError: A block that holds pickles is not one that the attempt wrote, or not at that place.
    """
    return (proved(run, partition, receipt, key) for run, receipt, key in zip(runs, receipts, keys, strict=True))


def proved(run: Iterator[bytes], partition: int, receipt: Receipt, key: JobKey) -> Iterator[bytes]:
    """Yield the blocks of one run, as `proved_runs` does."""
    for number, data in enumerate(run):
        if not holds_pickles(data):
            yield data
            continue
        block, signature = data[:-SIGNATURE_BYTES], data[-SIGNATURE_BYTES:]
        if not holds_pickles(block):
            raise UntrustedObjectError(f"{receipt.key} has a block that is too short for its signature. Submit the job again.")
        name = f"Block {number} of partition {partition} in {receipt.key}"
        key.check(_KIND, _place(receipt.attempt, partition, number), block, signature=signature, name=name)
        yield block


def _place(attempt: AttemptId, partition: int, number: int) -> str:
    return f"{attempt}/{partition}/{number}"
