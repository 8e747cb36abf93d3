"""A job among futures: `await job`, `job.future()`, `job.add_done_callback(...)`.

Theory. A job lives elsewhere, so what waits for it here is a thread that looks at it, and nothing else. Threads of this module are daemons,
and show nothing: neither do they print, nor do they warn. What is to be warned of waits for whoever takes the result, in a thread where it
is seen. Losing such a thread, by the end of its kernel or of the task that awaited, loses nothing of the job.

Rules of this module:

* `add_done_callback` and `future` share one thread for each `Job`, however many there are. It ends with the job, or when the platform has
  been out of reach for as long as any watcher is patient; then who comes next starts another one. Futures come before the user's functions.
* Who awaits has a thread of its own, which looks no more once the task that awaits is cancelled.
* A future that is cancelled in an event loop has its job cancelled by a thread: no daemon, so that no end of a script loses it.
* `JobCancelled` is a `KeyboardInterrupt`, and would end the event loop of whoever awaits, which in a notebook is the kernel's. So a
  coroutine gets a plain `JobError`, and a future is cancelled.
"""

from __future__ import annotations

import logging
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any, Final, Self, TypeGuard, TypeVar

from smr_notebook.errors import ConfigError, JobCancelled, JobError, JobNotFoundError, PlatformError, SmrError
from smr_notebook.job.held_warnings import Place, Warned, caller, holding_back
from smr_notebook.model import JobState
from smr_notebook.standing import Progress

if TYPE_CHECKING:
    import asyncio

    import pandas as pd

T = TypeVar("T")

_LOG: Final = logging.getLogger("concurrent.futures")


class _End(Future[None]):
    """The end of a job, or of watching it in vain. What is added to `told` is called after all that is added to this one."""

    def __init__(self) -> None:
        super().__init__()
        self.told: Future[None] = Future()

    def come(self, error: BaseException | None = None) -> None:
        """Say that it has come, or why it is not known."""
        self.set_exception(error) if error else self.set_result(None)
        self.told.set_result(None)


class AwaitedJob(ABC):
    """The side of a `Job` that `concurrent.futures` and `asyncio` know.

    Attributes:
        id: Identifier of the job.
    """

    id: str
    _end: _End | None = None
    _starting = threading.Lock()  # of a moment, so that all jobs may share it

    @abstractmethod
    def status(self) -> Progress:
        """Return how far the job is."""

    @abstractmethod
    def done(self) -> bool:
        """Whether the job has ended."""

    @abstractmethod
    def exception(self) -> SmrError | None:
        """Wait for the end, and return the error of a failed or cancelled job."""

    @abstractmethod
    def result(self) -> pd.DataFrame:
        """Wait, and return the result."""

    @abstractmethod
    def cancel(self) -> bool:
        """Ask the job to end, and return whether there was anything to end."""

    @abstractmethod
    def _watch_quietly(self, stopped: Callable[[], bool]) -> bool:
        """Look at the job until it has ended, or should no more; return whether it has ended. Raises as `Job.watch` does."""

    @abstractmethod
    def _tell(self, warned: list[Warned], place: Place | None = None) -> None:
        """Warn of what was held back, at a line of code, or at the one that called into this package."""

    # ------------------------------------------------------------ what a person calls

    def cancelled(self) -> bool:
        """Whether the job has ended because it was cancelled. Raises as `done` does."""
        state = self.status().state
        if state is JobState.SUBMITTED:
            self.done()  # which tells it from a job that was removed
        return state is JobState.CANCELLED

    def running(self) -> bool:
        """Whether the job has not ended yet, be it that it waits or works. Raises as `done` does."""
        return not self.done()

    def add_done_callback(self, fn: Callable[[Self], object]) -> None:
        """Have a function called with this job, once, when it has ended; at once, in this thread, if it has ended already.

        Else it is called in a thread that watches the job, which should not be kept busy for long. Where the platform could not be reached
        for a minute, or the job is removed, it is called though nobody knows how that has ended, and whatever it asks of the job says so.
        What it raises is logged by the logger `concurrent.futures`, as of any future, and goes no further, but for an interrupt of the main
        thread.

        Raises:
            ConfigError: That is no function.
            JobNotFoundError: The job was removed.
        """
        if not callable(fn):
            raise ConfigError(f"add_done_callback takes a function that is called with the job; got {fn!r}.")
        self._ended().told.add_done_callback(lambda _: self._call(fn))

    def future(self) -> Future[pd.DataFrame]:
        """Return a future of the result, for `concurrent.futures.wait`, `as_completed` and `asyncio.wrap_future`.

        It completes with what `result()` returns or raises, loaded when the job ends; a job that was cancelled is a cancelled future. To
        cancel it is to cancel the job, so that a task that awaits it by `asyncio.wrap_future`, and is cancelled, does that too: `await job`
        does not. A future that was cancelled is done, for who waits for it, when the job has ended.

        Raises:
            JobNotFoundError: The job was removed.
        """
        future = _JobFuture(self)
        self._ended().add_done_callback(lambda end: _start(lambda: future.complete(end.exception()), f"smr-result-{self.id}"))
        return future

    def __await__(self) -> Generator[Any, None, pd.DataFrame]:
        """Wait as a coroutine does, without holding up the event loop; see `result` for what it gives, warns of and raises.

        To cancel the task that awaits leaves the job alone. Where the job was cancelled this raises a plain `JobError`, because a
        `KeyboardInterrupt` would end the event loop.
        """
        return self._awaited().__await__()

    # ------------------------------------------------------------ threads

    def _call(self, fn: Callable[[Self], object]) -> None:
        try:
            fn(self)
        except BaseException as error:
            if not isinstance(error, Exception) and threading.current_thread() is threading.main_thread():
                raise
            _LOG.exception("A function that waited for the end of job %s failed.", self.id)

    def _ended(self) -> _End:
        """Return what completes when the job has ended, or when watching it failed."""
        if _useful(self._end):
            return self._end
        has_ended = self._has_ended()
        with self._starting:
            if not _useful(self._end):
                end = self._end = _End()
                if has_ended:
                    end.come()
                else:
                    _start(lambda: self._see_to_the(end), f"smr-watch-{self.id}")
            return self._end

    def _has_ended(self) -> bool:
        with suppress(PlatformError):  # the thread is patient
            return self.done()
        return False

    def _see_to_the(self, end: _End) -> None:
        ended = _tried(lambda: self._watch_quietly(lambda: False))
        end.come(ended if isinstance(ended, BaseException) else None)

    async def _awaited(self) -> pd.DataFrame:
        import asyncio  # noqa: PLC0415 - a script that never awaits need not load it, and who awaits has

        loop, stop = asyncio.get_running_loop(), threading.Event()
        found: asyncio.Future[tuple[pd.DataFrame, list[Warned]]] = loop.create_future()

        def look() -> None:
            with holding_back() as held:
                taken = _tried(lambda: self.result() if self._watch_quietly(stop.is_set) else None)
            with suppress(RuntimeError):  # the loop was closed meanwhile, and nobody waits
                loop.call_soon_threadsafe(_give, found, taken, held)

        _start(look, f"smr-await-{self.id}")
        try:
            frame, held = await found
        finally:
            stop.set()
        self._tell(held)
        return frame


