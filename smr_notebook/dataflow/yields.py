"""What a generator function yields, as far as its bytecode proves it.

Most people write `yield word, 1`. There the interpreter builds a tuple of two and yields it, with no way in between: whoever takes
it need not look whether it is a pair. And where the second of the two is a constant, it need not be collected pair by pair.

Rules of this module:

* Only what is proved for *every* `yield` of the function counts. What is not recognised (another version's instructions, a
  `yield from`, a condition inside the pair) is not proved, and costs nothing but time.
* An instruction that can be jumped to has more than one predecessor, so nothing before it proves anything about it.

A function without any `yield` that returns nothing on all its ways gives no pair, and no value: most often the word was forgotten.
"""

from __future__ import annotations

import dis
import functools
import inspect
import types
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

_CONSTANTS: Final = frozenset({"LOAD_CONST", "LOAD_SMALL_INT"})
_RETURNS: Final = frozenset({"RETURN_VALUE", "RETURN_CONST"})
_SUSPENDS: Final = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_PLAIN: Final = frozenset({bool, int, float, str, bytes})


@dataclass(frozen=True, slots=True)
class Yields:
    """What is proved of a function.

    Attributes:
        pairs: Whether it is a generator function that yields nothing but tuples of two.
        value: If so, the value of all pairs, in a tuple of one, where it is a constant of a plain type; else an empty tuple.
        once: Whether it yields no more than one pair a call: there is one `yield`, and nothing jumps back.
    """

    pairs: bool = False
    value: tuple[Any, ...] = ()
    once: bool = False


def proved_of(function: object) -> Yields:
    """Return what the bytecode of a function proves of what it yields; nothing for what is no Python generator function."""
    function = _inner(function)
    if type(function) is not types.FunctionType or not inspect.isgeneratorfunction(function):
        return Yields()
    found: list[tuple[Any, ...]] = []
    before: dis.Instruction | None = None
    instructions = list(dis.get_instructions(function))
    for built, given in pairwise(instructions):
        if given.opname == "YIELD_VALUE":
            if given.is_jump_target or built.is_jump_target or (built.opname, built.argval) != ("BUILD_TUPLE", 2):
                return Yields()
            constant = before is not None and before.opname in _CONSTANTS and type(before.argval) in _PLAIN
            found.append((before.argval,) if constant and before is not None else ())
        before = built
    same = {(*map(type, value), *map(repr, value)) for value in found}
    loops = any("BACKWARD" in instruction.opname for instruction in instructions)
    return Yields(bool(found), found[0] if len(same) == 1 else (), len(found) == 1 and not loops)


def gives_nothing(function: object) -> bool:
    """Return whether the bytecode of a function proves that it yields nothing, and that whatever it returns is `None`."""
    function = _inner(function)
    if type(function) is not types.FunctionType or function.__code__.co_flags & _SUSPENDS:
        return False
    steps = list(dis.get_instructions(function))
    returns = [(built, given) for built, given in pairwise(steps) if given.opname in _RETURNS]
    return bool(returns) and all(_is_none(built, given) for built, given in returns)


def _is_none(built: dis.Instruction, given: dis.Instruction) -> bool:
    source = given if given.opname == "RETURN_CONST" else built
    known = source is given or not given.is_jump_target
    return known and source.opname in {"RETURN_CONST", "LOAD_CONST"} and source.argval is None


def _inner(function: object) -> object:
    if isinstance(function, functools.partial):
        function = function.func  # with some arguments given beforehand it yields what it yields
    return function.__func__ if type(function) is types.MethodType else function
