"""What Lambda hands to a function, as calls of the handler: an invocation, or messages of the queue of failures.

Rules of this module:

* An event is a payload, word for word, unless it has `Records`. Those of S3 tell of objects that appeared, and each becomes the call of a
  trigger as `ports.Triggers` describes it. All others are messages from the queue to which Lambda sends the events that it gave up, and
  become notices as `ports.FunctionService.invoke` describes them.
* Of two notifications of one upload the bucket, the key, the version and the sequencer agree. So these are its occurrence.
* Notices are best effort: one that cannot be told is written to the log, and leases expire.
* Lambda may run an event twice under the same request id. So a name has that id first, and then something that is used once.
* What `stamp_request` makes asks for the environment of the function, and runs nothing.
"""

from __future__ import annotations

import json
import re
import secrets
import sys
import time
from typing import Any, Final, Protocol
from urllib.parse import unquote_plus

import msgspec

from smr_notebook.backends.aws.names import trigger_of
from smr_notebook.backends.tenants import Invocation, InvocationFailedError, MemoryEndedError, ProcessEndedError, Tenants
from smr_notebook.environment import environment

_STAMP: Final = {"v": 1, "role": "stamp"}

TRACED: Final = ("_X_AMZN_TRACE_ID",)
"""Variable by which the SDK passes on what Lambda traces: it changes with each invocation."""

_PREFIX: Final = re.compile(r"^(RequestId: \S+ (Error: )?|\d{4}-\S+Z \S+ )")
"""What Lambda puts before its own words."""

_TIME_OUT: Final = re.compile(r"Task timed out after [0-9.]+ seconds")
_NO_MEMORY: Final = "Runtime.OutOfMemory"
_DEATHS: Final = frozenset((ProcessEndedError.__name__, MemoryEndedError.__name__))
_OURS: Final = _DEATHS | {InvocationFailedError.__name__}
_OF_MEMORY: Final = frozenset((MemoryEndedError.__name__, _NO_MEMORY))
"""Types of errors by which an invocation is told whose process ended, and for want of memory."""


def stamp_request(extras: tuple[str, ...] = ()) -> bytes:
    """Return the payload that asks for the workers' environment, as JSON of `model.Environment`.

    Args:
        extras: Names of further packages to put into it, as far as the workers have them.
    """
    return json.dumps({**_STAMP, "extras": extras}).encode()


class LambdaContext(Protocol):
    """What Lambda's runtime tells of an invocation, as far as it matters here."""

    aws_request_id: str
    memory_limit_in_mb: str

    def get_remaining_time_in_millis(self) -> int:
        """Return how long the invocation may still run."""
        ...


def respond(event: Any, context: LambdaContext, tenants: Tenants, *, location: str) -> Any:
    """Do what an event asks for, and return what Lambda shall answer.

    Args:
        event: The event, as Lambda's runtime gives it.
        context: What it tells of the invocation.
        tenants: Run the handler.
        location: Where the handler works. What it answers must be JSON, or nothing.

    Raises:
        InvocationFailedError: The handler gave no answer. Lambda tells the queue of failures, in these words.
    """
    if isinstance(event, dict) and event.get("role") == _STAMP["role"]:
        extras = event.get("extras", ())
        names = tuple(filter(_is_name, extras)) if isinstance(extras, list | tuple) else ()
        return json.loads(msgspec.json.encode(environment(names)))
    if isinstance(event, dict) and isinstance(event.get("Records"), list):
        uploads = [record for record in event["Records"] if _is_of_s3(record)]
        for record in event["Records"]:
            if not _is_of_s3(record):
                _tell(record, context, tenants, location=location)
        _fire(uploads, context, tenants, location=location)
        return {}
    answer = tenants.run(json.dumps(event).encode(), _invocation(context, location))
    return json.loads(answer or b"null")


def _is_of_s3(record: Any) -> bool:
    return isinstance(record, dict) and record.get("eventSource") == "aws:s3"


def _fire(records: list[Any], context: LambdaContext, tenants: Tenants, *, location: str) -> None:
    """Call for the trigger of each record; if some of these calls fail, the others are made, and the first failure is told."""
    failures = []
    for payload in filter(None, map(firing, records)):
        try:
            tenants.run(payload, _invocation(context, location))
        except InvocationFailedError as error:
            failures.append(error)
    if failures:
        raise failures[0]


