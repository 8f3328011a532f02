"""Clean clips -> what a network gets to see: mosaics of many kinds, measured with noise.

Geometry is drawn as it arises in the pipeline: the crop's side is 1.6 x the longer side of the
mosaic, the frame has its own pixel raster (``scale`` frame px per canonical px), and the index map
runs over frame pixels, so that canonical cells have uneven widths exactly as at run time.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nets import pixelation
from nets.pixelation import Operator

OPERATORS = (Operator.AREA, Operator.CENTRE, Operator.CORNER, Operator.BILINEAR, Operator.LINEAR)
SHARES = (0.66, 0.1, 0.1, 0.07, 0.07)


@dataclass(frozen=True)
class Degradation:
    """Ranges that are drawn from, uniform unless said otherwise."""

    blocks: tuple[float, float] = (6.0, 20.0)
    """cells across the mosaic's width, log-uniform ("infinite" strategy of the IDN paper)"""
    longer_side: tuple[float, float] = (0.56, 0.68)
    """longer side of the mosaic over the crop's side; 1 / 1.6 = 0.625 at run time"""
    aspect: tuple[float, float] = (0.65, 1.15)
    """width over height"""
    frame_scale: tuple[float, float] = (0.35, 1.6)
    """frame px per canonical px, log-uniform"""
    locked_share: float = 0.5
    """grids that move with the mosaic; the rest stand still in the frame"""
    ellipse_share: float = 0.25
    noise: float = 4.0
    """largest standard deviation of a cell's value in grey levels of 255 (x264 crf 28: 4.2)"""


@dataclass(frozen=True)
class Example:
    """A batch for a network of window T, and the truth."""

    truth: Tensor
    """(B, T, 3, S, S)"""
    image: Tensor
    mask: Tensor
    rows: Tensor
    cols: Tensor
    """as in pipeline.engines.EngineSpec"""
    area: Tensor
    """(B,) 1 where cells are means, 0 where they are point samples or linear-light means"""

    def tensors(self) -> tuple[Tensor, ...]:
        """In the order of the fields."""
        return self.truth, self.image, self.mask, self.rows, self.cols, self.area

    def to(self, device: torch.device) -> Example:
        return Example(*(x.to(device) for x in self.tensors()))


def degrade(truth: Tensor, cells: int, ranges: Degradation, generator: torch.Generator) -> Example:
    """truth (B, T, 3, S, S) in [0, 1] -> Example. One mosaic per clip, its place drifting over time."""
    B, T, _, S, _ = truth.shape
    drawn = [_draw_mosaic(T, S, cells, ranges, generator) for _ in range(B)]
    rows = torch.stack([d[0] for d in drawn])
    cols = torch.stack([d[1] for d in drawn])
    weight = torch.stack([d[2] for d in drawn])
    which = torch.multinomial(torch.tensor(SHARES), B, replacement=True, generator=generator)
    samples = torch.stack(
        [pixelation.sample(truth[i], rows[i], cols[i], OPERATORS[int(which[i])]) for i in range(B)]
    )
    sigma = torch.rand(B, 1, 1, 1, 1, generator=generator) * ranges.noise / 255
    # Luma noise is common to the channels, chroma noise is not (measured: about 3 to 1).
    common = torch.randn(samples[:, :, :1].shape, generator=generator)
    own = torch.randn(samples.shape, generator=generator)
    samples = (samples + sigma * (0.9 * common + 0.4 * own)).clamp(0, 1)
    samples = torch.round(samples * 255) / 255
    around = truth + torch.randn(truth.shape, generator=generator) * sigma * 0.7
    blocks = pixelation.replicate(samples, rows, cols)
    image = torch.where(weight > 0, blocks, around.clamp(0, 1))
    return Example(truth, image, 1 - weight, rows, cols, (which == 0).float())


def _draw_mosaic(
    frames: int, size: int, cells: int, ranges: Degradation, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """rows (T, N, S), cols (T, N, S), weight (T, 1, S, S) of one clip."""

    def draw(low: float, high: float) -> float:
        return float(torch.rand(1, generator=generator)) * (high - low) + low

    def log_draw(low: float, high: float) -> float:
        return float(low * (high / low) ** draw(0, 1))

    scale = log_draw(*ranges.frame_scale)
    longer = draw(*ranges.longer_side) * size
    aspect = draw(*ranges.aspect)
    width, height = (longer * aspect, longer) if aspect < 1 else (longer, longer / aspect)
    pitch = width / log_draw(*ranges.blocks)
    pitch = max(pitch, 3.0 / scale, height / (cells - 2), width / (cells - 2))
    kind = draw(0, 1)
    locked = kind < ranges.locked_share
    # Fixed grids: half of the tools cut the border cells, half widen the mosaic to whole cells.
    snapped = not locked and kind > (1 + ranges.locked_share) / 2
    ellipse = draw(0, 1) < ranges.ellipse_share
    if locked:
        pitch_y = height / max(round(height / pitch), 1)
        pitch_x = width / max(round(width / pitch), 1)
    else:
        pitch_x = pitch_y = pitch
    phase_x, phase_y = draw(0, pitch_x), draw(0, pitch_y)
    # The crop follows the mosaic up to a rest; a grid that stands still in the frame then drifts.
    sway = draw(0, 1) ** 2 * 2.5
    drift = torch.randn(frames, 2, generator=generator).cumsum(0) * sway
    drift = drift - drift[frames // 2]
    rest_x, rest_y = draw(-0.01, 0.01) * size, draw(-0.01, 0.01) * size
    rows, cols, weights = [], [], []
    for t in range(frames):
        left, top = (size - width) / 2 + rest_x, (size - height) / 2 + rest_y
        if locked:
            origin_x, origin_y = left, top
        else:
            origin_x = phase_x + float(drift[t, 0])
            origin_y = phase_y + float(drift[t, 1])
        col, inside_x = _axis(size, scale, left, width, origin_x, pitch_x, cells, snapped)
        row, inside_y = _axis(size, scale, top, height, origin_y, pitch_y, cells, snapped)
        weight = inside_y[:, None] * inside_x[None, :]
        if ellipse:
            weight = weight * _ellipse(size, left, top, width, height)
        rows.append(row)
        cols.append(col)
        weights.append(weight.unsqueeze(0))
    return torch.stack(rows), torch.stack(cols), torch.stack(weights)


def _axis(
    size: int,
    scale: float,
    start: float,
    extent: float,
    origin: float,
    pitch: float,
    cells: int,
    snapped: bool,
) -> tuple[Tensor, Tensor]:
    """Membership (N, S) and (S,) 1 inside the mosaic. Lengths in canonical px."""
    frame_px = torch.floor((torch.arange(size, dtype=torch.float64) + 0.5) * scale)
    index = torch.floor((frame_px - origin * scale) / (pitch * scale) + 1e-6).long()
    inside = (frame_px >= start * scale) & (frame_px < (start + extent) * scale)
    touched = index[inside]
    first, last = int(touched.min()), int(touched.max())
    if snapped:
        inside = (index >= first) & (index <= last)
    return pixelation.membership(index - first, cells) * _within(index, first, last), inside.float()


def _within(index: Tensor, first: int, last: int) -> Tensor:
    return ((index >= first) & (index <= last)).float()


def _ellipse(size: int, left: float, top: float, width: float, height: float) -> Tensor:
    """(S, S) 1 where a pixel's centre lies in the ellipse of the box."""
    at = torch.arange(size) + 0.5
    x = (at - left - width / 2) / (width / 2)
    y = (at - top - height / 2) / (height / 2)
    return (y[:, None] ** 2 + x[None, :] ** 2 <= 1).float()
