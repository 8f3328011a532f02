"""Where a mosaic ends: the box that a grid explains, first by runs of columns and rows, then to the pixel.

``find_bounds``: two things speak for a column of pixels (rows likewise). Horizontal edges on the grid's rows
cross it, more than halfway between, and it is as quiet between them as the mosaic is. The box is the run of
columns, then of rows, then again, with the largest sum of both; ``cell_strips`` moves the sides of small
cells. Quiet alone does not count as evidence, or walls would join the mosaic.

``refine_bounds`` moves each side by up to a cell to a change point: a column in the mosaic is flat between
the grid's rows and has edges on them, beside the mosaic it does both alike. The difference d of the two is
about D in the mosaic and 0 outside, and the side lies where the sum of d less a share of D is largest.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.mosaic.cell_strips import OFF_LINE_WEIGHT, settle_on_strips
from pipeline.mosaic.edges import PixelBox, difference_profile
from pipeline.mosaic.evidence import Evidence, PartGrid
from pipeline.mosaic.grid_fit import best_run, span
from pipeline.types import Strips

_ROUNDS = 3
"""Times that columns and rows are looked for in turn, at most."""
ACTIVE_COST = 0.2
"""What an active pixel too many costs, in edges on the grid."""
_MISS_COST = 0.45
"""What a pixel of a line without an edge costs, in the mosaic's own share of edges."""
_LEAST_MISS, _MOST_MISS = 0.03, 0.1
"""Bounds of that cost, in edges; measured on 304 tracks of training clips, cells of 5 to 9 px, crf 28."""
_CHANCE_ON_LINE = 0.15
"""Share of a crossing line's pixels that have an edge by chance: what is above it earns."""
_LINE_GAIN = 0.3
"""Share of its pixels that a crossing line earns at most: a long edge of the surroundings may lie on one."""
_ACTIVE_FACTOR, _ACTIVE_SHARE = 1.5, 0.03
"""Active pixels of a column that cost nothing: this many times the mosaic's, and this share of its rows."""
_CHANCE_PX = 5
"""Columns over which edges halfway between the rows are averaged, which footage has by chance."""

_COLUMN_EDGE_LIMIT = 12
"""Grey levels at which differences are clipped: one strong edge must not outweigh a column."""
_SIDE_REACH_CELLS = 1.0
"""Cells that a side may move to its change point."""
_LOSS_REACH_CELLS = 1.5
"""Cells up to which it is known what a move of a side loses."""
_LEAST_DIFFERENCE = 0.5
"""Grey levels of D below which nothing is known and nobody sees the difference."""
_SHARE = 0.1
"""Share of D that a column must have; cells at the sides differ less than those at eyes and mouth. Sides are
1.2 to 1.3 px off with 0.05 to 0.18 on 42 mosaics of training clips, most in cells under 8 px at crf 28."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The box that a grid explains in a part, and what is measured in it."""

    box: PixelBox
    on: float
    """0..1, share of the pixels on lines in the box that are isolated edges"""
    off: float
    """0..1, share of the other pixels in the box that are isolated edges"""
    active: float
    """0..1, share of the pixels between the lines that are active"""
    ripple: float
    """Mean difference of neighbours between the lines over that on them, of the axis with more."""
    strips: tuple[Strips | None, Strips | None]
    """Columns and rows of small cells, px of the part."""


