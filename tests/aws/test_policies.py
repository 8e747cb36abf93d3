"""Policies as values: what no role may, whatever the stack is called and whichever buckets are named."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smr_notebook.backends.aws.deploy.policies import ROLES, role_policy, scheduler_trust, tls_only, trigger_policy, user_policy
from smr_notebook.backends.aws.names import LARGE, ROUTES, WORKERS, Names
from smr_notebook.control.layout import Layout, split_page
from smr_notebook.control.ledger import JOBS
from smr_notebook.model import AttemptId, Phase, TaskId
from smr_notebook.ports import LASTING

BUCKETS = st.lists(st.from_regex(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", fullmatch=True), max_size=3)
STACKS = st.from_regex(r"[a-z][a-z0-9-]{0,22}[a-z0-9]|[a-z]", fullmatch=True)
NAMES = st.builds(Names, STACKS, st.from_regex(r"[0-9]{12}", fullmatch=True), st.sampled_from(["us-east-1", "eu-west-1"]))
MAY_DELETE = {
    "coordinator": {"scheduler:DeleteSchedule", "sqs:DeleteMessage", "sqs:DeleteQueue", "kinesis:DeleteStream"},
    "driver": {"scheduler:DeleteSchedule"},
}
LAYOUT = Layout("09af09af")
KEYS = {
    LAYOUT.code: ("coordinator or user", {"driver", "coordinator", "mapper", "reducer", "user"}),
    LAYOUT.request: ("coordinator or user", {"driver", "user"}),
    f"{LAYOUT.input}000001": ("user", {"driver", "mapper", "user"}),
    LAYOUT.plan: ("driver or user", {"driver", "coordinator", "mapper", "reducer", "user"}),
    split_page(LAYOUT.splits_of("000001"), 0): ("driver", {"mapper", "user"}),
    f"{LAYOUT.attempt(AttemptId(TaskId(Phase.MAP, 7), 2))}/run": ("mapper", {"coordinator", "reducer", "user"}),
    f"{LAYOUT.attempt(AttemptId(TaskId(Phase.REDUCE, 7), 2))}/part-0.parquet": ("reducer", {"driver", "mapper", "user"}),
    LAYOUT.run(AttemptId(TaskId(Phase.MERGE, 7), 2)): ("reducer", {"coordinator", "reducer", "user"}),
    LAYOUT.log_piece(AttemptId(TaskId(Phase.MERGE, 7), 2), 1): ("reducer", {"user"}),
    LAYOUT.merged_index: ("coordinator", {"reducer", "user"}),
    LAYOUT.bad(AttemptId(TaskId(Phase.MAP, 7), 2)): ("mapper", {"user"}),
    LAYOUT.bad(AttemptId(TaskId(Phase.REDUCE, 7), 2)): ("reducer", {"user"}),
    LAYOUT.log_piece(AttemptId(TaskId(Phase.MAP, 7), 2), 1): ("mapper", {"user"}),
    LAYOUT.log_piece(AttemptId(TaskId(Phase.REDUCE, 7), 2), 1): ("reducer", {"user"}),
    LAYOUT.index: ("coordinator", {"reducer", "user"}),
    LAYOUT.manifest(Phase.MAP): ("coordinator", {"coordinator", "driver", "reducer", "user"}),
    LAYOUT.manifest(Phase.REDUCE): ("coordinator", {"coordinator", "driver", "reducer", "user"}),
}
"""The objects of a job, who writes each, and who reads it. A notebook that goes on from a job reads it, and writes the next plan."""


def every_policy(names: Names, inputs: list[str], outputs: list[str]) -> dict[str, dict[str, Any]]:
    """Return the policies of a stack by whose they are."""
    roles = {role: role_policy(role, names, inputs=inputs, outputs=outputs) for role in ROLES}
    return {**roles, "user": user_policy(names)}


def statements(policies: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return all statements of all policies."""
    return [statement for policy in policies.values() for statement in policy["Statement"]]


def resources_of(names: Names) -> set[str]:
    """Return what a stack consists of, written down once more."""
    where = f"{names.region}:{names.account}"
    functions = {f"{names.stack}-{route}" for route in ROUTES}
    return {
        f"arn:aws:s3:::{names.stack}-{names.account}-{names.region}",
        *(f"arn:aws:s3:::{names.stack}-{names.account}-{names.region}/{key}" for key in KEYS),
        f"arn:aws:dynamodb:{where}:table/{names.stack}",
        f"arn:aws:sqs:{where}:{names.stack}-failed",
        f"arn:aws:sqs:{where}:{names.stack}_jobs-09af09af-3",
        f"arn:aws:kinesis:{where}:stream/{names.stack}_jobs-09af09af",
        f"arn:aws:s3:::{names.stack}-{names.account}-{names.region}/triggers/daily.0123abcd/code",
        f"arn:aws:scheduler:{where}:schedule/{names.stack}/job-09af09af",
        f"arn:aws:scheduler:{where}:schedule/{names.stack}/fire-0123",
        f"arn:aws:scheduler:{where}:schedule/{names.stack}/trigger-daily.0123abcd",
        f"arn:aws:iam::{names.account}:role/{names.stack}-scheduler-{names.region}",
        *(f"arn:aws:lambda:{where}:function:{function}" for function in functions),
        *(f"arn:aws:logs:{where}:log-group:/aws/lambda/{function}" for function in functions),
        *(f"arn:aws:logs:{where}:log-group:/aws/lambda/{function}:log-stream:1" for function in functions),
    }


