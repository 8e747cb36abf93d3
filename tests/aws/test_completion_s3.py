"""Objects in S3 behind Tab: one folder, in two requests, and none again for a while."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.source import S3Source
from smr_notebook.backends.memory.platform import open_memory
from smr_notebook.notebook.completing import Places, complete
from smr_notebook.notebook.lookups import Lookups
from smr_notebook.notebook.matcher import Asking
from smr_notebook.sessions.session import Session


def test_objects_of_a_folder_are_offered(aws: str, clients: Clients, bucket: str, hooks: Any) -> None:
    for key in ("logs/2026/a.gz", "logs/2026/b.gz", "logs/2025/a.gz", "logs/all.csv", "other"):
        clients["s3"].put_object(Bucket=bucket, Key=key, Body=b"x")
    asked = hooks.note(clients["s3"], "ListObjectsV2")
    session = Session(backend=replace(open_memory(), sources={"s3": S3Source(clients)}))
    asking = Asking(lambda: session, lambda: True, Lookups(now=lambda: 0.0, patience=60.0))
    places = Places({}, asking.jobs, asking.keys)

    def words(typed: str) -> Sequence[str]:
        return [word.removeprefix(f"s3://{bucket}/") for word in complete(f"%%smr s3://{bucket}/{typed}", places).words]

    assert words("") == ["logs/", "other"]
    assert words("logs/") == ["logs/2025/", "logs/2026/", "logs/all.csv"]
    before = len(asked)
    assert words("logs/2026") == ["logs/2026/"]
    assert words("logs/a") == ["logs/all.csv"]
    assert len(asked) == before
    assert words("logs/2026/b") == ["logs/2026/b.gz"]
    assert len(asked) == before + 2
    assert complete("%%smr s3://no-such-bucket-here/x", places).words == ()
