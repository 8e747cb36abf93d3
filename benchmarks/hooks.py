"""What hooks and counters cost in the hottest loop: records mapped to pairs as columns, in one process, in turn.

Each way runs once a round, over the same records, and what is told is the median over the rounds of its time by that of the plain way in
the same round, so that what disturbs the machine meets all alike. Time is the processor time of the thread.

    PYTHONPATH=. python benchmarks/hooks.py [records] [rounds]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from statistics import median
from tempfile import gettempdir
from typing import Any

import smr_notebook as smr
from smr_notebook.counting import counting
from smr_notebook.dataflow.bad_records import BadRecords, Told
from smr_notebook.dataflow.emitting import PairEmitter
from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.opening import opened
from smr_notebook.dataflow.pair_programs import PairProgram, program_of_pairs
from smr_notebook.dataflow.records import RecordBlock

BLOCK = 10_000
BATCH_BYTES = 8 << 20

STATUS = smr.counter("status 500")


def plain(line: str) -> Iterator[tuple[str, int]]:
    yield line[-3:], 1


def with_state(_: dict[str, int], line: str) -> Iterator[tuple[str, int]]:
    yield line[-3:], 1


def counts_some(line: str) -> Iterator[tuple[str, int]]:
    if line.endswith("500"):
        STATUS.add()
    yield line[-3:], 1


def counts_all(line: str) -> Iterator[tuple[str, int]]:
    smr.count_up("lines")
    yield line[-3:], 1


WAYS: dict[str, tuple[Callable[..., Any], bool]] = {
    "plain": (plain, False),
    "the same again": (plain, False),
    "hooks without state": (smr.hooked(plain, setup=lambda: None, teardown=lambda: None), False),
    "hooks with state": (smr.hooked(with_state, setup=dict, teardown=dict.clear), False),
    "a tenth is counted": (counts_some, False),
    "every record is counted": (counts_all, False),
    "plain, on_error=skip": (plain, True),
    "every record is counted, on_error=skip": (counts_all, True),
}


def seconds(map: Callable[..., Any], blocks: list[list[str]], *, tolerant: bool) -> float:
    """Return what it takes to map all records, between the hooks."""
    program, meter = program_of_pairs(map, None, None), Meter()
    meter.bad = BadRecords(lambda error: Told(str(error)), everything=False, scratch=Path(gettempdir())) if tolerant else None
    began = time.thread_time()
    with counting(meter.counts), opened(program, ("map",), meter=meter) as ready:
        functions = ready.functions if isinstance(ready, PairProgram) else program.functions
        records = (RecordBlock("log", block, 40 * len(block), lambda _: -1, None) for block in blocks)
        for _ in PairEmitter(functions, records, meter=meter, batch_bytes=BATCH_BYTES).batches():
            pass
    return time.thread_time() - began


def main(records: int = 1_000_000, rounds: int = 9) -> None:
    """Run all ways, and tell their ratios."""
    lines = [f"10.0.{number % 256}.1 GET /page/{number % 977} {(200, 200, 304, 404, 500)[number % 5]}" for number in range(records)]
    blocks = [lines[start : start + BLOCK] for start in range(0, records, BLOCK)]
    taken: dict[str, list[float]] = {name: [] for name in WAYS}
    for number in range(rounds + 1):
        for name, (map, tolerant) in WAYS.items():
            took = seconds(map, blocks, tolerant=tolerant)
            if number:  # the first round warms up
                taken[name].append(took)
    for name, found in taken.items():
        ratios = [one / plain for one, plain in zip(found, taken["plain"], strict=True)]
        print(f"{name:<40} {median(found) / records * 1e9:6.0f} ns a record   {median(ratios):.2f}")


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main(*map(int, sys.argv[1:]))
