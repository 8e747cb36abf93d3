"""The views of a job, as golden texts."""

from __future__ import annotations

import configparser
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import smr_notebook
from smr_notebook.model import JobState, Numbers, Phase
from smr_notebook.showing.amounts import duration
from smr_notebook.standing import PhaseProgress, Progress, Trouble, TroubleKind
from smr_notebook.values.usage import Cost
from smr_notebook.views import render
from smr_notebook.views.render import Shown, View, announcement, bar, bundle, html, rows_note, text
from smr_notebook.views.speed import Start

MAP = PhaseProgress(412, 188, 96, 3, 2, 0, Numbers(10**9, 1_900_000, 1_900_000, 1_900_000, 61), 3.0)
RUNNING = Progress(JobState.MAPPING, MAP, PhaseProgress(32), 100.0, 114.0, 1, 0.0)
MAPPED = PhaseProgress(412, 412, 0, 0, 2, 0, Numbers(51_300_000_000, 88_120_403, 88_120_403, 88_120_403, 61), 6.1)
REDUCED = PhaseProgress(32, 32, 0, 0, 0, 0, Numbers(4_100, 61, 61, 61, 61), 0.4)
DONE = Progress(JobState.DONE, MAPPED, REDUCED, 100.0, 147.2, 1, 0.0, "412 splits · 88,120,403 records read = mapped")
SPAN = re.compile(r'<span class="smr-v">[^<]*</span>')
STAMP = re.compile(r"\[smr-[0-9a-z-]+, [0-9.]+ s\]")


def view(progress: Progress, **changes: object) -> View:
    return replace(View("3f9a", "status codes", progress, 114.3), **changes)  # type: ignore[arg-type]


