"""What befalls jobs on S3, DynamoDB and Lambda's runtime besides lost calls: bytes that rot, sandboxes that stand still, odd keys."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pytest

import smr_notebook as smr
from smr_notebook.backends.aws.clients import Clients
from smr_notebook.control.ledger import Ledger
from smr_notebook.errors import CorruptObjectError, PlanError, TaskTimeoutError, UntrustedObjectError
from smr_notebook.model import Phase
from smr_notebook.testing.cloud import Shape
from smr_notebook.testing.forging import Trap, forged_code
from smr_notebook.testing.lambdas.service import Service
from smr_notebook.testing.waiting import wait_until

pytestmark = pytest.mark.filterwarnings("ignore:.*tasks run .* at a time")  # of a small account, which these are

Deploy = Callable[..., AbstractContextManager[tuple[smr.Session, Service]]]
ODD = ["a b+c.csv", "100%25 ok?.csv", "ä/日本 #1.csv", "=&;,:'!(x).csv", "back\\slash.csv"]
"""Keys that some way of quoting gets wrong."""


def gated(gate: str) -> Callable[[int], Iterator[tuple[int, int]]]:
    """Return a map whose last item waits until somebody opens a gate."""

    def mapped(item: int) -> Iterator[tuple[int, int]]:
        while item == 299 and not Path(gate).exists():
            threading.Event().wait(0.02)
        yield item % 3, item

    return mapped


def before_the_last(job: smr.Job) -> None:
    """Wait until all map tasks but one have ended."""
    wait_until(lambda: (mapping := job.status().map).tasks == mapping.done + 1, 60)


SUMS = [sum(range(rest, 300, 3)) for rest in range(3)]


def test_a_run_that_rots_on_s3_costs_its_task_and_nothing_else(deploy: Deploy, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with deploy() as (session, _):
        job = session.map_reduce(gated(str(gate)), sum, range(300), split_size=1_000, reducers=2)
        before_the_last(job)
        objects, maps = session.backend.objects, job.status().map.tasks
        run = next(info.key for info in objects.list_prefix(f"jobs/{job.id}/map/000001/") if info.key.endswith("/run"))
        data = objects.get(run)
        objects.put(run, data[:20] + bytes([data[20] ^ 1]) + data[21:])
        gate.touch()
        with pytest.raises(CorruptObjectError, match=run):
            job.wait(60)
        again = job.resume()
        assert again.result()["value"].tolist() == SUMS
        tried = Ledger(session.backend.table, again.id).snapshot().attempts
        assert [task.number for task in tried if task.phase is Phase.MAP] == [1]
        assert again.warnings[0].startswith(f"{maps - 1} of {maps} map tasks")


def test_code_that_somebody_put_into_the_bucket_does_not_run(deploy: Deploy, tmp_path: Path) -> None:
    gate, trap = tmp_path / "gate", Trap(tmp_path / "sprung")
    with deploy() as (session, service):
        job = session.map_reduce(gated(str(gate)), sum, range(300), split_size=1_000, reducers=2)
        before_the_last(job)
        session.backend.objects.put(f"jobs/{job.id}/code", forged_code(trap))
        for boxes in service.status().sandboxes.values():  # none is left that knows the code
            for box in boxes:
                for pid in box.members:
                    os.kill(pid, signal.SIGKILL)
        gate.touch()
        with pytest.raises(UntrustedObjectError, match=f"jobs/{job.id}/code was not written by this workspace"):
            job.wait(120)
        with pytest.raises(PlanError, match=f"jobs/{job.id}/code, which it was submitted with"):
            job.resume()
        assert not trap.path.exists()


def test_a_record_that_hangs_on_lambda_is_told(deploy: Deploy) -> None:
    def hangs(item: int) -> Iterator[tuple[int, int]]:
        while item == 250:
            threading.Event().wait(0.02)
        yield item % 3, item

    with deploy(Shape(lease_seconds=6.0)) as (session, _):
        impatient = smr.Session("aws", stack=session.settings.stack, settings={"record_timeout": 1.0})
        job = impatient.map_reduce(hangs, sum, range(300), retries=1)
        with pytest.raises(TaskTimeoutError, match="no record was finished for 1 s") as caught:
            job.wait(120)
        text = str(caught.value)
        assert "record: 250" in text
        assert text.count("---->") == 1, "the user's own line, and none of what calls it"


def test_a_sandbox_that_stands_still_costs_time_only(deploy: Deploy, tmp_path: Path) -> None:
    """Stopped by a signal, as a machine that is taken away would be: its lease ends, another attempt does its task."""
    gate = tmp_path / "gate"
    with deploy(Shape(lease_seconds=3.0)) as (session, service):
        job = session.map_reduce(gated(str(gate)), sum, range(300), split_size=1_000, reducers=2)
        before_the_last(job)
        stopped = [
            pid
            for name, boxes in service.status().sandboxes.items()
            if name.endswith("mapper")
            for box in boxes
            if box.busy
            for pid in box.members
        ]
        assert stopped
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        gate.touch()
        assert job.result()["value"].tolist() == SUMS
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        assert job.result()["value"].tolist() == SUMS
        assert any(failed.failure.type == "HeartbeatsStopped" for failed in job.errors()) or job.troubles


def test_what_was_left_out_is_done_again_with_mended_code(deploy: Deploy) -> None:
    def brittle(item: int) -> Iterator[tuple[int, int]]:
        yield item % 3, item // (item not in {250, 251})

    with deploy() as (session, _):
        job = session.map_reduce(brittle, sum, range(300), split_size=1_000, on_error="collect", max_bad=5)
        with pytest.warns(UserWarning, match="leaves out 2 of 300 records"):
            assert sum(job.result()["value"]) == sum(range(300)) - 501
        assert len(job.bad) == 2
        again = job.retry_failed(map=lambda item: [(item % 3, item)])
        assert again.result()["value"].tolist() == SUMS
        assert again.bad.empty


@pytest.mark.parametrize("kind", ["csv", "arrow"])
def test_keys_that_are_hard_to_quote_are_read_and_named(deploy: Deploy, clients: Clients, bucket: str, kind: str) -> None:
    frame = pd.DataFrame({"user": [number % 3 for number in range(60)], "amount": range(60)})
    keys = [f"in/{key}" if kind == "csv" else f"in/{key}".replace(".csv", ".arrow") for key in ODD]
    for number, key in enumerate(keys):
        rows = frame.iloc[number :: len(keys)]
        sink = io.BytesIO()
        if kind == "arrow":
            pyarrow.feather.write_feather(pa.Table.from_pandas(rows, preserve_index=False), sink, compression="uncompressed")
        body = rows.to_csv(index=False).encode() if kind == "csv" else sink.getvalue()
        clients["s3"].put_object(Bucket=bucket, Key=key, Body=body)
    with deploy() as (session, _):
        told = smr.formats.csv(types={"user": int, "amount": int}) if kind == "csv" else "auto"
        job = session.aggregate(f"s3://{bucket}/in/", by="user", total=smr.sum("amount"), split_size=100, format=told)
        assert job.result()["total"].tolist() == frame.groupby("user")["amount"].sum().tolist()

        def bad(row: dict[str, int]) -> Iterator[tuple[int, int]]:
            yield 1, 1 // (row["amount"] != 57)

        failed = session.map_reduce(bad, sum, f"s3://{bucket}/in/", retries=0, format=told)
        assert f"{bucket}/{keys[57 % len(keys)]}" in str(failed.exception())


def test_logs_are_followed_from_another_process(deploy: Deploy, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    opened, mapped = str(gate), gated(str(gate))

    def prints(item: int) -> Iterator[tuple[int, int]]:
        if item in {100, 299}:
            print(f"at {item}, {Path(opened).exists()}", flush=True)  # noqa: T201 - what this is about
        yield from mapped(item)

    with deploy() as (session, _):
        job = session.map_reduce(prints, sum, range(300), split_size=1_000, reducers=1)
        before_the_last(job)
        stack = str(session.settings.stack)
        follow = [sys.executable, "-m", "smr_notebook", "logs", job.id, "--follow", "--platform", "aws", "--stack", stack]
        with subprocess.Popen(follow, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            first = next(line for line in process.stdout if "at 100, False" in line)
            gate.touch()
            rest = process.stdout.read()
        assert process.returncode == 0
        assert "at 299, False" in first + rest
