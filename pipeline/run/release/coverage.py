"""Whether a face lies under the masks, by the pixels that were painted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.faces import Face
from pipeline.picture.grid_paint import Outline, painted_pixels
from pipeline.types import Box

COVERED_SHARE = 0.8
"""Of a face's box that lies under the masks, from which the face is covered if its landmarks do, too."""


def is_covered(face: Face, masks: Sequence[Outline], width: int, height: int) -> bool:
    """Whether enough of a face, and all its landmarks, lie under masks, several together, on a picture of
    ``width`` x ``height`` px. What lies beyond the picture does not count."""
    box = _around(face)
    x0, y0, x1, y1 = box.pixels(width, height)
    if x0 >= x1 or y0 >= y1:
        return True
    painted = painted_pixels(masks, box, width, height)
    left, top, right, bottom = face.box.pixels(width, height)
    inner = painted[top - y0 : bottom - y0, left - x0 : right - x0]
    if inner.size and float(inner.mean()) < COVERED_SHARE:
        return False
    if face.landmarks is None:
        return True
    columns, rows = np.floor(face.landmarks.astype(np.float64)).astype(int).T
    inside = (columns >= x0) & (columns < x1) & (rows >= y0) & (rows < y1)
    return bool(painted[rows[inside] - y0, columns[inside] - x0].all())


def _around(face: Face) -> Box:
    """The box with the landmarks that lie beyond it."""
    if face.landmarks is None:
        return face.box
    (x0, y0), (x1, y1) = face.landmarks.min(0).tolist(), face.landmarks.max(0).tolist()
    return face.box.hull(Box(x0, y0, x1 + 1, y1 + 1))
