"""Whether a face lies under the masks, by the pixels that are painted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.faces import Face
from pipeline.picture.color import conversion
from pipeline.picture.grid_paint import paint
from pipeline.types import Box, Colour, Frame, Mask

COVERED_SHARE = 0.8
"""Of a face's box that lies under the masks, from which the face is covered if its landmarks do, too."""
_GREY = Colour("unknown", "pc", "unknown", "unknown")
_WHITE = 255


def is_covered(face: Face, masks: Sequence[Mask], width: int, height: int) -> bool:
    """Whether enough of a face, and all its landmarks, lie under masks, several together, on a picture of
    ``width`` x ``height`` px. What lies beyond the picture does not count. ``masks`` are black."""
    around = _around(face)
    x0, y0, x1, y1 = around.pixels(width, height)
    if x0 >= x1 or y0 >= y1:
        return True
    painted = painted_pixels(masks, around, width, height)
    left, top, right, bottom = face.box.pixels(width, height)
    inner = painted[top - y0 : bottom - y0, left - x0 : right - x0]
    if inner.size and float(inner.mean()) < COVERED_SHARE:
        return False
    if face.landmarks is None:
        return True
    columns, rows = np.floor(face.landmarks.astype(np.float64)).astype(int).T
    inside = (columns >= x0) & (columns < x1) & (rows >= y0) & (rows < y1)
    return bool(painted[rows[inside] - y0, columns[inside] - x0].all())


def painted_pixels(masks: Sequence[Mask], part: Box, width: int, height: int) -> NDArray[np.bool_]:
    """(rows, columns): which pixels of a part of a picture masks change, all of them together, as the run
    paints them. ``part`` (px) is clipped to the picture of ``width`` x ``height``; ``masks`` are black."""
    x0, y0, x1, y1 = part.pixels(width, height)
    plane = torch.full((max(y1 - y0, 0), max(x1 - x0, 0)), _WHITE, dtype=torch.uint8)
    near = [_moved(mask, x0, y0) for mask in masks if (mask.area or mask.box).covered(part) > 0]
    if plane.numel() and near:
        frame = Frame(0, 0, (plane,), "gray", _GREY, Fraction(1), key=True)
        paint(frame, near, conversion("gray", _GREY, x1 - x0, y1 - y0))
    return np.asarray(plane.numpy() != _WHITE)


def _moved(mask: Mask, x: int, y: int) -> Mask:
    """By whole pixels, so that cells have the pixels that they had."""
    area = None if mask.area is None else _shifted(mask.area, x, y)
    return replace(mask, box=_shifted(mask.box, x, y), area=area)


def _shifted(box: Box, x: int, y: int) -> Box:
    return Box(box.x0 - x, box.y0 - y, box.x1 - x, box.y1 - y)


def _around(face: Face) -> Box:
    """The box with the landmarks that lie beyond it."""
    if face.landmarks is None:
        return face.box
    (x0, y0), (x1, y1) = face.landmarks.min(0).tolist(), face.landmarks.max(0).tolist()
    return face.box.hull(Box(x0, y0, x1 + 1, y1 + 1))
