"""The local service as a process among others: killed, raced for, idle, shared."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from smr_notebook.backends.local.address import find_address, sweep, take_lock
from smr_notebook.backends.local.client import LocalFunctions
from smr_notebook.backends.local.news import NewsClock
from smr_notebook.backends.local.wire import Status
from smr_notebook.environment import environment
from smr_notebook.errors import ServiceError
from smr_notebook.testing.handlers import Order
from smr_notebook.testing.waiting import wait_until

RECORD = "smr_notebook.testing.handlers:record"
NOTHING = "smr_notebook.testing.handlers:nothing"
SOMEBODY = "smr_notebook.testing.handlers:somebody"

Open = Callable[..., LocalFunctions]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def open_service(workspace: Path, folder: Path) -> Iterator[Open]:
    """Make clients of the service of this test's workspace; at the end, all services are told to end."""
    clients: list[LocalFunctions] = []

    def make(
        *, handler: str = RECORD, workers: int = 2, idle_seconds: float = 60.0, seconds: float = 600.0, tenant: str = "", warm: str = ""
    ) -> LocalFunctions:
        client = LocalFunctions(
            workspace,
            handler=handler,
            location=str(folder),
            workers=workers,
            idle_seconds=idle_seconds,
            seconds=seconds,
            preload=(),
            tenant=tenant,
            warm=warm,
        )
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.shutdown()
        client.close()


def files(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern))


def run(client: LocalFunctions, folder: Path, name: str) -> None:
    client.invoke(Order(name).payload())
    wait_until(lambda: files(folder, f"ended-{name}-*"))


def status_of(client: LocalFunctions) -> Status:
    status = client.status()
    assert status is not None
    return status


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def all_gone(status: Status) -> bool:
    return all(gone(pid) for pid in (status.pid, status.zygote, *status.workers))


def notice(folder: Path) -> dict[str, str]:
    wait_until(lambda: files(folder, "notice-*"))
    [path] = files(folder, "notice-*")
    found: dict[str, str] = json.loads(path.read_text())
    return found


def test_a_killed_worker_leads_to_a_notice_and_the_next_call_runs(open_service: Open, folder: Path) -> None:
    client = open_service()
    client.invoke(Order("held", waits="never").payload())
    wait_until(lambda: files(folder, "started-held-*"))
    [started] = files(folder, "started-held-*")
    os.kill(json.loads(started.read_text())["pid"], signal.SIGKILL)
    assert notice(folder)["reason"] == "killed by signal 9 (SIGKILL)"
    run(client, folder, "next")


def test_a_worker_killed_while_idle_is_replaced_without_a_notice(open_service: Open, folder: Path) -> None:
    client = open_service()
    run(client, folder, "first")
    wait_until(lambda: status_of(client).running == 0)
    [worker] = status_of(client).workers
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: status_of(client).workers == ())
    run(client, folder, "next")
    assert files(folder, "notice-*") == []


def test_an_invocation_beyond_its_time_is_killed_and_said_to_be(open_service: Open, folder: Path) -> None:
    client = open_service(seconds=2.0)
    client.invoke(Order("long", waits="never").payload())
    assert notice(folder)["reason"] == "ran longer than 2 seconds"
    assert status_of(client).died == 1


def test_a_process_that_a_killed_invocation_started_ends_with_it(open_service: Open, folder: Path) -> None:
    client = open_service()
    client.invoke(Order("parent", spawns=True, waits="never").payload())
    wait_until(lambda: files(folder, "spawned-parent-*"))
    [spawned] = files(folder, "spawned-parent-*")
    [worker] = status_of(client).workers
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: gone(int(spawned.read_text())))


def test_a_killed_service_takes_all_processes_along_and_the_next_call_starts_another(open_service: Open, folder: Path) -> None:
    client = open_service()
    client.invoke(Order("held", spawns=True, waits="never").payload())
    client.invoke(Order("asleep", sleeps=3600.0).payload())
    wait_until(lambda: len(files(folder, "started-*")) == 2 and files(folder, "spawned-*"))
    before = status_of(client)
    assert len(before.workers) == 2
    os.kill(before.pid, signal.SIGKILL)
    wait_until(lambda: all_gone(before))
    wait_until(lambda: gone(int(files(folder, "spawned-*")[0].read_text())))
    run(client, folder, "next")
    assert status_of(client).pid != before.pid


