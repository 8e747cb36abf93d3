"""The pieces of a log, put and read: in order, by task, and whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smr_notebook.backends.memory.platform import open_memory
from smr_notebook.control.layout import Layout
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.logs import LogPiece, put_piece, read_pieces
from smr_notebook.control.rows import JobEntry
from smr_notebook.dataflow.sealing import unseal
from smr_notebook.errors import ConfigError, CorruptObjectError
from smr_notebook.job.logs import SHOWN_LINES, JobLogs
from smr_notebook.model import AttemptId, Phase, TaskId
from smr_notebook.ports import Backend

JOB = "3f9a"
ONE = AttemptId(TaskId(Phase.MAP, 3), 1)
OTHER = AttemptId(TaskId(Phase.REDUCE, 0), 2)


def a_job() -> Backend:
    backend = open_memory()
    Ledger(backend.table, JOB).create_job(JobEntry(JOB, "", 0.0, Layout(JOB).plan))
    return backend


def written(backend: Backend, **choices: object) -> list[str]:
    return [line.text for line in JobLogs(backend, JOB, looks=None, **{"phase": None, "task": None, **choices})]  # type: ignore[arg-type]


@given(st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"])), min_size=1), st.data())
def test_a_log_is_what_was_written_wherever_it_is_cut_between_lines(lines: list[str], data: st.DataObject) -> None:
    backend = a_job()
    cuts = sorted(data.draw(st.sets(st.integers(1, len(lines)))) | {0, len(lines)})
    for number, (start, stop) in enumerate(pairwise(cuts), 1):
        text = "".join(f"{line}\n" for line in lines[start:stop])
        put_piece(backend, JOB, ONE, number=number, piece=LogPiece(float(number), (("stdout", text),)))
    assert written(backend) == lines


def test_lines_come_in_the_order_of_their_times_and_can_be_asked_for_by_task() -> None:
    backend = a_job()
    put_piece(backend, JOB, OTHER, number=1, piece=LogPiece(1.0, (("stderr", "first\n"),)))
    put_piece(backend, JOB, ONE, number=1, piece=LogPiece(2.0, (("stdout", "second\n"), ("stderr", "third")), 12_345))
    assert written(backend) == ["first", "second", "third", "12,345 more bytes were written and not kept"]
    assert written(backend, phase="map")[0] == "second"
    assert written(backend, task=0) == ["first"]
    assert written(backend, phase="reduce", task=3) == []


def test_a_log_reads_as_one() -> None:
    backend = a_job()
    logs = JobLogs(backend, JOB, looks=None, phase=None, task=None)
    assert repr(logs) == "nothing was written to standard output or error by the functions of 3f9a so far"
    put_piece(backend, JOB, OTHER, number=1, piece=LogPiece(3_661.0, (("stdout", "10%\r100%\n"),)))
    assert repr(logs) == "01:01:01  reduce 0 (attempt 2)  stdout  100%"
    assert logs.to_frame().drop(columns="time").to_dict("records") == [
        {"phase": "reduce", "task": 0, "attempt": 2, "stream": "stdout", "text": "10%\r100%", "mark": ""}
    ]
    put_piece(backend, JOB, ONE, number=1, piece=LogPiece(4.0, (("stdout", "x\n" * SHOWN_LINES),)))
    assert repr(logs).splitlines()[0] == "… 1 lines before these: iterate, or to_frame()"


def test_who_follows_sees_each_line_once() -> None:
    backend = a_job()

    def looks() -> Iterator[None]:
        for number in range(1, 4):
            put_piece(backend, JOB, ONE, number=number, piece=LogPiece(float(number), (("stdout", f"{number}\n"),)))
            yield
            yield

    logs = JobLogs(backend, JOB, looks=looks, phase=None, task=None)
    assert [line.text for line in logs] == ["1", "2", "3"]


def test_an_unknown_phase_is_refused() -> None:
    with pytest.raises(ConfigError, match="map, merge, reduce"):
        JobLogs(open_memory(), JOB, looks=None, phase="shuffle", task=None)


def test_a_damaged_piece_is_an_error() -> None:
    backend = a_job()
    put_piece(backend, JOB, ONE, number=1, piece=LogPiece(1.0, (("stdout", "x\n"),)))
    key = Layout(JOB).log_piece(ONE, 1)
    data = bytearray(backend.objects.get(key))
    data[-1] ^= 1
    backend.objects.put(key, bytes(data))
    with pytest.raises(CorruptObjectError, match="log"):
        list(read_pieces(backend, JOB, known=set()))


def test_a_piece_is_what_it_was_in_version_1() -> None:
    backend = a_job()
    put_piece(backend, JOB, OTHER, number=7, piece=LogPiece(1.5, (("stdout", "é\n"),), 3))
    key = "jobs/3f9a/logs/reduce-000000-002/000007"
    body = unseal("log", backend.objects.get(key), name=key)
    assert body.decode() == '{"time":1.5,"texts":[["stdout","é\\n"]],"dropped":3}'


SCRIPT = """
import os, sys
from dataclasses import replace
from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.platform import open_memory
from smr_notebook.control.logs import Caught, read_pieces
from smr_notebook.dataflow.meter import Meter
from smr_notebook.errors import StoreError
from smr_notebook.model import AttemptId, Phase, TaskId
from smr_notebook.streams import streams_of

