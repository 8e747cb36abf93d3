"""What a process writes is caught, all of it and nothing else's, and is found when the process is dead.

Descriptors belong to a process, so each test has one of its own, with a folder for temporary files of its own.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from smr_notebook.streams import left_behind, worth_telling

HEAD = """
import ctypes, json, logging, os, subprocess, sys, warnings
from pathlib import Path
from smr_notebook import streams
from smr_notebook.streams import streams_of

own = streams_of(os.getpid())
def taken(room=1 << 20, final=False):
    return [[one.stream, one.text, one.dropped] for one in own.take(room, final=final)]
def tell(what):
    Path(sys.argv[1]).write_text(json.dumps(what))
"""


def run(script: str, tmp_path: Path, *, ends: int = 0) -> Any:
    """Run a script, and return what it told; its own output goes with it."""
    told = tmp_path / "told"
    own = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", HEAD + script, str(told)], env=own, capture_output=True, check=False, text=True)
    assert done.returncode == ends, done.stderr
    return json.loads(told.read_text()) if told.exists() else None, done.stdout, done.stderr


def test_all_that_writes_is_caught_and_what_is_written_before_and_after_goes_its_way(tmp_path: Path) -> None:
    told, out, err = run(
        """
print("before")
own.begin(b"x")
print("printed"); os.write(1, b"raw\\n"); subprocess.run(["echo", "child"])
ctypes.CDLL(None).puts(b"in C")
warnings.warn("careful"); logging.warning("logged"); sys.stdout.buffer.write(b"bytes")
own.end()
found = taken(final=True)
print("after")
tell(found)
""",
        tmp_path,
    )
    texts = {stream: (text, dropped) for stream, text, dropped in told}
    assert texts["stdout"] == ("printed\nraw\nchild\nin C\nbytes", 0)
    assert "UserWarning: careful" in texts["stderr"][0]
    assert texts["stderr"][0].endswith("WARNING:root:logged\n")
    assert (out, err) == ("before\nafter\n", "")


def test_an_unfinished_line_waits_for_its_end(tmp_path: Path) -> None:
    told, _, _ = run(
        """
own.begin(b"x")
print("one"); print("tw", end="")
first = taken()
print("o"); print("three", end="")
second = taken()
silent = taken()
own.end()
tell([first, second, silent, taken(final=True), taken(final=True)])
""",
        tmp_path,
    )
    assert told == [[["stdout", "one\n", 0]], [["stdout", "two\n", 0]], [], [["stdout", "three", 0]], []]


def test_what_is_too_much_is_counted_and_takes_no_room(tmp_path: Path) -> None:
    told, _, _ = run(
        """
own.begin(b"x")
print("a" * 9)
first = taken(4)
for _ in range(20): print("b" * 999_999)
second = taken(0)
size = os.fstat(1).st_size
print("c")
own.end()
tell([first, second, size, taken(10, final=True)])
""",
        tmp_path,
    )
    assert told == [[["stdout", "aaaa", 6]], [["stdout", "", 20_000_000]], 0, [["stdout", "c\n", 0]]]


def test_room_is_counted_in_bytes_whatever_the_text(tmp_path: Path) -> None:
    script = "own.begin(b'x'); print('é' * 9); os.write(2, b'x' * 9); own.end(); tell(taken(20, final=True))"
    told, _, _ = run(script, tmp_path)
    assert told == [["stdout", "é" * 9 + "\n", 0], ["stderr", "x", 8]]


def test_what_is_no_text_is_shown_and_not_refused(tmp_path: Path) -> None:
    told, _, _ = run(r"own.begin(b'x'); os.write(1, b'\xff\n'); print('\udc80 é'); own.end(); tell(taken(final=True))", tmp_path)
    assert told == [["stdout", "\\xff\n\\udc80 é\n", 0]]


def test_the_last_words_of_a_dead_process_are_found_with_its_note(tmp_path: Path) -> None:
    run("own.begin(b'whose'); print('one'); taken(); print('two', end='', flush=True); os._exit(3)", tmp_path, ends=3)
    (left,) = left_behind(str(tmp_path))
    assert (left.note, left.text("stdout", 4, most=100), left.text("stdout", most=2)) == (b"whose", ("two", 0), ("wo", 5))
    assert left.text("stderr", most=100) == ("", 0)
    left.forget()
    assert list(left_behind(str(tmp_path))) == []


def test_a_process_that_lives_or_has_said_nothing_leaves_nothing(tmp_path: Path) -> None:
    told, _, _ = run(
        "own.begin(b'x'); print('x'); tell(len(list(streams.left_behind(os.environ['TMPDIR'])))); own.end(); os._exit(0)", tmp_path
    )
    assert told == 0
    assert list(left_behind(str(tmp_path))) == []


def test_old_processes_with_young_last_words_are_not_forgotten_and_those_with_old_ones_are(tmp_path: Path) -> None:
    """A folder is as old as its process; what counts is when that said something last."""
    for _ in range(2):
        run("own.begin(b'whose'); print('two', flush=True); os._exit(3)", tmp_path, ends=3)
    (shelf,) = tmp_path.glob("smr-output-*")
    young, old = shelf.iterdir()
    for place in (young, old, *old.iterdir()):
        os.utime(place, (1_000.0, 1_000.0))
    run("os._exit(0)", tmp_path)
    assert young.exists()
    assert not old.exists()


def test_who_asks_at_the_same_time_as_another_is_told_the_same(tmp_path: Path) -> None:
    run("own.begin(b'whose'); print('one', flush=True); os._exit(3)", tmp_path, ends=3)
    (note,) = tmp_path.glob("smr-output-*/*/note")
    with note.open("rb") as asked:
        fcntl.flock(asked, fcntl.LOCK_SH)
        assert [left.note for left in left_behind(str(tmp_path))] == [b"whose"]


def test_a_process_that_is_about_to_end_takes_its_files_along(tmp_path: Path) -> None:
    run("own.begin(b'x'); own.end(); streams.forget_streams(os.getpid())", tmp_path)
    (shelf,) = tmp_path.glob("smr-output-*")
    assert list(shelf.iterdir()) == []
    assert shelf.stat().st_mode & 0o077 == 0


def test_a_folder_that_is_not_ours_alone_is_not_used(tmp_path: Path) -> None:
    run("", tmp_path)
    (shelf,) = tmp_path.glob("smr-output-*")
    shelf.chmod(0o777)
    told, _, _ = run("tell(own is None)", tmp_path)
    assert told is True
    assert list(left_behind(str(tmp_path))) == []


def test_of_a_crash_in_compiled_code_the_way_to_the_users_line_is_told(tmp_path: Path) -> None:
    script = "own.begin(b'x'); sys.stderr.write('once\\n')\ndef mine():\n    ctypes.string_at(0)\nmine()"
    run(script, tmp_path, ends=-11)
    (left,) = left_behind(str(tmp_path))
    told = worth_telling(left.text("stderr", most=10_000)[0]).splitlines()
    assert told[0] == "Fatal Python error: Segmentation fault"
    assert [line.rpartition(" in ")[2] for line in told[1:]] == ["string_at", "mine", "<module>"]


def test_of_other_last_words_the_last_ones_are_told() -> None:
    assert worth_telling("  no more\n") == "no more"
    assert worth_telling("x" * 5_000) == "x" * 1_000
