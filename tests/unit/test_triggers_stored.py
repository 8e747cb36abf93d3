"""What a trigger leaves behind outlives the version that made it: its row, what fired, and the request of its template."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import msgspec
import pytest

from smr_notebook.control.firing import Fired
from smr_notebook.control.plans import StoredInlet, StoredRequest
from smr_notebook.control.reading import StoredInput
from smr_notebook.control.rows import RowCodec
from smr_notebook.control.triggers import Trigger, TriggerKind
from smr_notebook.model import Dialect, Format, Policy, Reading
from smr_notebook.values.globs import lies_under
from smr_notebook.values.tolerance import OnError, Tolerance

GOLDEN = Path(__file__).parents[1] / "golden" / "triggers"
ROWS: dict[str, object] = {
    "schedule": Trigger("daily", "0123abcd", TriggerKind.SCHEDULE, "cron(0 3 * * ? *)", 12.5, "Europe/Berlin", "ann", skips=True),
    "upload": Trigger("in", "0123abcd", TriggerKind.UPLOAD, "s3://logs/in/*.gz", 12.5),
    "fired": Fired("3f9a12cd", 12.5),
}
REQUESTS = {
    "request": StoredRequest(("s3://logs/a.txt",), "auto", 0, 0, "daily", 12.5, 0, Policy(), 0.0, versions=("5d41402a",)),
    "request-whole": StoredRequest(
        patterns=("s3://logs/a.txt",),
        format="csv",
        reducers=3,
        split_size=64,
        name="daily",
        created=12.5,
        budget=1 << 20,
        policy=Policy(retries=5),
        max_cost=1.5,
        stored=StoredInput(Format.ITEMS, 7, 64),
        warnings=("w",),
        reading=Reading(tolerant=True, columns=("a",), dialect=Dialect(delimiter=";")),
        tolerance=Tolerance(OnError.COLLECT, count=5),
        exchange="redis",
        carrier="there",
        merge_above=9,
        rows_of="3f9a12cd",
        inlets=(StoredInlet(("s3://logs/b.csv",), "csv", Reading(errors="replace"), StoredInput(Format.FRAME, 7, 64), "3f9a12ce"),),
        versions=("5d41402a",),
    ),
}
"""The usual one, and one of whose fields none has its default, so that none can be called something else."""


@pytest.mark.parametrize("name", ROWS)
def test_rows_are_what_they_were_in_version_2(name: str) -> None:
    """A row that changes needs a new version, or a default for the new field; then there is a new file, the last of its name."""
    noun = ROWS[name]
    codec: RowCodec[object] = RowCodec(type(noun))
    stored = [file.read_bytes() for file in sorted(GOLDEN.glob(f"{name}-v2*.json"), key=lambda file: file.stem)]
    assert [codec.decode(name, each) for each in stored] == [noun] * len(stored)
    assert codec.encode(noun) == stored[-1]


@pytest.mark.parametrize("name", REQUESTS)
def test_the_request_of_a_template_is_read_as_it_was_written(name: str) -> None:
    """A field that a request gains has a default: templates wait for years. Then there is a new file, the last of its name."""
    stored = [file.read_bytes() for file in sorted(GOLDEN.glob(f"{name}-v1*.json"), key=lambda file: file.stem)]
    assert [msgspec.json.decode(each, type=StoredRequest) for each in stored] == [REQUESTS[name]] * len(stored)
    assert msgspec.json.encode(REQUESTS[name]) == stored[-1]


def test_the_whole_request_has_a_default_nowhere() -> None:
    usual, whole = REQUESTS.values()
    assert not [field.name for field in fields(StoredRequest) if field.default == getattr(whole, field.name)]
    assert not [name for name in ("reducers", "split_size", "budget", "max_cost") if getattr(usual, name) == getattr(whole, name)]


@pytest.mark.parametrize(
    ("location", "key", "means"),
    [
        ("b/in", "b/in/a", True),
        ("b/in/", "b/in/a/b", True),
        ("b/in/", "b/in", False),
        ("b/in", "b/inner/a", False),
        ("b/", "b/a", True),
        ("b/*.gz", "b/a.gz", True),
        ("b/*.gz", "b/a/b.gz", False),
        ("b/**/*.gz", "b/a.gz", True),
        ("b/*", "b/.hidden", False),
    ],
)
def test_a_location_means_a_folder_or_what_a_glob_matches(location: str, key: str, *, means: bool) -> None:
    assert lies_under(key, location) is means
