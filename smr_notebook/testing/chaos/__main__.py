"""Run a campaign: `python -m smr_notebook.testing.chaos --help`."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final

from smr_notebook.job.handle import PlanWarning
from smr_notebook.testing.chaos.campaign import run_trials
from smr_notebook.testing.chaos.cloud import cloud_arena
from smr_notebook.testing.chaos.local import local_arena
from smr_notebook.testing.chaos.verdicts import Tally

_ROUND: Final = 12
"""Trials on one workspace, or one deployment."""

_LOCAL_PACE: Final = (0.02, 0.5)
_CLOUD_PACE: Final = (0.1, 1.5)
"""Seconds between two blows: there, a process takes a second to start."""


def main() -> int:
    """Run it, print the tally, and return whether something happened that must not."""
    parser = argparse.ArgumentParser(prog="python -m smr_notebook.testing.chaos", description=__doc__)
    parser.add_argument("--trials", type=int, default=170, help="jobs on this machine's service")
    parser.add_argument("--cloud-trials", type=int, default=36, help="jobs on emulated AWS")
    parser.add_argument("--ministack", default=os.environ.get("SMR_TEST_MINISTACK", ""), help="the Python that has the emulator")
    parser.add_argument("--seed", type=int, default=secrets.randbits(32), help="what is drawn")
    parser.add_argument("--verbose", action="store_true", help="a line for each job")
    options = parser.parse_args()
    random, tally = Random(options.seed), Tally()
    tell = _say if options.verbose else (lambda _: None)
    warnings.simplefilter("ignore", PlanWarning)
    _say(f"seed {options.seed}")
    for number, trials in enumerate(_rounds(options.trials)):
        with tempfile.TemporaryDirectory(prefix="smr-chaos-") as folder, local_arena(Path(folder), small_disk=number % 3 == 1) as arena:
            run_trials(arena, random, trials=trials, tally=tally, pace=_LOCAL_PACE, tell=tell)
    for trials in _rounds(options.cloud_trials):
        with tempfile.TemporaryDirectory(prefix="smr-chaos-") as folder, cloud_arena(options.ministack, Path(folder)) as arena:
            run_trials(arena, random, trials=trials, tally=tally, pace=_CLOUD_PACE, tell=tell)
    _say(str(tally))
    return not tally.clean


def _rounds(trials: int) -> Iterator[int]:
    while trials > 0:
        yield min(_ROUND, trials)
        trials -= _ROUND


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
