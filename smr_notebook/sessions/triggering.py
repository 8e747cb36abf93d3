"""What a session starts by itself: triggers, which make a job at times, or for each object that is uploaded."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final
from zoneinfo import ZoneInfo

from smr_notebook.control.firing import last_fired
from smr_notebook.control.keys import keys_of
from smr_notebook.control.naming import Files, Items, Rows
from smr_notebook.control.planning import Request
from smr_notebook.control.plans import read_code, read_request
from smr_notebook.control.triggers import (
    NAME,
    Template,
    Trigger,
    TriggerKind,
    find_trigger,
    list_triggers,
    make_trigger,
    new_token,
    remove_this,
    remove_trigger,
    triggers_of,
)
from smr_notebook.dataflow.uploaded import upload_named
from smr_notebook.errors import ConfigError, ObjectNotFoundError, PlanError
from smr_notebook.job.handle import Job
from smr_notebook.ports import Backend
from smr_notebook.sessions.submission import template_of
from smr_notebook.values.globs import WILD

_RATE: Final = re.compile(r"rate\(\s*([1-9]\d*)\s+(minute|hour|day)s?\s*\)")
_OTHERS: Final = re.compile(r"cron\(\s*\S+(\s+\S+){5}\s*\)|at\(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\)")
_BUCKET: Final = re.compile(r"([a-z][a-z0-9+.-]*)://([^/]+)(/.*)?", re.DOTALL)

_FILE: Final = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,7}$")
"""How the name of a location ends that means one object to whoever wrote it. What is watched without a wildcard is a folder."""


@dataclass(frozen=True, slots=True)
class StandingTrigger:
    """A trigger, as a session shows it.

    Attributes:
        backend: Where it stands.
        trigger: What stands of it.
        last: The job that it made last; empty for none that is known.
    """

    backend: Backend
    trigger: Trigger
    last: str = ""

    @property
    def name(self) -> str:
        """Its name, and that of the jobs that it makes."""
        return self.trigger.name

    @property
    def what(self) -> str:
        """When it fires, or the location that it watches."""
        trigger = self.trigger
        zone = f" {trigger.timezone}" if trigger.kind is TriggerKind.SCHEDULE and trigger.timezone != "UTC" else ""
        return f"{trigger.what}{zone}"

    @property
    def stands(self) -> bool:
        """Whether the platform will call for it: somebody may have changed the bucket, or removed the schedule. Raises `PlatformError`."""
        return triggers_of(self.backend).stands(self.trigger.id, self.trigger.location)

    def remove(self) -> None:
        """Let it fire no more. The jobs that it made stay.

        Raises:
            ConfigError: It is gone already.
            PlatformError: The platform cannot be reached, or refuses.
        """
        if find_trigger(self.backend.table, self.name) != self.trigger:
            raise ConfigError(f"The trigger {self.name!r} was removed, and another one of that name made. Look at triggers() again.")
        remove_this(self.backend, self.trigger)

    def __repr__(self) -> str:
        return f"<Trigger {self.name}: {self.what}>"


class KeepsTriggers:
    """The verbs of a session that have jobs start by themselves.

    Attributes:
        backend: Where they run.
    """

    backend: Backend

    def schedule(
        self, times: str, job: Job | Request, *, name: str = "", timezone: str = "UTC", skip_running: bool = False
    ) -> StandingTrigger:
        """Have a job made at times, whether or not anybody is there.

        Args:
            times: `rate(1 day)`; `cron(0 3 * * ? *)`: minute, hour, day of the month, month, day of the week, year;
                `at(2026-12-31T23:00:00)`.
            job: A job that was submitted to this session's platform: the same functions and options are run over what its locations mean
                then. Or what `request` gives.
            name: Of the trigger, and of its jobs, by which `attach` finds the latest; that of the job if not given.
            timezone: In which `cron` and `at` are meant: `Europe/Berlin`.
            skip_running: Make none while the one before has not ended.

        Raises:
            ConfigError: The times or the name make no sense, a trigger of that name stands, or nothing here lives on to start jobs.
            PlanError: The job cannot be made again: its input was in memory, or it goes on from another job.
            PlatformError: The platform refuses, or cannot be reached.
        """
        triggers_of(self.backend)
        given = read_times(times)
        template = self._template(job)
        request = template.request
        if request.stored is not None:
            raise PlanError(
                "The input of that job was in the notebook's memory: nothing of it is there the next time. Name files, or a bucket."
            )
        if self.backend.expires and (uploads := [one for one in request.patterns if upload_named(one)]):
            raise PlanError(f"{uploads[0]} expires, and the trigger would go on. Name files in a bucket of your own.")
        trigger = self._trigger(TriggerKind.SCHEDULE, given, name=name or request.name)
        trigger = replace(trigger, timezone=_read_zone(timezone), skips=skip_running)
        return StandingTrigger(self.backend, make_trigger(self.backend, trigger, template))

    def on_upload(self, location: str, job: Job | Request, *, name: str = "") -> StandingTrigger:
        """Have a job made for each object that is uploaded, whether or not anybody is there. Its input is that object alone.

        Args:
            location: `s3://bucket/folder/`: all below it; or a glob, `s3://bucket/logs/*.gz`. The workers must be allowed to read it.
            job: As of `schedule`; its own input is not read.
            name: As of `schedule`.

        Raises:
            ConfigError: The location or the name makes no sense, a trigger of that name stands, somebody else is told of the same uploads,
                or nothing here lives on to start jobs.
            PlanError: The job cannot be made again: it goes on from another job.
            PlatformError: The platform refuses, or cannot be reached.
        """
        triggers_of(self.backend)
        given = read_location(location, self.backend)
        if isinstance(job, Request):
            _refuse_stages(one_input=isinstance(job.input, Files | Items | Rows))
            job = replace(job, input=Items(()))
        template = self._template(job)
        template = replace(template, request=replace(template.request, patterns=(), stored=None))
        trigger = self._trigger(TriggerKind.UPLOAD, given, name=name or template.request.name)
        return StandingTrigger(self.backend, make_trigger(self.backend, trigger, template))

    def triggers(self) -> list[StandingTrigger]:
        """Return all triggers, by name."""
        return [StandingTrigger(self.backend, one, last_fired(self.backend.table, one)) for one in list_triggers(self.backend.table)]

    def remove_trigger(self, name: str) -> StandingTrigger:
        """Let a trigger fire no more, and return what it was. The jobs that it made stay.

        Raises:
            ConfigError: There is none of that name.
            PlatformError: The platform cannot be reached, or refuses; it can be removed again.
        """
        return StandingTrigger(self.backend, remove_trigger(self.backend, name))

    def _trigger(self, kind: TriggerKind, what: str, *, name: str) -> Trigger:
        if not NAME.fullmatch(name):
            told = f"{name!r} is no name for a trigger" if name else "A trigger needs a name"
            raise ConfigError(f"{told}: up to 40 letters, digits, `-` and `_`. Say name=…, or `--name`.")
        return Trigger(name, new_token(), kind, what, self.backend.clock.now(), user=self.backend.user)

    def _template(self, job: Job | Request) -> Template:
        if isinstance(job, Request):
            _refuse_stages(one_input=isinstance(job.input, Files | Items | Rows))
            return template_of(job, self.backend)
        keys = keys_of(self.backend.table)
        try:
            code, request = read_code(self.backend.objects, job.id, keys), read_request(self.backend.objects, job.id, keys)
        except ObjectNotFoundError:
            raise PlanError(
                f"Job {job.id} goes on from another job, or was made elsewhere. Name a job that was submitted here as a whole."
            ) from None
        _refuse_stages(one_input=not request.rows_of and not request.inlets)
        return Template(code, replace(request, warnings=()))


def _refuse_stages(*, one_input: bool) -> None:
    """Refuse what a trigger cannot name again: a result that expires, and several inputs at once. Raises `PlanError`."""
    if not one_input:
        raise PlanError("The input of that job is another job, or several inputs. A trigger makes jobs over files, or over a bucket.")


def read_times(times: str) -> str:
    """Return times as they are written. Raises `ConfigError`."""
    told = " ".join(times.split())
    if rate := _RATE.fullmatch(told):
        number, unit = int(rate[1]), rate[2]
        return f"rate({number} {unit}{'s' if number > 1 else ''})"
    if _OTHERS.fullmatch(told):
        return told
    example = "rate(1 day), cron(0 3 * * ? *) or at(2026-12-31T23:00:00)"
    hint = " A cron has six fields: minute, hour, day of the month, month, day of the week, year." if told.startswith("cron") else ""
    raise ConfigError(f"{times!r} says no times. Write {example}.{hint}")


def read_location(location: str, backend: Backend) -> str:
    """Return a location that can be watched. Raises `ConfigError`."""
    found = _BUCKET.fullmatch(location)
    known = sorted(backend.targets)
    if found is None or found[1] not in known:
        raise ConfigError(
            f"{location!r} is no place whose uploads one is told of. Name a bucket, and a folder or a glob: {known[0]}://bucket/logs/*.gz"
        )
    if WILD.search(found[2]):
        raise ConfigError(f"{location!r}: the name of the bucket must be said as it is.")
    path = found[3] or "/"
    if WILD.search(path) and path.endswith("/"):
        raise ConfigError(f"{location!r} watches nothing: a glob names objects. Write {location}** for all below such folders.")
    if not WILD.search(path) and (like := _FILE.search(path)):
        glob = f"{location[: -len(like[0])]}[{like[0][0]}]{like[0][1:]}"
        raise ConfigError(f"{location!r} is called as a file is, and would be a folder. Write {location}/ if it is one; else {glob}.")
    return f"{found[1]}://{found[2]}{path}"


def _read_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        raise ConfigError(f"There is no time zone {name!r}. Write UTC, Europe/Berlin, America/New_York, …") from None
    return name
