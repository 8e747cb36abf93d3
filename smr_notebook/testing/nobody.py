"""A function service that nobody should call: for what is tested without one."""

from __future__ import annotations

from smr_notebook.environment import environment
from smr_notebook.errors import ServiceError
from smr_notebook.ports import ServiceLimits


class NoFunctions:
    """Implements `ports.FunctionService` by refusing."""

    @property
    def limits(self) -> ServiceLimits:
        """What a small service would take."""
        return ServiceLimits(1 << 20, 900.0, 4, 0.0, 1 << 30, environment())

    def invoke(self, payload: bytes) -> None:
        """See `ports.FunctionService.invoke`."""
        raise ServiceError(f"Nobody runs anything here; called with {payload[:80]!r}.")
