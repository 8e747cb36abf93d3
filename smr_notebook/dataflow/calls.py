"""Calls of functions as the records of a job: what an executor sends to the workers, and what each of them gives back.

Theory. A call is a record, and its outcome is a row: (number of the call, what came of it). So calls are planned, counted, committed and
proved as all records are, and nothing here knows of tasks. What a call raises is an outcome like what it returns: it fails its own call,
and neither its task nor its neighbours.

Rules of this module:

* Nothing of a call can fail its task but what ends the process: arguments that cannot be loaded, a result or an exception that cannot be
  pickled, `SystemExit` and `KeyboardInterrupt` are outcomes, too.
* A value of a plain type is its own outcome, so that rows of numbers are columns of numbers. Any other travels as a `Returned`, an
  exception as a `Raised`: types of our own, so that a column that holds one is a column of pickles, which has a digest.
* An exception travels with the frames of the user's own lines, as places: their text travels with the code of the job, once.
* Functions travel in the job's code, each once; arguments beside the job, pickled one by one, and loaded where they are needed.
"""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from smr_notebook.dataflow import by_value, pickles
from smr_notebook.dataflow.code import in_installation
from smr_notebook.dataflow.functions import Functions, writable
from smr_notebook.dataflow.inputs import SplitInput
from smr_notebook.dataflow.pair_programs import PairProgram
from smr_notebook.dataflow.programs import Tried

Step = tuple[str, int, str]
"""File, line and function of a frame."""

Item = tuple[int, int, bytes]
"""A call as it is stored: its number, that of its function, and its pickled arguments."""

TOGETHER: Final = 0
"""The key of all outcomes that are reduced together, and of the one row that this gives."""

_PLAIN: Final = frozenset({bool, int, float, str, bytes, type(None)})
_MOST_FRAMES: Final = 20
_MOST_LINKS: Final = 10
_MOST_CHARACTERS: Final = 4_000
_PACKAGE: Final = str(Path(__file__).parents[1]) + "/"


@dataclass(frozen=True, slots=True)
class Returned:
    """What a call returned, pickled."""

    pickled: bytes


@dataclass(frozen=True, slots=True)
class Link:
    """One exception of those that were raised one from, or during, the other.

    Attributes:
        steps: The user's own frames, outermost first; those of libraries where there are none.
        text: What Python prints of it below its frames.
        joint: What Python prints between the one before it and this one; empty for the first.
    """

    steps: tuple[Step, ...]
    text: str
    joint: str = ""


@dataclass(frozen=True, slots=True)
class Raised:
    """An exception that a call raised, or that became of what it returned.

    Attributes:
        pickled: The exception, or nothing where it does not come back from pickling.
        name: Name of its type.
        message: Its text.
        links: It and what it came from, oldest first.
        unsent: Why what the call returned cannot travel; empty where it raised.
    """

    pickled: bytes = b""
    name: str = ""
    message: str = ""
    links: tuple[Link, ...] = ()
    unsent: str = ""


@dataclass(frozen=True, slots=True)
class CallProgram(PairProgram):
    """Implements `programs.Program`: the functions of some calls, and perhaps one that reduces what they return.

    Attributes:
        calls: The functions, by number.
        together: What reduces; `None` where each call has an outcome of its own.
    """

    calls: tuple[Callable[..., Any], ...] = ()
    together: Callable[..., Any] | None = None

    def named(self) -> Iterable[tuple[str, Callable[..., Any]]]:
        """Return the functions that are called, by their own names."""
        for number, function in enumerate(self.calls):
            yield f"call {number}: {name_of(function)}" if len(self.calls) > 1 else f"the call of {name_of(function)}", function
        if self.together is not None:
            yield "reduce", self.together

    def try_out(self, input: SplitInput) -> Iterator[Tried]:  # noqa: ARG002 - as the protocol has it
        """Try nothing: what a call does, it does when it is meant to."""
        return iter(())


def program_of_calls(functions: Sequence[Callable[..., Any]], reduce: Callable[..., Any] | None = None) -> CallProgram:
    """Return what calls functions.

    Args:
        functions: By the numbers that calls name them by.
        reduce: Called with an iterator of what the calls return, in their order; `None` to have each outcome.
    """
    calls = tuple(functions)
    reducer = None if reduce is None else _Reduce(reduce)
    called = Functions(_Call(calls, together=reduce is not None), False, reducer, False, None, False)  # noqa: FBT003 - as its fields stand
    return CallProgram(called, calls=calls, together=reduce)


def name_of(function: object) -> str:
    """Return what messages call a function."""
    return getattr(function, "__qualname__", None) or type(function).__name__


def pack_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    """Return the arguments of a call as a pickle, by value where their classes are the user's own.

    To be called within `code.modules_by_value`, unless `are_plain` says that there is nothing of the kind. Raises whatever pickling does.
    """
    return pickle.dumps((args, kwargs), pickles.PROTOCOL) if are_plain(args, kwargs) else by_value.dumps((args, kwargs))


