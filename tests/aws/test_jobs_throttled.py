"""Whole jobs on a store that answers 503 and a table that is throttled, now and then and for a while: the same answer, and no error."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

import smr_notebook as smr
from smr_notebook.backends.aws.clients import Clients
from smr_notebook.testing.cloud import Shape, deployed
from smr_notebook.testing.emulators import FaultProxy

pytestmark = pytest.mark.filterwarnings("ignore:.*tasks run .* at a time")

LINES = [f"word{number % 7} word{number % 3}" for number in range(400)]
EXPECTED = {word: sum(line.split().count(word) for line in LINES) for word in {word for line in LINES for word in line.split()}}


def words(line: str) -> Iterator[tuple[str, int]]:
    for word in line.split():
        yield word, 1


def refusals(operations: tuple[str, ...], code: str, status: int, *, times: int) -> list[dict[str, object]]:
    return [{"operation": operation, "error": {"code": code, "status": status}, "times": times} for operation in operations]


RULES = {
    "the store answers 503": refusals(("PutObject", "GetObject"), "SlowDown", 503, times=4),
    "the table is throttled": refusals(("PutItem", "Query", "GetItem"), "ProvisionedThroughputExceededException", 400, times=4),
    "both break": [
        *refusals(("PutObject", "GetObject"), "ServiceUnavailable", 503, times=2),
        *refusals(("PutItem", "Query"), "InternalServerError", 500, times=2),
    ],
}


@pytest.mark.parametrize("trouble", RULES)
def test_a_job_outlasts_a_platform_that_is_out_of_sorts(
    faults: FaultProxy, clients: Clients, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    shape = Shape(stack=f"s{uuid4().hex[:12]}")
    with deployed(faults.url, clients, shape) as service:
        for name, value in service.access.items():
            monkeypatch.setenv(name, value)
        session = smr.Session("aws", stack=shape.stack)
        job = session.map_reduce(words, sum, LINES, reducers=2, split_size=1_000)
        faults.set(*RULES[trouble])
        found = job.result()
        fired = faults.fired()
        faults.set()
    assert dict(zip(found["key"], found["value"], strict=True)) == EXPECTED
    assert len(fired) >= 6
