"""Answers that may take long, for somebody who cannot wait: asked for in a thread, kept for a while.

Whoever asks waits for a moment. An answer that comes later is there when it is asked for again, which a person who presses Tab twice
does. An answer that fails is an empty one. Nothing is asked for twice at once, and no more than a few things are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Final

_MOST_KEPT: Final = 64
_MOST_ASKED: Final = 4


@dataclass(slots=True)
class _Answer:
    """What became of one question, and when it was asked."""

    asked: float
    words: Sequence[str] = ()
    known: threading.Event = field(default_factory=threading.Event)


class Lookups:
    """Answers by question.

    Args:
        now: Gives the time, in seconds.
        patience: Seconds that `get` waits at most.
    """

    def __init__(self, *, now: Callable[[], float], patience: float = 0.5) -> None:
        self._now = now
        self._patience = patience
        self._answers: dict[Hashable, _Answer] = {}
        self._lock = threading.Lock()

    def get(self, question: Hashable, ask: Callable[[], Sequence[str]], *, keep: float) -> Sequence[str]:
        """Return the answer to a question; an old one, or none, where that takes too long.

        Args:
            question: What tells it from others.
            ask: Gives the answer; called in a thread.
            keep: Seconds for which an answer counts.
        """
        with self._lock:
            before = self._answers.get(question)
            stands = before is not None and (not before.known.is_set() or self._now() < before.asked + keep)
            answer = before if before is not None and stands else self._begin(question, ask)
        if answer is None or not answer.known.wait(self._patience):
            return before.words if before is not None else ()
        return answer.words

    def _begin(self, question: Hashable, ask: Callable[[], Sequence[str]]) -> _Answer | None:
        """Ask, unless too much is asked already."""
        if sum(not answer.known.is_set() for answer in self._answers.values()) >= _MOST_ASKED:
            return None
        settled = [key for key, answer in self._answers.items() if answer.known.is_set()]
        for key in settled[: max(0, len(self._answers) - _MOST_KEPT + 1)]:
            del self._answers[key]
        answer = self._answers[question] = _Answer(self._now())

        def run() -> None:
            try:
                answer.words = tuple(ask())
            except Exception:  # noqa: BLE001, S110 - a completion that cannot be had is none, whatever the reason
                pass
            finally:
                answer.known.set()

        threading.Thread(target=run, name="smr-lookup", daemon=True).start()
        return answer
