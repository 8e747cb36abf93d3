"""What of a job's outputs is sound: laws over whichever objects are lost, rotten or named."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.control.soundness import doubted, irreplaceable, sound_outputs
from smr_notebook.dataflow.signing import SECRET_BYTES, Keyring
from smr_notebook.model import AttemptId, Commit, JobState, Leg, Numbers, Part, PartFile, Phase, TaskId
from smr_notebook.standing import Outcome

KEYS = Keyring(bytes(SECRET_BYTES))
FATES = st.sampled_from(["stands", "stands", "stands", "gone", "longer", "rotten", "named"])


def position() -> object:
    """Return where a leg ended: of no meaning here."""
    return None


@dataclass(frozen=True)
class Made:
    """A task of legs, and whether it has a commit over all of them."""

    fates: list[str]
    committed: bool


TASKS = st.lists(st.builds(Made, st.lists(FATES, min_size=1, max_size=4), st.booleans()), max_size=5)


def file_of(key: str, data: bytes) -> PartFile:
    return PartFile(key, 1, len(data), zlib.crc32(data), 1, ("int", "int"))


def outputs_of(number: int, made: Made, objects: MemoryStore) -> list[Commit | Leg]:
    """Write the objects of a task as they are found, and return what was said of them when they were written."""
    task, files, legs = TaskId(Phase.MAP, number), [], []
    for leg, fate in enumerate(made.fates, 1):
        attempt = AttemptId(task, leg)
        key, data = f"jobs/a{number % 2}/{attempt}/part-000.parquet", b"x" * (10 + leg)
        found = {"gone": None, "longer": data + b"x", "rotten": b"y" + data[1:]}.get(fate, data)
        if found is not None:
            objects.put(key, found)
        files.append(file_of(key, data))
        legs.append(Leg(attempt, "o", 0.0, leg, position(), 1.0, Numbers(), part=Part(number, (files[-1],))))  # type: ignore[arg-type]
    commit = Commit(legs[-1].id, "o", 0.0, 1.0, Numbers(), part=Part(number, tuple(files)))
    return [*legs, commit] if made.committed else [*legs]


def expected(made: Made, bad: set[str]) -> tuple[int, bool]:
    """Return how many legs stay of a task, and whether its commit does."""
    first = next((place for place, fate in enumerate(made.fates) if fate in bad), len(made.fates))
    return first, made.committed and first == len(made.fates)


@given(TASKS, st.booleans())
def test_an_output_is_taken_over_exactly_if_all_its_objects_are_what_was_written(tasks: list[Made], careful: bool) -> None:
    """A size is always looked at; bytes, and what was named, where the job ended because of an object."""
    objects = MemoryStore()
    outputs = [output for number, made in enumerate(tasks) for output in outputs_of(number, made, objects)]
    named = frozenset(
        f"jobs/a{number % 2}/{AttemptId(TaskId(Phase.MAP, number), leg)}/part-000.parquet"
        for number, made in enumerate(tasks)
        for leg, fate in enumerate(made.fates, 1)
        if fate == "named"
    )
    found = sound_outputs(outputs, objects, KEYS, doubts=named if careful else None, threads=2)
    bad = {"gone", "longer", "rotten", "named"} if careful else {"gone", "longer"}
    for number, made in enumerate(tasks):
        of_task = [output for output in found.outputs if output.id.task.number == number]
        legs, commit = expected(made, bad)
        assert [leg.number for leg in of_task if isinstance(leg, Leg)] == list(range(1, legs + 1))
        assert sum(isinstance(output, Commit) for output in of_task) == commit
        assert (TaskId(Phase.MAP, number) in found.lost) == (legs < len(made.fates))
    assert found.unread == 0


def test_what_is_too_much_to_be_read_is_told_and_taken_over() -> None:
    objects, made = MemoryStore(), Made(["stands", "rotten", "stands"], committed=False)
    outputs = outputs_of(0, made, objects)
    careful = sound_outputs(outputs, objects, KEYS, doubts=frozenset(), threads=1, most_read=22)
    assert (careful.outputs, careful.unread) == (outputs, 12 + 13)


def test_what_a_failure_names_is_found_in_its_text() -> None:
    key = "jobs/09af09af/map/000001/001/run"
    for text in (f"{key} is not what was written: cut.", f"Block 0 of partition 1 in {key} was", f"see {key}.", f"({key})"):
        assert doubted(Outcome(JobState.FAILED, 0.0, error="CorruptObjectError", message=text)) == frozenset({key})
    assert doubted(Outcome(JobState.FAILED, 0.0, error="TaskError", message=key)) is None
    assert doubted(None) is None


def test_what_a_job_was_submitted_with_is_told_from_what_its_tasks_made() -> None:
    made = frozenset({"jobs/a/map/000001/001/run", "jobs/a/index", "jobs/a/manifest/map"})
    assert irreplaceable(made) == ""
    for key in ("jobs/a/plan", "jobs/a/code", "jobs/a/splits/000001/000000", "jobs/a/input/000000"):
        assert irreplaceable(made | {key}) == key
