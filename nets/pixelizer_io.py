"""The inputs of the adversarial pixelizer, read from a grid of colours, and its answer put onto the grid.

It sees the colours that will be released and nothing else, so its answer reveals nothing of the face that
they do not reveal. A grid of cells (3, R, C) is drawn as a picture of whole pixels per cell in a corner of S
x S px, so that the network has the inputs of a restoring one (``nets.observation``) and runs behind the same
engines.

*block* (eq. 14 of the IDN paper): one change per cell, drawn with one pixel per cell. *pixel* (eq. 12):
changes within cells, too, of which whoever knows the grid keeps the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from nets import pixelation
from nets.observation import observe

Perturb = Literal["block", "pixel"]


def subdivision(perturb: Perturb, size_px: int, cells: tuple[int, int]) -> int:
    """Pixels per cell, along either axis, of a grid of (rows, columns) as it is drawn; 0 if it is too
    large."""
    fits = size_px // max(cells)
    return min(fits, 1) if perturb == "block" else fits


def read(samples: Sequence[Tensor], perturb: Perturb, size_px: int) -> tuple[Tensor, Tensor]:
    """Grids of colours (3, R, C) of any sizes, RGB in [0, 1] -> features (B, nets.observation.CHANNELS, S,
    S), mask (B, 1, S, S), 1 where there is no cell. Raises ValueError for one that does not fit."""
    images, masks, rows, cols = [], [], [], []
    for colours in samples:
        cells = colours.shape[1], colours.shape[2]
        k = subdivision(perturb, size_px, cells)
        if k == 0:
            raise ValueError(f"a grid of {cells[0]} x {cells[1]} cells; wanted {size_px} at most")
        row, col = (pixelation.axis_index(size_px, float(k), 0.0) for _ in cells)
        row, col = torch.where(row < cells[0], row, -1), torch.where(col < cells[1], col, -1)
        inside = (row >= 0).unsqueeze(-1) & (col >= 0)
        blocks = colours[:, row.clamp_min(0)][:, :, col.clamp_min(0)]
        images.append(torch.where(inside, blocks, torch.full_like(blocks, 0.5)))
        masks.append((~inside).to(colours.dtype).unsqueeze(0))
        rows.append(pixelation.membership(row, size_px))
        cols.append(pixelation.membership(col, size_px))
    obs = observe(torch.stack(images), torch.stack(masks), torch.stack(rows), torch.stack(cols))
    return obs.features, 1 - obs.weight


def answer(residual: Tensor, perturb: Perturb, cells: tuple[int, int]) -> Tensor:
    """A network's residual (3, S, S) -> what is added to a grid of R x C ``cells``: (3, R k, C k), k of
    ``subdivision``."""
    k = subdivision(perturb, residual.shape[-1], cells)
    return residual[:, : cells[0] * k, : cells[1] * k]


def add(samples: Tensor, delta: Tensor) -> Tensor:
    """Grid of colours (3, R, C) + change (3, R k, C k) -> (3, R k, C k) in [0, 1]."""
    k = delta.shape[1] // samples.shape[1]
    fine = samples.repeat_interleave(k, 1).repeat_interleave(k, 2)
    return (fine + delta).clamp(0, 1)
