"""Answers that other tools give though something was lost on the way: in calls, phases and results. Here they are right, or there is none.

Each test is named after what was lost, and says in which system. Those of input stand in `test_silent_losses.py`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import smr_notebook as smr
from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.functions import LambdaFunctions
from smr_notebook.backends.aws.names import Names
from smr_notebook.backends.system_clock import SystemClock
from smr_notebook.control.ledger import Ledger
from smr_notebook.environment import environment
from smr_notebook.errors import CorruptObjectError, InputEmptyError, ServiceError, TaskError
from smr_notebook.model import Format, JobState, Phase, Plan, Policy
from smr_notebook.ports import ServiceLimits
from smr_notebook.testing.fates import Fates, Odds
from smr_notebook.testing.simulation import Simulation
from smr_notebook.testing.tinyplane import Pairs, expected, split_bytes
from smr_notebook.testing.waiting import wait_until

PAIRS: list[Pairs] = [[(f"word{number % 5}", number) for number in range(split, 40, 8)] for split in range(8)]


def simulated(seed: int, odds: Odds) -> Simulation:
    """A job of eight map and two reduce tasks on a service that makes trouble."""
    plan = Plan(
        job="job",
        name="",
        created=1_000_000.0,
        format=Format.TEXT,
        maps=len(PAIRS),
        reducers=2,
        combine=False,
        grouped_order=False,
        input_bytes=sum(map(split_bytes, PAIRS)),
        input_records=sum(map(len, PAIRS)),
        budget=1 << 20,
        policy=Policy(retries=6),
        environment=environment(),
    )
    return Simulation(plan, PAIRS, Fates(seed, odds), ServiceLimits(1 << 20, 900.0, 4, 0.0, 1 << 30, plan.environment))


def rows(job: smr.Job) -> list[Any]:
    return list(job.result().itertuples(index=False, name=None))


def by_parity(number: int) -> Iterator[tuple[int, int]]:
    yield number % 2, number


def listed(_: object, values: Iterator[Any]) -> list[Any]:
    return list(values)


@pytest.mark.parametrize("seed", range(5))
def test_5_a_throttled_call_is_made_again_and_nobody_waits_for_ever(seed: int) -> None:
    """Lithops: a 429 is logged in a thread, and `get_result` waits without end."""
    story = simulated(seed, Odds(throttled=0.7)).run()
    assert story.outcome.state is JobState.DONE
    assert story.result == expected(PAIRS)


def test_8_a_job_without_input_is_refused_and_gives_nobodys_result(session: smr.Session) -> None:
    """Lithops: `get_result([])` returns the results of the job before, and every job after it hangs."""
    before = session.map_reduce(by_parity, listed, range(6))
    assert rows(before) == [(0, [0, 2, 4]), (1, [1, 3, 5])]
    with pytest.raises(InputEmptyError):
        session.map_reduce(by_parity, listed, [])
    assert rows(session.map_reduce(by_parity, listed, range(2))) == [(0, [0]), (1, [1])]
    nothing = session.map_reduce(lambda _: None, listed, range(6))
    assert rows(nothing) == []
    assert list(nothing.result().columns) == ["key", "value"]


def test_9_a_service_that_cannot_be_reached_is_an_error_and_not_an_endless_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lithops: `while not invoked: try ... except Exception: pass`."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "DEFAULT_REGION": "us-east-1", "CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # the port of the discard service, where nobody listens
    names = Names("smr", "123456789012", "us-east-1")
    functions = LambdaFunctions(Clients(retries=1), names, route=lambda _: "mapper", clock=SystemClock())
    with pytest.raises(ServiceError, match=r"127\.0\.0\.1:9"):
        functions.invoke(b"{}")


@pytest.mark.parametrize("seed", range(5))
def test_9_a_call_that_arrives_twice_counts_once(seed: int) -> None:
    """Lithops: a connection that is reset after the call was taken is a second invocation."""
    story = simulated(seed, Odds(doubled=1.0)).run()
    assert story.outcome.state is JobState.DONE
    assert story.result == expected(PAIRS)


def test_10_no_reduce_task_begins_when_a_map_task_failed(session: smr.Session) -> None:
    """Corral: a failed mapper is logged, and the reducers give the answer without it."""

    def fails_once_in_a_while(number: int) -> Iterator[tuple[int, int]]:
        yield number % 2, 1 // (number - 17)

    job = session.map_reduce(fails_once_in_a_while, listed, range(40), split_size=60)
    with pytest.raises(TaskError, match="ZeroDivisionError"):
        job.result()
    snapshot = Ledger(session.backend.table, job.id).snapshot()
    assert snapshot.commits
    assert not any(task.phase is Phase.REDUCE for task in snapshot.attempts)
    assert not snapshot.manifests


def test_12_a_reduce_task_that_is_tried_again_reads_all_that_the_first_try_read(session: smr.Session, tmp_path: Path) -> None:
    """Corral: a reducer deletes what it has read, so that the next one sees less."""
    mark = str(tmp_path / "failed once")

    def fails_at_first(_: int, values: Iterator[int]) -> int:
        total = sum(values)
        if not os.path.exists(mark):  # noqa: PTH110 - what a worker has
            open(mark, "w").close()  # noqa: PTH123 - as above
            raise ConnectionError("after all values were read")
        return total

    job = session.map_reduce(by_parity, fails_at_first, range(1000), reducers=1)
    assert rows(job) == [(0, sum(range(0, 1000, 2))), (1, sum(range(1, 1000, 2)))]
    assert job.status().reduce.retried == 1


@pytest.mark.parametrize("blow", ["gone", "cut"])
def test_14_what_a_reducer_cannot_read_is_an_error(session: smr.Session, tmp_path: Path, blow: str) -> None:
    """Serverless-MR: a reducer catches a read that fails and goes on."""
    store, mark = session.backend.objects, str(tmp_path / "mark")

    def slow(number: int) -> Iterator[tuple[int, int]]:
        import threading

        while number == 99 and not os.path.exists(mark):  # noqa: PTH110 - what a worker has
            threading.Event().wait(0.01)
        yield number % 2, number

    job = session.map_reduce(slow, listed, range(100), split_size=60, retries=0)
    wait_until(lambda: list(store.list_prefix(f"jobs/{job.id}/map/")))
    key = next(store.list_prefix(f"jobs/{job.id}/map/")).key
    data = store.get(key)
    store.delete_prefix(key)
    if blow == "cut":
        store.put(key, data[: len(data) // 2])
    Path(mark).touch()
    with pytest.raises(CorruptObjectError, match=key):
        job.result()


@pytest.mark.parametrize("seed", range(5))
def test_15_a_phase_ends_when_all_its_tasks_did_however_often_some_report(seed: int) -> None:
    """Serverless-MR: a counter counts a retried task twice, so that the next stage starts early. Here the laws look after each event."""
    job = simulated(seed, Odds(doubled=0.9, death=0.2, silence=0.2))
    story = job.run()
    assert story.outcome.state is JobState.DONE
    assert story.result == expected(PAIRS)


def test_17_keys_and_values_come_back_as_what_they_were(session: smr.Session) -> None:
    """mrjob: its JSON protocol makes lists of tuples, and strings of keys."""
    pairs = [((1, "x"), {"v": (1, 2)}), ((1, "y"), {3: b"bytes"}), ((2, None), {"s"}), ((3, 1.5), Decimal("0.10")), ((True,), 2**100)]
    found = dict(rows(session.map_reduce(lambda pair: [pair], None, smr.items(pairs))))
    assert found == dict(pairs)
    assert {type(value) for value in found.values()} == {dict, set, Decimal, int}
    assert type(found[(1, "x")]["v"]) is tuple
    grouped = dict(rows(session.map_reduce(lambda pair: [pair], listed, smr.items([*pairs, *pairs]))))
    assert grouped == {key: [value, value] for key, value in pairs}


def test_18_a_result_has_all_its_rows(session: smr.Session) -> None:
    """sparkmagic: cut at 2,500 rows, without a word."""
    assert rows(session.map_reduce(lambda number: [(number, number)], None, range(10_001))) == [
        (number, number) for number in range(10_001)
    ]
    assert len(session.map_reduce(lambda number: [(number, number)], listed, range(10_001)).result()) == 10_001


def test_18_a_result_of_a_job_that_failed_is_an_error_and_never_none(session: smr.Session) -> None:
    """sparkmagic: a cell that failed gives `None`, and the notebook goes on."""
    job = session.map_reduce(lambda number: [(number, 1 // number)], None, range(3))
    for ask in (job.result, job.head, job.parts, lambda: list(job.scan())):
        with pytest.raises(TaskError, match="ZeroDivisionError"):
            ask()


def test_19_equal_strings_are_one_group_whatever_seed_their_process_hashes_by() -> None:
    """Dask bag, once: a group for each process, because `hash` of a string differs between them."""
    program = """
from smr_notebook.dataflow.keys import split_keys
from smr_notebook.dataflow.partitioning import HashPartitioner
columns = [keys for keys, _ in split_keys([f"word {number}" for number in range(500)] + list(range(100)) + [("t", 1), ("t", "1")])]
print([HashPartitioner(7).of(keys).tolist() for keys in columns])
"""
    said = {
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True, text=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(said) == 1
