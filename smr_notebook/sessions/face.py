"""The module-level functions: the session in use, and the same verbs on it.

One session is in use at a time for the whole process: the one named by `use`, or the default, opened on first need. That choice, and
whom to ask for the settings of the notebook, is the only state of this package outside of objects, and only the functions below touch it.
The settings themselves belong to whoever is asked (`%config Smr`: the shell); where they change, another session is in use from then on.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Mapping
from typing import Concatenate, Final, ParamSpec, TypeVar

from smr_notebook.config import Told, overlaid, told_on_machine
from smr_notebook.sessions.configuring import configured
from smr_notebook.sessions.session import Session

P = ParamSpec("P")
R = TypeVar("R")

_OF_NOTEBOOK: Final = ("display", "on_interrupt")
"""Settings of what a cell shows and does while it waits; no session knows them better than the notebook."""


class _Chosen:
    """Holds the session in use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._notebook: Callable[[], Mapping[str, object]] = dict
        self._told: Mapping[str, object] = {}

    def get(self) -> Session:
        with self._lock:
            told = dict(self._notebook())
            if self._session is None or told != self._told:
                self._session = configured(self._session, told)
                self._told = told
            return self._session

    def if_open(self) -> Session | None:
        return self._session  # without the lock, which is held for as long as a session takes to open

    def set(self, session: Session) -> None:
        with self._lock:
            self._session, self._told = session, {}

    def listen(self, notebook: Callable[[], Mapping[str, object]]) -> None:
        with self._lock:
            self._notebook = notebook

    def told(self, notebook: Mapping[str, object]) -> dict[str, Told]:
        with self._lock:
            session = self._session
        told = told_on_machine({}, notebook)
        return told if session is None else overlaid(session.wishes.told, notebook) | {name: told[name] for name in _OF_NOTEBOOK}


_CHOSEN = _Chosen()


def current_session() -> Session:
    """Return the session in use; the default one is opened when none was named."""
    return _CHOSEN.get()


def session_if_open() -> Session | None:
    """Return the session in use if it is open, and never wait: as it was opened, whatever settings say since then."""
    return _CHOSEN.if_open()


def follow_settings(notebook: Callable[[], Mapping[str, object]]) -> None:
    """Ask for the settings of the notebook, by name, whenever the session in use is wanted."""
    _CHOSEN.listen(notebook)


def told_settings(notebook: Mapping[str, object]) -> dict[str, Told]:
    """Return each setting in force, with its source. Opens nothing.

    How progress is shown and what an interrupt does is the notebook's affair: the session in use is not asked for it.

    Args:
        notebook: What `%config Smr` says.

    Raises:
        ConfigError: A setting is wrong, or a file of settings cannot be read.
    """
    return _CHOSEN.told(notebook)


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
