"""A data plane of a few lines, for simulations: pairs of words and numbers, summed by word.

Each pair that is mapped, and each group that is reduced, is counted under a name. What the control plane looks at is real (runs through
the exchange of the plan, receipts, the gathered index, counts and checksums); what it does not look at is as small as can be: blocks and
parts are pickles.
"""

from __future__ import annotations

import pickle
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from smr_notebook.control.attempts import Output
from smr_notebook.control.carrying import exchange_of
from smr_notebook.control.layout import Layout
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.manifests import read_manifest
from smr_notebook.control.work import sources_of
from smr_notebook.dataflow.bad_records import BadRecords, Told, read_bad
from smr_notebook.dataflow.coalescing import Coalescer
from smr_notebook.dataflow.grids import grid_of
from smr_notebook.dataflow.meter import Meter
from smr_notebook.model import AttemptId, Numbers, Part, PartFile, Phase, Plan, Position
from smr_notebook.ports import Backend, ObjectStore
from smr_notebook.values.tolerance import BadFile

T = TypeVar("T")

Pairs = Sequence[tuple[str, int]]
"""What `map` gives for the records of one split: one pair for each record, whose bytes are those of the word."""

POISON = "poison"
"""A record of this word cannot be mapped, where the plan is tolerant."""

_MERGED_AT_ONCE = 150
"""Bytes: some partitions fit together, some alone, some not at all."""

BITTER = "bitter"
"""A group of this word cannot be reduced, likewise."""


def split_bytes(pairs: Pairs) -> int:
    """Return the input bytes of a split."""
    return sum(len(word) for word, _ in pairs)


def expected(pairs: Sequence[Pairs]) -> dict[str, int]:
    """Return the answer, by the plainest means."""
    answer: dict[str, int] = {}
    for split in pairs:
        for word, number in split:
            answer[word] = answer.get(word, 0) + number
    return answer


def numbers_so_far(plan: Plan, attempt: AttemptId, pairs: Sequence[Pairs]) -> Numbers:
    """Return what an attempt that is at work might count."""
    if attempt.task.phase is Phase.MERGE:
        return Numbers(pairs_in=plan.maps)
    if attempt.task.phase is Phase.REDUCE:
        return Numbers(pairs_in=plan.maps, counters=(("groups", 1),))
    half = len(pairs[attempt.task.number]) // 2
    return Numbers(records_read=half, counters=(("pairs", half),))


