"""What is written down of an attempt whose invocation died."""

from __future__ import annotations

import sysconfig
from dataclasses import replace

import pytest

from smr_notebook.backends.memory.platform import open_memory
from smr_notebook.control.deaths import bury_attempt, death_failure, stack_frames
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.messages import DeathNotice, Message, Role
from smr_notebook.control.rows import JobEntry
from smr_notebook.control.verdicts import error_name
from smr_notebook.dataflow.code import Sources
from smr_notebook.model import Attempt, AttemptId, AttemptState, Commit, Failure, FailureKind, Numbers, Phase, TaskId

ID = AttemptId(TaskId(Phase.MAP, 7), 2)
MESSAGE = Message(Role.MAP, "3f9a", 7, 2)
LIBRARY = sysconfig.get_path("stdlib")
CELL = "/home/ann/ipykernel_1/2.py"
SOURCES: Sources = {CELL: ("Cell In[4]", "import ctypes\ndef map(line):\n    ctypes.string_at(0)\n")}
STACK = f"""Fatal Python error: Segmentation fault

Current thread 0x00007f0000000000 (most recent call first):
  File "{LIBRARY}/ctypes/__init__.py", line 519 in string_at
  File "{CELL}", line 3 in map
"""


def notice(reason: str = "killed by signal 11 (SIGSEGV)", *, invocation: str = "w", memory: bool = False, stack: str = "") -> DeathNotice:
    return DeathNotice(MESSAGE, invocation, reason, memory, 0, stack)


def attempt(number: int, *, records: int = 0, resident: int = 0, failure: Failure | None = None) -> Attempt:
    state = AttemptState.FAILED if failure else AttemptState.RUNNING
    numbers = Numbers(records_read=records, resident_bytes=resident)
    return Attempt(AttemptId(ID.task, number), state, "w", 15.0, 0.0, 1.0, numbers, failure)


def test_a_crash_is_told_with_how_far_the_attempt_was() -> None:
    failure = death_failure(notice(), [attempt(2, records=12_034)], {}, limit=0)
    assert (failure.kind, failure.type) == (FailureKind.CRASH, "WorkerDied")
    assert failure.message == "killed by signal 11 (SIGSEGV), after 12,034 records of map task 7 at its last heartbeat"
    assert error_name(failure) == "WorkerLostError"


def test_a_crash_is_told_with_the_users_line_where_the_process_left_its_stack() -> None:
    failure = death_failure(notice(stack=STACK), [attempt(2)], SOURCES, limit=0)
    (frame,) = failure.frames
    assert (frame.label, frame.line, frame.function, frame.text) == ("Cell In[4]", 3, "map", "ctypes.string_at(0)")


def test_frames_of_libraries_are_told_when_the_user_has_none_and_words_that_are_no_frames_never() -> None:
    assert [frame.function for frame in stack_frames(STACK.replace(CELL, f"{LIBRARY}/x.py"), {})] == ["map", "string_at"]
    assert stack_frames("<no Python frame>\nFile x, line 3", {}) == ()


@pytest.mark.parametrize(("stack", "records"), [(STACK, 0), ("", 500)])
def test_a_crash_that_comes_twice_at_the_same_place_is_told_as_such(stack: str, records: int) -> None:
    first = death_failure(notice(stack=stack), [attempt(1, records=records)], SOURCES, limit=0)
    again = death_failure(notice(stack=stack), [attempt(1, records=records, failure=first), attempt(2, records=records)], SOURCES, limit=0)
    assert again.message.endswith(", as attempt 1 did at the same place")


def test_two_crashes_of_which_nothing_is_known_are_not_said_to_be_alike() -> None:
    first = death_failure(notice(), [attempt(1)], {}, limit=0)
    again = death_failure(notice(), [attempt(1, failure=first), attempt(2)], {}, limit=0)
    assert again.message == "killed by signal 11 (SIGSEGV)"


def test_want_of_memory_is_named_with_what_was_taken_and_what_may_be() -> None:
    failure = death_failure(notice("ended", memory=True), [attempt(2, resident=1_020 << 20)], {}, limit=1_024 << 20)
    assert (failure.type, failure.resident_bytes, failure.limit_bytes) == ("OutOfMemoryError", 1_020 << 20, 1_024 << 20)
    assert error_name(failure) == "OutOfMemoryError"


def test_an_invocation_whose_time_was_up_is_a_timeout() -> None:
    failure = death_failure(replace(notice("Task timed out after 900.00 seconds"), late=True), [attempt(2, records=7)], {}, limit=0)
    assert error_name(failure) == failure.type == "TaskTimeoutError"
    assert failure.message == "Task timed out after 900.00 seconds, after 7 records of map task 7 at its last heartbeat"


def test_a_call_that_the_service_dropped_says_nothing_of_its_task() -> None:
    failure = death_failure(notice("Lambda never ran it", invocation=""), [], {}, limit=0)
    assert (failure.kind, failure.type) == (FailureKind.LOST, "LaunchDropped")


def test_who_had_done_the_work_is_not_buried() -> None:
    backend = open_memory()
    ledger = Ledger(backend.table, "3f9a")
    ledger.create_job(JobEntry("3f9a", "", 0.0, "plan"))
    ledger.launch(ID, now=0.0, expires=60.0)
    ledger.claim(ID, owner="w", now=0.0, lease=15.0)
    ledger.commit(Commit(ID, "w", 1.0, 1.0, Numbers()))
    bury_attempt(backend, notice())
    assert [found.state for found in ledger.attempts(ID.task)] == [AttemptState.RUNNING]


def test_a_death_is_written_down_though_neither_plan_nor_code_can_be_read() -> None:
    backend = open_memory()
    ledger = Ledger(backend.table, "3f9a")
    ledger.create_job(JobEntry("3f9a", "", 0.0, "plan"))
    ledger.launch(ID, now=0.0, expires=60.0)
    ledger.claim(ID, owner="w", now=0.0, lease=15.0)
    bury_attempt(backend, notice("ended", memory=True, stack=STACK))
    (found,) = ledger.attempts(ID.task)
    assert found.failure is not None
    assert (found.state, found.failure.type, found.failure.frames[-1].label) == (AttemptState.FAILED, "OutOfMemoryError", CELL)
