"""Jobs as the input of jobs, as a session's verbs take them."""

from __future__ import annotations

from smr_notebook.control.naming import JobRows
from smr_notebook.errors import ConfigError
from smr_notebook.job import Job
from smr_notebook.ports import Backend


def with_jobs_named(input: object, backend: Backend) -> object:
    """Return an input in which a job stands as the rows of its result; any other input as it is.

    Args:
        input: What the user named.
        backend: Where the job that reads it shall run.

    Raises:
        ConfigError: The job is one of another workspace, or deployment.
    """
    if not isinstance(input, Job):
        return input
    if not input.stands_in(backend):
        raise ConfigError(
            f"{input.id} is a job of another workspace or deployment than the one of this session, whose workers cannot read its result. "
            "Submit both with one session, or pass its result: input=job.result()."
        )
    return JobRows(input.id)
