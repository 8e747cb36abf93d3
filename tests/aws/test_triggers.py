"""Triggers on AWS: what buckets and schedules are told, beside whatever others told them; and jobs that start with nobody there.

Between S3 and a function of our own service nobody carries notifications: there the documented events are sent by the test, doubled and in
any order. That the emulator's own, which it carries to functions of its own, are understood is `TestAwsTriggers`.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote_plus
from uuid import uuid4

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import smr_notebook as smr
from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.events import firing
from smr_notebook.backends.aws.names import Names, notification_id
from smr_notebook.backends.aws.notifications import filter_of
from smr_notebook.backends.aws.triggers import AwsTriggers
from smr_notebook.cli import main
from smr_notebook.control.triggers import list_triggers, request_key
from smr_notebook.errors import AccessDeniedError, ConfigError, DeploymentError, ServiceError
from smr_notebook.job.handle import Job, JobInfo
from smr_notebook.testing.cloud import Shape, deployed
from smr_notebook.testing.emulators import aws_environment
from smr_notebook.testing.lambdas.service import Service
from smr_notebook.testing.lambdas.settings import ACCOUNT, Faults
from smr_notebook.testing.triggers import TriggersBench, TriggersTests
from smr_notebook.testing.waiting import wait_until
from smr_notebook.values.globs import lies_under

pytestmark = pytest.mark.filterwarnings("ignore:.*tasks run .* at a time")  # of a small account, which these are

WRITES_DOWN = """
import json, os

def handler(event, context):
    path = os.path.join(os.environ["FOLDER"], context.aws_request_id)
    with open(path + ".new", "w") as file:
        json.dump(event, file)
    os.replace(path + ".new", path + ".json")
"""


@pytest.fixture
def clients(aws: str) -> Clients:
    """Clients of the emulator that no other test has hung hooks on."""
    return Clients()


@pytest.fixture
def names(clients: Clients) -> Names:
    """A deployment of the test's own, of which the schedule group is there."""
    names = Names(f"s-{uuid4().hex[:20]}", ACCOUNT, clients.region)
    clients["scheduler"].create_schedule_group(Name=names.schedules)
    return names


@pytest.fixture
def folder(clients: Clients, names: Names, tmp_path: Path) -> Path:
    """Where the coordinator's function, the emulator's own, writes what it is called with."""
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("notes.py", WRITES_DOWN)
    clients["lambda"].create_function(
        FunctionName=names.function("coordinator"),
        Runtime="python3.11",
        Role=names.role_arn("coordinator"),
        Handler="notes.handler",
        Code={"ZipFile": code.getvalue()},
        Environment={"Variables": {"FOLDER": str(tmp_path)}},
    )
    return tmp_path


@pytest.fixture
def triggers(clients: Clients, names: Names, folder: Path) -> AwsTriggers:
    assert folder.exists()
    return AwsTriggers(clients, names)


class TestAwsTriggers(TriggersTests):
    @pytest.fixture
    def bench(self, clients: Clients, triggers: AwsTriggers, bucket: str, folder: Path) -> TriggersBench:
        def calls() -> list[bytes]:
            events = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime)]
            return [payload for event in events for record in event["Records"] if (payload := firing(record))]

        def upload(key: str, content: bytes) -> None:
            clients["s3"].put_object(Bucket=bucket, Key=key, Body=content)

        return TriggersBench(triggers, bucket, upload, calls)


# ---------------------------------------------------------------- beside others


def told_of(clients: Clients, bucket: str) -> dict[str, Any]:
    """Return what a bucket tells whom."""
    answer = clients["s3"].get_bucket_notification_configuration(Bucket=bucket)
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}


def tell(clients: Clients, bucket: str, document: dict[str, Any]) -> None:
    clients["s3"].put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=document, SkipDestinationValidation=True)


