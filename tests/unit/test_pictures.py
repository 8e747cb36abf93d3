"""Pictures as values: SVG that is pinned, text, HTML that an untrusted notebook keeps, a table, and matplotlib where it is."""

from __future__ import annotations

import base64
import dataclasses
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET  # our own text

import matplotlib as mpl
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import pyplot as plt

from smr_notebook.errors import ConfigError
from smr_notebook.pictures import svg
from smr_notebook.pictures.picture import Picture
from smr_notebook.pictures.skew import HeavyKey, Share, Skew
from smr_notebook.pictures.split_sizes import SplitSize, SplitSizes
from smr_notebook.pictures.timed_attempts import Fate, TimedAttempt, with_stragglers
from smr_notebook.pictures.timeline import Timeline
from smr_notebook.pictures.timeline_drawing import MOST_LANES, MOST_ROWS

GOLDEN = Path(__file__).parents[1] / "golden" / "pictures"
"""A picture that changes on purpose is looked at on a white and on a black page, and then written here anew."""

SVG = "{http://www.w3.org/2000/svg}"


def few() -> Timeline:
    """A job with one of each: a failure, a lost launch, a straggler that was stopped, its backup, and a task at work."""
    attempts = [TimedAttempt("map", task, 1, Fate.DONE, 100.5, 101.0 + task, 102.5 + task) for task in range(4)]
    attempts += [
        TimedAttempt("map", 4, 1, Fate.FAILED, 100.5, 101.5, 102.0, error="ZeroDivisionError", worker="w4"),
        TimedAttempt("map", 4, 2, Fate.DONE, 102.0, 102.25, 103.75, worker="w5"),
        TimedAttempt("map", 5, 1, Fate.STOPPED, 100.5, 101.0, 112.0),
        TimedAttempt("map", 5, 2, Fate.DONE, 109.0, 109.5, 111.5, speculative=True),
        TimedAttempt("map", 6, 1, Fate.LOST, 100.5, None, 108.0, error="LaunchLost"),
        TimedAttempt("reduce", 0, 1, Fate.RUNNING, 112.0, 112.5),
        TimedAttempt("reduce", 1, 1, Fate.WAITING, 112.0),
    ]
    return Timeline("3f9a0c21", "reduce", 100.0, 115.0, with_stragglers(attempts, 115.0), taken_over=1)


