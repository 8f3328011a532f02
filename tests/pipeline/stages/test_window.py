"""The contract of ``window``, over random tracks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.stages.window import frames_held, window
from pipeline.types import Box, Colour, Crop, Cropped, Frame, MosaicRegion, Samples, Shape, TrackedRegion

EMPTY = torch.empty(0)
PLANE = torch.zeros(1, 1, dtype=torch.uint8)
SAMPLES = Samples(EMPTY, 0.0)
REGION = MosaicRegion(Box(0, 0, 1, 1), Shape.RECTANGLE, 1.0, None)
COLOUR = Colour("bt709", "tv", "unknown", "unknown")


def cropped(index: int, tracks: dict[int, tuple[bool, bool]]) -> Cropped:
    """A frame with a crop for each track: track -> (born, last)."""
    frame = Frame(index, index, (PLANE,), "gray", COLOUR, Fraction(1), key=False)
    crops = tuple(
        Crop(
            TrackedRegion(t, REGION, True, born, last),
            index,
            EMPTY,
            EMPTY,
            EMPTY,
            EMPTY,
            SAMPLES,
            np.zeros((2, 3)),
        )
        for t, (born, last) in tracks.items()
    )
    return Cropped(frame, crops)


# track -> its lives: (first frame, length, length of a gap without crop after it)
lives = st.dictionaries(
    st.integers(1, 4), st.lists(st.tuples(st.integers(0, 12), st.integers(1, 14)), max_size=3), max_size=4
)


def clip(start: int, count: int, spans: dict[int, list[tuple[int, int]]]) -> list[Cropped]:
    """``spans``: per track, frames to wait and frames to live, over and over; identity stays the same."""
    alive: dict[int, dict[int, tuple[bool, bool]]] = {i: {} for i in range(start, start + count)}
    for track, parts in spans.items():
        at = start
        for wait, length in parts:
            at += wait
            for i in range(at, min(at + length, start + count)):
                alive[i][track] = (i == at, i == at + length - 1)
            at += length
    return [cropped(i, tracks) for i, tracks in alive.items()]


@settings(deadline=None, max_examples=200)
@given(
    start=st.integers(0, 9),
    count=st.integers(0, 40),
    spans=lives,
    core=st.integers(1, 5),
    context=st.integers(0, 3),
    cores=st.integers(1, 3),
)
def test_contract(
    start: int, count: int, spans: dict[int, list[tuple[int, int]]], core: int, context: int, cores: int
) -> None:
    items = clip(start, count, spans)
    taken = 0

    def source() -> Iterator[Cropped]:
        nonlocal taken
        for item in items:
            taken += 1
            yield item

    left: list[int] = []
    owned: Counter[tuple[int, int]] = Counter()
    for batch in window(source(), core=core, context=context, cores_per_batch=cores):
        assert taken - len(left) <= frames_held(core, context, cores)
        frames = [f.index for f in batch.frames]
        assert len({i // (core * cores) for i in frames}) == 1  # one grid for all tracks
        left += frames
        for item in batch.items:
            assert len(item.crops) == core + 2 * context
            assert item.core
            for at in item.core:
                assert context <= at < context + core
                made = item.crops[at]
                assert made.frame_index in frames  # paste never waits
                assert made.frame_index % core == at - context
                owned[made.tracked.track, made.frame_index] += 1
            _one_life(item.crops, {(c.tracked.track, i.frame.index): c for i in items for c in i.crops})
    assert left == [i.frame.index for i in items]
    assert owned == Counter((c.tracked.track, c.frame_index) for i in items for c in i.crops)


def _one_life(crops: tuple[Crop, ...], present: dict[tuple[int, int], Crop]) -> None:
    """Consecutive frames of one life of one track, with edges repeated only where that life has its edge."""
    track = crops[0].tracked.track
    assert {c.tracked.track for c in crops} == {track}
    indices = [c.frame_index for c in crops]
    for before, after, i, j in zip(crops, crops[1:], indices, indices[1:], strict=False):
        assert j - i in (0, 1)
        if j == i:
            at_birth = before.tracked.born and j == indices[0]
            following = present.get((track, i + 1))
            at_end = following is None or following.tracked.born
            assert at_birth or (at_end and j == indices[-1])
        else:
            assert not after.tracked.born


def test_single_frame_networks_need_no_context() -> None:
    batches = list(window(clip(0, 3, {1: [(0, 3)]}), core=1, context=0))
    assert [len(b.items) for b in batches] == [1, 1, 1]
    assert [b.items[0].core for b in batches] == [(0,)] * 3


def test_two_people_share_a_batch() -> None:
    (batch, *_) = window(clip(0, 8, {1: [(0, 8)], 2: [(1, 2)]}), core=4, context=1)
    assert [(w.crops[0].tracked.track, w.core) for w in batch.items] == [(1, (1, 2, 3, 4)), (2, (2, 3))]
    assert [c.frame_index for c in batch.items[0].crops] == [0, 0, 1, 2, 3, 4]
    assert [c.frame_index for c in batch.items[1].crops] == [1, 1, 1, 2, 2, 2]


def test_a_window_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="core 0"):
        list(window([], core=0, context=1))
