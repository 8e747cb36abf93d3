"""Compressed objects: every member is read, and what is damaged is never taken for the end."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smr_notebook.backends.memory.source import MemorySource
from smr_notebook.dataflow.formats.compression import decompress, refuse_archive, sniff, zstd
from smr_notebook.dataflow.formats.text import read_text
from smr_notebook.dataflow.known_formats import cuttable
from smr_notebook.errors import InputFormatError
from smr_notebook.model import Format, Span

Compress = Callable[[bytes], bytes]


def zstd_with_checksum(data: bytes) -> bytes:
    return zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1})  # type: ignore[no-any-return,unused-ignore]


COMPRESSORS: dict[str, Compress] = {"gzip": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zstd": zstd_with_checksum}
each_codec = pytest.mark.parametrize("name", list(COMPRESSORS))


def expand(stored: bytes, *, piece: int = 1 << 20, block_bytes: int = 1 << 20) -> bytes:
    codec = sniff(stored[:512])
    assert codec is not None
    pieces = [stored[start : start + piece] for start in range(0, len(stored), piece)]
    blocks = list(decompress(codec, pieces, name="key", block_bytes=block_bytes))
    assert all(0 < len(block) <= block_bytes for block in blocks)
    return b"".join(blocks)


@settings(max_examples=2 * settings().max_examples)
@given(
    contents=st.lists(st.binary(max_size=60), min_size=1, max_size=4),
    name=st.sampled_from(list(COMPRESSORS)),
    zeros=st.integers(0, 9),
    piece=st.integers(1, 300),
    block_bytes=st.integers(1, 100),
)
def test_all_members_are_read(contents: list[bytes], name: str, zeros: int, piece: int, block_bytes: int) -> None:
    stored = b"".join(COMPRESSORS[name](content) + b"\0" * zeros for content in contents)

    found = sniff(stored)

    assert found is not None
    assert found.name == name
    assert expand(stored, piece=piece, block_bytes=block_bytes) == b"".join(contents)


@each_codec
def test_much_content_in_few_bytes_comes_in_bounded_pieces(name: str) -> None:
    content = bytes(20 << 20)

    assert expand(COMPRESSORS[name](content)) == content


TOLD = {"gzip": 2, "bz2": 7, "xz": 6, "zstd": 4}
"""Bytes that tell how an object is compressed; a shorter one is taken for what it says."""


@each_codec
@pytest.mark.parametrize("members", [1, 3])
def test_a_cut_object_is_an_error_at_every_length(name: str, members: int) -> None:
    """Unless it is cut between two members: nothing tells that another one was to follow."""
    member = COMPRESSORS[name](b"some lines\n" * 20)
    stored = member * members

    for length in range(TOLD[name], len(stored)):
        if length % len(member) == 0:
            assert expand(stored[:length]) == b"some lines\n" * 20 * (length // len(member))
            continue
        with pytest.raises(InputFormatError, match=rf"key is {name} data that is cut or damaged"):
            expand(stored[:length])


@each_codec
def test_a_changed_byte_never_changes_the_content_silently(name: str) -> None:
    content = [b"some lines\n" * 20, b"and more\n"]
    stored = b"".join(COMPRESSORS[name](part) for part in content)

    for position in range(10, len(stored)):
        damaged = bytearray(stored)
        damaged[position] ^= 0xFF
        try:
            found = expand(bytes(damaged))
        except InputFormatError:
            continue
        assert found == b"".join(content)


@each_codec
@pytest.mark.parametrize("tail", [b"x", b"garbage after the end", b"\0\0garbage"])
def test_what_follows_the_last_member_is_an_error(name: str, tail: bytes) -> None:
    with pytest.raises(InputFormatError, match="cut or damaged"):
        expand(COMPRESSORS[name](b"content") + tail)


def test_skippable_zstd_frames_are_skipped() -> None:
    skippable = b"\x5a\x2a\x4d\x18\x03\0\0\0abc"
    stored = skippable + zstd.compress(b"one") + skippable + zstd.compress(b"two")

    assert expand(stored) == b"onetwo"
    assert expand(skippable) == b""
    for length in range(len(stored) - len(zstd.compress(b"two")) + 1, len(stored)):
        with pytest.raises(InputFormatError, match="cut or damaged"):
            expand(stored[:length])
    with pytest.raises(InputFormatError, match="cut or damaged"):
        expand(skippable[:-1])


def test_what_tools_of_many_members_write_is_read() -> None:
    """As pigz, lbzip2, pixz and pzstd do: a member for each piece, some of them empty; padding as xz allows."""
    pieces = [b"one\n", b"", b"two\n" * 1000, b""]
    for name, compress in COMPRESSORS.items():
        assert expand(b"".join(map(compress, pieces)), piece=7) == b"".join(pieces), name
    assert expand(lzma.compress(b"a") + bytes(8) + lzma.compress(b"b", check=lzma.CHECK_SHA256) + bytes(4)) == b"ab"
    block_by_block = bz2.compress(bytes(range(256)) * 8000, 1)  # of many blocks of 100 kB
    assert expand(block_by_block, piece=1000) == bytes(range(256)) * 8000


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", "line\n")
    return file.getvalue()


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.txt"), io.BytesIO(b""))
    return file.getvalue()


SEVEN_ZIP = b"7z\xbc\xaf\x27\x1c\0\4" + bytes(24)
RAR = b"Rar!\x1a\x07\x01\0" + bytes(24)


@pytest.mark.parametrize(("kind", "data"), [("zip", zipped()), ("tar", tarred()), ("7z", SEVEN_ZIP), ("rar", RAR)])
def test_an_archive_is_refused_and_never_cut(kind: str, data: bytes) -> None:
    assert not cuttable(data[:512], Format.TEXT)
    with pytest.raises(InputFormatError, match=rf"key is a {kind} archive.*Unpack it"):
        refuse_archive(data[:512], "key")


@pytest.mark.parametrize("compress", COMPRESSORS.values())
def test_an_archive_in_a_compressed_object_is_refused_however_it_comes_out(compress: Compress) -> None:
    stored = b"".join(compress(bytes([byte])) for byte in tarred()[:512])
    source = MemorySource({"key": stored})
    info = source.stat("key")

    with pytest.raises(InputFormatError, match="key is a tar archive"):
        list(read_text(Span("m", "key", 0, info.size, info.size, info.version), source, block_bytes=3))


@pytest.mark.parametrize(
    ("kind", "head"),
    [("lz4", b"\x04\x22\x4d\x18"), ("snappy", b"\xff\x06\0\0sNaPpY"), (r"compress \(\.Z\)", b"\x1f\x9d\x90"), ("lzip", b"LZIP\x01")],
)
def test_what_is_not_decompressed_here_is_named(kind: str, head: bytes) -> None:
    with pytest.raises(InputFormatError, match=rf"key is {kind} data, which is not decompressed here.*zstd or gzip.*smr\.formats\.parse"):
        refuse_archive(head + bytes(100), "key")


def test_only_plain_lines_are_cut() -> None:
    plain = b"BZh9 is how bz2 begins, and PK too\n"

    assert cuttable(plain, Format.TEXT)
    assert cuttable(plain, Format.JSONL)
    assert cuttable(b"", Format.TEXT)
    assert not any(cuttable(plain, format) for format in (Format.BINARY, Format.ITEMS, Format.FRAME))
    assert not any(cuttable(compress(plain), Format.TEXT) for compress in COMPRESSORS.values())
