"""A rehearsal: what the first attempt in a fresh process pays for, paid while the process has nothing to do.

A process that was just forked shares its memory with the one it came from until it writes to it, and all that an attempt touches is
written to: reference counts are. Together with the table's connection and what libraries make on first use that is some ten milliseconds,
several times what a small task takes. So the two data planes run once, over two records, in a store that is thrown away.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from smr_notebook.control.ledger import JOBS
from smr_notebook.control.pulse import pulse_of
from smr_notebook.dataflow.aggregations import as_reduce, natural_combiner
from smr_notebook.dataflow.code import capture, load_functions
from smr_notebook.dataflow.exchange import ObjectExchange, gather_index
from smr_notebook.dataflow.functions import Functions
from smr_notebook.dataflow.mapping import run_map, run_map_to_part
from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.outputs import PartWriter
from smr_notebook.dataflow.records import RecordBlock
from smr_notebook.dataflow.reducing import run_reduce
from smr_notebook.environment import environment
from smr_notebook.model import AttemptId, Phase, TaskId
from smr_notebook.ports import Backend, ObjectStore

_BUDGET = 1 << 20


def warm_up(backend: Backend, store: ObjectStore) -> None:
    """Rehearse.

    Args:
        backend: The platform: its table is opened, and nothing is written to it.
        store: Where the rehearsal writes: to be thrown away.

    Raises:
        StoreError: The table cannot be opened.
    """
    environment()
    pulse_of(os.getpid())
    backend.table.get(JOBS, JOBS)
    rehearse_in(store)


def rehearse_in(store: ObjectStore) -> None:
    """Run the data planes once. No thread is left."""
    scratch = Path(gettempdir())
    functions, _ = load_functions(capture(_functions()).data)
    mapper, reducer = (AttemptId(TaskId(phase, 0), 1) for phase in Phase)
    exchange = ObjectExchange(store, "rehearsal", scratch=scratch)
    mapped = run_map(
        functions, _blocks(), exchange.writer(mapper, 1), partitions=1, meter=Meter(), budget=_BUDGET, scratch=scratch
    )
    index = gather_index(store, [mapped.receipt], 1)
    store.put("rehearsal/index", index.pieces())
    exchange = ObjectExchange(store, "rehearsal", scratch=scratch, index="rehearsal/index", index_crcs=index.crcs)
    sink = PartWriter(store, f"rehearsal/{reducer}", 0, grouped_order=False, scratch=scratch)
    run_reduce(functions, exchange.read(0, [mapped.receipt]), sink, meter=Meter(), budget=_BUDGET, scratch=scratch)
    run_map_to_part(functions, _blocks(), PartWriter(store, f"rehearsal/{mapper}", 0, grouped_order=False, scratch=scratch), meter=Meter())


def _blocks() -> Iterator[RecordBlock]:
    yield RecordBlock("rehearsal", ["a", "b"], 2, lambda _: -1, 0)


def _functions() -> Functions:
    return Functions(_pair, False, as_reduce(sum), False, natural_combiner(sum), False)  # noqa: FBT003 - a row of facts


def _pair(record: Any) -> Iterator[tuple[Any, int]]:
    yield record, 1
