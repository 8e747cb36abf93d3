"""The body of a `%%smr` cell, and what its words name."""

from __future__ import annotations

import pickle
import traceback
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from IPython.core.interactiveshell import InteractiveShell

import smr_notebook as smr
from smr_notebook.control.naming import Files
from smr_notebook.dataflow.opening import opened
from smr_notebook.dataflow.pair_programs import PairProgram, program_of_pairs
from smr_notebook.errors import ConfigError
from smr_notebook.notebook.arguments import CellOptions
from smr_notebook.notebook.cells import CellFunctions, choose_functions, choose_input, run_body

BODY = "def map(record):\n    return [(record, helper)]\ndef reduce(key, values):\n    return 1 / 0\n"


def test_the_body_sees_the_notebook_and_leaks_nothing(shell: InteractiveShell) -> None:
    shell.user_ns["helper"] = 7
    bound = run_body(shell, "x", BODY)
    assert sorted(bound) == ["map", "reduce"]
    assert bound["map"]("a") == [("a", 7)]
    assert "map" not in shell.user_ns


def test_only_what_the_body_binds_counts(shell: InteractiveShell) -> None:
    shell.user_ns |= {"reduce": sum, "map": len}
    assert list(run_body(shell, "x", "import os\nfor n in (1, 2):\n    pass\n")) == ["os", "n"]


def test_a_name_bound_to_what_it_was_counts(shell: InteractiveShell) -> None:
    shell.user_ns["reduce"] = sum
    assert run_body(shell, "x", "reduce = sum")["reduce"] is sum


def test_lines_are_counted_from_the_magic(shell: InteractiveShell) -> None:
    reduce = run_body(shell, "x", BODY)["reduce"]
    with pytest.raises(ZeroDivisionError) as caught:
        reduce(1, [])
    last = traceback.extract_tb(caught.tb)[-1]
    assert (last.lineno, last.line) == (5, "return 1 / 0")


def test_the_body_is_compiled_as_the_user_wrote_it(shell: InteractiveShell) -> None:
    annotated = run_body(shell, "x", "def map(record: int): return []")["map"]
    assert annotated.__annotations__ == {"record": int}


@pytest.mark.parametrize("names", [("map", "reduce", "combine"), ("mapper", "reducer", "combiner")])
def test_functions_go_by_two_names(names: tuple[str, str, str]) -> None:
    bound = dict(zip(names, (len, sum, max), strict=True))
    assert choose_functions(CellOptions(), bound, {}) == CellFunctions(len, sum, max)


def test_hooks_go_by_the_names_of_their_functions(shell: InteractiveShell) -> None:
    body = (
        "def map_setup():\n    global model\n    model = {'a': 1}\n"
        "def map(record):\n    yield record, model[record]\n"
        "def map_teardown():\n    model.clear()\n"
        "def reduce_setup():\n    return 2\n"
        "def reduce(factor, key, values):\n    return factor * sum(values)\n"
    )
    found = choose_functions(CellOptions(), run_body(shell, "x", body), {})
    program = program_of_pairs(found.map, found.reduce, None)
    there: PairProgram = pickle.loads(cloudpickle.dumps(program))
    with opened(there, ("map", "reduce")) as ready:
        assert isinstance(ready, PairProgram)
        assert ready.functions.reduce is not None
        assert [*(ready.functions.map("a") or ())] == [("a", 1)]
        assert ready.functions.reduce("a", iter([1, 2])) == 6
    hooked: Any = there.functions.map
    assert hooked.function.__globals__["model"] == {}
    assert "model" not in shell.user_ns


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("map = len\ndef reduce_setup(): pass\n", "defines reduce_setup or reduce_teardown, and no reduce"),
        ("map = len\nmap_setup = 5\n", "map_setup and map_teardown: setup must be a function"),
        ("map = len\ndef map_teardown(): yield 1, 1\n", "map_setup and map_teardown: teardown gives no pairs"),
    ],
    ids=["no function", "no hook", "pairs"],
)
def test_hooks_that_are_none_are_refused(shell: InteractiveShell, body: str, told: str) -> None:
    with pytest.raises(ConfigError, match=f"%%smr: .*{told}"):
        choose_functions(CellOptions(), run_body(shell, "x", body), {})


