"""A session: where jobs go, with which settings. Composition root of the notebook's side.

The face is small: `map_reduce` submits, `plan` and `preview` say what would happen, `jobs` lists, `attach` finds again. A session holds no
state of a job, so that another session on the same workspace, in another kernel, can do all the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, overload

from smr_notebook.config import Settings, Told, all_told, settings_of, told_on_machine
from smr_notebook.control.inlets import jobs_read
from smr_notebook.control.ledger import list_jobs
from smr_notebook.control.planning import Request
from smr_notebook.control.prior_results import with_results
from smr_notebook.control.registering import is_of
from smr_notebook.control.rows import JobEntry
from smr_notebook.control.uploads import with_uploads
from smr_notebook.dataflow.aggregates import Aggregation
from smr_notebook.dataflow.frames.programs import program_of_frames
from smr_notebook.dataflow.programs import Program
from smr_notebook.dataflow.table_programs import Named, program_of_aggregations
from smr_notebook.formats import InputFormat
from smr_notebook.job.handle import Job, JobInfo, PlanWarning, warn
from smr_notebook.ports import Backend
from smr_notebook.sessions.carriers import carriers_of
from smr_notebook.sessions.finding import find_entry
from smr_notebook.sessions.looking_ahead import LooksAhead
from smr_notebook.sessions.mapped_inputs import program_over
from smr_notebook.sessions.options import Options, Reduce, refuse_columns
from smr_notebook.sessions.platforms import OPENERS, check_requirements, read_requirements
from smr_notebook.sessions.rounds import combining
from smr_notebook.sessions.submission import submit, tidy_up
from smr_notebook.sessions.triggering import KeepsTriggers
from smr_notebook.sessions.uploading import KeepsUploads
from smr_notebook.values.identifiers import seeded_identifiers
from smr_notebook.values.spellings import read_sorting

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow.compute as pc

_TIDY_SECONDS: Final = 60.0
"""How often one session removes old jobs, at most."""

Map = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a session was opened with.

    Attributes:
        told: Its settings with their sources, as they stood when it was opened, without those of a notebook.
        requirements: Packages that its workers must have.
        opened: The platform as it was opened, or brought along.
        brought: Which of the two.
    """

    told: Mapping[str, Told]
    opened: Backend
    requirements: tuple[str, ...] = ()
    brought: bool = False


