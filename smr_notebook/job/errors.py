"""The errors of a job as a notebook looks at them: one group for each line that fails, as text, as HTML, as a table.

Rules of this module:

* The user's lines are shown from what travelled with the failure; the files of this kernel are looked at only where nothing did, and only
  if they hold the very line.
* Colours read well on dark and on light pages; nothing needs a style sheet or a script.
* What a notebook saves marks the identifier of the job as `notebook.render` says, in text as `[smr-…]`, because no time is told.
  What is printed does not: there it is to be copied.
"""

from __future__ import annotations

import linecache
from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Final, overload

from smr_notebook.job.mends import mends_of
from smr_notebook.model import Failure, Frame, Phase
from smr_notebook.showing.sheets import volatile
from smr_notebook.standing import FailedAttempt

if TYPE_CHECKING:
    import pandas as pd

AROUND: Final = 2
"""Lines before and behind the failing one that `JobErrors` shows."""

_RED: Final = "#e53935"
_BOX: Final = "border-left:3px solid rgba(229,57,53,.7);padding:0 0 0 10px;margin:6px 0"
_PRE: Final = "margin:2px 0;background:transparent;color:inherit;line-height:1.4"
_MARKED: Final = "background:rgba(229,57,53,.18);font-weight:600"
_COLUMNS: Final = (
    "tasks",
    "type",
    "message",
    "function",
    "phase",
    "task",
    "attempt",
    "file",
    "line",
    "code",
    "record",
    "source",
    "offset",
    "record_number",
    "value_count",
)


class JobErrors(Sequence[FailedAttempt]):
    """The failures of a job, grouped by type and line: a sample of each, with the number of tasks that failed alike.

    Args:
        job: Identifier of the job.
        failures: A sample of each group.
        left_out: How many records and groups the job left out, as `on_error` asked for.
        why: Why the job failed where no task did; empty for any other.
    """

    def __init__(self, job: str, failures: Sequence[FailedAttempt], *, left_out: int = 0, why: str = "") -> None:
        self._job = job
        self._left_out = left_out
        self._why = why
        self._failures = tuple(failures)

    @overload
    def __getitem__(self, index: int) -> FailedAttempt: ...

    @overload
    def __getitem__(self, index: slice) -> JobErrors: ...

    def __getitem__(self, index: int | slice) -> FailedAttempt | JobErrors:
        return JobErrors(self._job, self._failures[index]) if isinstance(index, slice) else self._failures[index]

    def __len__(self) -> int:
        return len(self._failures)

    def __eq__(self, other: object) -> bool:
        return self._failures == (other._failures if isinstance(other, JobErrors) else other)

    def __hash__(self) -> int:
        return hash(self._failures)

    def __repr__(self) -> str:
        if not self._failures:
            return "\n".join([f"{self._job}: {self._none()}", *self._reason()])
        return "\n\n".join([*self._blocks(), " · ".join([counted(self._failures), *self._hint()])])

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:  # noqa: ARG002 - IPython's protocol
        stamp = f"[smr-{self._job.lower()}]"
        if not self._failures:
            return {"text/plain": "\n ! ".join([f"{self._none()} {stamp}", *self._reason()]), "text/html": self._repr_html_()}
        summary = "\n ! ".join([f"{counted(self._failures)} {stamp}", *self._hint()])
        return {"text/plain": "\n\n".join([*self._blocks(), summary]), "text/html": self._repr_html_()}

    def _repr_html_(self) -> str:
        if not self._failures:
            lines = [f"{volatile(self._job)}: {escape(self._none())}", *map(volatile, self._reason())]
            return f'<div class="smr-errors">{"<br>".join(lines)}</div>'
        blocks = "".join(_block(number, sample) for number, sample in enumerate(self._failures))
        summary = " · ".join([escape(counted(self._failures)), *map(volatile, self._hint())])
        return f'<div class="smr-errors" style="line-height:1.5">{blocks}<div style="opacity:.75">{summary}</div></div>'

    def _none(self) -> str:
        left_out = f"; {self._left_out:,} left out: job.bad shows them, job.debug(bad=0) runs the first" if self._left_out else ""
        return f"no task has failed{left_out}"

    def _reason(self) -> list[str]:
        return self._why.splitlines()

    def _blocks(self) -> list[str]:
        return ["\n".join([f"error {number}: {_tasks(sample)}", *sample_lines(sample)]) for number, sample in enumerate(self._failures)]

    def _hint(self) -> list[str]:
        command = debug_command(self._failures, self._job)
        return [f"debug in a notebook: {command}, or job.debug({_raised(self._failures)})"] if command else []

    def to_frame(self) -> pd.DataFrame:
        """Return a row for each group; `file`, `line` and `code` are those of the innermost line of the user's."""
        import pandas as pd  # noqa: PLC0415 - workers import this module, and must not import pandas

        return pd.DataFrame([_row(sample) for sample in self._failures], columns=list(_COLUMNS))


def counted(failures: Sequence[FailedAttempt]) -> str:
    """Return the line that counts the kinds of errors, and the tasks that they came to."""
    kinds, tasks = len(failures), sum(sample.tasks for sample in failures)
    return f"{kinds} kind{'s' * (kinds != 1)} of error in {tasks:,} task{'s' * (tasks != 1)}"


