"""A deployment on the emulator, over HTTP: made, changed, mended, removed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.deploy.account import find_caller
from smr_notebook.backends.aws.deploy.check import examine, put_right
from smr_notebook.backends.aws.deploy.down import left, take_down
from smr_notebook.backends.aws.deploy.options import DeployOptions, checked
from smr_notebook.backends.aws.deploy.patience import Patience
from smr_notebook.backends.aws.deploy.stack import Stack, first_failure, read_options, read_status
from smr_notebook.backends.aws.names import ROUTES
from smr_notebook.backends.system_clock import SystemClock
from smr_notebook.errors import AccessDeniedError, ConfigError, CredentialsError, DeploymentError
from smr_notebook.testing.emulators import FaultProxy

PATIENCE = Patience(SystemClock(), seconds=20, shortest=0.02)
OTHERS = {"Resources": {"Queue": {"Type": "AWS::SQS::Queue"}}}


class Deployment:
    """A stack of the test's own, and the lines that it told."""

    def __init__(self, clients: Clients) -> None:
        self.clients = clients
        self.names = find_caller(clients, f"t-{uuid4().hex[:12]}").names
        self.lines: list[str] = []
        self.stack = Stack(clients, self.names, PATIENCE, self.lines.append)
        repository = f"{self.names.account}.dkr.ecr.{self.names.region}.amazonaws.com/{self.names.repository}"
        self.bare = checked(DeployOptions(self.names, "aws:{}", inputs=("logs",)))
        self.whole = replace(self.bare, image=f"{repository}@sha256:{'0' * 64}")

    def wrong(self, options: DeployOptions) -> list[str]:
        """Return what is not as it should be."""
        return [finding.name for finding in examine(self.clients, options) if not finding.ok]

    def down(self) -> list[str]:
        """Take it down, and return what is left."""
        return take_down(self.stack, self.lines.append)


@pytest.fixture
def deployment(aws: str, clients: Clients) -> Deployment:
    return Deployment(clients)


def test_a_deployment_comes_in_two_phases_and_goes_in_one(deployment: Deployment) -> None:
    assert deployment.stack.set_up(deployment.bare)
    put_right(deployment.clients, deployment.bare, PATIENCE)
    assert deployment.wrong(deployment.bare) == []
    assert any(line.startswith("CREATE_COMPLETE AWS::ECR::Repository") for line in deployment.lines)
    assert not any("AWS::Lambda::Function" in line for line in deployment.lines)

    assert deployment.stack.set_up(deployment.whole)
    put_right(deployment.clients, deployment.whole, PATIENCE)
    assert deployment.wrong(deployment.whole) == []
    made = [line for line in deployment.lines if "AWS::Lambda::Function" in line]
    assert sorted(line.split()[-1] for line in made) == sorted(map(deployment.names.function, ROUTES))

    assert deployment.down() == []
    assert left(deployment.clients, deployment.names) == []


def test_deploying_again_changes_nothing(deployment: Deployment) -> None:
    deployment.stack.set_up(deployment.whole)
    assert not deployment.stack.set_up(deployment.whole)


def test_the_stack_remembers_its_options(deployment: Deployment) -> None:
    assert read_options(deployment.clients, deployment.names) is None
    for options in (deployment.bare, deployment.whole, replace(deployment.whole, memory=3008)):
        deployment.stack.set_up(options)
        assert read_options(deployment.clients, deployment.names) == options
    function = deployment.names.function("mapper")
    assert deployment.clients["lambda"].get_function_configuration(FunctionName=function)["MemorySize"] == 3008


def test_what_the_stack_did_not_set_is_found_and_set(deployment: Deployment) -> None:
    """The emulator's CloudFormation leaves these out, as AWS may one day: nothing else would tell."""
    deployment.stack.set_up(deployment.whole)
    found = {finding.name: finding for finding in examine(deployment.clients, deployment.whole) if not finding.ok}
    assert sorted(found) == ["expiry of objects", "expiry of rows", "recursion"]
    assert "has 'Terminate' instead of 'Allow'" in found["recursion"].what
    assert found["recursion"].mend == f"`smr deploy --stack {deployment.names.stack} --region us-east-1`"
    put_right(deployment.clients, deployment.whole, PATIENCE)
    assert deployment.wrong(deployment.whole) == []