def entry(kind: str, id: str, *, prefix: str = "", suffix: str = "", events: tuple[str, ...] = ("s3:ObjectCreated:*",)) -> dict[str, Any]:
    """Return an entry of somebody else."""
    arns = {
        "Queue": f"arn:aws:sqs:us-east-1:{ACCOUNT}:theirs",
        "Topic": f"arn:aws:sns:us-east-1:{ACCOUNT}:theirs",
        "LambdaFunction": f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:theirs",
    }
    rules = [{"Name": name, "Value": value} for name, value in (("prefix", prefix), ("suffix", suffix)) if value]
    return {"Id": id, f"{kind}Arn": arns[kind], "Events": list(events), **({"Filter": {"Key": {"FilterRules": rules}}} if rules else {})}


THEIRS: dict[str, Any] = {
    "QueueConfigurations": [entry("Queue", "q", prefix="queue/", suffix=".csv"), entry("Queue", "gone", events=("s3:ObjectRemoved:*",))],
    "TopicConfigurations": [
        entry("Topic", "t", prefix="pictures/", suffix=".jpg", events=("s3:ObjectCreated:Put", "s3:ObjectRemoved:Delete"))
    ],
    "LambdaFunctionConfigurations": [entry("LambdaFunction", "f", prefix="lambda/")],
    "EventBridgeConfiguration": {},
}
"""What others are told, each in its way."""


def statements(clients: Clients, names: Names) -> list[dict[str, Any]]:
    """Return who may call the coordinator."""
    try:
        found = clients["lambda"].get_policy(FunctionName=names.function("coordinator"))
    except clients["lambda"].exceptions.ResourceNotFoundException:
        return []
    return list(json.loads(found["Policy"])["Statement"])


def test_ours_comes_and_goes_and_those_of_others_stay_as_they_are(
    clients: Clients, names: Names, triggers: AwsTriggers, bucket: str
) -> None:
    tell(clients, bucket, THEIRS)
    before = told_of(clients, bucket)
    assert {name: len(value) for name, value in before.items()} == {name: len(value) for name, value in THEIRS.items()}
    triggers.on_objects("daily.0123abcd", f"{bucket}/logs/*.gz")
    with_ours = told_of(clients, bucket)
    (ours,) = [one for one in with_ours["LambdaFunctionConfigurations"] if one["Id"] != "f"]
    assert ours == {
        "Id": f"smr_notebook:{names.stack}:daily.0123abcd",
        "LambdaFunctionArn": f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:{names.stack}-coordinator",
        "Events": ["s3:ObjectCreated:*"],
        "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "logs/"}, {"Name": "suffix", "Value": ".gz"}]}},
    }
    with_ours["LambdaFunctionConfigurations"].remove(ours)
    assert with_ours == before
    (statement,) = statements(clients, names)
    assert statement["Sid"] == "trigger-daily-0123abcd"
    assert statement["Principal"] == {"Service": "s3.amazonaws.com"}
    assert f"arn:aws:s3:::{bucket}" in json.dumps(statement["Condition"])
    assert ACCOUNT in json.dumps(statement["Condition"])
    triggers.remove("daily.0123abcd", f"{bucket}/logs/*.gz")
    assert told_of(clients, bucket) == before
    assert statements(clients, names) == []


def test_what_somebody_else_writes_at_the_same_moment_stays_and_ours_is_added_to_it(
    clients: Clients, triggers: AwsTriggers, bucket: str
) -> None:
    """They had read before we wrote, so what they write is without ours."""
    other, left = Clients(), [THEIRS, {"QueueConfigurations": THEIRS["QueueConfigurations"]}]
    clients["s3"].meta.events.register(
        "after-call.s3.PutBucketNotificationConfiguration", lambda **_: tell(other, bucket, left.pop()) if left else None
    )
    triggers.on_objects("one.1", f"{bucket}/logs/")
    found = told_of(clients, bucket)
    assert [one["Id"] for one in found["LambdaFunctionConfigurations"]] == ["f", notification_id(triggers._names.stack, "one.1")]
    assert {one["Id"] for one in found["QueueConfigurations"]} == {"q", "gone"}
    left += [found, found]
    triggers.remove("one.1", f"{bucket}/logs/")
    assert [one["Id"] for one in told_of(clients, bucket)["LambdaFunctionConfigurations"]] == ["f"]


