"""Functions travel with all that they use; what cannot travel is named."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from smr_notebook.dataflow.code import capture, load_program, modules_by_value, takes_source
from smr_notebook.dataflow.functions import Functions
from smr_notebook.dataflow.pair_programs import PairProgram
from smr_notebook.errors import CorruptObjectError, PlanError, UnpicklableError

FACTOR = 3
LOAD = """
import sys
from smr_notebook.dataflow.code import load_program
program, _ = load_program(open(sys.argv[1], "rb").read())
print({})
"""


def helper(item: int) -> int:
    return item * FACTOR


def by_helper(item: int) -> Iterator[tuple[int, int]]:
    yield item, helper(item)


def program(map: Callable[..., Any], reduce: Any = None) -> PairProgram:
    return PairProgram(Functions(map, map_takes_source=False, reduce=reduce, reduce_yields=False, combine=None, combine_yields=False))


def load(data: bytes) -> Functions:
    loaded, _ = load_program(data)
    assert isinstance(loaded, PairProgram)
    return loaded.functions


def test_globals_helpers_and_closures_travel() -> None:
    offset = 10
    bundle = capture(program(lambda item: [(item, helper(item) + offset)]))
    loaded = load(bundle.data)
    assert loaded.map(2) == [(2, 16)]
    assert {name for name, _ in bundle.report.captured} == {"offset", "FACTOR"}


def test_a_process_without_the_module_can_run_them(tmp_path: Path) -> None:
    (tmp_path / "code").write_bytes(capture(program(by_helper)).data)
    script = LOAD.format("list(program.functions.map(2))")
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "code")], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.strip() == "[(2, 6)]"


def test_modules_of_ones_own_travel_by_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine_by_value.py").write_text("def triple(x):\n    return 3 * x\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import mine_by_value  # type: ignore[import-not-found]

    def mapped(item: int) -> list[tuple[int, int]]:
        return [(item, mine_by_value.triple(item))]

    bundle = capture(program(mapped))
    assert "mine_by_value" in bundle.report.modules
    (tmp_path / "code").write_bytes(bundle.data)
    script = LOAD.format("program.functions.map(2)")
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "code")], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.strip() == "[(2, 6)]"

    def inside(item: int) -> int:
        import mine_by_value

        return int(mine_by_value.triple(item))

    with pytest.raises(UnpicklableError, match="imports your own module 'mine_by_value' inside"):
        capture(program(inside))
    del sys.modules["mine_by_value"]


def test_what_installed_functions_use_is_not_told_as_captured() -> None:
    bundle = capture(program(lambda item: [(item, 1)], reduce=textwrap.dedent))
    assert bundle.report.captured == ()
    assert textwrap.__file__ not in load_program(bundle.data)[1]


def test_two_values_of_one_name_are_both_told() -> None:
    def one(table: bytes) -> Callable[[int], Any]:
        return lambda item: [(item, table)]

    def other(table: bytes) -> Callable[[Any, Any], Any]:
        return lambda key, values: table

    captured = capture(program(one(b"x" * 100), reduce=other(b"y" * 200))).report.captured
    assert [name for name, _ in captured] == ["table", "table"]


def test_an_iterable_that_is_pickled_may_itself_submit_a_job() -> None:
    with modules_by_value():
        bundle = capture(program(by_helper))
    assert load(bundle.data).map is not None


def test_what_cannot_travel_is_named() -> None:
    lock = threading.Lock()
    with pytest.raises(UnpicklableError, match=r"reduce uses `lock`, a _thread\.lock"):
        capture(program(by_helper, reduce=lambda key, values: lock))


def test_the_source_lines_travel_with_the_label() -> None:
    _, sources = load_program(capture(program(by_helper), label_of=lambda file: f"label of {Path(file).name}").data)
    label, text = sources[by_helper.__code__.co_filename]
    assert label == "label of test_code.py"
    assert "def by_helper" in text


def test_code_keeps_the_name_of_its_file_whatever_cloudpickle_calls_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it does from 3.1.3 on: a failure would show no line of the user's."""
    import cloudpickle

    table = cloudpickle.Pickler.dispatch_table
    usual = table[types.CodeType]

    def nameless(code: types.CodeType) -> Any:
        return usual(code.replace(co_filename="<dynamic-code>"))

    monkeypatch.setitem(table, types.CodeType, nameless)
    loaded = load(capture(program(by_helper, reduce=lambda key, values: [value + key for value in values])).data)
    assert loaded.reduce is not None
    inner = [part for part in loaded.reduce.__code__.co_consts if isinstance(part, types.CodeType)]
    for code in (loaded.map.__code__, loaded.map.__globals__["helper"].__code__, loaded.reduce.__code__, *inner):
        assert code.co_filename == __file__


def test_one_or_two_parameters_tell_whether_the_source_is_wanted() -> None:
    assert not takes_source(lambda record: None)
    assert takes_source(lambda source, record: None)
    assert not takes_source(lambda record, option=1: None)
    assert not takes_source(str.split)
    for wrong in (lambda: None, lambda a, b, c: None):
        with pytest.raises(PlanError, match=r"must take \(record\)"):
            takes_source(wrong)


def test_damage_is_noticed() -> None:
    data = capture(program(by_helper)).data
    for place in range(0, len(data), max(1, len(data) // 50)):
        with pytest.raises(CorruptObjectError):
            load_program(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])


def test_modules_are_not_copied_by_the_registry_afterwards() -> None:
    import cloudpickle

    before = set(cloudpickle.list_registry_pickle_by_value())
    capture(program(by_helper))
    assert set(cloudpickle.list_registry_pickle_by_value()) == before
    assert isinstance(sys.modules[__name__], types.ModuleType)
