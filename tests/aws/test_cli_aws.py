"""`smr deploy`, `smr doctor`, `smr down` and `smr image` as a shell runs them, on the emulator."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.deploy.account import find_caller
from smr_notebook.backends.aws.deploy.down import left
from smr_notebook.backends.aws.deploy.stack import read_options, read_status
from smr_notebook.backends.aws.names import ROUTES, Names, notification_id
from smr_notebook.backends.aws.notifications import Notifications
from smr_notebook.backends.aws.table import TABLE_SCHEMA, DynamoTable
from smr_notebook.backends.system_clock import SystemClock
from smr_notebook.cli import main
from smr_notebook.commands import aws as cli_aws
from smr_notebook.commands.console import Console, run
from smr_notebook.commands.deploy import _compare_environments
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.rows import JobEntry, RowCodec
from smr_notebook.control.triggers import Trigger, TriggerKind
from smr_notebook.errors import ConfigError, DeploymentError
from smr_notebook.model import JobState
from smr_notebook.notebook.arguments import MagicParser
from smr_notebook.ports import LASTING
from smr_notebook.standing import Outcome
from smr_notebook.testing.emulators import FaultProxy
from smr_notebook.testing.lambdas.service import lambda_service
from smr_notebook.testing.lambdas.settings import ACCOUNT, REGION, Function

IMAGE = "a.registry/image:one"


@pytest.fixture
def stack(aws: str) -> str:
    return f"t-{uuid4().hex[:12]}"


def test_a_deployment_from_nothing_to_nothing(stack: str, clients: Clients, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deploy", "--stack", stack, "--image", IMAGE, "--input", "logs", "more-logs", "--input", "others"]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    assert told.out.splitlines()[0].startswith("CREATE_COMPLETE AWS::S3::Bucket")
    assert told.out.splitlines()[-1] == f'{stack} in us-east-1 is ready: smr.Session("aws", stack="{stack}", region="us-east-1")'
    names = find_caller(clients, stack).names
    standing = read_options(clients, names)
    assert standing is not None
    assert (standing.inputs, standing.memory, standing.image) == (("logs", "more-logs", "others"), 1769, IMAGE)

    assert main(["deploy", "--stack", stack, "--memory", "3008", "--input", "fresh", "--without", "logs", "others"]) == 0
    standing = read_options(clients, names)
    assert standing is not None
    assert (standing.inputs, standing.memory) == (("fresh", "more-logs"), 3008)
    assert standing.image == IMAGE, "what is not said stays, also an image from elsewhere"

    assert main(["jobs", "--platform", "aws", "--stack", stack]) == 0
    assert main(["status", "--platform", "aws", "--stack", stack, "ffff"]) == 1
    none, unknown = capsys.readouterr().err.splitlines()
    assert none == "there are no jobs of yours on the platform aws; --platform and --stack name other places"
    assert unknown.startswith(f"smr: There are no jobs in stack {stack}. Those of another platform or deployment are found by --platform")

    assert main(["down", "--stack", stack, "--yes"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"nothing is left of {stack} in us-east-1"
    assert left(clients, names) == []


def test_down_says_where_there_is_no_such_stack(stack: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped name, or another region: what stands elsewhere goes on to cost."""
    assert main(["down", "--stack", stack, "--region", "eu-west-1"]) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert first == f"there is no stack {stack} in eu-west-1: looking for what may be left of one"
    assert last == f"nothing is left of {stack} in eu-west-1"


def test_down_names_the_jobs_that_have_not_ended_before_it_asks(stack: str, clients: Clients, capsys: pytest.CaptureFixture[str]) -> None:
    main(["deploy", "--stack", stack, "--image", IMAGE])
    table = DynamoTable(clients, stack, clock=SystemClock())
    for job in ("0aaa0001", "0aaa0002"):
        Ledger(table, job).create_job(JobEntry(job, "words", 1.0, f"jobs/{job}/plan"))
    Ledger(table, "0aaa0001").put_outcome(Outcome(JobState.DONE, 2.0))
    capsys.readouterr()
    assert main(["down", "--stack", stack]) == 1
    told = capsys.readouterr()
    assert told.out == "not ended yet, and deleted with the rest: 0aaa0002\n"
    assert "Nothing was deleted" in told.err


