"""Who may do what: a policy for each role, made for exactly the resources of one stack. Pure.

* Each role has what its work asks for, and nothing else: what it may read, write, call, and its own log.
* Nobody deletes: old objects and rows expire. (The one exception are the queues and streams that pairs of a job travel by, where they do:
  the coordinator makes them and removes them.) Nobody changes IAM; who sets alarms may pass the one role that they run under.
* Workers run the user's code, so they may call only what the work asks for: a mapper starts further mappers, a reducer further reducers
  (a large job is launched as a tree), and both may start a coordinator when the last one has fallen silent.
* A worker with more memory does the same work, and starts no others: only the coordinator calls it, for a task that ran out of memory.
* Each reads and writes what its work asks for of a job's objects: no worker can change the code or the plan of a job, be it another's,
  and only who plans and who maps can read results, which may be the input of the next job. Rows of jobs cannot be told apart like that: a
  policy knows the group of a row, and each job has its own. Two groups are no job's, the list of jobs and the key that proves what holds
  pickles, with the triggers: functions read them, only notebooks write them, and the coordinator, which runs nobody's code, the list of
  jobs: it makes those of triggers. Still a function can read the key, and write rows of other jobs: whoever may submit jobs to a deployment
  trusts the others who may. Whoever may write to the bucket alone need not be trusted.
* Who makes triggers may do so for the functions of this stack, under names that no alarm has, and lets S3 call the coordinator, and nobody
  else. What a bucket tells others is the bucket's affair: whoever changes that does so by their own rights.
* Somebody with a notebook writes what a job is planned from, and the plan of a job that goes on from another one.
* A resource is always named. The one exception is an action that knows no resources.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from smr_notebook.backends.aws.names import LARGE, ROUTES, TABLES, TRIGGER, WORKERS, Names
from smr_notebook.backends.aws.table import stored_as
from smr_notebook.ports import LASTING

Statement = dict[str, Any]

ROLES: Final = (*ROUTES, "scheduler")
"""Each has a policy: the functions, and what wakes a coordinator later."""

_CALLS: Final[Mapping[str, tuple[str, ...]]] = {
    "driver": ("coordinator",),
    "coordinator": (*WORKERS, *LARGE, "coordinator", "driver"),
    "mapper": ("mapper", "coordinator"),
    "reducer": ("reducer", "coordinator"),
    **dict.fromkeys(LARGE, ("coordinator",)),
    "scheduler": ("coordinator",),
    "user": ("driver", "coordinator"),
}
"""Whom each may call."""

_READS: Final[Mapping[str, tuple[str, ...]]] = {
    "driver": ("code", "request", "input/*", "plan", "manifest/*", "*/part-*"),
    "coordinator": ("plan", "code", "map/*", "merge/*", "manifest/*"),
    "mapper": ("plan", "code", "splits/*", "input/*", "*/part-*"),
    "reducer": ("plan", "code", "manifest/*", "index", "merged-index", "map/*", "merge/*"),
    "user": (
        *("plan", "code", "request", "splits/*", "input/*", "manifest/*", "index", "merged-index"),
        *("map/*", "merge/*", "reduce/*", "bad/*", "logs/*"),
    ),
}
_WRITES: Final[Mapping[str, tuple[str, ...]]] = {
    "driver": ("plan", "splits/*"),
    "coordinator": ("index", "merged-index", "manifest/*", "code", "request"),
    "mapper": ("map/*", "bad/map-*", "logs/map-*"),
    "reducer": ("merge/*", "reduce/*", "bad/reduce-*", "logs/merge-*", "logs/reduce-*"),
    "user": ("code", "request", "input/*", "plan"),
}
"""Which objects of a job each may read, and write; what they are is told in `control.layout`. Parts may be the input of other jobs. The
coordinator reads of the code the lines that a crash is told with. A worker with more memory reads and writes as the others do. A reducer
does merge tasks, too."""


_CARRIES: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "coordinator": (
        ("sqs:CreateQueue", "sqs:GetQueueUrl", "sqs:DeleteQueue"),
        ("kinesis:CreateStream", "kinesis:DescribeStreamSummary", "kinesis:DeleteStream"),
    ),
    "mapper": (("sqs:GetQueueUrl", "sqs:SendMessage"), ("kinesis:ListShards", "kinesis:PutRecords")),
    "reducer": (
        ("sqs:GetQueueUrl", "sqs:ReceiveMessage", "sqs:ChangeMessageVisibility"),
        ("kinesis:ListShards", "kinesis:GetShardIterator", "kinesis:GetRecords"),
    ),
}
"""What each does with the queues and the streams of jobs."""

_ALARMS: Final[Mapping[str, tuple[str, ...]]] = {"driver": ("job",), "coordinator": ("job", "fire")}
"""What the alarms of each begin with: of jobs, and of calls of triggers that failed."""

_READERS: Final = ("driver", "mapper")
"""Who reads the buckets of the input."""

_NOTEBOOKS_ROWS: Final = (LASTING, "jobs")
"""Groups of rows that no function writes, but for the coordinator, which lists jobs."""


def role_policy(role: str, names: Names, *, inputs: Sequence[str] = (), outputs: Sequence[str] = ()) -> dict[str, Any]:
    """Return the policy of one of `ROLES`.

    Args:
        role: Whose.
        names: The deployment.
        inputs: Buckets that jobs may read, and tables, as `dynamodb://table`.
        outputs: Buckets that jobs may write to.
    """
    if role == "scheduler":
        return document([_calls(role, names)])
    tables = [names.arn("dynamodb", f"table/{name.removeprefix(TABLES)}") for name in inputs if name.startswith(TABLES)]
    read, write = (
        [_bucket(names, bucket) for bucket in inputs if not bucket.startswith(TABLES)],
        [_bucket(names, bucket) for bucket in outputs],
    )
    limits = _limits(names, *WORKERS, *LARGE)
    own: dict[str, list[Statement]] = {
        "driver": [allow(["s3:ListBucket"], [names.bucket_arn, *read]), *limits, *_alarms("driver", names)],
        "coordinator": [
            allow(["s3:GetObject"], [f"{names.bucket_arn}/triggers/*"]),
            allow(["s3:ListBucket"], [names.bucket_arn]),
            *limits,
            *_alarms("coordinator", names),
            _failures(names),
        ],
    }
    does = _work_of(role)
    objects = _jobs(role, names, inputs=read if does in _READERS else (), outputs=write if does == "reducer" else ())
    scans = [allow(["dynamodb:DescribeTable", "dynamodb:Scan"], tables)] if tables and does in _READERS else []
    log = names.arn("logs", f"log-group:{log_group(names, role)}")  # AWS speaks of a log group in two forms
    telling = [
        allow(["logs:CreateLogStream", "logs:PutLogEvents"], [log, f"{log}:*"]),
        allow(["sqs:SendMessage"], [names.arn("sqs", names.queue)]),
    ]
    return document([*objects, _calls(role, names), *own.get(does, ()), *_carries(does, names), *scans, *telling])


def user_policy(names: Names) -> dict[str, Any]:
    """Return the policy that somebody with a notebook needs: to submit, watch and cancel jobs, and to read their results."""
    limits = _limits(names, *WORKERS, *LARGE, "driver")
    return document([*_jobs("user", names), _calls("user", names), allow(["s3:ListBucket"], [names.bucket_arn]), *limits])


def trigger_policy(names: Names) -> dict[str, Any]:
    """Return the policy that somebody needs besides to make and remove triggers. Changing the notifications of a bucket is not in it."""
    verbs = [f"scheduler:{verb}Schedule" for verb in ("Create", "Get", "Delete")]
    coordinator = [_function(names, "coordinator")]
    letting = allow(["lambda:AddPermission"], coordinator) | {"Condition": {"StringEquals": {"lambda:Principal": "s3.amazonaws.com"}}}
    return document(
        [
            allow(["s3:PutObject", "s3:DeleteObject"], [f"{names.bucket_arn}/triggers/*"]),
            allow(verbs, [names.arn("scheduler", f"schedule/{names.schedules}/{TRIGGER}*")]),
            _passing(names),
            letting,
            allow(["lambda:RemovePermission"], coordinator),
        ]
    )


def trust(service: str, condition: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the policy that lets a service of AWS take a role."""
    statement = {"Effect": "Allow", "Principal": {"Service": f"{service}.amazonaws.com"}, "Action": "sts:AssumeRole"}
    return document([statement | ({"Condition": condition} if condition else {})])


