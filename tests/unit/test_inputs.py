"""From splits to records: all formats, packed and cut, through the face that the workers use."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.source import MemorySource
from smr_notebook.dataflow.formats.stored import store_items
from smr_notebook.dataflow.inputs import JobInput, RecordBlock, open_blocks
from smr_notebook.dataflow.known_formats import cuttable
from smr_notebook.dataflow.splits import PlannedObject, plan_splits
from smr_notebook.errors import InputFormatError, InputMissingError, InputReadError, StoreError
from smr_notebook.model import Format, ObjectInfo, Span, Split
from smr_notebook.testing.keys import KEYS


def read(inputs: dict[str, bytes], format: Format, *, split_bytes: int) -> list[RecordBlock]:
    source = MemorySource(inputs)
    objects = [PlannedObject("memory", source.stat(key), cuttable(data[:512], format)) for key, data in inputs.items()]
    blocks = []
    for split in plan_splits(objects, split_bytes=split_bytes):
        done = 0
        for block in open_blocks(split, format, {"memory": source}):
            assert block.at.done == done
            done += len(block.records)
            blocks.append(block)
    return blocks


def sourced(blocks: list[RecordBlock]) -> list[tuple[str, object]]:
    return [(block.source, record) for block in blocks for record in block.records]


line = st.sampled_from([b"{}", b'{"a": 1}', b"[1, 2]", b"3", b""])
body = st.builds(lambda lines, last: b"".join(line + b"\n" for line in lines) + last, st.lists(line, max_size=6), line)
stored_body = st.builds(lambda data, zipped: gzip.compress(data) if zipped else data, body, st.booleans())


@settings(max_examples=2 * settings().max_examples)
@given(
    bodies=st.lists(stored_body, max_size=6),
    format=st.sampled_from([Format.TEXT, Format.JSONL, Format.BINARY]),
    split_bytes=st.integers(1, 80),
)
def test_any_plan_over_many_objects_gives_the_same_records_and_all_bytes(bodies: list[bytes], format: Format, split_bytes: int) -> None:
    inputs = {f"object-{number}": data for number, data in enumerate(bodies)}

    blocks = read(inputs, format, split_bytes=split_bytes)

    assert sourced(blocks) == sourced(read(inputs, format, split_bytes=1 << 30))
    assert sum(block.size for block in blocks) == sum(map(len, bodies))
    if format is Format.BINARY:
        assert sourced(blocks) == list(inputs.items())


def test_items_are_read_through_the_job_source() -> None:
    objects = MemoryStore()
    infos, _ = store_items("abc", objects, "jobs/j/input", keys=KEYS, split_bytes=100, slots=1)
    splits = plan_splits([PlannedObject("job", info, cuttable=False, packable=False) for info in infos], split_bytes=1000)

    assert len(splits) == 3
    blocks = [block for split in splits for block in open_blocks(split, Format.ITEMS, {"job": JobInput(objects, KEYS)})]
    assert sourced(blocks) == [("items", "a"), ("items", "b"), ("items", "c")]
    assert [block.at.done for block in blocks] == [0, 0, 0]


def test_a_scheme_that_the_worker_does_not_read_is_named() -> None:
    split = Split(0, (Span("s3", "bucket/key", 0, 1, 1, "v"),))

    with pytest.raises(InputReadError, match="bucket/key is to be read from 's3', which this worker cannot: it reads file, job"):
        list(open_blocks(split, Format.TEXT, {"job": MemorySource({}), "file": MemorySource({})}))


def test_an_archive_in_gzip_is_refused() -> None:
    tar = b"a.txt".ljust(257, b"\0") + b"ustar" + bytes(250)

    with pytest.raises(InputFormatError, match="object is a tar archive"):
        read({"object": gzip.compress(tar)}, Format.TEXT, split_bytes=1 << 20)


def test_the_job_source_finds_gets_and_stats() -> None:
    objects = MemoryStore()
    objects.put("jobs/j/input/000000", b"abc")
    objects.put("jobs/j/inputs", b"other")
    source = JobInput(objects, KEYS)
    info = ObjectInfo("jobs/j/input/000000", 3, "")

    assert list(source.find("jobs/j/input")) == [info]
    assert list(source.find("jobs/j/input/")) == [info]
    assert source.stat(info.key) == info
    assert source.get(info.key, 1, 9) == b"bc"
    for call in (source.get, source.stat):
        with pytest.raises(InputMissingError, match="jobs/j/input/1, which the session stored"):
            call("jobs/j/input/1")


class Unreachable(MemoryStore):
    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        raise StoreError("The disk is away.")


def test_a_store_that_cannot_be_read_is_an_input_error() -> None:
    with pytest.raises(InputReadError, match="The disk is away"):
        JobInput(Unreachable(), KEYS).get("key")
