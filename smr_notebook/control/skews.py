"""How unevenly the pairs of a job are dealt out, from what its tasks committed; and the heaviest keys, while what maps wrote is there.

Rules of this module:

* Pairs by partition stand in the manifest of the map phase, for good. Before that phase has ended they are those of some runs, whose
  footers are read.
* Bytes by partition stand in the gathered index as long as there is one (and it is not too large), else in what reduce tasks counted.
* How many pairs a key has stands nowhere but in the runs. These go when a job is done, but where things expire by their age. So the keys
  are counted in the runs of the heaviest partition alone, in the first `MOST_BYTES` of them; where there are none, the picture says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Final

import numpy as np

from smr_notebook.control.carrying import exchange_of
from smr_notebook.control.expiry import unless_removed
from smr_notebook.control.keys import keys_of
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.manifests import read_manifest
from smr_notebook.control.plans import read_plan
from smr_notebook.dataflow.blocks import GroupBlock, unpack
from smr_notebook.dataflow.exchange import gather_index
from smr_notebook.dataflow.functions import bounded_repr
from smr_notebook.dataflow.heavy_keys import heaviest_keys
from smr_notebook.dataflow.keys import KeyColumn, decode_keys
from smr_notebook.dataflow.runs import ROW
from smr_notebook.dataflow.vouching import proved_runs
from smr_notebook.errors import CorruptObjectError, ObjectNotFoundError
from smr_notebook.model import Commit, JobState, Phase, Plan, Receipt
from smr_notebook.pictures.skew import HeavyKey, Share, Skew
from smr_notebook.ports import Backend

MOST_BYTES: Final = 32 << 20
"""Bytes of runs that are read to count keys."""

MOST_INDEX: Final = 16 << 20
"""Bytes of a gathered index that are read to add up bytes."""

MOST_RUNS: Final = 64
"""Runs that are looked at before the map phase has ended."""

MOST_KEYS: Final = 5

_GONE: Final = "not known, because what the map tasks wrote goes when a job is done; ask before that"

_CHARACTERS: Final = 60


@dataclass(frozen=True, slots=True)
class _Written:
    """What maps wrote, as far as one looks.

    Attributes:
        receipts: Of the runs.
        pairs: Of each partition.
        sizes: Bytes of each partition; empty where they are not known.
        index: Key of the gathered index of these runs; empty where there is none.
        index_crcs: As in the manifest.
    """

    receipts: tuple[Receipt, ...]
    pairs: tuple[int, ...]
    sizes: tuple[int, ...] = ()
    index: str = ""
    index_crcs: tuple[int, ...] = ()


def read_skew(backend: Backend, job: str) -> Skew:
    """Return how the pairs of a job are dealt out, as far as it is.

    Raises:
        JobNotFoundError: The job was removed, or is being removed.
        CorruptObjectError: The manifest, or a run, is not what was written.
        StoreError: The store or the table cannot be reached.
    """
    with unless_removed(backend.objects, backend.table, job):
        return _read(backend, job)


def _read(backend: Backend, job: str) -> Skew:
    ledger = Ledger(backend.table, job)
    if ledger.job() is None:
        raise ledger.missing()
    try:
        plan = read_plan(backend.objects, job, keys_of(backend.table))
    except ObjectNotFoundError:
        return Skew(job, "partition", ())
    commits = ledger.snapshot().commits
    done = {phase: [commit for task, commit in sorted(commits.items()) if task.phase is phase] for phase in Phase}
    if not plan.reducers:
        return Skew(job, "map task", tuple(map(_mapped, done[Phase.MAP])), read=len(done[Phase.MAP]), maps=plan.maps)
    mapped = ledger.manifest(Phase.MAP) is not None
    chosen = done[Phase.MAP] if mapped else done[Phase.MAP][:MOST_RUNS]
    if not chosen:
        return Skew(job, "partition", (), maps=plan.maps)
    try:
        written = _of_manifest(backend, ledger, plan) if mapped else _of_runs(backend, plan, chosen)
    except CorruptObjectError:
        if mapped or ledger.manifest(Phase.MAP) is None:
            raise
        return _read(backend, job)  # it was done before its runs were read, and they are gone
    found = Skew(job, "partition", _shares(written, done[Phase.REDUCE]), read=plan.maps if mapped else len(chosen), maps=plan.maps)
    return _with_keys(backend, plan, written, found)


def _mapped(commit: Commit) -> Share:
    """Return the share of a map task that wrote a part."""
    size, rows = _part(commit)
    return Share(commit.id.task.number, commit.numbers.pairs_out, bytes=size, rows=rows, seconds=commit.seconds)


def _part(commit: Commit) -> tuple[int | None, int | None]:
    """Return bytes and rows of what a task wrote for the result."""
    return (None, None) if commit.part is None else (sum(file.size for file in commit.part.files), commit.part.rows)


def _shares(written: _Written, reduced: Sequence[Commit]) -> tuple[Share, ...]:
    by_number = {commit.id.task.number: commit for commit in reduced}
    shares = []
    for number, pairs in enumerate(written.pairs):
        share, commit = Share(number, pairs, bytes=written.sizes[number] if written.sizes else None), by_number.get(number)
        if commit is not None:
            size = commit.numbers.bytes_read if share.bytes is None else share.bytes
            share = replace(share, bytes=size, keys=commit.groups, rows=_part(commit)[1], seconds=commit.seconds)
        shares.append(share)
    return tuple(shares)


# ---------------------------------------------------------------- what maps wrote


def _of_manifest(backend: Backend, ledger: Ledger, plan: Plan) -> _Written:
    manifest = read_manifest(backend.objects, ledger, Phase.MAP, job=plan.job)
    receipts = tuple(receipt for commit in manifest.commits for receipt in commit.receipts)
    partitions = len(manifest.partition_pairs)
    sizes: tuple[int, ...] = ()
    if plan.merging:  # the index lies as merge tasks read it
        return _Written(receipts, manifest.partition_pairs, sizes)
    if len(receipts) * partitions * ROW.itemsize <= MOST_INDEX:
        try:
            sizes = _sizes(backend.objects.get(manifest.index), partitions)
        except ObjectNotFoundError:  # the job is done
            sizes = ()
    return _Written(receipts, manifest.partition_pairs, sizes, manifest.index, manifest.index_crcs)


def _of_runs(backend: Backend, plan: Plan, commits: Sequence[Commit]) -> _Written:
    receipts = tuple(receipt for commit in commits for receipt in commit.receipts)
    index = gather_index(backend.objects, receipts, plan.reducers)
    return _Written(receipts, index.pairs, _sizes(index.data, plan.reducers))


def _sizes(index: bytes | memoryview, partitions: int) -> tuple[int, ...]:
    """Return the bytes of each partition over all runs. Raises `CorruptObjectError`."""
    if not partitions or len(index) % (partitions * ROW.itemsize):
        raise CorruptObjectError(f"{len(index)} bytes of index are no rows of {partitions} partitions. Submit the job again.")
    rows = np.frombuffer(index, ROW).reshape(partitions, -1)
    return tuple(int(size) for size in rows["length"].sum(axis=1))


# ---------------------------------------------------------------- keys


def _with_keys(backend: Backend, plan: Plan, written: _Written, skew: Skew) -> Skew:
    """Return the skew with the heaviest keys of its heaviest partition, or why there are none."""
    heaviest = skew.heaviest
    if heaviest is None or not heaviest.pairs:
        return skew
    read: list[int] = []
    try:
        found = heaviest_keys(_counted(_blocks(backend, plan, written, heaviest.number), read), MOST_KEYS)
    except CorruptObjectError:
        outcome = Ledger(backend.table, plan.job).outcome()
        if outcome is None or not (plan.carried or outcome.state is JobState.DONE):
            raise
        return replace(skew, no_keys=_GONE)
    keys = tuple(HeavyKey(*_shown(column), pairs) for column, pairs in found)
    return replace(skew, keys=keys, keys_of=heaviest.number, keys_pairs=sum(read))


def _blocks(backend: Backend, plan: Plan, written: _Written, partition: int) -> Iterator[GroupBlock]:
    """Yield the first blocks of a partition, `MOST_BYTES` of them."""
    exchange = exchange_of(backend, plan, scratch=Path(gettempdir()), index=written.index, index_crcs=written.index_crcs)
    keyring = keys_of(backend.table)
    keys = [keyring.of_object(receipt.key) for receipt in written.receipts]
    size = 0
    for run in proved_runs(exchange.read(partition, written.receipts), partition, written.receipts, keys):
        for data in run:
            yield unpack(data, foreign=True)
            size += len(data)
            if size >= MOST_BYTES:
                return


def _counted(blocks: Iterator[GroupBlock], read: list[int]) -> Iterator[GroupBlock]:
    for block in blocks:
        read.append(len(block.values))
        yield block


def _shown(column: KeyColumn) -> tuple[Any, str]:
    """Return the key of a column of one, and its text; `None` for one that does not load."""
    try:
        (key,) = decode_keys(column)
    except Exception as error:  # noqa: BLE001 - the user's class may be missing here, or do anything
        return None, f"<a key that does not load here: {type(error).__name__}>"
    return key, bounded_repr(key, _CHARACTERS)
