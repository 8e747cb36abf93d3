"""From rows to a snapshot: what decisions are made from. Pure.

Rules of this module:

* A snapshot says nothing that the rows do not: it is made anew from them at each look.
* A page of tasks is *settled* when each of its tasks has a commit and none of its other attempts lives. Nothing of it
  can change any more, so it is added up, and neither read nor listed again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from smr_notebook.control.row_keys import tasks_on
from smr_notebook.control.rows import CancelRequest, JobEntry, ManifestEntry
from smr_notebook.control.speculation import left_behind
from smr_notebook.control.troubles import stalled, together, troubles_of
from smr_notebook.model import Attempt, AttemptState, Commit, Numbers, Phase, Plan, TaskId
from smr_notebook.standing import Lease, Outcome, PhaseProgress, Settled, Snapshot
from smr_notebook.values.usage import Usage


def snapshot_of(rows: Iterable[tuple[str, object]]) -> Snapshot | None:
    """Return what rows say, given as keys and nouns in key order; `None` when there is no such job."""
    there = False
    attempts: dict[TaskId, tuple[Attempt, ...]] = {}
    commits: dict[TaskId, Commit] = {}
    manifests: dict[Phase, str] = {}
    cancel: CancelRequest | None = None
    outcome: Outcome | None = None
    lease: Lease | None = None
    for key, noun in rows:
        match noun:
            case Attempt() as attempt:
                attempts[attempt.id.task] = (*attempts.get(attempt.id.task, ()), attempt)
            case Commit() as commit:
                commits[commit.id.task] = commit
            case ManifestEntry(key=place):
                manifests[Phase(key.rpartition("/")[2])] = place
            case JobEntry():
                there = True
            case CancelRequest() as cancel:
                pass
            case Outcome() as outcome:
                pass
            case Lease() as lease:
                pass
    if not there:
        return None
    return Snapshot(attempts, commits, manifests, cancel.reason if cancel else None, outcome, lease)


def with_done(snapshot: Snapshot) -> Snapshot:
    """Return a snapshot whose attempts say that they are done where their commit stands. Decisions need not know."""
    attempts = {
        task: tuple(
            replace(attempt, state=AttemptState.DONE) if commit is not None and commit.id == attempt.id else attempt for attempt in of_task
        )
        for task, of_task in snapshot.attempts.items()
        for commit in (snapshot.commits.get(task),)
    }
    return replace(snapshot, attempts=attempts)


def losers(snapshot: Snapshot) -> list[Attempt]:
    """Return the attempts that live although another one of their task was committed: nobody waits for them."""
    return [
        attempt
        for task, commit in snapshot.commits.items()
        for attempt in snapshot.attempts.get(task, ())
        if attempt.live and attempt.id != commit.id
    ]


def is_settled(plan: Plan, snapshot: Snapshot, phase: Phase, page: int) -> bool:
    """Whether nothing of a page can change any more."""
    for number in tasks_on(plan, phase, page):
        task = TaskId(phase, number)
        commit = snapshot.commits.get(task)
        if commit is None:
            return False
        if any(attempt.live and attempt.id != commit.id for attempt in snapshot.attempts.get(task, ())):
            return False
    return True


def settle(
    settled: Settled, page: int, commits: Mapping[TaskId, Commit], attempts: Sequence[Sequence[Attempt]], *, sizes: Sequence[int] = ()
) -> Settled:
    """Return what was added up, with one more page.

    Args:
        settled: What was added up so far.
        page: The number of the page.
        commits: The commit of each task of the page.
        attempts: All attempts of each of them.
        sizes: The plan's `memory_sizes`.
    """
    return Settled(
        pages=settled.pages | {page},
        tasks=settled.tasks + len(commits),
        progress=add(settled.progress, phase_progress(attempts, commits)),
        seconds=settled.seconds + sum(commit.seconds for commit in commits.values()),
        started=min([settled.started, *(attempt.started for of_task in attempts for attempt in of_task)]),
        usage=settled.usage + used(attempts, commits, sizes),
        troubles=together(settled.troubles, troubles_of(attempts, commits, sizes)),
    )


def phase_progress(attempts: Iterable[Sequence[Attempt]], commits: Mapping[TaskId, Commit]) -> PhaseProgress:
    """Return how far some tasks are, but for how many there are.

    Args:
        attempts: The attempts of each task that has any.
        commits: The commits of those that have one.
    """
    chosen = {commit.id for commit in commits.values()}
    found = [of_task for of_task in attempts if of_task]
    open_tasks = [of_task for of_task in found if of_task[0].id.task not in commits]
    live = [attempt for of_task in open_tasks for attempt in of_task if attempt.live]
    paused = [attempt for of_task in open_tasks for attempt in of_task if attempt.state is AttemptState.PAUSED]
    return PhaseProgress(
        done=len(commits),
        running=sum(attempt.state is AttemptState.RUNNING for attempt in live),
        launched=sum(attempt.state is AttemptState.LAUNCHED for attempt in live),
        retried=sum(_retries(of_task) for of_task in found),
        failed=sum(attempt.state is AttemptState.FAILED and attempt.id not in chosen for of_task in found for attempt in of_task),
        numbers=_total([commit.numbers for commit in commits.values()], [attempt.numbers for attempt in (*paused, *_foremost(open_tasks))]),
        speculative=sum(attempt.speculative for of_task in found for attempt in of_task),
        slowest=max((commit.seconds for commit in commits.values()), default=0.0),
        stalled=sum(map(stalled, live)),
    )


def add(first: PhaseProgress, second: PhaseProgress) -> PhaseProgress:
    """Return how far two sets of tasks of a phase are together."""
    return replace(
        first,
        done=first.done + second.done,
        running=first.running + second.running,
        launched=first.launched + second.launched,
        retried=first.retried + second.retried,
        failed=first.failed + second.failed,
        numbers=first.numbers + second.numbers,
        slowest=max(first.slowest, second.slowest),
        speculative=first.speculative + second.speculative,
        stalled=first.stalled + second.stalled,
    )


def used(attempts: Iterable[Sequence[Attempt]], commits: Mapping[TaskId, Commit], sizes: Sequence[int] = ()) -> Usage:
    """Return what attempts used, as far as they told; one that fell silent counts as at work until its lease ended.

    Seconds are those of the smallest of `sizes`, the plan's `memory_sizes`: one with twice the memory costs twice as much.
    """
    seconds, invocations, told = 0.0, 0, []
    for of_task in attempts:
        for attempt in of_task:
            commit = commits.get(attempt.id.task)
            usage = commit.usage if commit is not None and commit.id == attempt.id else attempt.usage
            silent = attempt.claimed and (attempt.live or attempt.state in {AttemptState.FAILED, AttemptState.STOPPED})
            took = max(usage.seconds, attempt.changed - attempt.claimed) if silent else usage.seconds
            seconds += took * sizes[min(attempt.size, len(sizes) - 1)] / sizes[0] if attempt.size and sizes else took
            invocations += 1
            told.append(usage)
    return Usage(
        seconds,
        invocations,
        sum(usage.puts for usage in told),
        sum(usage.gets for usage in told),
        sum(usage.row_writes for usage in told),
        sum(usage.row_reads for usage in told),
    )


def _retries(of_task: Sequence[Attempt]) -> int:
    others = sum(attempt.state is AttemptState.PAUSED or attempt.speculative for attempt in of_task)
    return max(len(of_task) - 1 - others, 0)


def _foremost(open_tasks: Iterable[Sequence[Attempt]]) -> list[Attempt]:
    """Return the attempt of each task that lives and is the furthest: what two of them read is read once."""
    alive = ([attempt for attempt in of_task if attempt.live and not left_behind(attempt, of_task)] for of_task in open_tasks)
    return [max(of_task, key=lambda attempt: attempt.numbers.records_read) for of_task in alive if of_task]


def _total(committed: Sequence[Numbers], others: Sequence[Numbers]) -> Numbers:
    return sum((*committed, *others), start=Numbers())
