"""What it costs that pairs travel by a carrier, before a job runs and while it does: prices, and how to count. Pure.

Theory. SQS bills requests, each begun 64 KiB of a message as one: a piece is sent, received, and given back. Kinesis bills each begun
25 KiB that is put, and each shard for each begun hour, whether anything is put or not; reading is free. Redis is the user's own. Not in it
are messages that are received twice and receives that find nothing: they depend on how many readers wait for one another.

Rules of this module:

* A unit is what is billed: of SQS a request, of Kinesis 25 KiB put. So one number in a usage is enough, and the plan says what it costs.
* Prices are those of `us-east-1`, of the same date as all others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from smr_notebook.control.merges import Shuffle
from smr_notebook.ports import PIECE_BYTES
from smr_notebook.values.usage import Rates

MOST_SHARDS: Final = 16
"""Shards of a stream, at most: as of `backends.aws.streams`."""

_REQUEST: Final = 64 << 10
_UNIT: Final = 25 << 10
_HOUR: Final = 3600.0


def _none(_: int) -> int:
    return 0


@dataclass(frozen=True, slots=True)
class Tariff:
    """How a carrier bills.

    Attributes:
        unit: Dollars of a unit.
        shard_hour: Dollars of a shard in each begun hour; 0 where there are none.
        sent: Units that sending a piece of so many bytes takes.
        fetched: Units that fetching it takes.
        partition: Units that a partition takes which is made ready, or removed.
    """

    unit: float
    shard_hour: float = 0.0
    sent: Callable[[int], int] = _none
    fetched: Callable[[int], int] = _none
    partition: int = 0


def _requests(size: int) -> int:
    return max(1, -(-size // _REQUEST))


TARIFFS: Final[Mapping[str, Tariff]] = MappingProxyType(
    {
        "sqs": Tariff(0.40e-6, sent=_requests, fetched=lambda size: _requests(size) + 1, partition=1),
        "kinesis": Tariff(0.014e-6, shard_hour=0.015, sent=lambda size: max(1, -(-size // _UNIT))),
    }
)
"""Of the carriers that AWS bills."""


def carrier_rates(rates: Rates | None, exchange: str, *, partitions: int) -> Rates | None:
    """Return the prices of a platform with those of what carries the pairs of a job; `None` where nothing costs."""
    tariff = TARIFFS.get(exchange)
    if rates is None or tariff is None:
        return rates
    return replace(rates, carried=tariff.unit, carrier_hour=tariff.shard_hour * min(partitions, MOST_SHARDS))


def carriage(exchange: str, shuffle: Shuffle, *, seconds: float) -> float | None:
    """Return dollars that it is thought to take that pairs travel by a carrier, or `None` where that is nothing that we know of.

    Args:
        exchange: Which one.
        shuffle: What travels.
        seconds: How long the job is thought to take.
    """
    tariff = TARIFFS.get(exchange)
    if tariff is None:
        return None
    hours = max(1, math.ceil(seconds / _HOUR))
    return units(shuffle, tariff) * tariff.unit + hours * tariff.shard_hour * min(shuffle.reducers, MOST_SHARDS)


def units(shuffle: Shuffle, tariff: Tariff) -> int:
    """Return how many units what travels is thought to take: a slice for each pair of a map task and a partition."""
    slices = max(shuffle.reads, 1)
    each = max(1, -(-shuffle.bytes // slices))
    whole, rest = divmod(each, PIECE_BYTES)
    of_slice = whole * (tariff.sent(PIECE_BYTES) + tariff.fetched(PIECE_BYTES))
    of_slice += tariff.sent(rest) + tariff.fetched(rest) if rest else 0
    return slices * of_slice + 2 * shuffle.reducers * tariff.partition
