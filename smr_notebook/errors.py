"""The errors, one for each cause.

::

    SmrError
    ├── ConfigError (ValueError)               a setting or an option is wrong
    ├── InputError                             the input is not what the job needs
    │   ├── InputMissingError (FileNotFoundError)
    │   ├── InputEmptyError (ValueError)
    │   ├── InputMixedError (ValueError)
    │   ├── InputReadError (OSError)
    │   ├── InputFormatError (ValueError)      bytes that are not what the format says
    │   └── InputChangedError (OSError)        not the object that was planned
    ├── PlanError (ValueError)                 the job cannot be planned
    │   ├── UnpicklableError (TypeError)       the functions cannot travel
    │   └── CombinerLawError                   the combiner changes the answer
    ├── EnvironmentMismatchError               worker and notebook differ
    ├── JobError                               a job ended without a result
    │   ├── TaskError                          the user's function failed
    │   │   └── PairShapeError (TypeError)     map yielded something else than pairs
    │   ├── TaskTimeoutError (TimeoutError)    one record or group took longer than it may
    │   ├── OutOfMemoryError (MemoryError)     a task takes more memory than the largest worker has
    │   ├── DiskFullError (OSError)            there is no room for what does not fit in memory
    │   ├── JobTimeoutError (TimeoutError)     the job took longer than it may
    │   ├── BudgetExceededError                it would cost more than it may
    │   ├── WorkerLostError                    attempts died or fell silent
    │   ├── ConservationError                  the sums differ: there is no answer
    │   ├── TooManyBadError                    more was left out than may be
    │   ├── CounterError (ValueError)          a counter of the user's own has no name or amount that can be counted
    │   ├── PriorJobError                      the job whose result it reads has none
    │   └── JobCancelled (KeyboardInterrupt)
    ├── JobNotFoundError (LookupError)
    ├── ResultTooLargeError (MemoryError)
    ├── CorruptObjectError                     stored bytes are not what was written
    │   ├── FormatVersionError                 … or were written by another version
    │   └── UntrustedObjectError               … or by somebody else: they are not unpickled
    └── PlatformError                          a port failed
        ├── StoreError (OSError)
        │   └── ObjectNotFoundError (KeyError)
        ├── ServiceError (ConnectionError)
        ├── ThrottledError
        ├── PayloadTooLargeError (ValueError)
        ├── CredentialsError                   who we are is not known, or not any more
        ├── AccessDeniedError (PermissionError)   we may not
        └── DeploymentError                    what a platform needs is not there, or not as it should be

Rules: a message says what happened, where, and what to do. Each error pickles: all that it says is in its message or in
keyword fields that `__reduce__` carries. A lost race is an answer, not an error. Each cause that a builtin names has it as second base.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smr_notebook.standing import FailedAttempt


class SmrError(Exception):
    """Root of all errors of this package. `str(error)` is the whole message."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[object, ...]:
        """Return what exceptions give anyway, said here.

        tblib, which dask brings along, makes an error that says nothing again without its `__init__`, and that fails for those that are an
        error of the system as well.
        """
        return type(self), self.args, self.__dict__


class ConfigError(SmrError, ValueError):
    """A setting or an option is wrong."""


class InputError(SmrError):
    """The input is not what the job needs."""


class InputMissingError(InputError, FileNotFoundError):
    """Nothing stands under the name given."""


class InputEmptyError(InputError, ValueError):
    """What was named holds no bytes or no items."""


class InputMixedError(InputError, ValueError):
    """Several kinds of input were named, and no one format reads them all."""


class InputReadError(InputError, OSError):
    """The input is there and cannot be read."""


class InputFormatError(InputError, ValueError):
    """Bytes of the input are not what the format says: not UTF-8, not JSON, a truncated archive."""


class InputChangedError(InputError, OSError):
    """The object is not the one that was planned."""


class PlanError(SmrError, ValueError):
    """The job cannot be planned from these arguments."""


