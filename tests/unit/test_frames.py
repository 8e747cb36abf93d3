"""Jobs over frames against plain pandas on the whole input: any plan, any budget, any stopping points."""

from __future__ import annotations

import io
import itertools
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import smr_notebook as smr
from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.source import MemorySource
from smr_notebook.dataflow.exchange import ObjectExchange, gather_index
from smr_notebook.dataflow.frames.programs import FrameProgram, program_of_frames
from smr_notebook.dataflow.frames.reducing import FrameCall, reduce_frames
from smr_notebook.dataflow.frames.rows import library
from smr_notebook.dataflow.functions import UserCodeError
from smr_notebook.dataflow.inputs import SplitInput
from smr_notebook.dataflow.mapping import run_map, run_map_to_part
from smr_notebook.dataflow.memory import Room
from smr_notebook.dataflow.merging import Blocks
from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.outputs import PartWriter
from smr_notebook.dataflow.partitioning import HashPartitioner
from smr_notebook.dataflow.programs import Handed
from smr_notebook.dataflow.reducing import run_reduce
from smr_notebook.dataflow.results import head_frame, iter_frames, load_frame
from smr_notebook.dataflow.splits import PlannedObject, plan_splits
from smr_notebook.errors import CombinerLawError, InputFormatError, PairShapeError, PlanError
from smr_notebook.model import AttemptId, Format, Numbers, Part, Phase, Position, Receipt, TaskId

# ---------------------------------------------------------------- parts to work with


@dataclass
class Due:
    """A function during whose calls an attempt gets due, so that there are many legs."""

    function: Callable[..., Any]
    often: bool
    meter: Meter = field(default_factory=Meter)

    def __call__(self, *arguments: Any) -> Any:
        if self.often:
            self.meter.wind_up()
        return self.function(*arguments)


@dataclass(frozen=True)
class SmallFrames:
    """The reduce side of a program, with frames of a few bytes."""

    program: FrameProgram
    frame_bytes: int

    def reduce(self, blocks: Blocks, sink: PartWriter, *, meter: Meter, done: int) -> Handed:
        functions = self.program.functions
        assert functions.reduce is not None
        reduce = FrameCall("reduce", functions.reduce, functions.by, library(functions.frame))
        return reduce_frames(reduce, blocks, sink, meter=meter, done=done, frame_bytes=self.frame_bytes)


@dataclass
class Done:
    """What a job gave."""

    store: MemoryStore
    parts: list[Part]
    maps: Numbers = field(default_factory=Numbers)
    reduces: Numbers = field(default_factory=Numbers)

    def frame(self) -> pd.DataFrame:
        return load_frame(self.store, self.parts, limit_bytes=None)


@dataclass(frozen=True)
class Bench:
    """What attempts have besides their functions and their input."""

    exchange: ObjectExchange
    partitions: int
    budget: int
    frame_bytes: int
    scratch: Path


def run(
    map: Callable[..., Any] | None,
    reduce: Callable[..., Any] | None,
    inputs: dict[str, bytes],
    *,
    by: str | Sequence[str] | None,
    frame: str = "pandas",
    columns: Sequence[str] | None = None,
    format: Format = Format.PARQUET,
    split_bytes: int = 1 << 30,
    partitions: int = 2,
    budget: int = 1 << 26,
    frame_bytes: int = 1 << 20,
    legs: bool = False,
    combine: Callable[..., Any] | None = None,
) -> Done:
    """Run a whole job, each attempt as short as `legs` says."""
    source, store = MemorySource(inputs), MemoryStore()
    map_due = Due(map, legs) if map is not None else None
    reduce_due = Due(reduce, legs) if reduce is not None else None
    program = program_of_frames(_watched(map_due, map), _watched(reduce_due, reduce), by=by, frame=frame, columns=columns, combine=combine)
    done = Done(store, [])
    objects = [PlannedObject("m", source.stat(key), cuttable=True) for key in inputs]
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(ObjectExchange(store, "jobs/j", scratch=Path(folder)), partitions, budget, frame_bytes, Path(folder))
        receipts: list[Receipt] = []
        for split in plan_splits(objects, split_bytes=split_bytes):
            receipts += _map_split(bench, program, SplitInput(split, format, {"m": source}), map_due, done)
        if program.reduces:
            _reduce(bench, program, receipts, reduce_due, done)
    return done


