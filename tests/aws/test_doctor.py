"""The doctor: what it says of a healthy deployment, and of each thing that may stand in the way of a job."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from uuid import uuid4

import pytest

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.deploy.account import find_caller
from smr_notebook.backends.aws.deploy.check import put_right
from smr_notebook.backends.aws.deploy.doctor import concurrency_finding, diagnose
from smr_notebook.backends.aws.deploy.findings import Finding
from smr_notebook.backends.aws.deploy.options import DeployOptions, checked
from smr_notebook.backends.aws.deploy.patience import Patience
from smr_notebook.backends.aws.deploy.policies import user_policy
from smr_notebook.backends.aws.deploy.stack import Stack
from smr_notebook.backends.aws.deploy.template import dead_letters
from smr_notebook.backends.aws.names import Names
from smr_notebook.backends.system_clock import SystemClock
from smr_notebook.errors import EnvironmentMismatchError
from smr_notebook.testing.emulators import aws_environment

PATIENCE = Patience(SystemClock(), seconds=20, shortest=0.02)
MANIFEST = {"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json", "layers": []}
NOTHING_FURTHER: Mapping[str, Callable[[Names], str]] = {}


def mismatch(names: Names) -> str:
    raise EnvironmentMismatchError(f"The workers of {names.stack} have Python 3.9.")


def deploy(clients: Clients, stack: str = "") -> DeployOptions:
    """Return a deployment whose image is in its repository."""
    names = find_caller(clients, stack or f"t-{uuid4().hex[:12]}").names
    made = Stack(clients, names, PATIENCE, lambda _: None)
    bare = checked(DeployOptions(names, "aws:{}"))
    made.set_up(bare)
    pushed = clients["ecr"].put_image(repositoryName=names.repository, imageManifest=json.dumps(MANIFEST), imageTag="one")["image"]
    address = clients["ecr"].describe_repositories(repositoryNames=[names.repository])["repositories"][0]["repositoryUri"]
    whole = replace(bare, image=f"{address}@{pushed['imageId']['imageDigest']}")
    made.set_up(whole)
    put_right(clients, whole, PATIENCE)
    return whole


def found(clients: Clients, stack: str, further: Mapping[str, Callable[[Names], str]] = NOTHING_FURTHER) -> dict[str, Finding]:
    """Return the findings of the doctor by name; how much the machine of the emulator runs at once is no matter."""
    return {finding.name: finding for finding in diagnose(clients, stack, further) if finding.name != "concurrency"}


def test_a_healthy_deployment_is_found_healthy(aws: str, clients: Clients) -> None:
    options = deploy(clients)
    findings = found(clients, options.names.stack, {"environment": lambda names: f"{names.stack} agrees."})
    assert {name: finding.ok for name, finding in findings.items() if not finding.ok} == {}
    assert list(findings)[:3] == ["credentials", "region", "stack"]
    assert list(findings)[-2:] == ["permissions", "environment"]
    assert str(findings["environment"]) == f"ok    environment: {options.names.stack} agrees."


FAULTS: dict[str, tuple[Callable[[Clients, DeployOptions], object], str]] = {
    "failures": (
        lambda clients, options: clients["sqs"].send_message(
            QueueUrl=clients["sqs"].get_queue_url(QueueName=dead_letters(options.names))["QueueUrl"], MessageBody="{}"
        ),
        "aws sqs purge-queue",
    ),
    "image": (
        lambda clients, options: clients["ecr"].batch_delete_image(
            repositoryName=options.names.repository, imageIds=[{"imageDigest": options.image.partition("@")[2]}]
        ),
        "`smr deploy --stack",
    ),
    "recursion": (
        lambda clients, options: clients["lambda"].put_function_recursion_config(
            FunctionName=options.names.function("coordinator"), RecursiveLoop="Terminate"
        ),
        "`smr deploy --stack",
    ),
    "roles": (
        lambda clients, options: clients["iam"].put_role_policy(
            RoleName=options.names.role("mapper"),
            PolicyName="boundary",
            PolicyDocument=json.dumps(
                {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "s3:PutObject", "Resource": "*"}]}
            ),
        ),
        '"Action": ["s3:PutObject"]',
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_one_finding_with_its_remedy(aws: str, clients: Clients, name: str) -> None:
    options = deploy(clients)
    break_it, mend = FAULTS[name]
    break_it(clients, options)
    wrong = {finding.name: finding.mend for finding in found(clients, options.names.stack).values() if not finding.ok}
    assert list(wrong) == [name]
    assert mend in wrong[name]


def test_a_bucket_or_a_table_that_jobs_may_use_and_that_is_not_there_is_named(aws: str, clients: Clients, bucket: str) -> None:
    options = deploy(clients)
    named = replace(options, inputs=("dynamodb://nowhere", bucket), outputs=(f"{bucket}x",))
    Stack(clients, options.names, PATIENCE, lambda _: None).set_up(named)
    finding = found(clients, options.names.stack)["buckets"]
    assert (finding.ok, finding.what) == (False, f"jobs may use dynamodb://nowhere, {bucket}x, which is not there.")
    assert f"--without dynamodb://nowhere {bucket}x`" in finding.mend
    Stack(clients, options.names, PATIENCE, lambda _: None).set_up(replace(named, inputs=(bucket,), outputs=()))
    assert found(clients, options.names.stack)["buckets"].ok


def test_workers_that_differ_are_a_finding(aws: str, clients: Clients) -> None:
    finding = found(clients, deploy(clients).names.stack, {"environment": mismatch})["environment"]
    assert (finding.ok, finding.what.endswith("have Python 3.9.")) == (False, True)


def test_without_an_image_there_is_one_more_step(aws: str, clients: Clients) -> None:
    names = find_caller(clients, f"t-{uuid4().hex[:12]}").names
    options = checked(DeployOptions(names, "aws:{}"))
    Stack(clients, names, PATIENCE, lambda _: None).set_up(options)
    put_right(clients, options, PATIENCE)
    findings = found(clients, names.stack)
    assert [name for name, finding in findings.items() if finding.ok is False] == ["image"]
    assert "where docker, podman or buildah works" in findings["image"].mend


def test_without_a_stack_there_is_nothing_more_to_say(aws: str, clients: Clients) -> None:
    findings = found(clients, "t-nowhere")
    assert list(findings) == ["credentials", "region", "stack"]
    assert findings["stack"].mend == "`smr deploy --stack t-nowhere --region us-east-1`"


def test_a_stack_of_somebody_else_is_none_of_ours(aws: str, clients: Clients) -> None:
    name = f"t-{uuid4().hex[:12]}"
    clients["cloudformation"].create_stack(StackName=name, TemplateBody=json.dumps({"Resources": {"Q": {"Type": "AWS::SQS::Queue"}}}))
    assert "not one of this package" in found(clients, name)["stack"].what


@pytest.mark.parametrize(
    ("variables", "name", "word"),
    [
        (("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "credentials", "aws sso login"),
        (("AWS_DEFAULT_REGION",), "settings", "--region eu-west-1"),
    ],
)
def test_what_all_else_depends_on_ends_the_list(
    aws: str, monkeypatch: pytest.MonkeyPatch, variables: tuple[str, ...], name: str, word: str
) -> None:
    for variable in variables:
        monkeypatch.delenv(variable)
    findings = found(Clients(), "smr")
    assert [(found.name, found.ok) for found in findings.values()] == [(name, False)]
    assert word in findings[name].what


def test_a_quota_of_ten_has_its_remedy() -> None:
    ask = "aws service-quotas request-service-quota-increase --service-code lambda --quota-code L-B99A9384 --desired-value 1000"
    finding = concurrency_finding(10, 10, "eu-west-1")
    assert (finding.ok, finding.mend) == (False, f"`{ask} --region eu-west-1`")
    assert "10 invocations at once in eu-west-1" in finding.what
    assert concurrency_finding(1000, 900, "eu-west-1").ok


@pytest.fixture
def ann(ministack_with_policies: str, monkeypatch: pytest.MonkeyPatch) -> tuple[DeployOptions, Clients]:
    """A deployment where policies are enforced, and somebody who has the policy of a user and no more."""
    for name, value in aws_environment(ministack_with_policies).items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)
    root = Clients()
    options = deploy(root)
    policy = user_policy(options.names)
    # The emulator takes reading how much is reserved for reserving it.
    policy["Statement"].append({"Effect": "Allow", "Action": ["lambda:PutFunctionConcurrency"], "Resource": ["*"]})
    root["s3"].delete_bucket_policy(Bucket=options.names.bucket)  # the emulator has no TLS
    user = options.names.stack
    root["iam"].create_user(UserName=user)
    root["iam"].put_user_policy(UserName=user, PolicyName="smr", PolicyDocument=json.dumps(policy))
    key = root["iam"].create_access_key(UserName=user)["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    return options, Clients()


def test_a_user_sees_what_they_may_see(ann: tuple[DeployOptions, Clients]) -> None:
    options, clients = ann
    findings = found(clients, options.names.stack)
    assert {name: finding.ok for name, finding in findings.items()} == {
        "credentials": True,
        "region": True,
        "stack": None,
        "permissions": True,
    }
    assert "cloudformation:DescribeStacks" in findings["stack"].what
