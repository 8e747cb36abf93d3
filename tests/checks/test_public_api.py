"""The public names: `__all__` is what there is, and nothing else is."""

from __future__ import annotations

import inspect
import os
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

import pytest

import smr_notebook
from smr_notebook import errors


def test_all_is_what_is_there() -> None:
    """Modules are there because something imported them; the public ones are named."""
    there = {name for name, value in vars(smr_notebook).items() if not name.startswith("_") and not isinstance(value, ModuleType)}
    named = {name for name in smr_notebook.__all__ if not isinstance(getattr(smr_notebook, name), ModuleType)}
    assert there - {"annotations", "TYPE_CHECKING"} == named - {"__version__"}


@pytest.mark.parametrize("name", smr_notebook.__all__)
def test_a_public_name_tells_what_it_is(name: str) -> None:
    assert inspect.getdoc(getattr(smr_notebook, name))


def test_all_errors_are_public() -> None:
    tree = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, errors.SmrError)}
    assert "errors" in smr_notebook.__all__ or tree <= set(smr_notebook.__all__)


def test_the_version_has_one_place() -> None:
    assert smr_notebook.__version__ == sys.modules["smr_notebook._version"].__version__


def test_make_tests_the_installed_wheel() -> None:
    """`make` asks for it; who runs pytest by hand may test the folder."""
    if os.environ.get("SMR_TEST_INSTALLED"):
        assert Path(smr_notebook.__file__).parent.parent == Path(sysconfig.get_path("purelib"))
