"""What the functions of a job counted (`counting`), as whoever looks at the job sees it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html import escape

from smr_notebook.model import JobState
from smr_notebook.standing import Progress

_CELL = "padding:1px 12px 1px 0;text-align:left;font-weight:normal"


@dataclass(frozen=True, slots=True)
class Counters(Mapping[str, int]):
    """Names and what was counted under them, by name: a mapping, so that `dict(…)` and `pandas.Series(…)` take it.

    Attributes:
        counted: What it maps.
        final: Whether the job is done, and each number exact. Else they are those of the tasks that have ended, and of the last heartbeats.
    """

    counted: Mapping[str, int] = field(default_factory=dict)
    final: bool = False

    def __getitem__(self, name: str) -> int:
        return self.counted[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.counted)

    def __len__(self) -> int:
        return len(self.counted)

    def __repr__(self) -> str:
        if not self.counted:
            return "nothing was counted" if self.final else "nothing is counted so far"
        width = max(map(len, self.counted))
        return "\n".join(
            [*(f"{name:<{width}}  {number:,}" for name, number in self.counted.items()), *([] if self.final else ["(so far)"])]
        )

    def _repr_html_(self) -> str:
        if not self.counted:
            return escape(repr(self))
        rows = "".join(
            f'<tr><th style="{_CELL}">{escape(name)}</th><td style="{_CELL}">{number:,}</td></tr>' for name, number in self.counted.items()
        )
        return f"<table>{rows}</table>" + ("" if self.final else "so far")


def counters_of(progress: Progress) -> Counters:
    """Return what both phases counted, each name once."""
    numbers = progress.map.numbers + progress.reduce.numbers
    return Counters(dict(numbers.counters), progress.state is JobState.DONE)


def told_counters(progress: Progress) -> str:
    """Return the line that says what was counted: an empty string if nothing was."""
    found = counters_of(progress)
    told = " · ".join(f"{name} {number:,}" for name, number in found.items())
    return f"counted: {told}{'' if found.final else ' (so far)'}" if told else ""
