"""Golden files: what was stored by an earlier version stays readable, and what it said is still written in the same way.

A noun may gain a field that has a default. So a golden file holds fields that are written now as they were then, and may lack some.
"""

from __future__ import annotations

from typing import Any

import msgspec


def still_says(now: bytes, then: bytes) -> bool:
    """Whether JSON that is written now says all that a golden file says, field by field, in the same order.

    Args:
        now: What is written now.
        then: The golden file.
    """
    return _holds(msgspec.json.decode(now), msgspec.json.decode(then))


def _holds(now: Any, then: Any) -> bool:
    if isinstance(now, dict) and isinstance(then, dict):
        shared = [name for name in now if name in then]
        return shared == list(then) and all(_holds(now[name], then[name]) for name in then)
    if isinstance(now, list) and isinstance(then, list):
        return len(now) == len(then) and all(map(_holds, now, then))
    return type(now) is type(then) and now == then
