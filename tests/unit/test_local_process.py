"""A worker of the local service, in a thread at the other end of a socket."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from smr_notebook.backends.local.process import _Worker
from smr_notebook.backends.local.wire import RUN_HEADER, SLEEP_BODY, Kind, Settings, pack, read_frame
from smr_notebook.testing.handlers import Order

SETTINGS = Settings(
    workspace="",
    handler="smr_notebook.testing.handlers:nothing",
    location="",
    workers=1,
    idle_seconds=1.0,
    seconds=1.0,
    memory_bytes=1 << 40,
    preload=(),
)


def call(payload: bytes) -> bytes:
    return pack(Kind.RUN, RUN_HEADER.pack(9e9, 1 << 30, 4) + b"name" + payload)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    service, worker = socket.socketpair()
    service.settimeout(20.0)
    yield service, worker
    service.close()
    worker.close()


def test_a_worker_that_grew_too_large_says_so_and_leaves(ends: tuple[socket.socket, socket.socket]) -> None:
    service, worker = ends
    service.sendall(call(b""))
    _Worker(worker, replace(SETTINGS, memory_bytes=1)).serve()
    assert read_frame(service) == (Kind.ENDED, b"\x01")


def test_a_worker_stays_for_the_next_call_until_the_service_hangs_up(ends: tuple[socket.socket, socket.socket]) -> None:
    service, worker = ends
    service.sendall(call(b"") + pack(Kind.WAKE) + call(b""))
    service.shutdown(socket.SHUT_WR)
    with pytest.raises(EOFError):
        _Worker(worker, SETTINGS).serve()
    assert [read_frame(service), read_frame(service)] == [(Kind.ENDED, b"\x00")] * 2


def test_a_sleep_says_so_and_is_ended_by_a_wake_up(ends: tuple[socket.socket, socket.socket], tmp_path: Path) -> None:
    service, worker = ends
    settings = replace(SETTINGS, handler="smr_notebook.testing.handlers:record", location=str(tmp_path), memory_bytes=1)
    thread = threading.Thread(target=_Worker(worker, settings).serve)
    thread.start()
    service.sendall(call(Order("sleeper", sleeps=3600.0).payload()))
    assert read_frame(service) == (Kind.SLEEP, SLEEP_BODY.pack(0.0))
    service.sendall(pack(Kind.WAKE))
    assert [read_frame(service)[0], read_frame(service)[0]] == [Kind.AWAKE, Kind.ENDED]
    thread.join()


def test_calls_that_come_while_one_sleeps_wait_for_their_turn(ends: tuple[socket.socket, socket.socket], tmp_path: Path) -> None:
    service, worker = ends
    settings = replace(SETTINGS, handler="smr_notebook.testing.handlers:record", location=str(tmp_path), memory_bytes=1)
    thread = threading.Thread(target=_Worker(worker, settings).serve)
    thread.start()
    service.sendall(call(Order("sleeper", sleeps=3600.0).payload()))
    assert read_frame(service)[0] is Kind.SLEEP
    service.sendall(call(Order("next").payload()) + pack(Kind.WAKE))
    assert [read_frame(service)[0], read_frame(service)] == [Kind.AWAKE, (Kind.ENDED, b"\x01")]
    thread.join()
    assert not list(tmp_path.glob("started-next-*")), "who leaves leaves the rest to others"
