"""A mosaic of the frame before, looked for in this one: the same grid, moved, or resized by a little.

A few pitches are tried instead of all, around the place where the mosaic was instead of everywhere: that is
cheaper than finding it, and fainter evidence is enough. The evidence is this frame's alone, so a mosaic that
is gone is not found again.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

from pipeline.mosaic.bounds import find_bounds
from pipeline.mosaic.edges import PixelBox, soft_edges
from pipeline.mosaic.evidence import Evidence, PartGrid
from pipeline.mosaic.grid_fit import LINE_LIMIT, NEAR_WEIGHTS, SQUARE, LineGrid, fit_near, refit, subdivide
from pipeline.mosaic.outline import outline
from pipeline.mosaic.region import describe_region
from pipeline.mosaic.score import score_region
from pipeline.picture.resize import Luma
from pipeline.types import Axis, Box, Grid, MosaicRegion

_REACH_PX = 24
"""px that the sides may have moved; a cell more is looked at beyond."""
_CODEC_PX = 8
"""px; parts begin at multiples of it, as the score knows a codec's grid by where it lies in the part."""
_SAME_PLACE = 0.5
"""IoU with the box before from which it is the same mosaic."""
_MOVED_PX = 3.0
"""px that a line grid may have moved which one axis hardly shows."""
_GAIN_PER_PX = 0.02
"""Share of edges that such a grid must gain per px of its move."""


def verify_mosaic(luma: Luma, box: Box, grid: Grid) -> MosaicRegion | None:
    """The mosaic that was at ``box`` with ``grid``, where it is in this picture, or None.

    ``luma`` is (H, W) uint8. How much of a score is enough is for the caller to say.
    """
    region = _redetect(luma, box, grid, same=True)
    return region if region is not None and region.box.iou(box) >= _SAME_PLACE else None


def locate_mosaic(luma: Luma, box: Box, grid: Grid) -> MosaicRegion | None:
    """The mosaic of about the cells of ``grid`` that has a part in ``box``, or None; else as
    ``verify_mosaic``."""
    return _redetect(luma, box, grid, same=False)


def looked_at(box: Box, grid: Grid, width: int, height: int) -> PixelBox:
    """The part of a picture in which a mosaic of a box and a grid is looked for."""
    reach_x, reach_y = (_REACH_PX + round(a.pitch) for a in (grid.x, grid.y))
    x0, y0, x1, y1 = box.pixels(width, height)
    left, top = (max(v, 0) // _CODEC_PX * _CODEC_PX for v in (x0 - reach_x, y0 - reach_y))
    return left, top, min(x1 + reach_x, width), min(y1 + reach_y, height)


def _redetect(luma: Luma, box: Box, grid: Grid, *, same: bool) -> MosaicRegion | None:
    """``locate_mosaic``; ``same``: one axis may show too little of its lines, which are where they were."""
    height, width = luma.shape
    x0, y0, x1, y1 = box.pixels(width, height)
    if x0 >= x1 or y0 >= y1:
        return None
    left, top, right, bottom = looked_at(box, grid, width, height)
    evidence = Evidence.from_luma(luma[top:bottom, left:right])
    across, down = evidence.profiles((x0 - left, y0 - top, x1 - left, y1 - top))
    rows, cols = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
    x = fit_near(across, y1 - y0, grid.x, lambda: _soft_profile(evidence.luma[rows], 1))
    y = fit_near(down, x1 - x0, grid.y, lambda: _soft_profile(evidence.luma[:, cols], 0))
    if same and x is None and y is not None:
        x = _moved(across, y1 - y0, grid.x, left)
    elif same and y is None and x is not None:
        y = _moved(down, x1 - x0, grid.y, top)
    if x is None or y is None:
        return None
    if not same:
        x, y = _subdivided(evidence, x, y, (rows, cols))
    found_grid = PartGrid.over(evidence, x, y)
    found = find_bounds(evidence, found_grid)
    if found is None:
        return None
    score = score_region(evidence, found_grid, found)
    outlined = outline(evidence, found_grid, found)
    return describe_region(evidence, found_grid, outlined, found.strips, score, (left, top))


def _moved(profile: NDArray[np.float64], rows: int, axis: Axis, start: int) -> LineGrid:
    """The line grid of ``axis`` moved by up to _MOVED_PX to where it collects most edges; among equals, less.

    The profile begins at ``start`` px of the picture.
    """
    size = len(profile)
    earn = np.convolve(np.minimum(profile, LINE_LIMIT * rows), NEAR_WEIGHTS, "same")
    origin = (axis.origin - start) % axis.pitch
    lines = max(int((size - 1 - origin) / axis.pitch), 3)
    moved = np.arange(-_MOVED_PX, _MOVED_PX + 0.25, 0.5)
    at = np.ceil(origin + moved[:, None] + np.arange(1, lines) * axis.pitch).astype(int)
    edges = np.where((at >= 0) & (at < size), earn[np.clip(at, 0, size - 1)], 0.0).sum(axis=1)
    best = moved[int((edges * (1.0 - _GAIN_PER_PX * np.abs(moved))).argmax())]
    return LineGrid(axis.pitch, origin + float(best), lines, 0.0, 0.0, 0.0, 0.0)


def _soft_profile(part: NDArray[np.uint8], axis: int) -> NDArray[np.float64]:
    """Soft edges per column (axis 1) or row of a part; each counts where it is and on either side."""
    counts = soft_edges(part, axis).sum(axis=1 - axis, dtype=np.float64)
    return np.asarray(maximum_filter1d(counts, 3))


def _subdivided(
    evidence: Evidence, x: LineGrid, y: LineGrid, part: tuple[slice, slice]
) -> tuple[LineGrid, LineGrid]:
    """Both line grids, or finer ones whose lines between are hard to see, if they make cells square.

    ``part``: rows and columns.
    """
    rows, cols = part
    across, down = evidence.profiles((cols.start, rows.start, cols.stop, rows.stop))
    fine_x, fine_y = x, y
    found = subdivide(x, evidence.luma[rows], 1, (cols.start, cols.stop), y.pitch)
    if found.pitch != x.pitch:
        fine_x = refit(across, rows.stop - rows.start, found.pitch, found.origin) or x
    found = subdivide(y, evidence.luma[:, cols], 0, (rows.start, rows.stop), fine_x.pitch)
    if found.pitch != y.pitch:
        fine_y = refit(down, cols.stop - cols.start, found.pitch, found.origin) or y
    is_square = max(fine_x.pitch, fine_y.pitch) <= SQUARE * min(fine_x.pitch, fine_y.pitch)
    return (fine_x, fine_y) if is_square else (x, y)
