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
import smr_notebook.testing
from smr_notebook import errors


def public(module: ModuleType) -> set[str]:
    """Return the public names of a module that are no modules."""
    names = {name for name in dir(module) if not name.startswith("_")}
    return {name for name in names if not isinstance(getattr(module, name), ModuleType)} - {"annotations"}


@pytest.mark.parametrize("module", [smr_notebook, smr_notebook.testing], ids=lambda module: str(module.__name__))
def test_all_is_what_is_there(module: ModuleType) -> None:
    assert public(module) == {name for name in module.__all__ if not name.startswith("_")}


@pytest.mark.parametrize("name", sorted(getattr(smr_notebook, "__all__", [])))
def test_a_public_name_tells_what_it_is(name: str) -> None:
    value = getattr(smr_notebook, name)
    assert not callable(value) or inspect.getdoc(value)


def test_all_errors_are_public() -> None:
    tree = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, errors.SmrError)}
    assert tree <= set(smr_notebook.__all__)


def test_the_version_has_one_place() -> None:
    assert smr_notebook.__version__ == sys.modules["smr_notebook._version"].__version__


def test_make_tests_the_installed_wheel() -> None:
    """`make` asks for it; who runs pytest by hand may test the folder."""
    if os.environ.get("SMR_TEST_INSTALLED"):
        assert Path(smr_notebook.__file__).parent.parent == Path(sysconfig.get_path("purelib"))
