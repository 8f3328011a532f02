"""A lattice and an outline in a part, as a region of the picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline.mosaic.evidence import Evidence, Lattice, Pixels
from pipeline.mosaic.line_grid import Comb
from pipeline.mosaic.pixel_sides import loss
from pipeline.mosaic.resized_lines import whole_cells
from pipeline.mosaic.sampling import named, odds
from pipeline.types import Axis, Box, Grid, MosaicRegion, Shape, Strips

_LOSS_PX = 1.5
"""Clear columns of a cut cell that whole cells may leave outside. A box that moves over a fixed grid is
nearly whole now and then: of the demo's mosaic, 14 px a cell, strips of 3 px stayed for seven frames."""
_EDGE_PX = 1.0
"""What an ellipse is made wider on each side: pixels of it that are left out show as a dashed line. On 13
training clips 0.78 px of it per px of outline were, and 0.82 px taken in; with ``shape._fine`` and this 0.47
and 1.18. What is left is in three clips whose ellipse the picture cuts, and one of 58 px a cell."""


def describe(
    evidence: Evidence,
    lattice: Lattice,
    outlined: tuple[Pixels, Shape],
    strips: tuple[Strips | None, Strips | None],
    score: float,
    offset: tuple[int, int],
) -> MosaicRegion:
    """In px of the picture, where the part begins at ``offset`` (x, y).

    Where the box is a whole number of cells it sets pitch and phase, and they its sides, unless a strip of
    cells would be left outside.
    """
    box, shape = outlined
    across, down = evidence.profiles(box)
    whole = shape is Shape.RECTANGLE
    x, (x0, x1) = axis(across, lattice.x, (box[0], box[2]), whole)
    y, (y0, y1) = axis(down, lattice.y, (box[1], box[3]), whole)
    lost_x, lost_y = loss(evidence.luma, lattice, box, (x0, y0, x1, y1))
    if lost_x > _LOSS_PX:
        x, (x0, x1) = axis(across, lattice.x, (box[0], box[2]), False)
    if lost_y > _LOSS_PX:
        y, (y0, y1) = axis(down, lattice.y, (box[1], box[3]), False)
    dx, dy = offset
    read = grid(evidence.luma, x, y, (x0, y0, x1, y1), offset, score)
    edge = 0.0 if whole else _EDGE_PX
    outer = Box(x0 + dx - edge, y0 + dy - edge, x1 + dx + edge, y1 + dy + edge)
    columns, rows = strips if whole else (None, None)  # those of an ellipse end elsewhere in each row
    return MosaicRegion(outer, shape, score, read, strips=(_moved(columns, dx), _moved(rows, dy)))


def _moved(strips: Strips | None, by: int) -> Strips | None:
    return None if strips is None else replace(strips, ends=strips.ends + by)


def axis(
    profile: NDArray[np.float64], c: Comb, sides: tuple[int, int], try_whole: bool
) -> tuple[Axis, tuple[int, int]]:
    """Lattice of one axis, its cell 0 at the first side, and the sides. ``profile`` is of the whole axis.

    ``try_whole``: the box may be a whole number of cells. (An ellipse's sides are too short to show it.)
    """
    whole = whole_cells(profile, c.pitch, c.origin, *sides) if try_whole else None
    if whole is not None:
        start, end, cells = whole
        return Axis((end - start) / cells, float(start)), (start, end)
    first = np.floor((sides[0] - c.origin) / c.pitch + 1e-6)
    return Axis(c.pitch, float(c.origin + first * c.pitch)), sides


def grid(
    part: NDArray[np.uint8], x: Axis, y: Axis, box: Pixels, offset: tuple[int, int], confidence: float
) -> Grid:
    """A lattice in px of a part as one in px of the picture, with its operator."""
    dx, dy = offset
    told = odds(part, x, y, box)
    return Grid(
        replace(x, origin=x.origin + dx), replace(y, origin=y.origin + dy), named(told), confidence, told
    )
