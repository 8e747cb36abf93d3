"""Whole jobs on S3, DynamoDB and Lambda: the same answers, byte for byte, whatever is lost, doubled, throttled or killed."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from random import Random
from typing import BinaryIO

import pandas as pd
import pytest

import smr_notebook as smr
from smr_notebook.backends.aws.clients import Clients
from smr_notebook.control.ledger import Ledger
from smr_notebook.job.handle import Job
from smr_notebook.model import AttemptState, JobState, Phase
from smr_notebook.testing.cloud import Shape
from smr_notebook.testing.lambdas.service import Service
from smr_notebook.testing.lambdas.settings import Faults
from smr_notebook.testing.waiting import wait_until

pytestmark = pytest.mark.filterwarnings("ignore:.*tasks run .* at a time")  # of a small account, which these are

WORDS = [f"word{number}" for number in range(97)]


def some_lines(count: int) -> list[str]:
    random = Random(7)
    return [" ".join(random.choices(WORDS, k=6)) for _ in range(count)]


def words(line: str) -> Iterator[tuple[str, int]]:
    for word in line.split():
        yield word, len(line)


def together(key: str, values: Iterator[int]) -> str:
    """Not just a sum: the order of the values shows."""
    return "-".join(str(value) for value in values)[-200:]


Deploy = Callable[..., AbstractContextManager[tuple[smr.Session, Service]]]


def put_lines(clients: Clients, bucket: str, lines: list[str], *, objects: int) -> str:
    """Store lines as so many objects, and return their location."""
    for number in range(objects):
        body = "\n".join(lines[number::objects]) + "\n"
        clients["s3"].put_object(Bucket=bucket, Key=f"logs/{number:03d}.txt", Body=body.encode())
    return f"s3://{bucket}/logs/"


def part_bytes(session: smr.Session, job: Job) -> list[bytes]:
    return [session.backend.objects.get(file.key) for part in job.parts() for file in part.files]


def on_this_machine(lines: list[str], folder: Path, *, objects: int, split_size: int) -> list[bytes]:
    """Return the parts of the same job on the embedded default."""
    for number in range(objects):
        (folder / f"{number:03d}.txt").write_text("\n".join(lines[number::objects]) + "\n")
    session = smr.Session("local")
    try:
        job = session.map_reduce(words, together, str(folder), split_size=split_size, reducers=5)
        return part_bytes(session, job)
    finally:
        session.close()


def commits(session: smr.Session, job: Job) -> Counter[Phase]:
    return Counter(task.phase for task in Ledger(session.backend.table, job.id).snapshot().commits)


def test_a_format_with_options_and_a_parser_are_what_driver_and_workers_read(deploy: Deploy, clients: Clients, bucket: str) -> None:
    text = "café ਊ 😀\n" * 2_000
    clients["s3"].put_object(Bucket=bucket, Key="text/a.txt", Body=text.encode("utf-16"))
    clients["s3"].put_object(Bucket=bucket, Key="own/a.dat", Body=text.encode())

    def parse(source: str, stream: BinaryIO) -> Iterator[tuple[str, int]]:
        assert stream.seek(0, os.SEEK_END) == len(text.encode())
        stream.seek(0)
        for line in stream:
            yield source.rpartition("/")[2], len(line)

    with deploy() as (session, _):
        told = smr.formats.text(encoding="utf-16")
        counted = session.map_reduce(lambda line: [(line, 1)], sum, f"s3://{bucket}/text/", format=told, split_size=5_000)
        own = session.map_reduce(lambda record: [record], sum, f"s3://{bucket}/own/", format=smr.formats.parse(parse))
        assert counted.result().to_dict("list") == {"key": ["café ਊ 😀"], "value": [2_000]}
        assert counted.status().map.tasks > 5
        assert own.result().to_dict("list") == {"key": ["a.dat"], "value": [len(text.encode())]}


def test_a_job_over_objects_of_a_bucket(deploy: Deploy, clients: Clients, bucket: str) -> None:
    lines = some_lines(200)
    where = put_lines(clients, bucket, lines, objects=4)
    with deploy() as (session, _):
        job = session.map_reduce(words, len, where, name="first")
        frame = job.result()
        assert dict(zip(frame["key"], frame["value"], strict=True)) == Counter(word for line in lines for word in line.split())
        assert job.proof.startswith("1 split · 200 records read = mapped")
        progress = job.status()
        assert progress.cost is not None
        assert progress.estimate is not None
        assert 0 < progress.cost.total < 0.01
        assert [info.id for info in session.jobs()] == [job.id]
        assert session.attach(job.id[:5]).result().equals(frame)


def test_records_and_groups_that_fail_are_left_out_and_told(deploy: Deploy, clients: Clients, bucket: str) -> None:
    lines = [f"{number if number % 50 else 'none'}" for number in range(1_000)]
    where = put_lines(clients, bucket, lines, objects=2)

    def total(key: int, values: Iterator[int]) -> int:
        found = sum(values)
        if key == 2:
            raise KeyError(key)
        return found

    with deploy() as (session, _):
        job = session.map_reduce(lambda line: [(int(line) % 3, int(line))], total, where, on_error="collect", max_bad=0.5, reducers=2)
        with pytest.warns(smr.LeftOutWarning, match="leaves out 20 of 1,000 records and 1 of 3 groups"):
            frame = job.result()
        good = [number for number in range(1_000) if number % 50]
        answer = {key: sum(number for number in good if number % 3 == key) for key in (0, 1)}
        assert dict(zip(frame["key"], frame["value"], strict=True)) == answer
        assert "1,000 records read = 980 mapped + 20 left out · 3 groups = 2 reduced + 1 left out" in job.proof
        bad = job.bad
        assert Counter(bad["function"]) == {"map": 20, "reduce": 1}
        assert set(bad["object"][:20]) == {f"{bucket}/logs/000.txt"}


def test_a_driver_cuts_the_ranges_of_a_sorted_job(deploy: Deploy, clients: Clients, bucket: str) -> None:
    lines = [f"{number * 7_919 % 30_000:06d} line {number}" for number in range(30_000)]
    where = put_lines(clients, bucket, lines, objects=3)
    with deploy() as (session, _):
        job = session.map_reduce(lambda line: [(line[:6], line)], None, where, sort="keys", reducers=4)
        rows = [value for frame in job.scan() for value in frame["value"]]
        assert rows == sorted(lines)
        assert [part.number for part in job.parts()] == [0, 1, 2, 3]
        assert min(part.rows for part in job.parts()) > 5_000


def test_aggregations_and_frames_give_what_they_give_on_this_machine(deploy: Deploy, clients: Clients, bucket: str, tmp_path: Path) -> None:
    rows = [json.dumps({"user": f"u{number % 7}", "amount": number / 7}) for number in range(5_000)]
    where = put_lines(clients, bucket, rows, objects=3)
    local = tmp_path / "rows.jsonl"
    local.write_text("\n".join(rows) + "\n")

    def greatest(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.groupby("user", as_index=False)[["amount"]].max()

    def both(session: smr.Session, input: str) -> tuple[pd.DataFrame, pd.DataFrame]:
        sums = session.aggregate(input, by="user", format="jsonl", total=smr.sum("amount"), best=smr.top("amount", 2), wait=True)
        frames = session.map_frames(None, greatest, input, by="user", format="jsonl", wait=True)
        return sums, frames

    with deploy() as (session, _):
        there = both(session, where)
    session = smr.Session("local", settings={"workspace": str(tmp_path / "workspace")})
    here = both(session, str(local))
    session.close()
    for one, other in zip(there, here, strict=True):
        pd.testing.assert_frame_equal(one, other)


def test_a_driver_tells_how_csv_is_written_and_where_it_is_cut(deploy: Deploy, clients: Clients, bucket: str) -> None:
    rows = [(f"u{number % 7}", "two\nlines; and more" if number % 3 else 'a "word"', number) for number in range(3_000)]
    for number in range(2):
        body = io.StringIO(newline="")
        csv.writer(body, delimiter=";").writerows([("user", "note", "n"), *rows[number::2]])
        clients["s3"].put_object(Bucket=bucket, Key=f"in/{number}.csv", Body=body.getvalue().encode())
    with deploy() as (session, _):
        job = session.map_reduce(
            lambda row: [(row["user"], row["n"])], sum, f"s3://{bucket}/in/", format=smr.formats.csv(infer=True), split_size=9_000
        )
        frame = job.result()
        assert dict(zip(frame["key"], frame["value"], strict=True)) == {f"u{key}": sum(range(key, 3_000, 7)) for key in range(7)}
        assert job.status().map.tasks > 8
        job = session.map_reduce(lambda row: [(row["note"], 1)], sum, f"s3://{bucket}/in/*.csv", format=smr.formats.csv(columns=["note"]))
        assert sorted(job.result()["value"]) == [1_000, 2_000]


def test_items_and_frames_travel_too(deploy: Deploy) -> None:
    with deploy() as (session, _):
        frame = session.map_reduce(lambda number: [(number % 3, number)], sum, range(100), wait=True)
        assert frame["value"].tolist() == [sum(range(rest, 100, 3)) for rest in range(3)]
        rows = session.map_reduce(lambda row: [(row["key"], row["value"])], None, frame, wait=True)
        assert rows["value"].tolist() == frame["value"].tolist()


def test_trouble_of_every_kind_leaves_the_same_bytes(deploy: Deploy, clients: Clients, bucket: str, tmp_path: Path) -> None:
    """200 map tasks, eight at once, each seventh call lost, each fifth doubled, on half the concurrency that the account claims."""
    lines = some_lines(2_000)
    size = len("\n".join(lines)) // 200
    where = put_lines(clients, bucket, lines, objects=4)
    shape = Shape(account_limit=12, lease_seconds=4.0, faults=Faults(lost_every=7, doubled_every=5))
    with deploy(shape) as (session, service):
        job = session.map_reduce(words, together, where, split_size=size, reducers=5)
        found = part_bytes(session, job)
        assert job.status().map.tasks >= 200
        assert commits(session, job) == {Phase.MAP: job.status().map.tasks, Phase.REDUCE: 5}
        counts = service.status().counts
        assert counts["lost"] > 20
        assert counts["doubled"] > 30
    assert found == on_this_machine(lines, tmp_path, objects=4, split_size=size)


def test_a_coordinator_that_is_killed_again_and_again_changes_nothing(
    deploy: Deploy, clients: Clients, bucket: str, tmp_path: Path
) -> None:
    """`kill -9` at twenty moments of one job."""
    lines = some_lines(2_000)
    size = len("\n".join(lines)) // 100
    where = put_lines(clients, bucket, lines, objects=4)
    random = Random(11)
    with deploy(Shape(account_limit=8, lease_seconds=3.0)) as (session, service):
        job = session.map_reduce(words, together, where, split_size=size, reducers=5)
        coordinator = f"{session.settings.stack}-coordinator"
        killed = 0
        while not job.done() and killed < 20:
            busy = [box for box in service.status().sandboxes.get(coordinator, ()) if box.busy]
            if busy and random.random() < 0.2:
                for member in busy[0].members:
                    os.kill(member, signal.SIGKILL)
                killed += 1
            job.watch(lambda _: None, timeout=0.05)
        found = part_bytes(session, job)
        epochs = Ledger(session.backend.table, job.id).lease()
        assert killed > 10
        assert epochs is not None
        assert epochs.epoch > 5
        assert commits(session, job) == {Phase.MAP: job.status().map.tasks, Phase.REDUCE: 5}
    assert found == on_this_machine(lines, tmp_path, objects=4, split_size=size)


def test_a_task_longer_than_an_invocation_ends_in_several(deploy: Deploy, clients: Clients, bucket: str) -> None:
    """Invocations of eight seconds; a map task and a reduce task of some fifteen each."""
    where = put_lines(clients, bucket, [str(number) for number in range(60)], objects=1)

    def slow(line: str) -> Iterator[tuple[int, int]]:
        threading.Event().wait(0.25)
        yield int(line) % 30, int(line)

    def slow_too(key: int, values: Iterator[int]) -> list[int]:
        threading.Event().wait(0.5)
        return list(values)

    with deploy(Shape(seconds=8.0, lease_seconds=6.0)) as (session, _):
        job = session.map_reduce(slow, slow_too, where, reducers=1)
        frame = job.result()
        assert frame["value"].tolist() == [[rest, rest + 30] for rest in range(30)]
        attempts = [one for of_task in Ledger(session.backend.table, job.id).snapshot().attempts.values() for one in of_task]
        paused = Counter(attempt.id.task.phase for attempt in attempts if attempt.state is AttemptState.PAUSED)
        assert paused[Phase.MAP] > 0 < paused[Phase.REDUCE]
        assert not any(attempt.state is AttemptState.FAILED for attempt in attempts)
        assert job.status().map.retried == 0


def test_records_longer_than_the_margin_end_too(deploy: Deploy, clients: Clients, bucket: str) -> None:
    """Invocations of nine seconds and records of three: what is left after two of them is too little for a third."""
    where = put_lines(clients, bucket, [str(number) for number in range(6)], objects=1)

    def slow(line: str) -> Iterator[tuple[int, int]]:
        threading.Event().wait(3.2)
        yield int(line) % 3, int(line)

    with deploy(Shape(seconds=9.0, lease_seconds=6.0)) as (session, _):
        job = session.map_reduce(slow, sum, where, reducers=1)
        assert job.result()["value"].tolist() == [3, 5, 7]


def test_a_process_that_dies_is_told_by_its_cause_and_tried_again(deploy: Deploy, tmp_path: Path) -> None:
    flag = str(tmp_path / "died")

    def dies_once(number: int) -> Iterator[tuple[int, int]]:
        if number == 250 and not Path(flag).exists():  # behind what the driver tries
            Path(flag).touch()
            os.kill(os.getpid(), 9)
        yield number % 2, number

    with deploy() as (session, _):
        job = session.map_reduce(dies_once, sum, range(300), reducers=1)
        assert job.result()["value"].tolist() == [sum(range(0, 300, 2)), sum(range(1, 300, 2))]
        assert [failed.failure.type for failed in job.errors()] == ["OutOfMemoryError"], "on Lambda nobody else kills"
        assert "killed by signal 9" in job.errors()[0].failure.message
        assert len(job.troubles) == 1
        assert "run again with 3,538 MiB" in job.troubles[0]


def test_a_crash_on_lambda_is_told_with_the_line_and_tried_again(deploy: Deploy, tmp_path: Path) -> None:
    flag = str(tmp_path / "died")

    def dies_once(number: int) -> Iterator[tuple[int, int]]:
        if number == 250 and not Path(flag).exists():  # behind what the driver tries
            Path(flag).touch()
            os.kill(os.getpid(), signal.SIGSEGV)
        yield number % 2, number

    with deploy() as (session, _):
        job = session.map_reduce(dies_once, sum, range(300), reducers=1)
        assert job.result()["value"].tolist() == [sum(range(0, 300, 2)), sum(range(1, 300, 2))]
        (failed,) = job.errors()
        assert (failed.failure.type, failed.failure.frames[-1].text) == ("WorkerDied", "os.kill(os.getpid(), signal.SIGSEGV)")
        assert job.troubles == ("1 worker of the map phase died (signal 11, SIGSEGV), and its task was run again.",)


def test_a_task_that_runs_out_of_memory_is_run_again_in_the_larger_function(deploy: Deploy) -> None:
    def hungry(number: int) -> Iterator[tuple[int, int]]:
        if number == 250:  # behind what the driver tries
            held = bytearray(500 << 20)
            threading.Event().wait(1.0)
            number += len(held) >> 40
        yield number % 2, number

    with deploy(Shape(memory_mb=512, kills_hogs=True)) as (session, service):
        job = session.map_reduce(hungry, sum, range(300), reducers=1)
        assert job.result()["value"].tolist() == [sum(range(0, 300, 2)), sum(range(1, 300, 2))]
        (failed,) = job.errors()
        assert (failed.failure.type, failed.failure.limit_bytes) == ("OutOfMemoryError", 512 << 20)
        assert "run again with 1,024 MiB" in job.troubles[0]
        assert any(boxes for name, boxes in service.status().sandboxes.items() if name.endswith("mapper-large"))


def test_what_the_functions_print_is_in_the_log_and_the_last_words_of_a_process_too(deploy: Deploy, tmp_path: Path) -> None:
    flag = str(tmp_path / "died")

    def prints(number: int) -> Iterator[tuple[int, int]]:
        if number == 250 and not Path(flag).exists():  # behind what the driver tries
            Path(flag).touch()
            os.write(2, b"cannot go on")
            os.kill(os.getpid(), 11)
        if number % 100 == 0:
            print(f"at {number}")  # noqa: T201 - what this is about
            smr.count_up("hundreds")
        yield number % 2, number

    with deploy() as (session, _):
        hooked = smr.hooked(prints, setup=lambda: smr.count_up("attempts"))
        job = session.map_reduce(hooked, sum, range(300), reducers=1)
        job.result()
        assert {line.text for line in job.logs(phase="map") if not line.mark} == {"at 0", "at 100", "at 200"}
        assert job.status().map.numbers.lines_written == 3
        assert dict(job.counters) == {"attempts": job.status().map.tasks, "hundreds": 3}
        assert "(SIGSEGV). Its last words were:" in job.errors()[0].failure.message


def test_a_failing_record_is_run_again_in_the_notebook(deploy: Deploy) -> None:
    def bad(number: int) -> Iterator[tuple[int, float]]:
        yield 1, 1 / (number - 250)

    with deploy() as (session, _):
        job = session.map_reduce(bad, sum, range(300), retries=0)
        job.exception()
        assert job.failing_record() == 250
        with pytest.raises(ZeroDivisionError):
            job.debug()


def test_an_error_of_the_function_is_told_with_its_line(deploy: Deploy) -> None:
    def bad(number: int) -> Iterator[tuple[int, float]]:
        yield 1, 1 / (number - 3)

    with deploy() as (session, _):
        job = session.map_reduce(bad, sum, range(10), retries=0)
        with pytest.raises(smr.errors.TaskError, match="ZeroDivisionError") as caught:
            job.result()
        assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_cancelled_job_stops(deploy: Deploy) -> None:
    def endless(number: int) -> Iterator[tuple[int, int]]:
        while True:
            yield number, 1

    with deploy(Shape(lease_seconds=3.0)) as (session, _):
        job = session.map_reduce(endless, sum, range(3))
        wait_until(lambda: job.status().map.running, 30.0)
        job.cancel()
        with pytest.raises(smr.errors.JobCancelled):
            job.wait(60)
        assert job.status().state is JobState.CANCELLED


def test_the_job_goes_on_when_the_notebook_and_its_coordinator_are_gone(deploy: Deploy) -> None:
    """Nobody watches, and no worker ends: only the alarm can notice."""

    def waits(number: int) -> Iterator[tuple[int, int]]:
        threading.Event().wait(2.0)
        yield number, 1

    with deploy(Shape(lease_seconds=3.0, time_scale=0.02)) as (session, service):
        coordinator = f"{session.settings.stack}-coordinator"
        job = session.map_reduce(waits, sum, range(4))
        wait_until(lambda: job.status().map.running, 30.0)
        for box in service.status().sandboxes[coordinator]:
            for member in box.members:
                os.kill(member, signal.SIGKILL)
        wait_until(lambda: job.status().state.ended, 60.0)
        assert job.result()["value"].tolist() == [1, 1, 1, 1]
