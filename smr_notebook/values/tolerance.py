"""What a job tolerates: whether records and groups that fail may be left out, how many, and where they are told.

Rules of this module: those of `model`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Final

DEFAULT_SHARE: Final = 0.01
DEFAULT_COUNT: Final = 10
"""What may be left out where nobody says: the share, but so many in any case, because one of twenty is no reason to end a small job."""


class OnError(StrEnum):
    """What becomes of a record that cannot be read or mapped, and of a group that cannot be reduced."""

    FAIL = "fail"
    """The task fails, and in the end the job."""
    SKIP = "skip"
    """It is left out and counted; some are told."""
    COLLECT = "collect"
    """It is left out and counted; all are told."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What may be left out.

    Attributes:
        on_error: What becomes of what fails.
        share: Part of the records read, and of the groups formed, that may be left out.
        count: So many may be left out however few there are.
    """

    on_error: OnError = OnError.FAIL
    share: float = 0.0
    count: int = 0

    @property
    def tolerant(self) -> bool:
        """Whether anything is left out rather than an error."""
        return self.on_error is not OnError.FAIL

    def allowed(self, total: float) -> int:
        """Return how many of so many records, or groups, may be left out: of a hundred and 0.29, twenty-nine."""
        return max(self.count, int(Fraction(str(self.share)) * Fraction(total))) if self.tolerant else 0

    def __str__(self) -> str:
        """Say how many may be left out, as messages do."""
        told = [f"{100 * self.share:g}%"] if self.share else []
        told += [f"{self.count:,}"] if self.count or not told else []
        return " or ".join(told)


STRICT: Final = Tolerance()
"""Nothing is left out."""


@dataclass(frozen=True, slots=True)
class BadFile:
    """The object in which one attempt tells what it left out (`dataflow.bad_records`): all of it, or some."""

    key: str
    rows: int
    size: int
    crc: int
