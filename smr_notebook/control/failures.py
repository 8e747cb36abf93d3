"""What is said of an exception: plain values that any kernel can read, whatever classes it knows.

Rules of this module:

* The user's own lines are told and nothing else: frames of this package, and of what a platform calls it by, never; frames of libraries
  only when the user has none.
* Lines are labelled and quoted from the sources that travelled with the code, so that a cell is a cell in any kernel. The innermost frames
  also say what stands around their line; no more of them, because what is told of a failure is a row of a table.
* The exception itself travels too when it is small and comes back from pickling as what it was. Nobody depends on it.
* A text that is no Unicode (lone surrogates, as `errors="surrogateescape"` gives them) is escaped: rows take none.
* Want of memory has a name of its own, whoever asked for more, and so has want of disk for what we write: what helps is not in the
  exception.
"""

from __future__ import annotations

import errno
import io
import linecache
import pickle
import sysconfig
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import gettempdir
from types import TracebackType
from typing import Any

import cloudpickle

from smr_notebook.dataflow.bad_records import Told
from smr_notebook.dataflow.code import Sources
from smr_notebook.dataflow.functions import CodePlace, UserCodeError, writable
from smr_notebook.errors import DiskFullError, InputError, OutOfMemoryError, PairShapeError, PlatformError, SmrError, StoreError
from smr_notebook.model import Failure, FailureKind, Frame

MESSAGE_CHARACTERS = 2_000
LINE_CHARACTERS = 500
PICKLED_BYTES = 8_192
AROUND = 2
"""Lines before and behind that of a frame."""

_FRAMES_WITH_LINES = 3
_AROUND_CHARACTERS = 160

FRAMES = 20
"""At most so many frames, the innermost ones: a runaway recursion has a thousand."""

_FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
"""No space, no quota, or a file as large as this process may write."""

_PACKAGE = str(Path(__file__).parents[1])
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def describe(error: BaseException, sources: Sources, *, resident: int = 0, limit: int = 0) -> Failure:
    """Return what is to be said of an exception that ended an attempt.

    Args:
        error: What was raised; for a user's function a `UserCodeError`, whose cause is told.
        sources: Labels and texts of the files that travelled with the code.
        resident: Bytes of memory that the process takes.
        limit: Bytes that it may take; 0 if unknown.
    """
    cause = error.__cause__ if isinstance(error, UserCodeError) else error
    if isinstance(cause, MemoryError) and not isinstance(cause, SmrError):
        told = f" of the {limit / 2**20:,.0f} MiB that it may take" if limit else ""
        text = f"more memory was asked for than there is ({_asked(cause)}), when the worker took {resident / 2**20:,.0f} MiB{told}"
        named = replace(_exception(error, sources), kind=FailureKind.SYSTEM, type=OutOfMemoryError.__name__, message=text, pickled=b"")
        return replace(named, resident_bytes=resident, limit_bytes=limit)
    return _exception(error, sources)


def _exception(error: BaseException, sources: Sources) -> Failure:
    if isinstance(error, UserCodeError):
        cause = error.__cause__ or error
        return Failure(
            FailureKind.USER,
            type(cause).__name__,
            _message(cause),
            frames=_frames(cause.__traceback__, sources) or _frames(_behind(cause), sources) or _frame_at(error.place, sources),
            function=error.function,
            record=error.record,
            source=error.source,
            offset=error.offset,
            record_number=error.record_number,
            pickled=_pickled(cause),
            value_count=error.value_count,
        )
    if isinstance(error, PairShapeError):  # of several calls together, so of no call that could be named
        return Failure(FailureKind.USER, type(error).__name__, _message(error))
    if isinstance(error, InputError):
        return Failure(FailureKind.INPUT, type(error).__name__, _message(error), pickled=_pickled(error))
    frames = _frames(error.__traceback__, sources)
    if isinstance(error, SystemExit) and frames:
        return Failure(FailureKind.USER, type(error).__name__, f"the function ended its process: {_message(error)}", frames=frames)
    if _is_full(error) or (isinstance(error, StoreError) and _is_full(error.__cause__)):
        advice = f". Free disk space in {gettempdir()}, or set TMPDIR to a folder that has more"
        text = _message(error) + ("" if isinstance(error, StoreError) else advice)  # a store says where, and what to do
        return Failure(FailureKind.SYSTEM, DiskFullError.__name__, text)
    place = "" if isinstance(error, PlatformError) else _place(error)  # these say where, in words
    return Failure(FailureKind.SYSTEM, type(error).__name__, _message(error) + place, pickled=_pickled(error))


