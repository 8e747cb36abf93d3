"""Any sequence of calls has the effect that it has on a dict.

Each machine works below a prefix, or in a group, of its own, so that one store or table serves all examples.
"""

from __future__ import annotations

from uuid import uuid4

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from smr_notebook.errors import ObjectNotFoundError
from smr_notebook.ports import ObjectStore, Row, Table

# Names that sort differently by path, by character and by locale. None of them is the folder of another.
ODD_KEYS = (
    "a/b", "a.b", "a-b", "a0", "a+b", "a/b.c", "a/b-c", "a/c/d", "a/c.d", "a/c-d", "a/é", "a/e", "a/Z", "aa/b", "A/b", "ä/ü", "%2F/x",
    "#/y", "~", ".hidden", "a/.hidden", "𝄞/x", "\uff00/x", "☃", "a%/b", "a#b", " /x", "a /b", "a b", "\n", "a\x01", "..a/b", "a.../b",
)  # fmt: skip
KEYS = st.sampled_from(ODD_KEYS)
PREFIXES = st.builds(lambda key, length: key[:length], KEYS, st.integers(1, 5))
BODIES = st.binary(max_size=20)
SETTINGS = settings(max_examples=30, stateful_step_count=40, deadline=None)


class ObjectStoreMachine(RuleBasedStateMachine):
    """Does to a store what it does to a dict."""

    def __init__(self, store: ObjectStore) -> None:
        super().__init__()
        self._store = store
        self._root = f"machine-{uuid4().hex}/"
        self._model: dict[str, bytes] = {}

    @rule(key=KEYS, body=BODIES, streamed=st.booleans())
    def put(self, key: str, body: bytes, *, streamed: bool) -> None:
        """Write."""
        assert self._store.put(self._root + key, iter([body[:3], body[3:]]) if streamed else body)
        self._model[key] = body

    @rule(key=KEYS, body=BODIES)
    def put_if_absent(self, key: str, body: bytes) -> None:
        """Write what is not there."""
        assert self._store.put(self._root + key, body, if_absent=True) == (key not in self._model)
        self._model.setdefault(key, body)

    @rule(key=KEYS, start=st.integers(0, 25), stop=st.none() | st.integers(0, 25))
    def get(self, key: str, start: int, stop: int | None) -> None:
        """Read a range."""
        try:
            found = self._store.get(self._root + key, start, stop)
        except ObjectNotFoundError:
            assert key not in self._model
        else:
            assert found == self._model[key][start:stop]

    @rule(prefix=PREFIXES)
    def list_prefix(self, prefix: str) -> None:
        """List some."""
        expected = sorted((key for key in self._model if key.startswith(prefix)), key=str.encode)
        assert [info.key for info in self._store.list_prefix(self._root + prefix)] == [self._root + key for key in expected]

    @rule(prefix=PREFIXES)
    def delete_prefix(self, prefix: str) -> None:
        """Delete some."""
        doomed = [key for key in self._model if key.startswith(prefix)]
        assert self._store.delete_prefix(self._root + prefix) == len(doomed)
        for key in doomed:
            del self._model[key]

    @invariant()
    def lists_all(self) -> None:
        """The whole listing has the keys and sizes of the model."""
        expected = [(self._root + key, len(self._model[key])) for key in sorted(self._model, key=str.encode)]
        assert [(info.key, info.size) for info in self._store.list_prefix(self._root)] == expected

    def teardown(self) -> None:
        """Leave nothing."""
        self._store.delete_prefix(self._root)
        assert list(self._store.list_prefix(self._root)) == []


class TableMachine(RuleBasedStateMachine):
    """Does to a table what it does to a dict."""

    def __init__(self, table: Table) -> None:
        super().__init__()
        self._table = table
        self._group = f"machine-{uuid4().hex}"
        self._model: dict[str, Row] = {}

    @rule(key=KEYS, value=BODIES, behind=st.sampled_from([0, 0, 0, 1, -1, 5]))
    def put(self, key: str, value: bytes, behind: int) -> None:
        """Write at the right version, or at a wrong one."""
        standing = self._model.get(key, Row(key, 0, b""))
        expect = max(standing.version - behind, 0)
        if expect == standing.version:
            standing = self._model[key] = Row(key, expect + 1, value)
        assert self._table.put(self._group, key, value, expect=expect) == standing

    @rule(key=KEYS)
    def get(self, key: str) -> None:
        """Read one."""
        assert self._table.get(self._group, key) == self._model.get(key)

    @rule(prefix=PREFIXES)
    def query(self, prefix: str) -> None:
        """Read some."""
        expected = sorted((key for key in self._model if key.startswith(prefix)), key=str.encode)
        assert self._table.query(self._group, prefix) == [self._model[key] for key in expected]

    @rule()
    def delete_group(self) -> None:
        """Delete all."""
        self._table.delete_group(self._group)
        self._model.clear()

    @invariant()
    def holds_all(self) -> None:
        """The whole group is the model."""
        assert self._table.query(self._group) == [self._model[key] for key in sorted(self._model, key=str.encode)]

    def teardown(self) -> None:
        """Leave nothing."""
        self._table.delete_group(self._group)


def run_store_machine(store: ObjectStore) -> None:
    """Compare a store with a dict over random sequences of calls."""

    class Machine(ObjectStoreMachine):
        def __init__(self) -> None:
            super().__init__(store)

    run_state_machine_as_test(Machine, settings=SETTINGS)


def run_table_machine(table: Table) -> None:
    """Compare a table with a dict over random sequences of calls."""

    class Machine(TableMachine):
        def __init__(self) -> None:
            super().__init__(table)

    run_state_machine_as_test(Machine, settings=SETTINGS)
