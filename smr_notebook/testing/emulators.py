"""AWS on this machine: the emulator ministack, and microburst before it, which makes calls fail as AWS lets them fail.

Both are programs of their own, that answer on a free port of the loopback device alone and end with the `with` block that started them::

    with emulator("build/ministack/bin/python", folder) as url, fault_proxy(url, folder) as faults:
        os.environ.update(aws_environment(faults.url))
        faults.set({"service": "s3", "times": 2, "error": {"code": "SlowDown"}})

ministack pins its botocore, so it lives in an environment of its own and its Python is named; microburst is installed beside us.
Needs no test library.

Where they are not AWS, as far as it matters here: ministack takes parts of less than 5 MiB, payloads of any size, templates whose
properties it then ignores, and two notifications of a bucket for the same objects, and it replaces nothing in the input of a schedule.
microburst takes `UploadPart` for `PutObject` and `CompleteMultipartUpload` for `CreateMultipartUpload`, sends whole objects without their
length, a HEAD too, and cannot lose a reply within reasonable time.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from smr_notebook.testing.waiting import wait_until

_START_SECONDS = 60.0
_END_SECONDS = 10.0
_LOOPBACK = "127.0.0.1"
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@contextmanager
def emulator(python: str | Path, folder: Path, *, auth: bool = False) -> Iterator[str]:
    """Run ministack, and give the URL of its endpoint.

    Args:
        python: A Python that can `-m ministack`.
        folder: Where it writes its log and its temporary files.
        auth: Whether policies are enforced.

    Raises:
        RuntimeError: It does not start; the end of its log says why.
    """
    name = "ministack-auth" if auth else "ministack"
    port = _free_port()
    settings = {
        "GATEWAY_PORT": str(port),
        "BIND_HOST": _LOOPBACK,
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "AUTH": "true" if auth else "false",
        "LOG_LEVEL": "WARNING",
    }
    url = f"http://{_LOOPBACK}:{port}"
    command = [str(python), "-m", "ministack"]
    with _running(command, folder / name, settings=settings, answers=f"{url}/_ministack/ready", patience=_END_SECONDS):
        yield url


def reset(endpoint: str) -> None:
    """Make an emulator forget everything."""
    _call(f"{endpoint}/_ministack/reset", "POST")


class FaultProxy:
    """A running microburst.

    Attributes:
        url: Where clients reach it.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def set(self, *rules: Mapping[str, Any]) -> None:
        """Replace the rules, and forget what has fired. A rule says `times` or `sequence`, so that a run repeats exactly."""
        _call(f"{self.url}/_microburst/rules", "POST", rules)
        _call(f"{self.url}/_microburst/fired", "DELETE")

    def fired(self) -> list[str]:
        """Return which operation met which fault, in order: `PutObject error:SlowDown`."""
        return [f"{event['operation']} {event['action']}" for event in json.loads(_call(f"{self.url}/_microburst/fired", "GET"))]


@contextmanager
def fault_proxy(upstream: str, folder: Path) -> Iterator[FaultProxy]:
    """Run microburst before an endpoint.

    Args:
        upstream: URL of the endpoint.
        folder: Where it writes its log.

    Raises:
        RuntimeError: It does not start.
    """
    port = _free_port()
    url = f"http://{_LOOPBACK}:{port}"
    command = [sys.executable, "-m", "microburst", "--upstream", upstream, "--host", _LOOPBACK, "--port", str(port), "--no-resign"]
    with _running(command, folder / "microburst", settings={}, answers=f"{url}/_microburst/health", patience=0):
        yield FaultProxy(url)


def aws_environment(endpoint: str) -> dict[str, str | None]:
    """Return the variables with which boto3's own chain finds an endpoint and nothing else; `None` where a variable must not be set."""
    unset = [name for name in os.environ if name.startswith(("AWS_", "BOTO_"))]
    return {
        **dict.fromkeys(unset),
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "NO_PROXY": f"{_LOOPBACK},localhost",
    }


@contextmanager
def _running(command: Sequence[str], folder: Path, *, settings: Mapping[str, str], answers: str, patience: float) -> Iterator[None]:
    """Run a server until the block ends, with all that it starts; the block begins when the URL `answers` does.

    It has so many seconds of `patience` to end what it started itself.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SMR_", "PYTHON"))}
    environment = {**kept, **settings, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}
    log = folder / "log"
    with (
        log.open("ab") as output,
        subprocess.Popen(command, stdout=output, stderr=output, cwd=folder, env=environment, start_new_session=True) as process,
    ):
        try:
            wait_until(lambda: process.poll() is not None or _answers(answers), _START_SECONDS)
            if process.poll() is not None:
                raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{log.read_text(errors='replace')[-2000:]}")
            yield
        finally:
            _end(process, patience)


def _end(process: subprocess.Popen[bytes], patience: float) -> None:
    """End a process and its children, which are a group of their own."""
    if patience:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        _call(url, "GET")
    except OSError:
        return False
    return True


def _call(url: str, method: str, body: object = None) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    headers = {} if data is None else {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310 - to the loopback device
    with _DIRECT.open(request, timeout=10) as answer:
        return bytes(answer.read())
