"""Several inputs of one job, each with a format of its own: named, stored, listed and cut.

Rules of this module:

* The inputs stand in the order in which they were given: so do their splits, and the pairs of a group.
* Each input is planned as if it were the only one; no split has records of two of them. The same object may be in several inputs.
* What one of them is refused for is told with its number, counted from 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from smr_notebook.control.naming import Files, JobRows, NamedInput
from smr_notebook.control.reading import PlannedInput, StoredInput
from smr_notebook.dataflow.splits import plan_splits
from smr_notebook.dataflow.uploaded import upload_named
from smr_notebook.errors import InputError, PlanError
from smr_notebook.model import PLAINLY, Format, InletReading, Reading, Split


@dataclass(frozen=True, slots=True)
class Inlet:
    """One of several inputs.

    Attributes:
        input: What it is.
        format: Name of a format, or `auto`.
        reading: What is said of the format besides its name.
    """

    input: NamedInput | StoredInput
    format: str = "auto"
    reading: Reading = PLAINLY


@dataclass(frozen=True, slots=True)
class Inlets:
    """Several inputs, in order."""

    inlets: tuple[Inlet, ...]


AnyInput = NamedInput | StoredInput | Inlets


def inputs_of(named: AnyInput) -> tuple[NamedInput | StoredInput, ...]:
    """Return the inputs that something consists of."""
    return tuple(inlet.input for inlet in named.inlets) if isinstance(named, Inlets) else (named,)


def jobs_read(named: AnyInput) -> tuple[str, ...]:
    """Return the jobs whose results an input consists of."""
    return tuple(dict.fromkeys(one.job for one in inputs_of(named) if isinstance(one, JobRows)))


def files_of(named: AnyInput) -> Files:
    """Return all locations that an input names."""
    return Files(tuple(pattern for one in inputs_of(named) if isinstance(one, Files) for pattern in one.patterns))


def anchored(named: AnyInput) -> AnyInput:
    """Return an input whose files of this machine are named from its root, for whoever lists them elsewhere."""
    if isinstance(named, Inlets):
        return Inlets(tuple(replace(inlet, input=_anchored(inlet.input)) for inlet in named.inlets))
    return _anchored(named)


def _anchored(named: NamedInput | StoredInput) -> NamedInput | StoredInput:
    return Files(tuple(map(_from_root, named.patterns))) if isinstance(named, Files) else named


def _from_root(pattern: str) -> str:
    if "://" in pattern or upload_named(pattern):
        return pattern
    return str(Path(pattern).expanduser().absolute()) + ("/" if pattern.endswith("/") else "")


def plan_inlets(inlets: Inlets, plan: Callable[[Inlet], PlannedInput]) -> PlannedInput:
    """List several inputs as one.

    Args:
        inlets: They, stored.
        plan: Lists one of them.

    Raises:
        InputError, PlanError: What `plan` raises, with the number of the input.
    """
    parts = []
    for number, inlet in enumerate(inlets.inlets, 1):
        with told_of(number):
            parts.append(plan(inlet))
    records = [part.records for part in parts if part.records is not None]
    return PlannedInput(
        objects=tuple(found for part in parts for found in part.objects),
        format=Format.SEVERAL,
        split_bytes=max(part.split_bytes for part in parts),
        records=sum(records) if len(records) == len(parts) else None,
        warnings=tuple(f"Input {number}: {warning}" for number, part in enumerate(parts, 1) for warning in part.warnings),
        parts=tuple(parts),
    )


@contextmanager
def told_of(number: int) -> Iterator[None]:
    """Tell of what is refused inside which input it is of."""
    try:
        yield
    except (InputError, PlanError) as error:
        raise type(error)(f"Input {number}: {error}") from error


def cut_parts(source: PlannedInput) -> tuple[Sequence[Split], PlannedInput]:
    """Cut each of several inputs, and return all splits, with the input whose reading tells where each begins."""
    splits: list[Split] = []
    told: list[InletReading] = []
    for part in source.parts:
        told.append(InletReading(len(splits), part.format, part.reading))
        splits += [Split(len(splits) + split.number, split.spans) for split in plan_splits(part.objects, split_bytes=part.split_bytes)]
    return splits, replace(source, reading=replace(source.reading, inlets=tuple(told)))
