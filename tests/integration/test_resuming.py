"""Jobs that failed or were cancelled are gone on from, on real processes: the same answer as without, and nothing done twice."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd
import pytest

import smr_notebook as smr
from smr_notebook.backends.memory.functions import MemoryFunctions
from smr_notebook.control.deriving import Wish, derive
from smr_notebook.control.keys import keys_of
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.plans import read_plan
from smr_notebook.dataflow.mending import Mended
from smr_notebook.errors import ConfigError, CorruptObjectError, InputChangedError, JobCancelled, PlanError, TaskError
from smr_notebook.model import JobState, Phase
from smr_notebook.testing.waiting import wait_until

OpenSession = Callable[..., smr.Session]


class Calls:
    """What functions were called with, told through a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def note(self, what: object) -> None:
        with self.file.open("a") as file:
            file.write(f"{what}\n")

    def take(self) -> list[str]:
        lines = self.file.read_text().split() if self.file.exists() else []
        self.file.unlink(missing_ok=True)
        return lines


@pytest.fixture
def calls(tmp_path: Path) -> Calls:
    return Calls(tmp_path / "calls")


def rows(job: smr.Job) -> list[tuple[Any, Any]]:
    return list(job.result().itertuples(index=False, name=None))


def total(key: int, values: Iterator[int]) -> int:
    return sum(values)


SUMS = [(rest, sum(range(rest, 40, 3))) for rest in range(3)]


def failed(job: smr.Job) -> smr.Job:
    with pytest.raises(TaskError):
        job.wait()
    return job


def taken_over(job: smr.Job) -> int:
    return int(job.warnings[0].split()[0])


def test_only_what_failed_is_mapped_again_with_the_mended_function(session: smr.Session, calls: Calls) -> None:
    def brittle(item: int) -> Iterator[tuple[int, int]]:
        yield item % 3, item // (item != 37)

    def sound(item: int) -> Iterator[tuple[int, int]]:
        calls.note(item)
        yield item % 3, item

    job = failed(session.map_reduce(brittle, total, range(40), split_size=1, reducers=2, name="numbers"))
    before = job.status().map.done
    again = job.retry_failed(map=sound)
    assert again.id != job.id
    assert again.name == "numbers"
    assert again.status().map.done >= before  # from the start
    assert rows(again) == SUMS
    taken = taken_over(again)
    assert again.warnings[0] == f"{taken} of 40 map tasks are taken over from job {job.id}."
    assert "40 records read = mapped" in again.proof
    mapped = Counter(map(int, calls.take()))
    assert mapped[37] == 1
    assert sum(mapped.values()) == 40 - taken
    with pytest.raises(PlanError, match=f"{again.id} is done: nothing of it is missing"):
        again.resume()


