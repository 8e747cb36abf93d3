"""A preview in this process: what it gives, what it tells, and that it leaves nothing behind."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any

import pandas as pd
import pytest

from smr_notebook.backends.memory.clock import SimulatedClock
from smr_notebook.backends.memory.functions import MemoryFunctions
from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.source import MemorySource
from smr_notebook.backends.memory.table import MemoryTable
from smr_notebook.backends.system_clock import SystemClock
from smr_notebook.config import Settings
from smr_notebook.control.ledger import JOBS
from smr_notebook.control.naming import items
from smr_notebook.errors import (
    CombinerLawError,
    ConfigError,
    EnvironmentMismatchError,
    InputFormatError,
    JobError,
    PairShapeError,
    PlanError,
    ResultTooLargeError,
    TaskError,
    UnpicklableError,
)
from smr_notebook.formats import csv, parse
from smr_notebook.model import Phase, Policy
from smr_notebook.ports import LASTING, Backend, Context
from smr_notebook.sessions.previews import Preview
from smr_notebook.sessions.session import Session

LOCK = Lock()
LINES = b"".join(b"%d word%d\n" % (number % 7, number) for number in range(1_000))


def nobody(payload: bytes, context: Context) -> bytes:
    raise AssertionError("a preview invokes nothing")


@pytest.fixture
def backend() -> Iterator[Backend]:
    functions = MemoryFunctions(nobody, workers=2)
    source = MemorySource({"/in/a.txt": LINES, "/in/b.txt": LINES, "/t.csv": b"a,b\n1,2\n3,x\n", "/w.jsonl": b'{"a": 1}\n{"a\n'})
    yield Backend("memory", "memory:", MemoryStore(), MemoryTable(), functions, SystemClock(), {"file": source}, Policy(), (0.01, 0.1))
    functions.close()


@pytest.fixture
def session(backend: Backend, tmp_path: Path) -> Session:
    return Session(settings=Settings(workspace=tmp_path), backend=backend)


def first_word(line: str) -> Iterator[tuple[str, int]]:
    yield line.partition(" ")[0], 1


def total(_: object, values: Iterator[int]) -> int:
    return sum(values)


def identity(item: Any) -> list[tuple[Any, Any]]:
    return [(item, item)]


def rows(preview: Preview) -> list[tuple[Any, Any]]:
    return list(preview.result.itertuples(index=False, name=None))


# ---------------------------------------------------------------- what it gives


def test_the_first_records_are_mapped_and_reduced(session: Session) -> None:
    found = session.preview(first_word, total, "/in", records=10)
    assert rows(found) == [("0", 2), ("1", 2), ("2", 2), ("3", 1), ("4", 1), ("5", 1), ("6", 1)]
    assert (found.records, found.pairs, found.groups) == (10, 10, 7)
    assert found.share == pytest.approx(10 / 2_000, rel=0.2)
    assert not found.whole.exact
    assert found.whole.records == pytest.approx(2_000, rel=0.2)
    assert found.warnings == ()


def test_a_hundred_are_the_first_ones_if_nobody_says_how_many(session: Session) -> None:
    assert session.preview(first_word, None, "/in").records == 100


def test_more_records_than_there_are_are_all(session: Session) -> None:
    found = session.preview(first_word, total, "/in", records=10**9)
    assert (found.records, found.share, found.whole.exact, found.whole.records) == (2_000, 1.0, True, 2_000)
    assert sum(value for _, value in rows(found)) == 2_000
    assert "\n Input   all 2,000 records\n" in repr(found)


def test_records_are_taken_over_the_borders_of_objects(session: Session) -> None:
    found = session.preview(lambda source, _: [(source, 1)], total, "/in", records=1_003)
    assert rows(found) == [("/in/a.txt", 1_000), ("/in/b.txt", 3)]


def test_typed_records_and_rows_of_frames_are_those_of_a_job(session: Session) -> None:
    typed = session.preview(lambda row: [(row["a"], type(row["a"]).__name__)], None, "/t.csv", format=csv(types={"a": int}), records=1)
    assert rows(typed) == [(1, "int")]
    frame = pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"]}, index=[7, 8, 9])
    found = session.preview(lambda row: [(row["b"], row["a"])], None, frame, records=2)
    assert rows(found) == [("x", 1), ("y", 2)]
    assert found.result["value"].dtype == "int64"
    assert found.share == pytest.approx(2 / 3)
    assert (found.whole.records, found.whole.exact) == (3, True)


def test_a_parser_makes_the_records(session: Session) -> None:
    made = parse(lambda stream: iter(stream.read().split()))
    assert rows(session.preview(identity, None, "/in/a.txt", format=made, records=3)) == [(b"0", b"0"), (b"1", b"1"), (b"word0", b"word0")]


@pytest.mark.parametrize("endless", [range(10**12), itertools.repeat(1)])
def test_no_more_of_an_iterable_is_taken_than_is_wanted(session: Session, endless: Any) -> None:
    """An iterator would be consumed, so that it is wrapped in something that begins anew."""

    class Again:
        def __iter__(self) -> Iterator[int]:
            yield from endless

    given = endless if isinstance(endless, range) else Again()
    found = session.preview(identity, None, given, records=5)
    assert found.records == len(found.result) == 5
    if isinstance(endless, range):
        assert (found.whole.records, found.whole.exact) == (10**12, True)
    else:
        assert (found.whole.records, found.whole.seconds, found.share) == (None, None, None)
        assert "nobody knows how many there are" in repr(found)


def test_an_iterable_that_ends_early_is_known_whole(session: Session) -> None:
    class Three:
        def __iter__(self) -> Iterator[int]:
            return iter(range(3))

    found = session.preview(identity, None, Three())
    assert (found.records, found.share, found.whole.records) == (3, 1.0, 3)


def test_what_gives_its_items_once_is_not_consumed(session: Session) -> None:
    class Cursor:
        def __init__(self) -> None:
            self.left = iter(range(10))

        def __iter__(self) -> Iterator[int]:
            return self.left

    cursor = Cursor()
    for verb in (session.preview, session.plan):
        with pytest.raises(PlanError, match="would consume the Cursor"):
            verb(identity, None, cursor)
    assert list(cursor) == list(range(10))


def test_more_records_than_anything_has_are_refused(session: Session) -> None:
    with pytest.raises(ConfigError, match="is more than any input has"):
        session.preview(identity, None, [1], records=10**30)


@pytest.mark.parametrize("wrap", [iter, lambda values: items(iter(values))])
def test_an_iterator_is_not_consumed(session: Session, wrap: Callable[[list[int]], Any]) -> None:
    given = wrap([1, 2])
    for verb, told in ((session.preview, "A preview"), (session.plan, "Planning")):
        with pytest.raises(PlanError, match=f"{told} would consume the list_iterator"):
            verb(identity, None, given)
    assert list(getattr(given, "values", given)) == [1, 2]


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "10", None])
def test_a_number_of_records_is_one(session: Session, wrong: Any) -> None:
    with pytest.raises(ConfigError, match=r"records must be a whole number, 1 or more; got "):
        session.preview(identity, None, [1], records=wrong)


# ---------------------------------------------------------------- what it leaves


def test_nothing_is_stored_and_nothing_is_called(session: Session, tmp_path: Path) -> None:
    session.preview(first_word, total, "/in", combine=True, on_error="collect")
    session.preview(identity, None, [1, 2, 3])
    assert list(session.backend.objects.list_prefix("")) == []
    assert [session.backend.table.query(group) for group in (JOBS, LASTING, "preview")] == [[], [], []]
    assert list(tmp_path.iterdir()) == []
    assert session.jobs() == []


def test_functions_run_as_copies_that_leave_no_trace(session: Session) -> None:
    """As they do in a worker: what they change of the notebook's variables is a copy's."""
    seen: list[str] = []
    session.preview(seen.append, None, "/in/a.txt")
    assert seen == []


# ---------------------------------------------------------------- errors


def test_an_exception_of_map_is_told_as_a_job_tells_it(session: Session) -> None:
    with pytest.raises(TaskError) as caught:
        session.preview(lambda line: [(1 // (len(line) - 8), 1)], total, "/in")
    failure = caught.value.failures[0].failure
    assert (failure.type, failure.function, failure.record, failure.source) == ("ZeroDivisionError", "map", "'3 word10'", "/in/a.txt")
    assert (failure.offset, failure.record_number) == (80, 11)
    assert [frame.file for frame in failure.frames] == [__file__]
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert str(caught.value).startswith("ZeroDivisionError in map: integer division or modulo by zero\n")
    assert caught.value.job == ""


def test_an_exception_of_reduce_names_its_key(session: Session) -> None:
    with pytest.raises(TaskError, match=r"(?s)KeyError in reduce: 'no'\n.*key: '0'") as caught:
        session.preview(first_word, lambda key, values: {str(values): 1}["no"], "/in")
    assert caught.value.failures[0].attempt.task.phase is Phase.REDUCE


def test_an_exception_behind_the_first_records_is_not_met(session: Session) -> None:
    assert session.preview(lambda line: [(1 // (len(line) - 8), 1)], total, "/in", records=10).records == 10


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (PairShapeError, "must", lambda session: session.preview(lambda _: 7, None, [1])),
        (JobError, "SystemExit", lambda session: session.preview(lambda _: sys.exit(3), None, [1])),
        (InputFormatError, "/w.jsonl", lambda session: session.preview(identity, None, "/w.jsonl")),
        (CombinerLawError, "combine", lambda session: session.preview(first_word, lambda _, v: len(list(v)), "/in", combine=True)),
        (UnpicklableError, "cannot travel", lambda session: session.preview(lambda _, lock=LOCK: [(lock, 1)], None, [1])),
        (ResultTooLargeError, "limit", lambda session: _tiny(session).preview(identity, None, range(100))),
    ],
)  # fmt: skip
def test_what_a_job_would_end_with_a_preview_ends_with(
    session: Session, error: type[Exception], message: str, call: Callable[[Session], object]
) -> None:
    with pytest.raises(error, match=message):
        call(session)


def _tiny(session: Session) -> Session:
    return Session(settings=replace(session.settings, result_limit=10), backend=session.backend)


def test_workers_of_another_environment_are_refused(session: Session) -> None:
    class Others:
        limits = replace(session.backend.functions.limits, environment=replace(session.backend.functions.limits.environment, python="3.99"))
        invoke = session.backend.functions.invoke

    others = Session(settings=session.settings, backend=replace(session.backend, functions=Others()))
    with pytest.raises(EnvironmentMismatchError, match=r"3\.99 on the workers"):
        others.preview(identity, None, [1])


# ---------------------------------------------------------------- what it tells


def test_what_is_left_out_is_counted_and_shown(session: Session) -> None:
    found = session.preview(lambda row: [(row["a"], int(row["b"]))], None, "/t.csv", on_error="collect")
    assert rows(found) == [("1", 2)]
    assert list(found.bad["function"]) == ["map"]
    assert "ValueError" in found.bad["error"][0]
    [warning] = found.warnings
    assert warning.startswith("1 of 2 records were left out. The first: ValueError")
    assert " Map     1 record (1 left out) → 1 pair\n" in repr(found)


def test_more_left_out_than_may_be_is_a_warning(session: Session) -> None:
    found = session.preview(lambda item: [(1 // (item % 2), 1)], total, range(100), on_error="skip", max_bad=0.1)
    assert found.mapped.records_bad == 50
    assert "more than max_bad allows (10%): a job whose map phase goes on like this fails" in found.warnings[0]
    groups = session.preview(identity, lambda _, values: 1 // 0, range(3), on_error="skip", max_bad=1)
    assert (groups.reduced.records_bad, len(groups.result)) == (3, 0)
    assert "a job whose reduce phase" in groups.warnings[0]


def test_the_heaviest_keys_are_told_with_their_share(session: Session) -> None:
    def skewed(item: int) -> list[tuple[Any, int]]:
        return [(("none", 0) if item % 4 else item, 1)]

    found = session.preview(skewed, total, range(100), reducers=2)
    assert (found.heaviest[0].key, found.heaviest[0].pairs, found.heaviest[0].share) == (("none", 0), 75, 0.75)
    assert len(found.heaviest) == 5
    assert "('none', 0) 75 % · 0 1 % · 4 1 %" in repr(found)
    assert found.warnings[0].startswith("The key ('none', 0) has 75 % of the pairs, and one reduce task gets all of them.")
    assert session.preview(skewed, total, range(100)).warnings == (), "of one reduce task nobody expects anything else"
    combined = session.preview(skewed, sum, range(100), reducers=2)
    assert combined.heaviest == found.heaviest
    assert combined.warnings == (), "what is added up before it travels weighs nothing"


def test_a_map_that_gives_nothing_is_a_warning(session: Session) -> None:
    found = session.preview(lambda _: None, total, "/in")
    assert found.warnings == ("map gave no pairs of any of these records.",)
    assert (found.pairs, found.groups, len(found.result), found.heaviest) == (0, 0, 0, ())


def test_a_large_variable_is_a_warning_as_of_a_plan(session: Session) -> None:
    table = "x" * (11 << 20)
    assert "`table` travels with the functions and is large" in session.preview(lambda _: [(len(table), 1)], None, [1]).warnings[0]


def test_a_preview_tells_what_the_job_would_cost_and_does_not_refuse_it(session: Session) -> None:
    priced = Session(settings=session.settings, backend=replace(session.backend, tariff="aws/us-east-1/x86_64"))
    free = priced.preview(first_word, total, "/in")
    assert free.whole.estimate is not None
    assert 0 < free.whole.estimate.low < free.whole.estimate.high
    assert re.search(r"\n ! Cost    \$[\d.e-]+ to \$[\d.e-]+\n", repr(free))
    dear = priced.preview(first_word, total, "/in", max_cost=free.whole.estimate.likely / 100)
    assert any(warning.startswith("The job is thought to cost more than max_cost allows ($") for warning in dear.warnings)
    assert session.preview(first_word, total, "/in", max_cost=1e-12).warnings == ()
    many = priced.preview(identity, total, range(10**6))
    assert many.whole.estimate is not None
    assert many.whole.maps >= 2


def test_time_is_that_of_the_clock_of_the_platform(session: Session) -> None:
    simulated = Session(settings=session.settings, backend=replace(session.backend, clock=SimulatedClock()))
    found = simulated.preview(first_word, total, "/in")
    assert (found.map_seconds, found.reduce_seconds, found.looked.read_seconds) == (0.0, 0.0, 0.0)
    real = session.preview(lambda line: [(len(str(2 ** len(line) ** 4)), 1)], None, "/in", records=3)
    assert real.map_seconds > 0


def test_a_preview_is_shown_as_text_and_as_html(session: Session) -> None:
    found = session.preview(first_word, total, "/in", name="a<b")
    shown = found._repr_mimebundle_()
    text = shown["text/plain"]
    assert re.match(r"Preview of 100 records for 'a<b' \[smr-preview, [\d.]+ s\]\n", text)
    assert "\n\n  key  value\n0   0     15\n" in text
    assert shown["text/html"].startswith('<div class="smr-preview"')
    assert "a&lt;b" in shown["text/html"]
    assert 'class="dataframe"' in shown["text/html"]
    outside = re.sub(r'<span class="smr-v">[^<]*</span>', "", shown["text/html"])
    assert re.search(r"\d ?(µs|ms|ns|s)\b|\d (map|reduce|worker)|about", outside) is None, "what varies is told to"
