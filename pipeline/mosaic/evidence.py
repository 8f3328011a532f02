"""What is measured once per part of a picture, and once per lattice laid over it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nets.pixelation import cell_edges
from pipeline.mosaic.edges import active, faint_steps, isolated_steps
from pipeline.mosaic.line_grid import Comb
from pipeline.types import Axis

Pixels = tuple[int, int, int, int]
"""x0, y0, x1, y1 in px of a part, half-open"""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Steps and activity of a part of a picture, (H, W) uint8, 0 or 1."""

    luma: NDArray[np.uint8]
    """the part itself, 0..255"""
    vertical: NDArray[np.uint8]
    """isolated steps along rows"""
    horizontal: NDArray[np.uint8]
    """isolated steps along columns"""
    active: NDArray[np.uint8]

    @staticmethod
    def of(luma: NDArray[np.uint8]) -> Evidence:
        """Measured on ``luma`` (H, W) uint8."""
        return Evidence(luma, isolated_steps(luma, 1), isolated_steps(luma, 0), active(luma))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in px."""
        height, width = self.luma.shape
        return height, width

    def profiles(self, box: Pixels | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Steps per column, (W,), in the rows of a box, and per row, (H,), in its columns."""
        x0, y0, x1, y1 = box or (0, 0, self.size[1], self.size[0])
        return (
            self.vertical[y0:y1].sum(axis=0, dtype=np.float64),
            self.horizontal[:, x0:x1].sum(axis=1, dtype=np.float64),
        )

    def cut(self, box: Pixels) -> Evidence:
        """A view of a part: what is erased there is erased here."""
        x0, y0, x1, y1 = box
        part = np.s_[y0:y1, x0:x1]
        return Evidence(self.luma[part], self.vertical[part], self.horizontal[part], self.active[part])

    def erase(self, box: Pixels) -> None:
        """Forget the steps of a region and of its right and lower sides."""
        x0, y0, x1, y1 = box
        self.vertical[y0 : y1 + 1, x0 : x1 + 1] = 0
        self.horizontal[y0 : y1 + 1, x0 : x1 + 1] = 0


@dataclass(frozen=True, slots=True)
class Lattice:
    """A pair of combs over the whole part."""

    x: Comb
    y: Comb
    xs: NDArray[np.int64]
    """columns where cells begin"""
    ys: NDArray[np.int64]
    """rows where cells begin"""
    vertical: NDArray[np.uint8]
    """(H, W) 0 or 1, steps in the columns ``xs``, faint ones too"""
    horizontal: NDArray[np.uint8]
    """(H, W) 0 or 1, steps in the rows ``ys``, faint ones too"""
    beside_vertical: NDArray[np.uint8]
    """(H, W) 0 or 1, the same in the columns halfway between: footage has them by chance, cells have none"""
    beside_horizontal: NDArray[np.uint8]
    """(H, W) 0 or 1, the same in the rows halfway between"""

    @staticmethod
    def over(evidence: Evidence, x: Comb, y: Comb) -> Lattice:
        """Laid over a part."""
        height, width = evidence.size
        xs, ys = lines(x, width), lines(y, height)
        return Lattice(
            x,
            y,
            xs,
            ys,
            faint_steps(evidence.luma, xs, x.pitch, 1),
            faint_steps(evidence.luma, ys, y.pitch, 0),
            faint_steps(evidence.luma, halfway(x, width), x.pitch, 1),
            faint_steps(evidence.luma, halfway(y, height), y.pitch, 0),
        )

    def within(self, box: Pixels) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Columns and rows of the lattice strictly inside a box."""
        x0, y0, x1, y1 = box
        return self.xs[(self.xs > x0) & (self.xs < x1)], self.ys[(self.ys > y0) & (self.ys < y1)]


def halfway(comb: Comb, size: int) -> NDArray[np.int64]:
    """Pixels in [1, size) in the middle between two lines."""
    return lines(replace(comb, origin=comb.origin + comb.pitch / 2), size)


def lines(comb: Comb | Axis, size: int) -> NDArray[np.int64]:
    """Pixels in [1, size) where cells begin, on the whole axis."""
    first = int(np.floor(-comb.origin / comb.pitch))
    count = int(np.ceil(size / comb.pitch)) + 2
    at = np.array(cell_edges(comb.pitch, comb.origin, first, count), dtype=np.int64)
    return at[(at >= 1) & (at < size)]
