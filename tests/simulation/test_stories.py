"""Whole jobs in simulated time, under every kind of trouble. A story that fails repeats from its seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random

import pytest

from smr_notebook.control.layout import Layout
from smr_notebook.control.ledger import Ledger
from smr_notebook.model import Attempt, AttemptId, AttemptState, JobState, Phase, TaskId
from smr_notebook.testing.fates import CALM, ROUGH, STORM, Death, Fate, Fates, Odds
from smr_notebook.testing.simulation import Simulation, Story
from smr_notebook.testing.stories import POLICY, check, check_result, draw

NO_BACKUPS = replace(POLICY, speculation=None)


@pytest.mark.parametrize("seed", range(10))
def test_a_calm_job_ends_with_the_plain_answer_and_no_attempt_too_many(seed: int) -> None:
    job = draw(seed, CALM)
    story = job.run()
    assert story.outcome.state is JobState.DONE
    check_result(job, story)
    snapshot = Ledger(job.table, "job").snapshot()
    assert all(len(attempts) == 1 for attempts in snapshot.attempts.values())


@pytest.mark.parametrize("odds", [pytest.param(ROUGH, id="rough"), pytest.param(STORM, id="storm")])
@pytest.mark.parametrize("decade", range(10))
def test_any_job_ends_with_the_plain_answer_or_with_its_true_cause(odds: Odds, decade: int) -> None:
    for seed in range(decade * 10, decade * 10 + 10):
        job = draw(seed, odds)
        story = job.run()
        check(job, story)


def test_a_story_repeats_from_its_seed() -> None:
    first, second = draw(7, STORM), draw(7, STORM)
    assert first.run() == second.run()
    assert first.table.query("job") == second.table.query("job")


TROUBLES = {
    "lost calls": Odds(lost=0.3),
    "doubled calls": Odds(doubled=0.9),
    "late calls": Odds(late=0.5),
    "deaths": Odds(death=0.2),
    "silence and zombies": Odds(silence=0.3),
    "coordinators that die": Odds(coordinator_death=0.9),
    "stores that fail": Odds(flaky=0.08),
    "refusals": Odds(throttled=0.6),
    "time that is up": Odds(pauses=0.7),
    "workers that are slow": Odds(slow=0.2),
    "heartbeats that do not arrive": Odds(mute=0.5),
    "deaths that were none": Odds(slander=0.3),
    "others between two calls": Odds(interleaved=0.5),
    "invocations that stand still": Odds(frozen=0.02),
    "looks that are torn": Odds(interleaved=0.5, torn=0.9),
    "stores that answer nobody": Odds(bursts=0.3),
    "coordinators that nobody needs": Odds(rivals=0.9, interleaved=0.3),
    "clocks that differ": Odds(skew=2.0),
    "clocks that are wrong": Odds(skew=60.0),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_each_trouble_alone_never_spoils_an_answer(trouble: str) -> None:
    for seed in range(6):
        job = draw(seed, TROUBLES[trouble])
        story = job.run()
        check(job, story)


@pytest.mark.parametrize("seed", range(12))
def test_a_job_that_is_launched_as_a_tree_is_the_same_job(seed: int) -> None:
    """The first workers launch the next; whoever dies before that takes a whole branch along."""
    job = draw(seed, ROUGH, maps=60, branching=2)
    story = job.run()
    check(job, story)


@pytest.mark.parametrize("odds", [pytest.param(ROUGH, id="rough"), pytest.param(STORM, id="storm")])
@pytest.mark.parametrize("seed", [*range(12), 68, 113, 224, 238, 256, 546])
def test_a_job_that_nobody_watches_ends_too(seed: int, odds: Odds) -> None:
    """Coordinators die, and often nobody tells of it: the alarm brings the next one. In the later stories one dies at its first write."""
    job = draw(seed, odds, watched=False)
    story = job.run()
    check(job, story)


def test_a_task_of_many_legs_is_one_task() -> None:
    job = draw(5, Odds(pauses=0.9))
    story = job.run()
    check_result(job, story)
    attempts = [attempt for of_task in Ledger(job.table, "job").snapshot().attempts.values() for attempt in of_task]
    assert sum(attempt.state is AttemptState.PAUSED for attempt in attempts) > 10
    assert not any(attempt.state is AttemptState.FAILED for attempt in attempts)


COSTS_TIME = [
    "doubled calls",
    "refusals",
    "late calls",
    "time that is up",
    "workers that are slow",
    "others between two calls",
    "looks that are torn",
    "coordinators that nobody needs",
    "clocks that differ",
]


@pytest.mark.parametrize("trouble", COSTS_TIME)
def test_what_costs_only_time_fails_no_job(trouble: str) -> None:
    for seed in range(6):
        assert draw(seed, TROUBLES[trouble]).run().outcome.state is JobState.DONE


@pytest.mark.parametrize("seed", range(30))
def test_a_cancelled_job_ends_cancelled_unless_it_had_ended(seed: int) -> None:
    job = draw(seed, ROUGH)
    when = Random(seed).uniform(0, 40)
    asked = []
    job.at(when, lambda: asked.append(Ledger(job.table, "job").request_cancel("enough", job.clock.now()).at))
    story = job.run()
    if story.outcome.state is JobState.CANCELLED:
        assert story.outcome.message == "enough"
        attempts = Ledger(job.table, "job").snapshot().attempts.values()
        assert not any(attempt.live and attempt.started > story.outcome.at for of_task in attempts for attempt in of_task)
    elif story.outcome.state is JobState.DONE:
        check_result(job, story)


@pytest.mark.parametrize(("records", "size"), [(1, 0), (0, 1), (-1, 0)])
def test_sums_that_differ_from_the_plan_are_an_error_and_no_result(records: int, size: int) -> None:
    job = draw(3, CALM)
    assert job.plan.input_records is not None
    plan = replace(job.plan, input_records=job.plan.input_records + records, input_bytes=job.plan.input_bytes + size)
    story = Simulation(plan, job.pairs, Fates(3, CALM), job.limits).run()
    assert (story.outcome.state, story.outcome.error) == (JobState.FAILED, "ConservationError")
    assert story.result is None


def test_clocks_may_differ_by_as_much_as_a_lease_has_to_spare() -> None:
    """An attempt's lease is fifteen seconds and its heart beats each second: nobody calls it lost for a clock that is six seconds off."""
    for seed in range(12):
        job = draw(seed, Odds(skew=6.0), maps=12)
        assert job.run().outcome.state is JobState.DONE
        assert not any(attempt.failure for attempt in attempts_of(job))