def test_workers_whose_service_and_zygote_are_killed_together_end(open_service: Open, folder: Path) -> None:
    client = open_service()
    client.invoke(Order("held", waits="never").payload())
    wait_until(lambda: files(folder, "started-held-*"))
    before = status_of(client)
    os.kill(before.zygote, signal.SIGSTOP)
    os.kill(before.pid, signal.SIGKILL)
    os.kill(before.zygote, signal.SIGKILL)
    wait_until(lambda: all_gone(before))


def test_a_killed_zygote_takes_the_workers_along_and_is_replaced(open_service: Open, folder: Path) -> None:
    client = open_service()
    client.invoke(Order("held", waits="never").payload())
    wait_until(lambda: files(folder, "started-held-*"))
    before = status_of(client)
    os.kill(before.zygote, signal.SIGKILL)
    assert "killed by signal 9" in notice(folder)["reason"]
    wait_until(lambda: all(gone(pid) for pid in before.workers))
    run(client, folder, "next")
    assert status_of(client).pid == before.pid


STARTER = """
import sys
from pathlib import Path
from smr_notebook.backends.local.client import LocalFunctions
from smr_notebook.backends.local.news import NewsClock
from smr_notebook.testing.handlers import Order
workspace, folder, name = sys.argv[1:]
client = LocalFunctions(Path(workspace), handler="smr_notebook.testing.handlers:record", location=folder, workers=2, preload=())
client.invoke(Order(name).payload())
print(client.status().pid)
client.close()
"""


def test_processes_that_start_the_service_at_once_end_with_one(open_service: Open, workspace: Path, folder: Path) -> None:
    open_service()
    names = [f"from{number}" for number in range(4)]
    starters = [
        subprocess.Popen([sys.executable, "-c", STARTER, str(workspace), str(folder), name], stdout=subprocess.PIPE, text=True)
        for name in names
    ]
    pids = {starter.communicate(timeout=60)[0] for starter in starters}
    assert [starter.returncode for starter in starters] == [0] * 4
    assert len(pids) == 1
    wait_until(lambda: len(files(folder, "ended-from*")) == 4)


def test_an_idle_service_ends_and_leaves_no_process_no_socket_and_no_lock(open_service: Open, workspace: Path, folder: Path) -> None:
    client = open_service(idle_seconds=0.2)
    client.invoke(Order("last", waits="go").payload())
    before = status_of(client)
    (folder / "go").touch()
    wait_until(lambda: all_gone(before))
    address = find_address(workspace, RECORD, environment())
    assert not address.socket.exists()
    assert not address.lock.exists()
    run(client, folder, "next")


def test_sigterm_ends_the_service_and_its_workers(open_service: Open, folder: Path) -> None:
    client = open_service()
    client.invoke(Order("held", waits="never").payload())
    wait_until(lambda: files(folder, "started-held-*"))
    before = status_of(client)
    os.kill(before.pid, signal.SIGTERM)
    wait_until(lambda: all_gone(before))
    assert client.status() is None


def test_shutdown_ends_a_service_at_work_and_needs_none(open_service: Open, folder: Path) -> None:
    client = open_service()
    client.shutdown()
    client.invoke(Order("held", waits="never").payload())
    before = status_of(client)
    client.shutdown()
    wait_until(lambda: all_gone(before))
    assert client.status() is None


def test_two_sessions_share_the_service_of_a_workspace(open_service: Open, folder: Path) -> None:
    first, second = open_service(), open_service(workers=5)
    run(first, folder, "one")
    run(second, folder, "two")
    assert status_of(first).pid == status_of(second).pid
    assert second.limits.concurrency == 2


