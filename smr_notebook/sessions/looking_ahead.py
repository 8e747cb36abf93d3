"""What a session can say before anything is paid for: the plan of a job, and a preview of what it gives.

Both run in this process and leave nothing behind: neither a job, nor an object, nor a row.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.table import MemoryTable
from smr_notebook.config import Settings
from smr_notebook.control.naming import Items
from smr_notebook.control.planned import PlannedJob
from smr_notebook.control.planning import Request, plan_job
from smr_notebook.dataflow.joined_programs import JoinedProgram
from smr_notebook.dataflow.programs import Program
from smr_notebook.environment import environment
from smr_notebook.errors import ConfigError, PlanError
from smr_notebook.formats import InputFormat
from smr_notebook.labels import cell_label
from smr_notebook.ports import Backend
from smr_notebook.sessions.mapped_inputs import named_inlets, program_over, several
from smr_notebook.sessions.options import Options, Reduce, request_of
from smr_notebook.sessions.previews import Preview, preview_of
from smr_notebook.sessions.rounds import combining
from smr_notebook.sessions.stage_inputs import with_jobs_named
from smr_notebook.values.spellings import read_sorting

Map = Callable[..., Any]


class LooksAhead:
    """The verbs of a session that submit nothing.

    Attributes:
        settings: Those of the session.
        backend: Where jobs go.
    """

    settings: Settings
    backend: Backend

    def plan(
        self,
        map: Map | None,
        reduce: Reduce | None,
        input: object,
        *,
        combine: Reduce | bool | None = None,
        format: str | InputFormat = "auto",
        reducers: int | str | None = None,
        split_size: int | str | None = None,
        name: str = "",
        retries: int | None = None,
        max_cost: float | None = None,
        sort: str | Sequence[str] | bool | None = None,
        on_error: str = "fail",
        max_bad: float | None = None,
        exchange: str | None = None,
    ) -> PlannedJob:
        """Return what `map_reduce` would do with the same arguments; nothing is stored, and nothing runs but what planning tries here.

        That is `map`, over a few records: where `combine` has a law to keep, or the platform a price.

        Raises:
            InputError, PlanError, EnvironmentMismatchError: As `map_reduce` does.
        """
        _refuse_iterator(input, "Planning")
        options = Options(combine, format, reducers, split_size, name, retries, max_cost, on_error, max_bad, exchange)
        program = program_over(map, reduce, combining(combine, reducers, reduce=reduce), read_sorting(sort), input=input)
        return self._plan(self._request(program, input, options=options))

    def preview(
        self,
        map: Map | None,
        reduce: Reduce | None,
        input: object,
        *,
        records: int = 100,
        combine: Reduce | bool | None = None,
        format: str | InputFormat = "auto",
        reducers: int | str | None = None,
        split_size: int | str | None = None,
        name: str = "",
        retries: int | None = None,
        max_cost: float | None = None,
        sort: str | Sequence[str] | bool | None = None,
        on_error: str = "fail",
        max_bad: float | None = None,
        exchange: str | None = None,
    ) -> Preview:
        """Run the functions over the first records of the input, here and now, and return what they give and what all of it would take.

        The records are read as a job reads them, and the result is what a job would give for them: `Preview.result`, a DataFrame. Nothing
        is stored, and no job is made.

        Args:
            map: As of `map_reduce`.
            reduce: As of `map_reduce`.
            input: As of `map_reduce`, except an iterator, which a preview would consume.
            records: How many records, at least 1.
            combine: As of `map_reduce`; so are all the others.
            format: See `map_reduce`.
            reducers: See `map_reduce`.
            split_size: See `map_reduce`.
            name: See `map_reduce`.
            retries: See `map_reduce`.
            max_cost: US dollars that the job may cost: a job that is thought to cost more is a warning here.
            sort: See `map_reduce`.
            on_error: See `map_reduce`.
            max_bad: How many may be left out: if more are, that is a warning here.
            exchange: See `map_reduce`; nothing travels here.

        Raises:
            JobError: A function failed: what a job tells of it, with line and record.
            InputError, PlanError, EnvironmentMismatchError: As `map_reduce` does.
            ConfigError: `records` is no number of records.
        """
        __tracebackhide__ = True
        _refuse_iterator(input, "A preview")
        _refuse_count(records)
        options = Options(combine, format, reducers, split_size, name, retries, max_cost, on_error, max_bad, exchange)
        program = program_over(map, reduce, combining(combine, reducers, reduce=reduce), read_sorting(sort), input=input)
        nowhere = replace(self.backend, objects=MemoryStore(), table=MemoryTable())
        request = self._request(program, input, options=options)
        return preview_of(request, nowhere, records=records, limit_bytes=self.settings.result_limit)

    def request(self, program: Program, input: object, *, options: Options | None = None) -> Request:
        """Return what `run` would submit: what `schedule` and `on_upload` take. Nothing is stored. It raises as `request_of` does.

        Args:
            program: As of `run`.
            input: As of `run`.
            options: As of `run`.
        """
        return self._request(program, input, options=options or Options())

    def _request(self, program: Program, input: object, *, options: Options) -> Request:
        if isinstance(program, JoinedProgram):
            named: object = named_inlets(input, self.backend)
        elif several(input):
            raise PlanError("Inputs with map functions of their own, smr.mapped(…), go with map_reduce(None, reduce, […]).")
        else:
            named = with_jobs_named(input, self.backend)
        return request_of(program, named, options, settings=self.settings, policy=self.backend.policy)

    def _plan(self, request: Request) -> PlannedJob:
        nowhere = replace(self.backend, table=MemoryTable())  # so that nothing is left of it, not even a key
        return plan_job(request, nowhere, job="dry-run", here=environment(), store=MemoryStore(), label_of=cell_label)


def _refuse_iterator(input: object, what: str) -> None:
    values = input.values if isinstance(input, Items) else input
    once = isinstance(values, Iterator)
    if isinstance(values, Iterable) and not isinstance(values, Collection):
        once = once or iter(values) is iter(values)  # a cursor: it gives what it has once
    if once:
        raise PlanError(f"{what} would consume the {type(values).__name__}. Pass a list, or submit the job.")


def _refuse_count(records: object) -> None:
    if isinstance(records, bool) or not isinstance(records, int) or records < 1:
        raise ConfigError(f"records must be a whole number, 1 or more; got {records!r}.")
    if records > sys.maxsize:
        raise ConfigError(f"records={records:,} is more than any input has. Name a number that one can wait for.")
