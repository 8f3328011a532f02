"""Which frames the network looks at: often enough, at both ends of a shot, and where the picture changes."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from time import sleep

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.config import FacesConfig
from pipeline.faces import Face
from pipeline.faces.input_picture import DetectorView, SmallPicture, small_picture
from pipeline.stages.find_faces import FaceDetection
from pipeline.types import Box, Found, Frame, Region
from tests.support.faces_scene import HEIGHT, WIDTH, noise_frame, stream_info

EVERY = FacesConfig(every_s=0.12, fine_every_s=0.28)


class _Finder:
    """Sees the faces that it was told of, and counts its looks."""

    name = "told"
    device = torch.device("cpu")

    def __init__(self, faces: Sequence[Face] = (), calls: int = 1) -> None:
        self.calls = calls
        self.faces = list(faces)
        self.looks = 0

    def __call__(self, picture: NDArray[np.uint8], min_score: float) -> list[Face]:
        self.looks += 1
        return [face for face in self.faces if face.score >= min_score]


def _picture() -> SmallPicture:
    return small_picture(stream_info(1), 20)


def _frames(levels: Sequence[int], pts: Sequence[int] | None = None) -> list[Frame]:
    """Gray frames of these levels; ``pts`` in hundredths of a second, else 25 a second."""
    times = range(0, 4 * len(levels), 4) if pts is None else pts
    base = noise_frame(0, "gray")
    return [
        replace(
            base,
            index=i,
            pts=t,
            time_base=Fraction(1, 100),
            planes=(torch.full((HEIGHT, WIDTH), level, dtype=torch.uint8),),
        )
        for i, (level, t) in enumerate(zip(levels, times, strict=True))
    ]


def _face(box: Box, score: float = 0.9) -> Face:
    return Face(score, box, None)


def _looked(frames: Sequence[Frame], how: FacesConfig = EVERY) -> tuple[list[int], list[int]]:
    """Frames that the quick eye has seen, and those that the fine one has."""
    quick, fine = _Finder([_face(Box(0, 0, 40, 40))]), _Finder([_face(Box(90, 60, 120, 90))])
    detection = FaceDetection(DetectorView(fine, _picture()), DetectorView(quick, _picture()), how)
    found: list[Found[Region]] = list(detection(frames))
    assert [item.frame.index for item in found] == list(range(len(frames)))
    by_quick = [i.frame.index for i in found if any(r.box.x0 == 0 for r in i.regions)]
    by_fine = [i.frame.index for i in found if any(r.box.x0 > 0 for r in i.regions)]
    assert (detection.count.quick, detection.count.fine) == (
        len(by_quick) - len(by_fine),
        len(by_fine),
    )
    return by_quick, by_fine


def test_a_still_shot_is_looked_at_every_third_frame_and_closely_every_seventh() -> None:
    quick, fine = _looked(_frames([90] * 25))
    assert fine == [0, 7, 14, 21, 24]
    assert quick == [0, 3, 6, 7, 10, 13, 14, 17, 20, 21, 24]


def test_without_intervals_every_frame_is_looked_at() -> None:
    quick, fine = _looked(_frames([90] * 12), FacesConfig(every_s=0, fine_every_s=0))
    assert quick == fine == list(range(12))


def test_both_sides_of_a_cut_are_looked_at_closely() -> None:
    quick, fine = _looked(_frames([40] * 5 + [200] * 8))
    assert fine == [0, 4, 5, 12]
    assert set(fine) <= set(quick)


def test_a_frame_that_differs_from_the_last_look_is_looked_at() -> None:
    levels = [90, 90, 104, 104, 104, 104, 104]
    assert 2 in _looked(_frames(levels))[0]
    assert 2 not in _looked(_frames([90] * 7))[0]


@settings(deadline=None, max_examples=50)
@given(steps=st.lists(st.integers(1, 40), min_size=1, max_size=60))
def test_no_two_looks_are_further_apart_than_frames_allow(steps: list[int]) -> None:
    pts = np.cumsum([0, *steps]).tolist()
    quick, fine = _looked(_frames([90] * len(pts), pts))
    for looks, every in ((quick, 12), (fine, 28)):
        assert looks[0] == 0
        assert looks[-1] == len(pts) - 1
        for a, b in itertools.pairwise(looks):
            assert b == a + 1 or pts[b] - pts[a] <= every


@pytest.mark.parametrize("step", [1, 0])
def test_however_dense_the_frames_are_looks_are_few_frames_apart(step: int) -> None:
    """960 frames a second, and a time scale that is wrong."""
    frames = [replace(frame, time_base=Fraction(max(step, 1), 960)) for frame in _frames([90] * 60)]
    frames = [replace(frame, pts=i if step else 7 + i // 50) for i, frame in enumerate(frames)]
    quick, fine = _looked(frames)
    assert max(b - a for a, b in itertools.pairwise(quick)) == EVERY.every_frames
    assert max(b - a for a, b in itertools.pairwise(fine)) == EVERY.fine_every_frames


@pytest.mark.parametrize("rate", [24, 25, 30, 50, 60])
def test_at_usual_rates_the_bound_in_frames_changes_nothing(rate: int) -> None:
    unbounded = EVERY.model_copy(update={"every_frames": 240, "fine_every_frames": 240})
    frames = [replace(f, time_base=Fraction(1, rate), pts=i) for i, f in enumerate(_frames([90] * 80))]
    assert _looked(frames) == _looked(frames, unbounded)


def test_strict_looks_at_every_frame() -> None:
    quick, fine = _looked(_frames([90] * 12), EVERY.model_copy(update={"care": "strict"}))
    assert quick == fine == list(range(12))


def test_a_face_that_both_eyes_see_is_one_and_has_the_quick_one_s_box() -> None:
    quick = _Finder([_face(Box(10, 10, 50, 60), 0.4)])
    fine = _Finder([_face(Box(12, 11, 52, 58), 0.9), _face(Box(90, 60, 110, 84), 0.8)])
    ((found),) = FaceDetection(DetectorView(fine, _picture()), DetectorView(quick, _picture()), EVERY)(
        _frames([90])
    )
    back = _picture().back(_face(Box(10, 10, 50, 60))).box
    assert [region.score for region in found.regions] == [0.4, 0.8]
    assert found.regions[0].box == back


def test_a_face_too_small_for_the_quick_eye_has_the_fine_one_s_box() -> None:
    coarse = small_picture(stream_info(1), 60)
    assert coarse.sure_face_px == pytest.approx(60, rel=0.1)
    seen = [coarse.back(_face(Box(10, 10, 15, 16), 0.9)).box, coarse.back(_face(Box(20, 8, 44, 38), 0.4)).box]
    fine = _Finder([_face(b) for b in (Box(32, 30, 46, 46), replace(seen[1], x0=seen[1].x0 - 4))])
    quick = _Finder([_face(Box(10, 10, 15, 16), 0.9), _face(Box(20, 8, 44, 38), 0.4)])
    views = DetectorView(fine, small_picture(stream_info(1), 20)), DetectorView(quick, coarse)
    assert all(a.iou(b.box) > 0.3 for a, b in zip(seen, fine.faces, strict=True))
    ((found),) = FaceDetection(*views, EVERY)(_frames([90]))
    assert sorted(r.box.x0 for r in found.regions) == pytest.approx(
        sorted([fine.faces[0].box.x0, seen[1].x0])
    )


class _Slow(_Finder):
    """Sees a face whose width tells the picture's level; darker pictures take longer than brighter ones."""

    lock = threading.Lock()
    running = most = 0

    def __call__(self, picture: NDArray[np.uint8], min_score: float) -> list[Face]:
        level = float(picture[:8, :8].mean())
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        sleep(0.01 + 0.0005 * (100 - level))
        with self.lock:
            self.running -= 1
        return [_face(Box(0, 0, level, 60))]


@pytest.mark.parametrize("calls", [2, 4])
def test_looks_that_run_at_a_time_see_what_looks_in_turn_see(calls: int) -> None:
    """Later looks end first here, and frames still leave in order with the faces of their own look."""
    frames = _frames(range(40, 70))
    at_once, in_turn = _Slow(calls=calls), _Slow()
    seen = []
    for finder in (at_once, in_turn):
        eye = DetectorView(finder, _picture())
        seen.append(
            [(f.frame.index, [r.box for r in f.regions]) for f in FaceDetection(eye, eye, EVERY)(frames)]
        )
    assert seen[0] == seen[1]
    assert len({box.width for _, boxes in seen[0] for box in boxes}) > 8
    assert 1 < at_once.most <= calls
    assert in_turn.most == 1


def test_the_frames_that_were_looked_at_are_told() -> None:
    finder = _Finder()
    view = DetectorView(finder, _picture())
    detection = FaceDetection(view, view, EVERY)
    assert len(list(detection(_frames([90] * 25)))) == 25
    assert list(detection.count.frames) == [0, 3, 6, 9, 12, 15, 18, 21, 24]