def test_limits_start_nothing(open_service: Open) -> None:
    client = open_service(workers=3)
    assert client.limits.concurrency == 3
    assert client.status() is None


def test_services_of_two_environments_run_side_by_side(open_service: Open, workspace: Path, folder: Path) -> None:
    """A handler of another name stands for another environment: either makes another address."""
    first, second = open_service(), open_service(handler=NOTHING)
    run(first, folder, "one")
    second.invoke(b"")
    wait_until(lambda: status_of(second).ended == 1)
    run(first, folder, "two")
    assert status_of(first).pid != status_of(second).pid
    assert find_address(workspace, RECORD, environment()) != find_address(workspace, NOTHING, environment())


FORKER = """
import os, sys
from pathlib import Path
from smr_notebook.backends.local.client import LocalFunctions
from smr_notebook.backends.local.news import NewsClock
from smr_notebook.testing.handlers import Order
workspace, folder = sys.argv[1:]
client = LocalFunctions(Path(workspace), handler="smr_notebook.testing.handlers:record", location=folder, workers=2, preload=())
client.invoke(Order("parent").payload())
pid = os.fork()
for _ in range(20):
    client.invoke(Order("child" if pid == 0 else "parent").payload())
client.close()
if pid:
    sys.exit(os.waitpid(pid, 0)[1])
"""


def test_a_forked_child_makes_its_own_connection(open_service: Open, workspace: Path, folder: Path) -> None:
    open_service()
    subprocess.run([sys.executable, "-c", FORKER, str(workspace), str(folder)], check=True, timeout=60)
    wait_until(lambda: len(files(folder, "ended-child-*")) == 20)
    wait_until(lambda: len(files(folder, "ended-parent-*")) == 21)


def test_a_thousand_calls_of_nothing_all_end(open_service: Open) -> None:
    client = open_service(handler=NOTHING)
    for _ in range(1_000):
        client.invoke(b"")
    wait_until(lambda: status_of(client).ended == 1_000)
    assert len(status_of(client).workers) <= 2


def test_a_call_that_does_not_end_holds_none_up(open_service: Open, folder: Path) -> None:
    """Calls may be handed to the worker that runs it: they run elsewhere then, be it left alone or killed."""
    client = open_service(tenant=SOMEBODY)
    for number in range(40):
        client.invoke(Order(f"before{number}").payload())
    client.invoke(Order("held", waits="never").payload())
    for number in range(200):
        client.invoke(Order(f"behind{number}").payload())
    wait_until(lambda: len({path.name.split("-")[1] for path in files(folder, "ended-b*")}) == 240)
    [started] = files(folder, "started-held-*")
    os.kill(json.loads(started.read_text())["pid"], signal.SIGKILL)
    assert json.loads(notice(folder)["failed"])["name"] == "held"
    run(client, folder, "next")


def test_who_calls_from_inside_is_not_answered_and_loses_nothing(open_service: Open, workspace: Path, folder: Path) -> None:
    run(open_service(), folder, "first")
    inside = LocalFunctions(workspace, handler=RECORD, location=str(folder), workers=2, preload=(), inside=True)
    for number in range(200):
        inside.invoke(Order(f"post{number}").payload())
    wait_until(lambda: len(files(folder, "ended-post*")) == 200)
    inside.close()


def test_a_service_with_tenants_keeps_workers_ready_and_each_tenant_its_own(open_service: Open, folder: Path) -> None:
    client = open_service(tenant=SOMEBODY)
    run(client, folder, "first")
    wait_until(lambda: len(status_of(client).workers) == 3)  # the one that ran, and a spare for each slot
    spares = set(status_of(client).workers) - {json.loads(files(folder, "started-first-*")[0].read_text())["pid"]}
    client.invoke(Order("long", waits="end").payload())
    run(client, folder, "second")
    assert json.loads(files(folder, "started-second-*")[0].read_text())["pid"] in spares
    (folder / "end").touch()


