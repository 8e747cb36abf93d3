"""A rehearsal: what the first attempt in a fresh process pays for, paid while the process has nothing to do.

A process that was just forked shares its memory with the one it came from until it writes to it, and all that an attempt touches is
written to: reference counts are. Together with the table's connection and what libraries make on first use that is some ten milliseconds,
several times what a small task takes. So a job of two records runs once, on a platform that is thrown away.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import gettempdir

from smr_notebook.control.attempts import Output
from smr_notebook.control.keys import keys_of
from smr_notebook.control.ledger import JOBS, Ledger
from smr_notebook.control.manifests import gather
from smr_notebook.control.naming import Items
from smr_notebook.control.plans import write_plan
from smr_notebook.control.pulse import pulse_of
from smr_notebook.control.reading import plan_input, store_input
from smr_notebook.control.work import Errand, perform
from smr_notebook.dataflow.code import capture, load_program
from smr_notebook.dataflow.functions import Functions
from smr_notebook.dataflow.memory import room_of
from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.pair_programs import PairProgram
from smr_notebook.dataflow.splits import plan_splits
from smr_notebook.environment import environment
from smr_notebook.model import AttemptId, Commit, Phase, Plan, Policy, TaskId
from smr_notebook.ports import Backend

_JOB = "rehearsal"


def warm_up(backend: Backend, stage: Backend) -> None:
    """Rehearse, and open what an attempt opens.

    Args:
        backend: The platform. Nothing is written to it.
        stage: Where the rehearsal takes place, to be thrown away.

    Raises:
        StoreError: The table cannot be opened.
    """
    pulse_of(os.getpid())
    backend.table.get(JOBS, JOBS)
    rehearse_on(stage)


def rehearse_on(stage: Backend) -> None:
    """Run one map attempt and one reduce attempt. No thread is left."""
    program, _ = load_program(capture(PairProgram(Functions(_pair, False, _total, False, _total, False))).data)  # noqa: FBT003 - facts in a row
    stored = store_input(Items(["a", "b"]), stage.objects, job=_JOB, keys=keys_of(stage.table), split_size=0, slots=1, parallel=1)
    source = plan_input(stored, {}, store=stage.objects, job=_JOB, format="auto", split_size=0, slots=1)
    splits = plan_splits(source.objects, split_bytes=source.split_bytes)
    plan = Plan(
        job=_JOB,
        name="",
        created=0.0,
        format=source.format,
        maps=len(splits),
        reducers=1,
        combine=True,
        grouped_order=False,
        input_bytes=sum(split.bytes for split in splits),
        input_records=source.records,
        budget=1 << 30,
        policy=Policy(),
        environment=environment(),
    )
    write_plan(stage.objects, plan, splits, keys_of(stage.table))
    room = room_of(plan.budget, bare=0, resident=lambda: 0)
    done = Errand(stage, plan, program, AttemptId(TaskId(Phase.MAP, 0), 1), Meter(), Path(gettempdir()), room)
    mapped = [_commit(replace(done, attempt=AttemptId(TaskId(Phase.MAP, number), 1), meter=Meter())) for number in range(plan.maps)]
    gather(plan, Phase.MAP, mapped, objects=stage.objects, ledger=Ledger(stage.table, _JOB))
    _commit(replace(done, attempt=AttemptId(TaskId(Phase.REDUCE, 0), 1), meter=Meter()))
    perform(replace(done, plan=replace(plan, reducers=0), meter=Meter()))


def _commit(errand: Errand) -> Commit:
    output: Output = perform(errand)
    receipts = (output.receipt,) if output.receipt else ()
    return Commit(errand.attempt, "", 0.0, 0.0, errand.meter.numbers(0), receipts=receipts, part=output.part)


def _pair(record: str) -> Iterator[tuple[str, int]]:
    yield record, 1


def _total(_: str, values: Iterable[int]) -> int:
    return sum(values)
