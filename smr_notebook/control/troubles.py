"""What befell a job on its way, and did not show in its answer: counted from its rows, and said in a sentence each. Pure.

Rules of this module:

* Like all progress, a trouble follows from the rows: nobody counts along, so nothing is counted twice or lost.
* An attempt has one kind, by what its failure says. What is alike (kind, phase, and what is said of it) is told together; when there is
  more than fits, what is rarest goes under *other*, never a count.
* A sentence says what happened, how often, and what was done about it. A job without troubles has no sentence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from smr_notebook.model import Attempt, AttemptState, Commit, Failure, FailureKind, Phase, TaskId
from smr_notebook.standing import Snapshot, Trouble, TroubleKind

STALLED_SECONDS: Final = 60.0
"""An attempt at work that has finished nothing for so long is shown as stalled."""

MOST: Final = 12
"""Troubles that are told apart: a progress is one row of a table."""

_SAMPLE: Final = 120
_SIGNAL: Final = re.compile(r"killed by signal (\d+) \((SIG\w+)\)")
_EXIT: Final = re.compile(r"exited with code (-?\d+)")
_HEARD: Final = re.compile(r"last heard of (\d+) s ago")
_OTHER: Final = "other"
_Key = tuple[TroubleKind, Phase, str, int]

_TYPES: Final[Mapping[str, TroubleKind]] = MappingProxyType(
    {
        "OutOfMemoryError": TroubleKind.MEMORY,
        "DiskFullError": TroubleKind.DISK,
        "TaskTimeoutError": TroubleKind.TIMEOUT,
        "HeartbeatsStopped": TroubleKind.SILENT,
        "WorkerDied": TroubleKind.DIED,
    }
)
_KINDS: Final[Mapping[FailureKind, TroubleKind]] = MappingProxyType(
    {
        FailureKind.USER: TroubleKind.USER,
        FailureKind.INPUT: TroubleKind.INPUT,
        FailureKind.SYSTEM: TroubleKind.SYSTEM,
        FailureKind.CRASH: TroubleKind.DIED,
        FailureKind.LOST: TroubleKind.LOST,
    }
)


def idle_seconds(attempt: Attempt) -> float:
    """Return for how long an attempt lived and finished nothing, at its last heartbeat: by one clock, its worker's."""
    return attempt.changed - attempt.moved if attempt.state is AttemptState.RUNNING and attempt.moved else 0.0


def stalled(attempt: Attempt) -> bool:
    """Whether an attempt lives and has finished nothing for a while."""
    return idle_seconds(attempt) >= STALLED_SECONDS


def troubles(snapshot: Snapshot, sizes: Sequence[int] = ()) -> tuple[Trouble, ...]:
    """Return what befell the attempts of a job.

    Args:
        snapshot: What the table says.
        sizes: The plan's `memory_sizes`.
    """
    settled = [settled.troubles for settled in snapshot.settled.values()]
    return together(*settled, troubles_of(snapshot.attempts.values(), snapshot.commits, sizes))


def troubles_of(attempts: Iterable[Sequence[Attempt]], commits: Mapping[TaskId, Commit], sizes: Sequence[int] = ()) -> tuple[Trouble, ...]:
    """Return what befell some attempts, alike ones together.

    Args:
        attempts: All attempts of each task.
        commits: The commits of those that have one.
        sizes: The plan's `memory_sizes`.
    """
    found: list[Trouble] = []
    for of_task in attempts:
        for attempt in of_task:
            commit = commits.get(attempt.id.task)
            if attempt.state is AttemptState.FAILED and attempt.failure is not None:
                returned = commit is not None and commit.id == attempt.id
                trouble = _returned(attempt) if returned else _failed(attempt, attempt.failure, sizes)
                found.append(replace(trouble, again=int(attempt is not of_task[-1])))
            elif commit is None and stalled(attempt):
                found.append(Trouble(TroubleKind.STALLED, attempt.id.task.phase, 1, seconds=idle_seconds(attempt)))
    return together(found)


def together(*of_some: Iterable[Trouble]) -> tuple[Trouble, ...]:
    """Return troubles with those that are alike as one, the most frequent first, and not too many."""
    found: dict[_Key, Trouble] = {}
    for trouble in (trouble for troubles in of_some for trouble in troubles):
        _add(found, trouble)
    ranked = sorted(found.values(), key=lambda trouble: (-trouble.count, trouble.kind, trouble.phase, trouble.sample))
    kept: dict[_Key, Trouble] = {}
    for place, trouble in enumerate(ranked):
        _add(kept, trouble if place < MOST else replace(trouble, sample=_OTHER, resident_bytes=0, limit_bytes=0, again_bytes=0))
    return tuple(kept.values())


def sentences(troubles: Sequence[Trouble]) -> tuple[str, ...]:
    """Return a sentence for each trouble."""
    return tuple(_SENTENCES[trouble.kind](trouble) for trouble in troubles)


def summary(troubles: Sequence[Trouble]) -> str:
    """Return all troubles in one short line, for a view that is seen while the job runs; empty for none."""
    counts: dict[str, int] = {}
    for trouble in troubles:
        word = _WORDS[trouble.kind]
        counts[word] = counts.get(word, 0) + trouble.count
    return " · ".join(f"{count:,} {word}" for word, count in counts.items())


def _add(found: dict[_Key, Trouble], trouble: Trouble) -> None:
    key = (trouble.kind, trouble.phase, trouble.sample, trouble.limit_bytes)
    known = found.get(key)
    if known is None:
        found[key] = trouble
        return
    larger = max(known, trouble, key=lambda one: one.resident_bytes)
    found[key] = replace(
        larger, count=known.count + trouble.count, again=known.again + trouble.again, seconds=max(known.seconds, trouble.seconds)
    )


