"""Counters of the user's own: `count_up("bad dates")` in `map`, `reduce` and their hooks, and what an attempt has counted.

Theory. A counter must cost next to nothing where records take a microsecond, and count each record once whatever is tried twice. So an
attempt adds to a dict of its own, without a lock; what it counted travels with its numbers, in heartbeats while it runs and in its leg or
commit for good; and a job's counters are sums over commits. Nothing is counted anywhere else, so nothing can be counted twice.

Rules of this module:

* What is counted belongs to the attempt whose thread counts. A thread that a function started counts for the attempt of its process,
  through a lock; where a process makes several attempts at once, nobody knows which is meant, and it is refused.
* What a call counted that failed and is left out does not count: `drop`. Where nothing is left out, nothing is kept apart.
* How often `combine` is called says something of memory and of spills, and nothing of the data. So what it counts does not count; neither
  does what is tried out where a job is planned (`uncounted`).
* Outside of an attempt, names and amounts are checked and nothing happens: `map` is a plain function in a test.
* Names and their number are bounded, because they travel in rows of a table with each heartbeat.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from smr_notebook.errors import CounterError
from smr_notebook.values.counted import Counted

MOST_NAMES: Final = 50
"""Counters of a phase of a job."""

NAME_CHARACTERS: Final = 64
"""Of a counter's name, at most."""

MOST: Final = 10**12
"""A counter may count to so much in one attempt: the sum of a million tasks is still a whole number of 64 bits."""

_ONE: Final = 1
"""The amount that nearly everybody counts by: an object of which there is one only."""


def count_up(name: str, by: int = 1) -> None:
    """Count something in a function of a job: `smr.count_up("bad dates")`.

    What the tasks of a job have counted is `Job.counters`; each task counts once, however often it was tried. Outside of a job nothing
    happens.

    Args:
        name: What is counted: some words, at most 64 characters. A job may have 50 names in a phase.
        by: How much is added: a whole number, 0 or more.

    Raises:
        CounterError: The name or the amount is not such, or there are too many names.
    """
    if by is not _ONE and (type(by) is not int or not 0 <= by <= MOST):
        by = _amount(name, by)
    try:
        _HERE.own[name] += by
    except (KeyError, AttributeError, TypeError):
        _count_first(name, by)


def counter(name: str) -> Counter:
    """Return a counter that may be kept: `bad = smr.counter("bad dates")`, and `bad.add()` where it counts.

    Args:
        name: As of `count_up`.

    Raises:
        CounterError: The name is not such.
    """
    _check_name(name)
    return Counter(name)


@dataclass(frozen=True, slots=True)
class Counter:
    """A name to count under. It travels with functions, and holds no count itself."""

    name: str

    def add(self, n: int = 1) -> None:
        """Count so much more. Raises as `count_up` does."""
        if n is not _ONE:
            count_up(self.name, n)
            return
        try:  # as `count_up` does it: one call less, for each record
            _HERE.own[self.name] += 1
        except (KeyError, AttributeError):
            _count_first(self.name, 1)


class Counts:
    """What one attempt has counted.

    Attributes:
        own: What the thread of the attempt has counted.
        others: What threads have counted that its functions started.
        paused: Whether these count nothing at the moment.
    """

    __slots__ = ("_kept", "_kept_others", "others", "own", "paused")

    def __init__(self) -> None:
        self.own: dict[str, int] = {}
        self.others: dict[str, int] = {}
        self._kept: dict[str, int] = {}
        self._kept_others: dict[str, int] = {}
        self.paused = False

    def items(self) -> Counted:
        """Return what is counted, by name. Called by the heartbeat as well, while the attempt counts."""
        if not self.own and not self.others:
            return ()
        found = self.own.copy()  # in one step for all threads
        for name, number in self.others.copy().items():
            found[name] = found.get(name, 0) + number
        return tuple((name, min(number, MOST + 1)) for name, number in sorted(found.items()))

    def keep(self) -> None:
        """Let what was counted since the last time count for good: the call that counted it came to its end."""
        self._kept.update(self.own)
        if self.others:
            with _LOCK:
                self._kept_others.update(self.others)

    def drop(self) -> None:
        """Forget what was counted since the last `keep`: the call that counted it failed."""
        self.own.clear()
        self.own.update(self._kept)
        if self.others:
            with _LOCK:
                self.others.clear()
                self.others.update(self._kept_others)

    def check(self) -> None:
        """Refuse what is more than a counter may hold. Raises `CounterError`."""
        for name, number in self.items():
            if number > MOST:
                raise CounterError(
                    f"The counter {name!r} has counted more than {MOST:,} in one task, and that is the most. "
                    "Count in larger units (kilobytes for bytes), or cut the input into more tasks."
                )

    def admit(self, name: str) -> None:
        """Refuse one name more than there may be. Raises `CounterError`."""
        if name not in self.own and name not in self.others:
            _check_name(name)
            check_names([*self.own, *self.others, name])