def _watched(due: Due | None, function: Callable[..., Any] | None) -> Callable[..., Any] | None:
    """Return a plain function with as many parameters."""
    if due is None or function is None:
        return None

    def with_source(source: str, frame: Any) -> Any:
        return due(source, frame)

    def alone(frame: Any) -> Any:
        return due(frame)

    return with_source if function.__code__.co_argcount == 2 else alone


def _map_split(bench: Bench, program: FrameProgram, input: SplitInput, due: Due | None, done: Done) -> list[Receipt]:
    """Map a split, attempt after attempt; return the runs, or leave the parts with what is done."""
    receipts: list[Receipt] = []
    for attempt in itertools.count(1):
        meter = Meter()
        if due is not None:
            due.meter = meter
        if program.reduces:
            receipt, after = _map(bench, program, input, meter, attempt)
            receipts.append(receipt)
        else:
            prefix = f"map/{input.split.number}/{attempt}"
            sink = PartWriter(done.store, prefix, input.split.number, grouped_order=False, scratch=bench.scratch)
            mapped = run_map_to_part(program, input, sink, meter=meter)
            done.parts.append(mapped.part)
            after = mapped.position
        done.maps += meter.numbers()
        if after is None:
            break
        input = replace(input, after=after)
    return receipts


def _map(bench: Bench, program: FrameProgram, input: SplitInput, meter: Meter, attempt: int) -> tuple[Receipt, Position | None]:
    writer = bench.exchange.writer(AttemptId(TaskId(Phase.MAP, input.split.number), attempt), bench.partitions)
    emitter = program.emitter(input, meter=meter, batch_bytes=bench.frame_bytes)
    partitioner, room = HashPartitioner(bench.partitions), Room(bench.budget)
    mapped = run_map(emitter, program.combiner(), writer, partitioner=partitioner, meter=meter, room=room, scratch=bench.scratch)
    assert meter.pairs_in >= meter.pairs_out == mapped.receipt.pairs
    assert program.combines or meter.pairs_in == meter.pairs_out
    return mapped.receipt, mapped.position


def _reduce(bench: Bench, program: FrameProgram, receipts: list[Receipt], due: Due | None, done: Done) -> None:
    index = gather_index(done.store, receipts, bench.partitions)
    for partition in range(bench.partitions):
        position, checksum, pairs, files, attempt = Position(done=0), 0, 0, (), 0
        while True:
            attempt += 1
            meter = Meter()
            if due is not None:
                due.meter = meter
            sink = PartWriter(done.store, f"reduce/{partition}/{attempt}", partition, grouped_order=False, scratch=bench.scratch)
            reduced = run_reduce(
                SmallFrames(program, bench.frame_bytes),
                bench.exchange.read(partition, receipts),
                sink,
                meter=meter,
                room=Room(bench.budget),
                scratch=bench.scratch,
                after=position,
            )
            checksum = (checksum + reduced.checksum) % 2**64
            pairs += meter.pairs_in
            files += reduced.part.files  # type: ignore[assignment] # grows
            done.reduces += meter.numbers()
            if reduced.position is None:
                break
            position = reduced.position
        assert checksum == index.checksums[partition]
        assert pairs == index.pairs[partition]
        done.parts.append(Part(partition, files))


def parquet(frame: pd.DataFrame, *, group_rows: int = 4) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), sink, row_group_size=group_rows)
    return sink.getvalue()


# ---------------------------------------------------------------- against plain pandas

row = st.fixed_dictionaries(
    {
        "user": st.one_of(st.none(), st.sampled_from(["ann", "bob", "cid", "", "é"])),
        "n": st.integers(-5, 5),
        "x": st.one_of(st.none(), st.sampled_from([0.0, 1.0, 2.5, -1.0])),
    }
)
bodies = st.lists(st.lists(row, min_size=1, max_size=7), min_size=1, max_size=3)


