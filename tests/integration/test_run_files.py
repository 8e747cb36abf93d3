"""`smr run`, `smr upload` and `smr uploads`, as a shell runs them: processes of their own, their outputs, files and exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

import smr_notebook as smr
from smr_notebook.testing.waiting import wait_until

PAPER = Path(__file__).parents[2] / "docs" / "run.md"
Smr = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace whose service stays warm from test to test."""
    place = tmp_path_factory.mktemp("shell")
    yield place
    smr.Session(settings={"workspace": place / "ws"}).close()


@pytest.fixture
def shell(place: Path, tmp_path: Path) -> Smr:
    """A function that runs one command in the test's folder, and returns what came of it."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "smr_notebook", *words]
        return subprocess.run(command, cwd=tmp_path, env=variables(place), capture_output=True, text=True, check=False)

    return run


def variables(place: Path) -> dict[str, str]:
    return {**os.environ, "SMR_WORKSPACE": str(place / "ws"), "SMR_WORKERS": "2", "PYTHONPATH": str(Path(smr.__file__).parents[1])}


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def of_the_paper(name: str) -> str:
    """Return the file of that name, as the paper shows it."""
    found = re.search(rf"^```\w+\n# {re.escape(name)}\n(.*?)^```", PAPER.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


BOOKS = {"books/one.txt": "A rose is a rose\n", "books/sub/two.txt": "is it?\n"}


def test_the_job_file_of_the_paper(shell: Smr, tmp_path: Path) -> None:
    write(tmp_path, {"job.toml": of_the_paper("job.toml"), "words.py": of_the_paper("words.py"), **BOOKS})
    for _ in range(2):  # which overwrites
        done = shell("run", "job.toml")
        assert (done.returncode, done.stdout) == (0, f"{tmp_path}/counts.csv: 3 rows\n")
        assert pd.read_csv(tmp_path / "counts.csv").to_dict("list") == {"key": ["a", "is", "rose"], "value": [2, 1, 2]}
    assert "MapReduce 'words' done" in done.stderr
    assert "1 record read = mapped" in done.stderr
    assert "\x1b" not in done.stderr + done.stdout


def test_the_aggregation_of_the_paper(shell: Smr, tmp_path: Path) -> None:
    write(tmp_path, {"sales.toml": of_the_paper("sales.toml"), "sales.csv": "shop,amount\nb,1\na,2.5\na,1\na,3\n"})
    done = shell("run", "sales.toml")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/totals.jsonl: 2 rows\n")
    assert rows(tmp_path / "totals.jsonl") == [
        {"shop": "a", "n": 3, "total": 6.5, "best": [3.0, 2.5]},
        {"shop": "b", "n": 1, "total": 1.0, "best": [1.0]},
    ]
    refused = shell("run", "sales.toml", "--dry-run")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "An aggregate can be neither planned nor previewed" in refused.stderr


TASK = {"code/task.py": of_the_paper("task.py"), "code/stop_words.py": 'STOP = {"a"}\n'}


def test_the_task_of_the_paper_and_what_is_uploaded_once(shell: Smr, tmp_path: Path) -> None:
    write(tmp_path, {**TASK, **BOOKS})
    done = shell("run", "-d", "books", "-c", "code", "-o", "index.jsonl", "--name", "index")
    assert (done.returncode, done.stdout) == (0, "index.jsonl: 4 rows\n")
    wanted = [
        {"key": "A", "value": ["one.txt"]},
        {"key": "is", "value": ["one.txt", "sub/two.txt"]},
        {"key": "it?", "value": ["sub/two.txt"]},
        {"key": "rose", "value": ["one.txt"]},
    ]
    assert sorted(rows(tmp_path / "index.jsonl"), key=str) == wanted
    data, code = (shell("upload", *words).stdout.strip() for words in (("data", "books"), ("code", "code")))
    again = shell("upload", "data", "books/")
    assert (again.stdout, again.stderr) == (f"{data}\n", "2 files, 24 B stood there already: nothing was uploaded\n")
    (tmp_path / "code/task.py").unlink()
    assert shell("run", "-d", data, "-c", code, "-o", "again.jsonl", "--passage", "1KB", "--reducers", "1").returncode == 0
    assert rows(tmp_path / "again.jsonl") == wanted
    listed = [line.split()[0] for line in shell("uploads").stdout.splitlines()]
    assert listed.index(code) < listed.index(data)
    assert [line.split() for line in shell("uploads", data).stdout.splitlines()] == [["17", "one.txt"], ["7", "sub/two.txt"]]
    assert shell("uploads", "remove", data).stdout == f"{data} is removed: 2 files, 24 B\n"
    gone = shell("run", "-d", data, "-c", code, "-o", "third.jsonl")
    assert (gone.returncode, gone.stdout) == (1, "")
    assert f"There is no upload {data} here: it was removed, or has expired" in gone.stderr


def test_an_upload_in_a_job_file(shell: Smr, tmp_path: Path) -> None:
    write(tmp_path, {"lib/words.py": of_the_paper("words.py"), **BOOKS})
    data, code = (shell("upload", *words).stdout.strip() for words in (("data", "books"), ("code", "lib")))
    write(tmp_path, {"job.toml": f'input = "{data}/**/t*.txt"\ncode = "{code}"\nmap = "words.py:map"\nreduce = "len"\n'})
    done = shell("run", "job.toml")
    assert [line.split() for line in done.stdout.splitlines()] == [["key", "value"], ["is", "1"], ["it", "1"]]


WAITING = """
import os, threading
def map(line):
    while not os.path.exists({!r}):
        threading.Event().wait(0.01)
    yield line, 1