class UnpicklableError(PlanError, TypeError):
    """A function, or something that it captured, cannot travel to a worker."""


class CombinerLawError(PlanError):
    """`reduce` of combined parts differs from `reduce` of all, so that the combiner would change the answer."""


class EnvironmentMismatchError(SmrError):
    """The workers' Python or packages differ from the notebook's."""


class JobError(SmrError):
    """A job ended without a result.

    Args:
        message: The whole text.
        job: Identifier of the job.
        failures: One sample for each kind of failure.
    """

    def __init__(self, message: str, *, job: str = "", failures: tuple[FailedAttempt, ...] = ()) -> None:
        super().__init__(message)
        self.job = job
        self.failures = failures

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.job, self.failures))


def _rebuild(cls: type[JobError], message: str, job: str, failures: tuple[FailedAttempt, ...]) -> JobError:
    return cls(message, job=job, failures=failures)


class TaskError(JobError):
    """The user's function raised; the exception is the `__cause__`."""


class PairShapeError(TaskError, TypeError):
    """`map` (or a generator `reduce`) gave something else than `(key, value)` pairs; or a function of frames something else than frames."""


class TaskTimeoutError(JobError, TimeoutError):
    """One record, or one group, took longer than an invocation may run, or than `record_timeout`: no continuation gets past it."""


class OutOfMemoryError(JobError, MemoryError):
    """A task took more memory than a worker has, the largest one too, where there are several sizes."""


class DiskFullError(JobError, OSError):
    """There is no room on the worker's disk for what does not fit in its memory."""


class JobTimeoutError(JobError, TimeoutError):
    """The job took longer, or changed its coordinator more often, than its policy allows."""


class BudgetExceededError(JobError):
    """The job would cost more than `max_cost`."""


class WorkerLostError(JobError):
    """Attempts of a task died or fell silent, more often than `retries` allows."""


class ConservationError(JobError):
    """What went in is not what came out: the job has no answer rather than a wrong one."""


class TooManyBadError(JobError):
    """More records, or groups, failed than `max_bad` lets the job leave out."""


class CounterError(JobError, ValueError):
    """A counter's name or amount is none, there are too many counters, or one counts too far."""


class PriorJobError(JobError):
    """The job whose result is the input failed, or was cancelled."""


class JobCancelled(JobError, KeyboardInterrupt):  # noqa: N818 - an interrupt, not an error: it is what ■ asks for
    """The job was cancelled. As a `KeyboardInterrupt` it also stops the cells queued behind."""


class JobNotFoundError(SmrError, LookupError):
    """No job, or more than one, has this identifier."""


class ResultTooLargeError(SmrError, MemoryError):
    """The result would not fit in the memory that it may take."""


class CorruptObjectError(SmrError):
    """Stored bytes are not what was written: a checksum differs, or something is cut."""


class FormatVersionError(CorruptObjectError):
    """Stored bytes were written in a version of the format that this package does not read."""


class UntrustedObjectError(CorruptObjectError):
    """Stored bytes that hold pickles were not written by this workspace, or not for this place."""


class PlatformError(SmrError):
    """A port failed."""


class StoreError(PlatformError, OSError):
    """The object store or the table cannot be reached, read or written."""


class ObjectNotFoundError(StoreError, KeyError):
    """There is no such object."""


class ServiceError(PlatformError, ConnectionError):
    """The function service cannot be reached or started."""


class ThrottledError(PlatformError):
    """The function service refuses more calls for now."""


class PayloadTooLargeError(PlatformError, ValueError):
    """The payload exceeds what the function service takes."""


class CredentialsError(PlatformError):
    """There are no credentials, or they have expired."""


class AccessDeniedError(PlatformError, PermissionError):
    """The credentials do not allow what was tried."""


class DeploymentError(PlatformError):
    """What the platform needs has not been deployed, or is not as it should be."""
