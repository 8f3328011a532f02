"""Cells of CenterFace's maps become faces: one per peak, placed by the peak and its neighbours."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.faces import Face
from pipeline.faces.centerface import STRIDE, decoded


def faces_of(cells: dict[tuple[int, int], float], side_px: float, spread_px: float = 0.0) -> list[Face]:
    """Faces of a map whose ``cells`` (y, x) have these scores; each says that the face is ``side_px`` and
    lies in its own middle, moved right by ``spread_px`` times its score."""
    scores = np.array(list(cells.values()), np.float32)
    ys, xs = (np.array(x) for x in zip(*cells, strict=True))
    values: NDArray[np.float32] = np.zeros((14, len(scores)), np.float32)
    values[:2] = np.log(side_px / STRIDE)
    values[3] = spread_px * scores / STRIDE
    values[4:] = 0.5
    return decoded(scores, ys, xs, values)


def middle(cell: int) -> float:
    return (cell + 0.5) * STRIDE


def test_a_small_face_that_several_cells_see_is_one_between_them() -> None:
    # Boxes of 6 px one cell apart overlap by a fifth, which is below SAME_FACE_IOU.
    (face,) = faces_of({(5, 7): 0.6, (5, 8): 0.2}, side_px=6)
    assert face.score == pytest.approx(0.6)
    x, y = face.box.centre
    assert (x, y) == pytest.approx((0.75 * middle(7) + 0.25 * middle(8), middle(5)))
    assert face.box.width == pytest.approx(6)
    assert face.landmarks is not None and face.landmarks[0] == pytest.approx((x, y))


def test_small_faces_side_by_side_stay_two() -> None:
    found = faces_of({(5, 7): 0.6, (5, 8): 0.1, (5, 9): 0.5}, side_px=6)
    assert [round(f.score, 2) for f in found] == [0.6, 0.5]


def test_of_overlapping_boxes_the_better_stays() -> None:
    (face,) = faces_of({(5, 7): 0.6, (5, 8): 0.3, (5, 9): 0.5}, side_px=40)
    assert face.score == pytest.approx(0.6)


def test_cells_of_one_score_and_single_ones() -> None:
    assert faces_of({(0, 0): 0.4}, side_px=8)[0].box.centre == pytest.approx((middle(0), middle(0)))
    (face,) = faces_of({(3, 3): 0.4, (3, 4): 0.4}, side_px=8)  # both are peaks; their means are the same
    assert face.box.centre[0] == pytest.approx((middle(3) + middle(4)) / 2)


def test_many_cells_take_little_memory() -> None:
    """A picture in which every cell sees a face, as noise may."""
    heat = np.random.default_rng(1).uniform(0.15, 0.9, (90, 120)).astype(np.float32)
    cells = {(y, x): float(heat[y, x]) for y, x in np.ndindex(90, 120)}
    found = faces_of(cells, side_px=6, spread_px=2)
    peaks = heat == cv2.dilate(heat, np.ones((3, 3), np.uint8))
    assert len(found) == peaks.sum()
