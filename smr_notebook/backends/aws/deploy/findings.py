"""What a look at a deployment finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from smr_notebook.errors import AccessDeniedError, SmrError


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact about a deployment.

    Attributes:
        name: What was looked at.
        ok: Whether it is as it should be; `None` where that could not be seen.
        what: What was found, as a sentence.
        mend: What helps, if anything has to: a command, or a statement for a policy.
    """

    name: str
    ok: bool | None
    what: str
    mend: str = ""

    def __str__(self) -> str:
        mark = {True: "ok", False: "WRONG", None: "?"}[self.ok]
        return f"{mark:<6}{self.name}: {self.what}" + (f"\n      mend it: {self.mend}" if self.mend else "")


def fine(name: str, what: str) -> Finding:
    """Return that something is as it should be."""
    return Finding(name, ok=True, what=what)


def wrong(name: str, what: str, mend: str = "") -> Finding:
    """Return that something is not as it should be, and what mends it."""
    return Finding(name, ok=False, what=what, mend=mend)


def unseen(name: str, what: str) -> Finding:
    """Return that something could not be seen."""
    return Finding(name, ok=None, what=what)


def look(name: str, seen: Callable[[], Finding], *, mend: str = "") -> Finding:
    """Return what `seen` finds; what it raises is a finding, too.

    Args:
        name: What is looked at.
        seen: Looks.
        mend: What helps where there is nothing to look at.
    """
    try:
        return seen()
    except AccessDeniedError as error:
        return unseen(name, f"could not be looked at. {error}")
    except SmrError as error:
        return wrong(name, str(error), mend)