def _is_full(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno in _FULL


def tell_of(error: BaseException, sources: Sources) -> Told:
    """Return what is to be said of an exception that cost a record or a group, and no attempt: much less, because there may be many.

    Args:
        error: What was raised.
        sources: As of `describe`.
    """
    frames = () if isinstance(error, InputError) else _frames(error.__traceback__, sources) or _frames(_behind(error), sources)
    place = f"{frames[-1].label}, line {frames[-1].line}: {frames[-1].text}" if frames else ""
    return Told(f"{type(error).__name__}: {_message(error)}", place)


def _asked(error: BaseException) -> str:
    text = _message(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _message(error: BaseException) -> str:
    try:
        text = writable(str(error))
    except Exception as raised:  # noqa: BLE001 - the user's __str__ may do anything
        text = f"<its text cannot be shown: __str__ raised {type(raised).__name__}>"
    return text if len(text) <= MESSAGE_CHARACTERS else text[: MESSAGE_CHARACTERS - 1] + "…"


def _frames(trace: TracebackType | None, sources: Sources) -> tuple[Frame, ...]:
    return told_frames([(frame.f_code.co_filename, line, frame.f_code.co_name) for frame, line in traceback.walk_tb(trace)], sources)


def told_frames(steps: Sequence[tuple[str, int, str]], sources: Sources) -> tuple[Frame, ...]:
    """Return what is told of a stack: the user's own frames, those of libraries if there are none, and never those of this package.

    Args:
        steps: File, line and function of each frame, outermost first.
        sources: Labels and texts of the files that travelled with the code.
    """
    foreign = [step for step in steps[_behind_platform(steps) :] if not step[0].startswith(_PACKAGE + "/")]
    own = [step for step in foreign if not _library(step[0])]
    return tuple(_told(own or foreign, sources))


def _behind(error: BaseException) -> TracebackType | None:
    """Return the traceback of what an exception was made from: of a `StopIteration` that left a generator, say."""
    return error.__cause__.__traceback__ if error.__cause__ is not None else None


def _frame_at(place: CodePlace | None, sources: Sources) -> tuple[Frame, ...]:
    return tuple(_told([(place.file, place.line, place.function)], sources)) if place else ()


def _told(steps: list[tuple[str, int, str]], sources: Sources) -> Iterator[Frame]:
    told = steps[-FRAMES:]
    for place, (file, line, function) in enumerate(told):
        label, text = sources.get(file, (file, ""))
        lines = text.splitlines() or [known.rstrip("\n") for known in linecache.getlines(file)]
        quoted = lines[line - 1] if 0 < line <= len(lines) else ""
        first = max(1, line - AROUND)
        around = lines[first - 1 : line + AROUND] if quoted and place >= len(told) - _FRAMES_WITH_LINES else []
        cut = tuple(known.rstrip()[:_AROUND_CHARACTERS] for known in around)
        yield Frame(file, label, line, function, quoted.strip()[:LINE_CHARACTERS], cut, first if around else 0)


def _behind_platform(steps: Sequence[tuple[str, int, str]]) -> int:
    """Return where what a platform calls this package by has ended: the data plane calls the user's functions, and nobody else does."""
    for within in (f"{_PACKAGE}/dataflow/", f"{_PACKAGE}/"):
        for place, (file, _, _) in enumerate(steps):
            if file.startswith(within):
                return place
    return 0


def _library(file: str) -> bool:
    return file.startswith((*_LIBRARIES, "<frozen")) or "site-packages/" in file or "dist-packages/" in file


def _place(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1:]
    return f" (at {Path(last[0].filename).name}:{last[0].lineno} in {last[0].name})" if last else ""


class _Reducers(Mapping[type, Any]):
    """What pickle was taught of types, but for tracebacks of exceptions.

    Lines are told as frames. Whether a library of this process (dask is one) has taught pickle of tracebacks must not show in what is told.
    """

    def __getitem__(self, kind: type) -> Any:
        reducer = cloudpickle.Pickler.dispatch_table[kind]
        if str(getattr(reducer, "__module__", "")).startswith("tblib."):
            raise KeyError(kind)
        return reducer

    def __iter__(self) -> Iterator[type]:
        return iter(cloudpickle.Pickler.dispatch_table)

    def __len__(self) -> int:
        return len(cloudpickle.Pickler.dispatch_table)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
    dispatch_table = _Reducers()


def _pickled(error: BaseException) -> bytes:
    try:
        file = io.BytesIO()
        _Pickler(file).dump(error)
        data = file.getvalue()
        same = len(data) <= PICKLED_BYTES and str(pickle.loads(data)) == str(error)
    except Exception:  # noqa: BLE001 - the user's classes may do anything when they are pickled
        return b""
    return data if same else b""
