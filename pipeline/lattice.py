"""A lattice of cells over a box of a frame: measured in the native planes, painted into them.

Cells follow the index map of ``nets.pixelation``: pixel i lies in cell floor((i - origin) / pitch); pixels
that the box only touches belong to its outer cells. A chroma sample belongs to the cell of its first pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nets.pixelation import cell_edges
from pipeline.color import Conversion
from pipeline.types import Box, Frame, Mask, Shape

LEAST_CELL_PX = 4.0
"""Cells of small faces are not made smaller than this."""


def cells_across(box: Box, blocks: int, mask_scale: float, sample_aspect: float = 1.0) -> tuple[int, int]:
    """(rows, columns) of the lattice over a mask of ``mask_scale`` x a face's box.

    ``blocks`` cells lie across the shorter side of the face; cells are square as displayed.
    """
    width, height = box.width * sample_aspect, box.height
    pitch = max(min(width, height) / blocks, LEAST_CELL_PX)
    return max(1, round(mask_scale * height / pitch)), max(1, round(mask_scale * width / pitch))


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis of a box on one plane."""

    edges: tuple[int, ...]
    """First sample of the plane in each cell and the end of the last one, clipped to the plane; ascending."""
    bounds: NDArray[np.int64]
    """The same, counted from the first one."""
    counts: NDArray[np.int64]
    """Samples of each cell."""
    filled: NDArray[np.int64]
    """For each cell the nearest one that has a sample."""

    @property
    def start(self) -> int:
        return self.edges[0]

    @property
    def stop(self) -> int:
        return self.edges[-1]


