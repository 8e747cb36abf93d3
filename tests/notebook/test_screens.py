"""Where progress is shown, and what is left when the job has ended."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import ipywidgets
import pytest
from IPython.core.interactiveshell import InteractiveShell

from smr_notebook.errors import ConfigError, JobCancelled, StoreError
from smr_notebook.model import JobState
from smr_notebook.notebook import screens
from smr_notebook.notebook.errors import error_lines
from smr_notebook.notebook.extension import JobDisplay
from smr_notebook.notebook.mode import Display, choose_display
from smr_notebook.notebook.panel import Panel
from smr_notebook.notebook.screens import QuietScreen, StaticScreen, TextScreen, follow, watch
from smr_notebook.standing import Progress
from smr_notebook.testing.waiting import wait_until
from smr_notebook.values.usage import Cost
from smr_notebook.views.render import View, bundle

Moment = Callable[..., Progress]
Scripted = Callable[..., Any]
WIDGET = "application/vnd.jupyter.widget-view+json"


def kernel(*, allow_stdin: bool | None) -> object:
    content = {} if allow_stdin is None else {"allow_stdin": allow_stdin}
    return SimpleNamespace(kernel=object(), get_parent=lambda: {"content": content})


@pytest.mark.parametrize(
    ("shell", "setting", "expected"),
    [
        (kernel(allow_stdin=True), "auto", Display.PANEL),
        (kernel(allow_stdin=None), "auto", Display.PANEL),
        (kernel(allow_stdin=False), "auto", Display.STATIC),
        (SimpleNamespace(), "auto", Display.TEXT),
        (kernel(allow_stdin=True), "static", Display.STATIC),
        (kernel(allow_stdin=False), "quiet", Display.QUIET),
        (kernel(allow_stdin=False), "panel", Display.PANEL),
    ],
)
def test_a_notebook_that_nobody_watches_is_static(shell: object, setting: str, expected: Display) -> None:
    assert choose_display(setting, shell) is expected


def test_an_unknown_display_is_refused() -> None:
    with pytest.raises(ConfigError, match="Use auto, panel, text, static, quiet"):
        choose_display("loud", SimpleNamespace())


def final(job: Any, progress: Progress, note: str = "") -> dict[str, str]:
    return bundle(View(job.id, job.name, progress, progress.updated, note))


def test_static_shows_one_output(shown: list[dict[str, Any]], moment: Moment, scripted: Scripted) -> None:
    job = scripted([moment(JobState.MAPPING, 1), moment(JobState.DONE)], name="words")
    screen = StaticScreen(job)
    screen.finish(watch(job, screen), "df: 7 rows")
    assert [output["data"] for output in shown] == [final(job, moment(JobState.DONE), "df: 7 rows")]


def test_quiet_shows_nothing(shown: list[dict[str, Any]], moment: Moment, scripted: Scripted) -> None:
    job = scripted([moment(JobState.DONE)])
    screen = QuietScreen(job)
    screen.finish(watch(job, screen))
    assert shown == []


def test_text_moves_a_bar_for_each_phase(capsys: pytest.CaptureFixture[str], moment: Moment, scripted: Scripted) -> None:
    job = scripted([moment(JobState.MAPPING, 1), moment(JobState.DONE)])
    screen = TextScreen(job, progress_after=0.0)
    screen.finish(watch(job, screen))
    told = capsys.readouterr().err
    assert "map   :  25%" in told
    assert "4/4" in told
    assert "reduce: 100%" in told


def test_a_job_that_ends_soon_leaves_only_its_table(shown: list[dict[str, Any]], moment: Moment, scripted: Scripted) -> None:
    job = scripted([moment(JobState.DONE)])
    panel = Panel(job)
    panel.finish(watch(job, panel))
    assert [output["data"] for output in shown] == [final(job, moment(JobState.DONE))]


def test_a_live_panel_is_one_output_that_ends_without_a_widget(shown: list[dict[str, Any]], moment: Moment, scripted: Scripted) -> None:
    job = scripted([moment(JobState.MAPPING, 1), moment(JobState.MAPPING, 2), moment(JobState.DONE)])
    panel = Panel(job, progress_after=0.0)
    panel.finish(watch(job, panel), "df: 7 rows")
    opened, frozen = shown
    assert sorted(opened["data"]) == sorted([WIDGET, "text/html", "text/plain"])
    assert "■ interrupt to cancel" in opened["data"]["text/html"]
    assert frozen["data"] == final(job, moment(JobState.DONE), "df: 7 rows")
    assert (frozen["update"], frozen["transient"]) == (True, opened["transient"])


def test_the_widget_itself_ends_with_the_table(shell: InteractiveShell, moment: Moment, scripted: Scripted) -> None:
    panel = Panel(scripted([]), progress_after=0.0)
    panel.paint(moment(JobState.MAPPING, 1))
    view, said = panel.widget.children
    assert isinstance(view, ipywidgets.HTML)
    assert 'data-state="map"' in view.value
    panel.finish(moment(JobState.DONE))
    assert 'data-state="done"' in view.value
    assert "done in" in said.value


def test_a_screen_reader_is_told_of_each_state_once(shell: InteractiveShell, moment: Moment, scripted: Scripted) -> None:
    panel = Panel(scripted([]), progress_after=0.0)
    said: list[str] = []
    panel.widget.children[-1].observe(lambda change: said.append(change.new), "value")
    for done in range(4):
        panel.paint(moment(JobState.MAPPING, done))
    panel.paint(moment(JobState.REDUCING, 4))
    panel.finish(moment(JobState.DONE))
    assert ["map" in said[0], "reduce" in said[1], "done in" in said[2], len(said)] == [True, True, True, 3]


def test_the_button_is_not_painted_anew(shell: InteractiveShell, moment: Moment, scripted: Scripted) -> None:
    panel = Panel(scripted([]), detached=True)
    panel.open(moment(JobState.MAPPING, 1))
    children = panel.widget.children
    panel.paint(moment(JobState.MAPPING, 2))
    assert panel.widget.children == children


def test_a_panel_says_how_long_the_phase_may_still_take(shell: InteractiveShell, moment: Moment, scripted: Scripted) -> None:
    panel = Panel(scripted([]), progress_after=0.0)
    later = replace(moment(JobState.MAPPING, 2, 400), updated=time.time())
    panel.paint(replace(moment(JobState.MAPPING, 0, 400), updated=later.updated - 3))
    assert "left" not in panel.widget.children[0].value
    panel.paint(later)
    assert re.search("≈ [0-9:]+ of map left", panel.widget.children[0].value)


def test_a_panel_asks_for_the_limit_of_a_cost_once(shell: InteractiveShell, moment: Moment, scripted: Scripted) -> None:
    job = scripted([])
    panel = Panel(job, progress_after=0.0)
    panel.paint(moment(JobState.MAPPING, 1))
    assert job.asked == 0
    for done in range(3):
        panel.paint(replace(moment(JobState.MAPPING, done), cost=Cost(0.25, 0, 0)))
    assert (job.asked, "$0.25 of $2.00" in panel.widget.children[0].value) == (1, True)


def test_every_cell_that_shows_a_job_is_frozen(shown: list[dict[str, Any]], moment: Moment, scripted: Scripted) -> None:
    panel = Panel(scripted([]), detached=True)
    panel.open(moment(JobState.MAPPING, 1))
    panel.open(moment(JobState.MAPPING, 2))
    panel.finish(moment(JobState.DONE))
    assert [output["update"] for output in shown] == [False, False, True, True]
    assert shown[0]["data"][WIDGET]["model_id"] == shown[1]["data"][WIDGET]["model_id"]


def test_a_detached_job_has_a_cancel_button(shell: InteractiveShell, moment: Moment, scripted: Scripted) -> None:
    job = scripted([])
    panel = Panel(job, detached=True)
    panel.open(moment(JobState.MAPPING, 1))
    button = panel.widget.children[1]
    button.click()
    assert (job.cancelled, button.disabled) == (True, True)
    panel.finish(moment(JobState.CANCELLED))
    assert button.layout.display == "none"


def test_an_interrupt_cancels_the_job(shown: list[dict[str, Any]], moment: Moment, scripted: Scripted) -> None:
    job = scripted([moment(JobState.MAPPING, 1), KeyboardInterrupt, moment(JobState.MAPPING, 3), moment(JobState.CANCELLED, 3)])
    with pytest.raises(JobCancelled, match=r"^Interrupted: 3f9a0c21 cancelled, 3/4 map tasks were done$"):
        watch(job, StaticScreen(job))
    assert 'data-state="cancelled"' in shown[0]["data"]["text/html"]


def test_a_job_that_is_done_before_it_could_be_cancelled_has_nothing_to_be_resumed(
    shown: list[dict[str, Any]], moment: Moment, scripted: Scripted
) -> None:
    job = scripted([moment(JobState.MAPPING, 1), KeyboardInterrupt, moment(JobState.DONE, 4)])
    with pytest.raises(JobCancelled, match=r"^Interrupted: 3f9a0c21 done, ") as caught:
        watch(job, StaticScreen(job))
    assert not any("resume" in line for line in error_lines(caught.value, None))


def test_an_interrupt_lets_a_job_go_on_where_that_is_wished(shown: list[dict[str, Any]], moment: Moment, scripted: Scripted) -> None:
    job = scripted([moment(JobState.MAPPING, 1), KeyboardInterrupt, moment(JobState.MAPPING, 3), moment(JobState.DONE)])
    panel = Panel(job, goes_on=True, progress_after=0)
    with pytest.raises(KeyboardInterrupt) as caught:
        watch(job, panel, goes_on=True)
    assert type(caught.value) is KeyboardInterrupt
    assert not job.cancelled
    assert "■ interrupt to go on without waiting" in shown[0]["data"]["text/html"]
    wait_until(lambda: shown[-1]["data"] == final(job, moment(JobState.DONE)))


@pytest.mark.parametrize("screen", [StaticScreen, QuietScreen, TextScreen])
def test_a_screen_without_widgets_leaves_all_as_it_is_when_the_job_goes_on(
    shown: list[dict[str, Any]], moment: Moment, scripted: Scripted, screen: Callable[[Any], Any]
) -> None:
    job = scripted([moment(JobState.MAPPING, 1), KeyboardInterrupt])
    with pytest.raises(KeyboardInterrupt):
        watch(job, screen(job), goes_on=True)
    assert (job.cancelled, shown) == (False, [])


def test_a_second_interrupt_ends_the_waiting(shown: list[dict[str, Any]], moment: Moment, scripted: Scripted) -> None:
    job = scripted([moment(JobState.MAPPING, 1), KeyboardInterrupt, KeyboardInterrupt])
    with pytest.raises(JobCancelled, match=r"^Interrupted: 3f9a0c21 is being cancelled$"):
        watch(job, StaticScreen(job))
    assert job.cancelled


def test_a_cell_is_followed_from_a_thread(shown: list[dict[str, Any]], moment: Moment, scripted: Scripted) -> None:
    job = scripted([moment(JobState.MAPPING, 1), moment(JobState.DONE)])
    panel = Panel(job, detached=True)
    panel.open(job.status())
    follow(job, panel).join(10)
    assert shown[-1]["data"] == final(job, moment(JobState.DONE))


def test_a_detached_job_that_failed_says_where_to_read_why(shown: list[dict[str, Any]], moment: Moment, scripted: Scripted) -> None:
    job = scripted([moment(JobState.MAPPING, 1), moment(JobState.FAILED, 1)])
    panel = Panel(job, detached=True)
    panel.open(job.status())
    follow(job, panel).join(10)
    assert "what went wrong: errors() of the job, or %smr errors with its identifier" in shown[-1]["data"]["text/html"]
    assert "what went wrong: errors() of the job, or %smr errors with its identifier" in shown[-1]["data"]["text/plain"]


def test_a_view_that_is_opened_when_the_end_has_come_shows_the_end(shown: list[dict[str, Any]], moment: Moment, scripted: Scripted) -> None:
    job = scripted([moment(JobState.MAPPING, 1), moment(JobState.DONE)])
    panel = Panel(job, detached=True)
    seen = job.status()
    panel.open(seen)
    follow(job, panel).join(10)
    panel.open(seen)
    assert panel.frozen
    assert shown[-1]["data"] == final(job, moment(JobState.DONE))
    assert 'data-state="done"' in panel._html.value


def test_an_older_look_does_not_take_the_place_of_a_newer_one(shown: list[dict[str, Any]], moment: Moment, scripted: Scripted) -> None:
    older, newer = moment(JobState.MAPPING, 1), replace(moment(JobState.MAPPING, 3), updated=moment(JobState.MAPPING, 3).updated + 1)
    panel = Panel(scripted([]), detached=True)
    panel.open(newer)
    panel.open(older)
    assert 'aria-valuenow="3"' in panel._html.value


def test_a_job_that_nobody_could_follow_any_more_is_followed_again(shell: Any, moment: Moment, scripted: Scripted) -> None:
    job = scripted([moment(JobState.MAPPING, 1), StoreError("out of reach"), moment(JobState.DONE)])
    shell.kernel = object()
    shell.get_parent = lambda: {"content": {"allow_stdin": True}}
    display = JobDisplay(shell)
    display.display(job)
    panel, thread = display._followed[job.id]
    thread.join(10)
    assert not panel.frozen
    job.moments.insert(0, moment(JobState.MAPPING, 2))
    display.display(job)
    wait_until(lambda: panel.frozen)


def test_a_wish_to_cancel_that_was_not_heard_can_be_said_again(moment: Moment, scripted: Scripted) -> None:
    job = scripted([])
    job.cancel = lambda: (_ for _ in ()).throw(StoreError("out of reach"))
    panel = Panel(job, detached=True)
    panel.widget.children[1].click()
    assert (panel.widget.children[1].disabled, panel.widget.children[1].description) == (False, "Cancel")


@pytest.mark.parametrize("setting", ["auto", "quiet", "text", "static"])
def test_where_nobody_watches_a_job_is_waited_for(
    setting: str, shell: Any, shown: list[dict[str, Any]], moment: Moment, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMR_DISPLAY", setting)
    shell.kernel = object()
    shell.get_parent = lambda: {"content": {"allow_stdin": False}}
    job = scripted([moment(JobState.MAPPING, 1), moment(JobState.FAILED, 1)])
    JobDisplay(shell).display(job)
    assert job.done()
    assert ("what went wrong" in str(shown[-1]["data"])) is (setting in {"auto", "static"})


def test_a_view_that_fails_disturbs_nobody(scripted: Scripted) -> None:
    job = scripted([RuntimeError])
    thread = follow(job, QuietScreen(job))
    thread.join(10)
    assert not thread.is_alive()
    assert screens.PROGRESS_AFTER > 0
