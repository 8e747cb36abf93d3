"""What every `InputSource` holds.

An adapter subclasses `InputSourceTests` and provides two fixtures:

* `source`: the source.
* `place`: a function that puts objects (bytes by relative name) where the source finds them, replacing those of the same name, and
  returns what stands before each name in its key: `place({"a/b": b""})` returns `/some/folder/`, and the key is `/some/folder/a/b`.
  Nothing but what was placed is found below it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from smr_notebook.errors import InputMissingError
from smr_notebook.ports import InputSource

Place = Callable[[Mapping[str, bytes]], str]

NAMES = (
    "a.txt", "b.txt", "b.csv", ".hidden.txt", "z/a.txt", "z/b.csv", "z/.h", "z/y/a.txt", "z/y/x/a.txt", ".git/a.txt", ".git/b", "z.txt",
    "z-1", "é.txt", "10", "1", "with space/a #1.txt", "100%+/a?.txt",
)  # fmt: skip
ODD = (
    "a b", "a+b", "a%20b", "100%", "%", "a#1", "a?b=c&d", "new\nline", "cr\r", "tab\t", "\x7f", "é", "e\u0301", "\u200b", "😀", "quote'\"",
    "back\\slash", "x" * 200, "-r", "~", ".dot", " ", "*", "[a]", "{a,b}", "$HOME", "a:b", "a;b", "<a>&amp;", "|",
)  # fmt: skip
TREE = {name: name.encode() for name in NAMES}


class InputSourceTests:
    """The contract of `ports.InputSource`."""

    @pytest.mark.parametrize(
        ("pattern", "names"),
        [
            ("a.txt", "a.txt"),
            ("z/y", "z/y/a.txt z/y/x/a.txt"),
            ("z/y/", "z/y/a.txt z/y/x/a.txt"),
            ("z", "z/.h z/a.txt z/b.csv z/y/a.txt z/y/x/a.txt"),
            (".git", ".git/a.txt .git/b"),
            ("*.txt", "a.txt b.txt z.txt é.txt"),
            ("?.txt", "a.txt b.txt z.txt é.txt"),
            ("[ab].*", "a.txt b.csv b.txt"),
            ("[!ab].txt", "z.txt é.txt"),
            ("z*", "z-1 z.txt"),
            ("1*", "1 10"),
            (".*", ".hidden.txt"),
            (".*/*", ".git/a.txt .git/b"),
            ("*/*.csv", "z/b.csv"),
            ("z/*", "z/a.txt z/b.csv"),
            ("z/**", "z/a.txt z/b.csv z/y/a.txt z/y/x/a.txt"),
            ("z/**/a.txt", "z/a.txt z/y/a.txt z/y/x/a.txt"),
            ("**/a.txt", "a.txt z/a.txt z/y/a.txt z/y/x/a.txt"),
            ("**/**/*.csv", "b.csv z/b.csv"),
            ("z/**/x/*", "z/y/x/a.txt"),
            ("**/.h", "z/.h"),
            ("none", ""),
            ("no*ne/*", ""),
            ("a.txt/*", ""),
            ("z/none/**", ""),
        ],
    )
    def test_a_pattern_finds_what_it_names(self, source: InputSource, place: Place, pattern: str, names: str) -> None:
        """One object, all below a folder, or a glob, in order of keys."""
        root = place(TREE)
        assert [info.key for info in source.find(root + pattern)] == [root + name for name in names.split()]

    def test_a_folder_stands_for_all_below_it_in_order(self, source: InputSource, place: Place) -> None:
        """Hidden ones as well: nothing is left out silently."""
        root = place(TREE)
        found = [info.key for info in source.find(root)]
        assert found == [root + name for name in sorted(TREE, key=str.encode)]

    @pytest.mark.parametrize("name", ["a[1].txt", "b*.txt", "what?", "d[1]/x.txt", "**"])
    def test_an_object_is_found_under_its_very_name(self, source: InputSource, place: Place, name: str) -> None:
        """Whatever characters are in it."""
        root = place({name: b"odd", "a1.txt": b"", "b1.txt": b"", "d1/x.txt": b"", "whatx": b""})
        assert [info.key for info in source.find(root + name)] == [root + name]
        assert source.get(root + name) == b"odd"

    @pytest.mark.parametrize("pattern", ["", "**"])
    def test_odd_names_come_back_as_they_are(self, source: InputSource, place: Place, pattern: str) -> None:
        """Blanks, signs of URLs and of shells, line ends, names that only look alike, long ones: none is another, none is left out."""
        root = place({f"odd/{name}": name.encode() for name in ODD})
        found = {info.key.removeprefix(f"{root}odd/"): source.get(info.key) for info in source.find(f"{root}odd/{pattern}")}
        assert found == {name: name.encode() for name in ODD if not pattern or not name.startswith(".")}
        for name in ODD:
            assert [info.key for info in source.find(f"{root}odd/{name}")] == [f"{root}odd/{name}"]

    def test_what_is_found_can_be_read(self, source: InputSource, place: Place) -> None:
        """Size, version and content."""
        root = place(TREE)
        for info in source.find(root):
            assert source.stat(info.key) == info
            assert source.get(info.key) == TREE[info.key.removeprefix(root)]
            assert info.size == len(TREE[info.key.removeprefix(root)])

    @pytest.mark.parametrize("start", [0, 1, 9, 10, 11, 1000])
    @pytest.mark.parametrize("stop", [None, 0, 1, 5, 10, 11, 1 << 40])
    @pytest.mark.parametrize("body", [b"0123456789", b""])
    def test_a_range_is_clamped_at_both_ends(self, source: InputSource, place: Place, body: bytes, start: int, stop: int | None) -> None:
        """Beyond the end, and before the beginning, there is nothing."""
        assert source.get(place({"digits": body}) + "digits", start, stop) == body[start:stop]

    def test_a_version_changes_with_the_content(self, source: InputSource, place: Place) -> None:
        """Also when the size stays."""
        key = place({"a": b"12"}) + "a"
        first, again = source.stat(key), source.stat(key)
        place({"a": b"345"})
        longer = source.stat(key)
        place({"a": b"678"})
        assert first == again
        assert len({first.version, longer.version, source.stat(key).version}) == 3

    @pytest.mark.parametrize("name", ["none", "none/none", "a.txt/none"])
    def test_what_is_gone_is_missing(self, source: InputSource, place: Place, name: str) -> None:
        """The message names it."""
        key = place(TREE) + name
        with pytest.raises(InputMissingError, match=name):
            source.get(key, 0, 10)
        with pytest.raises(InputMissingError, match=name):
            source.stat(key)

    def test_an_empty_pattern_names_nothing(self, source: InputSource, place: Place) -> None:
        """And not everything."""
        place(TREE)
        assert list(source.find("")) == []
