"""What a trigger leaves behind outlives the version that made it: its row, what fired, and the request of its template."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from smr_notebook.control.firing import Fired
from smr_notebook.control.plans import StoredRequest
from smr_notebook.control.rows import Codec
from smr_notebook.control.triggers import Trigger, TriggerKind
from smr_notebook.model import Policy
from smr_notebook.values.globs import lies_under

GOLDEN = Path(__file__).parents[1] / "golden" / "triggers"
ROWS: dict[str, object] = {
    "schedule": Trigger("daily", "0123abcd", TriggerKind.SCHEDULE, "cron(0 3 * * ? *)", 12.5, "Europe/Berlin", "ann", skips=True),
    "upload": Trigger("in", "0123abcd", TriggerKind.UPLOAD, "s3://logs/in/*.gz", 12.5),
    "fired": Fired("3f9a12cd", 12.5),
}
REQUEST = StoredRequest(("s3://logs/a.txt",), "auto", 0, 0, "daily", 12.5, 0, Policy(), 0.0, versions=("5d41402a",))


@pytest.mark.parametrize("name", ROWS)
def test_rows_are_what_they_were_in_version_2(name: str) -> None:
    """A row that changes needs a new version, or a default for the new field; then there is a new file, the last of its name."""
    noun = ROWS[name]
    codec: Codec[object] = Codec(type(noun))
    stored = [file.read_bytes() for file in sorted(GOLDEN.glob(f"{name}-v2*.json"), key=lambda file: file.stem)]
    assert [codec.decode(name, each) for each in stored] == [noun] * len(stored)
    assert codec.encode(noun) == stored[-1]


def test_the_request_of_a_template_is_read_as_it_was_written() -> None:
    """A field that a request gains has a default: templates wait for years."""
    stored = [file.read_bytes() for file in sorted(GOLDEN.glob("request-v1*.json"), key=lambda file: file.stem)]
    assert [msgspec.json.decode(each, type=StoredRequest) for each in stored] == [REQUEST] * len(stored)
    assert stored


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
