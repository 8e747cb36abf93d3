"""When a task that failed is tried again: at once the first time, and then later and later.

What fails because of the moment - a full disk, a store that answers 503, a machine without memory - fails again at once, and a few tries
are used up within a second. A first retry that comes at once costs nothing where the failure was a process that died.

Pure. A lost launch is no failure of the task, and waits for nothing; behind a leg, counting begins anew, as of `verdicts`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from smr_notebook.control.verdicts import failed_since_leg
from smr_notebook.model import Attempt, Policy, TaskId

LONGEST: Final = 10.0
"""Seconds that a retry waits at most."""


def due_at(attempts: Sequence[Attempt], policy: Policy) -> float:
    """Return when a task may be tried again, given all its attempts; minus infinity for at once."""
    failed = failed_since_leg(attempts)
    if len(failed) < 2:
        return -math.inf
    return max(attempt.changed for attempt in failed) + min(policy.pause * 2.0 ** (len(failed) - 2), LONGEST)


def not_yet(begun: Mapping[TaskId, Sequence[Attempt]], policy: Policy, now: float) -> dict[TaskId, float]:
    """Return the tasks that nobody works on and that are not due, each with the time at which it is."""
    idle = {task: attempts for task, attempts in begun.items() if not any(attempt.live for attempt in attempts)}
    due = {task: due_at(attempts, policy) for task, attempts in idle.items()}
    return {task: at for task, at in due.items() if at > now}
