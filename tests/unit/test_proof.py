"""The proof: sums that agree give the line, and any one number that is changed is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from smr_notebook.control.proof import check_map, check_reduce, proof_line
from smr_notebook.errors import ConservationError
from smr_notebook.model import (
    AttemptId,
    Commit,
    Environment,
    Format,
    Manifest,
    Numbers,
    Part,
    PartFile,
    Phase,
    Plan,
    Policy,
    Receipt,
    TaskId,
)


def a_plan(*, maps: int = 2, reducers: int = 2, combine: bool = False, size: int = 30, records: int | None = 6) -> Plan:
    stamp = Environment("3.11", 5, ())
    return Plan(
        "3f9a",
        "",
        0.0,
        Format.TEXT,
        maps,
        reducers,
        combine=combine,
        grouped_order=False,
        input_bytes=size,
        input_records=records,
        budget=1,
        policy=Policy(),
        environment=stamp,
    )


def part(number: int, rows: int) -> Part:
    return Part(number, (PartFile("key", rows, 1, 1, 1, ("int", "int")),))


def map_commit(number: int, *, written: int = 4, reducers: int = 2) -> Commit:
    id = AttemptId(TaskId(Phase.MAP, number), 1)
    receipts = (Receipt(id, "run", 1, 1, 1, written),) if reducers else ()
    return Commit(id, "w", 0.0, 1.0, Numbers(15, 3, 3, 4, written), receipts, None if reducers else part(number, written))


def reduce_commit(number: int, *, pairs: int, checksum: int) -> Commit:
    id = AttemptId(TaskId(Phase.REDUCE, number), 1)
    numbers = Numbers(0, 2, 2, pairs, 2)
    return Commit(id, "w", 0.0, 1.0, numbers, part=part(number, 2), checksum=checksum, groups=2)


def manifest(phase: Phase, *commits: Commit, pairs: tuple[int, ...] = (), checksums: tuple[int, ...] = ()) -> Manifest:
    totals = sum((commit.numbers for commit in commits), start=Numbers())
    groups = sum(commit.groups for commit in commits)
    return Manifest("3f9a", phase, commits, totals, groups, "index", (), pairs, checksums)


def mapped(*, written: int = 4, pairs: tuple[int, ...] = (5, 3)) -> Manifest:
    commits = [map_commit(number, written=written) for number in range(2)]
    return manifest(Phase.MAP, *commits, pairs=pairs, checksums=(11, 2**64 - 1))


def reduced(*, pairs: tuple[int, ...] = (5, 3)) -> Manifest:
    return manifest(Phase.REDUCE, reduce_commit(0, pairs=pairs[0], checksum=11), reduce_commit(1, pairs=pairs[1], checksum=2**64 - 1))


def test_sums_that_agree_give_the_line() -> None:
    check_map(a_plan(), mapped())
    check_reduce(a_plan(), mapped(), reduced())
    assert proof_line(a_plan(), mapped(), reduced()) == "2 splits · 6 records read = mapped · 4 groups · 8 pairs = reduced"


def test_a_combiner_is_told_in_the_line() -> None:
    plan, combined = a_plan(combine=True), mapped(written=2, pairs=(3, 1))
    check_map(plan, combined)
    check_reduce(plan, combined, reduced(pairs=(3, 1)))
    line = proof_line(plan, combined, reduced(pairs=(3, 1)))
    assert line == "2 splits · 6 records read = mapped · 4 groups · 8 pairs → 4 combined = reduced"


def test_without_reduce_the_mapped_pairs_are_kept() -> None:
    plan = a_plan(reducers=0)
    kept = manifest(Phase.MAP, *(map_commit(number, reducers=0) for number in range(2)))
    check_map(plan, kept)
    assert proof_line(plan, kept, None) == "2 splits · 6 records read = mapped · 8 pairs = kept"


def test_numbers_have_commas_and_one_is_singular() -> None:
    plan = a_plan(maps=1_204, reducers=1)
    big = replace(mapped(), totals=Numbers(1, 88_013_442, 88_013_442, 88_013_442, 88_013_442))
    line = proof_line(plan, big, replace(reduced(), groups=1))
    assert line == "1,204 splits · 88,013,442 records read = mapped · 1 group · 88,013,442 pairs = reduced"


def with_task(found: Manifest, number: int, change: Callable[[Commit], Commit]) -> Manifest:
    commits = tuple(change(commit) if commit.id.task.number == number else commit for commit in found.commits)
    return replace(found, commits=commits, totals=sum((commit.numbers for commit in commits), start=Numbers()))


numbers = st.sampled_from(["bytes_read", "records_read", "records_mapped", "pairs_in", "pairs_out", "records_bad"])
others = st.integers(0, 100)


@given(st.integers(0, 1), numbers, others)
def test_any_changed_number_of_a_map_task_is_found(number: int, field: str, value: int) -> None:
    def change(commit: Commit) -> Commit:
        assume(getattr(commit.numbers, field) != value)
        changed: dict[str, Any] = {field: value}
        return replace(commit, numbers=replace(commit.numbers, **changed))

    with pytest.raises(ConservationError, match=r"sums of job 3f9a differ"):
        check_map(a_plan(), with_task(mapped(), number, change))


@given(st.integers(0, 1), numbers.filter(lambda name: name != "bytes_read"), others)
def test_any_changed_number_of_a_reduce_task_is_found(number: int, field: str, value: int) -> None:
    def change(commit: Commit) -> Commit:
        assume(getattr(commit.numbers, field) != value)
        changed: dict[str, Any] = {field: value}
        return replace(commit, numbers=replace(commit.numbers, **changed))

    with pytest.raises(ConservationError, match=r"sums of job 3f9a differ"):
        check_reduce(a_plan(), mapped(), with_task(reduced(), number, change))


@pytest.mark.parametrize(
    ("plan", "found", "says"),
    [
        (a_plan(size=31), mapped(), r"bytes read by all map tasks: 30; bytes planned: 31"),
        (a_plan(records=7), mapped(), r"records read by all map tasks: 6; records stored: 7"),
        (a_plan(), mapped(pairs=(5, 2)), r"pairs in all partitions: 7; pairs written by all map tasks: 8"),
        (a_plan(reducers=3), mapped(), r"partitions in the index: 2; partitions planned: 3"),
        (a_plan(maps=3), mapped(), r"2 committed tasks that are not the 3 planned"),
        (a_plan(), manifest(Phase.MAP, map_commit(1), map_commit(0), pairs=(5, 3)), r"not the 2 planned"),
    ],
)
def test_the_error_names_the_sum_and_both_numbers(plan: Plan, found: Manifest, says: str) -> None:
    with pytest.raises(ConservationError, match=says) as caught:
        check_map(plan, found)
    assert caught.value.job == "3f9a"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda commit: replace(commit, checksum=12), "checksum of the pairs reduced in partition 1"),
        (lambda commit: replace(commit, groups=9), "groups counted in partition 1"),
        (lambda commit: replace(commit, part=part(1, 9)), "rows in the part of reduce task 1"),
        (lambda commit: replace(commit, part=part(0, 2)), "number of the part of reduce task 1"),
        (lambda commit: replace(commit, part=None), "rows in the part of reduce task 1"),
    ],
)
def test_a_reduce_task_that_read_or_wrote_something_else_is_found(change: Callable[[Commit], Commit], says: str) -> None:
    with pytest.raises(ConservationError, match=says):
        check_reduce(a_plan(), mapped(), with_task(reduced(), 1, change))


def test_a_run_that_holds_less_than_was_written_is_found() -> None:
    def change(commit: Commit) -> Commit:
        assert commit.receipts
        return replace(commit, receipts=(replace(commit.receipts[0], pairs=3),))

    with pytest.raises(ConservationError, match="pairs in the run of map task 0: 3; pairs it wrote: 4"):
        check_map(a_plan(), with_task(mapped(), 0, change))
