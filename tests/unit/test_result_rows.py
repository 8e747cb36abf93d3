"""The rows of a result as input: whatever is in them, and however its files are cut, each row is given once, in order, as it was."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.table import MemoryTable
from smr_notebook.control.prior_results import ResultInput
from smr_notebook.dataflow.formats.result_rows import named_values, version_of
from smr_notebook.dataflow.frames import pandas_rows
from smr_notebook.dataflow.inputs import SplitInput
from smr_notebook.dataflow.outputs import PartWriter
from smr_notebook.errors import CorruptObjectError, InputReadError, UntrustedObjectError
from smr_notebook.model import Format, Part, Position, Span, Split

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8), st.binary(max_size=8),
    st.decimals(allow_nan=False), st.dates(), st.datetimes(), st.uuids(), st.lists(st.integers(), max_size=3),
    st.tuples(st.integers(), st.text(max_size=3)), st.dictionaries(st.text(max_size=3), st.integers(), max_size=3),
)  # fmt: skip
PAIRS = st.lists(st.tuples(VALUES, VALUES), max_size=40)


def stored(store: MemoryStore, batches: Sequence[Sequence[tuple[Any, Any]]]) -> Part:
    """Return a part of some batches of rows."""
    writer = PartWriter(store, "jobs/one/reduce/000000/001", 0, grouped_order=False, scratch=Path(gettempdir()))
    for batch in batches:
        writer.add([key for key, _ in batch], [value for _, value in batch])
    return writer.close()


def frames(store: MemoryStore, frame: pd.DataFrame) -> Part:
    writer = PartWriter(store, "jobs/one/reduce/000000/001", 0, grouped_order=False, scratch=Path(gettempdir()))
    writer.add_rows(pandas_rows.rows_of(frame, "reduce"), by=("name",))
    return writer.close()


def spans(part: Part, cuts: Sequence[float] = ()) -> list[Span]:
    """Return the files of a part as spans, each cut at some shares of its bytes."""
    found = []
    for file in part.files:
        edges = [0, *sorted(int(cut * file.size) for cut in cuts), file.size]
        version = version_of("one", file)
        found += [Span("result", file.key, start, stop, file.size, version) for start, stop in pairwise(edges)]
    return found


def reading(store: MemoryStore, spans: Sequence[Span], after: Position | None = None) -> SplitInput:
    return SplitInput(Split(0, tuple(spans)), Format.RESULT, {"result": ResultInput(store, MemoryTable())}, after)


def typed(rows: object) -> str:
    return repr(rows)  # equal values of another type look different, NaN as itself


@given(PAIRS, st.lists(st.floats(0, 1), max_size=4), st.integers(0, 5))
def test_each_row_is_given_once_in_order_and_as_it_was(pairs: list[tuple[Any, Any]], cuts: list[float], batches: int) -> None:
    store = MemoryStore()
    size = max(1, len(pairs) // (batches + 1))
    part = stored(store, [pairs[at : at + size] for at in range(0, len(pairs), size)])
    for one in [spans(part, cuts)] if part.files else []:
        found = [(block.records, block.size, block.source) for block in reading(store, one).blocks()]
        assert typed([record for records, _, _ in found for record in records]) == typed(pairs)
        assert sum(size for _, size, _ in found) == sum(file.size for file in part.files)
        assert {source for _, _, source in found} == {"one"}
        apart = [record for span in one for block in reading(store, [span]).blocks() for record in block.records]
        assert typed(apart) == typed(pairs), "each span by itself"


@given(st.integers(1, 3_000), st.integers(0, 3_000), st.floats(0, 1))
def test_a_task_goes_on_at_any_record(rows: int, done: int, cut: float) -> None:
    """From where a block begins, and from there on what is done is skipped; rows without any bytes of their own among them."""
    store, pairs = MemoryStore(), [(number // 1_000, "x" * 2_000 if rows < 50 else None) for number in range(rows)]
    one = spans(stored(store, [pairs]), [cut])
    for block in list(reading(store, one).blocks()):
        for position in {block.at, replace(block.at, done=block.at.done + 1, skip=block.at.skip + 1)} if block.count else {block.at}:
            rest = [record for block in reading(store, one, position).blocks() for record in block.records]
            assert rest == pairs[position.done :]
    whole, first = reading(store, spans(stored(store, [pairs])), Position(min(done, rows), 0, 0, min(done, rows))), min(done, rows)
    assert [record for block in whole.blocks() for record in block.records] == pairs[first:]


@given(st.data())
def test_what_is_damaged_is_never_read(data: st.DataObject) -> None:
    store = MemoryStore()
    part = stored(store, [[(number, f"value {number}") for number in range(50)]])
    (file,) = part.files
    whole = bytearray(store.get(file.key))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    store.delete_prefix(file.key)
    store.put(file.key, [bytes(whole)])
    with pytest.raises(CorruptObjectError, match="a part of the result of job one, is not what was written"):
        list(reading(store, spans(part, [0.5])[1:]).blocks())


def test_what_somebody_else_pickled_is_not_loaded() -> None:
    """Not even where its checksum is right: who can write to the store can make one."""
    store = MemoryStore()
    part = stored(store, [[(1, decimal.Decimal(1)), (2, None)]])
    (file,) = part.files
    forged = Part(0, (replace(file, digest=bytes(32)),))
    with pytest.raises(UntrustedObjectError, match="a part of the result of job one, was not written by this workspace"):
        list(reading(store, spans(forged)).blocks())


def test_a_plan_that_tells_of_another_file_is_refused() -> None:
    store = MemoryStore()
    (span,) = spans(stored(store, [[(1, 2)]]))
    for wrong in (replace(span, version=""), replace(span, key="jobs/two/part"), replace(span, size=span.size + 1)):
        with pytest.raises(CorruptObjectError, match=r"Submit (it|the job) again"):
            list(reading(store, [wrong]).blocks())


class Fragile:
    def __reduce__(self) -> tuple[Any, ...]:
        return _refuse, ()


def _refuse() -> None:
    raise ImportError("no such package here")


def test_a_value_that_cannot_be_unpickled_is_told_with_its_job() -> None:
    store = MemoryStore()
    with pytest.raises(InputReadError, match="The result of job one cannot be unpickled on the worker: ImportError: no such package here"):
        list(reading(store, spans(stored(store, [[(1, Fragile())]]))).blocks())


def in_columns(batches: Sequence[Sequence[Any]], *, files: int) -> list[dict[str, Any]]:
    """Return the rows of some batches of values, as their columns give them, when they are written as so many parts."""
    store, found = MemoryStore(), []
    parts = []
    for number in range(files):
        writer = PartWriter(store, f"jobs/one/reduce/{number:06d}/001", number, grouped_order=False, scratch=Path(gettempdir()))
        for batch in batches[number::files]:
            writer.add(list(range(len(batch))), list(batch))
        parts.append(writer.close())
    told = [file for part in parts for file in part.files]
    for file in told:
        span = Span("result", file.key, 0, file.size, file.size, version_of("one", file, named=named_values(told)))
        for block in reading(store, [span]).tables():
            lists = {name: column if isinstance(column, list) else column.to_pylist() for name, column in block.columns.items()}
            found += [{name: values[row] for name, values in lists.items() if name != "key"} for row in range(block.rows)]
    return found


def told(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return rows as text, without what they lack, in an order that does not depend on that in which they were."""
    return sorted(repr({name: value for name, value in sorted(row.items()) if value is not None}) for row in rows)


