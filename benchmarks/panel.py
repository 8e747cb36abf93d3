"""What a paint of the live panel takes: drawing it, and handing it to its widget. For a job of 10,000 tasks, and for a small one.

    python benchmarks/panel.py

Without a kernel a widget has nobody to send to, so the message itself is not in it; its size is.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import ipywidgets

from smr_notebook.model import JobState, Numbers, Phase
from smr_notebook.standing import PhaseProgress, Progress, Trouble, TroubleKind
from smr_notebook.values.usage import Cost
from smr_notebook.views.render import View, html
from smr_notebook.views.speed import Start

ROUNDS = 2_000
TROUBLES = (Trouble(TroubleKind.DIED, Phase.MAP, 3, 3, "signal 9, SIGKILL"), Trouble(TroubleKind.LOST, Phase.MAP, 1, 1))


def moment(tasks: int, done: int) -> View:
    """Return a moment of a job with something of everything."""
    mapped = PhaseProgress(
        tasks, done, min(800, tasks - done), 0, 12, 3, Numbers(10**12, 10**9 + done, 10**9 + done, 10**9, 10**6), 6.1, 4, 1
    )
    progress = Progress(JobState.MAPPING, mapped, PhaseProgress(400), 0.0, 60.0, 1, 90.0, cost=Cost(0.5, 0.1, 0.1), troubles=TROUBLES)
    start = Start(JobState.MAPPING, 0.5, PhaseProgress(tasks))
    return View("3f9a0c21", "status codes", progress, 60.2, hint="■ interrupt to cancel", start=start, limit=5.0)


def milliseconds(paint: Callable[[View], object], tasks: int) -> tuple[float, float]:
    """Return the median and the ninety-ninth percentile of a paint, in milliseconds; each one shows another moment."""
    views = [moment(tasks, number % tasks) for number in range(ROUNDS)]
    times = []
    for view in views:
        began = time.perf_counter()
        paint(view)
        times.append(1_000 * (time.perf_counter() - began))
    return statistics.median(times), statistics.quantiles(times, n=100)[98]


def main() -> None:
    widget = ipywidgets.HTML()

    def painted(view: View) -> None:
        widget.value = html(view)

    for tasks in (10, 10_000):
        size = len(html(moment(tasks, tasks // 2)).encode())
        for name, paint in (("draw", html), ("draw and set", painted)):
            median, late = milliseconds(paint, tasks)
            print(f"{tasks:>6,} tasks  {name:<13} {median:.3f} ms, 99 of 100 within {late:.3f} ms, {size:,} bytes")


if __name__ == "__main__":
    main()
