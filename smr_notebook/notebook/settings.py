"""`%config Smr`: the settings of this notebook. The shell owns them; no module does.

Rules of this module:

* There is one trait for each setting, and it knows no value of its own: what it shows is the setting in force, whoever said so, and
  what it is given is read as from any other source. `None` takes back what was given.
* IPython answers a wrong `%config` line with a line of its log, and the cell counts as good, in test runners too. So an error is also
  kept, and raised by whatever asks for the settings next, once, unless the same setting was mended meanwhile.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any

from traitlets import TraitType
from traitlets.config import Config, Configurable

from smr_notebook.config import NOTEBOOK, Told, meanings, read_setting
from smr_notebook.errors import ConfigError
from smr_notebook.sessions.face import told_settings
from smr_notebook.views.render import Shown

_SECTION = "Smr"


class Setting(TraitType[Any, Any]):
    """A setting, as `%config` sees it."""

    def get(self, obj: Any, cls: Any = None) -> Any:  # noqa: ARG002 - the signature of traitlets
        """Return the value in force."""
        return obj.in_force()[self.name].value

    def set(self, obj: Any, value: Any) -> None:
        """Take a value. Raises `ConfigError`."""
        obj.give(self.name, value)


class NotebookSettings(Configurable):
    """The settings that a notebook gives. `Smr` has the traits.

    Args:
        parent: The shell, in whose own configuration some may stand.
    """

    def __init__(self, parent: Any = None) -> None:
        self._given: dict[str, Any] = {}
        self._refused: dict[str, ConfigError] = {}
        try:
            super().__init__(parent=parent)
        except ConfigError:  # of a file of IPython's: it is told by the next cell, as one of a `%config` line is
            super().__init__(parent=parent, config=Config())

    def update_config(self, config: Config) -> None:
        """Take what a line of `%config` says. Raises `ConfigError`."""
        for name in self._find_my_config(config):
            if not self.has_trait(name):
                self._read(name, None)  # which says what there is
        super().update_config(config)

    def give(self, name: str, value: object) -> None:
        """Take the value of a setting; `None` takes it back. Raises `ConfigError`."""
        if value is None:
            self._given.pop(name, None)
        else:
            self._given[name] = self._read(name, value)
        self._refused.pop(name, None)

    def _read(self, name: str, value: object) -> Any:
        try:
            return read_setting(name, value, NOTEBOOK)
        except ConfigError as error:
            self._refused[name] = error
            raise

    def in_force(self) -> Mapping[str, Told]:
        """Return all settings in force, with their sources. Raises `ConfigError` where a source is wrong."""
        return told_settings(self.values)

    @property
    def values(self) -> dict[str, Any]:
        """What this notebook gives, for who can tell nobody of an error."""
        return dict(self._given)

    @property
    def given(self) -> dict[str, Any]:
        """What this notebook gives.

        Raises:
            ConfigError: A line of `%config` was wrong, and nobody was told of it so that a cell failed.
        """
        self.tell_refused()
        return self.values

    def tell_refused(self) -> None:
        """Raise a `ConfigError` of the lines of `%config` that were wrong, once."""
        refused, self._refused = self._refused, {}
        if refused:
            raise ConfigError(" ".join(error.message for error in refused.values()))

    @property
    def refused(self) -> bool:
        """Whether the next one that asks for what is given is told of a wrong line."""
        return bool(self._refused)


Smr: type[NotebookSettings] = types.new_class(
    _SECTION,
    (NotebookSettings,),
    exec_body=lambda space: space.update(
        {"__doc__": "Settings of map/reduce jobs."} | {name: Setting(help=text).tag(config=True) for name, text in meanings().items()}
    ),
)
"""`NotebookSettings` with a trait for each setting, under the name that `%config` knows."""


def settings_of(shell: Any) -> NotebookSettings:
    """Return the settings of a shell, which has them from the first time on that it is asked. Raises `ConfigError`."""
    for one in shell.configurables:
        if isinstance(one, NotebookSettings):
            return one
    made = Smr(parent=shell)
    shell.configurables.append(made)
    return made


def settings_table(told: Mapping[str, Told]) -> Shown:
    """Return settings as a table: what is in force, and who said so."""
    rows = [("setting", "value", "from"), *((name, _shown(one.value), one.origin) for name, one in told.items())]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"{name:<{widths[0]}}  {value:<{widths[1]}}  {origin}".rstrip() for name, value, origin in rows]
    return Shown("\n".join([*lines, "", "%config Smr tells what each means; %config Smr.display = 'text' sets one for this notebook."]))


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