# ---------------------------------------------------------------- stragglers

SEED = 5
"""Of a job whose sixth map task has several records."""

SLOW = Fate(seconds=60.0)
"""Of the sixth map task; the others take a second."""


@dataclass(frozen=True, slots=True)
class Chosen(Fates):
    """Fates that are written down: by the number of the call. The first calls the coordinator, the next twenty the map tasks."""

    calls: Mapping[int, Fate] = field(default_factory=dict)

    def of(self, call: str) -> Fate:
        return self.calls.get(int(call.split()[1]), Fate())


def straggling(calls: Mapping[int, Fate], *, backups: bool = True) -> Simulation:
    """Return a job of twenty map tasks and no reducers, all at once."""
    drawn = draw(SEED, CALM, maps=20, policy=POLICY if backups else NO_BACKUPS)
    limits = replace(drawn.limits, concurrency=25, seconds=900.0)
    return Simulation(replace(drawn.plan, reducers=0), drawn.pairs, Chosen(SEED, CALM, calls), limits)


def attempts_of(job: Simulation) -> list[Attempt]:
    return [attempt for of_task in Ledger(job.table, "job").snapshot().attempts.values() for attempt in of_task]


def told(calls: Mapping[int, Fate]) -> tuple[Story, tuple[Attempt, ...], list[str]]:
    """Run a job, and return its story, the attempts of the task that is slow, and whose parts are there at the end."""
    job = straggling(calls)
    story = job.run()
    check_result(job, story)
    progress = Ledger(job.table, "job").progress()
    assert progress is not None
    assert (progress.map.speculative, progress.map.retried, progress.map.done) == (1, 0, 20)
    task = TaskId(Phase.MAP, 5)
    places = {str(number): Layout("job").attempt(AttemptId(task, number)) for number in (1, 2, 3)}
    there = [number for number, place in places.items() if list(job.objects.list_prefix(place))]
    return story, Ledger(job.table, "job").snapshot().attempts[task], there


