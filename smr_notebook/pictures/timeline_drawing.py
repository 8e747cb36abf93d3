"""The timeline as a drawing: a curve of workers above, bars of attempts below, the time under both.

Rules of this module:

* Few attempts have a row each, with the time that they waited. Many are packed into lanes; how many waited is a second curve then.
* No more than `MOST_LANES` lanes are drawn, and no more than `MOST_MARKS` bars. What stands out is packed first, so that it is never what
  is left out; how many are left out is said. The curves have all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from smr_notebook.pictures import svg
from smr_notebook.pictures.marks import time_marks, time_names
from smr_notebook.pictures.packing import pack, sampled
from smr_notebook.pictures.timed_attempts import Fate, TimedAttempt, bars_of
from smr_notebook.showing.amounts import counted

MOST_ROWS: Final = 40
"""Attempts that have a row of their own."""
MOST_LANES: Final = 100
"""Lanes that are drawn of a packed timeline."""
MOST_MARKS: Final = 12_000
"""Bars that are drawn of a packed timeline; what is closer together than these can show is drawn as one."""

_LEFT: Final = 92
_RIGHT: Final = 16
_WIDE: Final = svg.WIDTH - _LEFT - _RIGHT
_KINDS: Final = {
    "map": svg.BLUE,
    "merge": svg.OLIVE,
    "reduce": svg.TEAL,
    "backup": svg.PURPLE,
    "stopped": svg.FAINT,
    "straggler": svg.ORANGE,
    "failed or lost": svg.RED,
}

Steps = Sequence[tuple[float, int]]
Stroke = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class _Scale:
    """Where a time stands in the picture, from `start` on."""

    start: float
    seconds: float

    def x(self, time: float) -> float:
        """Return how far right."""
        return _LEFT + _WIDE * min(max((time - self.start) / self.seconds, 0.0), 1.0)


@dataclass(frozen=True, slots=True)
class _Band:
    """Where lanes stand in the picture: from `top` on, each so high."""

    scale: _Scale
    until: float
    top: float
    height: float
    count: int

    def strokes(self, attempts: Iterable[tuple[TimedAttempt, int]]) -> list[Stroke]:
        """Return the bars of attempts of one colour, lane after lane; of too many, those that are too close to be told apart are one."""
        ends = sorted((lane, self.scale.x(attempt.begin()), self.scale.x(attempt.end(self.until))) for attempt, lane in attempts)
        many = len(ends) > MOST_MARKS
        close = _WIDE * self.count / MOST_MARKS if many else 0.0
        merged: list[tuple[int, float, float]] = []
        for lane, begin, end in ends:
            if merged and merged[-1][0] == lane and end - merged[-1][1] < close:
                merged[-1] = (lane, merged[-1][1], max(end, merged[-1][2]))
            else:
                merged.append((lane, begin, end))
        gap = 0.0 if many else 0.3
        return [(begin, self.top + self.height * (lane + 0.5), max(end - begin - gap, 0.6)) for lane, begin, end in merged]


def draw(attempts: Sequence[TimedAttempt], start: float, until: float, *, title: str, curves: tuple[Steps, Steps]) -> str:
    """Return the timeline as an SVG file.

    Args:
        attempts: The attempts.
        start: When the picture begins.
        until: When it ends.
        title: What it shows, in words.
        curves: How many ran at once, and how many waited.
    """
    scale = _Scale(start, max(until - start, 1e-3))
    few = len(attempts) <= MOST_ROWS
    parts = _curve(scale, curves[0], 8, 56, name="running", colour=svg.BLUE)
    top = 76.0
    if not few and curves[1]:
        parts += _curve(scale, curves[1], top, 28, name="waiting", colour=svg.FAINT)
        top += 40
    body, bottom, note = (_rows if few else _lanes)(attempts, until, scale, top)
    seen = {_kind(attempt) for attempt in attempts}
    entries = [(colour, kind) for kind, colour in _KINDS.items() if kind in seen]
    entries += [(svg.FAINT, "waiting")] if few and curves[1] else []
    last = bottom + 36
    parts += [*_time_axis(scale, bottom), *body, *svg.legend(_LEFT, last, entries)]
    if note:
        parts.append(svg.text(svg.WIDTH - _RIGHT, last, note, anchor="end"))
    return svg.document(last + 8, title, parts)


def _kind(attempt: TimedAttempt) -> str:
    if attempt.fate.bad:
        return "failed or lost"
    if attempt.straggler:
        return "straggler"
    if attempt.fate is Fate.STOPPED:
        return "stopped"
    return "backup" if attempt.speculative else attempt.phase


# ---------------------------------------------------------------- above and below


def _curve(scale: _Scale, steps: Steps, top: float, height: float, *, name: str, colour: str) -> list[str]:
    """Return how many there were at one time, with its own scale at the left."""
    values = sampled(steps, scale.start, scale.start + scale.seconds, _WIDE)
    most, low = max([*values, 1]), top + height
    points = [(float(_LEFT), low)]
    for place, value in enumerate([*values, 0]):
        y = low - height * value / most
        if y != points[-1][1]:
            points += [(_LEFT + place, points[-1][1]), (_LEFT + place, y)]
    parts = [svg.text(_LEFT - 6, top + 8, f"{most:,}", anchor="end"), svg.text(_LEFT - 6, low, "0", anchor="end")]
    return [*parts, svg.text(4, top + 8, name), svg.area([*points, (_LEFT + _WIDE, low)], colour=colour)]


def _time_axis(scale: _Scale, bottom: float) -> list[str]:
    times = time_marks(scale.seconds)
    parts = [svg.line(_LEFT, bottom, _LEFT + _WIDE, bottom)]
    for time, name in zip(times, time_names(times), strict=True):
        x = scale.x(scale.start + time)
        parts += [svg.line(x, bottom, x, bottom + 4), svg.text(x, bottom + 15, name, anchor="middle")]
    return parts


# ---------------------------------------------------------------- attempts


def _rows(attempts: Sequence[TimedAttempt], until: float, scale: _Scale, top: float) -> tuple[list[str], float, str]:
    """Return a row for each attempt, where they end, and nothing to note."""
    parts: list[str] = []
    for place, attempt in enumerate(attempts):
        y = top + 14 * place
        middle, begin, end = y + 6, scale.x(attempt.begin()), scale.x(attempt.end(until))
        parts.append(svg.text(_LEFT - 6, y + 10, attempt.name, anchor="end"))
        if begin - scale.x(attempt.launched) >= 0.1:
            parts.append(svg.line(scale.x(attempt.launched), middle, begin, middle, width=2))
        if attempt.started is None:
            parts.append(
                svg.line(begin, middle, end, middle, colour=svg.RED if attempt.fate.bad else svg.FAINT, width=2, dashed=attempt.fate.bad)
            )
        else:
            title = f"{attempt.name}: {attempt.told(until)}"
            parts.append(svg.box(begin, y + 1, max(end - begin, 1), 10, colour=_KINDS[_kind(attempt)], title=title))
        if mark := "×" if attempt.fate.bad else "◆" if attempt.speculative else "":
            near = end + 3 < _LEFT + _WIDE
            parts.append(
                svg.text(end + 3 if near else begin - 3, y + 10, mark, anchor="start" if near else "end", colour=_KINDS[_kind(attempt)])
            )
    return parts, top + 14 * max(len(attempts), 1) + 2, ""


def _lanes(attempts: Sequence[TimedAttempt], until: float, scale: _Scale, top: float) -> tuple[list[str], float, str]:
    """Return the attempts that began or should have in lanes, where these end, and how many are not drawn."""
    attempts = [attempt for attempt in attempts if _has_bar(attempt)]
    lanes = _packed(attempts, until)
    by_kind: dict[str, list[tuple[TimedAttempt, int]]] = {kind: [] for kind in _KINDS}
    for attempt, lane in zip(attempts, lanes, strict=True):
        if lane < MOST_LANES:
            by_kind[_kind(attempt)].append((attempt, lane))
    count = min(max(lanes, default=0) + 1, MOST_LANES)
    height = max(3.0, min(10.0, 320 / count))
    band = _Band(scale, until, top, height, count)
    parts = [svg.strokes(band.strokes(mine), colour=_KINDS[kind], width=height - 0.8) for kind, mine in by_kind.items()]
    parts.append(svg.text(_LEFT - 6, top + height * count / 2 + 4, counted(count, "lane"), anchor="end"))
    left = len(attempts) - sum(map(len, by_kind.values()))
    return parts, top + height * count + 2, f"{left:,} of {len(attempts):,} attempts are not drawn" if left else ""


def _has_bar(attempt: TimedAttempt) -> bool:
    """Whether there is more to be seen of an attempt than that it waits, or waited in vain because nobody wanted it any more."""
    return attempt.started is not None or attempt.fate.bad


def _packed(attempts: Sequence[TimedAttempt], until: float) -> list[int]:
    """Return the lane of each attempt; where there are too many lanes, what stands out lies in the first ones."""
    found = pack(bars_of(attempts, until))
    if max(found, default=0) < MOST_LANES:
        return found
    notable = [place for place, attempt in enumerate(attempts) if attempt.notable]
    others = [place for place, attempt in enumerate(attempts) if not attempt.notable]
    below = 0
    for places in (notable, others):
        lanes = pack(bars_of((attempts[place] for place in places), until))
        for place, lane in zip(places, lanes, strict=True):
            found[place] = below + lane
        below += max(lanes, default=-1) + 1
    return found


# ---------------------------------------------------------------- matplotlib


def plot_into(attempts: Sequence[TimedAttempt], start: float, until: float, into: Any) -> None:
    """Draw the timeline into axes of matplotlib."""
    packed, places = len(attempts) > MOST_ROWS, _places(attempts, until)
    for kind, colour in _KINDS.items():
        mine = [(attempt, place) for attempt, place in zip(attempts, places, strict=True) if _kind(attempt) == kind and _has_bar(attempt)]
        if mine:
            widths, lefts = [attempt.end(until) - attempt.begin() for attempt, _ in mine], [attempt.begin() - start for attempt, _ in mine]
            into.barh([place for _, place in mine], widths, left=lefts, color=colour, label=kind)
    if not packed:
        waits = [(attempt.waited(until), attempt.launched - start) for attempt in attempts]
        into.barh(places, [wait for wait, _ in waits], left=[left for _, left in waits], color=svg.FAINT, height=0.2, label="waiting")
        into.set_yticks(places, [attempt.name for attempt in attempts])
    into.invert_yaxis()
    into.set_xlabel("seconds since submission")
    if attempts:
        into.legend()


def inches(attempts: Sequence[TimedAttempt], until: float) -> float:
    """Return how high a figure of matplotlib is: the more, the more rows there are, up to a bound."""
    return max(2.0, min(8.0, 0.2 * (max(_places(attempts, until), default=0) + 4)))


def _places(attempts: Sequence[TimedAttempt], until: float) -> list[int]:
    """Return the row of each attempt: its own, or a lane that it shares where there are many."""
    return _packed(attempts, until) if len(attempts) > MOST_ROWS else list(range(len(attempts)))
