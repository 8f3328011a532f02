"""The geometry of one mosaic over the frames of a clip, and how it looks on any raster."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nets import pixelation
from pipeline.types import Box

CELLS = 64
"""N of the membership matrices, see pipeline.engines.EngineSpec."""


@dataclass(frozen=True)
class Mosaic:
    """Geometry of one mosaic over the frames of a clip. All lengths in frame px."""

    crop: float
    """side of the crop"""
    left: float
    top: float
    width: float
    height: float
    pitch: tuple[float, float]
    """x, y"""
    origins: tuple[tuple[float, float], ...]
    """x, y of the grid on each frame"""
    snapped: bool
    """widened to whole cells"""
    ellipse: bool
    cells: int

    def render(self, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """rows (T, N, size), cols (T, N, size), weight (T, 1, size, size) of a crop of ``size`` px."""
        scale = self.crop / size
        rows, cols, weights = [], [], []
        for x, y in self.origins:
            col, inside_x = self._axis(size, scale, self.left, self.width, x, self.pitch[0])
            row, inside_y = self._axis(size, scale, self.top, self.height, y, self.pitch[1])
            weight = inside_y[:, None] * inside_x[None, :]
            if self.ellipse:
                weight = weight * self._ellipse(size, scale)
            rows.append(row)
            cols.append(col)
            weights.append(weight.unsqueeze(0))
        return torch.stack(rows), torch.stack(cols), torch.stack(weights)

    def scaled(self, crop: float) -> Mosaic:
        """The same mosaic where the crop's side is ``crop`` px of another frame."""
        f = crop / self.crop
        return replace(
            self,
            crop=crop,
            left=self.left * f,
            top=self.top * f,
            width=self.width * f,
            height=self.height * f,
            pitch=(self.pitch[0] * f, self.pitch[1] * f),
            origins=tuple((x * f, y * f) for x, y in self.origins),
        )

    def box(self, frame: int) -> Box:
        """The rectangle in which the pixels of frame ``frame`` lie, or the ellipse that they fill."""
        if self.ellipse or not self.snapped:
            return Box(self.left, self.top, self.left + self.width, self.top + self.height)
        x, y = self.origins[frame]
        (x0, x1), (y0, y1) = (
            (origin + first * pitch, origin + (last + 1) * pitch)
            for origin, pitch, (first, last) in (
                (x, self.pitch[0], touched(self.left, self.width, x, self.pitch[0])),
                (y, self.pitch[1], touched(self.top, self.height, y, self.pitch[1])),
            )
        )
        return Box(math.ceil(x0), math.ceil(y0), math.ceil(x1), math.ceil(y1))

    def _axis(
        self, size: int, scale: float, start: float, extent: float, origin: float, pitch: float
    ) -> tuple[Tensor, Tensor]:
        """Membership (N, size) and (size,) 1 inside the mosaic, both through whole frame pixels."""
        frame_px = torch.floor((torch.arange(size, dtype=torch.float64) + 0.5) * scale)
        first, last = touched(start, extent, origin, pitch)
        index = torch.floor((frame_px - origin) / pitch + 1e-6).long()
        within = (index >= first) & (index <= last)
        inside = within if self.snapped else (frame_px >= start) & (frame_px < start + extent)
        return pixelation.membership(index - first, self.cells) * within, inside.float()

    def _ellipse(self, size: int, scale: float) -> Tensor:
        """(size, size) 1 where a pixel's centre lies in the ellipse of the box."""
        at = (torch.arange(size) + 0.5) * scale
        x = (at - self.left - self.width / 2) / (self.width / 2)
        y = (at - self.top - self.height / 2) / (self.height / 2)
        return (y[:, None] ** 2 + x[None, :] ** 2 <= 1).float()


def touched(start: float, extent: float, origin: float, pitch: float) -> tuple[int, int]:
    """First and last cell of an axis that pixels of the mosaic lie in, whatever a raster sees of them."""
    first, last = math.ceil(start), math.ceil(start + extent) - 1
    return math.floor((first - origin) / pitch + 1e-6), math.floor((last - origin) / pitch + 1e-6)
