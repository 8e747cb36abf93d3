"""The proof: what went in is what came out, or there is no answer. Pure.

The law, in the order a record travels:

* **Map.** Each task maps as many records as it read. All tasks together read the bytes that were planned, and the records
  where their number is known. A pair that `map` emitted is written, unless a combiner stands in between; what was written is
  what the receipt says, and the receipts together are what the partitions hold.
* **Reduce.** Each task reads as many pairs as its partition holds, hands on to `reduce` the same sum of hashes, and reduces
  each group that it formed.
* **Parts.** The rows of the files are the rows that the task counted.

A difference is a `ConservationError` that names the sum, both numbers, and the task or partition.
"""

from __future__ import annotations

from smr_notebook.errors import ConservationError
from smr_notebook.model import Commit, Manifest, Phase, Plan, TaskId


def check_map(plan: Plan, manifest: Manifest) -> None:
    """Check the sums of the map phase.

    Raises:
        ConservationError: A sum differs.
    """
    _tasks_are_complete(plan, manifest)
    for commit in manifest.commits:
        numbers, who = commit.numbers, _task(commit)
        _same(plan, f"records mapped by {who}", numbers.records_mapped, numbers.records_read, "records it read")
        if not plan.combine:
            _same(plan, f"pairs written by {who}", numbers.pairs_out, numbers.pairs_in, "pairs that map emitted")
        if plan.reducers:
            written = sum(receipt.pairs for receipt in commit.receipts) if commit.receipts else -1
            _same(plan, f"pairs in the run of {who}", written, numbers.pairs_out, "pairs it wrote")
        else:
            _part_is_whole(plan, commit)
    _same(plan, "bytes read by all map tasks", manifest.totals.bytes_read, plan.input_bytes, "bytes planned")
    if plan.input_records is not None:
        _same(plan, "records read by all map tasks", manifest.totals.records_read, plan.input_records, "records stored")
    if plan.reducers:
        _same(plan, "partitions in the index", len(manifest.partition_pairs), plan.reducers, "partitions planned")
        _same(plan, "pairs in all partitions", sum(manifest.partition_pairs), manifest.totals.pairs_out, "pairs written by all map tasks")


def check_reduce(plan: Plan, mapped: Manifest, reduced: Manifest) -> None:
    """Check the sums of the reduce phase against the manifest of the map phase.

    Raises:
        ConservationError: A sum differs.
    """
    _tasks_are_complete(plan, reduced)
    for partition, commit in enumerate(reduced.commits):
        numbers, who = commit.numbers, f"partition {partition}"
        _same(plan, f"pairs reduced in {who}", numbers.pairs_in, mapped.partition_pairs[partition], "pairs mapped into it")
        _same(plan, f"checksum of the pairs reduced in {who}", commit.checksum, mapped.partition_checksums[partition], "of those mapped")
        _same(plan, f"groups reduced in {who}", numbers.records_mapped, numbers.records_read, "groups formed")
        _same(plan, f"groups counted in {who}", commit.groups, numbers.records_read, "groups formed")
        _part_is_whole(plan, commit)


def proof_line(plan: Plan, mapped: Manifest, reduced: Manifest | None) -> str:
    """Return the line that a checked job prints.

    Args:
        plan: The plan of the job.
        mapped: The manifest of its map phase.
        reduced: The manifest of its reduce phase, or `None` when it has none.
    """
    totals = mapped.totals
    line = f"{_count(plan.maps, 'split')} · {_count(totals.records_read, 'record')} read = mapped"
    if reduced is None:
        return f"{line} · {_count(totals.pairs_in, 'pair')} = kept"
    line = f"{line} · {_count(reduced.groups, 'group')} · {_count(totals.pairs_in, 'pair')}"
    return f"{line} → {totals.pairs_out:,} combined = reduced" if plan.combine else f"{line} = reduced"


def _tasks_are_complete(plan: Plan, manifest: Manifest) -> None:
    expected = [TaskId(manifest.phase, number) for number in range(plan.tasks(manifest.phase))]
    if [commit.id.task for commit in manifest.commits] != expected:
        raise ConservationError(
            f"The {manifest.phase} phase has {len(manifest.commits)} committed tasks that are not the {len(expected)} planned. {_ADVICE}",
            job=plan.job,
        )


def _part_is_whole(plan: Plan, commit: Commit) -> None:
    who = _task(commit)
    _same(plan, f"rows in the part of {who}", commit.part.rows if commit.part else -1, commit.numbers.pairs_out, "rows it wrote")
    _same(plan, f"number of the part of {who}", commit.part.number if commit.part else -1, commit.id.task.number, "number of the task")


def _same(plan: Plan, what: str, found: int, expected: int, against: str) -> None:
    if found != expected:
        raise ConservationError(f"The sums of job {plan.job} differ: {what}: {found:,}; {against}: {expected:,}. {_ADVICE}", job=plan.job)


def _task(commit: Commit) -> str:
    kind = "map" if commit.id.task.phase is Phase.MAP else "reduce"
    return f"{kind} task {commit.id.task.number}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


_ADVICE = "There is no result, because it would be wrong. Run the job again; if it happens again, report it with this line."
