"""Where the rows of a job stand: which group, under which key. Pure, and the only place that builds them.

Theory. A table holds about a thousand writes a second for each group, and a look must not read what can change no more. So the rows of
tasks lie in *pages* of a hundred tasks: a page has one prefix of keys, so that one query reads it, and pages are dealt out to groups, so
that tasks that are at work at the same time write to many. The rows of the job itself stand together in the job's first group::

    group <job>          job/claim  job/entry  job/lease  job/progress  job/cancel  job/manifest/<phase>  job/outcome
    group <job>, <job>/1 … <job>/15, in turn by page:
                         task/<phase>/<task>/attempt/<attempt>   task/<phase>/<task>/leg/<number>   task/<phase>/<task>/commit
    group after/<job>    <job that reads its result>
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from smr_notebook.model import AttemptId, Phase, Plan, TaskId

PAGE: Final = 100
"""Tasks in a page: a page of them is read at once, some dozen kilobytes."""

GROUPS: Final = 16
"""Groups that the tasks of a job are dealt out to."""

MOST_TASKS: Final = 1_000_000
"""Tasks of a phase: their numbers have six digits in keys."""

JOB: Final = "job/"
"""Prefix of the rows of the job itself."""

TASK: Final = "task/"
"""Prefix of all rows of tasks."""


def job_row(name: str) -> str:
    """Return the key of one row of the job itself."""
    return f"{JOB}{name}"


def followers_of(job: str) -> str:
    """Return the group of the rows that tell which jobs read the result of one."""
    return f"after/{job}"


def manifest_row(phase: Phase) -> str:
    """Return the key of the row that says where a manifest stands."""
    return job_row(f"manifest/{phase}")


def task_rows(task: TaskId) -> str:
    """Return the prefix of all rows of a task."""
    return f"{TASK}{task}/"


def attempt_row(attempt: AttemptId) -> str:
    """Return the key of an attempt's row."""
    return f"{task_rows(attempt.task)}attempt/{attempt.number:06d}"


def leg_row(task: TaskId, number: int) -> str:
    """Return the key of the row of a leg, counted from 1."""
    return f"{task_rows(task)}leg/{number:06d}"


def commit_row(task: TaskId) -> str:
    """Return the key of a task's commit."""
    return f"{task_rows(task)}commit"


def kind_of(key: str) -> str:
    """Return what a row is, by its key: `entry`, `lease`, …, `attempt`, `leg`, `commit`."""
    parts = key.split("/")
    return parts[3] if parts[0] == "task" and len(parts) > 3 else parts[1] if len(parts) > 1 else ""


def page_of(task: TaskId) -> int:
    """Return the page that a task is on."""
    return task.number // PAGE


def page_rows(phase: Phase, page: int) -> str:
    """Return the prefix of all rows of a page."""
    return f"{TASK}{phase}/{page:04d}"


def pages_of(plan: Plan, phase: Phase) -> range:
    """Return the pages of a phase."""
    return range(-(-plan.tasks(phase) // PAGE))


def tasks_on(plan: Plan, phase: Phase, page: int) -> range:
    """Return the numbers of the tasks on a page."""
    return range(page * PAGE, min((page + 1) * PAGE, plan.tasks(phase)))


def group_of(job: str, page: int) -> str:
    """Return the group that holds a page."""
    place = page % GROUPS
    return f"{job}/{place}" if place else job


def groups_of(job: str) -> Iterator[str]:
    """Yield all groups of a job, the one with the rows of the job itself first."""
    return (group_of(job, place) for place in range(GROUPS))