def test_a_bucket_that_never_stays_as_it_was_is_an_error(clients: Clients, triggers: AwsTriggers, bucket: str) -> None:
    other = Clients()
    clients["s3"].meta.events.register("after-call.s3.PutBucketNotificationConfiguration", lambda **_: tell(other, bucket, THEIRS))
    with pytest.raises(ServiceError, match=f"What {bucket} tells others is changed by somebody else all the time"):
        triggers.on_objects("one.1", f"{bucket}/logs/")


@pytest.mark.parametrize(
    ("theirs", "location", "told"),
    [
        (entry("Queue", "q"), "logs/", "s3://{}/ "),
        (entry("Topic", "t", prefix="logs/2026/"), "logs/", "s3://{}/logs/2026/ "),
        (entry("LambdaFunction", "f", prefix="l", suffix=".gz"), "logs/*.tar.gz", r"s3://{}/l\*\.gz "),
        (entry("Queue", "q", prefix="logs/", events=("s3:ObjectCreated:Put",)), "**/*.csv", "s3://{}/logs/ "),
    ],
    ids=["all", "below", "above", "some-events"],
)
def test_uploads_that_somebody_else_is_told_of_are_refused_before_s3_does(
    clients: Clients, triggers: AwsTriggers, bucket: str, theirs: dict[str, Any], location: str, told: str
) -> None:
    kind = next(name for name in theirs if name.endswith("Arn")).removesuffix("Arn")
    tell(clients, bucket, {f"{kind}Configurations": [theirs]})
    before = told_of(clients, bucket)
    with pytest.raises(ConfigError, match=told.format(bucket) + rf"already \(notification '{theirs['Id']}'\)"):
        triggers.on_objects("one.1", f"{bucket}/{location}")
    assert told_of(clients, bucket) == before


def test_lost_replies_do_no_harm(clients: Clients, names: Names, triggers: AwsTriggers, bucket: str, hooks: Any) -> None:
    tell(clients, bucket, THEIRS)
    before = told_of(clients, bucket)
    lost = [
        hooks.lose_replies(clients[service], operation)
        for service, operation in (
            ("s3", "PutBucketNotificationConfiguration"),
            ("lambda", "AddPermission"),
            ("scheduler", "CreateSchedule"),
            ("scheduler", "DeleteSchedule"),
        )
    ]
    triggers.on_objects("one.1", f"{bucket}/logs/")
    triggers.at_times("two.2", "rate(1 day)", "UTC")
    assert triggers.stands("one.1", f"{bucket}/logs/")
    assert triggers.stands("two.2")
    assert len(statements(clients, names)) == 1
    lost.append(hooks.lose_replies(clients["lambda"], "RemovePermission"))
    triggers.remove("one.1", f"{bucket}/logs/")
    triggers.remove("two.2")
    assert told_of(clients, bucket) == before
    assert [len(urls) for urls in lost] == [1, 1, 1, 1, 1]


def test_a_bucket_that_is_gone_tells_nobody_any_more(clients: Clients, names: Names, triggers: AwsTriggers, bucket: str) -> None:
    triggers.on_objects("one.1", f"{bucket}/logs/")
    clients["s3"].delete_bucket(Bucket=bucket)
    assert not triggers.stands("one.1", f"{bucket}/logs/")
    triggers.remove("one.1", f"{bucket}/logs/")
    with pytest.raises(DeploymentError, match=r"reading the notifications of .* failed: there is no such bucket|no such bucket"):
        triggers.on_objects("one.2", f"{bucket}/logs/")
    with pytest.raises(ConfigError, match="is where jobs keep what they write: they would start themselves"):
        triggers.on_objects("one.3", f"{names.bucket}/uploads/")


def test_what_s3_refuses_is_told(clients: Clients, triggers: AwsTriggers, bucket: str, hooks: Any) -> None:
    put = "PutBucketNotificationConfiguration"
    hooks.refuse(clients["s3"], put, "InvalidArgument", 400)
    with pytest.raises(ConfigError, match=r"Changing the notifications of .*Words of S3"):
        triggers.on_objects("one.2", f"{bucket}/b/")
    hooks.end()
    hooks.refuse(clients["s3"], put, "AccessDenied", 403)
    with pytest.raises(AccessDeniedError, match="s3:PutBucketNotification"):
        triggers.on_objects("one.3", f"{bucket}/c/")


