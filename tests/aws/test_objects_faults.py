"""What a bucket answers when calls fail: the right thing, or an error. Faults are rules of the proxy, and hooks where it has none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, ResponseStreamingError
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.objects import PART, S3Store
from smr_notebook.backends.aws.s3 import TRIES, list_objects
from smr_notebook.dataflow.exchange import ObjectExchange
from smr_notebook.errors import AccessDeniedError, CorruptObjectError, CredentialsError, StoreError
from smr_notebook.testing.emulators import FaultProxy
from smr_notebook.testing.exchange import attempt_of
from smr_notebook.testing.objects import keys

BODY = bytes(range(256)) * 16_000
"""4 MB."""


def rule(operation: str, times: int = 1, **fault: object) -> dict[str, Any]:
    return {"service": "s3", "operation": operation, "times": times, **fault}


def refused(operation: str, code: str, status: int, times: int = 1) -> dict[str, Any]:
    return rule(operation, times, error={"code": code, "status": status})


@pytest.fixture(scope="session")
def hasty() -> Clients:
    """Clients that try twice, so that a call that fails for good does so soon."""
    return Clients(retries=2)


@pytest.fixture(scope="session")
def hasty_here() -> Clients:
    """As `hasty`, for the emulator itself."""
    return Clients(retries=2)


@pytest.fixture
def store(faults: FaultProxy, hasty: Clients, bucket: str) -> S3Store:
    return S3Store(hasty, bucket)


@contextmanager
def hooked(clients: Clients, event: str, hook: Callable[..., object]) -> Iterator[None]:
    clients["s3"].meta.events.register(event, hook)
    try:
        yield
    finally:
        clients["s3"].meta.events.unregister(event, hook)


def uploads(clients: Clients, bucket: str) -> int:
    return len(clients["s3"].list_multipart_uploads(Bucket=bucket).get("Uploads", ()))


def long_stream() -> Iterator[bytes]:
    for number in range(5):
        yield bytes([number]) * (PART // 2)


LONG = b"".join(long_stream())


@pytest.mark.parametrize(
    "fault",
    [
        refused("*", "SlowDown", 503),
        refused("*", "InternalError", 500),
        refused("*", "RequestTimeout", 400),
        rule("*", reset=True),
    ],
    ids=["busy", "broken", "late", "reset"],
)
def test_a_call_that_fails_once_is_made_again(store: S3Store, faults: FaultProxy, fault: dict[str, Any]) -> None:
    calls: list[tuple[str, Callable[[], object], object]] = [
        ("PutObject", lambda: store.put("a/b", BODY), True),
        ("GetObject", lambda: store.get("a/b", 10, 1_000_000), BODY[10:1_000_000]),
        ("ListObjectsV2", lambda: keys(store, "a"), ["a/b"]),
        ("DeleteObjects", lambda: store.delete_prefix("a"), 1),
    ]
    for operation, call, answer in calls:
        faults.set({**fault, "operation": operation})
        assert call() == answer
        assert len(faults.fired()) == 1
    assert keys(store, "") == []


def test_a_call_that_fails_for_good_is_an_error_that_says_so(store: S3Store, faults: FaultProxy) -> None:
    store.put("a/b", b"old")
    calls: list[tuple[str, Callable[[], object]]] = [
        ("PutObject", lambda: store.put("a/b", b"new")),
        ("GetObject", lambda: store.get("a/b")),
        ("ListObjectsV2", lambda: keys(store, "a")),
        ("DeleteObjects", lambda: store.delete_prefix("a")),
    ]
    for operation, call in calls:
        faults.set(refused(operation, "SlowDown", 503, times=2))
        with pytest.raises(StoreError, match=r"'s3://.*/a.*' failed: AWS wants fewer calls \(SlowDown"):
            call()
    faults.set()
    assert store.get("a/b") == b"old"


def test_a_listing_that_fails_between_two_pages_is_an_error(store: S3Store, hasty: Clients, bucket: str, hooks: Any) -> None:
    for number in range(3):
        store.put(f"a/{number}", b"")
    hooks.refuse(hasty["s3"], "ListObjectsV2", "ExpiredToken", 400, after=1)
    listing = list_objects(hasty["s3"], bucket, "a/", page=2)
    assert [next(listing)["Key"], next(listing)["Key"]] == ["a/0", "a/1"]
    with pytest.raises(ClientError, match="ExpiredToken"):
        list(listing)
    hooks.refuse(hasty["s3"], "ListObjectsV2", "ExpiredToken", 400)
    with pytest.raises(CredentialsError, match="aws sso login"):
        keys(store, "a/")


# ---------------------------------------------------------------- reading


@pytest.mark.parametrize("span", [(0, None), (0, 3_000_000), (1_000, 2_500_000), (1_000, None), (3_999_999, 1 << 40)])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_body_that_breaks_is_taken_up_where_it_broke(
    store: S3Store, faults: FaultProxy, hasty: Clients, span: tuple[int, int | None], share: float
) -> None:
    store.put("a", BODY)
    asked: list[str] = []

    def note(request: Any, **_: object) -> None:
        asked.append(str(request.headers.get("Range") or b"", "ascii"))

    faults.set(rule("GetObject", 2, response={"abort_frac": share}))
    with hooked(hasty, "before-send.s3.GetObject", note):
        assert store.get("a", *span) == BODY[span[0] : span[1]]
    assert len(faults.fired()) == 2
    assert len(asked) == 3
    if share == 0.9 and span[1] != 1 << 40:
        positions = [int(text.removeprefix("bytes=").partition("-")[0] or 0) for text in asked]
        assert positions == sorted(set(positions))


class Breaking:
    """A body that breaks after some bytes."""

    def __init__(self, body: Any, after: int) -> None:
        self._body = body
        self._left = after

    def read(self, size: int) -> bytes:
        if not self._left:
            raise ResponseStreamingError(error="broken")
        piece = bytes(self._body.read(min(size, self._left)))
        self._left -= len(piece)
        return piece

    def close(self) -> None:
        self._body.close()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.integers(1, 300_000),
    start=st.integers(0, 400_000),
    stop=st.none() | st.integers(0, 400_000),
    breaks=st.lists(st.integers(0, 300_000), max_size=TRIES - 1),
)
@example(size=10, start=2, stop=5, breaks=[3])
@example(size=10, start=2, stop=None, breaks=[8])
@example(size=10, start=2, stop=50, breaks=[4, 4])
@example(size=300_000, start=0, stop=None, breaks=[0, 262_144, 37_856])
def test_wherever_a_body_breaks_the_bytes_are_right(
    aws: str, hasty_here: Clients, bucket: str, size: int, start: int, stop: int | None, breaks: list[int]
) -> None:
    """Also behind its last byte."""
    store = S3Store(hasty_here, bucket)
    body = BODY[:size]
    store.put("a", body)
    left = list(breaks)

    def break_next(parsed: dict[str, Any], **_: object) -> None:
        if left and "Body" in parsed:
            parsed["Body"] = Breaking(parsed["Body"], left.pop(0))

    with hooked(hasty_here, "after-call.s3.GetObject", break_next):
        assert store.get("a", start, stop) == body[start:stop]


@pytest.mark.parametrize("fault", [{"truncate_frac": 0.5}, {"corrupt_bytes": 16}], ids=["cut", "corrupt"])
def test_a_whole_object_that_comes_damaged_is_read_again(store: S3Store, faults: FaultProxy, fault: dict[str, Any]) -> None:
    store.put("a", BODY)
    faults.set(rule("GetObject", 1, response=fault))
    assert store.get("a") == BODY
    assert len(faults.fired()) == 1


def test_a_range_that_comes_short_is_noticed(store: S3Store, faults: FaultProxy) -> None:
    store.put("a", BODY)
    faults.set(rule("GetObject", 1, response={"truncate_frac": 0.5}))
    assert store.get("a", 10, 2_000_000) == BODY[10:2_000_000]
    assert len(faults.fired()) == 1


@pytest.mark.parametrize("fault", [{"abort_frac": 0.3}, {"truncate_frac": 0.5}])
def test_a_body_that_breaks_again_and_again_is_an_error(store: S3Store, faults: FaultProxy, fault: dict[str, Any]) -> None:
    store.put("a", b"x" * 1000)
    faults.set(rule("GetObject", 100, response=fault))
    with pytest.raises(StoreError, match=r"Reading 's3://.*/a' failed: AWS cannot be reached"):
        store.get("a", 1, 900)


def test_an_object_replaced_while_a_body_broke_is_read_anew(store: S3Store, faults: FaultProxy, hasty: Clients) -> None:
    """Nobody gets parts of two."""
    store.put("a", BODY)
    other = BODY[::-1] + b"longer"

    def replace(request: Any, **_: object) -> None:
        if "If-Match" in request.headers and store.get("a", 0, 3) == BODY[:3]:
            store.put("a", other)

    faults.set(rule("GetObject", 1, response={"abort_frac": 0.9}))
    with hooked(hasty, "before-send.s3.GetObject", replace):
        assert store.get("a") == other


def test_what_no_store_can_notice_is_noticed_above_it(store: S3Store, faults: FaultProxy, tmp_path: Path) -> None:
    """S3 sends no checksum with a range: the bytes are wrong, and the run's own checksums say so."""
    exchange = ObjectExchange(store, "jobs/j", scratch=tmp_path)
    writer = exchange.writer(attempt_of(0), 2)
    writer.write(0, BODY, groups=1, pairs=1, checksum=1)
    writer.write(1, BODY, groups=1, pairs=1, checksum=1)
    receipt = writer.close()
    assert [list(blocks) for blocks in exchange.read(1, [receipt])] == [[BODY]]
    raw = store.get(receipt.key, 10, 2_000_000)
    faults.set(rule("GetObject", 1, response={"corrupt_bytes": 16}))
    assert store.get(receipt.key, 10, 2_000_000) != raw
    for damaged in ({"pass": 0, "fail": 1}, {"pass": 1, "fail": 1}):
        faults.set({"service": "s3", "operation": "GetObject", "sequence": damaged, "response": {"corrupt_bytes": 16}})
        with pytest.raises(CorruptObjectError):
            [list(blocks) for blocks in exchange.read(1, [receipt])]


