"""A platform in the memory of one process, for what is thrown away: it runs nothing."""

from __future__ import annotations

from smr_notebook.backends.memory.functions import MemoryFunctions
from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.table import MemoryTable
from smr_notebook.backends.system_clock import SystemClock
from smr_notebook.model import Policy
from smr_notebook.ports import Backend, Context


def open_memory() -> Backend:
    """Return an empty one. Its handler does nothing."""
    return Backend(
        name="memory",
        location="memory:",
        objects=MemoryStore(),
        table=MemoryTable(),
        functions=MemoryFunctions(_nothing),
        clock=SystemClock(),
        sources={},
        policy=Policy(),
        poll=(0.01, 0.1),
    )


def _nothing(_: bytes, __: Context) -> bytes:
    return b""
