"""Frames of the user's library, as Arrow rows and back.

A library is a row of `_LIBRARIES`: a module that is imported when somebody asks for its frames, and not before. Rules for all of them:

* Columns have distinct names, each a `str`. Types go through Arrow: what Arrow has no type for is a `PairShapeError` that names the column.
* Dictionaries (categoricals) become plain values with their categories in the schema; extension types become what they are stored as.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Protocol, cast

import pyarrow as pa

from smr_notebook.dataflow.arrow_kinds import Rows, with_categories
from smr_notebook.errors import PairShapeError, PlanError

LIBRARIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "pandas": "smr_notebook.dataflow.frames.pandas_rows",
        "polars": "smr_notebook.dataflow.frames.polars_rows",
        "arrow": "smr_notebook.dataflow.frames.arrow_rows",
    }
)


class FrameLibrary(Protocol):
    """What a module of `LIBRARIES` gives."""

    def frame_of(self, rows: Rows) -> Any:
        """Return the rows as a frame of the library."""
        ...

    def rows_of(self, frame: object, function: str) -> Rows:
        """Return a frame as rows.

        Args:
            frame: What the user's function returned.
            function: Its name, for messages.

        Raises:
            PairShapeError: It is no frame of this library, or has columns that Arrow does not hold.
        """
        ...


def library(name: str) -> FrameLibrary:
    """Return the library of a name.

    Raises:
        PlanError: There is no such library, or it is not installed.
    """
    home = LIBRARIES.get(name)
    if home is None:
        raise PlanError(f"frame={name!r} is not known. Use {', '.join(LIBRARIES)}.")
    try:
        return cast("FrameLibrary", importlib.import_module(home))
    except ModuleNotFoundError as error:
        raise PlanError(
            f"frame={name!r} needs the package {error.name}, which is not installed here. Install it, or use pandas."
        ) from error


def rows_of_arrays(
    names: Sequence[object], arrays: Sequence[Any], *, count: int, function: str, dtypes: Mapping[str, str] | None = None
) -> Rows:
    """Return columns as rows.

    Args:
        names: Of the columns.
        arrays: Their values; chunked ones are joined.
        count: How many rows there are.
        function: What returned them, for messages.
        dtypes: Names of pandas dtypes to which columns go back.

    Raises:
        PairShapeError: A name is no `str` or stands twice, or there is no column.
    """
    wrong = [name for place, name in enumerate(names) if not isinstance(name, str) or name in names[:place]]
    if wrong or not names:
        what = f"a column named {wrong[0]!r}" if wrong else "no columns"
        gave = "is" if function == "the input" else "returned"
        raise PairShapeError(
            f"{function} {gave} a frame with {what}: each column needs a name of its own, a str. "
            "Rename them (`frame.columns = [...]`); two levels of names, as agg gives with lists, are one name each."
        )
    fields, columns = [], []
    for name, array in zip(cast("Sequence[str]", names), arrays, strict=True):
        field, column = _plain(name, array)
        mark = (dtypes or {}).get(name)
        fields.append(field if mark is None else field.with_metadata({b"dtype": mark.encode()}))
        columns.append(column)
    return Rows(pa.schema(fields), columns, count)


def _plain(name: str, array: Any) -> tuple[pa.Field[Any], Any]:
    if isinstance(array, pa.ChunkedArray):
        array = array.unify_dictionaries().combine_chunks()
    if isinstance(array.type, pa.BaseExtensionType):
        array = array.storage
    if pa.types.is_dictionary(array.type):
        ordered, categories = array.type.ordered, array.dictionary
        values = array.dictionary_decode()
        return with_categories(pa.field(name, values.type), categories, ordered=ordered), values
    if array.type in (pa.string_view(), pa.binary_view()):
        array = array.cast(pa.large_string() if array.type == pa.string_view() else pa.large_binary())
    return pa.field(name, array.type), array
