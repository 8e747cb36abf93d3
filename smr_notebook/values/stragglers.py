"""When a task that takes long gets a backup: the rule, as plain values. What follows from it says `control.speculation`.

Rules of this module: those of `model`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Speculation:
    """When an attempt that takes long gets a *backup*: a second attempt of its task beside it.

    Attributes:
        tasks: A phase of fewer tasks has no backups.
        done: Part of its tasks that must be done before, between 0 and 1.
        factor: An attempt takes long when it runs so many times as long as is usual among those that are done, ...
        seconds: ... and longer than this.
        share: Part of the tasks of a phase that may have one at the same time, between 0 and 1; one task always may.
    """

    tasks: int = 10
    done: float = 0.5
    factor: float = 3.0
    seconds: float = 5.0
    share: float = 0.1


USUAL: Final = Speculation()
"""What fits most jobs."""
