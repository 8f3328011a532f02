"""A grid of cells over a box of a frame: measured in the native planes, painted into them.

Cells follow the index map of ``nets.pixelation``: pixel i lies in cell floor((i - origin) / pitch); pixels
that the box only touches belong to its outer cells. A chroma sample belongs to the cell of its first pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.picture.color import Conversion
from pipeline.picture.grid_axes import PlanePart, plane_parts, shown_cells
from pipeline.types import Box, Frame, Mask, Shape

LEAST_CELL_PX = 4.0
"""Cells of small faces are not made smaller than this."""


def cells_across(box: Box, blocks: int, mask_scale: float, sample_aspect: float = 1.0) -> tuple[int, int]:
    """(rows, columns) of the grid over a mask of ``mask_scale`` x a face's box.

    ``blocks`` cells lie across the shorter side of the face; cells are square as displayed.
    """
    width, height = box.width * sample_aspect, box.height
    pitch = max(min(width, height) / blocks, LEAST_CELL_PX)
    return max(1, round(mask_scale * height / pitch)), max(1, round(mask_scale * width / pitch))


@dataclass(frozen=True, slots=True)
class Measured:
    """Mean colours of a grid's cells."""

    samples: Tensor
    """(3, R, C) float32 RGB, gamma-coded, not clamped"""
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    """(R,), (C,): the row and column whose mean a cell shows. Its own, but for cells of which the picture
    holds less than half: they repeat their neighbour's."""
    least_pixels: int
    """Pixels of the smallest cell that was averaged."""


def measure(
    frame: Frame, boxes: Sequence[Box], cells: Sequence[tuple[int, int]], convert: Conversion
) -> list[Measured]:
    """Means over the pixels of each cell of each box, which has (rows, columns) of them.

    In the planes' own colours, which is the same as in RGB.
    """
    planes = convert.format.colour_planes
    ends = np.cumsum([0, *(rows * columns for rows, columns in cells)]).tolist()
    means = np.empty((planes, ends[-1]), np.float32)
    parts = plane_parts(frame, convert, boxes, cells)
    shown = []
    for i, (fine, coarse) in enumerate(parts):
        cells_shown = shown_cells(fine.y), shown_cells(fine.x)
        for index, plane in enumerate(frame.planes[:planes]):
            mean = means[index, ends[i] : ends[i + 1]].reshape(cells[i])
            _means(plane, coarse if index else fine, cells_shown, mean)
        shown.append(cells_shown)
    samples = convert.samples_to_rgb(torch.from_numpy(means))
    return [
        _measured(samples[:, ends[i] : ends[i + 1]].view(3, *cells[i]), fine, shown[i])
        for i, (fine, _) in enumerate(parts)
    ]


_Shown = tuple[NDArray[np.int64] | None, NDArray[np.int64] | None]
"""Rows and columns whose mean cells show; None: their own."""


def _measured(samples: Tensor, fine: PlanePart, shown: _Shown) -> Measured:
    down, across = fine.y.counts, fine.x.counts
    rows, columns = (
        np.arange(len(counts)) if cells is None else cells
        for counts, cells in zip((down, across), shown, strict=True)
    )
    return Measured(samples, rows, columns, int(down[rows].min() * across[columns].min()))


def _means(plane: Tensor, place: PlanePart, shown: _Shown, out: NDArray[np.float32]) -> None:
    """(R, C): of the cells of a place on a plane."""
    if place.is_empty:
        out[:] = int(plane.to(torch.int32).sum()) / plane.numel()
        return
    y, x = place.y, place.x
    counts = y.counts[:, None] * x.counts
    if shown[0] is None and shown[1] is None and y.least > 0 and x.least > 0:
        np.divide(_cell_sums(plane, place), counts, out=out, casting="same_kind")
        return
    means = _cell_sums(plane, place) / np.maximum(counts, 1)
    # A cell that has pixels but no sample of chroma shows its neighbour's.
    rows, columns = (
        filled if cells is None else cells if filled is None else filled[cells]
        for cells, filled in zip(shown, (shown_cells(y, 1), shown_cells(x, 1)), strict=True)
    )
    means = means if rows is None else means[rows]
    out[:] = means if columns is None else means[:, columns]


