"""What a trial came to, and whether its faults explain it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from smr_notebook import errors


class Verdict(StrEnum):
    """What became of one job."""

    RIGHT = "right"
    NAMED = "failed with a named cause"
    UNEXPLAINED = "failed, though no fault explains it"
    WRONG = "wrong answers"
    HUNG = "hung"


_LOSS: Final = (errors.WorkerLostError, MemoryError)
_PORT: Final = (errors.StoreError, errors.ServiceError, errors.ThrottledError)

EXCUSES: Final[Mapping[str, tuple[type[BaseException], ...]]] = MappingProxyType(
    {
        "killed": _LOSS,
        "frozen": _LOSS,
        "lost": _LOSS,
        "rotten": (errors.CorruptObjectError,),
        "gone": (errors.CorruptObjectError, errors.ObjectNotFoundError, errors.InputMissingError),
        "locked": _PORT,
        "refused": _PORT,
        "raised": (errors.TaskError, *_LOSS),
        "full": (errors.DiskFullError, errors.StoreError),
    }
)
"""By the class of a fault, what a job that met it may end with: the first word of the fault's name."""


@dataclass(slots=True)
class Tally:
    """What a campaign came to.

    Attributes:
        verdicts: How many jobs ended how.
        faults: How many faults of which name were injected.
        told: A line for each job that did not end well.
    """

    verdicts: Counter[Verdict] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing happened that must not."""
        return not any(self.verdicts[verdict] for verdict in (Verdict.WRONG, Verdict.HUNG, Verdict.UNEXPLAINED))

    def __str__(self) -> str:
        jobs, faults, count = self.verdicts.total(), self.faults.total(), self.verdicts
        kinds = ", ".join(f"{number:,} {name}" for name, number in sorted(self.faults.items()))
        ends = " · ".join(f"{count[verdict]:,} {verdict}" for verdict in Verdict)
        return "\n".join([*self.told, f"{jobs:,} jobs, {faults:,} faults: {kinds}", ends])


def excused(error: BaseException, faults: Counter[str]) -> bool:
    """Whether an error is one that the faults of its trial explain."""
    return any(isinstance(error, EXCUSES.get(name.partition(" ")[0], ())) for name in faults)
