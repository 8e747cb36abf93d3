"""Warnings that wait: a thread of ours shows none, because nobody would see it, and keeps them for whoever takes the result.

A warning is about a line of code: the one that called into this package, as far as there is one when it is shown.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

Warned = tuple[str, type[Warning]]
"""What is to be warned of, and as what."""

Place = tuple[str, int, str]
"""A line of code that a warning is about: its file, its number, and its module."""

_HELD_BACK: Final[ContextVar[list[Warned] | None]] = ContextVar("smr_held_back", default=None)


def hold_back(message: str, category: type[Warning]) -> bool:
    """Keep a warning for whoever takes the result, and return whether this thread is one that does so."""
    held = _HELD_BACK.get()
    if held is not None:
        held.append((message, category))
    return held is not None


@contextmanager
def holding_back() -> Iterator[list[Warned]]:
    """Keep the warnings of this thread, and give the list of them."""
    held: list[Warned] = []
    token = _HELD_BACK.set(held)
    try:
        yield held
    finally:
        _HELD_BACK.reset(token)


def caller() -> Place:
    """Return the line that called into this package. A magic is called by a line of IPython's, which says nothing."""
    frame = sys._getframe()  # noqa: SLF001 - what `warnings` does itself
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("smr_notebook."):
        frame = frame.f_back
    module = frame.f_globals.get("__name__", "")
    place = ("%%smr", 1) if module.startswith("IPython.") else (frame.f_code.co_filename, frame.f_lineno)
    return *place, module
