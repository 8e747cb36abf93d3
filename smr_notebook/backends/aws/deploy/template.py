"""The CloudFormation template of a deployment: a pure function of its options.

* **Two phases.** The repository must exist before the image does, and the image before the functions do. So the functions are made only
  when the parameter `ImageUri` is not empty; all the rest is there before.
* **Failures.** A call is tried once: whether a task runs again is the coordinator's decision. Lambda sends what failed, or waited too
  long, to the queue, and the queue to the coordinator's function, which writes down who died. What it cannot take, three times, goes to
  a second queue for people.
* **Recursion.** Coordinators hop, mappers launch mappers: Lambda would end such a chain after 16 calls, so it is allowed for all.
* **Memory.** Mappers and reducers are there in two sizes: a task that ran out of memory is run again in the larger one.
* **Nothing is kept for ever.** Objects and rows of old jobs expire, images but the last few, logs after some days.
* The bucket is private, encrypted, and answers over TLS only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from smr_notebook.backends.aws.deploy import policies
from smr_notebook.backends.aws.deploy.options import DeployOptions, as_metadata, memory_of
from smr_notebook.backends.aws.names import ROUTES, WORKERS, Names
from smr_notebook.backends.aws.table import TABLE_EXPIRY, TABLE_SCHEMA

Resource = dict[str, Any]

METADATA: Final = "smr_notebook"
"""Where the template carries its options."""

IMAGE: Final = "ImageUri"
"""The parameter that says which image the functions run."""

QUEUE_SECONDS: Final = 60
"""How long a call waits when the functions are busy, before it counts as failed: the shortest time that Lambda takes."""

PUBLIC_ACCESS: Final = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
"""The bucket's `PublicAccessBlockConfiguration`, in the words that the API and CloudFormation share."""

UPLOAD_DAYS: Final = 1
"""Days after which an upload that was never completed goes."""

_DISK_MB: Final = 4096
"""Of /tmp, where runs are spilled to: costs less than a hundredth of the memory."""

_DAY: Final = 86_400
_IMAGES_KEPT: Final = 5
_DELIVERIES: Final = 3


def template(options: DeployOptions) -> dict[str, Any]:
    """Return the template of a deployment."""
    resources = _stores(options) | _queues(options) | _scheduling(options.names) | _repository(options.names)
    for route in ROUTES:
        resources |= _function(options, route)
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "smr_notebook: map/reduce from a notebook cell",
        "Metadata": {METADATA: as_metadata(replace(options, image=""))},
        "Parameters": {
            IMAGE: {"Type": "String", "Default": options.image, "Description": "The image of the functions; empty for none yet"}
        },
        "Conditions": {"HasImage": {"Fn::Not": [{"Fn::Equals": [{"Ref": IMAGE}, ""]}]}},
        "Resources": resources,
    }


def dead_letters(names: Names) -> str:
    """Return the name of the queue that holds what even the coordinator's function could not take."""
    return f"{names.queue}-dead"


