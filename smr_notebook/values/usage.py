"""What was used of a platform's services, and what that costs: as frozen values, and as a tally that counts on the way.

Rules of this module:

* A usage says what is billed (seconds, requests, units), never how much money: prices change, what happened does not.
* Usages add up. What cannot be seen from where one counts (a service's own retries) is not in them.
* One unit of a row write is 1 KB, one of a row read is 4 KB, each begun unit whole: what DynamoDB bills.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, fields

WRITE_UNIT = 1024
READ_UNIT = 4096
_ROW_OVERHEAD = 100
"""Bytes of a stored row besides its value: key, version, names of attributes."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used of a platform's services.

    Attributes:
        seconds: Time that invocations ran; of one with more memory than the others of its job, as much longer as it costs more.
        invocations: Calls of the function service.
        puts: Requests that write or list objects.
        gets: Requests that read objects.
        row_writes: Units of 1 KB written to the table.
        row_reads: Units of 4 KB read from it.
        carried: Units that a carrier bills: requests to SQS, 25 KiB put to Kinesis.
    """

    seconds: float = 0.0
    invocations: int = 0
    puts: int = 0
    gets: int = 0
    row_writes: int = 0
    row_reads: int = 0
    carried: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.seconds + other.seconds,
            self.invocations + other.invocations,
            self.puts + other.puts,
            self.gets + other.gets,
            self.row_writes + other.row_writes,
            self.row_reads + other.row_reads,
            self.carried + other.carried,
        )

    def __sub__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, field.name) - getattr(other, field.name) for field in fields(self)))


@dataclass(frozen=True, slots=True)
class Rates:
    """What a unit of each service costs, in US dollars.

    Attributes:
        region: Where these prices hold.
        date: When they were read, as `2026-11-25`.
        source: Where they were read.
        gb_second: Of one invocation with 1 GiB of memory, for a second.
        invocation: Of one call of the function service.
        put: Of a request that writes or lists objects.
        get: Of a request that reads an object.
        row_write: Of writing a unit of 1 KB to the table.
        row_read: Of a strongly consistent read of a unit of 4 KB.
        carried: Of a unit that the carrier of the job bills.
        carrier_hour: Of the carrier, for each begun hour of the job.
    """

    region: str
    date: str
    source: str
    gb_second: float
    invocation: float
    put: float
    get: float
    row_write: float
    row_read: float
    carried: float = 0.0
    carrier_hour: float = 0.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What something costs, in US dollars, by service."""

    compute: float = 0.0
    objects: float = 0.0
    table: float = 0.0
    carrier: float = 0.0

    @property
    def total(self) -> float:
        """All of it."""
        return self.compute + self.objects + self.table + self.carrier


class Tally:
    """Counts what a process uses, across its threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._usage = Usage()

    def add(self, usage: Usage) -> None:
        """Count."""
        with self._lock:
            self._usage += usage

    @property
    def usage(self) -> Usage:
        """All that was counted so far."""
        return self._usage


def write_units(value_bytes: int) -> int:
    """Return the units that writing a row with so large a value takes."""
    return -(-(value_bytes + _ROW_OVERHEAD) // WRITE_UNIT)


def read_units(value_bytes: int, rows: int = 1) -> int:
    """Return the units that reading rows in one request takes, given the bytes of all their values; one at least."""
    return max(1, -(-(value_bytes + rows * _ROW_OVERHEAD) // READ_UNIT))