def _returned(attempt: Attempt) -> Trouble:
    return Trouble(TroubleKind.RETURNED, attempt.id.task.phase, 1)


def _failed(attempt: Attempt, failure: Failure, sizes: Sequence[int]) -> Trouble:
    kind = _TYPES.get(failure.type) or _KINDS[failure.kind]
    trouble = Trouble(kind, attempt.id.task.phase, 1)
    match kind:
        case TroubleKind.MEMORY:
            again = sizes[attempt.size + 1] if attempt.size + 1 < len(sizes) else 0
            resident, limit = failure.resident_bytes or attempt.numbers.resident_bytes, failure.limit_bytes
            return replace(trouble, resident_bytes=resident, limit_bytes=limit, again_bytes=again)
        case TroubleKind.SILENT:
            heard = _HEARD.search(failure.message)
            return replace(trouble, seconds=float(heard[1]) if heard else 0.0)
        case TroubleKind.DIED:
            return replace(trouble, sample=_how(failure.message))
        case TroubleKind.USER | TroubleKind.INPUT | TroubleKind.SYSTEM:
            return replace(trouble, sample=failure.type[:_SAMPLE])
        case _:
            return trouble


def _how(message: str) -> str:
    if signal := _SIGNAL.search(message):
        return f"signal {signal[1]}, {signal[2]}"
    if code := _EXIT.search(message):
        return f"exit code {code[1]}"
    return message.splitlines()[0][:_SAMPLE] if message else ""


# ---------------------------------------------------------------- words


def _many(trouble: Trouble, noun: str, plural: str = "") -> str:
    return f"{trouble.count:,} {noun if trouble.count == 1 else plural or noun + 's'} of the {trouble.phase} phase"


def _was(trouble: Trouble) -> str:
    return "was" if trouble.count == 1 else "were"


def _in_brackets(text: str) -> str:
    return f" ({text})" if text else ""


def _again(trouble: Trouble, what: str = "run again") -> str:
    """Say what became of their tasks, in the end of a sentence."""
    if not trouble.again:
        return "."
    if trouble.again < trouble.count:
        return f"; {trouble.again:,} of the tasks {'was' if trouble.again == 1 else 'were'} {what}."
    return f", and {'its task was' if trouble.count == 1 else 'their tasks were'} {what}."


def _mb(size: int) -> str:
    return f"{size / 2**20:,.0f}"


def _died(trouble: Trouble) -> str:
    return f"{_many(trouble, 'worker')} died{_in_brackets(trouble.sample)}{_again(trouble)}"


def _memory(trouble: Trouble) -> str:
    of = f" ({_mb(trouble.resident_bytes)} of {_mb(trouble.limit_bytes)} MiB)" if trouble.resident_bytes and trouble.limit_bytes else ""
    larger = f"run again with {_mb(trouble.again_bytes)} MiB" if trouble.again_bytes else "run again"
    return f"{_many(trouble, 'attempt')} ran out of memory{of}{_again(trouble, larger)}"


def _disk(trouble: Trouble) -> str:
    return f"{_many(trouble, 'attempt')} found the disk full{_again(trouble)}"


def _silent(trouble: Trouble) -> str:
    who = "its worker" if trouble.count == 1 else "their workers"
    return f"{_many(trouble, 'attempt')} {_was(trouble)} lost: nothing was heard of {who} for {trouble.seconds:,.0f} s."


def _lost(trouble: Trouble) -> str:
    then = " and repeated" if trouble.again == trouble.count else _again(trouble)[:-1]
    return f"{_many(trouble, 'launch', 'launches')} {_was(trouble)} lost{then}."


def _timeout(trouble: Trouble) -> str:
    return f"{_many(trouble, 'attempt')} took too long over one record or group{_again(trouble)}"


def _user(trouble: Trouble) -> str:
    return f"{_many(trouble, 'attempt')} ended with an exception of the function{_in_brackets(trouble.sample)}{_again(trouble)}"


def _other(trouble: Trouble) -> str:
    return f"{_many(trouble, 'attempt')} failed{_in_brackets(trouble.sample)}{_again(trouble)}"


def _came_back(trouble: Trouble) -> str:
    return f"{_many(trouble, 'attempt')} {_was(trouble)} given up for lost, came back, and had done the work first."


def _stalled(trouble: Trouble) -> str:
    return f"{_many(trouble, 'attempt')} {'lives' if trouble.count == 1 else 'live'} and finished nothing for {trouble.seconds:,.0f} s."


_SENTENCES: Final[Mapping[TroubleKind, Callable[[Trouble], str]]] = MappingProxyType(
    {
        TroubleKind.DIED: _died,
        TroubleKind.MEMORY: _memory,
        TroubleKind.DISK: _disk,
        TroubleKind.SILENT: _silent,
        TroubleKind.LOST: _lost,
        TroubleKind.TIMEOUT: _timeout,
        TroubleKind.USER: _user,
        TroubleKind.INPUT: _other,
        TroubleKind.SYSTEM: _other,
        TroubleKind.RETURNED: _came_back,
        TroubleKind.STALLED: _stalled,
    }
)
_WORDS: Final[Mapping[TroubleKind, str]] = MappingProxyType(
    {
        TroubleKind.DIED: "died",
        TroubleKind.MEMORY: "out of memory",
        TroubleKind.DISK: "disk full",
        TroubleKind.SILENT: "lost",
        TroubleKind.LOST: "launches lost",
        TroubleKind.TIMEOUT: "timed out",
        TroubleKind.USER: "raised",
        TroubleKind.INPUT: "input errors",
        TroubleKind.SYSTEM: "failed",
        TroubleKind.RETURNED: "came back",
        TroubleKind.STALLED: "stalled",
    }
)