def _stores(options: DeployOptions) -> dict[str, Resource]:
    names = options.names
    rules = [
        {"Id": "jobs", "Status": "Enabled", "Prefix": "jobs/", "ExpirationInDays": options.keep_days},
        {"Id": "uploads", "Status": "Enabled", "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": UPLOAD_DAYS}},
    ]
    bucket = {
        "BucketName": names.bucket,
        "PublicAccessBlockConfiguration": PUBLIC_ACCESS,
        "BucketEncryption": {"ServerSideEncryptionConfiguration": [{"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]},
        "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
        "LifecycleConfiguration": {"Rules": rules},
    }
    table = {"TableName": names.table, **TABLE_SCHEMA, "TimeToLiveSpecification": TABLE_EXPIRY}
    return {
        "Bucket": _resource("S3::Bucket", bucket) | _GOES_WITH_THE_STACK,
        "BucketPolicy": _resource("S3::BucketPolicy", {"Bucket": {"Ref": "Bucket"}, "PolicyDocument": policies.tls_only(names)}),
        "Table": _resource("DynamoDB::Table", table) | _GOES_WITH_THE_STACK,
    }


def _queues(options: DeployOptions) -> dict[str, Resource]:
    names = options.names
    dead = {"QueueName": dead_letters(names), "MessageRetentionPeriod": 14 * _DAY, "SqsManagedSseEnabled": True}
    failed = {
        "QueueName": names.queue,
        "MessageRetentionPeriod": _DAY,
        "VisibilityTimeout": options.timeout,
        "SqsManagedSseEnabled": True,
        "RedrivePolicy": {"deadLetterTargetArn": _arn("DeadLetters"), "maxReceiveCount": _DELIVERIES},
    }
    mapping = {
        "EventSourceArn": _arn("Failed"),
        "FunctionName": {"Ref": "CoordinatorFunction"},
        "BatchSize": 10,
        "ScalingConfig": {"MaximumConcurrency": 2},
    }
    return {
        "DeadLetters": _resource("SQS::Queue", dead) | _GOES_WITH_THE_STACK,
        "Failed": _resource("SQS::Queue", failed) | _GOES_WITH_THE_STACK,
        "FailedToCoordinator": _resource("Lambda::EventSourceMapping", mapping) | _WITH_IMAGE,
    }


def _scheduling(names: Names) -> dict[str, Resource]:
    role = _role(names, "scheduler", policies.scheduler_trust(names), policies.role_policy("scheduler", names))
    return {"Schedules": _resource("Scheduler::ScheduleGroup", {"Name": names.schedules}), "SchedulerRole": role}


def _repository(names: Names) -> dict[str, Resource]:
    rule = {
        "rulePriority": 1,
        "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": _IMAGES_KEPT},
        "action": {"type": "expire"},
    }
    repository = {
        "RepositoryName": names.repository,
        "ImageScanningConfiguration": {"ScanOnPush": True},
        "ImageTagMutability": "IMMUTABLE",
        "EmptyOnDelete": True,
        "LifecyclePolicy": {"LifecyclePolicyText": json.dumps({"rules": [rule]})},
        "RepositoryPolicyText": policies.image_policy(names),
    }
    return {"Repository": _resource("ECR::Repository", repository) | _GOES_WITH_THE_STACK}


def _function(options: DeployOptions, route: str) -> dict[str, Resource]:
    names, name = options.names, "".join(word.capitalize() for word in route.split("-"))
    function = {
        "FunctionName": names.function(route),
        "PackageType": "Image",
        "Code": {"ImageUri": {"Ref": IMAGE}},
        "Architectures": [options.architecture],
        "Role": _arn(f"{name}Role"),
        "MemorySize": memory_of(options, route),
        "Timeout": options.timeout,
        "EphemeralStorage": {"Size": _DISK_MB},
        "Environment": {"Variables": {"SMR_LOCATION": options.location}},
        "RecursiveLoop": "Allow",
    }
    if options.reserved and route in WORKERS:
        function["ReservedConcurrentExecutions"] = options.reserved
    calls = {
        "FunctionName": {"Ref": f"{name}Function"},
        "Qualifier": "$LATEST",
        "MaximumRetryAttempts": 0,
        "MaximumEventAgeInSeconds": QUEUE_SECONDS,
        "DestinationConfig": {"OnFailure": {"Destination": _arn("Failed")}},
    }
    policy = policies.role_policy(route, names, inputs=options.inputs, outputs=options.outputs)
    log = {"LogGroupName": policies.log_group(names, route), "RetentionInDays": options.log_days}
    return {
        f"{name}Log": _resource("Logs::LogGroup", log) | _GOES_WITH_THE_STACK,
        f"{name}Role": _role(names, route, policies.trust("lambda"), policy),
        f"{name}Function": _resource("Lambda::Function", function) | _WITH_IMAGE | {"DependsOn": f"{name}Log"},
        f"{name}Calls": _resource("Lambda::EventInvokeConfig", calls) | _WITH_IMAGE,
    }


def _role(names: Names, role: str, trust: Mapping[str, Any], policy: Mapping[str, Any]) -> Resource:
    inline = [{"PolicyName": role, "PolicyDocument": policy}]
    return _resource("IAM::Role", {"RoleName": names.role(role), "AssumeRolePolicyDocument": trust, "Policies": inline})


def _resource(kind: str, properties: Mapping[str, Any]) -> Resource:
    return {"Type": f"AWS::{kind}", "Properties": dict(properties)}


def _arn(resource: str) -> dict[str, Any]:
    return {"Fn::GetAtt": [resource, "Arn"]}


_WITH_IMAGE: Final = {"Condition": "HasImage"}
_GOES_WITH_THE_STACK: Final = {"DeletionPolicy": "Delete", "UpdateReplacePolicy": "Delete"}