"""


def test_a_detached_job_keeps_its_data_until_it_has_ended(shell: Smr, tmp_path: Path) -> None:
    write(tmp_path, {"words.py": WAITING.format(str(tmp_path / "go")), **BOOKS})
    data = shell("upload", "data", "books").stdout.strip()
    write(tmp_path, {"job.toml": f'input = "{data}"\nmap = "words.py:map"\nreduce = "sum"\n'})
    done = shell("run", "job.toml", "--detach")
    assert done.returncode == 0
    job = done.stdout.strip()
    kept = shell("uploads", "remove", data)
    assert kept.returncode == 1
    assert f"{data} is read by {job}, which has not ended" in kept.stderr
    (tmp_path / "go").touch()
    assert shell("result", job).returncode == 0
    assert shell("uploads", "remove", data).returncode == 0
    refused = shell("run", "job.toml", "--detach", "-o", "out")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--detach: nobody would wait to write out" in refused.stderr


@pytest.mark.parametrize("ending", ["cancel", "detach"])
def test_an_interrupt_cancels_the_job_or_lets_it_go_on(shell: Smr, place: Path, tmp_path: Path, ending: str) -> None:
    begun = tmp_path / "begun"
    begins = f"import os\nopen({str(begun) + '.new'!r}, 'w').close()\nos.replace({str(begun) + '.new'!r}, {str(begun)!r})\n"
    text = WAITING.format(str(tmp_path / "go")).replace("    while", f"    exec({begins!r})\n    while", 1)
    write(tmp_path, {"words.py": text, "job.toml": 'input = "books"\nmap = "words.py:map"\n', **BOOKS})
    command = [sys.executable, "-m", "smr_notebook", "run", "job.toml"]
    environment = variables(place) | {"SMR_ON_INTERRUPT": ending}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as process:
        wait_until(begun.exists, 60)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    found = re.search(r"^(\w+) (is being cancelled|goes on: `smr status \w+`)$", told, re.MULTILINE)
    assert found is not None
    assert found[2].startswith("is being cancelled" if ending == "cancel" else "goes on")
    (tmp_path / "go").touch()
    assert shell("result", found[1]).returncode == (ending == "cancel")


def test_a_job_whose_shell_has_gone_is_attached_to(shell: Smr, place: Path, tmp_path: Path) -> None:
    write(tmp_path, {"words.py": WAITING.format(str(tmp_path / "go")), **BOOKS})
    write(tmp_path, {"job.toml": 'input = "books"\nmap = "words.py:map"\nreduce = "sum"\n'})
    job = shell("run", "job.toml", "--detach").stdout.strip()
    command = [sys.executable, "-m", "smr_notebook", "attach", job]
    with subprocess.Popen(command, cwd=tmp_path, env=variables(place), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        process.stderr.readline()  # how far it is
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told.endswith(f"{job} goes on: `smr status {job}`\n")
    refused = shell("attach", job, "-o", "books")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "output: books is there already" in refused.stderr
    (tmp_path / "go").touch()
    done = shell("attach", job, "-o", "rows.jsonl")
    assert (done.returncode, done.stdout) == (0, "rows.jsonl: 2 rows\n")
    assert "MapReduce done" in done.stderr
    assert rows(tmp_path / "rows.jsonl") == [{"key": "A rose is a rose", "value": 1}, {"key": "is it?", "value": 1}]
    assert shell("attach", job).stdout == shell("result", job).stdout
    lost = shell("attach", "nobody")
    assert (lost.returncode, lost.stdout) == (1, "")
    assert "There is no job 'nobody'" in lost.stderr


def test_what_no_stream_can_hold_is_told_and_who_reads_no_more_ends_it(shell: Smr, place: Path, tmp_path: Path) -> None:
    write(tmp_path, {"words.py": "def map(line):\n    yield '\\ud800é', 1\n", **BOOKS})
    write(tmp_path, {"job.toml": 'input = "books/one.txt"\nmap = "words.py:map"\n'})
    command = [sys.executable, "-m", "smr_notebook", "run", "job.toml"]
    environment = variables(place) | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["key", "value", r"\ud800\xe9", "1"])
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as nobody:
        unread = subprocess.run([*command[:3], "jobs"], env=environment, stdout=nobody, stderr=subprocess.PIPE, text=True, check=False)
    assert (unread.returncode, unread.stderr) == (141, "")
    assert shell("jobs", "-n", "-1").returncode == 2


def test_a_function_that_fails_is_told_with_its_line_and_record(shell: Smr, tmp_path: Path) -> None:
    write(tmp_path, {"job.toml": 'input = "books"\nmap = "words.py:map"\nretries = 0\noutput = "out"', **BOOKS})
    write(tmp_path, {"words.py": "def map(line):\n    yield line, 1 / (line != 'is it?')\n"})
    done = shell("run", "job.toml")
    assert (done.returncode, done.stdout) == (1, "")
    assert "ZeroDivisionError in map task" in done.stderr
    assert re.search(r"words\.py.*2", done.stderr)
    assert "'is it?'" in done.stderr
    assert re.search(r"1 kind of error in 1 task · smr errors \w+", done.stderr)
    assert not (tmp_path / "out").exists()


def test_what_is_left_out_is_told_as_a_line(shell: Smr, tmp_path: Path) -> None:
    write(tmp_path, {"words.py": "def map(line):\n    yield line, 1 / (line != 'is it?')\n", **BOOKS})
    write(tmp_path, {"job.toml": 'input = "books"\nmap = "words.py:map"\non_error = "collect"\nmax_bad = 1\n'})
    done = shell("run", "job.toml")
    assert (done.returncode, done.stdout.split()) == (0, ["key", "value", "A", "rose", "is", "a", "rose", "1.0"])
    assert re.search(r"^warning: .*'is it\?'", done.stderr, re.MULTILINE)


def test_a_result_is_files_of_a_shape_or_a_table_of_a_database(shell: Smr, tmp_path: Path) -> None:
    job = 'input = "books"\nmap = "words.py:map"\nreduce = "count"\nreducers = 2\n'
    write(tmp_path, {"words.py": of_the_paper("words.py"), **BOOKS})
    write(tmp_path, {"text.toml": job + 'output = { path = "out", format = "text", files = "one" }\n'})
    assert shell("run", "text.toml").stdout == f"{tmp_path}/out: 4 rows\n"
    lines = [line.split("\t") for line in (tmp_path / "out" / "part-00000.txt").read_text().splitlines()]
    assert (len(lines), json.loads((tmp_path / "out" / "_SUCCESS").read_text())["rows"]) == (4, 4)
    write(tmp_path, {"sql.toml": job + '[output]\nsql = "sqlite:///words.db"\ntable = "words"\n'})
    assert shell("run", "sql.toml").stdout == f"sqlite:///{tmp_path}/words.db, table words: 4 rows\n"
    with sqlite3.connect(tmp_path / "words.db") as connection:
        assert [[key, str(value)] for key, value in connection.execute("SELECT key, value FROM words")] == lines
    before = shell("jobs").stdout
    refused = shell("run", "sql.toml")
    assert (refused.returncode, shell("jobs").stdout) == (1, before)  # before anything was run
    assert "has a table 'words' already" in refused.stderr


def test_one_output_is_asked_for_in_a_job_file(shell: Smr, tmp_path: Path) -> None:
    """As in Python: a function of one's own is its combiner, and one of that name may not yield rows."""
    job = 'input = "books/"\nmap = "words.py:map"\nreduce = "words.py:reduce"\nreducers = "tree"\nsplit_size = 5\noutput = "counts.jsonl"\n'
    words = "def map(line):\n    for word in line.split():\n        yield word, 1\n\n\ndef reduce(word, counts):\n    "
    write(tmp_path, {"job.toml": job, "words.py": f"{words}return sum(counts)\n", **BOOKS})
    done = shell("run", "job.toml")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/counts.jsonl: 5 rows\n")
    assert "combined" in done.stderr
    planned = shell("run", "job.toml", "--dry-run").stdout
    assert "1 reduce" in planned
    assert "combine keeps its law" in planned
    write(tmp_path, {"words.py": f"{words}yield word, sum(counts)\n"})
    assert "a reduce that yields rows" in shell("run", "job.toml", "--overwrite").stderr


