"""How large the splits of a plan are, as a histogram."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from smr_notebook.pictures import svg
from smr_notebook.pictures.bars import bar
from smr_notebook.pictures.columns import LEFT, WIDE, columns
from smr_notebook.pictures.marks import marks
from smr_notebook.pictures.picture import Picture
from smr_notebook.showing.amounts import counted, quantity
from smr_notebook.showing.distributions import Bin

if TYPE_CHECKING:
    import pandas as pd

_BINS: Final = 20
_HEIGHT: Final = 110


@dataclass(frozen=True, slots=True)
class SplitSize:
    """One split.

    Attributes:
        number: Of the split, and of its map task.
        bytes: Planned bytes of input.
        pieces: Pieces of objects in it.
        first: The object that the first of them is of.
    """

    number: int
    bytes: int
    pieces: int
    first: str


@dataclass(frozen=True, slots=True, repr=False)
class SplitSizes(Picture):
    """The sizes of the splits of a plan. As the value of a cell it is a histogram.

    Attributes:
        splits: The splits, by number.
    """

    what: ClassVar[str] = "splits"
    splits: tuple[SplitSize, ...]

    @property
    def bins(self) -> tuple[Bin, ...]:
        """Splits counted by size, in at most 20 steps of round numbers, from 0 on."""
        sizes = [split.bytes for split in self.splits]
        edges = marks(max([*sizes, 1]), _BINS)
        step = edges[1]
        count = max(1, -(-max([*sizes, 0]) // step))
        counts = [0] * int(count)
        for size in sizes:
            counts[min(int(size // step), len(counts) - 1)] += 1
        return tuple(Bin(step * place, step * (place + 1), splits) for place, splits in enumerate(counts))

    def summary(self) -> str:
        """Return its numbers in one sentence."""
        sizes = [split.bytes for split in self.splits]
        if not sizes:
            return "no splits"
        told = f"{counted(len(sizes), 'split')} of {quantity(sum(sizes), 'B')}: median {quantity(statistics.median(sizes), 'B')}"
        return f"{told}, smallest {quantity(min(sizes), 'B')}, largest {quantity(max(sizes), 'B')}"

    def lines(self) -> list[str]:
        """Return a bar for each step of size."""
        names = [f"{quantity(one.start, 'B')} – {quantity(one.stop, 'B')}" for one in self.bins]
        width, most = max(map(len, names)), max(one.count for one in self.bins)
        return [f"{name:<{width}} {bar(one.count, most, 32):<32} {one.count:,}" for name, one in zip(names, self.bins, strict=True)]

    def drawn(self, title: str) -> str:
        """Return the picture as an SVG file with this title."""
        bins = self.bins
        low = 22 + _HEIGHT
        parts = [svg.text(LEFT, 12, "splits by size")]
        parts += columns([float(one.count) for one in bins], top=22, height=_HEIGHT, name=quantity, colours=lambda _: svg.BLUE)
        parts.append(svg.line(LEFT, low, LEFT + WIDE, low))
        largest = bins[-1].stop
        for mark in marks(largest, 9):
            x = LEFT + WIDE * mark / largest
            parts += [svg.line(x, low, x, low + 4), svg.text(x, low + 15, quantity(mark, "B"), anchor="middle")]
        return svg.document(low + 26, title, parts)

    def plot_into(self, into: Any) -> None:
        """See `Picture.plot_into`."""
        bins = self.bins
        widths = [one.stop - one.start for one in bins]
        into.bar([one.start for one in bins], [one.count for one in bins], width=widths, align="edge", color=svg.BLUE)
        into.set_xlabel("bytes of a split")
        into.set_ylabel("splits")

    def to_frame(self) -> pd.DataFrame:
        """Return a row for each split, with its number as index: `bytes`, `pieces`, and `first`, the object that it begins in."""
        import pandas as pd  # noqa: PLC0415 - workers import this module, and must not import pandas

        rows = [(split.bytes, split.pieces, split.first) for split in self.splits]
        return pd.DataFrame(
            rows, columns=["bytes", "pieces", "first"], index=pd.Index([split.number for split in self.splits], name="split")
        )
