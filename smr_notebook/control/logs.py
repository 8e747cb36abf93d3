"""The logs of a job: what the user's functions wrote to standard output and error, as small objects beside the job.

The worker's process catches it in local files (`streams`). A heartbeat, or the end of the attempt, puts what is new as a *piece*, an
object of its own. So a watcher sees it while the attempt runs, and what an attempt wrote stays when it is lost.

Rules of this module:

* Where nothing is written, nothing is put: an attempt that is silent pays for a few system calls.
* A log never fails an attempt. What cannot be put is tried again with the next piece, and then it is lost. The heart does not wait until
  a piece is put: where a store does not answer, a thread of its own does.
* At most `MOST_BYTES` of an attempt are kept, and at most one piece is put in `PIECE_SECONDS`. What was left out is counted.
* The package itself writes nothing there.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from tempfile import gettempdir
from typing import Final, Protocol, Self

import msgspec

from smr_notebook.control.layout import Layout
from smr_notebook.control.messages import DeathNotice
from smr_notebook.control.plans import decoded
from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.sealing import seal, unseal
from smr_notebook.errors import PlatformError
from smr_notebook.model import AttemptId, Phase, TaskId
from smr_notebook.ports import Backend
from smr_notebook.streams import STREAMS, Left, Streams, left_behind, worth_telling

MOST_BYTES: Final = 1 << 20
"""Bytes of the logs of one attempt that are kept: the first ones, and of a process that died also the last ones."""

PIECE_SECONDS: Final = 2.0
"""Shortest time between two pieces of a running attempt."""

_READ_AT_ONCE: Final = 16
_LAST_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class LogPiece:
    """What an attempt wrote in some seconds.

    Attributes:
        time: When it was read, in seconds since 1970.
        texts: Name of a stream and what was written to it, in whole lines but for the last piece.
        dropped: Bytes that were written besides and not kept.
    """

    time: float
    texts: tuple[tuple[str, str], ...]
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class _Note:
    """Whose the output of a process is, and how far it has been put."""

    job: str
    attempt: AttemptId
    invocation: str
    pieces: int
    read: dict[str, int] = field(default_factory=dict)


_PIECE: Final = msgspec.json.Decoder(LogPiece)
_NOTES: Final = msgspec.json.Decoder(_Note)


class Outlet(Protocol):
    """What an attempt writes, as a context: from its beginning to its end it is caught, and at its end all of it is put."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def beat(self) -> None:
        """Put what is new, if it is time to. Called by the heartbeat."""
        ...


class Uncaught:
    """Output that goes where it goes: of attempts that share a process with others."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing."""

    def beat(self) -> None:
        """Do nothing."""


class Caught:
    """The output of one attempt that has the process for itself.

    Args:
        streams: Those of this process.
        backend: Where the pieces are put, and what time it is.
        job: Identifier of the job.
        attempt: Which attempt.
        invocation: Name of its invocation.
        meter: Counts the lines.
    """

    def __init__(self, streams: Streams, backend: Backend, job: str, attempt: AttemptId, *, invocation: str, meter: Meter) -> None:
        self._streams = streams
        self._backend = backend
        self._meter = meter
        self._note = _Note(job, attempt, invocation, 0)
        self._put_at = 0.0
        self._kept = 0
        self._texts: list[tuple[str, str]] = []
        self._dropped = 0
        self._putting: threading.Thread | None = None

    def __enter__(self) -> Self:
        with suppress(OSError):
            self._streams.begin(msgspec.json.encode(self._note))
        return self

    def __exit__(self, *_: object) -> None:
        if self._putting is not None:
            self._putting.join()
        with suppress(OSError):
            self._streams.end()
            self._take(final=True)
            if self._texts:
                self._put()

    def beat(self) -> None:
        """Have put what is new, unless a piece was put just now, or still is: the heart waits for no store."""
        waits = self._putting is not None and self._putting.is_alive()
        if waits or self._backend.clock.now() < self._put_at + PIECE_SECONDS:
            return
        with suppress(OSError):
            self._take(final=False)
            if any(text for _, text in self._texts):
                self._putting = threading.Thread(target=self._put_and_note, name="log", daemon=True)
                self._putting.start()

    def _put_and_note(self) -> None:
        with suppress(OSError):
            if self._put():
                self._streams.write_note(msgspec.json.encode(self._note))

    def _take(self, *, final: bool) -> None:
        for taken in self._streams.take(MOST_BYTES - self._kept, final=final):
            self._texts.append((taken.stream, taken.text))
            self._kept += taken.kept
            self._dropped += taken.dropped
            self._meter.lines_written += taken.text.count("\n") + (final and not taken.text.endswith("\n"))

    def _put(self) -> bool:
        """Put what was taken as the next piece, and return whether it was; else it stays."""
        self._put_at = self._backend.clock.now()
        piece = LogPiece(self._put_at, tuple(text for text in self._texts if text[1]), self._dropped)
        number = self._note.pieces + 1
        try:
            put_piece(self._backend, self._note.job, self._note.attempt, number=number, piece=piece)
        except PlatformError:
            return False
        self._texts, self._dropped = [], 0
        self._note = _Note(self._note.job, self._note.attempt, self._note.invocation, number, self._streams.read)
        return True


