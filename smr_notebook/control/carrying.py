"""What a job's pairs travel by: its exchange, put together from the plan, and its box at the carrier, from the first launch to the end.

Rules of this module:

* Who coordinates makes the box ready before anything is launched, and holds it as long as the job has not ended. Attempts only use it.
* Whoever made it ready looks whether the job has ended meanwhile, and removes it then: the end stands before a box is removed, so that
  of two coordinators the one that is behind removes it.
* When the job has ended, however it did, the box goes: memory and streams cost something each hour, and nobody but its reducers reads it.
  So a job whose pairs were carried leaves nothing that another one could go on from, and no group that could be debugged.
* What a zombie sends after that lies in nobody's way, and expires, or finds nothing to send it to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from smr_notebook.control.attempts import persist
from smr_notebook.control.carriage import TARIFFS
from smr_notebook.control.layout import Layout
from smr_notebook.control.metering import MeteredCarrier
from smr_notebook.dataflow.carrying import CarriedExchange
from smr_notebook.dataflow.exchange import ObjectExchange
from smr_notebook.dataflow.spooling import IN_MEMORY
from smr_notebook.errors import ConfigError, PlatformError
from smr_notebook.model import OBJECTS, AttemptId, Plan
from smr_notebook.ports import Backend, Carrier, Exchange

HELD_SECONDS: Final = 1_800.0
"""A box is held again after so long: at half of the time that a carrier promises."""


def exchange_of(
    backend: Backend, plan: Plan, *, scratch: Path, in_memory: int = IN_MEMORY, index: str = "", index_crcs: Sequence[int] = ()
) -> Exchange:
    """Return the exchange of a job.

    Args:
        backend: The platform.
        plan: The plan of the job.
        scratch: Folder for the run that is being written.
        in_memory: Bytes of that run that may stay in memory.
        index: Key of the gathered index; empty while there is none.
        index_crcs: CRC-32 of each partition's rows in it.

    Raises:
        ConfigError: This process knows no such exchange, or it cannot be used as it is set up.
        StoreError: It cannot be reached.
    """
    objects, folder = backend.objects, Layout(plan.job).folder
    if plan.exchange == OBJECTS:
        return ObjectExchange(
            objects, folder, scratch=scratch, in_memory=in_memory, index=index, index_crcs=index_crcs, parallel=backend.parallel
        )
    carrier = carrier_of(backend, plan)
    return CarriedExchange(objects, folder, carrier, scratch=scratch, in_memory=in_memory, index=index, index_crcs=index_crcs)


def carrier_of(backend: Backend, plan: Plan) -> Carrier:
    """Return what carries the pairs of a job whose plan names a carrier. Raises as `exchange_of` does."""
    if plan.exchange not in backend.carriers:
        known = ", ".join([OBJECTS, *sorted(backend.carriers)])
        raise ConfigError(f"exchange={plan.exchange!r} is not known here. Known: {known}.")
    carrier, tariff = backend.carriers[plan.exchange](plan.carrier), TARIFFS.get(plan.exchange)
    return MeteredCarrier(carrier, tariff, backend.tally) if tariff and backend.tally else carrier


class Box:
    """The box of a job, as its coordinator sees it.

    Args:
        backend: The platform.
        plan: The plan of the job.
    """

    def __init__(self, backend: Backend, plan: Plan) -> None:
        self._backend = backend
        self._plan = plan
        self._until = 0.0

    @property
    def due(self) -> bool:
        """Whether it is time to see to the box; never where pairs travel by objects."""
        return self._plan.carried and self._backend.clock.now() >= self._until

    def hold(self, ended: Callable[[], bool]) -> None:
        """See to it that the box stands.

        Args:
            ended: Says, when asked, whether the job has ended. Who stood still before may have made a box anew that was removed.

        Raises:
            ConfigError, StoreError: As of `exchange_of`.
        """
        now = self._backend.clock.now()
        carrier_of(self._backend, self._plan).hold(Layout(self._plan.job).folder, self._plan.reducers)
        if ended():
            self.remove()
        self._until = now + HELD_SECONDS

    def remove(self) -> None:
        """Remove the box, as far as the carrier can."""
        if self._plan.carried:
            with suppress(PlatformError, ConfigError):
                carrier = carrier_of(self._backend, self._plan)
                persist(self._backend.clock, lambda: carrier.remove(Layout(self._plan.job).folder, self._plan.reducers))


def drop_carried(backend: Backend, plan: Plan, attempt: AttemptId) -> None:
    """Remove what an attempt sent that nobody will read, as far as the carrier can."""
    if plan.carried:
        with suppress(PlatformError, ConfigError):
            carrier_of(backend, plan).remove(Layout(plan.job).folder, plan.reducers, str(attempt))
