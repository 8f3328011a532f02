"""Faces over time: covered before, between and after their detections, never beyond a cut."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import FacesConfig
from pipeline.faces import Face
from pipeline.faces.second_opinion import Opinion
from pipeline.track.extend import Reach, box_at
from pipeline.track.faces import look_ahead_s, lookahead_frames, track_faces
from pipeline.types import Box, Found, Frame, MosaicRegion, Region, Shape, TrackedFaces
from tests.support.faces_scene import RATE, face, found, stream_info

SETTINGS = FacesConfig(birth_score=0.35, every_s=0, fine_every_s=0, fill_before_s=0.2, fill_after_s=0.2)
REACH = 5
"""frames of 0.2 s"""
BOX = Box(40, 40, 60, 66)


def _run(detections: Sequence[Sequence[Region]], cuts: Sequence[int] = ()) -> list[TrackedFaces]:
    return list(track_faces(found(detections, cuts), settings=SETTINGS, info=stream_info(len(detections))))


def _covered(items: Sequence[TrackedFaces]) -> list[int]:
    return [item.frame.index for item in items if item.regions]


def _detections(count: int, at: Sequence[int], score: float = 0.9) -> list[list[Region]]:
    return [[face(BOX, score)] if i in at else [] for i in range(count)]


def test_a_face_is_covered_before_it_is_first_seen_and_after_it_was_last_seen() -> None:
    assert _covered(_run(_detections(30, [15]))) == list(range(15 - REACH, 15 + REACH + 1))


def test_a_gap_that_both_sides_reach_is_closed_and_is_one_track() -> None:
    items = _run(_detections(40, [10, 20]))
    assert _covered(items) == list(range(10 - REACH, 20 + REACH + 1))
    assert {region.track for item in items for region in item.regions} == {1}


def test_a_cut_ends_what_is_covered_on_both_sides() -> None:
    assert _covered(_run(_detections(30, [12]), cuts=[11, 14])) == [11, 12, 13]


def test_weak_detections_count_only_with_a_strong_one_near_them() -> None:
    weak = [[face(BOX, 0.25)] if 5 <= i <= 20 else [] for i in range(30)]
    assert _covered(_run(weak)) == []
    weak[12] = [face(BOX, 0.5)]
    assert set(range(5, 21)) - set(_covered(_run(weak))) <= {5, 6}  # too far ahead to be known of


def test_a_birth_tells_where_the_face_is_seen_best() -> None:
    detections = _detections(30, [8, 10, 20])
    detections[9] = [face(BOX, 0.99)]
    items = _run(detections)
    born = [item for item in items if item.references]
    assert len(born) == 1
    reference = born[0].references[1]
    assert (born[0].frame.index, reference.frame.index, reference.box) == (3, 9, BOX)


def test_two_people_who_stay_apart_keep_their_numbers() -> None:
    def detection(i: int) -> list[Region]:
        both: list[Region] = [face(Box(10 + i, 40, 30 + i, 66)), face(Box(120 - i, 40, 140 - i, 66))]
        return both[:: 1 if i % 2 else -1]

    for item in _run([detection(i) for i in range(20)]):
        left, right = sorted(item.regions, key=lambda r: r.region.box.x0)
        assert left.track != right.track
        assert left.region.box.x0 < right.region.box.x0
    tracks = {r.track for item in _run([detection(i) for i in range(20)]) for r in item.regions}
    assert tracks == {1, 2}


def test_what_moves_on_unseen_is_covered_where_it_was_and_where_it_would_be() -> None:
    boxes = [Box(20 + 4 * i, 40, 40 + 4 * i, 66) for i in range(30)]
    items = _run([[face(boxes[i])] if i <= 10 else [] for i in range(30)])
    for i in range(11, 11 + REACH):
        (region,) = items[i].regions
        assert boxes[i].covered(region.region.box) > 0.95
        assert boxes[10].covered(region.region.box) == 1


def test_what_walks_out_of_the_picture_is_not_covered_beyond_its_exit() -> None:
    """160 px wide; half a second would be 12 frames. A face that stands at the border is covered on."""
    going: list[list[Region]] = [
        [face(Box(92 + 5 * i, 40, 112 + 5 * i, 66))] if i <= 11 else [] for i in range(30)
    ]
    long = FacesConfig(every_s=0, fine_every_s=0, fill_before_s=0.5, fill_after_s=0.5)
    for sights, last in ((going, 14), ([[face(Box(147, 40, 167, 66))] if r else [] for r in going], 23)):
        items = list(track_faces(found(sights), settings=long, info=stream_info(30)))
        assert _covered(items)[-1] == last
        assert [i.frame.index for i in items for r in i.regions if r.last] == [last]


@settings(deadline=None, max_examples=60)
@given(
    seen=st.sets(st.integers(0, 39)),
    cuts=st.sets(st.integers(1, 39), max_size=3),
)
def test_every_frame_comes_once_and_every_detection_is_covered(seen: set[int], cuts: set[int]) -> None:
    items = _run(_detections(40, sorted(seen)), sorted(cuts))
    assert [item.frame.index for item in items] == list(range(40))
    assert seen <= set(_covered(items))
    shots = np.searchsorted(sorted(cuts), np.arange(40), side="right")
    for frame in _covered(items):
        assert any(abs(frame - s) <= 2 * REACH and shots[s] == shots[frame] for s in seen)
    ends: dict[int, int] = {}
    for item in items:
        for region in item.regions:
            assert region.track not in ends, "a track goes on after its last frame"
            if region.last:
                ends[region.track] = item.frame.index
    assert set(ends) == {region.track for item in items for region in item.regions}


def test_the_frames_that_are_held_stay_within_the_bound() -> None:
    taken = 0

    def feed() -> Iterator[Found[Region]]:
        nonlocal taken
        for item in found(_detections(60, range(60))):
            taken += 1
            yield item

    bound = lookahead_frames(stream_info(60), SETTINGS)
    stage = track_faces(feed(), settings=SETTINGS, info=stream_info(60))
    for given_back, _ in enumerate(stage, start=1):
        assert taken - given_back < bound
    assert bound <= look_ahead_s(SETTINGS) * RATE + 3


def test_smoothing_takes_jitter_out_and_keeps_what_was_seen() -> None:
    generator = np.random.default_rng(3)
    times = [i / 25 for i in range(50)]
    truth = [Box(20 + i, 40, 60 + i, 90) for i in range(50)]
    jitter = generator.normal(0, 1.2, (50, 4))
    boxes = [
        Box(*(v + d for v, d in zip((b.x0, b.y0, b.x1, b.y1), row, strict=True)))
        for b, row in zip(truth, jitter, strict=True)
    ]
    smooth = [box_at(t, times, boxes, Reach(0.2, 0.2)) for t in times]
    error = [abs(s.x0 - t.x0) for s, t in zip(smooth, truth, strict=True) if s is not None]
    before = [abs(b.x0 - t.x0) for b, t in zip(boxes, truth, strict=True)]
    assert np.mean(error[5:-5]) < 0.75 * np.mean(before[5:-5])
    for s, b in zip(smooth, boxes, strict=True):
        assert s is not None
        assert b.scaled(0.89).covered(s) == 1


class _Second:
    """Says the same of all boxes, and sees the face where it was told that it is on a frame."""

    def __init__(self, opinion: Opinion, truth: Callable[[int], Box] | None = None) -> None:
        self.opinion, self.truth = opinion, truth
        self.asked = 0
        self.looked: list[int] = []

    def __call__(self, frame: Frame, box: Box) -> Opinion:
        self.asked += 1
        return self.opinion

    def look(self, frame: Frame, expected: Box, min_score: float) -> Face | None:
        self.looked.append(frame.index)
        return None if self.truth is None else Face(0.8, self.truth(frame.index), None)


YES, NO = Opinion(close=0.6, flag=True), Opinion(close=0.0, flag=False)
DEFAULTS = FacesConfig(fill_before_s=0.28, fill_after_s=0.28)
FAR = 7
"""frames of 0.28 s"""


def _judged(
    detections: Sequence[Sequence[Region]], second: _Second | None, settings: FacesConfig = DEFAULTS
) -> list[TrackedFaces]:
    info = stream_info(len(detections))
    return list(track_faces(found(detections), settings=settings, info=info, second=second))


def test_one_weak_sight_is_covered_if_the_second_opinion_speaks_for_it() -> None:
    sights = _detections(30, [15], score=0.2)
    assert _covered(_judged(sights, _Second(NO))) == []
    assert len(_covered(_judged(sights, _Second(YES)))) == 2 * FAR + 1
    second = _Second(NO)
    assert len(_covered(_judged(sights, second, with_care("strict")))) == 2 * FAR + 1
    assert second.asked == 0


def test_no_second_opinion_decides_alone() -> None:
    """A head in profile is seen again and again by the detector only; a sleeve is seen weakly."""
    steady = range(3, 40, 3)
    assert len(_covered(_judged(_detections(40, steady, score=0.45), _Second(NO)))) > 30
    assert _covered(_judged(_detections(40, steady, score=0.2), _Second(NO))) == []
    assert _covered(_judged(_detections(40, [20], score=0.7), _Second(NO)))


def test_a_face_that_comes_clear_is_covered_whatever_came_before() -> None:
    sights = _detections(60, range(0, 40, 3), score=0.16)
    sights[42] = [face(BOX, 0.8)]
    assert set(_covered(_judged(sights, _Second(NO)))) >= set(range(42 - FAR, 43 + FAR))


def test_nobody_is_asked_on_a_sure_face_and_on_a_doubtful_one_when_it_is_seen_better() -> None:
    for first, step, times in ((0.9, 0.0, 0), (0.2, 0.0, 1), (0.2, 0.01, 3)):
        second = _Second(NO)
        _judged([[face(BOX, first + step * i)] for i in range(20)], second)
        assert second.asked == times


def test_tidy_covers_less_than_balanced() -> None:
    sights = _detections(30, [15], score=0.3)
    perhaps = _Second(Opinion(close=0.2, flag=False))
    assert _covered(_judged(sights, perhaps))
    assert not _covered(_judged(sights, perhaps, with_care("tidy")))


@pytest.mark.parametrize(("height", "reach"), [(30, 25), (60, FAR)])
def test_a_doubtful_face_that_all_looks_would_show_is_filled_to_the_looks_beside_it(
    height: int, reach: int
) -> None:
    sights: list[list[Region]] = [[] for _ in range(61)]
    sights[30] = [face(Box(40, 20, 40 + 0.8 * height, 20 + height), 0.3)]
    settings = FacesConfig(fill_before_s=1.0, fill_after_s=1.0)
    perhaps = _Second(Opinion(close=0.2, flag=False))
    assert _covered(_judged(sights, perhaps, settings)) == list(range(30 - reach, 31 + reach))
    sights[30] = [face(Box(40, 20, 40 + 0.8 * height, 20 + height), 0.8)]
    assert _covered(_judged(sights, perhaps, settings)) == list(range(5, 56))


def with_care(care: str) -> FacesConfig:
    return DEFAULTS.model_copy(update={"care": care})


def test_a_box_that_no_head_fits_needs_more() -> None:
    bar: list[list[Region]] = [[face(Box(10, 40, 110, 60), 0.3)] if i == 15 else [] for i in range(30)]
    perhaps = _Second(Opinion(close=0.2, flag=False))
    assert not _covered(_judged(bar, perhaps))


def _mosaics(at: Sequence[int], score: float, face_score: float = 0.0) -> list[list[Region]]:
    region = MosaicRegion(BOX, Shape.RECTANGLE, score, None, face_score=face_score)
    return [[region] if i in at else [] for i in range(40)]


def test_a_mosaic_alone_is_confirmed_by_three_looks_and_ends_where_it_is_not_seen() -> None:
    assert _covered(_judged(_mosaics([15], 0.6), _Second(NO))) == []
    assert _covered(_judged(_mosaics([15, 18, 21], 0.4), _Second(NO))) == []
    assert _covered(_judged(_mosaics([15, 18, 21], 0.6), _Second(NO))) == list(range(12, 25))
    assert _covered(_judged(_mosaics([15], 0.6, face_score=0.6), _Second(NO)))[0] == 15 - FAR
    assert _covered(_judged(_mosaics([15], 0.4), _Second(NO), with_care("strict")))[0] == 15 - FAR


def _swinging(index: int) -> Box:
    """Its width to either side, 2.5 times a second: between two detections it jumps by more than itself."""
    x = 80 + 24 * math.sin(2 * math.pi * 2.5 * index / RATE + 0.7)
    return Box(x - 12, 40, x + 12, 70)


def _under_masks(items: Sequence[TrackedFaces], truth: Callable[[int], Box]) -> list[float]:
    """Share of the face under its mask by frame."""
    return [
        max((truth(i.frame.index).covered(r.region.box.scaled(1.3)) for r in i.regions), default=0.0)
        for i in items
    ]


def test_a_face_that_swings_is_looked_at_between_two_detections() -> None:
    sights: list[list[Region]] = [[face(_swinging(i))] if i % 3 == 0 else [] for i in range(76)]
    second = _Second(YES, _swinging)
    items = _judged(sights, second)
    assert min(_under_masks(items, _swinging)[3:]) > 0.95
    assert min(_under_masks(_judged(sights, None), _swinging)[3:]) < 0.8
    assert {r.track for i in items for r in i.regions} == {1}
    assert len(second.looked) == len(set(second.looked))


def test_a_face_that_is_followed_to_nowhere_stays_where_it_was_seen() -> None:
    """Two people: between where one was seen last and the other first the looks show something else."""

    def elsewhere(index: int) -> Box:
        return Box(30 + index, 42, 52 + index, 70) if index < 13 else Box(100, 0, 104, 6)

    first, second = Box(40, 40, 64, 70), Box(84, 40, 108, 70)
    sights: list[list[Region]] = [[] for _ in range(40)]
    for index in range(1, 13, 3):
        sights[index] = [face(first)]
    for index in range(16, 40, 3):
        sights[index] = [face(second)]
    alone = _judged(sights, _Second(YES))
    followed = _judged(sights, _Second(YES, elsewhere))
    assert [[r.region.box for r in i.regions] for i in followed] == [
        [r.region.box for r in i.regions] for i in alone
    ]


@pytest.mark.parametrize("speed", [0, 6])
def test_a_face_on_a_straight_way_costs_no_further_look(speed: int) -> None:
    sights: list[list[Region]] = [
        [face(Box(20 + speed * i / 3, 40, 44 + speed * i / 3, 70))] if i % 3 == 0 else [] for i in range(40)
    ]
    second = _Second(YES, _swinging)
    _judged(sights, second)
    assert second.looked == []
