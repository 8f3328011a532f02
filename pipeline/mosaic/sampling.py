"""Area mean or point sample? Told from how the cells' values differ from their neighbours'.

A mean over the cell removes detail finer than the cell; a point sample aliases it into the values as
noise that neighbours do not share. How much of that a picture has, nobody knows: means over foliage are
rougher than samples of a soft face. So no single figure tells; ``features`` describes the values by nine,
and a logistic regression weighs them. Chiefly

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
from pipeline.types import Axis

_MIN_CELLS = 4
SURE = 6.0
"""Log odds that no single frame exceeds."""
_FLOOR = 0.5
"""Energies of differences, grey levels^2, that rounding alone leaves."""
_WEIGHTS = np.array([4.644, -2.871, -5.234, -3.487, -1.947, 1.165, 1.566, -1.326, 0.531, -6.289])
"""Of ``features`` and, last, the constant: log odds of point samples. Fitted by ``python -m
tools.fit_sampling`` (its defaults) to 1,080 tracks of 38 training clips and 160 training pictures, 6
to 24 cells across 1 to 1.7 faces, half of them over a detailed picture. By weights of other clips are
told 94.1 % of tracks (means 94.4, samples 93.9). r alone, with a border that fell with the cells
across, told 82.8 %; of means over a detailed picture 71.2 %, now 92.6; in 8 to 12 cells 80.7 %, now
91.7. Still taken for samples: means before a wall of details of a cell's size or two, where little of
the box is face. (The clean picture around a mosaic, described in the same way, told 0.4 % of tracks
more, and was left out.) On 13 test clips, found and tracked (``benchmarks.mosaics``, 12 frames, 4
recipes, seed 11): all means and 76 % of frames of samples, were 96 and 73; samples of soft faces in 8
to 10 cells pass for means."""


def cell_values(
    luma: NDArray[np.uint8], x: Axis, y: Axis, box: tuple[int, int, int, int]
) -> NDArray[np.float64]:
    """(R, C): mean of the inner pixels of the cells that lie in the box (x0, y0, x1, y1) as a whole.

    The outermost pixels of cells of 4 px and more are left out: there the codec mixes neighbours.
    """
    rows, cols = _bounds(y, box[1], box[3]), _bounds(x, box[0], box[2])
    if len(rows) < 2 or len(cols) < 2:
        return np.zeros((0, 0))
    sums = cv2.integral(luma[rows[0] : rows[-1], cols[0] : cols[-1]])
    top, bottom = _inner(rows, y.pitch)
    left, right = _inner(cols, x.pitch)
    total = (sums[bottom] - sums[top])[:, right] - (sums[bottom] - sums[top])[:, left]
    return np.asarray(total / ((bottom - top)[:, None] * (right - left)[None, :]), dtype=np.float64)


def _bounds(axis: Axis, start: int, end: int) -> NDArray[np.int64]:
    """First pixel of each whole cell in [start, end) and the end of the last."""
    count = int(np.ceil((end - axis.origin) / axis.pitch)) + 1
    at = np.array(cell_edges(axis.pitch, axis.origin, 0, count), dtype=np.int64)
    return at[(at >= start) & (at <= end)]


def _inner(bounds: NDArray[np.int64], pitch: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First inner pixel of each cell and the end of its inner pixels, from the first cell on."""
    edge = 1 if pitch >= 4 else 0
    at = bounds - bounds[0]
    return at[:-1] + edge, at[1:] - edge


def roughness(values: NDArray[np.float64]) -> float:
    """r of the module's head; 0 where all values are equal."""
    plain, mixed = _energies(values, 1)
    return mixed / plain if plain > 0 else 0.0


def _energies(values: NDArray[np.float64], lag: int) -> tuple[float, float]:
    """Denominator and numerator of r between cells ``lag`` apart."""
    across, down = values[:, lag:] - values[:, :-lag], values[lag:] - values[:-lag]
    mixed = across[lag:] - across[:-lag]
    return float((across**2).mean() + (down**2).mean()), float((mixed**2).mean())


def features(values: NDArray[np.float64], pitch: float) -> NDArray[np.float64]:
    """(9,) of (R, C) values of luma, R and C at least 4, in cells of ``pitch`` px. Only the
    seventh changes with the picture's contrast, where that is large."""
    count = min(values.shape)
    middle = values[_middle(values.shape[0]), _middle(values.shape[1])]
    plain, mixed = np.log(np.add(_energies(values, 1), _FLOOR))
    mixed2 = np.log(_energies(values, 2)[1] + _FLOOR)
    middle_plain = np.log(_energies(middle, 1)[0] + _FLOOR)
    middle_plain2 = np.log(_energies(middle, 2)[0] + _FLOOR)
    apart = np.abs(values - cv2.medianBlur(values.astype(np.float32), 3))
    steps = np.abs(np.concatenate([np.diff(values, axis=1).ravel(), np.diff(values, axis=0).ravel()]))
    return np.array(
        [
            mixed - plain,
            mixed2 - mixed,
            np.log(apart.mean() + 0.3) - 0.5 * np.log((apart**2).mean() + 0.1),
            np.log(np.median(steps) + 0.3) - np.log(steps.mean() + 0.3),
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


def read_cells(
    luma: NDArray[np.uint8], x: Axis, y: Axis, box: tuple[int, int, int, int]
) -> NDArray[np.float64] | None:
    """``features`` of the cells in a box; None where they are too few.

    ``luma`` is (H, W) uint8, the axes and the box are in its px.
    """
    values = cell_values(luma, x, y, box)
    if min(values.shape) < _MIN_CELLS:
        return None
    return features(values, float(np.sqrt(x.pitch * y.pitch)))


def odds(luma: NDArray[np.uint8], x: Axis, y: Axis, box: tuple[int, int, int, int]) -> float:
    """Log odds that the cells hold point samples of any kind and not means, as ``read_cells`` takes them; 0
    where there are too few to tell."""
    seen = read_cells(luma, x, y, box)
    if seen is None:
        return 0.0
    return float(np.clip(_WEIGHTS[:-1] @ seen + _WEIGHTS[-1], -SURE, SURE))


def named(odds: float) -> Operator:
    """AREA or, for any kind of point sample, CENTRE; AREA where nothing is known."""
    return Operator.CENTRE if odds > 0 else Operator.AREA
