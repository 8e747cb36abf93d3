"""The emulator and the proxy before it start, answer, forget and end."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.testing.emulators import FaultProxy, emulator, reset


def test_boto3_finds_the_emulator_by_itself(aws: str, clients: Clients, bucket: str) -> None:
    clients["s3"].put_object(Bucket=bucket, Key="a", Body=b"x")
    assert clients["s3"].get_object(Bucket=bucket, Key="a")["Body"].read() == b"x"
    assert clients["s3"].meta.endpoint_url == aws
    assert clients["sts"].get_caller_identity()["Account"] == "000000000000"


def test_a_fault_fires_as_often_as_it_was_told_to(faults: FaultProxy, clients: Clients, bucket: str) -> None:
    faults.set({"service": "s3", "operation": "PutObject", "times": 1, "error": {"code": "SlowDown", "status": 503}})
    clients["s3"].put_object(Bucket=bucket, Key="a", Body=b"x")
    assert faults.fired() == ["PutObject error:SlowDown"]
    faults.set()
    assert faults.fired() == []


def test_an_emulator_forgets_and_ends(ministack_python: str, tmp_path: Path, lead_to: Callable[[str], None]) -> None:
    with emulator(ministack_python, tmp_path) as url:
        lead_to(url)
        client = Clients()["s3"]
        client.create_bucket(Bucket="a-bucket")
        assert [bucket["Name"] for bucket in client.list_buckets()["Buckets"]] == ["a-bucket"]
        reset(url)
        assert client.list_buckets()["Buckets"] == []
        client.close()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", urlsplit(url).port or 0)) != 0


def test_policies_are_enforced_where_that_is_wanted(
    ministack_with_policies: str, lead_to: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    lead_to(ministack_with_policies)
    root = Clients()
    root["s3"].create_bucket(Bucket="guarded")
    root["iam"].create_user(UserName="emulator-ann")
    key = root["iam"].create_access_key(UserName="emulator-ann")["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    with pytest.raises(ClientError, match="AccessDenied"):
        Clients()["s3"].list_objects_v2(Bucket="guarded")


def test_what_does_not_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="/bin/false -m ministack ended with 1"), emulator("/bin/false", tmp_path):
        pass
