"""Functions by name out of a folder, and the folders of tasks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smr_notebook.dataflow.code import capture, load_program
from smr_notebook.dataflow.opening import opened
from smr_notebook.dataflow.pair_programs import PairProgram, program_of_pairs
from smr_notebook.errors import ConfigError, UnpicklableError
from smr_notebook.job_files.function_files import Reference, functions_below, read_reference
from smr_notebook.job_files.task_folders import load_functions, names_below


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        place = folder / f"{name.replace('__', '/')}.py"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("text", ["map", ":map", "words.py:", "words.py:1", "wo rds:map", "a/b:map", 3, None])
def test_what_names_no_function_is_refused(text: object) -> None:
    with pytest.raises(ConfigError, match="names no function"):
        read_reference(text)


def test_a_function_of_a_file_comes_with_its_neighbours(tmp_path: Path) -> None:
    write(
        tmp_path,
        words="from helping_words import split\ndef map(line): return split(line)",
        helping_words="def split(line): return line.split()",
    )
    with functions_below(tmp_path) as find:
        function = find(Reference("words.py", "map"))
        assert function("a b") == ["a", "b"]
        assert find(Reference("helping_words", "split")) is sys.modules["helping_words"].split
    assert {"words", "helping_words"}.isdisjoint(sys.modules)
    assert str(tmp_path) not in sys.path


def test_a_function_of_a_file_may_have_hooks(tmp_path: Path) -> None:
    write(
        tmp_path,
        words="import smr_notebook as smr\nfrom models import load\ndef score(model, line): return [(line, model[line])]\n"
        "scored = smr.hooked(score, setup=load)",
        models="def load(): return {'a': 7}",
    )
    with functions_below(tmp_path) as find:
        code = capture(program_of_pairs(find(Reference("words.py", "scored")), None, None))
    assert {"models", "words"} <= set(code.report.modules)
    with opened(load_program(code.data)[0], ("map",)) as ready:
        assert isinstance(ready, PairProgram)
        assert ready.functions.map("a") == [("a", 7)]


def test_two_folders_may_use_the_same_names(tmp_path: Path) -> None:
    for name in ("one", "two"):
        with functions_below(write(tmp_path / name, task=f"def map(line): return {name!r}")) as find:
            assert find(Reference("task.py", "map"))("") == name


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("word.py:map", r"There is no file .*word\.py\. Did you mean 'words\.py'\?"),
        ("words.py:mpa", r"words\.py defines no 'mpa'\. Did you mean 'map'\?"),
        ("nowhere.at.all:map", "nowhere.at.all cannot be imported: ModuleNotFoundError"),
        ("broken.py:map", r"broken\.py cannot be imported: ZeroDivisionError: .*broken\.py, line 2"),
        ("half.py:map", r"half\.py cannot be imported: SyntaxError"),
        ("json.py:map", r"json\.py cannot be imported as 'json': that is .* already\. Rename it\."),
        ("a-b.py:map", r"'a-b' is no name of a module\. Rename it\."),
    ],
)
def test_what_cannot_be_found_is_told(tmp_path: Path, reference: str, told: str) -> None:
    write(tmp_path, words="def map(line): ...", broken="\n1 / 0", half="def map(", json="", **{"a-b": ""})
    with functions_below(tmp_path) as find, pytest.raises(ConfigError, match=told):
        find(read_reference(reference))


def test_a_neighbour_that_is_imported_inside_a_function_is_refused_before_anything_runs(tmp_path: Path) -> None:
    write(tmp_path, words="def map(line):\n    import late_words\n    return late_words.split(line)", late_words="def split(line): ...")
    with functions_below(tmp_path) as find, pytest.raises(UnpicklableError, match="imports your own module 'late_words' inside its body"):
        capture(program_of_pairs(find(Reference("words.py", "map")), sum, None))


@pytest.mark.parametrize("body", ["import statistics\ndef map(line): ...", "def map(line):\n    from statistics import mean"])
@pytest.mark.parametrize("place", ["", "deep__"])
def test_a_neighbour_in_whose_place_another_module_would_be_taken_is_refused(tmp_path: Path, place: str, body: str) -> None:
    assert "statistics" in sys.modules  # of Python's own
    write(tmp_path, **{f"{place}words": body, f"{place}statistics": "def mean(values): return 'mine'"})
    told = r"statistics\.py, which .*words\.py imports, cannot be imported as 'statistics': that is .* already\. Rename it\."
    with functions_below(tmp_path) as find, pytest.raises(ConfigError, match=told):
        find(Reference(f"{place.replace('__', '/')}words.py", "map"))


def test_what_lies_in_the_folder_and_is_not_imported_may_be_called_anything(tmp_path: Path) -> None:
    write(tmp_path, words="from parts import statistics\nmap = statistics.mine", statistics="1 / 0")
    write(tmp_path / "parts", statistics="from . import json\ndef mine(line): ...", json="")
    (tmp_path / "parts" / "__init__.py").touch()
    with functions_below(tmp_path) as find:
        assert find(Reference("words.py", "map")).__module__ == "parts.statistics"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import sys\nsys.exit(3)", r"words\.py cannot be imported: SystemExit: 3 \(.*words\.py, line 2\)"),
        ("from . import more", "What lies beside it is imported by its name alone: `import name`"),
    ],
)
def test_a_file_that_ends_python_or_thinks_it_is_in_a_package_is_told(tmp_path: Path, text: str, told: str) -> None:
    write(tmp_path, words=text, more="")
    with functions_below(tmp_path) as find, pytest.raises(ConfigError, match=told):
        find(Reference("words.py", "map"))


@pytest.mark.parametrize("late", ["import lib.more", "from lib.more import one", "from lib import more"])
@pytest.mark.parametrize("function", ["mapper", "reducer"])
def test_a_neighbour_that_a_task_imports_inside_a_function_is_refused(tmp_path: Path, function: str, late: str) -> None:
    write(tmp_path / "lib", more="one = 1")
    (tmp_path / "lib" / "__init__.py").touch()
    bodies = {name: f"def {name}({given}):\n    {late if name == function else 'return'}" for name, given in TAKEN.items()}
    write(tmp_path, task="\n".join(bodies.values()))
    with functions_below(tmp_path) as find, pytest.raises(UnpicklableError, match=rf"{function} imports your own module 'lib(\.more)?'"):
        load_functions(find, tmp_path, data="a")


def test_a_function_of_a_package_that_imports_its_neighbour_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "lib", more="one = 1", words="def map(line):\n    from .more import one\n    return one")
    (tmp_path / "lib" / "__init__.py").touch()
    with functions_below(tmp_path) as find, pytest.raises(UnpicklableError, match=r"imports your own module 'lib\.more' inside its body"):
        capture(program_of_pairs(find(Reference("lib.words", "map")), sum, None))


# ---------------------------------------------------------------- tasks

TAKEN = {"mapper": "doc_id, chunk", "reducer": "key_values"}
"""What the functions of a task take."""

TASK = """
import counting_words
def mapper(doc_id, chunk):
    for word in chunk.split():
        yield word, (doc_id, counting_words.one())
