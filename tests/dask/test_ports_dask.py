"""A cluster's functions, and the rows that its scheduler keeps, hold their contracts, also where only processes can fail."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import psutil
import pytest
from distributed import Client, LocalCluster

from smr_notebook.backends.dask.functions import DaskFunctions
from smr_notebook.backends.dask.keeper import KEEPER, Keeper
from smr_notebook.backends.dask.platform import PROBE
from smr_notebook.backends.dask.rows import ClusterTable
from smr_notebook.backends.dask.survey import survey
from smr_notebook.backends.dask.wire import GROUPS, Call
from smr_notebook.backends.dask.work import run_call
from smr_notebook.backends.local.platform import LocalOptions, open_local
from smr_notebook.environment import environment
from smr_notebook.errors import ConfigError, EnvironmentMismatchError, ServiceError, StoreError
from smr_notebook.model import Environment
from smr_notebook.ports import FunctionService, Row
from smr_notebook.testing.functions import FunctionServiceTests, death_of
from smr_notebook.testing.handlers import Order
from smr_notebook.testing.table import TableTests
from smr_notebook.testing.waiting import wait_until

ROWS = "smr_notebook.backends.local.table:open_table"


@pytest.fixture(scope="module")
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster.scheduler_address, set_as_default=False) as client:
        client.register_plugin(Keeper(), name=KEEPER)
        yield client


def service_of(client: Client, folder: Path, tenant: str) -> DaskFunctions:
    where = f"smr_notebook.testing.handlers:{tenant}"
    return DaskFunctions(lambda: client, handler="smr_notebook.testing.handlers:record", tenant=where, location=str(folder))


class TestDaskFunctions(FunctionServiceTests):
    @pytest.fixture(params=["somebody", "nobody"])
    def service(self, folder: Path, client: Client, request: pytest.FixtureRequest) -> FunctionService:
        """Somebody's calls run below a host, nobody's in the worker itself."""
        return service_of(client, folder, str(request.param))


class TestClusterTable(TableTests):
    @pytest.fixture
    def table(self, client: Client, tmp_path: Path) -> ClusterTable:
        return table_of(client, tmp_path / "no" / "such" / "folder" / "table.sqlite")


def table_of(client: Client, file: Path) -> ClusterTable:
    return ClusterTable(lambda: client, ROWS, str(file))


def test_all_clients_of_a_cluster_see_one_table(client: Client, cluster: LocalCluster, tmp_path: Path) -> None:
    first = table_of(client, tmp_path / "table.sqlite")
    with Client(cluster.scheduler_address, set_as_default=False) as other:
        second = table_of(other, tmp_path / "table.sqlite")
        assert first.put("g", "k", b"x", expect=0) == Row("k", 1, b"x")
        assert second.put("g", "k", b"y", expect=0) == Row("k", 1, b"x")
        assert second.put("g", "k", b"z", expect=1) == first.get("g", "k") == Row("k", 2, b"z")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.mark.parametrize(
    ("ends", "reason"), [("killed", "killed by signal 9 (SIGKILL)"), ("exits", "exited with code 3")], ids=["killed", "exits"]
)
def test_an_invocation_whose_process_ends_leads_to_one_notice(client: Client, folder: Path, ends: str, reason: str) -> None:
    """And the worker, which is another process, goes on."""
    workers = set(client.scheduler_info()["workers"])
    service, order = service_of(client, folder, "somebody"), Order("dying", ends=ends)
    invocation, told = death_of(service, folder, order)
    assert told == {"failed": order.payload().decode(), "invocation": invocation.replace("~", "/"), "reason": reason}
    assert set(client.scheduler_info()["workers"]) == workers


@pytest.mark.parametrize("tenant", ["somebody", "nobody"])
def test_what_a_worker_had_that_dies_is_told_where_it_runs_next(client: Client, folder: Path, tenant: str) -> None:
    """By the beginning of its name. What ran nobody's functions is told alone: whoever hears it may call again."""
    service, order = service_of(client, folder, tenant), Order("held", waits="go")
    service.invoke(order.payload())
    wait_until(lambda: list(folder.glob("started-held-*")))
    [first] = folder.glob("started-held-*")
    os.kill(worker_of(client, json.loads(first.read_text())["pid"]), signal.SIGKILL)
    if tenant == "somebody":
        wait_until(lambda: len(list(folder.glob("started-held-*"))) == 2)
        (folder / "go").touch()
        wait_until(lambda: list(folder.glob("ended-held-*")))
    wait_until(lambda: list(folder.glob("notice-*")))
    [notice] = folder.glob("notice-*")
    told = json.loads(notice.read_text())
    assert json.loads(told["failed"]) == json.loads(order.payload())
    assert told["reason"] == "its worker left the cluster"
    names = [path.name.removeprefix("started-held-") for path in folder.glob("started-held-*")]
    assert len(names) == (2 if tenant == "somebody" else 1)
    assert {name.partition("~")[0] for name in names} == {told["invocation"]}
    wait_until(lambda: len(client.scheduler_info()["workers"]) == 2)  # its nanny starts another one


def worker_of(client: Client, process: int) -> int:
    """Return the process of the worker in which, or below which, a process runs."""
    workers = set(client.run(os.getpid).values())
    return next(each.pid for each in (psutil.Process(process), *psutil.Process(process).parents()) if each.pid in workers)


def test_nothing_of_a_call_stays_in_the_cluster(client: Client, cluster: LocalCluster, folder: Path) -> None:
    """However soon it ended: such a task would run once more when its worker leaves."""
    service = service_of(client, folder, "nobody")
    for number in range(50):
        service.invoke(Order(f"n{number}").payload())
    wait_until(lambda: len(list(folder.glob("ended-*"))) == 50)
    scheduler = cluster.scheduler
    assert scheduler is not None
    wait_until(lambda: not any(key[0].startswith("smr-notebook") for key in scheduler.tasks))


