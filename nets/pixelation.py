"""The block operator of pixelation, the one index map of training, runtime and metrics.

A grid axis is ``(pitch, origin)`` in pixels, both fractional. Pixel ``i`` lies in cell
``floor((i - origin) / pitch)``, so a box of 128 px with 13 blocks (pitch 128/13) has blocks of 9 and
10 px exactly as ``floor(i * n / size)`` gives them. Every function below takes that map as
*membership matrices*: ``rows`` (N, H) and ``cols`` (N, W), one-hot over cells; a column of zeros is a
pixel outside the grid. As matrix products they run on any device, export to any engine, and need no
gather or scatter.

Shapes: images are (..., C, H, W) float; samples are (..., C, N, N), ``samples[..., r, c]`` being the
value of the cell in row r and column c; ``weight`` is (..., 1, H, W), 1 where a pixel belongs to the
mosaic. Leading dimensions of all arguments agree.
"""

from __future__ import annotations

import math
from enum import StrEnum

import torch
from torch import Tensor

# (i - origin) / pitch may land a rounding error below a whole number, e.g. 90 / (128 / 12.8).
EPS = 1e-6
"""Tolerance in cells: a pixel so little before an edge lies behind it."""


class Operator(StrEnum):
    """How a pixelizer turns the pixels of a cell into one value."""

    AREA = "area"  # mean of the cell, in gamma space: FFmpeg pixelize=avg, cv2 INTER_AREA
    CENTRE = "centre"  # the pixel in the middle of the cell: nearest-neighbour resizing
    CORNER = "corner"  # the first pixel of the cell: nearest-neighbour resizing in OpenCV
    BILINEAR = "bilinear"  # mean of the 2x2 pixels in the middle: bilinear without anti-aliasing
    LINEAR = "linear"  # mean of the cell in linear light (gamma 2.2)


def axis_index(size: int, pitch: float, origin: float) -> Tensor:
    """Cell of each pixel of an axis. Returns (size,) int64, negative left of ``origin``."""
    if pitch <= 0:
        raise ValueError(f"pitch is {pitch}; a cell has a positive width in pixels")
    position = torch.arange(size, dtype=torch.float64)
    return torch.floor((position - origin) / pitch + EPS).long()


def cell_edges(pitch: float, origin: float, first: int, count: int) -> list[int]:
    """First pixel of each of ``count`` cells from cell ``first`` on, and the end of the last one."""
    return [math.ceil(origin + k * pitch - EPS * pitch) for k in range(first, first + count + 1)]


def membership(index: Tensor, cells: int) -> Tensor:
    """One-hot matrix of an index map. (..., size) int64 -> (..., cells, size) float32.

    Indices outside ``[0, cells)`` give a column of zeros.
    """
    n = torch.arange(cells, device=index.device).unsqueeze(-1)
    return (index.unsqueeze(-2) == n).to(torch.float32)


