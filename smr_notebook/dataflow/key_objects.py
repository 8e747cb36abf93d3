"""Encoding of keys of any type: `encode`, and how objects that are no builtin values take part.

* A subclass that keeps the builtin's `__eq__` (a namedtuple, a `str` subclass) is the class's name and the builtin's encoding.
* An enum member is its class and its value (its name, when the value is no plain one); a NumPy scalar its type and its item; a
  path its text; a pandas timestamp a datetime and nanoseconds, whatever its resolution; a dataclass its class and its compared fields.
* A class or a function is its name. A lambda has none, and is refused.
* Any other object is what `__reduce_ex__(4)` says it is made of: equal parts, one key. An object that Python compares by identity
  has no value that another process could know, so it is refused rather than grouped by chance.
"""

from __future__ import annotations

import copyreg
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from pathlib import PurePath
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np

from smr_notebook.dataflow.encoding import WRITERS, Encoder, Tag, Writer
from smr_notebook.dataflow.pickles import type_name


def encode(key: object) -> tuple[bytes, bool]:
    """Return the encoding of a key, and whether `decode` gives back exactly this key.

    Raises:
        TypeError: The key is not hashable, or has no value that is the same in every process.
    """
    encoder = Encoder(_writer_for)
    try:
        hash(key)
        encoder.put(key)
    except RecursionError as error:
        raise _refusal(key, "it is nested too deeply or contains itself", "a flat tuple of its parts") from error
    except _UnfitError as error:
        raise _refusal(key, error.why, error.instead) from error.__cause__
    except TypeError as error:
        instead = _INSTEAD.get(type_name(type(key)), "a tuple of its parts")
        raise _refusal(key, str(error), instead) from error
    return bytes(encoder.out), encoder.exact


class _UnfitError(Exception):
    """Why a key, or a part of it, has no encoding."""

    def __init__(self, why: str, instead: str) -> None:
        super().__init__(why)
        self.why = why
        self.instead = instead


_INSTEAD = {"list": "tuple(key)", "dict": "tuple(sorted(key.items()))", "set": "frozenset(key)", "bytearray": "bytes(key)"}


def _refusal(key: object, why: str, instead: str) -> TypeError:
    return TypeError(f"A key of type {type_name(type(key))} cannot be grouped: {why}. Use {instead} as key instead.")


def _writer_for(value: object) -> Writer:
    return next(writer for fits, writer in _FINDERS if fits(value))


def _equality(cls: type) -> object:
    return cls.__eq__


def _base(cls: type) -> type | None:
    """Return the builtin type that the class gets its `__eq__` from."""
    return next((base for base in cls.__mro__ if base in WRITERS and _equality(base) is _equality(cls)), None)


def _put_enum(encoder: Encoder, value: Enum) -> None:
    encoder.tag(Tag.ENUM)
    encoder.named(type(value))
    plain = value.value if type(value.value) in {bool, int, float, str, bytes} else value.name
    encoder.put(plain)


def _put_numpy(encoder: Encoder, value: np.generic) -> None:
    encoder.tag(Tag.NUMPY)
    # Dates and spans of time have their unit in the dtype; a string's dtype is its length, which is no type.
    item = value.item()
    if isinstance(item, np.generic):
        raise _UnfitError(f"the bytes of numpy.{type(item).__name__} differ between machines", "float(key) or str(key)")
    kind = value.dtype.str if isinstance(value, np.datetime64 | np.timedelta64) else type(value).__name__
    encoder.text(Tag.STR, kind.encode())
    encoder.put(item)


def _put_subclass(encoder: Encoder, value: object) -> None:
    cls = type(value)
    encoder.tag(Tag.SUBCLASS)
    encoder.named(cls)
    base = _base(cls)
    if base is not None:
        WRITERS[base](encoder, value)


def _put_path(encoder: Encoder, value: PurePath) -> None:
    encoder.tag(Tag.SUBCLASS)
    encoder.named(type(value))
    encoder.put(str(value))


def _nanoseconds(value: object) -> object:
    return getattr(value, "nanosecond", getattr(value, "nanoseconds", None))


def _put_pandas(encoder: Encoder, value: datetime | timedelta) -> None:
    encoder.tag(Tag.SUBCLASS)
    encoder.named(type(value))
    WRITERS[datetime if isinstance(value, datetime) else timedelta](encoder, value)
    encoder.put(_nanoseconds(value))


def _put_dataclass(encoder: Encoder, value: Any) -> None:
    encoder.tag(Tag.DATACLASS)
    encoder.named(type(value))
    _put_parts(encoder, [getattr(value, field.name) for field in fields(value) if field.compare])


def _put_named(encoder: Encoder, value: Any) -> None:
    name = f"{value.__module__}.{value.__qualname__}"
    if "<lambda>" in name or (isinstance(value, FunctionType) and "<locals>" in name):
        raise _UnfitError(f"the function {name} has no name of its own", "a string that names it")
    encoder.text(Tag.NAMED, name.encode("utf-8", "surrogatepass"))


def _put_object(encoder: Encoder, value: object) -> None:
    cls = type(value)
    try:
        reduce = copyreg.dispatch_table.get(cls)
        parts = reduce(value) if reduce else value.__reduce_ex__(4)
    except Exception as error:
        raise _UnfitError(f"{type_name(cls)} cannot be pickled ({error})", "a tuple of its parts") from error
    if isinstance(parts, str):
        module = getattr(value, "__module__", None) or cls.__module__
        encoder.text(Tag.NAMED, f"{module}.{parts}".encode("utf-8", "surrogatepass"))
        return
    if _equality(cls) is object.__eq__ and not encoder.inside:
        raise _UnfitError(
            f"{type_name(cls)} defines no __eq__, so that its copy in another process would be another key",
            "a tuple of its parts, or a dataclass with frozen=True,",
        )
    function, arguments, *more = parts
    state, items, pairs = (*more, None, None, None)[:3]
    listed = sorted_pairs = None
    if items is not None:
        listed = list(items)
    if pairs is not None:
        sorted_pairs = list(pairs) if isinstance(value, OrderedDict) else dict(pairs)
    encoder.tag(Tag.OBJECT)
    encoder.named(cls)
    _put_parts(encoder, [function, arguments, state, listed, sorted_pairs])


def _put_parts(encoder: Encoder, parts: list[object]) -> None:
    encoder.inside += 1
    encoder.items(Tag.LIST, parts)
    encoder.inside -= 1


def _is_dataclass(value: object) -> bool:
    return is_dataclass(value) and not isinstance(value, type) and bool(getattr(type(value), "__dataclass_params__").eq)  # noqa: B009 - not in the stubs


def _has_name(value: object) -> bool:
    return isinstance(value, type | FunctionType) or (isinstance(value, BuiltinFunctionType) and isinstance(value.__self__, ModuleType))


_FINDERS: tuple[tuple[Callable[[object], bool], Writer], ...] = (
    (lambda value: isinstance(value, Enum), _put_enum),
    (lambda value: isinstance(value, np.generic), _put_numpy),
    (lambda value: isinstance(value, PurePath), _put_path),
    (lambda value: isinstance(value, datetime | timedelta) and isinstance(_nanoseconds(value), int), _put_pandas),
    (lambda value: _base(type(value)) is not None, _put_subclass),
    (_is_dataclass, _put_dataclass),
    (_has_name, _put_named),
    (lambda _value: True, _put_object),
)
"""Which objects a writer takes; the first that fits counts."""
