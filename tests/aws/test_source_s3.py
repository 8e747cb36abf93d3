"""S3 holds the contract of `InputSource`, and what only S3 can get wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto import mock_aws

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.source import S3Source
from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.source import MemorySource
from smr_notebook.control.naming import files
from smr_notebook.control.reading import PlannedInput, plan_input
from smr_notebook.dataflow.inputs import RecordBlock, open_blocks
from smr_notebook.dataflow.splits import plan_splits
from smr_notebook.errors import (
    AccessDeniedError,
    ConfigError,
    CredentialsError,
    InputChangedError,
    InputEmptyError,
    InputMissingError,
    InputMixedError,
    InputReadError,
)
from smr_notebook.testing.emulators import FaultProxy
from smr_notebook.testing.source import InputSourceTests, Place


class TestS3Source(InputSourceTests):
    @pytest.fixture
    def source(self, aws: str, clients: Clients) -> S3Source:
        return S3Source(clients)

    @pytest.fixture
    def place(self, aws: str, clients: Clients, bucket: str) -> Place:
        def place(objects: Mapping[str, bytes]) -> str:
            for name, body in objects.items():
                clients["s3"].put_object(Bucket=bucket, Key=f"in/p[u]t/{name}", Body=body)
            return f"{bucket}/in/p[u]t/"

        return place


@pytest.fixture
def source(aws: str, clients: Clients) -> S3Source:
    return S3Source(clients)


def found(source: S3Source, pattern: str) -> list[str]:
    return [info.key.partition("/")[2] for info in source.find(pattern)]


def put(clients: Clients, bucket: str, *keys: str) -> None:
    for key in keys:
        clients["s3"].put_object(Bucket=bucket, Key=key, Body=b"x")


def test_a_bucket_stands_for_all_in_it(source: S3Source, clients: Clients, bucket: str) -> None:
    put(clients, bucket, "b/a", "a", "z.txt", ".h")
    assert found(source, bucket) == found(source, f"{bucket}/") == [".h", "a", "b/a", "z.txt"]
    assert found(source, f"{bucket}/*") == ["a", "z.txt"]
    assert found(source, f"{bucket}/**") == ["a", "b/a", "z.txt"]


def test_an_empty_folder_of_a_console_is_no_object(source: S3Source, clients: Clients, bucket: str) -> None:
    """A key that ends in `/` and has bytes is one."""
    for key in ("logs/", "logs/2026/", "empty/"):
        clients["s3"].put_object(Bucket=bucket, Key=key)
    put(clients, bucket, "logs/2026/a", "full/")
    assert found(source, f"{bucket}/logs") == found(source, f"{bucket}/logs/") == found(source, f"{bucket}/logs/2026/") == ["logs/2026/a"]
    assert found(source, f"{bucket}/logs/**") == found(source, f"{bucket}/logs/*/*") == ["logs/2026/a"]
    assert found(source, f"{bucket}/empty/") == found(source, f"{bucket}/empty") == []
    assert found(source, f"{bucket}/full/") == found(source, f"{bucket}/full") == ["full/"]


def test_a_name_is_not_taken_for_the_beginning_of_others(source: S3Source, clients: Clients, bucket: str) -> None:
    put(clients, bucket, "log", "log-1", "log.1", "log/a", "logs/a", "data-1", "data/a")
    assert found(source, f"{bucket}/log") == ["log"]
    assert found(source, f"{bucket}/log/") == ["log/a"]
    assert found(source, f"{bucket}/data") == ["data/a"]
    assert found(source, f"{bucket}/lo") == []


def test_a_glob_is_listed_from_its_longest_beginning(source: S3Source, clients: Clients, bucket: str, hooks: Any) -> None:
    put(clients, bucket, "logs/2026/a1.gz", "logs/2026/b1.gz", "logs/2025/a1.gz")
    asked = hooks.note(clients["s3"], "ListObjectsV2")
    assert found(source, f"{bucket}/logs/2026/a?.gz") == ["logs/2026/a1.gz"]
    assert [url.partition("prefix=")[2].partition("&")[0] for url in asked] == [
        "logs%2F2026%2Fa%3F.gz",
        "logs%2F2026%2Fa%3F.gz%2F",
        "logs%2F2026%2Fa",
    ]


NAMES = st.sampled_from(["a", "b", ".a", "ab", "b.a", "é", "[a]", "*"])
PARTS = st.sampled_from(["a", "*", "**", "?", "[ab]", ".*", "*.a", "a*", ".a", "b", "[!a]*", "[a]", "[[]a]"])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keys=st.sets(st.lists(NAMES, min_size=1, max_size=4).map("/".join), max_size=8), parts=st.lists(PARTS, min_size=1, max_size=4))
def test_a_pattern_means_what_it_means_to_every_source(
    source: S3Source, clients: Clients, bucket: str, keys: set[str], parts: list[str]
) -> None:
    root = f"{bucket}/{uuid4().hex}/"
    for key in keys:
        clients["s3"].put_object(Bucket=bucket, Key=f"{root.partition('/')[2]}{key}", Body=key.encode())
    pattern = root + "/".join(parts)
    expected = [info.key for info in MemorySource({root + key: key.encode() for key in keys}).find(pattern)]
    assert [info.key for info in source.find(pattern)] == expected


@pytest.mark.parametrize("pattern", ["no-such-bucket", "no-such-bucket/", "no-such-bucket/a", "no-such-bucket/*.gz"])
def test_a_bucket_that_is_not_there_is_told(source: S3Source, pattern: str) -> None:
    with pytest.raises(InputMissingError, match=f"There is no bucket 'no-such-bucket', so that 's3://{pattern.replace('*', '[*]')}'"):
        found(source, pattern)
    for call in (source.get, source.stat):
        with pytest.raises(InputMissingError, match="There is no bucket 'no-such-bucket'"):
            call("no-such-bucket/a")


@pytest.mark.parametrize("pattern", ["No Bucket/a", "/a", "ab/*"])
def test_what_no_bucket_can_be_called_is_told(source: S3Source, pattern: str) -> None:
    with pytest.raises(InputMissingError, match=r"'s3://"):
        found(source, pattern)


def test_what_is_no_text_is_nowhere(source: S3Source, bucket: str) -> None:
    with pytest.raises(InputMissingError, match="UTF-8"):
        found(source, f"{bucket}/\udc80")


# ---------------------------------------------------------------- from the plan to the last byte


def planned(source: S3Source, *patterns: str, split_size: int = 0) -> PlannedInput:
    named = files(*(f"s3://{pattern}" for pattern in patterns))
    return plan_input(named, {"s3": source}, store=MemoryStore(), job="j", format="auto", split_size=split_size, slots=2)


def blocks(source: S3Source, plan: PlannedInput) -> Iterator[RecordBlock]:
    for split in plan_splits(plan.objects, split_bytes=plan.split_bytes):
        yield from open_blocks(split, plan.format, {"s3": source}, reading=plan.reading)


def records(source: S3Source, plan: PlannedInput) -> list[Any]:
    return [record for block in blocks(source, plan) for record in block.records]


def test_a_listing_goes_on_behind_a_thousand_keys(source: S3Source, clients: Clients, bucket: str) -> None:
    """16, Serverless-MR and AWS Labs' reference: `list_objects` without paging ignores what comes after 1,000."""
    keys = [f"many/{number:05d}" for number in range(1_050)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: put(clients, bucket, key), keys))
    for pattern in ("many", "many/*", "**/0*"):
        assert found(source, f"{bucket}/{pattern}") == keys
    assert records(source, planned(source, f"{bucket}/many/")) == ["x"] * 1_050