def _sum_cells(x: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
    """(..., C, H, W) summed over each cell: (..., C, N, N)."""
    return torch.matmul(torch.matmul(rows.unsqueeze(-3), x), cols.unsqueeze(-3).transpose(-1, -2))


def block_means(x: Tensor, rows: Tensor, cols: Tensor, weight: Tensor | None = None) -> Tensor:
    """Weighted mean of each cell: (..., C, N, N); 0 where a cell has no weight."""
    if weight is None:
        weight = torch.ones_like(x[..., :1, :, :])
    total = _sum_cells(x * weight, rows, cols)
    return total / _sum_cells(weight, rows, cols).clamp_min(EPS)


def coverage(rows: Tensor, cols: Tensor, weight: Tensor) -> Tensor:
    """Share of each cell's pixels that lie in the mosaic: (..., 1, N, N) in [0, 1]."""
    size = _sum_cells(torch.ones_like(weight), rows, cols)
    return _sum_cells(weight, rows, cols) / size.clamp_min(EPS)


def replicate(samples: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
    """Each pixel takes the value of its cell: (..., C, H, W); 0 outside the grid."""
    return torch.matmul(torch.matmul(rows.unsqueeze(-3).transpose(-1, -2), samples), cols.unsqueeze(-3))


def _cubic(distance: Tensor) -> Tensor:
    """Keys' cubic convolution kernel, a = -0.5 (the bicubic of Pillow and scikit-image)."""
    d = distance.abs()
    near = (1.5 * d - 2.5) * d * d + 1.0
    far = ((-0.5 * d + 2.5) * d - 4.0) * d + 2.0
    return torch.where(d < 1, near, torch.where(d < 2, far, torch.zeros_like(d)))


def interpolation(member: Tensor, present: Tensor) -> Tensor:
    """Bicubic weights from cells to pixels on one axis.

    ``member`` (..., N, size) one-hot, ``present`` (..., N) 1 where the cell has a sample.
    Returns (..., size, N), rows summing to 1: at the border only present cells count.
    """
    width = member.sum(-1)
    x = torch.arange(member.shape[-1], device=member.device, dtype=member.dtype)
    centre = (member * x).sum(-1) / width.clamp_min(1.0)
    # One pitch for the axis: the mean over whole present cells, as widths differ by a pixel. Cells that the
    # picture's border cuts would make it, and with it the kernel, too narrow.
    seen = width * present
    whole = present * (seen >= 0.75 * seen.amax(-1, keepdim=True))
    pitch = (width * whole).sum(-1, keepdim=True) / whole.sum(-1, keepdim=True).clamp_min(1.0)
    kernel = _cubic((x.unsqueeze(-1) - centre.unsqueeze(-2)) / pitch.clamp_min(1.0).unsqueeze(-2))
    # Inside a present cell of the mean width the sum is at least 0.56. Farther out it passes through
    # 0, where dividing would explode: such pixels lie outside the mosaic and are not used.
    kernel = kernel * present.unsqueeze(-2)
    total = kernel.sum(-1, keepdim=True)
    return kernel / torch.where(total > 0.05, total, torch.ones_like(total))


def interpolate(samples: Tensor, rows: Tensor, cols: Tensor, present: Tensor) -> Tensor:
    """Bicubic interpolation of the cells' values at every pixel: (..., C, H, W).

    ``present`` (..., 1, N, N) says which cells have a value. Cells without one inside the rectangle
    spanned by the others (an ellipse's corners) take the mean of the present cells.
    """
    mean = (samples * present).sum((-2, -1), keepdim=True) / present.sum((-2, -1), keepdim=True).clamp_min(
        1.0
    )
    filled = torch.where(present > 0, samples, mean)
    in_rows = (present.sum(-1) > 0).to(samples.dtype).squeeze(-2)
    in_cols = (present.sum(-2) > 0).to(samples.dtype).squeeze(-2)
    up = interpolation(rows, in_rows).unsqueeze(-3)
    across = interpolation(cols, in_cols).unsqueeze(-3)
    return torch.matmul(torch.matmul(up, filled), across.transpose(-1, -2))


def project(
    x: Tensor,
    samples: Tensor,
    rows: Tensor,
    cols: Tensor,
    weight: Tensor,
    slack: float = 0.0,
    whole: float = 0.98,
) -> Tensor:
    """Data consistency: shift each cell of ``x`` so that its mean is within ``slack`` of its sample.

    This is x + A+ (y - A x) with A the block mean and A+ the replication (DDNM, arXiv 2212.00490):
    when the operator is right it can never raise the L2 error. Cells that the mosaic covers by less
    than ``whole`` are left alone: their value may stem from pixels outside. ``slack`` in the unit
    of x is half an 8-bit step at least, and the noise of the codec at best.
    """
    residual = samples - block_means(x, rows, cols, weight)
    residual = residual - residual.clamp(-slack, slack)
    residual = residual * (coverage(rows, cols, weight) >= whole).to(x.dtype)
    return x + replicate(residual, rows, cols) * weight


def sample(x: Tensor, rows: Tensor, cols: Tensor, operator: Operator) -> Tensor:
    """Values of whole cells of a clean image under an operator: (..., C, N, N)."""
    if operator is Operator.AREA:
        return block_means(x, rows, cols)
    if operator is Operator.LINEAR:
        return block_means(x.clamp_min(0) ** 2.2, rows, cols).clamp_min(0) ** (1 / 2.2)
    return block_means(x, pick(rows, operator), pick(cols, operator))


def pick(member: Tensor, operator: Operator) -> Tensor:
    """Membership reduced to the pixels that a point-sampling operator reads."""
    rank = member.cumsum(-1)
    width = member.sum(-1, keepdim=True)
    middle = torch.floor(width / 2)
    if operator is Operator.CORNER:
        keep = rank == 1
    elif operator is Operator.CENTRE:
        keep = rank == torch.clamp(middle + 1, max=width)
    else:
        keep = (rank == torch.clamp(middle, min=1)) | (rank == torch.clamp(middle + 1, max=width))
    return member * keep.to(member.dtype)


def pixelate(
    x: Tensor, rows: Tensor, cols: Tensor, weight: Tensor, operator: Operator = Operator.AREA
) -> Tensor:
    """Clean image -> the same with a mosaic where ``weight`` is 1. Shapes as in the module's head."""
    blocks = replicate(sample(x, rows, cols, operator), rows, cols)
    return x * (1 - weight) + blocks * weight
