"""The kinds of columns: what a column holds, as a string that is stored beside it.

Kinds, as a grammar::

    kind = null | bool | int | float | str | bytes | date | datetime | uuid | pickle
         | tuple(kind,…) | list(kind) | dict(["name",…],kind,…)       the names are a JSON array

Rows of frames have a kind of their own, `arrow(…)`, which stands inside no other: see `dataflow.arrow_kinds`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from smr_notebook.dataflow.arrow_kinds import is_arrow_kind, struct_of_kind


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind, taken apart: `tuple(int,str)` is `Shape("tuple", (), (Shape("int"), Shape("str")))`; `names` is for dicts."""

    name: str
    names: tuple[str, ...] = ()
    parts: tuple[Shape, ...] = ()

    def __str__(self) -> str:
        if not self.parts:
            return self.name
        names = [json.dumps(self.names)] if self.name == "dict" else []
        return f"{self.name}({','.join(names + [str(part) for part in self.parts])})"


FLAT_TYPES: dict[str, pa.DataType] = {
    "null": pa.null(),
    "bool": pa.bool_(),
    "int": pa.int64(),
    "float": pa.float64(),
    "str": pa.string(),
    "bytes": pa.binary(),
    "date": pa.date32(),
    "datetime": pa.timestamp("us"),
    "uuid": pa.binary(16),
    "pickle": pa.binary(),
}
"""The Arrow types of kinds without parts."""


def parse_kind(kind: str) -> Shape:
    """Take a kind apart.

    Raises:
        ValueError: It is no kind.
    """
    shape, stop = _parse(kind, 0)
    if stop != len(kind):
        raise ValueError(f"{kind!r} is no kind of column: unexpected text at position {stop}.")
    return shape


def _parse(kind: str, at: int) -> tuple[Shape, int]:
    stop = at
    while stop < len(kind) and kind[stop].isalpha():
        stop += 1
    name = kind[at:stop]
    if name in FLAT_TYPES:
        return Shape(name), stop
    if name not in {"tuple", "list", "dict"} or kind[stop : stop + 1] != "(":
        raise ValueError(f"{kind!r} is no kind of column: unknown name at position {at}.")
    names: list[str] = []
    if name == "dict":
        names, stop = json.JSONDecoder().raw_decode(kind, stop + 1)
    parts = []
    while kind[stop : stop + 1] in {"(", ","}:
        part, stop = _parse(kind, stop + 1)
        parts.append(part)
    if kind[stop : stop + 1] != ")":
        raise ValueError(f"{kind!r} is no kind of column: `)` is missing at position {stop}.")
    return Shape(name, tuple(names), tuple(parts)), stop + 1


def arrow_type(kind: str) -> pa.DataType:
    """Return the Arrow type of the arrays of a kind."""
    if is_arrow_kind(kind):
        return struct_of_kind(kind)
    return _arrow_type(parse_kind(kind))


def _arrow_type(shape: Shape) -> pa.DataType:
    if not shape.parts:
        return FLAT_TYPES[shape.name]
    parts = [_arrow_type(part) for part in shape.parts]
    if shape.name == "list":
        return pa.list_(parts[0])
    return pa.struct(fields_of(shape, parts))


def fields_of(shape: Shape, types: Sequence[pa.DataType]) -> list[pa.Field[Any]]:
    """Return the fields of the Arrow struct of a tuple or a dict."""
    names = shape.names or [str(position) for position in range(len(types))]
    return [pa.field(name, type) for name, type in zip(names, types, strict=True)]
