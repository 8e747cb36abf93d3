"""`smr jobs`, `smr status`, `smr cancel` and `smr result`, as a shell runs them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from smr_notebook.cli import main
from smr_notebook.job.handle import Job
from smr_notebook.sessions.session import Session


@pytest.fixture
def session(workspace: Path) -> Iterator[Session]:
    opened = Session(settings={"workspace": workspace, "workers": 1})
    yield opened
    opened.close()


@pytest.fixture
def job(session: Session) -> Job:
    return session.map_reduce(lambda word: [(word, 1)], sum, ["one", "two", "one"], name="words").wait()


def test_a_job_is_listed_and_told(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs"]) == 0
    words = capsys.readouterr().out.split()
    assert (words[0], words[3:]) == (job.id, ["done", "words"])
    assert words[2].endswith("Z"), "whoever reads it may be elsewhere than who ran it"
    assert main(["status", job.id[:6]]) == 0
    told = capsys.readouterr().out
    assert told.startswith("MapReduce 'words' done")
    assert f" {job.proof}\n" in told


def test_without_an_identifier_the_latest_job_is_meant(job: Job, session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    latest = session.map_reduce(lambda word: [(word, 1)], sum, ["one"], name="latest").wait()
    for command in ("status", "errors", "logs", "result", "cancel"):
        assert main([command]) == 0
    told = capsys.readouterr().out
    assert "MapReduce 'latest' done" in told
    assert f"{latest.id}: no task has failed\n" in told
    assert f"nothing was written to standard output or error by the functions of {latest.id}" in told
    assert told.endswith(f"{latest.id} has ended already: done\n")
    assert main(["jobs", "-n", "1"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [latest.id]


def test_a_result_is_printed_or_saved(job: Job, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["result", job.id]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [["key", "value"], ["one", "2"], ["two", "1"]]
    for name, read in (("a.csv", pd.read_csv), ("a.parquet", pd.read_parquet)):
        assert main(["result", job.id, "--to", str(tmp_path / name)]) == 0
        assert capsys.readouterr().out == f"{tmp_path / name}: 2 rows\n"
        assert read(tmp_path / name).to_dict("list") == {"key": ["one", "two"], "value": [2, 1]}


def test_errors_and_logs_are_told(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    def map(item: int) -> list[tuple[int, float]]:
        print(f"item {item}")  # noqa: T201 - what this is about
        return [(item, 1 / item)]

    job = session.map_reduce(map, None, [1, 0], retries=0)
    job.exception()
    assert main(["errors", job.id]) == 0
    assert capsys.readouterr().out.startswith("error 0: 1 task\nZeroDivisionError in map task")
    assert main(["logs", job.id, "--follow"]) == 0
    assert {line.rpartition("  ")[2] for line in capsys.readouterr().out.splitlines()} == {"item 0", "item 1"}
    assert main(["logs", job.id, "--phase", "shuffle"]) == 1
    assert "map, merge, reduce" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "word"), [("a.xlsx", "must end in .csv or .parquet"), ("nowhere/a.csv", "there is no folder")])
def test_a_wrong_file_is_said_before_anything_is_waited_for(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, word: str
) -> None:
    assert main(["result", "whichever", "--to", str(tmp_path / name)]) == 1
    assert word in capsys.readouterr().err


def test_what_a_file_cannot_hold_is_said(session: Session, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    job = session.map_reduce(lambda item: [(item, 1)], sum, ["one", 2, (3, 4)]).wait()
    assert main(["result", job.id, "--to", str(tmp_path / "a.parquet")]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"smr: {tmp_path / 'a.parquet'} cannot hold this result")
    assert len(told.splitlines()) == 1


def test_a_job_is_cancelled_once(session: Session, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def wait(word: str) -> list[tuple[str, int]]:
        import threading

        threading.Event().wait(60)
        return [(word, 1)]

    job = session.map_reduce(wait, sum, ["one"])
    assert main(["cancel", job.id]) == 0
    assert capsys.readouterr().out == f"{job.id} is being cancelled\n"
    assert job.exception() is not None
    assert main(["cancel", job.id]) == 0
    assert capsys.readouterr().out == f"{job.id} has ended already: cancelled\n"
    assert main(["result", job.id]) == 1
    assert "cancelled" in capsys.readouterr().err


def test_a_job_without_an_answer_says_why_and_how_to_go_on(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    def wait(word: str) -> list[tuple[str, int]]:
        import threading

        threading.Event().wait(60)
        return [(word, 1)]

    failed = session.map_reduce(lambda item: [(item, 1 / item)], None, [0], retries=0)
    failed.exception()
    assert main(["status", failed.id]) == 0
    told = capsys.readouterr().out
    assert "ZeroDivisionError" in told
    assert told.endswith(f"smr errors {failed.id}\n")

    job = session.map_reduce(wait, sum, ["one"])
    assert main(["cancel", job.id, "--all"]) == 1
    assert "one job, or all of yours?" in capsys.readouterr().err
    assert main(["cancel", "--all"]) == 0
    assert job.id in capsys.readouterr().out
    job.exception()
    assert main(["status", job.id]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        " JobCancelled: cancelled by the user",
        f" `smr resume {job.id}` goes on from what is done",
    ]
    assert main(["result", job.id]) == 1
    assert capsys.readouterr().err == (
        f"smr: {job.id} has no result: cancelled by the user. `smr resume {job.id}` goes on from what is done.\n"
    )


def test_what_a_job_costs_is_told_and_old_ones_go(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", job.id]) == 0
    assert "none: nobody bills for it" in capsys.readouterr().out
    assert main(["clean"]) == 0
    assert capsys.readouterr().out.startswith("0 jobs removed")
    assert main(["clean", "--older", "0s"]) == 0
    assert job.id in capsys.readouterr().out
    assert main(["jobs"]) == 0
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "there are no jobs of yours on the platform local; --platform and --stack name other places\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [(["resume", "--max-cost", "much"], "an amount of dollars such as 0.50"), (["clean", "--older", "long"], "is not a time")],
)
def test_an_amount_that_is_none_is_said_with_what_is_wanted(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(words)
    assert told in capsys.readouterr().err


def test_a_job_is_resumed_and_told_what_it_takes_over(session: Session, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def brittle(word: str) -> list[tuple[str, int]]:
        return [(word, 1 // (word != "two" or (tmp_path / "mended").exists()))]

    job = session.map_reduce(brittle, sum, ["one", "two", "one"], split_size=1)
    assert job.exception() is not None
    (tmp_path / "mended").touch()
    assert main(["resume", job.id]) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    again = session.attach(first.split()[0])
    assert first == f"{again.id} goes on from where {job.id} was"
    assert second.endswith(f"of 3 map tasks are taken over from job {job.id}.")
    assert again.result()["value"].tolist() == [2, 1]


def test_jobs_of_everyone_are_listed_with_whose_they_are(
    session: Session, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMR_USER", "ann")
    anns = Session().map_reduce(lambda word: [(word, 1)], sum, ["one"]).wait()
    monkeypatch.setenv("SMR_USER", "bob")
    assert main(["jobs"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["jobs", "--everyone"]) == 0
    assert capsys.readouterr().out.split()[4] == "ann"
    assert main(["status", anns.id[:7]]) == 1
    assert f"is a job of ann, and you are bob. Say its whole identifier, {anns.id}" in capsys.readouterr().err
    assert main(["cancel", anns.id]) == 0
    assert capsys.readouterr().out == f"{anns.id} (ann's) has ended already: done\n"


def test_a_job_that_is_not_there_is_one_sentence(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "ffff"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("smr: There are no jobs in")
    assert len(told.splitlines()) == 1
