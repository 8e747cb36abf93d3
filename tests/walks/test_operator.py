"""Who runs a deployment: from an empty account to an empty account, by the commands of docs/aws.md, in the order in which they are needed.

The account is an emulator's, and the functions that it would run are run by our own Lambda service: so what a stack is made of is looked
at and taken down where it was made (`account`), and jobs run where its functions are (`jobs`).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import smr_notebook as smr
from smr_notebook.testing.cloud import Shape, functions_of
from smr_notebook.testing.emulators import aws_environment, emulator
from smr_notebook.testing.lambdas.service import lambda_service

boto3 = pytest.importorskip("boto3")

ROOT = Path(smr.__file__).parents[1]
PAPER = Path(__file__).parents[2] / "docs" / "aws.md"
BUCKETS = ("my-logs", "another-bucket")
IMAGE = ("--image", "a.registry/image:one")

JOB = """
input = "s3://my-logs/2026/*.txt"
map = "words.py:map"
reduce = "sum"
name = "{name}"
max_cost = {limit}
"""
WORDS = """
def map(line):
    print("read", line)
    for word in line.split():
        yield word, 1
"""
ENDLESS = """
import threading

def map(line):
    print("begun", flush=True)
    threading.Event().wait(600)
    yield line, 1
"""
IN_PYTHON = """
import smr_notebook as smr

session = smr.Session("aws")
try:
    session.map_reduce(lambda line: [(line, 1)], sum, "s3://my-logs/2026/*.txt", max_cost=0.0000001).result()
except smr.errors.BudgetExceededError as error:
    print(error)
job = session.map_reduce(lambda line: [(line, 1)], sum, "s3://my-logs/2026/*.txt", max_cost=5.00).wait()
print(sum(job.result()["value"]), job.status().cost.total > 0)
"""


def of_the_paper() -> set[str]:
    """Return the commands that the paper shows, without what they are said to do."""
    blocks = re.findall(r"^```sh\n(.*?)^```", PAPER.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line.partition("#")[0].strip() for block in blocks for line in block.splitlines()]
    return {line for line in lines if line.startswith("smr ")}


@dataclass
class Shell:
    """A shell of the operator.

    Attributes:
        account: Variables that lead to the account.
        jobs: The same, where functions are run.
        folder: Where its commands run.
        said: The commands that were run.
    """

    account: Mapping[str, str]
    jobs: Mapping[str, str]
    folder: Path
    said: list[str] = field(default_factory=list)

    def __call__(self, line: str, *more: str, code: int = 0, **variables: str | None) -> str:
        """Run a command, and return all that it told.

        Args:
            line: The command.
            more: Further words.
            code: The exit code that is expected.
            variables: Of the environment; `None` for not set.
        """
        words = [*line.split(), *more]
        place = self.account if words[1] in {"deploy", "doctor", "down"} else self.jobs
        changed = {**os.environ, **place, "PYTHONPATH": str(ROOT), "HOME": str(self.folder), "SMR_PLATFORM": "aws", **variables}
        found = {name: value for name, value in changed.items() if value is not None}
        command = [sys.executable, "-m", "smr_notebook", *words[1:]]
        done = subprocess.run(command, cwd=self.folder, env=found, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        told = done.stdout + done.stderr
        assert done.returncode == code, f"{' '.join(words)}: {told}"
        assert "Traceback" not in told
        self.said.append(" ".join(words))
        return told

    def python(self, code: str) -> str:
        """Run a script, and return what it printed."""
        found = {**os.environ, **self.jobs, "PYTHONPATH": str(ROOT), "HOME": str(self.folder)}
        done = subprocess.run([sys.executable, "-c", code], cwd=self.folder, env=found, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def job(self, name: str, code: str = WORDS, *, limit: str = "5.00") -> None:
        """Write a job file, `job.toml`, and its functions."""
        (self.folder / "job.toml").write_text(JOB.format(name=name, limit=limit), encoding="utf-8")
        (self.folder / "words.py").write_text(code, encoding="utf-8")

    def client(self, service: str) -> Any:
        """Return a client of the account."""
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        return boto3.client(service, endpoint_url=self.account["AWS_ENDPOINT_URL"], **keys)


@pytest.fixture
def shell(ministack_python: str, tmp_path: Path, lead_nowhere: None) -> Iterator[Shell]:
    """An account of the operator's own, with some logs in it."""
    with emulator(ministack_python, tmp_path / "emulator") as endpoint:
        account = {name: value for name, value in aws_environment(endpoint).items() if value is not None}
        with lambda_service(functions_of(Shape(), endpoint), account_limit=8, time_scale=0.01) as service:
            shell = Shell(account, account | service.access, tmp_path)
            for bucket in BUCKETS:
                shell.client("s3").create_bucket(Bucket=bucket)
            shell.client("s3").put_object(Bucket=BUCKETS[0], Key="2026/a.txt", Body=b"the fox\nthe dog\n")
            yield shell


@pytest.fixture
def lead_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the credentials and places of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "BOTO_"))]:
        monkeypatch.delenv(name)


