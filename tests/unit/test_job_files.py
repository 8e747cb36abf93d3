"""Job files: what they say, and what is told of what they should not say."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smr_notebook import formats
from smr_notebook.backends.memory.platform import open_memory
from smr_notebook.dataflow import aggregates
from smr_notebook.errors import ConfigError
from smr_notebook.job_files.function_files import Reference
from smr_notebook.job_files.job_file import GroupWork, JobFile, PairWork, Parse, Shared, read_job_file
from smr_notebook.job_files.outputs import AnyOutput, ItemsOutput, Output, SqlOutput
from smr_notebook.job_files.toml_places import read_document
from smr_notebook.model import Format

REDUCERS = "a whole number, 1 or more, or 'tree' for one output"

WHOLE = """\
# a comment, and a text over two lines
input = ["logs/*.txt", "s3://bucket/more/"]
code = "src"
map = "words.py:map"
reduce = "helping.words:reduce"
combine = true
sort = ["keys", "values"]
name = '''
words'''
reducers = 4
split_size = "64MB"
retries = 0
max_cost = 0.5
on_error = "skip"
max_bad = "0.1%"

[format]
name = "csv"
delimiter = ";"

[format.types]
amount = "decimal"

[output]
path = "out"
overwrite = true

[settings]
workers = 2
workspace = "jobs"
"""
"""Every table, and most keys."""

words = st.sampled_from(
    ["input", "code", "map", "reduce", "combine", "sort", "by", "where", "aggregate", "format", "name", "reducers", "split_size", "retries",
     "max_cost", "on_error", "max_bad", "output", "settings", "path", "overwrite", "types", "sum", "top", "n", "skip", "workers"]
)  # fmt: skip
"""Keys of a job file, and of its tables."""


def read(text: str, folder: Path) -> JobFile:
    file = folder / "job.toml"
    file.write_text(text, encoding="utf-8")
    return read_job_file(file)


@pytest.mark.parametrize(("said", "sorts"), [("true", "keys"), ("false", None), ('"values"', "values")])
def test_what_is_sorted_may_be_said_by_yes(tmp_path: Path, said: str, sorts: str | None) -> None:
    work = read(f'input = "logs"\nmap = "words.py:map"\nsort = {said}\n', tmp_path).work
    assert isinstance(work, PairWork)
    assert work.sort == sorts


@pytest.mark.parametrize(
    ("line", "output"),
    [
        ('output = "s3://b/out.csv"', Output("s3://b/out.csv")),
        ('output = { path = "/out", format = "text", files = "partitions" }', Output("/out", format="text", files="partitions")),
        ('output = "dynamodb://totals"', ItemsOutput("dynamodb://totals")),
        ('output = { path = "dynamodb://t", names = { key = "user" } }', ItemsOutput("dynamodb://t", {"key": "user"})),
        ('output = { sql = "$DATABASE", table = "t", if_exists = "append" }', SqlOutput("$DATABASE", "t", "append")),
        ('output = { sql = "sqlite:////a.db", table = "t", schema = "s" }', SqlOutput("sqlite:////a.db", "t", schema="s")),
    ],
    ids=["url", "shape", "items", "names", "sql", "schema"],
)
def test_where_the_result_goes(tmp_path: Path, line: str, output: AnyOutput) -> None:
    assert read(f'input = "a"\nmap = "w.py:map"\n{line}\n', tmp_path).output == output


def test_a_database_of_a_file_is_relative_to_the_job_file_and_its_password_is_not_shown(tmp_path: Path) -> None:
    job = read('input = "a"\nmap = "w.py:map"\noutput = { sql = "sqlite:///a.db", table = "t" }\n', tmp_path)
    assert job.output == SqlOutput(f"sqlite:///{tmp_path}/a.db", "t")
    assert "hush" not in repr(SqlOutput("postgresql://me:hush@host/d", "t"))
    with pytest.raises(ConfigError, match="the variable NOBODY_SET_THIS of the environment"):
        SqlOutput("$NOBODY_SET_THIS", "t").check(open_memory())


def test_a_whole_file(tmp_path: Path) -> None:
    job = read(WHOLE, tmp_path)
    assert job.input == (f"{tmp_path}/logs/*.txt", "s3://bucket/more/")
    assert job.code == f"{tmp_path}/src"
    assert job.work == PairWork(Reference("words.py", "map"), Reference("helping.words", "reduce"), combine=True, sort="keys,values")
    assert job.shared == Shared("words", 4, 64_000_000, 0, 0.5, "skip", 0.001)
    assert job.output == Output(f"{tmp_path}/out", overwrite=True)
    assert job.settings == {"workers": 2, "workspace": f"{tmp_path}/jobs"}
    assert isinstance(job.format, formats.InputFormat)
    assert job.format.reading.dialect.delimiter == ";"
    assert job.format.reading.dialect.types == (("amount", "decimal"),)


def test_what_is_not_said_is_as_in_python(tmp_path: Path) -> None:
    job = read('input = "data-0123456789abcdef/a.txt"\nmap = "words.py:map"', tmp_path)
    assert job == JobFile(tmp_path / "job.toml", ("data-0123456789abcdef/a.txt",), str(tmp_path), PairWork(Reference("words.py", "map")))
    assert job.shared == Shared()


def test_an_aggregate(tmp_path: Path) -> None:
    job = read(
        'input = "/sales"\nby = { day = "time.py:day", shop = "shop" }\nwhere = "time.py:recent"\nformat = "csv"\n'
        '[aggregate]\nn = "count"\ntotal = { sum = "amount" }\nbest = { top = "amount", n = 3 }\nown = "time.py:own"\n',
        tmp_path,
    )
    assert isinstance(job.work, GroupWork)
    assert job.work.by == {"day": Reference("time.py", "day"), "shop": "shop"}
    assert job.work.where == Reference("time.py", "recent")
    assert {name: repr(one) for name, one in job.work.aggregations.items()} == {
        "n": repr(aggregates.count()),
        "total": repr(aggregates.sum("amount")),
        "best": repr(aggregates.top("amount", 3)),
        "own": repr(Reference("time.py", "own")),
    }


@pytest.mark.parametrize(("told", "meant"), [('"sum"', sum), ('"len"', len), ('"mean"', aggregates.mean)])
def test_an_aggregation_as_reduce(tmp_path: Path, told: str, meant: object) -> None:
    work = read(f'input = "a"\nmap = "w.py:map"\nreduce = {told}', tmp_path).work
    assert isinstance(work, PairWork)
    assert work.reduce is meant


def test_formats(tmp_path: Path) -> None:
    begin = 'input = "a"\nmap = "w.py:map"\n'
    assert read(f'{begin}format = "jsonl"', tmp_path).format == "jsonl"
    passages = read(f'{begin}format = {{ name = "passages", size = "1MB" }}', tmp_path).format
    assert passages == formats.passages("1MB")
    fixed = read(f'{begin}format = {{ name = "fixed", bytes_per_record = 8 }}', tmp_path).format
    assert isinstance(fixed, formats.InputFormat)
    assert fixed.format is Format.FIXED
    parsed = read(f'{begin}format = {{ name = "parse", function = "w.py:parse" }}', tmp_path).format
    assert parsed == Parse(Reference("w.py", "parse"))


@given(key=st.from_regex(r"[a-z]{3,9}x", fullmatch=True), at=st.integers(0, WHOLE.count("\n")))
def test_an_unknown_key_is_told_with_its_line_and_its_table(key: str, at: int) -> None:
    lines = WHOLE.splitlines()
    if lines[at - 1 : at] == ["name = '''"]:
        at -= 1  # inside a text it would be a part of it
    headers = [line.strip("[]") for line in lines[:at] if line.startswith("[") and not line.startswith("['")]
    table = headers[-1] if headers else ""
    lines.insert(at, f"{key} = [\n  1,\n]")
    with tempfile.TemporaryDirectory() as folder, pytest.raises(ConfigError) as caught:
        read("\n".join(lines), Path(folder))
    told = caught.value.message
    if table == "format.types":
        assert f"job.toml, line {at + 1}, in [format.types]: there is no type" in told
        return
    where = f"job.toml, line {at + 1}{f', in [{table}]' if table else ''}: "
    assert where in told
    assert repr(key) in told


@given(key=st.sampled_from(["inptu", "reducer", "formats", "maps", "on-error", "split-size", "retrys", "outputs"]))
def test_a_key_that_is_nearly_one_is_asked_for(key: str) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.raises(ConfigError, match=r"line 2: there is no key .* Did you mean '"):
        read(f'input = "a"\n{key} = 1\nmap = "w.py:map"', Path(folder))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("reducers = 0", f"line 3: reducers must be {REDUCERS}; got 0."),
        ("reducers = true", f"line 3: reducers must be {REDUCERS}; got True."),
        (
            'reducers = "trees"',
            f"line 3: reducers must be {REDUCERS}; got 'trees'. Did you mean 'tree'?",
        ),
        ('reducers = "4"', f"line 3: reducers must be {REDUCERS}; got '4'."),
        ("retries = true", "line 3: a whole number, 0 or more, is wanted; got True."),
        ('split_size = "big"', "line 3: 'big' is not a size."),
        ('on_error = "ignore"', "line 3: on_error must be one of"),
        ("max_bad = 0.1", "line 3: max_bad=0.1 needs on_error='skip' or 'collect'"),
        ("max_cost = -1", "line 3: max_cost must be an amount of dollars such as 0.50, 0 for any; got -1."),
        ('max_cost = "5 EUR"', "line 3: max_cost must be an amount of dollars such as 0.50, 0 for any; got '5 EUR'."),
        ("name = 3", "line 3: text is wanted; got 3."),
        ('sort = "rows"', "line 3: sort must be"),
        ("combine = true", "line 3: combine needs a reduce."),
        ('combine = "w"', "line 3: 'w' names no function."),
        ('reduce = "summ"', "line 3: reduce: there is no 'summ'. Did you mean 'sum'?"),
        ("reduce = { tip = 3 }", "line 3: there is no aggregation 'tip'. Did you mean 'top'?"),
        ("reduce = { top = 0 }", "line 3: top takes a column and a number of values"),
        ("reduce = { top = 3, m = 4 }", "line 3: reduce cannot be that"),
        ('by = "shop"', "line 3: 'by' belongs to an aggregate, and 'map' to a map."),
        ('format = "cvs"', "line 3: format 'cvs' is not known."),
        ("format = 3", "line 3: format must be a name, or a table with one"),
        ('format = { name = "cvs" }', "line 3, in [format]: there is no format 'cvs'"),
        ('[format]\nname = "csv"\nskip = -1', "line 3: skip is -1"),
        ('[format]\nname = "csv"\ntypes = { a = "number" }', "line 5, in [format.types]: there is no type 'number'."),
        ('[format]\nname = "parse"', "line 3, in [format]: None names no function."),
        ("output = 3", "line 3: text is wanted; got 3."),
        ('[output]\npath = "a"\noverwrite = 1', "line 5, in [output]: true or false is wanted; got 1."),
        ('[output]\npath = "a"\noverwrit = true', "line 5, in [output]: "),
        ('[output]\nsql = "sqlite:///a.db"\ntable = 3', "line 5, in [output]: text is wanted; got 3."),
        ('[output]\nsql = "sqlite:///a.db"\npath = "a"', "line 5, in [output]: "),
        ('output = { path = "a", format = "cvs" }', "line 3, in [output]: 'cvs' is not known. Did you mean 'csv'? Use 'parquet', "),
        ('output = { path = "a", files = "all" }', "line 3, in [output]: 'all' is not known. Use 'one', 'partitions'."),
        ('output = { sql = "$D", table = "t", if_exists = "add" }', "line 3, in [output]: 'add' is not known."),
        ('output = { sql = ["x://me:secret@h"], table = "t" }', "line 3, in [output]: text is wanted."),
        ('output = "postgresql://me:secret@h/db"', "line 3: the path is a URL with a password. A database is named by"),
        ('output = { path = "mysql://me:sec:ret@h/db.csv" }', "line 3: the path is a URL with a password. A database is named by"),
        ('output = { sql = "sqlite:///a.db" }', "line 3: there is no table: say which one of the database"),
        ("output = { overwrite = true }", "line 3: there is no path, and no sql"),
        ('output = { path = "dynamodb://t", names = 3 }', "line 3, in [output]: a table is wanted; got 3."),
        ("[settings]\nworkers = -1", "line 4, in [settings]: workers must be a whole number"),
        ("[settings]\nworker = 1", "line 4, in [settings]: there is no setting 'worker'. Did you mean 'workers'?"),
        ("settings = 1", "line 3: a table is wanted; got 1."),
    ],
)
def test_a_wrong_value_is_told_with_its_line(tmp_path: Path, line: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(f'input = "a"\nmap = "w.py:map"\n{line}\n', tmp_path)
    assert f"job.toml, {told}" in caught.value.message
    assert "ret@h" not in caught.value.message  # no secret


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('map = "w.py:map"', "there is no 'input'. Say what the job reads"),
        ('input = "a"', "there is no 'map' and no 'by'. Say what the job does"),
        ('input = "a"\nby = "shop"', "an aggregate has no 'aggregate'."),
        ('input = []\nmap = "w.py:map"', "line 1: input must be a path"),
        ('input = "a"\nmap = "map"', "line 2: 'map' names no function. Write file.py:function"),
        ('input = "a"\nby = { day = 5 }\naggregate = { n = "count" }', "line 2: text is wanted; got 5."),
        ("input = 'a", "is not TOML: "),
    ],
)
def test_what_is_missing_is_told(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text, tmp_path)
    assert told in caught.value.message


def test_a_file_of_another_system_is_read(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_bytes(b'\xef\xbb\xbfinput = "a"\r\nmap = "w.py:map"\r\nreducers = 2\r\n')
    assert read_job_file(tmp_path / "job.toml").shared.reducers == 2


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_job_file(tmp_path / "job.toml")
    (tmp_path / "job.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        read_job_file(tmp_path / "job.toml")


scalars = st.one_of(st.booleans(), st.integers(-3, 3), st.floats(), st.sampled_from(["", "a", "a.py:b", "count", "csv", "keys", "1KB"]))
anything = st.recursive(
    scalars, lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(words, inner, max_size=2)), max_leaves=4
)


def toml(value: Any) -> str:
    """Return a value as TOML writes it."""
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{name} = {toml(one)}' for name, one in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return str(value).lower() if isinstance(value, bool | float) else json.dumps(value)


@settings(max_examples=4 * settings().max_examples)
@given(said=st.dictionaries(words, anything, max_size=5), aggregate=st.booleans())
def test_whatever_a_file_says_is_read_or_told_with_its_place(said: dict[str, Any], aggregate: bool) -> None:
    needed: dict[str, Any] = {"by": "a", "aggregate": {"n": "count"}} if aggregate else {"map": "w.py:map"}
    text = "\n".join(f"{key} = {toml(value)}" for key, value in ({"input": "a"} | needed | said).items())
    with tempfile.TemporaryDirectory() as folder:
        told = str(Path(folder) / "job.toml")
        try:
            told = str(read(text, Path(folder)).file)
        except ConfigError as error:
            told = error.message
        assert str(Path(folder) / "job.toml") in told


names = st.from_regex(r"[a-z]{1,4}", fullmatch=True)
values = st.sampled_from(["1", "[\n1,\n\n2]", '"""\n[a]\nb = 1\n"""', "{ a = 1 }", "'''\n'''", '"# no comment"'])
comments = st.sampled_from(["", "# a = 1\n", "\n\n"])


@given(statements=st.lists(st.tuples(comments, names, values), min_size=1, max_size=6, unique_by=lambda one: one[1]), table=st.booleans())
def test_the_line_of_a_key_is_that_where_its_statement_begins(statements: list[tuple[str, str, str]], table: bool) -> None:
    text, lines = "[t]\n" if table else "", {}
    for comment, name, value in statements:
        text += comment
        lines[name] = text.count("\n") + 1
        text += f"{name} = {value}\n"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.toml"
        file.write_text(text, encoding="utf-8")
        document = read_document(file)
    path = ("t",) if table else ()
    assert {name: document.line((*path, name)) for name in lines} == lines
    assert document.line((*path, "nothing")) == 0
