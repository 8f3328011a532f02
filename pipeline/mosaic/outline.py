"""Rectangle or ellipse: the outline that holds the most evidence."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.mosaic.bounds import ACTIVE_COST, Bounds
from pipeline.mosaic.edges import PixelBox
from pipeline.mosaic.evidence import Evidence, PartGrid
from pipeline.types import Shape

_STEPS_PX = (8, 3, 1)
"""px that a side is moved by, coarse to fine; a cell comes before where it is wider."""
_FINE_STEPS_PX = (2, 1)
"""px, the same in the last search for an ellipse."""
_MOVES = np.concatenate([np.eye(4, dtype=np.int64), -np.eye(4, dtype=np.int64)])
"""One side of a box moved by a pixel, out or in."""
_LEAST_PX = 4
"""px, smallest outline."""
_MISS_COST = 0.35
"""What a pixel of a line without an edge costs, in the mosaic's own share of edges."""
_LEAST_MISS, _MOST_MISS = 0.04, 0.25
"""Bounds of that cost, in edges."""
_ACTIVE_FACTOR, _ACTIVE_SHARE = 1.5, 0.05
"""Share of active pixels that costs nothing: this many times the mosaic's, and this more."""
_SAME_AREA = 0.06
"""Share of a rectangle's side by which an ellipse of the same area reaches farther on each side."""
_DEEP_PX = 3
"""px within the outline from which pixels are surely of the mosaic and say what their cells hold."""
_UNLIKE = 3.0
_UNLIKE_PX = 2.0
"""A pixel this many mean deviations, and grey levels more, from the value of its cell is none of the cell."""
_ALIKE = 0.25
"""0..1, what a pixel must be like its cell to count."""
_FINE_REACH_PX = 3
"""px that a side may move by that: flat surroundings may be like the cells beside them for longer."""
_PREFER_ELLIPSE = 1.02
"""An ellipse must hold this many times the evidence of the best rectangle."""


def _pixel_evidence(evidence: Evidence, grid: PartGrid, found: Bounds) -> NDArray[np.float32]:
    """(H, W): what each pixel says for the mosaic; edges on the grid for, misses and activity against."""
    xs, ys = grid.xs, grid.ys
    x0, y0, x1, y1 = found.box
    inner_x, inner_y = grid.within(found.box)
    usual = (grid.vertical[y0:y1, inner_x].mean() + grid.horizontal[inner_y, x0:x1].mean()) / 2
    miss = float(np.clip(_MISS_COST * usual, _LEAST_MISS, _MOST_MISS))
    weight = np.zeros(evidence.size, dtype=np.float32)
    weight[:, xs] += grid.vertical[:, xs] - miss
    weight[ys] += grid.horizontal[ys] - miss
    between = np.ones(evidence.size, dtype=np.float32)
    between[:, xs] = between[ys] = 0.0
    size = (max(3, round(grid.x.pitch / 2)), max(3, round(grid.y.pitch / 2)))
    active = cv2.boxFilter(evidence.active * between, -1, size, normalize=True)
    share = active / np.maximum(cv2.boxFilter(between, -1, size, normalize=True), 1e-3)
    excess = np.maximum(share - np.float32(_ACTIVE_FACTOR * found.active + _ACTIVE_SHARE), 0.0)
    return np.asarray(weight - np.float32(ACTIVE_COST) * excess * between)


def _held(total: NDArray[np.float64], boxes: NDArray[np.int64], shape: Shape) -> NDArray[np.float64]:
    """(n,): evidence in n outlines, ``boxes`` (n, 4); ``total`` (H, W + 1) are its running sums along
    rows."""
    height, width = total.shape[0], total.shape[1] - 1
    x0, y0, x1, y1 = boxes.T[:, :, None]
    rows = np.arange(max(int(y0.min()), 0), min(int(y1.max()), height))
    v = (rows + 0.5 - (y0 + y1) / 2) / np.maximum((y1 - y0) / 2, 1.0)
    half = np.sqrt(np.maximum(1.0 - v * v, 0.0)) if shape is Shape.ELLIPSE else np.abs(v) < 1.0
    half = half * ((x1 - x0) / 2)
    middle = (x0 + x1) / 2
    left = np.clip(np.rint(middle - half), 0, width).astype(np.int64)
    right = np.clip(np.rint(middle + half), 0, width).astype(np.int64)
    flat, row = total.ravel(), rows * (width + 1)
    sums = (flat[row + right] - flat[row + left]).sum(axis=1)
    return np.where(((x1 - x0) < _LEAST_PX) | ((y1 - y0) < _LEAST_PX), -np.inf, sums[:, None])[:, 0]


