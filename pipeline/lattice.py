"""A lattice of cells over a box of a frame: measured in the native planes, painted into them.

Cells follow the index map of ``nets.pixelation``: pixel i lies in cell floor((i - origin) / pitch); pixels
that the box only touches belong to its outer cells. A chroma sample belongs to the cell of its first pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nets.pixelation import axis_index
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

    start: int
    stop: int
    """Samples of the plane that the box touches, clipped to the plane."""
    index: NDArray[np.int64]
    """The cell of each."""


def _axis(low: float, high: float, cells: int, size: int, step: int) -> _Axis:
    """``size`` samples of ``step`` pixels each; the box spans pixels ``low`` to ``high``."""
    start = min(max(math.floor(low) // step, 0), size)
    stop = max(min(-(-math.ceil(high) // step), size), start)
    index = axis_index((stop - start) * step, max((high - low) / cells, 1e-6), low - start * step)
    return _Axis(start, stop, index.numpy()[::step].clip(0, cells - 1))


def _axes(
    frame: Frame, convert: Conversion, plane: int, box: Box, cells: tuple[int, int]
) -> tuple[_Axis, _Axis]:
    rows, columns = frame.planes[plane].shape
    fine = plane == 0 or plane > 2
    step_y, step_x = (1, 1) if fine else (convert.format.step_y, convert.format.step_x)
    return (
        _axis(box.y0, box.y1, cells[0], rows, step_y),
        _axis(box.x0, box.x1, cells[1], columns, step_x),
    )


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
    y, x = _axes(frame, convert, 0, box, cells)
    down, across = np.bincount(y.index, minlength=cells[0]), np.bincount(x.index, minlength=cells[1])
    rows, columns = _own(down), _own(across)
    means = []
    for plane in range(convert.format.colour_planes):
        y, x = _axes(frame, convert, plane, box, cells)
        content = frame.planes[plane].numpy()[y.start : y.stop, x.start : x.stop].astype(np.float32)
        if not content.size:
            means.append(np.full(cells, frame.planes[plane].numpy().mean(), np.float32))
            continue
        sums = _added(_added(content, y.index, cells[0]).T, x.index, cells[1]).T
        counts = [np.bincount(axis.index, minlength=n) for axis, n in ((y, cells[0]), (x, cells[1]))]
        mean = sums / np.maximum(np.outer(*counts), 1)
        # A cell that has pixels but no sample of chroma shows its neighbour's.
        mean = mean[np.ix_(_own(counts[0], 1), _own(counts[1], 1))]
        means.append(mean[np.ix_(rows, columns)].astype(np.float32))
    samples = convert.samples_to_rgb(torch.from_numpy(np.stack(means)))
    return Measured(samples, rows, columns, int(down[rows].min() * across[columns].min()))


def _own(counts: NDArray[np.int64], least: float | None = None) -> NDArray[np.int64]:
    """For each cell of an axis the nearest one with enough samples: ``least``, or half of the fullest's."""
    enough = np.flatnonzero(counts >= max(counts.max() / 2 if least is None else least, 1))
    if not len(enough):
        return np.zeros(len(counts), np.int64)
    return np.asarray(enough[np.abs(enough[None, :] - np.arange(len(counts))[:, None]).argmin(1)], np.int64)


def _added(values: NDArray[np.float32], index: NDArray[np.int64], cells: int) -> NDArray[np.float32]:
    """Rows summed by cell: (n, m) -> (cells, m). The index ascends."""
    present, first = np.unique(index, return_index=True)
    out = np.zeros((cells, values.shape[1]), np.float32)
    out[present] = np.add.reduceat(values, first, axis=0)
    return out


def paint(frame: Frame, mask: Mask, convert: Conversion) -> None:
    """Writes a mask into a frame's planes, which must be the caller's own. An alpha plane stays.

    A chroma sample is written where any of its pixels is covered, so that no colour of the face stays at the
    border; there the chroma of up to ``step`` - 1 pixels beyond changes with it.
    """
    cells = mask.samples.shape[1], mask.samples.shape[2]
    codes = convert.samples_from_rgb(mask.samples).numpy()
    inside = _covered(frame, mask, convert, cells)
    inside_chroma = _any(inside, _axes(frame, convert, 0, mask.box, cells), convert)
    for plane in range(convert.format.colour_planes):
        y, x = _axes(frame, convert, plane, mask.box, cells)
        if y.start == y.stop or x.start == x.stop:
            continue
        if mask.smooth:
            values = _interpolated(codes[plane], mask.box, y, x, convert, plane)
        else:
            values = codes[plane][np.ix_(y.index, x.index)]
        target = frame.planes[plane].numpy()[y.start : y.stop, x.start : x.stop]
        np.copyto(target, values.astype(target.dtype), where=inside_chroma if plane else inside)


def _covered(frame: Frame, mask: Mask, convert: Conversion, cells: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels of the box that are painted, on the samples of the first plane."""
    y, x = _axes(frame, convert, 0, mask.box, cells)
    if mask.shape is Shape.RECTANGLE:
        return np.ones((len(y.index), len(x.index)), bool)
    if not mask.smooth and cells != (1, 1):
        return _touching(cells)[np.ix_(y.index, x.index)]
    down = _distance(np.arange(y.start, y.stop), mask.box.y0, mask.box.y1)
    across = _distance(np.arange(x.start, x.stop), mask.box.x0, mask.box.x1)
    return np.asarray(down[:, None] ** 2 + across[None, :] ** 2 < 1)


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
    whole = np.pad(inside, ((top, bottom), (left, right)))
    blocks = whole.reshape(whole.shape[0] // step_y, step_y, whole.shape[1] // step_x, step_x)
    return np.asarray(blocks.any((1, 3)))


def _interpolated(
    codes: NDArray[np.int32], box: Box, y: _Axis, x: _Axis, convert: Conversion, plane: int
) -> NDArray[np.float32]:
    """The lattice interpolated at the samples of one plane."""
    step_y, step_x = (1, 1) if plane == 0 else (convert.format.step_y, convert.format.step_x)
    rows, columns = codes.shape
    # Centres of samples in cells, from the first cell's centre on.
    down = ((np.arange(y.start, y.stop) + 0.5) * step_y - box.y0) / (box.height / rows) - 0.5
    across = ((np.arange(x.start, x.stop) + 0.5) * step_x - box.x0) / (box.width / columns) - 0.5
    across_map, down_map = np.meshgrid(across.astype(np.float32), down.astype(np.float32))
    out = cv2.remap(
        codes.astype(np.float32), across_map, down_map, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    top = 2**convert.format.bits - 1
    return np.asarray(np.clip(np.rint(out), 0, top), np.float32)