def firing(record: Any) -> bytes | None:
    """Return the payload that a record of S3 becomes; `None` where it tells of no object that appeared, or of none to us."""
    try:
        told, found = record["s3"], record["s3"]["object"]
        trigger, bucket, key = trigger_of(told["configurationId"]), str(told["bucket"]["name"]), unquote_plus(found["key"])
        appeared = str(record["eventName"]).removeprefix("s3:").startswith("ObjectCreated:")
        sequence = found.get("sequencer") or record.get("eventTime", "")
        version, size = str(found.get("eTag", "")).strip('"'), int(found.get("size", 0))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        sys.stderr.write(f"a notification could not be read ({type(error).__name__}: {error}): {record}\n")
        return None
    if not trigger or not appeared:
        return None
    occurrence = "/".join(map(str, (found.get("versionId", ""), sequence, version)))
    told = {"fire": trigger, "occurrence": occurrence, "object": f"{bucket}/{key}", "version": version, "bytes": size}
    return json.dumps(told).encode()


def _is_name(extra: object) -> bool:
    return isinstance(extra, str) and extra.isprintable() and bool(extra)


def _tell(record: Any, context: LambdaContext, tenants: Tenants, *, location: str) -> None:
    try:
        for one in notices(json.loads(record["body"])):
            tenants.run(one, _invocation(context, location))
    except (InvocationFailedError, LookupError, TypeError, ValueError) as error:
        sys.stderr.write(f"a failure could not be told ({type(error).__name__}: {error}): {record}\n")


def _invocation(context: LambdaContext, location: str) -> Invocation:
    return Invocation(
        location,
        f"{context.aws_request_id}/{secrets.token_hex(4)}",
        time.time() + context.get_remaining_time_in_millis() / 1000,
        int(context.memory_limit_in_mb) << 20,
    )


def notices(record: Any) -> list[bytes]:
    """Return the payloads that tell of an event which Lambda gave up: of one of S3, one for each object. Raises as `notice` does."""
    event = record["requestPayload"]
    uploads = event.get("Records") if isinstance(event, dict) else None
    if not isinstance(uploads, list):
        return [notice(record)]
    payloads = [firing(upload) for upload in uploads if _is_of_s3(upload)]
    return [notice({**record, "requestPayload": json.loads(payload)}) for payload in payloads if payload]


def notice(record: Any) -> bytes:
    """Return the payload that tells of an event which Lambda gave up.

    Args:
        record: What Lambda says of it.

    Raises:
        LookupError: It is not Lambda's.
    """
    about, response = record["requestContext"], record.get("responsePayload")
    reason = reason_of(response) if response is not None else f"Lambda never ran it ({about['condition']})"
    said: dict[str, object] = {
        "failed": json.dumps(record["requestPayload"]),
        "invocation": "" if response is None else about["requestId"],
        "reason": reason,
    }
    if _kind(response) in _DEATHS:
        first, _, stack = reason.partition("\n")
        said |= {"reason": first} | ({"stack": stack} if stack else {})
    if _kind(response) in _OF_MEMORY or _looks_like_memory(response):
        said["memory"] = True
    if _TIME_OUT.match(reason):
        said["late"] = True
    return json.dumps(said).encode()


def _kind(response: Any) -> str:
    return str(response.get("errorType", "")) if isinstance(response, dict) else ""


def _looks_like_memory(response: Any) -> bool:
    """Whether Lambda itself most likely ended the process for want of memory, of which it says no more than that."""
    text = str(response.get("errorMessage", "") if isinstance(response, dict) else response)
    return _kind(response) == _NO_MEMORY or (text.endswith("signal: killed") and _kind(response) not in _OURS)


def reason_of(response: Any) -> str:
    """Return why an invocation gave no answer, from what Lambda calls its response."""
    fields = response if isinstance(response, dict) else {"errorMessage": str(response)}
    kind, text = str(fields.get("errorType", "")), str(fields.get("errorMessage", ""))
    if kind in _OURS:
        return text
    told = _PREFIX.sub("", text)
    if _looks_like_memory(response):
        return f"{told}: most likely out of memory"
    return told if not kind or _PREFIX.match(text) else f"{kind}: {told}"
