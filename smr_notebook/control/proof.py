"""The proof: what went in is what came out, or there is no answer. Pure.

The law, in the order a record travels:

* **Map.** Each task maps as many records as it read, but for those that it left out. All tasks together read the bytes that were
  planned, and the records where their number is known. A pair that `map` emitted is written, unless a combiner stands in between; what
  was written is what the receipt says, and the receipts together are what the partitions hold.
* **Merge**, where runs are merged. Each task writes the pairs that it read, and each partition holds the pairs, and the sum of their
  hashes, that it held before.
* **Reduce.** Each task reads as many pairs as its partition holds, hands on to `reduce` the same sum of hashes, and reduces
  each group that it formed, but for those that it left out.
* **What is left out** is none unless the plan is tolerant, is told as far as the plan says, and is no more than may be.
* **Parts.** The rows of the files are the rows that the task counted.

A difference is a `ConservationError` that names the sum, both numbers, and the task or partition. Too much that is left out is a
`TooManyBadError`.
"""

from __future__ import annotations

from collections.abc import Sequence

from smr_notebook.control.tolerances import check_tolerance
from smr_notebook.errors import ConservationError
from smr_notebook.model import Commit, Manifest, Phase, Plan, TaskId
from smr_notebook.values.tolerance import OnError


def check_map(plan: Plan, manifest: Manifest) -> None:
    """Check the sums of the map phase.

    Raises:
        ConservationError: A sum differs.
        TooManyBadError: More was left out than may be.
    """
    check_complete(plan, manifest.phase, manifest.commits)
    check_tasks_mapped(plan, manifest)
    _same(plan, "bytes read by all map tasks", manifest.totals.bytes_read, plan.input_bytes, "bytes planned")
    if plan.input_records is not None:
        _same(plan, "records read by all map tasks", manifest.totals.records_read, plan.input_records, "records stored")
    check_tolerance(plan, Phase.MAP, manifest.totals)


def check_tasks_mapped(plan: Plan, manifest: Manifest) -> None:
    """Check the sums of some map tasks, as far as they need no others.

    Raises:
        ConservationError: A sum differs.
    """
    for commit in manifest.commits:
        numbers, who = commit.numbers, _task(commit)
        met = numbers.records_mapped + numbers.records_bad
        _same(plan, f"records mapped{_or_left_out(plan)} by {who}", met, numbers.records_read, "records it read")
        _left_out_is_told(plan, commit)
        if not plan.combine:
            _same(plan, f"pairs written by {who}", numbers.pairs_out, numbers.pairs_in, "pairs that map emitted")
        if plan.reducers:
            written = sum(receipt.pairs for receipt in commit.receipts) if commit.receipts else -1
            _same(plan, f"pairs in the run of {who}", written, numbers.pairs_out, "pairs it wrote")
        else:
            _part_is_whole(plan, commit)
    if plan.reducers:
        _same(plan, "partitions in the index", len(manifest.partition_pairs), plan.reducers, "partitions planned")
        _same(plan, "pairs in all partitions", sum(manifest.partition_pairs), manifest.totals.pairs_out, "pairs written by all map tasks")


def check_merge(plan: Plan, mapped: Manifest, merged: Manifest) -> None:
    """Check the sums of the merge phase against the manifest of the map phase.

    Raises:
        ConservationError: A sum differs.
    """
    check_merge_tasks(plan, merged.commits)
    for commit in merged.commits:
        numbers, who = commit.numbers, _task(commit)
        _same(plan, f"pairs in the run of {who}", commit.receipts[0].pairs, numbers.pairs_out, "pairs it wrote")
        _same(plan, f"pairs written by {who}", numbers.pairs_out, numbers.pairs_in, "pairs it read")
        _same(plan, f"runs merged by {who}", numbers.records_mapped, numbers.records_read, "runs it read")
    _same(plan, "partitions in the index of merged runs", len(merged.partition_pairs), plan.reducers, "partitions planned")
    for partition, (pairs, checksum) in enumerate(zip(merged.partition_pairs, merged.partition_checksums, strict=True)):
        _same(plan, f"pairs merged into partition {partition}", pairs, mapped.partition_pairs[partition], "pairs mapped into it")
        _same(plan, f"checksum of partition {partition}, merged", checksum, mapped.partition_checksums[partition], "of the pairs mapped")


