"""The meter: where the record stream and the heartbeat meet.

The record stream of an attempt adds to plain attributes, the heartbeat thread reads them; no lock is needed, because
a number that is one batch late does no harm. The other way goes one flag: `stop` asks the stream to end, and `check`,
called at each batch, ends it.
"""

from __future__ import annotations

from smr_notebook.model import Numbers


class AttemptStopped(Exception):  # noqa: N818 - a control flow signal inside the data plane, not an error of the tree
    """The attempt should end: it was cancelled, or another one holds its place."""


class Meter:
    """Counts of one attempt. The attributes are those of `model.Numbers`; only the record stream writes them."""

    __slots__ = ("bytes_read", "pairs_in", "pairs_out", "records_mapped", "records_read", "stopped")

    def __init__(self) -> None:
        self.bytes_read = 0
        self.records_read = 0
        self.records_mapped = 0
        self.pairs_in = 0
        self.pairs_out = 0
        self.stopped: str | None = None

    def numbers(self, resident_bytes: int = 0) -> Numbers:
        """Return the counts as a value."""
        return Numbers(self.bytes_read, self.records_read, self.records_mapped, self.pairs_in, self.pairs_out, resident_bytes)

    def stop(self, reason: str) -> None:
        """Ask the record stream to end. Called by the heartbeat."""
        self.stopped = reason

    def check(self) -> None:
        """Raise `AttemptStopped` when somebody asked for it. The record stream calls this once a batch."""
        if self.stopped is not None:
            raise AttemptStopped(self.stopped)
