"""The hash of keys: a stored format, well spread, and the same however the buffers lie."""

from __future__ import annotations

import string
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smr_notebook.dataflow.hashing import checksum, hash_keys, partition_of
from smr_notebook.dataflow.keys import KeyColumn, KeyKind, key_column, split_keys

GOLDEN_KEYS = [
    *(True, False, 0, 1, -1, 2**63 - 1, 2**63, -(2**63) - 1, 0.0, 1.0, float("nan"), float("inf")),
    *("", "a", "1", "12345678", "123456789", "ä" * 300, b"", b"a", b"\0", b"\0\0", None, (1, "a"), frozenset([1, 2])),
]
# These values never change: runs and manifests are stored with them.
GOLDEN_HASHES = {
    "True": 11385487063155714807,
    "False": 5197578548964807871,
    "0": 8883187925210353900,
    "1": 12570163593899035840,
    "-1": 6136805500546321909,
    "9223372036854775807": 2275223502761582312,
    "9223372036854775808": 17067888262008212470,
    "-9223372036854775809": 7175087971499000392,
    "0.0": 3310286063217386183,
    "1.0": 9409269998051692405,
    "nan": 16634128691245599242,
    "inf": 1817204204166920973,
    "''": 65172999151829411,
    "'a'": 13023980157453645102,
    "'1'": 177156397122314709,
    "'12345678'": 7126257986679483876,
    "'123456789'": 13669220546251315204,
    "'äääääääääääääääääääääääääääääääääääääää": 1862963231957421027,
    "b''": 9507321334815476053,
    "b'a'": 7841169317036960128,
    "b'\\x00'": 2561857706886275238,
    "b'\\x00\\x00'": 5609393278970439611,
    "None": 8557321533601210483,
    "(1, 'a')": 2070723428013722832,
    "frozenset({1, 2})": 15339142134551196098,
}


def hash_of(key: object) -> int:
    [(column, _)] = split_keys([key])
    return int(hash_keys(column)[0])


def test_the_hashes_are_those_that_stored_data_was_written_with() -> None:
    assert {repr(key)[:40]: hash_of(key) for key in GOLDEN_KEYS} == GOLDEN_HASHES


@given(st.lists(st.binary(max_size=40) | st.binary(min_size=250, max_size=300), max_size=20), st.data())
def test_the_hash_does_not_depend_on_where_the_key_lies(keys: list[bytes], data: st.DataObject) -> None:
    alone = [hash_of(key) for key in keys]
    column = key_column(KeyKind.BYTES, keys)
    assert hash_keys(column).tolist() == alone
    start = data.draw(st.integers(0, len(keys)))
    assert hash_keys(column.slice(start, len(keys))).tolist() == alone[start:]
    copied = KeyColumn(KeyKind.BYTES, pa.array(keys, pa.large_binary()).cast(pa.binary()))
    assert hash_keys(copied).tolist() == alone


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.floats() | st.booleans(), max_size=20), st.integers(0, 20))
def test_slices_of_numbers_hash_as_their_keys_alone(keys: list[object], start: int) -> None:
    for column, rows in split_keys(keys):
        mine = keys if rows is None else [keys[row] for row in rows.tolist()]
        at = min(start, len(mine))
        assert hash_keys(column.slice(at, len(mine))).tolist() == [hash_of(key) for key in mine[at:]]


LETTERS = string.ascii_lowercase
WORDS = ["".join(LETTERS[number * 7 // 26**place % 26] for place in range(4)) + str(number) for number in range(100_000)]
SPREAD: dict[str, list[Any]] = {
    "words": WORDS,
    "long words": ["a common beginning of some length " + word for word in WORDS[:20_000]],
    "integers": list(range(100_000)),
    "far integers": list(range(0, 100_000 << 32, 1 << 32)),
    "floats": [number / 8 for number in range(100_000)],
    "bytes": [number.to_bytes(8, "big") for number in range(100_000)],
    "tuples": [(number, "a") for number in range(5_000)],
}


@pytest.mark.parametrize("name", SPREAD)
@pytest.mark.parametrize("partitions", [2, 7, 64, 1000])
def test_keys_spread_evenly_over_partitions(name: str, partitions: int) -> None:
    keys = SPREAD[name]
    [(column, _)] = split_keys(keys)
    hashes = hash_keys(column)
    assert len(np.unique(hashes)) == len(keys)
    counts = np.bincount(partition_of(hashes, partitions), minlength=partitions)
    assert len(counts) == partitions
    expected = len(keys) / partitions
    surplus = (float(((counts - expected) ** 2 / expected).sum()) - (partitions - 1)) / (2 * (partitions - 1)) ** 0.5
    assert surplus < 5  # standard deviations of chi-square; the inputs are fixed


def test_each_bit_of_the_hash_is_set_for_half_of_the_keys() -> None:
    hashes = hash_keys(key_column(KeyKind.STR, WORDS))
    for bit in range(64):
        share = float(((hashes >> np.uint64(bit)) & np.uint64(1)).mean())
        assert abs(share - 0.5) < 0.01


@given(st.lists(st.tuples(st.text(), st.integers(1, 5)), max_size=20), st.integers(0, 20))
def test_the_checksum_of_groups_is_that_of_their_pairs_in_any_division(pairs: list[tuple[str, int]], cut: int) -> None:
    hashes = np.array([hash_of(key) for key, _ in pairs], np.uint64)
    counts = np.array([count for _, count in pairs], np.int64)
    whole = checksum(hashes, counts)
    assert whole == sum(int(h) * int(c) for h, c in zip(hashes, counts, strict=True)) % 2**64
    assert whole == (checksum(hashes[:cut], counts[:cut]) + checksum(hashes[cut:], counts[cut:])) % 2**64


def test_an_empty_column_has_no_hashes() -> None:
    for kind in KeyKind:
        assert hash_keys(key_column(kind, [])).tolist() == []
