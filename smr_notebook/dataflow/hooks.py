"""Setup and teardown of the user's functions: once an attempt, before its first record or group and behind its last.

What is dear to make (a model, a connection, a table to look things up in) is made once for each attempt, and not for each record. There are
two faces: `hooked(function, setup=…, teardown=…)`, and an object that is called like a function and is a context manager.

::

    setup() ──▶ state      once       state = setup()              function = object.__enter__()
    function(state, …)     for each record, or group               function(…)
    teardown(state)        once, whatever happened                 object.__exit__(type, error, traceback)

Rules of this module:

* What `setup` returns comes first among the arguments of the function, if that takes one more than it would without: so `map(record)` may
  go with a `setup` that only prepares its process. `None` is never passed so: it is what a `setup` returns that forgot to.
* It is an attempt that is set up for, and torn down: a task that goes on in legs, or is tried again, is set up again. The teardown comes
  before the commit, and when it fails, so does the attempt. It also comes after a failure and after a stop, as far as the process lives;
  then the first error is the one that is told, and what the teardown raises goes into the job's logs.
* Nothing that a hook does is left out (`on_error`), and no pair comes from it: pairs that a split gives at its end would be others with
  other splits, and the answer must not depend on where the input is cut. A combiner is what such pairs are wanted for.
* The functions of a program are replaced by what they are while they are set up (`opened`), by the same steps that mend functions, so that
  what drains and reduces knows of none of this; and a program without hooks stays what it is.
* Called outside of `opened`, a hooked function sets up and tears down around that one call: dear, and right.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from smr_notebook.dataflow.functions import UserCodeError, short_repr
from smr_notebook.dataflow.meter import Meter
from smr_notebook.errors import PairShapeError, PlanError

_LOG: Final = logging.getLogger(__name__)

MAP: Final = 1
"""Most arguments of a `map`, or of a function of frames, that knows nothing of its setup; two of them are (source, record)."""

REDUCE: Final = 2
"""The same for a `reduce` or `combine` of (key, values)."""


def hooked(function: Callable[..., Any], *, setup: Callable[[], Any] | None = None, teardown: Callable[..., Any] | None = None) -> Hooked:
    """Return a function for a job with what is done before its first call and after its last, once for each attempt of a task.

    It goes where the function would: `smr.map_reduce(smr.hooked(score, setup=load_model), …)`, also as `reduce` and as `combine`.

    Args:
        function: The function. If it takes one argument more than it would without a `setup`, what that returned comes first:
            `map(state, record)`, `map(state, source, record)`, `reduce(state, key, values)`.
        setup: Called without arguments.
        teardown: Called at the end, also when the attempt failed or was stopped: with what `setup` returned, if it takes an argument.

    Raises:
        PlanError: One of them is no function, there is neither `setup` nor `teardown`, or one of the two is a generator.
    """
    if not callable(function):
        raise PlanError(f"hooked needs a function; got {function!r}.")
    if isinstance(function, Hooked):
        raise PlanError(f"{_name(function.function)} is hooked already. Give one setup that does both.")
    if setup is None and teardown is None:
        raise PlanError(f"hooked({_name(function)}) has nothing to hook. Give setup=, teardown=, or both.")
    _check_hook("setup", setup, most=0)
    _check_hook("teardown", teardown, most=0 if setup is None else 1)
    return Hooked(function, setup, teardown)


@dataclass(frozen=True, slots=True, eq=False)
class Hooked:
    """A function with its hooks. Made by `hooked`, or by `arranged` of an object that is a context manager.

    Attributes:
        function: The function, or the object.
        setup: Called at the beginning, or `None`.
        teardown: Called at the end, or `None`.
        takes_state: Whether the function is called with what `setup` returned before all else.
        enters: Whether `function` is a context manager, and has no other hooks.
    """

    function: Callable[..., Any]
    setup: Callable[[], Any] | None = None
    teardown: Callable[..., Any] | None = None
    takes_state: bool = False
    enters: bool = False

    @property
    def plain(self) -> Callable[..., Any]:
        """Something with the parameters that the function has besides what `setup` returned."""
        return partial(self.function, None) if self.takes_state else self.function

    @property
    def parts(self) -> Iterable[tuple[str, Callable[..., Any]]]:
        """The functions that this is made of, with what they are called behind the name of this one."""
        if self.enters:
            kind = type(self.function)
            found = (("", "__call__"), (".__enter__", "__enter__"), (".__exit__", "__exit__"))
            return [(name, getattr(kind, method)) for name, method in found]
        hooks = (("", self.function), ("_setup", self.setup), ("_teardown", self.teardown))
        return [(name, hook) for name, hook in hooks if hook is not None]

    def __call__(self, *arguments: Any) -> Any:
        """Call the function once, between its hooks: in a test, say. What it yields is taken before it is torn down."""
        many = self.setup is not None and required(self.function, most=len(arguments) + 1) > len(arguments)
        try:
            with replace(self, takes_state=many).entered(_name(self.function)) as function:
                given = function(*arguments)
                return iter(list(given)) if isinstance(given, Iterator) else given
        except UserCodeError as error:
            raise (error.__cause__ or error) from None

    @contextmanager
    def entered(self, name: str, meter: Meter | None = None) -> Iterator[Callable[..., Any]]:
        """Set up, give the function as it is then, and tear down.

        Args:
            name: What messages call the function.
            meter: Of the attempt: it is told that a hook is under way.

        Raises:
            UserCodeError: A hook raised, or gave something else than it should.
        """
        with _at(f"the setup of {name}", meter):
            function, leave = self._enter(name) if self.enters else self._set_up(name)
        try:
            yield function
        except BaseException as error:
            try:
                with _at(f"the teardown of {name}", meter):
                    leave(error)
            except UserCodeError as other:
                _LOG.warning("The teardown of %s failed, too, after %s", name, type(error).__name__, exc_info=other.__cause__ or other)
            raise
        with _at(f"the teardown of {name}", meter):
            leave(None)

    def _set_up(self, name: str) -> tuple[Callable[..., Any], Callable[[BaseException | None], None]]:
        state = None
        if self.setup is not None:
            try:
                state = self.setup()
                self._check_state(state, name)
            except BaseException as error:
                raise UserCodeError(f"the setup of {name}", "") from error

        def leave(_: BaseException | None) -> None:
            if self.teardown is None:
                return
            try:
                _check_nothing(self.teardown(state) if self.setup is not None and _takes(self.teardown, 1) else self.teardown())
            except BaseException as error:
                raise UserCodeError(f"the teardown of {name}", "") from error

        return (partial(self.function, state) if self.takes_state else self.function), leave

    def _check_state(self, state: object, name: str) -> None:
        if state is None and self.takes_state:
            told = _name(self.function)
            raise PairShapeError(
                f"setup returned None, and {told} takes what it returns as its first argument. Return it; or, if there is nothing to "
                f"pass on, let {told} do without" + (", or take (state, source, record)." if name == "map" else ".")
            )

    def _enter(self, name: str) -> tuple[Callable[..., Any], Callable[[BaseException | None], None]]:
        kind: Any = type(self.function)
        try:
            given = kind.__enter__(self.function)
            if not callable(given):
                raise PairShapeError(  # noqa: TRY301 - told like whatever __enter__ raises
                    f"__enter__ of {kind.__name__} must return what is called for each record or group (self); got {short_repr(given)}"
                )
        except BaseException as error:
            raise UserCodeError(f"the setup of {name}", "") from error

        def leave(error: BaseException | None) -> None:
            told = (None, None, None) if error is None else (type(error), error, error.__traceback__)
            try:
                kind.__exit__(self.function, *told)
            except BaseException as raised:
                raise UserCodeError(f"the teardown of {name}", "") from raised

        return (given.__call__ if inspect.isfunction(getattr(type(given), "__call__", None)) else given), leave  # noqa: B004 - as above


def arranged(function: Any, bare: int) -> Any:
    """Return what a job shall run as one of its functions: `Hooked`, if it has hooks, and knowing whether it takes what `setup` returns.

    Args:
        function: What the user gave.
        bare: How many arguments it may have to know nothing of that: `MAP` or `REDUCE`.
    """
    if isinstance(function, Hooked):
        many = required(function.function, most=bare + 1) > bare
        return function if function.enters else replace(function, takes_state=function.setup is not None and many)
    kind = type(function)
    if callable(function) and not inspect.isroutine(function) and hasattr(kind, "__enter__") and hasattr(kind, "__exit__"):
        return Hooked(function, enters=True)
    return function


def parts_of(named: Iterable[tuple[str, Callable[..., Any]]]) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield functions with their names; of those with hooks, all that they are made of."""
    for name, function in named:
        if isinstance(function, Hooked):
            yield from ((name + part, found) for part, found in function.parts)
        else:
            yield name, function