DICTS = st.one_of(
    st.none(), st.dictionaries(st.sampled_from("abc"), st.one_of(st.none(), st.integers(0, 3), st.text(max_size=2)), min_size=1)
)


@given(st.lists(st.lists(DICTS, min_size=1, max_size=4), min_size=1, max_size=6), st.integers(1, 6))
def test_names_of_dicts_are_columns_however_many_parts_there_are(batches: list[list[Any]], files: int) -> None:
    """A `None` among them lacks all of them; it does not make the dicts of its part, and of no other one, a column `value`."""
    expected = told([value or {} for batch in batches for value in batch])
    assert told(in_columns(batches, files=1)) == told(in_columns(batches, files=files)) == expected
    if any(value for batch in batches for value in batch):
        assert "value" not in {name for row in in_columns(batches, files=files) for name in row}


def test_dicts_among_other_values_stay_values_in_each_part() -> None:
    batches: list[list[Any]] = [[{"a": 1}, {"a": 2}], [3]]
    for files in (1, 2):
        assert told(in_columns(batches, files=files)) == sorted(["{'value': 3}", "{'value': {'a': 1}}", "{'value': {'a': 2}}"])


def test_what_older_plans_say_of_a_file_is_read_as_it_was() -> None:
    """There each block told by itself whether the names of its dicts are columns."""
    store = MemoryStore()
    part = stored(store, [[("k", {"a": 1}), ("l", None)]])
    (file,) = part.files
    version = version_of("one", file).replace(',"named":null', "")
    assert "named" not in version
    (block,) = reading(store, [Span("result", file.key, 0, file.size, file.size, version)]).tables()
    assert list(block.columns["value"]) == [{"a": 1}, None]