PIECES = st.sampled_from(
    [("a", "a"), ("b", "b"), ("*", "bä"), ("*", ""), ("?", "b"), ("[ab]", "a"), ("[[]", "["), (".gz", ".gz"), ("ä", "ä")]
)
NAMES = st.lists(PIECES, min_size=1, max_size=3).map(lambda pieces: tuple(map("".join, zip(*pieces, strict=True))))
FOLDERS = st.one_of(NAMES, st.sampled_from([("**", "a/b"), ("**", "")]))


@given(st.lists(FOLDERS, max_size=3), NAMES)
def test_what_s3_lets_pass_is_all_that_a_location_means(folders: list[tuple[str, str]], name: tuple[str, str]) -> None:
    """Patterns and keys of which most match, piece by piece; what else a location means is tested with it."""
    pattern, key = ("/".join(filter(None, each)) for each in zip(*folders, name, strict=True))
    assume(lies_under(key, pattern))
    rules = {rule["Name"]: rule["Value"] for rule in filter_of(pattern)}
    assert key.startswith(rules.get("prefix", ""))
    assert key.endswith(rules.get("suffix", ""))


@pytest.mark.parametrize(
    ("path", "prefix", "suffix"),
    [
        ("logs", "logs/", ""),
        ("", "", ""),
        ("logs/*.tar.gz", "logs/", ".tar.gz"),
        ("year=2026/*/x y.csv", "year", "y.csv"),
        ("my logs/", "my", ""),
        ("**/part-*[0-9].parquet", "", ".parquet"),
    ],
    ids=["folder", "all", "glob", "signs", "space", "classes"],
)
def test_filters_have_no_signs_that_s3_wants_in_other_words(path: str, prefix: str, suffix: str) -> None:
    found = {rule["Name"]: rule["Value"] for rule in filter_of(path)}
    assert found == {name: value for name, value in (("prefix", prefix), ("suffix", suffix)) if value}


def test_a_schedule_says_when_it_was_due(clients: Clients, names: Names, triggers: AwsTriggers) -> None:
    triggers.at_times("daily.0123abcd", "cron(0 3 * * ? *)", "Europe/Berlin")
    found = clients["scheduler"].get_schedule(GroupName=names.schedules, Name="trigger-daily.0123abcd")
    assert (found["ScheduleExpression"], found["ScheduleExpressionTimezone"]) == ("cron(0 3 * * ? *)", "Europe/Berlin")
    assert (found["State"], found["FlexibleTimeWindow"]) == ("ENABLED", {"Mode": "OFF"})
    assert found["Target"] == {
        "Arn": f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:{names.stack}-coordinator",
        "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/{names.stack}-scheduler-us-east-1",
        "Input": '{"fire": "daily.0123abcd", "occurrence": "<aws.scheduler.scheduled-time>"}',
        "RetryPolicy": {"MaximumRetryAttempts": 185, "MaximumEventAgeInSeconds": 86_400},
    }


# ---------------------------------------------------------------- whole jobs


def event_of(stack: str, trigger: str, bucket: str, key: str, *, etag: str, sequencer: str, size: int) -> dict[str, Any]:
    """Return a record of an event, as the documentation of S3 has it (version 2.1)."""
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "us-east-1",
        "eventTime": "2026-11-26T10:00:00.000Z",
        "eventName": "ObjectCreated:Put",
        "userIdentity": {"principalId": "AIDAJDPLRKLG7UEXAMPLE"},
        "requestParameters": {"sourceIPAddress": "127.0.0.1"},
        "responseElements": {"x-amz-request-id": "C3D13FE58DE4C810", "x-amz-id-2": "FMyUVURIY8/IgAtTv8xRjskZQpcIZ9KG4V5Wp6S7S"},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": notification_id(stack, trigger),
            "bucket": {"name": bucket, "ownerIdentity": {"principalId": "A3NL1KOZZKExample"}, "arn": f"arn:aws:s3:::{bucket}"},
            "object": {"key": quote_plus(key, safe="/"), "size": size, "eTag": etag, "sequencer": sequencer},
        },
    }


