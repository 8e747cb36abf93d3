"""The heaviest keys of blocks are those that a `Counter` of all pairs finds."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from smr_notebook.dataflow.blocks import GroupBlock
from smr_notebook.dataflow.columns import Column
from smr_notebook.dataflow.grouping import group_pairs
from smr_notebook.dataflow.heavy_keys import heaviest_keys
from smr_notebook.dataflow.keys import decode_keys, split_keys

KEYS = st.one_of(st.integers(-3, 3), st.sampled_from(["a", "b", "c"]), st.booleans(), st.tuples(st.integers(0, 2)), st.just(float("inf")))


def blocks_of(keys: list[Any]) -> list[GroupBlock]:
    """Return the blocks of pairs with these keys, one for each kind."""
    return [group_pairs([(column, Column("int64", pa.array(np.arange(len(column)))))]) for column, _ in split_keys(keys)]


@given(st.lists(st.lists(KEYS, min_size=1, max_size=30), max_size=5), st.integers(1, 6))
def test_the_heaviest_keys_are_found_with_their_pairs(batches: list[list[Any]], most: int) -> None:
    found = heaviest_keys((block for batch in batches for block in blocks_of(batch)), most)
    counted = Counter((type(key), key) for batch in batches for key in batch)
    told = [((type(key), key), pairs) for column, pairs in found for key in decode_keys(column)]
    assert [pairs for _, pairs in told] == [pairs for _, pairs in counted.most_common(most)]
    assert all(counted[key] == pairs for key, pairs in told)
    assert len({key for key, _ in told}) == len(told)


def test_no_blocks_have_no_keys() -> None:
    assert heaviest_keys([], 3) == []
