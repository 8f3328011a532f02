"""Where a mosaic ends: box and shape of the region that a lattice explains.

Two things speak for a column of pixels (rows likewise): horizontal edges on the lattice's rows cross it,
more than halfway between, and it is as quiet between them as the mosaic is. The box is the run of columns,
then of rows, then again, with the largest sum of both; ``strips`` moves the sides of small cells, ``sides``
finds the last pixels. Quiet alone does not count as evidence, or walls would join the mosaic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.mosaic.cell_strips import settle
from pipeline.mosaic.evidence import Evidence, Lattice, Pixels
from pipeline.mosaic.line_grid import Comb, best_run
from pipeline.mosaic.pixel_sides import refine
from pipeline.types import Strips

_ROUNDS = 3
_ACTIVE_WEIGHT = 0.2
"""What an active pixel too many costs, in steps on the lattice."""
_MISS = 0.45
"""What a pixel of the lattice without a step costs, in the mosaic's own rate of steps."""
_LEAST_MISS, _MOST_MISS = 0.03, 0.1
"""In steps, bounds of that cost. Cells at a forehead differ by next to nothing; with 0.2 as the upper one,
boxes of small cells at crf 28 end there, 20 px short. On 304 tracks of train clips with cells of 5 to 9 px
the share of boxes more than 5 px short at the top went from 5.3 to 3.0 %, of those 5 px too far out from 0.5
to 1.0 %."""
_LINE = 0.3
"""Share of its pixels that a line across earns at most: a long edge of the surroundings may lie on one."""
_CLIP = 40
"""Grey levels; a few strong edges must not outweigh all others."""
_CHANCE_PX = 5
"""Columns over which the steps halfway between the rows are averaged, which footage has by chance."""


@dataclass(frozen=True, slots=True)
class Extent:
    box: Pixels
    on: float
    """0..1, share of the lattice's pixels in the box that are isolated steps"""
    off: float
    """0..1, share of the other pixels in the box that are isolated steps"""
    active: float
    """0..1, share of the pixels between the lattice that are active"""
    ripple: float
    """Mean difference of neighbours between the lattice's lines over that on them, of the axis with more"""
    strips: tuple[Strips | None, Strips | None]
    """Columns and rows of small cells, px of the part"""


def _run(
    crossing: NDArray[np.uint8],
    beside: NDArray[np.uint8],
    along: NDArray[np.uint8],
    activity: NDArray[np.uint8],
    cross_lines: NDArray[np.int64],
    along_lines: NDArray[np.int64],
    span: tuple[int, int],
    core: tuple[int, int],
) -> tuple[int, int]:
    """Run of columns that belongs to the mosaic, given the rows ``span`` and a first guess ``core`` of
    the run.

    ``crossing`` holds horizontal edges, counted on the rows ``cross_lines``, ``beside`` those halfway
    between, which count against; ``along`` vertical edges, counted in the columns ``along_lines``.
    """
    rows = cross_lines[(cross_lines > span[0]) & (cross_lines < span[1])]
    hits = crossing[rows].sum(axis=0, dtype=np.float64)
    chance = beside[span[0] : span[1]].sum(axis=0, dtype=np.float64)
    hits -= np.convolve(chance, np.full(_CHANCE_PX, 1.0 / _CHANCE_PX), "same")
    rate = hits[core[0] : core[1]].mean() / max(len(rows), 1)
    gain = hits - np.clip(_MISS * rate, _LEAST_MISS, _MOST_MISS) * len(rows)

    height = span[1] - span[0]
    steps = along[span[0] : span[1]].sum(axis=0, dtype=np.float64)
    gain[along_lines] += np.clip(steps[along_lines] - 0.15 * height, 0.0, _LINE * height)

    quiet_rows = np.ones(activity.shape[0], dtype=bool)
    quiet_rows[: span[0]] = quiet_rows[span[1] :] = False
    quiet_rows[rows] = False
    busy = activity[quiet_rows].sum(axis=0, dtype=np.float64)
    on_line = np.zeros(len(busy), dtype=bool)
    on_line[along_lines] = True
    allowed = busy[core[0] : core[1]][~on_line[core[0] : core[1]]].mean() * 1.5 + 0.03 * quiet_rows.sum()
    excess = np.maximum(busy - allowed, 0.0)
    excess[on_line] = 0.0
    start, end, _ = best_run(gain - _ACTIVE_WEIGHT * excess)
    # A step in the last column begins what is outside.
    return start, end - 1 if on_line[end - 1] else end


def span(c: Comb, size: int) -> tuple[int, int]:
    """Pixels from the first to the last tooth in use."""
    return max(math.ceil(c.origin), 0), min(math.ceil(c.origin + (c.teeth - 1) * c.pitch), size)


def extent(evidence: Evidence, lattice: Lattice) -> Extent | None:
    """MosaicRegion that the lattice explains, or None where hardly anything does."""
    height, width = evidence.size
    x, y, xs, ys = lattice.x, lattice.y, lattice.xs, lattice.ys
    vertical, horizontal, active = lattice.vertical, lattice.horizontal, evidence.active
    cols, rows = span(x, width), span(y, height)
    for _ in range(_ROUNDS):
        new_cols = _run(horizontal, lattice.beside_horizontal, vertical, active, ys, xs, rows, cols)
        new_rows = _run(vertical.T, lattice.beside_vertical.T, horizontal.T, active.T, xs, ys, new_cols, rows)
        if new_cols[1] - new_cols[0] < 2 * x.pitch or new_rows[1] - new_rows[0] < 2 * y.pitch:
            return None
        if (new_cols, new_rows) == (cols, rows):
            break
        cols, rows = new_cols, new_rows
    box, strips = settle(evidence.luma, lattice, (cols[0], rows[0], cols[1], rows[1]))
    box = refine(evidence.luma, lattice, box)
    cols, rows = (box[0], box[2]), (box[1], box[3])
    part = np.s_[rows[0] : rows[1], cols[0] : cols[1]]
    inner_x, inner_y = lattice.within(box)
    on_x = np.isin(np.arange(*cols), inner_x)
    on_y = np.isin(np.arange(*rows), inner_y)
    v, h = evidence.vertical[part], evidence.horizontal[part]
    return Extent(
        box=box,
        on=(float(v[:, on_x].mean()) + float(h[on_y].mean())) / 2,
        off=(float(v[:, ~on_x].mean()) + float(h[~on_y].mean())) / 2,
        active=float(active[part][np.ix_(~on_y, ~on_x)].mean()),
        ripple=max(_ripple(evidence.luma[part], on_x), _ripple(evidence.luma[part].T, on_y)),
        strips=strips,
    )


def _ripple(luma: NDArray[np.uint8], on: NDArray[np.bool_]) -> float:
    """``Extent.ripple`` along the rows of (H, W); ``on`` (W,) are the columns where cells begin."""
    steps = np.minimum(cv2.absdiff(luma[:, 1:], luma[:, :-1]), _CLIP).mean(axis=0, dtype=np.float64)
    return float(steps[~on[1:]].mean() / max(float(steps[on[1:]].mean()), 1e-6)) if on[1:].any() else 1.0
