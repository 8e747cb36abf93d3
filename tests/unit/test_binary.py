from __future__ import annotations

import gzip

import pytest

from smr_notebook.backends.memory.source import MemorySource
from smr_notebook.dataflow.formats.binary import read_binary
from smr_notebook.errors import InputChangedError
from smr_notebook.model import Span


@pytest.mark.parametrize("data", [b"", b"\xff\x00\n", gzip.compress(b"stays as it is stored", mtime=0)])
def test_an_object_is_one_record_of_its_stored_bytes(data: bytes) -> None:
    source = MemorySource({"key": data})

    (block,) = read_binary(Span("m", "key", 0, len(data), len(data), source.stat("key").version), source)

    assert (block.source, block.records, block.size, block.locate(0)) == ("key", [data], len(data), 0)


def test_an_object_that_has_changed_is_no_record() -> None:
    with pytest.raises(InputChangedError):
        list(read_binary(Span("m", "key", 0, 3, 3, "other"), MemorySource({"key": b"abc"})))
