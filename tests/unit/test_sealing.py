from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smr_notebook.dataflow.sealing import seal, unseal
from smr_notebook.errors import CorruptObjectError, FormatVersionError

GOLDEN = b"SMR\n\x00\x01\x04\x00\x00\x00\x00\x00\x00\x00\x02\xf9\x0a\x03\x34plan{}"


def test_the_bytes_of_a_sealed_object_are_those_of_format_version_1() -> None:
    assert seal("plan", b"{}") == GOLDEN
    assert unseal("plan", GOLDEN, name="jobs/a/plan") == b"{}"


@given(kind=st.text("abcdefgh-", max_size=20), body=st.binary(max_size=200), version=st.integers(0, 65535))
def test_unseal_gives_back_what_was_sealed(kind: str, body: bytes, version: int) -> None:
    assert unseal(kind, seal(kind, body, version), name="x", versions=frozenset({version})) == body


def test_every_changed_byte_is_found() -> None:
    sealed = seal("plan", b'{"job": "3f9a"}')
    for position in range(len(sealed)):
        for flip in (0x01, 0x80, 0xFF):
            damaged = bytearray(sealed)
            damaged[position] ^= flip
            with pytest.raises(CorruptObjectError, match="jobs/a/plan") as caught:
                unseal("plan", bytes(damaged), name="jobs/a/plan")
            assert caught.type is CorruptObjectError


def test_every_cut_and_every_addition_is_found() -> None:
    sealed = seal("plan", b'{"job": "3f9a"}')
    for wrong in [*(sealed[:length] for length in range(len(sealed))), sealed + b"\0", sealed + sealed]:
        with pytest.raises(CorruptObjectError):
            unseal("plan", wrong, name="x")


def test_an_object_of_another_kind_is_refused() -> None:
    with pytest.raises(CorruptObjectError, match="it holds 'plan'"):
        unseal("code", seal("plan", b"{}"), name="x")


def test_an_intact_object_of_another_version_is_told_apart_from_damage() -> None:
    with pytest.raises(FormatVersionError, match=r"x is a 'plan' object of format version 3; this version of smr_notebook reads 1, 2"):
        unseal("plan", seal("plan", b"{}", 3), name="x", versions=frozenset({2, 1}))
