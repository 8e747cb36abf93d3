"""What a job looks like, as pure functions of its numbers: HTML while it runs, an HTML table when it has ended, and text.

Rules of this module:

* Nothing is read here, neither the clock nor a job: a `View` holds all that is shown, so that a golden text can pin it.
* Whatever differs between two runs of the same notebook (ids, times, task counts, bytes) stands inside
  `<span class="smr-v">…</span>` in HTML and inside `[smr-…, … s]` in text. The rules of `nbval_sanitize.cfg` then make two
  runs equal. What remains outside is a fact of the data: records, pairs, groups, rows.
* What befell a job differs between two runs, too: its sentences share the span of the proof line, and follow the headline of the text, each
  after ` ! `. A job without troubles shows nothing of it.
* Styles are inline, because a notebook that is not trusted loses classes and style sheets; the final view is a plain table, because
  GitHub loses styles as well. Colours come from the page or are transparent, so that dark and light themes both read well.
* What is painted is as large for ten thousand tasks as for one, and a name is cut: a paint costs the same however large a job is.
* Nothing that is painted again and again is a live region: a screen reader would read it out each time. What it should say is
  `announcement`, which changes when the state does.
* What functions count (`smr.count_up`) is a fact of the data once the job is done, and stands outside.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

from smr_notebook.control.troubles import sentences, summary
from smr_notebook.job.counters import told_counters
from smr_notebook.model import JobState
from smr_notebook.showing.amounts import counted, dollars, duration, quantity
from smr_notebook.showing.sheets import volatile
from smr_notebook.standing import PhaseProgress, Progress
from smr_notebook.views.speed import Start, phase_at_work, seconds_left, speed

BAR_CELLS = 28
"""Characters of a bar in text."""

NAME_CHARACTERS = 80
"""Of a job's name, so many are shown at most."""

_COLOURS = {JobState.DONE: "#388e3c", JobState.FAILED: "#e53935", JobState.CANCELLED: "#b06a00"}
_CELL = "padding:1px 12px 1px 0;text-align:left;white-space:nowrap"
_UNSEEN = "position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap"
_ENDINGS = {JobState.DONE: "done in", JobState.FAILED: "failed after", JobState.CANCELLED: "cancelled after"}


@dataclass(frozen=True, slots=True)
class View:
    """One moment of a job, as it is shown.

    Attributes:
        id: Identifier of the job.
        name: What it is called, or an empty string.
        progress: Its numbers.
        now: Time of this moment, in seconds since 1970.
        note: What became of the result (`df: 61 rows …`), or an empty string.
        hint: How to stop it, while it runs, or an empty string.
        start: Where speeds are measured from; `None` for a view of a single moment.
        limit: US dollars that it may cost; 0 for any.
    """

    id: str
    name: str
    progress: Progress
    now: float
    note: str = ""
    hint: str = ""
    start: Start | None = None
    limit: float = 0.0

    @property
    def title(self) -> str:
        """Its name, cut to what fits on a line."""
        return self.name if len(self.name) <= NAME_CHARACTERS else f"{self.name[: NAME_CHARACTERS - 1]}…"

    @property
    def seconds(self) -> float:
        """Time since submission; once the job has ended, the time that it took."""
        end = self.progress.updated if self.progress.state.ended else max(self.now, self.progress.updated)
        return max(0.0, end - self.progress.started)

    @property
    def phases(self) -> tuple[tuple[str, PhaseProgress], ...]:
        """The phases that this job has, by name; none before it was planned."""
        return self.progress.phases


@dataclass(frozen=True, slots=True)
class Shown:
    """A value whose only purpose is to be looked at: help, a state, errors."""

    text: str
    html: str = ""

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:  # noqa: ARG002 - IPython's protocol
        return {"text/plain": self.text} | ({"text/html": self.html} if self.html else {})


def bundle(view: View) -> dict[str, str]:
    """Return the view under the MIME types that are saved with a notebook."""
    return {"text/html": html(view), "text/plain": text(view)}


def html(view: View) -> str:
    """Return the view as HTML: bars while the job runs, a table with its numbers once it has ended."""
    state = view.progress.state
    body = _final_table(view) if state.ended else _live_bars(view)
    hint = escape(view.hint) if not state.ended else ""
    lines = [line for line in (escape(view.note), _counted(view), _written(view), hint) if line]
    notes = "".join(f'<div class="smr-note" style="opacity:.75">{line}</div>' for line in lines)
    proof = " ".join([*([view.progress.proof] if view.progress.proof else []), *_troubles(view)])
    proof = f'<div class="smr-proof" style="opacity:.75">{volatile(proof)}</div>' if proof else ""
    return f'<div class="smr-job" data-state="{state}" style="line-height:1.5">{_headline(view)}{body}{notes}{proof}</div>'