def test_plan_and_preview_run_nothing(shell: Smr, tmp_path: Path) -> None:
    write(tmp_path, {"job.toml": of_the_paper("job.toml"), "words.py": of_the_paper("words.py"), **BOOKS})
    before = shell("jobs").stdout
    plan = shell("run", "job.toml", "--dry-run")
    assert plan.stdout.startswith("Plan 'words'")
    for words in (("--preview", "job.toml"), ("job.toml", "--preview", "1")):
        assert shell("run", *words).stdout.startswith("Preview of 1 record for 'words'")
    write(tmp_path, TASK)
    task = shell("run", "-d", "books", "-c", "code", "--preview")
    assert task.stdout.startswith("Preview of 2 records")
    assert shell("jobs").stdout == before
    assert not (tmp_path / "counts.csv").exists()


def test_what_functions_print_while_they_are_tried_is_no_part_of_the_answer(shell: Smr, tmp_path: Path) -> None:
    words = 'print("loaded")\n\n\ndef map(line):\n    print("tried")\n    yield line, 1\n'
    write(tmp_path, {"job.toml": 'input = "books/"\nmap = "words.py:map"\nreduce = "sum"\n', "words.py": words, **BOOKS})
    for option, beginning, printed in (("--dry-run", "Plan", "loaded\n"), ("--preview", "Preview of ", "loaded\ntried\n")):
        told = shell("run", "job.toml", option)
        assert told.stdout.startswith(beginning)
        assert "tried" not in told.stdout
        assert told.stderr.startswith(printed)
    assert shell("run", "job.toml", "--detach").stdout.count("\n") == 1


