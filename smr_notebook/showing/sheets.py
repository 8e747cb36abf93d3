"""A sheet: a title and some facts, each with a name, as text and as HTML. What plans and previews look like. Pure.

Rules of this module:

* What differs between two runs of the same notebook (times, costs, numbers of tasks) is told to *vary*. In text it stands in the stamp
  behind the title, and on the lines below it that begin with ` ! `; in HTML inside `<span class="smr-v">…</span>`. The rules of
  `nbval_sanitize.cfg` then make two runs equal.
* Styles are inline, the ground is transparent and colours are those of the page, because a notebook that is not trusted loses style sheets,
  and themes are dark or light.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

_LABEL: Final = 8
_NAME: Final = "padding:1px 12px 1px 0;text-align:left;vertical-align:top;font-weight:normal;opacity:.75;white-space:nowrap"
_TEXT: Final = "padding:1px 12px 1px 0;text-align:left;vertical-align:top"
_TABLE: Final = "margin:2px 0;border-collapse:collapse;background:transparent;color:inherit"


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of a sheet.

    Attributes:
        name: What it is about.
        text: What is to be said.
        varies: Whether that may differ between two runs of the same notebook.
    """

    name: str
    text: str
    varies: bool = False


@dataclass(frozen=True, slots=True)
class Sheet:
    """What is told of something.

    Attributes:
        kind: What it is, in lower case: `plan`.
        title: Its first line.
        seconds: How long it took to find out.
        facts: What is told.
    """

    kind: str
    title: str
    seconds: float
    facts: tuple[Fact, ...]


def sheet_text(sheet: Sheet) -> str:
    """Return a sheet as plain text; what varies stands above what does not."""
    head = f"{sheet.title} [smr-{sheet.kind}, {max(sheet.seconds, 0.0):.1f} s]"
    varying = [f" ! {line}" for line in _lines([fact for fact in sheet.facts if fact.varies])]
    return "\n".join([head, *varying, *(f" {line}" for line in _lines([fact for fact in sheet.facts if not fact.varies]))])


def sheet_html(sheet: Sheet) -> str:
    """Return a sheet as HTML: a table of two columns."""
    head = f"<b>{escape(sheet.title)}</b> {volatile(f'{max(sheet.seconds, 0.0):.1f} s')}"
    rows = "".join(_row(fact) for fact in sheet.facts)
    return (
        f'<div class="smr-{escape(sheet.kind)}" style="line-height:1.5"><div class="smr-head">{head}</div>'
        f'<table style="{_TABLE}">{rows}</table></div>'
    )


def _lines(facts: Sequence[Fact]) -> Iterator[str]:
    for fact in facts:
        yield f"{fact.name:<{_LABEL - 1}} {' '.join(fact.text.split(chr(10)))}"


def _row(fact: Fact) -> str:
    text = volatile(fact.text) if fact.varies else escape(fact.text)
    name = f'<th scope="row" style="{_NAME}">{escape(fact.name)}</th>'
    return f'<tr style="background:transparent">{name}<td style="{_TEXT}">{text}</td></tr>'


def volatile(value: str) -> str:
    """Return a text as HTML, marked as one that may differ between two runs of the same notebook."""
    return f'<span class="smr-v">{escape(value)}</span>'
