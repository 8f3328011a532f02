"""Canonical coordinates: the upright square around a mosaic, and where its pixels lie in the coded picture.

Continuous coordinates throughout: pixel i spans [i, i + 1), its centre is i + 0.5. A ``View`` lies on
whole pixels of the picture, so going to canonical size and back is a plain resize, after which
``Crop.to_frame`` is exact; a crop that rests stays on the same pixels and does not flicker.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.types import Box


@dataclass(frozen=True, slots=True)
class View:
    """Rectangle of the coded picture that a crop shows; a square as displayed. May reach outside."""

    x0: int
    y0: int
    width: int
    height: int
    rotation: int
    """Degrees counter-clockwise from coded to upright: 0, 90, 180, 270 (``StreamInfo.rotation``)."""
    mirrored: bool = False
    """Left and right change places after that (``StreamInfo.mirrored``)."""

    def to_frame(self, size_px: int) -> NDArray[np.float64]:
        """(2, 3) affine from canonical px of a crop of ``size_px`` to px of the coded picture."""
        turn = {0: (1, 0, 0, 1), 90: (0, -1, 1, 0), 180: (-1, 0, 0, -1), 270: (0, 1, -1, 0)}[self.rotation]
        scale = np.array([[self.width], [self.height]]) / size_px
        linear = scale * np.array(turn, dtype=np.float64).reshape(2, 2)
        linear[:, 0] *= -1 if self.mirrored else 1
        middle = np.array([self.x0 + self.width / 2, self.y0 + self.height / 2])
        return np.column_stack([linear, middle - linear @ np.full(2, size_px / 2)])


def view_around(
    box: Box, side_px: float, sample_aspect: Fraction, rotation: int, mirrored: bool = False
) -> View:
    """The view centred on a box; ``side_px`` counts lines of the picture (pixels are sample_aspect wide)."""
    width = max(round(side_px / float(sample_aspect)), 1)
    height = max(round(side_px), 1)
    x, y = box.centre
    return View(round(x - width / 2), round(y - height / 2), width, height, rotation, mirrored)


def view_of(to_frame: NDArray[np.float64], size_px: int, rotation: int, mirrored: bool = False) -> View:
    """The view that ``View.to_frame`` came from."""
    corners = to_frame @ np.array([[0, size_px], [0, size_px], [1, 1]], dtype=np.float64)
    (x0, x1), (y0, y1) = np.sort(np.rint(corners).astype(int), axis=1).tolist()
    return View(x0, y0, x1 - x0, y1 - y0, rotation, mirrored)


def upright(x: Tensor, rotation: int, mirrored: bool = False) -> Tensor:
    """(..., H, W) in coded orientation -> as displayed."""
    turned = torch.rot90(x, rotation // 90, (-2, -1))
    return turned.flip(-1) if mirrored else turned


def as_coded(x: Tensor, rotation: int, mirrored: bool = False) -> Tensor:
    """(..., H, W) as displayed -> coded orientation."""
    return torch.rot90(x.flip(-1) if mirrored else x, -(rotation // 90), (-2, -1))


def pixels_under(start: int, length: int, size_px: int) -> Tensor:
    """Picture pixel under the centre of each of ``size_px`` canonical pixels, before rotation.

    The canonical axis spans ``length`` picture pixels from ``start`` on. Returns (size_px,) int64.
    """
    centres = (torch.arange(size_px, dtype=torch.float64) + 0.5) * (length / size_px)
    return torch.floor(centres).long() + start


def upright_cells(
    rows: Tensor, cols: Tensor, counts: tuple[int, int], rotation: int, mirrored: bool = False
) -> tuple[Tensor, Tensor]:
    """The cell of each row and column, (S,), below 0 where there is none, of a crop in coded orientation ->
    of the same crop turned upright.

    ``counts`` are the cells in use, of rows and of columns. Where an axis turns round its cells are
    numbered from the other end, so that cell 0 is the upper or left one as displayed.
    """

    def reverse(cell: Tensor, count: int) -> Tensor:
        turned = cell.flip(0)
        return torch.where(turned >= 0, count - 1 - turned, turned)

    down, across = counts
    if rotation in (180, 270):
        rows = reverse(rows, down)
    if rotation in (90, 180):
        cols = reverse(cols, across)
    if rotation in (90, 270):
        rows, cols, across = cols, rows, down
    return rows, reverse(cols, across) if mirrored else cols
