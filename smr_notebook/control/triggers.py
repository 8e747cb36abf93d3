"""Triggers: what makes a job again and again, with nobody there: at times, or for each object that appears.

Theory. A trigger is a *template*, what a driver plans from (functions and request), stored once and signed like those of a job; and a row
beside the key of the workspace, which neither expires nor is written by functions. Whatever calls us says a name, and nothing else that
is believed: what runs, over what, stands in the template. So who can forge a call can at most make a job that somebody wanted.

Objects: `triggers/<name>.<token>/code` and `…/request`. Rows: `trigger/<name>` in the group `lasting`; what fired, in a group of the
trigger's own (`control.firing`).

Rules of this module:

* Template first, row next, and then the service is told: whoever is called finds what it needs. Removed the other way round.
* A name that stands is not given to another trigger, and each trigger has a token of its own: a call that comes late, of one that was
  removed, is nobody's.
* Whoever changes what a bucket tells others holds a lease meanwhile: S3 knows no compare-and-set there.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from smr_notebook.control.keys import keys_of
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.plans import StoredRequest, write_code_under, write_request_under
from smr_notebook.control.rows import RowCodec
from smr_notebook.errors import ConfigError, FormatVersionError, PlatformError, ServiceError
from smr_notebook.ports import LASTING, Backend, Row, Table, Triggers
from smr_notebook.values.suggestions import near

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
"""What a trigger may be called."""

_ROWS: Final = "trigger/"
_CHANGE_SECONDS: Final = 60.0
_PATIENCE_SECONDS: Final = 180.0
_LOOK_SECONDS: Final = 0.5


class TriggerKind(StrEnum):
    """What makes a trigger fire."""

    SCHEDULE = "schedule"
    UPLOAD = "upload"


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger that stands.

    Attributes:
        name: Its name, and that of its jobs.
        token: Tells it from others of that name.
        kind: What makes it fire.
        what: The times, as the platform writes them; or the location that is watched, as a URL.
        created: When it was made.
        timezone: In which the times are meant.
        user: Who made it, and whose the jobs are; empty for nobody in particular.
        skips: Whether it does nothing while the job that it made before has not ended.
    """

    name: str
    token: str
    kind: TriggerKind
    what: str
    created: float
    timezone: str = "UTC"
    user: str = ""
    skips: bool = False

    @property
    def id(self) -> str:
        """What the platform calls it by."""
        return f"{self.name}.{self.token}"

    @property
    def root(self) -> str:
        """Prefix of what it stored."""
        return f"triggers/{self.id}/"

    @property
    def group(self) -> str:
        """Group of rows that tell what fired."""
        return f"triggers/{self.id}"

    @property
    def location(self) -> str:
        """The location that is watched, without its scheme; empty for times."""
        return self.what.partition("://")[2] if self.kind is TriggerKind.UPLOAD else ""


@dataclass(frozen=True, slots=True)
class Template:
    """What the jobs of a trigger are planned from."""

    code: bytes
    request: StoredRequest


_CODEC: Final = RowCodec(Trigger)


def new_token() -> str:
    """Return a token that no other trigger has."""
    return secrets.token_hex(4)


def triggers_of(backend: Backend) -> Triggers:
    """Return what calls again and again.

    Raises:
        ConfigError: The platform has nothing that does.
    """
    if backend.triggers is None:
        raise ConfigError(
            f"Nothing on the platform {backend.name!r} lives on to start jobs by itself. Let cron do it, with a line such as "
            '`0 3 * * * smr run job.toml`; or make the trigger on AWS: `--platform aws`, Session("aws").'
        )
    return backend.triggers


def make_trigger(backend: Backend, trigger: Trigger, template: Template) -> Trigger:
    """Let a trigger stand, and return it.

    Raises:
        ConfigError: There is one of that name; or the platform refuses what makes it fire.
        PlatformError: The platform cannot be reached, or refuses. Then the trigger does not stand, or `list_triggers` has it.
    """
    triggers, table = triggers_of(backend), backend.table
    before = table.get(LASTING, f"{_ROWS}{trigger.name}")
    if before is not None and before.value:
        raise ConfigError(
            f"There is a trigger {trigger.name!r} already. Remove it (`smr triggers remove {trigger.name}`), or say another name."
        )
    keys = keys_of(table)
    write_code_under(backend.objects, code_key(trigger), template.code, keys)
    write_request_under(backend.objects, request_key(trigger), template.request, keys)
    row = table.put(LASTING, f"{_ROWS}{trigger.name}", _CODEC.encode(trigger), expect=before.version if before else 0)
    if _decoded(row) != trigger:
        _delete_template(backend, trigger)
        raise ConfigError(f"Somebody else made a trigger {trigger.name!r} at this very moment. `smr triggers` shows it; say another name.")
    try:
        _begin(backend, triggers, trigger)
    except BaseException:
        with suppress(PlatformError):
            remove_this(backend, trigger)  # by then the name may be another one's
        raise
    return trigger


