"""Following a job of calls: a thread that looks at it, and gives outcomes as its tasks commit.

Theory. A committed output of a map task is final, whatever becomes of the other tasks and of the job. So what came of a call is known as
soon as its task has committed, and a job that fails or is cancelled takes nothing back.

Rules of this module:

* The thread is a daemon and shows nothing. It keeps the job alive, as any watcher does; losing it loses nothing of the job.
* Futures complete in the thread. Who goes through outcomes in order reads them in a thread of their own, task by task, so that no more than
  one part is in memory.
* Each call is settled once: by its outcome, or by what ended the job.
* When the interpreter ends, nothing is being read: a thread that is stopped inside compiled code takes its process along.
"""

from __future__ import annotations

import atexit
import copy
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import suppress
from typing import Any, Final

from smr_notebook.calling.outcomes import Outcome, Outcomes
from smr_notebook.control.ledger import Ledger
from smr_notebook.errors import CorruptObjectError, JobCancelled, ServiceError, SmrError, StoreError
from smr_notebook.job.handle import Job
from smr_notebook.job.held_warnings import holding_back
from smr_notebook.model import Part, Phase, TaskId
from smr_notebook.ports import Backend
from smr_notebook.standing import Progress

_INTERVAL: Final = 0.02
"""Shortest time between two looks for outcomes, in seconds."""

_LEAVE: Final = 5.0
"""Seconds that the end of the interpreter waits for a part that is being read: a callback may take as long as it likes."""


class Following:
    """The outcomes of one job, as they come. It begins to look when it is made.

    Args:
        backend: Where the job is.
        job: The job.
        count: How many calls it has.
        reduces: Whether they have one outcome together, which stands when the job is done.
        futures: What completes with the outcomes, by number of the call; `None` where somebody goes through `outcomes`.

    Attributes:
        job: See above.
    """

    def __init__(
        self, backend: Backend, job: Job, *, count: int, reduces: bool = False, futures: Sequence[Future[Any]] | None = None
    ) -> None:
        self.job = job
        self._count = 1 if reduces else count
        self._phase = Phase.REDUCE if reduces else Phase.MAP
        self._futures = futures
        self._ledger = Ledger(backend.table, job.id)
        self._outcomes = Outcomes(backend, job.id)
        self._parts: dict[int, Part] = {}
        self._changed = threading.Condition()
        self._ended = False
        self._error: BaseException | None = None
        self._seen = 0
        self._reading = threading.Lock()
        self._left = False
        atexit.register(self._leave)
        self._thread = threading.Thread(target=self._follow, name=f"smr-calls-{job.id}", daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether nothing more comes of the job: all futures are done."""
        return self._ended

    def wait(self) -> None:
        """Block until nothing more comes of the job; not in a callback of one of its futures, which would wait for itself."""
        if threading.current_thread() is not self._thread:
            with self._changed:
                self._changed.wait_for(lambda: self._ended)

    def outcomes(self, deadline: float | None = None) -> Iterator[Outcome]:
        """Yield the outcomes of all calls in their order, each as soon as its task and those before it have committed.

        Args:
            deadline: When to wait no more, by `time.monotonic`; `None` to wait as long as it takes.

        Raises:
            TimeoutError: The next one was not there in time. The job goes on.
            JobError: The job ended without the next one.
            CancelledError: It was cancelled.
            CorruptObjectError: What a task stored is not what was written.
        """
        given, task = 0, 0
        while given < self._count:
            for number, outcome in self._outcomes.of_part(self._part(task, deadline)):
                if number != given or given >= self._count:
                    raise CorruptObjectError(
                        f"The outcomes of the job {self.job.id} are not in order: call {number:,} stands at {given:,}."
                    )
                yield outcome
                given += 1
            task += 1

    def _part(self, task: int, deadline: float | None) -> Part:
        with self._changed:
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            if not self._changed.wait_for(lambda: self._ended or task in self._parts, left):
                raise TimeoutError(f"The next call of the job {self.job.id} had not ended in time. It goes on.")
            if task in self._parts:
                return self._parts[task]
        raise self._missing()

    # ------------------------------------------------------------ in the thread

    def _follow(self) -> None:
        with holding_back():
            error = self._watch()
        if self._futures is not None:
            self._error = error
            for future in self._futures:
                if not future.done():
                    settle(future, Outcome(error=self._missing()))
        with self._changed:
            self._error, self._ended = error, True
            self._changed.notify_all()
        atexit.unregister(self._leave)

    def _leave(self) -> None:
        """Let what is being read be read, and nothing more: the interpreter ends."""
        self._left = True
        if self._reading.acquire(timeout=_LEAVE):
            self._reading.release()

    def _watch(self) -> BaseException | None:
        """Look at the job until it has ended, and return what is wrong with it."""
        try:
            self.job.watch(self._look, interval=_INTERVAL)
            ended = self.job.exception()
            if ended is None or self._phase is Phase.MAP:
                self._take()
        except BaseException as error:  # noqa: BLE001 - told to whoever waits for an outcome
            return error
        return ended

    def _look(self, progress: Progress) -> None:
        if self._phase is Phase.MAP and progress.map.done != self._seen:
            with suppress(StoreError, ServiceError):  # there is another look
                self._take()
                self._seen = progress.map.done

    def _take(self) -> None:
        """Take what has committed since the last time."""
        with self._reading:
            if not self._left:
                self._take_parts()

    def _take_parts(self) -> None:
        commits = sorted(self._ledger.snapshot().commits.items())
        new = {task.number: commit.part for task, commit in commits if self._is_new(task) and commit.part is not None}
        futures = self._futures
        if futures is not None:
            for part in new.values():
                for number, outcome in self._outcomes.of_part(part):
                    settle(futures[self._checked(number)], outcome)
        with self._changed:
            self._parts |= new
            self._changed.notify_all()

    def _is_new(self, task: TaskId) -> bool:
        return task.phase is self._phase and task.number not in self._parts

    def _checked(self, number: int) -> int:
        if not 0 <= number < self._count:
            raise CorruptObjectError(f"The job {self.job.id} holds an outcome of call {number:,}, and has {self._count:,} calls.")
        return number

    def _missing(self) -> BaseException:
        """Return why a call has no outcome: an error of its own for each, because each gets a traceback."""
        error = self._error
        if isinstance(error, JobCancelled):
            return CancelledError(str(error))
        if isinstance(error, SmrError):
            again = copy.copy(error)
            again.__cause__ = error.__cause__
            return again
        return error or CorruptObjectError(f"The job {self.job.id} is done, and a call of it has no outcome. Submit it again.")


def settle(future: Future[Any], outcome: Outcome) -> None:
    """Complete a future, unless it is; what its callbacks do is nobody else's affair."""
    with suppress(InvalidStateError):
        try:
            if outcome.error is None:
                future.set_result(outcome.value)
            else:
                future.set_exception(outcome.error)
        except BaseException:  # noqa: BLE001 - of a callback: the future is complete, and others wait for theirs
            return