def many(tasks: int = 60, lanes: int = 4) -> Timeline:
    """A job of more tasks than have rows, some of which failed, were slow, or are waiting."""
    attempts = []
    for task in range(tasks):
        began = 101.0 + 3.0 * (task // lanes)
        fate = Fate.FAILED if task % 17 == 5 else Fate.DONE
        attempts.append(TimedAttempt("map", task, 1, fate, 100.5, began, began + (21.0 if task == 20 else 2.5)))
    attempts.append(TimedAttempt("map", tasks, 1, Fate.WAITING, 130.0))
    return Timeline("3f9a0c21", "map", 100.0, 150.0, with_stragglers(attempts, 150.0))


def uneven() -> Skew:
    shares = tuple(Share(number, 100 + number % 7, 1_000 + 9 * number, 10, 10, 0.5) for number in range(11))
    heavy = Share(11, 950, 9_000, 12, 12, 4.25)
    keys = (HeavyKey("the", "'the'", 700), HeavyKey(("a", 1), "('a', 1)", 20))
    return Skew("3f9a0c21", "partition", (*shares, heavy), read=5, maps=5, keys=keys, keys_of=11, keys_pairs=900)


def splits() -> SplitSizes:
    sizes = [64_000_000] * 9 + [12_000_000, 30_500_000]
    return SplitSizes(tuple(SplitSize(number, size, 1, f"/data/{number}") for number, size in enumerate(sizes)))


EMPTY = (Timeline("3f9a0c21", "submitted", 100.0, 100.0, ()), Skew("3f9a0c21", "partition", ()), SplitSizes(()))
PICTURES: dict[str, Picture] = {"timeline": few(), "lanes": many(), "skew": uneven(), "splits": splits()}


@pytest.fixture
def figures() -> Iterator[None]:
    """Draw on no screen, and leave no figure open."""
    with mpl.rc_context({"backend": "agg"}):
        yield
    plt.close("all")


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_the_one_that_was_looked_at(name: str) -> None:
    assert PICTURES[name].svg() == (GOLDEN / f"{name}.svg").read_text(encoding="utf-8")
    assert f"{PICTURES[name]!r}\n" == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("picture", [*PICTURES.values(), *EMPTY], ids=lambda picture: f"{picture.what}-{len(picture.svg())}")
def test_a_notebook_gets_an_image_that_says_its_numbers(picture: Picture) -> None:
    shown = picture._repr_mimebundle_()
    assert set(shown) == {"text/html", "text/plain"}
    (data,) = re.findall(r'<img class="smr-v"[^>]* src="data:image/svg\+xml;base64,([^"]*)">', shown["text/html"])
    assert base64.b64decode(data).decode() == picture.svg()
    root = ET.fromstring(picture.svg())  # noqa: S314 - our own text
    assert root.findtext(f"{SVG}title") == picture.summary()
    assert f'alt="{picture.summary()}"' in shown["text/html"].replace("&#x27;", "'")
    assert not re.search(r"<(svg|style|script)", shown["text/html"])
    assert shown["text/plain"] == repr(picture)
    first, *rest = repr(picture).splitlines()
    assert first == picture.what
    assert all(line.startswith(" ▏") for line in rest), "the rules for nbval go by that"


@pytest.mark.parametrize("picture", PICTURES.values(), ids=PICTURES)
def test_all_of_a_picture_is_inside_it(picture: Picture) -> None:
    root = ET.fromstring(picture.svg())  # noqa: S314 - our own text
    height = float(root.attrib["height"])
    for box in root.iter(f"{SVG}rect"):
        x, y, wide, high = (float(box.attrib[name]) for name in ("x", "y", "width", "height"))
        assert 0 <= x <= x + wide <= svg.WIDTH
        assert 0 <= y <= y + high <= height
    for words in root.iter(f"{SVG}text"):
        assert 0 <= float(words.attrib["x"]) <= svg.WIDTH
        assert 0 < float(words.attrib["y"]) <= height


def brightness(colour: str) -> float:
    """Return the relative luminance of WCAG 2."""
    channels = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize(
    ("colour", "least"), [(svg.TEXT, 4), *((one, 3) for one in (svg.FAINT, svg.BLUE, svg.TEAL, svg.RED, svg.PURPLE, svg.ORANGE))]
)
def test_colours_read_on_light_and_on_dark_pages(colour: str, least: float) -> None:
    own, white, black = (brightness(one) + 0.05 for one in (colour, "#ffffff", "#111111"))
    assert white / own >= least
    assert own / black >= least


@pytest.mark.parametrize("picture", PICTURES.values(), ids=PICTURES)
def test_a_picture_is_a_frozen_value(picture: Picture) -> None:
    again = dataclasses.replace(picture)  # type: ignore[type-var]  # each is a dataclass
    assert again == picture
    assert hash(again) == hash(picture)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(picture, dataclasses.fields(picture)[0].name, "x")  # type: ignore[arg-type]


# ---------------------------------------------------------------- the timeline


def test_each_attempt_of_few_has_a_line_and_a_row() -> None:
    lines = few().lines()
    names = [re.split(r"  +| [░▒█×]", line)[0] for line in lines[1:]]
    assert names == [
        *("map 0", "map 1", "map 2", "map 3", "map 4", "map 4 #2", "map 5", "map 5 #2", "map 6", "reduce 0", "reduce 1"),
    ]
    assert re.search(r"▒×  +0\.5 s failed \(ZeroDivisionError\)$", lines[5])
    assert lines[7].endswith("11.0 s stopped, straggler")
    assert lines[8].endswith("2.0 s done, backup")
    assert lines[9].endswith("waited 7.5 s, lost (LaunchLost)")
    assert "×" in lines[9]
    assert lines[11].endswith("3.0 s waiting")
    words = re.findall(r">([^<]+)</text>", few().svg())
    assert set(names) <= set(words)
    assert {"straggler", "failed or lost", "backup", "waiting"} <= set(words)


def test_of_many_attempts_those_that_stand_out_have_a_line() -> None:
    lines = many().lines()
    assert len(lines) == 14
    assert sum("failed" in line for line in lines) == 4
    assert sum("straggler" in line for line in lines) == 1
    assert lines[-1] == "and 49 attempts more: to_frame() has all"


def test_a_timeline_is_a_table() -> None:
    frame = few().to_frame()
    assert len(frame) == 11
    assert frame["state"].tolist()[4:7] == ["failed", "done", "stopped"]
    failed = frame.to_dict("records")[4]
    told = [failed[name] for name in ("error", "worker", "ran_seconds", "waited_seconds")]
    assert told == ["ZeroDivisionError", "w4", 0.5, 1.0]
    assert frame["started"].isna().sum() == 2
    assert frame["ended"].isna().sum() == 2
    assert frame["launched"].tolist()[0] == pd.Timestamp(100.5, unit="s", tz="UTC")
    assert str(frame["ended"].dt.tz) == "UTC"
    assert [frame[name].tolist().count(True) for name in ("straggler", "speculative")] == [1, 1]
    assert list(EMPTY[0].to_frame().columns) == list(frame.columns)


def test_what_takes_long_is_told_only_where_enough_is_done() -> None:
    slow = [TimedAttempt("map", 9, 1, Fate.RUNNING, 0.0, 0.0)]
    quick = [TimedAttempt("map", task, 1, Fate.DONE, 0.0, 0.0, 2.0) for task in range(3)]
    assert [attempt.straggler for attempt in with_stragglers(quick + slow, 7.0)] == [False, False, False, True]
    assert not any(attempt.straggler for attempt in with_stragglers(quick + slow, 6.0)), "three times as long as is usual"
    assert not any(attempt.straggler for attempt in with_stragglers(quick[:2] + slow, 60.0))


TIMES = st.floats(0, 1_000)
ATTEMPTS = st.builds(
    TimedAttempt,
    st.sampled_from(["map", "reduce"]),
    st.integers(0, 9_999),
    st.integers(1, 3),
    st.sampled_from(Fate),
    TIMES,
    st.none() | TIMES,
    st.none() | TIMES,
    st.booleans(),
)


@given(st.lists(ATTEMPTS, max_size=MOST_ROWS + 30), TIMES)
def test_any_timeline_can_be_looked_at(attempts: list[TimedAttempt], until: float) -> None:
    """Also one of clocks that do not agree."""
    timeline = Timeline("3f9a0c21", "map", 100.0, until, with_stragglers(attempts, until))
    ET.fromstring(timeline.svg())  # noqa: S314 - our own text
    assert all(line.startswith(" ▏") for line in repr(timeline).splitlines()[1:])
    assert len(timeline.to_frame()) == len(attempts)
    for attempt in timeline.attempts:
        assert attempt.waited(until) >= 0
        assert attempt.ran(until) >= 0


@pytest.mark.parametrize(("tasks", "lanes"), [(10_000, 64), (10_000, 1_000), (40_000, 64)])
def test_a_timeline_of_many_attempts_stays_small(tasks: int, lanes: int) -> None:
    timeline = many(tasks, lanes)
    assert len(timeline._repr_mimebundle_()["text/html"]) < 300_000
    assert len(repr(timeline)) < 5_000


def test_what_stands_out_is_drawn_when_not_all_can_be() -> None:
    timeline = many(2_000, 1_000)
    drawn = [re.findall(r"M", path) for path in re.findall(rf'stroke="{svg.RED}"[^>]*', timeline.svg())]
    assert sum(map(len, drawn)) == sum(attempt.fate is Fate.FAILED for attempt in timeline.attempts) > MOST_LANES
    assert re.search(r"1,\d\d\d of 2,000 attempts are not drawn", timeline.svg())


# ---------------------------------------------------------------- skew


def test_skew_is_told_in_numbers() -> None:
    skew = uneven()
    assert skew.heaviest == skew.shares[11]
    assert skew.median == 102.5
    assert skew.ratio == pytest.approx(950 / 102.5)
    assert skew.summary() == (
        "3f9a0c21 · 2,077 pairs in 12 partitions · the heaviest, 11, has 950 pairs, 9.3 times the median · 20.5 KB, at most 9.0 KB · "
        "its heaviest key is 'the' with 700 pairs"
    )
    lines = skew.lines()
    assert lines[2].startswith("partition 11 ████████████████████████ 950 pairs, 9.0 KB, 12 keys, 4.2 s")
    assert lines[-3:] == ["key 'the' 700 pairs", "key ('a', 1) 20 pairs", "keys: of the first 900 pairs of partition 11"]


@pytest.mark.parametrize(
    ("pairs", "ratio", "words"),
    [
        ((5, 5, 5), 1.0, "1.0 times the median"),
        ((0, 0, 9), float("inf"), "9 pairs; more than half of them are empty"),
        ((0, 0), 1.0, "no pairs"),
    ],
)
def test_shares_that_are_even_or_empty(pairs: tuple[int, ...], ratio: float, words: str) -> None:
    skew = Skew("3f9a0c21", "map task", tuple(Share(number, count) for number, count in enumerate(pairs)))
    assert skew.ratio == ratio
    assert words in skew.summary()
    ET.fromstring(skew.svg())  # noqa: S314 - our own text
    assert "bytes" not in repr(skew)


def test_why_keys_are_not_known_is_told() -> None:
    assert dataclasses.replace(uneven(), keys=(), keys_of=None, no_keys="gone").lines()[-1] == "keys: gone"
    assert "of 5 of 9 map tasks" in dataclasses.replace(uneven(), maps=9).summary()


def test_skew_is_a_table() -> None:
    frame = uneven().to_frame()
    assert frame.index.name == "partition"
    assert frame["pairs"].sum() == 2_077
    assert dataclasses.replace(uneven(), shares=(Share(0, 3),)).to_frame()["bytes"].isna().all()
    assert EMPTY[1].to_frame().empty


# ---------------------------------------------------------------- splits


def test_splits_are_counted_by_size() -> None:
    found = splits()
    assert sum(one.count for one in found.bins) == 11
    assert found.bins[-1].count == 9
    assert found.bins[-1].start < 64_000_000 <= found.bins[-1].stop
    assert found.summary() == "11 splits of 618 MB: median 64.0 MB, smallest 12.0 MB, largest 64.0 MB"
    assert found.to_frame()["bytes"].tolist()[-2:] == [12_000_000, 30_500_000]
    assert found.to_frame().index.name == "split"


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=50))
def test_no_split_is_lost_in_a_histogram(sizes: list[int]) -> None:
    found = SplitSizes(tuple(SplitSize(number, size, 1, "") for number, size in enumerate(sizes)))
    assert sum(one.count for one in found.bins) == len(sizes)
    assert len(found.bins) <= 20
    assert found.bins[-1].stop >= max(sizes)
    ET.fromstring(found.svg())  # noqa: S314 - our own text


# ---------------------------------------------------------------- matplotlib


@pytest.mark.parametrize("picture", [*PICTURES.values(), *EMPTY], ids=lambda picture: f"{picture.what}-{len(picture.svg())}")
def test_a_picture_can_be_drawn_with_matplotlib(figures: None, picture: Timeline | Skew | SplitSizes) -> None:
    drawn = picture.plot()
    drawn.figure.canvas.draw()
    given = plt.figure().subplots()
    assert picture.plot(given) is given
    assert given.get_xlabel()


def test_without_matplotlib_the_package_to_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("matplotlib", "matplotlib.pyplot"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=r"plot\(\) needs matplotlib.*pip install 'smr_notebook\[plot\]'"):
        few().plot()
