"""Faces over time: covered before, between and after their detections, never beyond a cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import FacesConfig
from pipeline.track.extend import Reach, box_at
from pipeline.track.faces import look_ahead_s, lookahead_frames, track_faces
from pipeline.types import Box, Found, Region, TrackedFaces
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
