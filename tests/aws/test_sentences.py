"""What somebody reads when something on AWS is not as it should be: one clear sentence or two with what helps, and no trace of botocore.

Where permissions are what lacks, see `test_jobs_guarded`.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

import smr_notebook as smr
from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.faults import code_of
from smr_notebook.backends.aws.functions import PAYLOAD_BYTES, QUOTA_REQUEST
from smr_notebook.control.launching import plan_branches, ranges_of
from smr_notebook.control.messages import attempt_message, encode
from smr_notebook.errors import (
    ConfigError,
    CredentialsError,
    DeploymentError,
    EnvironmentMismatchError,
    InputMissingError,
    ServiceError,
    ThrottledError,
    WorkerLostError,
)
from smr_notebook.model import AttemptId, JobState, Phase, TaskId
from smr_notebook.testing.cloud import Shape, functions_of, make_resources, options_of
from smr_notebook.testing.emulators import FaultProxy
from smr_notebook.testing.lambdas.service import Service, lambda_service
from smr_notebook.testing.lambdas.settings import ACCOUNT, REGION, Faults, Function, Refusal
from smr_notebook.testing.sentences import check_sentence
from smr_notebook.testing.waiting import wait_until

pytestmark = pytest.mark.filterwarnings("ignore:.*tasks run .* at a time")  # of a small account, which these are

NOWHERE = "http://127.0.0.1:9"

Change = Callable[[Function], Function]
Deploy = Callable[..., AbstractContextManager[tuple[smr.Session, Service]]]


def words(line: str) -> Iterator[tuple[str, int]]:
    for word in line.split():
        yield word, 1


@pytest.fixture
def shape() -> Shape:
    """A deployment of the test's own."""
    return Shape(stack=f"s{uuid4().hex[:12]}", lease_seconds=3.0)


@pytest.fixture
def deploy(ministack: str, aws: str, clients: Clients, shape: Shape, monkeypatch: pytest.MonkeyPatch) -> Deploy:
    """A function that deploys, with functions that may be changed before, and opens a session on it."""

    @contextmanager
    def deploy(
        change: Change = lambda function: function, *, faults: Faults | None = None, limit: int = 8
    ) -> Iterator[tuple[smr.Session, Service]]:
        make_resources(clients, options_of(shape).names)
        functions = [change(function) for function in functions_of(shape, ministack)]
        with lambda_service(functions, account_limit=limit, time_scale=shape.time_scale, faults=faults) as service:
            for name, value in service.access.items():
                monkeypatch.setenv(name, value)
            yield smr.Session("aws", stack=shape.stack), service

    return deploy


def deploying(shape: Shape) -> str:
    """Return how the commands begin that mend a deployment."""
    return f"`smr deploy --stack {shape.stack} --region {REGION}"


# ---------------------------------------------------------------- opening a session


