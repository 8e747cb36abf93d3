"""A preview as a notebook holds it: what a job would give for the first records of its input, and what all of it is thought to take.

Rules of this module:

* A preview is a value: nothing of it stands anywhere else, and looking at it asks nobody.
* What differs between two runs (times, costs, tasks) is told to vary; records, pairs, groups, rows and keys are facts of the data.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from smr_notebook.control.extrapolating import Looked, Whole
from smr_notebook.control.planning import Request
from smr_notebook.control.preview_tasks import PreviewFailed
from smr_notebook.control.previewing import Previewed, preview
from smr_notebook.control.verdicts import error_name
from smr_notebook.dataflow.functions import bounded_repr
from smr_notebook.dataflow.watched import HeavyKey
from smr_notebook.environment import environment
from smr_notebook.errors import SmrError
from smr_notebook.job.left_out import frame_of
from smr_notebook.job.outcome_errors import error_of
from smr_notebook.labels import cell_label
from smr_notebook.model import JobState, Numbers, Phase
from smr_notebook.ports import Backend
from smr_notebook.showing.amounts import brief, counted, dollars, percent, quantity, rounded
from smr_notebook.showing.sheets import Fact, Sheet, sheet_html, sheet_text
from smr_notebook.standing import FailedAttempt, Outcome

if TYPE_CHECKING:
    import pandas as pd

_KEY_CHARACTERS: Final = 40
_HEAVY_SHARE: Final = 0.5
_HEAVY_PAIRS: Final = 20
"""Part of the pairs, and number of them, above which one key is too much for one reduce task to be passed over in silence."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Preview:
    """What a job would give for the first records of its input, run in this process; nothing of it is stored.

    Attributes:
        result: The rows, as `Job.result` would give them.
        bad: What was left out, as `Job.bad` would tell it.
        mapped: What was counted while mapping.
        reduced: What was counted while reducing; all zero without `reduce`.
        looked: What the first records took.
        whole: What the whole input is, and what it is thought to take.
        heaviest: The keys that have most of the pairs, where they are reduced.
        warnings: What should be known, a sentence each.
        name: What the job is called, or an empty string.
    """

    result: pd.DataFrame
    bad: pd.DataFrame
    mapped: Numbers
    reduced: Numbers
    looked: Looked
    whole: Whole
    heaviest: tuple[HeavyKey, ...]
    warnings: tuple[str, ...]
    name: str = ""

    @property
    def records(self) -> int:
        """How many records were read."""
        return self.looked.records

    @property
    def pairs(self) -> int:
        """How many pairs `map` gave."""
        return self.mapped.pairs_in

    @property
    def groups(self) -> int:
        """How many distinct keys were reduced; 0 without `reduce`."""
        return self.reduced.records_read

    @property
    def share(self) -> float | None:
        """Which part of the input was looked at, by its bytes; `None` where nobody knows how much there is."""
        if self.whole.exact and self.whole.records is not None:
            return self.records / self.whole.records if self.whole.records else 1.0
        return min(1.0, self.looked.bytes / self.whole.bytes) if self.whole.bytes else None

    @property
    def map_seconds(self) -> float:
        """How long `map` took for each record, in seconds, without reading it."""
        return self.looked.map_seconds / self.records if self.records else 0.0

    @property
    def reduce_seconds(self) -> float:
        """How long `reduce` took for each group, in seconds."""
        return self.looked.reduce_seconds / self.groups if self.groups else 0.0

    def __repr__(self) -> str:
        return f"{sheet_text(self._sheet())}\n\n{self.result!r}"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:  # noqa: ARG002 - IPython's protocol
        frame = self.result._repr_html_()  # type: ignore[operator]  # IPython's protocol: pandas' options hold
        return {"text/plain": repr(self), "text/html": f"{sheet_html(self._sheet())}{frame or ''}"}

    def _sheet(self) -> Sheet:
        looked = self.looked
        title = f"Preview of {counted(self.records, 'record')}" + (f" for '{self.name}'" if self.name else "")
        seconds = looked.read_seconds + looked.map_seconds + looked.reduce_seconds
        return Sheet("preview", title, seconds, tuple(self._facts()))

    def _facts(self) -> Iterator[Fact]:
        yield from self._inputs()
        yield Fact("Map", f"{self._counted(self.mapped, 'record')} → {counted(self.pairs, 'pair')}")
        if self.groups:
            yield Fact("Reduce", f"{self._counted(self.reduced, 'group')} → {counted(len(self.result), 'row')}")
        if counters := (self.mapped + self.reduced).counters:
            yield Fact("Counted", " · ".join(f"{name} {number:,}" for name, number in counters))
        if self.heaviest:
            told = (f"{bounded_repr(heavy.key, _KEY_CHARACTERS)} {percent(heavy.share)}" for heavy in self.heaviest)
            yield Fact("Keys", f"{' · '.join(told)} of the pairs")
        each = f"read {brief(self.looked.read_seconds)} · map {brief(self.map_seconds)} a record"
        yield Fact("Time", each + (f" · reduce {brief(self.reduce_seconds)} a group" if self.groups else ""), varies=True)
        yield from self._extrapolated()
        yield from (Fact("Warning", warning) for warning in self.warnings)

    def _inputs(self) -> Iterator[Fact]:
        whole, share = self.whole, self.share
        if whole.records == self.records and whole.exact:
            yield Fact("Input", f"all {counted(self.records, 'record')}")
            return
        yield Fact("Input", f"the first {counted(self.records, 'record')}")
        if whole.records is None or share is None:
            yield Fact("Share", "nobody knows how many there are")
        elif whole.exact:
            yield Fact("Share", f"{percent(share)} of {counted(whole.records, 'record')}")
        else:
            about = f"about {counted(rounded(whole.records), 'record')}"
            yield Fact("Share", f"{percent(share)} of {quantity(whole.bytes, 'B')}, {about}", varies=True)

    def _counted(self, numbers: Numbers, noun: str) -> str:
        bad = f" ({numbers.records_bad:,} left out)" if numbers.records_bad else ""
        return f"{counted(numbers.records_mapped, noun)}{bad}"

    def _extrapolated(self) -> Iterator[Fact]:
        whole = self.whole
        if whole.seconds is None:
            return
        tasks = f"{whole.maps:,} map" + (f" · {whole.reducers:,} reduce" if whole.reducers else "")
        yield Fact("Job", f"about {brief(whole.seconds)} on {counted(whole.workers, 'worker')} ({tasks})", varies=True)
        if whole.estimate is not None:
            yield Fact("Cost", f"{dollars(whole.estimate.low)} to {dollars(whole.estimate.high)}", varies=True)


