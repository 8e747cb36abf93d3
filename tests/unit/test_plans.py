"""Plan, splits and manifests in the object store: what was written comes back, and nothing else does."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.table import MemoryTable
from smr_notebook.control.layout import SPLITS_PER_PAGE, Layout, split_page
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.manifests import read_manifest
from smr_notebook.control.plans import read_code, read_plan, read_split_page, split_of, write_code, write_plan
from smr_notebook.control.rows import ManifestEntry
from smr_notebook.dataflow.sealing import seal
from smr_notebook.errors import CorruptObjectError, FormatVersionError, ObjectNotFoundError
from smr_notebook.model import (
    AttemptId,
    Commit,
    Environment,
    Format,
    Manifest,
    Numbers,
    Part,
    PartFile,
    Phase,
    Plan,
    Policy,
    Receipt,
    Sorting,
    Span,
    Split,
    TaskId,
)
from smr_notebook.testing.keys import KEYS
from smr_notebook.values.usage import Cost

GOLDEN = Path(__file__).parents[1] / "golden"
LAYOUT = Layout("3f9a")
PLAN = Plan(
    job="3f9a",
    name="status codes",
    created=12.5,
    format=Format.TEXT,
    maps=300,
    reducers=2,
    combine=True,
    grouped_order=False,
    input_bytes=3_000,
    input_records=None,
    budget=1 << 28,
    policy=Policy(),
    environment=Environment("3.11", 5, (("numpy", "2.3.1"), ("smr_notebook", "0.1"))),
    warnings=("1 object is empty",),
    sorting=Sorting(keys=True, values=False),
    bounds=(b"\x40m\x00",),
)
SPLITS = tuple(Split(number, (Span("file", "/data/log", number * 10, number * 10 + 10, 3_000, "v1"),)) for number in range(300))
RUN = AttemptId(TaskId(Phase.MAP, 0), 2)
MANIFEST = Manifest(
    job="3f9a",
    phase=Phase.MAP,
    commits=(
        Commit(
            RUN,
            "local-1",
            20.0,
            2.5,
            Numbers(1, 2, 3, 4, 5, 6),
            receipts=(Receipt(RUN, "jobs/3f9a/map/000000/002/run", 100, 90, 7, 5),),
            part=Part(0, (PartFile("part", 5, 60, 2**32 - 1, 80, ("str", "tuple(int,float)")),)),
            checksum=2**64 - 1,
            groups=3,
        ),
    ),
    totals=Numbers(1, 2, 3, 4, 5, 6),
    groups=3,
    index="jobs/3f9a/index",
    index_crcs=(1, 2),
    partition_pairs=(3, 2),
    partition_checksums=(2**64 - 1, 0),
    cost=Cost(0.5, 0.25, 0.125),
)


CODE = seal("code", b"what the functions do")


@pytest.fixture
def objects() -> MemoryStore:
    store = MemoryStore()
    write_code(store, PLAN.job, CODE, KEYS)
    write_plan(store, PLAN, SPLITS, KEYS)
    return store


def test_what_is_submitted_can_be_read_by_a_worker(objects: MemoryStore) -> None:
    assert read_plan(objects, "3f9a", KEYS) == PLAN
    assert read_code(objects, "3f9a", KEYS) == CODE
    pages = [read_split_page(objects, LAYOUT.splits, page, KEYS) for page in (0, 1)]
    assert [split_of(pages[split.number // SPLITS_PER_PAGE], LAYOUT.splits, split.number) for split in SPLITS] == list(SPLITS)


def test_a_worker_reads_one_page_of_splits(objects: MemoryStore) -> None:
    assert [info.key for info in objects.list_prefix(LAYOUT.splits)] == ["jobs/3f9a/splits/000000", "jobs/3f9a/splits/000001"]


def test_a_job_that_is_not_there(objects: MemoryStore) -> None:
    with pytest.raises(ObjectNotFoundError, match="gone1"):
        read_plan(objects, "gone1", KEYS)


def test_a_split_that_was_not_planned(objects: MemoryStore) -> None:
    with pytest.raises(CorruptObjectError, match="does not hold split 300"):
        split_of(read_split_page(objects, LAYOUT.splits, 1, KEYS), LAYOUT.splits, 300)


def test_a_page_of_another_place_is_refused(objects: MemoryStore) -> None:
    objects.put(split_page(LAYOUT.splits, 0), objects.get(split_page(LAYOUT.splits, 256)))
    with pytest.raises(CorruptObjectError, match="splits/000000 was not written by this workspace, or not for this place"):
        read_split_page(objects, LAYOUT.splits, 0, KEYS)


def test_a_plan_of_another_version_is_refused(objects: MemoryStore) -> None:
    objects.put(LAYOUT.plan, seal("plan", b"{}", version=2) + bytes(16))
    with pytest.raises(FormatVersionError, match="jobs/3f9a/plan"):
        read_plan(objects, "3f9a", KEYS)


@pytest.mark.parametrize("body", [b"{}", b"[]", b"", b"\xff"])
def test_a_plan_that_is_none_is_refused(objects: MemoryStore, body: bytes) -> None:
    sealed = seal("plan", body)
    objects.put(LAYOUT.plan, sealed + KEYS.of_object(LAYOUT.plan).sign("plan", LAYOUT.plan, sealed))
    with pytest.raises(CorruptObjectError, match="jobs/3f9a/plan is not what this package writes"):
        read_plan(objects, "3f9a", KEYS)


def test_the_plan_is_what_it_was_in_version_1() -> None:
    """A plan that changes needs a new version, or a default for the new field; then there is a new golden file, the last of its name."""
    *before, now = [path.read_bytes() for path in sorted(GOLDEN.glob("plan-v1*.json"), key=lambda path: path.stem)]
    assert [msgspec.json.decode(plan, type=Plan) for plan in (*before, now)] == [PLAN] * 5
    assert msgspec.json.encode(PLAN) == now


def test_a_plan_from_before_there_was_sorting_sorts_nothing() -> None:
    older = msgspec.json.decode((GOLDEN / "plan-v1.json").read_bytes())
    del older["sorting"], older["bounds"]
    assert msgspec.json.decode(msgspec.json.encode(older), type=Plan) == replace(PLAN, sorting=Sorting(), bounds=())


def test_the_manifest_is_what_it_was_in_version_2() -> None:
    *before, now = [path.read_bytes() for path in sorted(GOLDEN.glob("manifest-v2*.json"), key=lambda path: path.stem)]
    assert [msgspec.json.decode(manifest, type=Manifest) for manifest in (*before, now)] == [MANIFEST] * 3
    assert msgspec.json.encode(MANIFEST) == now


def test_a_manifest_is_the_one_that_its_row_names(objects: MemoryStore) -> None:
    ledger, key = Ledger(MemoryTable(), "3f9a"), LAYOUT.manifest(Phase.MAP)
    with pytest.raises(CorruptObjectError, match="no manifest of its map phase"):
        read_manifest(objects, ledger, Phase.MAP, job="3f9a")
    data = seal("manifest", msgspec.json.encode(MANIFEST), version=2)
    objects.put(key, data)
    ledger.put_manifest(Phase.MAP, ManifestEntry(key, zlib.crc32(data), hashlib.blake2b(data, digest_size=32).digest()))
    assert read_manifest(objects, ledger, Phase.MAP, job="3f9a") == MANIFEST
    objects.put(key, seal("manifest", msgspec.json.encode(MANIFEST), version=2) + b" ")
    with pytest.raises(CorruptObjectError, match="not the manifest that was proved"):
        read_manifest(objects, ledger, Phase.MAP, job="3f9a")