def reducer(key_values):
    key, values = key_values
    {}
"""


def reduced(tmp_path: Path, body: str, values: list[Any]) -> list[Any]:
    """Return the rows of one group, by functions that have travelled."""
    write(tmp_path, task=TASK.format(body), counting_words="def one(): return 1")
    with functions_below(tmp_path) as find:
        task = load_functions(find, tmp_path, data=str(tmp_path))
        data = capture(program_of_pairs(task.map, task.reduce, None)).data
    functions = dict(load_program(data)[0].named())
    assert "task" not in sys.modules
    assert list(functions["map"](f"{tmp_path}/sub/a.txt", "x y")) == [("x", ("sub/a.txt", 1)), ("y", ("sub/a.txt", 1))]
    rows: Iterator[Any] = functions["reduce"]("x", iter(values))
    return list(rows)


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        ("return len(values)", [("x", 2)]),
        ("return key.upper(), values", [("X", [3, 4])]),
        ("return sorted(values)", [("x", [3, 4])]),
        ("return None", []),
        ("yield key, 1; yield key, 2", [("x", 1), ("x", 2)]),
        ("return iter([('a', 1)])", [("a", 1)]),
        ("return 1, 2, 3", [("x", (1, 2, 3))]),
    ],
)
def test_a_task_travels_and_gives_what_it_returns(tmp_path: Path, body: str, rows: list[Any]) -> None:
    assert reduced(tmp_path, body, [4, 3] if "sorted" in body else [3, 4]) == rows


def test_a_task_without_reducer_says_so(tmp_path: Path) -> None:
    write(tmp_path, task="def mapper(doc_id, chunk): ...\nreducer = None")
    with functions_below(tmp_path) as find:
        assert load_functions(find, tmp_path, data="a").reduce is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, r"there is no task\.py in it"),
        ("def mapper(doc_id, chunk): ...", r"task\.py defines no 'reducer'"),
        ("def maper(doc_id, chunk): ...", r"task\.py defines no 'mapper'\. Did you mean 'maper'\?"),
        ("def mapper(chunk): ...\nreducer = None", r"mapper must be a function that takes \(doc_id, chunk\)"),
        ("def mapper(a, b): ...\ndef reducer(key, values): ...", r"reducer must be a function that takes \(key_values\)"),
        ("mapper = 3\nreducer = None", "mapper must be a function"),
    ],
)
def test_a_folder_without_a_task_is_told(tmp_path: Path, text: str | None, told: str) -> None:
    if text is not None:
        write(tmp_path, task=text)
    with functions_below(tmp_path) as find, pytest.raises(ConfigError, match=told):
        load_functions(find, tmp_path, data="a")


def test_where_names_of_documents_begin(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    assert names_below(str(tmp_path)) == names_below(f"{tmp_path}/a.txt") == names_below(f"{tmp_path}/*/b.txt") == str(tmp_path)
    (tmp_path / "there" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to("there/deep")
    assert names_below(f"{tmp_path}/link/..") == f"{tmp_path}/there"  # as the file system, and the source, mean it
    assert names_below(f"{tmp_path}/link") == f"{tmp_path}/link"
    assert names_below("data-0123456789abcdef/a/*.txt") == "data-0123456789abcdef"
    assert names_below("s3://bucket/a/b*/c") == names_below("s3://bucket/a/") == "bucket/a"