# ---------------------------------------------------------------- writing


def test_a_lost_reply_of_a_creation_reads_as_lost_though_it_was_won(store: S3Store, hasty: Clients, hooks: Any) -> None:
    """As the port says: who must know reads it back."""
    lost = hooks.lose_replies(hasty["s3"], "PutObject", 1)
    assert not store.put("a", b"mine", if_absent=True)
    assert len(lost) == 1
    assert store.get("a") == b"mine"


def test_a_lost_reply_of_a_write_changes_nothing(store: S3Store, hasty: Clients, hooks: Any) -> None:
    lost = hooks.lose_replies(hasty["s3"], "PutObject", 1)
    assert store.put("a", b"mine")
    assert len(lost) == 1
    assert store.get("a") == b"mine"


@pytest.mark.parametrize("if_absent", [False, True])
def test_a_lost_reply_of_the_end_of_a_long_stream_changes_nothing(
    store: S3Store, hasty: Clients, bucket: str, hooks: Any, if_absent: bool
) -> None:
    """S3 answers a repeated end of an upload as it answered the first."""
    lost = [
        hooks.lose_replies(hasty["s3"], operation, 1) for operation in ("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload")
    ]
    assert store.put("a", long_stream(), if_absent=if_absent)
    assert [len(calls) for calls in lost] == [1, 1, 1]
    assert store.get("a") == LONG