def find_bounds(evidence: Evidence, grid: PartGrid) -> Bounds | None:
    """The box that the grid explains, or None where hardly anything does."""
    height, width = evidence.size
    x, y, xs, ys = grid.x, grid.y, grid.xs, grid.ys
    vertical, horizontal, active = grid.vertical, grid.horizontal, evidence.active
    cols, rows = span(x, width), span(y, height)
    for _ in range(_ROUNDS):
        new_cols = _run(horizontal, grid.beside_horizontal, vertical, active, ys, xs, rows, cols)
        new_rows = _run(vertical.T, grid.beside_vertical.T, horizontal.T, active.T, xs, ys, new_cols, rows)
        if new_cols[1] - new_cols[0] < 2 * x.pitch or new_rows[1] - new_rows[0] < 2 * y.pitch:
            return None
        if (new_cols, new_rows) == (cols, rows):
            break
        cols, rows = new_cols, new_rows
    box, strips = settle_on_strips(evidence.luma, grid, (cols[0], rows[0], cols[1], rows[1]))
    box = refine_bounds(evidence.luma, grid, box)
    cols, rows = (box[0], box[2]), (box[1], box[3])
    part = np.s_[rows[0] : rows[1], cols[0] : cols[1]]
    inner_x, inner_y = grid.within(box)
    on_x = np.isin(np.arange(*cols), inner_x)
    on_y = np.isin(np.arange(*rows), inner_y)
    v, h = evidence.vertical[part], evidence.horizontal[part]
    return Bounds(
        box=box,
        on=(float(v[:, on_x].mean()) + float(h[on_y].mean())) / 2,
        off=(float(v[:, ~on_x].mean()) + float(h[~on_y].mean())) / 2,
        active=float(active[part][np.ix_(~on_y, ~on_x)].mean()),
        ripple=max(_ripple(evidence.luma[part], on_x), _ripple(evidence.luma[part].T, on_y)),
        strips=strips,
    )


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
    """Run of columns that belongs to the mosaic, given the rows ``span`` and a first guess ``core``.

    ``crossing`` holds horizontal edges, counted on the rows ``cross_lines``, ``beside`` those halfway
    between, which count against; ``along`` vertical edges, counted in the columns ``along_lines``.
    """
    rows = cross_lines[(cross_lines > span[0]) & (cross_lines < span[1])]
    hits = crossing[rows].sum(axis=0, dtype=np.float64)
    chance = beside[span[0] : span[1]].sum(axis=0, dtype=np.float64)
    hits -= np.convolve(chance, np.full(_CHANCE_PX, 1.0 / _CHANCE_PX), "same")
    usual = hits[core[0] : core[1]].mean() / max(len(rows), 1)
    gain = hits - np.clip(_MISS_COST * usual, _LEAST_MISS, _MOST_MISS) * len(rows)

    height = span[1] - span[0]
    edges = along[span[0] : span[1]].sum(axis=0, dtype=np.float64)
    gain[along_lines] += np.clip(edges[along_lines] - _CHANCE_ON_LINE * height, 0.0, _LINE_GAIN * height)

    quiet_rows = np.ones(activity.shape[0], dtype=bool)
    quiet_rows[: span[0]] = quiet_rows[span[1] :] = False
    quiet_rows[rows] = False
    busy = activity[quiet_rows].sum(axis=0, dtype=np.float64)
    on_line = np.zeros(len(busy), dtype=bool)
    on_line[along_lines] = True
    usual_busy = busy[core[0] : core[1]][~on_line[core[0] : core[1]]].mean()
    excess = np.maximum(busy - (usual_busy * _ACTIVE_FACTOR + _ACTIVE_SHARE * quiet_rows.sum()), 0.0)
    excess[on_line] = 0.0
    start, end, _ = best_run(gain - ACTIVE_COST * excess)
    # An edge in the last column begins what is outside.
    return start, end - 1 if on_line[end - 1] else end


def _ripple(luma: NDArray[np.uint8], on: NDArray[np.bool_]) -> float:
    """``Bounds.ripple`` along the rows of (H, W); ``on`` (W,) are the columns where cells begin."""
    edges = difference_profile(luma)
    return float(edges[~on[1:]].mean() / max(float(edges[on[1:]].mean()), 1e-6)) if on[1:].any() else 1.0


