"""Amounts as people read them: quantities, money, times, shares. Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

_TIMES: Final = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
_LEAST_PERCENT: Final = 0.01
_MOST_PERCENT: Final = 99


def duration(seconds: float) -> str:
    """Return a time as a clock shows it: `00:14`, `1:02:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"


def brief(seconds: float) -> str:
    """Return a time in two or three digits with its unit: `12 µs`, `3.4 ms`, `41 s`, `12 min`, `3.5 h`."""
    if seconds >= 90:
        return f"{seconds / 60:,.0f} min" if seconds < 5_400 else f"{seconds / 3_600:,.1f} h"
    for size, unit in _TIMES:
        if seconds >= size:
            count = seconds / size
            return f"{count:.0f} {unit}" if count >= 9.95 else f"{count:.1f} {unit}"
    return f"{seconds * 1e9:.0f} ns" if seconds > 0 else "0 s"


def span(seconds: float) -> str:
    """Return how long something took: `35 ms`, `1.2 s`, `14 min 3 s`, `2 h 5 min`."""
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, left = divmod(minutes, 60)
    return f"{hours} h {left} min" if hours else f"{minutes} min {rest} s"


def quantity(count: float, unit: str = "") -> str:
    """Return a number in three digits with a decimal prefix: `1.9 M`, `51.3 G`; with a unit behind it when one is given."""
    for prefix in ("", "k", "M", "G", "T"):
        if count < 999.5:
            digits = f"{count:.0f}" if count >= 99.95 or not prefix else f"{count:.1f}"
            return f"{digits} {'K' if unit and prefix == 'k' else prefix}{unit}".rstrip()
        count /= 1000
    return f"{count:,.0f} P{unit}"


def dollars(amount: float) -> str:
    """Return an amount of US dollars in two digits at least, never as a power of ten: `$0.0012`, `$0.0000001`, `$1.30`."""
    return f"${amount:,.2f}" if amount >= 0.095 or not amount else f"${Decimal(f'{amount:.2g}'):f}"


def counted(count: int, noun: str) -> str:
    """Return a number with what it counts: `1 record`, `1,200 records`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def rounded(count: int) -> int:
    """Return a number of which only three digits are told: 30,000 for 30,025."""
    return round(count, 3 - len(str(abs(count)))) if count else 0


def percent(share: float) -> str:
    """Return a share of the whole: `100 %`, `62 %`, `3.1 %`, `less than 0.01 %`; no rounding makes all of what is less."""
    value = 100 * share
    if 0 < value < _LEAST_PERCENT:
        return f"less than {_LEAST_PERCENT:g} %"
    if _MOST_PERCENT < value < 100:
        return f"more than {_MOST_PERCENT:g} %"
    return f"{value:.0f} %" if value >= 9.95 or not value else f"{value:.2g} %"
