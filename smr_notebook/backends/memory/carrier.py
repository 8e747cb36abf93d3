"""The carrier as a dict: the reference for what the port means."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from smr_notebook.errors import CorruptObjectError
from smr_notebook.ports import Piece, Wanted

if TYPE_CHECKING:
    from smr_notebook.ports import Fetched


class MemoryCarrier:
    """Implements `ports.Carrier`.

    Attributes:
        boxes: The boxes that stand.
        slices: What was sent, by box, name and partition.
    """

    def __init__(self) -> None:
        self.boxes: set[str] = set()
        self.slices: dict[tuple[str, str, int], bytearray] = {}

    def hold(self, box: str, partitions: int) -> None:  # noqa: ARG002 - as many as are sent to
        """See `ports.Carrier.hold`."""
        self.boxes.add(box)

    def send(self, box: str, name: str, pieces: Iterable[Piece]) -> None:
        """See `ports.Carrier.send`."""
        for piece in pieces:
            held = self.slices.setdefault((box, name, piece.partition), bytearray())
            held[piece.offset : piece.offset + len(piece.data)] = piece.data

    def fetch(self, box: str, partition: int, wanted: Sequence[Wanted]) -> Iterator[Fetched]:
        """See `ports.Carrier.fetch`."""
        for each in wanted:
            held = self.slices.get((box, each.name, partition), b"")
            if len(held) < each.length:
                raise CorruptObjectError(f"{each.name} of {box} has {len(held)} of {each.length} bytes of partition {partition}.")
            yield _of(bytes(held))

    def remove(self, box: str, partitions: int, name: str = "") -> None:  # noqa: ARG002 - as many as there are
        """See `ports.Carrier.remove`."""
        if not name:
            self.boxes.discard(box)
        for key in [key for key in self.slices if key[0] == box and name in {"", key[1]}]:
            del self.slices[key]


def _of(data: bytes) -> Fetched:
    return lambda start, stop: data[start:stop]
