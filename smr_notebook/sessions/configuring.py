"""A session as a notebook's settings say: opened, and again when they change.

Rules of this module:

* Nothing is changed in place: other settings are another session, and a job keeps the one that it was submitted through.
* A session keeps what it was opened with, from files and from the environment, too: who sets one thing in a notebook does not take over
  what was written elsewhere meanwhile, such as another workspace. `smr.use` opens a session that does.
* What a session was given as an argument stays; the notebook gives it the rest.
* A platform is opened anew only for a setting that it was opened with (`platforms.OPENED_WITH`); jobs go on where they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from smr_notebook.config import Settings, overlaid, read_setting, settings_of, told_on_machine
from smr_notebook.sessions.platforms import OPENED_WITH
from smr_notebook.sessions.session import Session


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
        told = told_on_machine({})
        opened = Session(settings=settings_of(overlaid(told, notebook)))
        opened.wishes = replace(opened.wishes, told=told)
        return opened
    settings = settings_of(overlaid(session.wishes.told, notebook))
    return session if settings == session.settings else _reopened(session, settings)


def overridden(session: Session, options: Mapping[str, object]) -> Session:
    """Return a session in which these settings win over all others, for one job. Arguments and errors as of `configured`."""
    told = {name: read_setting(name, value) for name, value in options.items() if value is not None}
    settings = replace(session.settings, **told) if told else session.settings
    return session if settings == session.settings else _reopened(session, settings)


def _reopened(session: Session, settings: Settings) -> Session:
    wishes = session.wishes
    kept = wishes.brought or all(getattr(settings, name) == getattr(session.settings, name) for name in OPENED_WITH)
    made = Session(settings=settings, backend=wishes.opened) if kept else Session(settings=settings, requirements=wishes.requirements)
    made.wishes = replace(wishes, opened=made.wishes.opened)
    return made