def text(view: View) -> str:
    """Return the view as plain text."""
    progress = view.progress
    title = f"MapReduce '{view.title}'" if view.name else "MapReduce"
    waits = [f"for {_waits(view)}"] if progress.waits else []
    stamp = f"[{', '.join([f'smr-{view.id.lower()}', *waits, *_cost(view), f'{view.seconds:.1f} s'])}]"
    if not progress.state.ended:
        bars = [f" {name:<7} {bar(phase)} {phase.done:,}/{phase.tasks:,}" for name, phase in view.phases]
        bars += [f" {line}" for line in [told_counters(progress)] if line]
        head = f"{title} · {'waits' if waits else progress.state} · {stamp}"
        return "\n".join([head, *(f" ! {line}" for line in _troubles(view)), *bars])
    settled = progress.state is JobState.DONE
    rows = [f" {name:<7} {_flow(name, phase)}" for name, phase in view.phases if settled]
    rows += [f" {line}" for line in [told_counters(progress)] if line and settled]
    troubles = [f" ! {line}" for line in _troubles(view)]
    return "\n".join([f"{title} {progress.state} {stamp}", *troubles, *rows, *([f" {view.note}"] if view.note else [])])


def announcement(view: View) -> str:
    """Return what a screen reader says of a job, as HTML that nobody sees. It changes a few times in a job's life."""
    state = view.progress.state
    what = f"MapReduce {view.title or view.id}"
    doing = f"waits for {_waits(view)}" if view.progress.waits else str(state)
    said = f"{what} {_ENDINGS[state]} {view.seconds:.0f} seconds" if state.ended else f"{what}: {doing}"
    return f'<span role="status" aria-live="polite" style="{_UNSEEN}">{escape(said)}</span>'


