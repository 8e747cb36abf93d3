"""A job that goes on from what stands of another one: `Job.resume`, `Job.retry_failed`.

Theory. What a task committed is right whatever became of its job: it is pinned by its checksums, it names its objects by their whole keys,
and the sums of a phase are taken over all commits. So a job that failed or was cancelled is not brought back to life. A *derived* job is
made, with tries and costs of its own, which takes over the commits and the legs of the other one as if they had been made for it, and lets
its coordinator do what is missing. Its plan is the other's: the same splits, partitions and ranges of keys, so that what was made for
one fits the other.

Rules of this module:

* What is taken over has the attempt number 0: nobody in this job made it. Legs count no attempt of this job as in vain.
* What is rotten or gone is not taken over (`control.soundness`): its task runs again.
* What reduces took over belongs to the very runs that it was made of: they are taken over only where the map phase is as a whole.
* The entry comes last. Whoever sees the job sees all that it took over; what the job it stands on writes after that, nobody reads.
* What a job took over stays where it is. So the job that it stands on is kept as long as it is itself, where somebody removes jobs
  (`control.expiry`); where things expire by their age, what is gone ends the job under its name.
* Pairs that travelled by a carrier went with their job: of such a job all tasks run again, with its plan (`control.carrying`).
* A task that left something out is done again whole, where that is wished for: its values stay in the order of the input.
* Other functions may take the place of those before, but none that change what lies between the phases: see `dataflow.mending`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from smr_notebook.control.costs import rates_of
from smr_notebook.control.keys import keys_of
from smr_notebook.control.launching import side_by_side
from smr_notebook.control.layout import Layout
from smr_notebook.control.ledger import Ledger, list_jobs
from smr_notebook.control.messages import coordinate, drive
from smr_notebook.control.planning import check_environment, memory_share, told_of_service
from smr_notebook.control.plans import (
    is_planned,
    read_code,
    read_plan,
    read_request,
    read_split_page,
    write_code,
    write_plan,
    write_request,
)
from smr_notebook.control.progress import progress
from smr_notebook.control.reading import StoredInput
from smr_notebook.control.registering import new_job, register
from smr_notebook.control.rows import JobEntry
from smr_notebook.control.soundness import Sound, doubted, irreplaceable, sound_outputs
from smr_notebook.control.stages import note_reading, tell_waiting
from smr_notebook.control.trying import try_out
from smr_notebook.dataflow.code import capture, load_program
from smr_notebook.dataflow.inputs import JobInput, SplitInput
from smr_notebook.dataflow.mending import Mended, changes_combiner, mended
from smr_notebook.dataflow.programs import Program
from smr_notebook.environment import environment
from smr_notebook.errors import (
    ConservationError,
    CorruptObjectError,
    EnvironmentMismatchError,
    FormatVersionError,
    JobNotFoundError,
    PlanError,
    TooManyBadError,
)
from smr_notebook.model import AttemptId, Commit, Environment, JobState, Leg, Phase, Plan, Policy
from smr_notebook.ports import Backend
from smr_notebook.standing import Lease, Outcome, Snapshot

_DOUBTED: Final = frozenset(error.__name__ for error in (ConservationError, FormatVersionError))
"""Ends of a job after which nothing that it made is taken over: it may be what is wrong."""

_TAKEN_OVER: Final = "are taken over from job"
_WENT_ON: Final = "went on from job"
"""What sentences say that are true of one derived job only, and not of those that stand on it."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What shall be otherwise in the derived job.

    Attributes:
        mended: Functions that run from now on.
        again: Whether tasks that left something out are done again, whole: so values stay in the order of the input.
        max_cost: US dollars that it may cost; `None` for as many as the one before might.
        label_of: Gives the name that a person knows a code file by.
        record_timeout: Seconds that one record, or one group, may take, 0 for any; `None` for as many as before.
    """

    mended: Mended
    again: bool
    max_cost: float | None
    label_of: Callable[[str], str]
    record_timeout: float | None = None

    def costs(self, before: float) -> float:
        """Return the dollars that it may cost, where the one before might cost so many."""
        return before if self.max_cost is None else self.max_cost

    def tries(self, before: Policy) -> Policy:
        """Return how hard to try, where the one before tried so hard."""
        return before if self.record_timeout is None else replace(before, stall=self.record_timeout)

    def does_again(self, output: Commit | Leg) -> bool:
        """Whether a task that gave this is done again: it left something out that another function, or another try, may not."""
        given = dict(self.mended.named())
        return self.again and output.numbers.records_bad > 0 and (not given or str(output.id.task.phase) in given)


@dataclass(frozen=True, slots=True)
class _Code:
    """The functions of the derived job: what is stored, what the user should know of it, and the programs before and now if they differ."""

    data: bytes
    warnings: tuple[str, ...] = ()
    before: Program | None = None
    now: Program | None = None


def derive(backend: Backend, base: str, wish: Wish) -> JobEntry:
    """Submit a job that goes on from what stands of another one, and return its entry; it may not have begun when this returns.

    Args:
        backend: Where both run.
        base: Identifier of the other one.
        wish: What shall be otherwise.

    Raises:
        PlanError: The other one runs, or is done, or cannot be gone on from; or a function has no place in it.
        EnvironmentMismatchError: The workers are no longer those that it was planned for.
        JobNotFoundError: It is gone.
        PlatformError: The table or the store cannot be reached.
    """
    ledger = Ledger(backend.table, base)
    entry = ledger.job()
    if entry is None:
        raise _gone(base)
    outcome = ledger.outcome()
    _check_outcome(base, outcome, again=wish.again)
    with new_job(backend) as job:
        derived = JobEntry(job, entry.name, backend.clock.now(), Layout(job).plan, user=backend.user, base=base, after=entry.after)
        if is_planned(backend.objects, base):
            _store_plan(backend, derived, wish, outcome)
            message = coordinate(job)
        else:
            note_reading(backend.table, job, derived.after)
            _store_request(backend, derived, wish)
            tell_waiting(backend.table, derived)
            message = drive(job)
        standing = register(backend, derived, message)
        if ledger.job() is None:
            raise _gone(base)
    return standing


def _gone(job: str) -> JobNotFoundError:
    return JobNotFoundError(f"The job {job} is gone: it was removed with all that it stored. Submit it again.")


def _check_outcome(job: str, outcome: Outcome | None, *, again: bool) -> None:
    """Refuse a job that cannot be gone on from. Raises `PlanError`."""
    if outcome is None:
        raise PlanError(f"The job {job} has not ended: it runs, and attach({job!r}) follows it. Cancel it first to go on from where it is.")
    if outcome.state is JobState.DONE and not again:
        raise PlanError(
            f"The job {job} is done: nothing of it is missing, and its result is job.result(). What it left out, if it did, "
            "job.retry_failed(map=…) does again with mended code; submit it again to run all of it anew."
        )
    if outcome.error == TooManyBadError.__name__ and not again:
        raise PlanError(
            f"The job {job} left out more than it may, and would do so again. job.retry_failed(map=…) goes on from it with mended code: "
            "all tasks that left something out are done again."
        )
    if outcome.error in _DOUBTED:
        raise PlanError(
            f"The job {job} ended with {outcome.error}: something that it stored is not what it should be, so nothing of it is taken over. "
            "Submit it again."
        )
    spoiled = irreplaceable(doubted(outcome) or frozenset())
    if spoiled:
        raise PlanError(
            f"The job {job} ended with {outcome.error}: {spoiled}, which it was submitted with, is not what it should be, and no task "
            "makes that again. Submit it again."
        )


# ---------------------------------------------------------------- a job that was planned


@dataclass(frozen=True, slots=True)
class _Standing:
    """What stands of a job.

    Attributes:
        plan: Its plan.
        outputs: The commits of its tasks, the legs of tasks that have none.
        again: How many tasks are done again because they left something out.
        lost: How many because what they stored is no longer what was written.
        unread: Bytes of outputs that were not looked at with care, where they should have been.
    """

    plan: Plan
    outputs: Sequence[Commit | Leg]
    again: int
    lost: int = 0
    unread: int = 0

    def done(self, phase: Phase | None = None) -> int:
        """How many tasks are done, of a phase or of both."""
        return sum(isinstance(output, Commit) and phase in {None, output.id.task.phase} for output in self.outputs)

    def begun(self, phase: Phase) -> bool:
        """Whether there is anything of a phase."""
        return any(output.id.task.phase is phase for output in self.outputs)

    def told(self) -> str:
        """Return the sentence that says what of it is taken over."""
        plan = self.plan
        phases = [phase for phase in plan.phases if phase is Phase.MAP or self.done(phase)]
        parts = [f"{self.done(phase):,} of {plan.tasks(phase):,} {phase} tasks" for phase in phases]
        begun = len({output.id.task for output in self.outputs if isinstance(output, Leg)})
        parts += [f"the beginning of {begun:,} more"] if begun else []
        told = f"{' and '.join(parts)} {_TAKEN_OVER} {plan.job}"
        for count, why in ((self.again, "that left something out"), (self.lost, "whose stored output is damaged or gone")):
            told += f"; {count:,} {why} {'is' if count == 1 else 'are'} done again" if count else ""
        return f"{told}; of {self.unread:,} bytes only the size was checked." if self.unread else f"{told}."


def _store_plan(backend: Backend, derived: JobEntry, wish: Wish, outcome: Outcome | None) -> None:
    """Store the plan and the code of the derived job, and write down what it takes over."""
    keys = keys_of(backend.table)
    plan = read_plan(backend.objects, derived.base, keys)
    _check_workers(plan, backend.functions.limits.environment)
    standing = _look(backend, plan, wish, outcome)
    code = _code(backend, derived.base, wish)
    _check_fit(standing, code, wish.mended)
    _check_law(backend, plan, code)
    write_code(backend.objects, derived.job, code.data, keys)
    made = _plan(backend, standing, derived, code)
    made = replace(made, max_cost=wish.costs(plan.max_cost), policy=wish.tries(made.policy))
    write_plan(backend.objects, made, (), keys)
    _take_over(backend, made, standing.outputs)


def _look(backend: Backend, plan: Plan, wish: Wish, outcome: Outcome | None) -> _Standing:
    """Return what stands of a job, as far as it can and shall be taken over.

    Raises:
        PlanError: The job is done, and there is nothing to do again.
        CorruptObjectError: A commit is gone.
        StoreError: The store cannot be listed or read.
    """
    ledger = Ledger(backend.table, plan.job)
    found = [output for output in ledger.outputs() if output.id.task.phase is not Phase.MERGE]  # what was merged is merged again
    again = {output.id.task for output in found if wish.does_again(output)}
    if outcome is not None and outcome.state is JobState.DONE and not again:
        raise PlanError(f"The job {plan.job} is done, and left out nothing that would be done again: its result is job.result().")
    mapped = ledger.manifest(Phase.MAP) is not None
    gone = plan.maps - len({output.id.task for output in found if isinstance(output, Commit) and output.id.task.phase is Phase.MAP})
    if mapped and gone:
        raise CorruptObjectError(f"The map phase of job {plan.job} has ended, and {gone:,} of its commits are gone. Submit it again.")
    if plan.carried:
        return _Standing(plan, (), again=len(again))
    sound = _sound(backend, [output for output in found if output.id.task not in again], outcome)
    whole = mapped and not any(task.phase is Phase.MAP for task in again | sound.lost)
    outputs = [output for output in sound.outputs if whole or output.id.task.phase is Phase.MAP]
    committed = {output.id.task for output in outputs if isinstance(output, Commit)}
    left = [output for output in outputs if isinstance(output, Commit) or output.id.task not in committed]
    return _Standing(plan, left, again=len(again), lost=len(sound.lost - committed), unread=sound.unread)


def _sound(backend: Backend, outputs: Sequence[Commit | Leg], outcome: Outcome | None) -> Sound:
    """Return those outputs that are still what was written, looked at with care if the job ended because of one."""
    return sound_outputs(outputs, backend.objects, keys_of(backend.table), doubts=doubted(outcome), threads=backend.parallel)


def _code(backend: Backend, base: str, wish: Wish) -> _Code:
    """Return the functions of the derived job: as they were stored, or captured anew with those that were mended."""
    stored = read_code(backend.objects, base, keys_of(backend.table))
    if not wish.mended.named():
        return _Code(stored)
    limits = backend.functions.limits
    check_environment(environment(), limits.environment, mend=limits.advice.environment)
    before, _ = load_program(stored)
    now = mended(before, wish.mended)
    bundle = capture(now, label_of=wish.label_of)
    return _Code(bundle.data, bundle.report.warnings, before, now)


def _check_fit(standing: _Standing, code: _Code, given: Mended) -> None:
    """Refuse functions that do not fit what is taken over, or would not run. Raises `PlanError`."""
    if code.before is None or code.now is None:
        return
    plan, mapped = standing.plan, standing.begun(Phase.MAP)
    if given.map is not None and standing.done(Phase.MAP) == plan.maps:
        raise PlanError(f"map= would not run: all map tasks of job {plan.job} are done. Submit it again to map everything anew.")
    if mapped and changes_combiner(code.before, given):
        raise PlanError(
            f"The combiner would be another one than that of what {standing.done(Phase.MAP):,} map tasks of job {plan.job} did: their "
            "pairs are combined already. Submit it again with all its functions."
        )
    if (standing.begun(Phase.REDUCE) or (mapped and not plan.reducers)) and code.now.grouped_order != plan.grouped_order:
        raise PlanError(
            f"Parts of job {plan.job} are written already, by a reduce that {'yields rows' if plan.grouped_order else 'returns a value'}; "
            "the one that mends it must do so, too. Submit it again with all its functions."
        )


def _check_law(backend: Backend, plan: Plan, code: _Code) -> None:
    """Try functions whose combiner has a law to keep, on a sample, as planning does. Raises `CombinerLawError`."""
    if code.now is None or not code.now.has_law:
        return
    keys = keys_of(backend.table)
    splits = read_split_page(backend.objects, plan.splits or Layout(plan.job).splits, 0, keys)
    sources = {**backend.sources, "job": JobInput(backend.objects, keys)}
    try_out(code.data, [SplitInput(split, plan.format, sources, reading=plan.reading) for split in splits], backend)


def _plan(backend: Backend, standing: _Standing, derived: JobEntry, code: _Code) -> Plan:
    """Return the plan of the derived job: the other's, but for what is its own."""
    plan, thought, limits = standing.plan, standing.plan.estimate, backend.functions.limits
    left = 1 - standing.done() / max(plan.maps + plan.reducers, 1)
    return replace(
        plan,
        job=derived.job,
        created=derived.created,
        base=plan.job,
        splits=plan.splits or Layout(plan.job).splits,
        grouped_order=code.now.grouped_order if code.now else plan.grouped_order,
        combine=code.now.combines if code.now else plan.combine,
        warnings=(
            standing.told(),
            *_others(backend, derived),
            *(warning for warning in plan.warnings if _TAKEN_OVER not in warning and _WENT_ON not in warning),
            *code.warnings,
            *told_of_service(limits, maps=0),
        ),
        policy=replace(backend.policy, retries=plan.policy.retries, speculation=plan.policy.speculation, stall=plan.policy.stall),
        rates=rates_of(backend.tariff),
        memory_bytes=limits.memory_bytes,
        memory_sizes=limits.memory_sizes,
        budget=memory_share(limits.memory_bytes) if plan.budget == memory_share(plan.memory_bytes) else plan.budget,
        estimate=replace(thought, low=thought.low * left, high=thought.high * left) if thought else None,
    )