def test_what_is_missing_empty_or_named_twice_is_an_error(source: S3Source, clients: Clients, bucket: str) -> None:
    put(clients, bucket, "in/a b", "in/a%20b")
    clients["s3"].put_object(Bucket=bucket, Key="none/_SUCCESS", Body=b"")
    with pytest.raises(InputMissingError, match=f"Nothing found under 's3://{bucket}/in/a[+]b'.*aws s3 ls s3://{bucket}/"):
        planned(source, f"{bucket}/in/a+b")
    with pytest.raises(InputEmptyError, match="1 objects found, and all of them are empty"):
        planned(source, f"{bucket}/none")
    with pytest.raises(InputMixedError, match="in/a b is named twice"):
        planned(source, f"{bucket}/in/a b", f"{bucket}/in/*")
    assert len(records(source, planned(source, f"{bucket}/in/a b", f"{bucket}/in/a%20b"))) == 2
    (warning,) = planned(source, f"{bucket}/").warnings
    assert warning == f"Empty objects give no records: 1 of 3, {bucket}/none/_SUCCESS first."


@pytest.mark.parametrize("body", [b"b" * (3 << 20), b"longer" * (1 << 20), b""])
def test_what_changed_since_the_plan_or_while_it_is_read_is_an_error(source: S3Source, clients: Clients, bucket: str, body: bytes) -> None:
    def write(body: bytes) -> None:
        clients["s3"].put_object(Bucket=bucket, Key="in/a", Body=body)

    write(b"a line\n" * (3 << 20))
    plan = planned(source, f"{bucket}/in/a")
    reading = blocks(source, plan)
    next(reading)
    write(body)
    for attempt in (reading, blocks(source, plan)):
        with pytest.raises(InputChangedError, match="in/a has changed since the job was planned"):
            list(attempt)
    clients["s3"].delete_object(Bucket=bucket, Key="in/a")
    with pytest.raises(InputMissingError, match=r"in/a'. If a job was to read it, it has been moved or deleted since"):
        list(blocks(source, plan))


