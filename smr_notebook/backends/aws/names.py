"""What everything of a deployment is called: functions of the stack's name, the account and the region. Pure.

Nothing has to be looked up, nothing can be mixed up between two stacks, and a policy can name exactly what it allows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from smr_notebook.errors import ConfigError

WORKERS: Final = ("mapper", "reducer")
TABLES: Final = "dynamodb://"
"""What the name of a table begins with where it stands beside names of buckets."""

LARGE: Final = tuple(f"{route}-large" for route in WORKERS)
"""The same work in more memory, for tasks that ran out of it."""

ROUTES: Final = ("driver", "coordinator", *WORKERS, *LARGE)
"""What a function is for: each has a function and a role of its own."""

TRIGGER: Final = "trigger-"
"""What the schedules of triggers begin with: no alarm does."""

_NOTIFICATION: Final = "smr_notebook"

_STACK: Final = re.compile(r"[a-z][a-z0-9-]{0,22}[a-z0-9]|[a-z]")


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one deployment.

    Attributes:
        stack: Name of the CloudFormation stack: at most 24 lower-case letters, digits and dashes.
        account: Number of the account, as text.
        region: Where.
        partition: `aws`, or that of another part of the world (`aws-cn`, `aws-us-gov`).
    """

    stack: str
    account: str
    region: str
    partition: str = "aws"

    @property
    def bucket(self) -> str:
        """Bucket that jobs keep their objects in."""
        return f"{self.stack}-{self.account}-{self.region}"

    @property
    def table(self) -> str:
        """Table that jobs keep their rows in."""
        return self.stack

    @property
    def queue(self) -> str:
        """Queue that tells of invocations that failed."""
        return f"{self.stack}-failed"

    @property
    def schedules(self) -> str:
        """Group of schedules: the alarms of coordinators, and those of triggers."""
        return self.stack

    @property
    def repository(self) -> str:
        """Repository of the image."""
        return self.stack

    @property
    def carried(self) -> str:
        """What the queues and streams are called that pairs travel by, as a pattern."""
        return f"{box_name(self.stack, 'jobs/')}*"

    def function(self, route: str) -> str:
        """Return the name of the function for one of `ROUTES`."""
        return f"{self.stack}-{route}"

    def role(self, route: str) -> str:
        """Return the name of the role of a function, or of `scheduler`, which wakes coordinators. Roles have no region of their own."""
        return f"{self.stack}-{route}-{self.region}"

    def arn(self, service: str, resource: str) -> str:
        """Return the ARN of a resource of this account and region: `arn("lambda", "function:smr-mapper")`."""
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{resource}"

    @property
    def bucket_arn(self) -> str:
        """ARN of the bucket."""
        return f"arn:{self.partition}:s3:::{self.bucket}"

    def role_arn(self, route: str) -> str:
        """Return the ARN of a role."""
        return f"arn:{self.partition}:iam::{self.account}:role/{self.role(route)}"


def box_name(stack: str, box: str) -> str:
    """Return what the queues and the stream of a carrier's box are called, or begin with. No stack has an underscore in its name."""
    return f"{stack}_{box.replace('/', '-')}"


def notification_id(stack: str, trigger: str) -> str:
    """Return what the notification of a bucket is called that calls for a trigger."""
    return f"{_NOTIFICATION}:{stack}:{trigger}"


def trigger_of(notification: str) -> str:
    """Return the trigger that a notification calls for; empty for one that is not ours."""
    ours, _, rest = notification.partition(":")
    return rest.partition(":")[2] if ours == _NOTIFICATION else ""


def check_stack_name(stack: str) -> str:
    """Return a stack's name if everything of a deployment can be called after it.

    Raises:
        ConfigError: It cannot.
    """
    if not _STACK.fullmatch(stack):
        raise ConfigError(
            f"stack {stack!r} is no name for a deployment: at most 24 lower-case letters, digits and dashes, beginning with a letter. "
            'Say stack="smr", for one.'
        )
    return stack