def states(attempts: tuple[Attempt, ...]) -> list[AttemptState]:
    return [attempt.state for attempt in attempts]


DONE, STOPPED, FAILED = AttemptState.DONE, AttemptState.STOPPED, AttemptState.FAILED


def test_a_backup_ends_the_job_before_its_straggler_would() -> None:
    story, attempts, there = told({7: SLOW})
    assert (states(attempts), there) == ([STOPPED, DONE], ["2"])
    assert straggling({7: SLOW}, backups=False).run().seconds > 60.0 > 3 * story.seconds


def test_the_first_one_may_win_after_all() -> None:
    story, attempts, there = told({7: Fate(seconds=12.0), 22: SLOW})
    assert (states(attempts), there) == ([DONE, STOPPED], ["1"])
    assert story.seconds < 20.0


@pytest.mark.parametrize("first", [6.0, 6.2, 6.4, 6.6, 6.8, 7.0])
def test_of_two_that_end_at_about_the_same_time_one_counts(first: float) -> None:
    """A backup is made when the first one has run for five seconds, and takes one. The loser is deaf: it commits too, or tries to."""
    _, attempts, there = told({7: Fate(seconds=first, deaf=True), 22: Fate(deaf=True)})
    assert sorted(states(attempts)) == [DONE, STOPPED]
    assert there == [str(attempts[states(attempts).index(DONE)].id.number)]


@pytest.mark.parametrize("dies", [Death.AFTER_CLAIM, Death.BEFORE_COMMIT])
def test_a_backup_that_dies_changes_nothing(dies: Death) -> None:
    _, attempts, _ = told({7: Fate(seconds=12.0), 22: Fate(dies=dies, noticed=True)})
    assert states(attempts) == [DONE, FAILED]


def test_a_backup_that_raises_is_no_failure_of_its_task() -> None:
    _, attempts, _ = told({7: Fate(seconds=12.0), 22: Fate(raises=True)})
    assert states(attempts) == [DONE, FAILED]


def test_a_backup_takes_the_place_of_a_first_one_that_fails() -> None:
    story, attempts, there = told({7: Fate(seconds=7.0, raises=True), 22: Fate(seconds=10.0)})
    assert (states(attempts), there) == ([FAILED, DONE], ["2"])
    assert story.seconds < 20.0


def test_a_phase_does_not_wait_for_a_loser_that_does_not_hear() -> None:
    story, attempts, there = told({7: replace(SLOW, deaf=True)})
    assert (states(attempts), there) == ([STOPPED, DONE], ["2"])
    assert story.seconds < 20.0


def test_a_leg_is_gone_on_from_while_a_backup_works_from_the_beginning() -> None:
    job = straggling({7: Fate(seconds=8.0, pauses=True), 22: SLOW, 23: Fate(seconds=2.0)})
    story = job.run()
    check_result(job, story)
    attempts = Ledger(job.table, "job").snapshot().attempts[TaskId(Phase.MAP, 5)]
    assert states(attempts) == [AttemptState.PAUSED, STOPPED, DONE]
    assert [attempt.speculative for attempt in attempts] == [False, True, False]
    assert story.seconds < 20.0


def test_backups_save_time_whatever_is_slow() -> None:
    saved = []
    for seed in range(10):
        with_them, without = (draw(seed, Odds(slow=0.06), maps=30, policy=policy).run() for policy in (POLICY, NO_BACKUPS))
        saved.append(without.seconds - with_them.seconds)
    assert sum(saved) > 100.0
