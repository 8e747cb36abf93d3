"""What a job costs: prices, what was spent, and what a job is thought to cost before it runs. Pure.

Theory. Services bill the time of invocations by their memory, and requests. Both are counted where they happen (`usage.Tally`), told
with each heartbeat and each commit, and added up from the rows: so a cost follows from what stands, like all progress does. Not in it
are storage, logs, data that leaves the region, free tiers and what the SDK repeats by itself: for most jobs some hundredths.

An estimate rests on a sample of the input, mapped where the job is planned. It is a range, and its middle is what `max_cost` is held
against; while the job runs, what was spent and what is in flight is.

Prices are those of `PRICES`, with their date and source. A region that is not listed is priced as `us-east-1`, which `Rates.region` says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from smr_notebook.control.snapshots import used
from smr_notebook.model import Estimate, Phase, Plan
from smr_notebook.standing import Snapshot
from smr_notebook.values.usage import Cost, Rates, Usage

_GIB: Final = 2**30
_X86: Final = 0.0000166667
_ARM: Final = 0.0000133334
_SOURCE: Final = "price pages of AWS Lambda, Amazon S3 and Amazon DynamoDB (on demand)"
_DATE: Final = "2026-11-21"


def _rates(gb_second: float) -> Rates:
    return Rates(
        region="us-east-1",
        date=_DATE,
        source=_SOURCE,
        gb_second=gb_second,
        invocation=0.20e-6,
        put=5.0e-6,
        get=0.4e-6,
        row_write=0.625e-6,
        row_read=0.125e-6,
    )


PRICES: Final[Mapping[str, Rates]] = MappingProxyType({"aws/us-east-1/x86_64": _rates(_X86), "aws/us-east-1/arm64": _rates(_ARM)})
"""Price lists by tariff: platform, region, architecture."""

OVERHEAD_SECONDS: Final = 1.5
"""Seconds of an attempt besides the user's code: start, claim, plan and code, commit."""

_SHUFFLE_SECONDS_PER_PAIR: Final = 2e-6
"""Seconds that reading, merging and handing out a pair takes on the reduce side."""

_MERGE_SECONDS: Final = 5.0
"""Seconds of an attempt that merges, where none has ended yet."""

_SPREAD: Final = (0.5, 2.0)
"""How far off an estimate may be: what is likely, times these."""

UNSAMPLED_SECONDS_PER_BYTE: Final = 5e-8
"""20 MB a second: where nothing was tried."""


def rates_of(tariff: str) -> Rates | None:
    """Return the prices of a platform by its tariff (`aws/eu-west-1/arm64`), or `None` where nothing costs."""
    if not tariff:
        return None
    platform, _, architecture = tariff.split("/")
    return PRICES.get(tariff) or PRICES[f"{platform}/us-east-1/{architecture}"]


def priced(usage: Usage, rates: Rates, *, memory_bytes: int) -> Cost:
    """Return what was used as money.

    Args:
        usage: What was used.
        rates: The prices.
        memory_bytes: Memory of one invocation.
    """
    return Cost(
        compute=usage.seconds * rates.gb_second * memory_bytes / _GIB + usage.invocations * rates.invocation,
        objects=usage.puts * rates.put + usage.gets * rates.get,
        table=usage.row_writes * rates.row_write + usage.row_reads * rates.row_read,
        carrier=usage.carried * rates.carried,
    )


def used_by(snapshot: Snapshot, sizes: Sequence[int] = ()) -> Usage:
    """Return what a job used so far: its attempts, its planning, its coordinators; `sizes` are the plan's `memory_sizes`."""
    total = used(snapshot.attempts.values(), snapshot.commits, sizes)
    for settled in snapshot.settled.values():
        total += settled.usage
    lease = snapshot.lease
    return total + lease.before + lease.usage + Usage(invocations=lease.epoch) if lease else total


def spent(plan: Plan, snapshot: Snapshot) -> Cost:
    """Return what a job has cost so far; nothing where nothing costs."""
    if not plan.rates:
        return Cost()
    cost = priced(used_by(snapshot, plan.memory_sizes), plan.rates, memory_bytes=plan.memory_bytes)
    hours = _hours(plan, snapshot) if plan.rates.carrier_hour else 0
    return replace(cost, carrier=cost.carrier + hours * plan.rates.carrier_hour)


def _hours(plan: Plan, snapshot: Snapshot) -> int:
    """Return how many hours of a job have begun since somebody coordinates it, as far as rows tell."""
    if snapshot.lease is None:
        return 0
    seen = snapshot.outcome.at if snapshot.outcome else snapshot.lease.expires - plan.policy.coordinator_lease
    return max(1, math.ceil((seen - plan.created) / 3600.0))


