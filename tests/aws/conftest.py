"""AWS as the tests see it: an emulator, a proxy that makes its calls fail, and the variables that lead boto3 to them."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError

import smr_notebook as smr
from smr_notebook.backends.aws.clients import Clients
from smr_notebook.testing.cloud import Shape, deployed
from smr_notebook.testing.emulators import FaultProxy, aws_environment, emulator, fault_proxy
from smr_notebook.testing.lambdas.service import Service


@pytest.fixture(scope="session")
def ministack(ministack_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of an emulator that lives as long as the run. Tests share it: each uses names of its own."""
    with emulator(ministack_python, tmp_path_factory.mktemp("ministack")) as url:
        yield url


@pytest.fixture(scope="session")
def ministack_with_policies(ministack_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a second one, which enforces policies."""
    with emulator(ministack_python, tmp_path_factory.mktemp("policies"), auth=True) as url:
        yield url


@pytest.fixture(scope="session")
def session_faults(ministack: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultProxy]:
    """The proxy, for the whole run."""
    with fault_proxy(ministack, tmp_path_factory.mktemp("microburst")) as proxy:
        yield proxy


@pytest.fixture
def lead_to(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A function that leads boto3's own chain to an endpoint, here and in processes started here, until the test ends."""

    def lead_to(endpoint: str) -> None:
        for name, value in aws_environment(endpoint).items():
            if value is None:
                monkeypatch.delenv(name)
            else:
                monkeypatch.setenv(name, value)

    return lead_to


@pytest.fixture
def aws(ministack: str, lead_to: Callable[[str], None]) -> str:
    """Lead boto3 to the emulator; its URL."""
    lead_to(ministack)
    return ministack


@pytest.fixture
def faults(session_faults: FaultProxy, lead_to: Callable[[str], None]) -> Iterator[FaultProxy]:
    """Lead boto3 to the proxy before the emulator, without rules; the proxy."""
    session_faults.set()
    lead_to(session_faults.url)
    yield session_faults
    session_faults.set()


@pytest.fixture(scope="session")
def made_clients() -> dict[str, Clients]:
    """The clients made so far, by endpoint: to make some takes longer than most tests."""
    return {}


@pytest.fixture
def clients(made_clients: dict[str, Clients]) -> Clients:
    """Clients of whatever the test was led to."""
    return made_clients.setdefault(os.environ["AWS_ENDPOINT_URL"], Clients())


@pytest.fixture
def bucket(clients: Clients) -> str:
    """An empty bucket of the test's own, where it was led to."""
    name = f"b-{uuid4().hex}"
    clients["s3"].create_bucket(Bucket=name)
    return name


class _Raw(io.BytesIO):
    """A body as botocore reads it."""

    def stream(self) -> Iterator[bytes]:
        yield self.read()


class Hooks:
    """Faults that the proxy cannot make, done where a client sends. Each returns a list that grows by the URL of each call it met."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def lose_replies(self, client: Any, operation: str, times: int = 1) -> list[str]:
        """Break the connection after a call took effect."""

        def lose(request: Any) -> None:
            client._endpoint.http_session.send(request)
            raise ConnectionClosedError(endpoint_url=request.url)

        return self._hook(client, operation, lose, after=0, times=times)

    def refuse(self, client: Any, operation: str, code: str, status: int, *, after: int = 0, times: int = 1) -> list[str]:
        """Answer calls with an error of S3, but for the first so many, without sending them."""

        def refuse(request: Any) -> AWSResponse:
            body = f"<Error><Code>{code}</Code><Message>Words of S3.</Message></Error>"
            return AWSResponse(request.url, status, {"Content-Type": "application/xml"}, _Raw(body.encode()))

        return self._hook(client, operation, refuse, after=after, times=times)

    def note(self, client: Any, operation: str) -> list[str]:
        """Let calls pass."""
        return self._hook(client, operation, lambda _: None, after=0, times=1000)

    def end(self) -> None:
        """Take all of them off."""
        self._stack.close()

    def _hook(self, client: Any, operation: str, act: Callable[[Any], object], *, after: int, times: int) -> list[str]:
        event = f"before-send.{client.meta.service_model.service_id.hyphenize()}.{operation}"
        seen, met = [], list[str]()

        def hook(request: Any, **_: object) -> object:
            seen.append(request.url)
            if len(seen) <= after or len(met) == times:
                return None
            met.append(request.url)
            return act(request)

        client.meta.events.register(event, hook)
        self._stack.callback(client.meta.events.unregister, event, hook)
        return met


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    """Faults where a client sends, until the test ends."""
    hooks = Hooks()
    yield hooks
    hooks.end()


@pytest.fixture
def deploy(
    aws: str, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., AbstractContextManager[tuple[smr.Session, Service]]]:
    """Deploys under a name of its own, and opens a session on it."""

    @contextmanager
    def deploy(shape: Shape | None = None) -> Iterator[tuple[smr.Session, Service]]:
        named = replace(shape or Shape(), stack=f"s{uuid4().hex[:12]}")
        with deployed(aws, clients, named) as service:
            for name, value in service.access.items():
                monkeypatch.setenv(name, value)
            yield smr.Session("aws", stack=named.stack), service

    return deploy
