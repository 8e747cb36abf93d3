"""Signatures: what they cover, and the blocks of a run that carry one."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smr_notebook.backends.memory.table import MemoryTable
from smr_notebook.control.keys import KEY_ROW, keys_of
from smr_notebook.dataflow.blocks import GroupBlock, holds_pickles, pack, unpack
from smr_notebook.dataflow.columns import Column, decode_values, encode_values
from smr_notebook.dataflow.folds.segments import GroupError
from smr_notebook.dataflow.folds.totals import read_totals
from smr_notebook.dataflow.folds.tuples import tuple_column
from smr_notebook.dataflow.keys import split_keys
from smr_notebook.dataflow.signing import SIGNATURE_BYTES, Keyring
from smr_notebook.dataflow.vouching import SigningWriter, proved_runs
from smr_notebook.errors import CorruptObjectError, UntrustedObjectError
from smr_notebook.model import AttemptId, Phase, Receipt, TaskId
from smr_notebook.ports import LASTING
from smr_notebook.testing.forging import Trap
from smr_notebook.testing.keys import KEYS

ATTEMPT = AttemptId(TaskId(Phase.MAP, 3), 2)
KEY = KEYS.of_folder("jobs/3f9a")


def test_signatures_are_what_they_were_in_version_1() -> None:
    """What was signed by an earlier version stays proved."""
    assert KEY.sign("block", "map/000003/002/1/0", b"data").hex() == "49cffb357af80676e7cbee2bc151e7b0"


@pytest.mark.parametrize("key", [KEYS, KEY], ids=["of a workspace", "of a job"])
def test_a_key_neither_shows_itself_nor_travels(key: object) -> None:
    assert repr(key) in {"<Keyring>", "<JobKey>"}
    with pytest.raises(TypeError, match="does not travel"):
        pickle.dumps(key)


@given(st.binary(max_size=50), st.text(max_size=20), st.binary(max_size=50), st.text(max_size=20))
def test_a_signature_is_that_of_one_place_and_one_content(data: bytes, place: str, other: bytes, elsewhere: str) -> None:
    signature = KEY.sign("block", place, data)
    assert len(signature) == SIGNATURE_BYTES
    KEY.check("block", place, data, signature=signature, name="it")
    for kind, there, what in (
        ("block", elsewhere, data),
        ("block", place, other),
        ("items", place, data),
        ("block", place + data.hex(), b""),
    ):
        if (kind, there, what) != ("block", place, data):
            with pytest.raises(UntrustedObjectError, match="it was not written by this workspace"):
                KEY.check(kind, there, what, signature=signature, name="it")
    for wrong in (b"", signature[:-1], signature + b"\0", bytes(SIGNATURE_BYTES)):
        with pytest.raises(UntrustedObjectError):
            KEY.check("block", place, data, signature=wrong, name="it")


def test_each_job_and_each_workspace_has_a_key_of_its_own() -> None:
    keys = [KEYS.of_object("jobs/3f9a/code"), KEYS.of_object("jobs/3f9b/code"), Keyring(b"\1" * 32).of_object("jobs/3f9a/code")]
    assert len({key.sign("code", "", b"x") for key in keys}) == 3
    alike = [KEY, *map(KEYS.of_object, ("jobs/3f9a/code", "jobs/3f9a/map/000003/002/run", "jobs/3f9a/input/000000000000.pack"))]
    assert len({key.sign("code", "", b"x") for key in alike}) == 1


def test_whoever_comes_first_makes_the_key_and_all_have_the_same() -> None:
    table = MemoryTable()
    found: list[Keyring] = []
    threads = [threading.Thread(target=lambda: found.append(keys_of(table))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({keys.of_folder("jobs/a").sign("code", "", b"") for keys in found}) == 1
    assert [(row.key, row.version) for row in table.query(LASTING)] == [(KEY_ROW, 1)]
    assert keys_of(MemoryTable()).of_folder("jobs/a").sign("code", "", b"") != found[0].of_folder("jobs/a").sign("code", "", b"")


@pytest.mark.parametrize("row", [b"", b"{}", b'{"v":2,"row":{"secret":"AAAA"}}'])
def test_a_key_that_is_none_is_refused(row: bytes) -> None:
    table = MemoryTable()
    table.put(LASTING, KEY_ROW, row, expect=0)
    with pytest.raises(CorruptObjectError):
        keys_of(table)


# ---------------------------------------------------------------- blocks


class Runs:
    """An exchange writer that keeps its blocks."""

    def __init__(self) -> None:
        self.blocks: dict[int, list[bytes]] = {0: [], 1: []}

    def write(self, partition: int, block: bytes, *, groups: int, pairs: int, checksum: int) -> None:
        self.blocks[partition].append(block)

    def close(self) -> Receipt:
        return Receipt(ATTEMPT, "jobs/3f9a/map/000003/002/run", 0, 0, 0, 0)

    def abort(self) -> None:
        pass


def packed(keys: list[Any], values: list[Any]) -> bytes:
    ((column, _),) = split_keys(keys)
    return pack(GroupBlock(column, encode_values(values), np.arange(len(keys) + 1)))


TYPED = packed(["a"], [1])
PICKLED = [packed(["a"], [1j]), packed(["b"], [2j]), packed([1j], [1])]


def write(*blocks: tuple[int, bytes]) -> tuple[Runs, Receipt]:
    runs = Runs()
    writer = SigningWriter(runs, ATTEMPT, KEY)
    for partition, block in blocks:
        writer.write(partition, block, groups=1, pairs=1, checksum=0)
    return runs, writer.close()


def read(blocks: list[bytes], receipt: Receipt, *, partition: int = 0) -> list[bytes]:
    (run,) = proved_runs(iter([iter(blocks)]), partition, [receipt], [KEY])
    return list(run)


def test_blocks_come_back_as_they_were_and_only_those_with_pickles_are_longer_meanwhile() -> None:
    runs, receipt = write((0, TYPED), *((0, block) for block in PICKLED), (1, PICKLED[0]))
    assert runs.blocks[0][0] == TYPED
    assert [len(block) for block in runs.blocks[0][1:]] == [len(block) + SIGNATURE_BYTES for block in PICKLED]
    assert read(runs.blocks[0], receipt) == [TYPED, *PICKLED]
    assert read(runs.blocks[1], receipt, partition=1) == [PICKLED[0]]
    assert decode_values(unpack(read(runs.blocks[1], receipt, partition=1)[0]).values) == [1j]


def misplaced(blocks: list[bytes]) -> Iterator[tuple[str, list[bytes]]]:
    yield "exchanged", [blocks[1], blocks[0], *blocks[2:]]
    yield "twice", [blocks[0], blocks[0], *blocks[2:]]
    yield "one is missing", blocks[1:]
    yield "unsigned", [blocks[0][:-SIGNATURE_BYTES], *blocks[1:]]
    yield "changed", [blocks[0][:-1] + bytes([blocks[0][-1] ^ 1]), *blocks[1:]]


def test_a_block_with_pickles_at_another_place_is_refused() -> None:
    runs, receipt = write(*((0, block) for block in PICKLED))
    for what, blocks in misplaced(runs.blocks[0]):
        with pytest.raises(UntrustedObjectError, match=receipt.key):
            raise AssertionError((what, read(blocks, receipt)))
    with pytest.raises(UntrustedObjectError):
        read(runs.blocks[0], receipt, partition=1)
    with pytest.raises(UntrustedObjectError):
        read(runs.blocks[0], Receipt(AttemptId(ATTEMPT.task, 1), receipt.key, 0, 0, 0, 0))


def test_a_state_of_a_sum_is_unpickled_only_if_its_kind_says_so(tmp_path: Path) -> None:
    """A block of `bytes` carries no signature: so nobody may take them for pickles."""
    trap = Trap(tmp_path / "sprung")
    states = tuple_column([Column("null", pa.nulls(1)), Column("null", pa.nulls(1)), encode_values([trap.pickled])])
    block = pack(GroupBlock(split_keys(["a"])[0][0], states, np.array([0, 1], np.int64)))
    assert not holds_pickles(block)
    with suppress(GroupError):
        read_totals(unpack(block).values)
    assert not trap.path.exists()