def scheduler_trust(names: Names) -> dict[str, Any]:
    """Return the policy that lets the alarms of this stack, and no other schedules, take the scheduler's role."""
    group = names.arn("scheduler", f"schedule-group/{names.schedules}")
    return trust("scheduler", {"StringEquals": {"aws:SourceAccount": names.account, "aws:SourceArn": group}})


def tls_only(names: Names) -> dict[str, Any]:
    """Return the policy of the bucket: nobody may do anything without TLS."""
    denied = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": [names.bucket_arn, f"{names.bucket_arn}/*"]}
    return document([denied | {"Condition": {"Bool": {"aws:SecureTransport": "false"}}}])


def image_policy(names: Names) -> dict[str, Any]:
    """Return the policy of the repository: Lambda may fetch the image, for the functions of this stack."""
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "lambda.amazonaws.com"},
        "Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
        "Condition": {"ArnEquals": {"aws:SourceArn": [_function(names, route) for route in ROUTES]}},
    }
    return document([statement])


def allow(actions: Sequence[str], resources: Sequence[str]) -> Statement:
    """Return the statement that allows these actions on these resources."""
    return {"Effect": "Allow", "Action": list(actions), "Resource": list(resources)}


def document(statements: Sequence[Statement]) -> dict[str, Any]:
    """Return the policy of these statements."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


def log_group(names: Names, route: str) -> str:
    """Return the name of the log group of a function."""
    return f"/aws/lambda/{names.function(route)}"


# ---------------------------------------------------------------- statements


def _work_of(role: str) -> str:
    """Return the role whose work a role does: its own, or that of the worker with less memory."""
    return role.removesuffix("-large")


def _jobs(who: str, names: Names, *, inputs: Sequence[str] = (), outputs: Sequence[str] = ()) -> list[Statement]:
    """Some of the objects of jobs, those of the buckets that are read and written besides, and rows of jobs."""
    reads = [f"{names.bucket_arn}/jobs/*/{key}" for key in _READS[_work_of(who)]]
    writes = [f"{names.bucket_arn}/jobs/*/{key}" for key in _WRITES[_work_of(who)]]
    return [
        allow(["s3:GetObject"], [*reads, *(f"{bucket}/*" for bucket in inputs)]),
        allow(["s3:PutObject"], [*writes, *(f"{bucket}/*" for bucket in outputs)]),
        *_rows(names, but=() if who == "user" else (LASTING,) if who == "coordinator" else _NOTEBOOKS_ROWS),
    ]


