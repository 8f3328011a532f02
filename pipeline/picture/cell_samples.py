"""The mosaic of one region on one frame: which pixels, which cells, and what value each cell has.

Nothing else reads mosaics: ``crop`` renders the cells into canonical coordinates, ``paste`` holds the
restored pixels to them, so both use one grid and one set of samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nets.pixelation import axis_index, coverage, membership, replicate
from pipeline.cuda import CPU
from pipeline.picture.color import Conversion
from pipeline.types import Axis, Frame, Grid, MosaicRegion, Samples, Shape

_BORDER_PX = ((8.0, 2), (4.0, 1))
"""(pitch, border) in px: a codec rings at the edges of cells, so pixels this near to one are left out in
cells from this pitch on."""
_TRIM = 1.5
"""Standard deviations from the mean of its cell beyond which a pixel is dropped."""
_ROUNDING = 0.5
"""Codes, added to that: a cell that is even but for rounding keeps all its pixels."""


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
    """Row and column, counted on the region's grid, of the first cell; 0 where the box begins in cell 0."""
    inner_rows: Tensor
    """(H,) float32, 1 on rows of pixels away from the edges of cells."""
    inner_cols: Tensor
    """(W,) float32, the same for columns."""


def _outside(region: MosaicRegion, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """How far columns and rows of pixels lie out, (size,) float64 each: pixels of which both sum to 1 at
    most belong to the region."""
    box = region.box
    across, down = x.double() + 0.5, y.double() + 0.5
    if region.shape is Shape.ELLIPSE:
        u = (across - box.centre[0]) / (box.width / 2)
        v = (down - box.centre[1]) / (box.height / 2)
        return u * u, v * v
    out_x, out_y = (across < box.x0) | (across >= box.x1), (down < box.y0) | (down >= box.y1)
    return out_x.double() * 2, out_y.double() * 2


def index_from(axis: Axis, start: int, size: int) -> Tensor:
    """Cells of pixels start .. start + size - 1: (size,) int64."""
    return axis_index(size, axis.pitch, axis.origin - start)


def cells_of(
    region: MosaicRegion,
    grid: Grid,
    convert: Conversion,
    width: int,
    height: int,
    device: torch.device = CPU,
) -> Cells | None:
    """Where a mosaic lies in a picture of ``width`` x ``height`` px, with tensors on ``device``; None where
    none of its pixels lies in it."""
    x0, y0, x1, y1 = region.box.pixels(width, height)
    step_x, step_y = convert.format.step_x, convert.format.step_y
    # One pixel of margin, as box.pixels rounds halves up, then out to whole blocks.
    x0, y0 = max(x0 - 1, 0) // step_x * step_x, max(y0 - 1, 0) // step_y * step_y
    x1, y1 = min(-(-(x1 + 1) // step_x) * step_x, width), min(-(-(y1 + 1) // step_y) * step_y, height)
    if x1 <= x0 or y1 <= y0:
        return None
    # On the host, where asking costs nothing: a column has pixels in the mosaic if its best row has.
    across, down = _outside(region, torch.arange(x0, x1), torch.arange(y0, y1))
    in_cols, in_rows = across + down.min() <= 1, across.min() + down <= 1
    if not bool(in_cols.any()):
        return None
    cols, inner_cols, first_col = _axis(grid.x, x0, x1, in_cols)
    rows, inner_rows, first_row = _axis(grid.y, y0, y1, in_rows)
    across, down, rows, cols, inner_rows, inner_cols = sent(
        (across, down, rows, cols, inner_rows, inner_cols), device
    )
    mask = (across.unsqueeze(0) + down.unsqueeze(1) <= 1).to(torch.float32)
    first = (first_row, first_col)
    return Cells(x0, y0, x1, y1, mask.unsqueeze(0), rows, cols, first, inner_rows, inner_cols)


def sent(tensors: tuple[Tensor, ...], device: torch.device) -> tuple[Tensor, ...]:
    """Copies small tensors of the host to a device, without waiting for it."""
    return tuple(x.to(device, non_blocking=True) for x in tensors)


def read_samples(frame: Frame, cells: Cells, convert: Conversion) -> Samples:
    """Reads the value of every cell."""
    step_x, step_y = convert.format.step_x, convert.format.step_y
    down, across, mask = cells.rows, cells.cols, cells.mask
    inner = mask * (cells.inner_rows.unsqueeze(1) * cells.inner_cols)
    planes = [p.to(torch.float32) for p in cut_planes(frame, convert, cells.x0, cells.y0, cells.x1, cells.y1)]
    luma, deviation = _robust_means(planes[0].unsqueeze(0), down, across, (inner, mask))
    native = luma
    if len(planes) > 1:
        if step_x == step_y == 1:
            tiers: tuple[Tensor, ...] = (inner, mask)
        else:
            covered = F.avg_pool2d(mask, (step_y, step_x), ceil_mode=True)
            inner_down, down = _pooled(cells.inner_rows, step_y), _pooled(down, step_y)
            inner_across, across = _pooled(cells.inner_cols, step_x), _pooled(across, step_x)
            whole = (covered == 1).to(torch.float32)
            deep = (inner_down == 1).unsqueeze(1) & (inner_across == 1)
            tiers = (whole * deep, whole, (covered > 0).to(torch.float32))
        chroma, _ = _robust_means(torch.stack(planes[1:]), down, across, tiers)
        native = torch.cat([luma, chroma])
    present = (coverage(cells.rows, cells.cols, mask) > 0).to(torch.float32)
    values = convert.samples_to_rgb(native).clamp_(0, 1) * present
    known = torch.where(present > 0, deviation, float("nan"))
    return Samples(values, known.nanmedian() * convert.step)


def cut_planes(frame: Frame, convert: Conversion, x0: int, y0: int, x1: int, y1: int) -> list[Tensor]:
    """Views of the colour planes on a rectangle of whole chroma blocks (or up to the picture's edge)."""
    step_x, step_y = convert.format.step_x, convert.format.step_y
    chroma = (slice(y0 // step_y, -(-y1 // step_y)), slice(x0 // step_x, -(-x1 // step_x)))
    first = frame.planes[0][y0:y1, x0:x1]
    return [first, *(p[chroma] for p in frame.planes[1 : convert.format.colour_planes])]


def is_none(x: Tensor) -> bool:
    """Whether all of it is zero, so that work is left out; a GPU is not asked, it would stop for it."""
    return x.device.type == "cpu" and not bool(x.any())


def _pooled(x: Tensor, step: int) -> Tensor:
    """Means of ``step`` entries along the last dimension; of what is left at its end."""
    if step == 1:
        return x
    flat = x.reshape(1, -1, x.shape[-1])
    return F.avg_pool1d(flat, step, ceil_mode=True).view(*x.shape[:-1], -1)


def _axis(axis: Axis, start: int, stop: int, touched: Tensor) -> tuple[Tensor, Tensor, int]:
    """Membership (n, size) in the touched cells, which pixels are inner ones (size,), the first cell."""
    size = stop - start
    border = next((px for pitch, px in _BORDER_PX if axis.pitch >= pitch), 0)
    wide = index_from(axis, start - border, size + 2 * border)
    index = wide[border : border + size]
    inner = (wide[:size] == index) & (wide[2 * border :] == index)
    used = index[touched]
    first, last = int(used[0]), int(used[-1])
    return membership(index - first, last - first + 1), inner.to(torch.float32), first


def _robust_means(
    values: Tensor, rows: Tensor, cols: Tensor, tiers: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor]:
    """Trimmed mean of each cell over the first tier of pixels of which the cell has any.

    ``values`` (C, H, W); ``tiers`` weights (1, H, W). Returns the means (C, R, Q) and the standard
    deviation of the first channel before trimming (1, R, Q).
    """
    into_cols = cols.T.contiguous()

    def sums(x: Tensor) -> Tensor:
        return rows @ x @ into_cols

    weight = tiers[0]
    count = sums(weight)
    for tier in tiers[1:]:
        missing = (count == 0).to(weight.dtype)
        if is_none(missing):
            break
        weight = weight + tier * replicate(missing, rows, cols)
        count = sums(weight)
    count = count.clamp_min_(1e-6)
    mean = sums(values * weight) / count
    off = (values - replicate(mean, rows, cols)).square_()
    variance = sums(off * weight) / count
    limit = (_TRIM * variance.sqrt() + _ROUNDING).square_()
    near = (off <= replicate(limit, rows, cols)).all(0, keepdim=True)
    keep = weight * near
    count = sums(keep)
    trimmed = sums(values * keep) / count.clamp_min(1e-6)
    return torch.where(count > 0, trimmed, mean), variance[:1].sqrt()
