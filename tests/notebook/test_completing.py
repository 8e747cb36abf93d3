"""Completion: the line alone, in a shell's own completer, and as a frontend asks a kernel for it."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from IPython.core.completer import provisionalcompleter
from jupyter_client.manager import start_new_kernel

from smr_notebook import Session, formats
from smr_notebook.backends.memory.platform import open_memory
from smr_notebook.control.layout import Layout
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.rows import JobEntry
from smr_notebook.errors import ConfigError
from smr_notebook.model import ObjectInfo
from smr_notebook.notebook.arguments import cell_parser, parse_cell_line
from smr_notebook.notebook.completing import Completions, Places, complete, line_to_complete
from smr_notebook.notebook.extension import load, register_magics
from smr_notebook.notebook.lookups import Lookups
from smr_notebook.notebook.matcher import register_matcher
from smr_notebook.notebook.subcommands import WORDS, parser_of
from smr_notebook.sessions import face
from smr_notebook.testing.waiting import wait_until

KEYS = ("logs/2026/01/a.gz", "logs/2026/01/b.gz", "logs/2026/all.csv", "logs/2026/with blank")


def helper(value: object) -> object:
    return value


NAMESPACE = {
    "lines": ["a", "b"], "frames": {"a": 1}, "number": 4, "helper": helper, "path": Path("x"), "_hidden": [1],
    "logs": formats.text(encoding="latin-1"), "pytest": pytest, "threading": threading,
}  # fmt: skip


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    """A notebook in a folder of its own, with two jobs, and some objects in `s3://logs/`."""
    monkeypatch.chdir(tmp_path)
    for name in ("access.log", "lines", "two words.txt", ".secret", "data/x.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return Places(NAMESPACE, lambda: ["3f9a0c21", "status codes"], lambda _, folder: [key for key in KEYS if key.startswith(f"{folder}/")])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("%%smr --re", ("--reducers", "--retries", "--reduce")),
        ("%%smr x --into df --int", ()),  # said already
        ("%%smr x --include a --incl", ("--include",)),  # may be said again
        ("%%smr -r", ("-r",)),
        ("%%smr x --sort ", ("keys", "values", "keys,values")),
        ("%%smr x --on-error s", ("skip",)),
        ("%%smr x --on-error=s", ("--on-error=skip",)),
        ("%%smr x --display ", ("auto", "panel", "text", "static", "quiet")),
        ("%%smr x -f lo", ("logs",)),
        ("%%smr x --format pa", ("parquet",)),
        ("%%smr x --retries ", ()),
        ("%%smr x --into ", ("lines", "frames", "number", "path", "logs")),
        ("%%smr l", ("lines",)),  # which is the variable
        ("%%smr -i ./l", ("./lines",)),  # and this the file
        ("%%smr x a", ("access.log",)),
        ("%%smr da", ("data/",)),
        ("%%smr data/", ("data/x.csv",)),
        ("%%smr ./t", ("'./two words.txt'",)),
        ("%%smr 'two w", ("'two words.txt'",)),
        ("%%smr .s", (".secret",)),
        ("%%smr nowhere/", ()),
        ("%%smr s3://logs/2026/", ("s3://logs/2026/01/", "s3://logs/2026/all.csv", "'s3://logs/2026/with blank'")),
        ("%%smr x --input s3://logs/2026/01/b", ("s3://logs/2026/01/b.gz",)),
        ("%%smr s3://lo", ()),
        ("%%smr x --map h", ("helper",)),
        ("%%smr x --reduce se", ("set",)),
        ("%%smr x --reduce pytest.im", ("pytest.importorskip",)),
        ("%%smr x --include ", ("pytest",)),
        ("%smr st", ("status",)),
        ("%smr attach ", ("3f9a0c21", "'status codes'", "--into", "--help")),
        ("%smr attach st", ("'status codes'",)),
        ("%smr attach 3f9a --into li", ("lines",)),
        ("%smr attach 3f9a ", ("--into", "--help")),
        ("%smr logs --phase ", ("map", "merge", "reduce")),
        ("%smr retry --map ", ("helper",)),
        ("%smr deploy --architecture ", ("x86_64", "arm64")),
        ("%smr deploy --requirement a b --arch", ("--architecture",)),
        ("%smr run --display t", ("text",)),
        ("%smr nonsense ", ()),
    ],
)  # fmt: skip
def test_a_line_goes_on(places: Places, text: str, words: Sequence[str]) -> None:
    assert complete(text, places).words == tuple(words)


@pytest.mark.parametrize(
    ("text", "word", "name"),
    [
        ("%%smr x", "x{b}.txt", "x{b}.txt"),
        ("%%smr x{", "x{b}.txt", "x{b}.txt"),
        ("%%smr x{{b", "x{b}.txt", "x{b}.txt"),
        ("%%smr y", "y{1,2}.txt", "y{1,2}.txt"),
        ("%%smr ./-", "./-x.csv", "-x.csv"),
        ("%%smr lines --input ", "./-x.csv", "-x.csv"),
        ("%%smr ./~", "./~x.csv", "~x.csv"),
        ("%%smr -i ", "./~x.csv", "~x.csv"),
    ],
)
def test_a_file_is_offered_as_it_has_to_be_written(places: Places, text: str, word: str, name: str) -> None:
    for made in ("x{b}.txt", "y{1,2}.txt", "-x.csv", "~x.csv"):
        Path(made).touch()
    offered = [one for one in complete(text, places).words if Path(parse_cell_line(one, {}).inputs[0]).name == name]
    assert len(offered) == 1
    assert parse_cell_line(offered[0], {}).inputs[0].removeprefix("./") == word.removeprefix("./")
    assert offered[0].startswith(("./", "x", "y"))


def test_what_is_replaced_is_what_is_typed_last(places: Places) -> None:
    assert complete("%%smr x --in", places).fragment == "--in"
    assert complete("%%smr 'two w", places).fragment == "'two w"
    assert complete("%%smr s3://logs/2026/a", places) == Completions("s3://logs/2026/a", ("s3://logs/2026/all.csv",))
    assert complete("%smr ", places) == Completions("", WORDS)


@pytest.mark.parametrize("word", WORDS)
def test_every_option_of_every_parser_is_offered(places: Places, word: str) -> None:
    known = [name for action in parser_of(word).actions for name in action.option_strings if name.startswith("--")]
    assert set(complete(f"%smr {word} --", places).words) == set(known)
    assert set(complete("%%smr --", places).words) >= {
        name for action in cell_parser().actions for name in action.option_strings if name[:2] == "--"
    }


@pytest.mark.parametrize(
    ("cell", "line", "column", "text"),
    [
        ("%%smr --in", 0, 10, "%%smr --in"),
        ("%%smr --in\ndef map(x):", 0, 8, "%%smr --"),
        ("\n\n%%smr --in", 2, 10, "%%smr --in"),
        ("x = 1\n  %smr att", 1, 10, "%smr att"),
        ("x = 1\n%%smr --in", 1, 10, None),
        ("%%smr x\nyield lin", 1, 9, None),
        ("%%smr", 0, 5, None),
        ("%%smrx ", 0, 7, None),
        ("%%time ", 0, 7, None),
        ("", 0, 0, None),
    ],
)
def test_only_lines_of_ours_are_completed(cell: str, line: int, column: int, text: str | None) -> None:
    assert line_to_complete(cell, line=line, column=column) == text


# ------------------------------------------------------------ answers that may take long


class Watch:
    """A clock that stands still until it is set."""

    time = 100.0

    def __call__(self) -> float:
        return self.time


def test_an_answer_is_kept_for_a_while() -> None:
    watch, asked = Watch(), []
    lookups = Lookups(now=watch, patience=60.0)

    def ask() -> list[str]:
        asked.append(watch.time)
        return [f"answer {len(asked)}"]

    assert [lookups.get("x", ask, keep=30.0) for _ in range(2)] == [("answer 1",), ("answer 1",)]
    watch.time += 30.0
    assert lookups.get("x", ask, keep=30.0) == ("answer 2",)
    assert lookups.get("y", ask, keep=30.0) == ("answer 3",)


def test_who_asks_does_not_wait_for_long_and_finds_the_answer_later() -> None:
    lookups, go, asked = Lookups(now=Watch(), patience=0.01), threading.Event(), []

    def ask() -> list[str]:
        asked.append(1)
        go.wait()
        return ["late"]

    assert [lookups.get("x", ask, keep=30.0) for _ in range(2)] == [(), ()]
    go.set()
    wait_until(lambda: lookups.get("x", ask, keep=30.0) == ("late",))
    assert asked == [1]


def test_an_old_answer_is_better_than_none() -> None:
    watch, go = Watch(), threading.Event()
    lookups = Lookups(now=watch, patience=60.0)
    assert lookups.get("x", lambda: ["old"], keep=1.0) == ("old",)
    watch.time += 2.0
    lookups._patience = 0.01
    assert lookups.get("x", lambda: ["new"] if go.wait() else [], keep=1.0) == ("old",)
    go.set()
    wait_until(lambda: lookups.get("x", list, keep=1.0) == ("new",))


def test_few_things_are_asked_for_at_once_and_few_are_kept() -> None:
    lookups, go = Lookups(now=Watch(), patience=0.01), threading.Event()
    for number in range(10):
        assert lookups.get(number, lambda: ["x"] if go.wait() else [], keep=1.0) == ()
    assert len(lookups._answers) == 4
    go.set()
    wait_until(lambda: all(answer.known.is_set() for answer in lookups._answers.values()))
    lookups._patience = 60.0
    for number in range(200):
        assert lookups.get(number, lambda: ["x"], keep=1.0) == ("x",)
    assert len(lookups._answers) == 64


def test_an_answer_that_fails_is_none() -> None:
    def fail() -> list[str]:
        raise ConfigError("no credentials")

    assert Lookups(now=Watch(), patience=60.0).get("x", fail, keep=1.0) == ()


# ------------------------------------------------------------ a shell


class Bucket:
    """An input source without end, which counts what was taken of it."""

    def __init__(self) -> None:
        self.listed: list[str] = []
        self.taken = 0

    def find(self, pattern: str) -> Iterator[ObjectInfo]:
        self.listed.append(pattern)
        while True:
            self.taken += 1
            yield ObjectInfo(f"{pattern}{self.taken:06d}/x", 1, "1")


@pytest.fixture
def bucket(shell: Any) -> Bucket:
    """Completion in a shell whose session has one job and an endless bucket."""
    from dataclasses import replace

    made = Bucket()
    session = Session(backend=replace(open_memory(), sources={"s3": made}))  # type: ignore[dict-item]
    Ledger(session.backend.table, "3f9a0c21").create_job(JobEntry("3f9a0c21", "codes", 1.0, Layout("3f9a0c21").plan))
    register_magics(shell, lambda: session)
    register_matcher(shell, lambda: session, ready=lambda: True, lookups=Lookups(now=Watch(), patience=60.0))
    shell.user_ns["lines"] = ["a"]
    return made


def menu(shell: Any, cell: str, cursor: int | None = None) -> list[tuple[str, str]]:
    """Return what a menu would show: what is replaced, and by what."""
    with provisionalcompleter():
        found = list(shell.Completer.completions(cell, len(cell) if cursor is None else cursor))
    return [(cell[one.start : one.end], one.text) for one in found]


def test_a_shell_completes_our_lines_and_nothing_else(shell: Any, bucket: Bucket) -> None:
    assert menu(shell, "%%smr --into l") == [("l", "lines")]
    assert menu(shell, "%%smr --in\ndef map(x):\n    pass", 10) == [("--in", "--input"), ("--in", "--into"), ("--in", "--include")]
    assert menu(shell, "%smr status ")[:2] == [("", "3f9a0c21"), ("", "codes")]
    assert ("lin", "lines") in menu(shell, "%%smr lines\nlin")


def test_objects_are_listed_once_and_up_to_a_bound(shell: Any, bucket: Bucket) -> None:
    assert menu(shell, "%%smr s3://b/logs/00001") == [("s3://b/logs/00001", f"s3://b/logs/00001{last}/") for last in range(10)]
    assert len(menu(shell, "%%smr s3://b/logs/")) == 500  # IPython shows no more
    assert (bucket.listed, bucket.taken) == (["b/logs/"], 1_000)


def test_another_registration_takes_the_place_of_the_first(shell: Any, bucket: Bucket) -> None:
    before = len(shell.Completer.custom_matchers)
    register_matcher(shell, Session, ready=lambda: False)
    assert len(shell.Completer.custom_matchers) == before
    assert menu(shell, "%smr status 3") == [("3", "3")]


@pytest.mark.parametrize("cell", ["%%smr s3://b/ye", "%%smr lines --max-cost ", "%%smr --zzz", "%smr nonsense an", "%%smr x --retries i"])
def test_where_no_word_of_ours_can_stand_none_of_pythons_does(shell: Any, bucket: Bucket, cell: str) -> None:
    """What is typed is the only completion, which changes nothing."""
    shell.user_ns["yes"] = 1
    bucket.find = lambda pattern: iter(())  # type: ignore[method-assign]
    typed = cell.rpartition(" ")[2]
    assert menu(shell, cell) == [(typed, typed)]
    with pytest.deprecated_call():  # what a kernel asks that is told to use no experimental completions
        assert shell.complete("", cell, len(cell)) == (typed, [typed])


class Surprising:
    """Raises when it is looked at."""

    def __getattribute__(self, name: str) -> object:
        raise RuntimeError("do not look")


class Gone:
    """Something that may be referred to weakly."""


@pytest.mark.parametrize("make", [Surprising, lambda: weakref.proxy(Gone())])
def test_an_object_that_raises_when_looked_at_hides_no_other(make: Callable[[], object], places: Places) -> None:
    there = Places({"odd": make(), **NAMESPACE}, places.jobs, places.keys)
    assert {"lines", "path"} <= set(complete("%%smr ", there).words)
    assert {"odd", "lines", "number"} <= set(complete("%%smr x --into ", there).words)
    assert complete("%%smr x --map h", there).words == ("helper",)
    assert complete("%%smr x --include ", there).words == ("pytest",)


def test_tab_opens_no_session_and_waits_for_none_that_opens(shell: Any) -> None:
    """While a cell opens one it holds the lock, which nobody lets go of here."""
    chosen, lookups = face._Chosen(), Lookups(now=Watch(), patience=60.0)
    register_matcher(shell, chosen.if_open, ready=lambda: True, lookups=lookups)
    with chosen._lock:
        assert menu(shell, "%smr status 3") == [("3", "3")]
        assert menu(shell, "%%smr s3://b/logs/") == [("s3://b/logs/", "s3://b/logs/")]
    assert lookups._answers == {}
    session = Session(backend=open_memory())
    Ledger(session.backend.table, "3f9a0c21").create_job(JobEntry("3f9a0c21", "codes", 1.0, Layout("3f9a0c21").plan))
    chosen.set(session)
    with chosen._lock:
        assert menu(shell, "%smr status 3") == [("3", "3f9a0c21")]


def test_a_shell_asks_for_the_session_in_use_only_if_it_is_open(shell: Any) -> None:
    load(shell)
    with face._CHOSEN._lock:
        assert menu(shell, "%smr nonsense 3") == [("3", "3")]
        assert menu(shell, "%smr status no-such-job") == [("no-such-job", "no-such-job")]


def test_an_object_that_raises_when_looked_at_ends_no_cell(shell: Any, bucket: Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    shell.user_ns["odd"] = Surprising()
    menu(shell, "%%smr --into ")
    assert capsys.readouterr().err == ""


# ------------------------------------------------------------ a kernel


@pytest.mark.filterwarnings("default::DeprecationWarning", "default::ResourceWarning")  # of jupyter_client and zmq
def test_a_frontend_gets_the_menu_from_a_kernel(engine: dict[str, str]) -> None:
    manager, client = start_new_kernel(kernel_name="python3", env=engine)
    try:
        client.execute_interactive("%load_ext smr_notebook\nlines = ['a']", timeout=120)
        replies = {}
        for cell, cursor in (("%%smr lines --max-cost ", 23), ("%%smr --form\ndef map(x):\n    pass", 12), ("%%smr l", 7), ("%smr can", 8)):
            reply = client.complete(cell, cursor, reply=True, timeout=120)["content"]
            replies[cell[reply["cursor_start"] : reply["cursor_end"]]] = reply["matches"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert replies.pop("l")[0] == "lines"
    assert replies.pop("") in ([], [""])
    assert replies == {"--form": ["--format"], "can": ["cancel"]}
