"""The tasks of a preview: the data plane put together in this process, between one partition and no exchange.

Rules of this module: what an attempt raises is told as a job tells it, and what it leaves out is too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import gettempdir
from typing import Final

from smr_notebook.control.extrapolating import Looked
from smr_notebook.control.failures import describe, tell_of
from smr_notebook.control.layout import Layout
from smr_notebook.control.planning import Request, budget_of
from smr_notebook.control.trying import SAMPLE_PAIRS
from smr_notebook.counting import counting
from smr_notebook.dataflow.bad_records import BadRecord, BadRecords, read_bad
from smr_notebook.dataflow.code import Sources
from smr_notebook.dataflow.first_records import FirstRecords
from smr_notebook.dataflow.inputs import SplitInput
from smr_notebook.dataflow.joined_programs import inlet_of_task
from smr_notebook.dataflow.mapping import run_map, run_map_to_part
from smr_notebook.dataflow.memory import Room
from smr_notebook.dataflow.merging import ORDERS
from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.opening import NAMES, opened
from smr_notebook.dataflow.outputs import PartWriter
from smr_notebook.dataflow.partitioning import partitioner_of
from smr_notebook.dataflow.programs import Program
from smr_notebook.dataflow.reducing import run_reduce
from smr_notebook.dataflow.watched import RunInMemory, Watched
from smr_notebook.model import PLAINLY, AttemptId, Numbers, Part, Phase, Reading, TaskId
from smr_notebook.ports import Backend
from smr_notebook.standing import FailedAttempt
from smr_notebook.values.tolerance import OnError

JOB: Final = "preview"
"""What stands for the identifier of a job."""


class PreviewFailed(Exception):  # noqa: N818 - what is told of a failure on its way to whoever makes an error of it
    """An attempt failed. `failed` says what a job would tell of it."""

    def __init__(self, failed: FailedAttempt) -> None:
        super().__init__(failed)
        self.failed = failed


class PreviewTasks:
    """The tasks of a preview, one after the other: those that map the first records, and one that reduces what they gave.

    Args:
        request: What the user asked for.
        backend: As of `previewing.preview`.
        program: What runs.
        sources: Labels and texts of the files that travelled with it.
        job: What stands for the identifier of a job.

    Attributes:
        watched: What is seen of the program.
        parts: The rows.
        mapped: What was counted while mapping.
        reduced: What was counted while reducing.
        bad: What was left out.
        attempts: How many attempts mapped.
    """

    def __init__(self, request: Request, backend: Backend, program: Program, sources: Sources, *, job: str = JOB) -> None:
        self._layout = Layout(job)
        self._request = request
        self._backend = backend
        self._program = program
        self._sources = sources
        self._room = Room(budget_of(request, backend))
        self._scratch = Path(gettempdir())
        self._runs: list[RunInMemory] = []
        self.watched = Watched(program, backend.clock.now, kept=SAMPLE_PAIRS if program.has_law else 0)
        self.parts: list[Part] = []
        self.mapped = Numbers()
        self.reduced = Numbers()
        self.bad: list[tuple[TaskId, BadRecord]] = []
        self.attempts = 0

    def map(self, input: SplitInput) -> None:
        """Map what is wanted of one split. Raises `PreviewFailed`."""
        attempt = AttemptId(TaskId(Phase.MAP, input.split.number), 1)
        with self._attempt(attempt) as meter, self._watching(attempt, meter, input.reading) as program:
            if program.reduces:
                self._runs.append(run := RunInMemory(attempt))
                run_map(
                    self.watched.emitter(input, meter=meter, batch_bytes=self._room.budget // 16),
                    program.combiner(tolerant=self._request.tolerance.tolerant),
                    run,
                    partitioner=partitioner_of(1, None),
                    meter=meter,
                    room=self._room,
                    scratch=self._scratch,
                    order=ORDERS[self._program.sorting.values],
                )
            else:
                self.parts.append(run_map_to_part(self.watched, input, self._sink(attempt), meter=meter).part)
        self.mapped += meter.numbers()
        self.attempts += 1

    def reduce(self) -> None:
        """Reduce what was mapped. Raises `PreviewFailed`."""
        attempt = AttemptId(TaskId(Phase.REDUCE, 0), 1)
        with self._attempt(attempt) as meter, self._watching(attempt, meter):
            reduced = run_reduce(
                self.watched,
                (iter(run.blocks) for run in self._runs),
                self._sink(attempt),
                meter=meter,
                room=self._room,
                scratch=self._scratch,
                order=ORDERS[self._program.sorting.values],
            )
            self.parts.append(reduced.part)
        self.reduced += meter.numbers()

    def looked(self, wanted: FirstRecords) -> Looked:
        """Return what all of them took."""
        return Looked(
            wanted.records,
            wanted.bytes,
            self.mapped.pairs_in,
            self.mapped.pairs_out if self._program.reduces else self.mapped.pairs_in,
            wanted.fetched,
            wanted.seconds,
            max(0.0, self.watched.map_seconds - wanted.seconds),
            self.watched.reduce_seconds,
        )

    @contextmanager
    def _watching(self, attempt: AttemptId, meter: Meter, reading: Reading = PLAINLY) -> Iterator[Program]:
        """Give the program, set up for an attempt, and watch what it does; what its hooks take is not the functions' time."""
        names, inlet = NAMES[attempt.task.phase], inlet_of_task(reading, attempt.task)
        with counting(meter.counts), opened(self._program, names, meter=meter, inlet=inlet) as program, self.watched.watching(program):
            yield program

    @contextmanager
    def _attempt(self, attempt: AttemptId) -> Iterator[Meter]:
        """Give an attempt its meter, keep what it leaves out, and tell what ends it."""
        meter, tolerance = Meter(), self._request.tolerance
        tell = partial(tell_of, sources=self._sources)
        bad = BadRecords(tell, everything=tolerance.on_error is OnError.COLLECT, scratch=self._scratch)
        meter.bad = bad if tolerance.tolerant else None
        try:
            yield meter
            file = bad.store(self._backend.objects, self._layout.bad(attempt))
        except (Exception, SystemExit) as error:
            raise PreviewFailed(FailedAttempt(attempt, describe(error, self._sources))) from error
        finally:
            bad.close()
        told = read_bad(self._backend.objects, file) if file else ()
        self.bad += ((attempt.task, one) for one in sorted(told, key=lambda one: one.number))

    def _sink(self, attempt: AttemptId) -> PartWriter:
        folder, number = self._layout.attempt(attempt), attempt.task.number
        return PartWriter(self._backend.objects, folder, number, grouped_order=self._program.grouped_order, scratch=self._scratch)
