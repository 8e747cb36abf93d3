"""How an error looks in a notebook: the user's exception, the user's line, the user's record; no frame of this package.

A failed job shows one sample of each kind of error. Any other error of this package shows its message and the line of the user's
that led to it. The text is made here and hung on the error as `_render_traceback_`, which IPython asks for; the handler that does so is
registered with the shell, so that every notebook front end and every runner of notebooks shows the same, and `%tb` too.

Two errors that are not of this package pass through it and are shown without its frames: a body of a cell that is no Python, and an
interrupt of a cell that waits for a job by a method of the job. That one goes on: only a `%%smr` cell cancels what it started.
"""

from __future__ import annotations

import functools
import linecache
import traceback
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from smr_notebook.errors import JobCancelled, JobError, SmrError
from smr_notebook.job.errors import counted, debug_command, frame_lines, sample_lines
from smr_notebook.job.handle import Job
from smr_notebook.labels import cell_label
from smr_notebook.model import Frame
from smr_notebook.notebook.cells import run_body
from smr_notebook.standing import FailedAttempt

_CONTEXT_LINES = 1
_MAGIC_CALLS = ("run_cell_magic(", "run_line_magic(")


def install(shell: Any) -> None:
    """Make a shell show this package's errors as `error_lines` tells them. Harmless when done twice."""
    if SmrError in shell.custom_exceptions:
        return
    others, show_other = tuple(shell.custom_exceptions), shell.CustomTB

    def handle(
        shell: Any, kind: type[BaseException], error: BaseException, trace: TracebackType | None, tb_offset: int | None = None
    ) -> Any:
        lines = error_lines(error, trace) if isinstance(error, SmrError) else _interrupt_lines(error, trace)
        if lines:
            error._render_traceback_ = functools.partial(list, lines)  # type: ignore[attr-defined]  # what IPython asks for
            shell.showtraceback((kind, error, trace))
        elif isinstance(error, others):
            return show_other(kind, error, trace, tb_offset)
        else:
            shell.showtraceback((kind, error, trace), running_compiled_code=not _is_of_a_body(error, trace))
        return lines

    shell.set_custom_exc((*others, SmrError, KeyboardInterrupt, SyntaxError), handle)


def error_lines(error: SmrError, trace: TracebackType | None) -> list[str]:
    """Return what a notebook shows of an error, line by line.

    Args:
        error: The error.
        trace: Where it was raised.
    """
    if isinstance(error, JobCancelled):
        interrupted = error.message.startswith("Interrupted")
        told = error.message if interrupted else f"{type(error).__name__}: {error.message}"
        ended = error.job and not error.message.endswith("is being cancelled")
        return [told, *([f"what is done stands: %smr resume {error.job}"] if ended else [])]
    if isinstance(error, JobError) and error.failures:
        return failure_lines(error.failures, error.job)
    name = type(error).__name__
    told = error.message if error.message.startswith(f"{name} in ") else f"{name}: {error.message}"
    return [told, *_own_lines(trace)]


def _interrupt_lines(error: BaseException, trace: TracebackType | None) -> list[str]:
    """Return what is shown of an interrupt of `Job.watch`; nothing for any other error."""
    waiting = [frame for frame, _ in traceback.walk_tb(trace) if frame.f_code is Job.watch.__code__]
    if not waiting or not isinstance(error, KeyboardInterrupt):
        return []
    job = waiting[0].f_locals["self"].id
    return [f"KeyboardInterrupt: the job {job} goes on", *_own_lines(trace), f"%smr attach {job} · %smr cancel {job}"]


def _is_of_a_body(error: BaseException, trace: TracebackType | None) -> bool:
    """Whether the body of a cell could not be compiled, so that no frame says anything."""
    frames = [frame for frame, _ in traceback.walk_tb(trace)]
    return isinstance(error, SyntaxError) and bool(frames) and frames[-1].f_code is run_body.__code__


def failure_lines(failures: Iterable[FailedAttempt], job: str) -> list[str]:
    """Return the failures of a job: one block for each kind, and one line that counts them."""
    samples = list(failures)
    lines: list[str] = []
    for sample in samples:
        lines += [*sample_lines(sample, around=_CONTEXT_LINES), ""]
    told = [counted(samples), *([f"%smr errors {job}"] if job else [])]
    command = debug_command(samples, job)
    if job and command:
        told.append(f"debug here: {command}")
    return [*lines[:-1], " · ".join(told)]


def _own_lines(trace: TracebackType | None) -> list[str]:
    """Return the innermost line of a cell that led here, unless a magic is all that it holds."""
    for step in reversed(traceback.extract_tb(trace)):
        label = cell_label(step.filename)
        if label != step.filename and step.lineno is not None:
            if any(call in (step.line or "") for call in _MAGIC_CALLS):
                return []
            source = linecache.getline(step.filename, step.lineno)
            return frame_lines(Frame(step.filename, label, step.lineno, step.name, source), around=_CONTEXT_LINES)
    return []
