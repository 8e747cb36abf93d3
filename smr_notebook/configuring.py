"""A session as a notebook's settings say: opened, and again when they change.

Rules of this module:

* Nothing is changed in place: other settings are another session, and a job keeps the one that it was submitted through.
* A session named with settings of its own keeps those; the notebook gives it the rest.
* A platform is opened anew only for a setting that it was opened with (`platforms.OPENED_WITH`); jobs go on where they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from smr_notebook.config import Settings, from_machine, read_setting
from smr_notebook.platforms import OPENED_WITH
from smr_notebook.session import Session, Wishes


def configured(session: Session | None, notebook: Mapping[str, object]) -> Session:
    """Return a session with the settings of a notebook.

    Args:
        session: The session so far; `None` for the default one, which was not opened yet.
        notebook: Settings by name.

    Returns:
        The same session where nothing is different.

    Raises:
        ConfigError: A setting is wrong.
        PlatformError: A platform cannot be opened.
    """
    if session is None:
        return _with_wishes(Session(settings=from_machine({}, notebook)), Wishes({}))
    wishes = session.wishes
    settings = session.settings if wishes.settings is None else from_machine(wishes.settings, notebook)
    return session if settings == session.settings else _reopened(session, settings)


def overridden(session: Session, options: Mapping[str, object]) -> Session:
    """Return a session in which these settings win over all others, for one job. Arguments and errors as of `configured`."""
    told = {name: read_setting(name, value) for name, value in options.items() if value is not None}
    settings = replace(session.settings, **told) if told else session.settings
    return session if settings == session.settings else _reopened(session, settings)


def _reopened(session: Session, settings: Settings) -> Session:
    wishes = session.wishes
    if wishes.brought or all(getattr(settings, name) == getattr(session.settings, name) for name in OPENED_WITH):
        return _with_wishes(Session(settings=settings, backend=session.backend), wishes)
    return _with_wishes(Session(settings=settings, requirements=wishes.requirements), wishes)


def _with_wishes(session: Session, wishes: Wishes) -> Session:
    session.wishes = wishes
    return session
