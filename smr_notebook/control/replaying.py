"""A failure run again, here: the record, or the group, that a function of the user's failed on, and the function as it travelled.

What was left of the failure in the worker is text. So the record is read from the input again, by the reader that the worker read it with,
and the function is called in this process: its exception is real here, with frames that a debugger can look into.

Rules of this module:

* What runs is the code of the job, whatever this process has under the same name, unless a mended function is given in its place.
* Nothing is written: neither objects nor rows.
* Where one record or group is known to have failed, it alone is run. Else the whole task is, until it fails.
* The user's exception leaves as it was raised: whoever called sees it, and not how it was told in the worker.
* Where the file that a function came from has changed since, or is not here, its lines are those that travelled with the code.
"""

from __future__ import annotations

import linecache
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Final, TypeVar

from smr_notebook.control.keys import keys_of
from smr_notebook.control.plans import read_code, read_plan
from smr_notebook.control.work import Errand, input_of, partition_runs, work_on
from smr_notebook.dataflow.bad_records import BadRecord
from smr_notebook.dataflow.blocks import unpack
from smr_notebook.dataflow.code import Sources, load_program, travelling_functions
from smr_notebook.dataflow.draining import checked_pair, shape_error
from smr_notebook.dataflow.emitting import PairEmitter
from smr_notebook.dataflow.functions import Functions, UserCodeError, short_repr
from smr_notebook.dataflow.joined_programs import core_of, inlet_of_task, mapped_by
from smr_notebook.dataflow.memory import Room
from smr_notebook.dataflow.mending import Mended, mended
from smr_notebook.dataflow.merging import ORDERS
from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.opening import opened
from smr_notebook.dataflow.programs import Program
from smr_notebook.dataflow.records import RecordBlock, Unreadable
from smr_notebook.dataflow.reducing import Groups, Partition
from smr_notebook.environment import environment
from smr_notebook.errors import ConfigError, CorruptObjectError, EnvironmentMismatchError, InputMissingError, ObjectNotFoundError
from smr_notebook.model import AttemptId, Failure, FailureKind, Phase, Plan, Reading, TaskId
from smr_notebook.ports import Backend, Buffer, ObjectStore
from smr_notebook.standing import FailedAttempt
from smr_notebook.values.tolerance import STRICT

T = TypeVar("T")

_BATCH_BYTES: Final = 1 << 20
_RUNS: Final = {FailureKind.USER, FailureKind.INPUT}
"""Kinds of failures that running the task again can show."""

_OF_RECORDS: Final = ("map", "read")
"""Functions that fail at a record; the second stands for our own reader."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a function gave that failed in a worker, and did not fail here.

    Attributes:
        what: What was run.
        given: The pairs that `map`, or a generator `reduce`, gave; what `reduce` returned; `None` where a whole task was run.
    """

    what: str
    given: Any = None

    def __repr__(self) -> str:
        told = [f"{self.what} did not fail here."]
        if self.given is not None:
            told.append(f"It gave {short_repr(self.given)}")
        told.append("What differs in a worker: files and variables of this machine, memory, other versions of packages, chance.")
        return "\n".join(told)


def failure_of_bad(task: TaskId, bad: BadRecord) -> FailedAttempt:
    """Return a record or a group that was left out as the failure that it would have been."""
    kind = FailureKind.INPUT if bad.function == "read" else FailureKind.USER
    type, _, message = bad.error.partition(": ")
    source, offset = bad.source, bad.offset
    failure = Failure(kind, type, message, (), bad.function, short_repr(bad.record), source, offset, record_number=bad.number)
    return FailedAttempt(AttemptId(task, 1), failure)