CHANGES: dict[str, Callable[[Deployment], object]] = {
    "public access": lambda d: d.clients["s3"].delete_public_access_block(Bucket=d.names.bucket),
    "expiry of objects": lambda d: d.clients["s3"].delete_bucket_lifecycle(Bucket=d.names.bucket),
    "expiry of rows": lambda d: d.clients["dynamodb"].update_time_to_live(
        TableName=d.names.table, TimeToLiveSpecification={"AttributeName": "ttl", "Enabled": False}
    ),
    "policies": lambda d: d.clients["iam"].put_role_policy(
        RoleName=d.names.role("mapper"),
        PolicyName="mapper",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}),
    ),
    "recursion": lambda d: d.clients["lambda"].put_function_recursion_config(
        FunctionName=d.names.function("coordinator"), RecursiveLoop="Terminate"
    ),
    "failed calls": lambda d: d.clients["lambda"].delete_function_event_invoke_config(
        FunctionName=d.names.function("reducer"), Qualifier="$LATEST"
    ),
    "delivery of failures": lambda d: d.clients["lambda"].update_event_source_mapping(
        UUID=d.clients["lambda"].list_event_source_mappings(FunctionName=d.names.function("coordinator"))["EventSourceMappings"][0]["UUID"],
        Enabled=False,
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_somebody_changed_by_hand_is_found_and_put_right(deployment: Deployment, name: str) -> None:
    deployment.stack.set_up(deployment.whole)
    put_right(deployment.clients, deployment.whole, PATIENCE)
    CHANGES[name](deployment)
    assert deployment.wrong(deployment.whole) == [name]
    assert not deployment.stack.set_up(deployment.whole), "the template is the same, so CloudFormation sees nothing"
    put_right(deployment.clients, deployment.whole, PATIENCE)
    assert deployment.wrong(deployment.whole) == []


def test_what_cannot_be_put_right_is_an_error_with_its_remedy(deployment: Deployment) -> None:
    deployment.stack.set_up(deployment.whole)
    function = deployment.names.function("driver")
    deployment.clients["lambda"].update_function_configuration(FunctionName=function, MemorySize=512)
    deployment.clients["lambda"].get_waiter("function_updated_v2").wait(FunctionName=function, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    with pytest.raises(DeploymentError) as raised:
        put_right(deployment.clients, deployment.whole, PATIENCE)
    assert f"functions: {function}: MemorySize is 512 instead of 1769. To mend it: `smr deploy --stack" in str(raised.value)


def test_a_resource_that_cannot_be_made_is_named_with_its_reason_and_a_later_try_begins_anew(deployment: Deployment) -> None:
    bucket = deployment.names.bucket
    deployment.clients["s3"].create_bucket(Bucket=bucket)
    with pytest.raises(DeploymentError) as raised:
        deployment.stack.set_up(deployment.whole)
    what = f"Resource of type 'AWS::S3::Bucket' with identifier '{bucket}' already exists."
    assert str(raised.value) == f"The stack {deployment.names.stack} in us-east-1 could not be created: {what}"
    assert read_status(deployment.clients, deployment.names.stack) == "ROLLBACK_COMPLETE"
    standing = read_options(deployment.clients, deployment.names)
    assert standing == deployment.bare, "its image may have been the reason, and is forgotten"
    deployment.clients["s3"].delete_bucket(Bucket=bucket)
    assert deployment.stack.set_up(deployment.bare)
    assert any("never came up" in line for line in deployment.lines)


def event(kind: str, name: str, status: str, reason: str = "") -> dict[str, str]:
    """Return an event of a stack as CloudFormation gives it."""
    return {"ResourceType": f"AWS::{kind}", "LogicalResourceId": name, "ResourceStatus": status, "ResourceStatusReason": reason}


def test_of_many_resources_that_fail_the_first_is_the_reason() -> None:
    cancelled = event("IAM::Role", "MapperRole", "CREATE_FAILED", "Resource creation cancelled")
    reason = "Value '20000' at 'memorySize' failed to satisfy constraint: Member must have value less than or equal to 10240."
    events = [
        event("CloudFormation::Stack", "smr", "CREATE_IN_PROGRESS", "User Initiated"),
        event("SQS::Queue", "Failed", "CREATE_COMPLETE"),
        cancelled,
        event("Lambda::Function", "MapperFunction", "CREATE_FAILED", reason),
        event("CloudFormation::Stack", "smr", "ROLLBACK_FAILED", "The following resource(s) failed to delete: [Failed]."),
    ]
    assert first_failure(events) == f"AWS::Lambda::Function MapperFunction: {reason}"
    assert first_failure([cancelled]) == "its events in the console say why."


def test_a_stack_of_somebody_else_is_left_alone(deployment: Deployment) -> None:
    formation = deployment.clients["cloudformation"]
    formation.create_stack(StackName=deployment.names.stack, TemplateBody=json.dumps(OTHERS))
    deployment.clients["s3"].create_bucket(Bucket=deployment.names.bucket)
    deployment.clients["s3"].put_object(Bucket=deployment.names.bucket, Key="jobs/theirs", Body=b"x")
    for tried in (lambda: deployment.stack.set_up(deployment.bare), deployment.down):
        with pytest.raises(DeploymentError, match="was not made by this package, and is left alone"):
            tried()
    assert read_status(deployment.clients, deployment.names.stack) == "CREATE_COMPLETE"
    assert deployment.clients["s3"].get_object(Bucket=deployment.names.bucket, Key="jobs/theirs")["Body"].read() == b"x"


def test_a_change_set_that_somebody_prepares_is_left_alone(deployment: Deployment) -> None:
    deployment.clients["cloudformation"].create_change_set(
        StackName=deployment.names.stack, ChangeSetName="theirs", ChangeSetType="CREATE", TemplateBody=json.dumps(OTHERS)
    )
    assert read_status(deployment.clients, deployment.names.stack) == "REVIEW_IN_PROGRESS"
    assert read_options(deployment.clients, deployment.names) is None
    with pytest.raises(DeploymentError, match="left alone"):
        deployment.stack.set_up(deployment.bare)


def test_what_a_deployment_holds_goes_with_it(deployment: Deployment) -> None:
    deployment.stack.set_up(deployment.whole)
    clients, names = deployment.clients, deployment.names
    clients["s3"].put_bucket_versioning(Bucket=names.bucket, VersioningConfiguration={"Status": "Enabled"})
    for number in range(3):
        clients["s3"].put_object(Bucket=names.bucket, Key="jobs/a", Body=str(number).encode())
    clients["s3"].delete_object(Bucket=names.bucket, Key="jobs/a")
    clients["s3"].create_multipart_upload(Bucket=names.bucket, Key="jobs/b")
    clients["scheduler"].create_schedule(
        GroupName=names.schedules,
        Name="alarm",
        ScheduleExpression="at(2099-01-01T00:00:00)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": names.arn("lambda", f"function:{names.function('coordinator')}"), "RoleArn": names.role_arn("scheduler")},
    )
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json", "layers": []}
    clients["ecr"].put_image(repositoryName=names.repository, imageManifest=json.dumps(manifest), imageTag="one")
    assert len(left(clients, names)) == 27
    assert deployment.down() == []


def test_what_is_left_is_named(deployment: Deployment) -> None:
    deployment.clients["logs"].create_log_group(logGroupName=f"/aws/lambda/{deployment.names.function('mapper')}")
    log = f"log /aws/lambda/{deployment.names.function('mapper')}"
    assert deployment.down() == [f"The {log} is left. It belongs to no stack: delete it by hand."]


def test_a_stack_that_may_not_be_deleted_says_so(deployment: Deployment) -> None:
    deployment.stack.set_up(deployment.bare)
    formation: Any = deployment.clients["cloudformation"]
    formation.update_termination_protection(StackName=deployment.names.stack, EnableTerminationProtection=True)
    with pytest.raises(Exception, match=r"(?i)termination ?protection"):
        deployment.down()
    formation.update_termination_protection(StackName=deployment.names.stack, EnableTerminationProtection=False)
    assert deployment.down() == []


def test_no_region_is_said_with_what_helps(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(ConfigError, match="--region eu-west-1"):
        find_caller(Clients(), "smr")


@pytest.mark.parametrize(("code", "kind"), [("ExpiredToken", CredentialsError), ("AccessDenied", AccessDeniedError)])
def test_what_aws_refuses_is_told_by_its_cause(faults: FaultProxy, clients: Clients, code: str, kind: type[Exception]) -> None:
    deployment = Deployment(clients)
    faults.set({"service": "cloudformation", "times": 1, "error": {"code": code, "status": 403}})
    with pytest.raises(kind):
        deployment.stack.set_up(deployment.bare)
