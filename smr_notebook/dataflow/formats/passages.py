"""The reader of passages: some lines of an object that follow each other, as one text.

Rules:

* Passages are the same for every plan. An object is cut into stretches of so many bytes, counted from its first byte (of what it
  decompresses to), and a passage is the lines that begin in one of them: a text that is shorter than a stretch is one passage. It belongs
  to the span that its stretch begins in.
* Where lines have no place, because only a decoder that has read all before can tell, a stretch is counted in characters.
* Lines are those of the text format: what it does about encodings, line ends and damage is done here, too. Between lines stands LF.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import Any

from smr_notebook.dataflow.formats.text import read_text
from smr_notebook.dataflow.records import RecordBlock, Unreadable
from smr_notebook.model import Reading, Span
from smr_notebook.ports import InputSource

_Place = tuple[RecordBlock, int]
"""A line of a block, whose offset nobody may ask for."""


@dataclass(frozen=True, slots=True)
class PassageReader:
    """Implements `records.Reader`.

    Attributes:
        size: Bytes of a stretch.
    """

    size: int

    def named(self) -> Iterable[tuple[str, Callable[..., Any]]]:
        """Return no function: none of the user's is needed."""
        return ()

    def __call__(self, span: Span, source: InputSource, reading: Reading) -> Iterator[RecordBlock]:
        """Yield the passages that begin in a span. Raises as `text.read_text` does."""
        return self._whole(span, source, reading) if span.whole else self._stretches(span, source, reading)

    def _stretches(self, span: Span, source: InputSource, reading: Reading) -> Iterator[RecordBlock]:
        """Read stretch by stretch: the last one may end behind the span."""
        first = -(-span.start // self.size) * self.size
        for begin in range(first, span.stop, self.size):
            stretch, passage = replace(span, start=begin, stop=min(begin + self.size, span.size)), _Passage()
            for block in read_text(stretch, source, reading):
                passage.add(block, range(block.count))
                passage.bytes += block.size
            yield passage.block(span.key, begin=begin)

    def _whole(self, span: Span, source: InputSource, reading: Reading) -> Iterator[RecordBlock]:
        """Read what may be compressed."""
        passage, number, characters = _Passage(), 0, 0
        for block in read_text(span, source, reading):
            for stretch, lines in self._by_stretch(block, characters):
                if stretch != number and passage.records:
                    yield passage.block(span.key, begin=None)
                    passage = _Passage()
                number = stretch
                characters += passage.add(block, lines)
            passage.bytes += block.size
        yield passage.block(span.key, begin=None)

    def _by_stretch(self, block: RecordBlock, characters: int) -> Iterator[tuple[int, range]]:
        """Yield the number of a stretch, and which lines of a block begin in it."""
        if not block.count:
            return
        if block.begin is not None and block.begin // self.size == (block.begin + block.size) // self.size:
            yield block.begin // self.size, range(block.count)  # without asking for places, which goes through all lines
            return
        first, last = (block.locate(index) // self.size for index in (0, block.count - 1))
        if first < 0 or first == last:
            yield (characters // self.size if first < 0 else first), range(block.count)
            return
        for number, group in groupby(range(block.count), lambda index: block.locate(index) // self.size):
            lines = list(group)
            yield number, range(lines[0], lines[-1] + 1)


class _Passage:
    """A passage that is being made."""

    def __init__(self) -> None:
        self.bytes = 0
        self._lines: list[str] = []
        self._unreadable: list[Unreadable] = []
        self._places: list[_Place] = []

    @property
    def records(self) -> list[object]:
        """The passage, if it has a line, and those lines that are no text."""
        return [*(["\n".join(self._lines)] if self._lines else []), *self._unreadable]

    def add(self, block: RecordBlock, indices: range) -> int:
        """Add some lines of a block, and return how many characters they are."""
        characters = 0
        for index, line in zip(indices, block.records[indices.start : indices.stop], strict=True):
            if isinstance(line, Unreadable):
                self._unreadable.append(line)
                self._places.append((block, index))
                continue
            if not self._lines:
                self._places.insert(0, (block, index))
            self._lines.append(str(line))
            characters += len(self._lines[-1]) + 1
        return characters

    def block(self, source: str, *, begin: int | None) -> RecordBlock:
        """Return it as a block."""
        return RecordBlock(source, self.records, self.bytes, partial(_locate, self._places), begin)


def _locate(places: list[_Place], index: int) -> int:
    block, line = places[index]
    return block.locate(line)
