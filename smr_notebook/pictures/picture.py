"""What every picture has: a value that a notebook shows as an image, a terminal as text, and that says its numbers either way.

Rules of this package:

* A picture is a function of a value. Nothing here reads a clock, a row or an object; `control` makes the values.
* What is drawn are facts that are stored. What nobody wrote down is left out.
* All of it differs between two runs of a notebook: so the image has the class `smr-v`, the words are in a span of that class, and each
  line of text but the first begins with ` ▏`. The rules of `nbval_sanitize.cfg` go by that.
* pandas and matplotlib are imported when they are asked for: workers import what `control` imports.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from smr_notebook.pictures.plotting import axes
from smr_notebook.pictures.svg import image
from smr_notebook.showing.sheets import volatile

if TYPE_CHECKING:
    import pandas as pd


class Picture(ABC):
    """A value that can be looked at."""

    __slots__ = ()

    what: ClassVar[str]
    """One word for what it shows."""

    @abstractmethod
    def summary(self) -> str:
        """Return its numbers in one sentence: also for who cannot see the picture."""

    @abstractmethod
    def lines(self) -> list[str]:
        """Return it as some lines of text, without the summary."""

    @abstractmethod
    def drawn(self, title: str) -> str:
        """Return it as an SVG file with this title."""

    @abstractmethod
    def to_frame(self) -> pd.DataFrame:
        """Return the numbers that it is drawn from."""

    @abstractmethod
    def plot_into(self, into: Any) -> None:
        """Draw it into axes of matplotlib."""

    def inches(self) -> float:
        """Return how high a figure of it is, in inches."""
        return 3.0

    def plot(self, ax: Any = None) -> Any:
        """Draw it with matplotlib.

        Args:
            ax: The axes to draw into; those of a new figure if not given.

        Returns:
            The axes.

        Raises:
            ConfigError: matplotlib is not installed.
        """
        into = axes(ax, height=self.inches())
        self.plot_into(into)
        return into

    def svg(self) -> str:
        """Return the picture as an SVG file, which a browser and most programs for drawing open."""
        return self.drawn(self.summary())

    def __repr__(self) -> str:
        return self._text(self.summary())

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:  # noqa: ARG002 - IPython's protocol
        words = self.summary()
        head = f"<div><b>{self.what}</b> {volatile(words)}</div>"
        return {"text/html": f'<div class="smr-picture">{head}{image(self.drawn(words), words)}</div>', "text/plain": self._text(words)}

    def _text(self, summary: str) -> str:
        return "\n ▏".join([self.what, summary, *self.lines()])
