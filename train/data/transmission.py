"""What happens to a pixelized face on its way to an attacker, differentiable, for training against it.

Rounding has a straight-through gradient: forward it is what a codec does, backward the identity. ``jpeg`` is
JPEG's own arithmetic (DCT of 8 x 8, quantisation tables of the standard's annex K, 4:2:0), which is also the
intra coding of x264 near enough: blocks, flat quantisation, halved chroma.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

_LUMA = (
    "16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62 "
    "18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 "
    "72 92 95 98 112 100 103 99"
)
_CHROMA = (
    "17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99 99 99 99 99 "
    "99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99"
)
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
"""BT.601, full range, as JFIF has it"""

UNCHANGED, COMPRESSED, BLURRED = 0.2, 0.45, 0.15
"""Shares of the transmissions that are drawn; the others add noise"""


def straight_round(x: Tensor) -> Tensor:
    """Rounded to integers; the gradient is that of the identity."""
    return x + (x.round() - x).detach()


def eight_bits(x: Tensor) -> Tensor:
    """[0, 1] -> the nearest of 256 levels."""
    return straight_round(x.clamp(0, 1) * 255) / 255


@lru_cache(maxsize=2)
def _tables() -> tuple[Tensor, Tensor]:
    luma, chroma = (torch.tensor([float(v) for v in t.split()]).view(8, 8) for t in (_LUMA, _CHROMA))
    return luma, chroma


@lru_cache(maxsize=1)
def _dct() -> Tensor:
    """(8, 8), orthonormal."""
    n = torch.arange(8.0)
    matrix = torch.cos((2 * n + 1) * n.unsqueeze(1) * math.pi / 16) * math.sqrt(2 / 8)
    matrix[0] = math.sqrt(1 / 8)
    return matrix


def jpeg(x: Tensor, quality: float) -> Tensor:
    """Pictures (B, 3, H, W) RGB in [0, 1], H and W multiples of 16, through JPEG of a quality of 1 to 100."""
    scale = (5000 / quality if quality < 50 else 200 - 2 * quality) / 100
    to_ycc = torch.tensor(_TO_YCC, device=x.device)
    ycc = torch.einsum("ij,bjhw->bihw", to_ycc, x * 255)
    luma, chroma = (ycc[:, :1] - 128), F.avg_pool2d(ycc[:, 1:], 2)
    tables = [(t.to(x.device) * scale).round().clamp(1, 255) for t in _tables()]
    luma, chroma = _quantised(luma, tables[0]) + 128, _quantised(chroma, tables[1])
    chroma = F.interpolate(chroma, scale_factor=2.0, mode="bilinear", align_corners=False)
    rgb = torch.einsum("ij,bjhw->bihw", torch.linalg.inv(to_ycc), torch.cat([luma, chroma], 1))
    return eight_bits(rgb / 255)


def _quantised(planes: Tensor, table: Tensor) -> Tensor:
    matrix = _dct().to(planes.device)
    blocks = planes.unflatten(-1, (-1, 8)).unflatten(-3, (-1, 8)).transpose(-3, -2)
    coded = matrix @ blocks @ matrix.T
    blocks = matrix.T @ (straight_round(coded / table) * table) @ matrix
    return blocks.transpose(-3, -2).flatten(-4, -3).flatten(-2, -1)


def blur(x: Tensor, sigma: float) -> Tensor:
    """Gaussian of ``sigma`` px over (B, 3, H, W)."""
    radius = max(1, math.ceil(3 * sigma))
    at = torch.arange(-radius, radius + 1.0, device=x.device)
    line = torch.exp(-(at**2) / (2 * sigma**2))
    line = line / line.sum()
    flat = F.pad(x.flatten(0, 1).unsqueeze(1), (radius,) * 4, mode="replicate")
    flat = F.conv2d(F.conv2d(flat, line.view(1, 1, 1, -1)), line.view(1, 1, -1, 1))
    shaped: Tensor = flat.squeeze(1).unflatten(0, x.shape[:2])
    return shaped


@dataclass(frozen=True)
class Transmission:
    """What happens to pictures (B, 3, H, W): nothing, JPEG of 40 to 95, a little blur, or noise of a codec's
    size."""

    kind: float
    """in [0, 1): which of the four"""
    strength: float
    """in [0, 1): how much of it"""
    noise: Tensor | None = None
    """(B, 3, H, W), of unit standard deviation"""

    def __call__(self, image: Tensor) -> Tensor:
        if self.noise is not None:
            noise = self.noise.to(image.device) * (1 + 3 * self.strength) / 255
            return eight_bits(image + noise)
        if self.kind < UNCHANGED:
            return image
        if self.kind < UNCHANGED + COMPRESSED:
            return jpeg(image, 40 + 55 * self.strength)
        return eight_bits(blur(image, 0.5 + 0.8 * self.strength))


def draw_transmission(shape: Sequence[int], generator: torch.Generator) -> tuple[Transmission, float]:
    """A transmission of pictures of that shape, and a further number in [0, 1)."""
    kind, strength, further = torch.rand(3, generator=generator).tolist()
    noisy = kind >= UNCHANGED + COMPRESSED + BLURRED
    return Transmission(kind, strength, torch.randn(shape, generator=generator) if noisy else None), further
