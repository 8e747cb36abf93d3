"""An attempt's side of the ledger: what a commit says of the legs before it, and how often a row that must be written is tried."""

from __future__ import annotations

import pytest

from smr_notebook.backends.memory.clock import SimulatedClock
from smr_notebook.backends.memory.table import MemoryTable
from smr_notebook.control.attempts import Claim, Output, claim
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.rows import JobEntry
from smr_notebook.errors import StoreError
from smr_notebook.model import AttemptId, JobState, Numbers, Part, PartFile, Phase, Position, Receipt, TaskId
from smr_notebook.ports import Row
from smr_notebook.standing import Outcome
from smr_notebook.values.usage import Tally, Usage

TASK = TaskId(Phase.MAP, 3)


class ShakyTable(MemoryTable):
    """Cannot be reached for some writes."""

    fails = 0
    queries = 0

    def query(self, group: str, prefix: str = "") -> list[Row]:
        self.queries += 1
        return super().query(group, prefix)

    def put(self, group: str, key: str, value: bytes, *, expect: int) -> Row:
        if self.fails:
            self.fails -= 1
            raise StoreError("not now")
        return super().put(group, key, value, expect=expect)


@pytest.fixture
def table() -> ShakyTable:
    return ShakyTable()


@pytest.fixture
def ledger(table: ShakyTable) -> Ledger:
    made = Ledger(table, "job")
    made.create_job(JobEntry("job", "", 0.0, "plan"))
    return made


def claimed(ledger: Ledger, number: int, clock: SimulatedClock, *, tally: Tally | None = None) -> Claim:
    attempt = AttemptId(TASK, number)
    ledger.launch(attempt, now=clock.now(), expires=clock.now() + 60)
    mine = claim(ledger, attempt, owner=f"w{number}", clock=clock, lease=15, tally=tally)
    assert mine is not None
    return mine


def output(number: int) -> Output:
    """What an attempt of a task of any kind might give."""
    receipt = Receipt(AttemptId(TASK, number), f"run {number}", 1, 1, 1, pairs=number)
    files = tuple(PartFile(f"part {number} {file}", number, 1, 1, 1, ("int", "int")) for file in range(2))
    return Output(receipt, Part(TASK.number, files), checksum=2**63 + number, groups=number)


def test_a_commit_says_what_all_legs_gave_in_their_order(ledger: Ledger) -> None:
    clock = SimulatedClock(100.0)
    for number in (1, 2):
        leg = claimed(ledger, number, clock)
        assert leg.after == (Position(number - 1) if number > 1 else None)
        clock.sleep(10.0)
        assert leg.publish(output(number), Position(number), Numbers(1, 2, 3, 4, 5, 6))
    last = claimed(ledger, 3, clock)
    clock.sleep(5.0)
    assert last.commit(output(3), Numbers(1, 2, 3, 4, 5, 60))
    commit = ledger.committed(TASK)
    assert commit is not None
    assert [receipt.key for receipt in commit.receipts] == ["run 1", "run 2", "run 3"]
    assert commit.part is not None
    assert [file.key for file in commit.part.files] == [f"part {number} {file}" for number in (1, 2, 3) for file in range(2)]
    assert (commit.checksum, commit.groups, commit.seconds) == ((3 * 2**63 + 6) % 2**64, 6, 25.0)
    assert commit.numbers == Numbers(3, 6, 9, 12, 15, 60)


def test_of_two_that_began_at_the_same_place_the_first_to_publish_counts(ledger: Ledger) -> None:
    clock = SimulatedClock(100.0)
    slow, quick = claimed(ledger, 1, clock), claimed(ledger, 2, clock)
    assert quick.publish(output(2), Position(5), Numbers())
    assert not slow.publish(output(1), Position(9), Numbers())
    assert claimed(ledger, 3, clock).after == Position(5)
    assert slow.commit(output(1), Numbers(records_read=7)), "and who comes to the end first commits what it did alone"
    commit = ledger.committed(TASK)
    assert commit is not None
    assert ([receipt.key for receipt in commit.receipts], commit.numbers.records_read) == (["run 1"], 7)


@pytest.mark.parametrize(("fails", "stands"), [(5, True), (6, False)])
def test_a_row_that_must_be_written_is_tried_some_times(table: ShakyTable, ledger: Ledger, *, fails: int, stands: bool) -> None:
    clock = SimulatedClock(100.0)
    mine = claimed(ledger, 1, clock)
    table.fails = fails
    if stands:
        assert mine.commit(output(1), Numbers())
    else:
        with pytest.raises(StoreError):
            mine.commit(output(1), Numbers())
    assert 1.0 < clock.now() - 100.0 < 5.0


def test_an_attempt_tells_what_it_used_with_the_rows_that_tell_it(ledger: Ledger) -> None:
    tally, clock = Tally(), SimulatedClock(100.0)
    tally.add(Usage(gets=1000))  # an earlier attempt of this process
    mine = claimed(ledger, 1, clock, tally=tally)
    tally.add(Usage(gets=3))
    clock.sleep(7.0)
    assert mine.commit(output(1), Numbers())
    commit = ledger.committed(TASK)
    assert commit is not None
    assert commit.usage == Usage(seconds=7.0, gets=3, row_writes=1)


def test_a_heartbeat_brings_back_that_somebody_asked_for_the_end(ledger: Ledger) -> None:
    """Though nobody coordinates the job."""
    clock = SimulatedClock(100.0)
    mine = claimed(ledger, 1, clock)
    assert mine.beat(Numbers(), lease=15) is None
    ledger.request_cancel("enough", clock.now())
    clock.sleep(5.0)
    assert mine.beat(Numbers(), lease=15) == "enough"


def test_the_rows_of_the_job_are_looked_at_now_and_then_only(ledger: Ledger, table: ShakyTable) -> None:
    clock = SimulatedClock(100.0)
    mine = claimed(ledger, 1, clock)
    looked = table.queries
    for _ in range(30):
        assert mine.beat(Numbers(), lease=15) is None
        clock.sleep(1.0)
    assert table.queries - looked == 30 / 5
    ledger.request_cancel("enough", clock.now())
    said: list[str | None] = []
    while not any(said):
        clock.sleep(1.0)
        said.append(mine.beat(Numbers(), lease=15))
    assert said[-1] == "enough"
    assert len(said) <= 5


def test_an_attempt_that_began_after_the_end_of_its_job_ends_at_its_first_heartbeat(ledger: Ledger) -> None:
    clock = SimulatedClock(100.0)
    ledger.put_outcome(Outcome(JobState.FAILED, 90.0))
    assert claimed(ledger, 1, clock).beat(Numbers(), lease=15) == "the job is failed"