def _cell_sums(plane: Tensor, place: PlanePart) -> NDArray[np.float64]:
    """(R, C): samples of each cell added up where they lie; the sums come to the host.

    float64 holds the sums of any picture's integers exactly.
    """
    y, x = place.y, place.x
    if plane.device.type == "cpu":
        table = cv2.integral(plane.numpy()[place.part], sdepth=cv2.CV_64F)
        corners = table[y.bounds[:, None], x.bounds]
        by_row = corners[1:] - corners[:-1]
        return np.asarray(by_row[:, 1:] - by_row[:, :-1], np.float64)
    rows, columns = (torch.from_numpy(_members(tuple(a.bounds.tolist()))).to(plane.device) for a in (y, x))
    # uint16 has few operations on a GPU
    sums = rows @ plane[place.part].to(torch.int32).to(torch.float64) @ columns.T
    return np.asarray(sums.cpu().numpy(), np.float64)


@lru_cache(maxsize=256)
def _members(bounds: tuple[int, ...]) -> NDArray[np.float64]:
    """(cells, samples): 1 where a sample lies in a cell, which begins at a bound and ends at the next."""
    at = np.arange(bounds[-1])
    ends = np.array(bounds)[:, None]
    return np.asarray((at >= ends[:-1]) & (at < ends[1:]), np.float64)


def paint(frame: Frame, masks: Sequence[Mask], convert: Conversion) -> None:
    """Writes masks into a frame's planes, which must be the caller's own; of two that overlap the later one
    is seen. An alpha plane stays.

    A chroma sample is written where any of its pixels is covered, so that no colour of the face stays at the
    border; there the chroma of up to ``step`` - 1 pixels beyond changes with it.
    """
    cells = [(mask.samples.shape[1], mask.samples.shape[2]) for mask in masks]
    ends = np.cumsum([0, *(rows * columns for rows, columns in cells)]).tolist()
    codes = convert.samples_from_rgb(torch.cat([mask.samples.flatten(1) for mask in masks], 1)).numpy()
    parts = plane_parts(frame, convert, [mask.box for mask in masks], cells)
    for i, (mask, (fine, coarse)) in enumerate(zip(masks, parts, strict=True)):
        if fine.is_empty:
            continue
        mask_codes = codes[:, ends[i] : ends[i + 1]].reshape(-1, *cells[i])
        inside = _covered(mask, fine, cells[i])
        _paint_plane(frame.planes[0], fine, mask, mask_codes[0], inside, (1, 1), convert)
        steps = convert.format.step_y, convert.format.step_x
        if len(mask_codes) > 1:
            inside = _any(inside, fine, convert)
        for plane, code in zip(frame.planes[1:], mask_codes[1:], strict=False):
            _paint_plane(plane, coarse, mask, code, inside, steps, convert)


def _paint_plane(
    plane: Tensor,
    place: PlanePart,
    mask: Mask,
    codes: NDArray[np.int32],
    inside: NDArray[np.bool_],
    steps: tuple[int, int],
    convert: Conversion,
) -> None:
    dtype = np.uint8 if plane.dtype is torch.uint8 else np.uint16
    if mask.smooth:
        values = _interpolated(codes, mask.box, place, steps, convert.format.bits)
    else:
        values = _spread(codes.astype(dtype), place)
    _write(plane, place.part, values.astype(dtype, copy=False), inside)


