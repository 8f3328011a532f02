"""A mosaic of the frame before, looked for in this one: the same lattice, moved, or resized by a little.

A few pitches are tried instead of all, around the place where the mosaic was instead of everywhere. That is
several times cheaper than finding it, and fainter evidence is enough. The evidence is this
frame's alone: a mosaic that is gone is not found again.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

from pipeline.mosaic import line_grid
from pipeline.mosaic.bounds import extent
from pipeline.mosaic.edges import soft_steps
from pipeline.mosaic.evidence import Evidence, Lattice
from pipeline.mosaic.line_grid import Comb
from pipeline.mosaic.outline import outline
from pipeline.mosaic.region import describe
from pipeline.mosaic.score import rate
from pipeline.mosaic.screening_cuda import Luma
from pipeline.mosaic.subdivide import SQUARE, finest
from pipeline.types import Axis, Box, Grid, MosaicRegion

_REACH_PX = 24
"""How far the sides may have moved; at least a cell is looked at beyond."""
_CODEC_PX = 8
_SAME_PITCH = 0.05
"""Relative. A region that follows a face grows by a few pixels per frame, and resized cells with it."""
_DRIFT_PX = 1.5
"""How far neighbouring pitches that are tried drift apart over the profile."""
_TOLERANT = np.array([0.5, 1.0, 0.5])
"""Weights of a line's pixel and those beside it, while the pitch is about right only."""
_SAME_PLACE = 0.5
"""IoU with the box before from which it is the same mosaic."""
_MOVED_PX, _PER_PX = 3.0, 0.02
"""How far a lattice that one axis hardly shows may have moved, and the share of steps that a px must gain."""
_BETWEEN = 0.5
"""Lines halfway (or at thirds) this full, relative to the lattice's own: its cells are a half or a third."""
_FEW = 0.2
"""Lines this empty, relative to every second (or third) that is full: the cells are twice (three times) as
wide."""


def verify(luma: Luma, box: Box, grid: Grid) -> MosaicRegion | None:
    """The mosaic that was at ``box`` with ``grid``, where it is in this picture, or None.

    ``luma`` is (H, W) uint8. The score is that of ``rate``; how much is enough is for the caller to say.
    """
    region = _look(luma, box, grid, True)
    return region if region is not None and region.box.iou(box) >= _SAME_PLACE else None


def locate(luma: Luma, box: Box, grid: Grid) -> MosaicRegion | None:
    """The mosaic of about the cells of ``grid`` that has a part in ``box``, or None; else as ``verify``."""
    return _look(luma, box, grid, False)


