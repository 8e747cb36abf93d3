"""How unevenly the pairs of a job lie: by partition, and which keys are the heaviest."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from smr_notebook.pictures import svg
from smr_notebook.pictures.bars import bar, spark
from smr_notebook.pictures.columns import LEFT, WIDE, columns
from smr_notebook.pictures.picture import Picture
from smr_notebook.showing.amounts import counted, quantity, span

if TYPE_CHECKING:
    import pandas as pd

UNEVEN: Final = 2.0
"""Times the median from which on a partition is drawn as a heavy one."""

_SHOWN: Final = 5
_COLUMNS: Final = ("pairs", "bytes", "keys", "rows", "seconds")


@dataclass(frozen=True, slots=True)
class Share:
    """What one partition holds, or where nothing is reduced, what one map task wrote.

    Attributes:
        number: Of the partition, or of the map task.
        pairs: Pairs that were written for it; rows that the map task wrote.
        bytes: Bytes of these where they are stored; `None` where nobody knows any more.
        keys: Distinct keys; `None` before its reduce task has ended, or where nothing is reduced.
        rows: Rows of its part; `None` before its task has ended.
        seconds: How long its task ran; `None` before it has ended.
    """

    number: int
    pairs: int
    bytes: int | None = None
    keys: int | None = None
    rows: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class HeavyKey:
    """A key with many pairs.

    Attributes:
        key: The key itself; `None` if it does not load in this process.
        shown: The key as text, shortened.
        pairs: How many it has, as far as was read.
    """

    key: Any
    shown: str
    pairs: int


@dataclass(frozen=True, slots=True, repr=False)
class Skew(Picture):
    """How the pairs of a job are dealt out. As the value of a cell it is a picture.

    Attributes:
        job: Identifier of the job.
        noun: What the shares are: `partition`, or `map task` where nothing is reduced.
        shares: One for each of them, by number; empty as long as nothing is known.
        read: How many map tasks were looked at: all, or, before the map phase has ended, some of those that were done.
        maps: How many map tasks there are.
        keys: The heaviest keys of the heaviest partition, the heaviest first; empty where they are not known.
        keys_of: The partition that they are of; `None` where they are not known.
        keys_pairs: How many of its pairs were read for that.
        no_keys: Why they are not known; empty where they are.
    """

    what: ClassVar[str] = "skew"
    job: str
    noun: str
    shares: tuple[Share, ...]
    read: int = 0
    maps: int = 0
    keys: tuple[HeavyKey, ...] = ()
    keys_of: int | None = None
    keys_pairs: int = 0
    no_keys: str = ""

    @property
    def heaviest(self) -> Share | None:
        """The share with the most pairs; `None` where there is none."""
        return max(self.shares, key=lambda share: share.pairs, default=None)

    @property
    def median(self) -> float:
        """Pairs of a share in the middle; 0 where there is none."""
        return float(statistics.median(share.pairs for share in self.shares)) if self.shares else 0.0

    @property
    def ratio(self) -> float:
        """How many times the median the heaviest has: 1 for even shares, infinity where more than half are empty."""
        heaviest = self.heaviest
        if heaviest is None or not heaviest.pairs:
            return 1.0
        return heaviest.pairs / self.median if self.median else math.inf

    def summary(self) -> str:
        """Return its numbers in one sentence."""
        heaviest = self.heaviest
        if heaviest is None:
            return f"{self.job} · nothing is known so far: no map task is done"
        total = sum(share.pairs for share in self.shares)
        parts = [f"{self.job} · {counted(total, 'pair') if total else 'no pairs'} in {counted(len(self.shares), self.noun)}"]
        if total:
            times = "; more than half of them are empty" if math.isinf(self.ratio) else f", {self.ratio:,.1f} times the median"
            parts.append(f"the heaviest, {heaviest.number}, has {counted(heaviest.pairs, 'pair')}{times}")
        sizes = [share.bytes for share in self.shares if share.bytes is not None]
        parts += [f"{quantity(sum(sizes), 'B')}, at most {quantity(max(sizes), 'B')}"] if sizes else []
        parts += [f"of {self.read:,} of {self.maps:,} map tasks"] if self.read < self.maps else []
        if self.keys:
            parts.append(f"its heaviest key is {self.keys[0].shown} with {counted(self.keys[0].pairs, 'pair')}")
        return " · ".join(parts)

    def lines(self) -> list[str]:
        """Return a curve over all shares, bars of the heaviest, and the heaviest keys."""
        if not self.shares:
            return []
        heavy = sorted(self.shares, key=lambda share: -share.pairs)[:_SHOWN]
        names = [f"{self.noun} {share.number}" for share in heavy]
        width = max(map(len, names))
        lines = [f"{'pairs':<{width}} {spark([share.pairs for share in self.shares])}"]
        if sizes := _known(self.shares):
            lines.append(f"{'bytes':<{width}} {spark(sizes)}")
        for name, share in zip(names, heavy, strict=True):
            lines.append(f"{name:<{width}} {bar(share.pairs, heavy[0].pairs, 24):<24} {', '.join(_told(share))}")
        lines += [f"key {key.shown} {counted(key.pairs, 'pair')}" for key in self.keys]
        if self.keys_of is not None and self.keys_pairs < self.shares[self.keys_of].pairs:
            lines.append(f"keys: of the first {counted(self.keys_pairs, 'pair')} of partition {self.keys_of}")
        return [*lines, *([f"keys: {self.no_keys}"] if self.no_keys else [])]

    def drawn(self, title: str) -> str:
        """Return the picture as an SVG file with this title."""
        pairs = [float(share.pairs) for share in self.shares]
        parts = [svg.text(LEFT, 12, f"pairs by {self.noun}")]
        heavy = UNEVEN * self.median
        parts += columns(pairs, top=22, height=110, name=quantity, colours=lambda value: svg.RED if value > heavy else svg.BLUE)
        if largest := max([*pairs, 0.0]):
            y = 132 - 110 * self.median / largest
            words = f"median {quantity(self.median)}"
            parts += [svg.line(LEFT, y, LEFT + WIDE, y, colour=svg.ORANGE, dashed=True)]
            parts += [svg.text(LEFT + WIDE, 12, words, anchor="end", colour=svg.ORANGE)]
        bottom = 132.0
        if sizes := _known(self.shares):
            parts.append(svg.text(LEFT, 156, f"bytes by {self.noun}"))
            parts += columns(sizes, top=166, height=70, name=lambda size: quantity(size, "B"), colours=lambda _: svg.TEAL)
            bottom = 236.0
        return svg.document(bottom + 26, title, [*parts, *self._numbers(bottom)])

    def _numbers(self, bottom: float) -> list[str]:
        last = len(self.shares) - 1
        parts = [svg.line(LEFT, bottom, LEFT + WIDE, bottom)]
        if last >= 0:
            parts.append(svg.text(LEFT, bottom + 15, str(self.shares[0].number)))
        if last > 0:
            parts.append(svg.text(LEFT + WIDE, bottom + 15, f"{self.shares[last].number:,}", anchor="end"))
        return parts

    def plot_into(self, into: Any) -> None:
        """Draw the pairs of each share; see `Picture.plot_into`."""
        heavy = UNEVEN * self.median
        colours = [svg.RED if share.pairs > heavy else svg.BLUE for share in self.shares]
        into.bar([share.number for share in self.shares], [share.pairs for share in self.shares], color=colours)
        into.axhline(self.median, color=svg.ORANGE, linestyle="--", label="median")
        into.set_xlabel(self.noun)
        into.set_ylabel("pairs")
        into.legend()

    def to_frame(self) -> pd.DataFrame:
        """Return a row for each share, with its number as index; what is not known is missing."""
        import pandas as pd  # noqa: PLC0415 - workers import this module, and must not import pandas

        rows = [(share.pairs, share.bytes, share.keys, share.rows, share.seconds) for share in self.shares]
        index = pd.Index([share.number for share in self.shares], name=self.noun.replace(" ", "_"))
        frame = pd.DataFrame(rows, columns=list(_COLUMNS), index=index)
        return frame.astype({"pairs": "int64", "bytes": "Int64", "keys": "Int64", "rows": "Int64", "seconds": "float64"})


def _known(shares: Sequence[Share]) -> list[float]:
    """Return the bytes of all shares; of none where those of one are not known."""
    sizes = [float(share.bytes) for share in shares if share.bytes is not None]
    return sizes if len(sizes) == len(shares) else []


def _told(share: Share) -> list[str]:
    return [
        counted(share.pairs, "pair"),
        *([quantity(share.bytes, "B")] if share.bytes is not None else []),
        *([counted(share.keys, "key")] if share.keys is not None else []),
        *([span(share.seconds)] if share.seconds is not None else []),
    ]
