"""What was counted under names: sums, which do not care for the order of their parts."""

from __future__ import annotations

Counted = tuple[tuple[str, int], ...]
"""Names and what was counted, by name."""


def added(some: Counted, others: Counted) -> Counted:
    """Return counters together, by name."""
    if not some or not others:
        return some or others
    found = dict(some)
    for name, number in others:
        found[name] = found.get(name, 0) + number
    return tuple(sorted(found.items()))
