"""Area mean or point sample? Told from the roughness of the cells' values.

A mean over the cell removes detail finer than the cell; a point sample aliases it into the values as
noise that neighbours do not share. The statistic is the energy of mixed differences over that of plain
ones,

    r = E[(c_ij - c_i+1,j - c_i,j+1 + c_i+1,j+1)^2] / (E[(c_ij - c_i,j+1)^2] + E[(c_ij - c_i+1,j)^2]),

which is 1 for values without any relation and falls with their smoothness. Codec noise raises it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nets.pixelation import Operator, cell_edges
from pipeline.types import Axis

_MIN_CELLS = 4
_LINES = ((0.73, 0.025), (0.58, 0.0095))
_LOWEST, _HIGHEST = 0.35, 0.60
"""Border between means and samples: the higher of two lines, a - b * cells across, kept within the limits.
The finer the cells, the smoother their values. The first line is of 38 training clips, 8 to 12 cells across
the face, crf 18 to 28, where codec noise raises r: 89 % of single frames are told right. The second is of
frames of 160 segments of training clips without a codec, 6 to 24 cells across 0.8 to 1.3 faces: at 12, 16,
20, 24 cells means have 0.36, 0.33, 0.31, 0.30 on average, samples 0.58, 0.53, 0.49, 0.47, and it tells 89,
89, 93, 93 % of them right, where the first alone told 87, 75, 75, 74."""


def cell_values(
    luma: NDArray[np.uint8], x: Axis, y: Axis, box: tuple[int, int, int, int]
) -> NDArray[np.float64]:
    """(R, C): mean of the inner pixels of the cells that lie in the box (x0, y0, x1, y1) as a whole.

    The outermost pixels of cells of 4 px and more are left out: there the codec mixes neighbours.
    """
    cols, inner_cols = _bounds(x, box[0], box[2])
    rows, inner_rows = _bounds(y, box[1], box[3])
    if len(rows) < 2 or len(cols) < 2:
        return np.zeros((0, 0))
    part = luma[rows[0] : rows[-1], cols[0] : cols[-1]] * inner_rows[:, None] * inner_cols[None, :]
    r, c = rows[:-1] - rows[0], cols[:-1] - cols[0]
    total = np.add.reduceat(np.add.reduceat(part, r, axis=0), c, axis=1)
    count = np.add.reduceat(inner_rows, r)[:, None] * np.add.reduceat(inner_cols, c)[None, :]
    return np.asarray(total / count, dtype=np.float64)


def _bounds(axis: Axis, start: int, end: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """First pixel of each whole cell in [start, end) and the end of the last; 1 for the inner pixels
    between."""
    count = int(np.ceil((end - axis.origin) / axis.pitch)) + 1
    at = np.array(cell_edges(axis.pitch, axis.origin, 0, count), dtype=np.int64)
    at = at[(at >= start) & (at <= end)]
    if len(at) < 2:
        return at, np.zeros(0)
    inner = np.ones(int(at[-1] - at[0]))
    if axis.pitch >= 4:
        inner[at[:-1] - at[0]] = inner[at[1:] - at[0] - 1] = 0.0
    return at, inner


def roughness(values: NDArray[np.float64]) -> float:
    """r of the module's head; 0 where all values are equal."""
    across, down = np.diff(values, axis=1), np.diff(values, axis=0)
    plain = float((across**2).mean() + (down**2).mean())
    return float((np.diff(across, axis=0) ** 2).mean()) / plain if plain > 0 else 0.0


def classify(luma: NDArray[np.uint8], x: Axis, y: Axis, box: tuple[int, int, int, int]) -> Operator:
    """AREA or, for any kind of point sample, CENTRE; AREA where there are too few cells to tell.

    ``luma`` is (H, W) uint8, the axes and the box are in its px.
    """
    values = cell_values(luma, x, y, box)
    if min(values.shape) < _MIN_CELLS:
        return Operator.AREA
    border = np.clip(max(a - b * values.shape[1] for a, b in _LINES), _LOWEST, _HIGHEST)
    return Operator.CENTRE if roughness(values) > border else Operator.AREA
