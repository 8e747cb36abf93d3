"""Parts: rows as Parquet files of exact types, in bounded memory."""

from __future__ import annotations

import io
import math
import tempfile
import zlib
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.dataflow.columns import Column, decode_values
from smr_notebook.dataflow.outputs import PartWriter
from smr_notebook.model import Part

Rows = list[tuple[Any, Any]]

VALUES = st.recursive(
    st.one_of(
        *(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary(), st.decimals(allow_nan=False)),
        *(st.dates(), st.datetimes(), st.uuids(), st.timedeltas()),
    ),
    lambda inner: st.lists(inner, max_size=2) | st.tuples(inner, inner) | st.dictionaries(st.sampled_from(["a", "key"]), inner, max_size=2),
    max_leaves=4,
)


def write(batches: list[Rows], objects: MemoryStore, *, number: int = 0, groups: list[list[Any]] | None = None) -> Part:
    with tempfile.TemporaryDirectory() as scratch:
        writer = PartWriter(objects, f"job/{number}", number, grouped_order=groups is not None, scratch=Path(scratch))
        for place, batch in enumerate(batches):
            writer.add([key for key, _ in batch], [value for _, value in batch], None if groups is None else groups[place])
        part = writer.close()
        assert list(Path(scratch).iterdir()) == []
    return part


def read(part: Part, objects: MemoryStore) -> Rows:
    rows: Rows = []
    for file in part.files:
        table = pq.read_table(io.BytesIO(objects.get(file.key)))
        for batch in table.to_batches():
            columns = [Column(kind, batch.column(name)) for name, kind in zip(("key", "value"), file.kinds, strict=True)]
            rows += zip(*map(decode_values, columns), strict=True)
    return rows


def exact(value: Any) -> Any:
    """What tells apart what `==` takes for equal."""
    if isinstance(value, tuple | list):
        return type(value), [exact(item) for item in value]
    if isinstance(value, dict):
        return [(name, exact(item)) for name, item in value.items()]
    return type(value), str(value), math.copysign(1, value) if isinstance(value, float) else getattr(value, "fold", 0)


@settings(max_examples=min(50, settings().max_examples))
@given(st.lists(st.lists(st.tuples(VALUES, VALUES), max_size=5), max_size=4))
def test_rows_come_back_in_order_and_exact(batches: list[Rows]) -> None:
    objects = MemoryStore()
    part = write(batches, objects)
    rows = [row for batch in batches for row in batch]
    assert [exact(row) for row in read(part, objects)] == [exact(row) for row in rows]
    assert part.rows == len(rows)


def test_a_part_without_rows_has_no_files() -> None:
    objects = MemoryStore()
    assert write([[], []], objects) == Part(0, ())
    assert list(objects.list_prefix("")) == []


def test_a_file_tells_its_size_checksum_and_kinds() -> None:
    objects = MemoryStore()
    [file] = write([[(1, "a"), (2, None)]], objects, number=7).files
    data = objects.get("job/7/part-000.parquet")
    assert (file.key, file.rows, file.size, file.crc) == ("job/7/part-000.parquet", 2, len(data), zlib.crc32(data))
    assert file.kinds == ("int", "str")
    assert 0 < file.raw_bytes < 100
    assert pq.read_schema(io.BytesIO(data)).names == ["key", "value"]


def test_where_types_change_a_new_file_begins_and_types_stay_exact() -> None:
    objects = MemoryStore()
    rows: list[Rows] = [[(n, 1) for n in range(5000)], [(n, "x") for n in range(5000)], [(n, None) for n in range(5000)]]
    part = write(rows, objects)
    assert [file.kinds for file in part.files] == [("int", "int"), ("int", "str"), ("int", "null")]
    assert read(part, objects) == [row for batch in rows for row in batch]


def test_few_rows_of_changing_types_share_a_file() -> None:
    objects = MemoryStore()
    part = write([[(1, 1)], [(2, "a")], [(3, None)]], objects)
    assert [file.kinds for file in part.files] == [("int", "pickle")]
    part = write([[(1, 1)], [(2, None)]], objects)
    assert [file.kinds for file in part.files] == [("int", "int")]


def test_rows_are_written_in_bounded_groups() -> None:
    objects = MemoryStore()
    [file] = write([[(n, b"x" * 100_000) for n in range(20)]] * 10, objects).files
    parquet = pq.ParquetFile(io.BytesIO(objects.get(file.key)))
    assert parquet.num_row_groups == 2
    [file] = write([[(n, n) for n in range(10_000)]] * 14, objects).files
    parquet = pq.ParquetFile(io.BytesIO(objects.get(file.key)))
    assert [parquet.metadata.row_group(n).num_rows for n in range(parquet.num_row_groups)] == [70_000, 70_000]


def test_an_aborted_part_leaves_nothing_in_scratch_space(tmp_path: Path) -> None:
    objects = MemoryStore()
    writer = PartWriter(objects, "p", 0, grouped_order=False, scratch=tmp_path)
    writer.add(list(range(70_000)), [1] * 70_000)
    assert not list(tmp_path.iterdir()), "the scratch file has no name"
    writer.abort()
    assert list(tmp_path.iterdir()) == []
    assert list(objects.list_prefix("")) == []


def test_batches_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    writer = PartWriter(MemoryStore(), "p", 0, grouped_order=True, scratch=tmp_path)
    for keys, values, groups in (([1], [1], None), ([1], [], [1]), ([1], [1], [])):
        with pytest.raises(ValueError, match="for each row"):
            writer.add(keys, values, groups)
