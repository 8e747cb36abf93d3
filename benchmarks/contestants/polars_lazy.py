"""Polars, lazy and streaming: the limit of what can be had where no Python function is called."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from by_hand import part_lines
from cells import Answer, Setup


@contextmanager
def opened(setup: Setup) -> Iterator[None]:
    os.environ["POLARS_MAX_THREADS"] = str(setup.workers)  # read at the import
    import polars  # noqa: F401, ICN001, PLC0415 - see above

    yield


def word_count(_: None, setup: Setup) -> Answer:
    import polars as pl  # noqa: PLC0415 - as in `opened`

    lines = pl.scan_csv(setup.paths, has_header=False, separator="\x01", quote_char=None, new_columns=["word"], schema={"word": pl.String})
    words = lines.select(pl.col("word").str.split(" ").explode())
    return words.group_by("word").len().collect(engine="streaming").iter_rows


def user_totals(_: None, setup: Setup) -> Answer:
    import polars as pl  # noqa: PLC0415 - as above

    rows = pl.scan_ndjson(setup.paths, schema={"user": pl.String, "amount": pl.Float64})
    frame = rows.group_by("user").agg(pl.col("amount").sum(), pl.len()).collect(engine="streaming")
    return lambda: ((user, round(amount, 2), count) for user, amount, count in frame.iter_rows())


def total_sort(_: None, setup: Setup) -> Answer:
    import polars as pl  # noqa: PLC0415 - as above

    lines = pl.scan_csv(setup.paths, has_header=False, separator="\x01", quote_char=None, schema={"line": pl.String})
    lines.sort("line").sink_csv(Path(setup.scratch) / "part-0", include_header=False, quote_style="never")
    return lambda: part_lines(setup.scratch)


def user_frames(_: None, setup: Setup) -> Answer:
    import polars as pl  # noqa: PLC0415 - as above

    amount = pl.col("amount")
    found = pl.scan_parquet(setup.paths).group_by("user").agg(amount.sum(), amount.mean().alias("mean"), pl.len())
    return found.collect(engine="streaming").iter_rows


CELLS = {
    "W1": word_count,
    "W2": word_count,
    "W3": user_totals,
    "W4": total_sort,
    "W7": user_frames,
    "W10": word_count,
    "W10 few": word_count,
}
