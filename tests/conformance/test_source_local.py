"""The files of this machine hold the contract of `InputSource`, and what only files can get wrong."""

from __future__ import annotations

import glob
import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smr_notebook.backends.local.source import FileSource
from smr_notebook.errors import InputReadError
from smr_notebook.testing.source import InputSourceTests, Place


class TestFileSource(InputSourceTests):
    @pytest.fixture
    def source(self) -> FileSource:
        return FileSource()

    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        def place(objects: Mapping[str, bytes]) -> str:
            for name, body in objects.items():
                path = tmp_path / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(body)
            return f"{tmp_path}/"

        return place


def found(pattern: object) -> list[str]:
    return [info.key for info in FileSource().find(str(pattern))]


@pytest.fixture
def ordinary() -> Iterator[Path]:
    """A folder of an ordinary user, who this process is meanwhile: the superuser may read everything."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        user = os.geteuid()
        if user == 0:
            os.chown(name, 65534, 65534)
            os.seteuid(65534)
        try:
            yield Path(name)
        finally:
            os.seteuid(user)


def test_the_home_folder_and_the_current_folder_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "a.txt").write_bytes(b"")
    (tmp_path / "b.txt").write_bytes(b"")
    monkeypatch.chdir(tmp_path / "home")
    assert found("~/a.txt") == found("~/*") == found("~") == found("a.txt") == found("./*.txt") == found(".") == [f"{tmp_path}/home/a.txt"]
    assert found("../b.txt") == found("../*.txt") == [f"{tmp_path}/b.txt"]


def test_the_parent_of_a_link_is_that_of_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "far/away").mkdir(parents=True)
    (tmp_path / "far/x").write_bytes(b"far")
    (tmp_path / "x").write_bytes(b"near")
    (tmp_path / "link").symlink_to(tmp_path / "far/away")
    assert found(f"{tmp_path}/link/../x") == found(f"{tmp_path}/link/../*") == [f"{tmp_path}/far/x"]


def test_names_that_are_no_text_survive(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path)
    for name in (b"\xff.bin", b"\xf0\x9d\x84\x9e", b"\xc3\xa9.bin", b"\xfe", b"z"):
        Path(os.fsdecode(folder + b"/" + name)).write_bytes(name)
    keys = found(tmp_path)
    assert [os.fsencode(key) for key in keys] == [
        folder + b"/" + name for name in (b"z", b"\xc3\xa9.bin", b"\xf0\x9d\x84\x9e", b"\xfe", b"\xff.bin")
    ]
    assert [FileSource().get(key) for key in keys] == [b"z", b"\xc3\xa9.bin", b"\xf0\x9d\x84\x9e", b"\xfe", b"\xff.bin"]
    assert found(os.fsdecode(folder + b"/\xff*")) == found(os.fsdecode(folder + b"/\xff.bin")) == [os.fsdecode(folder + b"/\xff.bin")]


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    (tmp_path / "data/sub").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "data/sub/a").write_bytes(b"")
    (tmp_path / "other/b").write_bytes(b"")
    (tmp_path / "data/link").symlink_to(tmp_path / "other/b")
    (tmp_path / "data/others").symlink_to(tmp_path / "other")
    (tmp_path / "data/sub/up").symlink_to(tmp_path / "data")
    (tmp_path / "data/sub/here").symlink_to(tmp_path / "data/sub")
    expected = [f"{tmp_path}/data/{name}" for name in ("link", "others/b", "sub/a")]
    assert found(tmp_path / "data") == found(tmp_path / "data/**") == expected
    assert found(tmp_path / "data/**/a") == [f"{tmp_path}/data/sub/a"]


def test_a_link_that_leads_nowhere_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(b"")
    (tmp_path / "link").symlink_to("nowhere")
    for pattern in ("link", "", "*", "**"):
        with pytest.raises(InputReadError, match=r"link.*'nowhere'"):
            found(f"{tmp_path}/{pattern}")
    with pytest.raises(InputReadError, match=r"link.*'nowhere'"):
        FileSource().get(f"{tmp_path}/link")
    assert found(tmp_path / "g*") == [f"{tmp_path}/good"]


def test_a_link_to_itself_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for pattern in ("loop", "", "*", "**", "loop/x"):
        with pytest.raises(InputReadError, match="loop"):
            found(f"{tmp_path}/{pattern}")


def test_what_is_neither_file_nor_folder_is_an_error_that_names_it(tmp_path: Path, workspace: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for pattern in ("pipe", "", "*", "**/p*"):
        with pytest.raises(InputReadError, match="pipe"):
            found(f"{tmp_path}/{pattern}")
    with pytest.raises(InputReadError, match="pipe"):
        FileSource().get(f"{tmp_path}/pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{workspace}/socket")
        with pytest.raises(InputReadError, match="socket"):
            found(workspace)
    with pytest.raises(InputReadError, match="null"):
        found("/dev/null")


def test_a_folder_is_not_read_as_a_file(tmp_path: Path) -> None:
    for call in (FileSource().get, FileSource().stat):
        with pytest.raises(InputReadError, match=tmp_path.name):
            call(str(tmp_path))


def test_an_unreadable_file_is_an_error_that_names_it(ordinary: Path) -> None:
    (ordinary / "good").write_bytes(b"")
    (ordinary / "secret").write_bytes(b"x")
    (ordinary / "secret").chmod(0)
    for pattern in ("secret", "", "*", "**"):
        with pytest.raises(InputReadError, match=r"secret'.*Permission denied"):
            found(f"{ordinary}/{pattern}")
    with pytest.raises(InputReadError, match=r"secret'.*Permission denied"):
        FileSource().get(f"{ordinary}/secret")
    assert found(ordinary / "g*") == [f"{ordinary}/good"]


@pytest.mark.parametrize("mode", [0o000, 0o444, 0o111])
def test_an_unreadable_folder_is_an_error_that_names_it(ordinary: Path, mode: int) -> None:
    (ordinary / "top/closed").mkdir(parents=True)
    (ordinary / "top/closed/x").write_bytes(b"")
    (ordinary / "top/closed").chmod(mode)
    try:
        for pattern in ("top", "top/closed", "top/**", "top/*/*", "**/x*"):
            with pytest.raises(InputReadError, match=r"top/closed.*Permission denied"):
                found(f"{ordinary}/{pattern}")
        if not mode & 0o111:
            with pytest.raises(InputReadError, match=r"top/closed/x.*Permission denied"):
                found(f"{ordinary}/top/*/x")
    finally:
        (ordinary / "top/closed").chmod(0o755)


@pytest.mark.parametrize("pattern", ["a\0b", "\ud800", "x" * 300, "*\0", "[" + "x" * 300])
def test_what_no_file_can_be_called_is_found_nowhere(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "a").write_bytes(b"")
    assert found(f"{tmp_path}/{pattern}") == []


NAMES = st.sampled_from(["a", "b", ".a", "ab", "b.a", "é"])
PARTS = st.sampled_from(["a", "*", "**", "?", "[ab]", ".*", "*.a", "a*", ".a", "b", "[!a]*"])


@settings(max_examples=60, deadline=None)
@given(files=st.sets(st.lists(NAMES, min_size=1, max_size=4).map(tuple), max_size=12), parts=st.lists(PARTS, min_size=1, max_size=4))
def test_a_glob_means_what_it_means_to_the_standard_library(files: set[tuple[str, ...]], parts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(os.path.realpath(name))
        for file in files:
            # An ending of its own keeps a file from being the folder of another.
            path = root.joinpath(*(f"{part}d" for part in file[:-1]), file[-1])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
        pattern = f"{root}/{'/'.join([*(f'{part}d' if part != '**' else part for part in parts[:-1]), parts[-1]])}"
        expected = {path for path in glob.glob(pattern, recursive=True) if Path(path).is_file()}  # noqa: PTH207 - what it is compared with
        assert found(pattern) == sorted(expected, key=os.fsencode)


def test_a_file_rewritten_with_its_old_time_has_another_version(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("one")
    before, status = FileSource().stat(str(file)), file.stat()
    file.write_text("two")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = FileSource().stat(str(file))
    assert (before.size, before.key) == (after.size, after.key)
    assert before.version != after.version
