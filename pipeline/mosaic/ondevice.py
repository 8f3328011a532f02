"""Screening of a picture that lies on a GPU, and the parts of it that the finder looks at.

The same as ``steps.isolated_steps`` and ``screen``, in integers, so the same to the last bit. The picture
stays where it is; what comes to the host is the strength of each 16 px block, and the parts in which
something was found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pipeline.mosaic.evidence import Pixels
from pipeline.mosaic.steps import MIN_STEP


class Luma(Protocol):
    """(H, W) uint8, of which parts are asked for: an array, or a picture on a GPU."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    def __getitem__(self, part: Any, /) -> Any: ...


class DeviceLuma:
    """(H, W) uint8 on a device; indexing copies a part to the host."""

    def __init__(self, plane: Tensor) -> None:
        self.plane = plane
        self.shape = tuple(plane.shape)

    def __getitem__(self, part: Any, /) -> NDArray[np.uint8]:
        return np.asarray(self.plane[part].contiguous().cpu().numpy(), np.uint8)

    def steps(self, stride_px: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Isolated steps of every ``stride_px``-th row and, turned, column, copied to the host."""
        vertical = isolated_steps(self.plane[::stride_px])
        horizontal = isolated_steps(self.plane[:, ::stride_px].T)
        return np.asarray(vertical.cpu().numpy()), np.asarray(horizontal.contiguous().cpu().numpy())

    def strength(
        self,
        known: Sequence[Pixels],
        *,
        stride_px: int,
        block_px: int,
        segment: int,
        need: Sequence[tuple[int, int]],
    ) -> NDArray[np.float32]:
        """What ``screen._strength`` gives of the isolated steps without those of ``known``."""
        vertical = isolated_steps(self.plane[::stride_px])
        horizontal = isolated_steps(self.plane[:, ::stride_px].T)
        for x0, y0, x1, y1 in known:
            vertical[y0 // stride_px : y1 // stride_px + 1, x0 : x1 + 1] = 0
            horizontal[x0 // stride_px : x1 // stride_px + 1, y0 : y1 + 1] = 0
        if min(vertical.shape[1], horizontal.shape[1]) < 2 * block_px:
            return np.zeros((0, 0), dtype=np.float32)
        across = _segments(vertical, stride_px, block_px, segment)
        down = _segments(horizontal, stride_px, block_px, segment).T
        rows, cols = min(across.shape[0], down.shape[0]), min(across.shape[1], down.shape[1])
        both = torch.stack([across[:rows, :cols], down[:rows, :cols]]).unsqueeze(1)
        out = torch.zeros(rows, cols, device=both.device)
        for size, wanted in need:
            before = size // 2  # where OpenCV has the middle of a kernel of even size
            padded = F.pad(both, (before, size - 1 - before, before, size - 1 - before))
            sums = F.conv2d(padded, torch.ones(1, 1, size, size, device=both.device))
            out = torch.maximum(out, sums.amin(0)[0] / wanted)
        return np.asarray(out.cpu().numpy(), np.float32)


def isolated_steps(luma: Tensor) -> Tensor:
    """``steps.isolated_steps`` along rows: (H, W) uint8 -> (H, W) uint8, 0 or 1."""
    out = torch.zeros(luma.shape, dtype=torch.uint8, device=luma.device)
    if luma.shape[1] >= 4:
        wide = luma.to(torch.int16)
        d = (wide[:, 1:] - wide[:, :-1]).abs_()
        here, flank = d[:, 1:-1], torch.maximum(d[:, :-2], d[:, 2:])
        out[:, 2:-1] = (here >= MIN_STEP) & (here > 2 * flank)
    return out


def _segments(steps: Tensor, stride_px: int, block_px: int, segment: int) -> Tensor:
    """``screen._segments``: float32, exact small integers."""
    rows, cols = steps.shape[0] * stride_px // block_px, steps.shape[1] // block_px
    per_block = block_px // stride_px
    steps = steps[: rows * per_block, : cols * block_px]
    half = steps.reshape(rows, per_block, -1).to(torch.int32).sum(1)
    line = half[1:] + half[:-1] >= segment
    return line.reshape(rows - 1, cols, block_px).to(torch.float32).sum(2)