def _climb(
    total: NDArray[np.float64], box: PixelBox, shape: Shape, steps: tuple[int, ...]
) -> tuple[PixelBox, float]:
    """Outline near ``box`` that holds the most, and how much: the side that gains most is moved by ``steps``
    px in turn."""
    here = np.array(box, dtype=np.int64)
    best = float(_held(total, here[None], shape)[0])
    for step in steps:
        while True:
            trials = here + step * _MOVES
            scores = _held(total, trials, shape)
            k = int(scores.argmax())
            if scores[k] <= best + 1e-9:
                break
            here, best = trials[k], float(scores[k])
    x0, y0, x1, y1 = (int(v) for v in here)
    return (x0, y0, x1, y1), best


def _refine_ellipse(evidence: Evidence, grid: PartGrid, box: PixelBox) -> PixelBox:
    """The ellipse with its sides where pixels stop being like the rest of their cells.

    Edges say within some pixels where it ends. Along the outline most cells are cut, and what is left of them
    has the value that they have farther in.
    """
    height, width = evidence.size
    x0, y0, x1, y1 = box
    cell = np.searchsorted(grid.ys, np.arange(height), "right")[:, None] * (len(grid.xs) + 1)
    cell = cell + np.searchsorted(grid.xs, np.arange(width), "right")
    u = (np.arange(width) + 0.5 - (x0 + x1) / 2) / max((x1 - x0) / 2 - _DEEP_PX, 1.0)
    v = (np.arange(height) + 0.5 - (y0 + y1) / 2) / max((y1 - y0) / 2 - _DEEP_PX, 1.0)
    deep = u * u + (v * v)[:, None] <= 1.0
    size = (len(grid.ys) + 1) * (len(grid.xs) + 1)
    count = np.bincount(cell[deep], minlength=size)
    value = np.bincount(cell[deep], evidence.luma[deep], size) / np.maximum(count, 1)
    off = np.abs(evidence.luma - value[cell])
    limit = _UNLIKE * float(off[deep].mean()) + _UNLIKE_PX if deep.any() else _UNLIKE_PX
    alike = np.where(count[cell] > 0, np.clip(1.0 - off / limit, -1.0, 1.0) - _ALIKE, 0.0)
    total = np.zeros((height, width + 1))
    np.cumsum(alike, axis=1, out=total[:, 1:])
    moved, _ = _climb(total, box, Shape.ELLIPSE, _FINE_STEPS_PX)
    x0, y0, x1, y1 = (
        int(np.clip(m, b - _FINE_REACH_PX, b + _FINE_REACH_PX)) for m, b in zip(moved, box, strict=True)
    )
    return x0, y0, x1, y1


def outline(evidence: Evidence, grid: PartGrid, found: Bounds) -> tuple[PixelBox, Shape]:
    """Box inside the part, and shape, of a region that was found.

    The rectangle stays as found; the ellipse starts with the same area.
    """
    height, width = evidence.size
    total = np.zeros((height, width + 1))
    np.cumsum(_pixel_evidence(evidence, grid, found), axis=1, out=total[:, 1:])
    x0, y0, x1, y1 = found.box
    dx, dy = round((x1 - x0) * _SAME_AREA), round((y1 - y0) * _SAME_AREA)
    steps = (max(round((grid.x.pitch + grid.y.pitch) / 2), _STEPS_PX[0]), *_STEPS_PX)
    _, rectangle = _climb(total, found.box, Shape.RECTANGLE, steps)
    box, ellipse = _climb(total, (x0 - dx, y0 - dy, x1 + dx, y1 + dy), Shape.ELLIPSE, steps)
    if ellipse < _PREFER_ELLIPSE * rectangle:
        return found.box, Shape.RECTANGLE
    box = _refine_ellipse(evidence, grid, box)
    return (max(box[0], 0), max(box[1], 0), min(box[2], width), min(box[3], height)), Shape.ELLIPSE
