"""Formats with options, in whole jobs: what is said in the notebook is how workers read; and the examples of the paper run."""

from __future__ import annotations

import gzip
import io
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

import smr_notebook as smr
from smr_notebook import errors

PAPER = Path(__file__).parents[2] / "docs" / "formats.md"


def lines_of(session: smr.Session, path: Path, **options: Any) -> list[Any]:
    frame: pd.DataFrame = session.map_reduce(lambda line: [(line, 1)], None, path, wait=True, **options)
    return list(frame["key"])


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "cp037", "shift_jis"])
def test_text_is_read_in_its_encoding_by_many_tasks(session: smr.Session, tmp_path: Path, encoding: str) -> None:
    word = {"latin-1": "café", "utf-16": "ਊ😀", "cp037": "naïve", "shift_jis": "表ﾊ"}[encoding]
    (tmp_path / "a.txt").write_bytes("".join(f"{word} {number}\n" for number in range(300)).encode(encoding))

    job = session.map_reduce(
        lambda line: [(line.split()[0], 1)], sum, tmp_path / "a.txt", format=smr.formats.text(encoding=encoding), split_size=500
    )

    assert job.result().to_dict("list") == {"key": [word], "value": [300]}
    assert "300 records read = mapped" in str(job.proof)
    assert job.status().map.tasks > 1


