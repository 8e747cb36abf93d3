"""An executor: `concurrent.futures.Executor`, whose calls are records of jobs.

Theory. The standard library says what an executor is, and everything that takes one goes on working: `as_completed`, `wait`, `asyncio`,
progress bars. A call is a record of a job (`dataflow.calls`), so that it gets all that jobs have: workers here or on AWS, retries of
attempts that died, logs, costs, and a result that outlives this process.

* `map` and `map_reduce` are one job each, over any number of calls: arguments are stored as they come, and results read as they are wanted.
* `submit` collects calls for a moment (`batching`); what comes of them completes their futures as tasks commit (`following`).
* All jobs of an executor are named after it, `name/1`, `name/2`, …: `smr.calls(name)` finds them again, in any kernel (`sets`).

Rules of this module:

* Arguments are pickled when they are given, and functions when their batch leaves: nothing that happens to a list later changes a call.
* What is wrong with one call is told by its future, or where its result would be, and leaves the others alone.
* What is to be warned of is told in the user's own thread, by the next verb.
* A future is running from the moment its batch leaves: as in the standard library, it can be cancelled until then. Shutting down with
  `cancel_futures` cancels the jobs as well, and so does an interrupt of the `with` block.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor as StandardExecutor
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from types import MethodType, TracebackType
from typing import Any, Literal, ParamSpec, TypeVar

from smr_notebook.calling.batching import Batches
from smr_notebook.calling.following import Following, settle
from smr_notebook.calling.items import Zipped, packed
from smr_notebook.calling.outcomes import Outcome
from smr_notebook.calling.sets import next_number
from smr_notebook.control.naming import Items
from smr_notebook.dataflow.calls import program_of_calls
from smr_notebook.dataflow.code import capture
from smr_notebook.errors import ConfigError, InputEmptyError, PlatformError, UnpicklableError
from smr_notebook.job.handle import Job, warn
from smr_notebook.job.held_warnings import Warned, holding_back
from smr_notebook.labels import cell_label
from smr_notebook.sessions.face import current_session
from smr_notebook.sessions.options import Options, check_options
from smr_notebook.sessions.session import Session

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """A call whose batch has not left yet."""

    future: Future[Any]
    function: Callable[..., Any]
    arguments: bytes


class Executor(StandardExecutor):
    """Calls functions on the workers of a session: a `concurrent.futures.Executor`.

    Args:
        session: Where the calls are made; the session in use if not given.
        name: What its jobs are named after, and `smr.calls` finds them by; drawn if not given. A name that was used before goes on.
        retries: Further attempts of a task whose process died; as the session has it if not given. What a call raises is never retried.

    Attributes:
        name: See above.

    Raises:
        ConfigError: An argument is of no use: a number of workers, for example, where the session stands.
    """

    def __init__(self, session: Session | None = None, *, name: str = "", retries: int | None = None) -> None:
        self._session = _checked_session(session) or current_session()
        self._options = Options(name=name, retries=retries)
        check_options(self._options)
        self.name = name or f"calls-{self._session.backend.draw()}"
        self._given = bool(name)
        self._lock = threading.Lock()
        self._shut = self._cancelled = False
        self._number = 0
        self._followed: list[Following] = []
        self._warned: list[Warned] = []
        self._batches: Batches[_Waiting] = Batches(self._send, self._under_way)

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The jobs that were made of the calls so far, in their order."""
        with self._lock:
            return tuple(followed.job for followed in self._followed)

    def __repr__(self) -> str:
        with self._lock:
            running = sum(not followed.ended for followed in self._followed)
            word = "shut down" if self._shut else "open"
            return f"<Executor {self.name}: {len(self._followed)} jobs, {running} running, {len(self._batches)} calls waiting, {word}>"

    # ------------------------------------------------------------ calls

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call `fn(*args, **kwargs)` on a worker, some hundredths of a second from now, and return a future of what it returns.

        Calls that come together are one job. What cannot travel, there or back, is the exception of its future.

        Raises:
            RuntimeError: The executor is shut down.
        """
        self._tell()
        with self._lock:
            self._check_open()
        future: Future[T] = Future()
        try:
            call = _Waiting(future, fn, packed(fn, args, kwargs))
        except UnpicklableError as error:
            future.set_exception(error)
            return future
        with self._lock:
            self._check_open()
            self._batches.add(call)
        return future

    def map(
        self, fn: Callable[..., T], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int | None = None
    ) -> Iterator[T]:
        """Call a function for each item, or each row of items of several iterables, as one job, and yield what the calls return in order.

        The job is submitted at once. Results are read as they are asked for, so that they need not fit in memory; where a call has raised,
        so does asking for its result. The other calls go on, and `smr.calls` has all of them.

        Args:
            fn: What to call.
            iterables: Its arguments; the shortest says how many calls there are. They are consumed at once.
            timeout: Seconds from now after which asking for a result that is not there raises `TimeoutError`.
            chunksize: How many calls each task makes at most, one after the other; shared out among the workers if not given.

        Raises:
            RuntimeError: The executor is shut down.
            ConfigError: `chunksize` is no number of calls.
            PlanError, EnvironmentMismatchError, PlatformError: The job cannot be submitted, as by `smr.map_reduce`.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        calls = Zipped(fn, iterables)
        followed = self._run(calls, chunksize)
        outcomes = iter(()) if followed is None else followed.outcomes(deadline)
        return _in_order(outcomes, calls)

    def map_reduce(
        self, fn: Callable[..., Any], reduce: Callable[[Iterator[Any]], R], *iterables: Iterable[Any], chunksize: int | None = None
    ) -> Future[R]:
        """Call a function for each item, and another one, on one worker, with an iterator of all that the calls return, in their order.

        Args:
            fn: What to call for each item.
            reduce: Called once all calls have ended: `sum`, `max`, `list`, or a function of one's own. It need not hold all at once.
            iterables: As of `map`.
            chunksize: As of `map`.

        Returns:
            A future of what `reduce` returns. Where a call raised, it has the exception of the first one. Where arguments of a call
            cannot travel, it has the `UnpicklableError` of the first ones, and nothing is called.

        Raises:
            RuntimeError, ConfigError, PlanError, EnvironmentMismatchError, PlatformError: As of `map`.
            InputEmptyError: There is nothing to call it for.
        """
        calls, future = Zipped(fn, iterables, whole=True), Future[R]()
        future.set_running_or_notify_cancel()
        try:
            followed = self._run(calls, chunksize, reduce=reduce, futures=[future])
        except UnpicklableError as error:
            if error not in calls.refused.values():
                raise
            future.set_exception(error)
            return future
        if followed is None:
            raise InputEmptyError("The iterables have no items: there is nothing to reduce.")
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - the standard library's own
        """Take no more calls.

        Args:
            wait: Whether to block until all calls have ended. What is not waited for goes on all the same.
            cancel_futures: Whether to cancel what has not ended: futures whose calls were not sent yet are, and so are the jobs of
                all others, whose futures then raise `CancelledError`.
        """
        with self._lock:
            self._shut = True
            self._cancelled = self._cancelled or cancel_futures
            waiting = self._batches.take_back() if cancel_futures else []
            followed = list(self._followed)
        for call in waiting:
            call.future.cancel()
            call.future.set_running_or_notify_cancel()
        for one in followed if cancel_futures else ():
            _cancel(one)
        self._batches.hurry()
        if wait:
            self._batches.flush()
            with self._lock:
                followed = list(self._followed)
            for one in followed:
                one.wait()
        self._tell()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> Literal[False]:
        interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        try:
            self.shutdown(wait=not interrupted, cancel_futures=interrupted)
        except KeyboardInterrupt:  # while it waited for what the block has called
            self.shutdown(wait=False, cancel_futures=True)
            raise
        return False

    # ------------------------------------------------------------ jobs

    def _check_open(self) -> None:
        if self._shut:
            raise RuntimeError("cannot schedule new futures after shutdown")

    def _under_way(self) -> int:
        return sum(not followed.ended for followed in list(self._followed))

    def _run(
        self,
        calls: Zipped,
        chunksize: int | None,
        *,
        reduce: Callable[..., Any] | None = None,
        futures: Sequence[Future[Any]] | None = None,
    ) -> Following | None:
        """Submit the job of `map` or `map_reduce`; `None` where there is nothing to do."""
        self._tell()
        each = _checked_size(chunksize)
        if reduce is not None and not callable(reduce):
            raise ConfigError(f"reduce must be a function of the iterator of all results: sum, max, list, …; got {reduce!r}.")
        with self._lock:
            self._check_open()
        if calls.is_empty():
            return None
        try:
            job = self._submit(self._session, [calls.function], Items(calls.items(), each=each), reduce=reduce)
        except InputEmptyError:
            if calls.sent or not calls.refused:
                raise
            return None  # none of them could travel
        return self._follow(job, calls.sent, reduces=reduce is not None, futures=futures)

    def _submit(
        self, session: Session, functions: Sequence[Callable[..., Any]], items: Items, reduce: Callable[..., Any] | None = None
    ) -> Job:
        with self._lock:
            if not self._number:
                self._number = next_number(session, self.name) if self._given else 1
            number, self._number = self._number, self._number + 1
        return session.run(program_of_calls(functions, reduce), items, options=replace(self._options, name=f"{self.name}/{number}"))

    def _follow(self, job: Job, count: int, *, reduces: bool = False, futures: Sequence[Future[Any]] | None = None) -> Following:
        followed = Following(self._session.backend, job, count=count, reduces=reduces, futures=futures)
        with self._lock:
            self._followed.append(followed)
            cancelled = self._cancelled
        if cancelled:  # while it was being submitted
            _cancel(followed)
        return followed

    def _send(self, batch: list[_Waiting]) -> None:
        """Submit a batch as one job; runs in the thread of the batches."""
        calls = [call for call in batch if call.future.set_running_or_notify_cancel()]
        nearby = copy.copy(self._session)
        nearby.backend = replace(nearby.backend, parallel=1)  # what the interpreter ends with starts no threads
        with holding_back() as held:
            try:
                self._send_all(calls, nearby)
            except UnpicklableError:
                self._send_rest(calls, nearby)
            except BaseException as error:  # noqa: BLE001 - told by the futures
                _fail(calls, error)
        with self._lock:
            self._warned += held

    def _send_all(self, calls: Sequence[_Waiting], session: Session) -> None:
        if calls:
            functions = {_key(call.function): call.function for call in calls}
            place = {key: number for number, key in enumerate(functions)}
            items = [(number, place[_key(call.function)], call.arguments) for number, call in enumerate(calls)]
            job = self._submit(session, list(functions.values()), Items(items))
            self._follow(job, len(calls), futures=[call.future for call in calls])

    def _send_rest(self, calls: Sequence[_Waiting], session: Session) -> None:
        """Send the calls of those functions that can travel, and fail the others."""
        refused: dict[tuple[int, int], UnpicklableError] = {}
        for call in calls:
            key = _key(call.function)
            if key not in refused and (why := _refused(call.function, session)) is not None:
                refused[key] = why
        for call in calls:
            if _key(call.function) in refused:
                settle(call.future, Outcome(error=refused[_key(call.function)]))
        rest = [call for call in calls if _key(call.function) not in refused]
        try:
            self._send_all(rest, session)
        except BaseException as error:  # noqa: BLE001 - told by the futures
            _fail(rest, error)

    def _tell(self) -> None:
        with self._lock:
            warned, self._warned = self._warned, []
        for message, category in warned:
            warn(message, category)


