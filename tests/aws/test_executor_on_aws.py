"""`smr.Executor` on S3, DynamoDB and Lambda: the same futures, results and exceptions as on this machine."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, as_completed
from contextlib import AbstractContextManager

import pytest

import smr_notebook as smr
from smr_notebook.errors import WorkerLostError
from smr_notebook.testing.lambdas.service import Service
from smr_notebook.testing.waiting import wait_until

pytestmark = pytest.mark.filterwarnings("ignore:.*tasks run .* at a time")  # of a small account, which these are

SECONDS = 120
"""How long anything may take here on a busy machine."""

Deploy = Callable[..., AbstractContextManager[tuple[smr.Session, Service]]]


def picky(number: int) -> int:
    if number == 3:
        raise LookupError(f"not {number}")
    return number


def forever() -> None:
    threading.Event().wait()


def dies() -> None:
    os._exit(9)


def test_calls_on_aws_are_those_of_any_executor(deploy: Deploy) -> None:
    large = os.urandom(12 << 20)  # twice what the payload of an invocation may be
    with deploy() as (session, _), smr.Executor(session, name="sweep", retries=0) as executor:
        futures = [executor.submit(picky, number) for number in range(5)]
        echoed = executor.submit(bytes.__add__, large, b"!")
        assert {future.exception(SECONDS) is None for future in as_completed(futures, SECONDS)} == {True, False}
        assert [future.result() for number, future in enumerate(futures) if number != 3] == [0, 1, 2, 4]
        error = futures[3].exception()
        assert isinstance(error, LookupError)
        assert 'raise LookupError(f"not {number}")' in str(error.__cause__)
        assert echoed.result(SECONDS) == large + b"!"
        assert list(executor.map(pow, range(500), [2] * 500)) == [number**2 for number in range(500)]
        assert executor.map_reduce(abs, sum, range(100), chunksize=9).result(SECONDS) == sum(range(100))

        async def awaited() -> int:
            return await asyncio.get_running_loop().run_in_executor(executor, picky, 7)

        assert asyncio.run(awaited()) == 7
        assert isinstance(executor.submit(dies).exception(SECONDS), WorkerLostError)
        never = executor.submit(forever)
        wait_until(lambda: executor.jobs[-1].status().map.running, SECONDS)
        executor.shutdown(wait=False, cancel_futures=True)
        assert isinstance(never.exception(SECONDS), CancelledError)
        found = smr.calls("sweep", session=session)
        assert [job.id for job in found.jobs] == [job.id for job in executor.jobs]
        assert sum(future.exception(SECONDS) is None for future in found.futures()) == 4 + 1 + 500 + 1 + 1
