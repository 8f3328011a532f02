"""On which frames the release check looks."""

from __future__ import annotations

import itertools

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from pipeline.run.anonymize_sidecar import DetectionsRecord, GateRecord
from pipeline.run.release.looks import Pace, longest_unseen, looked_at
from pipeline.run.release.verdict import fleeting


def _looks(times: list[float], pace: Pace, seen: list[int]) -> list[int]:
    due = looked_at(times, pace, [i in seen for i in range(len(times))])
    return [i for i, look in enumerate(due) if look]


def test_the_frames_farthest_from_those_of_the_run_are_looked_at() -> None:
    run = [0, 7, 14, 21, 28, 35]
    at_60 = _looks([i / 60 for i in range(36)], Pace(0.12, 8), run)
    assert at_60 == [3, 10, 17, 24, 31, 34, 35]
    assert not set(_looks([i / 25 for i in range(24)], Pace(0.12, 8), [0, 3, 6, 9, 12, 15, 18, 21])) & {
        3,
        9,
        15,
    }


def test_the_bound_in_frames_holds_where_a_second_has_many() -> None:
    looks = _looks([i / 960 for i in range(200)], Pace(0.12, 8), list(range(0, 200, 8)))
    assert max(b - a for a, b in itertools.pairwise(looks)) <= 8


def test_without_a_pace_every_frame_is_looked_at_and_a_lone_one_always() -> None:
    assert _looks([0.0, 0.04, 0.08], Pace(0.0, 1), [0]) == [0, 1, 2]
    assert _looks([3.0], Pace(0.12, 8), [0]) == [0]
    with pytest.raises(ValueError, match="wanted"):
        Pace(-1.0, 8)


@settings(deadline=None, max_examples=60)
@given(
    steps=st.lists(st.integers(1, 40), min_size=1, max_size=60),
    seen=st.sets(st.integers(0, 60)),
    frames=st.integers(1, 9),
)
def test_no_two_looks_are_further_apart_than_frames_allow(
    steps: list[int], seen: set[int], frames: int
) -> None:
    times = [t / 100 for t in itertools.accumulate(steps, initial=0)]
    looks = _looks(times, Pace(0.12, frames), sorted(seen))
    assert times[looks[0]] <= 0.06 + 1e-9 or looks[0] == 0
    assert looks[-1] == len(times) - 1
    for a, b in itertools.pairwise(looks):
        assert b == a + 1 or (times[b] - times[a] <= 0.12 + 1e-6 and b - a <= frames)


def test_a_face_that_is_shown_shorter_than_two_looks_are_apart_is_told_of() -> None:
    assert longest_unseen([True, False, False, True, False]) == 2
    assert longest_unseen([True, True]) == 0
    looks = DetectionsRecord(
        fine=1, quick=1, quick_face_px=57.6, frames_unseen=2, frames_unseen_fine=longest_unseen([False] * 6)
    )
    gate = GateRecord(finder="x", frames_examined=1, frames_unseen=1, uncovered=[], passed=True)
    (said,) = fleeting(looks, gate)
    assert "on one frame" in said and "below 58 px on up to 6 frames" in said and "--care strict" in said
    (said,) = fleeting(looks, None)
    assert "on up to 2 frames" in said
    assert not fleeting(looks.model_copy(update={"frames_unseen": 0, "frames_unseen_fine": 0}), None)
    assert not fleeting(None, gate)
