"""Ports that fail: a store, a table and a carrier through which replies get lost, looks are torn, and their users stand still or die.

Rules of this module:

* A call fails before or after it took effect, as calls do: an error says nothing of what happened.
* Whoever dies dies of `Died`, which is no `Exception`: nothing that treats errors may treat it.
* Only writes count toward a death. Reads of the store are made by threads: what befalls them follows from the key and the time alone,
  and nobody gets a turn meanwhile, so that a story repeats exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from random import Random
from typing import TypeVar

from smr_notebook.errors import StoreError
from smr_notebook.model import ObjectInfo
from smr_notebook.ports import Buffer, Carrier, Fetched, ObjectStore, Piece, Row, Table, Wanted
from smr_notebook.testing.fates import Fates

T = TypeVar("T")

_MOMENT = 0.1
"""Seconds: what a call to a port takes at most when others get their turn meanwhile."""

_FROZEN = (5.0, 60.0)
"""Seconds for which an invocation stands still."""

_BURST = 0.8
"""How likely a call fails while a store answers hardly anybody."""


class Died(BaseException):
    """The process is no more."""


def _nobody_waits(seconds: float) -> None:
    del seconds


class Mischief:
    """What goes wrong with the calls of one invocation.

    Args:
        fates: What happens to whom.
        name: Unique name of the invocation.
        operations: After how many writes it dies; 0 for never.
        pause: Lets so many seconds pass, in which others get their turn.
        now: Tells the time.
    """

    def __init__(
        self,
        fates: Fates,
        name: str,
        *,
        operations: int = 0,
        pause: Callable[[float], None] = _nobody_waits,
        now: Callable[[], float] = float,
    ) -> None:
        self._fates = fates
        self._name = name
        self._operations = operations
        self._pause = pause
        self._now = now
        self._random = Random(f"{fates.seed} {name} waits")
        self._calls = 0
        self._writes = 0

    def tears(self, rows: int) -> int:
        """Return how many of so many rows a query reads at once."""
        torn = self._fates.odds.torn
        return self._random.randint(1, rows) if torn and rows and self._random.random() < torn else rows

    def wait(self) -> None:
        """Perhaps give others their turn."""
        odds = self._fates.odds
        if odds.interleaved and self._random.random() < odds.interleaved:
            self._pause(self._random.uniform(0, _MOMENT))
        if odds.frozen and self._random.random() < odds.frozen:
            self._pause(self._random.uniform(*_FROZEN))

    def read(self, call: Callable[[], T], *, of: str) -> T:
        """Make a call that changes nothing, to the table or the store."""
        self._calls += 1
        self.wait()
        if self._fates.happens(f"{self._name} reads in vain {self._calls}", self._fails(of)):
            raise StoreError(f"The simulated {of} cannot be reached.")
        result = call()
        self.wait()
        return result

    def fetch(self, key: str, call: Callable[[], T]) -> T:
        """Make a read of the store, which a thread may make."""
        if self._fates.answers_nobody("store", self._now()):
            self._in_vain(f"{self._name} fetches {key} in vain at {self._now()}", _BURST)
        return call()

    def write(self, call: Callable[[], T], *, of: str) -> T:
        """Make a call that changes something, in the table or the store."""
        self._calls += 1
        self._writes += 1
        self.wait()
        fated = self._writes == self._operations
        fails = self._fates.happens(f"{self._name} writes in vain {self._calls}", self._fails(of))
        after = (fated or fails) and self._fates.happens(f"{self._name} is late {self._calls}", 0.5)
        if fated and not after:
            raise Died
        if fails and not after:
            raise StoreError(f"The simulated {of} cannot be reached.")
        result = call()
        if fated:
            raise Died
        if fails:
            raise StoreError(f"The reply of the simulated {of} was lost.")
        self.wait()
        return result

    def _in_vain(self, what: str, odds: float) -> None:
        if self._fates.happens(what, odds):
            raise StoreError("The simulated store answers 503.")

    def _fails(self, of: str) -> float:
        return _BURST if self._fates.answers_nobody(of, self._now()) else self._fates.odds.flaky


class FaultyTable:
    """A `Table` through which one invocation meets its mischief."""

    def __init__(self, table: Table, mischief: Mischief) -> None:
        self._table = table
        self._mischief = mischief

    def get(self, group: str, key: str) -> Row | None:
        """See `ports.Table.get`."""
        return self._mischief.read(lambda: self._table.get(group, key), of="table")

    def put(self, group: str, key: str, value: bytes, *, expect: int) -> Row:
        """See `ports.Table.put`."""
        return self._mischief.write(lambda: self._table.put(group, key, value, expect=expect), of="table")

    def query(self, group: str, prefix: str = "") -> list[Row]:
        """See `ports.Table.query`. Each row is as it stood when it was read, and not all are read at the same time."""
        rows: list[Row] = []
        while True:
            last = rows[-1].key if rows else ""
            found = self._mischief.read(lambda last=last: self._behind(last, group, prefix), of="table")  # type: ignore[misc]
            taken = self._mischief.tears(len(found))
            rows += found[:taken]
            if taken == len(found):
                return rows

    def delete_group(self, group: str) -> None:
        """See `ports.Table.delete_group`."""
        self._mischief.write(lambda: self._table.delete_group(group), of="table")

    def _behind(self, last: str, group: str, prefix: str) -> list[Row]:
        return [row for row in self._table.query(group, prefix) if row.key > last]


class FaultyStore:
    """An `ObjectStore` through which one invocation meets its mischief."""

    def __init__(self, objects: ObjectStore, mischief: Mischief) -> None:
        self._objects = objects
        self._mischief = mischief

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """See `ports.ObjectStore.get`."""
        return self._mischief.fetch(f"{key} {start}", lambda: self._objects.get(key, start, stop))

    def put(self, key: str, data: Buffer | Iterable[Buffer], *, if_absent: bool = False) -> bool:
        """See `ports.ObjectStore.put`."""
        return self._mischief.write(lambda: self._objects.put(key, data, if_absent=if_absent), of="store")

    def list_prefix(self, prefix: str) -> Iterator[ObjectInfo]:
        """See `ports.ObjectStore.list_prefix`."""
        return self._objects.list_prefix(prefix)

    def delete_prefix(self, prefix: str) -> int:
        """See `ports.ObjectStore.delete_prefix`."""
        return self._mischief.write(lambda: self._objects.delete_prefix(prefix), of="store")


class FaultyCarrier:
    """A `Carrier` through which one invocation meets its mischief: it may have sent some pieces when it dies or fails."""

    def __init__(self, carrier: Carrier, mischief: Mischief) -> None:
        self._carrier = carrier
        self._mischief = mischief

    def hold(self, box: str, partitions: int) -> None:
        """See `ports.Carrier.hold`."""
        self._mischief.write(lambda: self._carrier.hold(box, partitions), of="store")

    def send(self, box: str, name: str, pieces: Iterable[Piece]) -> None:
        """See `ports.Carrier.send`: one by one, each may be the last."""
        for piece in pieces:
            self._mischief.write(lambda piece=piece: self._carrier.send(box, name, [piece]), of="store")  # type: ignore[misc]

    def fetch(self, box: str, partition: int, wanted: Sequence[Wanted]) -> Iterator[Fetched]:
        """See `ports.Carrier.fetch`."""
        return self._mischief.read(lambda: self._carrier.fetch(box, partition, wanted), of="store")

    def remove(self, box: str, partitions: int, name: str = "") -> None:
        """See `ports.Carrier.remove`."""
        self._mischief.write(lambda: self._carrier.remove(box, partitions, name), of="store")
