"""The mosaic of one region on one frame: which pixels, which cells, and what value each cell has.

The only reader of mosaics: ``crop`` renders what stands here into canonical coordinates, ``paste``
holds the restored pixels to it, so both see one grid and one set of samples.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nets.pixelation import axis_index, coverage, membership, replicate
from pipeline.color import Conversion
from pipeline.types import Axis, Frame, Grid, Region, Shape

# A codec rings at the edges of cells: pixels this near to one are not asked, where the cell is wide enough.
_BORDER_PX = ((8.0, 2), (4.0, 1))
# Pixels farther from their cell's mean than this many standard deviations are dropped from it.
_TRIM = 1.5


@dataclass(frozen=True, slots=True)
class Cells:
    """Rectangle of the picture, x0 <= x < x1, on whole chroma blocks, around all pixels of a mosaic."""

    x0: int
    y0: int
    x1: int
    y1: int
    mask: Tensor
    """(1, H, W) float32, 1 in the mosaic."""
    rows: Tensor
    """(R, H) float32 one-hot membership in the R rows of cells that the mosaic touches."""
    cols: Tensor
    """(Q, W) float32, the same for columns."""
    first: tuple[int, int]
    """Row and column, counted on ``Region.grid``, of the first cell; 0 where the box begins in cell 0."""
    samples: Tensor
    """(3, R, Q) float32 RGB in [0, 1]; 0 where ``present`` is."""
    present: Tensor
    """(1, R, Q) float32, 1 where at least one pixel of the cell is in the mosaic."""
    noise: float
    """Median over cells of the standard deviation of luma inside a cell, RGB units: the codec's noise."""


def mosaic_mask(region: Region, x: Tensor, y: Tensor) -> Tensor:
    """(len(y), len(x)) bool: which pixels, given by column and row, have their centre in the region."""
    box = region.box
    across, down = x.double() + 0.5, y.double() + 0.5
    if region.shape is Shape.ELLIPSE:
        u = (across - box.centre[0]) / (box.width / 2)
        v = (down - box.centre[1]) / (box.height / 2)
        return (u * u).unsqueeze(0) + (v * v).unsqueeze(1) <= 1
    return ((across >= box.x0) & (across < box.x1)).unsqueeze(0) & (
        (down >= box.y0) & (down < box.y1)
    ).unsqueeze(1)


def index_from(axis: Axis, start: int, size: int) -> Tensor:
    """Cells of pixels start .. start + size - 1: (size,) int64."""
    return axis_index(size, axis.pitch, axis.origin - start)


def read_cells(frame: Frame, region: Region, grid: Grid, convert: Conversion) -> Cells | None:
    """Reads a mosaic; None where none of its pixels lies in the picture."""
    height, width = frame.planes[0].shape
    x0, y0, x1, y1 = region.box.pixels(width, height)
    step_x, step_y = convert.format.step_x, convert.format.step_y
    # One pixel of margin, as box.pixels rounds halves up, then out to whole blocks.
    x0, y0 = max(x0 - 1, 0) // step_x * step_x, max(y0 - 1, 0) // step_y * step_y
    x1, y1 = min(-(-(x1 + 1) // step_x) * step_x, width), min(-(-(y1 + 1) // step_y) * step_y, height)
    if x1 <= x0 or y1 <= y0:
        return None
    inside = mosaic_mask(region, torch.arange(x0, x1), torch.arange(y0, y1))
    if not bool(inside.any()):
        return None
    across, across_inner, first_col = _axis(grid.x, x0, x1, inside.any(0))
    down, down_inner, first_row = _axis(grid.y, y0, y1, inside.any(1))
    mask = inside.to(torch.float32).unsqueeze(0)
    inner = mask * (down_inner.unsqueeze(1) & across_inner.unsqueeze(0))
    planes = [p.to(torch.float32) for p in cut_planes(frame, convert, x0, y0, x1, y1)]
    luma, deviation = _robust_means(planes[0].unsqueeze(0), down, across, (inner, mask))
    native = luma
    if len(planes) > 1:
        pool = functools.partial(F.avg_pool2d, kernel_size=(step_y, step_x), ceil_mode=True)
        covered = pool(mask)
        tiers = (pool(inner) == 1, covered == 1, covered > 0)
        chroma_down = F.avg_pool1d(down, step_y, ceil_mode=True)
        chroma_across = F.avg_pool1d(across, step_x, ceil_mode=True)
        chroma, _ = _robust_means(
            torch.stack(planes[1:]), chroma_down, chroma_across, tuple(t.to(torch.float32) for t in tiers)
        )
        native = torch.cat([luma, chroma])
    present = (coverage(down, across, mask) > 0).to(torch.float32)
    samples = convert.samples_to_rgb(native).clamp(0, 1) * present
    noise = float(deviation[present > 0].median()) * convert.step
    return Cells(x0, y0, x1, y1, mask, down, across, (first_row, first_col), samples, present, noise)


def cut_planes(frame: Frame, convert: Conversion, x0: int, y0: int, x1: int, y1: int) -> list[Tensor]:
    """Views of the colour planes on a rectangle of whole chroma blocks (or up to the picture's edge)."""
    step_x, step_y = convert.format.step_x, convert.format.step_y
    chroma = (slice(y0 // step_y, -(-y1 // step_y)), slice(x0 // step_x, -(-x1 // step_x)))
    first = frame.planes[0][y0:y1, x0:x1]
    return [first, *(p[chroma] for p in frame.planes[1 : convert.format.colour_planes])]


def _axis(axis: Axis, start: int, stop: int, touched: Tensor) -> tuple[Tensor, Tensor, int]:
    """Membership (n, size) in the touched cells, which pixels are inner ones (size,), the first cell."""
    size = stop - start
    border = next((px for pitch, px in _BORDER_PX if axis.pitch >= pitch), 0)
    wide = index_from(axis, start - border, size + 2 * border)
    index = wide[border : border + size]
    inner = (wide[:size] == index) & (wide[2 * border :] == index)
    used = index[touched]
    first, last = int(used[0]), int(used[-1])
    return membership(index - first, last - first + 1), inner, first


def _robust_means(
    values: Tensor, rows: Tensor, cols: Tensor, tiers: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor]:
    """Trimmed mean of each cell over the first tier of pixels of which the cell has any.

    ``values`` (C, H, W); ``tiers`` weights (1, H, W). Returns the means (C, R, Q) and the standard
    deviation of the first channel before trimming (1, R, Q).
    """

    def sums(x: Tensor) -> Tensor:
        return rows @ x @ cols.T

    weight = tiers[0]
    for tier in tiers[1:]:
        missing = (sums(weight) == 0).to(weight.dtype)
        if bool(missing.any()):
            weight = weight + tier * replicate(missing, rows, cols)
    count = sums(weight).clamp_min(1e-6)
    mean = sums(values * weight) / count
    off = (values - replicate(mean, rows, cols)).abs_()
    deviation = (sums(off * off * weight) / count).sqrt_()
    # 0.5: a cell that is even but for rounding keeps all its pixels.
    near = (off <= replicate(_TRIM * deviation + 0.5, rows, cols)).all(0, keepdim=True)
    keep = weight * near
    count = sums(keep)
    trimmed = sums(values * keep) / count.clamp_min(1e-6)
    return torch.where(count > 0, trimmed, mean), deviation[:1]
