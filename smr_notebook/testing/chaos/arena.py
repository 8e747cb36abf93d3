"""Where trials run: a platform, and what torments it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from smr_notebook.sessions.session import Session
from smr_notebook.testing.chaos.torments import Torment


@dataclass(frozen=True, slots=True)
class Arena:
    """A platform with what torments it.

    Attributes:
        session: Where the trials run.
        torments: With how much weight each is drawn.
        thaws: Timers that let frozen processes go on.
        befell: Returns what happened besides, since it was asked last.
    """

    session: Session
    torments: Sequence[tuple[Torment, int]]
    thaws: list[threading.Timer] = field(default_factory=list)
    befell: Callable[[], Counter[str]] = Counter