class Failing(MemoryStore):
    fails = int(sys.argv[1])
    def put(self, key, data, *, if_absent=False):
        if self.fails:
            self.fails -= 1
            raise StoreError("out of reach")
        return super().put(key, data, if_absent=if_absent)

backend, meter = replace(open_memory(), objects=Failing()), Meter()
attempt = AttemptId(TaskId(Phase.MAP, 0), 1)
with Caught(streams_of(os.getpid()), backend, "3f9a", attempt, invocation="i", meter=meter) as output:
    print("one")
    output.beat()
    print("two")
    output.beat()
print([(found.number, found.piece.texts) for found in read_pieces(backend, "3f9a", known=set())], meter.lines_written)
"""


WAITING = """
import os, threading
from dataclasses import replace
from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.platform import open_memory
from smr_notebook.control.logs import Caught, read_pieces
from smr_notebook.dataflow.meter import Meter
from smr_notebook.model import AttemptId, Phase, TaskId
from smr_notebook.streams import streams_of

answers = threading.Event()

class Silent(MemoryStore):
    def put(self, key, data, *, if_absent=False):
        if not answers.wait(60):
            raise SystemExit(1)
        return super().put(key, data, if_absent=if_absent)

backend = replace(open_memory(), objects=Silent())
attempt = AttemptId(TaskId(Phase.MAP, 0), 1)
with Caught(streams_of(os.getpid()), backend, "3f9a", attempt, invocation="i", meter=Meter()) as output:
    print("one")
    output.beat()
    print("two")
    output.beat()
    answers.set()
print([(found.number, found.piece.texts) for found in read_pieces(backend, "3f9a", known=set())])
"""


def test_a_heart_does_not_wait_for_a_store_that_does_not_answer(tmp_path: Path) -> None:
    """Else the attempt would expire, and for its log alone."""
    command = [sys.executable, "-c", WAITING]
    done = subprocess.run(command, env=os.environ | {"TMPDIR": str(tmp_path)}, capture_output=True, check=True, text=True, timeout=40)
    assert done.stdout.strip() == "[(1, (('stdout', 'one\\n'),)), (2, (('stdout', 'two\\n'),))]"


@pytest.mark.parametrize(
    ("fails", "told"),
    [
        (0, "[(1, (('stdout', 'one\\n'),)), (2, (('stdout', 'two\\n'),))] 2"),
        (1, "[(1, (('stdout', 'one\\n'), ('stdout', 'two\\n')))] 2"),
        (9, "[] 2"),
    ],
)
def test_what_could_not_be_put_is_put_with_what_follows_and_fails_nothing(tmp_path: Path, fails: int, told: str) -> None:
    command = [sys.executable, "-c", SCRIPT, str(fails)]
    done = subprocess.run(command, env=os.environ | {"TMPDIR": str(tmp_path)}, capture_output=True, check=True, text=True)
    assert done.stdout.strip() == told
