"""Which partition a key belongs to: the same one in every process, on every machine, for ever."""

from __future__ import annotations

import pytest

from smr_notebook.dataflow.keys import split_keys
from smr_notebook.dataflow.partitioning import HashPartitioner

GOLDEN: dict[object, int] = {
    "": 3,
    "a": 706,
    "GET /index.html": 96,
    "ä": 893,
    b"a": 425,
    0: 481,
    17: 333,
    -1: 332,
    1180591620717411303424: 926,
    1.5: 49,
    True: 617,
    None: 463,
    ("a", 1): 387,
}


def partition(key: object, of: int) -> int:
    [(column, _)] = split_keys([key])
    return int(HashPartitioner(of).of(column)[0])


@pytest.mark.parametrize("key", GOLDEN, ids=repr)
def test_a_key_stays_in_its_partition(key: object) -> None:
    """Python's own `hash` of a text is another one in each process, so that a key would be reduced in several partitions."""
    assert partition(key, 1_000) == GOLDEN[key]


def test_one_partition_holds_all() -> None:
    assert {partition(key, 1) for key in GOLDEN} == {0}