def bar(phase: PhaseProgress, cells: int = BAR_CELLS) -> str:
    """Return a bar of text: full for tasks that are done, half for those at work, light for those that wait."""
    total = max(1, phase.tasks)
    done = cells * phase.done // total
    running = min(cells - done, -(-cells * phase.running // total))
    return "█" * done + "▓" * running + "░" * (cells - done - running)


def rows_note(name: str, shape: tuple[int, int], columns: Iterable[object]) -> str:
    """Return the line that says what a variable holds now: its rows and its columns."""
    names = ", ".join(str(column) for column in columns)
    shown = names if len(names) <= 60 else names[:57] + "…"
    return f"{name}: {counted(shape[0], 'row')} × {counted(shape[1], 'column')} ({shown})"


def _troubles(view: View) -> list[str]:
    """Return what befell the job: in one line while it runs, in a sentence each once it has ended."""
    troubles = view.progress.troubles
    if view.progress.state.ended:
        return list(sentences(troubles))
    return [summary(troubles)] if troubles else []


def _counted(view: View) -> str:
    """Return the line that says what the functions counted: of a job that is done, a fact of its data."""
    told = told_counters(view.progress)
    return escape(told) if not told or view.progress.state is JobState.DONE else volatile(told)


def _written(view: View) -> str:
    """Return the line that says that there is a log, once the job has ended: how many lines, some tasks may have written twice."""
    lines = sum(phase.numbers.lines_written for _, phase in view.phases)
    if not lines or not view.progress.state.ended:
        return ""
    return f"printed: {volatile(counted(lines, 'line'))} · job.logs(), %smr logs {volatile(view.id)}"


def _headline(view: View) -> str:
    state = view.progress.state
    parts = [f"<b>MapReduce</b> {volatile(view.id)}"]
    if view.name:
        parts.append(escape(view.title))
    if state.ended:
        ending = f'<span style="color:{_COLOURS[state]};font-weight:600">{_ENDINGS[state]}</span>'
        parts.append(f"{ending} {volatile(' · '.join([f'{view.seconds:.1f} s', *_cost(view)]))}")
    else:
        doing = f"waits for {volatile(_waits(view))}" if view.progress.waits else str(state)
        parts += [doing, volatile(" · ".join([duration(view.seconds), *_left(view), *_cost(view)]))]
    return f'<div class="smr-head">{" · ".join(parts)}</div>'


def _waits(view: View) -> str:
    """Return which jobs it waits for."""
    waits = view.progress.waits
    return f"{'job' if len(waits) == 1 else 'jobs'} {', '.join(waits)}"


def _cost(view: View) -> list[str]:
    cost = view.progress.cost
    limit = f" of {dollars(view.limit)}" if view.limit else ""
    return [f"{dollars(cost.total)}{limit}"] if cost is not None else []


def _left(view: View) -> list[str]:
    """Say how long it may still take: the job in its last phase, else the phase."""
    left = seconds_left(view.progress, view.start, view.now)
    if left is None:
        return []
    last = view.progress.state is JobState.REDUCING or not view.progress.reduce.tasks
    return [f"≈ {duration(math.ceil(left))} {'left' if last else f'of {view.progress.state} left'}"]


def _rate(view: View, name: str, phase: PhaseProgress) -> list[str]:
    """Say how fast the phase at work is; a view of a single moment knows nothing of it."""
    if phase.done >= phase.tasks or phase is not phase_at_work(view.progress):
        return []
    rate = speed(view.progress, view.start)
    return [f"{quantity(rate)} {'rec' if name == 'map' else 'groups'}/s"] if rate else []


def _live_bars(view: View) -> str:
    bars = "".join(_live_bar(name, phase, _rate(view, name, phase)) for name, phase in view.phases)
    slow = " · ".join(
        f"⚠ {counted(phase.speculative, f'slow {name} task')} got a second attempt" for name, phase in view.phases if phase.speculative
    )
    return bars + (f'<div class="smr-slow">{volatile(slow)}</div>' if slow else "")


def _live_bar(name: str, phase: PhaseProgress, rate: list[str]) -> str:
    total = max(1, phase.tasks)
    done, running = 100 * phase.done / total, 100 * min(phase.running, phase.tasks - phase.done) / total
    count = f"{phase.done:,}/{phase.tasks:,}"
    counts = (
        (phase.running, "running"),
        (phase.retried, "retried"),
        (phase.stalled, "stalled"),
        (phase.bad, "left out"),
    )
    facts = [*(f"{number:,} {what}" for number, what in counts if number), *rate]
    if phase.done < phase.tasks and phase.slowest >= 0.1:
        facts.append(f"slowest {phase.slowest:.1f} s")
    if not (phase.done or phase.running):
        facts.append("waiting")
    inner = (
        f'<div style="width:{done:.1f}%;background:#1e88e5;height:100%"></div>'
        f'<div style="width:{running:.1f}%;background:#1e88e5;opacity:.4;height:100%"></div>'
    )
    track = "display:flex;width:260px;height:10px;border-radius:3px;overflow:hidden;background:rgba(128,128,128,.25)"
    meter = (
        f'<div role="progressbar" aria-label="{name} tasks" aria-valuemin="0" aria-valuemax="{phase.tasks}" '
        f'aria-valuenow="{phase.done}" aria-valuetext="{count} tasks" style="{track}">{inner}</div>'
    )
    words = f'<span style="font-variant-numeric:tabular-nums">{volatile(count)}</span> <span style="opacity:.75">'
    words += volatile(" · ".join(facts)) + "</span>"
    style = "display:flex;align-items:center;gap:10px"
    return f'<div class="smr-{name}" style="{style}"><span style="width:3.5em">{name}</span>{meter}{words}</div>'


def _final_table(view: View) -> str:
    titles = ("phase", "tasks", "retries", "slowest", "in → out", "read")
    head = "".join(f'<th style="{_CELL};font-weight:normal;opacity:.75">{title}</th>' for title in titles)
    rows = "".join(_final_row(name, phase, settled=view.progress.state is JobState.DONE) for name, phase in view.phases)
    return f'<table style="margin:2px 0;border-collapse:collapse"><tr>{head}</tr>{rows}</table>'


def _final_row(name: str, phase: PhaseProgress, *, settled: bool) -> str:
    flow = _flow(name, phase)
    cells = (
        name,
        volatile(f"{phase.done:,}/{phase.tasks:,}"),
        volatile(f"{phase.retried:,}"),
        volatile(f"{phase.slowest:.1f} s"),
        escape(flow) if settled else volatile(flow),
        volatile(quantity(phase.numbers.bytes_read, "B") if phase.numbers.bytes_read else ""),
    )
    return f'<tr class="smr-{name}">' + "".join(f'<td style="{_CELL}">{cell}</td>' for cell in cells) + "</tr>"


def _flow(name: str, phase: PhaseProgress) -> str:
    """Say what went in and what came out in numbers that no number of tasks can change."""
    numbers = phase.numbers
    bad = f" ({phase.bad:,} left out)" if phase.bad else ""
    if name == "map":
        return f"{counted(numbers.records_mapped, 'record')}{bad} → {counted(numbers.pairs_in, 'pair')}"
    if name == "merge":
        return f"{counted(numbers.records_mapped, 'run')} read, {counted(phase.done, 'run')} written"
    return f"{counted(numbers.records_mapped, 'group')}{bad} → {counted(numbers.pairs_out, 'row')}"