def test_a_worker_that_cannot_be_warmed_up_says_so_in_the_log_and_works(open_service: Open, workspace: Path, folder: Path) -> None:
    client = open_service(tenant=SOMEBODY, warm="smr_notebook.testing.handlers:unready")
    run(client, folder, "one")
    wait_until(lambda: "is not ready" in (workspace / "service.log").read_text())
    assert files(folder, "notice-*") == []


def test_who_sleeps_outside_is_woken_by_the_end_of_a_call_of_nobody(open_service: Open, folder: Path) -> None:
    client = open_service()
    run(client, folder, "first")
    clock = NewsClock(client.find)
    clock.sleep(0.0)  # from here on it listens
    client.invoke(Order("news").payload())
    clock.sleep(3600.0)
    wait_until(lambda: files(folder, "ended-news-*"))
    client.shutdown()
    clock.sleep(0.01)  # nobody answers, and time passes


def test_the_zygote_has_one_thread_when_it_forks(workspace: Path, folder: Path) -> None:
    client = LocalFunctions(workspace, handler=RECORD, location=str(folder), workers=1)
    try:
        run(client, folder, "one")
        assert psutil.Process(status_of(client).zygote).num_threads() == 1
    finally:
        client.shutdown()


def test_workers_are_used_again(open_service: Open, folder: Path) -> None:
    client = open_service(workers=1)
    for name in ("one", "two", "three"):
        run(client, folder, name)
    assert len({json.loads(path.read_text())["pid"] for path in files(folder, "started-*")}) == 1


def test_workers_beyond_the_slots_and_one_sleeper_are_let_go(open_service: Open, folder: Path) -> None:
    client = open_service(workers=1)
    for _ in range(5):
        client.invoke(Order("sleeper", sleeps=3600.0).payload())
    wait_until(lambda: status_of(client).sleeping == 5)
    run(client, folder, "waker")
    wait_until(lambda: len(status_of(client).workers) == 2)  # one for the slot, one for a sleeper


def test_what_user_code_prints_goes_to_the_log(
    open_service: Open, workspace: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    client = open_service()
    client.invoke(Order("loud", ends="raises").payload())
    notice(folder)
    log = workspace / "service.log"
    wait_until(lambda: "as ordered" in log.read_text())
    assert capfd.readouterr() == ("", "")


def test_a_handler_that_cannot_be_imported_fails_and_says_so_in_the_log(open_service: Open, workspace: Path) -> None:
    client = open_service(handler="no_such_module:handle")
    client.invoke(b"{}")
    wait_until(lambda: status_of(client).failed == 2)
    assert "no_such_module" in (workspace / "service.log").read_text()


def test_a_service_that_cannot_start_is_an_error_with_the_log(workspace: Path) -> None:
    client = LocalFunctions(workspace, handler=RECORD, location="", preload=())
    address = find_address(workspace, RECORD, environment())
    address.socket.mkdir()
    try:
        with pytest.raises(ServiceError, match=r"did not start.*service\.log"):
            client.invoke(b"{}")
    finally:
        address.socket.rmdir()
        address.lock.unlink(missing_ok=True)


def test_the_socket_lies_in_a_private_folder_of_short_name(workspace: Path) -> None:
    deep = workspace / ("long" * 30) / ("path" * 30)
    address = find_address(deep, RECORD, environment())
    assert len(os.fsencode(address.socket)) <= 100
    assert stat.S_IMODE(address.socket.parent.stat().st_mode) == 0o700


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    first = take_lock(tmp_path / "lock")
    assert first is not None
    assert take_lock(tmp_path / "lock") is None
    os.close(first)
    second = take_lock(tmp_path / "lock")
    assert second is not None
    os.close(second)


def test_what_a_killed_service_left_is_swept_and_what_a_living_one_holds_is_not(tmp_path: Path) -> None:
    for name in ("dead.sock", "dead.lock", "living.sock"):
        (tmp_path / name).touch()
    held = take_lock(tmp_path / "living.lock")
    assert held is not None
    sweep(tmp_path)
    assert files(tmp_path, "*") == [tmp_path / "living.lock", tmp_path / "living.sock"]
    os.close(held)