def left(shell: Shell) -> dict[str, list[str]]:
    """Return all that the account holds, by kind, but for the buckets that were there before."""
    looks: dict[str, Callable[[], list[Any]]] = {
        "stacks": lambda: [one for one in shell.client("cloudformation").describe_stacks()["Stacks"] if "DELETE" not in one["StackStatus"]],
        "buckets": lambda: [one for one in shell.client("s3").list_buckets()["Buckets"] if one["Name"] not in BUCKETS],
        "tables": lambda: shell.client("dynamodb").list_tables()["TableNames"],
        "functions": lambda: shell.client("lambda").list_functions()["Functions"],
        "roles": lambda: [one for one in shell.client("iam").list_roles()["Roles"] if one["RoleName"].startswith("smr")],
        "logs": lambda: shell.client("logs").describe_log_groups()["logGroups"],
        "queues": lambda: shell.client("sqs").list_queues().get("QueueUrls", []),
        "groups": lambda: [one for one in shell.client("scheduler").list_schedule_groups()["ScheduleGroups"] if one["Name"] != "default"],
        "schedules": lambda: shell.client("scheduler").list_schedules()["Schedules"],
        "repositories": lambda: shell.client("ecr").describe_repositories()["repositories"],
        "alarms": lambda: shell.client("cloudwatch").describe_alarms()["MetricAlarms"],
        "rules": lambda: shell.client("events").list_rules()["Rules"],
        "streams": lambda: shell.client("kinesis").list_streams()["StreamNames"],
    }
    return {kind: found for kind, look in looks.items() if (found := look())}


def test_from_an_empty_account_to_an_empty_account(shell: Shell) -> None:
    assert left(shell) == {}
    told = shell("smr deploy --input my-logs another-bucket", *IMAGE)
    assert told.endswith('smr in us-east-1 is ready: smr.Session("aws", stack="smr", region="us-east-1")\n')
    assert len(left(shell)) == 9
    told = shell("smr doctor", code=1)
    assert re.findall(r"^WRONG (\w+)", told, re.MULTILINE) == ["environment"], "the emulator runs no function"

    shell.job("words")
    assert "$5.00 (max_cost)" in shell("smr run job.toml --dry-run")
    assert re.search(r"the +2\n", shell("smr run job.toml"))
    assert re.search(r"done +words\n", shell("smr jobs"))
    assert re.search(r"done \[smr-\w+, \$0\.0", shell("smr status"))
    assert "read the fox" in shell("smr logs")
    assert re.search(r"compute +\$0\.0", shell("smr cost"))
    assert "here jobs expire by themselves" in shell("smr clean")

    shell.job("dear", limit="0.0000001")
    told = shell("smr run job.toml", code=1)
    assert re.search(r"BudgetExceededError: .* thought to cost \$0\.\d+ to \$0\.\d+, and max_cost is \$0\.0000001\. Raise max_cost", told)
    assert "BudgetExceededError" in shell("smr status")
    told, done = shell.python(IN_PYTHON).splitlines()
    assert "max_cost is $0.0000001" in told
    assert done == "2 True"

    shell.job("endless", ENDLESS)
    shell("smr run job.toml --detach")
    assert shell("smr cancel").endswith("is being cancelled\n")
    assert "`smr resume" in shell("smr attach", code=1)

    assert "is ready" in shell("smr deploy --keep-days 3")
    job = shell("smr run job.toml --detach").splitlines()[0]
    told = shell("smr down", code=1)
    assert f"not ended yet, and deleted with the rest: {job}\n" in told
    assert "Nothing was deleted. Type smr when asked, or say --yes." in told
    assert shell("smr down --yes").endswith("nothing is left of smr in us-east-1\n")
    assert left(shell) == {}
    assert shell("smr down --yes").splitlines()[0] == "there is no stack smr in us-east-1: looking for what may be left of one"
    assert of_the_paper()
    assert {command for command in of_the_paper() if not any(said.startswith(command) for said in shell.said)} == set()


WRONG: dict[str, tuple[str, dict[str, str | None], str]] = {
    "no credentials": ("smr deploy", {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "`aws configure` or `aws sso login`"),
    "no region": ("smr jobs", {"AWS_DEFAULT_REGION": None, "AWS_REGION": None}, "Say --region eu-west-1"),
    "no deployment": (
        "smr status --stack smrr",
        {},
        "with `smr deploy --stack smrr --region us-east-1`, or name another one: by --stack",
    ),
    "a name that is none": ("smr deploy --stack My_Stack", {}, "at most 24 lower-case letters"),
    "a bucket with a scheme": ("smr deploy --input s3://my-logs", {}, "Say the name alone, without s3://"),
    "a limit that is none": ("smr status", {"SMR_MAX_COST": "much"}, "max_cost must be an amount of dollars such as 0.50"),
    "a profile that is none": ("smr jobs", {"AWS_PROFILE": "nobody"}, "`aws configure list-profiles`"),
}


def test_what_is_said_wrong_is_told_with_what_helps(shell: Shell) -> None:
    told = {name: shell(line, code=1, **variables) for name, (line, variables, _) in WRONG.items()}
    assert {name: text for name, text in told.items() if WRONG[name][2] not in text or text.count("\n") != 1} == {}
    assert left(shell) == {}
