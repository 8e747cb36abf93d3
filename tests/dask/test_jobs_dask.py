"""Whole jobs on a cluster that runs already: the answers of plain Python and of this machine, whoever is killed or gone."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import pandas as pd
import psutil
import pytest
from distributed import Client, LocalCluster

import smr_notebook as smr
from smr_notebook.backends.dask.functions import DaskFunctions
from smr_notebook.control.ledger import Ledger
from smr_notebook.errors import ConfigError, JobCancelled, JobError, ServiceError, StoreError
from smr_notebook.job.handle import Job
from smr_notebook.testing.sample_jobs import JOBS, LINES, collected, write_input
from smr_notebook.testing.waiting import wait_until

OpenSession = Callable[..., smr.Session]

ITEMS = list(range(48))
SLOWLY = [(key, [item for item in ITEMS if item % 5 == key]) for key in range(5)]


def slow(item: int) -> Iterator[tuple[int, int]]:
    threading.Event().wait(0.02)
    yield item % 5, item


def changed(item: int) -> Iterator[tuple[str, str]]:
    """Leaves its process other than it found it."""
    yield os.environ.get("LEFT_BEHIND", "nothing"), str(Path.cwd())
    os.environ["LEFT_BEHIND"] = "something"
    os.chdir(Path.home())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("input")
    write_input(folder)
    return folder


@pytest.fixture
def own_session(cluster: LocalCluster, tmp_path: Path) -> Iterator[OpenSession]:
    """Open sessions on the cluster, with a workspace of the test's own."""
    opened: list[smr.Session] = []

    def open_one(platform: str = "dask") -> smr.Session:
        settings = {"workspace": tmp_path / "ws", "lease_seconds": 2.0, "workers": 2}
        opened.append(smr.Session(platform, address=cluster.scheduler_address, settings=settings))
        return opened[-1]

    yield open_one
    for session in opened:
        session.close()


def parts(session: smr.Session, job: Job) -> list[bytes]:
    return [session.backend.objects.get(file.key) for part in job.parts() for file in part.files]


def client_of(session: smr.Session) -> Client:
    functions = session.backend.functions
    assert isinstance(functions, DaskFunctions)
    return functions._connect()


def rows(job: Job) -> list[Any]:
    return list(job.result().itertuples(index=False, name=None))


def test_the_same_answers_byte_by_byte_as_on_this_machine_and_as_plain_python(own_session: OpenSession, folder: Path) -> None:
    here, there = own_session("local"), own_session()
    for name, submit in JOBS.items():
        plain, other = submit(here, folder, "objects"), submit(there, folder, "objects")
        pd.testing.assert_frame_equal(plain.result(), other.result(), obj=name)
        assert parts(here, plain) == parts(there, other), name
        if name == "combined":
            assert dict(rows(other)) == Counter(word for line in LINES for word in line.split())


@pytest.mark.parametrize("seed", range(2))
def test_a_worker_is_killed_in_the_middle_and_each_record_counts_once(own_session: OpenSession, cluster: LocalCluster, seed: int) -> None:
    """With all that runs in it and below it, be it the coordinator."""
    chance = random.Random(seed)
    session = own_session()
    job = session.map_reduce(slow, collected, ITEMS, reducers=2, split_size=1)
    wait_until(lambda: job.status().map.done >= 1 + 2 * seed)
    with Client(cluster.scheduler_address, set_as_default=False) as client:
        worker = chance.choice(sorted(client.run(os.getpid).values()))
        below = psutil.Process(worker).children(recursive=True)
        os.kill(worker, signal.SIGKILL)
        assert rows(job) == SLOWLY
        assert not psutil.wait_procs(below, timeout=30)[1], "the processes below a worker end with it"
        wait_until(lambda: len(client.scheduler_info()["workers"]) == 2)  # its nanny starts another one


def test_the_notebook_is_gone_and_the_job_goes_on(own_session: OpenSession, cluster: LocalCluster, tmp_path: Path) -> None:
    """The functions wait until the notebook is dead, and nobody looks before the job is done."""
    kernel = subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent("""
                import os, sys, threading
                import smr_notebook as smr

                folder, address = sys.argv[1:]

                def held(item):
                    open(f"{folder}/began-{item}", "w").close()
                    while not os.path.exists(f"{folder}/go"):
                        threading.Event().wait(0.01)
                    yield item % 5, item

                session = smr.Session("dask", address=address, settings={"workspace": f"{folder}/ws", "lease_seconds": 2.0})
                job = session.map_reduce(held, lambda key, values: list(values), list(range(12)), reducers=2, name="left alone")
                print(job.id, flush=True)
                job.wait()
            """),
            str(tmp_path),
            cluster.scheduler_address,
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    with kernel:
        assert kernel.stdout is not None
        identifier = kernel.stdout.readline().strip()
        wait_until(lambda: list(tmp_path.glob("began-*")))
        kernel.kill()
    (tmp_path / "go").touch()
    session = own_session()
    ledger = Ledger(session.backend.table, identifier)
    wait_until(lambda: ledger.outcome() is not None)
    assert [info.name for info in session.jobs()] == ["left alone"]
    assert rows(session.attach(identifier)) == [(key, [item for item in range(12) if item % 5 == key]) for key in range(5)]


