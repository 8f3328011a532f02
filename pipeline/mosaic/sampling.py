"""Area mean or point sample? Told from how the cells' values differ from their neighbours'.

A mean over the cell removes detail finer than the cell; a point sample aliases it into the values as noise
that neighbours do not share. No single figure tells, as means over foliage are rougher than samples of a soft
face: ``features`` describes the values by nine, and a logistic regression weighs them. Chiefly

    r = E[(c_ij - c_i+1,j - c_i,j+1 + c_i+1,j+1)^2] / (E[(c_ij - c_i,j+1)^2] + E[(c_ij - c_i+1,j)^2]),

1 for values without any relation, less the smoother they are; how r's numerator grows with the distance of
the four cells, which for samples it hardly does; how much of all deviation from the neighbours' median is
in few cells, as samples of eyes and edges are; and the same of the middle of the box, where the face is.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from nets.pixelation import Operator, cell_edges
from pipeline.mosaic.edges import PixelBox
from pipeline.mosaic.weights import load_weights
from pipeline.types import Axis

_MIN_CELLS = 4
"""Fewest cells across and down from which anything is told."""
MAX_LOG_ODDS = 6.0
"""Log odds that no single frame exceeds."""
_ENERGY_FLOOR = 0.5
"""Energies of differences, grey levels^2, that rounding alone leaves."""
_DEVIATION_FLOOR, _DEVIATION_ENERGY_FLOOR = 0.3, 0.1
"""The same of mean deviations, grey levels, and of their squares."""
_WEIGHTS = load_weights("sampling")
"""(10,) of ``features`` and, last, the constant: log odds of point samples."""


def cell_values(luma: NDArray[np.uint8], x: Axis, y: Axis, box: PixelBox) -> NDArray[np.float64]:
    """(R, C): mean of the inner pixels of the cells that lie in the box (x0, y0, x1, y1) as a whole.

    The outermost pixels of cells of 4 px and more are left out: there the codec mixes neighbours.
    """
    rows, cols = _whole_cells(y, box[1], box[3]), _whole_cells(x, box[0], box[2])
    if len(rows) < 2 or len(cols) < 2:
        return np.zeros((0, 0))
    sums = cv2.integral(luma[rows[0] : rows[-1], cols[0] : cols[-1]])
    top, bottom = _inner(rows, y.pitch)
    left, right = _inner(cols, x.pitch)
    total = (sums[bottom] - sums[top])[:, right] - (sums[bottom] - sums[top])[:, left]
    return np.asarray(total / ((bottom - top)[:, None] * (right - left)[None, :]), dtype=np.float64)


def _whole_cells(axis: Axis, start: int, end: int) -> NDArray[np.int64]:
    """First pixel of each whole cell in [start, end) and the end of the last."""
    count = int(np.ceil((end - axis.origin) / axis.pitch)) + 1
    at = np.array(cell_edges(axis.pitch, axis.origin, 0, count), dtype=np.int64)
    return at[(at >= start) & (at <= end)]


def _inner(bounds: NDArray[np.int64], pitch: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First inner pixel of each cell and the end of its inner pixels, from the first cell on."""
    edge = 1 if pitch >= 4 else 0
    at = bounds - bounds[0]
    return at[:-1] + edge, at[1:] - edge


def _energies(values: NDArray[np.float64], lag: int) -> tuple[float, float]:
    """Denominator and numerator of r between cells ``lag`` apart."""
    across, down = values[:, lag:] - values[:, :-lag], values[lag:] - values[:-lag]
    mixed = across[lag:] - across[:-lag]
    return float((across**2).mean() + (down**2).mean()), float((mixed**2).mean())


def features(values: NDArray[np.float64], pitch: float) -> NDArray[np.float64]:
    """(9,) features of (R, C) values of luma, R and C at least 4, in cells of ``pitch`` px.

    Only the seventh changes with the picture's contrast, where that is large.
    """
    count = min(values.shape)
    middle = values[_middle(values.shape[0]), _middle(values.shape[1])]
    plain, mixed = np.log(np.add(_energies(values, 1), _ENERGY_FLOOR))
    mixed2 = np.log(_energies(values, 2)[1] + _ENERGY_FLOOR)
    middle_plain = np.log(_energies(middle, 1)[0] + _ENERGY_FLOOR)
    middle_plain2 = np.log(_energies(middle, 2)[0] + _ENERGY_FLOOR)
    apart = np.abs(values - cv2.medianBlur(values.astype(np.float32), 3))
    differences = np.abs(np.concatenate([np.diff(values, axis=1).ravel(), np.diff(values, axis=0).ravel()]))
    return np.array(
        [
            mixed - plain,
            mixed2 - mixed,
            np.log(apart.mean() + _DEVIATION_FLOOR)
            - 0.5 * np.log((apart**2).mean() + _DEVIATION_ENERGY_FLOOR),
            np.log(np.median(differences) + _DEVIATION_FLOOR) - np.log(differences.mean() + _DEVIATION_FLOOR),
            middle_plain2 - middle_plain,
            middle_plain - plain,
            plain,
            np.log(pitch),
            np.log(count),
        ]
    )


def _middle(count: int) -> slice:
    """The inner half of ``count`` cells, at least four."""
    outside = min(count // 4, (count - 4) // 2)
    return slice(outside, count - outside)


def read_features(luma: NDArray[np.uint8], x: Axis, y: Axis, box: PixelBox) -> NDArray[np.float64] | None:
    """``features`` of the cells in a box; None where they are too few.

    ``luma`` is (H, W) uint8, the axes and the box are in its px.
    """
    values = cell_values(luma, x, y, box)
    if min(values.shape) < _MIN_CELLS:
        return None
    return features(values, float(np.sqrt(x.pitch * y.pitch)))


def log_odds(luma: NDArray[np.uint8], x: Axis, y: Axis, box: PixelBox) -> float:
    """Log odds that the cells hold point samples of any kind, not means; 0 where they are too few to tell.

    Arguments as those of ``read_features``.
    """
    found = read_features(luma, x, y, box)
    if found is None:
        return 0.0
    return float(np.clip(_WEIGHTS[:-1] @ found + _WEIGHTS[-1], -MAX_LOG_ODDS, MAX_LOG_ODDS))


def sampling_of(log_odds: float) -> Operator:
    """AREA or, for any kind of point sample, CENTRE; AREA where nothing is known."""
    return Operator.CENTRE if log_odds > 0 else Operator.AREA
