"""A session: where jobs go, with which settings. Composition root of the notebook's side.

The face is small: `map_reduce` submits, `plan` says what would happen, `jobs` lists, `attach` finds again. A session holds no
state of a job, so that another session on the same workspace, in another kernel, can do all the same.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, overload

from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.config import Settings, from_machine, parse_size, read_dollars, read_sorting
from smr_notebook.control.ledger import list_jobs
from smr_notebook.control.naming import classify
from smr_notebook.control.planning import PlannedJob, Request, plan_job
from smr_notebook.control.rows import JobEntry
from smr_notebook.dataflow.aggregations import as_reduce, makes_generators, natural_combiner
from smr_notebook.dataflow.code import takes_source
from smr_notebook.dataflow.frame_programs import program_of_frames
from smr_notebook.dataflow.functions import Functions
from smr_notebook.dataflow.pair_programs import PairProgram
from smr_notebook.dataflow.programs import Program
from smr_notebook.environment import environment
from smr_notebook.errors import ConfigError, JobNotFoundError, PlanError
from smr_notebook.job import Job, JobInfo, PlanWarning
from smr_notebook.labels import cell_label
from smr_notebook.model import Sorting
from smr_notebook.platforms import OPENERS, check_requirements, read_requirements
from smr_notebook.ports import Backend, ObjectStore
from smr_notebook.submission import submit, tidy_up

if TYPE_CHECKING:
    import pandas as pd

_TIDY_SECONDS: Final = 60.0
"""How often one session removes old jobs, at most."""

Map = Callable[..., Any]
Reduce = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one job, as the arguments of `Session.map_reduce` of the same names."""

    combine: Reduce | bool | None = None
    format: str = "auto"
    reducers: int | None = None
    split_size: int | str | None = None
    name: str = ""
    retries: int | None = None
    max_cost: float | None = None
    sort: str | Sequence[str] | None = None


