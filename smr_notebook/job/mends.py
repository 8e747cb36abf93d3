"""What to do about failures that are nobody's exception: a worker that died, no memory, no room on a disk, a call that was lost.

An exception of the user's says itself what is wrong, and so do the errors of this package. Of these nobody raised anything, so what helps
is said beside them, wherever they are shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from smr_notebook.model import Failure, FailureKind

_MENDS: Final[Mapping[str, str]] = {
    "WorkerDied": "The worker's process ended under the function: os._exit, or a crash in compiled code. "
    "Try the function on this task's records in the notebook.",
    "OutOfMemoryError": "Have each task hold less: a smaller `split_size` (map) or more `reducers`, a smaller `worker_memory`, a built-in "
    "aggregation instead of a list of all values; or give each worker more: fewer `workers`, a higher `worker_limit`, "
    "`smr deploy --memory` on AWS.",
    "DiskFullError": "Spills go to disk: a higher `worker_memory`, or a smaller `split_size`, means fewer of them.",
    "HeartbeatsStopped": "Nothing was heard of the worker for longer than a lease: one call in compiled code let no other thread run "
    "(a regular expression, say), or the machine stood still. Make the call smaller, or set `lease_seconds` higher.",
    "LaunchLost": "The service took the call, and no worker began it: it is overloaded, or was ended. Submit the job again.",
    "LaunchDropped": "Other work uses up all that may run at once, or these functions have no share in it: submit the job again when there "
    "is less of it, or ask for more (`smr doctor` tells how).",
}
"""What to do about failures that are nobody's exception, by their type. The others say it themselves."""

_DID_NOT_START: Final = ("Runtime.", "The workers do not start, whatever their task is: `smr deploy` makes their image anew.")
"""How a service begins to tell of a worker that died before its task did, and what to do about that."""


def mends_of(failure: Failure) -> list[str]:
    """Return the line that says what to do about a failure; none where its own message does."""
    if failure.type not in _MENDS or failure.kind is FailureKind.USER:
        return []
    begins, mend = _DID_NOT_START
    return [mend if failure.message.startswith(begins) else _MENDS[failure.type]]
