"""What is measured once per part of a picture, and once per grid laid over it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.mosaic.edges import PixelBox, active_pixels, faint_edges, isolated_edges
from pipeline.mosaic.grid_fit import LineGrid, halfway_pixels, line_pixels


@dataclass(frozen=True, slots=True)
class Evidence:
    """Isolated edges and activity of a part of a picture, (H, W) uint8, 0 or 1."""

    luma: NDArray[np.uint8]
    """The part itself, 0..255."""
    vertical: NDArray[np.uint8]
    """Isolated edges along rows."""
    horizontal: NDArray[np.uint8]
    """Isolated edges along columns."""
    active: NDArray[np.uint8]

    @staticmethod
    def from_luma(luma: NDArray[np.uint8]) -> Evidence:
        """Measures ``luma`` (H, W) uint8."""
        return Evidence(luma, isolated_edges(luma, 1), isolated_edges(luma, 0), active_pixels(luma))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in px."""
        height, width = self.luma.shape
        return height, width

    def profiles(self, box: PixelBox | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Edges per column, (W,), in the rows of a box, and per row, (H,), in its columns."""
        x0, y0, x1, y1 = box or (0, 0, self.size[1], self.size[0])
        return (
            self.vertical[y0:y1].sum(axis=0, dtype=np.float64),
            self.horizontal[:, x0:x1].sum(axis=1, dtype=np.float64),
        )

    def cut(self, box: PixelBox) -> Evidence:
        """A view of a part: what is erased there is erased here."""
        x0, y0, x1, y1 = box
        part = np.s_[y0:y1, x0:x1]
        return Evidence(self.luma[part], self.vertical[part], self.horizontal[part], self.active[part])

    def erase(self, box: PixelBox) -> None:
        """Forgets the edges of a region and of its right and lower sides."""
        x0, y0, x1, y1 = box
        self.vertical[y0 : y1 + 1, x0 : x1 + 1] = 0
        self.horizontal[y0 : y1 + 1, x0 : x1 + 1] = 0


@dataclass(frozen=True, slots=True)
class PartGrid:
    """A line grid of each axis, laid over a whole part, and the edges on their lines."""

    x: LineGrid
    y: LineGrid
    xs: NDArray[np.int64]
    """Columns where cells begin."""
    ys: NDArray[np.int64]
    """Rows where cells begin."""
    vertical: NDArray[np.uint8]
    """(H, W) 0 or 1, edges in the columns ``xs``, faint ones too"""
    horizontal: NDArray[np.uint8]
    """(H, W) 0 or 1, edges in the rows ``ys``, faint ones too"""
    beside_vertical: NDArray[np.uint8]
    """(H, W) 0 or 1, the same in the columns halfway between: footage has them by chance, cells have none"""
    beside_horizontal: NDArray[np.uint8]
    """(H, W) 0 or 1, the same in the rows halfway between"""

    @staticmethod
    def over(evidence: Evidence, x: LineGrid, y: LineGrid) -> PartGrid:
        """Lays line grids over a part."""
        height, width = evidence.size
        xs, ys = line_pixels(x, width), line_pixels(y, height)
        return PartGrid(
            x,
            y,
            xs,
            ys,
            faint_edges(evidence.luma, xs, x.pitch, 1),
            faint_edges(evidence.luma, ys, y.pitch, 0),
            faint_edges(evidence.luma, halfway_pixels(x, width), x.pitch, 1),
            faint_edges(evidence.luma, halfway_pixels(y, height), y.pitch, 0),
        )

    def within(self, box: PixelBox) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Columns and rows of the lines strictly inside a box."""
        x0, y0, x1, y1 = box
        return self.xs[(self.xs > x0) & (self.xs < x1)], self.ys[(self.ys > y0) & (self.ys < y1)]