def test_cancel_ends_what_runs(own_session: OpenSession, cluster: LocalCluster, tmp_path: Path) -> None:
    mark = tmp_path / "pids"
    mark.mkdir()

    def spins(item: int) -> Iterator[tuple[int, int]]:
        (mark / str(os.getpid())).touch()
        while item >= 0:
            pass
        yield item, 1

    job = own_session().map_reduce(spins, sum, [1, 2], split_size=1)
    wait_until(lambda: any(mark.iterdir()))
    job.cancel()
    with pytest.raises(JobCancelled):
        job.result()
    wait_until(lambda: not any(psutil.pid_exists(int(file.name)) for file in mark.iterdir()))


def test_an_exception_in_map_comes_with_the_users_line(own_session: OpenSession) -> None:
    def broken(item: int) -> Iterator[tuple[int, float]]:
        yield item, 1 / (item - 7)

    with pytest.raises(JobError) as caught:
        own_session().map_reduce(broken, sum, ITEMS, wait=True)
    for part in ("ZeroDivisionError in map", "yield item, 1 / (item - 7)", "record: 7"):
        assert part in str(caught.value)


def test_what_a_job_does_to_its_processes_the_next_one_does_not_see(own_session: OpenSession) -> None:
    session = own_session()
    for _ in range(2):
        assert rows(session.map_reduce(changed, collected, [1]))[0] == ("nothing", ["/"])


def test_calls_and_their_exceptions_come_back(own_session: OpenSession) -> None:
    with smr.Executor(session=own_session()) as executor:
        assert list(executor.map(lambda number: number**2, range(20))) == [number**2 for number in range(20)]
        with pytest.raises(ZeroDivisionError):
            executor.submit(lambda: 1 // 0).result()


def test_a_client_that_is_there_already_serves_and_is_left_alone(cluster: LocalCluster, tmp_path: Path) -> None:
    with Client(cluster.scheduler_address) as client:
        session = smr.Session("dask", settings={"workspace": tmp_path})
        assert session.backend.functions.limits.concurrency == 2
        session.close()
        assert client.status == "running"


@pytest.mark.usefixtures("cluster")  # so that what Python starts besides for all clusters is started
def test_a_session_finds_a_scheduler_again_that_was_gone(tmp_path: Path) -> None:
    """Its client had given up meanwhile. What it stored is there, and it runs jobs again."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        own = {"host": "127.0.0.1", "scheduler_port": free.getsockname()[1], "dashboard_address": "127.0.0.1:0", "threads_per_worker": 6}
    settings = {"workspace": tmp_path / "ws", "lease_seconds": 2.0}
    with dask.config.set({"distributed.comm.timeouts.connect": "0.5s"}):
        with LocalCluster(n_workers=0, **own) as cluster:
            session = smr.Session("dask", address=cluster.scheduler_address, settings=settings)
            assert session.jobs() == []
            client = client_of(session)
        wait_until(lambda: client.status == "closed")
        with pytest.raises(StoreError, match=r"the scheduler of the Dask cluster keeps cannot be reached: .* Check that the cluster runs"):
            session.jobs()
        with pytest.raises(ServiceError, match="The Dask cluster cannot be asked for its workers"):
            _ = session.backend.functions.limits
    with LocalCluster(n_workers=1, **own):
        assert rows(session.map_reduce(slow, collected, ITEMS, reducers=2)) == SLOWLY
        session.close()
    assert client_of(session).status == "closed", "what was left is not found again"


@pytest.mark.parametrize(
    ("address", "error", "text"),
    [
        ("", ConfigError, "needs the address of the scheduler"),
        ("nowhere://x", ConfigError, "is no address of a Dask scheduler"),
        ("tcp://127.0.0.1:9", ServiceError, "There is no Dask scheduler at tcp://127.0.0.1:9"),
    ],
    ids=["none", "mistyped", "closed"],
)
def test_an_address_that_is_none_is_told(address: str, error: type[Exception], text: str) -> None:
    with dask.config.set({"distributed.comm.timeouts.connect": "0.5s"}), pytest.raises(error, match=text):
        smr.Session("dask", address=address)
