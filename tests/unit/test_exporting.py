"""Parts as files of one's own: the same rows, one schema, all or nothing under the name."""

from __future__ import annotations

import errno
import json
import math
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from smr_notebook.backends.local.source import FileSource
from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.control.naming import Files, find
from smr_notebook.dataflow.export_marks import Mark, write_mark
from smr_notebook.dataflow.export_shapes import FORMATS, PARQUET, TEXTS, Shape
from smr_notebook.dataflow.export_targets import LocalTarget, put_new, target_of
from smr_notebook.dataflow.exporting import WrittenFiles, export, iter_pieces
from smr_notebook.dataflow.frames.rows import library
from smr_notebook.dataflow.outputs import PartWriter
from smr_notebook.dataflow.results import iter_frames, load_frame
from smr_notebook.errors import ConfigError, CorruptObjectError, PairShapeError, StoreError
from smr_notebook.model import Part
from smr_notebook.ports import Buffer, ObjectStore

Rows = list[tuple[Any, Any]]


def part(objects: MemoryStore, number: int, rows: Rows, *, attempt: int = 1) -> Part:
    with tempfile.TemporaryDirectory() as scratch:
        writer = PartWriter(objects, f"job/{number}/{attempt}", number, grouped_order=False, scratch=Path(scratch))
        writer.add([key for key, _ in rows], [value for _, value in rows])
        return writer.close()


def frames(objects: MemoryStore, table: Any, number: int, by: list[str]) -> Part:
    rows = library("arrow").rows_of(table, "reduce")
    with tempfile.TemporaryDirectory() as scratch:
        writer = PartWriter(objects, f"job/{number}/1", number, grouped_order=False, scratch=Path(scratch))
        writer.add_rows(rows, by=by)
        return writer.close()


def written(
    objects: ObjectStore, parts: list[Part], path: Path | str, *, overwrite: bool = False, store: ObjectStore | None = None
) -> WrittenFiles:
    targets: dict[str, Callable[[str], ObjectStore]] = {} if store is None else {"s3": lambda _: store}
    return export(objects, parts, target_of(path, overwrite=overwrite, targets=targets, platform="memory"))


@pytest.fixture
def objects() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def parts(objects: MemoryStore) -> list[Part]:
    return [part(objects, number, [(key, key * 2) for key in range(number, 12, 3)]) for number in range(3)]


def test_a_folder_holds_a_file_for_each_piece(objects: MemoryStore, parts: list[Part], tmp_path: Path) -> None:
    found = written(objects, parts[::-1], tmp_path / "out")
    assert found == WrittenFiles(
        str(tmp_path / "out"), tuple(str(tmp_path / "out" / f"part-0000{number}.parquet") for number in range(3)), 12, found.size
    )
    assert found.size == sum(Path(file).stat().st_size for file in found.files)
    for file, frame in zip(found.files, iter_frames(objects, parts), strict=True):
        assert_frame_equal(pd.read_parquet(file), frame)
    assert ds.dataset(tmp_path / "out").count_rows() == 12  # lazily, by anybody
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    (tmp_path / "other").mkdir()
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_one_file_holds_all(objects: MemoryStore, parts: list[Part], tmp_path: Path) -> None:
    found = written(objects, parts, tmp_path / "all.parquet")
    assert found.files == (str(tmp_path / "all.parquet"),)
    assert_frame_equal(pd.read_parquet(found.files[0]), pd.concat(iter_frames(objects, parts), ignore_index=True))
    assert [path.name for path in tmp_path.iterdir()] == ["all.parquet"]


VALUES = st.one_of(
    *(st.lists(values, min_size=1, max_size=5) for values in (st.integers(-(2**53), 2**53), st.floats(allow_nan=False), st.none())),
    st.lists(st.integers(-(2**53), 2**53) | st.none() | st.floats(allow_nan=False), min_size=1, max_size=5),
)


@settings(max_examples=min(40, settings().max_examples))
@given(st.lists(VALUES, min_size=1, max_size=4))
def test_what_is_written_has_the_values_that_there_are(pieces: list[list[Any]]) -> None:
    objects = MemoryStore()
    found = [part(objects, number, [(number, value) for value in values]) for number, values in enumerate(pieces)]
    expected = [value for values in pieces for value in values]
    with tempfile.TemporaryDirectory() as folder:
        files = written(objects, found, Path(folder) / "out").files
        tables = [pq.read_table(file) for file in files]
        assert all(table.schema == tables[0].schema for table in tables)
        assert pa.concat_tables(tables).column("value").to_pylist() == expected
        written(objects, found, Path(folder) / "all.parquet")
        assert pq.read_table(Path(folder) / "all.parquet").column("value").to_pylist() == expected


