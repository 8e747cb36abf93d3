"""What every `Table` holds.

An adapter subclasses `TableTests` and provides the fixture `table`: an empty table. An adapter for more than one process
subclasses `SharedTableTests` instead and provides the fixture `open_table`: a function without arguments that opens the same,
at first empty, table each time, and that pickles (`functools.partial(Table, address)` does).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from smr_notebook.ports import Row, Table
from smr_notebook.testing.races import count_up, count_up_in_process, create_rows, in_processes, in_threads
from smr_notebook.testing.stateful import ODD_KEYS, run_table_machine


class TableTests:
    """The contract of `ports.Table`."""

    def test_a_row_that_was_never_written_is_none(self, table: Table) -> None:
        """And no group exists before its first row."""
        assert table.get("g", "k") is None
        assert table.query("g") == []

    def test_a_row_is_created_at_version_one(self, table: Table) -> None:
        """The standing row is the caller's."""
        assert table.put("g", "k", b"mine", expect=0) == Row("k", 1, b"mine")
        assert table.get("g", "k") == Row("k", 1, b"mine")

    def test_a_second_creator_gets_the_row_of_the_first(self, table: Table) -> None:
        """And changes nothing."""
        table.put("g", "k", b"first", expect=0)
        assert table.put("g", "k", b"second", expect=0) == Row("k", 1, b"first")
        assert table.get("g", "k") == Row("k", 1, b"first")

    def test_each_change_adds_one_to_the_version(self, table: Table) -> None:
        """Also when the value stays the same."""
        for version in range(5):
            assert table.put("g", "k", b"same", expect=version) == Row("k", version + 1, b"same")

    @pytest.mark.parametrize("expect", [0, 1, 2, 4, 1000])
    def test_who_expects_another_version_gets_the_row_that_stands(self, table: Table, expect: int) -> None:
        """A version of the past or of the future."""
        for version in range(3):
            table.put("g", "k", f"{version}".encode(), expect=version)
        assert table.put("g", "k", b"late", expect=expect) == Row("k", 3, b"2")
        assert table.get("g", "k") == Row("k", 3, b"2")

    def test_where_no_row_stands_the_answer_is_version_zero(self, table: Table) -> None:
        """A change of a row that is not there creates nothing."""
        assert table.put("g", "k", b"x", expect=3) == Row("k", 0, b"")
        assert table.get("g", "k") is None

    def test_a_call_repeated_after_a_lost_reply_finds_its_own_value(self, table: Table) -> None:
        """So the caller knows that it won, and nothing was applied twice."""
        first = table.put("g", "k", b"claimed by 7f3a", expect=0)
        assert table.put("g", "k", b"claimed by 7f3a", expect=0) == first == Row("k", 1, b"claimed by 7f3a")
        second = table.put("g", "k", b"released by 7f3a", expect=1)
        assert table.put("g", "k", b"released by 7f3a", expect=1) == second == Row("k", 2, b"released by 7f3a")

    @pytest.mark.parametrize("value", [b"", bytes(range(256)), bytes(range(256)) * 1200], ids=["empty", "all bytes", "300 KB"])
    def test_a_value_is_any_bytes(self, table: Table, value: bytes) -> None:
        """Up to 300 KB, and of exactly this type."""
        assert table.put("g", "k", value, expect=0).value == value
        assert table.put("g", "k", b"other", expect=0).value == value
        row = table.get("g", "k")
        assert row is not None
        assert type(row.value) is bytes
        assert table.query("g") == [row] == [Row("k", 1, value)]

    def test_groups_know_nothing_of_each_other(self, table: Table) -> None:
        """Not even when one's name begins with the other's."""
        for group in ("g", "g2", "G", "g/", ""):
            table.put(group, "k", group.encode(), expect=0)
        table.delete_group("g")
        assert table.get("g", "k") is None
        assert [table.query(group)[0].value for group in ("g2", "G", "g/", "")] == [b"g2", b"G", b"g/", b""]

    def test_a_deleted_group_begins_anew(self, table: Table) -> None:
        """Deleting twice, or what never was, is harmless."""
        table.put("g", "k", b"x", expect=0)
        table.put("g", "k", b"y", expect=1)
        for _ in range(2):
            table.delete_group("g")
        assert table.query("g") == []
        assert table.put("g", "k", b"z", expect=0) == Row("k", 1, b"z")

    def test_a_query_is_in_order_of_the_bytes_of_the_keys(self, table: Table) -> None:
        """Whatever is in the keys, for each prefix of them; order of writing does not matter."""
        odd = [*ODD_KEYS, "a", "a/", "\U0010ffff", "\U0010ffff/x", "a\U0010ffff", "á", "\x7f"]
        for key in reversed(odd):
            table.put("g", key, key.encode(), expect=0)
        for prefix in {key[:length] for key in odd for length in range(5)} | {"none"}:
            expected = sorted((key for key in odd if key.startswith(prefix)), key=str.encode)
            assert table.query("g", prefix) == [Row(key, 1, key.encode()) for key in expected]

    def test_a_query_has_no_last_page(self, table: Table) -> None:
        """There are tables that return one megabyte at a time."""
        for number in range(1500):
            table.put("g", f"row/{number:05d}", b"v" * 1000, expect=0)
        table.put("g", "other", b"", expect=0)
        assert [row.key for row in table.query("g", "row/")] == [f"row/{number:05d}" for number in range(1500)]
        table.delete_group("g")
        assert table.query("g") == []

    def test_no_thread_loses_a_count(self, table: Table) -> None:
        """Sixteen add one to the same row."""
        in_threads(16, lambda thread: count_up(table, "counter", 25, writer=str(thread)))
        row = table.get("race", "counter")
        assert row is not None
        assert (row.version, row.value.split()[0]) == (400, b"400")

    def test_one_of_many_threads_creates(self, table: Table) -> None:
        """All get the winner's row."""
        for number in range(20):
            rows = in_threads(16, lambda thread, key=str(number): table.put("race", key, f"{thread}".encode(), expect=0))  # type: ignore[misc]
            assert set(rows) == {table.get("race", str(number))}
            assert rows[0].version == 1

    def test_any_sequence_of_calls_does_what_it_does_to_a_dict(self, table: Table) -> None:
        """See `stateful.TableMachine`."""
        run_table_machine(table)