def test_a_scheduler_that_keeps_no_rows_yet_is_told_as_such(tmp_path: Path) -> None:
    with LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0", host="127.0.0.1") as bare, Client(bare) as client:
        table = table_of(client, tmp_path / "table.sqlite")
        with pytest.raises(StoreError, match="keeps no rows: it was started anew"):
            table.get("g", "k")


def test_a_call_that_waits_for_a_slot_outlives_whoever_called(client: Client, cluster: LocalCluster, folder: Path) -> None:
    busy = service_of(client, folder, "somebody")
    for name in ("one", "other"):
        busy.invoke(Order(name, waits="go").payload())
    wait_until(lambda: len(list(folder.glob("started-*"))) == 2)
    with Client(cluster.scheduler_address, set_as_default=False) as caller:
        service_of(caller, folder, "somebody").invoke(Order("queued").payload())
    scheduler = cluster.scheduler
    assert scheduler is not None
    wait_until(lambda: caller.id not in scheduler.clients)
    (folder / "go").touch()
    wait_until(lambda: list(folder.glob("ended-queued-*")))


def test_a_call_to_a_scheduler_that_was_started_anew_brings_it_a_keeper(folder: Path) -> None:
    with LocalCluster(n_workers=1, processes=False, dashboard_address=None) as bare, Client(bare, set_as_default=False) as client:
        with pytest.raises(ServiceError, match="its scheduler does not answer for a task that was sent to it"):
            service_of(client, folder, "nobody").invoke(Order("early").payload())
        where = "smr_notebook.testing.handlers"
        service = DaskFunctions(
            lambda: client,
            handler=f"{where}:record",
            tenant=f"{where}:nobody",
            location=str(folder),
            keep=lambda: client.register_plugin(Keeper(), name=KEEPER),
        )
        for name in ("first", "second"):
            service.invoke(Order(name).payload())
        wait_until(lambda: {file.name.split("-")[1] for file in folder.glob("ended-*")} >= {"first", "second"})
        wait_until(lambda: not bare.scheduler.tasks)


def test_a_folder_that_the_scheduler_cannot_write_is_told(client: Client, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="Cannot use the table in"):
        table_of(client, tmp_path / "file" / "table.sqlite").get("g", "k")


def call_of(order: Order, folder: Path, *, seconds: float = 60.0, there: Environment | None = None) -> bytes:
    handlers = "smr_notebook.testing.handlers"
    call = Call(f"{handlers}:record", f"{handlers}:somebody", str(folder), seconds, there or environment(), (), order.payload())
    return msgspec.msgpack.encode(call)


def test_a_call_whose_time_is_up_is_ended_and_told(client: Client, folder: Path) -> None:
    client.submit(run_call, call_of(Order("long", waits="go"), folder, seconds=0.1), key=(GROUPS[0], "long"), pure=False).result()
    [notice] = folder.glob("notice-*")
    told = json.loads(notice.read_text())
    assert (told["late"], told["reason"]) == (True, "its time was up")
    for started in folder.glob("started-long-*"):
        wait_until(lambda: not psutil.pid_exists(json.loads(started.read_text())["pid"]))  # noqa: B023 - called before the next turn


def test_a_worker_that_joined_with_another_environment_runs_nothing(client: Client, folder: Path) -> None:
    other = replace(environment(), python="2.7")
    client.submit(run_call, call_of(Order("never"), folder, there=other), key=(GROUPS[0], "other"), pure=False).result()
    [notice] = folder.glob("notice-*")
    assert "has another Python or other packages than the notebook" in json.loads(notice.read_text())["reason"]
    assert not list(folder.glob("started-*"))


def test_workers_that_lack_what_runs_there_are_named(client: Client) -> None:
    with pytest.raises(
        EnvironmentMismatchError, match=r"Workers tcp://.*, tcp://.* cannot import.*no_such_module.*on all workers and the scheduler"
    ):
        survey(client, "no_such_module:look", (), ())


@pytest.mark.parametrize(("content", "wrong"), [("ours", "another one"), (None, "does not see")], ids=["another", "none"])
def test_workers_that_do_not_see_the_folder_are_named(client: Client, tmp_path: Path, content: str | None, wrong: str) -> None:
    lender = open_local(LocalOptions(str(tmp_path)))
    if content is not None:
        lender.objects.put("seen", b"theirs")
    with pytest.raises(ConfigError, match=rf"Workers tcp://.* cannot work here: .*{wrong}.*Name a folder that all machines share"):
        survey(client, PROBE, (lender.location, "seen", "ours"), ())


def test_a_task_that_the_cluster_cannot_run_is_told_by_whoever_called(client: Client, folder: Path) -> None:
    """Here the workers cannot import whom to ask whose call it is, but for the one who tells."""
    service, order = service_of(client, folder, "somebody"), Order("never")
    data = msgspec.msgpack.encode(Call("", "no_such_module:tenant", "", 60.0, environment(), (), b""))
    broken = client.submit(run_call, data, key=(GROUPS[0], "broken"), pure=False)
    wait_until(lambda: broken.status == "error")
    service._ended(order.payload(), broken)
    wait_until(lambda: list(folder.glob("notice-*")))
    [notice] = folder.glob("notice-*")
    told = json.loads(notice.read_text())
    assert (json.loads(told["failed"])["name"], told["invocation"]) == ("never", "")
    assert told["reason"].startswith("the Dask cluster could not run it: ModuleNotFoundError")
