"""What every `Triggers` holds.

An adapter subclasses `TriggersTests` and provides the fixture `bench`: a `TriggersBench`, with nothing that fires and no call noted. When
times come, a test would have to wait for: what is told of them to a service is the adapter's own test.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from smr_notebook.ports import Triggers
from smr_notebook.testing.waiting import wait_until


@dataclass(frozen=True, slots=True)
class TriggersBench:
    """The triggers under test, and what the tests need to see of their service.

    Attributes:
        triggers: The adapter.
        bucket: Where objects can appear.
        upload: Lets an object appear in the bucket: its key, its content.
        calls: Tells the payloads that the handler was called with, oldest first.
    """

    triggers: Triggers
    bucket: str
    upload: Callable[[str, bytes], object]
    calls: Callable[[], list[bytes]]

    def told(self, name: str, *, least: int) -> list[dict[str, Any]]:
        """Return the calls for a trigger, as soon as there are so many."""
        wait_until(lambda: len(self._told(name)) >= least)
        return self._told(name)

    def _told(self, name: str) -> list[dict[str, Any]]:
        return [found for found in map(json.loads, self.calls()) if found["fire"] == name]


class TriggersTests:
    """The contract of `ports.Triggers`, where the service itself does not fail."""

    def test_an_object_that_appears_is_told_with_what_it_is(self, bench: TriggersBench) -> None:
        """Also one whose name has signs that travel in other words."""
        key = "in/a b+c=ü%20&é.txt"
        bench.triggers.on_objects("one.1", f"{bench.bucket}/in/")
        bench.upload(key, b"one\n")
        (found,) = bench.told("one.1", least=1)
        assert (found["object"], found["bytes"]) == (f"{bench.bucket}/{key}", 4)
        assert found["version"]
        assert found["occurrence"]

    def test_each_upload_of_a_key_is_an_occurrence_of_its_own(self, bench: TriggersBench) -> None:
        """Also of the same content."""
        bench.triggers.on_objects("one.1", f"{bench.bucket}/in/")
        for content in (b"same", b"same", b"other"):
            bench.upload("in/a", content)
        found = bench.told("one.1", least=3)
        assert len({one["occurrence"] for one in found}) == 3
        assert len({one["version"] for one in found}) == 2

    def test_a_glob_is_told_of_all_that_it_means(self, bench: TriggersBench) -> None:
        """Of more, maybe."""
        bench.triggers.on_objects("one.1", f"{bench.bucket}/logs/**/*.gz")
        keys = ["logs/a.gz", "logs/2026/b.gz", "logs/2026/11/c.gz"]
        for key in [*keys, "logs/a.txt", "elsewhere/a.gz"]:
            bench.upload(key, b"x")
        found = bench.told("one.1", least=3)
        assert {one["object"] for one in found} >= {f"{bench.bucket}/{key}" for key in keys}

    def test_each_is_told_of_its_own(self, bench: TriggersBench) -> None:
        """And nobody of anything any more who was removed."""
        bench.triggers.on_objects("one.1", f"{bench.bucket}/a/")
        bench.triggers.on_objects("two.2", f"{bench.bucket}/b/")
        bench.triggers.remove("one.1", f"{bench.bucket}/a/")
        bench.upload("a/x", b"x")
        bench.upload("b/y", b"y")
        assert [one["object"] for one in bench.told("two.2", least=1)] == [f"{bench.bucket}/b/y"]
        assert bench.told("one.1", least=0) == []

    @pytest.mark.parametrize("kind", ["times", "objects"])
    def test_what_stands_is_known_and_all_may_be_said_twice(self, bench: TriggersBench, kind: str) -> None:
        """To do it again does no harm."""
        location = f"{bench.bucket}/in/" if kind == "objects" else ""

        def make(name: str) -> None:
            if location:
                bench.triggers.on_objects(name, location)
            else:
                bench.triggers.at_times(name, "rate(1 day)", "Europe/Berlin")

        assert not bench.triggers.stands("one.1", location)
        for _ in range(2):
            make("one.1")
            assert bench.triggers.stands("one.1", location)
            assert not bench.triggers.stands("one.2", location)
        for _ in range(2):
            bench.triggers.remove("one.1", location)
            assert not bench.triggers.stands("one.1", location)