def check_merge_tasks(plan: Plan, commits: Sequence[Commit]) -> None:
    """Check that each merge task has a commit, in task order, and wrote one run. Raises `ConservationError`."""
    check_complete(plan, Phase.MERGE, commits)
    for commit in commits:
        _same(plan, f"runs of {_task(commit)}", len(commit.receipts), 1, "that it should write")


def check_reduce(plan: Plan, mapped: Manifest, reduced: Manifest) -> None:
    """Check the sums of the reduce phase against the manifest of the map phase.

    Raises:
        ConservationError: A sum differs.
        TooManyBadError: More was left out than may be.
    """
    check_complete(plan, reduced.phase, reduced.commits)
    for partition, commit in enumerate(reduced.commits):
        numbers, who = commit.numbers, f"partition {partition}"
        _same(plan, f"pairs reduced in {who}", numbers.pairs_in, mapped.partition_pairs[partition], "pairs mapped into it")
        _same(plan, f"checksum of the pairs reduced in {who}", commit.checksum, mapped.partition_checksums[partition], "of those mapped")
        met = numbers.records_mapped + numbers.records_bad
        _same(plan, f"groups reduced{_or_left_out(plan)} in {who}", met, numbers.records_read, "groups formed")
        _left_out_is_told(plan, commit)
        _same(plan, f"groups counted in {who}", commit.groups, numbers.records_read, "groups formed")
        _part_is_whole(plan, commit)
    check_tolerance(plan, Phase.REDUCE, reduced.totals)


def proof_line(plan: Plan, mapped: Manifest, reduced: Manifest | None) -> str:
    """Return the line that a checked job prints.

    Args:
        plan: The plan of the job.
        mapped: The manifest of its map phase.
        reduced: The manifest of its reduce phase, or `None` when it has none.
    """
    totals = mapped.totals
    line = f"{_count(plan.maps, 'split')} · {_count(totals.records_read, 'record')} read = "
    line += f"{totals.records_mapped:,} mapped + {totals.records_bad:,} left out" if totals.records_bad else "mapped"
    if reduced is None:
        return f"{line} · {_count(totals.pairs_in, 'pair')} = kept"
    groups, bad, pairs = _count(reduced.groups, "group"), reduced.totals.records_bad, reduced.totals.pairs_bad
    groups += f" = {reduced.totals.records_mapped:,} reduced + {bad:,} left out" if bad else ""
    line = f"{line} · {groups} · {_count(totals.pairs_in, 'pair')}"
    line += f" → {totals.pairs_out:,} combined" if plan.combine else ""
    return f"{line} = {reduced.totals.pairs_in - pairs:,} reduced + {pairs:,} left out" if bad else f"{line} = reduced"


def check_complete(plan: Plan, phase: Phase, commits: Sequence[Commit]) -> None:
    """Check that each task of a phase has a commit, in task order. Raises `ConservationError`."""
    expected = [TaskId(phase, number) for number in range(plan.tasks(phase))]
    if [commit.id.task for commit in commits] != expected:
        raise ConservationError(
            f"The {phase} phase has {len(commits)} committed tasks that are not the {len(expected)} planned. {_ADVICE}", job=plan.job
        )


def _part_is_whole(plan: Plan, commit: Commit) -> None:
    who = _task(commit)
    _same(plan, f"rows in the part of {who}", commit.part.rows if commit.part else -1, commit.numbers.pairs_out, "rows it wrote")
    _same(plan, f"number of the part of {who}", commit.part.number if commit.part else -1, commit.id.task.number, "number of the task")


def _left_out_is_told(plan: Plan, commit: Commit) -> None:
    """Check that what a task left out may be left out, and that all of it is told, or some."""
    told, bad, who = sum(file.rows for file in commit.bad), commit.numbers.records_bad, _task(commit)
    if not plan.tolerance.tolerant:
        _same(plan, f"left out by {who}", bad, 0, "to be left out")
    if plan.tolerance.on_error is OnError.COLLECT or not bad or not told or told > bad:
        _same(plan, f"left out and told by {who}", told, bad, "left out")


def _or_left_out(plan: Plan) -> str:
    return " or left out" if plan.tolerance.tolerant else ""


def _same(plan: Plan, what: str, found: int, expected: int, against: str) -> None:
    if found != expected:
        raise ConservationError(f"The sums of job {plan.job} differ: {what}: {found:,}; {against}: {expected:,}. {_ADVICE}", job=plan.job)


def _task(commit: Commit) -> str:
    return f"{commit.id.task.phase} task {commit.id.task.number}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


_ADVICE = "There is no result, because it would be wrong. Submit the job again; if it happens again, report it with this line."
