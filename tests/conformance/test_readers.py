"""Readers hold the contract of `records.Reader`."""

from __future__ import annotations

import json

import pytest

from smr_notebook.dataflow.formats.fixed import read_fixed
from smr_notebook.dataflow.formats.jsonl import read_jsonl
from smr_notebook.dataflow.formats.text import read_text
from smr_notebook.model import Format, Reading
from smr_notebook.testing.readers import Case, ReaderTests

LINES = [b'{"a": 1}\n"b"\r\n\n[3, 4]', b"", b"5\n" * 20]


def begun(body: bytes) -> list[tuple[bytes, int]]:
    """Return the lines of an object, each with the byte at which it begins."""
    at, found = 0, []
    for line in body.splitlines(keepends=True):
        found.append((line, at))
        at += len(line)
    return found


class TestTextReader(ReaderTests):
    @pytest.fixture
    def case(self) -> Case:
        return Case(Format.TEXT, Reading(), LINES, lambda body: [(line.decode().rstrip("\r\n"), at) for line, at in begun(body)], read_text)


class TestJsonLinesReader(ReaderTests):
    @pytest.fixture
    def case(self) -> Case:
        return Case(
            Format.JSONL, Reading(), LINES, lambda body: [(json.loads(line), at) for line, at in begun(body) if line.strip()], read_jsonl
        )


class TestFixedReader(ReaderTests):
    @pytest.fixture
    def case(self) -> Case:
        def wanted(body: bytes) -> list[tuple[object, int]]:
            return [(body[at : at + 3], at) for at in range(2, len(body), 3)]

        return Case(Format.FIXED, Reading(record_bytes=3, header_bytes=2), [b"##abcdefghi", b"##"], wanted, read_fixed)
