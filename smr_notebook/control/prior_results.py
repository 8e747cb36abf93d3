"""The result of a job as the input of the next one: what it consists of, how it is planned, and the source that reads it.

Rules of this module:

* A result is what the manifest of the job's last phase names, which its row vouches for. Nothing is listed.
* The rows come part after part, and each part as its task wrote it: the order of `job.scan()`. That is the order of keys over all where
  the job has one partition, or sorts its keys.
* A job that has not ended has no result: whoever must have it now is told so. What it left out is told as a warning.
* A file is cut at any number of rows, but not into too many pieces: each piece reads all of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Final

from smr_notebook.control.keys import keys_of
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.manifests import read_manifest
from smr_notebook.control.naming import RESULT, JobRows
from smr_notebook.control.plans import read_plan
from smr_notebook.control.reading import PlannedInput
from smr_notebook.control.stages import why_gone, why_no_result
from smr_notebook.dataflow.formats.result_rows import named_values, rows_of_version, version_of
from smr_notebook.dataflow.splits import PlannedObject, choose_split_bytes
from smr_notebook.errors import (
    InputEmptyError,
    InputMissingError,
    InputReadError,
    ObjectNotFoundError,
    PlanError,
    PriorJobError,
    StoreError,
)
from smr_notebook.model import Format, JobState, ObjectInfo, PartFile, Reading
from smr_notebook.ports import Backend, ObjectStore, Table

_MOST_PIECES: Final = 64
"""Of a file, at most: each reads all of it."""


def with_results(backend: Backend) -> Backend:
    """Return a platform that reads the results of its own jobs, too."""
    return replace(backend, sources={**backend.sources, RESULT: ResultInput(backend.objects, backend.table)})


class ResultInput:
    """The input source of scheme `result`. The files of a result never change.

    Args:
        objects: Where they are.
        table: Where the rows are that vouch for them.
    """

    def __init__(self, objects: ObjectStore, table: Table) -> None:
        self._objects = objects
        self._table = table

    def find(self, pattern: str) -> Iterator[ObjectInfo]:
        """Yield the files of the result of the job with this identifier, part after part.

        Raises:
            PlanError: The job has not ended.
            PriorJobError: It failed, or was cancelled.
            InputMissingError: It is gone.
            CorruptObjectError: Its manifest is not what was written.
        """
        files = tuple(self._files(pattern))
        named = named_values(files)
        for file in files:
            yield ObjectInfo(file.key, file.size, version_of(pattern, file, named=named))

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return bytes `[start, stop)` of one file. Raises `InputMissingError` and `InputReadError`."""
        try:
            return self._objects.get(key, start, stop)
        except ObjectNotFoundError as error:
            raise InputMissingError(
                f"{key}, a part of the result of job {_job_of(key)}, is gone. Run that job again, and this one."
            ) from error
        except StoreError as error:
            raise InputReadError(f"The result of job {_job_of(key)} cannot be read: {error}") from error

    def stat(self, key: str) -> ObjectInfo:
        """Return the size of one file. Raises as `get` does."""
        return ObjectInfo(key, len(self.get(key)), "")

    def _files(self, job: str) -> Iterator[PartFile]:
        ledger = Ledger(self._table, job)
        outcome = ledger.outcome()
        if outcome is None and ledger.job() is None:
            raise InputMissingError(why_gone(job))
        if outcome is None:
            raise PlanError(
                f"Job {job}, whose result is the input, has not ended. Wait for it, or submit this job: it begins when that ends."
            )
        if outcome.state is not JobState.DONE:
            raise PriorJobError(why_no_result(job, outcome), job=job)
        try:
            last = read_plan(self._objects, job, keys_of(self._table)).phases[-1]
            manifest = read_manifest(self._objects, ledger, last, job=job)
        except ObjectNotFoundError as error:
            raise InputMissingError(why_gone(job)) from error
        for commit in manifest.commits:
            yield from commit.part.files if commit.part is not None else ()


def plan_rows(named: JobRows, backend: Backend, *, split_size: int, slots: int, per_slot: int, reading: Reading) -> PlannedInput:
    """List what a job reads of the result of another one. Arguments as of `reading.plan_input`.

    Raises:
        InputEmptyError: It has no rows.
        InputError, PlanError, PriorJobError: As of `ResultInput.find`.
    """
    infos = list(backend.sources[RESULT].find(named.job))
    rows = sum(rows_of_version(info.version) for info in infos)
    if not rows:
        raise InputEmptyError(f"The result of job {named.job} has no rows: there is nothing to map over.")
    total = sum(info.size for info in infos)
    split_bytes = choose_split_bytes(total, slots=slots, requested=split_size or None, per_slot=per_slot)
    objects = tuple(PlannedObject(RESULT, info, cuttable=False, cuts=_cuts(info, split_bytes)) for info in infos)
    return PlannedInput(objects, Format.RESULT, split_bytes, rows, left_out_before(backend.table, named.job), reading)


def left_out_before(table: Table, job: str) -> tuple[str, ...]:
    """Return a sentence about what a job left out whose result is read, if that is anything."""
    with suppress(StoreError):
        told = Ledger(table, job).progress()
        bad = told.map.bad + told.reduce.bad if told is not None else 0
        if bad:
            return (f"Job {job}, whose result is the input, left out {bad:,} records or groups: attach({job!r}).bad shows them.",)
    return ()


def _cuts(info: ObjectInfo, split_bytes: int) -> tuple[int, ...]:
    pieces = min(-(-info.size // split_bytes), _MOST_PIECES)
    return tuple(info.size * number // pieces for number in range(1, pieces))


def _job_of(key: str) -> str:
    return key.split("/")[1] if key.count("/") > 1 else key