def test_parquet_as_a_folder_or_a_file_is_not_replaced_by_accident(shell: Smr, tmp_path: Path) -> None:
    write(tmp_path, {**TASK, **BOOKS})
    for output in ("out", "out.parquet"):
        words = ("run", "-d", "books/one.txt", "-c", "code", "-o", output)
        assert shell(*words).returncode == 0
        refused = shell(*words)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert f"output: {output} is there already" in refused.stderr
        assert shell(*words, "--overwrite").returncode == 0
        assert pq.read_table(tmp_path / output).column_names == ["key", "value"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run"], "Say a job file, or -d DATA -c CODE -o OUTPUT: there is no --data and no --code."),
        (["run", "-d", "books", "-o", "out"], "there is no --code."),
        (["run", "-d", "books", "-c", "code"], "There is no --output"),
        (["run", "-d", "books", "-c", "nowhere", "-o", "out"], "There is no folder 'nowhere' with code"),
        (["run", "-d", "books", "-c", "books", "-o", "out"], "there is no task.py in it"),
        (["run", "-d", "books", "-c", "code", "-o", "out", "--passage", "big"], "'big' is not a size"),
        (["run", "-d", "books", "-c", "code", "-o", "out", "--reducers", "0"], "reducers must be a whole number, 1 or more; got 0."),
        (["run", "nowhere.toml"], "nowhere.toml cannot be read: No such file"),
        (["run", "job.toml", "--reducers", "3"], "--reducers goes without a job file: say it in job.toml."),
        (["run", "job.toml", "--preview", "0"], "--preview 0: say how many records, 1 or more."),
        (["run", "job.toml"], "job.toml, line 2: there is no key 'mpa'. Did you mean 'map'?"),
        (["run", "job.toml", "--reducer", "x"], "invalid int value"),
        (["run", "good.toml"], "words.py defines no 'mpa'. Did you mean 'map'?"),
    ],
)
def test_what_makes_no_sense_is_told_and_runs_nothing(shell: Smr, tmp_path: Path, words: list[str], told: str) -> None:
    write(tmp_path, {"job.toml": 'input = "books"\nmpa = 1\n', **TASK, **BOOKS})
    write(tmp_path, {"good.toml": 'input = "books"\nmap = "words.py:mpa"\n', "words.py": "def map(line): ...\n"})
    done = shell(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["upload", "data", "nowhere"], "Nothing found under 'nowhere'"),
        (["upload", "code", "books/one.txt"], "There is no folder with code under 'books/one.txt'"),
        (["uploads", "remove", "data-0123456789abcdef"], "There is no upload 'data-0123456789abcdef' here"),
        (["uploads", "remove"], "say an identifier, or `remove` and one, or nothing for a list"),
        (["run", "-d", "nowhere", "-c", "code", "-o", "out"], "Nothing found under 'nowhere'"),
        (["run", "-d", "books", "-c", "code", "-o", "out.json"], "output: out.json would be a folder."),
    ],
)
def test_what_cannot_be_done_is_one_sentence(shell: Smr, tmp_path: Path, words: list[str], told: str) -> None:
    write(tmp_path, {**TASK, **BOOKS})
    done = shell(*words)
    assert (done.returncode, done.stdout) == (1, "")
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_job_over_an_upload_is_resumed_and_its_base_needs_the_upload(own_session: Callable[..., smr.Session], tmp_path: Path) -> None:
    write(tmp_path, BOOKS)
    mended = tmp_path / "mended"

    def brittle(source: str, line: str) -> list[tuple[str, int]]:
        return [(source.partition("/")[2], 1 // (mended.exists() or "two" not in source))]

    session = own_session(retries=0)
    upload = session.upload_data(tmp_path / "books")
    job = session.map_reduce(brittle, sum, upload.id, split_size=1)
    assert job.exception() is not None
    mended.touch()
    again = job.resume()
    assert again.result().to_dict("list") == {"key": ["one.txt", "sub/two.txt"], "value": [1, 1]}
    assert job.failing_record() == "is it?"
    session.remove_upload(upload.id)
    with pytest.raises(smr.errors.InputMissingError, match="it was removed, or has expired"):
        job.failing_record()


def test_code_that_somebody_else_put_there_is_not_imported(shell: Smr, place: Path, tmp_path: Path) -> None:
    write(tmp_path, {**TASK, "code/forged.py": "", **BOOKS})  # code that no other test uploads: it is damaged for good
    code = shell("upload", "code", "code").stdout.strip()
    stored = place / "ws" / "objects" / "jobs" / code / "input"
    for file in sorted(stored.iterdir()):
        if file.name != "contents" and b"mapper" in file.read_bytes():
            text = file.read_text(encoding="utf-8")
            file.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n{text}"[: len(text)], encoding="utf-8")
    done = shell("run", "-d", "books", "-c", code, "-o", "out")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{code}/task.py is not what was uploaded" in done.stderr
    assert not (tmp_path / "ran").exists()
