"""Isolated edges: one pixel wide and flanked by flat pixels, as pixelation makes them and cameras do not.

Optics and interpolation spread an edge of natural footage over two to four pixels. Between two cells of a
mosaic it is one pixel wide, and the pixels before and after it belong to flat cells.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

PixelBox = tuple[int, int, int, int]
"""x0, y0, x1, y1 in px, half-open"""

MIN_EDGE = 4
"""Grey levels (8 bit), least difference of an isolated edge; measured on 34 training clips, crf 18 to 28."""
MAX_RIPPLE = 3
"""Grey levels between neighbours inside a cell that pass as codec noise; above, a pixel is called active."""
MIN_FAINT = 1.2
"""Grey levels, least difference of a faint edge on a known grid; mean over FAINT_PX pixels along it."""
FAINT_RATIO = 3.0
"""Least ratio of a faint edge to the differences between the lines beside it."""
FAINT_PX = 7
"""Pixels along an edge over which differences are averaged, so that codec noise cancels."""
_SOFT_PX = 3
"""Pixels from the one before a soft edge to the one after it."""
MAX_DIFFERENCE = 40
"""Grey levels at which differences are clipped; a few strong edges must not outweigh all others."""


def transposed(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) -> (W, H), C-contiguous."""
    return np.asarray(cv2.transpose(np.ascontiguousarray(picture)), dtype=np.uint8)


def _differences(luma: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """|pixel i + 1 - pixel i| along rows; one shorter than ``luma`` there."""
    return np.asarray(cv2.absdiff(luma[:, 1:], luma[:, :-1]), dtype=np.uint8)


def difference_profile(luma: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(W - 1,) mean difference of neighbours along the rows of (H, W) uint8, each at most MAX_DIFFERENCE."""
    clipped = np.minimum(cv2.absdiff(luma[:, 1:], luma[:, :-1]), MAX_DIFFERENCE)
    return np.asarray(clipped.mean(axis=0, dtype=np.float64))


def isolated_edges(luma: NDArray[np.uint8], axis: int = 1) -> NDArray[np.uint8]:
    """Pixels that begin a new flat stretch along ``axis`` (1: along rows, so vertical edges; 0: columns).

    ``luma`` is (H, W) uint8; so is the result, 0 or 1. With d_i = |p_i - p_(i-1)|, pixel i is an edge where
    d_i >= MIN_EDGE and d_i > 2 * max(d_(i-1), d_(i+1)). The first two and the last pixel never are.
    """
    if axis == 0:
        return transposed(isolated_edges(transposed(luma)))
    out = np.zeros_like(luma)
    if luma.shape[1] >= 4 and luma.shape[0] >= 1:
        d = _differences(luma)
        here, flank = d[:, 1:-1], cv2.max(d[:, :-2], d[:, 2:])
        # Sums of uint8 saturate at 255: an edge of 255 with flanks above 127 is none, which is right.
        excess = cv2.subtract(here, cv2.add(flank, flank))
        out[:, 2:-1] = np.minimum(excess, here >= MIN_EDGE)
        np.minimum(out, 1, out=out)
    return out


def active_pixels(luma: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) uint8, 1 where a pixel differs from its left or upper neighbour by more than MAX_RIPPLE."""
    out = np.zeros_like(luma)
    out[:, 1:] |= _differences(luma) > MAX_RIPPLE
    out[1:] |= cv2.absdiff(luma[1:], luma[:-1]) > MAX_RIPPLE
    return out


def faint_edges(luma: NDArray[np.uint8], at: NDArray[np.int64], pitch: float, axis: int) -> NDArray[np.uint8]:
    """Pixels on a grid's lines that are edges, isolated or faint: (H, W) uint8, 0 or 1.

    ``at`` holds the lines' pixels along ``axis`` (1: columns, so vertical edges), ``pitch`` their distance
    in px. In a smooth gradient the differences on the lines equal those between, so it has no such edges.
    """
    if axis == 0:
        return transposed(faint_edges(transposed(luma), at, pitch, 1))
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
        out[:, at] = np.maximum(faint, isolated_edges(luma)[:, at])
    return out


def soft_edges(luma: NDArray[np.uint8], axis: int = 1) -> NDArray[np.uint8]:
    """Edges between flat stretches that scaling has spread over two or three pixels: (H, W) uint8, 0 or 1.

    Marked is the middle pixel or the one after it; differences are means over FAINT_PX pixels along the
    edge. Cameras make such edges, too: they only count on a grid that other edges show.
    """
    if axis == 0:
        return transposed(soft_edges(transposed(luma), 1))
    out = np.zeros_like(luma)
    if luma.shape[1] > 3 * _SOFT_PX:
        real = luma.astype(np.float32)
        mean = np.abs(cv2.blur(real[:, _SOFT_PX:] - real[:, :-_SOFT_PX], (1, FAINT_PX)))
        here, beside = mean[:, _SOFT_PX:-_SOFT_PX], mean[:, 2 * _SOFT_PX :] + mean[:, : -2 * _SOFT_PX]
        start = _SOFT_PX + _SOFT_PX // 2 + 1
        found = (here >= MIN_FAINT) & (here >= FAINT_RATIO / 2 * beside)
        out[:, start : start + here.shape[1]] = found
    return out