def _write(plane: Tensor, place: tuple[slice, slice], values: NDArray[Any], where: NDArray[np.bool_]) -> None:
    """Values into a part of a plane where it lies: what is painted was worked out on the host."""
    if plane.device.type == "cpu":
        np.copyto(plane.numpy()[place], values, where=where)
        return
    target = plane[place]
    # PyTorch has no where() of uint16 on a GPU: int32 in between
    painted, mask = (torch.from_numpy(np.ascontiguousarray(x)).to(target.device) for x in (values, where))
    target.copy_(torch.where(mask, painted.to(torch.int32), target.to(torch.int32)))


def _covered(mask: Mask, place: PlanePart, cells: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels of the box that are painted."""
    y, x = place.y, place.x
    if mask.shape is Shape.RECTANGLE:
        return np.ones((y.stop - y.start, x.stop - x.start), bool)
    if not mask.smooth and cells != (1, 1):
        whole = _touching((cells[0] // mask.fine, cells[1] // mask.fine))
        return _spread(whole if mask.fine == 1 else whole.repeat(mask.fine, 0).repeat(mask.fine, 1), place)
    down = _distance(np.arange(y.start, y.stop), mask.box.y0, mask.box.y1)
    across = _distance(np.arange(x.start, x.stop), mask.box.x0, mask.box.x1)
    return np.asarray(down[:, None] ** 2 + across[None, :] ** 2 < 1)


def _spread(values: NDArray[Any], place: PlanePart) -> NDArray[Any]:
    """The value of its cell for each sample."""
    return values.repeat(place.x.counts, 1).repeat(place.y.counts, 0)


@lru_cache(maxsize=256)
def _touching(cells: tuple[int, int]) -> NDArray[np.bool_]:
    """(R, C): cells that the ellipse in the grid's box touches."""
    down = _distance(np.arange(cells[0]), 0, cells[0])
    across = _distance(np.arange(cells[1]), 0, cells[1])
    return np.asarray(down[:, None] ** 2 + across[None, :] ** 2 < 1)


def _distance(first: NDArray[np.int64], low: float, high: float) -> NDArray[np.float64]:
    """Of the nearest point of each unit [i, i + 1) to the middle of a span, in half spans."""
    middle = (low + high) / 2
    away = np.maximum(np.abs(first + 0.5 - middle) - 0.5, 0)
    return np.asarray(away / ((high - low) / 2))


def _any(inside: NDArray[np.bool_], place: PlanePart, convert: Conversion) -> NDArray[np.bool_]:
    """Chroma samples of which any pixel is painted."""
    step_y, step_x = convert.format.step_y, convert.format.step_x
    if (step_y, step_x) == (1, 1) or not inside.size:
        return inside
    top, left = place.y.start % step_y, place.x.start % step_x
    bottom, right = -(top + inside.shape[0]) % step_y, -(left + inside.shape[1]) % step_x
    rows, columns = inside.shape
    whole = np.zeros((top + rows + bottom, left + columns + right), bool)
    whole[top : top + rows, left : left + columns] = inside
    # Several times as quick as any() over the pixels of each sample.
    corners = (whole[i::step_y, j::step_x] for i in range(step_y) for j in range(step_x))
    return np.asarray(reduce(np.logical_or, corners))


def _interpolated(
    codes: NDArray[np.int32], box: Box, place: PlanePart, steps: tuple[int, int], bits: int
) -> NDArray[np.float32]:
    """The grid's values interpolated at the samples of one plane, which cover ``steps`` (rows, columns)
    pixels."""
    rows, columns = codes.shape
    y, x = place.y, place.x
    # Centres of samples in cells, from the first cell's centre on.
    down = ((np.arange(y.start, y.stop) + 0.5) * steps[0] - box.y0) / (box.height / rows) - 0.5
    across = ((np.arange(x.start, x.stop) + 0.5) * steps[1] - box.x0) / (box.width / columns) - 0.5
    across_map, down_map = np.meshgrid(across.astype(np.float32), down.astype(np.float32))
    out = cv2.remap(
        codes.astype(np.float32), across_map, down_map, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(np.clip(np.rint(out), 0, 2**bits - 1), np.float32)
