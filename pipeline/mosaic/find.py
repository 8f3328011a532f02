"""All mosaics of one frame: screening, then per candidate comb, extent, comb again, outline, operator."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.mosaic import comb
from pipeline.mosaic.comb import Comb
from pipeline.mosaic.extent import Evidence, Extent, extent, lines
from pipeline.mosaic.operator import classify
from pipeline.mosaic.rate import rate
from pipeline.mosaic.resized import whole_cells
from pipeline.mosaic.screen import candidates, fires
from pipeline.mosaic.shape import outline
from pipeline.mosaic.steps import active, faint_steps, isolated_steps
from pipeline.types import Axis, Box, Grid, Kind, Region, Shape

_MARGIN_PX = 32
"""Around a candidate of the screening, whose boxes end with the last block that fired."""
_MAX_PER_CANDIDATE = 8
_MAX_OVERLAP = 0.1
_FULL = 0.5
"""Lines of a finer lattice must be this full, relative to those of the coarser, for it to be taken."""


@dataclass(frozen=True, slots=True)
class FindSettings:
    """What counts as a mosaic."""

    min_cells: int = 4
    """fewest cells across and down"""
    max_cell_px: float = 110.0
    """widest cell"""
    min_score: float = 0.35
    """0..1, weakest region that is reported; a track is born of stronger ones only"""


@dataclass(frozen=True, slots=True)
class _Fit:
    """A region in the coordinates of a part of the picture."""

    x: Comb
    y: Comb
    extent: Extent


def _evidence(luma: NDArray[np.uint8]) -> Evidence:
    return Evidence(luma, isolated_steps(luma, 1), isolated_steps(luma, 0), active(luma))


def _profiles(
    evidence: Evidence, box: tuple[int, int, int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps per column in the rows of a box, and per row in its columns, over the whole part."""
    x0, y0, x1, y1 = box
    return (
        evidence.vertical[y0:y1].sum(axis=0, dtype=np.float64),
        evidence.horizontal[:, x0:x1].sum(axis=1, dtype=np.float64),
    )


def _moved(c: Comb, by: float) -> Comb:
    return replace(c, origin=c.origin + by)


def _divided(c: Comb, luma: NDArray[np.uint8], axis: int, span: tuple[int, int]) -> Comb:
    """The comb, or the finer one whose teeth were too faint for the profile: a half, a third, a quarter.

    A dark mosaic may show every other line only. The lines between are as full as the comb's own when faint
    steps count too.
    """
    for parts in (2, 3):
        pitch = c.pitch / parts
        finer = replace(c, pitch=pitch, teeth=(c.teeth - 1) * parts + 1)
        if pitch < comb.MIN_PITCH_PX:
            break
        at = lines(finer, luma.shape[axis])
        steps = faint_steps(luma, at, pitch, axis).sum(axis=1 - axis, dtype=np.float64)
        at = at[(at > span[0]) & (at < span[1])]
        own = np.isin(at, lines(c, luma.shape[axis]))
        if own.any() and not own.all() and steps[at[~own]].mean() > _FULL * steps[at[own]].mean():
            return _divided(finer, luma, axis, span)
    return c


def _fit(evidence: Evidence, max_pitch: float) -> _Fit | None:
    height, width = evidence.active.shape
    across, down = _profiles(evidence, (0, 0, width, height))
    x = comb.fit(across, height, max_pitch)
    if x is None:
        return None
    y = comb.fit(down, width, max_pitch)
    if y is None:
        return None
    found = extent(evidence, x, y)
    if found is None:
        return None
    x0, y0, x1, y1 = found.box
    across, down = _profiles(evidence, found.box)
    x2 = comb.refit(across[x0:x1], y1 - y0, x.pitch, x.origin - x0)
    y2 = comb.refit(down[y0:y1], x1 - x0, y.pitch, y.origin - y0)
    if x2 is None or y2 is None:
        return None
    x2 = _divided(_moved(x2, x0), evidence.luma[y0:y1], 1, (x0, x1))
    y2 = _divided(_moved(y2, y0), evidence.luma[:, x0:x1], 0, (y0, y1))
    found = extent(evidence, x2, y2)
    return None if found is None else _Fit(x2, y2, found)


def find(luma: NDArray[np.uint8], settings: FindSettings) -> list[Region]:
    """Mosaics of one picture, the strongest first; stateless.

    ``luma`` is (H, W) uint8, C-contiguous. Boxes do not overlap by more than a tenth of the smaller one.
    """
    height, width = luma.shape
    found: list[Region] = []
    for x0, y0, x1, y1 in candidates(luma):
        left, top = max(x0 - _MARGIN_PX, 0), max(y0 - _MARGIN_PX, 0)
        part = luma[top : min(y1 + _MARGIN_PX, height), left : min(x1 + _MARGIN_PX, width)]
        if any(_covered((left, top, left + part.shape[1], top + part.shape[0]), r) for r in found):
            continue
        found += _regions(part, (left, top), settings)
    found.sort(key=lambda r: -r.score * r.box.width * r.box.height)
    kept: list[Region] = []
    for region in found:
        if all(_overlap(region.box, other.box) < _MAX_OVERLAP for other in kept):
            kept.append(region)
    return kept