def test_a_region_that_is_none_is_told_with_one_that_is(
    aws: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")  # nobody answers there, as nobody does where no region is
    for words in (["deploy"], ["jobs", "--platform", "aws"]):
        assert main([*words, "--region", "eu-wst-1"]) == 1
        told = capsys.readouterr().err
        assert told == "smr: AWS cannot be reached in 'eu-wst-1', which is no region that boto3 knows. Did you mean 'eu-west-1'?\n"


def test_what_triggers_told_the_buckets_of_others_goes_with_the_stack_or_is_named(
    faults: FaultProxy, capsys: pytest.CaptureFixture[str]
) -> None:
    clients, stack, buckets = Clients(), f"t-{uuid4().hex[:12]}", [f"b-{uuid4().hex}" for _ in range(2)]
    names = find_caller(clients, stack).names
    clients["dynamodb"].create_table(TableName=names.table, **TABLE_SCHEMA)
    table = DynamoTable(clients, names.table, clock=SystemClock())
    triggers = [Trigger(f"t{number}", "0123abcd", TriggerKind.UPLOAD, f"s3://{bucket}/in/", 1.0) for number, bucket in enumerate(buckets)]
    function = names.arn("lambda", f"function:{names.function('coordinator')}")
    for trigger, bucket in zip(triggers, buckets, strict=True):
        clients["s3"].create_bucket(Bucket=bucket)
        table.put(LASTING, f"trigger/{trigger.name}", RowCodec(Trigger).encode(trigger), expect=0)
        entry = {"Id": notification_id(stack, trigger.id), "LambdaFunctionArn": function, "Events": ["s3:ObjectCreated:*"]}
        Notifications(clients).add(bucket, entry)
    assert main(["down", "--stack", stack]) == 1
    asked = capsys.readouterr()
    assert f"there is no stack {stack} in" in asked.out
    assert "Nothing was deleted" in asked.err
    told = [clients["s3"].get_bucket_notification_configuration(Bucket=bucket) for bucket in buckets]
    assert all("LambdaFunctionConfigurations" in answer for answer in told), (
        "what watches the buckets of others is taken out when somebody says so"
    )

    faults.set({"service": "s3", "times": 1, "error": {"code": "AccessDenied", "status": 403}})
    assert main(["down", "--stack", stack, "--yes"]) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("The notification")]
    assert line.startswith(f"The notification smr_notebook:{stack}:t0.0123abcd of the bucket {buckets[0]} is left. ")
    assert "s3:GetBucketNotification" in line
    told = [clients["s3"].get_bucket_notification_configuration(Bucket=bucket) for bucket in buckets]
    assert ["LambdaFunctionConfigurations" in answer for answer in told] == [True, False]


