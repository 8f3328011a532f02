"""Screening of a picture that lies on a GPU, and the parts of it that the finder looks at.

The same as ``steps.isolated_steps`` and ``screen``, in integers, so the same to the last bit. The picture
and its steps stay where they are, also summed up over frames; what comes to the host is the strength of each
16 px block, profiles of one number a column or row, every fourth frame one a column or row of each band of
16 px, and the parts in which something may be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pipeline.mosaic.edges import MIN_STEP
from pipeline.mosaic.evidence import Pixels
from pipeline.mosaic.screening import BLOCK_PX, NEED, STRIDE_PX, looked_at


class Luma(Protocol):
    """(H, W) uint8, of which parts are asked for: an array, or a picture on a GPU."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    def __getitem__(self, part: Any, /) -> Any: ...


def shrunk(luma: Luma, times: int) -> Luma:
    """(H, W) uint8 at 1 / ``times`` of its size, 1 to 3, where it lies: rounded means, halves go up. Rows and
    columns over are lost."""
    if times == 1:
        return luma
    if isinstance(luma, DeviceLuma):
        return luma.shrunk(times)
    height, width = (size // times for size in luma.shape)
    if not height or not width:
        return np.zeros((height, width), np.uint8)
    whole = np.ascontiguousarray(luma[: times * height, : times * width])
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


class DeviceLuma:
    """(H, W) uint8 on a device; indexing copies a part to the host."""

    def __init__(self, plane: Tensor) -> None:
        self.plane = plane
        self.shape = tuple(plane.shape)

    def __getitem__(self, part: Any, /) -> NDArray[np.uint8]:
        return np.asarray(self.plane[part].contiguous().cpu().numpy(), np.uint8)

    def shrunk(self, times: int) -> DeviceLuma:
        """``shrunk`` on the device."""
        height, width = (size // times for size in self.shape)
        whole = self.plane[: times * height, : times * width].to(torch.int32)
        sums = whole.reshape(height, times, width, times).sum((1, 3))
        return DeviceLuma(((2 * sums + times**2) // (2 * times**2)).to(torch.uint8))

    def steps(self) -> DeviceSampled:
        """Isolated steps of every second row and column, on the device."""
        height, width = self.shape
        vertical = isolated_steps(self.plane[::STRIDE_PX])
        horizontal = isolated_steps(self.plane[:, ::STRIDE_PX].T)
        return DeviceSampled(vertical, horizontal, (height, width))


@dataclass(frozen=True, slots=True)
class DeviceSampled:
    """``screen.Steps`` on a device; its fields are those of ``screen.Sampled``."""

    vertical: Tensor
    horizontal: Tensor
    size: tuple[int, int]

    def copy(self) -> DeviceSampled:
        return DeviceSampled(self.vertical.clone(), self.horizontal.clone(), self.size)

    def add(self, other: DeviceSampled) -> None:
        self.vertical.add_(other.vertical)
        self.horizontal.add_(other.horizontal)

    def erase(self, box: Pixels) -> None:
        x0, y0, x1, y1 = box
        self.vertical[y0 // STRIDE_PX : y1 // STRIDE_PX + 1, x0 : x1 + 1] = 0
        self.horizontal[x0 // STRIDE_PX : x1 // STRIDE_PX + 1, y0 : y1 + 1] = 0

    def across(self, box: Pixels) -> NDArray[np.float64]:
        x0, y0, x1, y1 = box
        return _profile(self.vertical[looked_at(y0, y1), x0:x1])

    def down(self, box: Pixels) -> NDArray[np.float64]:
        x0, y0, x1, y1 = box
        return _profile(self.horizontal[looked_at(x0, x1), y0:y1])

    def bands(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        across, down = (_bands(s).to(torch.uint8).cpu().numpy() for s in (self.vertical, self.horizontal))
        return across, down

    def strength(self, need: int) -> NDArray[np.float32]:
        if min(self.size) < 2 * BLOCK_PX:
            return np.zeros((0, 0), dtype=np.float32)
        across, down = _segments(self.vertical, need), _segments(self.horizontal, need).T
        rows, cols = min(across.shape[0], down.shape[0]), min(across.shape[1], down.shape[1])
        both = torch.stack([across[:rows, :cols], down[:rows, :cols]]).unsqueeze(1)
        out = torch.zeros(rows, cols, device=both.device)
        for size, segments in NEED:
            before = size // 2  # where OpenCV has the middle of a kernel of even size
            padded = F.pad(both, (before, size - 1 - before, before, size - 1 - before))
            sums = F.conv2d(padded, torch.ones(1, 1, size, size, device=both.device))
            out = torch.maximum(out, sums.amin(0)[0] / segments)
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


def _bands(steps: Tensor) -> Tensor:
    """``screen._bands``, int32."""
    per_block = BLOCK_PX // STRIDE_PX
    rows = steps.shape[0] // per_block
    return steps[: rows * per_block].reshape(rows, per_block, steps.shape[1]).sum(1, dtype=torch.int32)


def _segments(steps: Tensor, need: int) -> Tensor:
    """``screen._segments``: float32, exact small integers."""
    cols = steps.shape[1] // BLOCK_PX
    half = _bands(steps[:, : cols * BLOCK_PX])
    line = half[1:] + half[:-1] >= need
    return line.reshape(len(line), cols, BLOCK_PX).sum(2, dtype=torch.float32)


def _profile(steps: Tensor) -> NDArray[np.float64]:
    """Sums per column; int64 is exact, the copy to the host is one number a column."""
    return steps.sum(0).cpu().numpy().astype(np.float64)