@dataclass(frozen=True, slots=True)
class Reach:
    """What of its task an attempt does: what follows a position, all of it or only the half."""

    after: Position | None = None
    pauses: bool = False

    def cut(self, items: Sequence[T]) -> tuple[Sequence[T], Position | None]:
        """Return the items to do, and the position of the first one left, or `None`."""
        done = self.after.done if self.after else 0
        rest = items[done:]
        half = max(1, len(rest) // 2)
        if not self.pauses or half >= len(rest):
            return rest, None
        return rest[:half], Position(done + half)


def map_pairs(plan: Plan, backend: Backend, attempt: AttemptId, pairs: Sequence[Pairs], reach: Reach) -> tuple[Output, Numbers]:
    """Do the work of a map attempt."""
    read, position = reach.cut(pairs[attempt.task.number])
    given = _good(plan, read, POISON)
    size, count = split_bytes(read), len(given)
    bad = _bad(plan, backend, attempt, len(read) - count)
    numbers = Numbers(size, len(read), count, count, count, records_bad=len(read) - count, counters=(("pairs", count),))
    if not plan.reducers:
        return Output(part=_part(backend.objects, plan, attempt, list(given)), position=position, bad=bad), numbers
    writer = exchange_of(backend, plan, scratch=Path()).writer(attempt, plan.reducers)
    written = 0
    try:
        for partition in range(plan.reducers):
            mine = [pair for pair in given if zlib.crc32(pair[0].encode()) % plan.reducers == partition]
            if plan.combine:
                mine = sorted(expected([mine]).items())
            if mine:
                written += len(mine)
                writer.write(partition, pickle.dumps(mine), groups=len(mine), pairs=len(mine), checksum=_checksum(mine))
        return Output(receipt=writer.close(), position=position, bad=bad), replace(numbers, pairs_out=written)
    except BaseException:
        writer.abort()
        raise


def merge_runs(plan: Plan, backend: Backend, attempt: AttemptId, _: Sequence[Pairs], __: Reach) -> tuple[Output, Numbers]:
    """Do the work of a merge attempt: the real one, but for signatures."""
    mapped = read_manifest(backend.objects, Ledger(backend.table, plan.job), Phase.MAP, job=plan.job)
    number, meter = attempt.task.number, Meter()
    sources = sources_of(backend.objects, plan, mapped, number, keys=None)
    partitions = grid_of(plan).partitions_of(number)
    merged = Coalescer(backend.objects, sources, partitions, attempt=attempt, key=None, meter=meter, most_bytes=_MERGED_AT_ONCE)
    return Output(receipt=merged.write(Layout(plan.job).run(attempt))), meter.numbers()


def reduce_pairs(plan: Plan, backend: Backend, attempt: AttemptId, _: Sequence[Pairs], reach: Reach) -> tuple[Output, Numbers]:
    """Do the work of a reduce attempt."""
    manifest = read_manifest(backend.objects, Ledger(backend.table, plan.job), plan.phases[-2], job=plan.job)
    exchange = exchange_of(backend, plan, scratch=Path(), index=manifest.index, index_crcs=manifest.index_crcs)
    mine_of = grid_of(plan).merges_of(attempt.task.number) if plan.merging else range(plan.maps)
    receipts = [receipt for commit in manifest.commits[mine_of.start : mine_of.stop] for receipt in commit.receipts]
    found = [pair for run in exchange.read(attempt.task.number, receipts) for block in run for pair in pickle.loads(block)]
    groups, position = reach.cut(sorted(expected([found]).items()))
    words = {word for word, _ in groups}
    mine = [pair for pair in found if pair[0] in words]
    rows = _good(plan, groups, BITTER)
    left_out = len(groups) - len(rows)
    part = _part(backend.objects, plan, attempt, rows)
    bad = _bad(plan, backend, attempt, left_out)
    output = Output(part=part, checksum=_checksum(mine), groups=len(groups), position=position, bad=bad)
    pairs_bad = sum(word == BITTER for word, _ in mine) if left_out else 0
    counters = (("groups", len(rows)),)
    return output, Numbers(0, len(groups), len(rows), len(mine), len(rows), records_bad=left_out, pairs_bad=pairs_bad, counters=counters)


def bad_of(plan: Plan, objects: ObjectStore, ledger: Ledger) -> int:
    """Return how many records and groups a job that is done tells to have left out, from its manifests."""
    commits = [commit for phase in plan.phases for commit in read_manifest(objects, ledger, phase, job=plan.job).commits]
    return sum(1 for commit in commits for file in commit.bad for _ in read_bad(objects, file))


def _good(plan: Plan, pairs: Pairs, wrong: str) -> list[tuple[str, int]]:
    return [pair for pair in pairs if pair[0] != wrong or not plan.tolerance.tolerant]


def _bad(plan: Plan, backend: Backend, attempt: AttemptId, count: int) -> BadFile | None:
    """Tell of so many records, or groups, that were left out."""
    bad = BadRecords(lambda error: Told(str(error)), everything=True, scratch=Path())
    for number in range(count):
        bad.add(str(attempt.task.phase), str(attempt), ValueError("wrong"), number=number + 1)
    return bad.store(backend.objects, Layout(plan.job).bad(attempt))


def result_of(plan: Plan, objects: ObjectStore, ledger: Ledger) -> dict[str, int]:
    """Return the result of a job that is done, from its last manifest."""
    manifest = read_manifest(objects, ledger, plan.phases[-1], job=plan.job)
    total: Counter[str] = Counter()
    for commit in manifest.commits:
        for file in commit.part.files if commit.part else ():
            for word, number in pickle.loads(objects.get(file.key)):
                total[word] += number
    return dict(total)


def _part(objects: ObjectStore, plan: Plan, attempt: AttemptId, rows: list[tuple[str, int]]) -> Part:
    key, data = f"{Layout(plan.job).attempt(attempt)}/part-000.pickle", pickle.dumps(rows)
    objects.put(key, data)
    return Part(attempt.task.number, (PartFile(key, len(rows), len(data), zlib.crc32(data), len(data), ("str", "int")),))


def _checksum(pairs: Pairs) -> int:
    return sum(zlib.crc32(repr(pair).encode()) for pair in pairs) % 2**64