class Words(HTMLParser):
    """The text of a page, and proof that its tags are balanced."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data.strip())


def test_running_text() -> None:
    assert text(view(RUNNING)).splitlines() == [
        "MapReduce 'status codes' · map · [smr-3f9a, 14.3 s]",
        " map     ████████████▓▓▓▓▓▓▓░░░░░░░░░ 188/412",
        " reduce  ░░░░░░░░░░░░░░░░░░░░░░░░░░░░ 0/32",
    ]


def test_final_text() -> None:
    assert text(view(DONE, note="df: 61 rows × 2 columns (key, value)")).splitlines() == [
        "MapReduce 'status codes' done [smr-3f9a, 47.2 s]",
        " map     88,120,403 records → 88,120,403 pairs",
        " reduce  61 groups → 61 rows",
        " df: 61 rows × 2 columns (key, value)",
    ]


def test_running_html_says_how_far_each_phase_is() -> None:
    words = Words(html(view(RUNNING, hint="■ interrupt to cancel"))).words
    assert [word for word in words if word not in {"", "·"}] == [
        "MapReduce", "3f9a", "· status codes · map ·", "00:14", "map", "188/412", "96 running · 2 retried · slowest 3.0 s",
        "reduce", "0/32", "waiting", "■ interrupt to cancel",
    ]  # fmt: skip


def test_running_html_tells_of_backups() -> None:
    assert "⚠ 4 slow map tasks got a second attempt" in Words(html(view(replace(RUNNING, map=replace(MAP, speculative=4))))).words
    assert "⚠ 1 slow map task got a second attempt" in Words(html(view(replace(RUNNING, map=replace(MAP, speculative=1))))).words
    assert "⚠" not in html(view(RUNNING))


BEGAN = Start(JobState.MAPPING, 104.0, PhaseProgress(412))


def test_running_html_says_how_long_the_phase_may_still_take() -> None:
    assert "00:14 · ≈ 00:12 of map left" in Words(html(view(RUNNING, start=BEGAN))).words
    alone = replace(RUNNING, reduce=PhaseProgress())
    assert "00:14 · ≈ 00:12 left" in Words(html(view(alone, start=BEGAN))).words


def test_a_rate_is_that_of_the_phase_at_work() -> None:
    assert "190 k rec/s" in html(view(RUNNING, start=BEGAN))
    reducing = replace(RUNNING, state=JobState.REDUCING, map=MAPPED, reduce=replace(REDUCED, done=4))
    began = Start(JobState.REDUCING, 112.0, PhaseProgress(32))
    assert "30 groups/s" in html(view(reducing, start=began))
    assert "groups/s" not in html(view(reducing))


def test_a_cost_is_shown_beside_its_limit_while_it_grows() -> None:
    costs = replace(RUNNING, cost=Cost(0.02, 0.001, 0.0))
    assert "00:14 · $0.021" in Words(html(view(costs))).words
    assert "00:14 · $0.021 of $1.00" in Words(html(view(costs, limit=1.0))).words


def test_a_long_name_is_cut() -> None:
    shown = bundle(view(RUNNING, name="n" * 10_000))
    assert f"{'n' * (render.NAME_CHARACTERS - 1)}…" in shown["text/html"]
    assert len(shown["text/html"]) < 4_000
    assert len(shown["text/plain"].splitlines()[0]) < 150


@given(st.integers(1, 10**6), st.floats(0, 1), st.integers(0, 3_000))
def test_a_view_is_as_large_for_many_tasks_as_for_few(tasks: int, share: float, running: int) -> None:
    phase = PhaseProgress(tasks, int(share * tasks), min(running, tasks - int(share * tasks)), numbers=MAPPED.numbers)
    assert len(html(view(replace(RUNNING, map=phase, reduce=phase), start=BEGAN))) < 4_000


def test_what_a_screen_reader_says_changes_with_the_state_alone() -> None:
    said = [announcement(view(progress)) for progress in (RUNNING, replace(RUNNING, map=MAPPED, updated=120.0), DONE)]
    assert said[0] == said[1]
    assert ["".join(Words(one).words) for one in said[1:]] == ["MapReduce status codes: map", "MapReduce status codes done in 47 seconds"]
    assert all('role="status" aria-live="polite"' in one for one in said)


@pytest.mark.parametrize("progress", [RUNNING, DONE])
def test_what_is_painted_again_and_again_is_never_read_out(progress: Progress) -> None:
    assert not re.search("aria-live|role=.(status|alert|log)", html(view(progress)))


def test_final_html_is_a_table_of_numbers() -> None:
    words = Words(html(view(DONE, note="df: 61 rows", hint="■ interrupt to cancel"))).words
    assert [word for word in words if word not in {"", "·"}] == [
        "MapReduce", "3f9a", "· status codes ·", "done in", "47.2 s",
        "phase", "tasks", "retries", "slowest", "in → out", "read",
        "map", "412/412", "2", "6.1 s", "88,120,403 records → 88,120,403 pairs", "51.3 GB",
        "reduce", "32/32", "0", "0.4 s", "61 groups → 61 rows", "4.1 KB",
        "df: 61 rows", "412 splits · 88,120,403 records read = mapped",
    ]  # fmt: skip


def test_what_is_left_out_is_told_while_the_job_runs_and_in_the_end() -> None:
    bad = replace(MAP, numbers=replace(MAP.numbers, records_bad=1_204))
    assert "1,204 left out" in html(view(replace(RUNNING, map=bad)))
    ended = replace(DONE, map=replace(MAPPED, numbers=replace(MAPPED.numbers, records_bad=41)))
    assert "88,120,403 records (41 left out) → 88,120,403 pairs" in html(view(ended))
    assert "88,120,403 records (41 left out) → 88,120,403 pairs" in text(view(ended))


def test_bars_speak_to_a_screen_reader() -> None:
    assert 'role="progressbar" aria-label="map tasks" aria-valuemin="0" aria-valuemax="412" aria-valuenow="188"' in html(view(RUNNING))


@pytest.mark.parametrize("state", list(JobState))
def test_the_state_can_be_selected(state: JobState) -> None:
    assert f'<div class="smr-job" data-state="{state}"' in html(view(replace(DONE, state=state)))


def test_a_job_that_is_not_planned_yet_has_no_bars() -> None:
    submitted = replace(RUNNING, state=JobState.SUBMITTED, map=PhaseProgress(), reduce=PhaseProgress())
    assert text(view(submitted)) == "MapReduce 'status codes' · submitted · [smr-3f9a, 14.3 s]"


def test_a_job_without_reduce_has_one_phase() -> None:
    assert "reduce" not in text(view(replace(DONE, reduce=PhaseProgress())))


def test_one_is_not_many() -> None:
    one = PhaseProgress(tasks=1, done=1, numbers=Numbers(records_read=1, records_mapped=1, pairs_in=1, pairs_out=1))
    shown = text(view(replace(DONE, map=one, reduce=one), note=rows_note("df", (1, 1), ["n"])))
    assert shown.splitlines()[1:] == [" map     1 record → 1 pair", " reduce  1 group → 1 row", " df: 1 row × 1 column (n)"]


def test_names_are_escaped() -> None:
    assert "<script>" not in html(view(DONE, name="<script>", note="<b>: 1 rows"))


volatile = st.builds(
    lambda phase, read, **rest: replace(phase, numbers=replace(MAPPED.numbers, bytes_read=read), **rest),
    st.builds(lambda tasks: replace(MAPPED, tasks=tasks, done=tasks), st.integers(1, 9999)),
    st.integers(0, 2**50),
    retried=st.integers(0, 99),
    slowest=st.floats(0, 1e5),
)


@given(id=st.text("0123456789abcdef", min_size=1, max_size=8), seconds=st.floats(0, 1e6), phase=volatile)
def test_two_runs_of_the_same_data_are_equal_once_sanitised(id: str, seconds: float, phase: PhaseProgress) -> None:
    other = view(replace(DONE, map=phase, updated=100.0 + seconds, proof=f"{phase.tasks} splits"), id=id)
    assert SPAN.sub("V", html(other)) == SPAN.sub("V", html(view(DONE)))
    assert STAMP.sub("V", text(other)) == STAMP.sub("V", text(view(DONE)))


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_a_bar_is_always_of_the_same_width(done: int, running: int, waiting: int) -> None:
    assert len(bar(PhaseProgress(done + running + waiting, done, running))) == render.BAR_CELLS


@pytest.mark.parametrize(("seconds", "expected"), [(0.9, "00:00"), (74, "01:14"), (3723, "1:02:03")])
def test_duration(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_rows_note() -> None:
    assert rows_note("df", (61, 2), ["key", "value"]) == "df: 61 rows × 2 columns (key, value)"


def test_many_columns_are_cut() -> None:
    assert rows_note("df", (1, 50), [f"column{number}" for number in range(50)]).endswith("…)")


def test_the_saved_bundle_needs_no_widget() -> None:
    assert sorted(bundle(view(DONE))) == ["text/html", "text/plain"]


def test_what_is_shown_is_read_as_it_is() -> None:
    assert repr(Shown("two\nlines")) == "two\nlines"
    assert Shown("a", "<b>a</b>")._repr_mimebundle_() == {"text/plain": "a", "text/html": "<b>a</b>"}


TROUBLES = (
    Trouble(TroubleKind.DIED, Phase.MAP, 2, 2, "signal 9, SIGKILL"),
    Trouble(TroubleKind.MEMORY, Phase.REDUCE, 1, 1, resident_bytes=1020 << 20, limit_bytes=1 << 30, again_bytes=2 << 30),
)
SENTENCES = (
    "2 workers of the map phase died (signal 9, SIGKILL), and their tasks were run again.",
    "1 attempt of the reduce phase ran out of memory (1,020 of 1,024 MiB), and its task was run again with 2,048 MiB.",
)


def test_what_befalls_a_job_is_one_line_while_it_runs_and_a_sentence_each_at_its_end() -> None:
    running, done = replace(RUNNING, troubles=TROUBLES), replace(DONE, troubles=TROUBLES)
    assert text(view(running)).splitlines()[1] == " ! 2 died · 1 out of memory"
    assert "2 died · 1 out of memory" in html(view(running))
    assert text(view(done)).splitlines()[1:3] == [f" ! {sentence}" for sentence in SENTENCES]
    assert f"{DONE.proof} {SENTENCES[0]} {SENTENCES[1]}" in html(view(done))
    assert Words(html(view(done))).words


def test_two_runs_of_a_notebook_are_equal_though_one_had_troubles() -> None:
    rules = configparser.ConfigParser(interpolation=None)
    rules.read(Path(smr_notebook.__file__).parent / "notebook" / "nbval_sanitize.cfg")

    def sanitized(shown: str) -> str:
        for section in rules.sections():
            shown = re.sub(rules[section]["regex"], rules[section]["replace"], shown)
        return shown

    troubled = replace(DONE, troubles=TROUBLES)
    assert sanitized(text(view(troubled, note="df: 61 rows"))) == sanitized(text(view(DONE, note="df: 61 rows")))
    assert sanitized(html(view(troubled))) == sanitized(html(view(DONE)))


def test_attempts_that_finish_nothing_are_counted_live() -> None:
    assert "1 stalled" in html(view(replace(RUNNING, map=replace(MAP, stalled=1))))


COUNTED = replace(DONE, map=replace(MAPPED, numbers=replace(MAPPED.numbers, counters=(("bad <dates>", 1_204), ("cache hits", 5)))))


def test_what_the_functions_counted_is_a_fact_of_a_job_that_is_done() -> None:
    assert text(view(COUNTED)).splitlines()[-1] == " counted: bad <dates> 1,204 · cache hits 5"
    page = html(view(COUNTED))
    assert "counted: bad <dates> 1,204 · cache hits 5" in Words(page).words
    assert "bad" in SPAN.sub("", page)
    assert "counted" not in html(view(DONE)) + text(view(DONE))


@pytest.mark.parametrize("state", [JobState.MAPPING, JobState.FAILED])
def test_what_they_count_while_they_run_differs_from_run_to_run(state: JobState) -> None:
    running = replace(COUNTED, state=state, proof="")
    page = html(view(running))
    assert "counted: bad <dates> 1,204 · cache hits 5 (so far)" in Words(page).words
    assert "bad" not in SPAN.sub("", page)
    assert ("(so far)" in text(view(running))) == (state is JobState.MAPPING)


def test_a_job_that_waits_says_for_which() -> None:
    """What differs between two runs stands where the rules for comparing take it out."""
    waits = Progress(JobState.SUBMITTED, PhaseProgress(), PhaseProgress(), 100.0, 100.0, 0, 0.0, waits=("3f9a", "77b2"))
    view = View("8c01", "", waits, 112.0)
    assert text(view) == "MapReduce · waits · [smr-8c01, for jobs 3f9a, 77b2, 12.0 s]"
    assert 'waits for <span class="smr-v">jobs 3f9a, 77b2</span>' in html(view)
    assert "MapReduce 8c01: waits for jobs 3f9a, 77b2" in announcement(view)
