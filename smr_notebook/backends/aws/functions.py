"""Lambda as a function service: a function for each route, called with events, whose failures come back by a queue.

Rules of this module:

* `invoke` returns when Lambda has taken the event. What becomes of it is told by the queue (see `events`), best effort.
* A payload beyond what Lambda bills as one request is refused: it should be a pointer.
* An event that Lambda cannot run at once waits a second, then two, then four …: so slow a queue is none (`queue_seconds` is 0),
  and nothing should be called beyond the concurrency. What waits too long is dropped, and told.
* `limits` is read once, where somebody asks. Who is not on Lambda asks the workers for their environment, too: they must start for that.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from typing import Any, Final, TypeVar

import msgspec

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.events import reason_of, stamp_request
from smr_notebook.backends.aws.faults import BOTO_ERRORS, code_of, told
from smr_notebook.backends.aws.names import LARGE, WORKERS, Names
from smr_notebook.environment import environment
from smr_notebook.errors import AccessDeniedError, DeploymentError, PayloadTooLargeError, ServiceError, SmrError, ThrottledError
from smr_notebook.model import Environment
from smr_notebook.ports import Advice, Clock, ServiceLimits

T = TypeVar("T")

PAYLOAD_BYTES: Final = 256 << 10
"""Largest payload that Lambda bills as one request."""

BURST: Final = 1000
"""Environments of one function that Lambda starts at once."""

RAMP: Final = 100.0
STEP: Final = 10.0
"""How many more each second, and in which steps: Lambda adds 1000 every 10 seconds."""

OTHERS: Final = 4
"""Invocations besides the workers: the coordinator, the one that follows it, the driver, and who reads the queue of failures."""

QUOTA_REQUEST: Final = (
    "aws service-quotas request-service-quota-increase --service-code lambda --quota-code L-B99A9384 --desired-value 1000"
)
"""Asks for more concurrency."""

_MANY: Final = 1000
"""So much concurrency needs no advice."""

_NOT_READY: Final = frozenset(
    ("ResourceConflictException", "ResourceNotReadyException", "CodeArtifactUserPendingException", "ENINotReadyException")
)
_WAITS: Final = (0.5, 1.0, 2.0)
"""Seconds before a function that is being deployed, or woken after weeks, is called again."""

_REASON_CHARACTERS: Final = 400


class LambdaFunctions:
    """Calls the functions of a deployment; implements `ports.FunctionService`.

    Args:
        clients: Where the deployment is, and who we are.
        names: What its parts are called.
        route: Says which function a payload is for: one of `names.ROUTES`.
        clock: Waits for functions that are not ready yet.
        extras: Names of packages whose versions the workers are asked for besides.
    """

    def __init__(
        self, clients: Clients, names: Names, *, route: Callable[[bytes], str], clock: Clock, extras: tuple[str, ...] = ()
    ) -> None:
        self._clients = clients
        self._names = names
        self._route = route
        self._clock = clock
        self._extras = extras

    @cached_property
    def limits(self) -> ServiceLimits:
        """What the account and the deployment take.

        Raises:
            DeploymentError: The functions are not there, or do not start.
            PlatformError: Lambda cannot be asked.
        """
        names = [self._names.function(route) for route in WORKERS]
        doing = f"reading the settings of {' and '.join(names)}"
        configurations = self._ask(lambda client: [client.get_function_configuration(FunctionName=name) for name in names], doing=doing)
        reserved = self._ask(lambda client: [client.get_function_concurrency(FunctionName=name) for name in names], doing=doing)
        account = self._ask(lambda client: client.get_account_settings(), doing="reading the limits of the account")
        memory = min(found["MemorySize"] for found in configurations)
        concurrency, advice = self._concurrency(account, [found.get("ReservedConcurrentExecutions") for found in reserved])
        return ServiceLimits(
            payload_bytes=PAYLOAD_BYTES,
            seconds=float(min(found["Timeout"] for found in configurations)),
            concurrency=concurrency,
            queue_seconds=0.0,
            memory_bytes=memory << 20,
            memory_sizes=tuple(size << 20 for size in (memory, *self._larger_than(memory))),
            environment=environment() if "AWS_LAMBDA_FUNCTION_NAME" in os.environ else self._stamp(),
            burst=float(min(BURST, concurrency)),
            ramp=RAMP,
            step=STEP,
            advice=Advice(advice, f"`{self._deploy}` gives the workers the packages of this notebook.", f"{self._deploy} {{options}}"),
        )

    def _larger_than(self, memory: int) -> list[int]:
        """Return the memory of the larger workers in MB, if there are any: deployments of older versions have none."""
        names = [self._names.function(route) for route in LARGE]
        try:
            found = self._ask(
                lambda client: [client.get_function_configuration(FunctionName=name) for name in names], doing="reading sizes"
            )
        except (DeploymentError, AccessDeniedError):
            return []
        return [size for size in [min(each["MemorySize"] for each in found)] if size > memory]

    def invoke(self, payload: bytes) -> None:
        """Have Lambda take one event. See `ports.FunctionService.invoke`."""
        if len(payload) > PAYLOAD_BYTES:
            raise PayloadTooLargeError(
                f"A payload of {len(payload):,} bytes exceeds the {PAYLOAD_BYTES:,} that Lambda bills as one request. "
                "Store it, and send its key."
            )
        self._call(self._route(payload), payload, kind="Event")

    @property
    def _deploy(self) -> str:
        return f"smr deploy --stack {self._names.stack} --region {self._names.region}"

    @property
    def _quota_request(self) -> str:
        return f"{QUOTA_REQUEST} --region {self._names.region}"

    def _concurrency(self, account: Any, reserved: list[int | None]) -> tuple[int, str]:
        """Return how many workers may run at once, and what helps if they are few."""
        shared = max(account["AccountLimit"]["UnreservedConcurrentExecutions"] - OTHERS, 1)
        concurrency = max(min(shared if own is None else own for own in reserved), 1)
        if concurrency >= _MANY:
            return concurrency, ""
        if any(own == concurrency for own in reserved):
            return concurrency, f"More can be reserved for them: `{self._deploy} --reserved N`."
        return (
            concurrency,
            f"The account allows no more in {self._names.region}; ask for it: `{self._quota_request}`.",
        )

    def _stamp(self) -> Environment:
        """Return the environment of the workers, as they say themselves."""
        answer, failed = self._call("driver", stamp_request(self._extras), kind="RequestResponse")
        name = self._names.function("driver")
        try:
            if not failed:
                return msgspec.json.decode(answer, type=Environment)
            reason = " ".join(reason_of(msgspec.json.decode(answer)).split())[:_REASON_CHARACTERS]
        except msgspec.MsgspecError:
            reason = f"it answers {answer[:_REASON_CHARACTERS]!r}"
        raise DeploymentError(f"The function {name} does not start: {reason.rstrip('.')}. `{self._deploy}` makes its image anew.")

    def _call(self, route: str, payload: bytes, *, kind: str) -> tuple[bytes, bool]:
        """Call a function, and return its answer and whether that is an error of its own."""
        name = self._names.function(route)

        def call(client: Any) -> tuple[bytes, bool]:
            answer = client.invoke(FunctionName=name, InvocationType=kind, Payload=payload)
            return answer["Payload"].read(), "FunctionError" in answer

        return self._ask(call, doing=f"calling {name}")

    def _ask(self, ask: Callable[[Any], T], *, doing: str) -> T:
        waits = iter(_WAITS)
        while True:
            try:
                return ask(self._clients["lambda"])
            except BOTO_ERRORS as error:
                wait = next(waits, None) if code_of(error) in _NOT_READY else None
                if wait is None:
                    raise self._told(error, doing) from None
                self._clock.sleep(wait)

    def _told(self, error: Exception, doing: str) -> SmrError:
        code, tried = code_of(error), f"{doing[:1].upper()}{doing[1:]} failed"
        if code in _NOT_READY:
            text = f"{tried}: the function is being deployed or woken ({code}). Try again in a minute."
            return ThrottledError(text)
        if code == "ResourceNotFoundException":
            text = f"{tried}: there is no such function in {self._names.region}."
            return DeploymentError(f"{text} Check the stack, the region and AWS_PROFILE, or make it with `{self._deploy}`.")
        if code == "TooManyRequestsException" and getattr(error, "operation_name", "") == "Invoke":
            text = f"{tried}: all that may run at once in {self._names.region} does ({code})."
            return ThrottledError(f"{text} Try again later, or ask for more: `{self._quota_request}`.")
        return told(error, doing, unreachable=ServiceError)
