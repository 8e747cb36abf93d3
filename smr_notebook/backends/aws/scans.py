"""The user's tables in DynamoDB as input: `dynamodb://table`, scanned in segments side by side.

`dynamodb://orders?consistent=true&read_units=100&segments=64`: each option may be left out.

* `consistent`: each item as it is when it is read, at twice the price; else it may lack the writes of the last second or so.
* `read_units`: read capacity that all segments take at most in a second, shared out evenly among them; without it they take what there is.
* `segments`: how many there are; without it about one for each 16 MiB of the table, as DynamoDB last told its size.

Rules of this module:

* Segments part the table by a hash of its keys, which belongs to the number of segments alone: an item that stays is in one of them, and is
  read once, whatever else is written meanwhile. A scan is no snapshot: an item that changes is read before or after its change, one that is
  written or deleted meanwhile may be read or not, and who reads again may read other items.
* A segment is called `table/00003-00064`, with the options behind it: the name says all that a worker needs.
* A table tells its size every six hours or so. One that tells none is taken for `_UNTOLD` bytes.
* What DynamoDB refuses for its rate is asked again, with pauses that grow, for some minutes. After that the attempt fails, as any may.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import parse_qsl

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.faults import BOTO_ERRORS, MEANINGS, Mends, code_of, told
from smr_notebook.backends.aws.items import Item, decoded, packed, unpacked
from smr_notebook.errors import (
    AccessDeniedError,
    ConfigError,
    CredentialsError,
    InputMissingError,
    InputReadError,
    SmrError,
    ThrottledError,
)
from smr_notebook.model import ObjectInfo
from smr_notebook.ports import Clock, ScannedPage
from smr_notebook.values.suggestions import near

_SEGMENT_BYTES: Final = 16 << 20
_UNTOLD: Final = 8 * _SEGMENT_BYTES
_MOST_SEGMENTS: Final = 1_000_000
_LEAST_UNITS: Final = 8.0
"""Read units a second of a segment, at least, where they are limited: else there are fewer segments."""

_FIRST_ITEMS: Final = 25
"""Items of the first page where units are limited: nobody knows yet how large an item is."""

_UNIT_BYTES: Final = 4096
_TRIES: Final = 14
_LONGEST_PAUSE: Final = 20.0
_LIKELY: Final = 1_000
"""Tables that are looked through for one that was meant."""


@dataclass(frozen=True, slots=True)
class _Scan:
    """What is said of a scan, and which part of it.

    Attributes:
        table: Name of the table.
        consistent: Whether reads are.
        read_units: Of all segments, in a second; 0 for no limit.
        segments: How many; 0 for by the size.
        segment: Which one, from 0.
    """

    table: str
    consistent: bool = False
    read_units: float = 0.0
    segments: int = 0
    segment: int = 0

    @property
    def key(self) -> str:
        """The name of the segment."""
        options = [*(["consistent=true"] if self.consistent else []), *([f"read_units={self.read_units:.17g}"] if self.read_units else [])]
        return f"{self.table}/{self.segment:05d}-{self.segments:05d}{'?' if options else ''}{'&'.join(options)}"


class DynamoSource:
    """An `ItemSource` for the scheme `dynamodb`.

    Args:
        clients: Who reads.
        clock: Waits, where DynamoDB or the user wants fewer reads.
        mend: What helps where they may not; `{table}` stands for the table's name.
        after: What a scan goes on behind; empty for its beginning.
    """

    def __init__(self, clients: Clients, *, clock: Clock, mend: str = "", after: str = "") -> None:
        self._clients = clients
        self._clock = clock
        self._mend = mend
        self._after = after
        self._names: dict[str, tuple[str, ...]] = {}

    def find(self, pattern: str) -> Iterator[ObjectInfo]:
        """See `ports.InputSource.find`: the segments of a table."""
        scan = _read_pattern(pattern)
        size = int(self._described(scan.table).get("TableSizeBytes", 0)) or _UNTOLD
        count = scan.segments or min(_MOST_SEGMENTS, -(-size // _SEGMENT_BYTES))
        if scan.read_units and not scan.segments:
            count = max(1, min(count, int(scan.read_units / _LEAST_UNITS)))
        for number in range(count):
            identity = f"{scan.table}/{number}"  # which two scans of one table have in common, whatever their options
            yield ObjectInfo(replace(scan, segments=count, segment=number).key, max(1, size // count), "", identity)

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:  # noqa: ARG002 - the face of InputSource
        """Raise `InputReadError`: a table has no bytes."""
        raise InputReadError(f"{key} is a segment of a table, which has items and no bytes. Leave the format out.")

    def stat(self, key: str) -> ObjectInfo:
        """See `ports.InputSource.stat`. A segment has neither a size of its own nor a version."""
        self._described(_read_key(key).table)
        return ObjectInfo(key, 0, "")

    def behind(self, token: str) -> DynamoSource:
        """See `ports.ItemSource.behind`."""
        behind = DynamoSource(self._clients, clock=self._clock, mend=self._mend, after=token)
        behind._names = self._names
        return behind

    def scan(self, key: str) -> Iterator[ScannedPage]:
        """See `ports.ItemSource.scan`."""
        scan = _read_key(key)
        names = self._keys_of(scan.table)
        request: dict[str, Any] = {
            "TableName": scan.table,
            "TotalSegments": scan.segments,
            "Segment": scan.segment,
            "ConsistentRead": scan.consistent,
            "ReturnConsumedCapacity": "TOTAL",
        }
        pace = _Pace(scan.read_units / scan.segments, self._clock)
        after = self._after
        while True:
            start = {"ExclusiveStartKey": unpacked(after)} if after else {}
            answer = self._asked("scan", scan.table, {**request, **start, **pace.limit})
            items: Sequence[Item] = answer["Items"]
            units = float(answer.get("ConsumedCapacity", {}).get("CapacityUnits", 0.0))
            size = int(units * _UNIT_BYTES * (1 if scan.consistent else 2))
            yield ScannedPage([decoded(item) for item in items], size, units, _Behind(after, items, names))
            if "LastEvaluatedKey" not in answer:
                return
            after = packed(answer["LastEvaluatedKey"])
            pace.rest(units, len(items))

    def _keys_of(self, table: str) -> tuple[str, ...]:
        """Return the names of the attributes that are the key: looked up once a process, which scans segment after segment."""
        if table not in self._names:
            self._names[table] = tuple(part["AttributeName"] for part in self._described(table)["KeySchema"])
        return self._names[table]

    def _described(self, table: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._asked("describe_table", table, {"TableName": table})["Table"]
        return found

    def _asked(self, operation: str, table: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return an answer, asked for as often as DynamoDB wants fewer calls."""
        for number in range(_TRIES):
            try:
                answer: Mapping[str, Any] = getattr(self._clients["dynamodb"], operation)(**request)
            except BOTO_ERRORS as error:
                if not throttled(error) or number == _TRIES - 1:
                    raise self._told(error, f"reading the table {table!r}", table) from None
                pause(self._clock, number)
            else:
                return answer
        raise AssertionError

    def _told(self, error: Exception, doing: str, table: str) -> SmrError:
        if code_of(error) == "ResourceNotFoundException":
            where = f"There is no table {table!r} in {self._clients.region}."
            return InputMissingError(f"{where}{meant_table(self._clients, table)} Check its name and the region.")
        mends: Mends = {AccessDeniedError: self._mend.format(table=table)} if self._mend else {}
        failed = told(error, doing, mends=mends)
        return failed if isinstance(failed, AccessDeniedError | CredentialsError | ConfigError) else InputReadError(str(failed))