def words(line: str) -> list[tuple[str, int]]:
    return [(word, 1) for word in line.split()]


@dataclass(frozen=True)
class Running:
    """A deployment whose every second event is doubled, a job that ran there, and the bucket of its input."""

    session: smr.Session
    service: Service
    job: Job
    bucket: str

    @property
    def stack(self) -> str:
        return self.session.settings.stack

    def made(self, name: str) -> list[JobInfo]:
        """Return the jobs that a trigger made."""
        return [job for job in self.session.jobs() if job.name == name]

    def call(self, records: list[dict[str, Any]], *, wait: bool = False) -> None:
        """Call the coordinator as S3 does; or wait until it has answered."""
        kind = "RequestResponse" if wait else "Event"
        payload = json.dumps({"Records": records}).encode()
        answer = Clients()["lambda"].invoke(FunctionName=f"{self.stack}-coordinator", InvocationType=kind, Payload=payload)
        assert "FunctionError" not in answer

    def upload(self, key: str, content: bytes, *, sequencer: str) -> dict[str, Any]:
        """Upload an object, and return what S3 tells of it to the one trigger that stands."""
        (trigger,) = list_triggers(self.session.backend.table)
        etag = Clients()["s3"].put_object(Bucket=self.bucket, Key=key, Body=content)["ETag"].strip('"')
        return event_of(self.stack, trigger.id, self.bucket, key, etag=etag, sequencer=sequencer, size=len(content))


