"""Lattices that show what lies around a mask and nothing of what is under it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.picture.color import Conversion
from pipeline.picture.grid_paint import Measured, measure
from pipeline.picture.wanted import Cells
from pipeline.types import Box, Frame

_UNKNOWN = 0.5
"""Gray where masks cover the whole picture."""
_WHOLE = (18, 32)
"""Cells of the whole picture, for a mask whose surroundings lie under others."""


def from_around(
    frame: Frame,
    boxes: Sequence[Box],
    cells: Sequence[Cells],
    masks: Sequence[Box],
    convert: Conversion,
) -> list[Tensor]:
    """(3, R, C) RGB for each box: every cell is the mean of the cells just outside of the box, weighted by
    the inverse square of their distance. Cells that any of ``masks`` touches or the picture does not hold do
    not count; where none is left, the cells of the whole picture do."""
    if not boxes:
        return []
    wider = [_wider(box, n) for box, n in zip(boxes, cells, strict=True)]
    measured = measure(frame, wider, [(rows + 2, columns + 2) for rows, columns in cells], convert)
    filled = []
    for one, box, n in zip(measured, wider, cells, strict=True):
        lattice = _filled(one, box, n, _others(masks, box))
        filled.append(_from_afar(frame, box, n, masks, convert) if lattice is None else lattice)
    return filled


def _wider(box: Box, cells: Cells) -> Box:
    """By one cell on each side."""
    down, across = box.height / cells[0], box.width / cells[1]
    return Box(box.x0 - across, box.y0 - down, box.x1 + across, box.y1 + down)


def _others(masks: Sequence[Box], wider: Box) -> list[Box]:
    """Masks that reach into a box."""
    return [m for m in masks if m.x0 < wider.x1 and m.x1 > wider.x0 and m.y0 < wider.y1 and m.y1 > wider.y0]


def _from_afar(frame: Frame, box: Box, cells: Cells, masks: Sequence[Box], convert: Conversion) -> Tensor:
    """One colour: of the picture's cells in no mask, the nearer the more."""
    height, width = frame.planes[0].shape
    (measured,) = measure(frame, [Box(0, 0, width, height)], [_WHOLE], convert)
    ys, xs = np.linspace(0, height, _WHOLE[0] + 1), np.linspace(0, width, _WHOLE[1] + 1)
    free = np.ones(_WHOLE, bool)
    for mask in masks:
        free &= ~(
            ((ys[:-1] < mask.y1) & (ys[1:] > mask.y0))[:, None] & (xs[:-1] < mask.x1) & (xs[1:] > mask.x0)
        )
    if not free.any():
        return torch.full((3, *cells), _UNKNOWN)
    x, y = box.centre
    down, across = (ys[:-1] + ys[1:]) / 2 - y, (xs[:-1] + xs[1:]) / 2 - x
    weights = torch.from_numpy(free / np.maximum(down[:, None] ** 2 + across**2, 1.0)).float()
    colour = (measured.samples * (weights / weights.sum())).sum((1, 2))
    return colour.view(3, 1, 1).expand(3, *cells).contiguous()


def _filled(measured: Measured, wider: Box, cells: Cells, masks: Sequence[Box]) -> Tensor | None:
    """None: nothing around is free."""
    rows, columns = cells
    ys = np.linspace(wider.y0, wider.y1, rows + 3)
    xs = np.linspace(wider.x0, wider.x1, columns + 3)
    free = (measured.rows == np.arange(rows + 2))[:, None] & (measured.columns == np.arange(columns + 2))
    free[1:-1, 1:-1] = False
    for mask in masks:
        # The mask that is filled itself begins where the ring ends.
        down = (ys[:-1] < mask.y1 - 1e-3) & (ys[1:] > mask.y0 + 1e-3)
        across = (xs[:-1] < mask.x1 - 1e-3) & (xs[1:] > mask.x0 + 1e-3)
        free &= ~(down[:, None] & across)
    if not free.any():
        return None
    weights = _weights(cells)[:, free.ravel()]
    weights = weights / weights.sum(1, keepdims=True)
    ring = measured.samples.flatten(1)[:, torch.from_numpy(free.ravel())]
    return (ring @ torch.from_numpy(weights).float().T).view(3, rows, columns)


@lru_cache(maxsize=256)
def _weights(cells: Cells) -> NDArray[np.float64]:
    """(R * C, (R + 2) * (C + 2)): inverse square distance of cells inside to all cells; 0 for itself."""
    rows, columns = cells
    y, x = np.mgrid[0 : rows + 2, 0 : columns + 2]
    inside = np.stack([y[1:-1, 1:-1].ravel(), x[1:-1, 1:-1].ravel()], 1)
    everywhere = np.stack([y.ravel(), x.ravel()], 1)
    squares = ((inside[:, None] - everywhere) ** 2).sum(2)
    return np.asarray(np.where(squares > 0, 1 / np.maximum(squares, 1), 0))
