"""What every `ItemSource` holds.

An adapter subclasses `ItemSourceTests` and provides three fixtures:

* `source`: the source.
* `place`: a function that makes a table of such items, whose key is `n`, a number, and returns the pattern that names it.
* `remove`: a function that removes the item with this key from the table of a pattern.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from smr_notebook.ports import InputSource, ItemSource, ScannedPage

Place = Callable[[Sequence[dict[str, Any]]], str]
Remove = Callable[[str, int], None]


class Source(InputSource, ItemSource, Protocol):
    """Both faces of a source of tables."""


class ItemSourceTests:
    """The contract of `ports.ItemSource`."""

    def test_each_item_is_in_one_segment(self, source: Source, place: Place) -> None:
        """All of them, once, whatever the segments."""
        pattern = place([{"n": number, "text": "x" * number} for number in range(30)])
        found = [item for info in source.find(pattern) for item in items_of(source.scan(info.key))]
        assert sorted(int(item["n"]) for item in found) == list(range(30))
        assert all(item["text"] == "x" * int(item["n"]) for item in found)

    def test_a_segment_has_a_size_that_was_guessed_and_no_bytes(self, source: Source, place: Place) -> None:
        """At least one byte, so that it is worth a place in a plan."""
        infos = list(source.find(place([{"n": 1}])))
        assert infos
        assert all(info.size > 0 and not info.version for info in infos)
        assert len({info.key for info in infos}) == len(infos)

    def test_a_scan_goes_on_behind_any_item(self, source: Source, place: Place) -> None:
        """And gives what the whole scan gave from there on, in the same order."""
        for info in source.find(place([{"n": number} for number in range(12)])):
            whole = items_of(source.scan(info.key))
            done = 0
            for page in source.scan(info.key):
                for count in range(len(page.items) + 1):
                    assert items_of(resumed(source, page.behind(count)).scan(info.key)) == whole[done + count :]
                done += len(page.items)

    def test_a_scan_goes_on_behind_an_item_that_is_gone(self, source: Source, place: Place, remove: Remove) -> None:
        """Nothing that stays is dropped for it, or given again."""
        pattern = place([{"n": number} for number in range(12)])
        for info in source.find(pattern):
            for page in source.scan(info.key):
                if len(page.items) > 1:
                    last, rest = page.items[len(page.items) // 2 - 1], page.items[len(page.items) // 2 :]
                    token = page.behind(len(page.items) // 2)
                    remove(pattern, int(str(last["n"])))
                    assert items_of(resumed(source, token).scan(info.key))[: len(rest)] == rest

    def test_a_table_without_items_gives_none(self, source: Source, place: Place) -> None:
        """And is no error."""
        assert [item for info in source.find(place([])) for item in items_of(source.scan(info.key))] == []


def items_of(pages: Iterable[ScannedPage]) -> list[dict[str, Any]]:
    """Return the items of all pages."""
    return [item for page in pages for item in page.items]


def resumed(source: ItemSource, token: str) -> ItemSource:
    """Return a source whose scans go on behind a token; without one, as it is."""
    if not token:
        return source
    behind = source.behind(token)
    assert isinstance(behind, ItemSource)
    return behind
