"""Keys that are sorted at once stand as those that are sorted by way of a dictionary, which is as `sorted` has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smr_notebook.dataflow.columns import Column, decode_values
from smr_notebook.dataflow.grouping import group_pairs, merge_blocks
from smr_notebook.dataflow.key_sorting import mostly_distinct, sort_keys
from smr_notebook.dataflow.keys import decode_keys, encode_key, split_keys
from smr_notebook.dataflow.partitioning import HashPartitioner, Partitioner, RangePartitioner

texts = st.one_of(st.text("ab\0é𝄞", max_size=12), st.text("ab", min_size=9, max_size=11).map("one beginning of all ".__add__))
columns = st.one_of(
    st.lists(texts, min_size=1, max_size=40),
    st.lists(st.binary(max_size=10), min_size=1, max_size=40),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=40),
    st.lists(st.integers(-2, 2), min_size=1, max_size=40),
    st.lists(st.floats(allow_nan=True), min_size=1, max_size=40),
    st.lists(st.tuples(st.integers(0, 2), texts), min_size=1, max_size=40),
)


@settings(max_examples=3 * settings().max_examples)
@given(columns, st.integers(0, 3))
def test_rows_come_in_key_order_and_equal_keys_as_they_were(keys: list[Any], cut: int) -> None:
    for column, rows in split_keys(keys):
        chosen = keys if rows is None else [keys[row] for row in rows]
        part = column.slice(min(cut, len(column) - 1), len(column))
        tokens = [encode_key(key) for key in chosen[min(cut, len(column) - 1) :]]
        found = sort_keys(part)
        assert found.order.tolist() == sorted(range(len(tokens)), key=tokens.__getitem__)
        ordered = sorted(tokens)
        assert found.starts.tolist() == [place for place in range(len(ordered)) if place == 0 or ordered[place] != ordered[place - 1]]


@pytest.mark.parametrize(
    ("count", "distinct", "expected"),
    [(500, 500, False), (50_000, 50_000, True), (50_000, 25_000, False), (400_000, 40_000, False), (400_000, 400_000, True)],
)
def test_the_guess_tells_keys_that_repeat_from_keys_that_do_not(count: int, distinct: int, expected: bool) -> None:
    numbers = np.arange(count) % distinct
    (column, _), *_ = split_keys(numbers.tolist())
    assert mostly_distinct(column) is expected
    several = [f"user {number}" for number in np.sort(np.random.default_rng(1).permutation(numbers)).tolist()]
    (text, _), *_ = split_keys(several)
    assert mostly_distinct(text) is expected


@pytest.mark.parametrize("partitioner", [HashPartitioner(1), HashPartitioner(3), RangePartitioner((encode_key("5"), encode_key("7")))])
@pytest.mark.parametrize("distinct", [3_000, 700])
def test_large_blocks_are_grouped_and_merged_in_the_order_of_partition_and_key(partitioner: Partitioner, distinct: int) -> None:
    keys = [str(number * 7_919 % distinct) for number in range(3_000)]
    (column, _), *_ = split_keys(keys)
    expected: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        expected.setdefault(key, []).append(row)
    values = Column("int", pa.array(np.arange(3_000)))
    halves = [group_pairs([(column.slice(at, at + 1_500), values.slice(at, at + 1_500))], partitioner) for at in (0, 1_500)]
    for block in (group_pairs([(column, values)], partitioner), merge_blocks(halves, partitioner)):
        found = decode_keys(block.keys)
        numbers = decode_values(block.values)
        assert {key: numbers[block.offsets[row] : block.offsets[row + 1]] for row, key in enumerate(found)} == expected
        owners = partitioner.of(block.keys).tolist()
        assert list(zip(owners, found, strict=True)) == sorted(zip(owners, found, strict=True))
