"""What is said of an exception: the user's own lines, and the exception itself when it can travel."""

from __future__ import annotations

import errno
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from smr_notebook.control import failures
from smr_notebook.control.failures import LINE_CHARACTERS, MESSAGE_CHARACTERS, PICKLED_BYTES, describe, told_frames
from smr_notebook.dataflow.code import Sources
from smr_notebook.dataflow.functions import UserCodeError, short_repr
from smr_notebook.dataflow.sealing import unseal
from smr_notebook.errors import CorruptObjectError, InputFormatError, PairShapeError, StoreError
from smr_notebook.model import Failure, FailureKind

CELL = "<cell>"
TEXT = """import json

def parse(line):
    return json.loads(line)

def map(line):
    yield parse(line)["key"], 1
"""
SOURCES = {CELL: ("Cell In[2]", TEXT)}


def cell_map(text: str = TEXT) -> Callable[..., Any]:
    namespace: dict[str, Any] = {}
    exec(compile(text, CELL, "exec"), namespace)  # noqa: S102 - a cell is executed text
    return namespace["map"]  # type: ignore[no-any-return]


def failure_of(function: Callable[..., Any], record: object, sources: Sources = SOURCES) -> Failure:
    """Call a user's function as the data plane does."""
    try:
        try:
            list(function(record))
        except Exception as error:  # noqa: BLE001 - as the data plane does
            told = UserCodeError("map", repr(record), source="/data/log", offset=17, record_number=4)
            raise told from error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)  # without this line of the caller
    except UserCodeError as raised:
        return describe(raised, sources)
    raise AssertionError("the function should have raised")


def test_the_lines_around_travel_with_a_failure() -> None:
    failure = failure_of(cell_map(), "no json")
    assert [(frame.first, frame.around) for frame in failure.frames] == [
        (5, ("", "def map(line):", '    yield parse(line)["key"], 1')),
        (2, ("", "def parse(line):", "    return json.loads(line)", "", "def map(line):")),
    ]


def test_only_the_innermost_frames_carry_lines_and_no_long_ones() -> None:
    text = "def map(depth):\n    yield from map(depth - 1) if depth else [0 / 0]  # " + "x" * 300 + "\n"
    failure = failure_of(cell_map(text), 30, {CELL: ("Cell In[2]", text)})
    assert [bool(frame.around) for frame in failure.frames] == [False] * 17 + [True] * 3
    assert max(len(line) for line in failure.frames[-1].around) == 160


def test_the_users_own_lines_are_told_with_label_and_text() -> None:
    failure = failure_of(cell_map(), "no json")
    assert (failure.kind, failure.type) == (FailureKind.USER, "JSONDecodeError")
    assert [(frame.label, frame.line, frame.function, frame.text) for frame in failure.frames] == [
        ("Cell In[2]", 7, "map", 'yield parse(line)["key"], 1'),
        ("Cell In[2]", 4, "parse", "return json.loads(line)"),
    ]
    assert failure.where == ("JSONDecodeError", "Cell In[2]", 4)
    assert (failure.function, failure.record, failure.source, failure.offset, failure.record_number) == (
        "map",
        "'no json'",
        "/data/log",
        17,
        4,
    )


def test_frames_of_libraries_are_told_when_the_user_has_none() -> None:
    import json

    failure = failure_of(json.loads, "no json")
    assert failure.frames
    assert failure.frames[-1].function == "raw_decode"


def test_frames_of_this_package_are_never_told() -> None:
    told = UserCodeError("map", "1")
    told.__cause__ = PairShapeError("map yielded 1, which is no pair")
    failure = describe(told, {})
    assert (failure.type, failure.frames, failure.where) == ("PairShapeError", (), ("PairShapeError", "", 0))


def test_the_exception_itself_travels_when_it_can() -> None:
    failure = failure_of(cell_map(), '{"other": 1}')
    raised = pickle.loads(failure.pickled)
    assert isinstance(raised, KeyError)
    assert str(raised) == failure.message


@pytest.mark.parametrize(
    "text",
    [
        "class E(Exception):\n    def __init__(self, a, b):\n        super().__init__(a)\ndef map(line):\n    raise E(1, 2)\n",
        "import threading\ndef map(line):\n    raise ValueError(threading.Lock())\n",
        f"def map(line):\n    raise ValueError('x' * {PICKLED_BYTES})\n",
        "class E(Exception):\n    def __reduce__(self):\n        raise OSError\ndef map(line):\n    raise E\n",
    ],
    ids=["not unpicklable", "not picklable", "too large", "raises"],
)
def test_an_exception_that_cannot_travel_is_told_in_words(text: str) -> None:
    failure = failure_of(cell_map(text), "line")
    assert failure.pickled == b""
    assert failure.type in {"E", "ValueError"}


def test_long_messages_are_cut_and_hostile_ones_survived() -> None:
    failure = failure_of(cell_map("def map(line):\n    raise ValueError('x' * 10_000)\n"), "")
    assert len(failure.message) == MESSAGE_CHARACTERS
    hostile = "class E(Exception):\n    def __str__(self):\n        raise OSError\ndef map(line):\n    raise E\n"
    assert "__str__ raised OSError" in failure_of(cell_map(hostile), "").message


def test_a_line_as_long_as_a_file_is_cut() -> None:
    text = f"def map(line): return 1 / 0  # {'long ' * 100_000}"
    try:
        cell_map(text)("")
    except ZeroDivisionError as error:
        raised = UserCodeError("map", "''")
        raised.__cause__ = error
    failure = describe(raised, {CELL: ("Cell In[2]", text)})
    assert len(failure.frames[-1].text) == LINE_CHARACTERS