class Session(LooksAhead, KeepsUploads, KeepsTriggers):
    """Where jobs go. Without arguments: this machine, unless the settings of the project file and the environment say otherwise.

    Args:
        platform: `local`, the embedded default, `aws`, or `dask`: a cluster that runs already.
        stack: Name of the deployment on AWS; `smr` if nothing says otherwise.
        region: Where it is; else boto3's own choice.
        profile: Whose credentials; else boto3's own choice.
        address: Of the scheduler of the Dask cluster: `tcp://host:8786`.
        requirements: Packages that the workers must have besides those that every worker has: `scikit-learn==1.7.2`, …
        settings: Settings by name, such as `{"workspace": "jobs", "workers": 2}`, which win over the environment and the project
            file; or all of them, resolved.
        backend: A platform opened by other means, for tests and for an object store of one's own. Workers open it anew by its `location`,
            whose platform `smr_notebook.handler` must know.

    Attributes:
        settings: Those in force.
        backend: Where jobs go.
        wishes: What was asked for.

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
        address: str | None = None,
        requirements: Sequence[str] = (),
        settings: Settings | Mapping[str, object] | None = None,
        backend: Backend | None = None,
    ) -> None:
        told = {"platform": platform, "stack": stack, "region": region, "profile": profile, "address": address}
        told = {name: value for name, value in told.items() if value is not None}
        sources = all_told(settings) if isinstance(settings, Settings) else told_on_machine({**(settings or {}), **told})
        self.settings = settings_of(sources)
        self._tidied = -math.inf
        required = read_requirements(requirements)
        opened = backend or OPENERS[self.settings.platform](self.settings, tuple(required))
        self.wishes = Wishes(sources, opened, tuple(requirements), brought=backend is not None)
        draw = seeded_identifiers(self.settings.ci_seed) if self.settings.ci_seed else opened.draw
        carriers = {**carriers_of(lambda: self.settings.redis_url), **opened.carriers}
        own = replace(opened, user=self.settings.user or opened.user, draw=draw, carriers=carriers)
        self.backend = with_results(with_uploads(own))
        if required:
            check_requirements(self.backend, required)

    def close(self) -> None:
        """End the local service of the workspace, with all that runs in it. Jobs that had not ended go on when somebody attaches.

        A deployment on AWS and a Dask cluster stay as they are, with what runs there.
        """
        self.backend.close()

    def __repr__(self) -> str:
        return f"<Session {self.backend.name} {self._place}>"

    @property
    def _place(self) -> str:
        """Where the jobs are, for people."""
        places = {"aws": f"stack {self.settings.stack}", "dask": f"{self.settings.address} stores={self.settings.stores}".strip()}
        return places.get(self.backend.name, str(self.settings.workspace))

    # ------------------------------------------------------------ submitting

    @overload
    def map_reduce(
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
        wait: Literal[False] = False,
    ) -> Job: ...

    @overload
    def map_reduce(
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
        wait: Literal[True],
    ) -> pd.DataFrame: ...

    def map_reduce(
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
        wait: bool = False,
    ) -> Job | pd.DataFrame:
        """Submit a job, and return at once.

        Args:
            map: `map(record)` or `map(source, record)`; yields, or returns an iterable of, (key, value) pairs, or returns `None`. `None`
                where each input has its own.
            reduce: `reduce(key, values)` that returns one value or yields (key, value) rows; or a built-in aggregation: `smr.sum`,
                `smr.top(3)`, …; or one of `sum`, `min`, `max`, `len`, `list`, `set` and their like, called with the values; or `None`:
                the mapped pairs are the result.
            input: A path, folder or glob, an upload (`data-…`), `smr.files(...)`, an iterable, a DataFrame of pandas or polars, an Arrow
                table; or a job, whose rows are the records, each a tuple of key and value: it need not have ended. Several
                inputs: a list of `smr.mapped(map, input)`.
            combine: Run on parts of a group before they travel: a function like `reduce`, or `True` for `reduce` itself.
            format: `text`, `jsonl`, `csv`, `parquet`, `arrow`, `binary`; one with options: `smr.formats.csv(...)`; or `auto`: by the names
                of the objects.
            reducers: Number of partitions; by the size of the input if not given. `tree`: one, of a `reduce` that may be run on parts.
            split_size: Bytes of input for each map task, as a number or as text (`64MB`).
            name: What the job is called, wherever it is shown.
            retries: Further attempts of a task after its first one failed.
            max_cost: US dollars that the job may cost where it costs anything: above that it does not start, and launches nothing more.
            sort: `keys`, or `True`: the partitions are ranges of keys, and the parts, one after another, are in key order; also without
                `reduce`.
                `values`: `reduce` gets the values of a group in ascending order. Both: `keys,values`, or a list of the two.
            on_error: What becomes of a record that cannot be read or mapped, and of a group that cannot be reduced: `fail`: the job fails.
                `skip`: it is left out and counted, and `Job.bad` shows some. `collect`: the same, and `Job.bad` shows all.
            max_bad: How many may be left out: a share such as 0.001, or a whole number; 1 %, but 10 in any case, if not given.
            exchange: What carries the pairs from map to reduce: `objects`, `redis`, `sqs` or `kinesis`; as the settings say if not given.
            wait: Return the DataFrame instead of the job.

        Warns:
            PlanWarning: Objects are empty, or what the functions captured is large.
            LeftOutWarning: With `wait=True`: something was left out.

        Raises:
            InputError: The input is missing, empty, mixed or unreadable.
            PlanError: The job cannot be planned: a function cannot travel, the combiner breaks its law.
            EnvironmentMismatchError: The workers have another Python or other packages.
            JobError: With `wait=True`: the job failed.
        """
        options = Options(combine, format, reducers, split_size, name, retries, max_cost, on_error, max_bad, exchange)
        program = program_over(map, reduce, combining(combine, reducers, reduce=reduce), read_sorting(sort), input=input)
        job = self._submit(self._request(program, input, options=options))
        return job.result() if wait else job

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
        format: str | InputFormat = "auto",
        reducers: int | None = None,
        split_size: int | str | None = None,
        name: str = "",
        retries: int | None = None,
        max_cost: float | None = None,
        on_error: str = "fail",
        max_bad: float | None = None,
        exchange: str | None = None,
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
        format: str | InputFormat = "auto",
        reducers: int | None = None,
        split_size: int | str | None = None,
        name: str = "",
        retries: int | None = None,
        max_cost: float | None = None,
        on_error: str = "fail",
        max_bad: float | None = None,
        exchange: str | None = None,
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
        format: str | InputFormat = "auto",
        reducers: int | None = None,
        split_size: int | str | None = None,
        name: str = "",
        retries: int | None = None,
        max_cost: float | None = None,
        on_error: str = "fail",
        max_bad: float | None = None,
        exchange: str | None = None,
        wait: bool = False,
    ) -> Job | pd.DataFrame:
        """Submit a job over frames, whole blocks of rows, and return at once.

        Args:
            map: `map(frame)` or `map(source, frame)`: gets some hundred thousand rows that follow one another, and returns a frame of any
                columns, or `None` for no rows. `None` for the rows as they are.
            reduce: `reduce(frame)`: gets the rows of whole groups, many groups at once in the order of their keys and never a part of one,
                and returns a frame, or `None`. So `frame.groupby(by)` inside it is right. `None`: the mapped frames are the result.
            input: As for `map_reduce`, of a format with columns: Parquet, JSON lines, a parser that yields dicts, a list of dicts,
                a DataFrame (without its index).
            by: The column or columns whose equal values make a group. The result is sorted by them, if it has them all.
            frame: What the functions take and return: a `pandas` or `polars` DataFrame, or an `arrow` Table.
            columns: Names of the columns that are read; all if not given.
            combine: Run on rows before they travel: a function like `reduce` that returns the columns that it got, or `True` for `reduce`.
            format: `parquet`, `arrow`, `csv`, `jsonl`; one with options, `smr.formats.…`; or `auto`: by the names of the objects.
            reducers: Number of partitions; by the size of the input if not given.
            split_size: Bytes of input for each map task, as a number or as text (`64MB`). A Parquet row group is never cut.
            name: What the job is called, wherever it is shown.
            retries: Further attempts of a task after its first one failed.
            max_cost: US dollars that the job may cost where it costs anything.
            on_error: As for `map_reduce`. A frame that fails is halved until the rows, or the groups, that are at fault are found.
            max_bad: As for `map_reduce`.
            exchange: As for `map_reduce`.
            wait: Return the DataFrame instead of the job.

        Raises:
            InputError, PlanError, EnvironmentMismatchError, JobError: As `map_reduce` does.
        """
        options = Options(None, format, reducers, split_size, name, retries, max_cost, on_error, max_bad, exchange)
        program = program_of_frames(map, reduce, by=by, frame=frame, columns=columns, combine=combine)
        job = self._submit(self._request(program, input, options=options))
        return job.result() if wait else job

    @overload
    def aggregate(
        self,
        input: object,
        *,
        by: Named | Sequence[Named] | Mapping[str, Named],
        where: pc.Expression | None = None,
        format: str | InputFormat = "auto",
        reducers: int | None = None,
        split_size: int | str | None = None,
        name: str = "",
        retries: int | None = None,
        max_cost: float | None = None,
        on_error: str = "fail",
        max_bad: float | None = None,
        exchange: str | None = None,
        wait: Literal[False] = False,
        **aggregations: Aggregation,
    ) -> Job: ...

    @overload
    def aggregate(
        self,
        input: object,
        *,
        by: Named | Sequence[Named] | Mapping[str, Named],
        where: pc.Expression | None = None,
        format: str | InputFormat = "auto",
        reducers: int | None = None,
        split_size: int | str | None = None,
        name: str = "",
        retries: int | None = None,
        max_cost: float | None = None,
        on_error: str = "fail",
        max_bad: float | None = None,
        exchange: str | None = None,
        wait: Literal[True],
        **aggregations: Aggregation,
    ) -> pd.DataFrame: ...

    def aggregate(
        self,
        input: object,
        *,
        by: Named | Sequence[Named] | Mapping[str, Named],
        where: pc.Expression | None = None,
        format: str | InputFormat = "auto",
        reducers: int | None = None,
        split_size: int | str | None = None,
        name: str = "",
        retries: int | None = None,
        max_cost: float | None = None,
        on_error: str = "fail",
        max_bad: float | None = None,
        exchange: str | None = None,
        wait: bool = False,
        **aggregations: Aggregation,
    ) -> Job | pd.DataFrame:
        """Submit a job that aggregates columns by groups of rows, without Python for each row, and return at once.

        `smr.aggregate("logs/*.parquet", by="user", total=smr.sum("amount"), n=smr.count(), best=smr.top("amount", 3))` gives the columns
        `user`, `total`, `n` and `best`, a row for each user, sorted by user.

        Args:
            input: As for `map_reduce`, of a format with columns: Parquet, JSON lines, a parser that yields dicts, a list of dicts,
                a DataFrame (without its index).
            by: The column whose equal values make a group, or several; or a mapping from names of the result's columns to columns or
                expressions: `{"day": smr.col("time").cast("date32")}`.
            where: An expression; rows for which it is not true are left out: `smr.col("amount") > 10`.
            format: `parquet`, `arrow`, `csv`, `jsonl`; one with options, `smr.formats.…`; or `auto`: by the names of the objects.
            reducers: Number of partitions; by the size of the input if not given.
            split_size: Bytes of input for each map task, as a number or as text (`64MB`). A Parquet row group is never cut.
            name: What the job is called, wherever it is shown.
            retries: Further attempts of a task after its first one failed.
            max_cost: US dollars that the job may cost where it costs anything.
            on_error: As for `map_reduce`; what is left out are records that cannot be read, or that have no columns.
            max_bad: As for `map_reduce`.
            exchange: As for `map_reduce`.
            wait: Return the DataFrame instead of the job.
            aggregations: The result's further columns: `smr.sum(…)`, `smr.count()`, …, each of a column or of an expression.

        Raises:
            InputError, PlanError, EnvironmentMismatchError, JobError: As `map_reduce` does.
        """
        options = Options(None, format, reducers, split_size, name, retries, max_cost, on_error, max_bad, exchange)
        refuse_columns(options, wait=wait)
        job = self._submit(self._request(program_of_aggregations(by, where, aggregations), input, options=options))
        return job.result() if wait else job

    def run(self, program: Program, input: object, *, options: Options | None = None) -> Job:
        """Submit a program of one's own, and return at once. It warns and raises as `map_reduce` does.

        Args:
            program: What the job runs.
            input: As of `map_reduce`.
            options: Those of the job; as they are by themselves if not given.
        """
        return self._submit(self._request(program, input, options=options or Options()))

    def _submit(self, request: Request) -> Job:
        self._tidy_up(jobs_read(request.input))
        submitted = submit(request, self.backend)
        for warning in submitted.warnings:
            warn(warning, PlanWarning)
        return self._job(submitted.entry, warned=submitted.warnings if self.backend.plans or submitted.entry.after else None)

    def _tidy_up(self, wanted: Sequence[str]) -> None:
        """Remove old jobs but those that are wanted, now and then: it takes a look at each job of the workspace."""
        now = self.backend.clock.now()
        if now >= self._tidied + _TIDY_SECONDS:
            self._tidied = now
            tidy_up(self.backend, keep_days=self.settings.keep_days, wanted=wanted)

    # ------------------------------------------------------------ finding again

    def jobs(self, *, everyone: bool = False) -> list[JobInfo]:
        """Return one's own jobs, latest first.

        Args:
            everyone: Those of all users of the workspace, or the deployment.
        """
        entries = [entry for entry in list_jobs(self.backend.table) if everyone or is_of(entry, self.backend.user)]
        return [JobInfo(one.job, one.name, one.created, self._job(one).status().state, one.user) for one in reversed(entries)]

    def attach(self, job: str | None = None) -> Job:
        """Return a job that was submitted before, here or elsewhere.

        Args:
            job: Its identifier, an unambiguous beginning of it, or its name; the latest job if not given. Only a whole identifier finds
                the job of somebody else.

        Raises:
            JobNotFoundError: No job, or more than one, is meant.
        """
        return self._job(find_entry(list_jobs(self.backend.table), job, user=self.backend.user, place=self._place))

    def _job(self, entry: JobEntry, *, warned: tuple[str, ...] | None = None) -> Job:
        return Job(self.backend, entry, result_limit=self.settings.result_limit, warned=warned)