class Session:
    """Where jobs go. Without arguments: this machine, unless the settings of the project file and the environment say otherwise.

    Args:
        platform: `local`, the embedded default, or `aws`.
        stack: Name of the deployment on AWS; `smr` if nothing says otherwise.
        region: Where it is; else boto3's own choice.
        profile: Whose credentials; else boto3's own choice.
        requirements: Packages that the workers must have besides those that every worker has: `scikit-learn==1.7.2`, …
        settings: Settings by name, such as `{"workspace": "jobs", "workers": 2}`, which win over the environment and the project
            file; or all of them, resolved.
        backend: A platform opened by other means, for tests and for adapters of one's own.

    Raises:
        ConfigError: There is no such platform or setting, or a value is wrong.
    """

    def __init__(
        self,
        platform: str | None = None,
        *,
        stack: str | None = None,
        region: str | None = None,
        profile: str | None = None,
        requirements: Sequence[str] = (),
        settings: Settings | Mapping[str, object] | None = None,
        backend: Backend | None = None,
    ) -> None:
        if isinstance(settings, Settings):
            self.settings = settings
        else:
            told = {"platform": platform, "stack": stack, "region": region, "profile": profile}
            self.settings = from_machine({**(settings or {}), **{name: value for name, value in told.items() if value is not None}})
        self._tidied = -math.inf
        required = read_requirements(requirements)
        self.backend = backend or OPENERS[self.settings.platform](self.settings, tuple(required))
        if required:
            check_requirements(self.backend, required)

    def close(self) -> None:
        """End the local service of the workspace, with all that runs in it. Jobs that had not ended go on when somebody attaches."""
        self.backend.close()

    def __repr__(self) -> str:
        return f"<Session {self.backend.name} {self._place}>"

    @property
    def _place(self) -> str:
        """Where the jobs are, for people."""
        return f"stack {self.settings.stack}" if self.backend.name == "aws" else str(self.settings.workspace)

    # ------------------------------------------------------------ submitting

    @overload
    def map_reduce(
        self,
        map: Map,
        reduce: Reduce | None,
        input: object,
        *,
        combine: Reduce | bool | None = None,
        format: str = "auto",
        reducers: int | None = None,
        split_size: int | str | None = None,
        name: str = "",
        retries: int | None = None,
        max_cost: float | None = None,
        sort: str | Sequence[str] | None = None,
        wait: Literal[False] = False,
    ) -> Job: ...

    @overload
    def map_reduce(
        self,
        map: Map,
        reduce: Reduce | None,
        input: object,
        *,
        combine: Reduce | bool | None = None,
        format: str = "auto",
        reducers: int | None = None,
        split_size: int | str | None = None,
        name: str = "",
        retries: int | None = None,
        max_cost: float | None = None,
        sort: str | Sequence[str] | None = None,
        wait: Literal[True],
    ) -> pd.DataFrame: ...

    def map_reduce(
        self,
        map: Map,
        reduce: Reduce | None,
        input: object,
        *,
        combine: Reduce | bool | None = None,
        format: str = "auto",
        reducers: int | None = None,
        split_size: int | str | None = None,
        name: str = "",
        retries: int | None = None,
        max_cost: float | None = None,
        sort: str | Sequence[str] | None = None,
        wait: bool = False,
    ) -> Job | pd.DataFrame:
        """Submit a job, and return at once.

        Args:
            map: `map(record)` or `map(source, record)`; yields, or returns an iterable of, (key, value) pairs, or returns `None`.
            reduce: `reduce(key, values)` that returns one value or yields (key, value) rows; or one of `sum`, `min`, `max`, `len`,
                `list`, `set` and their like, called with the values; or `None`: the mapped pairs are the result.
            input: A path, folder or glob, `smr.files(...)`, an iterable, a DataFrame of pandas or polars, or an Arrow table.
            combine: Run on parts of a group before they travel: a function like `reduce`, or `True` for `reduce` itself.
            format: `text`, `jsonl`, `parquet`, `binary`, or `auto`: by the names of the objects.
            reducers: Number of partitions; by the size of the input if not given.
            split_size: Bytes of input for each map task, as a number or as text (`64MB`).
            name: Label, shown wherever the job is.
            retries: Further attempts of a task after its first one failed.
            max_cost: US dollars that the job may cost where it costs anything: above that it does not start, and launches nothing more.
            sort: `keys`: the partitions are ranges of keys, and the parts, one after another, are in key order; also without `reduce`.
                `values`: `reduce` gets the values of a group in ascending order. Both: `keys,values`, or a list of the two.
            wait: Return the DataFrame instead of the job.

        Warns:
            PlanWarning: Objects are empty, or what the functions captured is large.

        Raises:
            InputError: The input is missing, empty, mixed or unreadable.
            PlanError: The job cannot be planned: a function cannot travel, the combiner breaks its law.
            EnvironmentMismatchError: The workers have another Python or other packages.
            JobError: With `wait=True`: the job failed.
        """
        options = Options(combine, format, reducers, split_size, name, retries, max_cost, sort)
        job = self._submit(self._request(_program(map, reduce, options), input, options=options))
        return job.result() if wait else job

    def plan(
        self,
        map: Map,
        reduce: Reduce | None,
        input: object,
        *,
        combine: Reduce | bool | None = None,
        format: str = "auto",
        reducers: int | None = None,
        split_size: int | str | None = None,
        name: str = "",
        retries: int | None = None,
        max_cost: float | None = None,
        sort: str | Sequence[str] | None = None,
    ) -> PlannedJob:
        """Return what `map_reduce` would do with the same arguments; nothing is stored, and nothing runs but what planning tries here.

        That is `map`, over a few records: where `combine` has a law to keep, or the platform a price.

        Raises:
            InputError, PlanError, EnvironmentMismatchError: As `map_reduce` does.
        """
        if isinstance(input, Iterator):
            raise PlanError(f"Planning would consume the {type(input).__name__}. Pass a list, or submit the job.")
        options = Options(combine, format, reducers, split_size, name, retries, max_cost, sort)
        request = self._request(_program(map, reduce, options), input, options=options)
        return self._plan(request, job="dry-run", store=MemoryStore())

    @overload
    def map_frames(
        self,
        map: Map | None,
        reduce: Reduce | None,
        input: object,
        *,
        by: str | Sequence[str] | None = None,
        frame: str = "pandas",
        columns: Sequence[str] | None = None,
        combine: Reduce | bool | None = None,
        format: str = "auto",
        reducers: int | None = None,
        split_size: int | str | None = None,
        name: str = "",
        retries: int | None = None,
        max_cost: float | None = None,
        wait: Literal[False] = False,
    ) -> Job: ...

    @overload
    def map_frames(
        self,
        map: Map | None,
        reduce: Reduce | None,
        input: object,
        *,
        by: str | Sequence[str] | None = None,
        frame: str = "pandas",
        columns: Sequence[str] | None = None,
        combine: Reduce | bool | None = None,
        format: str = "auto",
        reducers: int | None = None,
        split_size: int | str | None = None,
        name: str = "",
        retries: int | None = None,
        max_cost: float | None = None,
        wait: Literal[True],
    ) -> pd.DataFrame: ...

    def map_frames(
        self,
        map: Map | None,
        reduce: Reduce | None,
        input: object,
        *,
        by: str | Sequence[str] | None = None,
        frame: str = "pandas",
        columns: Sequence[str] | None = None,
        combine: Reduce | bool | None = None,
        format: str = "auto",
        reducers: int | None = None,
        split_size: int | str | None = None,
        name: str = "",
        retries: int | None = None,
        max_cost: float | None = None,
        wait: bool = False,
    ) -> Job | pd.DataFrame:
        """Submit a job over frames, whole blocks of rows, and return at once.

        Args:
            map: `map(frame)` or `map(source, frame)`: gets some hundred thousand rows that follow one another, and returns a frame of any
                columns, or `None` for no rows. `None` for the rows as they are.
            reduce: `reduce(frame)`: gets the rows of whole groups, many groups at once in the order of their keys and never a part of one,
                and returns a frame, or `None`. So `frame.groupby(by)` inside it is right. `None`: the mapped frames are the result.
            input: As for `map_reduce`, of a format with columns: Parquet, JSON lines, dicts, a DataFrame (without its index).
            by: The column or columns whose equal values make a group. The result is sorted by them, if it has them all.
            frame: What the functions take and return: a `pandas` or `polars` DataFrame, or an `arrow` Table.
            columns: Names of the columns that are read; all if not given.
            combine: Run on rows before they travel: a function like `reduce` that returns the columns that it got, or `True` for `reduce`.
            format: `parquet`, `jsonl`, or `auto`: by the names of the objects.
            reducers: Number of partitions; by the size of the input if not given.
            split_size: Bytes of input for each map task, as a number or as text (`64MB`). A Parquet row group is never cut.
            name: Label, shown wherever the job is.
            retries: Further attempts of a task after its first one failed.
            max_cost: US dollars that the job may cost where it costs anything.
            wait: Return the DataFrame instead of the job.

        Raises:
            InputError, PlanError, EnvironmentMismatchError, JobError: As `map_reduce` does.
        """
        options = Options(None, format, reducers, split_size, name, retries, max_cost)
        program = program_of_frames(map, reduce, by=by, frame=frame, columns=columns, combine=combine)
        job = self._submit(self._request(program, input, options=options))
        return job.result() if wait else job

    def _request(self, program: Program, input: object, *, options: Options) -> Request:
        _check_count("reducers", options.reducers, at_least=1)
        _check_count("retries", options.retries, at_least=0)
        settings, policy = self.settings, self.backend.policy
        return Request(
            program=program,
            input=classify(input),
            format=options.format,
            reducers=options.reducers or settings.reducers,
            split_size=settings.split_size if options.split_size is None else parse_size(options.split_size),
            name=options.name,
            budget=settings.worker_memory,
            policy=policy if options.retries is None else replace(policy, retries=options.retries),
            max_cost=settings.max_cost if options.max_cost is None else _dollars(options.max_cost),
        )

    def _plan(self, request: Request, *, job: str, store: ObjectStore) -> PlannedJob:
        return plan_job(request, self.backend, job=job, here=environment(), store=store, label_of=cell_label)

    def _submit(self, request: Request) -> Job:
        self._tidy_up()
        submitted = submit(request, self.backend)
        for warning in submitted.warnings:
            warnings.warn(warning, PlanWarning, stacklevel=3)
        return self._job(submitted.entry, warned=submitted.warnings if self.backend.plans else None)

    def _tidy_up(self) -> None:
        """Remove old jobs, now and then: it takes a look at each job of the workspace."""
        now = self.backend.clock.now()
        if now >= self._tidied + _TIDY_SECONDS:
            self._tidied = now
            tidy_up(self.backend, keep_days=self.settings.keep_days)

    # ------------------------------------------------------------ finding again

    def jobs(self) -> list[JobInfo]:
        """Return the jobs of the workspace, latest first."""
        entries = reversed(list_jobs(self.backend.table))
        return [JobInfo(entry.job, entry.name, entry.created, self._job(entry).status().state) for entry in entries]

    def attach(self, job: str | None = None) -> Job:
        """Return a job that was submitted before, here or elsewhere.

        Args:
            job: Its identifier, an unambiguous beginning of it, or its name; the latest job if not given.

        Raises:
            JobNotFoundError: No job, or more than one, is meant.
        """
        entries = list_jobs(self.backend.table)
        if not entries:
            raise JobNotFoundError(f"There are no jobs in {self._place}.")
        if job is None:
            return self._job(entries[-1])
        found = [entry for entry in entries if entry.job.startswith(job)] or [entry for entry in entries if entry.name == job][-1:]
        if len(found) == 1:
            return self._job(found[0])
        if not found:
            latest = ", ".join(entry.job for entry in entries[:-4:-1])
            raise JobNotFoundError(f"There is no job {job!r} in {self._place}. The latest are {latest}; smr.jobs() lists all.")
        some = ", ".join(entry.job for entry in found[:5])
        raise JobNotFoundError(f"{job!r} is the beginning of {len(found)} jobs: {some}. Say more of it.")

    def _job(self, entry: JobEntry, *, warned: tuple[str, ...] | None = None) -> Job:
        return Job(self.backend, entry, result_limit=self.settings.result_limit, warned=warned)