@pytest.mark.parametrize("if_absent", [False, True])
def test_an_upload_that_is_cut_writes_nothing_until_it_is_whole(store: S3Store, faults: FaultProxy, if_absent: bool) -> None:
    faults.set(rule("PutObject", 2, request={"cut_upload": {"after_bytes": 65_536}}))
    with pytest.raises(StoreError, match=r"Writing 's3://.*/a' failed"):
        store.put("a", BODY, if_absent=if_absent)
    assert keys(store, "") == []
    faults.set(rule("PutObject", 1, request={"cut_upload": {"after_bytes": 65_536}}))
    assert store.put("a", BODY, if_absent=if_absent)
    assert store.get("a") == BODY


Fault = tuple[str, str, int]

ONCE: list[Fault] = [
    ("CreateMultipartUpload", "SlowDown", 503),
    ("UploadPart", "InternalError", 500),
    ("CompleteMultipartUpload", "InternalError", 500),
    ("CompleteMultipartUpload", "InternalError", 200),
]


@pytest.mark.parametrize("if_absent", [False, True])
@pytest.mark.parametrize("fault", ONCE)
def test_a_long_stream_survives_one_fault_of_each_call(
    store: S3Store, hasty: Clients, bucket: str, hooks: Any, fault: Fault, if_absent: bool
) -> None:
    """The last one is how S3 fails once it has begun to answer."""
    met = hooks.refuse(hasty["s3"], *fault)
    assert store.put("a", long_stream(), if_absent=if_absent)
    assert len(met) == 1
    assert store.get("a") == LONG
    assert uploads(hasty, bucket) == 0


def test_a_long_stream_survives_a_part_that_was_cut(store: S3Store, faults: FaultProxy) -> None:
    faults.set(rule("PutObject", 1, request={"cut_upload": {"after_bytes": 65_536}}))  # what the proxy takes a part for
    assert store.put("a", long_stream())
    assert len(faults.fired()) == 1
    assert store.get("a") == LONG


FOR_GOOD: list[tuple[Fault, type[Exception]]] = [
    (("CreateMultipartUpload", "AccessDenied", 403), AccessDeniedError),
    (("UploadPart", "SlowDown", 503), StoreError),
    (("UploadPart", "ExpiredToken", 400), CredentialsError),
    (("CompleteMultipartUpload", "InternalError", 500), StoreError),
    (("CompleteMultipartUpload", "NoSuchUpload", 404), StoreError),
]