def _others(backend: Backend, derived: JobEntry) -> tuple[str, ...]:
    """Return a sentence about the jobs that went on from the same one before, if there are any."""
    others = [entry.job for entry in list_jobs(backend.table) if entry.base == derived.base]
    return (f"{', '.join(others)} {_WENT_ON} {derived.base} before, and may do the same.",) if others else ()


def _take_over(backend: Backend, plan: Plan, outputs: Sequence[Commit | Leg]) -> None:
    """Write down what the derived job takes over, and how far it is with that."""
    ledger = Ledger(backend.table, plan.job)

    def write(output: Commit | Leg) -> Commit | Leg:
        nobody = AttemptId(output.id.task, 0)
        if isinstance(output, Commit):
            return ledger.commit(replace(output, id=nobody))
        return ledger.put_leg(replace(output, id=nobody))

    commits = {output.id.task: output for output in side_by_side(write, outputs, threads=backend.parallel) if isinstance(output, Commit)}
    ledger.put_progress(progress(plan, Snapshot({}, commits, {}), plan.created, lease=Lease("", 0, 0.0)))


def _check_workers(plan: Plan, there: Environment) -> None:
    """Refuse workers that could not run what the job was planned for. Raises `EnvironmentMismatchError`."""
    ours, theirs = dict(plan.environment.packages), dict(there.packages)
    differing = [f"{name} {ours[name]}, now {theirs[name]}" for name in sorted(ours.keys() & theirs.keys()) if ours[name] != theirs[name]]
    if plan.environment.python != there.python:
        differing.insert(0, f"Python {plan.environment.python}, now {there.python}")
    if differing:
        raise EnvironmentMismatchError(f"The workers of job {plan.job} had {'; '.join(differing)}. Submit it again to run it with these.")


# ---------------------------------------------------------------- a job that was never planned


def _store_request(backend: Backend, derived: JobEntry, wish: Wish) -> None:
    """Have a job planned anew whose planning came to nothing: there is nothing to take over but what was stored for it."""
    keys = keys_of(backend.table)
    request = read_request(backend.objects, derived.base, keys)
    code = _code(backend, derived.base, wish)
    write_code(backend.objects, derived.job, code.data, keys)
    stored = _stored_beside(request.stored, derived.base)
    inlets = tuple(replace(one, stored=_stored_beside(one.stored, derived.base)) for one in request.inlets)
    warnings = request.warnings + code.warnings
    wanted = replace(
        request,
        created=derived.created,
        max_cost=wish.costs(request.max_cost),
        policy=wish.tries(request.policy),
        warnings=warnings,
        stored=stored,
        inlets=inlets,
    )
    write_request(backend.objects, derived.job, wanted, keys)


def _stored_beside(stored: StoredInput | None, job: str) -> StoredInput | None:
    """Return what was stored as input, with the job beside which it stands."""
    return replace(stored, job=stored.job or job) if stored is not None else None