class Replay:
    """A failed attempt, to be run again.

    Args:
        backend: The platform.
        job: Identifier of the job.
        failed: Which failure.
        given: Functions to be run in place of the job's own.

    Raises:
        ConfigError: There is nothing to be run.
        PlanError: There is no such function to be mended.
        EnvironmentMismatchError: The code was made by another Python.
        CorruptObjectError, StoreError: The plan or the code cannot be read.
    """

    def __init__(self, backend: Backend, job: str, failed: FailedAttempt, *, given: Mended) -> None:
        if failed.failure.kind not in _RUNS:
            raise ConfigError(
                f"{failed.failure.type} was raised by no function: nobody knows at which record it was, so there is nothing to run here. "
                f"What the functions wrote before: job.logs(phase={failed.attempt.task.phase.value!r}, task={failed.attempt.task.number})."
            )
        keys = keys_of(backend.table)
        plan = read_plan(backend.objects, job, keys)
        check_python(plan, "Debug them")
        program, sources = load_program(read_code(backend.objects, job, keys))
        _show_sources(program, sources, job)
        self._failed = failed
        reading = replace(backend, objects=_ReadOnly(backend.objects))
        self._errand = Errand(reading, plan, mended(program, given), failed.attempt, Meter(), Path(gettempdir()), Room(plan.budget))

    def run(self) -> Replayed:
        """Run it, and return what it gave.

        Raises:
            BaseException: Whatever the user's function raises.
            InputError: The record cannot be read again: the input has changed, or is gone.
        """
        __tracebackhide__ = True
        functions = self._functions
        if self._alone and functions is not None and (self._failure.function in _OF_RECORDS or functions.reduce is not None):
            return self._run_alone()
        plan = self._errand.plan
        strict = replace(plan, tolerance=STRICT, reading=_strict(plan.reading))
        _users(lambda: _there(replace(self._errand, plan=strict), work_on))
        task = self._failed.attempt.task
        return Replayed(f"The whole of {task.phase} task {task.number}")

    def _run_alone(self) -> Replayed:
        """Run the function for the one record, or the one group, between its hooks."""
        __tracebackhide__ = True
        name = "map" if self._failure.function in _OF_RECORDS else "reduce"
        replayed: list[Replayed] = []

        def run() -> None:
            __tracebackhide__ = True
            with opened(self._errand.program, (name,), inlet=self._inlet) as program:
                functions = _functions_of(program, self._inlet)
                assert functions is not None  # noqa: S101 - the caller has looked
                replayed.append(self._map(functions) if name == "map" else self._reduce(functions))

        _users(run)
        return replayed[0]

    def record(self) -> Any:
        """Return what failed: the record, or the key and an iterator of its values.

        Raises:
            ConfigError: Nobody knows which record it was.
            InputError: It cannot be read again.
        """
        if self._one and self._failure.function in _OF_RECORDS:
            block, index = self._found()
            record = block.records[index]
            return record.raw if isinstance(record, Unreadable) else record
        if not self._alone:
            raise ConfigError(
                f"Nobody knows of one record or group that {self._failure.type} was raised for, so there is none to return. "
                "job.debug() runs the whole task."
            )
        key, values, _ = self._group()
        return key, values

    @property
    def _failure(self) -> Failure:
        return self._failed.failure

    @property
    def _functions(self) -> Functions | None:
        """The functions of a program that calls them for one record, or one group, at a time."""
        return _functions_of(self._errand.program, self._inlet)

    @property
    def _inlet(self) -> int:
        return inlet_of_task(self._errand.plan.reading, self._errand.attempt.task)

    @property
    def _one(self) -> bool:
        """Whether one record, or one group, is known to have failed."""
        phase = (dict.fromkeys(_OF_RECORDS, Phase.MAP) | {"reduce": Phase.REDUCE}).get(self._failure.function)
        return bool(self._failure.record_number) and phase is self._failed.attempt.task.phase

    @property
    def _alone(self) -> bool:
        """Whether it can be run without the others of its task."""
        return self._functions is not None and self._one

    # ------------------------------------------------------------ one record

    def _map(self, functions: Functions) -> Replayed:
        __tracebackhide__ = True
        block, index = self._found()
        record, map = block.records[index], functions.map
        if isinstance(record, Unreadable):
            raise record.error
        given = map(block.source, record) if functions.map_takes_source else map(record)
        wrong = shape_error(given, None)
        if wrong is not None:
            raise wrong
        pairs = []
        for item in () if given is None else given:
            key, value = checked_pair(item, "map")
            pairs.append((key, value))
        self._store(functions, pairs)
        return Replayed(f"map of the record {short_repr(record)}", pairs)

    def _found(self) -> tuple[RecordBlock, int]:
        __tracebackhide__ = True
        number = self._failure.record_number
        _, input = mapped_by(self._errand.program, _there(self._errand, input_of))
        for block in input.blocks():
            if number <= block.at.done + block.count:
                return block, number - 1 - block.at.done
        raise InputMissingError(f"Split {self._errand.attempt.task.number} has no record {number:,} any more. Submit the job again.")

    def _store(self, functions: Functions, pairs: list[tuple[Any, Any]]) -> None:
        """Refuse pairs that a worker could not store: a key that cannot be grouped, a value that does not pickle or has no order."""
        __tracebackhide__ = True
        block = RecordBlock("", [None], 0, lambda _: -1, None)
        given = replace(functions, map=lambda _: pairs, map_takes_source=False)
        ordered = self._errand.plan.sorting.values
        emitter = PairEmitter(given, [block], meter=Meter(), batch_bytes=_BATCH_BYTES, ordered=ordered)
        _users(lambda: deque(emitter.batches(), maxlen=0))

    # ------------------------------------------------------------ one group

    def _reduce(self, functions: Functions) -> Replayed:
        __tracebackhide__ = True
        reduce = functions.reduce
        assert reduce is not None  # noqa: S101 - the caller has looked
        key, values, groups = self._group()
        given = reduce(key, values)
        if functions.reduce_yields:
            given = list(given)
            for item in given:
                checked_pair(item, "reduce")
        groups.check()
        return Replayed(f"reduce of the key {short_repr(key)}", given)

    def _group(self) -> tuple[Any, Iterator[Any], Groups]:
        """Return the group. Its values are read as they are asked for."""
        __tracebackhide__ = True
        errand = self._errand
        partition = Partition(room=errand.room, scratch=errand.scratch, order=ORDERS[errand.plan.sorting.values])
        _there(errand, lambda errand: _fill(partition, partition_runs(errand)))
        groups = Groups(partition.blocks(), Meter(), done=self._failure.record_number - 1)
        self._handed = iter(groups)  # kept, because the values end with it
        for key, values in self._handed:
            return key, values, groups
        raise InputMissingError(
            f"Partition {errand.attempt.task.number} has no group {self._failure.record_number:,}. Submit the job again."
        )


