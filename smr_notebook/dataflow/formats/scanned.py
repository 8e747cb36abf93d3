"""The reader of tables: the items of a segment, as the source gives them, page by page.

A table has no bytes, so that a segment has as many as were guessed when the job was planned: each page accounts for about its own, and the
end of the segment for what is left. Nor has it a version: whoever reads it while it changes sees each item before or after its change.

Rules:

* An item that stays is given once. An attempt that goes on behind a leg begins behind the very item that was given last, whatever was
  written or deleted since (`Position.token`), and not after so many items.
* `source` is the name of the table: segments are the plan's.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

from smr_notebook.dataflow.records import RecordBlock, nowhere
from smr_notebook.errors import InputReadError
from smr_notebook.model import PLAINLY, Reading, Span
from smr_notebook.ports import ItemSource, ScannedPage

MOST_ITEMS: Final = 256
"""Of a block: a wish to stop is heard between blocks only."""


def read_scanned(span: Span, source: object, reading: Reading = PLAINLY) -> Iterator[RecordBlock]:  # noqa: ARG001 - the face of Reader
    """Yield the items of a segment.

    Raises:
        InputMissingError: The table is gone.
        InputReadError: It cannot be read.
    """
    if not isinstance(source, ItemSource):
        raise InputReadError(f"{span.key} is a segment of a table, which this worker cannot scan. Submit the job to a session on AWS.")
    name, left, token = span.key.partition("/")[0], span.size, ""
    for page in source.scan(span.key):
        for first in range(0, len(page.items), MOST_ITEMS):
            items = page.items[first : first + MOST_ITEMS]
            size = min(left, page.size * len(items) // len(page.items))
            left -= size
            yield RecordBlock(name, items, size, nowhere, None, token=page.behind(first), token_at=partial(_token_at, page, first))
        token = page.behind(len(page.items))
    yield RecordBlock(name, [], left, nowhere, None, token=token)


def _token_at(page: ScannedPage, first: int, index: int) -> str:
    return page.behind(first + index)