def sample_lines(sample: FailedAttempt, *, around: int = AROUND) -> list[str]:
    """Return what is shown of one failure: what it is, the user's lines, and what was being worked on.

    Args:
        sample: The failure.
        around: Lines before and behind each of the user's that are shown as well.
    """
    lines = [_title(sample)]
    for frame in sample.failure.frames:
        lines += frame_lines(frame, around=around)
    return [*lines, *_place(sample), *mends_of(sample.failure)]


def frame_lines(frame: Frame, *, around: int) -> list[str]:
    """Return where a frame is, and its line among those around it."""
    return [_frame_title(frame), *(_numbered(*line).rstrip() for line in _code_lines(frame, around=around))]


def _numbered(number: int, text: str, here: bool) -> str:  # noqa: FBT001 - a line as `_code_lines` gives it
    return f"{'---->' if here else '     '}{number:>4} {text}"


def _code_lines(frame: Frame, *, around: int) -> list[tuple[int, str, bool]]:
    """Return number and text of the line of a frame and of those around it, and whether it is the one; empty ones are left out."""
    known = {frame.first + place: text for place, text in enumerate(frame.around)} or _in_this_kernel(frame, around)
    near = {number: text for number, text in known.items() if abs(number - frame.line) <= around}
    return [(number, text, number == frame.line) for number, text in near.items() if text or number == frame.line]


def _in_this_kernel(frame: Frame, around: int) -> dict[int, str]:
    lines = range(max(1, frame.line - around), frame.line + around + 1)
    known = {number: linecache.getline(frame.file, number).rstrip() for number in lines}
    same = known.get(frame.line, "").strip() == frame.text.strip()  # else the file is another one in this kernel
    return known if same else {frame.line: frame.text.rstrip()}


def _title(sample: FailedAttempt) -> str:
    failure, task, tries = sample.failure, sample.attempt.task, sample.attempt.number
    return f"{failure.type} in {task.phase} task {task.number} ({tries} attempt{'s' * (tries != 1)}): {failure.message}"


def _frame_title(frame: Frame) -> str:
    return f"{frame.label}, line {frame.line}, in {frame.function}"


def _place(sample: FailedAttempt) -> list[str]:
    """Return the line that says what was being worked on, and where it is; none where nobody knows."""
    failure = sample.failure
    what = "record" if failure.function in {"", "map"} else "key"
    parts = [failure.source] if failure.source else []
    if failure.offset >= 0:
        parts.append(f"byte {failure.offset:,}")
    if failure.record_number and sample.attempt.task.phase is Phase.MAP:
        parts.append(f"record {failure.record_number:,} of split {sample.attempt.task.number}")
    elif failure.record_number:
        parts.append(f"group {failure.record_number:,} of partition {sample.attempt.task.number}")
    if failure.value_count >= 0:
        parts.append(f"{failure.value_count:,} value{'s' * (failure.value_count != 1)}")
    if failure.record:
        where = f"   ({', '.join(parts)})" if parts else ""
        return [f"{what}: {failure.record}{where}"]
    return [f"input: {', '.join(parts)}"] if failure.source else []


def _tasks(sample: FailedAttempt) -> str:
    return f"{sample.tasks:,} task{'s' * (sample.tasks != 1)}"


def debug_command(failures: Sequence[FailedAttempt], job: str) -> str:
    """Return the line magic that runs again the first of these that a function raised; empty where none did."""
    number = _raised(failures)
    return "" if number is None else f"%smr debug {job}{f' --error {number}' * bool(number)}"


def _raised(failures: Sequence[FailedAttempt]) -> int | None:
    return next((number for number, sample in enumerate(failures) if sample.failure.function), None)


def _block(number: int, sample: FailedAttempt) -> str:
    failure = sample.failure
    head = f'<b style="color:{_RED}">{escape(failure.type)}</b>: {escape(failure.message)}'
    tries = sample.attempt.number
    told = f"{_tasks(sample)} · {sample.attempt.task.phase} task {sample.attempt.task.number}"
    told += f", attempt {tries}" if tries > 1 else ""
    about = f'<div style="opacity:.75">error {number} · {volatile(told)}</div>'
    frames = "".join(_code(frame) for frame in failure.frames)
    place = "".join(f"<div><code>{escape(line)}</code></div>" for line in _place(sample))
    mends = "".join(f"<div>{escape(line)}</div>" for line in mends_of(failure))
    return f'<div style="{_BOX}"><div>{head}</div>{about}{frames}{place}{mends}</div>'


def _code(frame: Frame) -> str:
    lines = []
    for number, text, here in _code_lines(frame, around=AROUND):
        line = escape(_numbered(number, text, here))
        lines.append(f'<span style="{_MARKED}">{line}</span>' if here else line)
    shown = "\n".join(lines)
    return f'<div style="opacity:.75">{escape(_frame_title(frame))}</div><pre style="{_PRE}">{shown}</pre>'


def _row(sample: FailedAttempt) -> tuple[object, ...]:
    failure, task = sample.failure, sample.attempt.task
    return (
        sample.tasks,
        failure.type,
        failure.message,
        failure.function,
        task.phase.value,
        task.number,
        sample.attempt.number,
        *_at(failure),
    )


def _at(failure: Failure) -> Iterator[object]:
    last = failure.frames[-1] if failure.frames else None
    yield from (last.label, last.line, last.text) if last else ("", 0, "")
    yield from (failure.record, failure.source, failure.offset, failure.record_number, failure.value_count)