def _strict(reading: Reading) -> Reading:
    """Return how an input, or each of several, is read where a record that cannot be read is an error."""
    inlets = tuple(replace(inlet, reading=_strict(inlet.reading)) for inlet in reading.inlets)
    return replace(reading, tolerant=False, inlets=inlets)


def _functions_of(program: Program, inlet: int) -> Functions | None:
    functions = getattr(core_of(program, inlet), "functions", None)
    return functions if isinstance(functions, Functions) else None


def _users(action: Callable[[], object]) -> None:
    """Do something; what a user's function raised leaves as it was raised, with what it was raised from."""
    __tracebackhide__ = True
    cause: BaseException | None = None
    try:
        action()
    except UserCodeError as error:
        cause = error.__cause__ or error
    if cause is not None:  # raised here, so that it has no context but its own
        raise cause


def _there(errand: Errand, action: Callable[[Errand], T]) -> T:
    """Return what an action gives, or say why what the job stored is not there any more."""
    __tracebackhide__ = True
    try:
        return action(errand)
    except ObjectNotFoundError as error:
        raise InputMissingError(
            f"What the job {errand.plan.job} had stored for its tasks is not there any more: a job that is done keeps its result only. "
            "Submit it again."
        ) from error
    except CorruptObjectError as error:
        if not errand.plan.carried:
            raise
        raise InputMissingError(
            f"What the map tasks of job {errand.plan.job} sent by {errand.plan.exchange} is not there any more: it goes with the job, "
            "however that ends. Submit it again with exchange='objects' to look into groups."
        ) from error


def _fill(partition: Partition, runs: Iterable[Iterable[bytes]]) -> None:
    for run in runs:
        for data in run:
            partition.add(unpack(data))


class _ReadOnly:
    """An object store that keeps nothing of what it is given; implements `ports.ObjectStore`."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self.get = objects.get
        self.list_prefix = objects.list_prefix

    def put(self, key: str, data: Buffer | Iterable[Buffer], *, if_absent: bool = False) -> bool:  # noqa: ARG002 - the port's verb
        """Take an object and drop it."""
        if not isinstance(data, Buffer):
            for _ in data:
                pass
        return True

    def delete_prefix(self, prefix: str) -> int:  # noqa: ARG002 - the port's verb
        """Leave all as it is."""
        return 0


def check_python(plan: Plan, doing: str) -> None:
    """Raise `EnvironmentMismatchError` unless the functions of a job were made by this Python; `doing` is what one wants with them."""
    here = environment().python
    if plan.environment.python != here:
        raise EnvironmentMismatchError(
            f"The job's functions were made by Python {plan.environment.python}, and this is Python {here}. {doing} in such a kernel."
        )


# ---------------------------------------------------------------- lines


def _show_sources(program: Program, sources: Sources, job: str) -> None:
    """Have tracebacks show the lines that the functions were made from."""
    changed = {}
    for file, (_, text) in sources.items():
        linecache.checkcache(file)  # it may have been changed since something of it was shown
        known = "".join(linecache.getlines(file))
        if known != text:
            name = f"{file} (of job {job})" if known else file
            linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
            changed[file] = name
    for function in travelling_functions(program):
        if function.__code__.co_filename in changed:
            function.__code__ = _renamed(function.__code__, changed[function.__code__.co_filename])


def _renamed(code: types.CodeType, file: str) -> types.CodeType:
    constants = tuple(_renamed(part, file) if isinstance(part, types.CodeType) else part for part in code.co_consts)
    return code.replace(co_filename=file, co_consts=constants)
