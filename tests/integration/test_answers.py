"""The answer equals what plain Python gives, for every plan, with every kind of function and input."""

from __future__ import annotations

import decimal
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import smr_notebook as smr

SPLITS = (1, 2, 7, 64)
REDUCERS = (1, 3, 16)


def words(line: str) -> Iterator[tuple[str, int]]:
    for word in line.split():
        yield word, 1


def status(line: str) -> Iterator[tuple[int, int]]:
    found = re.search(r'" (\d{3}) ', line)
    if found:
        yield int(found[1]), 1


def total(key: Any, values: Iterator[int]) -> int:
    return sum(values)


@pytest.fixture(scope="session")
def word_counts(war_and_peace: Path) -> list[tuple[str, int]]:
    text = war_and_peace.read_text(encoding="utf-8-sig")
    return sorted(Counter(text.split()).items())


@pytest.mark.parametrize("combine", [None, True], ids=["plain", "combined"])
@pytest.mark.parametrize("reducers", REDUCERS)
@pytest.mark.parametrize("splits", SPLITS)
def test_words_of_war_and_peace(
    session: smr.Session, war_and_peace: Path, word_counts: list[tuple[str, int]], splits: int, reducers: int, combine: bool | None
) -> None:
    size = -(-war_and_peace.stat().st_size // splits)
    job = session.map_reduce(words, total, war_and_peace, split_size=size, reducers=reducers, combine=combine)
    frame = job.result()
    assert list(frame.itertuples(index=False, name=None)) == word_counts
    assert job.status().map.tasks == splits
    assert "66,0" in job.proof


@pytest.mark.parametrize("combine", [None, True], ids=["plain", "combined"])
@pytest.mark.parametrize("reducers", REDUCERS)
@pytest.mark.parametrize("splits", SPLITS)
def test_status_codes_of_an_access_log(session: smr.Session, access_log: Path, splits: int, reducers: int, combine: bool | None) -> None:
    lines = access_log.read_text(encoding="utf-8").splitlines()
    expected = sorted(Counter(pair[0] for line in lines for pair in status(line)).items())
    size = -(-access_log.stat().st_size // splits)
    frame = session.map_reduce(status, total, access_log, split_size=size, reducers=reducers, combine=combine, wait=True)
    assert list(frame.itertuples(index=False, name=None)) == expected
    assert frame["key"].dtype == "int64"


def test_builtin_functions_as_reduce(session: smr.Session) -> None:
    numbers = [3, 1, 2, 10, 7]

    def parity(number: int) -> Iterator[tuple[bool, int]]:
        yield number % 2 == 0, number

    expected: dict[Callable[..., Any], tuple[Any, Any]] = {
        sum: (11, 12),
        min: (1, 2),
        max: (7, 10),
        len: (3, 2),
        sorted: ([1, 3, 7], [2, 10]),
    }
    for function, (odd, even) in expected.items():
        frame = session.map_reduce(parity, function, numbers, wait=True)
        assert list(frame.itertuples(index=False, name=None)) == [(False, odd), (True, even)]


def test_no_reduce_gives_the_mapped_pairs_in_key_order(session: smr.Session) -> None:
    frame = session.map_reduce(lambda item: [(item % 3, item)], None, range(10), wait=True)
    assert list(frame.itertuples(index=False, name=None)) == sorted((item % 3, item) for item in range(10))


@pytest.mark.parametrize("reducers", REDUCERS)
@pytest.mark.parametrize("splits", SPLITS)
def test_a_sorted_job_gives_parts_in_total_order(session: smr.Session, access_log: Path, splits: int, reducers: int) -> None:
    lines = access_log.read_text(encoding="utf-8").splitlines()
    size = -(-access_log.stat().st_size // splits)
    sort = "keys" if reducers % 2 else True  # which mean the same
    job = session.map_reduce(lambda line: [(line[:30], line)], None, access_log, sort=sort, split_size=size, reducers=reducers)
    rows = [row for frame in job.scan() for row in frame.itertuples(index=False, name=None)]
    assert rows == sorted(((line[:30], line) for line in lines), key=lambda row: row[0])
    assert len(job.parts()) == reducers


def test_values_reach_reduce_in_order_and_ranges_work_with_reduce(session: smr.Session) -> None:
    numbers = [number * 7919 % 1_000 for number in range(1_000)]

    def by_tens(number: int) -> Iterator[tuple[int, int]]:
        yield number // 10, number

    def in_order(_key: int, values: Iterator[int]) -> list[int]:
        return list(values)

    for sort in ("values", "keys,values", ["values", "keys"]):
        frame = session.map_reduce(by_tens, in_order, numbers, sort=sort, reducers=3, wait=True)
        assert frame["value"].tolist() == [list(range(tens, tens + 10)) for tens in range(0, 1_000, 10)]


def test_what_cannot_be_sorted_is_said(session: smr.Session) -> None:
    with pytest.raises(smr.errors.ConfigError, match="sort must be 'keys', 'values', or 'keys,values'; got 'key'"):
        session.map_reduce(lambda item: [(item, item)], None, range(3), sort="key")
    with pytest.raises(smr.errors.PlanError, match="sort='values' needs a reduce"):
        session.map_reduce(lambda item: [(item, item)], None, range(3), sort="values")
    with pytest.raises(smr.errors.TaskError, match="list cannot be sorted") as caught:
        session.map_reduce(lambda item: [(item, [item])], list, range(3), sort="values", wait=True)
    assert "record" in str(caught.value)


def test_a_generator_reduce_yields_rows(session: smr.Session) -> None:
    def largest_two(key: str, values: Iterator[int]) -> Iterator[tuple[str, int]]:
        for value in sorted(values, reverse=True)[:2]:
            yield key, value

    frame = session.map_reduce(lambda item: [("odd" if item % 2 else "even", item)], largest_two, range(10), reducers=3, wait=True)
    assert list(frame.itertuples(index=False, name=None)) == [("even", 8), ("even", 6), ("odd", 9), ("odd", 7)]


def test_map_with_two_parameters_gets_the_source(session: smr.Session, tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("x\ny\n")
    frame = session.map_reduce(lambda source, line: [(Path(source).name, 1)], sum, tmp_path / "*.txt", wait=True)
    assert list(frame.itertuples(index=False, name=None)) == [("a.txt", 2), ("b.txt", 2)]


def test_dict_values_become_columns(session: smr.Session) -> None:
    def summary(key: int, values: Iterator[int]) -> dict[str, float]:
        numbers = list(values)
        return {"n": len(numbers), "mean": sum(numbers) / len(numbers)}

    frame = session.map_reduce(lambda item: [(item % 2, item)], summary, range(6), wait=True)
    assert frame.to_dict("records") == [{"key": 0, "n": 3, "mean": 2.0}, {"key": 1, "n": 3, "mean": 3.0}]


def test_json_lines_and_a_folder_of_them(session: smr.Session, tmp_path: Path) -> None:
    rows = [{"user": f"u{number % 5}", "amount": number} for number in range(100)]
    for part in range(4):
        (tmp_path / f"part-{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[part::4]))
    frame = session.map_reduce(lambda row: [(row["user"], row["amount"])], sum, tmp_path, wait=True)
    expected = Counter[str]()
    for row in rows:
        expected[str(row["user"])] += int(str(row["amount"]))
    assert list(frame.itertuples(index=False, name=None)) == sorted(expected.items())


def test_binary_objects_are_one_record_each(session: smr.Session, tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.bin").write_bytes(bytes([number]) * number)
    with pytest.warns(smr.PlanWarning, match="an empty record each: 1 of 5"):
        frame = session.map_reduce(
            lambda data: [(len(data), data[:1])], lambda key, values: next(values), tmp_path, format="binary", wait=True
        )
    assert list(frame.itertuples(index=False, name=None)) == [(number, bytes([number]) * min(number, 1)) for number in range(5)]


def test_a_dataframe_gives_its_rows(session: smr.Session) -> None:
    data = pd.DataFrame({"city": ["Bonn", "Jena", "Bonn"], "sales": [1.5, 2.0, 3.0]})
    frame = session.map_reduce(lambda row: [(row["city"], row["sales"])], sum, data, wait=True)
    assert list(frame.itertuples(index=False, name=None)) == [("Bonn", 4.5), ("Jena", 2.0)]


def test_a_generator_is_input(session: smr.Session) -> None:
    frame = session.map_reduce(lambda item: [(item, 1)], sum, (number * number for number in range(50)), wait=True)
    assert frame["key"].tolist() == [number * number for number in range(50)]


def test_keys_keep_their_exact_types(session: smr.Session) -> None:
    keys: list[Any] = [1, 1.0, True, "1", b"1", None, (1, "x"), Decimal("1.0"), 2**80, -(2**80)]
    frame = session.map_reduce(lambda key: [(key, type(key).__name__)], list, smr.items(keys), reducers=3, wait=True)
    assert len(frame) == len(keys)
    for key, names in frame.itertuples(index=False, name=None):
        assert [type(key).__name__] == list(names)


def test_the_same_rows_for_any_number_of_reducers(session: smr.Session) -> None:
    def spread(item: int) -> Iterator[tuple[Any, int]]:
        yield item % 7, item
        yield str(item % 5), item

    frames = [session.map_reduce(spread, list, range(200), reducers=reducers, wait=True) for reducers in (1, 2, 9)]
    rows = [list(frame.itertuples(index=False, name=None)) for frame in frames]
    assert rows[0] == rows[1] == rows[2]


def test_compressed_objects_are_read_by_their_content(session: smr.Session, tmp_path: Path) -> None:
    import bz2
    import gzip
    import lzma

    text = "".join(f"line {number}\n" for number in range(1000)).encode()
    (tmp_path / "a.log").write_bytes(gzip.compress(text))
    (tmp_path / "b.log").write_bytes(bz2.compress(text))
    (tmp_path / "c.log").write_bytes(lzma.compress(text))
    (tmp_path / "d.log").write_bytes(text)
    frame = session.map_reduce(lambda line: [(line, 1)], sum, tmp_path, split_size=2000, wait=True)
    assert len(frame) == 1000
    assert set(frame["value"]) == {4}


def test_an_object_that_is_called_like_a_generator_yields_rows(session: smr.Session) -> None:
    class Each:
        def __call__(self, key: int, values: Iterator[int]) -> Iterator[tuple[int, int]]:
            for value in values:
                yield key, value

    class Numbered:
        def __call__(self, values: list[int]) -> Iterator[tuple[int, int]]:
            yield from enumerate(values)

    each = session.map_reduce(lambda item: [(item % 2, item)], Each(), range(4), wait=True)
    assert list(each.itertuples(index=False, name=None)) == [(0, 0), (0, 2), (1, 1), (1, 3)]
    numbered = session.map_reduce(lambda item: [(0, item)], Numbered(), range(3), wait=True)
    assert list(numbered.itertuples(index=False, name=None)) == [(0, 0), (1, 1), (2, 2)]


def test_what_a_job_does_to_its_process_ends_with_the_job(session: smr.Session) -> None:
    def spoils(item: int) -> Iterator[tuple[int, int]]:
        decimal.getcontext().prec = 3
        os.chdir("/")
        os.environ["SPOILT"] = "1"
        sys.setrecursionlimit(80)
        json.dumps = lambda *_, **__: "spoilt"
        yield item, 1

    def looks(item: int) -> Iterator[tuple[str, Any]]:
        yield str(decimal.Decimal(1) / 3), (json.dumps([item]) == f"[{item}]", "SPOILT" in os.environ, sys.getrecursionlimit() > 80)

    session.map_reduce(spoils, None, range(20), wait=True)
    frame = session.map_reduce(looks, set, range(20), wait=True)
    assert list(frame.itertuples(index=False, name=None)) == [("0." + "3" * 28, {(True, False, True)})]


def test_trying_the_combiner_leaves_no_trace_in_the_functions(session: smr.Session) -> None:
    seen: set[int] = set()

    def once(item: int) -> Iterator[tuple[int, int]]:
        if item not in seen:
            seen.add(item)
            yield item % 2, 1

    def total(key: int, values: Iterator[int]) -> int:
        return sum(values)

    for _ in range(2):
        frame = session.map_reduce(once, total, list(range(10)), combine=True, wait=True)
        assert list(frame.itertuples(index=False, name=None)) == [(0, 5), (1, 5)]
    assert not seen