def test_without_a_builder_the_stack_comes_without_functions_and_says_what_next(
    stack: str, clients: Clients, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["deploy", "--stack", stack]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].startswith("Nothing on this machine builds container images")
    assert lines[-1] == f"{stack} in us-east-1 has no functions yet: `smr deploy --stack {stack} --image URI` makes them."
    assert read_status(clients, stack) == "CREATE_COMPLETE"

    assert main(["image", "context", str(tmp_path / "context"), "--stack", stack]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (tmp_path / "context" / "Dockerfile").is_file()
    assert lines[-1].startswith(f"  smr deploy --stack {stack} --region us-east-1 --image ")


def test_a_build_that_fails_says_how_to_go_on(
    stack: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\n[ "$1" != build ] || { echo "no space left on device"; exit 1; }\n', encoding="utf-8")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["deploy", "--stack", stack]) == 1
    told = capsys.readouterr().err
    assert "no space left on device" in told
    assert f"The stack {stack} stands, and `smr deploy --stack {stack} --region us-east-1` goes on from there." in told
    assert f"`smr image context FOLDER --stack {stack} --region us-east-1` says how another one does." in told


def test_an_image_that_is_in_the_repository_is_not_built_again(
    stack: str, clients: Clients, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    main(["deploy", "--stack", stack])
    names = find_caller(clients, stack).names
    main(["image", "context", str(tmp_path / "context"), "--stack", stack])
    tag = capsys.readouterr().out.splitlines()[-1].rpartition(":")[2]
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json", "layers": []}
    clients["ecr"].put_image(repositoryName=names.repository, imageManifest=json.dumps(manifest), imageTag=tag)
    assert main(["deploy", "--stack", stack]) == 0
    standing = read_options(clients, names)
    assert standing is not None
    assert standing.image.partition("@")[0].endswith(f"/{names.repository}")
    assert main(["image", "push", "--stack", stack]) == 0
    assert f"--image {standing.image}" in capsys.readouterr().out


def test_the_template_and_the_policy_can_be_read_before_anything_is_done(
    stack: str, clients: Clients, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["deploy", "--stack", stack, "--print-template", "--output", "results"]) == 0
    assert json.loads(capsys.readouterr().out)["Resources"]["Bucket"]["Properties"]["BucketName"].startswith(f"{stack}-")
    assert main(["deploy", "--stack", stack, "--print-user-policy"]) == 0
    assert json.loads(capsys.readouterr().out)["Version"] == "2012-10-17"
    assert main(["deploy", "--stack", stack, "--print-trigger-policy"]) == 0
    assert "lambda:AddPermission" in capsys.readouterr().out
    assert read_status(clients, stack) == ""


def test_the_doctor_says_how_it_ends_by_its_exit_code(stack: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--stack", stack]) == 1
    told = capsys.readouterr().out
    assert f"WRONG stack: there is no stack {stack} in us-east-1." in told
    assert f"mend it: `smr deploy --stack {stack} --region us-east-1`" in told


def test_the_doctor_compares_this_environment_with_that_of_the_workers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = Names("smr", ACCOUNT, REGION)
    variables = {"SMR_LOCATION": str(tmp_path)}
    functions = [
        Function(names.function(route), "smr_notebook.testing.lambdas.recorder.handler", environment=variables) for route in ROUTES
    ]
    with lambda_service(functions) as service:
        for name, value in service.access.items():
            monkeypatch.setenv(name, value)
        assert "the workers have this environment's Python" in _compare_environments(Clients(), names)
        with pytest.raises(DeploymentError, match="t-other-mapper"):
            _compare_environments(Clients(), Names("t-other", ACCOUNT, REGION))


def test_what_fails_is_one_sentence_and_no_traceback(aws: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    for words in (["deploy"], ["down", "--yes"], ["image", "push"]):
        assert main(words) == 1
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err.startswith("smr: Asking AWS who you are failed: there are no credentials for AWS")
        assert len(told.err.splitlines()) == 1


@pytest.mark.parametrize("words", [["deploy"], ["down", "--yes"]])
def test_who_may_not_deploy_is_told_what_that_takes(faults: FaultProxy, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """And not what one call lacks: the next one would lack another."""
    faults.set({"service": "cloudformation", "times": 1, "error": {"code": "AccessDenied", "status": 403}})
    assert main([*words, "--stack", f"t-{uuid4().hex[:12]}"]) == 1
    assert "Deploying and taking down need the rights of an administrator" in capsys.readouterr().err


def test_a_setting_of_the_environment_names_the_stack(
    stack: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMR_STACK", stack)
    main(["doctor"])
    assert stack in capsys.readouterr().out


def test_nothing_is_deleted_where_nobody_can_be_asked(stack: str, clients: Clients, capsys: pytest.CaptureFixture[str]) -> None:
    main(["deploy", "--stack", stack, "--image", IMAGE])
    assert main(["down", "--stack", stack]) == 1
    assert "Nothing was deleted" in capsys.readouterr().err
    assert read_status(clients, stack) == "CREATE_COMPLETE"


@pytest.mark.parametrize(("answer", "code"), [("no", 1), ("", 0)])
def test_a_person_types_the_name_of_the_stack(stack: str, clients: Clients, answer: str, code: int) -> None:
    main(["deploy", "--stack", stack, "--image", IMAGE])
    terminal, inside = pty.openpty()
    words = [sys.executable, "-m", "smr_notebook", "down", "--stack", stack]
    with subprocess.Popen(words, stdin=inside, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        os.write(terminal, f"{answer or stack}\n".encode())
        out, _ = process.communicate(timeout=60)
    os.close(terminal)
    os.close(inside)
    assert process.returncode == code
    assert f"This deletes the stack {stack} in us-east-1 with all jobs and results." in out
    assert bool(read_status(clients, stack)) == bool(answer)


def test_a_notebook_runs_the_same_commands_and_gets_an_error_instead_of_an_exit(stack: str) -> None:
    lines: list[str] = []
    console = Console(lines.append, lambda _: "")
    assert run(["doctor", "--stack", stack], console, rooms=[cli_aws.add_commands], parser=MagicParser(prog="%smr")) == 1
    assert lines[-1].startswith("WRONG stack")
    with pytest.raises(ConfigError, match="--colour"):
        run(["doctor", "--colour"], console, rooms=[cli_aws.add_commands], parser=MagicParser(prog="%smr"))


def test_a_word_that_is_not_understood_is_told_with_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["deplyo"], ["deploy", "--colour"], ["deploy", "--memory", "much"], []):
        with pytest.raises(SystemExit) as raised:
            main(words)
        assert raised.value.code == 2
    assert "usage: smr" in capsys.readouterr().err