def test_text_whose_encoding_has_a_state_is_one_task_and_the_plan_says_so(session: smr.Session, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("漢字\n".encode("iso2022_jp") * 300)

    with pytest.warns(smr.PlanWarning, match="Text in iso2022_jp is read from its first byte on"):
        job = session.map_reduce(
            lambda line: [(line, 1)], sum, tmp_path / "a.txt", format=smr.formats.text(encoding="iso2022_jp"), split_size=500
        )
    assert job.result().to_dict("list") == {"key": ["漢字"], "value": [300]}
    assert job.status().map.tasks == 1


@pytest.mark.parametrize("format", ["text", "jsonl"])
def test_lines_that_are_none_may_be_left_out_in_any_encoding(session: smr.Session, tmp_path: Path, format: str) -> None:
    lines = [b'"\xe9\xe0"', b'"fine"', b"\x81", b'"also"'] * 50
    (tmp_path / "a.txt").write_bytes(b"\n".join(lines))

    told = getattr(smr.formats, format)(encoding="cp1252")
    job = session.map_reduce(lambda line: [(line, 1)], sum, tmp_path / "a.txt", format=told, split_size=100, on_error="collect", max_bad=50)
    with pytest.warns(smr.LeftOutWarning, match="leaves out 50 of 200 records"):
        frame = job.result()
    assert sorted(frame["key"].str.strip('"')) == ["also", "fine", "éà"]
    assert set(frame["value"]) == {50}
    assert sorted(job.bad["offset"]) == [number * 21 + 12 for number in range(50)]


def test_bytes_that_are_no_text_are_replaced_where_that_is_said(session: smr.Session, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"caf\xe9\nfine\n")

    with pytest.raises(errors.InputFormatError, match=r"is not UTF-8 text: byte 0xE9 at offset 3 \(line 1\).*smr\.formats\.text"):
        lines_of(session, tmp_path / "a.txt")
    assert lines_of(session, tmp_path / "a.txt", format=smr.formats.text(errors="replace")) == ["caf�", "fine"]


def test_a_mark_of_utf_16_says_what_to_say(session: smr.Session, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("some\nlines\n".encode("utf-16"))

    with pytest.raises(errors.InputFormatError, match=r"byte order mark of UTF-16.*format=smr\.formats\.text\(encoding='utf-16'\)"):
        lines_of(session, tmp_path / "a.txt")
    assert lines_of(session, tmp_path / "a.txt", format=smr.formats.text(encoding="utf-16")) == ["lines", "some"]


def test_records_of_one_size_are_counted_by_many_tasks(session: smr.Session, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"HEAD" + b"".join(struct.pack("<Iq", number % 3, number) for number in range(1000)))

    def total(record: bytes) -> Iterator[tuple[int, int]]:
        yield struct.unpack("<Iq", record)

    frame = session.map_reduce(total, sum, tmp_path / "a.bin", format=smr.formats.fixed(12, header_bytes=4), split_size=1000, wait=True)
    assert frame["value"].tolist() == [sum(range(first, 1000, 3)) for first in range(3)]
    with pytest.raises(errors.InputFormatError, match=r"a\.bin has 12,004 bytes, .* records of 11 bytes: 3 are left over"):
        session.map_reduce(total, sum, tmp_path / "a.bin", format=smr.formats.fixed(11), wait=True)


def test_a_parser_travels_and_its_errors_are_told_with_line_object_and_record(session: smr.Session, tmp_path: Path) -> None:
    (tmp_path / "a.dat.gz").write_bytes(gzip.compress(b"\3abc\2de\4fghi"))
    (tmp_path / "b.dat").write_bytes(b"\1z\2x")

    def parse(source: str, stream: io.BufferedReader) -> Iterator[tuple[str, bytes]]:
        while head := stream.read(1):
            record = stream.read(head[0])
            if len(record) < head[0]:
                raise EOFError(f"record of {head[0]} bytes is cut")
            yield Path(source).name, record

    def map(record: tuple[str, bytes]) -> Iterator[tuple[str, int]]:
        yield record[0], len(record[1])

    whole = session.map_reduce(map, sum, tmp_path / "a.dat.gz", format=smr.formats.parse(parse), wait=True)
    assert whole.to_dict("list") == {"key": ["a.dat.gz"], "value": [9]}
    job = session.map_reduce(map, sum, tmp_path, format=smr.formats.parse(parse), retries=9)
    with pytest.raises(errors.TaskError) as caught:
        job.result()
    assert job.status().map.failed == 2  # the same error at the same record twice ends the task
    text = str(caught.value)
    for part in ("EOFError in parse: record of 2 bytes is cut", "raise EOFError(", "b.dat, while record 5 was made"):
        assert part in text
    assert isinstance(caught.value.__cause__, EOFError)


def test_columns_are_read_from_what_a_parser_gives(session: smr.Session, tmp_path: Path) -> None:
    (tmp_path / "a.dat").write_bytes(bytes(range(200)))

    def parse(stream: io.BufferedReader) -> Iterator[dict[str, int]]:
        for byte in stream.read():
            yield {"low": byte % 4, "byte": byte}

    format = smr.formats.parse(parse)
    frame = session.aggregate(tmp_path / "a.dat", by="low", total=smr.sum("byte"), format=format, wait=True)
    assert frame["total"].tolist() == [sum(range(low, 200, 4)) for low in range(4)]
    counted = session.map_frames(
        None, lambda rows: rows.groupby("low", as_index=False).sum(), tmp_path / "a.dat", by="low", format=format, wait=True
    )
    assert counted["byte"].tolist() == frame["total"].tolist()


def test_what_a_parser_gives_may_be_left_out_where_it_is_no_row_or_fails(session: smr.Session, tmp_path: Path) -> None:
    (tmp_path / "a.dat").write_bytes(bytes(range(200)))

    def parse(stream: io.BufferedReader) -> Iterator[Any]:
        for byte in stream.read():
            yield {"low": byte % 4, "byte": byte} if byte % 50 else byte

    format = smr.formats.parse(parse)
    job = session.aggregate(tmp_path / "a.dat", by="low", n=smr.count(), format=format, on_error="skip", max_bad=4)
    with pytest.warns(smr.LeftOutWarning, match="leaves out 4 of 200 records"):
        assert job.result()["n"].tolist() == [48, 50, 48, 50]
    job = session.map_reduce(lambda row: [(row["low"], 1)], sum, tmp_path / "a.dat", format=format, on_error="skip", max_bad=4)
    with pytest.warns(smr.LeftOutWarning, match="leaves out 4 of 200 records"):
        assert job.result()["value"].tolist() == [48, 50, 48, 50]


def test_a_format_for_what_is_in_memory_is_refused(session: smr.Session) -> None:
    with pytest.raises(errors.PlanError, match="format=text says how objects are read, and the input is in memory already"):
        session.map_reduce(lambda item: [(item, 1)], None, [1, 2], format="text")


EXAMPLES = re.findall(r"```python\n(.*?)```", PAPER.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=[text.splitlines()[0][:40] for text in EXAMPLES])
def test_an_example_of_the_paper_runs(session: smr.Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, example: str) -> None:
    monkeypatch.chdir(tmp_path)
    names = {name: getattr(smr, name) for name in smr.__all__}
    face = {name: getattr(session, name) for name in ("map_reduce", "map_frames", "aggregate", "plan")}
    exec(compile(example, str(PAPER), "exec"), {"smr": SimpleNamespace(**(names | face)), "__name__": "paper"})  # noqa: S102 - it is ours
