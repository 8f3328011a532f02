"""Where the cells of grids lie in the planes of a frame: edges of all of them at once.

A frame of a crowd has forty masks, with four axes each: one by one in Python they cost more than the pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nets.pixelation import EPS
from pipeline.errors import InputError
from pipeline.picture.color import Conversion
from pipeline.types import Box, Frame

Ints = NDArray[np.int64]
MAX_CELLS = 1 << 24
"""Of one mask; their colours take 200 MB."""


@dataclass(frozen=True, slots=True)
class PlaneAxis:
    """One axis of a box on one plane, in R cells."""

    start: int
    """First sample of the plane that lies in the box, and"""
    stop: int
    """the end of them; both clipped to the plane."""
    bounds: Ints
    """(R + 1,): first sample of each cell and the end of the last one, counted from ``start``; ascending."""
    counts: Ints
    """(R,): samples of each cell."""
    least: int
    """Samples of the emptiest cell."""

    @property
    def is_empty(self) -> bool:
        return self.start == self.stop


@dataclass(frozen=True, slots=True)
class PlanePart:
    """A box on one plane."""

    y: PlaneAxis
    x: PlaneAxis

    @property
    def is_empty(self) -> bool:
        return self.y.is_empty or self.x.is_empty

    @property
    def part(self) -> tuple[slice, slice]:
        """Of the plane."""
        return slice(self.y.start, self.y.stop), slice(self.x.start, self.x.stop)


def plane_parts(
    frame: Frame,
    convert: Conversion,
    boxes: Sequence[Box],
    cells: Sequence[tuple[int, int]],
    areas: Sequence[Box] | None = None,
) -> list[tuple[PlanePart, PlanePart]]:
    """The part of each box, in (rows, columns) of cells, on the first plane and on the planes of chroma,
    which is the same one where chroma has the samples of luma. ``areas``: the part that each grid is shown
    in, see ``plane_axes``."""
    if not boxes:
        return []
    edges = np.array([(box.y0, box.y1, box.x0, box.x1) for box in boxes])
    ends = edges if areas is None else np.array([(box.y0, box.y1, box.x0, box.x1) for box in areas])
    counts = np.array(cells)

    def on(plane: int, step_y: int, step_x: int) -> list[PlanePart]:
        rows, columns = frame.planes[plane].shape
        down = plane_axes(edges[:, 0], edges[:, 1], counts[:, 0], rows, step_y, (ends[:, 0], ends[:, 1]))
        across = plane_axes(edges[:, 2], edges[:, 3], counts[:, 1], columns, step_x, (ends[:, 2], ends[:, 3]))
        return [PlanePart(y, x) for y, x in zip(down, across, strict=True)]

    fine = on(0, 1, 1)
    step_y, step_x = convert.format.step_y, convert.format.step_x
    coarse = fine if (step_y, step_x) == (1, 1) else on(1, step_y, step_x)
    return list(zip(fine, coarse, strict=True))


def extended(box: Box, cells: tuple[int, int], area: Box) -> tuple[Box, tuple[int, int], tuple[int, int]]:
    """A grid of (rows, columns) over a box, continued by whole cells until it covers ``area``: its box, its
    cells, and how many rows and columns were added before the first ones. Raises InputError for more than
    ``MAX_CELLS``."""
    down, across = box.height / cells[0], box.width / cells[1]

    def more(px: float, pitch: float) -> int:
        return max(0, math.ceil(px / pitch - EPS))

    top, bottom = more(box.y0 - area.y0, down), more(area.y1 - box.y1, down)
    left, right = more(box.x0 - area.x0, across), more(area.x1 - box.x1, across)
    if (cells[0] + top + bottom) * (cells[1] + left + right) > MAX_CELLS:
        raise InputError(
            f"a mask of {box.width:g}x{box.height:g} px has cells too small to cover "
            f"{area.width:.0f}x{area.height:.0f} px beside it; choose fewer blocks, or leave that track out"
        )
    whole = Box(box.x0 - left * across, box.y0 - top * down, box.x1 + right * across, box.y1 + bottom * down)
    return whole, (cells[0] + top + bottom, cells[1] + left + right), (top, left)


def plane_axes(
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    cells: Ints,
    size: int,
    step: int,
    shown: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
) -> list[PlaneAxis]:
    """Axes of n boxes that span the pixels ``low`` to ``high`` (n,) in ``cells`` (n,) cells each, on an axis
    of ``size`` samples of ``step`` pixels. Cell edges are those of ``nets.pixelation.cell_edges``.

    ``shown``: the pixels (n,), (n,) from and to which the cells are shown, within the box; cells outside have
    no samples."""
    first, last = (low, high) if shown is None else shown
    start = np.clip(np.floor(first).astype(np.int64) // step, 0, size)
    stop = np.maximum(np.minimum(_up(np.ceil(last).astype(np.int64), step), size), start)
    pitch = np.maximum((high - low) / cells, 1e-6)[:, None]
    cell = np.arange(cells.max() + 1)
    inner = np.ceil(low[:, None] + cell * pitch - EPS * pitch).astype(np.int64)
    ends = np.minimum(np.maximum(_up(inner, step), start[:, None]), stop[:, None])
    ends[:, 0] = start
    ends = np.where(cell >= cells[:, None], stop[:, None], ends)
    bounds = ends - start[:, None]
    counts = bounds[:, 1:] - bounds[:, :-1]
    least = np.where(cell[:-1] < cells[:, None], counts, size).min(1)
    return [
        PlaneAxis(begin, end, bound[: n + 1], count[:n], fewest)
        for begin, end, bound, count, n, fewest in zip(
            start.tolist(), stop.tolist(), bounds, counts, cells.tolist(), least.tolist(), strict=True
        )
    ]


def _up(pixels: Ints, step: int) -> Ints:
    """In samples of ``step`` pixels, rounded up."""
    return pixels if step == 1 else -(-pixels // step)


def shown_cells(axis: PlaneAxis, least: float | None = None) -> Ints | None:
    """The cell whose mean each cell shows: the nearest one with enough samples, ``least``, or half of the
    fullest's; None where all have enough."""
    counts = axis.counts
    wanted = max(int(counts.max()) / 2 if least is None else least, 1)
    if axis.least >= wanted:
        return None
    enough = np.flatnonzero(counts >= wanted)
    if not len(enough):
        return np.zeros(len(counts), np.int64)
    return np.asarray(enough[np.abs(enough[None, :] - np.arange(len(counts))[:, None]).argmin(1)], np.int64)
