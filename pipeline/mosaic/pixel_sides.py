"""The last pixels of a mosaic: each side of a box moved by up to a cell to where the cells end.

A column of pixels in the mosaic is flat between the lattice's rows and steps on them; beside the mosaic it
does both alike. So the difference d of the two is about D in the mosaic and 0 outside, and the side lies
where the sum of d less a share of D over the columns before it is largest: the change point.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.mosaic.evidence import Lattice, Pixels

_CLIP = 12
"""Grey levels; one strong edge must not outweigh a column."""
_REACH = 1.0
"""Cells; how far a side may move."""
_FAR = 1.5
"""Cells; of moves this far it is known what they lose."""
_LEAST = 0.5
"""Grey levels; where cells differ by less, nothing is known and nobody sees the difference."""
_NOISE = 1.45
"""What steps off the lattice's rows weigh: more than those on them, as cells are flat but for noise."""
_SHARE = 0.1
"""Share of D that a column must have. Half would be right if all cells differed alike, but those at the sides
differ less than those at eyes and mouth. On 42 mosaics of training clips, most in cells under 8 px at crf 28,
sides are 1.3 px off without this, 1.7 px with a half, 1.2 px with 0.05 to 0.18, as often short as long."""


def refine(luma: NDArray[np.uint8], lattice: Lattice, box: Pixels) -> Pixels:
    """The box with its sides at the change points. ``luma`` is (H, W) uint8, of the part."""
    x0, y0, x1, y1 = box
    height, width = luma.shape
    turned = luma.T
    new_x0 = width - _end(luma[:, ::-1], lattice.ys, (y0, y1), width - x0, lattice.x.pitch)
    new_x1 = _end(luma, lattice.ys, (y0, y1), x1, lattice.x.pitch)
    new_y0 = height - _end(turned[:, ::-1], lattice.xs, (x0, x1), height - y0, lattice.y.pitch)
    new_y1 = _end(turned, lattice.xs, (x0, x1), y1, lattice.y.pitch)
    if new_x1 - new_x0 < 2 * lattice.x.pitch or new_y1 - new_y0 < 2 * lattice.y.pitch:
        return box
    return new_x0, new_y0, new_x1, new_y1


def _end(
    luma: NDArray[np.uint8], lines: NDArray[np.int64], span: tuple[int, int], end: int, pitch: float
) -> int:
    """Where the columns of the mosaic end, near ``end``. ``lines`` are the lattice's rows."""
    reach = max(round(_REACH * pitch), 2)
    held = _held(luma, lines, span, end, pitch, reach)
    return end if held is None else end - reach + int(held.argmax())


def loss(luma: NDArray[np.uint8], lattice: Lattice, box: Pixels, moved: Pixels) -> tuple[float, float]:
    """What a box loses on each axis by moving its sides to those of ``moved``, by up to _FAR cells.

    In clear columns (or rows) of the mosaic that the worse side leaves outside; those of the surroundings
    that it takes in weigh _SHARE. 0 where nothing is known or lost.
    """
    x0, y0, x1, y1 = box
    height, width = luma.shape
    turned = luma.T
    x, y = lattice.x.pitch, lattice.y.pitch
    return (
        max(
            _lost(luma[:, ::-1], lattice.ys, (y0, y1), x, width - x0, width - moved[0]),
            _lost(luma, lattice.ys, (y0, y1), x, x1, moved[2]),
        ),
        max(
            _lost(turned[:, ::-1], lattice.xs, (x0, x1), y, height - y0, height - moved[1]),
            _lost(turned, lattice.xs, (x0, x1), y, y1, moved[3]),
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
    """The same of the side at ``end``, columns."""
    reach = abs(to - end)
    held = _held(luma, lines, span, end, pitch, reach) if 0 < reach < _FAR * pitch else None
    return 0.0 if held is None else max(float(held[reach] - held[to - end + reach]), 0.0)


def _held(
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
    steps = np.minimum(np.asarray(cv2.absdiff(part[1:], part[:-1])), _CLIP).astype(np.float64)
    on = np.zeros(len(steps), dtype=bool)
    on[lines[(lines > span[0]) & (lines < span[1])] - span[0] - 1] = True
    if not on.any() or on.all():
        return None
    differs = steps[on].mean(axis=0) - _NOISE * steps[~on].mean(axis=0)
    first = end - reach - start
    inside = float(np.median(differs[:first]))
    if inside < _LEAST:
        return None
    return np.concatenate([[0.0], np.cumsum(differs[first:] / inside - _SHARE)])
