"""The template: what CloudFormation's own rules say of it, and what must hold whatever is chosen."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from cfnlint.api import lint_all
from hypothesis import given
from hypothesis import strategies as st

from smr_notebook.backends.aws.deploy.options import ARCHITECTURES, DeployOptions, as_metadata, checked, from_metadata
from smr_notebook.backends.aws.deploy.template import METADATA, template
from smr_notebook.backends.aws.names import LARGE, ROUTES, Names
from smr_notebook.errors import ConfigError

NAMES = Names("smr", "123456789012", "eu-west-1")
IMAGE = f"123456789012.dkr.ecr.eu-west-1.amazonaws.com/smr@sha256:{'0' * 64}"
PLAIN = DeployOptions(NAMES, "aws:{}", image=IMAGE)
CHOICES = {
    "no image yet": replace(PLAIN, image=""),
    "plain": PLAIN,
    "everything": replace(
        PLAIN,
        names=Names("a-stack-of-24-characters", "123456789012", "us-gov-west-1", "aws-us-gov"),
        architecture="arm64",
        memory=10_240,
        timeout=60,
        keep_days=1,
        log_days=365,
        inputs=("logs", "more.logs"),
        outputs=("results",),
        reserved=100,
    ),
}
IGNORED = {"I4010": "asks for a description of each resource for machines; ours stands in the module"}
TEMPLATE_BYTES = 51_200
POLICY_CHARACTERS = 10_240

BUCKETS = st.lists(st.from_regex(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", fullmatch=True), max_size=5).map(tuple)
OPTIONS = st.builds(
    DeployOptions,
    st.just(NAMES),
    st.text(max_size=50),
    image=st.sampled_from(["", IMAGE]),
    architecture=st.sampled_from(ARCHITECTURES),
    memory=st.integers(256, 10_240),
    timeout=st.integers(60, 900),
    keep_days=st.integers(1, 3_650),
    inputs=BUCKETS,
    outputs=BUCKETS,
    reserved=st.integers(0, 100_000),
)


def of_type(made: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """Return the resources of one type."""
    return [resource for resource in made["Resources"].values() if resource["Type"] == f"AWS::{kind}"]


@pytest.mark.parametrize("options", CHOICES.values(), ids=list(CHOICES))
def test_cloudformation_has_nothing_to_say_against_it(options: DeployOptions) -> None:
    found = lint_all(json.dumps(template(checked(options)), indent=1))
    assert [str(match) for match in found if match.rule.id not in IGNORED] == []


@given(OPTIONS)
def test_the_order_of_buckets_and_their_repetition_change_nothing(options: DeployOptions) -> None:
    other = replace(options, inputs=options.inputs[::-1] + options.inputs, outputs=options.outputs[::-1])
    assert template(checked(other)) == template(checked(options))


@given(OPTIONS)
def test_the_options_come_back_from_the_metadata(options: DeployOptions) -> None:
    carried = json.loads(json.dumps(template(options)))["Metadata"][METADATA]
    assert from_metadata(carried) == replace(options, image="")


def test_options_that_a_later_version_has_do_no_harm() -> None:
    assert from_metadata(as_metadata(PLAIN) | {"colour": "blue"}) == PLAIN


def test_what_is_no_option_any_more_is_said_plainly() -> None:
    with pytest.raises(ConfigError, match="another version"):
        from_metadata(as_metadata(PLAIN) | {"memory": "much"})


@given(OPTIONS)
def test_only_functions_need_an_image(options: DeployOptions) -> None:
    made = template(options)
    with_image = {resource["Type"] for resource in made["Resources"].values() if resource.get("Condition") == "HasImage"}
    assert with_image == {f"AWS::Lambda::{kind}" for kind in ("Function", "EventInvokeConfig", "EventSourceMapping")}
    assert with_image.isdisjoint(resource["Type"] for resource in made["Resources"].values() if "Condition" not in resource)


@given(OPTIONS)
def test_every_function_may_call_itself_and_is_called_once(options: DeployOptions) -> None:
    made = template(options)
    assert [each["Properties"]["RecursiveLoop"] for each in of_type(made, "Lambda::Function")] == ["Allow"] * len(ROUTES)
    assert [each["Properties"]["MaximumRetryAttempts"] for each in of_type(made, "Lambda::EventInvokeConfig")] == [0] * len(ROUTES)
    assert len({json.dumps(each["Properties"]["Role"]) for each in of_type(made, "Lambda::Function")}) == len(ROUTES)


@given(OPTIONS)
def test_larger_workers_have_twice_the_memory_as_far_as_lambda_gives_it(options: DeployOptions) -> None:
    memory = {
        each["Properties"]["FunctionName"]: each["Properties"]["MemorySize"] for each in of_type(template(options), "Lambda::Function")
    }
    for route in ROUTES:
        large = min(2 * options.memory, 10_240)
        assert memory[options.names.function(route)] == (large if route in LARGE else options.memory)


@given(OPTIONS)
def test_a_message_stays_hidden_as_long_as_a_function_may_work_on_it(options: DeployOptions) -> None:
    made = template(options)
    longest = max(each["Properties"]["Timeout"] for each in of_type(made, "Lambda::Function"))
    assert made["Resources"]["Failed"]["Properties"]["VisibilityTimeout"] >= longest


def test_many_buckets_fit() -> None:
    many = tuple(f"{'b' * 59}{number:04}" for number in range(49))
    made = template(replace(PLAIN, inputs=many, outputs=many[:20]))
    assert len(json.dumps(made, separators=(",", ":"))) < TEMPLATE_BYTES
    policies = [json.dumps(role["Properties"]["Policies"][0]["PolicyDocument"]) for role in of_type(made, "IAM::Role")]
    assert max(len(policy.replace(" ", "")) for policy in policies) < POLICY_CHARACTERS


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        (replace(PLAIN, memory=100), "memory must be 256 to 10240 MB; got 100"),
        (replace(PLAIN, timeout=901), "timeout must be 60 to 900 seconds"),
        (replace(PLAIN, keep_days=0), "keep-days must be 1"),
        (replace(PLAIN, log_days=8), "log-days must be one of 1, 3"),
        (replace(PLAIN, reserved=-1), "reserved must be 0"),
        (replace(PLAIN, architecture="sparc"), "x86_64, arm64"),
        (replace(PLAIN, inputs=("s3://logs/2026",)), "without s3://"),
        (replace(PLAIN, outputs=("*",)), "not the name of a bucket"),
        (replace(PLAIN, outputs=("dynamodb://orders",)), "not the name of a bucket"),
        (replace(PLAIN, inputs=("dynamodb://a/b",)), "not the name of a table"),
        (replace(PLAIN, inputs=(f"dynamodb://{PLAIN.names.table}",)), "the stack's own table, which no job reads"),
        (replace(PLAIN, names=Names("Smr", "1", "x")), "no name for a deployment"),
    ],
)
def test_a_wrong_choice_is_refused_before_aws_sees_it(wrong: DeployOptions, word: str) -> None:
    with pytest.raises(ConfigError) as raised:
        checked(wrong)
    assert word in str(raised.value)
