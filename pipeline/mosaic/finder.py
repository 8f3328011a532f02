"""All mosaics of a picture: at its own size, and in it at half and at a third of its size.

Footage is scaled after it was pixelated: edited in one size and published in another, or enlarged. Then the
edges between cells are no longer one pixel wide, and look like those of a camera. In a smaller picture they
are one pixel wide again. Smaller pictures are searched without what larger ones surely show (what lies on a
codec's grid may be its blocks on an edge or two of a large mosaic). Regions found there are brought back to
px of the picture, their grids laid where most of its edges are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline.config import FindConfig
from pipeline.mosaic.edges import difference_profile, transposed
from pipeline.mosaic.grid_fit import line_pixels
from pipeline.mosaic.multi_frame import EdgeAccumulator
from pipeline.mosaic.rejection import Reject, Rejection, Rule, ignore
from pipeline.mosaic.score import RISE, codec_axes, is_clean_at_scale, rise_and_rest
from pipeline.mosaic.single_scale import (
    SURE_SCORE,
    Look,
    keep_apart,
    look_ahead,
    overlap,
    read_grid_at_scale,
    redetect_at_scale,
)
from pipeline.picture.resize import DeviceLuma, Luma, shrunk
from pipeline.types import Axis, Box, Grid, MosaicRegion, Shape, Strips

_SCALES = (2, 3)
"""Times that smaller pictures are smaller."""
_MIN_CELLS = 6
"""Fewest cells across and down in smaller pictures: nested picture frames have four lines each way."""
_MIN_PITCH_PX = 5.0
"""px of the smaller picture, narrowest cell; a grid of 4 px cells fits much that is small."""
_SMALLER_WEIGHT = 0.8
"""What a region of a smaller picture counts: the picture itself shows its bounds better, if it does."""
_FLAT_REST = 0.5
"""Differences of neighbours away from the lines over those beside them, below which cells are flat; 30 frames
enlarged after pixelation have 0.27 and less, cells read at a half or a third of the pitch 0.63 and more."""
_ON_LINE = 0.05
"""Cells; a side this near a line of its grid stays on it."""


def find_mosaics_in_picture(
    luma: Luma,
    settings: FindConfig,
    expected: Sequence[MosaicRegion] = (),
    accumulator: EdgeAccumulator | None = None,
    *,
    smaller: bool = True,
    reject: Reject = ignore,
) -> list[MosaicRegion]:
    """``find_at_scale`` at all scales; ``smaller``: new ones are looked for in smaller pictures, too.

    ``luma`` is (H, W) uint8, C-contiguous, or on a device.
    """
    at_full_size = [e for e in expected if e.scale == 1]
    look = Look(luma, settings, at_full_size, accumulator)
    looks: dict[int, tuple[list[Box], Look]] = {}
    if smaller and isinstance(luma, DeviceLuma):
        # As a rule nothing is sure but what was expected: then all pictures are looked at in the same copies.
        sure = _sure(look.found)
        looks = {k: (_boxes(sure), _smaller_look(luma, settings, expected, sure, k)) for k in _scales(luma)}
    look_ahead([look, *(small for _, small in looks.values())])
    found = look.regions(reject)
    for scale in _scales(luma):
        sure = _sure(found)
        if smaller:
            boxes, at_scale = looks.get(scale, (None, None))
            if at_scale is None or boxes != _boxes(sure):
                at_scale = _smaller_look(luma, settings, expected, sure, scale)
                look_ahead([at_scale])
            regions = at_scale.regions(_in_picture(reject, scale))
        elif scaled := _known_at(expected, sure, scale):
            regions = list(_redetected(shrunk(luma, scale), scaled, _settings_at(settings, scale)))
        else:
            continue
        found += _back_in_picture(luma, regions, scale, reject)
    return keep_apart(found, lambda r: 1.0 if r.scale == 1 else _SMALLER_WEIGHT, reject)


def _sure(found: Sequence[MosaicRegion]) -> list[MosaicRegion]:
    """Those whose places need no other look."""
    return [r for r in found if r.score >= SURE_SCORE and codec_axes(r) == 0]


def _boxes(regions: Sequence[MosaicRegion]) -> list[Box]:
    return sorted((r.box for r in regions), key=lambda box: (box.x0, box.y0, box.x1, box.y1))


def _known_at(
    expected: Sequence[MosaicRegion], sure: Sequence[MosaicRegion], scale: int
) -> list[MosaicRegion]:
    """Those expected at a scale where nothing else is sure, in px of the smaller picture."""
    return [_shrunk_region(e, scale) for e in expected if e.scale == scale and _is_free(e, sure)]


def _smaller_look(
    luma: Luma,
    settings: FindConfig,
    expected: Sequence[MosaicRegion],
    sure: Sequence[MosaicRegion],
    scale: int,
) -> Look:
    without = [_scaled_box(r.box, 1 / scale) for r in sure]
    known = _known_at(expected, sure, scale)
    return Look(shrunk(luma, scale), _settings_at(settings, scale), known, None, without)


def _redetected(luma: Luma, expected: Sequence[MosaicRegion], settings: FindConfig) -> Iterator[MosaicRegion]:
    for e in expected:
        if (region := redetect_at_scale(luma, e, settings)) is not None:
            yield region


def _back_in_picture(
    luma: Luma, regions: Sequence[MosaicRegion], scale: int, reject: Reject
) -> Iterator[MosaicRegion]:
    """Regions of a smaller picture in px of the picture, those that it shows as well."""
    for region in regions:
        if not _is_wide(region.grid):
            box = _scaled_box(region.box, scale)
            reject(Rejection(box, Rule.NARROW_CELLS, f"wanted {_MIN_PITCH_PX:g} px", scale))
            continue
        enlarged = _enlarged_region(luma, region, scale)
        if _has_cells(luma, enlarged):
            yield enlarged
        else:
            reject(Rejection(enlarged.box, Rule.NO_CELLS, f"score {enlarged.score:.2f}", scale))


def _in_picture(reject: Reject, scale: int) -> Reject:
    """``reject`` for candidates in px of a smaller picture."""
    return lambda r: reject(replace(r, box=_scaled_box(r.box, scale), scale=scale))


def redetect_in_picture(luma: Luma, expected: MosaicRegion, settings: FindConfig) -> MosaicRegion | None:
    """The expected mosaic, if the picture, (H, W) uint8, shows enough of it at the scale of the region."""
    scale = expected.scale
    if scale == 1:
        return redetect_at_scale(luma, expected, settings)
    small = shrunk(luma, scale)
    region = redetect_at_scale(small, _shrunk_region(expected, scale), _settings_at(settings, scale))
    if region is None or not _is_wide(region.grid):
        return None
    enlarged = _enlarged_region(luma, region, scale)
    return enlarged if _has_cells(luma, enlarged) else None


def read_grid_in_picture(luma: Luma, box: Box, settings: FindConfig) -> Grid | None:
    """``read_grid_at_scale`` at the first scale that shows a grid."""
    grid = read_grid_at_scale(luma, box, settings)
    for scale in _scales(luma):
        if grid is not None:
            break
        small_box = _scaled_box(box, 1 / scale)
        small = read_grid_at_scale(shrunk(luma, scale), small_box, _settings_at(settings, scale))
        if small is not None:
            laid = _laid(luma, box, _scaled_grid(small, scale), scale)
            read = MosaicRegion(box, Shape.RECTANGLE, small.confidence, laid, scale=scale)
            if _is_wide(small) and _has_cells(luma, read):
                grid = laid
    return grid


def is_clean_in_picture(luma: Luma, region: MosaicRegion) -> bool:
    """True where the picture plainly shows no mosaic in the place of one of frames around it."""
    if region.grid is None:
        return False
    by = 1 / region.scale
    small = shrunk(luma, region.scale)
    return is_clean_at_scale(small, _scaled_box(region.box, by), _scaled_grid(region.grid, by))


def _scales(luma: Luma) -> list[int]:
    """Those at which the picture could hold a mosaic."""
    return [k for k in _SCALES if min(luma.shape) >= k * _MIN_CELLS * _MIN_PITCH_PX]


def _settings_at(settings: FindConfig, scale: int) -> FindConfig:
    cells = max(settings.min_cells, _MIN_CELLS)
    return settings.model_copy(update={"min_cells": cells, "max_cell_px": settings.max_cell_px / scale})


def _is_wide(grid: Grid | None) -> bool:
    return grid is not None and min(grid.x.pitch, grid.y.pitch) >= _MIN_PITCH_PX


def _has_cells(luma: Luma, region: MosaicRegion) -> bool:
    """True where the picture itself has cells between the lines, which a smaller one may have made of less:
    flat ones, and the lines part them. (Joints of bricks part what is alike.)"""
    height, width = luma.shape
    x0, y0, x1, y1 = region.box.pixels(width, height)
    if region.grid is None or min(x1 - x0, y1 - y0) <= 2 * region.scale + 2:
        return False
    part = np.asarray(luma[y0:y1, x0:x1])
    across = rise_and_rest(part, line_pixels(region.grid.x, width) - x0, region.scale + 1)
    down = rise_and_rest(transposed(part), line_pixels(region.grid.y, height) - y0, region.scale + 1)
    return min(across[0], down[0]) > RISE and max(across[1], down[1]) < _FLAT_REST


def _is_free(region: MosaicRegion, taken: Sequence[MosaicRegion]) -> bool:
    return not any(overlap(region.box, other.box) for other in taken)


def _scaled_box(box: Box, by: float) -> Box:
    return Box(box.x0 * by, box.y0 * by, box.x1 * by, box.y1 * by)


def _scaled_grid(grid: Grid, by: float) -> Grid:
    x, y = (Axis(a.pitch * by, a.origin * by) for a in (grid.x, grid.y))
    return replace(grid, x=x, y=y)


def _shrunk_region(region: MosaicRegion, scale: int) -> MosaicRegion:
    """In px of the picture at 1 / ``scale`` of its size; without strips."""
    by = 1 / scale
    grid = None if region.grid is None else _scaled_grid(region.grid, by)
    return replace(region, box=_scaled_box(region.box, by), grid=grid, strips=(None, None))


def _enlarged_region(luma: Luma, region: MosaicRegion, scale: int) -> MosaicRegion:
    """In px of the picture, from one of 1 / ``scale`` of its size."""
    height, width = luma.shape
    box = _scaled_box(region.box, scale)
    # the last row and column of an odd size are lost on the way
    x1 = float(width) if box.x1 > width - scale else box.x1
    y1 = float(height) if box.y1 > height - scale else box.y1
    box = replace(box, x1=x1, y1=y1)
    columns, rows = (s and Strips(s.ends * scale, s.log_odds) for s in region.strips)
    grid = region.grid
    if grid is not None:
        before = _scaled_grid(grid, scale)
        grid = _laid(luma, box, before, scale)
        if region.shape is Shape.RECTANGLE:
            x0, x1 = _sides_on_lines((box.x0, box.x1), before.x, grid.x, width)
            y0, y1 = _sides_on_lines((box.y0, box.y1), before.y, grid.y, height)
            box = Box(x0, y0, x1, y1)
    return replace(region, box=box, grid=grid, strips=(columns, rows), scale=scale)


def _sides_on_lines(sides: tuple[float, float], before: Axis, after: Axis, size: int) -> tuple[float, float]:
    """Sides that lay on a line of the grid stay on it, but for those of the picture."""
    moved = []
    for side in sides:
        line = (side - before.origin) / before.pitch
        is_on = abs(line - round(line)) < _ON_LINE and 0.0 < side < size
        moved.append(float(np.ceil(after.origin + round(line) * after.pitch)) if is_on else side)
    return moved[0], moved[1]


def _laid(luma: Luma, box: Box, grid: Grid, scale: int) -> Grid:
    """The grid moved and stretched by up to ``scale`` px to where most edges of the box are."""
    height, width = luma.shape
    x0, y0, x1, y1 = box.pixels(width, height)
    if min(x1 - x0, y1 - y0) < 2:
        return grid
    part = np.asarray(luma[y0:y1, x0:x1])
    return replace(grid, x=_best_axis(part, grid.x, x0, scale), y=_best_axis(part.T, grid.y, y0, scale))


def _best_axis(part: NDArray[np.uint8], axis: Axis, start: int, scale: int) -> Axis:
    """``_laid`` along the rows of a part that begins at ``start`` px. A line lies between two pixels; cell k
    has those from ``ceil(origin + k * pitch)`` on, half a pixel later on average."""
    part = np.ascontiguousarray(part)
    edges = np.zeros(part.shape[1] + 1)
    edges[1:-1] = difference_profile(part)
    edges = np.convolve(edges, [1 / 3] * 3, "same")
    size = part.shape[1]
    first = np.ceil((start - axis.origin) / axis.pitch)
    numbers = np.arange(first, np.floor((start + size - axis.origin) / axis.pitch) + 1)
    middle = float(numbers.mean()) if numbers.size else 0.0
    reach = max(float(np.ptp(numbers)) / 2 if numbers.size else 0.0, 1.0)
    pitch = axis.pitch + np.linspace(-scale, scale, 17)[:, None, None] / reach
    place = axis.origin + middle * axis.pitch + np.arange(-scale, scale + 0.25, 0.25)[None, :, None]
    at = place + (numbers - middle) * pitch - start
    sums = np.interp(at, np.arange(size + 1), edges, 0.0, 0.0).sum(axis=2)
    best = np.argwhere(sums >= sums.max() - 1e-9)
    # among equals the mean
    found = float(pitch[best[:, 0], 0, 0].mean()), float(place[0, best[:, 1], 0].mean())
    return Axis(found[0], found[1] - middle * found[0] - 0.5)
