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

MIN_FAINT = 1.2
"""Grey levels. On a known lattice a step may be this faint if it is FAINT_RATIO times as strong as the differences
between the lines beside it; both are means over FAINT_PX pixels along the edge, where codec noise cancels."""
FAINT_RATIO = 3.0
FAINT_PX = 7


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


def faint_steps(luma: NDArray[np.uint8], at: NDArray[np.int64], pitch: float, axis: int) -> NDArray[np.uint8]:
    """Pixels of the lattice's lines that are steps, isolated or faint: (H, W) uint8, 0 or 1.

    ``at`` holds the lines' pixels along ``axis`` (1: columns, so vertical edges), ``pitch`` their distance
    in px. In a smooth gradient the differences on the lattice equal those between, so it has no such steps.
    """
    turned = luma if axis == 1 else cv2.transpose(luma)
    out = np.zeros_like(turned)
    if at.size:
        signed = np.zeros(turned.shape, dtype=np.float32)
        signed[:, 1:] = cv2.subtract(turned[:, 1:], turned[:, :-1], dtype=cv2.CV_32F)
        mean = np.abs(cv2.blur(signed, (1, FAINT_PX)))
        between = np.ones((1, turned.shape[1]), dtype=np.float32)
        between[0, at] = 0.0
        window = (2 * round(pitch / 2) + 1, 1)
        level = cv2.blur(mean * between, window)[:, at] / cv2.blur(between, window)[:, at]
        out[:, at] = (mean[:, at] >= MIN_FAINT) & (mean[:, at] >= FAINT_RATIO * level)
        out[:, at] |= isolated_steps(turned, 1)[:, at]
    return out if axis == 1 else np.asarray(cv2.transpose(out), dtype=np.uint8)
