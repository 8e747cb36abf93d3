"""Somebody who may write to the object store, and not to the table: no pickle of theirs is loaded, and the job says why it ends."""

from __future__ import annotations

import hashlib
import pickle
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import pytest

import smr_notebook as smr
from smr_notebook.backends.memory.functions import MemoryFunctions
from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.platform import open_memory
from smr_notebook.config import Settings
from smr_notebook.control.coordinator import run_coordinator
from smr_notebook.control.keys import keys_of
from smr_notebook.control.layout import Layout
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.manifests import read_manifest
from smr_notebook.control.messages import DeathNotice, Message, decode
from smr_notebook.control.plans import read_plan, read_split_page
from smr_notebook.control.worker import handle_death, run_attempt
from smr_notebook.dataflow.blocks import iter_blocks
from smr_notebook.dataflow.columns import decode_values
from smr_notebook.dataflow.sealing import seal
from smr_notebook.dataflow.signing import SIGNATURE_BYTES, Keyring
from smr_notebook.errors import CorruptObjectError, SmrError, UntrustedObjectError
from smr_notebook.model import Phase, Plan
from smr_notebook.ports import Backend, Buffer, Context, ObjectStore
from smr_notebook.testing.forging import Trap, forged_code, forged_items, forged_part, forged_run
from smr_notebook.testing.nobody import NoFunctions
from smr_notebook.testing.waiting import wait_until

OpenSession = Callable[..., smr.Session]
Attack = Callable[[str, bytes], bytes | None]
ITEMS = [f"{number:04d} " + "a longer item, so that there is room for a forged one " * 12 for number in range(40)]
REDUCERS = 2


@pytest.fixture
def trap(tmp_path: Path) -> Trap:
    return Trap(tmp_path / "sprung")


def mapped(item: str) -> Iterator[tuple[str, str]]:
    yield item[:4], item


def rows_of(item: str) -> list[tuple[str, Fraction]]:
    """Return a row whose value is pickled, and hardly gets smaller."""
    digits = b"".join(hashlib.sha512(f"{item} {number}".encode()).digest() for number in range(40))
    return [(item[:4], Fraction(int.from_bytes(digits), 7))]


def longest(_: str, values: Iterable[str]) -> str:
    return max(values)


class AttackedStore(MemoryStore):
    """Somebody replaces what is put, as soon as it stands."""

    attack: Attack = staticmethod(lambda _key, _data: None)

    def put(self, key: str, data: Buffer | Iterable[Buffer], *, if_absent: bool = False) -> bool:
        wrote = super().put(key, data, if_absent=if_absent)
        forged = self.attack(key, self.get(key))
        if forged is not None:
            super().put(key, forged)
        return wrote


@pytest.fixture
def attacked() -> Iterator[tuple[AttackedStore, smr.Session]]:
    store = AttackedStore()
    backend = replace(open_memory(), objects=store)

    def handle(payload: bytes, context: Context) -> bytes:
        match decode(payload):
            case DeathNotice() as notice:
                handle_death(backend, notice)
            case Message() as message:
                (run_attempt if message.works else run_coordinator)(backend, message, context)
        return b""

    functions = MemoryFunctions(handle, workers=2)
    backend = replace(backend, functions=functions)
    yield store, smr.Session(settings=Settings(workspace=Path("nowhere")), backend=backend)
    functions.close()


def forged_with(trap: Trap) -> dict[str, Attack]:
    """For each kind of object, what replaces it; `None` for all others."""

    def only(part: str, forge: Callable[[str, bytes], bytes]) -> Attack:
        return lambda key, data: forge(key, data) if f"/{part}" in key and len(data) > 1_000 else None

    def items(key: str, data: bytes) -> bytes:
        return forged_items(data, trap, first=int(key.rpartition("/")[2].partition(".")[0]))

    return {
        "code": lambda key, _: forged_code(trap) if key.endswith("/code") else None,
        "items": only("input/", items),
        "runs": lambda key, data: forged_run(data, trap, partitions=REDUCERS) if key.endswith("/run") else None,
    }


@pytest.mark.parametrize("kind", ["code", "items", "runs"])
def test_in_memory_no_forged_object_is_unpickled(attacked: tuple[AttackedStore, smr.Session], trap: Trap, kind: str) -> None:
    store, session = attacked
    store.attack = forged_with(trap)[kind]
    job = session.map_reduce(mapped, longest, ITEMS, reducers=REDUCERS, split_size=4096, retries=0)
    with pytest.raises(UntrustedObjectError, match=f"jobs/{job.id}/.*(not written by this workspace|too short for its signature)"):
        job.result()
    assert not trap.path.exists()