SMALL = st.integers(-3, 3)
SCALARS = (
    st.none(),
    st.booleans(),
    SMALL,
    st.sampled_from([0.5, 1.0, math.inf]),
    st.sampled_from(["", "é"]),
    st.sampled_from([b"", b"\xff"]),
    st.sampled_from([Decimal("0.1"), Decimal(5), Decimal("1e30"), Decimal("0.12345678901234567890123")]),
    st.just(date(2026, 1, 2)),
    st.sampled_from([datetime(2026, 1, 2), datetime(2026, 1, 2, tzinfo=UTC)]),  # noqa: DTZ001
    st.just(2**53 + 1),
)
KINDS = (
    *SCALARS,
    st.tuples(SMALL, st.none() | SMALL),
    st.tuples(SMALL, SMALL, st.none() | SMALL | st.just(0.5)),
    st.lists(st.one_of(*SCALARS[:6]), max_size=2),
    st.lists(st.dictionaries(st.sampled_from("ab"), SMALL), max_size=2),
    st.dictionaries(st.sampled_from(["n", "value", "key", "value.key"]), st.one_of(*SCALARS[:6]), max_size=2),
    st.fixed_dictionaries({"n": SMALL}),
)
DEALT = st.lists(st.sampled_from(range(len(KINDS))), min_size=1, max_size=2).flatmap(
    lambda chosen: st.lists(
        st.tuples(st.integers(0, 2), st.one_of(*(KINDS[kind] for kind in chosen)), st.integers(0, 3)), min_size=1, max_size=8
    )
)
"""Rows, each a key, a value of one kind or two, and the piece to which it is dealt."""


@settings(max_examples=5 * settings().max_examples // 2)
@example([(1, {"n": 2}, 0), (2, None, 1)])
@example([(1, [None, None], 0), (2, None, 1)])
@example([(1, {"value": 2}, 0), (2, 3, 1)])
@example([(1, {"n": None}, 0), (2, {"n": True}, 1), (3, {"key": None, "value.key": None}, 1)])
@given(DEALT)
def test_any_dealing_of_rows_to_pieces_gives_the_same_table_or_the_same_refusal(rows: list[tuple[int, Any, int]]) -> None:
    objects = MemoryStore()

    def table(pieces: list[Rows]) -> object:
        found = [part(objects, number, piece) for number, piece in enumerate(pieces) if piece]
        with tempfile.TemporaryDirectory() as folder:
            try:
                table = pq.read_table(written(objects, found, Path(folder) / "all.parquet").path)
            except ConfigError:
                return "refused"
            plain = sorted((field.name, str(field.type)) for field in _in_order(table.schema))
            return plain, sorted(repr(sorted_names(row)) for row in table.to_pylist())

    numbers = range(4)
    whole = table([[(key, value) for key, value, _ in rows]])
    assert table([[(key, value) for key, value, piece in rows if piece == number] for number in numbers]) == whole
    assert table([[(key, value)] for key, value, _ in rows]) == whole


def sorted_names(value: Any) -> Any:
    """Return a value without the order in which names appeared."""
    if isinstance(value, dict):
        return sorted((name, sorted_names(item)) for name, item in value.items())
    return list(map(sorted_names, value)) if isinstance(value, list) else value


def _in_order(fields: Iterable[Any]) -> list[pa.Field[Any]]:
    return [pa.field(field.name, _type_in_order(field.type)) for field in fields]


def _name(field: Any) -> str:
    return str(field.name)


def _type_in_order(type: Any) -> Any:
    if pa.types.is_struct(type):
        return pa.struct(sorted(_in_order(type), key=_name))
    return pa.list_(_type_in_order(type.value_type)) if pa.types.is_list(type) else type


@pytest.mark.parametrize(
    "values",
    [
        ["a", "ä"],
        [b"a", None],
        [date(1, 1, 1), None],
        [datetime(9999, 1, 1, 1, 2, 3, 4)],  # noqa: DTZ001
        [Decimal("1.50"), Decimal(2)],
        [[1], [2, 3]],
        [True, None],
    ],
)
def test_a_value_of_a_type_that_parquet_knows_is_what_it_was(objects: MemoryStore, values: list[Any], tmp_path: Path) -> None:
    written(objects, [part(objects, 0, list(enumerate(values)))], tmp_path / "a.parquet")
    assert pq.read_table(tmp_path / "a.parquet").column("value").to_pylist() == values


@pytest.mark.parametrize(
    "pieces", [[[1, "a"]], [[1], ["a"]], [[2**80, 1]], [[2**53 + 1], [0.5]], [[(1, "a"), 2]], [[(1,)], [(1, 2), 3]], [[{1: 2}, 3]]]
)
def test_what_no_one_type_holds_exactly_is_refused_and_nothing_is_left(
    objects: MemoryStore, pieces: list[list[Any]], tmp_path: Path
) -> None:
    parts = [part(objects, number, list(enumerate(values))) for number, values in enumerate(pieces)]
    for name in ("out", "all.parquet"):
        with pytest.raises(ConfigError, match=r"job\.scan\(\)"):
            written(objects, parts, tmp_path / name)
    assert list(tmp_path.iterdir()) == []
    assert sum(map(len, iter_pieces(objects, parts, None))) == sum(map(len, pieces))


@pytest.mark.parametrize(
    "values",
    [
        ["é", b"\xff"],
        [Decimal("0.1"), 0.5],
        [Decimal("0.1"), 5],
        [True, 0.5],
        [True, 1],
        [(1, 2), (1, 2, None)],
        [["a"], [b"b"]],
        [[Decimal("0.1")], [0.5]],
        [[True], [0.5]],
        [{"value": 1}, 2],
        [datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 2)],  # noqa: DTZ001
        [datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=1)))],
        [{}, {}],
    ],
)
def test_what_goes_into_no_one_type_is_refused_in_one_piece_and_in_several(objects: MemoryStore, values: list[Any], tmp_path: Path) -> None:
    for pieces in ([values], [[value] for value in values], [[value] for value in values[::-1]]):
        found = [part(objects, number, list(enumerate(piece))) for number, piece in enumerate(pieces)]
        with pytest.raises(ConfigError, match=r"job\.scan\(\)"):
            written(objects, found, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([{"n": 2}, None, {"m": "a"}], [{"n": 2, "m": None}, None, {"n": None, "m": "a"}]),
        ([{"key": 2}, {"value.key": 3}], [{"key": 2, "value.key": None}, {"key": None, "value.key": 3}]),
        ([{}, None, {"a": 1}], [{"a": None}, None, {"a": 1}]),
        ([[{"a": None}], [{"b": 2}]], [[{"a": None, "b": None}], [{"a": None, "b": 2}]]),
    ],
)
def test_dicts_that_cannot_be_columns_everywhere_are_structs_everywhere(
    objects: MemoryStore, values: list[Any], expected: list[Any], tmp_path: Path
) -> None:
    for number, pieces in enumerate(([values], [[value] for value in values], [values[:2], values[2:]])):
        found = [part(objects, place, list(enumerate(piece))) for place, piece in enumerate(pieces) if piece]
        table = pq.read_table(written(objects, found, tmp_path / f"{number}").path)
        assert table.schema.names == ["key", "value"]
        assert table.column("value").to_pylist() == expected


