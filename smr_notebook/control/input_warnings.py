"""What the user should know of an input that is read nevertheless: a sentence each, in the plan.

What is wrong for certain is an error instead (see `naming`), and what is in order is not mentioned.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import Final

from smr_notebook.control.naming import Files
from smr_notebook.dataflow.formats.text_encodings import encoding_of
from smr_notebook.dataflow.known_formats import KNOWN
from smr_notebook.dataflow.splits import PlannedObject
from smr_notebook.model import Format, Reading

_HIDDEN: Final = re.compile(r"/[._](?!/|\./|\.?$)")
_COMPRESSED: Final = (".gz", ".bz2", ".zst", ".zstd", ".xz")


def warnings_of(named: Files, objects: Sequence[PlannedObject], format: Format, reading: Reading, *, split_bytes: int) -> tuple[str, ...]:
    """Return the warnings.

    Args:
        named: The locations.
        objects: What was found there.
        format: How it is read.
        reading: What is said of the format besides its name.
        split_bytes: Bytes that a split should have.
    """
    return (*_empty(objects, format), *_hidden(named, objects), *_whole(objects, format, reading, split_bytes))


def _empty(objects: Sequence[PlannedObject], format: Format) -> Iterator[str]:
    empty = [planned.info.key for planned in objects if not planned.info.size]
    if empty:
        gives = "an empty record each" if format is Format.BINARY else "no records"
        yield f"Empty objects give {gives}: {len(empty):,} of {len(objects):,}, {empty[0]} first."


def _hidden(named: Files, objects: Sequence[PlannedObject]) -> Iterator[str]:
    """Marks, logs and copies are called so, and nobody who names a folder thinks of them; who names them so does."""
    if len(objects) == 1 or any(_HIDDEN.search(f"/{pattern.rpartition('://')[2]}") for pattern in named.patterns):
        return
    shared = os.path.commonpath([planned.info.key for planned in objects]) if len({planned.scheme for planned in objects}) == 1 else ""
    hidden = [planned.info.key for planned in objects if planned.info.size and _HIDDEN.search(planned.info.key[len(shared) :])]
    if hidden:
        yield (
            f"Names that begin with . or _ are often those of marks, logs and copies; {len(hidden):,} of {len(objects):,} objects have one "
            f"and are read as well, {hidden[0]} first. If they are not your data, leave them out by a glob."
        )


def _whole(objects: Sequence[PlannedObject], format: Format, reading: Reading, split_bytes: int) -> Iterator[str]:
    large = [planned for planned in objects if planned.info.size > split_bytes]
    if large and format in KNOWN and KNOWN[format].encoded and not encoding_of(reading.encoding).cuttable:
        first = large[0].info.key
        yield f"Text in {reading.encoding} is read from its first byte on: {len(large):,} large objects are not cut, {first} first."
    elif format is Format.CSV:
        uncut = [planned.info.key for planned in large if not planned.cuts and not planned.info.key.lower().endswith(_COMPRESSED)]
        if uncut:
            yield (
                f"{len(uncut):,} large objects of CSV are not cut, {uncut[0]} first: no bytes in their middle tell for sure where a row "
                "begins. If no field holds line ends, say newlines=False."
            )
