"""From how a job ended to the error that a user sees.

The stored outcome is plain values. Here it becomes an exception again: of the class that names the cause, with the user's own
exception as `__cause__`, whose traceback shows the user's frames only (their source lines are in the message too, for kernels that
do not have the file).
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from types import TracebackType

from tblib import Traceback

from smr_notebook import errors
from smr_notebook.errors import JobError, PairShapeError, SmrError
from smr_notebook.job.mends import mends_of
from smr_notebook.model import Failure, FailureKind, Frame, JobState
from smr_notebook.standing import FailedAttempt, Outcome


def error_of(job: str, outcome: Outcome) -> SmrError | None:
    """Return the error that says how a job ended, or `None` when it is done.

    Args:
        job: Identifier of the job.
        outcome: Its outcome row.
    """
    if outcome.state is JobState.DONE:
        return None
    if outcome.state is JobState.CANCELLED:
        return errors.JobCancelled(outcome.message or "The job was cancelled.", job=job, failures=outcome.failures)
    first = outcome.failures[0].failure if outcome.failures else None
    message = explain(outcome.failures) if outcome.failures else outcome.message
    error = _make(outcome.error, message, job=job, failures=outcome.failures)
    if first is not None and first.kind is FailureKind.USER and outcome.error != PairShapeError.__name__:
        error.__cause__ = cause_of(first)
    return error


def explain(failures: Sequence[FailedAttempt]) -> str:
    """Return the text of a failed job: each kind of failure with its line and its record.

    How many tasks failed alike depends on who was faster, so it is not told here: an error's text is compared in CI.
    """
    return "\n\n".join(_explain_one(failed) for failed in failures)


def cause_of(failure: Failure) -> BaseException:
    """Return the exception behind a failure, as it was raised if it could travel, with a traceback of the user's frames."""
    cause: BaseException | None = None
    if failure.pickled:
        try:
            loaded = pickle.loads(failure.pickled)
        except Exception:  # noqa: BLE001 - the class may not exist in this kernel; the text is all there
            loaded = None
        cause = loaded if isinstance(loaded, BaseException) else None
    if cause is None:
        cause = type(failure.type, (Exception,), {"__module__": "builtins"})(failure.message)
    return cause.with_traceback(_traceback(failure.frames))


def _explain_one(failed: FailedAttempt) -> str:
    failure, task = failed.failure, failed.attempt.task
    where = f" in {failure.function}" if failure.function else f" in {task.phase} task {task.number}"
    lines = [f"{failure.type}{where}: {failure.message}"]
    for frame in failure.frames[-3:]:
        lines += [f"  {frame.label}, line {frame.line}, in {frame.function}", f"----> {frame.line} {frame.text.strip()}"]
    if failure.record:
        lines.append(f"{'record' if failure.function == 'map' else 'key'}: {failure.record}{_place(failure)}")
    elif failure.source:
        lines.append(f"input: {failure.source}" + (f", while record {failure.record_number:,} was made" if failure.record_number else ""))
    return "\n".join([*lines, *mends_of(failure)])


def _place(failure: Failure) -> str:
    if not failure.source:
        return ""
    offset = f", byte {failure.offset:,}" if failure.offset >= 0 else ""
    return f"   ({failure.source}{offset})"


def _make(name: str, message: str, *, job: str, failures: tuple[FailedAttempt, ...]) -> SmrError:
    cls = getattr(errors, name, JobError)
    if isinstance(cls, type) and issubclass(cls, JobError):
        return cls(message, job=job, failures=failures)
    if isinstance(cls, type) and issubclass(cls, SmrError):
        return cls(message)
    return JobError(message, job=job, failures=failures)


def _traceback(frames: Sequence[Frame]) -> TracebackType | None:
    chain: dict[str, object] | None = None
    for frame in reversed(frames):
        code = {"co_filename": frame.file, "co_name": frame.function, "co_qualname": frame.function}
        chain = {
            "tb_frame": {"f_globals": {"__name__": "user"}, "f_locals": {}, "f_code": code, "f_lineno": frame.line},
            "tb_lineno": frame.line,
            "tb_next": chain,
        }
    if chain is None:
        return None
    found = Traceback.from_dict(chain).as_traceback()
    return found if isinstance(found, TracebackType) else None
