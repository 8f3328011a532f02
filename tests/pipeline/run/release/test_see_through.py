"""Whether masks show the face under them: a real face, every look, several strengths."""

from __future__ import annotations

from fractions import Fraction

import cv2
import pytest
import skimage
import torch

from pipeline.config import MaskConfig
from pipeline.faces import open_detector
from pipeline.run.release.painted import PaintedMask
from pipeline.run.release.see_through import AT_A_TIME, EVERY_S, SIDE_PX, MaskSight, MaskSights, MaskView
from pipeline.stages.paint import paint
from pipeline.stages.pixelize import Pixelizer
from pipeline.types import Box, FaceRegion, Frame, Mask, Shape, TrackedFaces, TrackedRegion
from tests.support.faces_scene import COLOUR, stream_info

_LEFT, _TOP, _SIDE = 92, 0, 256
FACE = Box(2 * (176 - _LEFT), 2 * (68 - _TOP), 2 * (268 - _LEFT), 2 * (176 - _TOP))
"""In twice the size of a part of scikit-image's portrait, so that it has room for 18 blocks."""
INFO = stream_info(1, width=512, height=512)


def _portrait() -> Frame:
    part = skimage.data.astronaut()[_TOP : _TOP + _SIDE, _LEFT : _LEFT + _SIDE]
    rgb = torch.from_numpy(cv2.resize(part, (512, 512), interpolation=cv2.INTER_CUBIC)).permute(2, 0, 1)
    return Frame(
        0, 0, tuple(plane.contiguous() for plane in rgb.unbind(0)), "gbrp", COLOUR, Fraction(1, 25), True
    )


def _released(**settings: object) -> Frame:
    """The portrait as it leaves a run with these settings of the mask."""
    tracked = TrackedRegion(1, FaceRegion(FACE, 0.9), seen=True, born=True, last=True)
    item = TrackedFaces(_portrait(), (tracked,), {})
    (frame,) = paint(Pixelizer(INFO, MaskConfig.model_validate(settings))([item]))
    return frame


@pytest.fixture(scope="module")
def view() -> MaskView:
    return MaskView(open_detector("centerface", (SIDE_PX, SIDE_PX), threads=1), INFO)


def test_a_face_is_seen_without_a_mask_and_through_too_many_blocks(view: MaskView) -> None:
    assert view.score(_portrait(), FACE) > 0.8
    assert view.score(_portrait(), Box(300, 380, 484, 500)) < 0.2, "cloth is no face"
    for settings in ({"blocks": 12}, {"blocks": 32, "look": "blur"}):
        assert view.score(_released(**settings), FACE) > 0.5, settings


@pytest.mark.parametrize("look", ["mosaic", "blur", "solid"])
def test_nothing_is_seen_through_the_default_blocks(view: MaskView, look: str) -> None:
    assert view.score(_released(look=look), FACE) < 0.4


@pytest.mark.parametrize("blocks", [6, 10, 12, 16])
def test_a_blur_is_as_strong_as_a_mosaic_of_the_same_blocks(view: MaskView, blocks: int) -> None:
    mosaic, blur = (view.score(_released(look=look, blocks=blocks), FACE) for look in ("mosaic", "blur"))
    assert blur <= mosaic + 0.1


def _painted(track: int, *, shows: bool = True) -> PaintedMask:
    tracked = TrackedRegion(track, FaceRegion(FACE, 0.9), seen=True, born=False, last=False)
    mask = Mask(tracked, FACE.scaled(1.3), Shape.ELLIPSE, torch.zeros(3, 8, 8), smooth=False)
    return PaintedMask(mask, shows)


def test_each_track_is_looked_at_now_and_then_and_few_at_a_time() -> None:
    sights = MaskSights(0.5, 1.3)
    masks = [_painted(track) for track in range(1, AT_A_TIME + 3)] + [_painted(99, shows=False)]
    first = [track for track, _ in sights.due(masks, 0.0)]
    second = [track for track, _ in sights.due(masks, 0.1)]
    assert sorted(first + second) == list(range(1, AT_A_TIME + 3))
    assert sights.due(masks, 0.2) == []
    ((again, box), *_) = sights.due(masks, EVERY_S)
    assert again in first
    assert box.iou(FACE) > 0.99


def test_a_track_is_seen_through_by_more_than_a_mistake() -> None:
    sights = MaskSights(0.5, 1.3)
    for frame in range(10):
        sights.add(
            [
                MaskSight(1, frame, frame / 25, FACE, 0.9 if frame == 4 else 0.1),
                MaskSight(2, frame, frame / 25, FACE, 0.3 + frame / 20),
                MaskSight(3, frame, frame / 25, FACE, 0.4),
            ]
        )
    (found,) = sights.seen_through()
    assert (found.track, found.frame, sights.looks) == (2, 9, 30)
