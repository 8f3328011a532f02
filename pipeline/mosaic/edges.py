"""Isolated steps: the one-pixel edges flanked by flat that pixelation makes and cameras do not.

Optics and interpolation spread an edge of natural footage over two to four pixels; between two cells of a
mosaic it is one pixel wide, and the pixels before and after it belong to flat cells.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

MIN_STEP = 4
"""Grey levels (8 bit). Of 4 and 3 levels, and flanks of half, two thirds or all of the step, the pair (4,
half) parted lattice from other pixels best on 34 training clips at crf 18 to 28: 50 % of the pixels on
the lattice are isolated steps, 0.4 % of those inside cells and 1 % of those outside the mosaic
(medians)."""

MAX_RIPPLE = 3
"""Grey levels between neighbours inside a cell that pass as codec noise; the rest is called active."""

MIN_FAINT = 1.2
"""Grey levels. On a known lattice a step may be this faint if it is FAINT_RATIO times as strong as the
differences between the lines beside it; both are means over FAINT_PX pixels along the edge, where codec
noise cancels."""
FAINT_RATIO = 3.0
FAINT_PX = 7
_SOFT_PX = 3
"""From the pixel before a soft edge to the one after it."""


def turned(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) -> (W, H), C-contiguous."""
    return np.asarray(cv2.transpose(np.ascontiguousarray(picture)), dtype=np.uint8)


def _differences(luma: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """|pixel i + 1 - pixel i| along rows; one shorter than ``luma`` there."""
    return np.asarray(cv2.absdiff(luma[:, 1:], luma[:, :-1]), dtype=np.uint8)


def isolated_steps(luma: NDArray[np.uint8], axis: int = 1) -> NDArray[np.uint8]:
    """Pixels that begin a new flat stretch along ``axis`` (1: along rows, so vertical edges; 0: columns).

    ``luma`` is (H, W) uint8; so is the result, 0 or 1. With d_i = |p_i - p_(i-1)|, pixel i is a step where
    d_i >= MIN_STEP and d_i > 2 * max(d_(i-1), d_(i+1)). The first two and the last pixel never are.
    """
    if axis == 0:
        return turned(isolated_steps(turned(luma)))
    out = np.zeros_like(luma)
    if luma.shape[1] >= 4 and luma.shape[0] >= 1:
        d = _differences(luma)
        here, flank = d[:, 1:-1], cv2.max(d[:, :-2], d[:, 2:])
        # Sums of uint8 saturate at 255: a step of 255 with flanks above 127 is none, which is right.
        excess = cv2.subtract(here, cv2.add(flank, flank))
        out[:, 2:-1] = np.minimum(excess, here >= MIN_STEP)
        np.minimum(out, 1, out=out)
    return out


def active(luma: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) uint8, 1 where a pixel differs from its left or upper neighbour by more than MAX_RIPPLE."""
    out = np.zeros_like(luma)
    out[:, 1:] |= _differences(luma) > MAX_RIPPLE
    out[1:] |= cv2.absdiff(luma[1:], luma[:-1]) > MAX_RIPPLE
    return out


def faint_steps(luma: NDArray[np.uint8], at: NDArray[np.int64], pitch: float, axis: int) -> NDArray[np.uint8]:
    """Pixels of the lattice's lines that are steps, isolated or faint: (H, W) uint8, 0 or 1.

    ``at`` holds the lines' pixels along ``axis`` (1: columns, so vertical edges), ``pitch`` their distance
    in px. In a smooth gradient the differences on the lattice equal those between, so it has no such steps.
    """
    if axis == 0:
        return turned(faint_steps(turned(luma), at, pitch, 1))
    out = np.zeros_like(luma)
    if at.size:
        real = luma.astype(np.float32)
        signed = np.diff(real, axis=1, prepend=real[:, :1])
        mean = np.abs(cv2.blur(signed, (1, FAINT_PX)))
        between = np.ones((1, luma.shape[1]), dtype=np.float32)
        between[0, at] = 0.0
        window = (2 * round(pitch / 2) + 1, 1)
        level = cv2.blur(mean * between, window)[:, at] / cv2.blur(between, window)[:, at]
        faint = (mean[:, at] >= MIN_FAINT) & (mean[:, at] >= FAINT_RATIO * level)
        out[:, at] = np.maximum(faint, isolated_steps(luma)[:, at])
    return out


def soft_steps(luma: NDArray[np.uint8], axis: int = 1) -> NDArray[np.uint8]:
    """Steps between two flat stretches that scaling has spread over two or three pixels, here the middle one
    or that after the middle: (H, W) uint8, 0 or 1; means over FAINT_PX pixels along the edge, as
    ``faint_steps``.

    Cameras make such steps, too: on a lattice that other steps show they are worth something.
    """
    if axis == 0:
        return turned(soft_steps(turned(luma), 1))
    out = np.zeros_like(luma)
    if luma.shape[1] > 3 * _SOFT_PX:
        real = luma.astype(np.float32)
        mean = np.abs(cv2.blur(real[:, _SOFT_PX:] - real[:, :-_SOFT_PX], (1, FAINT_PX)))
        here, beside = mean[:, _SOFT_PX:-_SOFT_PX], mean[:, 2 * _SOFT_PX :] + mean[:, : -2 * _SOFT_PX]
        start = _SOFT_PX + _SOFT_PX // 2 + 1
        found = (here >= MIN_FAINT) & (here >= FAINT_RATIO / 2 * beside)
        out[:, start : start + here.shape[1]] = found
    return out
