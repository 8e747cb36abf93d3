"""The manifest of a phase: gathered once from its commits, proved, and only then written.

Rules of this module:

* A manifest follows from the commits alone, byte for byte. So two coordinators that gather at once write the same, and
  one that died half way is repeated by the next.
* The object is written if absent, and its row after it. The row holds the CRC-32 and a digest of the whole object: what is read later is
  what was proved, and nothing that anybody could have put in its place: its parts may hold pickles.
* The sums are checked before anything is written. There is no manifest of sums that differ.
"""

from __future__ import annotations

import hashlib
import hmac
import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import msgspec

from smr_notebook.control.layout import Layout
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.plans import decoded
from smr_notebook.control.proof import check_complete, check_map, check_merge, check_merge_tasks, check_reduce
from smr_notebook.control.rows import ManifestEntry
from smr_notebook.dataflow.exchange import GatheredIndex, gather_index
from smr_notebook.dataflow.grids import grid_of
from smr_notebook.dataflow.merged_index import gather_for_merging, gather_merged
from smr_notebook.dataflow.sealing import seal, unseal
from smr_notebook.errors import CorruptObjectError, UntrustedObjectError
from smr_notebook.model import Commit, Manifest, Numbers, Phase, Plan
from smr_notebook.ports import ObjectStore
from smr_notebook.values.usage import Cost

_MANIFEST: Final = msgspec.json.Decoder(Manifest)

VERSION: Final = 2
"""Of the stored form of a manifest."""


def gather(
    plan: Plan, phase: Phase, commits: Sequence[Commit], *, cost: Cost | None = None, objects: ObjectStore, ledger: Ledger
) -> ManifestEntry:
    """End a phase whose tasks all have a commit: prove its sums, write its manifest, and return the entry that stands.

    Args:
        plan: The plan of the job.
        phase: Which phase.
        commits: The commit of each of its tasks, in task order.
        cost: What the job has cost so far, if anything costs.
        objects: Where manifests are kept.
        ledger: The rows of the job.

    Raises:
        ConservationError: The sums differ.
        CorruptObjectError: A run, or a manifest that stands already, is not what was written.
        StoreError: The store or the table cannot be reached; try again.
    """
    if phase is Phase.MAP:
        manifest = _mapped(plan, commits, objects)
    elif phase is Phase.MERGE:
        manifest = _merged(plan, commits, objects, read_manifest(objects, ledger, Phase.MAP, job=plan.job))
    else:
        manifest = manifest_of(plan, phase, commits)
        check_reduce(plan, read_manifest(objects, ledger, Phase.MAP, job=plan.job), manifest)
    key = Layout(plan.job).manifest(phase)
    data = seal("manifest", msgspec.json.encode(replace(manifest, cost=cost)), VERSION)
    if not objects.put(key, data, if_absent=True):
        data = objects.get(key)  # an earlier coordinator's, or our own after a lost reply: it may say another cost
        if replace(decoded(_MANIFEST, unseal("manifest", data, name=key, versions=frozenset({VERSION})), name=key), cost=None) != manifest:
            raise CorruptObjectError(f"{key} stands already, and says something else than the commits of the phase. Submit the job again.")
    return ledger.put_manifest(phase, ManifestEntry(key, zlib.crc32(data), _digest(data)))


def read_manifest(objects: ObjectStore, ledger: Ledger, phase: Phase, *, job: str) -> Manifest:
    """Return the manifest of a phase that has ended.

    Raises:
        CorruptObjectError: It is not the one that was proved, or there is none.
        StoreError: The store or the table cannot be reached; try again.
    """
    entry = ledger.manifest(phase)
    if entry is None:
        raise CorruptObjectError(f"Job {job} has no manifest of its {phase} phase: the phase has not ended, or the job was removed.")
    data = objects.get(entry.key)
    if zlib.crc32(data) != entry.crc:
        raise CorruptObjectError(f"{entry.key} is not the manifest that was proved: its checksum differs. Submit the job again.")
    if not hmac.compare_digest(_digest(data), entry.digest):
        raise UntrustedObjectError(
            f"{entry.key} was not written by this workspace: its digest differs from the one in the table. "
            "Submit the job again, and look who else may write to the object store."
        )
    return decoded(_MANIFEST, unseal("manifest", data, name=entry.key, versions=frozenset({VERSION})), name=entry.key)


def manifest_of(plan: Plan, phase: Phase, commits: Sequence[Commit], index: GatheredIndex | None = None) -> Manifest:
    """Return the manifest that follows from the commits of a phase, in task order, and from the gathered index of their runs."""
    return Manifest(
        job=plan.job,
        phase=phase,
        commits=tuple(commits),
        totals=sum((commit.numbers for commit in commits), start=Numbers()),
        groups=sum(commit.groups for commit in commits),
        index=_index_key(plan, phase) if index else "",
        index_crcs=index.crcs if index else (),
        partition_pairs=index.pairs if index else (),
        partition_checksums=index.checksums if index else (),
    )


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=32).digest()


def _mapped(plan: Plan, commits: Sequence[Commit], objects: ObjectStore) -> Manifest:
    if not plan.reducers:
        manifest = manifest_of(plan, Phase.MAP, commits)
        check_map(plan, manifest)
        return manifest
    runs = [commit.receipts for commit in commits]
    if plan.merging:
        check_complete(plan, Phase.MAP, commits)  # before they are laid out by their numbers
        index = gather_for_merging(objects, runs, grid_of(plan))
    else:
        index = gather_index(objects, [receipt for its in runs for receipt in its], plan.reducers)
    manifest = manifest_of(plan, Phase.MAP, commits, index)
    check_map(plan, manifest)
    objects.put(manifest.index, index.pieces())
    return manifest


def _merged(plan: Plan, commits: Sequence[Commit], objects: ObjectStore, mapped: Manifest) -> Manifest:
    check_merge_tasks(plan, commits)
    receipts = [receipt for commit in commits for receipt in commit.receipts]
    index = gather_merged(objects, receipts, grid_of(plan))
    manifest = manifest_of(plan, Phase.MERGE, commits, index)
    check_merge(plan, mapped, manifest)
    objects.put(manifest.index, index.pieces())
    return manifest


def _index_key(plan: Plan, phase: Phase) -> str:
    return Layout(plan.job).merged_index if phase is Phase.MERGE else Layout(plan.job).index
