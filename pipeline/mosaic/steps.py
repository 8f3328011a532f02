"""Isolated steps: the one-pixel edges flanked by flat that pixelation makes and cameras do not.

Optics and interpolation spread an edge of natural footage over two to four pixels; between two cells of a mosaic
it is one pixel wide, and the pixels before and after it belong to flat cells.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

MIN_STEP = 4
"""Grey levels (8 bit). Of 4 and 3 levels, and flanks of half, two thirds or all of the step, the pair (4, half)
parted lattice from other pixels best on 34 training clips at crf 18 to 28: 50 % of the pixels on the lattice are
isolated steps, 0.4 % of those inside cells and 1 % of those outside the mosaic (medians)."""

MAX_RIPPLE = 3
"""Grey levels between neighbours inside a cell that pass as codec noise; the rest is called active."""


def _differences(luma: NDArray[np.uint8], axis: int) -> NDArray[np.uint8]:
    """|pixel i + 1 - pixel i| along an axis; one shorter than ``luma`` there."""
    if axis == 1:
        return np.asarray(cv2.absdiff(luma[:, 1:], luma[:, :-1]), dtype=np.uint8)
    return np.asarray(cv2.absdiff(luma[1:], luma[:-1]), dtype=np.uint8)


def isolated_steps(luma: NDArray[np.uint8], axis: int) -> NDArray[np.uint8]:
    """Pixels that begin a new flat stretch along ``axis`` (1: along rows, so vertical edges; 0: along columns).

    ``luma`` is (H, W) uint8; so is the result, 0 or 1. With d_i = |p_i - p_(i-1)|, pixel i is a step where
    d_i >= MIN_STEP and d_i > 2 * max(d_(i-1), d_(i+1)). The first two and the last pixel never are.
    """
    out = np.zeros_like(luma)
    if luma.shape[axis] < 4 or luma.shape[1 - axis] < 1:
        return out
    d = _differences(luma, axis)
    first, middle, last = (slice(None, -2), slice(1, -1), slice(2, None))
    if axis == 1:
        before, here, after, inside = d[:, first], d[:, middle], d[:, last], out[:, 2:-1]
    else:
        before, here, after, inside = d[first], d[middle], d[last], out[2:-1]
    flank = cv2.max(before, after)
    # uint8 sums saturate at 255: a step of 255 with flanks above 127 is no step, which is right
    excess = cv2.subtract(here, cv2.add(flank, flank))
    isolated = cv2.min(excess, cv2.subtract(here, MIN_STEP - 1))
    inside[:] = isolated > 0
    return out


def active(luma: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) uint8, 1 where a pixel differs from its left or upper neighbour by more than MAX_RIPPLE."""
    out = np.zeros_like(luma)
    if luma.shape[1] > 1:
        out[:, 1:] |= _differences(luma, 1) > MAX_RIPPLE
    if luma.shape[0] > 1:
        out[1:] |= _differences(luma, 0) > MAX_RIPPLE
    return out
