"""What the store asks of S3, call by call, against moto: it refuses what S3 refuses, and runs in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from moto import mock_aws

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.names import Names
from smr_notebook.backends.aws.objects import PART, S3Store
from smr_notebook.backends.aws.platform import AwsOptions, reopen_aws
from smr_notebook.errors import ConfigError, CredentialsError, DeploymentError, ObjectNotFoundError, StoreError
from smr_notebook.testing.objects import keys

Call = tuple[str, dict[str, Any]]


@pytest.fixture
def moto(lead_to: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    lead_to("")
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    with mock_aws():
        yield


@pytest.fixture
def store(moto: None, calls: list[Call], moto_clients: Clients) -> S3Store:
    return S3Store(moto_clients, "a-bucket")


@pytest.fixture
def moto_clients(moto: None) -> Clients:
    clients = Clients()
    clients["s3"].create_bucket(Bucket="a-bucket")
    return clients


@pytest.fixture
def calls(moto_clients: Clients) -> list[Call]:
    """The calls made so far, with their parameters."""
    made: list[Call] = []

    def note(params: dict[str, Any], model: Any, **_: object) -> None:
        made.append((model.name, {name: value for name, value in params.items() if name not in {"Bucket", "EncodingType"}}))

    moto_clients["s3"].meta.events.register_last("provide-client-params.s3", note)
    return made


def test_a_buffer_is_one_call(store: S3Store, calls: list[Call]) -> None:
    assert store.put("a", memoryview(b"xyz"))
    assert store.put("b", bytearray(b"xyz"), if_absent=True)
    assert not store.put("b", b"", if_absent=True)
    assert calls == [
        ("PutObject", {"Key": "a", "Body": b"xyz"}),
        ("PutObject", {"Key": "b", "Body": b"xyz", "IfNoneMatch": "*"}),
        ("PutObject", {"Key": "b", "Body": b"", "IfNoneMatch": "*"}),
    ]


@pytest.mark.parametrize("sizes", [[], [0], [1, 0, 2], [PART - 1], [PART], [PART // 2] * 2, [3 * PART]])
def test_a_stream_of_one_part_is_one_call(store: S3Store, calls: list[Call], sizes: list[int]) -> None:
    assert store.put("a", (b"x" * size for size in sizes), if_absent=True)
    assert [(name, len(params["Body"]), params["IfNoneMatch"]) for name, params in calls] == [("PutObject", sum(sizes), "*")]


@pytest.mark.parametrize("sizes", [[PART, 1], [PART + 1, PART - 1, 1], [PART // 3] * 10, [1, 2 * PART, 1]])
def test_a_longer_stream_is_parts_that_s3_takes(store: S3Store, calls: list[Call], sizes: list[int]) -> None:
    assert store.put("a", (b"x" * size for size in sizes), if_absent=True)
    names = [name for name, _ in calls]
    parts = [params for name, params in calls if name == "UploadPart"]
    assert names == ["CreateMultipartUpload", *["UploadPart"] * len(parts), "CompleteMultipartUpload"]
    assert [part["PartNumber"] for part in parts] == list(range(1, len(parts) + 1))
    assert sum(len(part["Body"]) for part in parts) == sum(sizes)
    assert min(len(part["Body"]) for part in parts[:-1]) >= PART
    assert calls[-1][1]["IfNoneMatch"] == "*"
    assert all(part["ChecksumCRC32"] for part in calls[-1][1]["MultipartUpload"]["Parts"])
    assert store.get("a") == b"x" * sum(sizes)


def test_what_is_sent_carries_a_checksum(store: S3Store, moto_clients: Clients) -> None:
    sent: list[bool] = []

    def note(request: Any, **_: object) -> None:
        sent.append(any(name.lower().startswith("x-amz-checksum-crc32") or name.lower() == "x-amz-trailer" for name in request.headers))

    for operation in ("PutObject", "UploadPart", "DeleteObjects"):
        moto_clients["s3"].meta.events.register(f"before-send.s3.{operation}", note)
    store.put("a", b"x")
    store.put("b", iter([b"x" * PART, b"y"]))
    store.delete_prefix("a")
    assert sent == [True] * 4


def test_a_range_asks_for_that_range(store: S3Store, calls: list[Call]) -> None:
    store.put("a", b"0123456789")
    calls.clear()
    assert [store.get("a"), store.get("a", 3), store.get("a", 0, 4), store.get("a", 5, 5), store.get("a", 10), store.get("a", 99, 100)] == [
        b"0123456789", b"3456789", b"0123", b"", b"", b"",
    ]  # fmt: skip
    assert [params.get("Range") for _, params in calls] == [None, "bytes=3-", "bytes=0-3", "bytes=5-5", "bytes=10-", "bytes=99-99"]


def test_a_deletion_goes_in_batches(store: S3Store, calls: list[Call], moto_clients: Clients) -> None:
    for number in range(1001):
        moto_clients["s3"].put_object(Bucket="a-bucket", Key=f"j/{number:04d}")
    moto_clients["s3"].put_object(Bucket="a-bucket", Key="elsewhere")
    calls.clear()
    assert store.delete_prefix("j/") == 1001
    assert [len(params["Delete"]["Objects"]) for name, params in calls if name == "DeleteObjects"] == [1000, 1]
    calls.clear()
    assert keys(store, "") == ["elsewhere"]
    assert calls == [("ListObjectsV2", {"Prefix": "", "MaxKeys": 1000})]


def test_what_is_not_there_is_told_by_its_name(store: S3Store, moto_clients: Clients) -> None:
    with pytest.raises(ObjectNotFoundError, match=r"Reading 's3://a-bucket/a/b' failed: there is no such object"):
        store.get("a/b")
    nowhere = S3Store(moto_clients, "no-such-bucket")
    for call in (lambda: nowhere.get("a"), lambda: nowhere.put("a", b""), lambda: keys(nowhere, "a"), lambda: nowhere.delete_prefix("a")):
        with pytest.raises(DeploymentError, match=r"'s3://no-such-bucket/a' failed: there is no such bucket.*no-such-bucket"):
            call()


@pytest.mark.parametrize("key", ["", "\ud800", "a/\udc80"])
def test_what_cannot_be_a_key_is_refused(store: S3Store, key: str) -> None:
    with pytest.raises(StoreError):
        store.put(key, b"")


# ---------------------------------------------------------------- who and where


def test_no_credentials_are_told(lead_to: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    lead_to("http://127.0.0.1:1")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(CredentialsError, match="there are no credentials for AWS"):
        S3Store(Clients(), "a-bucket").put("a", b"")


def test_a_profile_that_is_not_there_is_told(lead_to: Callable[[str], None]) -> None:
    lead_to("http://127.0.0.1:1")
    with pytest.raises(ConfigError, match=r"no such profile.*nobody"):
        S3Store(Clients(profile="nobody"), "a-bucket").get("a")


def test_nobody_at_home_is_told(lead_to: Callable[[str], None]) -> None:
    lead_to("http://127.0.0.1:1")
    with pytest.raises(StoreError, match=r"AWS cannot be reached.*http://127.0.0.1:1/.*AWS_ENDPOINT_URL"):
        S3Store(Clients(retries=1), "a-bucket").get("a")


def test_results_may_be_written_to_any_bucket_of_ones_own(moto_clients: Clients) -> None:
    names = Names("smr", "123456789012", "us-east-1")
    backend = reopen_aws(AwsOptions(names).location.removeprefix("aws:"))
    assert backend.targets["s3"]("a-bucket").put("out/part-00000.parquet", [b"xy", b"z"], if_absent=True)
    assert moto_clients["s3"].get_object(Bucket="a-bucket", Key="out/part-00000.parquet")["Body"].read() == b"xyz"
    with pytest.raises(DeploymentError, match="Writing 's3://another/out' failed: there is no such bucket"):
        backend.targets["s3"]("another").put("out", b"")