@pytest.fixture(scope="module")
def running(ministack: str) -> Iterator[Running]:
    """A deployment that the tests share: to start its functions takes longer than most of them."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in aws_environment(ministack).items():
            if value is not None:
                patch.setenv(name, value)
        shape = Shape(stack=f"s{uuid4().hex[:12]}", account_limit=4, faults=Faults(doubled_every=2), time_scale=0.02)
        with deployed(ministack, Clients(), shape) as service:
            for name, value in service.access.items():
                patch.setenv(name, value)
            session, bucket = smr.Session("aws", stack=shape.stack), f"b-{uuid4().hex}"
            Clients()["s3"].create_bucket(Bucket=bucket)
            Clients()["s3"].put_object(Bucket=bucket, Key="sample/a.txt", Body=b"one\n")
            job = session.map_reduce(words, sum, f"s3://{bucket}/sample/")
            assert job.result()["key"].tolist() == ["one"]
            yield Running(session, service, job, bucket)


@pytest.fixture
def led(running: Running, lead_to: Callable[[str], None], ministack: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """The same, with boto3 led to it; no trigger stands when the test ends."""
    lead_to(ministack)
    for name, value in running.service.access.items():
        monkeypatch.setenv(name, value)
    yield running
    for trigger in running.session.triggers():
        trigger.remove()


def test_each_upload_is_one_job_however_often_and_in_whatever_order_we_are_told(led: Running) -> None:
    trigger = led.session.on_upload(f"s3://{led.bucket}/in/*.txt", led.job, name="in")
    assert trigger.stands
    records = [led.upload(f"in/ä {number}+.txt", f"w{number} w{number}\n".encode(), sequencer=f"00{number}") for number in range(2)]
    told = records[0]["s3"]
    vain = [
        {**records[0], "s3": {**told, "configurationId": notification_id(led.stack, "in.00000000")}},
        {**records[0], "s3": {**told, "configurationId": "tf-s3-lambda-2026"}},
        {**records[0], "s3": {**told, "object": {**told["object"], "key": "in/x.csv"}}},
        {**records[0], "s3": {**told, "object": {**told["object"], "size": 0}}},
        {**records[0], "eventName": "ObjectRemoved:Delete"},
    ]
    events = [[record] for record in [*records, *records, *vain]] + [records[::-1]]
    Random(7).shuffle(events)
    for event in events:
        led.call(event)
    wait_until(lambda: len(led.made("in")) >= 2)
    results = [led.session.attach(job.id).result() for job in led.made("in")]
    assert sorted((frame["key"][0], frame["value"][0]) for frame in results) == [("w0", 2), ("w1", 2)]
    led.call([*records, *vain], wait=True)
    late = led.upload("in/late.txt", b"late\n", sequencer="9")
    trigger.remove()
    led.call([late], wait=True)
    assert len(led.made("in")) == 2


def test_a_firing_that_failed_is_made_up_for_when_that_is_mended(led: Running) -> None:
    """Lambda tells the queue of failures, and an alarm calls again: nobody else would notice."""
    led.session.on_upload(f"s3://{led.bucket}/mended/", led.job, name="mended")
    (stored,) = list_triggers(led.session.backend.table)
    objects = led.session.backend.objects
    request = objects.get(request_key(stored))
    objects.put(request_key(stored), request[:-1] + bytes([request[-1] ^ 1]))
    led.call([led.upload("mended/a.txt", b"one\n", sequencer="1")])
    wait_until(lambda: "UntrustedObjectError" in led.service.printed())
    assert led.made("mended") == []
    objects.put(request_key(stored), request)
    wait_until(lambda: led.made("mended"))
    assert led.session.attach("mended").result()["key"].tolist() == ["one"]


# ---------------------------------------------------------------- from a shell


JOB = """
input = "s3://{bucket}/sample/*.txt"
map = "words.py:map"
reduce = "sum"
"""


def test_the_commands(led: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clients, bucket, watched = Clients(), led.bucket, f"s3://{led.bucket}/out/"
    tell(clients, bucket, {"QueueConfigurations": [entry("Queue", "q", prefix="queue/")]})
    before = told_of(clients, bucket)
    (tmp_path / "words.py").write_text("def map(line):\n    for word in line.split():\n        yield word, 1\n")
    file = tmp_path / "words.toml"
    file.write_text(JOB.format(bucket=bucket))

    def smr_run(*words: str) -> tuple[int, str, str]:
        code = main([*words, "--platform", "aws", "--stack", led.stack])
        return code, *capsys.readouterr()

    assert smr_run("triggers") == (0, "", "")
    assert smr_run("schedule", "rate(1 minute)", str(file), "--skip-running")[:2] == (0, "words\n")
    assert smr_run("on-upload", watched, str(file), "--name", "in-out")[:2] == (0, "in-out\n")
    code, _, err = smr_run("on-upload", f"{watched}2026/", str(file), "--name", "other")
    assert (code, "S3 tells of an upload once" in err) == (2, True)
    wait_until(lambda: len(led.made("words")) >= 2, 120.0)  # the first has ended, or there were no second one
    code, out, _ = smr_run("triggers")
    assert [line.split()[:2] for line in out.splitlines()] == [["in-out", watched], ["words", "rate(1"]]
    assert "no job yet" in out.splitlines()[0]
    assert "last job" in out.splitlines()[1]
    assert smr_run("triggers", "remove", "words") == (0, "words is removed: rate(1 minute)\n", "")
    assert led.session.attach(led.made("words")[-1].id).result().to_dict("list") == {"key": ["one"], "value": [1]}
    assert smr_run("schedule", "rate(1 day)", led.made("words")[0].id, "--name", "again")[:2] == (0, "again\n")
    tell(clients, bucket, before)
    assert "does not fire any more" in smr_run("triggers")[1].splitlines()[1]
    assert smr_run("triggers", "remove", "in-out")[0] == 0
    assert told_of(clients, bucket) == before

    file.write_text(JOB.format(bucket=bucket) + f'output = "s3://{bucket}/out/result"\n')
    code, _, err = smr_run("on-upload", watched, str(file))
    assert (code, "the job would start itself" in err) == (2, True)
    code, _, err = smr_run("schedule", "rate(1 day)", str(file))
    assert (code, "nobody would wait to write" in err) == (2, True)
    assert [one.name for one in led.session.triggers()] == ["again"]


def test_on_this_machine_cron_does_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "words.py").write_text("def map(line):\n    yield line, 1\n")
    file = tmp_path / "words.toml"
    file.write_text('input = "*.txt"\nmap = "words.py:map"\n')
    assert main(["schedule", "rate(1 day)", str(file)]) == 2
    assert "`0 3 * * * smr run job.toml`" in capsys.readouterr().err
