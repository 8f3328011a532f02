"""The observation: what every restoring network derives from its four inputs before and after its layers.

Inputs of a network (see ``pipeline.engines.EngineSpec``), per frame and float32: ``image``
(B, 3, H, W) RGB in [0, 1] with exact blocks inside the mosaic; ``mask`` (B, 1, H, W), 1 clean and 0
pixelated (the papers' M); ``rows`` (B, N, H) and ``cols`` (B, N, W), membership in cells.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from nets import pixelation

CHANNELS = 12
"""Channels of ``Observation.features``: 3 blocks, 3 base, 1 mask, 2 place in the cell, 2 pitch, 1 means."""

CELLS = 64
"""N: most cells per axis that membership matrices hold, in training and at run time."""

HALF_STEP = 0.5 / 255
"""Half an 8-bit step: the true mean of a cell lies within it of the cell's value."""


@dataclass(frozen=True)
class Observation:
    """What a frame shows of its mosaic, in the forms that networks use."""

    weight: Tensor
    """(B, 1, H, W): 1 pixelated, the complement of the mask"""
    samples: Tensor
    """(B, 3, N, N): value of each cell"""
    base: Tensor
    """(B, 3, H, W): bicubic interpolation of the samples inside, the clean picture outside"""
    features: Tensor
    """(B, CHANNELS, H, W), values within about [-1, 1]"""
    means: Tensor
    """(B,): 1 where cells are taken for means of their pixels, 0 for point samples"""
    rows: Tensor
    cols: Tensor

    def pick(self, window: int, frames: list[int]) -> Observation:
        """Some ``frames`` of each window; B holds windows of ``window`` frames, one after the other."""
        parts = (take(getattr(self, f.name).unflatten(0, (-1, window)), frames) for f in fields(self))
        return Observation(*(x.flatten(0, 1) for x in parts))


def take(x: Tensor, frames: list[int]) -> Tensor:
    """(B, T, ...) -> those frames, (B, len(frames), ...). Indexing by a list would send it to a GPU first."""
    return torch.stack([x[:, at] for at in frames], dim=1)


def observe(
    image: Tensor, mask: Tensor, rows: Tensor, cols: Tensor, means: Tensor | None = None
) -> Observation:
    """Reads the cells and interpolates them. Shapes as in the module's head; ``means`` (B,) says which
    mosaics hold means of their cells' pixels, all of them where it is None."""
    if means is None:
        means = torch.ones_like(image[:, 0, 0, 0])
    weight = 1 - mask
    samples = pixelation.block_means(image, rows, cols, weight)
    present = (pixelation.coverage(rows, cols, weight) > 0).to(image.dtype)
    smooth = pixelation.interpolate(samples, rows, cols, present)
    base = image * mask + smooth * weight
    place_y, pitch_y = _place(rows)
    place_x, pitch_x = _place(cols)
    planes = torch.cat(
        [
            image - 0.5,
            base - 0.5,
            mask,
            place_y.unsqueeze(-1) * weight,
            place_x.unsqueeze(-2) * weight,
            pitch_y.unsqueeze(-1) * weight,
            pitch_x.unsqueeze(-2) * weight,
            means.view(-1, 1, 1, 1) * weight,
        ],
        dim=1,
    )
    return Observation(weight, samples, base, planes, means, rows, cols)


def _place(member: Tensor) -> tuple[Tensor, Tensor]:
    """Place of each pixel in its cell, -1..1, and the cell's width over 32 px. (B, 1, size) each."""
    width = member.sum(-1, keepdim=True)
    x = torch.arange(member.shape[-1], device=member.device, dtype=member.dtype)
    centre = (member * x).sum(-1, keepdim=True) / width.clamp_min(1.0)
    own_centre = (member * centre).sum(-2)
    own_width = (member * width).sum(-2)
    inside = member.sum(-2)
    place = (x - own_centre) * inside / own_width.clamp_min(1.0) * 2
    return place.unsqueeze(-2), (own_width / 32).unsqueeze(-2)


def compose(obs: Observation, image: Tensor, residual: Tensor, trust: Tensor) -> Tensor:
    """Base + residual, drawn to data consistency by ``trust``, clean pixels untouched.

    ``residual`` (B, 3, H, W); ``trust`` (B,) in [0, 1], which counts only where cells are means.
    Returns (B, 3, H, W), not clamped.
    """
    guess = obs.base + residual
    consistent = pixelation.project(guess, obs.samples, obs.rows, obs.cols, obs.weight, slack=HALF_STEP)
    out = guess + (trust * obs.means).view(-1, 1, 1, 1) * (consistent - guess)
    return image * (1 - obs.weight) + out * obs.weight