class SharedTableTests(TableTests):
    """The contract of a `Table` that several processes open."""

    @pytest.fixture
    def table(self, open_table: Callable[[], Table]) -> Table:
        """The table as this process opens it."""
        return open_table()

    def test_two_openings_see_one_table(self, open_table: Callable[[], Table]) -> None:
        """At once."""
        first, second = open_table(), open_table()
        first.put("g", "k", b"x", expect=0)
        assert second.put("g", "k", b"y", expect=1) == first.get("g", "k") == Row("k", 2, b"y")

    def test_no_process_loses_a_count(self, open_table: Callable[[], Table]) -> None:
        """They open the table at the same moment, the first to do so among them, and add one to the same row."""
        in_processes([partial(count_up_in_process, open_table, 200, f"{number}") for number in range(4)])
        row = open_table().get("race", "counter")
        assert row is not None
        assert (row.version, row.value.split()[0]) == (800, b"800")

    def test_one_of_many_processes_creates(self, open_table: Callable[[], Table]) -> None:
        """Each row is the winner's."""
        writers = [f"writer-{number}" for number in range(4)]
        in_processes([partial(create_rows, open_table, 300, writer) for writer in writers])
        table = open_table()
        owners = [row.value.decode() for row in table.query("race")]
        assert len(owners) == 300
        assert {row.key: int(row.value) for row in table.query("won")} == {writer: owners.count(writer) for writer in writers}