def test_csv_is_cut_in_a_bucket_as_it_is_in_a_folder(source: S3Source, clients: Clients, bucket: str) -> None:
    body = "id,text\n" + "".join(f'{number},"a ""quoted"" word, or\ntwo"\n' for number in range(5_000))
    clients["s3"].put_object(Bucket=bucket, Key="in/a.csv", Body=body.encode())
    plan = planned(source, f"{bucket}/in/*.csv", split_size=10_000)
    assert len(plan.objects[0].cuts) > 10
    assert [row["id"] for row in records(source, plan)] == [str(number) for number in range(5_000)]


# ---------------------------------------------------------------- who may not


@pytest.fixture
def ann(
    ministack_with_policies: str, lead_to: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, list[str]], S3Source]:
    """A function that gives the source of a user, who may do these actions to a bucket of hers that holds `in/a` and `in/b`."""

    def ann(bucket: str, actions: list[str]) -> S3Source:
        lead_to(ministack_with_policies)
        root = Clients()
        root["s3"].create_bucket(Bucket=bucket)
        put(root, bucket, "in/a", "in/b")
        root["iam"].create_user(UserName=bucket)
        allowed = {"Effect": "Allow", "Action": actions, "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        root["iam"].put_user_policy(UserName=bucket, PolicyName="p", PolicyDocument=policy)
        key = root["iam"].create_access_key(UserName=bucket)["AccessKey"]
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
        return S3Source(Clients())

    return ann


def test_who_may_not_list_can_still_name_one_object(ann: Callable[[str, list[str]], S3Source]) -> None:
    source = ann("names-only", ["s3:GetObject"])
    assert found(source, "names-only/in/a") == ["in/a"]
    assert source.get("names-only/in/a") == b"x"
    for pattern in ("names-only/in/none", "names-only/in/", "names-only/in/*"):
        with pytest.raises(AccessDeniedError, match=r"Listing 's3://names-only/in/.*' failed: .*s3:ListBucket.*Allow s3:ListBucket"):
            found(source, pattern)


def test_who_may_not_read_learns_which_action_is_missing(ann: Callable[[str, list[str]], S3Source]) -> None:
    source = ann("lists-only", ["s3:ListBucket"])
    assert found(source, "lists-only/in/*") == ["in/a", "in/b"]
    for call in (source.get, source.stat):
        with pytest.raises(AccessDeniedError, match=r"Reading 's3://lists-only/in/a' failed: .*s3:GetObject.*Allow s3:GetObject"):
            call("lists-only/in/a")


def test_who_opens_a_source_may_say_what_helps_against_a_refusal(ann: Callable[[str, list[str]], S3Source]) -> None:
    ann("mended", ["s3:PutObject"])
    source = S3Source(Clients(), mend="Ask for {bucket}.")
    with pytest.raises(AccessDeniedError, match=r"s3:ListBucket.* Ask for mended\.$"):
        found(source, "mended/in/")
    with pytest.raises(AccessDeniedError, match=r"s3:GetObject.* a missing object looks alike .* Ask for mended\.$"):
        source.get("mended/in/a")


# ---------------------------------------------------------------- archives


@pytest.fixture
def archive(lead_to: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The client of a moto that holds `bucket/in/a`, `bucket/in/cold` in an archive, and `bucket/in/thawed`, restored from one."""
    lead_to("")
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    with mock_aws():
        client = Clients()["s3"]
        client.create_bucket(Bucket="bucket")
        client.put_object(Bucket="bucket", Key="in/a", Body=b"warm")
        client.put_object(Bucket="bucket", Key="in/instant", Body=b"x", StorageClass="GLACIER_IR")
        for key in ("in/cold", "in/thawed"):
            client.put_object(Bucket="bucket", Key=key, Body=b"cold", StorageClass="DEEP_ARCHIVE")
        client.restore_object(Bucket="bucket", Key="in/thawed", RestoreRequest={"Days": 1})
        client.head_object(Bucket="bucket", Key="in/thawed")
        yield client


def test_an_archived_object_that_matches_is_an_error(archive: Any) -> None:
    source = S3Source(Clients())
    for pattern in ("bucket", "bucket/in/cold", "bucket/in/*", "bucket/**/c*"):
        with pytest.raises(InputReadError, match=r"'s3://bucket/in/cold': it is archived. Restore it"):
            found(source, pattern)
    with pytest.raises(InputReadError, match="archived"):
        source.stat("bucket/in/cold")
    with pytest.raises(InputReadError, match=r"the object is archived \(InvalidObjectState"):
        source.get("bucket/in/cold")


def test_an_object_restored_from_an_archive_is_an_object(archive: Any) -> None:
    source = S3Source(Clients())
    assert found(source, "bucket/in/thawed") == ["in/thawed"]
    assert found(source, "bucket/in/[ait]*") == ["in/a", "in/instant", "in/thawed"]
    assert source.get("bucket/in/thawed") == b"cold"


# ---------------------------------------------------------------- faults


def test_what_fails_for_good_is_told(faults: FaultProxy, bucket: str) -> None:
    source = S3Source(Clients(retries=1))
    for code, status, words, kind in [
        ("SlowDown", 503, "AWS wants fewer calls", InputReadError),
        ("ExpiredToken", 400, "aws sso login", CredentialsError),
    ]:
        faults.set({"service": "s3", "times": 2, "error": {"code": code, "status": status}})
        with pytest.raises(kind, match=f"Listing 's3://{bucket}/a' failed: .*{words}"):
            found(source, f"{bucket}/a")
        with pytest.raises(kind, match=f"Reading 's3://{bucket}/a' failed: .*{words}"):
            source.get(f"{bucket}/a")


def test_a_head_that_is_refused_without_a_word_is_explained(aws: str, clients: Clients, bucket: str, hooks: Any) -> None:
    """As when credentials have expired: S3 says 400 and no more."""
    for status, code, words, kind in [
        (400, "ExpiredToken", "aws sso login", CredentialsError),
        (403, "AccessDenied", "Allow s3:GetObject", AccessDeniedError),
    ]:
        hooks.refuse(clients["s3"], "HeadObject", "", status)
        hooks.refuse(clients["s3"], "GetObject", code, status)
        with pytest.raises(kind, match=f"{code}.*{words}"):
            S3Source(clients).stat(f"{bucket}/a")


def test_a_bucket_in_another_region_is_told(aws: str, clients: Clients, bucket: str, hooks: Any) -> None:
    hooks.refuse(clients["s3"], "ListObjectsV2", "PermanentRedirect", 301, times=9)
    with pytest.raises(ConfigError, match=r"the bucket is in another region"):
        found(S3Source(clients), f"{bucket}/a")