@dataclass(frozen=True, slots=True)
class _Behind:
    """Tells what a scan goes on behind that has given so many items of a page."""

    after: str
    items: Sequence[Item]
    names: tuple[str, ...]

    def __call__(self, count: int) -> str:
        return packed({name: self.items[count - 1][name] for name in self.names}) if count else self.after


class _Pace:
    """Keeps a scan to so many read units in a second; 0 for no limit."""

    def __init__(self, rate: float, clock: Clock) -> None:
        self._rate = rate
        self._clock = clock
        self._next = clock.now()
        self.limit: dict[str, int] = {"Limit": _FIRST_ITEMS} if rate else {}

    def rest(self, units: float, items: int) -> None:
        """Wait until so many units may have been read, and read as many at once as a second allows."""
        if not self._rate:
            return
        if units and items:
            self.limit = {"Limit": max(1, min(int(items * self._rate / units), 100_000))}
        self._next = max(self._next, self._clock.now()) + units / self._rate
        wait_until(self._clock, self._next)


def meant_table(clients: Clients, table: str) -> str:
    """Return which table may have been meant by a name that none has, as a sentence, as far as whoever asks may look."""
    names: list[str] = []
    try:
        for page in clients["dynamodb"].get_paginator("list_tables").paginate():
            names += page["TableNames"]
            if len(names) >= _LIKELY:
                break
    except BOTO_ERRORS:
        return ""
    return near(table, names)