def _begin(backend: Backend, triggers: Triggers, trigger: Trigger) -> None:
    if trigger.kind is TriggerKind.SCHEDULE:
        triggers.at_times(trigger.id, trigger.what, trigger.timezone)
        return
    with _alone_at(backend, trigger.location):
        triggers.on_objects(trigger.id, trigger.location)


def list_triggers(table: Table) -> list[Trigger]:
    """Return all triggers, by name."""
    return [one for row in table.query(LASTING, _ROWS) if (one := _decoded(row)) is not None]


def find_trigger(table: Table, name: str) -> Trigger:
    """Return the trigger of a name.

    Raises:
        ConfigError: There is none.
    """
    found = _decoded(table.get(LASTING, f"{_ROWS}{name}"))
    if found is None:
        known = [one.name for one in list_triggers(table)]
        raise ConfigError(f"There is no trigger {name!r}.{near(name, known)} `smr triggers` lists {', '.join(known) or 'none'}.")
    return found


def trigger_called(table: Table, id: str) -> Trigger | None:
    """Return the trigger that a platform calls for, if it stands."""
    found = _decoded(table.get(LASTING, f"{_ROWS}{id.rpartition('.')[0]}"))
    return found if found is not None and found.id == id else None


def remove_trigger(backend: Backend, name: str) -> Trigger:
    """Let a trigger fire no more, and return what it was. The jobs that it made stay.

    Raises:
        ConfigError: There is none of that name.
        PlatformError: The platform cannot be reached, or refuses; it can be removed again.
    """
    triggers_of(backend)
    trigger = find_trigger(backend.table, name)
    remove_this(backend, trigger)
    return trigger


def remove_this(backend: Backend, trigger: Trigger) -> None:
    """Let this very trigger fire no more, and none that has its name since. Raises `PlatformError`."""
    triggers = triggers_of(backend)
    if trigger.location:
        with _alone_at(backend, trigger.location):
            triggers.remove(trigger.id, trigger.location)
    else:
        triggers.remove(trigger.id)
    row = backend.table.get(LASTING, f"{_ROWS}{trigger.name}")
    if row is not None and _decoded(row) == trigger:
        backend.table.put(LASTING, row.key, b"", expect=row.version)
    _delete_template(backend, trigger)


def code_key(trigger: Trigger) -> str:
    """Return the key of the functions of a trigger's jobs."""
    return f"{trigger.root}code"


def request_key(trigger: Trigger) -> str:
    """Return the key of the request of a trigger's jobs."""
    return f"{trigger.root}request"


def _delete_template(backend: Backend, trigger: Trigger) -> None:
    backend.objects.delete_prefix(trigger.root)


def _decoded(row: Row | None) -> Trigger | None:
    if row is None or not row.value:
        return None
    with suppress(FormatVersionError):
        return _CODEC.decode(row.key, row.value)
    return None


@contextmanager
def _alone_at(backend: Backend, location: str) -> Iterator[None]:
    """See to it that no other notebook of this deployment changes what the same bucket tells. Raises `ServiceError`."""
    bucket, me, clock = location.partition("/")[0], secrets.token_hex(16), backend.clock
    ledger, last = Ledger(backend.table, f"triggers/at/{bucket}"), clock.now() + _PATIENCE_SECONDS
    while ledger.take_lease(me, now=clock.now(), seconds=_CHANGE_SECONDS).owner != me:
        if clock.now() > last:
            raise ServiceError(f"Others change the notifications of {bucket} all the time. Try again in a minute.")
        clock.sleep(_LOOK_SECONDS)
    try:
        yield
    finally:
        ledger.expire_lease(me, clock.now())
