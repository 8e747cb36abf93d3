"""An attempt that lives and finishes nothing: what is said of it, with the record and the line where it hangs.

A heartbeat comes from a thread of its own, so it says that the process lives, and not that it gets anywhere. So each one also tells when
the record stream last finished something. Whoever looks sees a *stalled* attempt after a minute; after `Policy.stall` it is ended.

Rules of this module:

* What takes long is not known to hang: so the message says both, and how to allow it.
* The thread that hangs is looked at from outside: its frames are the user's lines, and nobody asks it for anything.
"""

from __future__ import annotations

import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smr_notebook.control.failures import told_frames
from smr_notebook.errors import TaskTimeoutError
from smr_notebook.model import Failure, FailureKind, Frame, Phase

if TYPE_CHECKING:
    from smr_notebook.dataflow.code import Sources
    from smr_notebook.dataflow.functions import UserCodeError
    from smr_notebook.dataflow.meter import Meter

_UNITS = {Phase.MAP: "record", Phase.MERGE: "run", Phase.REDUCE: "group"}


@dataclass(frozen=True, slots=True)
class Worked:
    """Whose work a heart watches.

    Attributes:
        meter: What its record stream counts.
        thread: Number of the thread that runs it.
        phase: What it works for.
        sources: Labels and texts of the files that travelled with the code.
    """

    meter: Meter
    thread: int
    phase: Phase
    sources: Sources


def stall_failure(work: Worked, seconds: float) -> Failure:
    """Return what is said of an attempt that finished nothing for longer than it may.

    Args:
        work: The attempt's.
        seconds: For how long.
    """
    unit = _UNITS[work.phase]
    text = (
        f"no {unit} was finished for {seconds:,.0f} s, though the worker lives: it hangs, or takes longer than it may. "
        f"If it only takes long, set `record_timeout` higher, or to 0 for no limit: job.resume(record_timeout=…)"
    )
    return _placed(work, text)


def late_failure(work: Worked, seconds: float) -> Failure:
    """Return what is said of an attempt whose time is up and that had finished nothing for most of it: `seconds` long."""
    unit = _UNITS[work.phase]
    return _placed(work, f"nothing was done for {seconds:,.0f} s, and then the time of the invocation was up: one {unit} is too large")


def _placed(work: Worked, text: str) -> Failure:
    place = _place(work)
    frames = _frames(work)
    if place is None:
        return Failure(FailureKind.SYSTEM, TaskTimeoutError.__name__, text, frames=frames)
    return Failure(
        FailureKind.SYSTEM,
        TaskTimeoutError.__name__,
        text,
        frames=frames,
        function=place.function,
        record=place.record,
        source=place.source,
        offset=place.offset,
        record_number=place.record_number,
    )


def _place(work: Worked) -> UserCodeError | None:
    with suppress(Exception):  # the stream goes on meanwhile: what it was at may be gone
        return work.meter.place()
    return None


def _frames(work: Worked) -> tuple[Frame, ...]:
    frame = sys._current_frames().get(work.thread)  # noqa: SLF001 - the documented way to another thread's stack
    steps = [(frame.f_code.co_filename, line, frame.f_code.co_name) for frame, line in traceback.walk_stack(frame)] if frame else []
    return told_frames(steps[::-1], work.sources)
