"""The meter: where the record stream and the heartbeat meet.

The record stream of an attempt adds to plain attributes, the heartbeat thread reads them; no lock is needed, because
a number that is one batch late does no harm. The other way go two wishes: `stop` asks the stream to end and to drop everything,
`wind_up` to end at the next good place with what there is.

A wish must be heard between two records, since a record may take a second, and must cost nothing there, since it may take less than
a microsecond. So the stream lays the records before it out as a list of its own, `ahead`, and a wish empties that list: the loop over
it ends behind the record where it stands, and the stream then asks what the wish was. A list is emptied in one step for all threads,
and a loop over it looks at its length each time.

Rules of this module:

* The wish is told before the list is emptied, and the stream asks for wishes after it has laid out a list. So none is overheard.
* `ahead` is a copy: what is taken from it stays alive elsewhere, so that no object of the user's dies in the heartbeat thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from smr_notebook.counting import Counts
from smr_notebook.dataflow.functions import UserCodeError
from smr_notebook.model import Numbers

if TYPE_CHECKING:
    from smr_notebook.dataflow.bad_records import BadRecords


def _nowhere() -> None:
    return None


class AttemptStopped(Exception):  # noqa: N818 - a control flow signal inside the data plane, not an error of the tree
    """The attempt should end: it was cancelled, or another one holds its place."""


class Meter:
    """Counts of one attempt, and the wishes of its heartbeat.

    Attributes:
        ahead: Records or groups that the loop of the record stream is going over.
        ends: As of `draining.Batch`: an item for each record that the loop over records has done since it has a batch.
        emitted: An item for each pair, or row, that the stream holds before it counts them.
        due: Whether the attempt should end at the next good place, with what there is.
        stopped: Why it should end and drop everything; `None` when it should not.
        bad: Takes what is left out; `None` where nothing may be.
        counts: What the user's functions count under names of their own.
        place: Returns the record or the group that is under way, as the error that would name it; `None` if there is none. Whoever calls
            it from another thread may see what is over by then.

    The others are those of `model.Numbers`; only the record stream writes them, and `lines_written` who catches what is written.
    """

    __slots__ = (
        "ahead",
        "bad",
        "bytes_read",
        "counts",
        "due",
        "emitted",
        "ends",
        "lines_written",
        "pairs_bad",
        "pairs_in",
        "pairs_out",
        "place",
        "records_bad",
        "records_mapped",
        "records_read",
        "stopped",
    )

    def __init__(self) -> None:
        self.bytes_read = 0
        self.records_read = 0
        self.records_mapped = 0
        self.pairs_in = 0
        self.pairs_out = 0
        self.records_bad = 0
        self.pairs_bad = 0
        self.bad: BadRecords | None = None
        self.counts = Counts()
        self.lines_written = 0
        self.ahead: list[Any] = []
        self.ends: Sequence[object] = ()
        self.emitted: Sequence[object] = ()
        self.due = False
        self.stopped: str | None = None
        self.place: Callable[[], UserCodeError | None] = _nowhere

    def numbers(self, resident_bytes: int = 0) -> Numbers:
        """Return the counts as a value."""
        return Numbers(
            self.bytes_read,
            self.records_read,
            self.records_mapped,
            self.pairs_in,
            self.pairs_out,
            resident_bytes,
            self.records_bad,
            self.pairs_bad,
            self.bad.sample if self.bad is not None else "",
            self.lines_written,
            self.counts.items(),
        )

    def stop(self, reason: str) -> None:
        """Ask the record stream to end, and to drop everything. Called by the heartbeat."""
        self.stopped = reason
        self.ahead.clear()

    def wind_up(self) -> None:
        """Ask the record stream to end at the next good place, with what there is. Called by the heartbeat, once or more often."""
        if not self.due:
            self.due = True
            self.ahead.clear()

    @property
    def reached(self) -> tuple[int, ...]:
        """Something that changes whenever the record stream has got further, for the heartbeat to compare."""
        return (self.bytes_read, self.done, self.pairs_out, len(self.ends))

    @property
    def done(self) -> int:
        """How many records or groups are done: mapped or reduced, or left out."""
        return self.records_mapped + self.records_bad

    @property
    def moved(self) -> tuple[int, ...]:
        """Something that changes whenever the record stream gives a sign of life, also in the middle of a record that yields for long."""
        return (*self.reached, self.records_read, self.pairs_in, len(self.emitted))

    @property
    def ending(self) -> bool:
        """Whether the attempt ends here with what there is: it is due, and something is done. So each attempt brings its task on."""
        return self.due and self.done > 0

    def check(self) -> None:
        """Raise `AttemptStopped` when somebody asked for it. The record stream calls this once a batch."""
        if self.stopped is not None:
            raise AttemptStopped(self.stopped)

    def lay_out(self, items: Sequence[Any], begin: int = 0) -> list[Any]:
        """Return a copy of what the record stream is about to go over, as `ahead`: when the attempt is due, of one item only.

        Whoever goes over it may find it empty at once, and then lays out again.

        Args:
            items: Records or groups.
            begin: Index of the first of them that is wanted.

        Raises:
            AttemptStopped: Somebody asked for it.
        """
        self.ahead = ahead = list(items[begin:] if begin else items)
        self.check()
        if self.due:
            del ahead[1:]
        return ahead
