"""The module-level functions: the session in use, and the same verbs on it.

One session is in use at a time for the whole process: the one named by `use`, or the default, opened on first need. That choice is
the only state of this package outside of objects, and only `current_session` and `use` touch it.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from smr_notebook.session import Session

P = ParamSpec("P")
R = TypeVar("R")


class _Chosen:
    """Holds the session in use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._session: Session | None = None

    def get(self) -> Session:
        with self._lock:
            if self._session is None:
                self._session = Session()
            return self._session

    def set(self, session: Session) -> None:
        with self._lock:
            self._session = session


_CHOSEN = _Chosen()


def current_session() -> Session:
    """Return the session in use; the default one is opened when none was named."""
    return _CHOSEN.get()


def use(session: Session | str) -> Session:
    """Name the session that the module-level functions and the magics use from now on, and return it.

    Args:
        session: A session, or the name of a platform (`local`).

    Raises:
        ConfigError: There is no such platform.
    """
    chosen = Session(session) if isinstance(session, str) else session
    _CHOSEN.set(chosen)
    return chosen


def _on_current(method: Callable[Concatenate[Session, P], R]) -> Callable[P, R]:
    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return method(current_session(), *args, **kwargs)

    signature = inspect.signature(method)
    told = signature.replace(parameters=list(signature.parameters.values())[1:])  # `help` shows what can be passed
    call.__signature__ = told  # type: ignore[attr-defined]
    return call


map_reduce = _on_current(Session.map_reduce)
aggregate = _on_current(Session.aggregate)  # type: ignore[arg-type] # mypy sees the first overload only
map_frames = _on_current(Session.map_frames)
plan = _on_current(Session.plan)
preview = _on_current(Session.preview)
jobs = _on_current(Session.jobs)
attach = _on_current(Session.attach)