def wait_until(clock: Clock, time: float) -> None:
    """Wait, though news may wake whoever sleeps."""
    while (left := time - clock.now()) > 0:
        clock.sleep(left, least=left)


def throttled(error: Exception) -> bool:
    """Whether DynamoDB wants fewer calls."""
    cause = MEANINGS.get(code_of(error))
    return cause is not None and cause.error is ThrottledError


def pause(clock: Clock, number: int) -> None:
    """Wait before a call is made again for the so-manieth time."""
    seconds = min(_LONGEST_PAUSE, 0.2 * 2**number) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
    wait_until(clock, clock.now() + seconds)


def _read_pattern(pattern: str) -> _Scan:
    """Return what a URL says. Raises `ConfigError`."""
    table, _, options = pattern.partition("?")
    table = table.rstrip("/")
    if not table or "/" in table:
        raise ConfigError(f"{f'dynamodb://{pattern}'!r} names no table. Write dynamodb://table, with no folder behind it.")
    scan = _Scan(table)
    for name, text in parse_qsl(options, keep_blank_values=True):
        if name not in _OPTIONS:
            raise ConfigError(f"dynamodb://{table} has no option {name!r}.{near(name, _OPTIONS)} Use {', '.join(_OPTIONS)}.")
        try:
            scan = _OPTIONS[name](scan, text)
        except ValueError as error:
            raise ConfigError(f"dynamodb://{table}: {name}={text!r} cannot be that: {error}.") from None
    return scan


def _consistent(scan: _Scan, text: str) -> _Scan:
    if text not in {"true", "false"}:
        raise ValueError("it is true or false")
    return replace(scan, consistent=text == "true")


def _read_units(scan: _Scan, text: str) -> _Scan:
    units = float(text)
    if not 1 <= units < 1e9:
        raise ValueError("it counts read units a second, 1 or more")
    return replace(scan, read_units=units)


def _segments(scan: _Scan, text: str) -> _Scan:
    count = int(text)
    if not 1 <= count <= _MOST_SEGMENTS:
        raise ValueError(f"there are 1 to {_MOST_SEGMENTS:,}")
    return replace(scan, segments=count)


_OPTIONS: Final = {"consistent": _consistent, "read_units": _read_units, "segments": _segments}


def _read_key(key: str) -> _Scan:
    name, _, options = key.partition("?")
    table, _, part = name.rpartition("/")
    segment, _, segments = part.partition("-")
    scan = _read_pattern(f"{table}?{options}" if options else table)
    return replace(scan, segments=int(segments), segment=int(segment))
