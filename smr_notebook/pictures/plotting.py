"""The one place that knows matplotlib, which need not be installed."""

from __future__ import annotations

from typing import Any

from smr_notebook.errors import ConfigError


def axes(given: Any, *, height: float) -> Any:
    """Return the axes to draw into: those given, or those of a new figure, `height` inches high.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    if given is not None:
        return given
    try:
        from matplotlib import pyplot as plt  # noqa: PLC0415 - an extra, and slow to import
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"plot() needs {error.name}, which is not installed: `pip install 'smr_notebook[plot]'` brings it. "
            "svg() and to_frame() do without."
        ) from None
    made: Any = plt.subplots(figsize=(9, height), layout="constrained")[1]
    return made
