"""Mosaics of the picture as it is, and of the picture at half and at a third of its size.

Footage is scaled after it was pixelated: edited in one size and published in another, or enlarged. Then the
edges between cells are no longer one pixel wide, and ``steps`` takes them for those of a camera. In a smaller
picture they are one pixel wide again. Smaller pictures are looked at without what larger ones surely show
(what lies on a codec's lattice may be its blocks on an edge or two of a large mosaic). Regions found there
are brought back to px of the picture, their lattices laid where most of its edges are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.config import FindConfig
from pipeline.mosaic import clean
from pipeline.mosaic import single_scale as single
from pipeline.mosaic.edges import turned
from pipeline.mosaic.evidence import lines
from pipeline.mosaic.multi_frame import Pool
from pipeline.mosaic.score import RISE, rise_and_rest
from pipeline.mosaic.screening_cuda import Luma, shrunk
from pipeline.mosaic.single_scale import SURE, apart, codec_axes, overlaps
from pipeline.types import Axis, Box, Grid, MosaicRegion, Shape, Strips

_LEVELS = (2, 3)
_MIN_CELLS = 6
"""Fewest cells across and down at half the size and below: a corner of nested picture frames has four lines
each way."""
_MIN_PITCH_PX = 5.0
"""Of the smaller picture; a lattice of 4 px cells fits much that is small."""
_SMALLER = 0.8
"""What a region of a smaller picture counts: the picture itself shows its sides better, if it does."""
_FLAT = 0.5
"""What neighbours differ by away from the lines, over what they do beside them: up to 0.27 on 30 frames of
training clips that were enlarged after pixelation, from 0.63 on where cells of half or a third of the pitch
are seen as one, in mosaics as in gingham."""
_CLIP = 40
"""Grey levels; a few strong edges must not outweigh all others."""
_ON_LINE = 0.05
"""Cells; a side this near a line of its lattice stays on it."""


def find(
    luma: Luma,
    settings: FindConfig,
    expected: Sequence[MosaicRegion] = (),
    pool: Pool | None = None,
    *,
    smaller: bool = True,
) -> list[MosaicRegion]:
    """``single.find`` at all levels; ``smaller``: new ones are looked for below the picture's own size, too.

    ``luma`` is (H, W) uint8, C-contiguous, or on a device.
    """
    found = single.find(luma, settings, [e for e in expected if e.level == 1], pool)
    for level in _levels(luma):
        sure = [r for r in found if r.score >= SURE and codec_axes(r) == 0]
        known = [e for e in expected if e.level == level and _is_free(e, sure)]
        if not (smaller or known):
            continue
        small = shrunk(luma, level)
        scaled = [_scaled(e, 1 / level) for e in known]
        if smaller:
            without = [_box(r.box, 1 / level) for r in sure]
            regions = single.find(small, _at(settings, level), scaled, None, without)
        else:
            regions = [r for e in scaled if (r := single.again(small, e, _at(settings, level))) is not None]
        enlarged = (_enlarged(luma, r, level) for r in regions if _is_wide(r.grid))
        found += [r for r in enlarged if _has_cells(luma, r)]
    return apart(found, lambda r: 1.0 if r.level == 1 else _SMALLER)


def again(luma: Luma, expected: MosaicRegion, settings: FindConfig) -> MosaicRegion | None:
    """The expected mosaic, if the picture, (H, W) uint8, shows enough of it at the level of the region."""
    level = expected.level
    if level == 1:
        return single.again(luma, expected, settings)
    region = single.again(shrunk(luma, level), _scaled(expected, 1 / level), _at(settings, level))
    if region is None or not _is_wide(region.grid):
        return None
    enlarged = _enlarged(luma, region, level)
    return enlarged if _has_cells(luma, enlarged) else None


def read_grid(luma: Luma, box: Box, settings: FindConfig) -> Grid | None:
    """``single.read_grid`` at the first level that shows one."""
    grid = single.read_grid(luma, box, settings)
    for level in _levels(luma):
        if grid is not None:
            break
        small = single.read_grid(shrunk(luma, level), _box(box, 1 / level), _at(settings, level))
        if small is not None:
            laid = _laid(luma, box, _grid(small, level), level)
            read = MosaicRegion(box, Shape.RECTANGLE, small.confidence, laid, level=level)
            if _is_wide(small) and _has_cells(luma, read):
                grid = laid
    return grid


def is_bare(luma: Luma, region: MosaicRegion) -> bool:
    """True where the picture plainly shows no mosaic in the place of one of frames around it."""
    if region.grid is None:
        return False
    scale = 1 / region.level
    return clean.is_bare(shrunk(luma, region.level), _box(region.box, scale), _grid(region.grid, scale))


def _levels(luma: Luma) -> list[int]:
    """Those at which the picture could hold a mosaic."""
    return [k for k in _LEVELS if min(luma.shape) >= k * _MIN_CELLS * _MIN_PITCH_PX]


def _at(settings: FindConfig, level: int) -> FindConfig:
    cells = max(settings.min_cells, _MIN_CELLS)
    return settings.model_copy(update={"min_cells": cells, "max_cell_px": settings.max_cell_px / level})


def _is_wide(grid: Grid | None) -> bool:
    return grid is not None and min(grid.x.pitch, grid.y.pitch) >= _MIN_PITCH_PX


def _has_cells(luma: Luma, region: MosaicRegion) -> bool:
    """True where the picture itself has cells between the lines, which a smaller one may have made of less:
    flat ones, and the lines part them. (Joints of bricks part what is alike.)"""
    height, width = luma.shape
    x0, y0, x1, y1 = region.box.pixels(width, height)
    if region.grid is None or min(x1 - x0, y1 - y0) <= 2 * region.level + 2:
        return False
    part = np.asarray(luma[y0:y1, x0:x1])
    across = rise_and_rest(part, lines(region.grid.x, width) - x0, region.level + 1)
    down = rise_and_rest(turned(part), lines(region.grid.y, height) - y0, region.level + 1)
    return min(across[0], down[0]) > RISE and max(across[1], down[1]) < _FLAT


def _is_free(region: MosaicRegion, taken: Sequence[MosaicRegion]) -> bool:
    return not any(overlaps(region.box, other.box) for other in taken)


def _box(box: Box, scale: float) -> Box:
    return Box(box.x0 * scale, box.y0 * scale, box.x1 * scale, box.y1 * scale)


def _grid(grid: Grid, scale: float) -> Grid:
    x, y = (Axis(a.pitch * scale, a.origin * scale) for a in (grid.x, grid.y))
    return replace(grid, x=x, y=y)


def _scaled(region: MosaicRegion, scale: float) -> MosaicRegion:
    """In px of the picture at ``scale``; without strips."""
    grid = None if region.grid is None else _grid(region.grid, scale)
    return replace(region, box=_box(region.box, scale), grid=grid, strips=(None, None))


def _enlarged(luma: Luma, region: MosaicRegion, level: int) -> MosaicRegion:
    """In px of the picture, from one of 1 / ``level`` of its size."""
    height, width = luma.shape
    box = _box(region.box, level)
    # the last row and column of an odd size are lost on the way
    x1 = float(width) if box.x1 > width - level else box.x1
    y1 = float(height) if box.y1 > height - level else box.y1
    box = replace(box, x1=x1, y1=y1)
    columns, rows = (s and Strips(s.ends * level, s.odds) for s in region.strips)
    grid = region.grid
    if grid is not None:
        before = _grid(grid, level)
        grid = _laid(luma, box, before, level)
        if region.shape is Shape.RECTANGLE:
            x0, x1 = _sides((box.x0, box.x1), before.x, grid.x, width)
            y0, y1 = _sides((box.y0, box.y1), before.y, grid.y, height)
            box = Box(x0, y0, x1, y1)
    return replace(region, box=box, grid=grid, strips=(columns, rows), level=level)


def _sides(sides: tuple[float, float], before: Axis, after: Axis, size: int) -> tuple[float, float]:
    """Sides that lay on a line of the lattice stay on it, but for those of the picture."""
    moved = []
    for side in sides:
        line = (side - before.origin) / before.pitch
        is_on = abs(line - round(line)) < _ON_LINE and 0.0 < side < size
        moved.append(float(np.ceil(after.origin + round(line) * after.pitch)) if is_on else side)
    return moved[0], moved[1]


def _laid(luma: Luma, box: Box, grid: Grid, level: int) -> Grid:
    """The lattice moved and stretched by up to ``level`` px to where most edges of the box are."""
    height, width = luma.shape
    x0, y0, x1, y1 = box.pixels(width, height)
    if min(x1 - x0, y1 - y0) < 2:
        return grid
    part = np.asarray(luma[y0:y1, x0:x1])
    return replace(grid, x=_best(part, grid.x, x0, level), y=_best(part.T, grid.y, y0, level))


def _best(part: NDArray[np.uint8], axis: Axis, start: int, level: int) -> Axis:
    """``_laid`` along the rows of a part that begins at ``start`` px. A line lies between two pixels; cell k
    has those from ``ceil(origin + k * pitch)`` on, half a pixel later on average."""
    part = np.ascontiguousarray(part)
    edges = np.zeros(part.shape[1] + 1)
    edges[1:-1] = np.minimum(cv2.absdiff(part[:, 1:], part[:, :-1]), _CLIP).mean(axis=0, dtype=np.float64)
    edges = np.convolve(edges, [1 / 3] * 3, "same")
    size = part.shape[1]
    first = np.ceil((start - axis.origin) / axis.pitch)
    numbers = np.arange(first, np.floor((start + size - axis.origin) / axis.pitch) + 1)
    middle = float(numbers.mean()) if numbers.size else 0.0
    reach = max(float(np.ptp(numbers)) / 2 if numbers.size else 0.0, 1.0)
    pitch = axis.pitch + np.linspace(-level, level, 17)[:, None, None] / reach
    place = axis.origin + middle * axis.pitch + np.arange(-level, level + 0.25, 0.25)[None, :, None]
    at = place + (numbers - middle) * pitch - start
    sums = np.interp(at, np.arange(size + 1), edges, 0.0, 0.0).sum(axis=2)
    best = np.argwhere(sums >= sums.max() - 1e-9)
    # among equals the mean
    found = float(pitch[best[:, 0], 0, 0].mean()), float(place[0, best[:, 1], 0].mean())
    return Axis(found[0], found[1] - middle * found[0] - 0.5)