def are_plain(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether all arguments are numbers, text or bytes."""
    return _PLAIN.issuperset(map(type, args)) and _PLAIN.issuperset(map(type, kwargs.values()))


@dataclass(frozen=True, slots=True)
class _Call:
    """The `map` of a job: makes one call, and gives its outcome as a row."""

    functions: tuple[Callable[..., Any], ...]
    together: bool

    def __call__(self, item: Item) -> tuple[tuple[int, object]]:
        number, which, arguments = item
        return ((TOGETHER if self.together else number, _outcome(self.functions[which], arguments)),)


@dataclass(frozen=True, slots=True)
class _Reduce:
    """The `reduce` of a job: gives what calls returned to the user's, unless one raised."""

    function: Callable[..., Any]

    def __call__(self, _: int, outcomes: Iterator[object]) -> object:
        raised: list[Raised] = []
        ours: list[BaseException] = []
        try:
            value = self.function(_opened(outcomes, raised, ours))
        except BaseException as error:  # noqa: BLE001 - an outcome, whatever it is
            return _first(raised, ours, outcomes) or _raised(error)
        return _first(raised, ours, outcomes) or _returned(value)


def _first(raised: list[Raised], ours: list[BaseException], rest: Iterator[object]) -> Raised | None:
    """Return the outcome of the first call that raised, whatever the user's function made of that, and where it took no look at all.

    Raises what was no fault of theirs.
    """
    if ours:
        raise ours[0]
    return raised[0] if raised else next((outcome for outcome in rest if isinstance(outcome, Raised)), None)


def _opened(outcomes: Iterator[object], raised: list[Raised], ours: list[BaseException]) -> Iterator[object]:
    """Yield what calls returned; tell of what ends this early: a call that raised, or groups that cannot be read."""
    while True:
        try:
            outcome = next(outcomes)
        except StopIteration:
            return
        except BaseException as error:
            ours.append(error)
            raise
        if isinstance(outcome, Raised):
            raised.append(outcome)
            raise RuntimeError(f"A call raised {outcome.name}: {outcome.message}")  # noqa: TRY004 - no matter of types
        yield pickle.loads(outcome.pickled) if isinstance(outcome, Returned) else outcome


def _outcome(function: Callable[..., Any], arguments: bytes) -> object:
    try:
        args, kwargs = pickle.loads(arguments)
        value = function(*args, **kwargs)
    except BaseException as error:  # noqa: BLE001 - an outcome, whatever it is
        return _raised(error)
    return _returned(value)


def _returned(value: object) -> object:
    if type(value) in _PLAIN:
        return value
    try:
        return Returned(pickles.dumps(value))
    except BaseException as error:  # noqa: BLE001 - the user's __reduce__ may raise anything
        return Raised(unsent=_said(error) if isinstance(error, TypeError) else f"{type(error).__name__}: {_said(error)}")


def _raised(error: BaseException) -> Raised:
    text = _said(error)
    return Raised(_pickled(error), type(error).__name__, text, tuple(_links(error)))


def _said(error: BaseException) -> str:
    try:
        return writable(str(error))[:_MOST_CHARACTERS]
    except BaseException as raised:  # noqa: BLE001 - the user's __str__ may do anything
        return f"<its text cannot be shown: __str__ raised {type(raised).__name__}>"


def _pickled(error: BaseException) -> bytes:
    """Return an exception as bytes that come back as one of its type, or nothing."""
    try:
        data = pickles.dumps(error)
        same = type(pickle.loads(data)) is type(error)
    except BaseException:  # noqa: BLE001 - many exceptions cannot be made again from what they are pickled as
        return b""
    return data if same else b""


def _links(error: BaseException) -> Iterator[Link]:
    """Yield an exception and what it came from, oldest first."""
    chain = [error]
    while len(chain) < _MOST_LINKS and (before := _before(chain[-1])) is not None and all(before is not one for one in chain):
        chain.append(before)
    for place in reversed(range(len(chain))):
        found = chain[place]
        first = place == len(chain) - 1
        joint = "" if first else _CAUSE if found.__cause__ is not None else _CONTEXT
        text = writable("".join(traceback.format_exception_only(found)).rstrip("\n"))[:_MOST_CHARACTERS]
        yield Link(_steps(found), text, joint)


_CAUSE: Final = "The above exception was the direct cause of the following exception:"
_CONTEXT: Final = "During handling of the above exception, another exception occurred:"


def _before(error: BaseException) -> BaseException | None:
    if error.__cause__ is not None or error.__suppress_context__:
        return error.__cause__
    return error.__context__


def _steps(error: BaseException) -> tuple[Step, ...]:
    """Return the frames of the user's own code; those of libraries where there are none, and never ours."""
    walked = [(frame.f_code.co_filename, line, frame.f_code.co_name) for frame, line in traceback.walk_tb(error.__traceback__)]
    foreign = [step for step in walked if not step[0].startswith(_PACKAGE)]
    own = [step for step in foreign if not step[0].startswith("<frozen") and not in_installation(step[0])]
    return tuple((own or foreign)[-_MOST_FRAMES:])