def test_a_job_goes_on_from_one_that_went_on_from_another(session: smr.Session) -> None:
    def brittle(worst: int) -> Callable[[int], list[tuple[int, int]]]:
        return lambda item: [(item % 3, item // (item < worst))]

    job = failed(session.map_reduce(brittle(10), total, range(40), split_size=1, reducers=2))
    for worst in (20, 30):
        job = failed(job.retry_failed(map=brittle(worst)))
    last = job.retry_failed(map=brittle(40))
    assert rows(last) == SUMS
    assert [warning for warning in last.warnings if "taken over" in warning][1:] == []


def test_what_was_cancelled_is_resumed_where_it_was(own_session: OpenSession) -> None:
    def slow(item: int) -> Iterator[tuple[int, int]]:
        threading.Event().wait(0.03)
        yield item % 3, item

    session = own_session()
    job = session.map_reduce(slow, total, range(40), split_size=1, reducers=2)
    wait_until(lambda: job.status().map.done >= 5)
    with pytest.raises(PlanError, match=rf"{job.id} has not ended: it runs, and attach\('{job.id}'\) follows it"):
        job.resume()
    assert job.cancel()
    with pytest.raises(JobCancelled):
        job.wait()
    again = own_session().attach(job.id).resume()  # by whoever finds it
    assert rows(again) == SUMS
    done = taken_over(again)
    tried = Ledger(session.backend.table, again.id).snapshot().attempts
    assert 5 <= done < 40
    assert sum(task.phase is Phase.MAP for task in tried) == 40 - done
    assert rows(job.resume()) == SUMS  # and once more: the two do not meet
    assert any(f"{again.id} went on from job {job.id} before" in warning for warning in session.attach().warnings)


def test_what_failed_in_reduce_maps_nothing_again(session: smr.Session, calls: Calls) -> None:
    def mapped(item: int) -> Iterator[tuple[int, int]]:
        calls.note(item)
        yield item % 3, item

    def brittle(key: int, values: Iterator[int]) -> int:
        return sum(values) // (key != 2)

    job = failed(session.map_reduce(mapped, brittle, range(40), split_size=1, reducers=3))
    assert len(calls.take()) == 40
    with pytest.raises(PlanError, match="map= would not run: all map tasks"):
        job.retry_failed(map=mapped)
    again = job.retry_failed(reduce=total)
    assert rows(again) == SUMS
    assert calls.take() == []
    assert again.warnings[0].startswith("40 of 40 map tasks")


def test_a_job_without_reduce_keeps_the_parts_that_it_had(session: smr.Session, calls: Calls) -> None:
    job = failed(session.map_reduce(lambda item: [(item, 1 // (item != 7))], None, range(10), split_size=1))
    again = job.retry_failed(map=lambda item: [(item, 1)])
    assert rows(again) == [(item, 1) for item in range(10)]
    assert any(job.id in file.key for part in again.parts() for file in part.files)


def test_ranges_of_keys_stay_where_they_are_cut(session: smr.Session) -> None:
    def brittle(item: int) -> Iterator[tuple[int, int]]:
        yield item * 7919 % 2000, item // (item != 1999)

    job = failed(session.map_reduce(brittle, None, range(2000), split_size=2_000, sort="keys", reducers=4))
    again = job.retry_failed(map=lambda item: [(item * 7919 % 2000, item)])
    keys = [key for frame in again.scan() for key in frame["key"]]
    assert keys == sorted(item * 7919 % 2000 for item in range(2000))


def test_frames_are_gone_on_from(session: smr.Session) -> None:
    frame = pd.DataFrame({"user": [number % 5 for number in range(500)], "amount": range(500)})

    def brittle(rows: pd.DataFrame) -> pd.DataFrame:
        if (rows["user"] == 3).any():
            raise ValueError("no user 3")
        return rows.groupby("user", as_index=False).sum()

    def sound(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.groupby("user", as_index=False).sum()

    job = failed(session.map_frames(None, brittle, frame, by="user", reducers=3))
    again = job.retry_failed(reduce=sound).result()
    pd.testing.assert_frame_equal(again, frame.groupby("user", as_index=False).sum())


def numbers_of(file: BinaryIO) -> Iterator[int]:
    yield from map(int, file)


def test_a_job_with_a_parser_of_its_own_is_gone_on_from_and_debugged_with_mended_functions(session: smr.Session, tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.numbers").write_text(f"{number}\n{number + 4}\n")
    format = smr.formats.parse(numbers_of)
    job = failed(session.map_reduce(lambda item: [(item % 2, 1 // (item != 7))], total, tmp_path / "*.numbers", format=format, retries=0))
    assert job.failing_record() == 7
    assert job.debug(map=lambda item: [(item % 2, 1)]).given == [(1, 1)]
    with pytest.raises(ZeroDivisionError):
        job.debug()
    again = job.retry_failed(map=lambda item: [(item % 2, 1)])
    assert rows(again) == [(0, 4), (1, 4)]
    with pytest.raises(PlanError, match="combine= has nothing to mend"):
        job.retry_failed(combine=total)


def test_an_aggregation_that_was_cancelled_is_resumed(own_session: OpenSession, tmp_path: Path) -> None:
    for number in range(30):
        pd.DataFrame({"user": [number % 3] * 1000, "amount": range(1000)}).to_parquet(tmp_path / f"{number:02d}.parquet")
    session = own_session()
    job = session.aggregate(str(tmp_path / "*.parquet"), by="user", total=smr.sum("amount"), split_size="1KB")
    wait_until(lambda: job.status().map.done >= 2)
    if job.cancel() and job.exception() is not None:
        with pytest.raises(PlanError, match="map= has nothing to mend: the job has no map of your own"):
            job.retry_failed(map=len)
        job = job.resume()
    assert job.result()["total"].tolist() == [10 * sum(range(1000))] * 3


def test_functions_that_do_not_fit_are_refused(session: smr.Session) -> None:
    def brittle(item: int) -> Iterator[tuple[int, int]]:
        yield item % 3, item // (item != 37)

    def yields(key: int, values: Iterator[int]) -> Iterator[tuple[int, int]]:
        yield key, sum(values)

    job = failed(session.map_reduce(brittle, total, range(40), split_size=1, combine=True))
    for given in ({"combine": total}, {"reduce": total}):
        with pytest.raises(PlanError, match="combiner would be another one"):
            job.retry_failed(**given)  # type: ignore[arg-type]
    with pytest.raises(PlanError, match="reduce= must be a function, like the one that it mends; got <built-in function sum>"):
        job.retry_failed(reduce=sum)
    folded = failed(session.map_reduce(brittle, sum, range(40), split_size=1))
    with pytest.raises(PlanError, match="reduce= has nothing to mend: the job has no reduce of your own; it has map"):
        folded.retry_failed(reduce=total)
    assert rows(folded.retry_failed(map=lambda item: [(item % 3, item)])) == SUMS
    early = failed(session.map_reduce(lambda item: [(item % 3, 1 // 0)], total, range(40), split_size=1, combine=True))
    if not early.status().map.done:
        with pytest.raises(smr.errors.CombinerLawError):
            early.retry_failed(map=lambda item: [(item % 3, item)], reduce=lambda key, values: sum(values) + 1)
        assert rows(early.retry_failed(map=lambda item: [(item % 3, item)], reduce=yields)) == SUMS
    parted = failed(
        session.map_reduce(lambda item: [(item % 3, item)], lambda key, values: sum(values) // (key != 2), range(40), reducers=9)
    )
    with pytest.raises(PlanError, match="Parts of job"):
        parted.retry_failed(reduce=yields)


def test_a_limit_of_cost_holds_anew_and_can_be_another_one(session: smr.Session) -> None:
    job = failed(session.map_reduce(lambda item: [(item, 1 // (item != 7))], None, range(10), max_cost=2.5))
    keys = keys_of(session.backend.table)
    limits = [read_plan(session.backend.objects, again.id, keys).max_cost for again in (job.resume(), job.resume(max_cost=0.5))]
    assert limits == [2.5, 0.5]
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="max_cost must be an amount of dollars"):
            job.resume(max_cost=wrong)


def test_a_derived_job_may_give_a_record_more_time(own_session: OpenSession) -> None:
    session = own_session()
    keys = keys_of(session.backend.table)
    job = failed(session.map_reduce(lambda item: [(item, 1 // (item != 7))], None, range(10)))
    derived = (job.resume(), job.resume(record_timeout=0), job.retry_failed(record_timeout=7200))
    assert [read_plan(session.backend.objects, again.id, keys).policy.stall for again in derived] == [3600.0, 0.0, 7200.0]
    with pytest.raises(ConfigError, match="record_timeout must be a time in seconds, 0 for any; got -1"):
        job.resume(record_timeout=-1)


def test_a_derived_job_tries_as_hard_as_the_one_before_on_the_workers_that_there_are_now(own_session: OpenSession) -> None:
    session = own_session(speculate=False, record_timeout=77.0, retries=0, worker_limit=256 << 20)
    job = failed(session.map_reduce(lambda item: [(item, 1 // (item != 7))], None, range(10)))
    functions = MemoryFunctions(lambda _payload, _context: b"", workers=1)
    others = replace(session.backend, functions=functions)
    plans = [
        read_plan(session.backend.objects, found, keys_of(session.backend.table))
        for found in (job.id, derive(others, job.id, Wish(Mended(), again=False, max_cost=None, label_of=str)).job)
    ]
    assert plans[1].policy == plans[0].policy
    assert [len(plan.memory_sizes) for plan in plans] == [2, 0]
    assert plans[1].memory_bytes == functions.limits.memory_bytes
    functions.close()


def test_an_input_that_changed_meanwhile_is_told(session: smr.Session, tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.txt").write_text(f"{number}\n")
    brittle = failed(session.map_reduce(lambda line: [(int(line), 1 // (line != "3"))], sum, str(tmp_path / "*.txt"), split_size=1))
    (tmp_path / "3.txt").write_text("4\n5\n")
    with pytest.raises(InputChangedError):
        brittle.retry_failed(map=lambda line: [(int(line), 1)]).result()


def test_a_job_is_kept_as_long_as_one_that_stands_on_it(own_session: OpenSession) -> None:
    session = own_session(keep_days=1e-6)
    job = failed(session.map_reduce(lambda item: [(item, 1 // (item != 7))], None, range(10), split_size=1))
    again = job.retry_failed(map=lambda item: [(item, 1)])
    assert len(rows(again)) == 10
    other = own_session(keep_days=1.0)
    other.map_reduce(lambda item: [(item, 1)], None, [1], wait=True)
    assert len(rows(again)) == 10
    assert job.status().state is JobState.FAILED


@pytest.mark.parametrize("on_error", ["collect", "skip"])
@pytest.mark.filterwarnings("ignore::smr_notebook.job.left_out.LeftOutWarning")
def test_what_a_job_left_out_is_done_again_with_mended_code(session: smr.Session, calls: Calls, on_error: str) -> None:
    """The tasks that left records out, whole, so that values stay in the order of the input; the others not at all."""

    def brittle(item: int) -> Iterator[tuple[int, int]]:
        yield item % 2, item // (item not in {17, 63})

    def sound(item: int) -> Iterator[tuple[int, int]]:
        calls.note(item)
        yield item % 2, item

    job = session.map_reduce(brittle, lambda key, values: list(values), range(100), on_error=on_error, max_bad=5, split_size=25)
    assert [len(values) for _, values in rows(job)] == [50, 48]
    tasks = job.status().map.tasks
    with pytest.raises(PlanError, match=r"What it left out, if it did, job.retry_failed\(map=…\) does again"):
        job.resume()
    again = job.retry_failed(map=sound)
    assert rows(again) == [(0, list(range(0, 100, 2))), (1, list(range(1, 100, 2)))]
    assert again.bad.empty
    assert (
        again.warnings[0] == f"{tasks - 2} of {tasks} map tasks are taken over from job {job.id}; 2 that left something out are done again."
    )
    mapped = set(map(int, calls.take()))
    assert {17, 63} < mapped
    assert len(mapped) < 100
    with pytest.raises(PlanError, match="is done, and left out nothing that would be done again"):
        again.retry_failed(map=sound)


@pytest.mark.filterwarnings("ignore::smr_notebook.job.left_out.LeftOutWarning")
def test_groups_that_a_job_left_out_are_reduced_again_and_nothing_is_mapped(session: smr.Session, calls: Calls) -> None:
    def mapped(item: int) -> Iterator[tuple[int, int]]:
        calls.note(item)
        yield item % 3, item

    job = session.map_reduce(mapped, lambda key, values: sum(values) // (key != 2), range(40), reducers=2, on_error="collect", max_bad=3)
    assert rows(job) == SUMS[:2]
    calls.take()
    with pytest.raises(PlanError, match="left out nothing that would be done again"):
        job.retry_failed(map=mapped)
    again = job.retry_failed(reduce=total)
    assert rows(again) == SUMS
    assert calls.take() == []


def test_a_job_that_left_out_too_much_is_gone_on_from_with_mended_code_only(session: smr.Session) -> None:
    job = session.map_reduce(lambda item: [(item % 3, item // (item % 2))], total, range(40), on_error="skip", max_bad=3, split_size=1)
    with pytest.raises(smr.errors.TooManyBadError):
        job.wait()
    with pytest.raises(PlanError, match="left out more than it may, and would do so again"):
        job.resume()
    assert rows(job.retry_failed(map=lambda item: [(item % 3, item)])) == SUMS


def test_a_run_that_rots_between_the_phases_is_made_again_and_no_other(session: smr.Session, calls: Calls, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    def mapped(item: int) -> Iterator[tuple[int, int]]:
        calls.note(item)
        while item == 39 and not gate.exists():
            threading.Event().wait(0.01)
        yield item % 3, item

    job = session.map_reduce(mapped, total, range(40), split_size=20, reducers=2)
    wait_until(lambda: (mapping := job.status().map).tasks == mapping.done + 1)
    objects, maps = session.backend.objects, job.status().map.tasks
    run = next(info.key for info in objects.list_prefix(f"jobs/{job.id}/map/000001/") if info.key.endswith("/run"))
    data = objects.get(run)
    objects.put(run, data[:20] + bytes([data[20] ^ 1]) + data[21:])
    gate.touch()
    with pytest.raises(CorruptObjectError, match=run):
        job.result()
    calls.take()
    again = job.resume()
    assert rows(again) == SUMS
    assert again.warnings[0] == (
        f"{maps - 1} of {maps} map tasks are taken over from job {job.id}; 1 whose stored output is damaged or gone is done again."
    )
    tried = Ledger(session.backend.table, again.id).snapshot().attempts
    assert [(task.number, len(attempts)) for task, attempts in tried.items() if task.phase is Phase.MAP] == [(1, 1)]
    assert 0 < len(calls.take()) < 40
