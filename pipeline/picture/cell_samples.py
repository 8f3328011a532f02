"""Mosaics on frames: which pixels, which cells, and what value each cell has.

Nothing else reads mosaics: ``crop`` renders the cells into canonical coordinates, ``paste`` holds the
restored pixels to them, so both use one grid and one set of samples. Where a mosaic lies is worked out on the
host; what its frame holds is read where the frame lies, for K frames, a mosaic of each, in the calls of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nets.pixelation import axis_index, coverage, membership, replicate
from pipeline.cuda import pinned_to
from pipeline.picture.color import Conversion
from pipeline.types import Axis, Frame, Grid, MosaicRegion, Shape

_BORDER_PX = ((8.0, 2), (4.0, 1))
"""(pitch, border) in px: a codec rings at the edges of cells, so pixels this near to one are left out in
cells from this pitch on."""
_TRIM = 1.5
"""Standard deviations from the mean of its cell beyond which a pixel is dropped."""
_ROUNDING = 0.5
"""Codes, added to that: a cell that is even but for rounding keeps all its pixels."""


@dataclass(frozen=True, slots=True)
class Place:
    """A mosaic in the picture, as the host knows it.

    The rectangle x0 <= x < x1, y0 <= y < y1 lies on whole chroma blocks (or ends with the picture) around all
    pixels of the mosaic. Vectors are float64, over its columns and rows.
    """

    x0: int
    y0: int
    x1: int
    y1: int
    first: tuple[int, int]
    """Row and column, counted on the region's grid, of the first cell that the mosaic touches; 0 where
    the box begins in cell 0."""
    counts: tuple[int, int]
    """Rows and columns of cells that it touches."""
    across: Tensor
    down: Tensor
    """How far columns and rows lie out: pixels of which both sum to 1 at most belong to the mosaic."""
    rows: Tensor
    cols: Tensor
    """Cell of each, from 0; -1 where it lies in none of those."""
    inner_rows: Tensor
    inner_cols: Tensor
    """1 away from the edges of cells."""


@dataclass(frozen=True, slots=True)
class Cells:
    """K mosaics where their frames lie, in rectangles of one size. What they have less than others is 0."""

    corners: tuple[tuple[int, int], ...]
    """x0 and y0 of each rectangle, on a chroma block"""
    mask: Tensor
    """(K, 1, H, W) float32, 1 in the mosaic."""
    rows: Tensor
    """(K, R, H) float32 one-hot membership in the rows of cells that the mosaic touches, R at most."""
    cols: Tensor
    """(K, Q, W) float32, the same for columns."""
    inner_rows: Tensor
    """(K, H) float32, 1 on rows of pixels away from the edges of cells."""
    inner_cols: Tensor
    """(K, W) float32, the same for columns."""


def outside(region: MosaicRegion, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
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


def place_of(region: MosaicRegion, grid: Grid, convert: Conversion, width: int, height: int) -> Place | None:
    """Where a mosaic lies in a picture of ``width`` x ``height`` px; None where none of its pixels does."""
    x0, y0, x1, y1 = region.box.pixels(width, height)
    step_x, step_y = convert.format.step_x, convert.format.step_y
    # One pixel of margin, as box.pixels rounds halves up, then out to whole blocks.
    x0, y0 = max(x0 - 1, 0) // step_x * step_x, max(y0 - 1, 0) // step_y * step_y
    x1, y1 = min(-(-(x1 + 1) // step_x) * step_x, width), min(-(-(y1 + 1) // step_y) * step_y, height)
    if x1 <= x0 or y1 <= y0:
        return None
    # A column has pixels in the mosaic if its best row has.
    across, down = outside(region, torch.arange(x0, x1), torch.arange(y0, y1))
    in_cols, in_rows = across + down.min() <= 1, across.min() + down <= 1
    if not bool(in_cols.any()):
        return None
    cols, inner_cols, first_col, count_cols = _axis(grid.x, x0, x1, in_cols)
    rows, inner_rows, first_row, count_rows = _axis(grid.y, y0, y1, in_rows)
    first, counts = (first_row, first_col), (count_rows, count_cols)
    return Place(x0, y0, x1, y1, first, counts, across, down, rows, cols, inner_rows, inner_cols)


def together(place: Place, convert: Conversion) -> bool:
    """Whether its rectangle may be laid with others: one that ends within a chroma block, with a picture
    of an odd size, is laid alone."""
    return place.x1 % convert.format.step_x == 0 and place.y1 % convert.format.step_y == 0


def laid(
    places: Sequence[Place],
    picture: tuple[int, int],
    convert: Conversion,
    device: torch.device,
    further: Sequence[Sequence[Tensor]] | None = None,
) -> tuple[Cells, tuple[Tensor, ...]]:
    """Mosaics of pictures of a size (width, height) on a device, and ``further`` vectors of the host of each,
    float64 and as long for one as for another, there: (K, n). One copy brings all."""
    width, height = max(p.x1 - p.x0 for p in places), max(p.y1 - p.y0 for p in places)
    step_x, step_y = convert.format.step_x, convert.format.step_y
    most_x, most_y = (picture[0] - width) // step_x * step_x, (picture[1] - height) // step_y * step_y
    corners = tuple((min(p.x0, most_x), min(p.y0, most_y)) for p in places)
    vectors = []
    for place, (x0, y0), own in zip(places, corners, further or [()] * len(places), strict=True):
        x, y = place.x0 - x0, place.y0 - y0
        vectors.append(
            [
                _widened(place.across, x, width, 2.0),
                _widened(place.down, y, height, 2.0),
                _widened(place.cols, x, width, -1.0),
                _widened(place.rows, y, height, -1.0),
                _widened(place.inner_cols, x, width, 0.0),
                _widened(place.inner_rows, y, height, 0.0),
                *own,
            ]
        )
    across, down, cols, rows, inner_cols, inner_rows, *rest = _packed(vectors, device)
    cells = Cells(
        corners,
        within(across, down),
        membership(rows, max(p.counts[0] for p in places)),
        membership(cols, max(p.counts[1] for p in places)),
        inner_rows.to(torch.float32),
        inner_cols.to(torch.float32),
    )
    return cells, tuple(rest)


def within(across: Tensor, down: Tensor) -> Tensor:
    """(K, W) and (K, H), how far columns and rows lie out -> (K, 1, H, W) float32, 1 in the mosaic."""
    return (across.unsqueeze(1) + down.unsqueeze(2) <= 1).to(torch.float32).unsqueeze(1)


def _widened(x: Tensor, before: int, size: int, value: float) -> Tensor:
    after = size - before - x.shape[0]
    return F.pad(x, (before, after), value=value) if before or after else x


def _packed(vectors: list[list[Tensor]], device: torch.device) -> tuple[Tensor, ...]:
    """K lists of vectors, alike in their lengths -> (K, n) of each, on a device."""
    sizes = [len(x) for x in vectors[0]]
    packed = torch.stack([torch.cat(row) for row in vectors])
    there: tuple[Tensor, ...] = pinned_to(packed, device).split(sizes, dim=1)
    return there


def read_samples(frames: Sequence[Frame], cells: Cells, convert: Conversion) -> tuple[Tensor, Tensor]:
    """Reads the value of every cell of the mosaics of some frames, one of each: values (K, 3, R, Q) and noise
    (K,), see ``Samples``."""
    step_x, step_y = convert.format.step_x, convert.format.step_y
    down, across, mask = cells.rows, cells.cols, cells.mask
    inner = mask * (cells.inner_rows.unsqueeze(2) * cells.inner_cols.unsqueeze(1)).unsqueeze(1)
    height, width = mask.shape[-2:]
    planes = stacked_planes(frames, convert, cells.corners, width, height)
    luma, deviation = _robust_means(planes[0].unsqueeze(1), down, across, (inner, mask))
    native = luma
    if len(planes) > 1:
        if step_x == step_y == 1:
            tiers: tuple[Tensor, ...] = (inner, mask)
        else:
            covered = F.avg_pool2d(mask, (step_y, step_x), ceil_mode=True)
            inner_down, down = _pooled(cells.inner_rows, step_y), _pooled(down, step_y)
            inner_across, across = _pooled(cells.inner_cols, step_x), _pooled(across, step_x)
            whole = (covered == 1).to(torch.float32)
            deep = ((inner_down == 1).unsqueeze(2) & (inner_across == 1).unsqueeze(1)).unsqueeze(1)
            tiers = (whole * deep, whole, (covered > 0).to(torch.float32))
        chroma, _ = _robust_means(torch.stack(planes[1:], dim=1), down, across, tiers)
        native = torch.cat([luma, chroma], dim=1)
    present = (coverage(cells.rows, cells.cols, mask) > 0).to(torch.float32)
    values = convert.samples_to_rgb(native.transpose(0, 1)).transpose(0, 1).clamp_(0, 1) * present
    known = torch.where(present > 0, deviation, float("nan"))
    return values, known.flatten(1).nanmedian(1).values * convert.step


def stacked_planes(
    frames: Sequence[Frame],
    convert: Conversion,
    corners: Sequence[tuple[int, int]],
    width: int,
    height: int,
) -> list[Tensor]:
    """The colour planes of rectangles of one size: (K, h, w) float32 each, see ``cut_planes``."""
    cuts = [
        cut_planes(frame, convert, x0, y0, x0 + width, y0 + height)
        for frame, (x0, y0) in zip(frames, corners, strict=True)
    ]
    if len(cuts) == 1:
        return [plane.to(torch.float32).unsqueeze(0) for plane in cuts[0]]
    if cuts[0][0].dtype != torch.uint8:  # uint16 has few operations on a GPU
        cuts = [[plane.to(torch.float32) for plane in cut] for cut in cuts]
    return [torch.stack(list(planes)).to(torch.float32) for planes in zip(*cuts, strict=True)]


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


def _axis(axis: Axis, start: int, stop: int, touched: Tensor) -> tuple[Tensor, Tensor, int, int]:
    """Of each pixel its cell among the touched ones, -1 where in none, and whether it is an inner one,
    (size,) float64; the first cell and how many."""
    size = stop - start
    border = next((px for pitch, px in _BORDER_PX if axis.pitch >= pitch), 0)
    wide = index_from(axis, start - border, size + 2 * border)
    index = wide[border : border + size]
    inner = (wide[:size] == index) & (wide[2 * border :] == index)
    used = index[touched]
    first, last = int(used[0]), int(used[-1])
    return among(index - first, last - first + 1), inner.double(), first, last - first + 1


def among(index: Tensor, count: int) -> Tensor:
    """Cells from 0 below ``count``, float64; -1 where it is none of them."""
    return torch.where((index >= 0) & (index < count), index, -1).double()


def _robust_means(
    values: Tensor, rows: Tensor, cols: Tensor, tiers: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor]:
    """Trimmed mean of each cell over the first tier of pixels of which the cell has any.

    ``values`` (K, C, H, W); ``tiers`` weights (K, 1, H, W). Returns the means (K, C, R, Q) and the standard
    deviation of the first channel before trimming (K, 1, R, Q).
    """
    from_rows, into_cols = rows.unsqueeze(1), cols.transpose(-1, -2).contiguous().unsqueeze(1)

    def sums(x: Tensor) -> Tensor:
        return from_rows @ x @ into_cols

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
    near = (off <= replicate(limit, rows, cols)).all(1, keepdim=True)
    keep = weight * near
    count = sums(keep)
    trimmed = sums(values * keep) / count.clamp_min(1e-6)
    return torch.where(count > 0, trimmed, mean), variance[:, :1].sqrt()