def test_functions_of_other_cells_are_named_by_options() -> None:
    options = CellOptions(map="mine", reduce="sum", combine=True)
    assert choose_functions(options, {}, {"mine": len}) == CellFunctions(len, sum, combine=True)


def test_a_built_in_aggregation_is_a_reduce() -> None:
    top = smr.top(2)
    assert choose_functions(CellOptions(), {"map": len, "reduce": top}, {}).reduce is top
    assert choose_functions(CellOptions(reduce="smr.sum"), {"map": len}, {"smr": smr}).reduce is smr.sum


def test_a_function_of_a_module_is_named_with_dots() -> None:
    import operator

    assert choose_functions(CellOptions(map="operator.neg"), {}, {"operator": operator}).map is operator.neg


@pytest.mark.parametrize(
    ("options", "bound", "space", "message"),
    [
        (CellOptions(), {}, {}, "%%smr: the cell defines no map. Define `def map(record): yield key, value`."),
        (
            CellOptions(),
            {"mapp": len},
            {},
            "%%smr: the cell defines no map. Did you mean 'mapp'? Define `def map(record): yield key, value`.",
        ),
        (CellOptions(), {}, {"map": len}, "%%smr: the cell defines no map. The notebook has one: write --map map to use it. Define"),
        (CellOptions(), {"map": len, "mapper": len}, {}, "%%smr: map and mapper both say what map is. Keep one."),
        (CellOptions(map="f"), {"map": len}, {"f": len}, "%%smr: map and --map both say what map is. Keep one."),
        (CellOptions(), {"map": 3}, {}, "%%smr: map must be a function; it is a int."),
        (CellOptions(combine=True), {"map": len}, {}, "%%smr: --combine needs a reduce."),
        (CellOptions(map="mien"), {}, {"mine": len}, "%%smr: --map mien: there is no such function in this notebook. Did you mean 'mine'?"),
        (
            CellOptions(reduce="summ"),
            {"map": len},
            {},
            "%%smr: --reduce summ: there is no such function in this notebook. Did you mean 'sum'?",
        ),
    ],
)
def test_functions_that_are_missing_or_named_twice(
    options: CellOptions, bound: dict[str, object], space: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        choose_functions(options, bound, space)
    assert str(caught.value).startswith(message)


def test_a_word_can_be_a_variable() -> None:
    lines = ["a", "b"]
    assert choose_input(("lines",), {"lines": lines}) is lines


def test_a_word_can_be_a_range() -> None:
    assert choose_input(("range(2,10,3)",), {}) == range(2, 10, 3)


def test_words_can_be_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert choose_input(("~/a.txt", "b/*.gz", "./c"), {"c": 1}) == Files(("/home/ada/a.txt", "b/*.gz", "./c"))


def test_a_folder_can_be_named_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "logs").mkdir()
    monkeypatch.chdir(tmp_path)
    assert choose_input(("logs",), {}) == Files(("logs",))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "%%smr: no input."),
        (("lines", "a.txt"), "%%smr: 'lines' is a value of this notebook and must be the only input; only paths can be several."),
        (("lins",), "%%smr: 'lins' is neither a variable of this notebook nor a file or folder here. Did you mean 'lines'?"),
        (("acess",), "%%smr: 'acess' is neither a variable of this notebook nor a file or folder here. Did you mean 'access'?"),
        (("a.txt", "into"), "%%smr: 'into' is neither a variable of this notebook nor a file or folder here. Did you mean '--into'?"),
        (("a.txt", "nto"), "%%smr: 'nto' is neither a variable of this notebook nor a file or folder here. Did you mean '--into'?"),
        (("lines.head(3)",), "%%smr: 'lines.head(3)' is an expression. Put its value into a variable, and name that."),
        (("access", "of", "May"), '%%smr: a name with spaces stands in quotes: "access of May".'),
        (("range(a)",), "%%smr: 'range(a)' is not a range of whole numbers."),
    ],
)
def test_words_that_name_no_input(words: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "access").mkdir()
    (tmp_path / "access of May").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        choose_input(words, {"lines": []})
    assert str(caught.value).startswith(message)
