"""Input states, each of which is read, an error, or a warning: what docs/formats.md says of files, from the plan to the last byte."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from smr_notebook.backends.local.source import FileSource
from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.source import MemorySource
from smr_notebook.control.naming import files, find
from smr_notebook.control.reading import PlannedInput, plan_input
from smr_notebook.dataflow.inputs import RecordBlock, open_blocks
from smr_notebook.dataflow.splits import plan_splits
from smr_notebook.errors import (
    ConfigError,
    InputChangedError,
    InputEmptyError,
    InputMissingError,
    InputMixedError,
    InputReadError,
)
from smr_notebook.model import PLAINLY, Dialect, Reading

SOURCES = {"file": FileSource()}


def planned(*patterns: object, format: str = "auto", split_size: int = 0, reading: Reading = PLAINLY) -> PlannedInput:
    named = files(*map(str, patterns))
    return plan_input(named, SOURCES, store=MemoryStore(), job="j", format=format, split_size=split_size, slots=2, reading=reading)


def blocks(plan: PlannedInput) -> Iterator[RecordBlock]:
    for split in plan_splits(plan.objects, split_bytes=plan.split_bytes):
        yield from open_blocks(split, plan.format, SOURCES, reading=plan.reading)


def records(plan: PlannedInput) -> list[Any]:
    return [record for block in blocks(plan) for record in block.records]


def test_what_is_missing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for pattern in ("none", "none/*", "empty", "empty/", "empty/**", "*.csv"):
        with pytest.raises(InputMissingError, match=r"Nothing found under '.*no such file, and no folder with a file in it"):
            planned(tmp_path / pattern)


def test_a_name_that_is_missing_is_told_with_the_one_beside_it_that_is_near(tmp_path: Path) -> None:
    (tmp_path / "access.log").write_text("x\n")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputMissingError, match=r"Did you mean 'access\.log'\?$"):
        planned(tmp_path / "acces.log")
    for pattern in ("empty", "acces*.lg", "none/access.log", "nothing like it"):
        with pytest.raises(InputMissingError, match=r"the glob\.$"):
            planned(tmp_path / pattern)


def test_one_location_that_is_missing_is_an_error_though_others_are_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x\n")
    with pytest.raises(InputMissingError, match="none"):
        planned(tmp_path / "a", tmp_path / "none")


def test_a_name_that_only_looks_the_same_is_told(tmp_path: Path) -> None:
    (tmp_path / unicodedata.normalize("NFD", "café.txt")).write_text("x\n")
    with pytest.raises(InputMissingError, match=r"written with other signs \(Unicode NFD\)"):
        planned(tmp_path / unicodedata.normalize("NFC", "café.txt"))
    assert records(planned(tmp_path / "caf*.txt")) == ["x"]


def test_what_holds_nothing_is_an_error_and_what_holds_nothing_beside_others_a_warning(tmp_path: Path) -> None:
    (tmp_path / "_SUCCESS").write_bytes(b"")
    with pytest.raises(InputEmptyError, match="1 objects found, and all of them are empty"):
        planned(tmp_path)
    (tmp_path / "part-0.jsonl").write_text("1\n")
    plan = planned(tmp_path)
    assert plan.warnings == (f"Empty objects give no records: 1 of 2, {tmp_path}/_SUCCESS first.",)
    assert records(plan) == [1]
    assert records(planned(tmp_path, format="binary")) == [b"", b"1\n"]


def test_marks_and_hidden_files_that_are_read_are_a_warning(tmp_path: Path) -> None:
    (tmp_path / "d/.ipynb_checkpoints").mkdir(parents=True)
    for name in ("a.txt", ".ipynb_checkpoints/a.txt", "_committed_1.txt"):
        (tmp_path / "d" / name).write_text("x\n")
    (warning,) = planned(tmp_path / "d").warnings
    assert f"2 of 3 objects have one and are read as well, {tmp_path}/d/.ipynb_checkpoints/a.txt first" in warning
    assert planned(tmp_path / "d/[a-z]*").warnings == ()
    assert planned(tmp_path / "d/_*").warnings == ()
    assert planned(tmp_path / "d/.ipynb_checkpoints").warnings == ()
    (tmp_path / "d/.a.parquet.crc").write_bytes(b"x")
    (tmp_path / "d/a.parquet").write_bytes(b"x")
    with pytest.raises(InputMixedError):
        planned(tmp_path / "d")


def test_a_dot_in_a_path_is_no_hidden_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.txt", ".b.txt"):
        (tmp_path / name).write_text("x\n")
    assert len(planned(".").warnings) == len(planned("./").warnings) == len(planned(f"../{tmp_path.name}").warnings) == 1


@pytest.mark.parametrize("others", ["a.txt", "./a.txt", "*.txt", "../{0}/a.txt", "a.t*", "link.txt", "hard.txt", "."])
def test_what_is_named_twice_is_an_error_however_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("x\n")
    if others == "link.txt":
        (tmp_path / others).symlink_to("a.txt")
    if others == "hard.txt":
        (tmp_path / others).hardlink_to(tmp_path / "a.txt")
    with pytest.raises(InputMixedError, match=r"a\.txt.*(is named twice|are one file)"):
        planned(tmp_path / "a.txt", others.format(tmp_path.name))


def test_a_folder_that_holds_a_file_twice_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "2026").mkdir()
    (tmp_path / "2026/a.txt").write_text("x\n")
    (tmp_path / "latest").symlink_to("2026")
    with pytest.raises(InputMixedError, match=r"2026/a\.txt and .*latest/a\.txt are one file, under two names that are links"):
        planned(tmp_path)
    assert records(planned(tmp_path / "latest")) == ["x"]


def test_copies_are_two_objects(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text("x\n")
    assert records(planned(tmp_path)) == ["x", "x"]


def test_several_kinds_of_input_are_an_error(tmp_path: Path) -> None:
    for name in ("a.csv", "b.jsonl", "c.parquet", "d.txt", "e.tsv"):
        (tmp_path / name).write_text("x,y\n")
    with pytest.raises(InputMixedError, match="mixes formats"):
        planned(tmp_path)
    with pytest.raises(InputMixedError, match="mixes dialects"):
        planned(tmp_path / "*.[ct]sv")


def test_locations_of_several_schemes_are_all_read_or_refused() -> None:
    sources = {"file": MemorySource({"/a": b"1\n"}), "s3": MemorySource({"bucket/b": b"2\n"})}
    assert [(item.scheme, item.info.key) for item in find(files("s3://bucket/b", "/a"), sources)] == [("s3", "bucket/b"), ("file", "/a")]
    with pytest.raises(ConfigError, match=r"no reader for https://.* Fetch it first, and name the file\.$"):
        find(files("/a", "https://example.org/b"), sources)
    with pytest.raises(ConfigError, match=r"no reader for s3://.* One on AWS has: `smr\.use\(smr\.Session\(\"aws\"\)\)`"):
        find(files("s3://bucket/b"), {"file": MemorySource({})})


def shorter(path: Path) -> None:
    path.write_text("a\n")


def same_size(path: Path) -> None:
    path.write_text(path.read_text().replace("a", "b"))


def longer(path: Path) -> None:
    with path.open("a") as file:
        file.write("more\n")


def back_in_time(path: Path) -> None:
    status = path.stat()
    same_size(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replaced(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.replace(path)


CHANGES = [shorter, same_size, longer, back_in_time, replaced]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("split_size", [0, 1 << 20])
def test_what_changed_since_the_plan_is_an_error(tmp_path: Path, change: Callable[[Path], None], split_size: int) -> None:
    (tmp_path / "a").write_text("a line of some length\n" * 200_000)
    plan = planned(tmp_path / "a", split_size=split_size)
    change(tmp_path / "a")
    with pytest.raises(InputChangedError, match="has changed since the job was planned"):
        next(blocks(plan))


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_while_it_is_read_is_an_error(tmp_path: Path, change: Callable[[Path], None]) -> None:
    (tmp_path / "a").write_text("a line of some length\n" * 200_000)
    reading = blocks(planned(tmp_path / "a"))
    assert len(list(islice(reading, 3))) == 3
    change(tmp_path / "a")
    with pytest.raises(InputChangedError, match="has changed since the job was planned"):
        list(reading)


def test_what_vanished_since_the_plan_is_an_error(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text("x\n")
    plan = planned(tmp_path)
    (tmp_path / "b").unlink()
    with pytest.raises(InputMissingError, match=r"There is no file '.*/b'.*moved or deleted"):
        records(plan)


def test_what_became_a_folder_or_a_pipe_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x\n")
    plan = planned(tmp_path)
    (tmp_path / "a").unlink()
    (tmp_path / "a").mkdir()
    with pytest.raises(InputReadError, match="a"):
        records(plan)
    (tmp_path / "a").rmdir()
    os.mkfifo(tmp_path / "a")
    with pytest.raises(InputReadError, match=r"Cannot read .*/a"):
        records(plan)


def test_a_file_that_appears_after_the_plan_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x\n")
    plan = planned(tmp_path)
    (tmp_path / "b").write_text("y\n")
    assert records(plan) == ["x"]


def test_a_listing_is_as_long_as_it_is(tmp_path: Path) -> None:
    for number in range(3_000):
        (tmp_path / f"{number:05d}.txt").write_text(f"{number}\n")
    assert records(planned(tmp_path)) == records(planned(tmp_path / "*.txt")) == [str(number) for number in range(3_000)]


def test_csv_that_nothing_tells_where_to_cut_is_read_whole_with_a_warning(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('",\n,"\n' * 10_000)
    plan = planned(tmp_path / "a.csv", split_size=10_000, reading=Reading(dialect=Dialect(delimiter=",", header=False)))
    assert plan.objects[0].cuts == ()
    (warning,) = plan.warnings
    assert f"1 large objects of CSV are not cut, {tmp_path}/a.csv first: no bytes in their middle tell for sure where a row" in warning
    assert records(plan) == [[",\n,"]] * 10_000
