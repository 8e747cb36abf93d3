"""Whose a job is on AWS: who asks, as a person calls them."""

from __future__ import annotations

import pytest

from smr_notebook.backends.aws.platform import user_of


@pytest.mark.parametrize(
    ("arn", "user"),
    [
        ("arn:aws:iam::123456789012:root", "root"),
        ("arn:aws:iam::123456789012:user/alice", "alice"),
        ("arn:aws:iam::123456789012:user/science/alice", "alice"),
        ("arn:aws:sts::123456789012:assumed-role/Analysts/alice@example.com", "Analysts/alice@example.com"),
        ("arn:aws:sts::123456789012:assumed-role/Notebooks/SageMaker", "Notebooks/SageMaker"),
        ("arn:aws:sts::123456789012:assumed-role/Analysts/botocore-session-1732600000", "Analysts"),
        ("arn:aws:sts::123456789012:federated-user/alice", "alice"),
    ],
)
def test_who_asks_is_called_as_people_do_and_the_same_each_time(arn: str, user: str) -> None:
    assert user_of(arn) == user