@given(NAMES, BUCKETS, BUCKETS)
def test_each_resource_is_of_this_stack_or_a_bucket_that_was_named(names: Names, inputs: list[str], outputs: list[str]) -> None:
    named = [f"arn:aws:s3:::{bucket}" for bucket in (*inputs, *outputs)]
    ours = resources_of(names) | set(named) | {f"{bucket}/key" for bucket in named}
    for statement in statements(every_policy(names, inputs, outputs)):
        if statement["Action"] != ["lambda:GetAccountSettings"]:
            assert all(any(fnmatchcase(one, pattern) for one in ours) for pattern in statement["Resource"])
            assert "*" not in statement["Resource"]


@given(NAMES, NAMES)
def test_no_pattern_reaches_into_another_stack(one: Names, other: Names) -> None:
    patterns = {each for statement in statements(every_policy(one, [], [])) for each in statement["Resource"] if each != "*"}
    theirs = resources_of(other) - resources_of(one)
    if (one.stack, one.account, one.region) != (other.stack, other.account, other.region):
        assert [(pattern, resource) for pattern in patterns for resource in theirs if fnmatchcase(resource, pattern)] == []


@given(NAMES, BUCKETS, BUCKETS)
def test_nobody_deletes_and_nobody_changes_iam(names: Names, inputs: list[str], outputs: list[str]) -> None:
    for who, policy in every_policy(names, inputs, outputs).items():
        actions = [action for statement in policy["Statement"] for action in statement["Action"]]
        assert not any("*" in action or action.endswith("Policy") for action in actions)
        assert {action for action in actions if "Delete" in action} <= MAY_DELETE.get(who, set())
        assert {action for action in actions if action.startswith("iam:")} <= ({"iam:PassRole"} if who in MAY_DELETE else set())
        assert all(statement["Effect"] == "Allow" for statement in policy["Statement"])


@given(NAMES, BUCKETS, BUCKETS)
def test_only_whom_the_work_asks_for_is_called(names: Names, inputs: list[str], outputs: list[str]) -> None:
    called = {
        who: {
            arn.rpartition(":")[2].removeprefix(f"{names.stack}-")
            for each in policy["Statement"]
            if each["Action"] == ["lambda:InvokeFunction"]
            for arn in each["Resource"]
        }
        for who, policy in every_policy(names, inputs, outputs).items()
    }
    assert called == {
        "driver": {"coordinator"},
        "coordinator": set(ROUTES),
        "mapper": {"mapper", "coordinator"},
        "reducer": {"reducer", "coordinator"},
        "mapper-large": {"coordinator"},
        "reducer-large": {"coordinator"},
        "scheduler": {"coordinator"},
        "user": {"driver", "coordinator"},
    }


@pytest.mark.parametrize("key", KEYS)
def test_each_object_of_a_job_is_written_by_one_and_read_by_whom_it_is_for(key: str) -> None:
    writers, readers = KEYS[key]
    names = Names("smr", "123456789012", "eu-west-1")
    may = {
        (who, action)
        for who, policy in every_policy(names, [], []).items()
        for statement in policy["Statement"]
        for action in statement["Action"]
        if action.startswith("s3:") and any(fnmatchcase(f"{names.bucket_arn}/{key}", pattern) for pattern in statement["Resource"])
    }
    larger = {(who.removesuffix("-large"), action) for who, action in may if who in LARGE}
    assert larger == {(who, action) for who, action in may if who in WORKERS}
    assert {each for each in may if each[0] not in LARGE} == {
        *((who, "s3:PutObject") for who in writers.split(" or ")),
        *((who, "s3:GetObject") for who in readers),
    }


@pytest.mark.parametrize("who", [*ROUTES, "user"])
def test_no_function_writes_the_key_of_the_workspace_and_none_with_users_code_the_list_of_jobs(who: str) -> None:
    """A map function has the credentials of its role. Rows of jobs cannot be told apart by a policy; these two groups can."""
    names = Names("smr", "123456789012", "eu-west-1")
    rows = [each for each in every_policy(names, [], [])[who]["Statement"] if any("dynamodb:" in action for action in each["Action"])]
    plain = {action for each in rows if "Condition" not in each for action in each["Action"]}
    bound = {action: each["Condition"] for each in rows if "Condition" in each for action in each["Action"]}
    assert all(each["Resource"] == ["arn:aws:dynamodb:eu-west-1:123456789012:table/smr"] for each in rows)
    if who == "user":
        assert (plain, bound) == ({"dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"}, {})
    else:
        groups = [f"/{LASTING}"] if who == "coordinator" else [f"/{LASTING}", f"/{JOBS}"]  # it makes the jobs of triggers
        others = {"ForAllValues:StringNotEquals": {"dynamodb:LeadingKeys": groups}}
        assert (plain, bound) == ({"dynamodb:GetItem", "dynamodb:Query"}, {"dynamodb:PutItem": others})


