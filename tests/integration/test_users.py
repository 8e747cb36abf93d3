"""Two users, each with a process of their own, on one workspace: each finds their own jobs, and ends nobody else's by accident."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import smr_notebook as smr
from smr_notebook.testing.waiting import wait_until

OpenSession = Callable[..., smr.Session]

PERSON = """
import json, sys, threading
import smr_notebook as smr

def slow(item):
    threading.Event().wait(0.02)
    yield item % 2, item

session = smr.Session(settings={"workspace": sys.argv[1], "workers": 2, "lease_seconds": 2.0})
job = session.map_reduce(slow, sum, range(40), name="numbers")
for line in sys.stdin:
    words = line.split()
    try:
        if words[0] == "jobs":
            answer = sorted(info.id for info in session.jobs(everyone="everyone" in words))
        elif words[0] == "attach":
            answer = session.attach(*words[1:]).id
        elif words[0] == "cancel":
            answer = session.attach(*words[1:]).cancel()
        else:
            answer = job.result()["value"].tolist()
    except smr.errors.SmrError as error:
        answer = str(error)
    print(json.dumps(answer), flush=True)
"""


class Person:
    """A process of somebody."""

    def __init__(self, user: str, workspace: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(PERSON), str(workspace)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "SMR_USER": user},
        )

    def says(self, *words: str) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(" ".join(words) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def leave(self) -> None:
        self._process.communicate()


def test_two_users_of_a_workspace_do_not_meet_by_accident(own_session: OpenSession, tmp_path: Path) -> None:
    own_session()  # whose end closes the service
    ann, bob = Person("ann", tmp_path / "ws"), Person("bob", tmp_path / "ws")
    try:
        (anns,), (bobs,) = ann.says("jobs"), bob.says("jobs")
        assert ann.says("jobs", "everyone") == bob.says("jobs", "everyone") == sorted([anns, bobs])
        assert (ann.says("attach"), bob.says("attach")) == (anns, bobs)
        assert (ann.says("attach", "numbers"), bob.says("attach", "numbers")) == (anns, bobs)
        assert (
            ann.says("attach", bobs[:6])
            == f"{bobs[:6]!r} is a job of bob, and you are ann. Say its whole identifier, {bobs}, to have it all the same."
        )
        assert ann.says("attach", bobs) == bobs
        assert ann.says("cancel", bobs) is True
        assert "cancelled by ann, who did not submit it" in bob.says("result")
        assert ann.says("result") == [380, 400]
        assert ann.says("cancel") is False
    finally:
        ann.leave()
        bob.leave()


def test_a_name_that_is_used_again_says_so(own_session: OpenSession) -> None:
    session = own_session()
    first = session.map_reduce(lambda item: [(item, 1)], None, [1], name="again").wait()
    with pytest.warns(smr.PlanWarning, match=f"The name 'again' was used before, by job {first.id}"):
        second = session.map_reduce(lambda item: [(item, 1)], None, [1], name="again").wait()
    assert session.attach("again").id == second.id
    assert [info.id for info in session.jobs()] == [second.id, first.id]


def test_a_job_that_follows_a_long_one_is_not_held_up_until_that_has_ended(own_session: OpenSession) -> None:
    """What is queued is a second's work at most, and calls are taken in turn."""

    def naps(item: int) -> list[tuple[int, int]]:
        import threading

        threading.Event().wait(0.05)
        return [(item % 2, item)]

    session = own_session()
    long = session.map_reduce(naps, sum, range(400), split_size=1, name="long")
    wait_until(lambda: long.status().map.done > 4)
    short = session.map_reduce(naps, sum, range(8), split_size=1, name="short")
    assert short.result()["value"].tolist() == [12, 16]
    assert not long.done()
    assert long.cancel()
    with pytest.raises(smr.errors.JobCancelled):
        long.result()


def test_what_a_job_does_to_its_processes_no_other_job_sees(own_session: OpenSession, tmp_path: Path) -> None:
    """Folder, environment, modules, patches, the place for temporary files: of jobs that run at the same time and after one another."""

    root = tmp_path / "folders"

    def leaves_traces(mark: str) -> list[tuple[str, str]]:
        import builtins
        import os
        import sys
        import threading
        import types
        from pathlib import Path

        here = Path.cwd()
        seen = [
            here.name if here.parent == root else "",
            os.environ.get("MARK", ""),
            getattr(sys.modules.get("marked"), "mark", ""),
            getattr(builtins, "mark", ""),
        ]
        (root / mark).mkdir(parents=True, exist_ok=True)
        os.chdir(root / mark)
        os.environ["MARK"] = mark
        sys.modules["marked"] = types.ModuleType("marked")
        sys.modules["marked"].mark = mark  # type: ignore[attr-defined]
        builtins.mark = mark  # type: ignore[attr-defined]
        threading.Event().wait(0.01)
        return [(mark, other) for other in seen if other not in {"", mark}]

    session = own_session()
    jobs = [session.map_reduce(leaves_traces, None, [mark] * 30, split_size=1) for mark in ("first", "second")]
    for job in jobs:
        assert job.result().empty
    assert session.map_reduce(leaves_traces, None, ["third"] * 4, split_size=1, wait=True).empty


@pytest.mark.parametrize("name", [5, None, b"x", "\udcff"])
def test_a_name_that_is_no_text_is_refused_before_anything_is_stored(session: smr.Session, name: Any) -> None:
    before = session.jobs()
    with pytest.raises(smr.errors.ConfigError, match="name must be text; got"):
        session.map_reduce(lambda item: [(item, 1)], sum, [1], name=name)
    assert session.jobs() == before