def preview_of(request: Request, backend: Backend, *, records: int, limit_bytes: int) -> Preview:
    """Return what a job would give for the first records of its input.

    Args:
        request: What the user asked for.
        backend: Where the job would run, with an object store and a table that are thrown away.
        records: How many records.
        limit_bytes: Memory that the result may take.

    Raises:
        JobError: A function failed, as a job would tell it.
        InputError, PlanError, EnvironmentMismatchError: The job cannot be planned.
        ResultTooLargeError: The result takes more memory than it may.
    """
    from smr_notebook.dataflow.results import load_frame  # noqa: PLC0415 - pandas is loaded when a result is

    __tracebackhide__ = True
    error: SmrError | None = None
    try:
        found = preview(request, backend, records=records, here=environment(), label_of=cell_label)
    except PreviewFailed as failed:
        error = _error(failed.failed, backend)
    if error is not None:
        raise error  # here, so that it has no context but what the function raised
    return Preview(
        load_frame(backend.objects, found.parts, limit_bytes=limit_bytes),
        frame_of(found.bad),
        found.map,
        found.reduce,
        found.looked,
        found.whole,
        found.heaviest,
        (*found.warnings, *_warnings(request, found)),
        request.name,
    )


def _error(failed: FailedAttempt, backend: Backend) -> SmrError | None:
    outcome = Outcome(JobState.FAILED, backend.clock.now(), failures=(failed,), error=error_name(failed.failure))
    return error_of("", outcome)


def _warnings(request: Request, found: Previewed) -> Iterator[str]:
    """Yield what the first records show that should be known before the others are paid for."""
    estimate = found.whole.estimate
    if found.map.records_mapped and not found.map.pairs_in:
        yield "map gave no pairs of any of these records."
    for phase, numbers, noun in ((Phase.MAP, found.map, "records"), (Phase.REDUCE, found.reduce, "groups")):
        if not numbers.records_bad:
            continue
        beyond = numbers.records_bad > request.tolerance.allowed(numbers.records_read)
        told = f", more than max_bad allows ({request.tolerance}): a job whose {phase} phase goes on like this fails" if beyond else ""
        yield f"{numbers.records_bad:,} of {numbers.records_read:,} {noun} were left out{told}. The first: {numbers.bad_sample}"
    shared_out = found.whole.reducers > 1 and not request.program.combines
    heavy = found.heaviest[0] if found.heaviest and shared_out else None
    if heavy and heavy.share >= _HEAVY_SHARE and heavy.pairs >= _HEAVY_PAIRS and found.reduce.records_read > 1:
        yield (
            f"The key {bounded_repr(heavy.key, _KEY_CHARACTERS)} has {percent(heavy.share)} of the pairs, and one reduce task gets all of "
            "them. Where reduce allows for it, combine=True adds them up before they travel; so does smr.sum and the like."
        )
    if request.max_cost and estimate and estimate.likely > request.max_cost:
        yield (
            f"The job is thought to cost more than max_cost allows ({dollars(request.max_cost)}), so that it would not start. "
            "Raise max_cost, or name less input."
        )
