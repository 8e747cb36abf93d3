"""What Lambda as a function service says of itself, and what it says when it cannot be called."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.functions import OTHERS, PAYLOAD_BYTES, LambdaFunctions
from smr_notebook.backends.aws.names import LARGE, ROUTES, WORKERS, Names
from smr_notebook.backends.memory.clock import SimulatedClock
from smr_notebook.environment import environment
from smr_notebook.errors import AccessDeniedError, DeploymentError, PayloadTooLargeError, ServiceError, SmrError, ThrottledError
from smr_notebook.testing.handlers import Order
from smr_notebook.testing.lambdas.service import Service, lambda_service
from smr_notebook.testing.lambdas.settings import ACCOUNT, REGION, Faults, Function, Refusal
from smr_notebook.testing.waiting import wait_until

NAMES = Names("smr", ACCOUNT, REGION)
HANDLER = "smr_notebook.testing.lambdas.recorder.handler"

Deploy = Callable[..., Service]


@pytest.fixture
def deploy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Deploy]:
    """Start a service with the functions of a deployment, that boto3 finds."""
    with ExitStack() as stack:

        def deploy(
            *, routes: tuple[str, ...] = ROUTES, account: int = 100, faults: Faults | None = None, handler: str = HANDLER, **settings: Any
        ) -> Service:
            functions = [
                Function(
                    NAMES.function(route),
                    handler,
                    environment={"SMR_LOCATION": str(tmp_path)},
                    seconds=600.0,
                    memory_mb=3538 if route in LARGE else 1769,
                    reserved=settings.get(route),
                )
                for route in routes
            ]
            service = stack.enter_context(lambda_service(functions, account_limit=account, faults=faults))
            for name, value in service.access.items():
                monkeypatch.setenv(name, value)
            return service

        yield deploy


def functions(route: str = "mapper", extras: tuple[str, ...] = ()) -> LambdaFunctions:
    return LambdaFunctions(Clients(retries=1), NAMES, route=lambda payload: route, clock=SimulatedClock(), extras=extras)


def test_limits_are_those_of_the_deployment_and_of_its_workers(deploy: Deploy) -> None:
    deploy(account=2000)
    limits = functions().limits
    assert (limits.payload_bytes, limits.seconds, limits.memory_bytes) == (PAYLOAD_BYTES, 600.0, 1769 << 20)
    assert limits.memory_sizes == (1769 << 20, 3538 << 20)
    assert (limits.concurrency, limits.queue_seconds) == (2000 - OTHERS, 0.0)
    assert (limits.burst, limits.ramp) == (1000.0, 100.0)
    assert limits.environment == environment()
    assert limits.advice.concurrency == ""
    assert "smr deploy --stack smr --region us-east-1" in limits.advice.environment
    assert limits.advice.requirements.format(options="--requirement x").endswith("us-east-1 --requirement x")


def test_a_deployment_without_larger_workers_has_one_size(deploy: Deploy) -> None:
    deploy(routes=("driver", "coordinator", *WORKERS))
    assert functions().limits.memory_sizes == (1769 << 20,)


@pytest.mark.parametrize(
    ("account", "reserved", "concurrency", "advice"),
    [
        (10, {}, 10 - OTHERS, "`aws service-quotas request-"),
        (3, {}, 1, "`aws service-quotas request-"),
        (1000, {"mapper": 20, "reducer": 30}, 20, "smr deploy --stack smr --region us-east-1 --reserved N"),
        (100, {"mapper": 80}, 20 - OTHERS, "`aws service-quotas request-"),
        (1000, {"coordinator": 400}, 600 - OTHERS, "`aws service-quotas request-"),
    ],
)
def test_concurrency_is_what_the_workers_get_at_least(
    deploy: Deploy, account: int, reserved: dict[str, int], concurrency: int, advice: str
) -> None:
    deploy(account=account, **reserved)
    limits = functions().limits
    assert limits.concurrency == concurrency
    assert limits.burst == concurrency
    assert advice in limits.advice.concurrency


def test_who_runs_on_lambda_asks_no_function_for_its_environment(deploy: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    service = deploy()
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", NAMES.function("coordinator"))
    assert functions().limits.environment == environment()
    assert service.status().counts["cold"] == 0


def test_the_workers_are_asked_for_further_packages_by_name(deploy: Deploy) -> None:
    deploy()
    extras = ("boto3", "no-such-package")
    stamp = functions(extras=extras).limits.environment
    assert stamp == environment(extras)
    assert "boto3" in dict(stamp.packages)


def test_limits_are_read_once(deploy: Deploy) -> None:
    service = deploy()
    asked = functions()
    assert asked.limits is asked.limits
    assert service.status().counts["cold"] == 1


def test_the_route_says_which_function_is_called(deploy: Deploy, tmp_path: Path) -> None:
    service = deploy()
    functions("reducer").invoke(Order("one").payload())
    wait_until(lambda: list(tmp_path.glob("ended-one-*")))
    assert [name for name, sandboxes in service.status().sandboxes.items() if sandboxes] == [NAMES.function("reducer")]


def test_a_payload_beyond_one_billed_request_is_refused_here() -> None:
    """Nobody is called: there is no service."""
    with pytest.raises(PayloadTooLargeError, match=r"262,145 bytes exceeds the 262,144"):
        functions().invoke(b" " * (PAYLOAD_BYTES + 1))


REFUSALS = [
    ("TooManyRequestsException", 429, ThrottledError, "Try again later"),
    ("RequestTooLargeException", 413, PayloadTooLargeError, "Send less at once"),
    ("RecursiveInvocationException", 400, DeploymentError, "RecursiveLoop: Allow"),
    ("KMSDisabledException", 502, DeploymentError, "Enable the key in KMS"),
    ("InvalidParameterValueException", 400, ServiceError, "Check the names in it"),
    ("ServiceException", 500, ServiceError, "Try again in a minute"),
    ("AccessDeniedException", 403, AccessDeniedError, "in the policy"),
]


@pytest.mark.parametrize(("code", "status", "error", "mend"), REFUSALS)
def test_a_refusal_says_what_it_means_and_what_helps(deploy: Deploy, code: str, status: int, error: type[SmrError], mend: str) -> None:
    deploy(faults=Faults(refusals=(Refusal("smr-mapper", code, status, times=9),)))
    with pytest.raises(error) as raised:
        functions().invoke(b"{}")
    text = str(raised.value)
    assert text.startswith("Calling smr-mapper failed: ")
    assert code in text
    assert mend in text
    assert type(raised.value) is error


@pytest.mark.parametrize("code", ["ResourceConflictException", "CodeArtifactUserPendingException"])
def test_a_function_that_is_not_ready_is_called_again_and_then_later(deploy: Deploy, tmp_path: Path, code: str) -> None:
    deploy(faults=Faults(refusals=(Refusal("smr-mapper", code, 409, times=5),)))
    with pytest.raises(ThrottledError, match=f"being deployed or woken .{code}.. Try again in a minute"):
        functions().invoke(Order("early").payload())
    functions().invoke(Order("late").payload())
    wait_until(lambda: list(tmp_path.glob("ended-late-*")))
    assert list(tmp_path.glob("started-early-*")) == []


def test_a_function_that_is_missing_says_how_to_deploy_it(deploy: Deploy) -> None:
    deploy(routes=("driver", "coordinator"))
    for use in (lambda: functions().invoke(b"{}"), lambda: functions().limits):
        with pytest.raises(DeploymentError, match=r"no such function in us-east-1.*`smr deploy --stack smr --region us-east-1`"):
            use()


def test_workers_that_cannot_start_say_why_in_one_line(deploy: Deploy) -> None:
    deploy(handler="nowhere.handler")
    with pytest.raises(DeploymentError) as raised:
        _ = functions().limits
    assert str(raised.value) == (
        "The function smr-driver does not start: Runtime.ImportModuleError: Unable to import module 'nowhere': No module named 'nowhere'. "
        "`smr deploy --stack smr --region us-east-1` makes its image anew."
    )


def test_workers_of_another_kind_are_no_workers_of_ours(deploy: Deploy) -> None:
    deploy(handler="json.dumps")
    with pytest.raises(DeploymentError, match="smr-driver does not start"):
        _ = functions().limits


def test_a_service_that_cannot_be_reached_is_said_to_be(monkeypatch: pytest.MonkeyPatch, deploy: Deploy) -> None:
    deploy()
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", "http://127.0.0.1:9")
    with pytest.raises(ServiceError, match="Calling smr-mapper failed"):
        functions().invoke(b"{}")
