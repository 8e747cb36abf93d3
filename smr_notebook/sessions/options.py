"""The options of one job, as a session's verbs take them, and the request that they make of a program and its input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from smr_notebook.config import EXCHANGES, Settings, read_exchange
from smr_notebook.control.inlets import Inlets
from smr_notebook.control.naming import classify
from smr_notebook.control.planning import Request
from smr_notebook.dataflow.aggregates import Aggregation
from smr_notebook.dataflow.functions import writable
from smr_notebook.dataflow.parsed_programs import ParsedProgram
from smr_notebook.dataflow.programs import Program
from smr_notebook.errors import ConfigError, PlanError
from smr_notebook.formats import AUTO, InputFormat, format_of
from smr_notebook.model import OBJECTS, PLAINLY, Policy
from smr_notebook.sessions.carriers import place_of
from smr_notebook.sessions.rounds import one_output
from smr_notebook.sessions.stage_inputs import refuse_format
from smr_notebook.values.spellings import parse_size, read_dollars, read_tolerance
from smr_notebook.values.suggestions import near

Reduce = Callable[..., Any] | Aggregation


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one job, as the arguments of `Session.map_reduce` of the same names."""

    combine: Reduce | bool | None = None
    format: str | InputFormat = AUTO
    reducers: int | str | None = None
    split_size: int | str | None = None
    name: str = ""
    retries: int | None = None
    max_cost: float | None = None
    on_error: str = "fail"
    max_bad: float | None = None
    exchange: str | None = None


def request_of(program: Program, input: object, options: Options, *, settings: Settings, policy: Policy) -> Request:
    """Return what a user asked for.

    Args:
        program: What the job runs.
        input: What it runs over.
        options: Those of the job.
        settings: Those of the session.
        policy: How hard the platform tries.

    Raises:
        ConfigError: An option has a value that makes no sense.
        InputError: The input is of no kind that is read.
        PlanError: A format is named for what has one.
    """
    reducers = one_output(options.reducers, program)
    check_options(replace(options, reducers=reducers))
    told, named = format_of(options.format), input if isinstance(input, Inlets) else classify(input)
    refuse_format(told, named)
    policy = policy if settings.speculate else replace(policy, speculation=None)
    longest = min(policy.longest, settings.job_timeout or policy.longest)
    policy = replace(policy, longest=longest, concurrency=settings.concurrency)
    exchange = _exchange(options.exchange or settings.exchange) if program.reduces else OBJECTS
    return Request(
        program=ParsedProgram(program, told.parser) if told and told.parser else program,
        input=named,
        format=told.format if told else AUTO,
        reducers=reducers or settings.reducers,
        split_size=settings.split_size if options.split_size is None else parse_size(options.split_size),
        name=_name(options.name),
        budget=settings.worker_memory,
        policy=replace(policy, retries=policy.retries if options.retries is None else options.retries, stall=settings.record_timeout),
        max_cost=settings.max_cost if options.max_cost is None else read_dollars(options.max_cost),
        reading=told.reading if told else PLAINLY,
        tolerance=read_tolerance(options.on_error, options.max_bad),
        include=settings.include,
        exchange=exchange,
        carrier=place_of(exchange, settings),
        merge_above=settings.merge_above,
    )


def check_options(options: Options) -> None:
    """Refuse counts and a name that no job can have. Raises `ConfigError`."""
    _check_count("reducers", options.reducers, at_least=1)
    _check_count("retries", options.retries, at_least=0)
    _name(options.name)


def refuse_columns(options: Options, *, wait: object) -> None:
    """Refuse a column of a result that is named like an option of `aggregate`. Raises `PlanError`."""
    given = {**{field.name: getattr(options, field.name) for field in fields(options)}, "wait": wait}
    for name, value in given.items():
        if isinstance(value, Aggregation):
            raise PlanError(f"{name}= is an option of aggregate. Name the column otherwise, and rename it in the result.")


def _name(value: object) -> str:
    if not isinstance(value, str) or value != writable(value):
        raise ConfigError(f"name must be text; got {value!r}.")
    return str(value)


def _exchange(value: object) -> str:
    try:
        return read_exchange(value)
    except ValueError:
        raise ConfigError(f"exchange must be one of {', '.join(EXCHANGES)}; got {value!r}.{near(value, EXCHANGES)}") from None


def _check_count(name: str, value: object, *, at_least: int) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < at_least):
        raise ConfigError(f"{name} must be a whole number, {at_least} or more; got {value!r}.")