def columns(store: MemoryStore, part: Part, names: tuple[str, ...] | None = None) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for block in reading(store, spans(part, [0.3, 0.6])).tables(names):
        for name, column in block.columns.items():
            found.setdefault(name, []).extend(column if isinstance(column, list) else column.to_pylist())
    return found


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, {"value": [3, 3]}),
        ({"a": 1, "key": "x"}, {"a": [1, 1], "value.key": ["x", "x"]}),
        ({"a": decimal.Decimal(2)}, {"a": [decimal.Decimal(2)] * 2}),
        ((1, "two"), {"value": [(1, "two")] * 2}),
        (uuid.UUID(int=5), {"value": [uuid.UUID(int=5)] * 2}),
        (dt.date(2026, 1, 1), {"value": [dt.date(2026, 1, 1)] * 2}),
        ({}, {"value": [{}, {}]}),
    ],
    ids=["number", "dict", "pickled-in-dict", "tuple", "uuid", "date", "empty-dict"],
)
def test_columns_are_those_of_the_frame(value: Any, expected: dict[str, list[Any]]) -> None:
    store = MemoryStore()
    assert columns(store, stored(store, [[("k", value), ("l", value)]])) == {"key": ["k", "l"], **expected}


def test_dicts_that_differ_become_columns_and_what_they_lack_is_missing() -> None:
    store = MemoryStore()
    part = stored(store, [[("k", {"a": 1}), ("l", {"b": 2})]])
    assert columns(store, part, ("b", "key", "c")) == {"b": [None, 2], "key": ["k", "l"], "c": [None, None]}


def test_rows_of_frames_are_dicts_and_columns_with_their_types() -> None:
    store = MemoryStore()
    frame = pd.DataFrame(
        {"name": ["a", "b", "a"], "n": pd.array([1, None, 3], dtype="Int64"), "kind": pd.Categorical(["x", None, "y"], ["y", "x"])}
    )
    part = frames(store, frame)
    records = [record for block in reading(store, spans(part, [0.5])).blocks() for record in block.records]
    assert records == [{"name": "a", "n": 1, "kind": "x"}, {"name": "b", "n": None, "kind": None}, {"name": "a", "n": 3, "kind": "y"}]
    blocks = list(reading(store, spans(part)).tables())
    assert [dict(block.dtypes) for block in blocks] == [{"n": "Int64"}]
    kind: Any = blocks[0].columns["kind"]
    assert (kind.dictionary.to_pylist(), kind.to_pylist()) == (["y", "x"], ["x", None, "y"])


def test_a_part_of_frames_without_rows_accounts_for_its_bytes() -> None:
    store = MemoryStore()
    part = frames(store, pd.DataFrame({"name": pd.Series([], dtype="str")}))
    (file,) = part.files
    assert [(block.records, block.size) for block in reading(store, spans(part)).blocks()] == [([], file.size)]
