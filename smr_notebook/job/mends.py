"""What to do about failures that are nobody's exception: a worker that died, no memory, no room on a disk, a call that was lost.

An exception of the user's says itself what is wrong, and so do the errors of this package. Of these nobody raised anything, so what helps
is said beside them, wherever they are shown. Two of Python's own do not say it, because only we know how things are: that `values` is an
iterator, and that what a function imports is looked for in the worker.
"""

from __future__ import annotations

import re
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


_OF_AN_ITERATOR: Final = re.compile(r"'(list_iterator|generator)'")
_TAKE_A_LIST: Final = "`values` is an iterator, which goes by once: `values = list(values)` makes a list of it, where it fits in memory."
_IMPORT_ABOVE: Final = (
    "An import inside a function runs in the worker. Import a module of your own above the function: then it travels along. "
    "A package has to be installed where the workers are, or named by the setting `include`."
)


def mends_of(failure: Failure) -> list[str]:
    """Return the line that says what to do about a failure; none where its own message does."""
    if failure.type == "TypeError" and failure.function in {"reduce", "combine"} and _OF_AN_ITERATOR.search(failure.message):
        return [_TAKE_A_LIST]
    if failure.type == "ModuleNotFoundError" and failure.function:
        return [_IMPORT_ABOVE]
    if failure.type not in _MENDS or failure.kind is FailureKind.USER:
        return []
    begins, mend = _DID_NOT_START
    return [mend if failure.message.startswith(begins) else _MENDS[failure.type]]
