"""A sample of the keys that a job will emit, from all over its input: where ranges of keys are cut.

Records are read at *spots* that are spread evenly over the bytes of the input, and mapped where the job is planned. An object that
cannot be read from the middle (a compressed one, stored items) is read from its beginning instead.

Rules of this module:

* What is sampled decides how even the ranges are, and nothing else. So whatever goes wrong here is passed over: the job itself names it.
* Time and bytes are bounded, and the spots are visited in an order that is spread evenly wherever it ends (van der Corput's sequence).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Final

from smr_notebook.control.reading import PlannedInput
from smr_notebook.counting import uncounted
from smr_notebook.dataflow.formats.compression import HEAD_BYTES
from smr_notebook.dataflow.inputs import SplitInput
from smr_notebook.dataflow.keys import encode_key
from smr_notebook.dataflow.known_formats import cuttable
from smr_notebook.dataflow.opening import opened, passing_over
from smr_notebook.dataflow.programs import Program, Tried
from smr_notebook.model import Format, Span, Split
from smr_notebook.ports import Clock, InputSource

SECONDS: Final = 2.0
"""How long sampling may take, about."""

_SPOTS: Final = 64
_SPOT_BYTES: Final = 4 << 10  # for each of `_SPOT_RANGES`
_SPOT_RANGES: Final = 16
_LEAST_BYTES: Final = 256
_LARGEST_SPOT: Final = 4 << 20  # where no record starts in a smaller one
_KEYS: Final = 256
"""Most keys of one spot."""
_WHOLE_RECORDS: Final = 4_000


def sample_keys(program: Program, source: PlannedInput, *, ranges: int, sources: Mapping[str, InputSource], clock: Clock) -> list[bytes]:
    """Return the encodings of some of the keys that a program emits, as often as they were met.

    Args:
        program: Its `map` runs in this process.
        source: The input.
        ranges: How many the keys are for.
        sources: Input sources by scheme.
        clock: Tells when to end.
    """
    found: list[bytes] = []
    with passing_over(), uncounted(), opened(program, ("map",)) as ready:
        found += _sampled(ready, source, ranges=ranges, sources=sources, clock=clock)
    return found


def _sampled(program: Program, source: PlannedInput, *, ranges: int, sources: Mapping[str, InputSource], clock: Clock) -> list[bytes]:
    ends = clock.now() + SECONDS
    found: list[bytes] = []
    whole: set[str] = set()
    readable: dict[str, bool] = {}
    for spot in _spots([planned.info.size for planned in source.objects], _SPOT_BYTES * -(-ranges // _SPOT_RANGES)):
        planned = source.objects[spot.number]
        if clock.now() > ends:
            break
        if planned.info.key in whole:
            continue
        with suppress(Exception, SystemExit):
            if planned.info.key not in readable:
                readable[planned.info.key] = source.format is not Format.TABLE and cuttable(
                    sources[planned.scheme].get(planned.info.key, 0, HEAD_BYTES), source.format, source.reading
                )
            if readable[planned.info.key]:
                found += _keys_at(program, source, spot, sources)
            else:
                whole.add(planned.info.key)
                found += _thinned(_until(program.try_out(_input(source, _Spot(spot.number, 0, planned.info.size), sources)), clock, ends))
    return found


def _keys_at(program: Program, source: PlannedInput, spot: _Spot, sources: Mapping[str, InputSource]) -> list[bytes]:
    """Return keys of the records that start in a spot; where none does, of those in a larger one."""
    for size in (spot.size, _LARGEST_SPOT):
        keys = _thinned(program.try_out(_input(source, _Spot(spot.number, spot.offset, size), sources)))
        if keys:
            return keys
    return []


def _input(source: PlannedInput, spot: _Spot, sources: Mapping[str, InputSource]) -> SplitInput:
    """Return what a task would read whose split is a spot, as far as the object goes."""
    planned = source.objects[spot.number]
    info = planned.info
    span = Span(planned.scheme, info.key, spot.offset, min(spot.offset + spot.size, info.size), info.size, info.version)
    return SplitInput(Split(0, (span,)), source.format, sources, reading=source.reading)


def _until(tried: Iterable[Tried], clock: Clock, ends: float) -> Iterator[Tried]:
    """Yield what is tried as long as there is time, of not too many records."""
    records = 0
    for one in tried:
        yield one
        records += one.records
        if records >= _WHOLE_RECORDS or clock.now() > ends:
            return


def _thinned(tried: Iterable[Tried]) -> list[bytes]:
    """Return the encodings of some keys, each of those that were tried with the same chance (Vitter's algorithm R, of a fixed seed)."""
    keys: list[bytes] = []
    chance = Random(_KEYS)  # noqa: S311 - nothing is secret, and the same plan samples the same keys
    seen = 0
    for one in tried:
        for key, _ in one.pairs:
            seen += 1
            if len(keys) < _KEYS:
                keys.append(encode_key(key))
            elif (place := chance.randrange(seen)) < _KEYS:
                keys[place] = encode_key(key)
    return keys


@dataclass(frozen=True, slots=True)
class _Spot:
    """So many bytes from an offset on, of one of the objects."""

    number: int
    offset: int
    size: int


def _spots(sizes: Sequence[int], most: int) -> Iterator[_Spot]:
    """Yield the spots, of so many bytes at most, in objects of these sizes, one far from the one before."""
    ends = list(accumulate(sizes))
    total = ends[-1] if ends else 0
    count = min(_SPOTS, -(-total // _LEAST_BYTES))
    size = min(most, -(-total // max(count, 1)))
    for place in sorted(range(count), key=_reversed_bits):
        position = total * place // count
        number = bisect_right(ends, position)
        yield _Spot(number, position - (ends[number] - sizes[number]), size)


def _reversed_bits(number: int) -> int:
    return int(f"{number:016b}"[::-1], 2)
