"""Expressions over columns: which columns they name, and their values for the rows of a table.

Expressions are pyarrow's (`pyarrow.compute.field("amount") > 10`): they travel, Parquet prunes row groups by them, and Arrow
computes them without a loop over rows. Their missing values are those of SQL: a comparison with nothing is nothing, and a filter keeps
what is true.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.acero as ac
import pyarrow.compute as pc

from smr_notebook.errors import InputFormatError

_ROW: Final = "__smr_row__"
_NESTED = re.compile(r"^nested_field_ref: '(\d+)'$")
_FIELD = re.compile(r"^field_ref: '(.*)'$")


def names_in(expression: pc.Expression) -> list[str]:
    """Return the names of the columns that an expression refers to, each once.

    Arrow tells them only in what it writes an expression as: the metadata of an Arrow file, a line for each part of the expression.
    """
    written = pa.ipc.open_file(expression.__reduce__()[1][0]).schema
    found: dict[str, None] = {}
    inner = 0
    for line in written.to_string(truncate_metadata=False, show_schema_metadata=True).splitlines():
        nested, field = _NESTED.match(line), _FIELD.match(line)
        if nested:
            inner = -int(nested[1])
        elif field and inner > 0:
            inner -= 1
        elif field:
            found[field[1]] = None
            inner = -inner - 1 if inner else 0
    return list(found)


class Evaluated:
    """The rows of a table that a filter keeps, and columns computed for them.

    Attributes:
        rows: Numbers of the rows, ascending; `None` for all.
        columns: The computed columns by name.
    """

    __slots__ = ("columns", "rows")

    def __init__(self, rows: Any, columns: dict[str, Any]) -> None:
        self.rows = rows
        self.columns = columns


def evaluate(
    columns: Mapping[str, Any], count: int, *, where: pc.Expression | None, computed: Mapping[str, pc.Expression], source: str
) -> Evaluated:
    """Filter rows, and compute columns for those that are kept.

    Args:
        columns: Arrow arrays of the columns that the expressions name.
        count: How many rows there are.
        where: The filter; `None` keeps all.
        computed: Expressions by the names of the columns that they give.
        source: Where the rows came from, for messages.

    Raises:
        InputFormatError: An expression cannot be computed for these columns.
    """
    if where is None and not computed:
        return Evaluated(None, {})
    row = _ROW
    while row in columns or row in computed:
        row += "_"
    table = pa.table({**columns, row: pa.array(range(count), pa.int64())})
    steps = [ac.Declaration("table_source", ac.TableSourceNodeOptions(table))]
    if where is not None:
        steps.append(ac.Declaration("filter", ac.FilterNodeOptions(where)))
    wanted = {row: pc.field(row), **computed}
    steps.append(ac.Declaration("project", ac.ProjectNodeOptions(list(wanted.values()), list(wanted))))
    try:
        found = ac.Declaration.from_sequence(steps).to_table(use_threads=False)
    except (pa.ArrowException, TypeError) as error:
        told = ", ".join(map(str, [*([] if where is None else [where]), *computed.values()]))
        raise InputFormatError(f"{source}: {told} cannot be computed: {error}") from error
    rows = None if where is None else found.column(row).combine_chunks().to_numpy()
    return Evaluated(rows, {name: found.column(name).combine_chunks() for name in computed})