def frame_of(rows: list[dict[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame({name: [row[name] for row in rows] for name in ("user", "n", "x")})
    return frame.astype({"user": "str", "x": float})


def once(frame: pd.DataFrame) -> pd.DataFrame:
    """Tell the rows of each group: a group that is cut, or comes twice, is seen in the result."""
    groups = frame.groupby(["user", "x"], dropna=False, sort=False)
    return groups.agg(rows=("n", "size"), ns=("n", lambda ns: ",".join(map(str, ns)))).reset_index()


@settings(max_examples=min(60, settings().max_examples))
@given(
    bodies=bodies,
    split_bytes=st.integers(60, 4000),
    partitions=st.integers(1, 3),
    small=st.booleans(),
    frame_bytes=st.sampled_from([1, 60, 400, 1 << 20]),
    legs=st.booleans(),
)
def test_any_plan_budget_and_legs_give_what_pandas_gives(
    bodies: list[list[dict[str, Any]]], split_bytes: int, partitions: int, *, small: bool, frame_bytes: int, legs: bool
) -> None:
    frames = [frame_of(rows) for rows in bodies]
    whole = pd.concat(frames, ignore_index=True)
    inputs = {f"{number}": parquet(frame) for number, frame in enumerate(frames)}

    done = run(
        lambda frame: frame[frame.n != 0],
        once,
        inputs,
        by=["user", "x"],
        split_bytes=split_bytes,
        partitions=partitions,
        budget=600 if small else 1 << 26,
        frame_bytes=frame_bytes,
        legs=legs,
    )

    wanted = once(whole[whole.n != 0]).sort_values(["user", "x"], kind="stable", ignore_index=True)
    if len(wanted):
        pd.testing.assert_frame_equal(done.frame(), wanted)
    else:
        assert len(done.frame()) == 0
    assert done.maps.records_mapped == done.maps.records_read == len(whole)
    assert done.maps.bytes_read == sum(map(len, inputs.values()))
    assert done.maps.pairs_out == done.reduces.pairs_in == int((whole.n != 0).sum())
    assert done.reduces.records_mapped == len(wanted)


@settings(max_examples=min(40, settings().max_examples))
@given(bodies=bodies, split_bytes=st.integers(60, 4000), legs=st.booleans(), by=st.sampled_from([None, "n", ["x", "user"]]))
def test_without_reduce_the_mapped_frames_are_the_result(
    bodies: list[list[dict[str, Any]]], split_bytes: int, *, legs: bool, by: str | list[str] | None
) -> None:
    frames = [frame_of(rows) for rows in bodies]
    inputs = {f"{number}": parquet(frame) for number, frame in enumerate(frames)}

    done = run(lambda frame: frame.assign(double=frame.n * 2), None, inputs, by=by, split_bytes=split_bytes, legs=legs)

    wanted = pd.concat(frames, ignore_index=True).assign(double=lambda frame: frame.n * 2)
    if by is not None:
        wanted = wanted.sort_values(by, kind="stable", ignore_index=True)
    found = done.frame()
    pd.testing.assert_frame_equal(found, wanted)
    pd.testing.assert_frame_equal(head_frame(done.store, done.parts, 3), wanted.head(3))
    assert sum(map(len, iter_frames(done.store, done.parts))) == len(wanted)


@pytest.mark.parametrize("frame", ["pandas", "polars", "arrow"])
def test_rows_pass_through_each_library_as_they_are(frame: str) -> None:
    table = pd.DataFrame({"k": [3, 1, 2, 1], "s": ["a", "b", None, "d"], "t": pd.to_datetime(["2026-01-01"] * 4).tz_localize("UTC")})

    done = run(lambda frame: frame, lambda frame: frame, {"a": parquet(table)}, by="k", frame=frame)

    pd.testing.assert_frame_equal(done.frame(), table.sort_values("k", kind="stable", ignore_index=True))


def test_keys_whose_type_differs_from_frame_to_frame_are_one_group() -> None:
    """Integers are floats in the frames in which one is missing."""
    inputs = {"a": parquet(pd.DataFrame({"k": [1, 2]})), "b": parquet(pd.DataFrame({"k": [1.0, None, 2.0, 2.5]}))}

    for partitions in (1, 2, 5):
        done = run(None, lambda frame: frame.groupby("k", dropna=False).size().reset_index(name="n"), inputs, by="k", partitions=partitions)
        assert done.frame().fillna(-1).to_dict("list") == {"k": [1.0, 2.0, 2.5, -1.0], "n": [2, 2, 1, 1]}


def test_a_group_larger_than_any_frame_comes_whole() -> None:
    table = pd.DataFrame({"k": [1] * 5_000 + [2] * 3 + [3] * 4_000, "v": range(9_003)})
    sizes: list[list[int]] = []

    def reduce(frame: pd.DataFrame) -> pd.DataFrame:
        sizes.append(frame.groupby("k").size().tolist())
        return frame.groupby("k", as_index=False).sum()

    done = run(None, reduce, {"a": parquet(table, group_rows=700)}, by="k", partitions=1, budget=20_000, frame_bytes=1_000)

    pd.testing.assert_frame_equal(done.frame(), table.groupby("k", as_index=False).sum())
    assert [size for frame in sizes for size in frame] == [5_000, 3, 4_000]
    assert len(sizes) > 1


def test_map_may_ask_for_the_source_and_gets_one_at_a_time() -> None:
    inputs = {"a": parquet(pd.DataFrame({"n": [1, 2]})), "b": parquet(pd.DataFrame({"n": [3]}))}

    done = run(lambda source, frame: frame.assign(source=source), None, inputs, by=None)

    assert done.frame().to_dict("list") == {"n": [1, 2, 3], "source": ["a", "a", "b"]}


def test_no_frame_is_no_rows() -> None:
    inputs = {"a": parquet(pd.DataFrame({"n": [1, 2]}))}

    assert len(run(lambda frame: None, None, inputs, by=None).frame()) == 0
    assert len(run(None, lambda frame: None, inputs, by="n").frame()) == 0
    empty = run(None, lambda frame: frame.head(0), inputs, by="n").frame()
    assert len(empty) == 0
    assert list(empty.columns) == ["n"]


def test_json_lines_are_frames_too() -> None:
    data = b'{"user": "b", "n": 1, "more": [1]}\n{"user": "a", "n": null}\n{"user": "b", "n": 2.5}\n'

    done = run(None, lambda frame: frame.groupby("user").sum(), {"a": data}, by="user", columns=["user", "n"], format=Format.JSONL)

    assert done.frame().to_dict("list") == {"user": ["a", "b"], "n": [0.0, 3.5]}


def test_json_values_of_several_types_are_told_with_their_column() -> None:
    with pytest.raises(InputFormatError, match="a: the column 'n' has values that go into no one type"):
        run(None, None, {"a": b'{"n": 1}\n{"n": "x"}\n'}, by=None, format=Format.JSONL)


# ---------------------------------------------------------------- combining


def add_up(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.groupby(["user", "x"], dropna=False, sort=False, as_index=False).sum()


@settings(max_examples=min(40, settings().max_examples))
@given(
    bodies=bodies, split_bytes=st.integers(60, 4000), small=st.booleans(), frame_bytes=st.sampled_from([60, 1 << 20]), legs=st.booleans()
)
def test_a_combiner_changes_no_answer(
    bodies: list[list[dict[str, Any]]], split_bytes: int, *, small: bool, frame_bytes: int, legs: bool
) -> None:
    frames = [frame_of(rows) for rows in bodies]
    inputs = {f"{number}": parquet(frame) for number, frame in enumerate(frames)}

    done = run(
        None,
        add_up,
        inputs,
        by=["user", "x"],
        split_bytes=split_bytes,
        budget=600 if small else 1 << 26,
        frame_bytes=frame_bytes,
        legs=legs,
        combine=add_up,
    )

    whole = pd.concat(frames, ignore_index=True)
    wanted = add_up(whole).sort_values(["user", "x"], kind="stable", ignore_index=True)
    pd.testing.assert_frame_equal(done.frame(), wanted)
    assert done.maps.pairs_in == len(whole)
    assert done.maps.pairs_out == done.reduces.pairs_in <= len(whole)


def test_a_combiner_shrinks_what_travels() -> None:
    table = pd.DataFrame({"k": [1, 2] * 500, "n": 1})

    def add(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.groupby("k", as_index=False).sum()

    done = run(None, add, {"a": parquet(table)}, by="k", combine=add)

    assert done.frame().to_dict("list") == {"k": [1, 2], "n": [500, 500]}
    assert (done.maps.pairs_in, done.maps.pairs_out) == (1000, 2)


@pytest.mark.parametrize(
    ("combine", "told"),
    [
        (lambda frame: frame[["k"]], "combine must return a frame with the columns that it got .*; got the columns 'k'"),
        (lambda frame: None, "combine must return a frame with the columns that it got .*; got None"),
        (lambda frame: frame.assign(k=9), "combine must leave 'k' as it is"),
        (lambda frame: frame.assign(k="x"), "combine must leave 'k' as it is"),
    ],
)
def test_a_combiner_that_gives_other_columns_or_keys_is_told(combine: Any, told: str) -> None:
    table = pd.DataFrame({"k": [1, 2, 1], "n": 1})
    error = failure(None, lambda frame: frame, {"a": parquet(table)}, by="k", combine=combine)

    assert error.function == "combine"
    with pytest.raises(PairShapeError, match=told):
        raise error.__cause__ or error


def sampled(reduce: Any, table: pd.DataFrame, *, combine: Any) -> None:
    """Check the law as planning does."""
    program = program_of_frames(None, reduce, by="k", frame="pandas", columns=None, combine=combine)
    source = MemorySource({"a": parquet(table)})
    [split] = plan_splits([PlannedObject("m", source.stat("a"), cuttable=False)], split_bytes=1 << 20)
    [tried] = program.try_out(SplitInput(split, Format.PARQUET, {"m": source}))
    assert program.has_law
    program.check(tried.pairs)


def test_a_combiner_that_breaks_its_law_is_refused_with_a_counter_example() -> None:
    table = pd.DataFrame({"k": [1, 1, 1, 2], "n": [1.0, 2.0, 6.0, 5.0]})

    def add(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.groupby("k").sum()

    def mean(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.groupby("k").mean()

    sampled(add, table, combine=add)
    sampled(add, table, combine=True)
    with pytest.raises(CombinerLawError, match=r"reduce of all rows gives \{'k': 1, 'n': 9.0\}, of combined rows \{'k': 1, 'n': "):
        sampled(add, table, combine=mean)
    with pytest.raises(CombinerLawError, match="with combined rows, PairShapeError is raised: combine must return a frame"):
        sampled(add, table, combine=lambda frame: frame[["k"]])
    sampled(lambda frame: frame["nothing"], table, combine=add)  # what fails without the combiner is told by the job


# ---------------------------------------------------------------- what fails


def failure(map: Any, reduce: Any, inputs: dict[str, bytes], **options: Any) -> UserCodeError:
    with pytest.raises(UserCodeError) as caught:
        run(map, reduce, inputs, **options)
    return caught.value


INPUT = {"a": parquet(pd.DataFrame({"k": ["u", "v", "w"], "n": [1, 2, 3]})), "b": parquet(pd.DataFrame({"k": ["x"], "n": [0]}))}


def test_a_map_that_raises_is_told_with_its_rows_and_object() -> None:
    def map(source: str, frame: pd.DataFrame) -> pd.DataFrame:
        if source == "b":
            raise ZeroDivisionError
        return frame

    error = failure(map, None, INPUT, by=None)

    assert (error.function, error.record, error.source, error.record_number) == ("map", "rows 4 to 4 of the task's input", "b", 4)
    assert isinstance(error.__cause__, ZeroDivisionError)


def test_a_reduce_that_raises_is_told_with_its_groups() -> None:
    def reduce(frame: pd.DataFrame) -> pd.DataFrame:
        raise KeyError(frame.columns[0])

    error = failure(None, reduce, INPUT, by=["k", "n"], partitions=1)

    assert (error.function, error.record) == ("reduce", "k, n from ('u', 1) to ('x', 0)")


@pytest.mark.parametrize(
    ("map", "reduce", "told"),
    [
        (lambda frame: frame["n"], None, "map must return a pandas DataFrame, or None for no rows; got a Series"),
        (None, lambda frame: frame["n"].sum(), "reduce must return a pandas DataFrame, or None for no rows; got "),
        (lambda frame: frame[["n"]], lambda frame: frame, "map returned a frame without the column 'k', .*; it has 'n'"),
        (lambda frame: frame.assign(z=[1, "a"] * (len(frame) // 2)), None, "column 'z' .* Arrow cannot hold"),
    ],
)
def test_what_is_no_frame_is_told(map: Any, reduce: Any, told: str) -> None:
    error = failure(map, reduce, INPUT, by="k")

    assert isinstance(error.__cause__, PairShapeError)
    with pytest.raises(PairShapeError, match=told):
        raise error.__cause__
    assert error.place is not None


def test_frames_of_map_that_do_not_go_together_are_told_with_both_types() -> None:
    def map(source: str, frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(n="text") if source == "b" else frame

    for partitions in (1, 4):
        with pytest.raises(PairShapeError, match=r"The column 'n' is of type int64 in some frames and .*string in others"):
            run(map, lambda frame: frame, INPUT, by="k", partitions=partitions).frame()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"map": 5}, "map must be a function, or None; got 5"),
        ({"by": None}, "reduce needs by"),
        ({"by": 7}, "by must be the name of a column, or several, each once; got 7"),
        ({"by": ["a", "a"]}, "by must be the name of a column"),
        ({"columns": "a"}, r"columns=\['a'\] leaves out 'k', by which the rows are grouped"),
        ({"reduce": smr.top(3)}, "reduce must be a function of frames; <smr.top> is for smr.aggregate"),
        ({"reduce": smr.sum}, "reduce must be a function of frames; smr.sum is for smr.aggregate"),
        ({"reduce": lambda key, values: None}, r"reduce of map_frames must take \(frame\).*; <lambda> takes \(key, values\)"),
        ({"combine": 5}, "combine must be a function, or None; got 5"),
        ({"combine": len, "reduce": None}, "combine needs a reduce"),
        ({"frame": "spark"}, "frame='spark' is not known"),
    ],
)
def test_wrong_arguments_are_told(arguments: dict[str, Any], told: str) -> None:
    given_arguments: dict[str, Any] = {"map": None, "reduce": len, "by": "k", "frame": "pandas", "columns": None, **arguments}

    with pytest.raises(PlanError, match=told):
        program_of_frames(given_arguments.pop("map"), given_arguments.pop("reduce"), **given_arguments)


def test_input_without_columns_is_refused_before_anything_runs() -> None:
    program = program_of_frames(None, None, by=None, frame="pandas", columns=["z"])
    source = MemorySource({"a": b"text\n", "b": parquet(pd.DataFrame({"n": [1]}))})
    splits = {key: plan_splits([PlannedObject("m", source.stat(key), cuttable=True)], split_bytes=100)[0] for key in ("a", "b")}

    with pytest.raises(PlanError, match="The input is text, whose records have no columns"):
        program.check_input([SplitInput(splits["a"], Format.TEXT, {"m": source})])
    with pytest.raises(PlanError, match="The input has no column 'z'; it has the columns 'n'"):
        program.check_input([SplitInput(splits["b"], Format.PARQUET, {"m": source})])
    grouped = program_of_frames(None, len, by="k", frame="pandas", columns=None)
    with pytest.raises(PlanError, match="The input has no column 'k'; it has the columns 'n'"):
        grouped.check_input([SplitInput(splits["b"], Format.PARQUET, {"m": source})])
