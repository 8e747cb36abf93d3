"""What every `Carrier` holds.

An adapter subclasses `CarrierTests` and provides one fixture, `carrier`: what is tested, with room for some megabytes. Boxes have names
of their own, so that tests may share what is behind it. The suite of the exchange (`testing.exchange`) is passed by way of it, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from uuid import uuid4

import pytest

from smr_notebook.errors import CorruptObjectError
from smr_notebook.ports import PIECE_BYTES, Carrier, Piece, Wanted

Slices = dict[int, bytes]

PARTITIONS = 4
"""Of the boxes of these tests."""


@pytest.fixture
def box(carrier: Carrier) -> Iterator[str]:
    """A box of the test's own, which is held."""
    name = f"jobs/{uuid4().hex[:8]}"
    carrier.hold(name, PARTITIONS)
    yield name
    carrier.remove(name, PARTITIONS)


def pieces(slices: Slices) -> list[Piece]:
    """Cut slices into pieces."""
    return [
        Piece(partition, offset, data[offset : offset + PIECE_BYTES])
        for partition, data in sorted(slices.items())
        for offset in range(0, len(data), PIECE_BYTES)
    ]


def wanted(name: str, data: bytes) -> Wanted:
    """Ask for all of a slice."""
    return Wanted(name, len(data))


def fetched(carrier: Carrier, box: str, partition: int, slices: Sequence[tuple[str, bytes]]) -> list[bytes]:
    """Return the bytes of slices, each as a whole."""
    wishes = [wanted(*one) for one in slices]
    return [get(0, wish.length) for get, wish in zip(carrier.fetch(box, partition, wishes), wishes, strict=True)]


class CarrierTests:
    """The contract of `ports.Carrier`."""

    def test_slices_come_back_as_they_were_sent(self, carrier: Carrier, box: str) -> None:
        """In the order asked for, whatever the order sent."""
        carrier.send(box, "b", pieces({0: b"b0", 2: b"b2"}))
        carrier.send(box, "a", pieces({0: b"a0"}))
        assert fetched(carrier, box, 0, [("a", b"a0"), ("b", b"b0")]) == [b"a0", b"b0"]
        assert fetched(carrier, box, 2, [("b", b"b2")]) == [b"b2"]

    def test_long_slices_by_any_range(self, carrier: Carrier, box: str) -> None:
        """Ranges begin and end anywhere, in pieces and across them; they may be asked for again, and backwards."""
        data = bytes(range(251)) * (5 * PIECE_BYTES // 251)
        carrier.send(box, "a", pieces({1: data, 2: data[::-1]}))
        (get,) = carrier.fetch(box, 1, [wanted("a", data)])
        for start, stop in (
            (0, len(data)),
            (1, 2),
            (PIECE_BYTES - 1, PIECE_BYTES + 1),
            (17, 3 * PIECE_BYTES),
            (0, 1),
            (len(data) - 5, len(data)),
        ):
            assert get(start, stop) == data[start:stop]

    def test_many_slices_are_open_at_once(self, carrier: Carrier, box: str) -> None:
        """A merge reads some of each in turn."""
        sent = {f"map/{number:06d}/001": bytes([number]) * (number * 7 + 1) for number in range(40)}
        for name, data in sent.items():
            carrier.send(box, name, pieces({3: data}))
        gets = list(carrier.fetch(box, 3, [wanted(name, data) for name, data in sent.items()]))
        assert [get(0, 1) for get in gets] == [data[:1] for data in sent.values()]
        assert [get(1, len(data)) for get, data in zip(gets, sent.values(), strict=True)] == [data[1:] for data in sent.values()]

    def test_what_is_sent_twice_is_there_once(self, carrier: Carrier, box: str) -> None:
        """Whole, and in part, before and after it was fetched."""
        data = b"x" * (PIECE_BYTES + 10)
        carrier.send(box, "a", pieces({0: data})[:1])
        carrier.send(box, "a", pieces({0: data}))
        assert fetched(carrier, box, 0, [("a", data)]) == [data]
        carrier.send(box, "a", pieces({0: data}))
        assert fetched(carrier, box, 0, [("a", data)]) == [data]

    def test_only_what_is_asked_for_is_given(self, carrier: Carrier, box: str) -> None:
        """Other names, other partitions, other boxes are in nobody's way."""
        other = f"{box}x"
        carrier.hold(other, PARTITIONS)
        carrier.send(other, "a", pieces({0: b"stranger"}))
        carrier.send(box, "a/001", pieces({0: b"zombie", 1: b"zombie"}))
        carrier.send(box, "a/002", pieces({0: b"chosen", 1: b"others"}))
        assert fetched(carrier, box, 0, [("a/002", b"chosen")]) == [b"chosen"]
        carrier.remove(other, PARTITIONS)

    def test_two_may_read_the_same_at_once_and_again(self, carrier: Carrier, box: str) -> None:
        """A retried attempt, and a backup beside a slow one."""
        carrier.send(box, "a", pieces({0: b"x" * 1000}))
        carrier.send(box, "b", pieces({0: b"y" * 1000}))
        wishes = [Wanted("a", 1000), Wanted("b", 1000)]
        first = carrier.fetch(box, 0, wishes)
        assert next(first)(0, 3) == b"xxx"
        assert fetched(carrier, box, 0, [("a", b"x" * 1000), ("b", b"y" * 1000)]) == [b"x" * 1000, b"y" * 1000]
        assert next(first)(0, 3) == b"yyy"

    def test_what_was_never_sent_is_an_error(self, carrier: Carrier, box: str) -> None:
        """No slice of nothing, and none that is cut."""
        carrier.send(box, "a", pieces({0: b"x" * (PIECE_BYTES + 1)})[:1])
        for wish in (Wanted("a", PIECE_BYTES + 1), Wanted("gone", 3)):
            with pytest.raises(CorruptObjectError):
                [get(0, wish.length) for get in carrier.fetch(box, 0, [wish])]

    def test_a_box_may_be_held_and_removed_any_number_of_times(self, carrier: Carrier, box: str) -> None:
        """What is in it stays when it is held, and goes when it is removed."""
        carrier.send(box, "a", pieces({0: b"x"}))
        carrier.hold(box, PARTITIONS)
        assert fetched(carrier, box, 0, [("a", b"x")]) == [b"x"]
        carrier.remove(box, PARTITIONS)
        carrier.remove(box, PARTITIONS)

    def test_one_name_can_be_removed(self, carrier: Carrier, box: str) -> None:
        """The others stay."""
        carrier.send(box, "a", pieces({0: b"x"}))
        carrier.send(box, "b", pieces({0: b"y"}))
        carrier.remove(box, PARTITIONS, "a")
        carrier.remove(box, PARTITIONS, "never")
        assert fetched(carrier, box, 0, [("b", b"y")]) == [b"y"]
