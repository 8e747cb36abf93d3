"""Pickling of what has no typed column.

Rules:

* Plain pickle first: it is fast, and names classes by reference, which workers and notebook resolve alike.
* A class of `__main__` is another one in each process, so whatever names it travels by value, through cloudpickle.
* What pickles in no way is a `TypeError` that names the type, never a value that is dropped.
"""

from __future__ import annotations

import pickle

import cloudpickle

PROTOCOL = 5


def dumps(value: object) -> bytes:
    """Return one value as a pickle that any process of the job can load.

    Raises:
        TypeError: Neither pickle nor cloudpickle can write the value.
    """
    try:
        data = pickle.dumps(value, PROTOCOL)
    except Exception:  # noqa: BLE001 - the user's __reduce__ may raise anything; the second try decides
        data = b"__main__"
    if b"__main__" not in data:
        return data
    try:
        return bytes(cloudpickle.dumps(value, PROTOCOL))
    except Exception as error:
        name = type_name(type(value))
        raise TypeError(
            f"A value of type {name} cannot be pickled ({type(error).__name__}: {error}). "
            "Emit its plain parts instead: numbers, strings, tuples, lists, dicts or dataclasses."
        ) from error


def type_name(cls: type) -> str:
    """Return how a person writes the name of a type: `decimal.Decimal`, `list`."""
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
