"""An identifier is one job's alone, whoever else draws it at the same time; names may be used again; users find their own jobs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import cycle

import pytest

from smr_notebook.backends.memory.clock import SimulatedClock
from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.table import MemoryTable
from smr_notebook.control.expiry import remove_expired
from smr_notebook.control.layout import Layout
from smr_notebook.control.ledger import Ledger, list_jobs
from smr_notebook.control.messages import coordinate
from smr_notebook.control.registering import new_job, register, reserve_identifier, told_of_name
from smr_notebook.control.rows import JobEntry
from smr_notebook.environment import environment
from smr_notebook.errors import JobNotFoundError
from smr_notebook.model import Policy
from smr_notebook.ports import Backend, ServiceLimits
from smr_notebook.sessions.finding import find_entry


class Nowhere:
    """A service that takes every call, and runs none."""

    limits = ServiceLimits(1 << 20, 900.0, 2, 0.0, 1 << 30, environment())

    def invoke(self, payload: bytes) -> None:
        """Drop it."""


@pytest.fixture
def backend() -> Backend:
    return Backend("memory", "memory:", MemoryStore(), MemoryTable(), Nowhere(), SimulatedClock(1_000.0), {}, Policy(), (0.1, 1.0))


def entry(job: str, *, user: str = "", name: str = "", created: float = 0.0, base: str = "") -> JobEntry:
    return JobEntry(job, name, created, Layout(job).plan, user, base)


def test_of_many_that_draw_the_same_identifiers_each_gets_its_own(backend: Backend) -> None:
    """Sixteen threads draw from the same four-and-twenty candidates, in the same order."""
    together = threading.Barrier(16)

    def submit(_: int) -> str:
        candidates = cycle(f"{number:08x}" for number in range(24))
        together.wait()
        return reserve_identifier(replace(backend, draw=lambda: next(candidates)))

    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(submit, range(16)))) == 16


def test_an_identifier_of_a_job_that_stands_is_drawn_again(backend: Backend) -> None:
    """Also one that an older version of this package submitted, which reserved nothing."""
    Ledger(backend.table, "aaaa0000").create_job(entry("aaaa0000"))
    drawn: Iterator[str] = iter(["aaaa0000", "bbbb0000"])
    assert reserve_identifier(replace(backend, draw=lambda: next(drawn))) == "bbbb0000"


def test_where_rows_expire_before_objects_what_is_left_of_an_old_job_keeps_its_identifier(backend: Backend) -> None:
    backend.objects.put(Layout("aaaa0000").plan, b"old")
    drawn = iter(["aaaa0000", "bbbb0000"])
    assert reserve_identifier(replace(backend, expires=True, draw=lambda: next(drawn))) == "bbbb0000"


def test_a_submission_that_breaks_off_gives_its_identifier_back(backend: Backend) -> None:
    def break_off() -> str:
        with new_job(backend) as job:
            backend.objects.put(Layout(job).code, b"code")
            raise KeyboardInterrupt(job)

    with pytest.raises(KeyboardInterrupt) as caught:
        break_off()
    job = str(caught.value)
    assert list(backend.objects.list_prefix("")) == []
    assert backend.table.query(job) == []
    assert reserve_identifier(replace(backend, draw=lambda: job)) == job


def test_a_name_that_is_used_again_says_so_to_those_whose_it_is(backend: Backend) -> None:
    ann, bob = replace(backend, user="ann"), replace(backend, user="bob")
    for job, created in (("aaaa0000", 1.0), ("bbbb0000", 2.0)):
        register(ann, entry(job, user="ann", name="clicks", created=created), coordinate(job))
    assert told_of_name(ann, "clicks")[0].startswith(
        "The name 'clicks' was used before, by job bbbb0000: attach('clicks') finds the latest"
    )
    assert told_of_name(bob, "clicks") == ()
    assert told_of_name(ann, "others") == ()
    assert told_of_name(ann, "") == ()


JOBS = [
    entry("aaaa1111", user="ann", name="clicks"),
    entry("aabb2222", user="bob", name="clicks"),
    entry("cccc3333", user="ann", name="clicks"),
    entry("dddd4444", user="bob"),
    entry("eeee5555"),
]


@pytest.mark.parametrize(
    ("user", "wanted", "found"),
    [
        ("ann", None, "eeee5555"),  # nobody's in particular is everybody's
        ("ann", "clicks", "cccc3333"),
        ("bob", "clicks", "aabb2222"),
        ("ann", "aa", "aaaa1111"),  # Bob's job does not make it ambiguous
        ("bob", "aa", "aabb2222"),
        ("ann", "dddd4444", "dddd4444"),  # a whole identifier finds any
        ("", "dd", "dddd4444"),  # and so does whoever is nobody in particular
        ("", "clicks", "cccc3333"),
    ],
)
def test_a_job_is_found_among_ones_own(user: str, wanted: str | None, found: str) -> None:
    assert find_entry(JOBS, wanted, user=user, place="here").job == found


@pytest.mark.parametrize(
    ("user", "wanted", "words"),
    [
        ("ann", "dddd", "'dddd' is a job of bob, and you are ann. Say its whole identifier, dddd4444"),
        ("", "aa", "beginning of 2 jobs: aaaa1111, aabb2222"),
        ("ann", "", "no job '' in here. The latest are eeee5555"),
        ("ann", "ffff", "no job 'ffff' in here. The latest are eeee5555, cccc3333, aaaa1111"),
        ("ann", "eeee555f", r"no job 'eeee555f' in here\. Did you mean 'eeee5555'\? The latest"),
        ("ann", "click", r"no job 'click' in here\. Did you mean 'clicks'\?"),
    ],
)
def test_a_job_that_is_not_meant_is_told_with_what_there_is(user: str, wanted: str, words: str) -> None:
    with pytest.raises(JobNotFoundError, match=words):
        find_entry(JOBS, wanted, user=user, place="here")


def test_who_has_no_job_is_told_whose_there_are() -> None:
    with pytest.raises(JobNotFoundError, match="no job of yours in here: you are eve, and those that are there belong to ann, bob"):
        find_entry(JOBS[:4], None, user="eve", place="here")
    with pytest.raises(JobNotFoundError, match="no jobs in here"):
        find_entry([], None, user="eve", place="here")


def test_a_job_that_others_stand_on_is_kept_as_long_as_they_are(backend: Backend) -> None:
    table, objects = backend.table, backend.objects
    chain = [("root", ""), ("branch", "root"), ("leaf", "branch"), ("other", ""), ("alone", "other")]
    for created, (job, base) in enumerate(chain):
        Ledger(table, job).create_job(entry(job, created=float(created), base=base))
        objects.put(Layout(job).plan, b"plan")
    Ledger(table, "leaf").take_lease("coordinator", now=90.0, seconds=10.0)
    assert remove_expired(objects, table, now=120.0, keep_seconds=50.0) == ("other", "alone")
    assert [found.job for found in list_jobs(table)] == ["root", "branch", "leaf"]
    assert remove_expired(objects, table, now=200.0, keep_seconds=50.0) == ("root", "branch", "leaf")
    assert list(objects.list_prefix("")) == []
