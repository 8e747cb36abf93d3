"""The table: a line for each cell, ratios to the floor beside what was measured, as text that is also Markdown."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from importlib.metadata import version

from race import FLOOR, Cell, Run

COLUMNS = (
    "workload",
    "contestant",
    "wall s",
    "× floor",
    "from – to",
    "CPU s",
    "× floor",
    "peak MB",
    "× floor",
    "one process",
    "idle",
    "runs",
    "",
)
LEFT = {0, 1, len(COLUMNS) - 1}
BUSY = 0.5


def heading(*, scale: float, workers: int) -> str:
    """Return when, where and with which versions; and a warning when the machine is not at rest."""
    named = " · ".join(f"{name} {version(name)}" for name in ("smr_notebook", "pyarrow", "pandas"))
    here = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC · Python {platform.python_version()} · {named} · {workers} workers · scale {scale:g}"
    load = os.getloadavg()[0]
    return here + (f"\nOthers are at work on this machine (load {load:.1f}): compare ratios, not seconds." if load > BUSY else "")


def lines(cells: Iterable[Cell]) -> list[str]:
    """Return the lines of the table."""
    listed = list(cells)
    floors = {cell.workload: cell for cell in listed if cell.contestant == FLOOR}
    rows = [COLUMNS, *(_row(cell, floors.get(cell.workload)) for cell in listed)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    texts = ["| " + " | ".join(_pad(row[i], widths[i], left=i in LEFT) for i in range(len(COLUMNS))) + " |" for row in rows]
    rule = "|" + "|".join("-" * (widths[i] + 2) if i in LEFT else "-" * (widths[i] + 1) + ":" for i in range(len(COLUMNS))) + "|"
    return [texts[0], rule, *texts[1:]]


def _row(cell: Cell, floor: Cell | None) -> tuple[str, ...]:
    if not cell.runs:
        return (cell.workload, cell.contestant, *[""] * (len(COLUMNS) - 3), cell.note)
    walls, cpus = (ratios(cell, floor, lambda run: run.wall), ratios(cell, floor, lambda run: run.cpu))
    return (
        cell.workload,
        cell.contestant,
        f"{statistics.median(run.wall for run in cell.runs):.3f}",
        _middle(walls),
        f"{min(walls):.2f} – {max(walls):.2f}" if len(walls) > 1 and cell is not floor else "",
        f"{statistics.median(run.cpu for run in cell.runs):.2f}",
        _middle(cpus),
        f"{cell.peak / 1e6:,.0f}",
        f"{cell.peak / floor.peak:.2f}" if floor and floor.peak else "",
        f"{cell.largest / 1e6:,.0f}",
        f"{cell.idle / 1e6:,.0f}",
        str(len(cell.runs)),
        cell.note,
    )


def ratios(cell: Cell, floor: Cell | None, measure: Callable[[Run], float]) -> list[float]:
    """Return what a cell took in parts of what the floor took: round by round where both ran them all, else of the medians."""
    if floor is None or not floor.runs:
        return []
    pairs = list(zip(map(measure, cell.runs), map(measure, floor.runs), strict=False))
    if len(cell.runs) != len(floor.runs):
        pairs = [tuple(statistics.median(map(measure, one.runs)) for one in (cell, floor))]  # type: ignore[list-item]
    return [ours / theirs for ours, theirs in pairs if theirs]


def _middle(values: list[float]) -> str:
    return f"{statistics.median(values):.2f}" if values else ""


def _pad(text: str, width: int, *, left: bool) -> str:
    return text.ljust(width) if left else text.rjust(width)
