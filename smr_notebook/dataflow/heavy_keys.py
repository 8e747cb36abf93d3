"""The heaviest keys of stored blocks: how many values each key has, added up over blocks, without a look at a value."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from smr_notebook.dataflow.blocks import GroupBlock
from smr_notebook.dataflow.keys import KeyColumn, KeyKind, concat_keys


def heaviest_keys(blocks: Iterable[GroupBlock], most: int) -> list[tuple[KeyColumn, int]]:
    """Return the keys with the most values, the heaviest first; each as a column of one key.

    Args:
        blocks: Groups; the same key may be in several.
        most: How many keys are wanted.
    """
    kept: dict[KeyKind, list[tuple[KeyColumn, Any]]] = {}
    for block in blocks:
        kept.setdefault(block.keys.kind, []).append((block.keys, np.diff(block.offsets)))
    found = [heavy for parts in kept.values() for heavy in _of_kind(parts, most)]
    return sorted(found, key=lambda heavy: -heavy[1])[:most]


def _of_kind(parts: list[tuple[KeyColumn, Any]], most: int) -> list[tuple[KeyColumn, int]]:
    keys = concat_keys([keys for keys, _ in parts])
    counts = np.concatenate([counts for _, counts in parts])
    encoded: Any = keys.array.dictionary_encode()
    codes = encoded.indices.to_numpy()
    sums = np.bincount(codes, weights=counts, minlength=len(encoded.dictionary)).astype(np.int64)
    order = np.argsort(-sums, kind="stable")[:most]
    first = np.full(len(sums), len(codes), np.int64)
    np.minimum.at(first, codes, np.arange(len(codes)))
    return [(keys.take(first[code : code + 1]), int(sums[code])) for code in order]