@pytest.mark.parametrize("forged", [1, 3])
def test_in_memory_a_job_whose_runs_were_forged_is_resumed_without_them(
    attacked: tuple[AttackedStore, smr.Session], trap: Trap, forged: int
) -> None:
    """All of them at once: a failure names one, and the others have every checksum right."""
    store, session = attacked
    met: set[str] = set()

    def attack(key: str, data: bytes) -> bytes | None:
        if key.endswith("/run") and len(data) > 1_000 and len(met) < forged:
            met.add(key)
            return forged_run(data, trap, partitions=REDUCERS)
        return None

    store.attack = attack
    job = session.map_reduce(mapped, longest, ITEMS, reducers=REDUCERS, split_size=4096, retries=0)
    with pytest.raises(UntrustedObjectError):
        job.result()
    again = job.resume()
    assert again.result().set_index("key")["value"].to_dict() == {item[:4]: item for item in ITEMS}
    assert f"; {forged} whose stored output is damaged or gone {'is' if forged == 1 else 'are'} done again." in again.warnings[0]
    tried = Ledger(session.backend.table, again.id).snapshot().attempts
    assert sum(task.phase is Phase.MAP for task in tried) == forged
    assert not trap.path.exists()


@pytest.mark.parametrize("read", ["result", "head", "scan"])
def test_in_memory_no_forged_part_is_unpickled(attacked: tuple[AttackedStore, smr.Session], trap: Trap, read: str) -> None:
    store, session = attacked
    job = session.map_reduce(rows_of, None, ITEMS, retries=0).wait()
    file = job.parts()[0].files[0]
    part = store.get(file.key)
    assert file.kinds == ("str", "pickle")
    store.put(file.key, forged_part(part, trap))
    with pytest.raises(UntrustedObjectError, match=f"{file.key} was not written by this workspace"):
        list(getattr(job, read)())
    assert not trap.path.exists()
    store.put(file.key, part)
    assert len(job.result()) == len(ITEMS)


def test_what_is_forged_here_would_spring_the_trap_if_it_were_loaded(attacked: tuple[AttackedStore, smr.Session], trap: Trap) -> None:
    store, session = attacked
    runs: list[bytes] = []
    store.attack = lambda key, data: runs.append(data) if key.endswith("/run") else None
    session.map_reduce(mapped, longest, ITEMS, reducers=1, split_size=4096).wait()
    forged = forged_run(runs[0], trap, partitions=1)
    block = next(iter_blocks(forged[8 : 8 + int.from_bytes(forged[:8], "little") - 16]))
    decode_values(block.values)
    assert trap.path.exists()


# ---------------------------------------------------------------- the local service


def submit_unseen(session: smr.Session, *arguments: Any, **options: Any) -> smr.Job:
    """Submit a job that nobody is called for, as if the call were lost: whoever watches it calls again."""
    heard = session.backend
    session.backend = replace(heard, functions=Deaf())
    try:
        job = session.map_reduce(*arguments, **options)
    finally:
        session.backend = heard
    return session.attach(job.id)


class Deaf(NoFunctions):
    """Takes calls, and runs nothing."""

    def invoke(self, payload: bytes) -> None:
        """Drop it."""


def forge(objects: ObjectStore, attack: Attack, job: str) -> int:
    """Replace all objects of a job for which the attack has something; return how many."""
    found = [(info.key, attack(info.key, objects.get(info.key))) for info in list(objects.list_prefix(f"jobs/{job}/"))]
    return sum(objects.put(key, forged) for key, forged in found if forged is not None)


@pytest.mark.parametrize("kind", ["code", "items"])
def test_the_local_service_unpickles_nothing_that_was_forged(own_session: OpenSession, trap: Trap, kind: str) -> None:
    session = own_session()
    job = submit_unseen(session, mapped, longest, ITEMS, reducers=REDUCERS, split_size=4096, retries=0)
    assert forge(session.backend.objects, forged_with(trap)[kind], job.id)
    with pytest.raises(UntrustedObjectError, match=f"jobs/{job.id}/.* was not written by this workspace"):
        job.result()
    assert not trap.path.exists()


