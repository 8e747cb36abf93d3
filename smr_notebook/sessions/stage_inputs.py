"""Jobs as the input of jobs, as a session's verbs take them; and which inputs have a format."""

from __future__ import annotations

from smr_notebook.control.inlets import AnyInput, Inlets
from smr_notebook.control.naming import Files, JobRows
from smr_notebook.errors import ConfigError, PlanError
from smr_notebook.formats import InputFormat
from smr_notebook.job.handle import Job
from smr_notebook.ports import Backend


def refuse_format(told: InputFormat | None, named: AnyInput) -> None:
    """Refuse a format for an input that has one. Raises `PlanError`."""
    if told is None or isinstance(named, Files):
        return
    if isinstance(named, Inlets):
        raise PlanError(f"format={told.format} cannot be that of several inputs. Say it of each: smr.mapped(map, input, format=…).")
    what = "is the result of a job" if isinstance(named, JobRows) else "is in memory already"
    raise PlanError(f"format={told.format} says how objects are read, and the input {what}. Leave it out.")


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
