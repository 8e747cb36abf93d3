"""What carries pairs how fast on this machine: `python benchmarks/exchanges.py`. Needs redis-server and redis-py.

Two tables: the exchange alone, for runs of few large slices and of many small ones, written by one process and read by another call of it,
and merged in between; and a whole job on the local backend whose pairs nothing makes fewer. Each number is the best of three.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from smr_notebook import Session
from smr_notebook.backends.local.objects import FolderStore
from smr_notebook.backends.redis.carrier import open_redis
from smr_notebook.dataflow.carrying import CarriedExchange
from smr_notebook.dataflow.coalescing import Coalescer, SourceRun
from smr_notebook.dataflow.exchange import ObjectExchange, gather_index
from smr_notebook.dataflow.grids import Grid
from smr_notebook.dataflow.merged_index import gather_for_merging, gather_merged, rows_to_merge
from smr_notebook.dataflow.meter import Meter
from smr_notebook.model import AttemptId, Phase, Receipt, TaskId
from smr_notebook.ports import Exchange
from smr_notebook.testing.redis_server import redis_server

_TIMES = 3
_SHAPES = {"20 runs x 10 slices of 1 MiB": (20, 10, 1 << 20), "200 runs x 100 slices of 2 KiB": (200, 100, 2 << 10)}
_ITEMS = 1_000_000

Open = Callable[[str, tuple[str, tuple[int, ...]] | None], Exchange]


def spread(item: int) -> Iterator[tuple[int, str]]:
    """Emit a pair of some fifty bytes, of a key that hardly repeats."""
    yield item * 2_654_435_761 % 400_009, f"value of the item number {item:020d}"


def count(key: int, values: Iterator[str]) -> int:  # noqa: ARG001 - the signature of reduce
    """Count values."""
    return sum(1 for _ in values)


def alone(folder: Path, open_exchange: Open, objects: FolderStore, shape: tuple[int, int, int]) -> tuple[float, float]:
    """Return seconds of writing and of reading runs of a shape."""
    runs, partitions, size = shape
    block = random.Random(1).randbytes(size)
    prefix = f"jobs/{folder.name}"
    began = time.perf_counter()
    receipts: list[Receipt] = []
    for run in range(runs):
        writer = open_exchange(prefix, None).writer(AttemptId(TaskId(Phase.MAP, run), 1), partitions)
        for partition in range(partitions):
            writer.write(partition, block, groups=1, pairs=1, checksum=1)
        receipts.append(writer.close())
    wrote = time.perf_counter() - began
    index = gather_index(objects, receipts, partitions)
    objects.put(f"{prefix}/index", index.pieces())
    began = time.perf_counter()
    for partition in range(partitions):
        exchange = open_exchange(prefix, (f"{prefix}/index", index.crcs))
        read = sum(len(each) for blocks in exchange.read(partition, receipts) for each in blocks)
        if read != runs * size:
            raise AssertionError(f"{read} bytes instead of {runs * size}")
    return wrote, time.perf_counter() - began


def merged(folder: Path, objects: FolderStore, shape: tuple[int, int, int]) -> tuple[float, float]:
    """Return seconds of processor time of merging runs of a shape, in a grid of four tasks, and of reading them then."""
    runs, partitions, size = shape
    block, prefix, grid = random.Random(1).randbytes(size), f"jobs/{folder.name}", Grid(runs, partitions, 2, 2)
    receipts: list[list[Receipt]] = []
    for run in range(runs):
        writer = ObjectExchange(objects, prefix, scratch=folder.parent).writer(AttemptId(TaskId(Phase.MAP, run), 1), partitions)
        for partition in range(partitions):
            writer.write(partition, block, groups=1, pairs=1, checksum=1)
        receipts.append([writer.close()])
    mapped = gather_for_merging(objects, receipts, grid)
    objects.put(f"{prefix}/index", mapped.pieces())
    began, wrote = time.process_time(), []
    for task in range(grid.tasks):
        attempt, mine = AttemptId(TaskId(Phase.MERGE, task), 1), grid.maps_of(task)
        rows = rows_to_merge(objects, f"{prefix}/index", receipts, grid, task=task, crc=mapped.crcs[task])
        sources = [SourceRun(receipts[run][0], rows[:, at]) for at, run in enumerate(mine)]
        partition = grid.partitions_of(task)
        merge = Coalescer(objects, sources, partition, attempt=attempt, key=None, meter=Meter(), most_bytes=1 << 28)
        wrote.append(merge.write(f"{prefix}/{attempt}/run"))
    took = time.process_time() - began
    index = gather_merged(objects, wrote, grid)
    objects.put(f"{prefix}/merged", index.pieces())
    began = time.process_time()
    for number in range(partitions):
        exchange = ObjectExchange(objects, prefix, scratch=folder.parent, index=f"{prefix}/merged", index_crcs=index.crcs)
        mine = grid.merges_of(number)
        if sum(len(each) for blocks in exchange.read(number, wrote[mine.start : mine.stop]) for each in blocks) != runs * size:
            raise AssertionError(f"partition {number} is not what was written")
    return took, time.process_time() - began


def main() -> None:
    """Measure, and print."""
    with tempfile.TemporaryDirectory() as name, redis_server(Path(name) / "redis") as server:
        root = Path(name)
        objects, carrier = FolderStore(root / "objects"), open_redis(server.address)

        def by_objects(prefix: str, index: tuple[str, tuple[int, ...]] | None) -> Exchange:
            key, crcs = index or ("", ())
            return ObjectExchange(objects, prefix, scratch=root, index=key, index_crcs=crcs)

        def by_redis(prefix: str, index: tuple[str, tuple[int, ...]] | None) -> Exchange:
            key, crcs = index or ("", ())
            return CarriedExchange(objects, prefix, carrier, scratch=root, index=key, index_crcs=crcs)

        for told, shape in _SHAPES.items():
            size = shape[0] * shape[1] * shape[2] / 1e6
            for exchange, opened in {"objects": by_objects, "redis": by_redis}.items():
                found = []
                for number in range(_TIMES):
                    folder = root / f"{exchange}{number}"
                    found.append(alone(folder, opened, objects, shape))
                    carrier.remove(f"jobs/{folder.name}", shape[1])
                wrote, read = (min(times) for times in zip(*found, strict=True))
                sys.stdout.write(f"{told:32} {exchange:8} write {size / wrote:7.0f} MB/s   read {size / read:7.0f} MB/s\n")
            found = [merged(root / f"merged{number}", objects, shape) for number in range(_TIMES)]
            took, read = (min(times) for times in zip(*found, strict=True))
            sys.stdout.write(f"{told:32} merged   merge {size / took:7.0f} MB/s   read {size / read:7.0f} MB/s (processor time)\n")
        session = Session(settings={"workspace": root / "ws", "redis_url": server.url, "workers": 2})
        try:
            for exchange in ("objects", "redis"):
                seconds = []
                for _ in range(_TIMES):
                    began = time.perf_counter()
                    session.map_reduce(spread, count, range(_ITEMS), reducers=8, exchange=exchange).wait()
                    seconds.append(time.perf_counter() - began)
                sys.stdout.write(f"a job of {_ITEMS:,} pairs, 8 partitions  {exchange:8} {min(seconds):.2f} s\n")
        finally:
            session.close()


if __name__ == "__main__":
    main()
