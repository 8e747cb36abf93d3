"""What others hand to us in JSON, and names that others chose: answered, or refused in our words, and never the name of a file."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import smr_notebook as smr
from smr_notebook.backends.aws.events import notice, reason_of, respond
from smr_notebook.backends.local.source import FileSource
from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.platform import open_memory
from smr_notebook.backends.tenants import Invocation, InvocationFailedError, Tenants
from smr_notebook.config import Settings
from smr_notebook.control.messages import coordinate, decode, encode
from smr_notebook.dataflow.bad_records import BadRecord, read_bad
from smr_notebook.dataflow.sealing import seal
from smr_notebook.errors import SmrError
from smr_notebook.ports import Backend
from smr_notebook.testing.mutations import nearly
from smr_notebook.testing.nobody import NoFunctions
from smr_notebook.values.tolerance import BadFile

FUZZ = settings(max_examples=int(os.environ.get("SMR_TEST_FUZZ", "150")))
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=10)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)),
    max_leaves=10,
)
S3_WORDS = ("eventSource", "eventName", "s3", "configurationId", "bucket", "object", "key", "name", "size", "sequencer", "eTag")
OF_S3 = st.dictionaries(st.sampled_from(S3_WORDS), st.one_of(JSON, st.dictionaries(st.sampled_from(S3_WORDS), JSON)))
WORDS = ("Records", "role", "extras", "body", "requestContext", "requestPayload", "responsePayload", "condition", "requestId", "v", "job")
EVENTS = st.one_of(
    JSON,
    st.builds(lambda records: {"Records": [{**record, "eventSource": "aws:s3"} for record in records]}, st.lists(OF_S3)),
    st.dictionaries(st.sampled_from(WORDS), st.one_of(JSON, st.lists(st.dictionaries(st.sampled_from(WORDS), JSON)), st.just("stamp"))),
)


@dataclass
class Asked:
    """Stands for the tenants: reads the payload as the handler does."""

    aws_request_id: str = "id"
    memory_limit_in_mb: str = "512"
    payloads: list[bytes] = field(default_factory=list)

    def run(self, payload: bytes, _: Invocation) -> bytes:
        """Refuse what the handler refuses."""
        self.payloads.append(payload)
        try:
            decode(payload)
        except SmrError as error:
            raise InvocationFailedError(str(error)) from error
        return b"{}"

    def get_remaining_time_in_millis(self) -> int:
        """Say that there is a second."""
        return 1_000


@FUZZ
@given(EVENTS)
def test_events_of_lambda(event: Any) -> None:
    asked = Asked()
    try:
        respond(event, asked, cast("Tenants", asked), location="memory:")
    except InvocationFailedError:
        return


@FUZZ
@given(EVENTS, JSON)
def test_messages_of_the_queue_of_failures(record: Any, response: Any) -> None:
    assert isinstance(reason_of(response), str)
    try:
        assert isinstance(notice(record), bytes)
    except (LookupError, TypeError, ValueError):  # these are written to the log
        return


BAD = BadRecord("a.txt", 3, 1, b"a line", True, "ValueError: no", "map")  # noqa: FBT003 - facts in a row
PIECE = seal("bad", msgspec.msgpack.encode([BAD]), 1)
TOLD = len(PIECE).to_bytes(4, "big") + PIECE


@FUZZ
@given(nearly(TOLD))
def test_what_tells_what_was_left_out(data: bytes) -> None:
    objects = MemoryStore()
    objects.put("bad", data)
    try:
        list(read_bad(objects, BadFile("bad", 1, len(data), zlib.crc32(data))))
    except SmrError:
        return


# ---------------------------------------------------------------- names


ODD = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda name: name not in {".", ".."}
)
OURS = re.compile(r"jobs/[0-9a-f]+/(plan|code|splits/\d{6}|input/\d{12}(\.pack)?)")


class Deaf(NoFunctions):
    """Takes calls, and runs nothing."""

    def invoke(self, payload: bytes) -> None:
        """Drop it."""
        assert isinstance(payload, bytes)


def session_on(objects: MemoryStore) -> smr.Session:
    backend: Backend = open_memory()
    backend = replace(backend, objects=objects, functions=Deaf(), sources={"file": FileSource()})
    return smr.Session(settings=Settings(workspace=Path("nowhere")), backend=backend)


def keys_after(label: str, input: object) -> Iterator[str]:
    objects = MemoryStore()
    job = session_on(objects).map_reduce(
        lambda item: [(item, 1)], sum, input, name=label, format="text" if isinstance(input, list) else "auto"
    )
    assert job.name == label
    return (info.key for info in objects.list_prefix(""))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ODD, st.one_of(ODD, st.just("../../etc"), st.just("%2e%2e/%00\n"), st.just("a\0b")))
def test_no_name_of_an_input_or_a_job_is_that_of_an_object(tmp_path: Path, name: str, label: str) -> None:
    folder = tmp_path / f"{zlib.crc32(name.encode()):08x}"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("a line\n")
    stored = [*keys_after(label, str(folder)), *keys_after(label, smr.files(str(folder))), *keys_after(label, iter([name, label]))]
    assert stored
    assert [key for key in stored if not OURS.fullmatch(key)] == []
    assert encode(coordinate("3f9a"))