def test_without_credentials(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(CredentialsError) as caught:
        smr.Session("aws")
    check_sentence(caught.value, CredentialsError, "there are no credentials", "`aws sso login`", "AWS_PROFILE")


@pytest.mark.parametrize(
    ("code", "words"),
    [("ExpiredToken", "have expired"), ("InvalidClientTokenId", "does not know"), ("SignatureDoesNotMatch", "does not know")],
)
def test_with_credentials_that_serve_no_more(faults: FaultProxy, code: str, words: str) -> None:
    faults.set({"service": "sts", "times": 1, "error": {"code": code, "status": 403}})
    with pytest.raises(CredentialsError) as caught:
        smr.Session("aws")
    check_sentence(caught.value, CredentialsError, words, code, "`aws sso login`")


def test_a_profile_that_is_not_there(aws: str) -> None:
    with pytest.raises(ConfigError) as caught:
        smr.Session("aws", profile="work")
    check_sentence(caught.value, ConfigError, "(work)", "`aws configure list-profiles`", "AWS_PROFILE")


def test_no_region(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(ConfigError) as caught:
        smr.Session("aws")
    check_sentence(caught.value, ConfigError, 'region="', "AWS_REGION")


@pytest.mark.parametrize(("region", "meant"), [("eu-wset-1", "Did you mean 'eu-west-1'?"), ("narnia", "AWS_REGION")])
def test_a_region_that_is_mistyped_has_no_address(aws: str, monkeypatch: pytest.MonkeyPatch, region: str, meant: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", NOWHERE)
    with pytest.raises(ConfigError) as caught:
        smr.Session("aws", region=region)
    check_sentence(caught.value, ConfigError, repr(region), meant)


def test_a_region_that_can_be_none(aws: str) -> None:
    with pytest.raises(ConfigError) as caught:
        smr.Session("aws", region="eu west 1")
    check_sentence(caught.value, ConfigError, "eu west 1", "AWS_…")


def test_an_endpoint_that_nobody_answers(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", NOWHERE)
    with pytest.raises(ServiceError) as caught:
        smr.Session("aws")
    check_sentence(caught.value, ServiceError, NOWHERE, "AWS_ENDPOINT_URL")


def test_a_stack_that_was_never_deployed_or_elsewhere(aws: str) -> None:
    with pytest.raises(DeploymentError) as caught:
        smr.Session("aws", stack="nothing", region="eu-west-1")
    check_sentence(
        caught.value, DeploymentError, "'nothing'", "eu-west-1", ACCOUNT, "`smr deploy --stack nothing --region eu-west-1`", "stack="
    )


def test_a_stack_of_another_version(deploy: Deploy, shape: Shape) -> None:
    def other(function: Function) -> Function:
        return replace(function, environment={**function.environment, "SMR_LOCATION": "aws:{}"})

    with pytest.raises(DeploymentError) as caught, deploy(other):
        pass
    check_sentence(caught.value, DeploymentError, repr(shape.stack), f"{deploying(shape)}`")


def test_requirements_that_the_workers_lack(deploy: Deploy, shape: Shape) -> None:
    with deploy(), pytest.raises(EnvironmentMismatchError) as caught:
        smr.Session("aws", stack=shape.stack, requirements=["no-such-package==1.2", "boto3"])
    command = f"{deploying(shape)} --requirement no-such-package==1.2 --requirement boto3`"
    check_sentence(caught.value, EnvironmentMismatchError, "no-such-package==1.2 (they have none)", command)


@pytest.mark.parametrize("missing", ["boto3", "botocore"])
def test_without_boto3(missing: str, tmp_path: Path) -> None:
    """In a process of its own, where nothing of that name can be imported."""
    code = f"""
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
import smr_notebook as smr
smr.Session("local", settings={{"workspace": sys.argv[1]}})
try:
    smr.Session("aws", region="eu-west-1")
except smr.errors.ConfigError as error:
    import traceback
    print(error)
    print("ModuleNotFoundError" in "".join(traceback.format_exception(error)))
"""
    found = subprocess.run([sys.executable, "-c", code, tmp_path], check=True, capture_output=True, text=True).stdout.splitlines()
    assert found == [f"AWS needs {missing}, which is not installed: `pip install 'smr_notebook[aws]'` brings it.", "False"]


# ---------------------------------------------------------------- the input


def test_input_that_is_mistyped_is_told_at_once(deploy: Deploy, clients: Clients, bucket: str) -> None:
    clients["s3"].put_object(Bucket=bucket, Key="logs/a.txt", Body=b"a b c\n")
    with deploy() as (session, service):
        for name, named in {
            f"s3://{bucket}x/logs/": (f"{bucket}x", "Check its name"),
            f"s3://{bucket}/logs/b.txt": ("Check the name", f"`aws s3 ls s3://{bucket}/`"),
            f"s3://{bucket}/lgos/": ("Check the name", f"`aws s3 ls s3://{bucket}/`"),
            f"s3://{bucket}/logs/*.gz": ("or the glob", f"`aws s3 ls s3://{bucket}/`"),
            "s3://My Bucket/logs/": ("'My Bucket'", "s3://bucket/folder/"),
            "s3:///logs/": ("''", "s3://bucket/folder/"),
        }.items():
            with pytest.raises(InputMissingError) as caught:
                session.map_reduce(words, sum, name)
            check_sentence(caught.value, InputMissingError, name, *named)
        for name, named in {f"gs://{bucket}/logs/": ("gs://", "s3://"), "/etc/hosts": ("/etc/hosts", "`aws s3 cp --recursive`")}.items():
            with pytest.raises(ConfigError) as refused:
                session.map_reduce(words, sum, name)
            check_sentence(refused.value, ConfigError, name, *named)
        assert session.jobs() == []
        assert not any(box.busy for boxes in service.status().sandboxes.values() for box in boxes)


# ---------------------------------------------------------------- workers that do not work


def own_handler(folder: Path, text: str) -> Callable[[Function], Function]:
    """Return what makes a function's image hold another entry."""
    (folder / "other.py").write_text(text)

    def change(function: Function) -> Function:
        variables = {**function.environment, "PYTHONPATH": f"{function.folder}:{Path(smr.__file__).parents[1]}"}
        return replace(function, handler="other.handler", folder=str(folder), environment=variables)

    return change


def test_an_image_that_cannot_start(deploy: Deploy, shape: Shape, tmp_path: Path) -> None:
    with deploy(own_handler(tmp_path, "import numpy.no_such_module")) as (session, _), pytest.raises(DeploymentError) as caught:
        session.map_reduce(words, sum, ["a"])
    check_sentence(caught.value, DeploymentError, f"{shape.stack}-driver", "no_such_module", f"{deploying(shape)}`")


def test_workers_that_cannot_start_are_not_blamed_on_the_function(deploy: Deploy, tmp_path: Path) -> None:
    broken = own_handler(tmp_path, "import numpy.no_such_module")

    def change(function: Function) -> Function:
        return broken(function) if function.name.endswith("mapper") else function

    with deploy(change) as (session, _), pytest.raises(WorkerLostError) as caught:
        session.map_reduce(words, sum, ["a"]).result()
    check_sentence(caught.value, WorkerLostError, "no_such_module", "The workers do not start", "`smr deploy`")


ANOTHER = """
import entry

def handler(event, context):
    answer = entry.handler(event, context)
    if event.get("role") == "stamp":
        answer["python"] = "3.9"
        answer["packages"] = [[name, "0.1" if name == "pyarrow" else version] for name, version in answer["packages"] if name != "numpy"]
    return answer
"""


def test_an_image_of_another_environment(deploy: Deploy, shape: Shape, tmp_path: Path) -> None:
    with deploy(own_handler(tmp_path, ANOTHER)) as (session, _), pytest.raises(EnvironmentMismatchError) as caught:
        session.map_reduce(words, sum, ["a"])
    check_sentence(caught.value, EnvironmentMismatchError, "3.9 on the workers", "pyarrow", "numpy", f"{deploying(shape)}`")


@pytest.mark.parametrize("route", ["driver", "mapper", "reducer"])
def test_functions_that_were_deleted(deploy: Deploy, shape: Shape, route: str) -> None:
    gone = Faults(refusals=(Refusal(f"{shape.stack}-{route}", "ResourceNotFoundException", 404, times=1000),))
    with deploy(faults=gone) as (session, _), pytest.raises(DeploymentError) as caught:
        session.map_reduce(words, sum, ["a"]).result()
    check_sentence(caught.value, DeploymentError, f"{shape.stack}-{route}", REGION, f"{deploying(shape)}`")


# ---------------------------------------------------------------- too much at once


def test_a_quota_of_ten_is_told_and_kept_within(deploy: Deploy) -> None:
    with deploy(limit=10) as (session, service):
        job = session.map_reduce(words, sum, [f"a{number}" for number in range(60)], split_size=1)
        with pytest.warns(smr.PlanWarning, match="`aws service-quotas request-service-quota-increase") as caught:
            assert len(job.result()) == 60
        assert [warned.filename for warned in caught] == [__file__]
        assert service.status().counts["throttled"] == 0
        (warning,) = job.warnings
    assert (
        warning == f"60 map tasks run 6 at a time. The account allows no more in {REGION}; ask for it: `{QUOTA_REQUEST} --region {REGION}`."
    )


def test_an_account_that_is_used_up_when_a_job_is_submitted(deploy: Deploy, shape: Shape) -> None:
    full = Faults(refusals=(Refusal(f"{shape.stack}-driver", "TooManyRequestsException", 429, times=5),))
    with deploy(faults=full) as (session, _):
        with pytest.raises(ThrottledError) as caught:
            session.map_reduce(words, sum, ["a"])
        check_sentence(caught.value, ThrottledError, f"{shape.stack}-driver", REGION, f"`{QUOTA_REQUEST} --region {REGION}`")
        assert session.map_reduce(words, sum, ["a"], wait=True)["key"].tolist() == ["a"]


def test_a_job_outlives_a_time_in_which_nothing_of_it_may_run(deploy: Deploy, shape: Shape) -> None:
    full = Faults(refusals=(Refusal(f"{shape.stack}-mapper", "TooManyRequestsException", 429, times=7),))
    with deploy(faults=full) as (session, _):
        assert session.map_reduce(words, sum, ["a"], wait=True)["key"].tolist() == ["a"]


def test_functions_that_have_no_share_in_what_may_run(deploy: Deploy) -> None:
    """Lambda drops what it could not run for a minute, twenty times over; the first one is told already while the job goes on."""

    def reserved(function: Function) -> Function:
        return replace(function, reserved=0) if function.name.endswith("mapper") else function

    with deploy(reserved) as (session, _):
        job = session.map_reduce(words, sum, ["a"])
        wait_until(job.errors, 60.0)
        assert not job.done()
        (failed,) = job.errors()
        assert (failed.failure.type, failed.failure.message) == ("LaunchDropped", "Lambda never ran it (EventAgeExceeded)")
        with pytest.raises(WorkerLostError) as caught:
            job.result()
    check_sentence(caught.value, WorkerLostError, "EventAgeExceeded", "all that may run at once", "`smr doctor`")


def test_no_payload_is_too_large() -> None:
    """The largest is the branch of a tree of launches whose attempts are no neighbours: with a concurrency of 100,000."""
    launches = [AttemptId(TaskId(Phase.REDUCE, number), 19 + number % 2) for number in range(900_000, 1_000_000)]
    payloads = [encode(attempt_message("09af09af", first, ranges_of(rest))) for first, *rest in plan_branches(launches, branching=32)]
    assert max(map(len, payloads)) < PAYLOAD_BYTES / 4


# ---------------------------------------------------------------- in the middle of a job


def slow_words(line: str) -> Iterator[tuple[str, int]]:
    threading.Event().wait(0.5)
    yield from words(line)


def test_credentials_that_expire_while_a_job_runs(
    deploy: Deploy, shape: Shape, faults: FaultProxy, clients: Clients, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job does not need them: it goes on, and whoever signs in again finds it done."""
    clients["s3"].put_object(Bucket=bucket, Key="logs/a.txt", Body=b"a b c\n")
    with deploy():
        monkeypatch.setenv("AWS_ENDPOINT_URL", faults.url)
        session = smr.Session("aws", stack=shape.stack)
        job = session.map_reduce(slow_words, sum, f"s3://{bucket}/logs/")
        uses: list[tuple[str, str, Callable[[], object]]] = [
            ("dynamodb", "ExpiredTokenException", job.result),
            ("dynamodb", "UnrecognizedClientException", job.status),
            ("s3", "ExpiredToken", lambda: session.map_reduce(words, sum, f"s3://{bucket}/logs/")),
            ("s3", "InvalidAccessKeyId", lambda: session.map_reduce(words, sum, ["a"])),
        ]
        for service, code, use in uses:
            faults.set({"service": service, "times": 1, "error": {"code": code, "status": 400}})
            with pytest.raises(CredentialsError) as caught:
                use()
            check_sentence(caught.value, CredentialsError, code, "`aws sso login`", "then try again")
        faults.set()
        assert job.result()["key"].tolist() == ["a", "b", "c"]


def test_a_table_that_is_deleted_while_a_job_runs(deploy: Deploy, shape: Shape, clients: Clients) -> None:
    with deploy() as (session, _):
        job = session.map_reduce(slow_words, sum, [f"a{number}" for number in range(20)])
        wait_until(lambda: job.status().map.running, 30.0)
        clients["dynamodb"].delete_table(TableName=shape.stack)
        for use in (job.result, job.status, session.jobs, lambda: session.map_reduce(words, sum, ["a"])):
            with pytest.raises(DeploymentError) as caught:
                use()
            check_sentence(
                caught.value,
                DeploymentError,
                f"the table '{shape.stack}'",
                f"`smr down --stack {shape.stack} --region {REGION}`",
                f"{deploying(shape)}`",
            )


def _deleted(s3: Any, bucket: str) -> bool:
    """Empty a bucket and delete it; false if workers wrote in between."""
    for found in s3.list_objects_v2(Bucket=bucket).get("Contents", ()):
        s3.delete_object(Bucket=bucket, Key=found["Key"])
    try:
        s3.delete_bucket(Bucket=bucket)
    except ClientError as error:
        if code_of(error) == "BucketNotEmpty":
            return False
        raise
    return True


def test_a_bucket_that_is_deleted_while_a_job_runs(deploy: Deploy, shape: Shape, clients: Clients) -> None:
    bucket = options_of(shape).names.bucket
    with deploy() as (session, _):
        job = session.map_reduce(slow_words, sum, [f"a{number}" for number in range(20)])
        wait_until(lambda: job.status().map.running, 30.0)
        wait_until(lambda: _deleted(clients["s3"], bucket), 30.0)
        with pytest.raises(DeploymentError) as caught:
            session.map_reduce(words, sum, ["a"])
        check_sentence(caught.value, DeploymentError, f"'s3://{bucket}/", f"`smr down --stack {shape.stack}", f"{deploying(shape)}`")
        with pytest.raises((DeploymentError, InputMissingError)) as ended:
            job.result()
        first, *_ = str(ended.value).split("\n\n")  # a task may also have looked between the deletion of an object and that of its bucket
        if isinstance(ended.value, DeploymentError):
            check_sentence(DeploymentError(first), DeploymentError, bucket, "no such bucket", f"{deploying(shape)}`")
        else:
            check_sentence(InputMissingError(first), InputMissingError, f"jobs/{job.id}/input/", "is gone. Submit the job again.")
        assert str(pickle.loads(pickle.dumps(ended.value))) == str(ended.value)
        shown = "".join(traceback.format_exception(ended.value))
        assert [told for told in ("An error occurred (", "another exception", "direct cause") if told in shown] == []
        assert job.status().state is JobState.FAILED