def test_the_local_service_unpickles_no_forged_run(own_session: OpenSession, trap: Trap, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    def waits(item: str) -> Iterator[tuple[str, str]]:
        while item == "last" and not gate.exists():
            pass
        yield item[:4], item

    session = own_session()
    job = session.map_reduce(waits, longest, ["first" * 300, "last"], reducers=REDUCERS, retries=0)
    objects = session.backend.objects
    wait_until(lambda: job.status().map.done == 1)
    assert forge(objects, forged_with(trap)["runs"], job.id)
    gate.touch()
    with pytest.raises(UntrustedObjectError, match=r"partition . in jobs/.*/run was not written|too short"):
        job.result()
    assert not trap.path.exists()


def test_in_the_notebook_no_forged_part_of_a_local_job_is_unpickled(own_session: OpenSession, trap: Trap) -> None:
    session = own_session()
    job = session.map_reduce(rows_of, None, ITEMS).wait()
    file = job.parts()[0].files[0]
    session.backend.objects.put(file.key, forged_part(session.backend.objects.get(file.key), trap))
    for read in (job.result, job.head, lambda: list(job.scan())):
        with pytest.raises(UntrustedObjectError, match=f"{file.key} was not written by this workspace"):
            read()
    assert not trap.path.exists()


@pytest.mark.parametrize("what", ["plan", "splits/000000"])
def test_nobody_else_says_what_a_job_reads(own_session: OpenSession, tmp_path: Path, what: str) -> None:
    """A job reads whatever its plan names, of all that its workers may read: so that is signed, too."""
    for name in ("mine", "secret"):
        (tmp_path / f"{name}.txt").write_text(f"{name}\n" * 5)
    session, others = own_session(), own_session(workspace=tmp_path / "others")
    job = submit_unseen(session, lambda line: [(line, 1)], None, tmp_path / "mine.txt", retries=0)
    spy = submit_unseen(others, lambda line: [(line, 1)], None, tmp_path / "secret.txt", retries=0)
    forged = others.backend.objects.get(f"jobs/{spy.id}/{what}").replace(spy.id.encode(), job.id.encode())
    kind = what.partition("/")[0]
    body = forged[forged.index(kind.encode()) + len(kind) : -SIGNATURE_BYTES]
    session.backend.objects.put(f"jobs/{job.id}/{what}", seal(kind, body) + bytes(SIGNATURE_BYTES))
    with pytest.raises(UntrustedObjectError, match=f"jobs/{job.id}/{what} was not written by this workspace"):
        job.result()


class SwappedPlan:
    """Somebody puts another plan there for as long as a coordinator looks, and then puts the right one back."""

    def __init__(self, objects: ObjectStore, keys: Keyring, forge: Callable[[Plan], Plan]) -> None:
        self._objects = objects
        self._keys = keys
        self._forge = forge
        self.put = objects.put
        self.list_prefix = objects.list_prefix
        self.delete_prefix = objects.delete_prefix

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        if not key.endswith("/plan"):
            return self._objects.get(key, start, stop)
        forged = self._forge(read_plan(self._objects, key.split("/")[1], self._keys))
        return (seal("plan", msgspec.json.encode(forged)) + bytes(SIGNATURE_BYTES))[start:stop]


def test_nobody_else_says_when_a_job_is_done() -> None:
    """A coordinator that believed another plan than the workers would take a part of the input for all of it."""
    backend = open_memory()

    def first_task_only(plan: Plan) -> Plan:
        first = read_split_page(backend.objects, Layout(plan.job).splits, 0, keys_of(backend.table))[0]
        return replace(plan, maps=1, input_bytes=first.bytes, input_records=None)

    swapped = replace(backend, objects=SwappedPlan(backend.objects, keys_of(backend.table), first_task_only))

    def handle(payload: bytes, context: Context) -> bytes:
        match decode(payload):
            case Message() as message if message.works:
                run_attempt(backend, message, context)
            case Message() as message:
                run_coordinator(swapped, message, context)
        return b""

    functions = MemoryFunctions(handle, workers=2)
    backend, swapped = replace(backend, functions=functions), replace(swapped, functions=functions)
    session = smr.Session(settings=Settings(workspace=Path("nowhere")), backend=backend)
    job = session.map_reduce(mapped, None, ITEMS, split_size=4096, retries=0)
    with pytest.raises(UntrustedObjectError, match=f"jobs/{job.id}/plan was not written by this workspace"):
        job.result()
    functions.close()


def test_nobody_else_says_what_the_result_of_a_job_is(own_session: OpenSession) -> None:
    """By the plan of a job without `reduce`, the result would be what the map tasks gave: no rows."""
    session = own_session()
    job = session.map_reduce(mapped, longest, ITEMS, reducers=REDUCERS).wait()
    backend, key = session.backend, Layout(job.id).plan
    forged = replace(read_plan(backend.objects, job.id, keys_of(backend.table)), reducers=0)
    backend.objects.put(key, seal("plan", msgspec.json.encode(forged)) + bytes(SIGNATURE_BYTES))
    with pytest.raises(UntrustedObjectError, match=f"{key} was not written by this workspace"):
        job.result()


# ---------------------------------------------------------------- intact objects at other places


def moved(backend: Backend, job: str, read: str, written: str) -> None:
    """Put one intact object of a job in the place of another."""
    backend.objects.put(read, backend.objects.get(written))
    assert read.startswith(f"jobs/{job}/")


def test_an_intact_object_of_another_job_is_refused(own_session: OpenSession) -> None:
    session = own_session()
    jobs = [submit_unseen(session, mapped, longest, ITEMS, retries=0) for _ in range(2)]
    moved(session.backend, jobs[0].id, Layout(jobs[0].id).code, Layout(jobs[1].id).code)
    with pytest.raises(UntrustedObjectError, match="/code was not written by this workspace, or not for this place"):
        jobs[0].result()
    assert len(jobs[1].result()) == len(ITEMS)


def test_an_intact_input_of_the_same_job_at_another_place_is_refused(own_session: OpenSession) -> None:
    session = own_session()
    alike = [f"{number:04d}" + "x" * 100_000 for number in range(4)]  # objects of their own, and of equal size
    job = submit_unseen(session, mapped, longest, alike, retries=0)
    first, second, *_ = session.backend.objects.list_prefix(Layout(job.id).input)
    moved(session.backend, job.id, first.key, second.key)
    with pytest.raises(CorruptObjectError, match=f"{first.key} holds what was stored under another name"):
        job.result()


def test_an_intact_part_or_manifest_at_another_place_is_refused(own_session: OpenSession) -> None:
    session = own_session()
    jobs = [session.map_reduce(mapped, longest, ITEMS, reducers=2).wait() for _ in range(2)]
    one, other = (job.parts() for job in jobs)
    moved(session.backend, jobs[0].id, one[0].files[0].key, one[1].files[0].key)
    with pytest.raises(CorruptObjectError, match=f"{one[0].files[0].key} is not what was written"):
        jobs[0].result()
    manifest = Layout(jobs[1].id).manifest(Phase.REDUCE)
    moved(session.backend, jobs[1].id, manifest, Layout(jobs[0].id).manifest(Phase.REDUCE))
    with pytest.raises(CorruptObjectError, match=f"{manifest} is not the manifest that was proved"):
        jobs[1].result()
    assert other
    with pytest.raises(SmrError):
        read_manifest(session.backend.objects, Ledger(session.backend.table, jobs[1].id), Phase.REDUCE, job=jobs[1].id)


def test_the_key_is_in_no_object_and_in_no_text(own_session: OpenSession) -> None:
    session = own_session()
    job = session.map_reduce(mapped, longest, ITEMS, reducers=2).wait()
    (row,) = session.backend.table.query("lasting")
    secret = row.value.split(b'"secret":"')[1].split(b'"')[0]
    assert len(secret) == 44
    for info in session.backend.objects.list_prefix(""):
        assert secret not in session.backend.objects.get(info.key)
    rows = [found for group in ("jobs", job.id, f"{job.id}/1") for found in session.backend.table.query(group)]
    assert rows
    assert not any(secret in found.value for found in rows)


def test_a_workspace_that_was_removed_gets_another_key_with_the_next_job(own_session: OpenSession) -> None:
    session = own_session()
    assert len(session.map_reduce(mapped, longest, ITEMS).result()) == len(ITEMS)
    session.close()
    shutil.rmtree(session.settings.workspace)
    assert len(session.map_reduce(mapped, longest, ITEMS).result()) == len(ITEMS)


def test_a_key_does_not_travel() -> None:
    from smr_notebook.testing.keys import KEYS

    for key in (KEYS, KEYS.of_folder("jobs/3f9a")):
        assert repr(key) == str(key) == f"<{type(key).__name__}>"
        with pytest.raises(TypeError, match="does not travel"):
            pickle.dumps(key)
