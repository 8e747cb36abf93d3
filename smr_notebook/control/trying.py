"""What the functions of a job show when they are tried on its first records: how long they take, and whether the combiner keeps its law.

They are tried as copies, so that no try leaves a trace in the functions that travel. A combiner that breaks its law is refused; what fails
is passed over, as the job itself names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from smr_notebook.control.costs import Sample
from smr_notebook.counting import uncounted
from smr_notebook.dataflow.code import load_program
from smr_notebook.dataflow.functions import Pair, UserCodeError
from smr_notebook.dataflow.inputs import SplitInput
from smr_notebook.dataflow.opening import opened, passing_over
from smr_notebook.dataflow.programs import Program, Tried
from smr_notebook.ports import Backend, Clock

SAMPLE_BYTES = 2**20
SAMPLE_RECORDS = 200
SAMPLE_PAIRS = 5_000
SAMPLE_SECONDS = 2.0


def try_out(code: bytes, inputs: Sequence[SplitInput], backend: Backend) -> Sample:
    """Map some records with a copy of the functions, check on them what only they can show, and return what it took. Raises `PlanError`."""
    program, _ = load_program(code)
    sample, pairs = take_sample(program, inputs, clock=backend.clock)
    if program.has_law:
        check_law(program, pairs)
    return sample


def check_law(program: Program, pairs: Sequence[Pair]) -> None:
    """Check on a sample of pairs what only they can show, with functions that are set up for it. Raises `PlanError`.

    A hook that fails here is passed over, as what fails without the combiner is: the job tells of it.
    """
    with passing_over(), uncounted(), opened(program, ("reduce", "combine")) as ready:
        ready.check(pairs)


def take_sample(program: Program, inputs: Iterable[SplitInput], *, clock: Clock) -> tuple[Sample, list[Pair]]:
    """Map the first few records, and return what that took and the first pairs that it gave.

    As far as `map` is quick and does not fail: the job itself names its failures.
    """
    began = clock.now()
    took = 0.0
    pairs: list[Pair] = []
    records, size, failed = 0, 0.0, ""
    try:
        with uncounted(), opened(program, ("map",)) as ready:
            began = clock.now()  # what a setup takes is no record's time
            for tried in _first_tried(ready, inputs):
                pairs += tried.pairs
                records, size, took = records + tried.records, size + tried.size, clock.now() - began
                if took > SAMPLE_SECONDS or len(pairs) > SAMPLE_PAIRS or records >= SAMPLE_RECORDS:
                    break
            took = clock.now() - began
    except (Exception, SystemExit) as error:  # noqa: BLE001 - it is found again, and told with its place, by the map task
        cause = error.__cause__ if isinstance(error, UserCodeError) and error.__cause__ is not None else error
        if not isinstance(cause, Exception | SystemExit):
            raise cause from None
        failed, took = type(cause).__name__, clock.now() - began
    return Sample(records, int(size), len(pairs), took, failed=failed), pairs


def _first_tried(program: Program, inputs: Iterable[SplitInput]) -> Iterator[Tried]:
    """Yield what the first records give, split after split: a short list has as many splits as items."""
    size = 0.0
    for tried in chain.from_iterable(map(program.try_out, inputs)):
        yield tried
        size += tried.size
        if size >= SAMPLE_BYTES:
            return