def _rows(names: Names, *, but: Sequence[str]) -> list[Statement]:
    table, reads, writes = [names.arn("dynamodb", f"table/{names.table}")], ["dynamodb:GetItem", "dynamodb:Query"], "dynamodb:PutItem"
    if not but:
        return [allow(sorted([*reads, writes]), table)]
    others = {"ForAllValues:StringNotEquals": {"dynamodb:LeadingKeys": [stored_as(group) for group in but]}}
    return [allow(reads, table), allow([writes], table) | {"Condition": others}]


def _carries(who: str, names: Names) -> list[Statement]:
    """The queues and streams that pairs travel by, where a job asks for that."""
    if who not in _CARRIES:
        return []
    queues, streams = _CARRIES[who]
    return [allow(queues, [names.arn("sqs", names.carried)]), allow(streams, [names.arn("kinesis", f"stream/{names.carried}")])]


def _calls(who: str, names: Names) -> Statement:
    return allow(["lambda:InvokeFunction"], [_function(names, route) for route in _CALLS[who]])


def _limits(names: Names, *routes: str) -> list[Statement]:
    """What tells how much can run at once."""
    functions = [_function(names, route) for route in routes]
    reads = allow(["lambda:GetFunctionConfiguration", "lambda:GetFunctionConcurrency"], functions)
    return [reads, allow(["lambda:GetAccountSettings"], ["*"])]


def _alarms(who: str, names: Names) -> list[Statement]:
    verbs = [f"scheduler:{verb}Schedule" for verb in ("Create", "Update", "Delete")]
    alarms = [names.arn("scheduler", f"schedule/{names.schedules}/{kind}-*") for kind in _ALARMS[who]]
    return [allow(verbs, alarms), _passing(names)]


def _passing(names: Names) -> Statement:
    """What says under which role a schedule calls."""
    passing = allow(["iam:PassRole"], [names.role_arn("scheduler")])
    passing["Condition"] = {"StringEquals": {"iam:PassedToService": "scheduler.amazonaws.com"}}
    return passing


def _failures(names: Names) -> Statement:
    """What Lambda needs to hand the queue's messages to a function."""
    return allow(["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"], [names.arn("sqs", names.queue)])


def _function(names: Names, route: str) -> str:
    return names.arn("lambda", f"function:{names.function(route)}")


def _bucket(names: Names, bucket: str) -> str:
    return f"arn:{names.partition}:s3:::{bucket}"
