"""A grid of cells over a box of a frame: measured in the native planes, painted into them.

Cells follow the index map of ``nets.pixelation``: pixel i lies in cell floor((i - origin) / pitch); pixels
that the box only touches belong to its outer cells. A chroma sample belongs to the cell of its first pixel.
"""

from __future__ import annotations

import math
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
from pipeline.picture.grid_axes import PlanePart, extended, plane_parts, shown_cells
from pipeline.types import Box, Frame, Mask, Shape

LEAST_CELL_PX = 4.0
"""Cells of small faces are not made smaller than this."""
LEAST_CELL_SHARE = 1 / 45
"""of the picture's height: smaller cells are hardly seen to cover anything"""


def least_cell_px(height: float) -> float:
    """Side of the smallest cell in a picture of ``height`` px as displayed."""
    return max(LEAST_CELL_PX, height * LEAST_CELL_SHARE)


def cells_across(
    box: Box, blocks: int, mask_scale: float, sample_aspect: float = 1.0, least_px: float = LEAST_CELL_PX
) -> tuple[int, int]:
    """(rows, columns) of the grid over a mask of ``mask_scale`` x a face's box.

    ``blocks`` cells lie across the shorter side of the face; cells are square as displayed, and none is
    smaller than ``least_px`` unless the mask is.
    """
    sides = mask_scale * box.height, mask_scale * box.width * sample_aspect
    pitch = max(min(sides) / mask_scale / blocks, least_px)
    rows, columns = (max(1, min(round(side / pitch), math.floor(side / least_px))) for side in sides)
    return rows, columns


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
    grids = [
        _grid(mask, codes[:, ends[i] : ends[i + 1]].reshape(-1, *cells[i])) for i, mask in enumerate(masks)
    ]
    parts = plane_parts(
        frame,
        convert,
        [grid.box for grid in grids],
        [grid.codes.shape[1:] for grid in grids],
        [mask.area or mask.box for mask in masks],
    )
    for mask, grid, (fine, coarse) in zip(masks, grids, parts, strict=True):
        if fine.is_empty:
            continue
        inside = _covered(mask, grid, fine)
        _paint_plane(frame.planes[0], fine, mask, grid, 0, inside, convert)
        if len(grid.codes) > 1:
            inside = _any(inside, fine, convert)
        for index in range(1, len(grid.codes)):
            _paint_plane(frame.planes[index], coarse, mask, grid, index, inside, convert)


@dataclass(frozen=True, slots=True)
class _Grid:
    """A mask's grid, as far as it is shown."""

    box: Box
    codes: NDArray[np.int32]
    """(C, R, Q) of the native components"""


def _grid(mask: Mask, codes: NDArray[np.int32]) -> _Grid:
    """Continued where the mask reaches beyond it: its outer cells are repeated."""
    if mask.area is None:
        return _Grid(mask.box, codes)
    fine, (rows, columns) = mask.fine, codes.shape[1:]
    box, cells, (top, left) = extended(mask.box, (rows // fine, columns // fine), mask.area)
    down = np.clip(np.arange(cells[0] * fine) - top * fine, 0, rows - 1)
    across = np.clip(np.arange(cells[1] * fine) - left * fine, 0, columns - 1)
    return _Grid(box, codes[:, down[:, None], across])


def _paint_plane(
    plane: Tensor,
    place: PlanePart,
    mask: Mask,
    grid: _Grid,
    index: int,
    inside: NDArray[np.bool_],
    convert: Conversion,
) -> None:
    dtype = np.uint8 if plane.dtype is torch.uint8 else np.uint16
    codes = grid.codes[index]
    if mask.smooth:
        steps = (convert.format.step_y, convert.format.step_x) if index else (1, 1)
        values = _interpolated(codes, grid.box, place, steps, convert.format.bits)
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


def _covered(mask: Mask, grid: _Grid, place: PlanePart) -> NDArray[np.bool_]:
    """Pixels of the mask that are painted."""
    y, x = place.y, place.x
    if mask.shape is Shape.RECTANGLE:
        return np.ones((y.stop - y.start, x.stop - x.start), bool)
    rows, columns = grid.codes.shape[1:]
    area, fine = mask.area or mask.box, mask.fine
    if not mask.smooth and (rows, columns) != (1, 1):
        if mask.area is None:
            whole = _touching((rows // fine, columns // fine))
        else:
            whole = _touching_part((rows // fine, columns // fine), grid.box, area)
        return _spread(whole if fine == 1 else whole.repeat(fine, 0).repeat(fine, 1), place)
    down = _distance(np.arange(y.start, y.stop), area.y0, area.y1)
    across = _distance(np.arange(x.start, x.stop), area.x0, area.x1)
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


def _touching_part(cells: tuple[int, int], box: Box, area: Box) -> NDArray[np.bool_]:
    """(R, C): cells of a grid over ``box`` that the ellipse in ``area`` touches."""
    down, across = box.height / cells[0], box.width / cells[1]
    rows = _distance(np.arange(cells[0]), (area.y0 - box.y0) / down, (area.y1 - box.y0) / down)
    columns = _distance(np.arange(cells[1]), (area.x0 - box.x0) / across, (area.x1 - box.x0) / across)
    return np.asarray(rows[:, None] ** 2 + columns[None, :] ** 2 < 1)


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