def _look(luma: Luma, box: Box, grid: Grid, same: bool) -> MosaicRegion | None:
    """``locate``; ``same``: one axis may show too little of its lattice, which is where it was then."""
    height, width = luma.shape
    reach_x, reach_y = (_REACH_PX + round(a.pitch) for a in (grid.x, grid.y))
    x0, y0, x1, y1 = box.pixels(width, height)
    if x0 >= x1 or y0 >= y1:
        return None
    # ``rate`` knows a codec's own lattice by where it lies in the part.
    left, top = (max(v, 0) // _CODEC_PX * _CODEC_PX for v in (x0 - reach_x, y0 - reach_y))
    evidence = Evidence.of(luma[top : min(y1 + reach_y, height), left : min(x1 + reach_x, width)])
    across, down = evidence.profiles((x0 - left, y0 - top, x1 - left, y1 - top))
    rows, cols = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
    x = near(across, y1 - y0, grid.x, lambda: _softly(evidence.luma[rows], 1))
    y = near(down, x1 - x0, grid.y, lambda: _softly(evidence.luma[:, cols], 0))
    if same and x is None and y is not None:
        x = _held(across, y1 - y0, grid.x, left)
    elif same and y is None and x is not None:
        y = _held(down, x1 - x0, grid.y, top)
    if x is None or y is None:
        return None
    if not same:
        x, y = _divided(evidence, x, y, (rows, cols))
    lattice = Lattice.over(evidence, x, y)
    found = extent(evidence, lattice)
    if found is None:
        return None
    score = rate(evidence, lattice, found)
    outlined = outline(evidence, lattice, found)
    return describe(evidence, lattice, outlined, found.strips, score, (left, top))


def near(
    profile: NDArray[np.float64],
    lines: int,
    axis: Axis,
    soft: Callable[[], NDArray[np.float64]] | None = None,
) -> Comb | None:
    """The comb of about the pitch of ``axis``, at the phase that collects most steps.

    ``profile`` counts the isolated steps per pixel over ``lines`` rows or columns; the comb is in its px.
    ``soft`` counts those that scaling has spread: where it leaves every other line sharp, they are no fewer.
    """
    size = len(profile)
    earn = np.convolve(np.minimum(profile, 0.6 * lines), _TOLERANT, "same")
    drift = np.arange(-_SAME_PITCH, _SAME_PITCH, _DRIFT_PX / size)
    pitches = axis.pitch * (1.0 + drift[:, None, None])
    phases = np.arange(0.0, axis.pitch, 0.5)[None, :, None]
    at = np.ceil(phases + np.arange(int(size / axis.pitch)) * pitches).astype(int)
    steps = np.where(at < size, earn[np.minimum(at, size - 1)], 0.0).sum(axis=2)
    best_pitch, best_phase = np.unravel_index(int(steps.argmax()), steps.shape)
    found = line_grid.refit(profile, lines, float(pitches[best_pitch, 0, 0]), float(phases[0, best_phase, 0]))
    if found is None or abs(found.pitch / axis.pitch - 1.0) > _SAME_PITCH:
        return None
    if _is_multiple(profile, found) and (soft is None or _is_multiple(profile + soft(), found)):
        return None
    return found


def _held(profile: NDArray[np.float64], lines: int, axis: Axis, start: int) -> Comb:
    """The comb of ``axis`` moved by up to _MOVED_PX to where it collects most steps, by less among equals;
    the profile begins at ``start`` px of the picture."""
    size = len(profile)
    earn = np.convolve(np.minimum(profile, 0.6 * lines), _TOLERANT, "same")
    origin = (axis.origin - start) % axis.pitch
    teeth = max(int((size - 1 - origin) / axis.pitch), 3)
    moved = np.arange(-_MOVED_PX, _MOVED_PX + 0.25, 0.5)
    at = np.ceil(origin + moved[:, None] + np.arange(1, teeth) * axis.pitch).astype(int)
    steps = np.where((at >= 0) & (at < size), earn[np.clip(at, 0, size - 1)], 0.0).sum(axis=1)
    best = moved[int((steps * (1.0 - _PER_PX * np.abs(moved))).argmax())]
    return Comb(axis.pitch, origin + float(best), teeth, 0.0, 0.0, 0.0, 0.0)


def _softly(part: NDArray[np.uint8], axis: int) -> NDArray[np.float64]:
    """Soft steps per column (axis 1) or row of a part; each is seen where it is and on either side."""
    counts = soft_steps(part, axis).sum(axis=1 - axis, dtype=np.float64)
    return np.asarray(maximum_filter1d(counts, 3))


def _divided(evidence: Evidence, x: Comb, y: Comb, part: tuple[slice, slice]) -> tuple[Comb, Comb]:
    """Both combs, or finer ones whose lines between are hard to see, if they make cells square.

    ``part``: rows and columns.
    """
    rows, cols = part
    across, down = evidence.profiles((cols.start, rows.start, cols.stop, rows.stop))
    fine_x, fine_y = x, y
    found = finest(x, evidence.luma[rows], 1, (cols.start, cols.stop), y.pitch)
    if found.pitch != x.pitch:
        fine_x = line_grid.refit(across, rows.stop - rows.start, found.pitch, found.origin) or x
    found = finest(y, evidence.luma[:, cols], 0, (rows.start, rows.stop), fine_x.pitch)
    if found.pitch != y.pitch:
        fine_y = line_grid.refit(down, cols.stop - cols.start, found.pitch, found.origin) or y
    is_square = max(fine_x.pitch, fine_y.pitch) <= SQUARE * min(fine_x.pitch, fine_y.pitch)
    return (fine_x, fine_y) if is_square else (x, y)


def _is_multiple(profile: NDArray[np.float64], found: Comb) -> bool:
    """True where the right comb has twice or three times the lines of this one, or a half or a third."""
    teeth = found.origin + np.arange(found.teeth) * found.pitch
    steps = profile[np.ceil(teeth - 1e-6).astype(int)]
    for parts in (2, 3):
        every = [float(steps[k::parts].mean()) for k in range(parts)]
        if sum(every) - max(every) < _FEW * max(every):
            return True
        between = np.ceil(teeth[:-1] + found.pitch / parts - 1e-6).astype(int)
        if (
            found.pitch >= parts * line_grid.MIN_PITCH_PX
            and profile[between].mean() > _BETWEEN * steps.mean()
        ):
            return True
    return False