@given(NAMES, BUCKETS, BUCKETS)
def test_input_is_only_read_and_output_only_written(names: Names, inputs: list[str], outputs: list[str]) -> None:
    foreign = {f"arn:aws:s3:::{bucket}" for bucket in (*inputs, *outputs)}
    found = {
        (who, action, arn)
        for who, policy in every_policy(names, inputs, outputs).items()
        for statement in policy["Statement"]
        for action in statement["Action"]
        for arn in statement["Resource"]
        if arn.partition("/")[0] in foreign
    }
    reads = {(who, "s3:GetObject", f"arn:aws:s3:::{bucket}/*") for who in ("driver", "mapper", "mapper-large") for bucket in inputs}
    lists = {("driver", "s3:ListBucket", f"arn:aws:s3:::{bucket}") for bucket in inputs}
    writes = {(who, "s3:PutObject", f"arn:aws:s3:::{bucket}/*") for who in ("reducer", "reducer-large") for bucket in outputs}
    assert found == reads | lists | writes


@given(NAMES)
def test_functions_touch_no_schedule_of_a_trigger_and_only_the_coordinator_reads_what_it_stored(names: Names) -> None:
    stored = f"{names.bucket_arn}/triggers/daily.0123abcd/code"
    schedule = names.arn("scheduler", f"schedule/{names.schedules}/trigger-daily.0123abcd")
    may = {
        (who, action)
        for who, policy in every_policy(names, [], []).items()
        for statement in policy["Statement"]
        for action in statement["Action"]
        if any(fnmatchcase(one, pattern) for one in (stored, schedule) for pattern in statement["Resource"] if pattern != "*")
    }
    assert may == {("coordinator", "s3:GetObject")}


@given(NAMES)
def test_who_makes_triggers_may_do_so_for_this_stack_and_change_no_bucket(names: Names) -> None:
    policy = trigger_policy(names)
    actions = {action for statement in policy["Statement"] for action in statement["Action"]}
    assert actions == {
        *(f"s3:{verb}Object" for verb in ("Put", "Delete")),
        *(f"scheduler:{verb}Schedule" for verb in ("Create", "Get", "Delete")),
        "iam:PassRole",
        "lambda:AddPermission",
        "lambda:RemovePermission",
    }
    (letting,) = (one for one in policy["Statement"] if "lambda:AddPermission" in one["Action"])
    assert letting["Action"] == ["lambda:AddPermission"]
    assert letting["Condition"] == {"StringEquals": {"lambda:Principal": "s3.amazonaws.com"}}  # else anybody could be let call it
    reached = {
        one for each in policy["Statement"] for pattern in each["Resource"] for one in resources_of(names) if fnmatchcase(one, pattern)
    }
    assert reached == {
        f"{names.bucket_arn}/triggers/daily.0123abcd/code",
        names.arn("scheduler", f"schedule/{names.schedules}/trigger-daily.0123abcd"),
        names.role_arn("scheduler"),
        names.arn("lambda", f"function:{names.function('coordinator')}"),
    }


@pytest.mark.parametrize("role", ROLES)
def test_a_table_of_the_input_is_scanned_by_who_reads_the_input_and_changed_by_nobody(role: str) -> None:
    names = Names("smr", "1", "eu-west-1")
    plain, named = (role_policy(role, names, inputs=inputs)["Statement"] for inputs in (["logs"], ["dynamodb://orders", "logs"]))
    table = {"Effect": "Allow", "Action": ["dynamodb:DescribeTable", "dynamodb:Scan"]}
    table |= {"Resource": ["arn:aws:dynamodb:eu-west-1:1:table/orders"]}
    assert [statement for statement in named if statement not in plain] == ([table] if role in {"driver", "mapper", "mapper-large"} else [])


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_be_passed_on_to_the_scheduler_alone(role: str) -> None:
    passing = [each for each in role_policy(role, Names("smr", "1", "r"))["Statement"] if "iam:PassRole" in each["Action"]]
    assert all(each["Condition"] == {"StringEquals": {"iam:PassedToService": "scheduler.amazonaws.com"}} for each in passing)
    assert bool(passing) == (role in MAY_DELETE)


def test_only_the_alarms_of_this_stack_run_as_the_scheduler() -> None:
    condition = scheduler_trust(Names("smr", "123456789012", "eu-west-1"))["Statement"][0]["Condition"]["StringEquals"]
    assert condition["aws:SourceArn"] == "arn:aws:scheduler:eu-west-1:123456789012:schedule-group/smr"


def test_the_bucket_answers_over_tls_only() -> None:
    statement = tls_only(Names("smr", "1", "r"))["Statement"][0]
    assert (statement["Effect"], statement["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
