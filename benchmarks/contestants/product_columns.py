"""smr_notebook where its user names columns and built-in aggregations, and writes no function at all."""

from __future__ import annotations

from typing import Any

from cells import Absent, Answer, Setup
from contestants.product import folder, opened, rows

import smr_notebook as smr

__all__ = ["CELLS", "opened"]


def aggregate(session: Any, setup: Setup, **totals: Any) -> Any:
    return session.aggregate(folder(setup), by="user", wait=True, **totals)


def check(session: Any) -> None:
    if not hasattr(session, "aggregate"):
        raise Absent("no aggregate")


def user_totals(session: Any, setup: Setup) -> Answer:
    check(session)
    frame = aggregate(session, setup, total=smr.sum("amount"), n=smr.count())  # type: ignore[attr-defined]
    return lambda: ((user, round(total, 2), n) for user, total, n in frame[["user", "total", "n"]].itertuples(index=False, name=None))


def user_frames(session: Any, setup: Setup) -> Answer:
    check(session)
    frame = aggregate(session, setup, sum=smr.sum("amount"), mean=smr.mean("amount"), count=smr.count())  # type: ignore[attr-defined]
    return rows(frame[["user", "sum", "mean", "count"]])


CELLS = {"W3": user_totals, "W7": user_frames}
