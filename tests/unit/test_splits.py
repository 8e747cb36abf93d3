from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smr_notebook.dataflow.splits import PlannedObject, choose_split_bytes, plan_splits
from smr_notebook.errors import ConfigError
from smr_notebook.model import ObjectInfo, Span, Split

MIB = 1 << 20


def planned(sizes: list[int], *, cuttable: bool = True, packable: bool = True) -> list[PlannedObject]:
    return [PlannedObject("file", ObjectInfo(f"{n}", size, "v"), cuttable, packable) for n, size in enumerate(sizes)]


def ranges(splits: tuple[Split, ...]) -> list[list[tuple[str, int, int]]]:
    return [[(span.key, span.start, span.stop) for span in split.spans] for split in splits]


objects = st.lists(
    st.builds(
        lambda size, cuttable, packable: (size, cuttable, packable),
        st.one_of(st.just(0), st.integers(0, 50), st.integers(0, 1000)),
        st.booleans(),
        st.booleans(),
    ),
    max_size=40,
)


@settings(max_examples=3 * settings().max_examples)
@given(objects=objects, split_bytes=st.integers(1, 300))
def test_every_byte_is_in_one_span_and_order_is_kept(objects: list[tuple[int, bool, bool]], split_bytes: int) -> None:
    given_objects = [
        PlannedObject("file", ObjectInfo(str(number), size, f"v{number}"), cuttable, packable)
        for number, (size, cuttable, packable) in enumerate(objects)
    ]

    splits = plan_splits(given_objects, split_bytes=split_bytes)

    assert [split.number for split in splits] == list(range(len(splits)))
    assert sum(split.bytes for split in splits) == sum(size for size, _, _ in objects)
    spans = [span for split in splits for span in split.spans]
    assert list(dict.fromkeys(span.key for span in spans)) == [planned.info.key for planned in given_objects]
    for before, after in pairwise(spans):
        assert (after.start == before.stop) if before.key == after.key else (after.start == 0 and before.stop == before.size)
    assert all((span.size, span.version) == (objects[int(span.key)][0], f"v{span.key}") for span in spans)
    for split in splits:
        filled = [span for span in split.spans if span.stop > span.start]
        assert len(filled) <= 1 or split.bytes <= split_bytes
        assert len(filled) <= 1 or all(objects[int(span.key)][2] for span in filled)
        assert all(span.whole or objects[int(span.key)][1] for span in split.spans)
        assert filled or len(splits) == 1


@given(size=st.integers(1, 100_000), split_bytes=st.integers(1, 1000))
def test_a_cut_object_has_equal_spans(size: int, split_bytes: int) -> None:
    if size // split_bytes > 5000:
        return
    lengths = [split.bytes for split in plan_splits(planned([size]), split_bytes=split_bytes)]

    assert max(lengths) <= split_bytes
    assert max(lengths) - min(lengths) <= 1
    assert len(lengths) == -(-size // split_bytes)


def test_a_large_object_that_cannot_be_cut_stays_whole() -> None:
    assert ranges(plan_splits(planned([30, 500, 30], cuttable=False), split_bytes=100)) == [[("0", 0, 30)], [("1", 0, 500)], [("2", 0, 30)]]


def test_small_objects_share_a_split() -> None:
    assert ranges(plan_splits(planned([40, 40, 40]), split_bytes=100)) == [[("0", 0, 40), ("1", 0, 40)], [("2", 0, 40)]]


def test_objects_that_must_not_be_packed_have_a_split_each() -> None:
    assert [len(split.spans) for split in plan_splits(planned([1, 1, 1], cuttable=False, packable=False), split_bytes=100)] == [1, 1, 1]


def test_a_split_takes_at_most_a_thousand_objects() -> None:
    assert [len(split.spans) for split in plan_splits(planned([1] * 2500), split_bytes=MIB)] == [1000, 1000, 500]


def test_empty_objects_stay_and_make_no_task_of_their_own() -> None:
    splits = plan_splits(planned([0, 100, 0, 100, 0]), split_bytes=50)

    assert ranges(splits) == [
        [("0", 0, 0), ("1", 0, 50)],
        [("1", 50, 100), ("2", 0, 0)],
        [("3", 0, 50)],
        [("3", 50, 100), ("4", 0, 0)],
    ]


def test_only_empty_objects_make_one_split() -> None:
    assert plan_splits(planned([0, 0]), split_bytes=50) == (Split(0, (Span("file", "0", 0, 0, 0, "v"), Span("file", "1", 0, 0, 0, "v"))),)


def test_no_objects_make_no_splits() -> None:
    assert plan_splits([], split_bytes=50) == ()


@pytest.mark.parametrize(
    ("total", "slots", "expected"),
    [
        (0, 4, MIB),
        (10 * MIB, 4, MIB),
        (160 * MIB, 2, 85 * MIB // 4),
        (1 << 40, 2, 128 * MIB),
        (1 << 40, 1 << 20, MIB),
        (16 * MIB, 2, 17 * MIB // 8),
    ],
)
def test_about_four_splits_a_slot_between_1_and_128_mib(total: int, slots: int, expected: int) -> None:
    assert choose_split_bytes(total, slots=slots, requested=None) == expected


def test_a_requested_size_is_obeyed() -> None:
    assert choose_split_bytes(1 << 40, slots=2, requested=1) == 1
    assert choose_split_bytes(1, slots=2, requested=1 << 40) == 1 << 40


@pytest.mark.parametrize("requested", [0, -5])
def test_a_split_of_no_bytes_is_refused(requested: int) -> None:
    with pytest.raises(ConfigError, match="at least 1 byte"):
        choose_split_bytes(100, slots=2, requested=requested)
