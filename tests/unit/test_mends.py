"""What is said beside a failure that does not say itself what helps."""

from __future__ import annotations

import pytest

from smr_notebook.job.mends import mends_of
from smr_notebook.model import Failure, FailureKind


def raised_by(function: str, message: str, type: str = "TypeError") -> Failure:
    return Failure(FailureKind.USER, type, message, function=function)


@pytest.mark.parametrize("use", [len, reversed, lambda values: values[0]], ids=["len", "reversed", "subscript"])
@pytest.mark.parametrize("values", [iter([1]), (one for one in [1])], ids=["held", "streamed"])
def test_whoever_takes_values_for_a_list_is_told_what_they_are(use: object, values: object) -> None:
    with pytest.raises(TypeError) as caught:
        use(values)  # type: ignore[operator]
    (mend,) = mends_of(raised_by("reduce", str(caught.value)))
    assert "`values = list(values)`" in mend


def test_whoever_imports_in_a_function_is_told_where_that_is_done() -> None:
    (mend,) = mends_of(raised_by("map", "No module named 'mine'", "ModuleNotFoundError"))
    assert "above the function" in mend


@pytest.mark.parametrize(
    "failure", [raised_by("map", "object of type 'generator' has no len()"), raised_by("reduce", "object of type 'int' has no len()")]
)
def test_another_type_error_says_itself_what_is_wrong(failure: Failure) -> None:
    assert mends_of(failure) == []
