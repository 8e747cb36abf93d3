"""A block of rows as columns: what readers of tables give, and programs over columns take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from smr_notebook.dataflow.records import NOWHERE_YET
from smr_notebook.dataflow.tolerant_tables import NoRow, behind
from smr_notebook.model import Position

if TYPE_CHECKING:
    import pyarrow as pa

TableColumn: TypeAlias = "pa.Array[Any] | list[Any]"
"""An Arrow array where the format has types, else a list of exact Python values."""


@dataclass(frozen=True, slots=True, eq=False)
class TableBlock:
    """Some rows of one object, in order, as columns.

    Attributes:
        source: Object that they came from, as `map` gets it.
        columns: By name, each with `rows` values.
        rows: How many there are.
        size: Input bytes that the block accounts for.
        begin: As of `RecordBlock`.
        records: Records that the block accounts for: as many as rows, or those of a row group that was not read for its statistics.
        at: Position of its first record in the split.
        dtypes: Names of the pandas dtypes of columns, where the Arrow type alone does not lead back to them.
        others: Records that are no rows, where these are left out: they count as records.
        token: As of `RecordBlock`.
    """

    source: str
    columns: Mapping[str, TableColumn]
    rows: int
    size: int
    begin: int | None
    records: int
    at: Position = NOWHERE_YET
    dtypes: Mapping[str, str] = field(default_factory=dict)
    others: tuple[NoRow, ...] = ()
    token: str | None = None

    @property
    def count(self) -> int:
        """How many records it accounts for."""
        return self.records

    def rest(self, dropped: int, *, size: int, at: Position) -> Self:
        """Return the block without its first records, at a position, and accounting for so many bytes."""
        if not dropped:
            return replace(self, size=size, at=at)
        others = behind(self.others, dropped)
        rows = dropped - len(self.others) + len(others)
        columns = {name: column[rows:] for name, column in self.columns.items()}
        left = replace(self, columns=columns, rows=max(0, self.rows - rows), size=size, records=self.records - dropped, at=at)
        return replace(left, others=others) if self.others else left