def _covered(part: tuple[int, int, int, int], region: Region) -> bool:
    """True where a region that was found fills most of a candidate with its margins."""
    inner = Box(*part)
    return region.box.iou(inner) > 0.0 and _overlap(inner, region.box) > 0.9 and inner.iou(region.box) > 0.6


def _overlap(a: Box, b: Box) -> float:
    """Area in common over that of the smaller box."""
    w = min(a.x1, b.x1) - max(a.x0, b.x0)
    h = min(a.y1, b.y1) - max(a.y0, b.y0)
    return max(w, 0.0) * max(h, 0.0) / max(min(a.width * a.height, b.width * b.height), 1.0)


def _regions(part: NDArray[np.uint8], offset: tuple[int, int], settings: FindSettings) -> list[Region]:
    """Mosaics in a part of the picture, one after the other, each time without the steps of the last."""
    evidence = _evidence(part)
    regions: list[Region] = []
    for _ in range(_MAX_PER_CANDIDATE):
        if not fires(evidence.vertical, evidence.horizontal):
            break
        fit = _fit(evidence, settings.max_cell_px)
        if fit is None:
            break
        box = fit.extent.box
        score = rate(evidence, fit.x, fit.y, fit.extent)
        cells = min((box[2] - box[0]) / fit.x.pitch, (box[3] - box[1]) / fit.y.pitch)
        if score < settings.min_score or cells < settings.min_cells - 0.5:
            break
        box, shape = outline(evidence, fit.x, fit.y, fit.extent)
        regions.append(_region(evidence, fit, box, shape, score, offset))
        for mask in (evidence.vertical, evidence.horizontal):
            mask[box[1] : box[3] + 1, box[0] : box[2] + 1] = 0
    return regions


def _region(
    evidence: Evidence,
    fit: _Fit,
    box: tuple[int, int, int, int],
    shape: Shape,
    score: float,
    offset: tuple[int, int],
) -> Region:
    """The fit in px of the picture; where the box is a whole number of cells it sets pitch and phase."""
    across, down = _profiles(evidence, box)
    x0, y0, x1, y1 = box
    x, (x0, x1) = _axis(across, fit.x, (x0, x1))
    y, (y0, y1) = _axis(down, fit.y, (y0, y1))
    dx, dy = offset
    grid = _grid(evidence.luma, x, y, (x0, y0, x1, y1), offset, score)
    return Region(Box(x0 + dx, y0 + dy, x1 + dx, y1 + dy), Kind.MOSAIC, shape, score, grid)


def _grid(
    part: NDArray[np.uint8],
    x: Axis,
    y: Axis,
    box: tuple[int, int, int, int],
    offset: tuple[int, int],
    confidence: float,
) -> Grid:
    """A lattice in px of a part as one in px of the picture, with its operator."""
    operator = classify(part, x, y, box)
    dx, dy = offset
    return Grid(replace(x, origin=x.origin + dx), replace(y, origin=y.origin + dy), operator, confidence)


def _axis(profile: NDArray[np.float64], c: Comb, sides: tuple[int, int]) -> tuple[Axis, tuple[int, int]]:
    """Lattice of one axis, its cell 0 at the first side, and the sides. ``profile`` is that of the whole
    axis."""
    whole = whole_cells(profile, c.pitch, c.origin, *sides)
    if whole is not None:
        start, end, cells = whole
        return Axis((end - start) / cells, float(start)), (start, end)
    first = np.floor((sides[0] - c.origin) / c.pitch + 1e-6)
    return Axis(c.pitch, float(c.origin + first * c.pitch)), sides


def read_grid(luma: NDArray[np.uint8], box: Box, settings: FindSettings = FindSettings()) -> Grid | None:
    """Grid of a mosaic that a person pointed at, or None where none can be read.

    ``luma`` is (H, W) uint8. The box may be larger than the mosaic; half of ``min_score`` is enough, as the
    question is no longer whether there is a mosaic.
    """
    height, width = luma.shape
    x0, y0, x1, y1 = box.pixels(width, height)
    left, top = x0 // 16 * 16, y0 // 16 * 16
    if x1 - left < 2 * comb.MIN_PITCH_PX or y1 - top < 2 * comb.MIN_PITCH_PX:
        return None
    part = np.ascontiguousarray(luma[top:y1, left:x1])
    evidence = _evidence(part)
    fit = _fit(evidence, settings.max_cell_px)
    if fit is None:
        return None
    score = rate(evidence, fit.x, fit.y, fit.extent)
    if score < settings.min_score / 2:
        return None
    across, down = _profiles(evidence, fit.extent.box)
    x, _ = _axis(across, fit.x, (x0 - left, x1 - left))
    y, _ = _axis(down, fit.y, (y0 - top, y1 - top))
    return _grid(part, x, y, fit.extent.box, (left, top), score)