def test_empty_dicts_among_dicts_lack_all_names(objects: MemoryStore, tmp_path: Path) -> None:
    found = [part(objects, number, [(number, value)]) for number, value in enumerate([{}, {"key": 1, "value": "a"}])]
    rows = pq.read_table(written(objects, found, tmp_path / "a.parquet").path).to_pylist()
    assert rows == [{"key": 0, "value.key": None, "value": None}, {"key": 1, "value.key": 1, "value": "a"}]


def test_a_tuple_is_a_struct_of_its_places(objects: MemoryStore, tmp_path: Path) -> None:
    found = [part(objects, number, [((number, "a"), (0.5, (None, date(2026, 1, 2))))]) for number in range(2)]
    written(objects, found, tmp_path / "a.parquet")
    rows = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert rows == [{"key": {"0": number, "1": "a"}, "value": {"0": 0.5, "1": {"0": None, "1": date(2026, 1, 2)}}} for number in range(2)]


def test_nan_is_no_missing_value(objects: MemoryStore, tmp_path: Path) -> None:
    pieces: list[Rows] = [[(1, math.nan), (2, None)], [(3, {"x": math.nan}), (4, {"x": None})]]
    found = [part(objects, number, rows) for number, rows in enumerate(pieces)]
    written(objects, found[:1], tmp_path / "a.parquet")
    assert str(pq.read_table(tmp_path / "a.parquet").column("value").to_pylist()) == "[nan, None]"
    assert str(next(iter_pieces(objects, found[1:], library("arrow"))).column("x").to_pylist()) == "[nan, None]"


def test_columns_of_frames_are_brought_together(objects: MemoryStore, tmp_path: Path) -> None:
    some = pa.table({"k": [1, 2], "x": pa.array(["a", "b"]).dictionary_encode(), "y": pa.array([1, None], pa.int8())})
    more = pa.table({"k": [3], "x": pa.array(["c"]).dictionary_encode(), "z": [1.5]})
    written(objects, [frames(objects, some, 0, ["k"]), frames(objects, more, 1, ["k"])], tmp_path / "out")
    table = ds.dataset(tmp_path / "out").to_table()
    assert table.to_pydict() == {"k": [1, 2, 3], "x": ["a", "b", "c"], "y": [1, None, None], "z": [None, None, 1.5]}


def test_categories_in_some_frames_and_plain_text_in_others_are_plain(objects: MemoryStore, tmp_path: Path) -> None:
    pieces = [pa.table({"k": [1], "x": pa.array(["a"]).dictionary_encode()}), pa.table({"k": [2], "x": ["b"]})]
    found = [frames(objects, piece, number, ["k"]) for number, piece in enumerate(pieces)]
    table = pq.read_table(written(objects, found, tmp_path / "out").path)
    assert (table.to_pydict(), table.schema.field("x").type) == ({"k": [1, 2], "x": ["a", "b"]}, pa.string())


@pytest.mark.parametrize(
    "columns",
    [
        (["a"], [b"b"]),
        ([Decimal("0.12345678901234567890")], [0.5]),
        ([["a"]], [[b"b"]]),
        ([{"0": 1, "1": 2}], [{"0": 1, "1": 2, "2": 3}]),
    ],
)
def test_what_has_no_result_has_no_files(objects: MemoryStore, columns: tuple[list[Any], list[Any]], tmp_path: Path) -> None:
    found = [frames(objects, pa.table({"k": [number], "x": column}), number, ["k"]) for number, column in enumerate(columns)]
    with pytest.raises(PairShapeError, match="'x' is of type"):
        load_frame(objects, found, limit_bytes=None)
    with pytest.raises(ConfigError, match=r"'x' is of type.*job\.scan\(\)"):
        written(objects, found, tmp_path / "out")


