"""A trigger makes one job for each occurrence, whatever is doubled, reordered, lost, or dies; and none for anything else."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smr_notebook.backends.memory.alarms import MemoryAlarms
from smr_notebook.backends.memory.clock import SimulatedClock
from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.platform import open_memory
from smr_notebook.backends.memory.source import MemorySource
from smr_notebook.backends.memory.triggers import MemoryTriggers
from smr_notebook.config import Settings
from smr_notebook.control.coordinator import run_coordinator
from smr_notebook.control.driving import run_driver
from smr_notebook.control.firing import MOST_FAILURES, fire, fire_again
from smr_notebook.control.keys import keys_of
from smr_notebook.control.layout import Layout
from smr_notebook.control.ledger import Ledger, list_jobs
from smr_notebook.control.messages import FailedFiring, Firing, Message, Role, decode, drive, encode, encode_firing
from smr_notebook.control.plans import read_request
from smr_notebook.control.rows import JobEntry
from smr_notebook.control.triggers import code_key, list_triggers, request_key
from smr_notebook.control.worker import run_attempt
from smr_notebook.dataflow.pair_programs import program_of_pairs
from smr_notebook.dataflow.signing import Keyring
from smr_notebook.errors import (
    ConfigError,
    InputChangedError,
    PlanError,
    StoreError,
    ThrottledError,
    UntrustedObjectError,
    WorkerLostError,
)
from smr_notebook.job.handle import Job
from smr_notebook.model import JobState
from smr_notebook.ports import Context
from smr_notebook.sessions.session import Session
from smr_notebook.standing import Outcome
from smr_notebook.testing.fates import Fates, Odds
from smr_notebook.testing.faults import Died, FaultyStore, FaultyTable, Mischief
from smr_notebook.testing.noted_calls import AtOnce, NotedCalls
from smr_notebook.testing.races import in_threads
from smr_notebook.values.spellings import read_sorting


def count_words(line: str) -> Iterator[tuple[str, int]]:
    for word in line.split():
        yield word, 1


PROGRAM = program_of_pairs(count_words, sum, None, read_sorting(None))


@dataclass
class Service(NotedCalls):
    """Notes calls for triggers by themselves; refuses the next calls, if it shall."""

    refused: int = 0
    firings: list[Firing] = field(default_factory=list)

    def invoke(self, payload: bytes) -> None:
        if self.refused:
            self.refused -= 1
            raise ThrottledError("Rate exceeded. Try again later.")
        message = decode(payload)
        if isinstance(message, Firing):
            self.firings.append(message)
        else:
            super().invoke(payload)

    def of(self, role: Role) -> list[Message]:
        """Return the messages for a role."""
        return [one for one in self.calls if one.role is role]


class Cloud:
    """A platform on which jobs start by themselves."""

    def __init__(self) -> None:
        self.service, self.clock, self.input = Service(), SimulatedClock(1_000.0), {"logs/a.txt": b"one two\ntwo\n", "logs/b.txt": b"two\n"}
        self.fired: list[bytes] = []
        self.triggers = MemoryTriggers(self.fired.append)
        self.alarms = MemoryAlarms(self.clock, self.service.invoke)
        self.backend = replace(
            open_memory(),
            functions=self.service,
            clock=self.clock,
            sources={"s3": MemorySource(self.input)},
            poll=(0.1, 1.0),
            alarms=self.alarms,
            plans=True,
            expires=True,
            triggers=self.triggers,
            targets={"s3": lambda _: MemoryStore()},
            user="ann",
        )
        self.session = Session(settings=Settings(workspace=Path("nowhere")), backend=self.backend)

    def submit(self, pattern: str = "s3://logs", **options: Any) -> Job:
        """Submit a job, and forget that it wants a driver."""
        job: Job = self.session.map_reduce(count_words, sum, pattern, **options)
        self.service.calls.clear()
        return job

    def upload(self, key: str, content: bytes, *, sequence: str = "1") -> list[Firing]:
        """Let an object appear, and return the calls that this makes."""
        self.input[key] = content
        self.fired.clear()
        self.triggers.appeared(key, version=f"{zlib.crc32(content):08x}", size=len(content), sequence=sequence)
        return self.firings()

    def firings(self) -> list[Firing]:
        """Return the calls of triggers since the last upload, or the first time."""
        found = [decode(payload) for payload in self.fired]
        return [one for one in found if isinstance(one, Firing)]

    def due(self, at: str) -> Firing:
        """Return the call of the one schedule that stands."""
        self.fired.clear()
        self.triggers.due(at)
        (firing,) = self.firings()
        return firing

    def made(self) -> list[JobEntry]:
        """Return the jobs that triggers made."""
        names = {one.name for one in list_triggers(self.backend.table)}
        return [entry for entry in list_jobs(self.backend.table) if entry.name in names]

    def _work(self, message: Message) -> None:
        run_attempt(self.backend, message, Context("memory:", f"w-{message.attempt_id}", 1e9, 1 << 30, self.clock))

    def run(self) -> None:
        """Run what was called, and what that calls."""
        while self.service.calls:
            message = self.service.calls.pop(0)
            context = Context("memory:", f"{message.role}-{len(self.service.calls)}-{self.clock.now()}", 1e9, 1 << 30, self.clock)
            work: Callable[..., None] = {Role.DRIVER: run_driver, Role.COORDINATOR: run_coordinator}.get(message.role, run_attempt)
            work(
                replace(self.backend, functions=AtOnce(self.service, self._work)) if message.role is Role.COORDINATOR else self.backend,
                message,
                context,
            )


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


# ---------------------------------------------------------------- what is made


def test_a_schedule_runs_the_job_over_what_is_there_at_its_time(cloud: Cloud) -> None:
    trigger = cloud.session.schedule("rate(1  days)", cloud.submit(name="words"), name="daily")
    assert (repr(trigger), trigger.stands, cloud.made()) == ("<Trigger daily: rate(1 day)>", True, [])
    cloud.input["logs/c.txt"] = b"three\n"
    job = fire(cloud.backend, cloud.due("2026-11-26T00:00:00Z"))
    cloud.run()
    found = cloud.session.attach("daily")
    assert (found.id, found.result().to_dict("list")) == (job, {"key": ["one", "three", "two"], "value": [1, 1, 3]})
    assert [(entry.user, entry.created) for entry in cloud.made()] == [("ann", 1_000.0)]
    assert cloud.session.triggers()[0].last == job


def test_an_upload_is_the_input_of_a_job_of_its_own(cloud: Cloud) -> None:
    assert cloud.session.on_upload("s3://in/logs/*.txt", cloud.submit(name="words")).name == "words"
    (firing,) = cloud.upload("in/logs/x [1]*.txt", b"up up\n")
    job = fire(cloud.backend, firing)
    cloud.run()
    assert cloud.session.attach(job).result().to_dict("list") == {"key": ["up"], "value": [2]}


def test_the_mark_beside_files_is_no_upload_unless_it_is_what_one_waits_for(cloud: Cloud) -> None:
    cloud.session.on_upload("s3://in/out/", cloud.submit(), name="files")
    cloud.session.on_upload("s3://done/*/_SUCCESS", cloud.submit(), name="marks")
    firings = [
        *cloud.upload("in/out/part-00000.txt", b"up\n"),
        *cloud.upload("in/out/_SUCCESS", b"{}\n"),
        *cloud.upload("done/a/_SUCCESS", b"{}\n"),
    ]
    assert [bool(fire(cloud.backend, firing)) for firing in firings] == [True, False, True]
    assert sorted(entry.name for entry in cloud.made()) == ["files", "marks"]


def test_a_request_makes_a_trigger_without_a_job(cloud: Cloud) -> None:
    request = cloud.session.request(PROGRAM, "s3://logs")
    cloud.session.schedule("cron(0 3 * * ? *)", request, name="nightly", timezone="Europe/Berlin")
    assert cloud.session.triggers()[0].what == "cron(0 3 * * ? *) Europe/Berlin"
    fire(cloud.backend, cloud.due("2026-11-26T02:00:00Z"))
    cloud.run()
    assert len(cloud.session.attach("nightly").result()) == 2


def test_what_was_replaced_since_is_not_taken_for_what_was_uploaded(cloud: Cloud) -> None:
    """Else the later version would be counted by both jobs: that of its own upload reads it."""
    cloud.session.on_upload("s3://in/", cloud.submit(), name="in")
    (first,) = cloud.upload("in/a", b"first\n")
    (second,) = cloud.upload("in/a", b"second\n", sequence="2")
    old, new = fire(cloud.backend, first), fire(cloud.backend, second)
    cloud.run()
    error = cloud.session.attach(old).exception()
    assert isinstance(error, InputChangedError)
    assert "s3://in/a has been replaced or removed since the upload" in str(error)
    assert cloud.session.attach(new).result()["key"].tolist() == ["second"]


def test_what_was_removed_since_is_not_what_lies_below_its_name(cloud: Cloud) -> None:
    cloud.session.on_upload("s3://in/", cloud.submit(), name="in")
    (firing,) = cloud.upload("in/a", b"first\n")
    cloud.input["in/a/b"] = cloud.input.pop("in/a")
    job = fire(cloud.backend, firing)
    cloud.run()
    assert isinstance(cloud.session.attach(job).exception(), InputChangedError)


# ---------------------------------------------------------------- once


@dataclass(frozen=True, slots=True)
class Story:
    """Which occurrences are called for in which order, and what befalls the invocations."""

    calls: tuple[int, ...]
    seed: int
    odds: Odds


STORIES = st.builds(
    Story,
    st.lists(st.integers(0, 4), min_size=1, max_size=12).map(tuple),
    st.integers(0, 10_000),
    st.sampled_from([Odds(), Odds(flaky=0.2), Odds(coordinator_death=0.7), Odds(flaky=0.1, coordinator_death=0.4)]),
)


@settings(max_examples=60)
@given(STORIES)
def test_each_occurrence_is_one_job_whatever_is_doubled_lost_or_dies(story: Story) -> None:
    cloud = Cloud()
    cloud.session.on_upload("s3://in/", cloud.submit(), name="in")
    firings = [cloud.upload(f"in/{number}", b"x" * (number + 1))[0] for number in range(5)]
    job = fire(Cloud().backend, firings[0])  # nobody's
    assert job == ""
    fates, random = Fates(story.seed, story.odds), Random(story.seed)
    for turn, number in enumerate(story.calls):
        dies = random.randint(1, 8) if random.random() < story.odds.coordinator_death else 0
        mischief = Mischief(fates, f"{turn}", operations=dies)
        faulty = replace(
            cloud.backend, table=FaultyTable(cloud.backend.table, mischief), objects=FaultyStore(cloud.backend.objects, mischief)
        )
        try:
            fire(faulty, firings[number])
        except (StoreError, Died):
            cloud.clock.sleep(random.uniform(0, 100))
    for number in dict.fromkeys(story.calls):  # the services go on until an invocation ends well
        fire(cloud.backend, firings[number])
    jobs = {entry.job: read_request(cloud.backend.objects, entry.job, keys_of(cloud.backend.table)).patterns for entry in cloud.made()}
    assert sorted(jobs.values()) == sorted({(f"s3://in/{number}",) for number in story.calls})
    assert {message.job for message in cloud.service.of(Role.DRIVER)} == jobs.keys()


@pytest.mark.parametrize("skips", [False, True], ids=["side-by-side", "skipping"])
def test_all_who_are_called_at_once_make_one_job(cloud: Cloud, *, skips: bool) -> None:
    """Eight for each of two occurrences; of these one is skipped, if one asks for that, whichever comes second."""
    cloud.session.schedule("rate(1 hour)", cloud.submit(), name="hourly", skip_running=skips)
    firings = [cloud.due(f"2026-11-26T0{hour}:00:00Z") for hour in range(2)]
    in_threads(16, lambda thread: fire(cloud.backend, firings[thread % 2]))
    jobs = [fire(cloud.backend, firing) for firing in firings]
    assert sorted(entry.job for entry in cloud.made()) == sorted(filter(None, jobs))
    assert len(cloud.made()) == (1 if skips else 2)


def test_an_identifier_that_is_another_jobs_is_passed_over_and_again_when_we_are_called_again(cloud: Cloud) -> None:
    cloud.session.schedule("rate(1 day)", cloud.submit(), name="daily")
    firing = cloud.due("2026-11-26T00:00:00Z")
    twin = Cloud()
    twin.backend.table.put("lasting", "trigger/daily", cloud.backend.table.get("lasting", "trigger/daily").value, expect=0)  # type: ignore[union-attr]
    with pytest.raises(StoreError):
        fire(twin.backend, firing)  # of which no template stands
    first = next(row for row in twin.backend.table.query(f"triggers/{firing.trigger}", "fired/"))
    taken = json.loads(first.value)["row"]["job"]
    Ledger(cloud.backend.table, taken).reserve("somebody else's")
    jobs = {fire(cloud.backend, firing) for _ in range(3)}
    assert len(jobs) == 1
    assert jobs != {taken}
    assert [entry.job for entry in cloud.made()] == [*jobs]


def test_whoever_was_ended_before_it_called_the_driver_is_followed_by_one_who_does(cloud: Cloud) -> None:
    cloud.session.schedule("rate(1 day)", cloud.submit(), name="daily")
    firing, cloud.service.refused = cloud.due("2026-11-26T00:00:00Z"), 1
    with pytest.raises(ThrottledError):
        fire(cloud.backend, firing)
    (entry,) = cloud.made()
    assert cloud.alarms.next_at is not None, "else nobody would look after it"
    fire(cloud.backend, firing)
    assert cloud.service.of(Role.DRIVER) == [drive(entry.job)]
    cloud.run()
    assert cloud.session.attach("daily").status().state is JobState.DONE
    fire(cloud.backend, firing)
    assert (cloud.service.calls, cloud.service.firings) == ([], [])


def test_a_firing_whose_invocation_failed_is_tried_later_and_later_and_not_for_ever(cloud: Cloud) -> None:
    firing = Firing("daily.0123abcd", "2026-11-26T00:00:00Z")
    waits = []
    for _ in range(MOST_FAILURES - 1):
        failed = decode(json.dumps({"failed": encode_firing(firing).decode(), "reason": "no"}).encode())
        assert failed == FailedFiring(firing, "no")
        fire_again(cloud.backend, failed)
        assert cloud.alarms.next_at is not None
        waits.append(cloud.alarms.next_at - cloud.clock.now())
        cloud.clock.sleep(waits[-1])
        cloud.alarms.ring()
        (again,) = cloud.service.firings
        assert again == replace(firing, restarts=firing.restarts + 1)
        cloud.service.firings.clear()
        firing = again
    assert waits == sorted(waits)
    assert sum(waits) > 3600
    with pytest.raises(WorkerLostError, match=r"trigger daily.0123abcd could not make the job of 2026-11-26T00:00:00Z, 9 times.*: no\."):
        fire_again(cloud.backend, FailedFiring(firing, "no"))


# ---------------------------------------------------------------- not at all


def test_calls_for_what_does_not_stand_or_is_not_watched_do_nothing(cloud: Cloud) -> None:
    cloud.session.on_upload("s3://in/logs/*.gz", cloud.submit(), name="in")
    (firing,) = cloud.upload("in/logs/a.gz", b"x")
    others = [
        replace(firing, trigger="in"),
        replace(firing, trigger="in.00000000"),
        replace(firing, trigger="../key"),
        replace(firing, object="in/logs/a.txt"),
        replace(firing, object="in/logs/2026/a.gz"),
        replace(firing, object="other/logs/a.gz"),
        replace(firing, object=""),
        replace(firing, bytes=0),
    ]
    assert [fire(cloud.backend, other) for other in others] == [""] * len(others)
    assert (cloud.made(), cloud.service.calls, cloud.service.firings) == ([], [], [])
    assert fire(cloud.backend, firing)


def test_a_template_that_was_changed_makes_no_job(cloud: Cloud) -> None:
    """Who can write to the bucket alone has nothing run."""
    cloud.session.schedule("rate(1 day)", cloud.submit(), name="daily")
    (trigger,) = list_triggers(cloud.backend.table)
    objects, firing = cloud.backend.objects, cloud.due("2026-11-26T00:00:00Z")
    for key in (code_key(trigger), request_key(trigger)):
        whole = objects.get(key)
        objects.put(key, whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(UntrustedObjectError):
            fire(cloud.backend, firing)
        objects.put(key, whole)
    other = Keyring(b"x" * 32).of_object(code_key(trigger))
    code = objects.get(code_key(trigger))[:-16]
    objects.put(code_key(trigger), code + other.sign("code", code_key(trigger), code))
    with pytest.raises(UntrustedObjectError):
        fire(cloud.backend, firing)
    assert (cloud.made(), cloud.service.calls, cloud.service.firings) == ([], [], [])


def test_the_code_of_a_job_is_no_template_of_a_trigger(cloud: Cloud) -> None:
    """What is signed for one place proves nothing at another."""
    job = cloud.submit()
    cloud.session.schedule("rate(1 day)", job, name="daily")
    (trigger,) = list_triggers(cloud.backend.table)
    cloud.backend.objects.put(code_key(trigger), cloud.backend.objects.get(Layout(job.id).code))
    with pytest.raises(UntrustedObjectError):
        fire(cloud.backend, cloud.due("2026-11-26T00:00:00Z"))


def test_a_trigger_that_was_removed_fires_no_more_and_its_name_is_free(cloud: Cloud) -> None:
    trigger = cloud.session.schedule("rate(1 day)", cloud.submit(), name="daily")
    late = cloud.due("2026-11-26T00:00:00Z")
    with pytest.raises(ConfigError, match="There is a trigger 'daily' already"):
        cloud.session.schedule("rate(1 hour)", cloud.submit(), name="daily")
    trigger.remove()
    assert (cloud.session.triggers(), trigger.stands, [*cloud.backend.objects.list_prefix("triggers/")]) == ([], False, [])
    with pytest.raises(ConfigError, match="There is no trigger 'daily'"):
        trigger.remove()
    again = cloud.session.schedule("rate(1 hour)", cloud.submit(), name="daily")
    assert fire(cloud.backend, late) == ""
    with pytest.raises(ConfigError, match="another one of that name"):
        trigger.remove()
    assert again.stands
    with pytest.raises(ConfigError, match="Did you mean 'daily'"):
        cloud.session.remove_trigger("dayly")
    assert cloud.session.remove_trigger("daily").what == "rate(1 hour)"


def test_one_that_the_platform_refuses_does_not_stand(cloud: Cloud) -> None:
    class Refusing(MemoryTriggers):
        def at_times(self, name: str, times: str, timezone: str) -> None:
            raise ConfigError(f"No {name} {times} {timezone}.")

    session = Session(settings=Settings(workspace=Path("nowhere")), backend=replace(cloud.backend, triggers=Refusing(len)))
    with pytest.raises(ConfigError, match=r"No daily\."):
        session.schedule("rate(1 day)", cloud.submit(), name="daily")
    assert (session.triggers(), [*cloud.backend.objects.list_prefix("triggers/")]) == ([], [])


def test_one_that_the_platform_refuses_takes_none_along_that_has_its_name_since(cloud: Cloud) -> None:
    class Slow(MemoryTriggers):
        def at_times(self, name: str, times: str, timezone: str) -> None:
            cloud.session.remove_trigger("daily")
            cloud.session.schedule("rate(1 hour)", cloud.submit(), name="daily")
            raise ConfigError(f"No {name} {times} {timezone}.")

    session = Session(settings=Settings(workspace=Path("nowhere")), backend=replace(cloud.backend, triggers=Slow(len)))
    with pytest.raises(ConfigError, match=r"No daily\."):
        session.schedule("rate(1 day)", cloud.submit(), name="daily")
    (standing,) = cloud.session.triggers()
    assert (standing.what, standing.stands) == ("rate(1 hour)", True)
    assert fire(cloud.backend, cloud.due("2026-11-26T00:00:00Z"))


def test_while_the_job_before_runs_the_next_one_is_skipped_if_one_asks_for_that(cloud: Cloud) -> None:
    cloud.session.schedule("rate(1 hour)", cloud.submit(), name="hourly", skip_running=True)
    first, second, third = (cloud.due(f"2026-11-26T0{hour}:00:00Z") for hour in range(3))
    job = fire(cloud.backend, first)
    assert (fire(cloud.backend, second), fire(cloud.backend, first)) == ("", job)
    Ledger(cloud.backend.table, job).put_outcome(Outcome(JobState.FAILED, 1.0))
    assert fire(cloud.backend, second) == "", "it was skipped, and stays so"
    assert fire(cloud.backend, third)
    assert len(cloud.made()) == 2
    cloud.session.remove_trigger("hourly")
    cloud.session.schedule("rate(1 hour)", cloud.submit(), name="hourly")
    fire(cloud.backend, cloud.due("2026-11-26T04:00:00Z"))
    fire(cloud.backend, cloud.due("2026-11-26T05:00:00Z"))
    assert len(cloud.made()) == 4


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("times", ["1 day", "rate(0 days)", "rate(1 week)", "cron(0 3 * * ?)", "at(tomorrow)", "", "rate(1 day); rm"])
def test_times_that_make_no_sense(cloud: Cloud, times: str) -> None:
    with pytest.raises(ConfigError, match=r"says no times\. Write rate\(1 day\)"):
        cloud.session.schedule(times, cloud.submit(), name="daily")


@pytest.mark.parametrize("location", ["in/", "/data/in", "https://in/logs", "s3://", "s3:///a", "s3://in*/a"])
def test_locations_that_nobody_is_told_of(cloud: Cloud, location: str) -> None:
    with pytest.raises(ConfigError, match=r"is no place|said as it is"):
        cloud.session.on_upload(location, cloud.submit(), name="in")


def test_a_location_that_would_never_be_met_says_what_is_meant(cloud: Cloud) -> None:
    with pytest.raises(ConfigError, match=r"'s3://in/2026-\*/' watches nothing.* Write s3://in/2026-\*/\*\* for all"):
        cloud.session.on_upload("s3://in/2026-*/", cloud.submit(), name="in")
    with pytest.raises(ConfigError, match=r"Write s3://in/day\.csv/ if it is one; else s3://in/day\[\.\]csv\."):
        cloud.session.on_upload("s3://in/day.csv", cloud.submit(), name="in")
    cloud.session.on_upload("s3://in/day[.]csv", cloud.submit(), name="one")
    cloud.session.on_upload("s3://in/2026-*/**", cloud.submit(), name="all")
    firings = [*cloud.upload("in/day.csv", b"up\n"), *cloud.upload("in/2026-1/a/b", b"up\n")]
    assert [bool(fire(cloud.backend, firing)) for firing in firings] == [True, True]


def test_jobs_and_names_that_cannot_be_made_again(cloud: Cloud, tmp_path: Path) -> None:
    in_memory = cloud.session.map_reduce(count_words, sum, ["a line"])
    with pytest.raises(PlanError, match="in the notebook's memory"):
        cloud.session.schedule("rate(1 day)", in_memory, name="daily")
    with pytest.raises(ConfigError, match="A trigger needs a name"):
        cloud.session.schedule("rate(1 day)", cloud.submit())
    with pytest.raises(ConfigError, match="'a b' is no name for a trigger"):
        cloud.session.on_upload("s3://in/", cloud.submit(name="a b"))
    with pytest.raises(ConfigError, match="no time zone 'Mars/Base'"):
        cloud.session.schedule("rate(1 day)", cloud.submit(), name="daily", timezone="Mars/Base")
    (tmp_path / "a.txt").write_text("a line\n")
    upload = cloud.session.upload_data(tmp_path).id
    with pytest.raises(PlanError, match=f"{upload} expires"):
        cloud.session.schedule("rate(1 day)", cloud.session.request(PROGRAM, upload), name="daily")


def test_a_job_over_other_jobs_or_several_inputs_starts_by_none(cloud: Cloud) -> None:
    one = cloud.session.map_reduce(count_words, sum, "s3://logs/a.txt")
    two = cloud.session.map_reduce(lambda row: [row], sum, one)
    for job in (two, cloud.session.request(PROGRAM, one)):
        with pytest.raises(PlanError, match="another job, or several inputs"):
            cloud.session.schedule("rate(1 day)", job, name="daily")
        with pytest.raises(PlanError, match="another job, or several inputs"):
            cloud.session.on_upload("s3://in/", job, name="uploads")
    assert cloud.session.triggers() == []


def test_a_platform_on_which_nothing_lives_on_says_what_does() -> None:
    session = Session(settings=Settings(workspace=Path("nowhere")), backend=open_memory())
    job = session.request(PROGRAM, "s3://logs")
    told = r"0 3 \* \* \* smr run job\.toml.*--platform aws"
    with pytest.raises(ConfigError, match=told):
        session.schedule("rate(1 day)", job, name="a")
    with pytest.raises(ConfigError, match=told):
        session.on_upload("s3://in/", job, name="a")
    assert session.triggers() == []


def test_encoded_firings_are_what_the_port_says() -> None:
    firing = Firing("in.0123abcd", "1/2", "in/a", "v", 3)
    assert json.loads(encode_firing(firing)) == {"fire": "in.0123abcd", "occurrence": "1/2", "object": "in/a", "version": "v", "bytes": 3}
    assert decode(encode_firing(replace(firing, restarts=2))) == replace(firing, restarts=2)
    assert decode(encode(drive("3f9a"))) == drive("3f9a"), "other messages stay what they are"
