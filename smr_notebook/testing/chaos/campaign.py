"""A campaign: trial after trial under torment, and the tally of how they ended."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from random import Random
from typing import Final

from smr_notebook.errors import SmrError
from smr_notebook.job.handle import Job
from smr_notebook.testing.chaos.arena import Arena
from smr_notebook.testing.chaos.torments import rot_one
from smr_notebook.testing.chaos.trials import Rows, Trial, draw, shown
from smr_notebook.testing.chaos.verdicts import Tally, Verdict, excused

PATIENCE: Final = 120.0
"""Seconds after which a job that has not ended hangs."""

_ROTS: Final = 0.2
"""So many trials meet rot, besides all else."""


def run_trials(
    arena: Arena, random: Random, *, trials: int, tally: Tally, pace: tuple[float, float], tell: Callable[[str], object]
) -> None:
    """Run trials in an arena, one after the other.

    Args:
        arena: Where.
        random: Draws trials and torments.
        trials: How many.
        tally: Takes what they come to.
        pace: Shortest and longest time between two blows, in seconds.
        tell: Called with a line for each trial that ended.
    """
    for _ in range(trials):
        trial = draw(random)
        faults: Counter[str] = Counter()
        verdict, told = _try(arena, trial, Random(random.random()), faults, pace)
        tally.verdicts[verdict] += 1
        tally.faults += faults
        met = ", ".join(f"{count} {name}" for name, count in sorted(faults.items())) or "nothing"
        line = f"{verdict}: {trial.name}; it met {met}" + (f"; {told}" if told else "")
        if verdict is not Verdict.RIGHT:
            tally.told.append(line)
        tell(line)


def _try(arena: Arena, trial: Trial, random: Random, faults: Counter[str], pace: tuple[float, float]) -> tuple[Verdict, str]:
    """Run one trial, and return how it ended and what is to be said of that."""
    job: Job | None = None
    try:
        try:
            with _tormented(arena, lambda: job.id if job else "", random, faults, pace):
                job = trial.submit(arena.session)
                with suppress(TimeoutError):
                    job.wait(PATIENCE)
                if not job.done():
                    job.cancel()
                    return Verdict.HUNG, f"job {job.id}"
        finally:
            faults += arena.befell() + trial.befell()
        rows: Rows = list(job.result().itertuples(index=False, name=None))
    except SmrError as error:
        text = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        return (Verdict.NAMED if excused(error, faults) else Verdict.UNEXPLAINED), text
    if rows == trial.answer:
        return Verdict.RIGHT, ""
    return Verdict.WRONG, f"{shown(rows)} instead of {shown(trial.answer)}"


@contextmanager
def _tormented(arena: Arena, job: Callable[[], str], random: Random, faults: Counter[str], pace: tuple[float, float]) -> Iterator[None]:
    """Let torments come until the block ends. Raises what a torment raised: a campaign without torments proves nothing."""
    over = threading.Event()
    broken: list[Exception] = []
    torments, weights = [torment for torment, _ in arena.torments], [weight for _, weight in arena.torments]
    if random.random() < _ROTS:
        torments.append(rot_one(arena.session.backend.objects, job))
        weights.append(sum(weights) // 2)

    def torment() -> None:
        try:
            while not over.wait(random.uniform(*pace)):
                if job():
                    blow = random.choices(torments, weights)[0](random)
                    if blow is not None:
                        faults[blow] += 1
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised when the block has ended
            broken.append(error)

    tormentor = threading.Thread(target=torment, name="tormentor", daemon=True)
    tormentor.start()
    try:
        yield
    finally:
        over.set()
        tormentor.join()
    for error in broken:
        raise error