class _JobFuture(Future["pd.DataFrame"]):
    """The future of a job's result: pending until the job has ended, running while the result is loaded.

    Args:
        job: The job.
    """

    def __init__(self, job: AwaitedJob) -> None:
        super().__init__()
        self._job = job
        self._place = caller()
        self._held: list[Warned] = []

    def cancel(self) -> bool:
        """Cancel the job, and return whether it had not ended, as far as is known: an event loop does not wait for the answer."""
        if self.done():
            return self.cancelled()
        if not _in_event_loop():
            return self._job.cancel() and super().cancel()
        cancelled = super().cancel()
        if cancelled:
            _start(self._cancel_job, f"smr-cancel-{self._job.id}", daemon=False)
        return cancelled

    def _cancel_job(self) -> None:
        try:
            with suppress(JobNotFoundError):  # nothing is left that would go on
                self._job.cancel()
        except Exception:  # noqa: BLE001 - there is nobody who could be told
            _LOG.exception("Job %s could not be cancelled, and goes on.", self._job.id)

    def result(self, timeout: float | None = None) -> pd.DataFrame:
        """Return the DataFrame; whoever takes it first is warned of what `Job.result` warns of.

        Where a filter makes an error of that, whoever comes next is told again; but in an event loop, which only hands the result on, there
        is none, because it would get lost between two futures, and what is warned of is the line that asked for this one.
        """
        frame = super().result(timeout)
        in_loop = _in_event_loop()
        with suppress(Warning) if in_loop else nullcontext():
            self._job._tell(self._held, self._place if in_loop else None)  # noqa: SLF001 - another half of the same module
            self._held = []
        return frame

    def complete(self, error: BaseException | None) -> None:
        """Take the result, or the error, now that the job has ended, or that watching it failed with an error."""
        ended = error or _tried(self._job.exception)
        if isinstance(ended, JobCancelled):
            super().cancel()
        if not self.set_running_or_notify_cancel():
            return
        if isinstance(ended, BaseException):
            self.set_exception(ended)
            return
        with holding_back() as self._held:
            found = _tried(self._job.result)
        if isinstance(found, BaseException):
            self.set_exception(found)
        else:
            self.set_result(found)


def _tried(call: Callable[[], T]) -> T | BaseException:
    """Return what a call returns or raises: whoever asks the future is to be told, and nobody else."""
    try:
        return call()
    except BaseException as error:  # noqa: BLE001 - see above
        return error


def _useful(end: _End | None) -> TypeGuard[_End]:
    """Whether there is a thread that watches, or one that has seen the end: then nobody need look whether the job is there."""
    return end is not None and not (end.done() and isinstance(end.exception(), PlatformError | JobNotFoundError))


def _start(work: Callable[[], None], name: str, *, daemon: bool = True) -> None:
    threading.Thread(target=work, name=name, daemon=daemon).start()


def _give(found: asyncio.Future[tuple[pd.DataFrame, list[Warned]]], taken: pd.DataFrame | BaseException | None, held: list[Warned]) -> None:
    """Tell the coroutine what came of it, unless that was cancelled."""
    if found.done() or taken is None:
        return
    if isinstance(taken, BaseException):
        found.set_exception(_of_coroutines(taken))
    else:
        found.set_result((taken, held))


def _in_event_loop() -> bool:
    loaded = sys.modules.get("asyncio")
    with suppress(RuntimeError):
        return loaded is not None and loaded.get_running_loop() is not None
    return False


def _of_coroutines(error: BaseException) -> BaseException:
    """Return the error as a coroutine may raise it without ending its event loop."""
    if not isinstance(error, JobCancelled):
        return error
    return JobError(error.message, job=error.job, failures=error.failures)
