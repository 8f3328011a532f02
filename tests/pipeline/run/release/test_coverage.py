"""A face is covered by what is painted: ellipses, cells, several masks together."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.faces import Face
from pipeline.picture.color import conversion
from pipeline.picture.grid_paint import paint
from pipeline.run.release.coverage import is_covered, painted_pixels
from pipeline.run.release.painted import PaintedMasks
from pipeline.types import Box, FaceRegion, Mask, Masked, Shape, TrackedRegion
from tests.support.faces_scene import HEIGHT, WIDTH, noise_frame


def _covered(box: Box, masks: list[Mask], landmarks: list[tuple[float, float]] | None = None) -> bool:
    marks = None if landmarks is None else np.array(landmarks, np.float32)
    return is_covered(Face(0.9, box, marks), masks, WIDTH, HEIGHT)


def _mask(box: Box, shape: Shape, cells: tuple[int, int], *, smooth: bool = False, fine: int = 1) -> Mask:
    tracked = TrackedRegion(7, FaceRegion(box, 1.0), seen=True, born=True, last=False)
    return Mask(tracked, box, shape, torch.zeros(3, *cells), smooth=smooth, fine=fine)


def _rectangle(x0: float, y0: float, x1: float, y1: float) -> Mask:
    return _mask(Box(x0, y0, x1, y1), Shape.RECTANGLE, (6, 6))


MASKS = [
    _mask(Box(20.3, 30.7, 80.2, 100.1), Shape.ELLIPSE, (8, 7)),
    _mask(Box(-20, 10, 30, 70), Shape.ELLIPSE, (8, 7)),
    _mask(Box(90, 60, 150, 140), Shape.ELLIPSE, (6, 6), smooth=True),
    _mask(Box(100, 5, 140, 50), Shape.ELLIPSE, (1, 1)),
    _mask(Box(60, 2, 90, 40), Shape.RECTANGLE, (4, 4)),
    _mask(Box(100, 5, 140, 50), Shape.ELLIPSE, (12, 12), fine=2),
]


@pytest.mark.parametrize("mask", MASKS)
def test_painted_pixels_are_those_that_paint_changes(mask: Mask) -> None:
    frame = noise_frame(0, "gray")
    frame.planes[0].fill_(255)
    paint(frame, [mask], conversion(frame.pix_fmt, frame.colour, WIDTH, HEIGHT))
    changed = frame.planes[0].numpy() != 255
    assert changed.any()
    part = Box(10, 20, 130, 110)
    told = painted_pixels([mask], part, WIDTH, HEIGHT)
    assert (told == changed[20:110, 10:130]).all()


def test_the_record_of_masks_gives_back_what_was_painted() -> None:
    book = PaintedMasks()
    frames = [Masked(noise_frame(i), tuple(MASKS[:i])) for i in (3, 5, 6)]
    assert list(book.listen(iter(frames))) == frames
    assert book.on_frame(4) == []
    for item in frames:
        found = book.on_frame(item.frame.index)
        assert [mask.track for mask in found] == [7] * item.frame.index
        for mask, painted in zip(item.masks, found, strict=True):
            whole = Box(0, 0, WIDTH, HEIGHT)
            wanted = painted_pixels([mask], whole, WIDTH, HEIGHT)
            assert (painted_pixels([painted.mask], whole, WIDTH, HEIGHT) == wanted).mean() > 0.999
    assert [mask.shows_face for mask in book.on_frame(6)] == [True, True, True, False, True, True]


def test_masks_of_nobody_s_colours_show_nobody() -> None:
    book = PaintedMasks(of_faces=False)
    list(book.listen(iter([Masked(noise_frame(0), tuple(MASKS))])))
    assert not any(mask.shows_face for mask in book.on_frame(0))


def test_four_fifths_of_a_face_must_be_under_masks() -> None:
    face = Box(20, 20, 60, 60)
    assert _covered(face, [_rectangle(20, 20, 60, 52.5)])
    assert not _covered(face, [_rectangle(20, 20, 60, 50.9)])
    assert not _covered(face, [])
    assert not _covered(Box(0, 0, 100, 100), [_rectangle(10, 10, 60, 60)])


def test_two_masks_cover_a_face_together() -> None:
    halves = [_rectangle(20, 20, 40, 60), _rectangle(40, 20, 60, 60)]
    assert _covered(Box(20, 20, 60, 60), halves)
    assert not _covered(Box(20, 20, 60, 60), halves[:1])


def test_the_corners_of_an_ellipse_cover_nothing() -> None:
    drawn = [_mask(Box(10, 10, 110, 110), Shape.ELLIPSE, (1, 1), smooth=True)]
    assert not _covered(Box(7, 7, 113, 113), drawn)
    assert _covered(Box(20, 20, 100, 100), drawn)


def test_an_eye_beside_the_mask_is_not_covered() -> None:
    mask = [_rectangle(26, 20, 60, 60)]
    assert _covered(Box(20, 20, 60, 60), mask, [(30, 30), (50, 30), (40, 40)])
    assert not _covered(Box(20, 20, 60, 60), mask, [(24, 30), (50, 30), (40, 40)])


def test_what_lies_beyond_the_picture_does_not_count() -> None:
    assert _covered(Box(-30, 20, 10, 60), [_rectangle(0, 20, 10, 60)], [(-10, 30), (5, 30)])
    assert _covered(Box(-30, 20, -5, 60), [])
