"""A Redis on this machine: a real server on a free port of the loopback device, that ends with its `with` block.

::

    with redis_server(folder) as server:
        Session(settings={"exchange": "redis", "redis_url": server.url})

Needs `redis-server` (Debian has it under that name) and redis-py, and no test library.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from smr_notebook.testing.waiting import wait_until

_LOOPBACK = "127.0.0.1"
_START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class RedisServer:
    """A running server.

    Attributes:
        port: Where it listens.
        password: What it asks for; empty for nothing.
    """

    port: int
    password: str = ""

    @property
    def address(self) -> str:
        """Where it is, without credentials."""
        return f"redis://{_LOOPBACK}:{self.port}/0"

    @property
    def url(self) -> str:
        """Where it is, with them."""
        return f"redis://:{self.password}@{_LOOPBACK}:{self.port}/0" if self.password else self.address


def found() -> bool:
    """Whether there is a program to run."""
    return shutil.which("redis-server") is not None


@contextmanager
def redis_server(folder: Path, *options: str, password: str = "") -> Iterator[RedisServer]:
    """Run a server until the block ends.

    Args:
        folder: Where it writes its log.
        options: Of its command line: `--maxmemory 10mb`.
        password: What it asks for.

    Raises:
        RuntimeError: It does not start; the end of its log says why.
    """
    folder.mkdir(parents=True, exist_ok=True)
    server = RedisServer(_free_port(), password)
    secret = ["--requirepass", password] if password else []
    command = ["redis-server", "--bind", _LOOPBACK, "--port", str(server.port), "--dir", str(folder), "--save", "", "--appendonly", "no"]
    log = folder / "log"
    with log.open("ab") as output, subprocess.Popen([*command, *secret, *options], stdout=output, stderr=output) as process:
        try:
            wait_until(lambda: process.poll() is not None or _listens(server.port), _START_SECONDS)
            if process.poll() is not None:
                raise RuntimeError(f"redis-server ended with {process.returncode}:\n{log.read_text(errors='replace')[-2000:]}")
            yield server
        finally:
            process.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    try:
        with socket.create_connection((_LOOPBACK, port), timeout=1):
            return True
    except OSError:
        return False