@lru_cache(maxsize=1024)
def _axis(low: float, high: float, cells: int, size: int, step: int) -> _Axis:
    """``size`` samples of ``step`` pixels each; the box spans pixels ``low`` to ``high``."""
    start = min(max(math.floor(low) // step, 0), size)
    stop = max(min(-(-math.ceil(high) // step), size), start)
    inner = cell_edges(max((high - low) / cells, 1e-6), low, 1, cells - 2) if cells > 1 else []
    edges = (start, *[min(max(-(-edge // step), start), stop) for edge in inner], stop)
    bounds = np.array(edges) - start
    counts = bounds[1:] - bounds[:-1]
    return _Axis(edges, bounds, counts, _own(counts, 1))


def _axes(frame: Frame, convert: Conversion, box: Box, cells: tuple[int, int]) -> list[tuple[_Axis, _Axis]]:
    """(rows, columns) of the box on every plane of colour."""

    def of(plane: int, step_y: int, step_x: int) -> tuple[_Axis, _Axis]:
        rows, columns = frame.planes[plane].shape
        return (
            _axis(box.y0, box.y1, cells[0], rows, step_y),
            _axis(box.x0, box.x1, cells[1], columns, step_x),
        )

    fine = of(0, 1, 1)
    step_y, step_x = convert.format.step_y, convert.format.step_x
    coarse = fine if (step_y, step_x) == (1, 1) else of(1, step_y, step_x)
    return [fine] + [coarse] * (convert.format.colour_planes - 1)


@dataclass(frozen=True, slots=True)
class Measured:
    """Mean colours of a lattice's cells."""

    samples: Tensor
    """(3, R, C) float32 RGB, gamma-coded, not clamped"""
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    """(R,), (C,): the row and column whose mean a cell shows. Its own, but for cells of which the picture
    holds less than half: they repeat their neighbour's."""
    least_pixels: int
    """Pixels of the smallest cell that was averaged."""


def measure(frame: Frame, box: Box, cells: tuple[int, int], convert: Conversion) -> Measured:
    """Means over the pixels of each cell, in the planes' own colours, which is the same as in RGB."""
    axes = _axes(frame, convert, box, cells)
    down, across = axes[0][0].counts, axes[0][1].counts
    rows, columns = _own(down), _own(across)
    means = np.empty((convert.format.colour_planes, *cells), np.float32)
    for mean, plane, (y, x) in zip(means, frame.planes, axes, strict=False):
        if _is_empty(y, x):
            mean[:] = int(plane.to(torch.int32).sum()) / plane.numel()
            continue
        own = _cell_sums(plane, y, x) / np.maximum(y.counts[:, None] * x.counts, 1)
        # A cell that has pixels but no sample of chroma shows its neighbour's.
        mean[:] = own[y.filled[rows][:, None], x.filled[columns]]
    samples = convert.samples_to_rgb(torch.from_numpy(means))
    return Measured(samples, rows, columns, int(down[rows].min() * across[columns].min()))


def _is_empty(y: _Axis, x: _Axis) -> bool:
    return y.start == y.stop or x.start == x.stop


def _cell_sums(plane: Tensor, y: _Axis, x: _Axis) -> NDArray[np.float64]:
    """(R, C): samples of each cell added up where they lie; the sums come to the host.

    float64 holds the sums of any picture's integers exactly.
    """
    if plane.device.type == "cpu":
        content = plane.numpy()[y.start : y.stop, x.start : x.stop]
        table = cv2.integral(content, sdepth=cv2.CV_64F)[y.bounds[:, None], x.bounds]
        return np.asarray(table[1:, 1:] - table[:-1, 1:] - table[1:, :-1] + table[:-1, :-1], np.float64)
    rows, columns = (torch.from_numpy(_members(axis.edges)).to(plane.device) for axis in (y, x))
    # uint16 has few operations on a GPU
    part = plane[y.start : y.stop, x.start : x.stop]
    sums = rows @ part.to(torch.int32).to(torch.float64) @ columns.T
    return np.asarray(sums.cpu().numpy(), np.float64)


@lru_cache(maxsize=256)
def _members(edges: tuple[int, ...]) -> NDArray[np.float64]:
    """(cells, samples): 1 where a sample lies in a cell, which begins at an edge and ends at the next."""
    at = np.arange(edges[0], edges[-1])
    bounds = np.array(edges)[:, None]
    return np.asarray((at >= bounds[:-1]) & (at < bounds[1:]), np.float64)


def _own(counts: NDArray[np.int64], least: float | None = None) -> NDArray[np.int64]:
    """For each cell of an axis the nearest one with enough samples: ``least``, or half of the fullest's."""
    wanted = max(counts.max() / 2 if least is None else least, 1)
    if counts.min() >= wanted:
        return np.arange(len(counts))
    enough = np.flatnonzero(counts >= wanted)
    if not len(enough):
        return np.zeros(len(counts), np.int64)
    return np.asarray(enough[np.abs(enough[None, :] - np.arange(len(counts))[:, None]).argmin(1)], np.int64)


def paint(frame: Frame, mask: Mask, convert: Conversion) -> None:
    """Writes a mask into a frame's planes, which must be the caller's own. An alpha plane stays.

    A chroma sample is written where any of its pixels is covered, so that no colour of the face stays at the
    border; there the chroma of up to ``step`` - 1 pixels beyond changes with it.
    """
    cells = mask.samples.shape[1], mask.samples.shape[2]
    codes = convert.samples_from_rgb(mask.samples).numpy()
    axes = _axes(frame, convert, mask.box, cells)
    inside = _covered(mask, axes[0], cells)
    inside_chroma = _any(inside, axes[0], convert)
    for index, (plane, (y, x)) in enumerate(zip(frame.planes, axes, strict=False)):
        if _is_empty(y, x):
            continue
        dtype = np.uint8 if plane.dtype is torch.uint8 else np.uint16
        if mask.smooth:
            steps = (convert.format.step_y, convert.format.step_x) if index else (1, 1)
            values = _interpolated(codes[index], mask.box, (y, x), steps, convert.format.bits)
        else:
            values = _spread(codes[index].astype(dtype), y, x)
        place = slice(y.start, y.stop), slice(x.start, x.stop)
        _write(plane, place, values.astype(dtype, copy=False), inside_chroma if index else inside)


def _write(plane: Tensor, place: tuple[slice, slice], values: NDArray[Any], where: NDArray[np.bool_]) -> None:
    """Values into a part of a plane where it lies: what is painted was worked out on the host."""
    if plane.device.type == "cpu":
        np.copyto(plane.numpy()[place], values, where=where)
        return
    target = plane[place]
    # PyTorch has no where() of uint16 on a GPU: int32 in between
    painted, mask = (torch.from_numpy(np.ascontiguousarray(x)).to(target.device) for x in (values, where))
    target.copy_(torch.where(mask, painted.to(torch.int32), target.to(torch.int32)))


def _covered(mask: Mask, axes: tuple[_Axis, _Axis], cells: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels of the box that are painted."""
    y, x = axes
    if mask.shape is Shape.RECTANGLE:
        return np.ones((y.stop - y.start, x.stop - x.start), bool)
    if not mask.smooth and cells != (1, 1):
        whole = _touching((cells[0] // mask.fine, cells[1] // mask.fine))
        return _spread(whole.repeat(mask.fine, 0).repeat(mask.fine, 1), y, x)
    down = _distance(np.arange(y.start, y.stop), mask.box.y0, mask.box.y1)
    across = _distance(np.arange(x.start, x.stop), mask.box.x0, mask.box.x1)
    return np.asarray(down[:, None] ** 2 + across[None, :] ** 2 < 1)


def _spread(values: NDArray[Any], y: _Axis, x: _Axis) -> NDArray[Any]:
    """The value of its cell for each sample."""
    return values.repeat(x.counts, 1).repeat(y.counts, 0)


@lru_cache(maxsize=256)
def _touching(cells: tuple[int, int]) -> NDArray[np.bool_]:
    """(R, C): cells that the ellipse in the lattice's box touches."""
    down = _distance(np.arange(cells[0]), 0, cells[0])
    across = _distance(np.arange(cells[1]), 0, cells[1])
    return np.asarray(down[:, None] ** 2 + across[None, :] ** 2 < 1)


def _distance(first: NDArray[np.int64], low: float, high: float) -> NDArray[np.float64]:
    """Of the nearest point of each unit [i, i + 1) to the middle of a span, in half spans."""
    middle = (low + high) / 2
    away = np.maximum(np.abs(first + 0.5 - middle) - 0.5, 0)
    return np.asarray(away / ((high - low) / 2))


def _any(inside: NDArray[np.bool_], axes: tuple[_Axis, _Axis], convert: Conversion) -> NDArray[np.bool_]:
    """Chroma samples of which any pixel is painted."""
    step_y, step_x = convert.format.step_y, convert.format.step_x
    if (step_y, step_x) == (1, 1) or not inside.size:
        return inside
    y, x = axes
    top, left = y.start % step_y, x.start % step_x
    bottom, right = -(top + inside.shape[0]) % step_y, -(left + inside.shape[1]) % step_x
    rows, columns = inside.shape
    whole = np.zeros((top + rows + bottom, left + columns + right), bool)
    whole[top : top + rows, left : left + columns] = inside
    # Several times as quick as any() over the pixels of each sample.
    corners = (whole[i::step_y, j::step_x] for i in range(step_y) for j in range(step_x))
    return np.asarray(reduce(np.logical_or, corners))


def _interpolated(
    codes: NDArray[np.int32], box: Box, axes: tuple[_Axis, _Axis], steps: tuple[int, int], bits: int
) -> NDArray[np.float32]:
    """The lattice interpolated at the samples of one plane, which cover ``steps`` (rows, columns) pixels."""
    rows, columns = codes.shape
    y, x = axes
    # Centres of samples in cells, from the first cell's centre on.
    down = ((np.arange(y.start, y.stop) + 0.5) * steps[0] - box.y0) / (box.height / rows) - 0.5
    across = ((np.arange(x.start, x.stop) + 0.5) * steps[1] - box.x0) / (box.width / columns) - 0.5
    across_map, down_map = np.meshgrid(across.astype(np.float32), down.astype(np.float32))
    out = cv2.remap(
        codes.astype(np.float32), across_map, down_map, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(np.clip(np.rint(out), 0, 2**bits - 1), np.float32)