def put_piece(backend: Backend, job: str, attempt: AttemptId, *, number: int, piece: LogPiece) -> None:
    """Put one piece of the log of an attempt. Pieces are numbered from 1. Raises `StoreError`."""
    backend.objects.put(Layout(job).log_piece(attempt, number), seal("log", msgspec.json.encode(piece)))


# ---------------------------------------------------------------- of the dead


def bury_output(backend: Backend, notice: DeathNotice) -> str:
    """Put what an invocation of this machine wrote before it died, and return its last words on standard error.

    Args:
        backend: The platform.
        notice: Who died.

    Returns:
        As of `streams.worth_telling`; empty where there are none, or where they are on another machine.
    """
    for left in left_behind(gettempdir()):
        note = _read_note(left)
        if note is not None and notice.invocation and note.invocation == notice.invocation:
            texts = {stream: left.text(stream, note.read.get(stream, 0), most=_LAST_BYTES) for stream in STREAMS}
            kept = tuple((stream, text) for stream, (text, _) in texts.items() if text)
            if kept:
                piece = LogPiece(backend.clock.now(), kept, sum(dropped for _, dropped in texts.values()))
                with suppress(PlatformError):
                    put_piece(backend, note.job, note.attempt, number=note.pieces + 1, piece=piece)
            words, _ = left.text("stderr", most=_LAST_BYTES)
            left.forget()
            return worth_telling(words)
    return ""


def _read_note(left: Left) -> _Note | None:
    try:
        return _NOTES.decode(left.note)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


# ---------------------------------------------------------------- reading


@dataclass(frozen=True, slots=True)
class FoundPiece:
    """A piece, the attempt that it is of, and its number."""

    attempt: AttemptId
    number: int
    piece: LogPiece


def read_pieces(
    backend: Backend, job: str, *, known: set[str], phase: Phase | None = None, task: int | None = None
) -> Iterator[FoundPiece]:
    """Yield the pieces of a job that are not known yet, in the order of their keys, and make them known.

    Args:
        backend: The platform.
        job: Identifier of the job.
        known: Keys that are passed over.
        phase: Of one phase only.
        task: Of tasks with this number only.

    Raises:
        CorruptObjectError: A piece is not what was written.
        StoreError: The store cannot be read.
    """
    layout = Layout(job)
    prefix = layout.logs if phase is None else layout.logs_of(phase)
    new = [
        (info.key, *whose)
        for info in backend.objects.list_prefix(prefix)
        if info.key not in known and task in {None, (whose := _whose(info.key.removeprefix(layout.logs)))[0].task.number}
    ]
    known.update(key for key, _, _ in new)
    with ThreadPoolExecutor(max(1, min(backend.parallel, _READ_AT_ONCE))) as pool:
        bodies = pool.map(backend.objects.get, [key for key, _, _ in new])
        for (key, attempt, number), data in zip(new, bodies, strict=True):
            yield FoundPiece(attempt, number, decoded(_PIECE, unseal("log", data, name=key), name=key))


def _whose(place: str) -> tuple[AttemptId, int]:
    """Return the attempt that a piece is of, and its number, from its key below that of the logs."""
    attempt, _, piece = place.partition("/")
    phase, task, number = attempt.split("-")
    return AttemptId(TaskId(Phase(phase), int(task)), int(number)), int(piece)
