"""Faults as data: what will happen to each invocation of a simulated job, drawn from a seed.

Rules of this module:

* A fate is drawn from the seed and the name of what it befalls alone, never from the order in which things happen. So a seed is a
  story that can be told again. What befalls an invocation call by call is drawn in the order of its own calls.
* Whatever a fate says is something that function services and stores really do: lost, doubled and late calls, deaths at
  any moment, silence, refusals, lost replies, pauses between any two lines, clocks that differ, notices of deaths that were none,
  minutes in which a store answers nobody.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, fields
from enum import StrEnum
from random import Random

BURST_SECONDS = 30.0
"""How long a store that answers hardly anybody does so at least."""


class Death(StrEnum):
    """Where in its life a worker dies."""

    NEVER = "never"
    BEFORE_CLAIM = "before claim"
    AFTER_CLAIM = "after claim"
    BEFORE_COMMIT = "before commit"
    AFTER_COMMIT = "after commit"


@dataclass(frozen=True, slots=True)
class Fate:
    """What happens to one call of the function service.

    Attributes:
        copies: How often the call arrives: 0 for a lost call, 2 for a doubled one.
        delay: Seconds until it arrives; each further copy takes as long again.
        seconds: How long the work takes.
        stalls: Seconds without a heartbeat in the middle of the work, on top of it.
        deaf: Whether the worker goes on, and commits, when it is told to stop.
        dies: Where a worker dies.
        operations: After how many writes a coordinator dies; 0 for never.
        noticed: Whether the service tells of the death.
        raises: Whether the user's function raises, this time only.
        pauses: Whether the worker's time is up half way, so that it publishes a leg.
        mute: Seconds in the middle of the work in which no heartbeat arrives, though it goes on.
        slow: How many times as long as usual the work takes.
        slandered: Whether the service tells half way that the invocation died, though it did not.
        offset: Seconds by which its clock is ahead.
        rate: Seconds that pass on its clock in one second.
    """

    copies: int = 1
    delay: float = 0.1
    seconds: float = 1.0
    stalls: float = 0.0
    deaf: bool = False
    dies: Death = Death.NEVER
    operations: int = 0
    noticed: bool = False
    raises: bool = False
    pauses: bool = False
    mute: float = 0.0
    slow: float = 1.0
    slandered: bool = False
    offset: float = 0.0
    rate: float = 1.0


@dataclass(frozen=True, slots=True)
class Odds:
    """How likely each kind of trouble is, between 0 and 1, for each call, write or worker.

    Attributes:
        lost: A call never arrives.
        doubled: It arrives twice.
        late: It arrives half a minute late, or more.
        death: A worker dies.
        silence: A worker stands still for a while, its heart too.
        raises: The user's function raises.
        coordinator_death: A coordinator dies.
        flaky: A port fails, before or after it did what it was asked for.
        throttled: The service takes no more calls.
        pauses: A worker's time is up half way.
        slow: A worker takes a hundred times as long.
        mute: A worker's heartbeats do not arrive for a while.
        slander: The service tells of a death that was none, of a worker or, in half a minute, of a coordinator.
        interleaved: Others get their turn before or after a call to a port.
        frozen: An invocation stands still for up to a minute at such a place.
        torn: A query reads its rows one after the other, and others write between.
        bursts: The table, or the store, answers hardly anybody for half a minute.
        rivals: Somebody calls one more coordinator, in half a minute.
        skew: No likelihood, but the seconds by which a clock may be off, either way; one second in a thousand more or less passes on it.
    """

    lost: float = 0.0
    doubled: float = 0.0
    late: float = 0.0
    death: float = 0.0
    silence: float = 0.0
    raises: float = 0.0
    coordinator_death: float = 0.0
    flaky: float = 0.0
    throttled: float = 0.0
    pauses: float = 0.0
    slow: float = 0.0
    mute: float = 0.0
    slander: float = 0.0
    interleaved: float = 0.0
    frozen: float = 0.0
    torn: float = 0.0
    bursts: float = 0.0
    rivals: float = 0.0
    skew: float = 0.0


CALM = Odds()
ROUGH = Odds(
    lost=0.04, doubled=0.08, late=0.1, death=0.08, silence=0.06, raises=0.03, coordinator_death=0.3, flaky=0.03, throttled=0.1, pauses=0.2
)
"""Most jobs end well, after much trouble."""
STORM = Odds(
    lost=0.15, doubled=0.1, late=0.2, death=0.25, silence=0.15, raises=0.1, coordinator_death=0.6, flaky=0.1, throttled=0.3, pauses=0.3
)
"""Many jobs fail; none may end without a reason."""

MOST = Odds(
    lost=0.15,
    doubled=0.3,
    late=0.2,
    death=0.2,
    silence=0.15,
    raises=0.05,
    coordinator_death=0.6,
    flaky=0.08,
    throttled=0.3,
    pauses=0.4,
    slow=0.15,
    mute=0.2,
    slander=0.1,
    interleaved=0.5,
    frozen=0.01,
    torn=0.8,
    bursts=0.2,
    rivals=0.5,
    skew=5.0,
)
"""The most of each kind that `mixed` draws."""


def mixed(seed: int) -> Odds:
    """Return some kinds of trouble, together, as a seed draws them: each is there or not, and more or less likely."""
    random = Random(f"odds {seed}")
    return Odds(**{field.name: random.choice([0.0, random.random()]) * getattr(MOST, field.name) for field in fields(Odds)})


@dataclass(frozen=True, slots=True)
class Fates:
    """The fates of one simulated job.

    Args:
        seed: Tells one story from another.
        odds: How likely each kind of trouble is.
    """

    seed: int
    odds: Odds

    def of(self, call: str) -> Fate:
        """Return the fate of one call, by its unique name."""
        random, odds = Random(f"{self.seed} {call}"), self.odds
        return Fate(
            copies=0 if random.random() < odds.lost else 2 if random.random() < odds.doubled else 1,
            delay=random.uniform(0.01, 0.5) + (random.expovariate(1 / 30) if random.random() < odds.late else 0),
            seconds=random.expovariate(1 / 3),
            stalls=random.uniform(5, 60) if random.random() < odds.silence else 0.0,
            deaf=random.random() < 0.5,
            dies=random.choice(list(Death)[1:]) if random.random() < odds.death else Death.NEVER,
            operations=random.randint(1, 40) if random.random() < odds.coordinator_death else 0,
            noticed=random.random() < 0.5,
            raises=random.random() < odds.raises,
            pauses=random.random() < odds.pauses,
            mute=random.uniform(5, 60) if random.random() < odds.mute else 0.0,
            slow=100.0 if random.random() < odds.slow else 1.0,
            slandered=random.random() < odds.slander,
            offset=random.uniform(-odds.skew, odds.skew),
            rate=random.uniform(0.999, 1.001) if odds.skew else 1.0,
        )

    def happens(self, what: str, odds: float) -> bool:
        """Return whether something happens this time, by its unique name."""
        return odds > 0 and Random(f"{self.seed} {what}").random() < odds

    def answers_nobody(self, what: str, now: float) -> bool:
        """Return whether the table, or the store, answers hardly anybody at a time."""
        return self.odds.bursts > 0 and _bad_time(self, what, int(now // BURST_SECONDS))


@functools.lru_cache(maxsize=1024)
def _bad_time(fates: Fates, what: str, slot: int) -> bool:
    return fates.happens(f"{what} answers nobody in {slot}", fates.odds.bursts)
