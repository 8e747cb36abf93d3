"""How hard to try, as a value. A plan fixes it.

The rules are those of `model`, which has this noun as well, so that whoever works with nouns finds all of them there.
"""

from __future__ import annotations

from dataclasses import dataclass

from smr_notebook.values.stragglers import USUAL, Speculation


@dataclass(frozen=True, slots=True)
class Policy:
    """How hard to try, and how long to wait before something counts as lost. All times in seconds."""

    retries: int = 2
    """Further attempts of a task, or of what a leg left of it, after the first one failed."""
    lost_launches: int = 8
    """Launches of a task that nobody claimed before the job gives up."""
    heartbeat: float = 1.0
    """Time between two heartbeats of an attempt."""
    lease: float = 15.0
    """An attempt without a heartbeat for so long has expired."""
    launch: float = 60.0
    """A launched attempt that nobody claimed for so long is lost."""
    coordinator_lease: float = 10.0
    """A coordinator that has not renewed its lease for so long is replaced."""
    watchdog: float = 300.0
    """An alarm starts a coordinator where nobody else did for so long."""
    coordinators: int = 10_000
    """Changes of the coordinator before the job gives up: what bounds a chain of invocations that call each other."""
    longest: float = 30 * 86_400.0
    """A job that has not ended for so long gives up."""
    margin: float = 30.0
    """Time before the end of its invocation at which an attempt publishes its leg; a quarter of a shorter invocation."""
    pause: float = 1.0
    """Time before the second retry of a task, and twice as long before each one after it; the first one comes at once."""
    speculation: Speculation | None = USUAL
    """When attempts that take long get a backup; `None` for never."""
    stall: float = 3600.0
    """An attempt that lives and has finished no record, and no group, for so long is ended; 0 for never."""
    concurrency: int = 0
    """How many attempts of the job run at once, at most; 0 for as many as the platform runs."""