def _in_order(outcomes: Iterator[Outcome], calls: Zipped) -> Iterator[Any]:
    """Yield what calls returned, and raise what they raised, those that were never sent in their place."""
    for number in range(calls.total):
        if number in calls.refused:
            raise calls.refused[number]
        outcome = next(outcomes)
        if outcome.error is not None:
            raise outcome.error
        yield outcome.value


def _checked_session(session: object) -> Session | None:
    """Return a session, or `None`; elsewhere, the number of workers stands there. Raises `ConfigError`."""
    if session is None or isinstance(session, Session):
        return session
    told = f"Executor({session!r}): the first argument is a session, or nothing for the one in use."
    raise ConfigError(f'{told} How many workers there are is its affair: smr.Session(settings={{"workers": 4}}).')


def _checked_size(chunksize: object) -> int:
    """Return how many calls a task makes at most; 0 for automatic. Raises `ConfigError`."""
    if chunksize is None:
        return 0
    if isinstance(chunksize, bool) or not isinstance(chunksize, int) or chunksize < 1:
        raise ConfigError(f"chunksize must be a whole number of calls, 1 or more; got {chunksize!r}.")
    return chunksize


def _key(function: Callable[..., Any]) -> tuple[int, int]:
    """Return what tells functions apart; each look at a method makes another object of it."""
    if isinstance(function, MethodType):
        return id(function.__self__), id(function.__func__)
    return id(function), 0


def _refused(function: Callable[..., Any], session: Session) -> UnpicklableError | None:
    """Return why a function cannot travel, or `None`."""
    try:
        capture(program_of_calls([function]), label_of=cell_label, include=session.settings.include)
    except UnpicklableError as error:
        return error
    return None


def _fail(calls: Sequence[_Waiting], error: BaseException) -> None:
    for call in calls:
        settle(call.future, Outcome(error=error))


def _cancel(followed: Following) -> None:
    with suppress(PlatformError, LookupError):  # it has ended, or is gone, or who waits for it says so
        if not followed.ended:
            followed.job.cancel()
