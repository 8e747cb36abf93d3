"""The contract of a function service, as tests: subclass `FunctionServiceTests` and give it the fixture `service`.

The service under test runs `smr_notebook.testing.handlers.record` at the location that the fixture `folder` names, with at least two
and at most eight invocations at once. A service that queues calls and lets sleepers give their slot back, as those of this machine
do, passes `QueueingServiceTests` as well.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from smr_notebook.environment import environment
from smr_notebook.errors import PayloadTooLargeError
from smr_notebook.ports import FunctionService
from smr_notebook.testing.handlers import Order, in_files
from smr_notebook.testing.waiting import wait_until


class FunctionServiceTests:
    """What every adapter of `ports.FunctionService` holds when nothing is lost on the way."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """Where the handler leaves its files: the location of the service."""
        folder = tmp_path / "records"
        folder.mkdir()
        return folder

    def test_invoke_runs_the_payload_at_the_location(self, service: FunctionService, folder: Path) -> None:
        """The handler gets what was sent, and knows where it is."""
        service.invoke(Order("one").payload())
        wait_until(lambda: _files(folder, "ended-one-*"))

    def test_every_payload_runs_once_when_nothing_fails(self, service: FunctionService, folder: Path) -> None:
        """More calls than slots wait, and none is lost or doubled."""
        for number in range(40):
            service.invoke(Order(f"n{number:02d}").payload())
        wait_until(lambda: len(_files(folder, "ended-*")) == 40)
        assert sorted(name.split("-")[1] for name in _files(folder, "started-*")) == [f"n{number:02d}" for number in range(40)]

    def test_invoke_returns_before_the_handler_has_ended(self, service: FunctionService, folder: Path) -> None:
        """What the handler waits for happens after the call."""
        service.invoke(Order("slow", waits="go").payload())
        assert _files(folder, "ended-*") == []
        (folder / "go").touch()
        wait_until(lambda: _files(folder, "ended-slow-*"))

    def test_a_payload_beyond_the_limit_is_refused_and_one_at_the_limit_is_not(self, service: FunctionService, folder: Path) -> None:
        """The limit is what `limits` says it is."""
        limit = service.limits.payload_bytes
        payload = Order("full").payload()
        service.invoke(payload + b" " * (limit - len(payload)))
        with pytest.raises(PayloadTooLargeError):
            service.invoke(payload + b" " * (limit + 1 - len(payload)))
        wait_until(lambda: _files(folder, "ended-full-*"))

    @pytest.mark.parametrize("ends", ["raises", "leaves"])
    def test_an_invocation_that_raises_leads_to_exactly_one_notice(self, service: FunctionService, folder: Path, ends: str) -> None:
        """The notice carries the payload, the name of the invocation and the reason."""
        order = Order("bad", ends=ends)
        service.invoke(order.payload())
        wait_until(lambda: _files(folder, "notice-*"))
        service.invoke(Order("next").payload())
        wait_until(lambda: _files(folder, "ended-next-*"))
        [name] = _files(folder, "notice-*")
        [started] = _files(folder, "started-bad-*")
        notice = json.loads((folder / name).read_text())
        kind = {"raises": "ZeroDivisionError", "leaves": "SystemExit"}[ends]
        assert notice.keys() == {"failed", "invocation", "reason"}
        assert json.loads(notice["failed"]) == json.loads(order.payload())
        assert in_files(notice["invocation"]) in _names(started.removeprefix("started-bad-"))
        assert notice["reason"] == f"{kind}: as ordered"

    def test_a_notice_that_fails_itself_is_not_repeated(self, service: FunctionService, folder: Path) -> None:
        """Here the notice cannot be written, so that the handler raises again."""
        service.invoke(Order("bad", waits="go", ends="raises").payload())
        wait_until(lambda: _files(folder, "started-bad-*"))
        [started] = _files(folder, "started-bad-*")
        for name in _names(started.removeprefix("started-bad-")):
            (folder / f"notice-{name}").mkdir()
        (folder / "go").touch()
        wait_until(lambda: _files(folder, "told-*"))
        for number in range(5):
            service.invoke(Order(f"next{number}").payload())
            wait_until(lambda: _files(folder, f"ended-next{number}-*"))  # noqa: B023 - called before the next turn
        assert len(_files(folder, "told-*")) == 1

    def test_a_sleep_ends_by_itself(self, service: FunctionService, folder: Path) -> None:
        """Nothing else happens."""
        service.invoke(Order("nap", sleeps=0.01).payload())
        wait_until(lambda: _files(folder, "ended-nap-*"))

    def test_invocations_have_unique_names_and_a_deadline_ahead(self, service: FunctionService, folder: Path) -> None:
        """A lease is held under the name, so that no two may share it."""
        for _ in range(20):
            service.invoke(Order("same").payload())
        wait_until(lambda: len(_files(folder, "ended-same-*")) == 20)
        assert len(_files(folder, "started-same-*")) == 20
        for name in _files(folder, "started-same-*"):
            about = json.loads((folder / name).read_text())
            assert about["now"] < about["deadline"] <= about["now"] + service.limits.seconds
            assert about["memory_bytes"] == service.limits.memory_bytes

    def test_the_environment_is_ours(self, service: FunctionService) -> None:
        """Services of this machine run the interpreter that asks."""
        assert service.limits.environment == environment()


class QueueingServiceTests(FunctionServiceTests):
    """What a service holds besides that queues calls, and whose sleepers give their slot back."""

    def test_no_more_than_concurrency_run_at_once(self, service: FunctionService, folder: Path) -> None:
        """The slots are filled, and not more than that."""
        slots = service.limits.concurrency
        for _ in range(3 * slots):
            service.invoke(Order("held", waits="go").payload())
        wait_until(lambda: len(_files(folder, "started-held-*")) == slots)
        (folder / "go").touch()
        wait_until(lambda: len(_files(folder, "ended-held-*")) == 3 * slots)
        assert max(int((folder / name).read_text()) for name in _files(folder, "crowd-*")) <= slots

    def test_a_sleeper_is_woken_when_another_invocation_ends(self, service: FunctionService, folder: Path) -> None:
        """The sleeper would sleep for an hour."""
        service.invoke(Order("sleeper", sleeps=3600.0).payload())
        wait_until(lambda: _files(folder, "started-sleeper-*"))
        service.invoke(Order("other").payload())
        wait_until(lambda: _files(folder, "ended-sleeper-*"))

    def test_an_end_just_before_the_sleep_is_not_missed(self, service: FunctionService, folder: Path) -> None:
        """The other invocation has ended by the time at which the sleeper falls asleep."""
        for number in range(10):
            service.invoke(Order(f"sleeper{number}", sleeps=3600.0).payload())
            service.invoke(Order(f"other{number}").payload())
            wait_until(lambda: len(_files(folder, "ended-other*")) == number + 1)  # noqa: B023 - called before the next turn
        service.invoke(Order("last").payload())
        wait_until(lambda: len(_files(folder, "ended-sleeper*")) == 10)

    def test_sleepers_hold_no_slot(self, service: FunctionService, folder: Path) -> None:
        """Twice as many sleepers as slots, and still all the slots are free for others, which are held until they are seen."""
        slots = service.limits.concurrency
        for _ in range(2 * slots):
            service.invoke(Order("sleeper", sleeps=3600.0).payload())
        wait_until(lambda: len(_files(folder, "started-sleeper-*")) == 2 * slots)
        for _ in range(slots):
            service.invoke(Order("held", waits="go").payload())
        wait_until(lambda: len(_files(folder, "started-held-*")) == slots)
        (folder / "go").touch()
        wait_until(lambda: len(_files(folder, "ended-sleeper-*")) == 2 * slots)


def death_of(service: FunctionService, folder: Path, order: Order) -> tuple[str, dict[str, Any]]:
    """Call for an order whose process ends, and for another one, which runs; return the first one's name as in its file, and the notice."""
    service.invoke(order.payload())
    wait_until(lambda: _files(folder, "notice-*"))
    service.invoke(Order("next").payload())
    wait_until(lambda: _files(folder, "ended-next-*"))
    [started] = _files(folder, f"started-{order.name}-*")
    [notice] = _files(folder, "notice-*")
    told: dict[str, Any] = json.loads((folder / notice).read_text())
    return started.removeprefix(f"started-{order.name}-"), told


def _names(invocation: str) -> set[str]:
    """Return what a notice may call an invocation, as in names of files: by its whole name, or by its beginning."""
    return {invocation, invocation.partition("~")[0]}


def _files(folder: Path, pattern: str) -> list[str]:
    return sorted(path.name for path in folder.glob(pattern))
