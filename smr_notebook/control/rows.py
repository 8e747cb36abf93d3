"""How a row is written: JSON in an envelope `{"v": 2, "row": {…}, "crc": 907060870}`, with the CRC-32 of the row's JSON.

Rules of this module:

* The version is looked at before anything else: a row of another version is a `FormatVersionError`, never half understood.
* Then comes the CRC, because a changed digit is still JSON, and a table need not have checksums of its own. A row that was written before
  rows had one has none.
* Equal nouns give equal bytes, so that whoever reads a standing row back can tell whether it is its own.
* A noun that gains a field gives it a default, so that old rows stay readable; any other change is a new version.
* Which noun a row holds follows from its key (`row_keys`).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import msgspec

from smr_notebook.control.row_keys import kind_of
from smr_notebook.errors import CorruptObjectError, FormatVersionError
from smr_notebook.model import Attempt, Commit, Leg
from smr_notebook.ports import Row
from smr_notebook.standing import Lease, Outcome, Progress

VERSION = 2

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class JobEntry:
    """The row that a submission leaves.

    Attributes:
        job: Identifier of the job.
        name: What the user calls the job, or an empty string.
        created: Time of submission.
        plan: Key of the plan in the object store.
        user: Who submitted it; empty for nobody in particular.
        base: The job that it stands on, whose data it needs; empty for none.
        after: The jobs whose results it reads, which may not have ended.
    """

    job: str
    name: str
    created: float
    plan: str
    user: str = ""
    base: str = ""
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reservation:
    """Somebody is about to submit a job under this identifier. `token` is unique for each submission."""

    token: str


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """Somebody asked for the end of the job."""

    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """Where the manifest of a phase stands, the CRC-32 of its object, and its BLAKE2b: a manifest vouches for parts that hold pickles."""

    key: str
    crc: int
    digest: bytes = b""


class _Envelope(msgspec.Struct):
    v: int
    row: msgspec.Raw
    crc: int | None = None


_ENVELOPES = msgspec.json.Decoder(_Envelope)


class RowCodec(Generic[T]):
    """Writes and reads the rows of one noun."""

    def __init__(self, noun: type[T]) -> None:
        self._noun = noun.__name__
        self._decoder = msgspec.json.Decoder(noun)

    def encode(self, value: T) -> bytes:
        """Return the bytes of a row."""
        row = msgspec.json.encode(value)
        return msgspec.json.encode(_Envelope(VERSION, msgspec.Raw(row), zlib.crc32(row)))

    def decode(self, key: str, data: bytes) -> T:
        """Return the noun that the row under `key` holds.

        Raises:
            FormatVersionError: The row was written in another version.
            CorruptObjectError: The row is not what this package writes.
        """
        try:
            envelope = _ENVELOPES.decode(data)
            if envelope.v != VERSION:
                raise FormatVersionError(
                    f"Row {key!r} was written in version {envelope.v}, and this package reads version {VERSION}: "
                    "use the version of smr_notebook that submitted the job."
                )
            if envelope.crc is not None and zlib.crc32(envelope.row) != envelope.crc:
                raise CorruptObjectError(f"Row {key!r} is not what was written: its checksum differs. Submit the job again.")
            return self._decoder.decode(envelope.row)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise CorruptObjectError(f"Row {key!r} does not hold the {self._noun} that it should ({error}).") from error


ENTRY: Final = RowCodec(JobEntry)
RESERVATION: Final = RowCodec(Reservation)
LEASE: Final = RowCodec(Lease)
PROGRESS: Final = RowCodec(Progress)
CANCEL: Final = RowCodec(CancelRequest)
MANIFEST: Final = RowCodec(ManifestEntry)
OUTCOME: Final = RowCodec(Outcome)
ATTEMPT: Final = RowCodec(Attempt)
LEG: Final = RowCodec(Leg)
COMMIT: Final = RowCodec(Commit)

_CODECS: Final[dict[str, RowCodec[Any]]] = {
    "entry": ENTRY,
    "lease": LEASE,
    "cancel": CANCEL,
    "manifest": MANIFEST,
    "outcome": OUTCOME,
    "attempt": ATTEMPT,
    "commit": COMMIT,
}
"""What decisions need, by the kind of the row: others are passed over."""


class RowReader:
    """Decodes rows of all kinds, and those that did not change since it saw them last not again."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, object]] = {}

    def read(self, row: Row) -> object:
        """Return the noun that a row holds, or `None` when decisions do not need it. Raises as `RowCodec.decode` does."""
        version, value = self._seen.get(row.key, (0, None))
        if version != row.version:
            codec = _CODECS.get(kind_of(row.key))
            value = codec.decode(row.key, row.value) if codec else None
            self._seen[row.key] = (row.version, value)
        return value

    def forget(self, prefix: str) -> None:
        """Forget the rows that begin so: they will not be read again."""
        for key in [key for key in self._seen if key.startswith(prefix)]:
            del self._seen[key]
