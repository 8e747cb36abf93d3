"""Answers that other tools give though some of the input was lost on the way. Here they are right, or there is none.

Each test is named after what was lost, and says in which system. Those of calls, phases and results stand in `test_results_and_phases.py`.
"""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import smr_notebook as smr
from smr_notebook.errors import ConfigError, InputFormatError, InputMissingError, InputMixedError, PlanError, TaskError


def result(job: smr.Job) -> dict[Any, Any]:
    frame = job.result()
    return dict(zip(frame.key, frame.value, strict=True))


def one(line: str) -> Iterator[tuple[str, int]]:
    yield "lines", 1


@pytest.mark.parametrize("split_size", [1_000, 33_333, 1 << 20])
def test_1_lines_that_a_cut_goes_through_are_counted_once(session: smr.Session, tmp_path: Path, split_size: int) -> None:
    """Lithops: `readline()` over chunks gives 40,002 of 40,000 lines, since the part of a line at the edge of a chunk counts as well."""
    (tmp_path / "lines").write_text("".join(f"line {number:05d} of this file\n" for number in range(40_000)))
    seen = session.map_reduce(lambda line: [(line, 1)], sum, tmp_path / "lines", split_size=split_size).result()
    assert seen.key.tolist() == [f"line {number:05d} of this file" for number in range(40_000)]
    assert set(seen.value) == {1}


@pytest.mark.parametrize("split_size", [10_000, 128 << 10, 200_000])
def test_2_a_line_that_is_longer_than_a_split_is_one_line(session: smr.Session, tmp_path: Path, split_size: int) -> None:
    """Lithops: of a line over 128 KiB across the edge of a chunk one part is lost, and the other a line of its own."""
    lines = ["short"] * 10 + ["x" * 248_575] + ["short"] * 10 + ["é" * 150_000, "last"]
    (tmp_path / "lines").write_text("\n".join(lines))
    sizes = result(session.map_reduce(lambda line: [(len(line), 1)], sum, tmp_path / "lines", split_size=split_size))
    assert sizes == Counter(map(len, lines))


@pytest.mark.parametrize("end", ["", "\n", "\n\n", "\r\n"])
def test_3_reading_comes_to_its_end(session: smr.Session, tmp_path: Path, end: str) -> None:
    """Lithops: `for line in stream` never ends."""
    for name, stored in (("plain", f"a\nb{end}".encode()), ("compressed.gz", gzip.compress(f"a\nb{end}".encode()))):
        (tmp_path / name).write_bytes(stored)
        wanted = f"a\nb{end}".replace("\r\n", "\n").removesuffix("\n").split("\n")
        assert result(session.map_reduce(one, sum, tmp_path / name, split_size=2)) == {"lines": len(wanted)}


