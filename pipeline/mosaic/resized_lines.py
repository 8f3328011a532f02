"""Mosaics made by resizing the region down and up again: the box is a whole number of cells.

Then pixel i of n cells over ``size`` px lies in cell floor(i * n / size), and the two sides of the box
give pitch and phase far better than the lines between, which only bound them. A region that follows a
face changes its size by single pixels, and its pitch with it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_EPS = 1e-6
_REACH_PX = 4
_REACH = 0.3
"""Cells; how far the sides may lie from where the extent ends, up to _REACH_PX; or a cell farther in or out.
More, and in small cells any box has sides of the lattice near: whole cells would prove nothing."""
_MOVED = 0.3
"""What it costs to put the sides a cell away from where the extent ends, in fuller lines."""
_DRIFT_PX = 1.5
"""How much wider or narrower the box may be than the free lattice makes that many cells."""
_COST = 0.25
"""Share of the fuller lines' steps that a line must have to be worth having in the box."""
_KEEP = 0.99
"""The lines between must hold this share of the steps that the free lattice has there."""
_BORDER = 0.1
"""Share of the fuller lines' steps that each side needs to be believed."""


def whole_cells(
    profile: NDArray[np.float64], pitch: float, origin: float, start: int, end: int
) -> tuple[int, int, int] | None:
    """(start, end, cells) of the best division of the box into whole cells; None where the lattice is not
    one.

    ``profile`` counts the isolated steps per pixel of the axis within the box's other axis; ``start`` and
    ``end`` are the sides found, ``pitch`` and ``origin`` the lattice, all in px of the profile. A side on the
    border of the picture shows no step and does not move.
    """
    size = len(profile)
    free = np.ceil(
        origin + np.arange(np.ceil(-origin / pitch), np.floor((size - 1 - origin) / pitch) + 1) * pitch - _EPS
    )
    free = free[(free > start) & (free < end)].astype(int)
    if free.size == 0:
        return None
    fuller = np.sort(profile[free])[free.size // 2 :].mean()
    first, last = (a.ravel() for a in np.meshgrid(_near(start, pitch, size), _near(end, pitch, size)))
    cells = np.maximum(np.round((last - first) / pitch), 1).astype(int)
    fits = (np.abs(last - first - cells * pitch) <= _DRIFT_PX) & (cells >= 2)
    if not fits.any():
        return None
    first, last, cells = first[fits], last[fits], cells[fits]
    at = _lines(first, last, cells)
    used = (np.arange(at.shape[1])[None, :] <= cells[:, None]) & (at > 0) & (at < size)
    steps = np.where(used, profile[np.clip(at, 0, size - 1)], 0.0)
    moved = (np.abs(first - start) + np.abs(last - end)) / pitch
    best = int(np.argmax((steps - _COST * fuller * used).sum(axis=1) - _MOVED * fuller * moved))
    a, b, n = int(first[best]), int(last[best]), int(cells[best])
    sides = [profile[s] for s in (a, b) if 0 < s < size]
    inner = steps[best, 1:n].sum()
    if inner < _KEEP * profile[free[(free > a + 1) & (free < b - 1)]].sum():
        return None
    return None if min(sides, default=0.0) < _BORDER * fuller else (a, b, n)


def _lines(first: NDArray[np.int64], last: NDArray[np.int64], cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """(candidates, most cells + 1): first pixel of each cell and of what follows the last."""
    k = np.arange(int(cells.max()) + 1)
    return np.ceil(first[:, None] + k[None, :] * ((last - first) / cells)[:, None] - _EPS).astype(np.int64)


def _near(side: int, pitch: float, size: int) -> NDArray[np.int64]:
    """Places that a side may have."""
    if side <= 0 or side >= size:
        return np.array([side], dtype=np.int64)
    reach = min(max(round(_REACH * pitch), 1), _REACH_PX)
    offsets = {*range(-reach, reach + 1)}
    offsets |= {round(sign * pitch) + by for sign in (-1, 1) for by in (-1, 0, 1)}
    at = side + np.array(sorted(offsets), dtype=np.int64)
    return np.unique(np.clip(at, 0, size))
