"""The grid of a mosaic whose cells a person has measured, as compression has hidden them from the finder."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pipeline.mosaic.edges import difference_profile, transposed
from pipeline.mosaic.grid_fit import line_pixels
from pipeline.mosaic.region import grid_in_picture
from pipeline.picture.resize import Luma
from pipeline.types import Axis, Box, Cells, Grid

_STEP_PX = 0.25
"""Between two places at which the lines are looked for."""


class GivenGrid:
    """The grid in a box of a shot's pictures, (H, W) uint8. Where nobody says where the lines are, they are
    where neighbouring pixels have differed most so far; where none differ, they begin with the box."""

    def __init__(self, box: Box, cells: Cells) -> None:
        self._box = box
        self._cells = cells
        self._differences: list[NDArray[np.float64] | float] = [0.0, 0.0]

    def __call__(self, luma: Luma) -> Grid:
        """The grid in the next picture."""
        height, width = luma.shape
        box, cells = self._box, self._cells
        x0, y0, x1, y1 = box.pixels(width, height)
        part = np.ascontiguousarray(luma[y0:y1, x0:x1])
        corner = cells.corner or (None, None)
        axes = []
        for axis, (pixels, pitch, first, start) in enumerate(
            ((part, cells.width, x0, box.x0), (transposed(part), cells.height, y0, box.y0))
        ):
            line = corner[axis]
            if line is None:
                self._differences[axis] = self._differences[axis] + difference_profile(pixels)
                line = first + _first_line(np.asarray(self._differences[axis]), pitch, start - first)
            axes.append(Axis(pitch, line + math.floor((start - line) / pitch) * pitch - first))
        return grid_in_picture(part, axes[0], axes[1], (0, 0, x1 - x0, y1 - y0), (x0, y0), 1.0)


def _first_line(differences: NDArray[np.float64], pitch: float, default: float) -> float:
    """px from the left to a line between cells of width ``pitch``; (W - 1,) differences of W neighbours."""
    best, line = float(differences.mean()) if len(differences) else 0.0, default
    for at in np.arange(_STEP_PX, pitch + _STEP_PX, _STEP_PX):
        pixels = line_pixels(Axis(pitch, float(at)), len(differences) + 1)
        # The last of equals: lines of whole px then lie on whole px.
        if len(pixels) and best <= (strength := float(differences[pixels - 1].mean())) > 0:
            best, line = strength, float(at)
    return line