def required(function: Callable[..., Any], *, most: int) -> int:
    """Return with how many arguments, `most` at most, a function wants to be called; 0 where it does not tell."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return 0
    kinds = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    return min(sum(one.kind in kinds and one.default is one.empty for one in signature.parameters.values()), most)


def _takes(function: Callable[..., Any], count: int) -> bool:
    """Whether a hook can be called with so many arguments; one that does not tell can."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


@contextmanager
def _at(hook: str, meter: Meter | None) -> Iterator[None]:
    """Say where the attempt is as long as a hook is under way: whoever finds that it hangs names it."""
    if meter is None:
        yield
        return
    before, meter.place = meter.place, partial(UserCodeError, hook, "")
    try:
        yield
    finally:
        meter.place = before


def _check_hook(name: str, hook: Any, *, most: int) -> None:
    """Refuse what cannot be a hook that is called with so many arguments. Raises `PlanError`."""
    if hook is None:
        return
    if not callable(hook):
        raise PlanError(f"{name} must be a function, or None; got {hook!r}.")
    if inspect.isgeneratorfunction(hook):
        made = f"setup must return what it made; {_name(hook)} is a generator. Return it, and end it in teardown=."
        raise PlanError(made if name == "setup" else _no_pairs(f"{_name(hook)} yields."))
    if inspect.iscoroutinefunction(hook):
        raise PlanError(f"{name} must be a plain function; {_name(hook)} is a coroutine function. Call asyncio.run(...) in it.")
    if not any(_takes(hook, count) for count in range(most + 1)):
        told = "what setup returned" if most else "no argument"
        raise PlanError(f"{name} is called with {told}; {_name(hook)} takes more. Give a function, or a lambda, that does not.")


def _check_nothing(given: object) -> None:
    if isinstance(given, Iterator) or (isinstance(given, list | tuple | dict) and given):
        raise PairShapeError(_no_pairs(f"It returned {short_repr(given)}."))


def _no_pairs(found: str) -> str:
    return (
        f"teardown gives no pairs: {found} With other splits these would be other pairs, and the answer must not depend on where the input "
        "is cut. Yield from map, and let combine= add up what travels."
    )


def _name(function: object) -> str:
    return getattr(function, "__qualname__", None) or type(function).__name__
