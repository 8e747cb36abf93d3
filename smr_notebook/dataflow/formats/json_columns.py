"""Columns of JSON lines: lists of exact Python values, of the fields that are named alone.

Rules:

* What a field holds is what `jsonl.read_jsonl` gives for it; where an object lacks it, `None`. Fields that are not named are
  skipped over, so that what is wrong inside their text is not noticed.
* `msgspec` reads each line into a struct of the named fields: half the time of reading dicts and taking the fields out, and half of
  what pyarrow's and polars' readers take, which do not tell `1` from `1.0` besides. What it refuses, `json.loads` decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final

import msgspec

from smr_notebook.dataflow.formats.jsonl import BLANKS, FAST_REFUSES, as_utf8, counted_lines, decode_at_once, slowly
from smr_notebook.dataflow.formats.lines import BLOCK_BYTES, LineBlock, read_lines, where
from smr_notebook.errors import InputFormatError
from smr_notebook.model import Reading, Span
from smr_notebook.ports import InputSource

Columns = dict[str, list[Any]]


def read_json_columns(span: Span, source: InputSource, names: Sequence[str], reading: Reading) -> Iterator[tuple[LineBlock, Columns, int]]:
    """Yield lines, their columns, and how many objects stand on them.

    Args:
        span: What to read.
        source: Where to read it.
        names: Of the fields, each once.
        reading: Encoding and error policy.

    Raises:
        InputError: As of `jsonl.read_jsonl`, and when a line is no JSON object.
    """
    fields = {f"f{number}": name for number, name in enumerate(names)}
    decoder = _decoder(fields)
    lines = 0
    for block in read_lines(span, source, reading, block_bytes=BLOCK_BYTES):
        data = as_utf8(block)
        count = counted_lines(data)
        rows = decode_at_once(decoder, data) if decoder is not None else None
        if rows is not None:
            yield block, {name: _column(rows, field) for field, name in fields.items()}, len(rows)
        else:
            found = _one_by_one(block, data, span, fields, decoder, before=lines)
            columns = list(zip(*found, strict=True)) or [()] * len(fields)
            yield block, dict(zip(names, map(list, columns), strict=True)), len(found)
        lines += count


def _decoder(fields: dict[str, str]) -> msgspec.json.Decoder[Any] | None:
    """Return what reads a line into a struct with these attributes, or `None` where a name cannot be a field of one."""
    try:
        row = msgspec.defstruct("Row", [(field, Any, None) for field in fields], rename=fields, gc=False)
    except ValueError:
        return None
    return msgspec.json.Decoder(row)


def _one_by_one(
    block: LineBlock, data: bytes, span: Span, fields: dict[str, str], decoder: msgspec.json.Decoder[Any] | None, *, before: int
) -> list[tuple[Any, ...]]:
    values_of = _values_of(list(fields))
    rows: list[tuple[Any, ...]] = []
    for number, (line, (offset, stored)) in enumerate(zip(data.split(b"\n"), block.starts(), strict=True), start=before + 1):
        try:
            if decoder is None:
                raise msgspec.DecodeError
            rows.append(values_of(decoder.decode(line)))
        except FAST_REFUSES:
            if line.strip(BLANKS):
                value = object_on(stored, block, span, offset=offset, number=number)
                rows.append(tuple(value.get(name) for name in fields.values()))
    return rows


_FIRST: Final[Mapping[str, Callable[[list[Any]], list[Any]]]] = MappingProxyType(
    {
        "f0": lambda rows: [row.f0 for row in rows],
        "f1": lambda rows: [row.f1 for row in rows],
        "f2": lambda rows: [row.f2 for row in rows],
        "f3": lambda rows: [row.f3 for row in rows],
    }
)
"""The first fields, as most have no more: half the time of `getattr`."""


def _column(rows: list[Any], field: str) -> list[Any]:
    take = _FIRST.get(field)
    return [getattr(row, field) for row in rows] if take is None else take(rows)


def _values_of(fields: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    if len(fields) > 1:
        return attrgetter(*fields)
    return lambda row: tuple(getattr(row, field) for field in fields)


def object_on(line: bytes, block: LineBlock, span: Span, *, offset: int, number: int) -> dict[str, Any]:
    """Return the JSON object on a line. Arguments and errors as of `jsonl.slowly`, or the line holds no object."""
    value = slowly(line, block, span, offset=offset, number=number)
    if not isinstance(value, dict):
        raise InputFormatError(
            f"{span.key}, {where(span, number)} (offset {offset:,}) is no JSON object but of type {type(value).__name__}, "
            f"which has no columns: {str(value)[:80]!r}. Give lines that are objects, or use a map function."
        )
    return value
