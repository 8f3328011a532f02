"""Small cells: places whose isolated edges repeat with one period on both axes.

A mosaic in cells of a few px has many lines, each too short and too faint to be told by itself, in the midst
of stronger edges of the surroundings. But they repeat: the profiles of a window of 64 px, edges per column
and per row, have a Fourier coefficient at the pitch and one at half of it (thin lines have all harmonics),
and chance hardly ever has them on both axes at one pitch. A whole picture's windows are one product with a
table. This says where to look and for what; whether a mosaic is there, ``redetect`` says.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nets.pixelation import Operator
from pipeline.mosaic.grid_fit import MIN_PITCH_PX
from pipeline.mosaic.screening import BLOCK_PX, STRIDE_PX, SampledEdges
from pipeline.types import Axis, Box, Grid

_WINDOW = 4
"""blocks; 64 px"""
_SHIFT = 2
"""blocks from one window to the next"""
_WIDEST_PX = 10.0
"""px, widest cell: six periods in a window. Wider ones have lines that the screening tells by themselves."""
_PITCH_RATIO = 1.0125
"""From one pitch to the next: a sixth of a period over the largest."""
_COLUMN_LIMIT = 0.4
"""0..1, edges per row that a column counts for at most: an edge of the surroundings is no grid."""
_ENERGY_FLOOR = 0.3
"""Energy of a profile, in squared edges per row, below which chance is suspected: few edges always repeat."""
_NEED = 0.25
"""0..2, least sum of both coefficients, of the axis with less; 252 frames of training clips (9 to 12 cells in
faces of 48 to 75 px) have 0.36 (2 %) to 0.59 (median), 76 unpixelated ones 0.24 at most."""
_MOST_PLACES = 6
"""Places that are returned, at most."""
_SAME_PITCH = 0.05
"""Relative; pitches this near each other in one place are one grid's."""


def periodic_grids(edges: SampledEdges) -> list[tuple[Box, Grid]]:
    """Where to look and for which cells, the strongest first; often empty. The sampling is unknown.

    ``edges`` are those of one picture: where the grid moves, sums over pictures blur it.
    """
    across, down = edges.bands()
    rows, columns = (size // BLOCK_PX for size in edges.size)  # a band may be a row short
    if min(rows, columns) < _WINDOW:
        return []
    x, y = _profiles(across[:rows], columns), _profiles(down[:columns], rows).transpose(1, 0, 2)
    # The strongest a profile of little energy can be is the root of its share with _ENERGY_FLOOR.
    lively = np.minimum(x.var(axis=2), y.var(axis=2)) * x.shape[2] > _ENERGY_FLOOR * _NEED**2 / 2
    at = np.argwhere(lively)
    if len(at) == 0:
        return []
    strength = np.minimum(_strength(x[lively]), _strength(y[lively]))
    best = strength.argmax(axis=1)
    found: list[tuple[Box, Grid]] = []
    for k in np.argsort(-strength.max(axis=1), kind="stable"):
        if strength[k, best[k]] < _NEED or len(found) == _MOST_PLACES:
            break
        top, left = (float(_starts(n)[i] * BLOCK_PX) for n, i in zip((rows, columns), at[k], strict=True))
        box = Box(left, top, left + _WINDOW * BLOCK_PX, top + _WINDOW * BLOCK_PX)
        pitch = float(_PITCHES[best[k]])
        if all(box.iou(b) == 0.0 or abs(pitch / g.x.pitch - 1.0) > _SAME_PITCH for b, g in found):
            found.append((box, Grid(Axis(pitch, left), Axis(pitch, top), Operator.AREA, 0.0)))
    return found


def _starts(blocks: int) -> NDArray[np.int64]:
    """First blocks of the windows along an axis; the last window ends with the picture's last whole block."""
    last = blocks - _WINDOW
    return np.unique(np.append(np.arange(0, last + 1, _SHIFT), last))


def _profiles(bands: NDArray[np.uint8], blocks: int) -> NDArray[np.float32]:
    """(n, m, 64): edges per row of each window, n down and m along the bands, (H / 16, W)."""
    total = sum(bands[k : len(bands) - _WINDOW + 1 + k].astype(np.float32) for k in range(_WINDOW))
    rows = np.asarray(total)[_starts(len(bands))] * np.float32(STRIDE_PX / (_WINDOW * BLOCK_PX))
    columns = _starts(blocks)[:, None] * BLOCK_PX + np.arange(_WINDOW * BLOCK_PX)
    return np.minimum(rows[:, columns], np.float32(_COLUMN_LIMIT))


def _strength(profiles: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, pitches), 0..2: both Fourier coefficients of profiles (n, 64) over what they could be at most."""
    size = profiles.shape[1]
    centred = profiles - profiles.mean(axis=1, keepdims=True)
    most = np.sqrt(size * ((centred**2).sum(axis=1) + np.float32(_ENERGY_FLOOR)))
    real, imaginary = (centred @ table for table in _TABLES)
    both: NDArray[np.float32] = np.hypot(real, imaginary) / most[:, None]
    return both[:, : len(_PITCHES)] + both[:, len(_PITCHES) :]


def _tables() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    turns = 2 * np.pi * np.arange(_WINDOW * BLOCK_PX)[:, None] / np.concatenate([_PITCHES, _PITCHES / 2])
    return np.cos(turns).astype(np.float32), np.sin(turns).astype(np.float32)


_PITCHES = MIN_PITCH_PX * _PITCH_RATIO ** np.arange(
    int(np.log(_WIDEST_PX / MIN_PITCH_PX) / np.log(_PITCH_RATIO)) + 1
)
_TABLES = _tables()