def _program(map: Map, reduce: Reduce | None, options: Options) -> PairProgram:
    """Return what the job runs. Raises `PlanError` and `ConfigError`."""
    sorting = read_sorting(options.sort)
    if reduce is None and sorting == Sorting(values=True):
        raise PlanError("sort='values' needs a reduce, which gets the values in order; without one, sort='keys,values' sorts the pairs.")
    return PairProgram(functions_of(map, reduce, options.combine), sorting)


def functions_of(map: object, reduce: object, combine: object) -> Functions:
    """Return the user's functions as the data plane calls them.

    Raises:
        PlanError: One of them cannot be called, or `combine` has nothing to combine for.
    """
    if not callable(map):
        raise PlanError(f"map must be a function; got {map!r}.")
    if not callable(reduce) and reduce is not None:
        raise PlanError(f"reduce must be a function, or None for the mapped pairs themselves; got {reduce!r}.")
    if not callable(combine) and combine is not None and not isinstance(combine, bool):
        raise PlanError(f"combine must be a function, or True for reduce itself; got {combine!r}.")
    if reduce is None and combine:
        raise PlanError("combine needs a reduce: without one, the mapped pairs are the result and nothing is combined.")
    reducer = as_reduce(reduce) if callable(reduce) else None
    if combine is True:
        combiner = reducer
    elif callable(combine):
        combiner = as_reduce(combine)
    else:
        combiner = natural_combiner(reduce) if combine is None and callable(reduce) else None
    return Functions(
        map=map,
        map_takes_source=takes_source(map),
        reduce=reducer,
        reduce_yields=makes_generators(reducer),
        combine=combiner,
        combine_yields=makes_generators(combiner),
    )


def _dollars(value: object) -> float:
    try:
        return read_dollars(value)
    except ValueError as error:
        raise ConfigError(f"max_cost must be an amount of dollars, 0 for any; got {value!r}.") from error


def _check_count(name: str, value: object, *, at_least: int) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < at_least):
        raise ConfigError(f"{name} must be a whole number, {at_least} or more; got {value!r}.")
