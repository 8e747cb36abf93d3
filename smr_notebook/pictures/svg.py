"""SVG as text: what all pictures are made of.

Rules of this module:

* The ground is transparent, and every colour reads on the white of light themes and on the black of dark ones: the contrast of text is at
  least 4 to 1 on either, that of marks 3 to 1.
* A picture is one file: no style sheet, no script, no font and nothing to be fetched.
* Numbers have one digit behind the point: a tenth of a pixel is not seen, and a picture of ten thousand marks stays small.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from html import escape
from typing import Final

from smr_notebook.showing.visible import visible

TEXT: Final = "#797979"
FAINT: Final = "#8a8a8a"
BLUE: Final = "#1e88e5"
TEAL: Final = "#00897b"
OLIVE: Final = "#7c8a1e"
RED: Final = "#e53935"
PURPLE: Final = "#ab47bc"
ORANGE: Final = "#c77700"

WIDTH: Final = 800
"""Pixels that a picture is wide."""


def document(height: float, title: str, parts: Iterable[str]) -> str:
    """Return a picture.

    Args:
        height: In pixels.
        title: What it shows, in words and numbers.
        parts: Its elements.
    """
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{number(height)}" viewBox="0 0 {WIDTH} {number(height)}" '
        f'font-family="system-ui,sans-serif" font-size="11" fill="{TEXT}" role="img">\n<title>{_words(title)}</title>\n'
        + "".join(f"{part}\n" for part in parts if part)
        + "</svg>\n"
    )


def number(value: float) -> str:
    """Return a coordinate with a digit behind the point, or none if that is 0."""
    text = f"{value:.1f}"
    return text.removesuffix(".0") if text != "-0.0" else "0"


def text(x: float, y: float, words: str, *, anchor: str = "start", colour: str = "") -> str:
    """Return words; `anchor` is `start`, `middle` or `end`."""
    aligned = "" if anchor == "start" else f' text-anchor="{anchor}"'
    painted = f' fill="{colour}"' if colour else ""
    return f'<text x="{number(x)}" y="{number(y)}"{aligned}{painted}>{_words(words)}</text>'


def box(x: float, y: float, width: float, height: float, *, colour: str, title: str = "") -> str:
    """Return a filled rectangle; whoever points at it in a browser is told its title."""
    size = f'x="{number(x)}" y="{number(y)}" width="{number(width)}" height="{number(height)}" fill="{colour}"'
    return f"<rect {size}><title>{_words(title)}</title></rect>" if title else f"<rect {size}/>"


def line(x1: float, y1: float, x2: float, y2: float, *, colour: str = FAINT, width: float = 1, dashed: bool = False) -> str:
    """Return a line."""
    ends = f'x1="{number(x1)}" y1="{number(y1)}" x2="{number(x2)}" y2="{number(y2)}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{number(width)}"{_dashes(dashed)}/>'


def strokes(lines: Iterable[tuple[float, float, float]], *, colour: str, width: float) -> str:
    """Return many horizontal lines, each from a point and so long, in one element of a dozen bytes for each; nothing for none."""
    drawn = "".join(f"M{number(x)} {number(y)}h{number(length)}" for x, y, length in lines)
    return f'<path stroke="{colour}" stroke-width="{number(width)}" fill="none" d="{drawn}"/>' if drawn else ""


def area(points: Iterable[tuple[float, float]], *, colour: str) -> str:
    """Return a filled shape."""
    drawn = "L".join(f"{number(x)} {number(y)}" for x, y in points)
    return f'<path fill="{colour}" d="M{drawn}z"/>' if drawn else ""


def legend(x: float, y: float, entries: Iterable[tuple[str, str]]) -> list[str]:
    """Return colours and what they mean, side by side from `x` on."""
    parts = []
    for colour, words in entries:
        parts += [box(x, y - 8, 10, 8, colour=colour), text(x + 14, y, words)]
        x += 14 + 6.2 * len(words) + 14
    return parts


def image(picture: str, alt: str) -> str:
    """Return a picture as HTML. As `<img>` it is kept where a notebook is not trusted; as `<svg>` it would be dropped."""
    data = base64.b64encode(picture.encode()).decode()
    return f'<img class="smr-v" style="max-width:100%" alt="{_words(alt)}" src="data:image/svg+xml;base64,{data}">'


def _words(text: str) -> str:
    """Return a text as it may stand in XML."""
    return escape(visible(text))


def _dashes(dashed: bool) -> str:  # noqa: FBT001 - private
    return ' stroke-dasharray="4 3"' if dashed else ""
