"""From an outcome to the error that a person sees."""

from __future__ import annotations

import pytest

from smr_notebook import errors
from smr_notebook.job.outcome_errors import error_of
from smr_notebook.model import AttemptId, Failure, FailureKind, JobState, Phase, TaskId
from smr_notebook.standing import FailedAttempt, Outcome

ID = AttemptId(TaskId(Phase.MAP, 3), 2)


def failed(error: str, *failures: Failure, message: str = "") -> BaseException | None:
    told = tuple(FailedAttempt(ID, failure) for failure in failures)
    return error_of("3f9a", Outcome(JobState.FAILED, 0.0, error=error, failures=told, message=message))


def test_a_job_that_is_done_has_no_error() -> None:
    assert error_of("3f9a", Outcome(JobState.DONE, 0.0)) is None


@pytest.mark.parametrize(
    ("kind", "type", "mend"),
    [
        (FailureKind.CRASH, "WorkerDied", "in the notebook"),
        (FailureKind.LOST, "HeartbeatsStopped", "lease_seconds"),
        (FailureKind.LOST, "LaunchLost", "Submit the job again"),
    ],
)
def test_a_lost_worker_is_told_with_what_can_be_done(kind: FailureKind, type: str, mend: str) -> None:
    error = failed("WorkerLostError", Failure(kind, type, "what was seen"))
    assert isinstance(error, errors.WorkerLostError)
    assert str(error).startswith(f"{type} in map task 3: what was seen\n")
    assert mend in str(error)


def test_a_class_that_this_kernel_does_not_know_is_told_by_its_name() -> None:
    error = failed("TaskError", Failure(FailureKind.USER, "OurError", "no", pickled=b"not a pickle", function="map", record="'x'"))
    assert isinstance(error, errors.TaskError)
    assert (type(error.__cause__).__name__, str(error.__cause__)) == ("OurError", "no")
    assert str(error) == "OurError in map: no\nrecord: 'x'"


@pytest.mark.parametrize(
    ("name", "cls"), [("CorruptObjectError", errors.CorruptObjectError), ("Frame", errors.JobError), ("", errors.JobError)]
)
def test_an_error_without_failures_is_of_the_class_named_or_a_job_error(name: str, cls: type[BaseException]) -> None:
    error = failed(name, message="what happened")
    assert type(error) is cls
    assert str(error) == "what happened"
