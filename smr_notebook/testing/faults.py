"""Ports that fail: a store and a table through which replies get lost and their users die.

Rules of this module:

* A call fails before or after it took effect, as calls do: an error says nothing of what happened.
* Whoever dies dies of `Died`, which is no `Exception`: nothing that treats errors may treat it.
* Only writes count toward a death, and only calls that one thread makes may fail, so that a story repeats exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from smr_notebook.errors import StoreError
from smr_notebook.model import ObjectInfo
from smr_notebook.ports import Buffer, ObjectStore, Row, Table
from smr_notebook.testing.fates import Fates

T = TypeVar("T")


class Died(BaseException):
    """The process is no more."""


class Mischief:
    """What goes wrong with the calls of one invocation.

    Args:
        fates: What happens to whom.
        name: Unique name of the invocation.
        operations: After how many writes it dies; 0 for never.
    """

    def __init__(self, fates: Fates, name: str, *, operations: int = 0) -> None:
        self._fates = fates
        self._name = name
        self._operations = operations
        self._calls = 0
        self._writes = 0

    def read(self, call: Callable[[], T]) -> T:
        """Make a call that changes nothing."""
        self._calls += 1
        if self._fates.happens(f"{self._name} reads in vain {self._calls}", self._fates.odds.flaky):
            raise StoreError("The simulated store cannot be reached.")
        return call()

    def write(self, call: Callable[[], T]) -> T:
        """Make a call that changes something."""
        self._calls += 1
        self._writes += 1
        fated = self._writes == self._operations
        after = self._fates.happens(f"{self._name} is late {self._calls}", 0.5)
        if fated and not after:
            raise Died
        fails = self._fates.happens(f"{self._name} writes in vain {self._calls}", self._fates.odds.flaky)
        if fails and not after:
            raise StoreError("The simulated store cannot be reached.")
        result = call()
        if fated:
            raise Died
        if fails:
            raise StoreError("The reply of the simulated store was lost.")
        return result


class FaultyTable:
    """A `Table` through which one invocation meets its mischief."""

    def __init__(self, table: Table, mischief: Mischief) -> None:
        self._table = table
        self._mischief = mischief

    def get(self, group: str, key: str) -> Row | None:
        """See `ports.Table.get`."""
        return self._mischief.read(lambda: self._table.get(group, key))

    def put(self, group: str, key: str, value: bytes, *, expect: int) -> Row:
        """See `ports.Table.put`."""
        return self._mischief.write(lambda: self._table.put(group, key, value, expect=expect))

    def query(self, group: str, prefix: str = "") -> list[Row]:
        """See `ports.Table.query`."""
        return self._mischief.read(lambda: self._table.query(group, prefix))

    def delete_group(self, group: str) -> None:
        """See `ports.Table.delete_group`."""
        self._mischief.write(lambda: self._table.delete_group(group))


class FaultyStore:
    """An `ObjectStore` through which one invocation meets its mischief. Reads never fail: threads make them."""

    def __init__(self, objects: ObjectStore, mischief: Mischief) -> None:
        self._objects = objects
        self._mischief = mischief

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """See `ports.ObjectStore.get`."""
        return self._objects.get(key, start, stop)

    def put(self, key: str, data: Buffer | Iterable[Buffer], *, if_absent: bool = False) -> bool:
        """See `ports.ObjectStore.put`."""
        return self._mischief.write(lambda: self._objects.put(key, data, if_absent=if_absent))

    def list_prefix(self, prefix: str) -> Iterator[ObjectInfo]:
        """See `ports.ObjectStore.list_prefix`."""
        return self._objects.list_prefix(prefix)

    def delete_prefix(self, prefix: str) -> int:
        """See `ports.ObjectStore.delete_prefix`."""
        return self._mischief.write(lambda: self._objects.delete_prefix(prefix))
