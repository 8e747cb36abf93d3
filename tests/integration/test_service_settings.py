"""A service that runs keeps the settings of whoever started it: whoever asks for others is told."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest

import smr_notebook as smr

OpenSession = Callable[..., smr.Session]


def count(item: int) -> list[tuple[int, int]]:
    return [(item, 1)]


def broken(item: int) -> list[tuple[int, int]]:
    return [(item, 1 // (item - 1))]


def test_another_limit_than_that_of_the_service_is_told_and_how_to_have_it(own_session: OpenSession) -> None:
    job = own_session(worker_limit=500_000_000).map_reduce(broken, sum, [1], retries=0)
    assert job.exception() is not None
    other = own_session(worker_limit=900_000_000)
    said = "started with a worker_limit of 500 MB, where you ask for a worker_limit of 900 MB. .* smr.Session\\(\\).close\\(\\) ends it"
    with pytest.warns(smr.PlanWarning, match=said):
        assert other.map_reduce(count, sum, [1]).result()["value"].tolist() == [1]
    again = other.attach(job.id).retry_failed(map=count)
    assert again.result()["value"].tolist() == [1]
    assert "where you ask for a worker_limit of 900 MB" in again.warnings[-1]
    other.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert other.map_reduce(count, sum, [1]).result()["value"].tolist() == [1]


def test_other_settings_that_make_no_difference_are_not_told(own_session: OpenSession) -> None:
    own_session().map_reduce(count, sum, [1]).wait()
    assert own_session(lease_seconds=3.0).map_reduce(count, sum, [1]).result()["value"].tolist() == [1]


def test_a_warning_points_at_the_line_that_submitted(own_session: OpenSession) -> None:
    session = own_session()
    session.map_reduce(count, sum, [1], name="twice").wait()
    with pytest.warns(smr.PlanWarning, match="used before") as told:
        session.map_reduce(count, sum, [1], name="twice").wait()
    assert [warning.filename for warning in told] == [__file__]


def test_what_is_left_out_is_told_each_time(own_session: OpenSession) -> None:
    session = own_session()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")  # as in a script: once for each line of code
        for _ in range(2):
            session.map_reduce(broken, sum, [0, 1], on_error="skip", wait=True)
    assert [warning.category for warning in told] == [smr.LeftOutWarning] * 2
