"""The shuffle by a carrier: slices travel through Redis, a queue or a stream, and only what is said of them is an object.

Theory. A run is its slices and an index behind them. What chooses, counts and proves needs the index alone: receipts name it, the
coordinator gathers it, the proof adds it up. So the seam lies between the two. The index of a carried run is put as an object, as small as
the job has partitions; the bytes of its slices are cut into pieces and handed to a `ports.Carrier`, under the name of the attempt. A
reducer learns from the gathered index how long the slice of each committed run is and which CRC it has, and asks the carrier for exactly
these. From this follows, whatever a carrier does:

* Only committed attempts count: nobody asks for a piece of another one.
* Nothing is dropped, cut, doubled or mixed up: a slice has its length and its CRC, and both stand in the index, which the receipt proves.
* Answers are the same byte for byte: blocks are the same, in the same order, for whichever way they took.

Rules of this module:

* Pieces go first and the index last, which the receipt names: who has a receipt can fetch.
* A carrier is asked before anything is merged, and for all runs at once, since some cannot give one run without the others.
* What a carrier loses is an error that says what is to be done; it is never looked for elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from smr_notebook.dataflow.exchange import gathered_rows, own_row
from smr_notebook.dataflow.runs import RunWriter, Slice, as_slice, read_slice
from smr_notebook.dataflow.spooling import IN_MEMORY, Spool
from smr_notebook.errors import CorruptObjectError
from smr_notebook.model import AttemptId, Receipt
from smr_notebook.ports import PIECE_BYTES, Carrier, Piece, Wanted

if TYPE_CHECKING:
    from smr_notebook.dataflow.runs import Get
    from smr_notebook.ports import Fetched, ObjectStore

_RUN = "/run"


class CarriedExchange:
    """Implements `ports.Exchange` by a carrier.

    Args:
        objects: Where the indexes are kept.
        prefix: What their keys begin with: `jobs/<job>`. It is the name of the box, too.
        carrier: What the slices travel by.
        scratch: Folder for the run that is being written.
        in_memory: Bytes of that run that may stay in memory.
        index: Key of the gathered index; empty while there is none.
        index_crcs: CRC-32 of each partition's rows in it.
    """

    def __init__(
        self,
        objects: ObjectStore,
        prefix: str,
        carrier: Carrier,
        *,
        scratch: Path,
        in_memory: int = IN_MEMORY,
        index: str = "",
        index_crcs: Sequence[int] = (),
    ) -> None:
        self._objects = objects
        self._prefix = prefix
        self._carrier = carrier
        self._scratch = scratch
        self._in_memory = in_memory
        self._index = index
        self._index_crcs = index_crcs

    def writer(self, attempt: AttemptId, partitions: int) -> CarriedWriter:
        """Open a writer for one map attempt."""
        spool = Spool(self._scratch, in_memory=self._in_memory)
        return CarriedWriter(self._objects, self._prefix, self._carrier, attempt=attempt, partitions=partitions, spool=spool)

    def read(self, partition: int, receipts: Sequence[Receipt]) -> Iterator[Iterator[bytes]]:
        """Yield, for each receipt in the order given, the blocks of one partition in the order written.

        With a gathered index, `receipts` must be those that it was gathered from, in the same order.

        Raises:
            CorruptObjectError: A checksum differs, or something is missing.
            StoreError: The carrier cannot be reached.
        """
        parts = self._slices(partition, receipts)
        wanted = [Wanted(self._name(receipt), part.length) for receipt, part in zip(receipts, parts, strict=True) if part.length]
        fetched = self._carrier.fetch(self._prefix, partition, wanted) if wanted else iter(())
        for receipt, part in zip(receipts, parts, strict=True):
            yield read_slice(_placed(next(fetched), part), part, name=receipt.key) if part.length else iter(())

    def _slices(self, partition: int, receipts: Sequence[Receipt]) -> list[Slice]:
        if not self._index:
            return [as_slice(own_row(self._objects, receipt, partition)) for receipt in receipts]
        rows = gathered_rows(self._objects, self._index, partition, tasks=len(receipts), crc=self._index_crcs[partition])
        return [as_slice(row) for row in rows]

    def _name(self, receipt: Receipt) -> str:
        """Return the name that the pieces of a run were sent under."""
        if receipt.footer or not (receipt.key.startswith(f"{self._prefix}/") and receipt.key.endswith(_RUN)):
            raise CorruptObjectError(f"{receipt.key} is no index of a run that {self._prefix} sent by a carrier. Submit the job again.")
        return receipt.key[len(self._prefix) + 1 : -len(_RUN)]


class CarriedWriter:
    """Implements `ports.ExchangeWriter`: the run grows as any run does, and is sent when it is whole.

    Args:
        objects: Where the index is put.
        prefix: What its key begins with, and the box.
        carrier: What the slices travel by.
        attempt: Whose run it is.
        partitions: How many partitions there are.
        spool: Keeps it until it is whole.
    """

    def __init__(self, objects: ObjectStore, prefix: str, carrier: Carrier, *, attempt: AttemptId, partitions: int, spool: Spool) -> None:
        self._objects = objects
        self._prefix = prefix
        self._carrier = carrier
        self._attempt = attempt
        self._spool = spool
        self._run = RunWriter(spool, partitions)

    def write(self, partition: int, block: bytes, *, groups: int, pairs: int, checksum: int) -> None:
        """Append one block to a partition."""
        self._run.write(partition, block, groups=groups, pairs=pairs, checksum=checksum)

    def close(self) -> Receipt:
        """Send the slices, put the index, and return its receipt."""
        index, end, slices = self._run.detach()
        key = f"{self._prefix}/{self._attempt}{_RUN}"
        try:
            if any(part.length for part in slices):
                self._carrier.send(self._prefix, str(self._attempt), pieces_of(slices, self._spool.pieces()))
            self._objects.put(key, index)
        finally:
            self._spool.close()
        return Receipt(self._attempt, key, end.size, end.footer, end.crc, end.pairs)

    def abort(self) -> None:
        """Drop what was written; harmless after `close`."""
        self._spool.close()


def pieces_of(slices: Sequence[Slice], data: Iterator[bytes]) -> Iterator[Piece]:
    """Cut the bytes of slices, which follow one another, into pieces.

    Args:
        slices: In order of their partitions.
        data: Their bytes, in buffers of any size.
    """
    held = bytearray()
    for partition, part in enumerate(slices):
        for offset in range(0, part.length, PIECE_BYTES):
            size = min(PIECE_BYTES, part.length - offset)
            while len(held) < size:
                held += next(data)
            yield Piece(partition, offset, bytes(memoryview(held)[:size]))
            del held[:size]


def _placed(fetched: Fetched, part: Slice) -> Get:
    """Return what gets bytes of a slice by their places in the run."""
    return lambda start, stop: fetched(start - part.offset, stop - part.offset)
