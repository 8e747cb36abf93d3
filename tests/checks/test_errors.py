"""The error tree: what its docstring draws is what there is, and each error crosses a process whole."""

from __future__ import annotations

import builtins
import pickle
import re
import subprocess
import sys

import pytest

from smr_notebook import errors
from smr_notebook.errors import JobError, SmrError
from smr_notebook.model import AttemptId, Failure, FailureKind, Phase, TaskId
from smr_notebook.standing import FailedAttempt


def below(root: type[SmrError]) -> list[type[SmrError]]:
    """Return a class and all its subclasses of `smr_notebook.errors`, each once."""
    found = [root]
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            found += [error for error in below(child) if error not in found]
    return found


TREE = below(SmrError)


def drawn() -> dict[str, tuple[str, str | None]]:
    """Return name -> (parent, builtin base) as the docstring's tree shows them."""
    parents = ["SmrError"]
    found: dict[str, tuple[str, str | None]] = {}
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"    ([│ ]*)[├└]── (\w+)(?: \((\w+)\))?", line):
            depth = len(match[1]) // 4 + 1
            parents[depth:] = [match[2]]
            found[match[2]] = (parents[depth - 1], match[3])
    return found


def builtin_base(error: type[SmrError]) -> str | None:
    """Return the builtin that a class names as its second base."""
    return next((base.__name__ for base in error.__bases__[1:] if base.__module__ == builtins.__name__), None)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    assert drawn() == {error.__name__: (error.__bases__[0].__name__, builtin_base(error)) for error in TREE if error is not SmrError}


def test_no_exception_of_the_module_stands_outside_the_tree() -> None:
    here = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, BaseException)]
    assert {error.__name__ for error in here} == {error.__name__ for error in TREE}


@pytest.mark.parametrize("error", TREE)
def test_an_error_crosses_a_process_whole(error: type[SmrError]) -> None:
    told = error("what happened, where, and what to do")
    again = pickle.loads(pickle.dumps(told))
    assert type(again) is error
    assert str(again) == str(told) == "what happened, where, and what to do"


def test_errors_cross_a_process_also_where_a_library_has_taught_pickle_of_tracebacks() -> None:
    """As dask does when it is imported, with tblib."""
    code = """
import pickle, tblib.pickling_support
from smr_notebook import errors
tblib.pickling_support.install()
for name, error in vars(errors).items():
    if isinstance(error, type) and issubclass(error, errors.SmrError):
        again = pickle.loads(pickle.dumps(error("what")))
        assert (type(again), str(again)) == (error, "what"), name
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("error", [error for error in TREE if issubclass(error, JobError)])
def test_an_error_of_a_job_keeps_its_fields(error: type[JobError]) -> None:
    failed = FailedAttempt(AttemptId(TaskId(Phase.MAP, 3), 1), Failure(FailureKind.USER, "ValueError", "no"), 2)
    again = pickle.loads(pickle.dumps(error("text", job="3f9a", failures=(failed,))))
    assert (again.job, again.failures) == ("3f9a", (failed,))


@pytest.mark.parametrize("error", TREE)
def test_an_error_says_what_it_is_for(error: type[SmrError]) -> None:
    assert error.__doc__
