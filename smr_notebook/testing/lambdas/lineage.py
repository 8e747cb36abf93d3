"""How Lambda counts a chain of calls: in the header that traces it, which the SDK passes on from the environment of the caller.

The header holds `Lineage=<hash of a function>:<times it ran>|…` besides what X-Ray wants. A call without the header begins a chain.
"""

from __future__ import annotations

import re
import uuid
import zlib
from typing import Final

HOPS: Final = 16
"""Times that a function may run in one chain, if it may not for ever."""

_ROOT = re.compile(r"Root=([^;]+)")
_LINEAGE = re.compile(r"Lineage=([^;]+)")
_COUNT = re.compile(r"([0-9a-f]{8}):(\d+)")


def extended(trace: str, arn: str) -> tuple[int, str]:
    """Return how often a function has run in a chain, this time included, and the header for this run.

    Args:
        trace: The header of the call; empty if it has none.
        arn: Which function.
    """
    lineage = _LINEAGE.search(trace)
    counts = {name: int(count) for name, count in _COUNT.findall(lineage[1])} if lineage else {}
    name = f"{zlib.crc32(arn.encode()):08x}"
    counts[name] = counts.get(name, 0) + 1
    root = _ROOT.search(trace)
    told = "|".join(f"{name}:{count}" for name, count in counts.items())
    random = uuid.uuid4().hex
    begin = root[1] if root else f"1-{random[:8]}-{random[8:]}"
    return counts[name], f"Root={begin};Parent={uuid.uuid4().hex[:16]};Sampled=0;Lineage={told}"
