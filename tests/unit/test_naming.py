"""What the user names as input is understood in one way, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from smr_notebook.backends.memory.source import MemorySource
from smr_notebook.control.naming import Files, FoundObject, Items, Rows, choose_format, classify, files, find, items
from smr_notebook.errors import ConfigError, InputEmptyError, InputMissingError, InputMixedError, InputReadError, PlanError
from smr_notebook.model import Format, ObjectInfo


def found(*keys: str) -> list[FoundObject]:
    return [FoundObject("file", ObjectInfo(key, 1, "v")) for key in keys]


def test_frames_of_other_libraries_give_their_rows_exactly() -> None:
    table = pa.table({"i": pa.array([2**62 + 1, None]), "s": ["a", None]})
    for frame in (table, pl.from_arrow(table)):
        named = classify(frame)
        assert isinstance(named, Rows)
        assert named.frame["i"].tolist()[0] == 2**62 + 1
        assert named.frame["s"].isna().tolist() == [False, True]
    with pytest.raises(PlanError, match="the input is a frame with no columns"):
        classify(pa.table({}))


def test_missing_values_of_other_libraries_are_not_nan() -> None:
    table = pa.table({"f": pa.array([None, 1.5, 0.5]), "both": pa.array([None, float("nan"), 0.5]), "s": [None, "", "a"]})
    for frame in (table, pl.from_arrow(table)):
        named = classify(frame)
        assert isinstance(named, Rows)
        for name, kept in (("f", [1.5, 0.5]), ("s", ["", "a"])):
            assert named.frame[name].tolist()[0] is pd.NA
            assert named.frame[name].tolist()[1:] == kept
        assert (pa.array(named.frame["both"]).null_count, str(named.frame["f"].dtype)) == (1, "Float64")


def test_paths_are_locations_and_other_iterables_are_items() -> None:
    assert classify("a*.txt") == Files(("a*.txt",))
    assert classify(Path("a")) == Files(("a",))
    assert classify([Path("a"), Path("b")]) == Files(("a", "b"))
    assert isinstance(classify(range(3)), Items)
    assert isinstance(classify(["some", "words"]), Items)
    assert isinstance(classify(pd.DataFrame({"a": [1]})), Rows)
    assert classify(files("x", Path("y"))) == Files(("x", "y"))


@pytest.mark.parametrize("wrong", [7, None, b"bytes", {"a": 1}, 1.5])
def test_what_has_no_records_is_refused(wrong: Any) -> None:
    with pytest.raises(PlanError, match="has no records"):
        classify(wrong)


def test_strings_that_could_be_paths_are_not_guessed_at(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    for ambiguous in ([str(tmp_path / "a.txt")], ["s3://bucket/key"], ["word", str(tmp_path / "a.txt")]):
        with pytest.raises(PlanError, match=r"smr\.items"):
            classify(ambiguous)
        assert classify(items(ambiguous)) == Items(ambiguous)


def test_objects_come_in_the_order_named() -> None:
    sources = {"file": MemorySource({"/b": b"1", "/a/2": b"2", "/a/1": b"3"})}
    assert [item.info.key for item in find(files("/b", "/a"), sources)] == ["/b", "/a/1", "/a/2"]


def test_missing_empty_and_repeated_input_is_an_error() -> None:
    sources = {"file": MemorySource({"/a": b"x", "/empty": b""})}
    with pytest.raises(InputMissingError, match="/no"):
        find(files("/a", "/no"), sources)
    with pytest.raises(InputEmptyError, match="/empty"):
        find(files("/empty"), sources)
    with pytest.raises(InputMixedError, match="/a is named twice"):
        find(files("/a", "/a"), sources)
    with pytest.raises(ConfigError, match="no reader for s3"):
        find(files("s3://x"), sources)


def test_a_name_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(InputReadError, match="not UTF-8"):
        find(files("/"), {"file": MemorySource({"/a\udcff": b"x"})})


def test_the_names_tell_the_format() -> None:
    assert choose_format("auto", found("/a.log", "/b")) is Format.TEXT
    assert choose_format("auto", found("/a.jsonl", "/b.ndjson.gz", "/C.JSONL.xz")) is Format.JSONL
    assert choose_format("text", found("/a.csv")) is Format.TEXT
    assert choose_format("auto", found("/a.parquet", "/b.PQ")) is Format.PARQUET
    assert choose_format("auto", [FoundObject("file", ObjectInfo("/_SUCCESS", 0, "v")), *found("/a.parquet")]) is Format.PARQUET
    with pytest.raises(InputMixedError, match="mixes formats"):
        choose_format("auto", found("/a.jsonl", "/b.txt"))
    with pytest.raises(InputMixedError, match=r"/a.parquet is Parquet, /b is text"):
        choose_format("auto", found("/a.parquet", "/b"))
    assert choose_format("auto", found("/a.csv", "/b.CSV.gz")) is Format.CSV
    assert choose_format("auto", found("/a.tsv")) is Format.CSV
    assert choose_format("auto", found("/a.feather", "/b.arrow", "/c.ipc")) is Format.ARROW
    with pytest.raises(InputMixedError, match=r"/a.csv is CSV, /b.tsv holds tabs"):
        choose_format("auto", found("/a.csv", "/b.tsv"))
    with pytest.raises(ConfigError, match="not known"):
        choose_format("xml", found("/a"))
