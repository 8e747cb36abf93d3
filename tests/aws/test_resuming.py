"""Jobs on S3, DynamoDB and Lambda's runtime that are cancelled, or fail, and are gone on from."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from botocore.exceptions import ClientError

import smr_notebook as smr
from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.names import Names
from smr_notebook.control.ledger import Ledger
from smr_notebook.errors import CombinerLawError, InputMissingError, JobCancelled, TaskError
from smr_notebook.model import Phase
from smr_notebook.testing.cloud import Shape
from smr_notebook.testing.lambdas.service import Service
from smr_notebook.testing.lambdas.settings import ACCOUNT, REGION
from smr_notebook.testing.waiting import wait_until

pytestmark = pytest.mark.filterwarnings("ignore:.*tasks run .* at a time")  # of a small account, which these are

Deploy = Callable[..., AbstractContextManager[tuple[smr.Session, Service]]]


def busy(service: Service) -> int:
    return sum(box.busy for boxes in service.status().sandboxes.values() for box in boxes)


def spins(item: int, role: str) -> Iterator[tuple[int, int]]:
    while role in os.environ["AWS_LAMBDA_FUNCTION_NAME"]:
        pass
    yield item, 1


def backtracks(item: int, role: str) -> Iterator[tuple[int, int]]:
    """One call in C: only the watchdog below Python ends it, one and a half leases later."""
    many = "a" * (60 if role in os.environ["AWS_LAMBDA_FUNCTION_NAME"] else 6)
    yield item, bool(re.match(r"(a+)+$", many + "b"))


@pytest.mark.parametrize("stubborn", [spins, backtracks])
def test_whatever_a_function_does_nothing_runs_a_moment_after_the_job_was_cancelled(deploy: Deploy, stubborn: Callable[..., Any]) -> None:
    """No worker, no coordinator, no alarm that would start one."""
    with deploy(Shape(lease_seconds=3.0)) as (session, service):
        names = Names(session.settings.stack, ACCOUNT, REGION)
        job = session.map_reduce(lambda item: stubborn(item, "mapper"), None, range(20), split_size=1)
        wait_until(lambda: job.status().map.running >= 4, 60.0)
        assert job.cancel()
        wait_until(lambda: not busy(service), 60.0)
        wait_until(job.done, 60.0)
        with pytest.raises(JobCancelled, match="cancelled by the user"):
            job.result()
        assert not job.cancel()
        with pytest.raises(ClientError, match="does not exist"):
            Clients()["scheduler"].get_schedule(GroupName=names.schedules, Name=f"job-{job.id}")


@pytest.mark.parametrize("stubborn", [spins, backtracks])
def test_a_job_is_cancelled_while_its_driver_tries_a_record_that_never_ends(deploy: Deploy, stubborn: Callable[..., Any]) -> None:
    with deploy(Shape(lease_seconds=3.0)) as (session, service):
        job = session.map_reduce(lambda item: stubborn(item, "driver"), None, range(20), split_size=1)
        wait_until(lambda: busy(service), 60.0)
        assert job.cancel()
        with pytest.raises(JobCancelled):
            job.wait(60)
        wait_until(lambda: not busy(service), 60.0)
        assert not job.cancel()


def test_what_was_cancelled_is_resumed_where_it_was_and_costs_only_the_rest(deploy: Deploy, clients: Clients, bucket: str) -> None:
    for number in range(24):
        clients["s3"].put_object(Bucket=bucket, Key=f"in/{number:02d}.txt", Body=f"{number:02d}\n".encode())

    def slow(line: str) -> Iterator[tuple[int, int]]:
        threading.Event().wait(0.3)
        yield int(line) % 3, int(line)

    with deploy() as (session, _):
        job = session.map_reduce(slow, lambda key, values: sum(values), f"s3://{bucket}/in/", split_size=3, reducers=2)
        wait_until(lambda: job.status().map.done >= 8, 60.0)
        assert job.cancel()
        with pytest.raises(JobCancelled):
            job.wait(60)
        again = job.resume()
        assert again.result()["value"].tolist() == [sum(range(rest, 24, 3)) for rest in range(3)]
        done = int(again.warnings[0].split()[0])
        assert again.warnings[0] == f"{done} of 24 map tasks are taken over from job {job.id}."
        tried = Ledger(session.backend.table, again.id).snapshot().attempts
        assert sum(task.phase is Phase.MAP for task in tried) == 24 - done <= 16


def test_what_failed_is_done_again_with_mended_code(deploy: Deploy) -> None:
    with deploy() as (session, _):
        job = session.map_reduce(lambda item: [(item % 3, item // (item != 7))], lambda key, values: sum(values), range(12), split_size=1)
        with pytest.raises(TaskError):
            job.wait(60)
        broken = job.retry_failed(map=lambda item: [(item % 3, item)], reduce=lambda key, values: 1 // 0)
        with pytest.raises(TaskError, match="ZeroDivisionError in reduce"):
            broken.wait(60)
        again = broken.retry_failed(reduce=lambda key, values: sum(values))
        assert again.result()["value"].tolist() == [18, 22, 26]
        assert again.warnings[0] == f"12 of 12 map tasks are taken over from job {broken.id}."
        assert [info.id for info in session.jobs()] == [again.id, broken.id, job.id]


def test_a_job_that_could_not_be_planned_is_planned_anew(deploy: Deploy) -> None:
    """There is nothing to take over but what was stored for it."""
    with deploy() as (session, _):
        job = session.map_reduce(
            lambda item: [(item % 2, item)], lambda key, values: sum(values) + 1, range(200), combine=lambda key, values: sum(values) + 1
        )
        with pytest.raises(CombinerLawError):
            job.wait(60)
        again = job.retry_failed(reduce=lambda key, values: sum(values), combine=lambda key, values: sum(values))
        assert again.result()["value"].tolist() == [9900, 10000]


def test_stored_input_that_expired_is_told(deploy: Deploy) -> None:
    with deploy() as (session, _):
        job = session.map_reduce(lambda item: [(item, 1 // (item != 7))], None, range(12), split_size=1)
        with pytest.raises(TaskError):
            job.wait(60)
        session.backend.objects.delete_prefix(f"jobs/{job.id}/input/")
        with pytest.raises(InputMissingError, match=r"is gone. Submit the job again."):
            job.retry_failed(map=lambda item: [(item, 1)]).wait(60)
