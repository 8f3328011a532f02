"""Screening: where in a frame could a mosaic be? Cheap enough for every frame of every film.

A tile's side of 32 px of a lattice line holds many isolated steps in one column (or row). Such *segments* are
counted per neighbourhood on both axes; footage has few, and rarely both.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.mosaic.steps import isolated_steps

_BLOCK_PX = 16
_STRIDE_PX = 2
"""Every second row (for vertical edges) or column is looked at: cells are at least 4 px."""
_SEGMENT = 5
"""Isolated steps among the 16 looked-at pixels of a 32 px stretch of one column that make a segment (30 %)."""
_NEED = ((4, 5), (8, 9))
"""(window in blocks, segments needed on each axis in it). On 38 training clips: mosaics have 7 to 28 in
windows of 64 px and 19 to 91 in 128 px; 34 of the unpixelated clips stay at or below 4 and 9 on every frame."""
_JOIN_BLOCKS = (1, 9)
"""Closings (in blocks) that join what fired: the first for small cells, the second for cells up to 100 px."""


def _segments(luma: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H // 16 - 1, W // 16) float32: segments of vertical lines per 16 px block, of tiles 32 px high."""
    rows, cols = luma.shape[0] // _BLOCK_PX, luma.shape[1] // _BLOCK_PX
    steps = isolated_steps(luma[: rows * _BLOCK_PX : _STRIDE_PX, : cols * _BLOCK_PX], 1)
    half = np.add.reduce(steps.reshape(rows, _BLOCK_PX // _STRIDE_PX, -1), axis=1, dtype=np.uint8)
    line = half[1:] + half[:-1] >= _SEGMENT
    return np.add.reduce(line.reshape(rows - 1, cols, _BLOCK_PX), axis=2, dtype=np.float32)


def candidates(luma: NDArray[np.uint8]) -> list[tuple[int, int, int, int]]:
    """Boxes (x0, y0, x1, y1) in px that may hold mosaics, from small to large joining; often empty.

    ``luma`` is (H, W) uint8. Boxes of the second joining that repeat one of the first are left out.
    """
    height, width = luma.shape
    if min(height, width) < 2 * _BLOCK_PX:
        return []
    across = _segments(luma)
    down = _segments(cv2.transpose(luma)).T
    rows, cols = min(across.shape[0], down.shape[0]), min(across.shape[1], down.shape[1])
    across, down = across[:rows, :cols], np.ascontiguousarray(down[:rows, :cols])
    fired = np.zeros((rows, cols), dtype=bool)
    for size, need in _NEED:
        sums = [
            cv2.boxFilter(c, -1, (size, size), normalize=False, borderType=cv2.BORDER_CONSTANT)
            for c in (across, down)
        ]
        fired |= np.minimum(*sums) >= need
    if not fired.any():
        return []
    boxes: list[tuple[int, int, int, int]] = []
    for join in _JOIN_BLOCKS:
        kernel = np.ones((join + 2, join + 2), dtype=np.uint8)
        joined = cv2.morphologyEx(np.pad(fired.astype(np.uint8), join + 2), cv2.MORPH_CLOSE, kernel)
        joined = cv2.dilate(joined, np.ones((3, 3), np.uint8))[join + 2 : -join - 2, join + 2 : -join - 2]
        labels, _ = ndimage.label(joined)
        for where in ndimage.find_objects(labels):
            box = (
                where[1].start * _BLOCK_PX,
                where[0].start * _BLOCK_PX,
                min((where[1].stop + 1) * _BLOCK_PX, width),
                min((where[0].stop + 1) * _BLOCK_PX, height),
            )
            if box not in boxes:
                boxes.append(box)
    return boxes
