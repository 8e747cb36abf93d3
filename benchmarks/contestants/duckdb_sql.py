"""DuckDB: the limit of what can be had where no Python function is called."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
from by_hand import part_lines
from cells import Answer, Setup

LINES = "read_csv({files}, header=false, columns={{'line': 'VARCHAR'}}, delim='\\0', quote='', escape='', auto_detect=false)"


@contextmanager
def opened(setup: Setup) -> Iterator[Any]:
    with duckdb.connect(config={"threads": setup.workers}) as connection:
        yield connection


def rows(connection: Any, text: str, setup: Setup) -> Answer:
    found = connection.execute(text.replace("{files}", repr(setup.paths))).fetchall()
    return lambda: found


def word_count(connection: Any, setup: Setup) -> Answer:
    lines = LINES.format(files="{files}")
    text = f"SELECT word, count(*) FROM (SELECT unnest(string_split(line, ' ')) AS word FROM {lines}) GROUP BY word"  # noqa: S608 - our own
    return rows(connection, text, setup)


def user_totals(connection: Any, setup: Setup) -> Answer:
    read = "read_json({files}, format='newline_delimited', columns={'user': 'VARCHAR', 'amount': 'DOUBLE'})"
    found = rows(connection, f"SELECT user, sum(amount), count(*) FROM {read} GROUP BY ALL".replace("user,", '"user",'), setup)  # noqa: S608 - as above
    return lambda: ((user, round(amount, 2), count) for user, amount, count in found())


def total_sort(connection: Any, setup: Setup) -> Answer:
    target = Path(setup.scratch) / "part-0"
    lines = LINES.format(files=repr(setup.paths))
    connection.execute(f"COPY (SELECT line FROM {lines} ORDER BY line) TO '{target}' (HEADER false, QUOTE '', DELIMITER '\\0')")  # noqa: S608 - as above
    return lambda: part_lines(setup.scratch)


def user_frames(connection: Any, setup: Setup) -> Answer:
    return rows(connection, 'SELECT "user", sum(amount), avg(amount), count(*) FROM read_parquet({files}) GROUP BY "user"', setup)


CELLS = {
    "W1": word_count,
    "W2": word_count,
    "W3": user_totals,
    "W4": total_sort,
    "W7": user_frames,
    "W10": word_count,
    "W10 few": word_count,
}