def check_names(names: Iterable[str]) -> None:
    """Refuse more different names than a phase may have. Raises `CounterError`."""
    found = sorted(set(names))
    if len(found) > MOST_NAMES:
        shown = ", ".join(map(repr, found[:5]))
        raise CounterError(
            f"There are more than {MOST_NAMES} counters: {shown}, … Counters are for a few things that are known beforehand; what is "
            "counted for each of many keys is a job of its own: yield (key, 1), and reduce=sum."
        )


@contextmanager
def counting(counts: Counts) -> Iterator[None]:
    """Let this thread count for an attempt within the block."""
    before = getattr(_HERE, "counts", None)
    _begin(counts)
    with _LOCK:
        _ATTEMPTS.append(counts)
    try:
        yield
    finally:
        with _LOCK:
            _ATTEMPTS.remove(counts)
        _begin(before)


@contextmanager
def uncounted() -> Iterator[None]:
    """Let what is counted within the block, in this thread and in those that functions start, not count."""
    before: Counts | None = getattr(_HERE, "counts", None)
    _begin(Counts())
    if before is not None:
        before.paused = True
    try:
        yield
    finally:
        if before is not None:
            before.paused = False
        _begin(before)


class _Here(threading.local):
    """What this thread counts for: `own` is that of `counts`, and missing where there is none."""

    own: dict[str, int]
    counts: Counts | None


_HERE: Final = _Here()
_ATTEMPTS: Final[list[Counts]] = []
_LOCK: Final = threading.Lock()


def _begin(counts: Counts | None) -> None:
    _HERE.counts = counts
    if counts is not None:
        _HERE.own = counts.own
    elif hasattr(_HERE, "own"):
        del _HERE.own


def _count_first(name: str, by: int) -> None:
    """Count a name that is new here, or in a thread that is no attempt's."""
    counts = getattr(_HERE, "counts", None)
    if counts is not None:
        _admit(counts, name)
        counts.own[name] = counts.own.get(name, 0) + by
        return
    with _LOCK:
        _check_name(name)
        if len(_ATTEMPTS) > 1:
            raise CounterError(
                f"{name!r} is counted in a thread that a function started, in a process that makes {len(_ATTEMPTS)} attempts at once: "
                "nobody knows for which of them. Return the number from the thread, and count it in the function itself."
            )
        for attempt in _ATTEMPTS:
            if not attempt.paused:
                attempt.admit(name)
                attempt.others[name] = attempt.others.get(name, 0) + by


def _admit(counts: Counts, name: str) -> None:
    if type(name) is not str:
        _check_name(name)
    counts.admit(name)


def _check_name(name: object) -> None:
    if type(name) is not str or not 1 <= len(name) <= NAME_CHARACTERS or not name.isprintable() or name != name.strip():
        raise CounterError(
            f"A counter is named by some words, at most {NAME_CHARACTERS} characters that can be printed, without blanks around them; "
            f"got {name!r:.200}."
        )


def _amount(name: object, by: object) -> int:
    """Return an amount that is no plain whole number as one, or refuse it."""
    try:
        amount = operator.index(by)  # type: ignore[arg-type]  # whatever it is, this says so
    except TypeError:
        amount = -1
    if not 0 <= amount <= MOST:
        raise CounterError(f"The counter {name!r} counts whole numbers from 0 to {MOST:,}; got {by!r:.200}.")
    return amount
