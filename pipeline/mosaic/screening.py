"""Screening: where in a frame could a mosaic be? Cheap enough for every frame of every film.

A tile's side of 32 px of a lattice line holds many isolated steps in one column (or row). Such *segments* are
counted per neighbourhood on both axes; footage has few, and rarely both. Over frames that are summed up
(``pool``) chance evens out, and a line that holds fewer steps is told from it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.mosaic.edges import isolated_steps, turned
from pipeline.mosaic.evidence import Pixels

BLOCK_PX = 16
STRIDE_PX = 2
"""Every second row (for vertical edges) or column is looked at: cells are at least 4 px."""
_SEGMENT = 5
"""Isolated steps among the 16 looked-at pixels of a 32 px stretch of one column that make a segment (30
%)."""
_POOLED_SEGMENT = 2.9
"""The same per frame where POOLED_FRAMES are summed up (18 %). Of 38 unpixelated training clips 32 stay below
NEED for 8 frames; of 61 faint mosaics (contrast 0.3 to 0.8, crf 28) 53 reach it."""
POOLED_FRAMES = 12
"""Most frames that can be summed up: 16 steps of each fit into a byte."""
NEED = ((4, 5), (8, 9))
"""(window in blocks, segments needed on each axis in it). On 38 training clips: mosaics have 7 to 28 in
windows of 64 px and 19 to 91 in 128 px; 34 of the unpixelated clips stay at or below 4 and 9 on every
frame."""
_LEVELS = ((3.0, 1), (2.0, 1), (1.0, 1), (1.0, 9))
"""(multiple of the need, closing in blocks) that candidates are cut out at; the last joins cells up to
100 px."""


class Steps(Protocol):
    """Isolated steps of every second row and column of a picture, or their sums over some pictures, where the
    picture lies: ``Sampled``, or ``ondevice.DeviceSampled``."""

    @property
    def size(self) -> tuple[int, int]:
        """H and W in px."""
        ...

    def copy(self) -> Self: ...
    def add(self, other: Self, /) -> None:
        """Sum up, into this one."""
        ...

    def erase(self, box: Pixels) -> None:
        """Forget the steps of a region and of its right and lower sides."""
        ...

    def across(self, box: Pixels) -> NDArray[np.float64]:
        """(x1 - x0,): steps of the box per column, in the rows that are looked at."""
        ...

    def down(self, box: Pixels) -> NDArray[np.float64]:
        """(y1 - y0,): the same per row."""
        ...

    def bands(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """(H / 16, W) and (W / 16, H): steps per column of each 16 px band of rows, per row of each of
        columns, whole bands only."""
        ...

    def strength(self, need: int) -> NDArray[np.float32]:
        """Segments, of ``need`` steps each, around each block of 16 px over those needed, of the axis with
        fewer: (H / 16 - 1, W / 16 - 1). Empty below 32 px."""
        ...


@dataclass(frozen=True, slots=True)
class Sampled:
    """``Steps`` in the host's memory."""

    vertical: NDArray[np.uint8]
    """(H / STRIDE_PX, W): along rows"""
    horizontal: NDArray[np.uint8]
    """(W / STRIDE_PX, H): along columns, turned to lie along rows"""
    size: tuple[int, int]
    """H and W in px"""

    @staticmethod
    def of(luma: NDArray[np.uint8]) -> Sampled:
        """Measured on ``luma`` (H, W) uint8."""
        height, width = luma.shape
        columns = isolated_steps(turned(luma[:, ::STRIDE_PX]))
        return Sampled(isolated_steps(luma[::STRIDE_PX]), columns, (height, width))

    def copy(self) -> Sampled:
        return Sampled(self.vertical.copy(), self.horizontal.copy(), self.size)

    def add(self, other: Sampled) -> None:
        np.add(self.vertical, other.vertical, out=self.vertical)
        np.add(self.horizontal, other.horizontal, out=self.horizontal)

    def erase(self, box: Pixels) -> None:
        x0, y0, x1, y1 = box
        self.vertical[y0 // STRIDE_PX : y1 // STRIDE_PX + 1, x0 : x1 + 1] = 0
        self.horizontal[x0 // STRIDE_PX : x1 // STRIDE_PX + 1, y0 : y1 + 1] = 0

    def across(self, box: Pixels) -> NDArray[np.float64]:
        x0, y0, x1, y1 = box
        return np.asarray(self.vertical[looked_at(y0, y1), x0:x1].sum(axis=0, dtype=np.float64))

    def down(self, box: Pixels) -> NDArray[np.float64]:
        x0, y0, x1, y1 = box
        return np.asarray(self.horizontal[looked_at(x0, x1), y0:y1].sum(axis=0, dtype=np.float64))

    def bands(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        return _bands(self.vertical), _bands(self.horizontal)

    def strength(self, need: int) -> NDArray[np.float32]:
        if min(self.size) < 2 * BLOCK_PX:
            return np.zeros((0, 0), dtype=np.float32)
        across, down = _segments(self.vertical, need), _segments(self.horizontal, need).T
        rows, cols = min(across.shape[0], down.shape[0]), min(across.shape[1], down.shape[1])
        out = np.zeros((rows, cols), dtype=np.float32)
        for size, segments in NEED:
            kernel = np.ones((size, size), dtype=np.float32)  # sums of small integers are exact
            sums = [
                cv2.filter2D(
                    np.ascontiguousarray(c[:rows, :cols]), -1, kernel, borderType=cv2.BORDER_CONSTANT
                )
                for c in (across, down)
            ]
            np.maximum(out, np.minimum(*sums) / np.float32(segments), out=out)
        return out


def looked_at(first: int, last: int) -> slice:
    """Of the rows (or columns) ``first`` to ``last`` of a picture those that ``Steps`` have."""
    return slice(first // STRIDE_PX, last // STRIDE_PX)


def _bands(steps: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H / 16, W) uint8: sums of steps, (H / STRIDE_PX, W) uint8, over 16 px each."""
    per_block = BLOCK_PX // STRIDE_PX
    rows = steps.shape[0] // per_block
    whole = steps[: rows * per_block].reshape(rows, per_block, steps.shape[1])
    return np.asarray(np.add.reduce(whole, axis=1, dtype=np.uint8))


def _segments(steps: NDArray[np.uint8], need: int) -> NDArray[np.float32]:
    """(H / 16 - 1, W / 16) float32: segments of vertical lines per 16 px block, of tiles 32 px high.

    ``steps`` (H / STRIDE_PX, W) uint8 are the isolated steps of every second row; a segment has ``need``.
    """
    cols = steps.shape[1] // BLOCK_PX
    half = _bands(steps[:, : cols * BLOCK_PX])
    line = half[1:] + half[:-1] >= need
    return np.asarray(np.add.reduce(line.reshape(len(line), cols, BLOCK_PX), axis=2), dtype=np.float32)


def candidates(steps: Steps) -> list[Pixels]:
    """Boxes in px that may hold mosaics, the tight ones first; often empty.

    The levels of _LEVELS part mosaics from each other and from busy surroundings. Boxes that repeat another
    are left out. They begin at multiples of 16 px.
    """
    return _boxes(steps.strength(_SEGMENT), steps.size)


def pooled_candidates(steps: Steps, frames: int) -> list[Pixels]:
    """The same from steps that are sums over ``frames`` pictures, up to POOLED_FRAMES."""
    return _boxes(steps.strength(math.ceil(_POOLED_SEGMENT * frames)), steps.size)


def remaining(vertical: NDArray[np.uint8], horizontal: NDArray[np.uint8]) -> list[Pixels]:
    """Those from the isolated steps of both axes, (H, W) uint8, when some have been erased."""
    height, width = vertical.shape
    return candidates(Sampled(vertical[::STRIDE_PX], turned(horizontal[:, ::STRIDE_PX]), (height, width)))


def _boxes(strength: NDArray[np.float32], shape: tuple[int, ...]) -> list[Pixels]:
    height, width = shape
    boxes: list[Pixels] = []
    for level, join in _LEVELS:
        where = strength >= level
        if not where.any():
            continue
        kernel = np.ones((join + 2, join + 2), dtype=np.uint8)
        joined = cv2.morphologyEx(np.pad(where.astype(np.uint8), join + 2), cv2.MORPH_CLOSE, kernel)
        joined = cv2.dilate(joined, np.ones((3, 3), np.uint8))[join + 2 : -join - 2, join + 2 : -join - 2]
        labels, _ = ndimage.label(joined)
        for rows, cols in ndimage.find_objects(labels):
            box = (
                cols.start * BLOCK_PX,
                rows.start * BLOCK_PX,
                min((cols.stop + 1) * BLOCK_PX, width),
                min((rows.stop + 1) * BLOCK_PX, height),
            )
            if box not in boxes:
                boxes.append(box)
    return boxes
