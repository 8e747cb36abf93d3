"""What is shown to people: amounts, distributions, sheets."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from html import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smr_notebook.showing.amounts import brief, counted, dollars, percent, rounded
from smr_notebook.showing.distributions import BINS, bars, distribution, median
from smr_notebook.showing.sheets import Fact, Sheet, sheet_html, sheet_text
from smr_notebook.showing.visible import visible

SPAN = re.compile(r'<span class="smr-v">[^<]*</span>')
STAMP = re.compile(r"\[smr-[0-9a-z-]+(, \$[0-9.e-]+)?, [0-9.]+ s\](\n ! .*)*")
"""The rules of `nbval_sanitize.cfg`."""


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "0 s"), (3.4e-8, "34 ns"), (1.26e-6, "1.3 µs"), (1.2e-5, "12 µs"), (0.0034, "3.4 ms"), (0.25, "250 ms"), (1.0, "1.0 s"),
        (41, "41 s"), (89.9, "90 s"), (90, "2 min"), (720, "12 min"), (5_400, "1.5 h"), (110_000, "30.6 h"),
    ],
)  # fmt: skip
def test_a_time_has_the_unit_that_suits_it(seconds: float, told: str) -> None:
    assert brief(seconds) == told


@pytest.mark.parametrize(
    ("share", "told"), [(0, "0 %"), (1, "100 %"), (0.62, "62 %"), (0.031, "3.1 %"), (0.0005, "0.05 %"), (1e-6, "less than 0.01 %")]
)
def test_a_share_is_told_in_two_digits(share: float, told: str) -> None:
    assert percent(share) == told


def test_amounts_of_money_and_of_things() -> None:
    assert [dollars(0), dollars(0.0012), dollars(1.3)] == ["$0.00", "$0.0012", "$1.30"]
    assert [counted(0, "row"), counted(1, "row"), counted(1_200, "row")] == ["0 rows", "1 row", "1,200 rows"]
    assert [rounded(number) for number in (0, 7, 999, 30_025, 88_120_403)] == [0, 7, 999, 30_000, 88_100_000]


@given(st.lists(st.integers(0, 10**12), min_size=1))
def test_each_size_lies_in_one_bin(sizes: list[int]) -> None:
    bins = distribution(sizes)
    assert sum(one.count for one in bins) == len(sizes)
    assert len(bins) in {1, BINS}
    assert (bins[0].start, bins[-1].stop) == pytest.approx((min(sizes), max(sizes)))
    assert len(bars(bins)) == len(bins)
    assert all((mark == "·") == (not one.count) for mark, one in zip(bars(bins), bins, strict=True))


def test_a_distribution_is_a_line_of_bars() -> None:
    assert bars(distribution([0] * 8 + [55] * 4 + [100])) == "█····▄···▁"
    assert distribution([]) == ()
    assert bars(()) == ""
    assert len(distribution([36_296, 36_297, 36_297])) == 1, "a byte more or less is no difference"
    assert median([3, 1, 2, 100]) == 2


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
facts = st.builds(Fact, st.text("abc", min_size=1, max_size=8), texts, st.booleans())


@given(st.lists(facts, max_size=6), st.floats(0, 1e6), st.data())
def test_what_varies_is_all_that_two_runs_differ_in(told: list[Fact], seconds: float, data: st.DataObject) -> None:
    """As nbval compares them."""
    others = tuple(Fact(fact.name, data.draw(texts), varies=True) if fact.varies else fact for fact in told)
    one, other = Sheet("plan", "Plan", 0.1, tuple(told)), Sheet("plan", "Plan", seconds, others)
    assert STAMP.sub("V", sheet_text(one)) == STAMP.sub("V", sheet_text(other))
    assert SPAN.sub("V", sheet_html(one)) == SPAN.sub("V", sheet_html(other))


def test_a_sheet_reads_well() -> None:
    sheet = Sheet("plan", "Plan 'a<b'", 0.31, (Fact("Input", "1 & 2"), Fact("Cost", "$1\nor $2", varies=True)))
    assert sheet_text(sheet) == "Plan 'a<b' [smr-plan, 0.3 s]\n ! Cost    $1 or $2\n Input   1 & 2"
    shown = sheet_html(sheet)
    assert shown.startswith('<div class="smr-plan"')
    assert "<b>Plan &#x27;a&lt;b&#x27;</b>" in shown
    assert re.sub(r' style="[^"]*"', "", shown).count('<th scope="row">Input</th><td>1 &amp; 2</td>') == 1
    assert "background:transparent" in shown
    assert set(re.findall(r"(?<![-\w])color:[^;\"]*|<style", shown)) == {"color:inherit"}, "the page's own colours"


def test_what_cannot_be_shown_is_told_by_its_number() -> None:
    assert visible("a\x1b[31m\x00é\n\t\ud800\x85") == "a\\x1b[31m\\x00é\n\t\\ud800\\x85"
    assert visible("plain") == "plain"


@given(st.text(alphabet=st.characters()))
def test_what_is_shown_may_stand_in_xml(text: str) -> None:
    assert "\x1b" not in visible(text)
    ET.fromstring(f"<a>{escape(visible(text))}</a>")  # noqa: S314 - our own text


@pytest.mark.parametrize(("share", "told"), [(1.0, "100 %"), (0.9999, "more than 99 %"), (0.99, "99 %"), (1e-7, "less than 0.01 %")])
def test_a_share_below_one_is_not_told_as_all(share: float, told: str) -> None:
    assert percent(share) == told
