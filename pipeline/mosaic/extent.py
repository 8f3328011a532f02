"""Where a mosaic ends: box and shape of the region that a lattice explains.

Two things speak for a column of pixels (rows likewise): horizontal edges on the lattice's rows cross it,
and it is as quiet between them as the mosaic is. The box is the run of columns, then of rows, then again,
with the largest sum of both. Quiet alone does not count as evidence, or walls would join the mosaic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nets.pixelation import cell_edges
from pipeline.mosaic.comb import Comb, best_run
from pipeline.mosaic.steps import faint_steps

_ROUNDS = 3
_ACTIVE_WEIGHT = 0.2
"""What an active pixel too many costs, in steps on the lattice."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Steps and activity of a picture's part, (H, W) uint8, 0 or 1."""

    luma: NDArray[np.uint8]
    """the part itself, 0..255"""
    vertical: NDArray[np.uint8]
    horizontal: NDArray[np.uint8]
    active: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Extent:
    box: tuple[int, int, int, int]
    """x0, y0, x1, y1 in px of the part, half-open"""
    on: float
    """0..1, share of the lattice's pixels in the box that are isolated steps"""
    off: float
    """0..1, share of the other pixels in the box that are isolated steps"""
    active: float
    """0..1, share of the pixels between the lattice that are active"""


def lines(comb: Comb, size: int) -> NDArray[np.int64]:
    """Pixels in [1, size) where cells begin, on the whole axis."""
    first = int(np.floor(-comb.origin / comb.pitch))
    count = int(np.ceil(size / comb.pitch)) + 2
    at = np.array(cell_edges(comb.pitch, comb.origin, first, count), dtype=np.int64)
    return at[(at >= 1) & (at < size)]


def lattice_steps(evidence: Evidence, x: Comb, y: Comb) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Vertical and horizontal edges on the lattice, faint ones too: (H, W) uint8, 0 or 1."""
    height, width = evidence.luma.shape
    return (
        faint_steps(evidence.luma, lines(x, width), x.pitch, 1),
        faint_steps(evidence.luma, lines(y, height), y.pitch, 0),
    )


def _run(
    crossing: NDArray[np.uint8],
    along: NDArray[np.uint8],
    activity: NDArray[np.uint8],
    cross_lines: NDArray[np.int64],
    along_lines: NDArray[np.int64],
    span: tuple[int, int],
    core: tuple[int, int],
) -> tuple[int, int]:
    """Run of columns that belongs to the mosaic, given the rows ``span`` and a first guess ``core`` of
    the run.

    ``crossing`` holds horizontal edges, counted on the rows ``cross_lines``; ``along`` vertical edges,
    counted in the columns ``along_lines``.
    """
    rows = cross_lines[(cross_lines > span[0]) & (cross_lines < span[1])]
    hits = crossing[rows].sum(axis=0, dtype=np.float64)
    rate = hits[core[0] : core[1]].mean() / max(len(rows), 1)
    gain = hits - np.clip(0.3 * rate, 0.03, 0.2) * len(rows)

    height = span[1] - span[0]
    steps = along[span[0] : span[1]].sum(axis=0, dtype=np.float64)
    gain[along_lines] += np.maximum(steps[along_lines] - 0.15 * height, 0.0)

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
    # a step in the last column begins what is outside
    return start, end - 1 if on_line[end - 1] else end


def _span(c: Comb, size: int) -> tuple[int, int]:
    """Pixels from the first to the last tooth in use."""
    return max(math.ceil(c.origin), 0), min(math.ceil(c.origin + (c.teeth - 1) * c.pitch), size)


def extent(evidence: Evidence, x: Comb, y: Comb) -> Extent | None:
    """Region that the lattice (x, y) explains, or None where hardly anything does."""
    height, width = evidence.active.shape
    xs, ys = lines(x, width), lines(y, height)
    vertical, horizontal = lattice_steps(evidence, x, y)
    cols, rows = _span(x, width), _span(y, height)
    for _ in range(_ROUNDS):
        new_cols = _run(horizontal, vertical, evidence.active, ys, xs, rows, cols)
        new_rows = _run(vertical.T, horizontal.T, evidence.active.T, xs, ys, new_cols, rows)
        if new_cols[1] - new_cols[0] < 2 * x.pitch or new_rows[1] - new_rows[0] < 2 * y.pitch:
            return None
        if (new_cols, new_rows) == (cols, rows):
            break
        cols, rows = new_cols, new_rows
    part = np.s_[rows[0] : rows[1], cols[0] : cols[1]]
    on_x = np.zeros(width, dtype=bool)
    on_x[xs[(xs > cols[0]) & (xs < cols[1])]] = True
    on_y = np.zeros(height, dtype=bool)
    on_y[ys[(ys > rows[0]) & (ys < rows[1])]] = True
    v, h = evidence.vertical[part], evidence.horizontal[part]
    ix, iy = on_x[cols[0] : cols[1]], on_y[rows[0] : rows[1]]
    return Extent(
        box=(cols[0], rows[0], cols[1], rows[1]),
        on=(float(v[:, ix].mean()) + float(h[iy].mean())) / 2,
        off=(float(v[:, ~ix].mean()) + float(h[~iy].mean())) / 2,
        active=float(evidence.active[part][np.ix_(~iy, ~ix)].mean()),
    )
