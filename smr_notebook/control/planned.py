"""A plan with all that belongs to it, as whoever planned it looks at it before anything runs.

Rules of this module:

* What is told to be checked was checked by planning: an error that it finds is raised, and then there is no plan.
* What depends on the machine, on the time or on pickles (tasks, costs, bytes of code) is told to vary; what the input and the options say
  is not. `showing.sheets` says what for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from smr_notebook.dataflow.code import Bundle, CodeReport
from smr_notebook.dataflow.formats.csv_sniffing import described
from smr_notebook.dataflow.grids import grid_of
from smr_notebook.model import PLAINLY, UNSORTED, Format, Plan, Reading, Split
from smr_notebook.showing.amounts import brief, counted, dollars, quantity
from smr_notebook.showing.distributions import bars, distribution, median
from smr_notebook.showing.sheets import Fact, Sheet, sheet_html, sheet_text

if TYPE_CHECKING:
    import pandas as pd

    from smr_notebook.pictures.split_sizes import SplitSizes

_COLUMNS: Final = ("split", "object", "offset", "bytes")
_NOUNS: Final = {Format.ITEMS: "item", Format.FRAME: "row", Format.RESULT: "row"}


@dataclass(frozen=True, slots=True, repr=False)
class PlannedJob:
    """A plan with all that belongs to it; nothing has run.

    Attributes:
        plan: The plan.
        splits: What each map task reads, in order.
        bundle: The functions, as they travel.
        tried: Records that `map` was tried on where it was planned.
        lawful: Whether `combine` was seen to keep its law on what they gave.
        failed: Type of the exception that ended trying; empty if none was raised.
        seconds: How long planning took.
    """

    plan: Plan
    splits: tuple[Split, ...]
    bundle: Bundle
    tried: int = 0
    lawful: bool = False
    failed: str = ""
    seconds: float = 0.0

    @property
    def code(self) -> CodeReport:
        """What travels with the functions."""
        return self.bundle.report

    def split_sizes(self) -> SplitSizes:
        """Return how large the splits are: as the value of a cell, a histogram."""
        from smr_notebook.pictures.split_sizes import SplitSize, SplitSizes  # noqa: PLC0415 - workers plan too, and draw nothing

        return SplitSizes(tuple(SplitSize(one.number, one.bytes, len(one.spans), one.spans[0].key) for one in self.splits))

    def describe(self) -> str:
        """Return the plan as a few lines of text."""
        return sheet_text(self._sheet())

    def to_frame(self) -> pd.DataFrame:
        """Return a row for each piece of an object that a map task reads: the number of the split, the object, offset and bytes.

        A split of small objects has several.
        """
        import pandas as pd  # noqa: PLC0415 - workers import this module, and must not import pandas

        rows = [(split.number, span.key, span.start, span.stop - span.start) for split in self.splits for span in split.spans]
        return pd.DataFrame(rows, columns=list(_COLUMNS))

    def __repr__(self) -> str:
        plan = self.plan
        reduce = f", {plan.reducers:,} reduce" if plan.reducers else ""
        return f"<PlannedJob {plan.maps:,} map{reduce}, {quantity(plan.input_bytes, 'B')} of {plan.format}>"

    def __str__(self) -> str:
        return sheet_text(self._sheet())

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:  # noqa: ARG002 - IPython's protocol
        sheet = self._sheet()
        return {"text/plain": sheet_text(sheet), "text/html": sheet_html(sheet)}

    def _sheet(self) -> Sheet:
        title = f"Plan '{self.plan.name}'" if self.plan.name else "Plan"
        return Sheet("plan", title, self.seconds, tuple(self._facts()))

    def _facts(self) -> Iterator[Fact]:
        plan, code = self.plan, self.code
        yield Fact("Input", self._input())
        if plan.format is Format.CSV:
            yield Fact("Read", described(plan.reading))
        yield Fact("Tasks", f"{plan.maps:,} map{self._each()} · {self._reduces()}", varies=True)
        yield from self._merges()
        yield Fact("Splits", self._distribution(), varies=True)
        captured = ", ".join(f"{name} ({size:,} bytes)" for name, size in code.captured)
        yield Fact("Code", f"{code.size:,} bytes · captured: {captured or 'nothing'}", varies=True)
        if code.modules:
            yield Fact("Modules", f"by value: {', '.join(code.modules)}")
        if plan.sorting != UNSORTED:
            yield Fact("Sort", _sorted(plan))
        if plan.tolerance.tolerant:
            limit = f"more than {plan.tolerance} ends the job"
            yield Fact("Errors", f"what fails is left out and told ({plan.tolerance.on_error}); {limit}")
        yield from self._costs()
        yield from self._checks()
        yield from self._carriage()
        yield from (Fact("Warning", warning) for warning in plan.warnings)

    def _input(self) -> str:
        plan, noun = self.plan, _NOUNS.get(self.plan.format)
        if noun and plan.input_records is not None:
            return counted(plan.input_records, noun)  # how many bytes they take depends on how they are stored
        objects = len({(span.scheme, span.key) for split in self.splits for span in split.spans})
        return f"{plan.input_bytes:,} bytes of {plan.format}{_told(plan.reading)} in {counted(objects, 'object')}"

    def _each(self) -> str:
        largest = max((split.bytes for split in self.splits), default=0)
        return f" × {largest:,} bytes at most"

    def _reduces(self) -> str:
        plan = self.plan
        return (f"{plan.reducers:,} reduce" if plan.reducers else "no reduce") + (" by ranges of keys" if plan.sorting.keys else "")

    def _merges(self) -> Iterator[Fact]:
        """Tell of the merge tasks, and what they save."""
        merging = self.plan.merging
        if merging is None:
            return
        grid = grid_of(self.plan)
        prices = f", {dollars(merging.direct_cost)} become {dollars(merging.cost)}" if merging.cost else ""
        told = f"{counted(merging.tasks, 'task')} in between, {counted(grid.task_groups, 'group')} of map tasks × {grid.partition_groups:,}"
        yield Fact("Merge", f"{told} of partitions: {grid.maps * grid.partitions:,} reads become {grid.reads:,}{prices}", varies=True)

    def _distribution(self) -> str:
        sizes = [split.bytes for split in self.splits]
        bins = distribution(sizes)
        if len(sizes) == 1:
            return f"one of {quantity(sizes[0], 'B')}"
        told = f"smallest {quantity(min(sizes), 'B')} · median {quantity(median(sizes), 'B')} · largest {quantity(max(sizes), 'B')}"
        return f"{told} · {bars(bins)}" if len(bins) > 1 else told

    def _costs(self) -> Iterator[Fact]:
        plan, thought = self.plan, self.plan.estimate
        if plan.rates is None:
            return
        if thought is not None:
            tasks = f"map {plan.maps:,} × {brief(thought.map_seconds)}"
            tasks += f", merge {plan.merging.tasks:,}" if plan.merging else ""
            tasks += f", reduce {plan.reducers:,} × {brief(thought.reduce_seconds)}" if plan.reducers else ""
            prices = f"prices of {plan.rates.region}, {plan.rates.date}"
            yield Fact("Cost", f"{dollars(thought.low)} to {dollars(thought.high)} ({tasks}; {prices})", varies=True)
        yield Fact("Limit", f"{dollars(plan.max_cost)} (max_cost)" if plan.max_cost else "none: max_cost sets one")

    def _carriage(self) -> Iterator[Fact]:
        """Warn of what the carrier costs."""
        thought, exchange = self.plan.carriage, self.plan.exchange
        if thought is not None:
            beside = f"objects would take {dollars(thought.objects)}" if self.plan.rates else "objects would take nothing here"
            told = f"exchange='{exchange}' is thought to take {dollars(thought.cost)} for what travels, and {beside}"
            yield Fact("Warning", told, varies=True)

    def _checks(self) -> Iterator[Fact]:
        yield Fact("Check", f"✓ Python {self.plan.environment.python} and packages match those of the workers")
        stored = self.plan.format in {Format.ITEMS, Format.FRAME}
        yield Fact("Check", "✓ items travel" if stored else "✓ input found and listed")
        yield Fact("Check", "✓ functions travel")
        if self.failed:
            told = f"✗ map was tried, and {self.failed} was raised after {counted(self.tried, 'record')}: a preview tells where"
            yield Fact("Check", told, varies=True)
        elif self.tried:
            law = ", and combine keeps its law on what it gave" if self.lawful else ""
            yield Fact("Check", f"✓ map tried on {counted(self.tried, 'record')}{law}", varies=True)


def _sorted(plan: Plan) -> str:
    told = ["the parts are in the order of the keys"] if plan.sorting.keys else []
    told += ["reduce gets the values of a group in order"] if plan.sorting.values else []  # noqa: PD011 - no frame
    return "; ".join(told)


def _told(reading: Reading) -> str:
    """Return what there is to say of how input is read, for people."""
    said = [
        f"in {reading.encoding}" if reading.encoding != PLAINLY.encoding else "",
        f"errors: {reading.errors}" if reading.errors != PLAINLY.errors else "",
        f"{reading.record_bytes:,} bytes a record" if reading.record_bytes else "",
        f"columns {', '.join(reading.columns)}" if reading.columns else "",
    ]
    return f" ({', '.join(filter(None, said))})" if any(said) else ""
