"""The key of a workspace: a row of its table, made once by whoever needs it first (see `dataflow.signing`).

The table is the root of trust: who can change its rows can end jobs and choose outputs anyway, and their failures hold pickles. It is
another circle than the object store, which holds what is large and is what one shares: a bucket, a folder.

The row never changes and never expires, because what was signed with it would be lost. It is read once for each process and table, and
once for each job that is submitted: a workspace may have been removed since the last one, with its key.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from smr_notebook.control.rows import RowCodec
from smr_notebook.dataflow.signing import Keyring, new_secret
from smr_notebook.errors import CorruptObjectError
from smr_notebook.ports import LASTING, Table

KEY_ROW: Final = "key"
"""Key of the row, in the group of what outlives all jobs."""

_TABLES: Final = 8


@dataclass(frozen=True, slots=True)
class _KeyRow:
    secret: bytes = field(repr=False)


_CODEC: Final = RowCodec(_KeyRow)


def keys_of(table: Table) -> Keyring:
    """Return the key of the workspace whose table this is; make it if there is none.

    Raises:
        StoreError: The table cannot be reached.
        CorruptObjectError: The row is not what this package writes.
    """
    return _keys_of(table)  # type: ignore[arg-type]  # hashed by identity


def forget_keys() -> None:
    """See to it that keys are read again."""
    _keys_of.cache_clear()


@lru_cache(maxsize=_TABLES)
def _keys_of(table: Table) -> Keyring:
    row = table.get(LASTING, KEY_ROW) or table.put(LASTING, KEY_ROW, _CODEC.encode(_KeyRow(new_secret())), expect=0)
    try:
        return Keyring(_CODEC.decode(KEY_ROW, row.value).secret)
    except ValueError as error:
        raise CorruptObjectError(f"The key of the workspace cannot be read from its table ({error}).") from None
