"""What users write for sizes, times, money and sorting means one thing, or is refused."""

from __future__ import annotations

import pytest

from smr_notebook.errors import ConfigError
from smr_notebook.model import Sorting
from smr_notebook.values.spellings import parse_size, read_sorting, read_time


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90.0), (1.5, 1.5), ("30s", 30.0), ("15m", 900.0), (" 2h ", 7_200.0), ("7d", 604_800.0)]
)
def test_times_have_units(text: object, seconds: float) -> None:
    assert read_time(text) == seconds


@pytest.mark.parametrize("wrong", ["", "h", "-1", "1 week", None, True, [1], float("inf")])
def test_what_is_no_time_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigError, match="is not a time"):
        read_time(wrong)


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("10", 10), ("128MB", 128_000_000), ("64 MiB", 64 * 2**20), ("1.5g", 1_500_000_000), (7, 7), ("2k", 2000)]
)
def test_sizes_have_units(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("wrong", ["", "MB", "-1", "1 potato", None, True, -5, [1], float("inf")])
def test_what_is_no_size_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigError, match="is not a size"):
        parse_size(wrong)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (None, Sorting()),
        (False, Sorting()),
        (True, Sorting(keys=True)),
        ("keys", Sorting(keys=True)),
        ("values", Sorting(values=True)),
        ("keys, values", Sorting(keys=True, values=True)),
        (["values", "keys"], Sorting(keys=True, values=True)),
    ],
    ids=repr,
)
def test_what_is_sorted_is_said_by_words_or_by_yes(said: object, meant: Sorting) -> None:
    assert read_sorting(said) == meant