def refine_bounds(luma: NDArray[np.uint8], grid: PartGrid, box: PixelBox) -> PixelBox:
    """The box with its sides at the change points. ``luma`` is (H, W) uint8, of the part."""
    x0, y0, x1, y1 = box
    height, width = luma.shape
    turned = luma.T
    new_x0 = width - _change_point(luma[:, ::-1], grid.ys, (y0, y1), width - x0, grid.x.pitch)
    new_x1 = _change_point(luma, grid.ys, (y0, y1), x1, grid.x.pitch)
    new_y0 = height - _change_point(turned[:, ::-1], grid.xs, (x0, x1), height - y0, grid.y.pitch)
    new_y1 = _change_point(turned, grid.xs, (x0, x1), y1, grid.y.pitch)
    if new_x1 - new_x0 < 2 * grid.x.pitch or new_y1 - new_y0 < 2 * grid.y.pitch:
        return box
    return new_x0, new_y0, new_x1, new_y1


def _change_point(
    luma: NDArray[np.uint8], lines: NDArray[np.int64], span: tuple[int, int], end: int, pitch: float
) -> int:
    """Where the columns of the mosaic end, near ``end``. ``lines`` are the grid's rows."""
    reach = max(round(_SIDE_REACH_CELLS * pitch), 2)
    held = _held_columns(luma, lines, span, end, pitch, reach)
    return end if held is None else end - reach + int(held.argmax())


def lost_columns(
    luma: NDArray[np.uint8], grid: PartGrid, box: PixelBox, moved: PixelBox
) -> tuple[float, float]:
    """What a box loses on each axis by moving its sides to those of ``moved``, by up to 1.5 cells.

    In clear columns (or rows) of the mosaic that the worse side leaves outside; those of the surroundings
    that it takes in weigh _SHARE. 0 where nothing is known or lost.
    """
    x0, y0, x1, y1 = box
    height, width = luma.shape
    turned = luma.T
    x, y = grid.x.pitch, grid.y.pitch
    return (
        max(
            _lost(luma[:, ::-1], grid.ys, (y0, y1), x, width - x0, width - moved[0]),
            _lost(luma, grid.ys, (y0, y1), x, x1, moved[2]),
        ),
        max(
            _lost(turned[:, ::-1], grid.xs, (x0, x1), y, height - y0, height - moved[1]),
            _lost(turned, grid.xs, (x0, x1), y, y1, moved[3]),
        ),
    )


def _lost(
    luma: NDArray[np.uint8],
    lines: NDArray[np.int64],
    span: tuple[int, int],
    pitch: float,
    end: int,
    to: int,
) -> float:
    """``lost_columns`` of the side at ``end`` that moves ``to`` a column."""
    reach = abs(to - end)
    known = 0 < reach < _LOSS_REACH_CELLS * pitch
    held = _held_columns(luma, lines, span, end, pitch, reach) if known else None
    return 0.0 if held is None else max(float(held[reach] - held[to - end + reach]), 0.0)


def _held_columns(
    luma: NDArray[np.uint8],
    lines: NDArray[np.int64],
    span: tuple[int, int],
    end: int,
    pitch: float,
    reach: int,
) -> NDArray[np.float64] | None:
    """What a mosaic holds that ends ``reach`` columns before ``end``, one less, ..., as many after it or at
    the border, in columns of its own d; None where nothing is known."""
    start, stop = max(end - 3 * max(round(pitch), 2), 0), min(end + reach, luma.shape[1])
    part = np.ascontiguousarray(luma[span[0] : span[1], start:stop])
    if part.shape[0] < 3 or end - start < 2 * reach:
        return None
    differences = np.asarray(cv2.absdiff(part[1:], part[:-1]))
    edges = np.minimum(differences, _COLUMN_EDGE_LIMIT).astype(np.float64)
    on = np.zeros(len(edges), dtype=bool)
    on[lines[(lines > span[0]) & (lines < span[1])] - span[0] - 1] = True
    if not on.any() or on.all():
        return None
    differs = edges[on].mean(axis=0) - OFF_LINE_WEIGHT * edges[~on].mean(axis=0)
    first = end - reach - start
    inside = float(np.median(differs[:first]))
    if inside < _LEAST_DIFFERENCE:
        return None
    return np.concatenate([[0.0], np.cumsum(differs[first:] / inside - _SHARE)])
