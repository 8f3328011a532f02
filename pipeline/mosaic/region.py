"""One region of a part of a picture: line grids and bounds fitted in turn, then put in px of the picture.

Line grids over all of the part, bounds, line grids over the bounds, bounds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nets.pixelation import EPS
from pipeline.mosaic.bounds import Bounds, find_bounds, lost_columns
from pipeline.mosaic.edges import PixelBox
from pipeline.mosaic.evidence import Evidence, PartGrid
from pipeline.mosaic.grid_fit import (
    SQUARE,
    LineGrid,
    fit_line_grid,
    fit_near,
    line_pixels,
    refit,
    span,
    subdivide,
    whole_cells,
)
from pipeline.mosaic.sampling import log_odds, sampling_of
from pipeline.mosaic.score import score_region
from pipeline.types import Axis, Box, Grid, MosaicRegion, Shape, Strips

_LOSS_COLUMNS = 1.5
"""Clear columns of a cut cell that a box of whole cells may leave outside."""
_ELLIPSE_EDGE_PX = 1.0
"""px that an ellipse is made wider on each side: pixels that are left out show as a dashed line. Measured on
13 training clips: 0.47 px per px of outline are left out and 1.18 taken in."""


@dataclass(frozen=True, slots=True)
class RegionFit:
    """A grid and its bounds, in px of the part."""

    grid: PartGrid
    bounds: Bounds


def fit_region(evidence: Evidence, max_pitch_px: float) -> RegionFit | None:
    """The region with most edges on a grid, or None. It need not be a mosaic: see ``score_region``."""
    height, width = evidence.size
    across, down = evidence.profiles()
    x = fit_line_grid(across, height, max_pitch_px)
    y = fit_line_grid(down, width, max_pitch_px)
    # The clearer axis says where the region is; there the other one has less of its surroundings in it.
    if y is not None and (x is None or y.gain > x.gain):
        top, bottom = span(y, height)
        x = fit_line_grid(evidence.profiles((0, top, width, bottom))[0], bottom - top, max_pitch_px)
    elif x is not None:
        left, right = span(x, width)
        y = fit_line_grid(evidence.profiles((left, 0, right, height))[1], right - left, max_pitch_px)
    if x is None or y is None:
        return None
    pairs = [(x, y)]
    if max(x.pitch, y.pitch) > SQUARE * min(x.pitch, y.pitch):
        pairs += _square(evidence, x, y)
    fits = [f for a, b in pairs if (f := _fit_pair(evidence, a, b)) is not None]
    return max(fits, key=lambda f: score_region(evidence, f.grid, f.bounds), default=None)


def _square(evidence: Evidence, x: LineGrid, y: LineGrid) -> Iterator[tuple[LineGrid, LineGrid]]:
    """The line grids where both have the pitch of one of them, looked for where that one is."""
    height, width = evidence.size
    left, right = span(x, width)
    top, bottom = span(y, height)
    down = fit_near(evidence.profiles((left, 0, right, height))[1], right - left, Axis(x.pitch, 0.0))
    across = fit_near(evidence.profiles((0, top, width, bottom))[0], bottom - top, Axis(y.pitch, 0.0))
    if down is not None:
        yield x, down
    if across is not None:
        yield across, y


def _fit_pair(evidence: Evidence, x: LineGrid, y: LineGrid) -> RegionFit | None:
    """The region of a pair of line grids, which are fitted again to it."""
    height, width = evidence.size
    first = PartGrid.over(evidence, x, y)
    found = find_bounds(evidence, first)
    if found is None:
        return None
    x0, y0, x1, y1 = found.box
    across, down = evidence.profiles(found.box)
    new_x = _refit(across[x0:x1], y1 - y0, x, x0, evidence.luma[y0:y1], 1, y.pitch)
    if new_x is None:
        return None
    new_y = _refit(down[y0:y1], x1 - x0, y, y0, evidence.luma[:, x0:x1], 0, new_x.pitch)
    if new_y is None:
        return None
    same_xs = np.array_equal(line_pixels(new_x, width), first.xs)
    if same_xs and np.array_equal(line_pixels(new_y, height), first.ys):
        grid = replace(first, x=new_x, y=new_y)
    else:
        grid = PartGrid.over(evidence, new_x, new_y)
    found = find_bounds(evidence, grid)
    return None if found is None else RegionFit(grid, found)


def _refit(
    profile: NDArray[np.float64],
    rows: int,
    before: LineGrid,
    start: int,
    luma: NDArray[np.uint8],
    axis: int,
    other_pitch: float,
) -> LineGrid | None:
    """The line grid fitted again to the profile of the region, which begins at ``start``; subdivided if need
    be."""
    fitted = refit(profile, rows, before.pitch, before.origin - start)
    if fitted is None:
        return None
    whole = (start, start + len(profile))
    finer = subdivide(replace(fitted, origin=fitted.origin + start), luma, axis, whole, other_pitch)
    if finer.pitch != fitted.pitch:
        fitted = refit(profile, rows, finer.pitch, finer.origin - start)
    return None if fitted is None else replace(fitted, origin=fitted.origin + start)


def describe_region(
    evidence: Evidence,
    grid: PartGrid,
    outlined: tuple[PixelBox, Shape],
    strips: tuple[Strips | None, Strips | None],
    score: float,
    offset: tuple[int, int],
) -> MosaicRegion:
    """The region in px of the picture, where the part begins at ``offset`` (x, y).

    Where the box is a whole number of cells it sets pitch and phase, and they its sides, unless a strip of
    cells would be left outside.
    """
    box, shape = outlined
    across, down = evidence.profiles(box)
    whole = shape is Shape.RECTANGLE
    x, (x0, x1) = axis_in_box(across, grid.x, (box[0], box[2]), whole)
    y, (y0, y1) = axis_in_box(down, grid.y, (box[1], box[3]), whole)
    lost_x, lost_y = lost_columns(evidence.luma, grid, box, (x0, y0, x1, y1))
    if lost_x > _LOSS_COLUMNS:
        x, (x0, x1) = axis_in_box(across, grid.x, (box[0], box[2]), False)
    if lost_y > _LOSS_COLUMNS:
        y, (y0, y1) = axis_in_box(down, grid.y, (box[1], box[3]), False)
    dx, dy = offset
    read = grid_in_picture(evidence.luma, x, y, (x0, y0, x1, y1), offset, score)
    edge = 0.0 if whole else _ELLIPSE_EDGE_PX
    outer = Box(x0 + dx - edge, y0 + dy - edge, x1 + dx + edge, y1 + dy + edge)
    columns, rows = strips if whole else (None, None)  # those of an ellipse end elsewhere in each row
    return MosaicRegion(outer, shape, score, read, strips=(_moved(columns, dx), _moved(rows, dy)))


def _moved(strips: Strips | None, by: int) -> Strips | None:
    return None if strips is None else replace(strips, ends=strips.ends + by)


def axis_in_box(
    profile: NDArray[np.float64], grid: LineGrid, sides: tuple[int, int], try_whole: bool
) -> tuple[Axis, tuple[int, int]]:
    """The axis, its cell 0 at the first side, and the sides. ``profile`` is of the whole part.

    ``try_whole``: the box may be a whole number of cells. (An ellipse's sides are too short to show it.)
    """
    whole = whole_cells(profile, grid.pitch, grid.origin, *sides) if try_whole else None
    if whole is not None:
        start, end, cells = whole
        return Axis((end - start) / cells, float(start)), (start, end)
    first = np.floor((sides[0] - grid.origin) / grid.pitch + EPS)
    return Axis(grid.pitch, float(grid.origin + first * grid.pitch)), sides


def grid_in_picture(
    part: NDArray[np.uint8], x: Axis, y: Axis, box: PixelBox, offset: tuple[int, int], confidence: float
) -> Grid:
    """Axes in px of a part as a grid in px of the picture, with its sampling."""
    dx, dy = offset
    odds = log_odds(part, x, y, box)
    moved = replace(x, origin=x.origin + dx), replace(y, origin=y.origin + dy)
    return Grid(*moved, sampling_of(odds), confidence, odds)