def test_polars_is_not_asked_for_what_it_does_not_hold(objects: MemoryStore) -> None:
    found = [part(objects, 0, [(1, Decimal(10) ** 60)])]
    with pytest.raises(ConfigError, match="'value' has decimals of more than 38 digits"):
        list(iter_pieces(objects, found, library("polars")))


def test_a_result_without_rows_is_a_file_without_rows(objects: MemoryStore, tmp_path: Path) -> None:
    assert (written(objects, [], tmp_path / "out").rows, pd.read_parquet(tmp_path / "out").columns.tolist()) == (0, ["key", "value"])


def test_pieces_are_of_the_library_that_is_asked_for(objects: MemoryStore, parts: list[Part]) -> None:
    rows = [{"key": key, "value": key * 2} for number in range(3) for key in range(number, 12, 3)]
    assert [row for table in iter_pieces(objects, parts, library("arrow")) for row in table.to_pylist()] == rows
    assert [row for frame in iter_pieces(objects, parts, library("polars")) for row in frame.to_dicts()] == rows
    assert [row for frame in iter_pieces(objects, parts, None) for row in frame.to_dict("records")] == rows


# ---------------------------------------------------------------- what is there already


@pytest.mark.parametrize("name", ["out", "all.parquet"])
def test_what_is_there_stays_unless_it_may_be_replaced(objects: MemoryStore, parts: list[Part], tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    written(objects, parts, path)
    with pytest.raises(ConfigError, match=r"is there already.*overwrite=True"):
        written(objects, parts[:1], path)
    assert len(pd.read_parquet(path)) == 12
    assert written(objects, parts[:1], path, overwrite=True).rows == 4
    assert len(pd.read_parquet(path)) == 4
    assert [found.name for found in tmp_path.iterdir()] == [name]


def test_only_a_folder_of_such_files_is_replaced(objects: MemoryStore, parts: list[Part], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    (tmp_path / "file").touch()
    (tmp_path / "folder.parquet").mkdir()
    for name in ("mine", "link", "file", "folder.parquet"):
        with pytest.raises(ConfigError, match="Give another name"):
            written(objects, parts, tmp_path / name, overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").exists()
    assert len(list(tmp_path.iterdir())) == 4


def test_a_damaged_part_leaves_nothing_and_what_was_there(objects: MemoryStore, parts: list[Part], tmp_path: Path) -> None:
    written(objects, parts, tmp_path / "out")
    key = parts[2].files[0].key
    data = bytearray(objects.get(key))
    data[len(data) // 2] ^= 1
    objects.put(key, bytes(data))
    for name in ("out", "new", "new.parquet"):
        with pytest.raises(CorruptObjectError):
            written(objects, parts, tmp_path / name, overwrite=True)
    assert len(pd.read_parquet(tmp_path / "out")) == 12
    assert [found.name for found in tmp_path.iterdir()] == ["out"]


def test_a_place_that_is_not_there_is_an_error(objects: MemoryStore, parts: list[Part], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no/where cannot be written: there is no folder .*/no\. Make it, or give another name"):
        written(objects, parts, tmp_path / "no" / "where")
    with pytest.raises(ConfigError, match="the path is empty"):
        written(objects, parts, " ")


@pytest.mark.parametrize(
    ("path", "told"),
    [
        (b"out", "neither a str nor"),
        (None, "neither a str nor"),
        (3, "neither a str nor"),
        ("a\0b", "a character that no name"),
        ("a\ud800b", "a character that no name"),
        ("~nobody-of-this-name/x", "nobody knows the home folder of '~nobody-of-this-name'"),
    ],
)
def test_what_is_no_path_is_an_error(objects: MemoryStore, parts: list[Part], path: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        written(objects, parts, path)


def test_a_path_from_a_folder_that_was_removed_is_an_error(
    objects: MemoryStore, parts: list[Part], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(ConfigError, match="the working folder, which was removed"):
        written(objects, parts, "out")
    assert written(objects, parts, tmp_path / "out").rows == 12


def test_a_name_tells_whether_it_is_a_file_or_a_folder(objects: MemoryStore, parts: list[Part], tmp_path: Path) -> None:
    written(objects, parts, tmp_path / "A.PARQUET")
    assert len(pd.read_parquet(tmp_path / "A.PARQUET")) == 12
    assert (tmp_path / "A.PARQUET").is_file()
    assert len(written(objects, parts, f"{tmp_path}/b.parquet/").files) == 3
    assert (tmp_path / "b.parquet").is_dir()
    bucket = MemoryStore()
    assert written(objects, parts, "s3://b/c.parquet/", store=bucket).files[0] == "s3://b/c.parquet/part-00000.parquet"
    assert written(objects, parts, "s3://b/C.Parquet", store=bucket).files == ("s3://b/C.Parquet",)


@pytest.mark.parametrize("name", ["out", "out.parquet"])
def test_of_two_who_write_to_one_name_one_is_refused(tmp_path: Path, name: str) -> None:
    """Both found nothing there, and give the name at the same time."""
    both = threading.Barrier(2)

    class Meets(LocalTarget):
        checks = 0

        def check(self) -> None:
            super().check()
            Meets.checks += 1
            both.wait(60)  # when the files are begun, and when the name is given

    def write(text: str) -> str:
        target = Meets(str(tmp_path / name), overwrite=False, shape=Shape(whole=name.endswith(".parquet")), verb="to_parquet")
        with target.staging() as folder:
            (folder / "part-00000.parquet").write_text(text)
            try:
                (file,) = target.publish([folder / "part-00000.parquet"])
            except ConfigError as error:
                return str(error)
            return Path(file).read_text()

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(write, ("first", "second"))
    assert Meets.checks == 4
    refused = {first, second} - {"first", "second"}
    assert len(refused) == 1
    assert "is there already" in refused.pop()
    assert [found.name for found in tmp_path.iterdir()] == [name]


def test_where_files_have_but_one_name_a_new_one_is_taken_first(tmp_path: Path) -> None:
    def no_links(_file: Path, _path: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    for text in ("first", "second"):
        (tmp_path / text).write_text(text)
    put_new(tmp_path / "first", tmp_path / "out.parquet", no_links)
    with pytest.raises(FileExistsError):
        put_new(tmp_path / "second", tmp_path / "out.parquet", no_links)
    assert (tmp_path / "out.parquet").read_text() == "first"
    with pytest.raises(FileNotFoundError):
        put_new(tmp_path / "first", tmp_path / "other.parquet", no_links)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.parquet", "second"]


# ---------------------------------------------------------------- a bucket


def keys(store: ObjectStore) -> list[str]:
    return [info.key for info in store.list_prefix("")]


def table(store: ObjectStore, key: str) -> pd.DataFrame:
    return pd.read_parquet(pa.BufferReader(store.get(key)))


def test_a_bucket_holds_the_same(objects: MemoryStore, parts: list[Part]) -> None:
    bucket = MemoryStore()
    found = written(objects, parts, "s3://b/some/out/", store=bucket)
    assert found.files == tuple(f"s3://b/some/out/part-0000{number}.parquet" for number in range(3))
    assert sum(len(table(bucket, f"some/out/part-0000{number}.parquet")) for number in range(3)) == 12
    assert written(objects, parts, "s3://b/some/out.parquet", store=bucket).files == ("s3://b/some/out.parquet",)
    assert len(table(bucket, "some/out.parquet")) == 12
    for path in ("s3://b/some/out", "s3://b/some/out.parquet"):
        with pytest.raises(ConfigError, match="is there already"):
            written(objects, parts, path, store=bucket)
        written(objects, parts[:1], path, overwrite=True, store=bucket)
    assert keys(bucket) == ["some/out.parquet", "some/out/_SUCCESS", "some/out/part-00000.parquet"]  # what was there before is gone
    assert [len(table(bucket, f"some/out{key}")) for key in (".parquet", "/part-00000.parquet")] == [4, 4]


def test_a_strange_object_in_a_bucket_is_not_replaced(objects: MemoryStore, parts: list[Part]) -> None:
    bucket = MemoryStore()
    bucket.put("out/thesis.txt", b"")
    with pytest.raises(ConfigError, match=r"thesis\.txt.*did not write"):
        written(objects, parts, "s3://b/out", overwrite=True, store=bucket)
    assert keys(bucket) == ["out/thesis.txt"]


class Full(MemoryStore):
    """Takes one object, and no other."""

    def put(self, key: str, data: Buffer | Iterable[Buffer], *, if_absent: bool = False) -> bool:
        if keys(self):
            raise StoreError("no more")
        return super().put(key, data, if_absent=if_absent)


def test_what_cannot_be_written_whole_is_deleted_again(objects: MemoryStore, parts: list[Part]) -> None:
    bucket = Full()
    with pytest.raises(StoreError, match="no more"):
        written(objects, parts, "s3://b/out", store=bucket)
    assert keys(bucket) == []


class Stops(MemoryStore):
    """Takes objects until it is told how many more."""

    more = 1 << 30

    def put(self, key: str, data: Buffer | Iterable[Buffer], *, if_absent: bool = False) -> bool:
        self.more -= 1
        if self.more < 0:
            raise StoreError("no more")
        return super().put(key, data, if_absent=if_absent)


@pytest.mark.parametrize("more", [0, 1, 2, 3])
def test_what_replaces_others_never_stands_beside_them(objects: MemoryStore, parts: list[Part], more: int) -> None:
    bucket = Stops()
    written(objects, parts, "s3://b/out", store=bucket)
    bucket.put("out.parquet.txt", b"mine")
    written(objects, parts, "s3://b/out.parquet", store=bucket)
    bucket.more = more
    with pytest.raises(StoreError, match="no more"):
        written(objects, parts, "s3://b/out", overwrite=True, store=bucket)
    assert keys(bucket) == ["out.parquet", "out.parquet.txt"]
    bucket.more = 0
    with pytest.raises(StoreError, match="no more"):
        written(objects, parts[:1], "s3://b/out.parquet", overwrite=True, store=bucket)
    assert len(table(bucket, "out.parquet")) == 12  # one object is replaced in one step
    assert keys(bucket) == ["out.parquet", "out.parquet.txt"]


@dataclass
class Interrupts(MemoryStore):
    """Lets something else happen once, before or after it has taken so many objects."""

    after: bool
    more: int = 1 << 30
    other: Callable[[], object] = list

    def __post_init__(self) -> None:
        super().__init__()

    def put(self, key: str, data: Buffer | Iterable[Buffer], *, if_absent: bool = False) -> bool:
        self.more -= 1
        now = self.more < 0
        if now:
            self.more = 1 << 30
        if now and not self.after:
            self.other()
        done = super().put(key, data, if_absent=if_absent)
        if now and self.after:
            self.other()
        return done


@pytest.mark.parametrize("overwrite", [True, False], ids=["overwrite", "new"])
@pytest.mark.parametrize("after", [True, False], ids=["after", "before"])
@pytest.mark.parametrize(("count", "theirs"), [(1, 3), (3, 1)], ids=["fewer", "more"])
def test_what_two_write_at_once_is_one_of_them_or_said_to_be_lost(
    objects: MemoryStore, count: int, theirs: int, *, after: bool, overwrite: bool
) -> None:
    """Whatever the other one does in between, with what is one's own: who is told of success has all of it there, and nothing else."""
    mine = [part(objects, number, [("mine", number)], attempt=1) for number in range(count)]
    others = [part(objects, number, [("others", number)], attempt=2) for number in range(theirs)]
    for more in range(count + 1):
        bucket = Interrupts(after=after)
        bucket.other = partial(written, objects, others, "s3://b/out", overwrite=True, store=bucket)
        if overwrite:
            bucket.other()
        bucket.more = more
        with pytest.raises(ConfigError):
            written(objects, mine, "s3://b/out", overwrite=overwrite, store=bucket)
        assert _rows_of(bucket) == [("others", number) for number in range(theirs)]


class Forgets(MemoryStore):
    """Loses replies: what was written is asked for again, and is there already."""

    def put(self, key: str, data: Buffer | Iterable[Buffer], *, if_absent: bool = False) -> bool:
        content = b"".join(bytes(piece) for piece in ([data] if isinstance(data, bytes) else data))
        super().put(key, content, if_absent=if_absent)
        return super().put(key, content, if_absent=if_absent)


@pytest.mark.parametrize("path", ["s3://b/out", "s3://b/out.parquet"])
def test_what_is_there_because_we_wrote_it_is_not_somebody_elses(objects: MemoryStore, parts: list[Part], path: str) -> None:
    bucket = Forgets()
    made = written(objects, parts, path, store=bucket)
    assert sum(len(table(bucket, file.removeprefix("s3://b/"))) for file in made.files) == 12
    with pytest.raises(ConfigError, match="is there already"):
        written(objects, parts, path, store=bucket)


def _rows_of(bucket: MemoryStore) -> list[tuple[str, int]]:
    found = [pq.read_table(pa.BufferReader(bucket.get(key))).to_pylist() for key in keys(bucket) if key.endswith(".parquet")]
    return [(row["key"], row["value"]) for rows in found for row in rows]


@pytest.mark.parametrize(
    ("path", "told"), [("gs://b/out", "cannot write to gs://"), ("s3://b", "must name a bucket"), ("s3:///a", "must name")]
)
def test_a_url_that_leads_nowhere_is_an_error(objects: MemoryStore, parts: list[Part], path: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        written(objects, parts, path, store=MemoryStore())
    with pytest.raises(ConfigError, match="'memory' cannot write to s3://"):
        written(objects, parts, "s3://b/out")


# ---------------------------------------------------------------- CSV and JSON lines


def exported(objects: ObjectStore, parts: list[Part], path: Path | str, *, store: ObjectStore | None = None) -> WrittenFiles:
    targets: dict[str, Callable[[str], ObjectStore]] = {} if store is None else {"s3": lambda _: store}
    place = target_of(path, overwrite=False, targets=targets, platform="memory", suffixes=(*PARQUET, *TEXTS), verb="export")
    return export(objects, parts, place)


def shaped(
    objects: ObjectStore, parts: list[Part], path: Path | str, *, format: str | None = None, files: str | None = None
) -> WrittenFiles:
    place = target_of(
        path, overwrite=True, targets={}, platform="memory", suffixes=(*PARQUET, *TEXTS), format=format, files=files, verb="export"
    )
    return export(objects, parts, place)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
cells = st.one_of(st.none(), st.lists(st.integers(-9, 9), max_size=2), st.floats(), st.datetimes(), st.decimals("-9", "9", places=2), texts)


@settings(max_examples=min(60, settings().max_examples))
@given(rows=st.lists(st.lists(st.tuples(texts, cells), min_size=1, max_size=3), min_size=1, max_size=3))
def test_json_lines_hold_every_row_or_say_what_they_cannot(rows: list[Rows]) -> None:
    objects = MemoryStore()
    parts = [part(objects, number, some) for number, some in enumerate(rows)]
    with tempfile.TemporaryDirectory() as folder:
        try:
            expected = written(objects, parts, f"{folder}/a.parquet")
        except ConfigError:
            with pytest.raises(ConfigError):
                exported(objects, parts, f"{folder}/a.jsonl")
            return
        made = exported(objects, parts, f"{folder}/a.jsonl")
        table = pq.read_table(f"{folder}/a.parquet").to_pylist()
        lines = [json.loads(line) for line in Path(folder, "a.jsonl").read_text(encoding="utf-8").split("\n")[:-1]]
    assert (made.rows, made.files) == (expected.rows, (f"{folder}/a.jsonl",))
    assert repr(lines) == repr([{name: _as_json(value) for name, value in row.items()} for row in table])


def _as_json(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else str(value) if isinstance(value, Decimal) else value


def test_csv_tells_text_from_what_is_missing(objects: MemoryStore, tmp_path: Path) -> None:
    rows: Rows = [("a", "x"), ("b", None), ('c"', "1,\n2"), ("d", "")]
    assert exported(objects, [part(objects, 0, rows[:2]), part(objects, 1, rows[2:])], tmp_path / "a.csv").rows == 4
    assert (tmp_path / "a.csv").read_text() == '"key","value"\n"a","x"\n"b",\n"c""","1,\n2"\n"d",""\n'


def test_a_result_without_rows_is_a_file_with_its_columns(objects: MemoryStore, tmp_path: Path) -> None:
    for name, text in (("a.csv", '"key","value"\n'), ("a.jsonl", "")):
        assert exported(objects, [], tmp_path / name).rows == 0
        assert (tmp_path / name).read_text() == text


@pytest.mark.parametrize(("value", "name", "told"), [([1], "a.csv", "CSV cannot hold"), (b"1", "a.jsonl", "JSON cannot hold: bytes")])
def test_what_text_cannot_hold_is_told_and_leaves_nothing(
    objects: MemoryStore, tmp_path: Path, value: object, name: str, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        exported(objects, [part(objects, 0, [("a", value)])], tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.txt"])
@pytest.mark.parametrize(
    ("values", "told"),
    [
        (pa.array([10**18], pa.timestamp("us")), "'value' has a date or a time beyond the years 1 to 9999"),
        (pa.array([-(10**17)], pa.timestamp("us", "UTC")), "'value' has a date or a time beyond"),
        (pa.array([10**7], pa.date32()), "'value' has a date or a time beyond"),
        (pa.array([1500], pa.duration("ms")), "'value'|cannot hold: timedelta"),
        (pa.array([b"a"]), "'value'|cannot hold: bytes"),
    ],
    ids=["late", "early", "date", "duration", "bytes"],
)
def test_text_never_holds_what_its_reader_would_take_for_something_else(
    objects: MemoryStore, tmp_path: Path, values: Any, told: str, name: str
) -> None:
    """pyarrow's CSV has numbers without a unit, bytes as text, and `<value out of range: …>`; Python has no such dates at all."""
    with pytest.raises(ConfigError, match=told):
        exported(objects, [frames(objects, pa.table({"key": [1], "value": values}), 0, ["key"])], tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def _deep(values: Any) -> Any:
    return pa.StructArray.from_arrays([pa.ListArray.from_arrays([0, len(values)], values)], names=["x"])


@pytest.mark.parametrize(("name", "deep"), [("a.jsonl", False), ("a.jsonl", True), ("a.txt", False)], ids=["json", "inside", "text"])
def test_a_time_of_day_is_not_cut(objects: MemoryStore, tmp_path: Path, name: str, *, deep: bool) -> None:
    for nanoseconds in (5_000, 5_001):
        times = pa.array([nanoseconds], pa.time64("ns"))
        pieces = [frames(objects, pa.table({"key": [1], "value": _deep(times) if deep else times}), 0, ["key"])]
        if nanoseconds % 1000:
            with pytest.raises(ConfigError, match="'value' has a time of day finer than a microsecond"):
                exported(objects, pieces, tmp_path / name)
        else:
            exported(objects, pieces, tmp_path / name)
            assert "00:00:00.000005" in (tmp_path / name).read_text()
            (tmp_path / name).unlink()


def test_text_goes_to_a_bucket_too_and_is_not_replaced_by_accident(objects: MemoryStore, tmp_path: Path) -> None:
    bucket = MemoryStore()
    made = exported(objects, [part(objects, 0, [("a", 1)])], "s3://bucket/x/a.csv", store=bucket)
    assert made.files == ("s3://bucket/x/a.csv",)
    assert bucket.get("x/a.csv") == b'"key","value"\n"a",1\n'
    with pytest.raises(ConfigError, match=r"export: s3://bucket/x/a\.csv is there already"):
        exported(objects, [part(objects, 0, [("a", 1)])], "s3://bucket/x/a.csv", store=bucket)


# ---------------------------------------------------------------- one file, or one for each partition, and the mark beside them

READERS: dict[str, Callable[[str], pd.DataFrame]] = {
    "parquet": pd.read_parquet,
    "csv": pd.read_csv,
    "jsonl": lambda file: pd.read_json(file, lines=True),
    "text": lambda file: pd.read_csv(file, sep="\t", names=["key", "value"]),
}


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.lists(st.integers(-9, 9), max_size=3), min_size=1, max_size=4),
    st.sampled_from(sorted(READERS)),
    st.none() | st.just("one") | st.just("partitions"),
)
def test_any_shape_of_files_holds_each_row_once_and_the_mark_names_them(counts: list[list[int]], format: str, files: str | None) -> None:
    objects = MemoryStore()
    parts = [part(objects, number, [(number, value) for value in values]) for number, values in enumerate(counts)]
    with tempfile.TemporaryDirectory() as folder:
        made = shaped(objects, parts, f"{folder}/out", format=format, files=files)
        mark = msgspec.json.decode(Path(folder, "out", "_SUCCESS").read_bytes(), type=Mark)
        contents = [Path(file).read_bytes() for file in made.files]
        found = [READERS[format](file).to_numpy().tolist() for file in made.files if made.rows]
    numbers = [number for number, values in enumerate(counts) if values] or [0]
    names = {"partitions": numbers, "one": [0]}.get(str(files), range(len(numbers)))
    assert [Path(file).name for file in made.files] == [f"part-{number:05d}{FORMATS[format]}" for number in names]
    rows = [[[number, value] for value in values] for number, values in enumerate(counts) if values]
    assert (found == rows) if files != "one" else (list(chain(*found)) == list(chain(*rows)))
    assert (mark.version, mark.format, mark.rows, mark.size) == (1, format, made.rows, made.size)
    assert [(file.name, file.size, file.crc32) for file in mark.files] == [
        (Path(file).name, len(data), f"{zlib.crc32(data):08x}") for file, data in zip(made.files, contents, strict=True)
    ]
    assert [file.rows for file in mark.files if file.rows] == ([made.rows] if files == "one" and rows else [len(some) for some in rows])


def test_a_partition_of_several_pieces_is_one_file(objects: MemoryStore, tmp_path: Path) -> None:
    one, other = part(objects, 3, [("a", 1)]), part(objects, 4, [("b", 2.5)])
    both = replace(one, files=(*one.files, *other.files))
    made = shaped(objects, [both, part(objects, 7, [("c", 3)])], tmp_path / "out", files="partitions")
    assert [Path(file).name for file in made.files] == ["part-00003.parquet", "part-00007.parquet"]
    assert pq.read_table(made.files[0]).to_pylist() == [{"key": "a", "value": 1.0}, {"key": "b", "value": 2.5}]


def test_readers_pass_over_the_mark(objects: MemoryStore, parts: list[Part], tmp_path: Path) -> None:
    """pandas, pyarrow, and a job of this package; Athena, Hive and Spark by what their papers say of names with an underscore."""
    written(objects, parts, tmp_path / "out")
    assert len(pd.read_parquet(tmp_path / "out")) == ds.dataset(tmp_path / "out").count_rows() == 12
    local = {"file": FileSource()}
    for pattern in (f"{tmp_path}/out", f"{tmp_path}/out/*"):
        assert [Path(one.info.key).name for one in find(Files((pattern,)), local)] == [f"part-0000{number}.parquet" for number in range(3)]
    assert [Path(one.info.key).name for one in find(Files((f"{tmp_path}/out/_SUCCESS",)), local)] == ["_SUCCESS"]


def test_the_mark_is_as_it_was_promised(tmp_path: Path) -> None:
    """Others read it: version 1 never loses a field."""
    (tmp_path / "part-00000.csv").write_text("a,b\n1,2\n")
    write_mark([(tmp_path / "part-00000.csv", 1)], tmp_path, format="csv")
    golden = Path(__file__).parents[1] / "golden" / "export-mark-v1.json"
    assert (tmp_path / "_SUCCESS").read_bytes() == golden.read_bytes()


def test_lines_of_text_are_key_and_value(objects: MemoryStore, tmp_path: Path) -> None:
    rows: Rows = [("a", 1), ("b", None)]
    shaped(objects, [part(objects, 0, rows), part(objects, 1, [("é", 3)])], tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "a\t1\nb\t\né\t3\n"
    for value in ("x\ty", "x\ny", b"x", [1]):
        with pytest.raises(ConfigError, match="'value' has a"):
            shaped(objects, [part(objects, 0, [("a", value)])], tmp_path / "b.txt")
    assert not (tmp_path / "b.txt").exists()


@pytest.mark.parametrize(
    ("path", "format", "files", "told"),
    [
        ("out", "cvs", None, "Did you mean 'csv'"),
        ("out", None, "partition", "Did you mean 'partitions'"),
        ("out.csv", "jsonl", None, "called as csv is"),
    ],
    ids=["format", "files", "both"],
)
def test_files_that_there_are_not_are_refused(objects: MemoryStore, path: str, format: str | None, files: str | None, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        shaped(objects, [], path, format=format, files=files)


def test_a_name_of_a_file_is_that_of_a_folder_where_each_partition_has_one(objects: MemoryStore, parts: list[Part], tmp_path: Path) -> None:
    made = shaped(objects, parts, tmp_path / "out.csv", files="partitions")
    assert [Path(file).relative_to(tmp_path).as_posix() for file in made.files] == [f"out.csv/part-0000{number}.csv" for number in range(3)]
    shaped(objects, parts, tmp_path / "out.csv", format="csv", files="partitions")  # which it replaces
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv"]


def test_to_parquet_takes_a_name_that_ends_in_csv_for_a_folder(objects: MemoryStore, tmp_path: Path) -> None:
    written(objects, [part(objects, 0, [("a", 1)])], tmp_path / "a.csv")
    assert (tmp_path / "a.csv").is_dir()
