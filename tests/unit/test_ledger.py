"""The ledger on a table: what stands, who won, and what a lost reply looks like."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smr_notebook.backends.memory.table import MemoryTable
from smr_notebook.control.ledger import Held, Ledger, Report, list_jobs
from smr_notebook.control.row_keys import attempt_row, leg_row
from smr_notebook.control.rows import CancelRequest, JobEntry, ManifestEntry, Reservation, RowCodec
from smr_notebook.control.verdicts import lost_launch
from smr_notebook.errors import CorruptObjectError, FormatVersionError, JobNotFoundError
from smr_notebook.model import (
    Attempt,
    AttemptId,
    AttemptState,
    Commit,
    Estimate,
    Failure,
    FailureKind,
    Frame,
    JobState,
    Leg,
    Numbers,
    Part,
    PartFile,
    Phase,
    Position,
    Receipt,
    TaskId,
)
from smr_notebook.ports import Row
from smr_notebook.standing import FailedAttempt, Lease, Outcome, PhaseProgress, Progress
from smr_notebook.values.usage import Cost, Usage

GOLDEN = Path(__file__).parents[1] / "golden" / "rows"
NOW = 1_000.0
ID = AttemptId(TaskId(Phase.MAP, 3), 2)
ENTRY = JobEntry("3f9a", "status codes", 12.5, "jobs/3f9a/plan")
NUMBERS = Numbers(1, 2, 3, 4, 5, 6)
FAILURE = Failure(
    FailureKind.USER,
    "ZeroDivisionError",
    "division by zero",
    frames=(Frame("<ipython-input-2>", "Cell In[2]", 3, "map", "yield 1 / 0, 1"),),
    function="map",
    record="'a line'",
    source="/data/log",
    offset=17,
    record_number=4,
    pickled=b"\x80\x05",
)
LOST = Failure(FailureKind.LOST, "HeartbeatsStopped", "silence")


@pytest.fixture
def table() -> MemoryTable:
    return MemoryTable()


@pytest.fixture
def ledger(table: MemoryTable) -> Ledger:
    made = Ledger(table, ENTRY.job)
    made.create_job(ENTRY)
    return made


def launch(ledger: Ledger, *, expires: float = NOW + 60) -> Attempt:
    return ledger.launch(ID, now=NOW, expires=expires)


def claimed(ledger: Ledger, owner: str = "a") -> Held:
    found = ledger.claim(ID, owner=owner, now=NOW, lease=15)
    assert found is not None
    return found.held


def test_a_job_is_created_once_and_listed_in_order_of_creation(table: MemoryTable, ledger: Ledger) -> None:
    older = replace(ENTRY, job="0000", created=2.0)
    Ledger(table, "0000").create_job(older)
    assert ledger.create_job(replace(ENTRY, name="another")) == ENTRY
    assert list_jobs(table) == [older, ENTRY]
    assert ledger.job() == ENTRY


def test_a_job_that_is_not_there_has_no_snapshot(table: MemoryTable) -> None:
    with pytest.raises(JobNotFoundError, match="gone1"):
        Ledger(table, "gone1").snapshot()


def test_the_first_claim_wins_and_the_winner_may_ask_again(ledger: Ledger) -> None:
    launch(ledger)
    first = claimed(ledger)
    assert (first.attempt.owner, first.attempt.state, first.attempt.expires) == ("a", AttemptState.RUNNING, NOW + 15)
    assert ledger.claim(ID, owner="b", now=NOW, lease=15) is None
    assert claimed(ledger) == first


def test_what_is_claimed_for_a_task_that_has_a_commit_ends_at_once(ledger: Ledger) -> None:
    launch(ledger)
    ledger.commit(Commit(AttemptId(ID.task, 1), "b", NOW, 1.0, NUMBERS))
    assert ledger.claim(ID, owner="a", now=NOW, lease=15) is None
    assert ledger.snapshot().attempts[ID.task][0].state is AttemptState.STOPPED


def test_whoever_claims_gets_the_legs_before_it(ledger: Ledger) -> None:
    first = Leg(AttemptId(ID.task, 1), "b", NOW, 1, Position(5), 2.0, NUMBERS)
    second = replace(first, number=2, position=Position(7))
    assert (ledger.put_leg(first), ledger.put_leg(second)) == (first, second)
    assert ledger.put_leg(replace(first, owner="zombie", position=Position(9))) == first
    launch(ledger)
    found = ledger.claim(ID, owner="a", now=NOW, lease=15)
    assert found is not None
    assert found.legs == (first, second)


def test_what_was_never_launched_cannot_be_claimed(ledger: Ledger) -> None:
    assert ledger.claim(ID, owner="a", now=NOW, lease=15) is None


def test_a_heartbeat_prolongs_the_lease_and_survives_a_lost_reply(ledger: Ledger) -> None:
    launch(ledger)
    held = claimed(ledger)
    ledger.heartbeat(held, Report(NUMBERS), now=NOW + 1, lease=15)  # written, but its reply was lost: `held` is old
    again = ledger.heartbeat(held, Report(NUMBERS), now=NOW + 2, lease=15)
    assert again.by("a")
    assert ledger.heartbeat(again, Report(NUMBERS), now=NOW + 3, lease=15).attempt.expires == NOW + 18


@pytest.mark.parametrize(
    "interfere",
    [
        pytest.param(lambda ledger: ledger.stop(ID, NOW + 1), id="stopped"),
        pytest.param(lambda ledger: ledger.expire(ID, LOST, NOW + 20), id="expired"),
        pytest.param(lambda ledger: ledger.bury(ID, owner="a", failure=LOST, now=NOW + 1), id="buried"),
    ],
)
def test_a_heartbeat_brings_back_that_the_attempt_is_over(ledger: Ledger, interfere: Callable[[Ledger], object]) -> None:
    launch(ledger)
    held = claimed(ledger)
    interfere(ledger)
    assert not ledger.heartbeat(held, Report(NUMBERS), now=NOW + 21, lease=15).by("a")
    assert ledger.finish(held, AttemptState.DONE, Report(NUMBERS), now=NOW + 22).state is not AttemptState.DONE


def test_an_attempt_that_came_back_to_life_does_not_expire(ledger: Ledger) -> None:
    launch(ledger)
    held = claimed(ledger)
    ledger.heartbeat(held, Report(NUMBERS), now=NOW + 16, lease=15)
    standing = ledger.expire(ID, LOST, NOW + 16)
    assert standing is not None
    assert standing.state is AttemptState.RUNNING


def test_finishing_twice_is_finishing_once(ledger: Ledger) -> None:
    launch(ledger)
    held = claimed(ledger)
    done = ledger.finish(held, AttemptState.DONE, Report(NUMBERS), now=NOW + 1)
    assert (done.state, done.numbers) == (AttemptState.DONE, NUMBERS)
    assert ledger.finish(held, AttemptState.FAILED, Report(NUMBERS), now=NOW + 2, failure=LOST) == done


def test_a_call_is_made_again_only_while_nobody_answered_it(ledger: Ledger) -> None:
    launch(ledger)
    again = ledger.launch(ID, now=NOW + 5, expires=NOW + 65)
    assert (again.state, again.started, again.expires) == (AttemptState.LAUNCHED, NOW, NOW + 65)
    ledger.claim(ID, owner="a", now=NOW + 6, lease=15)
    assert ledger.launch(ID, now=NOW + 7, expires=NOW + 67).state is AttemptState.RUNNING


def test_the_dead_are_buried_by_name(ledger: Ledger) -> None:
    launch(ledger)
    ledger.claim(ID, owner="a", now=NOW, lease=15)
    standing = ledger.bury(ID, owner="a double that never claimed", failure=LOST, now=NOW)
    assert standing is not None
    assert standing.live
    buried = ledger.bury(ID, owner="a", failure=LOST, now=NOW)
    assert buried is not None
    assert (buried.state, buried.failure) == (AttemptState.FAILED, LOST)


def test_a_service_that_knows_the_beginning_of_a_name_buries_by_it(ledger: Ledger) -> None:
    launch(ledger)
    ledger.claim(ID, owner="request/1", now=NOW, lease=15)
    for stranger in ("req", "request/2", ""):
        standing = ledger.bury(ID, owner=stranger, failure=LOST, now=NOW)
        assert standing is not None
        assert standing.live
    buried = ledger.bury(ID, owner="request", failure=LOST, now=NOW)
    assert buried is not None
    assert (buried.state, buried.owner) == (AttemptState.FAILED, "request/1")


def test_a_call_that_the_service_dropped_is_a_launch_that_was_lost(ledger: Ledger) -> None:
    launch(ledger)
    buried = ledger.bury(ID, owner="", failure=LOST, now=NOW)
    assert buried is not None
    assert lost_launch(buried)


def test_the_first_commit_stands_for_whoever_asks(ledger: Ledger) -> None:
    first = Commit(ID, "a", NOW, 1.0, NUMBERS)
    second = Commit(AttemptId(ID.task, 3), "b", NOW, 1.0, NUMBERS)
    assert ledger.commit(first) == first
    assert ledger.commit(second) == first
    assert ledger.commit(first) == first
    assert ledger.committed(ID.task) == first


def test_the_epoch_grows_with_the_owner_and_never_otherwise(ledger: Ledger) -> None:
    assert ledger.take_lease("a", now=NOW, seconds=10) == Lease("a", 1, NOW + 10)
    assert ledger.take_lease("b", now=NOW + 9, seconds=10) == Lease("a", 1, NOW + 10)
    assert ledger.take_lease("a", now=NOW + 9, seconds=10) == Lease("a", 1, NOW + 19)
    assert ledger.take_lease("a", now=NOW + 30, seconds=10) == Lease("a", 1, NOW + 40)
    assert ledger.take_lease("b", now=NOW + 40, seconds=10) == Lease("b", 2, NOW + 50)


def test_a_lease_adds_up_what_its_owners_used(ledger: Ledger) -> None:
    ledger.take_lease("a", now=NOW, seconds=10, usage=Usage(seconds=1))
    ledger.take_lease("a", now=NOW, seconds=10, usage=Usage(seconds=4, gets=2))
    ledger.take_lease("b", now=NOW + 10, seconds=10, usage=Usage(seconds=2))
    third = ledger.take_lease("c", now=NOW + 20, seconds=10)
    assert third == Lease("c", 3, NOW + 30, Usage(), before=Usage(seconds=6, gets=2))


def test_only_the_owner_gives_a_lease_back(ledger: Ledger) -> None:
    ledger.take_lease("a", now=NOW, seconds=10)
    assert ledger.expire_lease("b", NOW) == Lease("a", 1, NOW + 10)
    assert ledger.expire_lease("a", NOW) == Lease("a", 1, NOW)
    assert ledger.take_lease("b", now=NOW, seconds=10).epoch == 2


def test_an_older_coordinator_does_not_overwrite_the_progress_of_a_later_one(ledger: Ledger) -> None:
    told = Progress(JobState.MAPPING, PhaseProgress(), PhaseProgress(), 0.0, NOW, epoch=2, lease_expires=NOW)
    assert ledger.put_progress(told) == told
    assert ledger.put_progress(replace(told, epoch=1, updated=NOW + 1)) == told
    assert ledger.put_progress(replace(told, updated=NOW + 2)).updated == NOW + 2


def test_what_is_created_once_stays_what_it_was(ledger: Ledger) -> None:
    assert ledger.request_cancel("first", NOW) == ledger.request_cancel("second", NOW + 1)
    entry = ManifestEntry("jobs/3f9a/manifest/map", 7)
    assert ledger.put_manifest(Phase.MAP, entry) == entry
    assert ledger.put_manifest(Phase.MAP, ManifestEntry("other", 8)) == entry
    done = ledger.put_outcome(Outcome(JobState.DONE, NOW))
    assert ledger.put_outcome(Outcome(JobState.FAILED, NOW)) == done


def test_a_snapshot_holds_all_that_stands(ledger: Ledger) -> None:
    for number in (1, 2, 3):
        ledger.launch(AttemptId(ID.task, number), now=NOW, expires=NOW + 60)
    commit = ledger.commit(Commit(ID, "a", NOW, 1.0, NUMBERS))
    ledger.put_manifest(Phase.MAP, ManifestEntry("key", 7))
    ledger.request_cancel("enough", NOW)
    ledger.take_lease("a", now=NOW, seconds=10)
    snapshot = ledger.snapshot()
    assert [attempt.id.number for attempt in snapshot.attempts[ID.task]] == [1, 2, 3]
    assert snapshot.commits == {ID.task: commit}
    assert snapshot.manifests == {Phase.MAP: "key"}
    assert (snapshot.cancel, snapshot.outcome) == ("enough", None)


# ---------------------------------------------------------------- the bytes of rows

RECEIPT = Receipt(ID, "jobs/3f9a/map/000003/002/run", 1_000, 900, 2**32 - 1, 5)
PART = Part(3, (PartFile("jobs/3f9a/reduce/000003/002/part-000.parquet", 5, 700, 9, 1_400, ("str", "int")),))
USAGE = Usage(1.25, 2, 3, 4, 5, 6)
COST = Cost(0.5, 0.25, 0.125)
PHASE = PhaseProgress(4, 3, 1, 0, 1, 1, NUMBERS, 6.5)
ROWS: dict[str, object] = {
    "entry": ENTRY,
    "lease": Lease("local-1-2", 3, 1_010.25, USAGE, Usage(9.5)),
    "progress": Progress(JobState.MAPPING, PHASE, PhaseProgress(2), 12.5, 1_000.5, 3, 1_010.25, "", COST, Estimate(1.5, 2.5, 0.5, 2.0, 7)),
    "claim": Reservation("5f0e"),
    "cancel": CancelRequest("cancelled by the user", 1_001.0),
    "attempt": Attempt(ID, AttemptState.FAILED, "local-1-3", 1_015.0, 999.0, 1_000.0, NUMBERS, FAILURE, 999.5, USAGE),
    "commit": Commit(ID, "local-1-3", 1_001.0, 2.0, NUMBERS, (RECEIPT,), PART, 2**64 - 1, 5, USAGE),
    "leg": Leg(ID, "local-1-3", 1_001.0, 2, Position(9, 1, 40, 3, 12), 2.0, NUMBERS, RECEIPT, PART, 2**64 - 1, 5),
    "manifest": ManifestEntry("jobs/3f9a/manifest/map", 2**32 - 1),
    "outcome": Outcome(JobState.FAILED, 1_002.0, "", "", (FailedAttempt(ID, FAILURE, 7),), "TaskError", "Task 3 of the map phase failed"),
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_are_what_they_were_in_version_2(name: str) -> None:
    """A row that changes needs a new version, or a default for the new field; then `GOLDEN` gets a new file, the last of its name."""
    noun = ROWS[name]
    codec: RowCodec[object] = RowCodec(type(noun))
    stored = [file.read_bytes() for file in sorted(GOLDEN.glob(f"{name}-v2*.json"), key=lambda file: file.stem)]
    assert [codec.decode(name, each) for each in stored] == [noun] * len(stored)
    assert codec.encode(noun) == stored[-1]


def test_a_row_of_another_version_is_refused_by_its_name(table: MemoryTable, ledger: Ledger) -> None:
    table.put(ENTRY.job, "job/outcome", b'{"v":1,"row":{"something":"else"}}', expect=0)
    with pytest.raises(FormatVersionError, match="'job/outcome' was written in version 1"):
        ledger.snapshot()


@pytest.mark.parametrize("data", [b"", b"null", b'{"v":2,"row":{}}', b"\xff", b'{"v":2,"row":{"state":"strange","at":1.0}}'])
def test_a_row_that_is_none_of_ours_is_refused(data: bytes) -> None:
    with pytest.raises(CorruptObjectError, match="'outcome'"):
        RowCodec(Outcome).decode("outcome", data)


def test_a_row_that_nobody_knows_is_left_alone(table: MemoryTable, ledger: Ledger) -> None:
    for key in ("job/later", "task/map/000003/later", "later"):
        assert table.put(ENTRY.job, key, b"?", expect=0) == Row(key, 1, b"?")
    assert ledger.snapshot().attempts == {}


def test_golden_rows_are_all_known() -> None:
    newest = ("attempt", "commit", "entry", "lease", "leg", "progress")
    shapes = dict.fromkeys(ROWS, ("", "b")) | dict.fromkeys(newest, ("", "b", "c"))
    assert sorted(path.name for path in GOLDEN.iterdir()) == sorted(f"{name}-v2{shape}.json" for name in ROWS for shape in shapes[name])


def test_an_attempt_of_a_job_that_was_removed_meanwhile_is_told_so(table: MemoryTable) -> None:
    ledger = Ledger(table, "3f9a")
    ledger.create_job(ENTRY)
    ledger.launch(ID, now=NOW, expires=NOW + 60)
    held = claimed(ledger, "w")
    table.delete_group("3f9a")
    with pytest.raises(JobNotFoundError, match="has been removed since"):
        ledger.heartbeat(held, Report(NUMBERS), now=NOW, lease=15)


def test_jobs_of_another_version_stand_in_nobodys_way(table: MemoryTable, ledger: Ledger) -> None:
    """They are not read, and neither are they a reason to submit or to list nothing."""
    table.put("jobs", "00000000000.000001-old", b'{"v":1,"row":{"job":"old","name":"","created":0.0,"plan":"p","more":1}}', expect=0)
    assert list_jobs(table) == [ENTRY]
    table.put("jobs", "00000000000.000002-odd", b"{}", expect=0)
    with pytest.raises(CorruptObjectError):
        list_jobs(table)


@given(st.sets(st.integers(1, 99_999), min_size=1))
def test_legs_and_attempts_stand_in_the_order_of_their_numbers(numbers: set[int]) -> None:
    """Also beyond a thousand: a task of many short invocations has as many."""
    task = TaskId(Phase.MAP, 3)
    assert sorted(numbers) == sorted(numbers, key=lambda number: leg_row(task, number))
    assert sorted(numbers) == sorted(numbers, key=lambda number: attempt_row(AttemptId(task, number)))
