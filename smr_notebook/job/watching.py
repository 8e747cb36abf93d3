"""Looking at a job until it has ended, from outside of it.

Whoever looks also keeps the job alive, and outlasts a platform that is out of reach for a while. Nothing is shown here, and nobody is
warned: so a thread of its own may look, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from smr_notebook.errors import ServiceError, StoreError
from smr_notebook.ports import Backend
from smr_notebook.standing import Progress
from smr_notebook.values.pacing import next_pause

PATIENCE: Final = 60.0
"""Seconds that a platform may be out of reach before whoever watches a job gives up."""


def _never() -> bool:
    return False


def looks(
    backend: Backend,
    status: Callable[[], Progress],
    keep_alive: Callable[[Progress, float], None],
    *,
    timeout: float | None = None,
    stopped: Callable[[], bool] = _never,
) -> Iterator[tuple[Progress, bool]]:
    """Yield the progress at each look, and whether that was the last one: the job has ended, or the time is up.

    Args:
        backend: Its clock, and how often to look.
        status: Reads the progress.
        keep_alive: Called with the progress and the time as long as the job goes on.
        timeout: Seconds after which to give up.
        stopped: Asked between two looks; once it says so there is no other look, and none that was the last.

    Raises:
        StoreError, ServiceError: The platform could not be reached for a minute, or until the time was up.
    """
    clock = backend.clock
    pause, longest = backend.poll
    started = heard = clock.now()
    while not stopped():
        now = clock.now()
        late = timeout is not None and now - started >= timeout
        try:
            progress = status()
            last = progress.state.ended or late
            if not last:
                keep_alive(progress, now)
        except (StoreError, ServiceError):
            if late or now - heard >= PATIENCE:
                raise
        else:
            heard = now
            yield progress, last
            if last:
                return
        clock.sleep(pause)
        pause = next_pause(pause, longest)
