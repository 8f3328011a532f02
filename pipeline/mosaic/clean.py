"""A picture that plainly shows no mosaic where those before and after it do.

Tools that pixelate what a detector finds leave single frames as they are, and a frame on which the finder
sees nothing may be one of them, or one whose mosaic it missed. In flat cells, whatever their phase,
neighbouring pixels differ on the lines of a lattice and hardly anywhere else; in a sharp face they differ
everywhere. Where there is little to see either way the picture is not called bare: what is redrawn there
hardly changes.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.mosaic.edges import turned
from pipeline.mosaic.screening_cuda import Luma
from pipeline.types import Box, Grid

_BARE = 0.6
"""What neighbours differ by between the lines over that on them, at the phase where that is least, on the
axis with less. Of 1420 frames of training clips in cells of 4 to 40 px at crf 18 to 28, one has more (99 %:
0.50), of 40 that the finder missed one (the next: 0.59); of 380 unpixelated ones between such frames 97 %."""
_LEAST = 1.0
"""Grey levels that neighbours differ by, below which there is little to see; 1.1 to 7.7 on those 380."""
_CLIP = 40
"""Grey levels; a few strong edges must not outweigh all others."""
_INNER = 6
"""A side may be off by half a cell, or by this part of the box if that is less."""


def is_bare(luma: Luma, box: Box, grid: Grid) -> bool:
    """True where ``luma``, (H, W) uint8, has no cells of the pitch of ``grid`` in ``box`` at any phase."""
    height, width = luma.shape
    x0, y0, x1, y1 = box.pixels(width, height)
    x, y = (
        int(min(a.pitch / 2, (last - first) / _INNER))
        for a, first, last in ((grid.x, x0, x1), (grid.y, y0, y1))
    )
    part = np.ascontiguousarray(luma[y0 + y : y1 - y, x0 + x : x1 - x])
    if part.shape[0] < 2 * grid.y.pitch or part.shape[1] < 2 * grid.x.pitch:
        return False
    return _is_rough(part, grid.x.pitch) and _is_rough(turned(part), grid.y.pitch)


def _is_rough(luma: NDArray[np.uint8], pitch: float) -> bool:
    """True where no lattice across (H, W) explains how the pixels along its rows differ."""
    steps = np.minimum(cv2.absdiff(luma[:, 1:], luma[:, :-1]), _CLIP).mean(axis=0, dtype=np.float64)
    for phase in np.arange(0.0, pitch):
        lines = np.ceil(phase + np.arange(int((len(steps) - 1 - phase) / pitch) + 1) * pitch).astype(int)
        on = np.zeros(len(steps), dtype=bool)
        on[lines[lines < len(steps)]] = True
        between = float(steps[~on].mean())
        if between <= max(_BARE * float(steps[on].mean()), _LEAST):
            return False
    return True
