"""The public names: `__all__` is what there is, and nothing else is."""

from __future__ import annotations

import inspect
import os
import sys
import sysconfig
from pathlib import Path

import pytest

import smr_notebook
from smr_notebook import errors


def test_all_is_what_is_there() -> None:
    """Names are loaded on first use, so what a person sees is what `dir` tells; a name that is not there cannot be loaded."""
    assert dir(smr_notebook) == sorted(smr_notebook.__all__)
    for name in smr_notebook.__all__:
        assert getattr(smr_notebook, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'map_reduced'"):
        getattr(smr_notebook, "map_reduced")  # noqa: B009 - a name that no type checker accepts


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
