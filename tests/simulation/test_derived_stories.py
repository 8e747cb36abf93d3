"""Jobs that fail or are cancelled at any moment, and the jobs that go on from them: the plain answer, and nothing done twice."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from smr_notebook.backends.memory.clock import SimulatedClock
from smr_notebook.control.deriving import Wish, derive
from smr_notebook.control.keys import keys_of
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.planning import memory_share
from smr_notebook.control.plans import read_plan, write_code
from smr_notebook.dataflow.mending import Mended
from smr_notebook.dataflow.sealing import seal
from smr_notebook.environment import environment
from smr_notebook.errors import PlanError
from smr_notebook.model import Commit, Format, JobState, Leg, Phase, Plan, Policy
from smr_notebook.ports import Backend, ServiceLimits
from smr_notebook.testing.fates import CALM, ROUGH, STORM, Fates, Odds
from smr_notebook.testing.simulation import Simulation, Story
from smr_notebook.testing.tinyplane import BITTER, POISON, Pairs, expected, split_bytes
from smr_notebook.values.shuffles import Merging
from smr_notebook.values.tolerance import STRICT, OnError, Tolerance

POLICY = Policy(retries=1, lost_launches=8, heartbeat=1.0, lease=15.0, launch=60.0, coordinator_lease=10.0)
AS_BEFORE = Wish(Mended(), again=False, max_cost=None, label_of=str)


def drawn(seed: int, odds: Odds, *, tolerance: Tolerance = STRICT, merges: bool = False) -> Simulation:
    """Return a job of some twenty tasks; where it is tolerant, of some words that fail; where it merges, with runs that are merged."""
    random = Random(f"job {seed}")
    words = [f"word{number}" for number in range(random.randint(1, 12))]
    words += [POISON, BITTER] if tolerance.tolerant else []
    pairs: list[Pairs] = [[(random.choice(words), random.randint(0, 9)) for _ in range(random.randint(0, 8))] for _ in range(20)]
    plan = Plan(
        job="job",
        name="",
        created=1_000_000.0,
        format=Format.TEXT,
        maps=len(pairs),
        reducers=random.randint(0, 3),
        combine=random.random() < 0.3 and not tolerance.tolerant,
        grouped_order=False,
        input_bytes=sum(map(split_bytes, pairs)),
        input_records=sum(map(len, pairs)),
        budget=1 << 20,
        policy=POLICY,
        environment=environment(),
        tolerance=tolerance,
    )
    if merges:
        plan = replace(plan, reducers=3, merging=Merging(random.randint(1, 5), random.randint(1, 3)))
    limits = ServiceLimits(1 << 20, 900.0, random.randint(1, 4), 0.0, 1 << 30, environment())
    job = Simulation(plan, pairs, Fates(seed, odds), limits)
    write_code(job.objects, "job", seal("code", b"code"), keys_of(job.table))
    return job


class _Quiet:
    """Takes calls and makes none: the simulation makes them."""

    def __init__(self, limits: ServiceLimits) -> None:
        self.limits = limits

    def invoke(self, payload: bytes) -> None:
        """Drop it."""


def derived(job: Simulation, odds: Odds, seed: int, *, wish: Wish = AS_BEFORE, limits: ServiceLimits | None = None) -> Simulation:
    """Return the job that goes on from one that has ended."""
    clock = SimulatedClock(job.clock.now() + 100)
    service = _Quiet(limits or job.limits)
    backend = Backend("simulated", "simulated:", job.objects, job.table, service, clock, {}, POLICY, (0.1, 4.0))
    entry = derive(backend, job.plan.job, wish)
    plan = read_plan(job.objects, entry.job, keys_of(job.table))
    assert (plan.base, entry.base) == (job.plan.job, job.plan.job)
    return Simulation(plan, job.pairs, Fates(seed, odds), job.limits, on=job)


def outputs(job: Simulation) -> list[Commit | Leg]:
    return Ledger(job.table, job.plan.job).outputs()


def check_that_nothing_is_done_twice(before: Simulation, after: Simulation) -> None:
    """What was committed is taken over as it was, and has no attempt; map tasks are all there where the map phase had ended."""
    mapped = Ledger(before.table, before.plan.job).manifest(Phase.MAP) is not None
    committed = {one.id.task: one for one in outputs(before) if isinstance(one, Commit) and (mapped or one.id.task.phase is Phase.MAP)}
    snapshot = Ledger(after.table, after.plan.job).snapshot()
    assert not set(committed) & set(snapshot.attempts)
    for task, commit in committed.items():
        assert snapshot.commits[task] == replace(commit, id=replace(commit.id, number=0))


@pytest.mark.parametrize("seed", range(40))
def test_a_job_that_failed_is_gone_on_from_until_it_is_done(seed: int) -> None:
    """A storm, another one on what that left, then calm."""
    job, told = drawn(seed, STORM), 0
    story = job.run()
    for again, odds in enumerate((STORM, ROUGH, CALM)):
        if story.outcome.state is JobState.DONE:
            break
        before, job = job, derived(job, odds, seed + 1_000 * (again + 1))
        done = Ledger(job.table, job.plan.job).progress()
        assert done is not None
        story, told = job.run(), told + 1
        assert done.map.done + done.reduce.done >= sum(isinstance(one, Commit) for one in outputs(before) if one.id.task.phase is Phase.MAP)
        check_that_nothing_is_done_twice(before, job)
    assert story.outcome.state is JobState.DONE
    assert story.result == expected(job.pairs)


@pytest.mark.parametrize("seed", range(40))
def test_a_job_that_was_cancelled_at_any_moment_is_gone_on_from(seed: int) -> None:
    """Also while zombies of it still commit, which nobody reads."""
    job = drawn(seed, Odds(silence=0.1, late=0.2, pauses=0.3, doubled=0.1))
    when = Random(seed).uniform(0, 60)
    job.at(when, lambda: Ledger(job.table, "job").request_cancel("enough", job.clock.now()))
    story = job.run()
    if story.outcome.state is JobState.DONE:
        with pytest.raises(PlanError, match="is done"):
            derived(job, CALM, seed)
        return
    after = derived(job, CALM, seed)
    assert check(after.run(), after)
    check_that_nothing_is_done_twice(job, after)


@pytest.mark.parametrize("wanted", [JobState.MERGING, JobState.REDUCING])
def test_a_job_that_was_cancelled_while_it_merged_or_reduced_is_gone_on_from(wanted: JobState) -> None:
    """What was merged is merged again, unless nobody needs it any more; parts that stand are taken over."""
    cancelled, parts = 0, 0
    for seed in range(20):
        job = drawn(seed, Odds(silence=0.1, late=0.2, doubled=0.1), merges=True)
        cancel_in(wanted, job, Random(seed))
        if job.run().outcome.state is not JobState.CANCELLED:
            continue  # it failed by itself, or went through that state between two looks
        cancelled += 1
        after = derived(job, CALM, seed)
        taken = {one.id.task.phase for one in outputs(after)}
        assert Phase.MAP in taken
        assert Phase.MERGE not in taken
        parts += Phase.REDUCE in taken
        assert check(after.run(), after)
        merged = {task for task in Ledger(after.table, after.plan.job).snapshot().commits if task.phase is Phase.MERGE}
        assert len(merged) == after.plan.tasks(Phase.MERGE)
    assert cancelled >= 10
    assert parts >= 5 if wanted is JobState.REDUCING else not parts


def cancel_in(wanted: JobState, job: Simulation, random: Random) -> None:
    """Cancel a job as soon as somebody who looks now and then finds it in a state."""
    ledger = Ledger(job.table, job.plan.job)

    def look() -> None:
        progress = ledger.progress()
        if progress is not None and progress.state is wanted:
            ledger.request_cancel("enough", job.clock.now())
        elif progress is None or not progress.state.ended:
            job.at(random.uniform(0.2, 1.5), look)

    job.at(1.0, look)


def check(story: Story, job: Simulation) -> bool:
    return story.outcome.state is JobState.DONE and story.result == expected(job.pairs)


def test_legs_are_gone_on_from_and_not_begun_anew() -> None:
    """The stories above have some of them; here it is looked at."""
    taken = 0
    for seed in range(30):
        job = drawn(seed, Odds(pauses=0.8))
        job.at(Random(seed).uniform(1, 20), lambda job=job: Ledger(job.table, "job").request_cancel("enough", job.clock.now()))  # type: ignore[misc]
        if job.run().outcome.state is JobState.DONE:
            continue
        after = derived(job, CALM, seed)
        legs = [one for one in outputs(after) if isinstance(one, Leg)]
        taken += len(legs)
        assert after.run().result == expected(job.pairs)
        commits = Ledger(after.table, after.plan.job).snapshot().commits
        for leg in legs:
            receipts, part = commits[leg.id.task].receipts, commits[leg.id.task].part
            assert leg.receipt in receipts or (leg.part and part and set(leg.part.files) <= set(part.files))
    assert taken > 20


@pytest.mark.parametrize("seed", range(30))
def test_what_was_left_out_is_done_again_by_tasks_and_nothing_else_is(seed: int) -> None:
    """The functions are mended: nothing is left out any more. The job before was done, or failed, or was cancelled."""
    job = drawn(seed, ROUGH, tolerance=Tolerance(OnError.COLLECT, share=1.0))
    if seed % 3 == 0:
        job.at(Random(seed).uniform(0, 30), lambda: Ledger(job.table, "job").request_cancel("enough", job.clock.now()))
    job.run()
    left_out = {one.id.task for one in outputs(job) if one.numbers.records_bad}
    mended = derived(job, CALM, seed, wish=replace(AS_BEFORE, again=True))
    after = Simulation(replace(mended.plan, tolerance=STRICT), job.pairs, Fates(seed, CALM), job.limits, on=job)
    assert check(after.run(), after)
    tried = {task for task in Ledger(after.table, after.plan.job).snapshot().attempts if task.phase is Phase.MAP}
    committed = {one.id.task for one in outputs(job) if isinstance(one, Commit)}
    assert tried & committed == {task for task in left_out & committed if task.phase is Phase.MAP}


def test_a_job_whose_sums_differ_is_no_base() -> None:
    job = drawn(3, CALM)
    assert job.plan.input_records is not None
    wrong = Simulation(replace(job.plan, input_records=job.plan.input_records + 1), job.pairs, Fates(3, CALM), job.limits)
    assert wrong.run().outcome.error == "ConservationError"
    with pytest.raises(PlanError, match=r"ended with ConservationError: .* nothing of it is taken over"):
        derived(wrong, CALM, 3)


@pytest.mark.parametrize("chosen", [False, True])
def test_a_job_that_goes_on_has_the_memory_of_today(chosen: bool) -> None:
    """Workers with more memory were deployed meanwhile: a budget that followed from it follows it, one that was chosen stays."""
    job = drawn(5, CALM)
    budget = 12345 if chosen else memory_share(1 << 30)
    plan = replace(job.plan, memory_bytes=1 << 30, memory_sizes=(1 << 30, 2 << 30), budget=budget)
    before = Simulation(plan, job.pairs, Fates(5, CALM), job.limits)
    write_code(before.objects, "job", seal("code", b"code"), keys_of(before.table))
    Ledger(before.table, "job").request_cancel("enough", before.clock.now())
    before.run()
    today = replace(job.limits, memory_bytes=4 << 30, memory_sizes=(4 << 30, 8 << 30))
    after = derived(before, CALM, 5, limits=today).plan
    assert (after.memory_bytes, after.memory_sizes) == (4 << 30, (4 << 30, 8 << 30))
    assert after.budget == (12345 if chosen else memory_share(4 << 30))