@pytest.mark.parametrize("if_absent", [False, True])
@pytest.mark.parametrize(("fault", "expected"), FOR_GOOD)
def test_a_long_stream_that_cannot_be_stored_leaves_nothing(
    store: S3Store, hasty: Clients, bucket: str, hooks: Any, fault: Fault, expected: type[Exception], if_absent: bool
) -> None:
    store.put("b", b"old")
    hooks.refuse(hasty["s3"], *fault, times=2)
    with pytest.raises(expected, match=r"Writing 's3://.*/a' failed"):
        store.put("a", long_stream(), if_absent=if_absent)
    assert keys(store, "") == ["b"]
    assert uploads(hasty, bucket) == 0


@pytest.mark.parametrize(("operation", "body"), [("PutObject", b"short"), ("CompleteMultipartUpload", LONG)])
def test_two_that_meet_come_again(store: S3Store, hasty: Clients, bucket: str, hooks: Any, operation: str, body: bytes) -> None:
    """S3 sends both away, with a 409."""
    met = hooks.refuse(hasty["s3"], operation, "ConditionalRequestConflict", 409, times=3)
    chunks = [body[start : start + PART] for start in range(0, len(body), PART)]
    assert store.put("a", iter(chunks), if_absent=True)
    assert len(met) == 3
    assert store.get("a") == body
    hooks.refuse(hasty["s3"], operation, "ConditionalRequestConflict", 409, times=100)
    with pytest.raises(StoreError, match="somebody else changed it"):
        store.put("b", iter(chunks), if_absent=True)
    assert keys(store, "") == ["a"]
    assert uploads(hasty, bucket) == 0


def test_a_long_stream_that_comes_second_leaves_nothing(store: S3Store, hasty: Clients, bucket: str) -> None:
    store.put("a", b"first")
    assert not store.put("a", long_stream(), if_absent=True)
    assert store.get("a") == b"first"
    assert uploads(hasty, bucket) == 0


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt()])
def test_a_long_stream_that_fails_late_leaves_nothing(store: S3Store, hasty: Clients, bucket: str, error: BaseException) -> None:
    def failing() -> Iterator[bytes]:
        yield from long_stream()
        raise error

    with pytest.raises(type(error)) as caught:
        store.put("a", failing())
    assert caught.value is error
    assert keys(store, "") == []
    assert uploads(hasty, bucket) == 0


# ---------------------------------------------------------------- deleting


def fail_first(code: str, times: int, refusals: list[str]) -> Callable[..., None]:
    """Return a hook that gives the first key of an answer as one that was not deleted; it comes after the fact, so it stays deleted."""

    def hook(parsed: dict[str, Any], **_: object) -> None:
        if len(refusals) < times:
            refusals.append(code)
            parsed["Errors"] = [*parsed.get("Errors", []), {"Key": "a/0", "Code": code, "Message": "Words of S3."}]

    return hook


@pytest.mark.parametrize("code", ["InternalError", "ConditionalRequestConflict"])
def test_a_key_that_could_not_be_deleted_is_tried_again(store: S3Store, hasty: Clients, code: str) -> None:
    for number in range(3):
        store.put(f"a/{number}", b"")
    refusals: list[str] = []
    with hooked(hasty, "after-call.s3.DeleteObjects", fail_first(code, 1, refusals)):
        assert store.delete_prefix("a/") == 2  # the second try finds that one gone
    assert refusals == [code]
    assert keys(store, "") == []


@pytest.mark.parametrize(
    ("code", "times", "expected"),
    [("AccessDenied", 1, AccessDeniedError), ("InternalError", 100, StoreError), ("SlowDown", 1, StoreError), ("QuiteNew", 1, StoreError)],
)
def test_a_key_that_cannot_be_deleted_is_an_error(store: S3Store, hasty: Clients, code: str, times: int, expected: type[Exception]) -> None:
    store.put("a/0", b"")
    with (
        hooked(hasty, "after-call.s3.DeleteObjects", fail_first(code, times, [])),
        pytest.raises(expected, match=r"Deleting 's3://.*/a/' failed"),
    ):
        store.delete_prefix("a/")


def test_a_lost_reply_of_a_deletion_deletes_all(store: S3Store, hasty: Clients, hooks: Any) -> None:
    for number in range(3):
        store.put(f"a/{number}", b"")
    hooks.lose_replies(hasty["s3"], "DeleteObjects", 1)
    assert store.delete_prefix("a/") == 0  # they were there, and the second try finds none
    assert keys(store, "") == []
