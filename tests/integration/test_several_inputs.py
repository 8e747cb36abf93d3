"""Several inputs with map functions of their own: joins, also of a file with itself and of a job with a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import smr_notebook as smr
from smr_notebook.errors import ConfigError, InputEmptyError, InputFormatError, InputMissingError, PlanError, TaskError


def users(row: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    yield row["id"], ("user", row["name"])


def orders(row: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    yield row["user"], ("order", row["amount"])


def joined(key: str, values: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """An inner join: the users come first, because their input does."""
    names: list[str] = []
    for kind, value in values:
        if kind == "user":
            names.append(value)
        else:
            yield from ((key, {"name": name, "amount": value}) for name in names)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "users.csv").write_text("id,name\n1,ann\n2,bob\n3,cid\n")
    lines = ['{"user": "1", "amount": 5}', '{"user": "3", "amount": 1}', '{"user": "1", "amount": 7}', '{"user": "9", "amount": 2}']
    (tmp_path / "orders.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


JOINED = {"key": ["1", "1", "3"], "name": ["ann", "ann", "cid"], "amount": [5, 7, 1]}


def test_inputs_of_different_formats_are_joined(session: smr.Session, shop: Path) -> None:
    inputs = [smr.mapped(users, shop / "users.csv"), smr.mapped(orders, shop / "orders.jsonl")]
    job = session.map_reduce(None, joined, inputs, split_size=10)
    assert job.result().to_dict("list") == JOINED
    assert job.proof.startswith(f"{job.status().map.tasks} splits · 7 records read = mapped")
    assert job.status().map.tasks > 2, "each of them was split"


def test_an_input_may_be_a_job_that_runs_and_another_one_a_file_of_this_folder(
    session: smr.Session, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver, which runs elsewhere, finds the file by the name that it had here; items are stored, two lists of them apart."""
    monkeypatch.chdir(shop)
    totals = session.map_reduce(lambda row: [(row["user"], row["amount"])], sum, "orders.jsonl")
    inputs = [
        smr.mapped(users, "users.csv"),
        smr.mapped(lambda row: [(row[0], ("order", row[1]))], totals),
        smr.mapped(lambda item: [(item, ("order", "gift"))], ["2"]),
        smr.mapped(lambda item: [(item, ("order", "card"))], ["2"]),
    ]
    job = session.map_reduce(None, joined, inputs)
    assert job.result()[["key", "amount"]].to_dict("list") == {"key": ["1", "2", "2", "3"], "amount": [12, "gift", "card", 1]}


def test_an_input_is_joined_with_itself(session: smr.Session, shop: Path) -> None:
    """Pairs of orders of one user."""
    lines = shop / "orders.jsonl"
    left = smr.mapped(lambda row: [(row["user"], ("left", row["amount"]))], lines)
    right = smr.mapped(lambda row: [(row["user"], ("right", row["amount"]))], lines, format=smr.formats.jsonl())
    found = session.map_reduce(None, lambda key, values: sorted(values), [left, right], sort="keys", reducers=2, wait=True)
    both = [("left", 5), ("left", 7), ("right", 5), ("right", 7)]
    assert found["value"].tolist() == [both, [("left", 1), ("right", 1)], [("left", 2), ("right", 2)]]


def test_a_combiner_and_a_parser_go_with_several_inputs(session: smr.Session, shop: Path) -> None:
    parse = smr.formats.parse(lambda stream: (len(line) for line in stream))
    inputs = [smr.mapped(lambda size: [("lines", 1)], shop / "users.csv", format=parse), smr.mapped(lambda row: [("rows", 1)], [1, 2])]
    total = session.map_reduce(None, lambda key, values: sum(values), inputs, combine=True, wait=True)
    assert total.to_dict("list") == {"key": ["lines", "rows"], "value": [4, 2]}


def test_a_failure_names_the_function_and_the_input_and_is_run_again(session: smr.Session, shop: Path) -> None:
    inputs = [smr.mapped(orders, shop / "orders.jsonl"), smr.mapped(users, shop / "orders.jsonl")]
    job = session.map_reduce(None, joined, inputs, retries=0)
    with pytest.raises(TaskError, match=r"KeyError in map: 'id'[\s\S]*in users[\s\S]*orders\.jsonl, byte 0"):
        job.result()
    with pytest.raises(KeyError, match="id"):
        job.debug()
    assert job.failing_record() == {"user": "1", "amount": 5}
    with pytest.raises(PlanError, match="several inputs, each with a map function of its own"):
        job.retry_failed(map=orders)


def test_a_whole_task_is_run_again_strictly_whatever_input_it_is_of(session: smr.Session, shop: Path) -> None:
    """Its records, too: one that a job leaves out ends the run here, and no function sees what stands for it."""
    here = os.getpid()

    def setup() -> None:
        if os.getpid() != here:
            raise ConnectionError("no server there")

    (shop / "orders.jsonl").write_text('{"user": "1", "amount": 5}\n{"user": \n')
    inputs = [smr.mapped(users, shop / "users.csv"), smr.mapped(smr.hooked(orders, setup=setup), shop / "orders.jsonl")]
    job = session.map_reduce(None, joined, inputs, on_error="skip", retries=0)
    with pytest.raises(TaskError, match="ConnectionError in the setup of map: no server there"):
        job.result()
    with pytest.raises(InputFormatError, match=r"orders\.jsonl, line 2 .* is not JSON"):
        job.debug()


@pytest.mark.parametrize(
    ("inputs", "error", "said"),
    [
        ([smr.mapped(users, [1]), smr.mapped(users, "nothing/here")], InputMissingError, "Input 2: Nothing found under 'nothing/here'"),
        ([smr.mapped(users, [])], InputEmptyError, "Input 1: The iterable has no items"),
        ([smr.mapped(users, [1]), [2]], PlanError, "Input 2 has no map function of its own"),
        ([smr.mapped(users, [smr.mapped(users, [1])])], PlanError, "Input 1: An input of mapped cannot have map functions itself"),
        ([smr.mapped(users, [1], format="csv")], PlanError, "Input 1: format=csv says how objects are read"),
        ([smr.mapped(users, "x", format="cvs")], ConfigError, "cvs"),
    ],
    ids=["missing", "empty", "bare", "nested", "format-of-items", "no-format"],
)
def test_what_is_wrong_with_one_input_is_told_with_its_number(session: smr.Session, inputs: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        session.map_reduce(None, joined, inputs)


def test_functions_stand_where_they_belong(session: smr.Session) -> None:
    one = [smr.mapped(users, [1])]
    for wrong, said in (
        (lambda: session.map_reduce(users, joined, one), "map must be None"),
        (lambda: session.map_reduce(None, joined, [1]), "map must be a function; None goes with inputs that have their own"),
        (lambda: session.map_frames(None, None, one), "go with map_reduce"),
        (lambda: session.map_reduce(None, joined, one, format="csv"), "cannot be that of several inputs"),
        (lambda: session.preview(None, joined, one), "A preview reads one input"),
        (lambda: smr.mapped("users", [1]), "must be a map function"),  # type: ignore[arg-type]
    ):
        with pytest.raises(PlanError, match=said):
            wrong()