def test_4_all_pieces_of_one_path_are_mapped_also_those_that_are_tried_again(session: smr.Session, tmp_path: Path) -> None:
    """Lithops: `RetryingFunctionExecutor.map` keeps one of six futures of a path that is cut: 95,326 of 500,000 records."""
    (tmp_path / "records").write_text("".join(f"{number}\n" for number in range(50_000)))
    mark = tmp_path / "marks"
    mark.mkdir()

    def fails_once_a_split(line: str) -> Iterator[tuple[str, int]]:
        place = mark / str(int(line) // 9_000)
        if int(line) % 9_000 == 17 and not place.exists():
            place.touch()
            raise ConnectionError(f"the first try of {line}")
        yield "sum", int(line)

    job = session.map_reduce(fails_once_a_split, sum, tmp_path / "records", split_size=50_000, retries=6)
    assert result(job) == {"sum": sum(range(50_000))}
    assert job.status().map.tasks == 6
    assert job.status().map.retried


def test_6_inputs_of_several_kinds_are_all_read_or_refused(session: smr.Session, tmp_path: Path) -> None:
    """Lithops: of URLs and paths together only the URLs are read."""
    (tmp_path / "a").write_text("1\n2\n")
    (tmp_path / "b").write_text("3\n")
    assert result(session.map_reduce(one, sum, smr.files(tmp_path / "a", f"file://{tmp_path}/b"))) == {"lines": 3}
    with pytest.raises(ConfigError, match="no reader for https://"):
        session.map_reduce(one, sum, smr.files(tmp_path / "a", "https://example.org/b"))
    with pytest.raises(PlanError, match="names a file or a URL"):
        session.map_reduce(one, sum, [str(tmp_path / "a"), "https://example.org/b"])


def test_7_a_path_that_is_missing_or_named_twice_is_an_error(session: smr.Session, tmp_path: Path) -> None:
    """Lithops: it is dropped, and two inputs give one result."""
    (tmp_path / "a").write_text("1\n")
    with pytest.raises(InputMissingError, match="none"):
        session.map_reduce(one, sum, smr.files(tmp_path / "a", tmp_path / "none"))
    with pytest.raises(InputMixedError, match="named twice"):
        session.map_reduce(one, sum, smr.files(tmp_path / "a", tmp_path / "a"))


def test_7_each_object_gives_its_record_also_an_empty_one(session: smr.Session, tmp_path: Path) -> None:
    """Lithops: empty files vanish, so that results do not line up with inputs any more."""
    for number in range(6):
        (tmp_path / f"{number}").write_bytes(b"x" * (number % 3))
    with pytest.warns(smr.PlanWarning, match="Empty objects give an empty record each: 2 of 6"):
        job = session.map_reduce(lambda source, data: [(source[-1], len(data))], None, tmp_path, format="binary")
    assert result(job) == {str(number): number % 3 for number in range(6)}


def test_11_what_follows_a_long_line_is_read(session: smr.Session, tmp_path: Path) -> None:
    """Corral: `bufio.Scanner` ends at a line over 64 KiB, and nobody asks why: the rest of the split is dropped."""
    (tmp_path / "lines").write_text("a\n" + "x" * (1 << 20) + "\n" + "b\n" * 1_000)
    assert result(session.map_reduce(lambda line: [(line[0], 1)], sum, tmp_path / "lines")) == {"a": 1, "b": 1_000, "x": 1}


def test_13_values_may_hold_any_sign(session: smr.Session) -> None:
    """MARLA: a value with a comma is an "incorrect formatted line" that is ignored."""
    values = ["a,b", "", ",", "\n", "\t", "\0", '"', "é", "\udc80", "k,v\nk,v"]
    found = session.map_reduce(lambda pair: [pair], lambda _, values: list(values), smr.items([("k", value) for value in values]))
    assert found.result().value.tolist() == [values]


def test_13_keys_may_begin_with_any_sign(session: smr.Session) -> None:
    """MARLA: a key whose first sign is 130 or more has no reducer."""
    keys = [chr(code) + "rest" for code in (*range(0, 0xD800, 97), *range(0xE000, 0x11000, 997), 0x10FFFF)]
    assert result(session.map_reduce(lambda key: [(key, 1)], sum, smr.items(keys * 2), reducers=7)) == dict.fromkeys(keys, 2)


def test_13_a_piece_without_a_line_end_is_no_loss(session: smr.Session, tmp_path: Path) -> None:
    """MARLA: a chunk in which no line ends is lost as a whole, and the reducers give up after 20 polls."""
    (tmp_path / "one").write_text("x" * 100_000)
    assert result(session.map_reduce(lambda line: [("size", len(line))], sum, tmp_path / "one", split_size=1_000)) == {"size": 100_000}


def test_16_a_listing_does_not_end_at_a_thousand(session: smr.Session, tmp_path: Path) -> None:
    """Serverless-MR: `list_objects` without paging, so that what comes after 1,000 is ignored. (Of S3: `tests/aws/test_source_s3.py`.)"""
    for number in range(1_234):
        (tmp_path / f"{number:04d}").write_text("x\n")
    job = session.map_reduce(lambda source, _: [(source[-4:], 1)], sum, tmp_path, reducers=2)
    assert sorted(job.result().key) == [f"{number:04d}" for number in range(1_234)]
    parts = session.map_reduce(one, sum, smr.items(range(1_100)), split_size=1)
    assert result(parts) == {"lines": 1_100}
    assert parts.status().map.tasks > 1_000


@pytest.mark.parametrize("format", ["text", "jsonl", "csv"])
def test_16_a_line_that_cannot_be_read_is_an_error(session: smr.Session, tmp_path: Path, format: str) -> None:
    """AWS Labs' reference: an error of a line is printed, and the line left out."""
    wrong = {"text": b"b\xff\n", "jsonl": b'{"b": \n', "csv": b'"b"b\n'}[format]
    (tmp_path / "lines").write_bytes({"text": b"a\n", "jsonl": b'"a"\n', "csv": b"a\n"}[format] * 100 + wrong)
    with pytest.raises((InputFormatError, TaskError), match="line 101"):
        session.map_reduce(lambda record: [(1, str(record))], None, tmp_path / "lines", format=format).result()
