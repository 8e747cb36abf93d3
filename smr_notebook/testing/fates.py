"""Faults as data: what will happen to each invocation of a simulated job, drawn from a seed.

Rules of this module:

* A fate is drawn from the seed and the name of what it befalls alone, never from the order in which things happen. So a seed is a
  story that can be told again.
* Whatever a fate says is something that function services and stores really do: lost, doubled and late calls, deaths at
  any moment, silence, refusals, lost replies.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from random import Random


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


@dataclass(frozen=True, slots=True)
class Odds:
    """How likely each kind of trouble is, between 0 and 1, for each call, write or worker."""

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


CALM = Odds()
ROUGH = Odds(
    lost=0.04, doubled=0.08, late=0.1, death=0.08, silence=0.06, raises=0.03, coordinator_death=0.3, flaky=0.03, throttled=0.1, pauses=0.2
)
"""Most jobs end well, after much trouble."""
STORM = Odds(
    lost=0.15, doubled=0.1, late=0.2, death=0.25, silence=0.15, raises=0.1, coordinator_death=0.6, flaky=0.1, throttled=0.3, pauses=0.3
)
"""Many jobs fail; none may end without a reason."""


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
        )

    def happens(self, what: str, odds: float) -> bool:
        """Return whether something happens this time, by its unique name."""
        return odds > 0 and Random(f"{self.seed} {what}").random() < odds
