"""The benchmark: this package beside code written by hand, and beside its peers.

`make bench`, `make bench-quick`, or one cell:

    python benchmarks/run.py --workloads W1,W3 --contestants product,ray --rounds 5 --scale 0.1

Prints one table: wall time, CPU time and peak memory of all processes, each with its ratio to the floor; the peak of the largest process;
and the memory before a run, which is what imports and an executor at rest take. Every single run is kept in `build/bench/results`. How it
is measured is told in `race.py` and `gauge.py`, what is done in `contestants/`, with what in `data.py`. Reads /proc, so it runs on Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from race import FLOOR, HERE, Cell, Contestant, Course, Race, Workload
from table import heading, lines

FOLDER = HERE.parent / "build" / "bench"
QUICK_SCALE, QUICK_ROUNDS = 0.2, 3
ROUNDS = 5
PATIENCE_SECONDS = 60.0

WORKLOADS = (
    Workload("W1", "word count, 245 MB of text", "text"),
    Workload("W2", "word count, every pair shuffled, 61 MB", "text-quarter"),
    Workload("W3", "sum and count by user, 3 M JSON lines", "rows"),
    Workload("W4", "total sort, 2 M records of 100 bytes", "records", ordered=True),
    Workload("W5 cold", "from nothing to a first result", cold=True),
    Workload("W5 first", "a first result, warm", times=4),
    Workload("W5 1", "a task that does nothing", count=1, times=4),
    Workload("W5 100", "100 tasks that do nothing", count=100, times=2),
    Workload("W5 1000", "1,000 tasks that do nothing", count=1_000),
    Workload("W7", "frames: sum, mean and count by user, 10 M rows of Parquet", "tables"),
    Workload("W9", "W2 with 4 GB, and 512 MB a worker", "text-large", once=True, budget=512 * 2**20),
    Workload("W10", "word count, 20,000 files of 4 KB", "text-many"),
    Workload("W10 few", "the same bytes in 16 files", "text-few"),
)
QUICK = tuple(workload.name for workload in WORKLOADS if workload.name != "W9")

OURS = (
    Contestant(FLOOR, "floor"),
    Contestant("product", "product"),
    Contestant("product, columns", "product_columns"),
    Contestant("product on Dask", "product_dask"),
    Contestant("fold", "fold"),
)
PEERS = (
    Contestant("joblib", "joblib_map", "joblib"),
    Contestant("Ray", "ray_tasks", "ray"),
    Contestant("Lithops", "lithops_map", "lithops"),
    Contestant("Dask processes", "dask_bag", "dask"),
    Contestant("Dask cluster", "dask_cluster", "dask"),
    Contestant("Spark", "spark_rdd", "spark"),
    Contestant("mrjob", "mrjob_local", "mrjob"),
    Contestant("DuckDB", "duckdb_sql", "columnar"),
    Contestant("Polars", "polars_lazy", "columnar"),
)


def options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/run.py", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small inputs, three rounds, no peers: two minutes")
    parser.add_argument("--workloads", help="names, with commas: W1,W5 (all W5) or W5 cold")
    parser.add_argument("--contestants", help="names, with commas; the floor always runs, and `product` means all that begin so")
    parser.add_argument("--rounds", type=int, help=f"runs that count, {ROUNDS} if not said")
    parser.add_argument("--scale", type=float, help="part of the full size of the inputs")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--patience", type=float, default=PATIENCE_SECONDS, help="a first run longer than so many seconds is the only one")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="for data, logs and results")
    return parser.parse_args(arguments)


def named(wanted: str | None, names: Iterable[str]) -> list[str]:
    """Return the names that are asked for by themselves or by their first word, in the order of the table."""
    listed = list(names)
    asked = [word.strip() for word in wanted.split(",")] if wanted else listed
    unknown = [word for word in asked if not any(_means(word, name) for name in listed)]
    if unknown:
        raise SystemExit(f"There is no {', '.join(unknown)}. There are: {'; '.join(listed)}.")
    return [name for name in listed if any(_means(word, name) for word in asked)]


def _means(word: str, name: str) -> bool:
    return name.lower() == word.lower() or name.lower().replace(",", "").startswith(word.lower() + " ")


def main(arguments: list[str], contestants: tuple[Contestant, ...] = (*OURS, *PEERS)) -> int:
    """Run what is asked for; return the exit code: 1 when a contestant failed."""
    told = options(arguments)
    scale = told.scale or (QUICK_SCALE if told.quick else 1.0)
    rounds = told.rounds or (QUICK_ROUNDS if told.quick else ROUNDS)
    course = Course(told.folder.absolute(), scale, rounds, told.workers, told.patience)
    workloads = named(told.workloads, QUICK if told.quick and not told.workloads else [workload.name for workload in WORKLOADS])
    offered = [contestant for contestant in contestants if not (told.quick and contestant.venv and not told.contestants)]
    runners = named(told.contestants, [contestant.name for contestant in offered])
    asked = [contestant for contestant in offered if contestant.name in {FLOOR, *runners}]
    chosen = [contestant for contestant in asked if contestant.python(course.environments).exists()]
    print(heading(scale=scale, workers=told.workers), flush=True)
    if len(chosen) < len(asked):
        missing = ", ".join(contestant.name for contestant in asked if contestant not in chosen)
        print(f"Not installed, so not run: {missing} (`make bench-peers`).", flush=True)
    cells: list[Cell] = []
    try:
        for workload in WORKLOADS:
            if workload.name in workloads:
                print(f"{workload.name}: {workload.says} …", file=sys.stderr, flush=True)
                cells += Race(workload, chosen, course).run()
    finally:
        print("\n".join(lines(cells)), flush=True)
        _keep(course.folder / "results", cells)
    return int(any(cell.note.startswith("failed") for cell in cells))


def _keep(folder: Path, cells: list[Cell]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps([asdict(cell) for cell in cells], indent=1))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
