"""How progress is shown here: live, as text, once at the end, or not at all.

A notebook that nobody watches (nbclient, nbval, nbmake, papermill, `nbconvert --execute`) is told from one that somebody does by the
execute request itself: only a person can answer a prompt, so runners send `allow_stdin: false`. Then the cell blocks and shows exactly
what a live view leaves behind when it has ended, so that a notebook saved by a person and the same notebook run in CI are equal.
"""

from __future__ import annotations

from enum import StrEnum
from importlib.util import find_spec
from typing import Any

from smr_notebook.errors import ConfigError


class Display(StrEnum):
    """Where progress goes."""

    PANEL = "panel"
    """A live widget, frozen at the end."""
    TEXT = "text"
    """Bars on standard error."""
    STATIC = "static"
    """One output, when the job has ended."""
    QUIET = "quiet"
    """Nowhere."""


def choose_display(setting: str, shell: Any) -> Display:
    """Return how progress is shown in this shell.

    Args:
        setting: What the user asked for: a `Display`, or `auto`.
        shell: The interactive shell.

    Raises:
        ConfigError: There is no such setting.
    """
    if setting != "auto":
        try:
            return Display(setting)
        except ValueError:
            raise ConfigError(f"display {setting!r} is not known. Use auto, {', '.join(Display)}.") from None
    if not is_notebook(shell):
        return Display.TEXT
    if not somebody_watches(shell) or find_spec("ipywidgets") is None:
        return Display.STATIC
    return Display.PANEL


def is_notebook(shell: Any) -> bool:
    """Whether the shell is a kernel's, with a frontend that renders HTML."""
    return getattr(shell, "kernel", None) is not None


def somebody_watches(shell: Any) -> bool:
    """Whether the running cell was sent by a frontend that could ask a person."""
    request = shell.get_parent() if hasattr(shell, "get_parent") else {}
    return bool(request.get("content", {}).get("allow_stdin", True))