@dataclass(frozen=True, slots=True)
class Sample:
    """Some records that were mapped where the job was planned.

    Attributes:
        records: How many.
        bytes: Their input bytes.
        pairs: How many pairs of them travel.
        seconds: How long mapping them took.
        reduce_seconds: How long `reduce` takes for each pair, where that was tried.
        failed: Type of what mapping them ended with, where it was an exception; empty if none was raised.
    """

    records: int = 0
    bytes: int = 0
    pairs: float = 0
    seconds: float = 0.0
    reduce_seconds: float = 0.0
    failed: str = ""


@dataclass(frozen=True, slots=True)
class Shape:
    """How a job is cut.

    Attributes:
        maps: Map tasks.
        reducers: Reduce tasks.
        input_bytes: Bytes of the whole input.
        concurrency: How many run at once.
        heartbeat: Seconds between two heartbeats.
        overhead: Seconds of an attempt besides the user's code: start, claim, plan and code, commit.
        merges: Merge tasks.
        moved: What merge tasks use, with the reads of the reduce tasks behind them.
        carried: Dollars that the carrier takes.
    """

    maps: int
    reducers: int
    input_bytes: int
    concurrency: int
    heartbeat: float
    overhead: float = OVERHEAD_SECONDS
    merges: int = 0
    moved: Usage = field(default_factory=Usage)
    carried: float = 0.0


def task_seconds(shape: Shape, sample: Sample) -> tuple[float, float]:
    """Return how long one map task, and one reduce task, is thought to take.

    Args:
        shape: How the job is cut.
        sample: What mapping some of its records took; an empty one gives a guess.
    """
    per_byte = sample.seconds / sample.bytes if sample.bytes and sample.seconds else UNSAMPLED_SECONDS_PER_BYTE
    pairs = shape.input_bytes * (sample.pairs / sample.bytes if sample.bytes else 0.1)
    per_pair = _SHUFFLE_SECONDS_PER_PAIR + sample.reduce_seconds
    map_seconds = shape.overhead + per_byte * shape.input_bytes / shape.maps
    return map_seconds, shape.overhead + per_pair * pairs / shape.reducers if shape.reducers else 0.0


def elapsed(shape: Shape, map_seconds: float, reduce_seconds: float) -> float:
    """Return how long a job takes whose tasks take so many seconds each: wave after wave, as many at once as run at once."""
    return -(-shape.maps // shape.concurrency) * map_seconds + -(-shape.reducers // shape.concurrency) * reduce_seconds


def estimate(shape: Shape, sample: Sample, rates: Rates, *, memory_bytes: int) -> Estimate:
    """Return what a job is thought to take.

    Args:
        shape: How it is cut.
        sample: What mapping some of its records took; an empty one gives a guess.
        rates: The prices.
        memory_bytes: Memory of one invocation.
    """
    map_seconds, reduce_seconds = task_seconds(shape, sample)
    waves = elapsed(shape, map_seconds, reduce_seconds)
    waves += -(-shape.merges // shape.concurrency) * shape.moved.seconds / shape.merges if shape.merges else 0.0
    direct = 0 if shape.merges or shape.carried else shape.maps * shape.reducers
    usage = shape.moved + Usage(
        seconds=shape.maps * map_seconds + shape.reducers * reduce_seconds + waves,
        invocations=shape.maps + shape.reducers + 2,
        puts=shape.maps + shape.reducers + 10,
        gets=shape.maps * (6 + shape.input_bytes // shape.maps // (8 << 20)) + direct + 5 * shape.reducers,
        row_writes=int(4 * (shape.maps + shape.reducers) + (shape.maps * map_seconds + shape.reducers * reduce_seconds) / shape.heartbeat),
        row_reads=int(10 * (shape.maps + shape.reducers) + 5 * waves),
    )
    likely = priced(usage, rates, memory_bytes=memory_bytes).total + shape.carried
    return Estimate(map_seconds, reduce_seconds, likely * _SPREAD[0], likely * _SPREAD[1], sample.records)


def price_of_attempt(plan: Plan, snapshot: Snapshot, phase: Phase) -> float:
    """Return what one more attempt of a phase is thought to cost, in dollars: as those that committed did, else as was estimated."""
    if plan.rates is None:
        return 0.0
    settled = snapshot.settled_in(phase)
    commits = [commit for task, commit in snapshot.commits.items() if task.phase is phase]
    count = settled.tasks + len(commits)
    if count:
        seconds = (settled.seconds + sum(commit.seconds for commit in commits)) / count
    else:
        thought = plan.estimate or Estimate(OVERHEAD_SECONDS, OVERHEAD_SECONDS, 0.0, 0.0)
        seconds = {Phase.MAP: thought.map_seconds, Phase.MERGE: _MERGE_SECONDS, Phase.REDUCE: thought.reduce_seconds}[phase]
    runs = plan.merging.task_groups if plan.merging else plan.maps
    gets = {Phase.MAP: 6, Phase.MERGE: plan.maps // runs + 5, Phase.REDUCE: runs + 5}[phase]
    usage = Usage(seconds=seconds, invocations=1, puts=1, gets=gets, row_writes=5, row_reads=6)
    return priced(usage, plan.rates, memory_bytes=plan.memory_bytes).total