def test_a_runaway_recursion_is_told_by_its_innermost_frames() -> None:
    failure = failure_of(cell_map("def map(line):\n    return map(line)\n"), "")
    assert failure.type == "RecursionError"
    assert len(failure.frames) <= 20


def test_unreadable_input_is_nobodys_line() -> None:
    failure = describe(InputFormatError("/data/log, byte 17: not UTF-8"), SOURCES)
    assert (failure.kind, failure.type, failure.frames) == (FailureKind.INPUT, "InputFormatError", ())
    assert isinstance(pickle.loads(failure.pickled), InputFormatError)


def test_a_defect_of_ours_says_where_it_is() -> None:
    with pytest.raises(CorruptObjectError) as caught:
        unseal("plan", b"damaged", name="jobs/3f9a/plan")
    failure = describe(caught.value, SOURCES)
    assert (failure.kind, failure.type) == (FailureKind.SYSTEM, "CorruptObjectError")
    assert failure.message.startswith("jobs/3f9a/plan is not")
    assert "(at sealing.py:" in failure.message


def test_a_function_that_ends_its_process_is_the_users_failure() -> None:
    try:
        cell_map("import sys\ndef map(line):\n    sys.exit(3)\n")("line")
    except SystemExit as error:
        failure = describe(error, SOURCES)
    assert (failure.kind, failure.type) == (FailureKind.USER, "SystemExit")
    assert failure.frames[-1].line == 3


def test_a_full_disk_is_told_with_what_to_do() -> None:
    failure = describe(OSError(errno.ENOSPC, "No space left on device"), {})
    assert failure.kind is FailureKind.SYSTEM
    assert "TMPDIR" in failure.message


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_disk_without_room_has_a_name(number: int) -> None:
    failure = describe(OSError(number, "no"), {})
    assert (failure.type, failure.pickled) == ("DiskFullError", b"")


def test_want_of_memory_is_named_with_the_line_the_record_and_what_was_taken() -> None:
    try:
        cell_map("def map(line):\n    return bytearray(1 << 60)\n")("line")
    except MemoryError as error:
        told = UserCodeError("map", "'line'", source="a.txt", offset=3, record_number=7)
        told.__cause__ = error
        failure = describe(told, SOURCES, resident=91 << 20, limit=1 << 30)
    assert (failure.kind, failure.type) == (FailureKind.SYSTEM, "OutOfMemoryError")
    assert (failure.frames[-1].line, failure.record, failure.offset) == (2, "'line'", 3)
    assert "the worker took 91 MiB of the 1,024 MiB" in failure.message
    assert (failure.resident_bytes, failure.limit_bytes) == (91 << 20, 1 << 30)


def test_an_error_of_arrow_about_memory_is_want_of_memory_too() -> None:
    assert describe(pa.ArrowMemoryError("malloc of size 1 failed"), {}).type == "OutOfMemoryError"


def test_a_store_whose_disk_is_full_is_a_full_disk_and_one_that_fails_otherwise_is_not() -> None:
    full, other = StoreError("Cannot write 'a': its disk is full."), StoreError("Cannot write 'a'.")
    full.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    other.__cause__ = OSError(errno.EIO, "Input/output error")
    assert describe(full, {}).type == "DiskFullError"
    assert describe(full, {}).message == str(full)
    assert describe(other, {}).type == "StoreError"


@pytest.mark.parametrize("text", ["\udcff bad line", "\ud800"])
def test_a_text_that_is_no_unicode_is_told_escaped(text: str) -> None:
    def map(record: str) -> None:
        raise ValueError(record)

    failure = failure_of(map, text)
    assert failure.message == text.encode("utf-8", "backslashreplace").decode()
    assert msgspec.json.decode(msgspec.json.encode(failure), type=Failure) == failure


def test_an_object_whose_repr_is_no_unicode_is_told_escaped() -> None:
    class Odd:
        def __repr__(self) -> str:
            return "\udcff"

    assert short_repr(Odd()) == "\\udcff"


def test_what_calls_this_package_is_not_the_users() -> None:
    """On Lambda a file of the image calls the handler: whole stacks, of what hangs or crashed, begin there."""
    package = Path(failures.__file__).parents[1]
    ours, plane = (str(package / "handler.py"), 1, "handle"), (str(package / "dataflow" / "draining.py"), 1, "drain")
    entry, user, helper = ("/var/task/entry.py", 57, "handler"), (CELL, 4, "parse"), ("/home/me/own.py", 3, "call")
    for steps, expected in (
        ([entry, ours, user], [user]),
        ([entry, ours, entry, ours, plane, helper, plane, user], [helper, user]),
        ([entry, ours], []),
        ([helper, user], [helper, user]),
    ):
        assert [(frame.file, frame.line, frame.function) for frame in told_frames(steps, SOURCES)] == expected


TOLD_WITH_TRACEBACKS = """
import sys
if len(sys.argv) > 1:
    import tblib.pickling_support
    tblib.pickling_support.install()
from smr_notebook.control.failures import describe
from smr_notebook.dataflow.code import Sources
try:
    1 / 0
except ZeroDivisionError as error:
    print(describe(error, Sources({})).pickled.hex())
"""


def test_an_exception_travels_without_its_traceback_whatever_pickle_was_taught_in_this_process() -> None:
    """As dask teaches it, when it is imported: what is told of a failure is the same in each process."""
    command = [sys.executable, "-c", TOLD_WITH_TRACEBACKS]
    plain, taught = (subprocess.run([*command, *words], check=True, capture_output=True, text=True).stdout for words in ((), ("taught",)))
    assert plain == taught
    assert type(pickle.loads(bytes.fromhex(plain))) is ZeroDivisionError
