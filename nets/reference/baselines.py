"""Networks of others, small, that Table 4 of the IDN paper compares with, behind the body of nets.idn.

- ``Inpainter``: an encoder-decoder of partial convolutions (Liu et al., ECCV 2018, arXiv 1804.07723) or gated
  convolutions (Yu et al., ICCV 2019, arXiv 1806.03589). As published it takes the mosaic for a hole and sees
  nothing in it. ``adapted``, the IDN paper's "++": it sees the cells and adds to them; partial convolutions
  become plain ones, as nothing is missing.
- ``SRResNet``: the generator of SRGAN (Ledig et al., CVPR 2017, arXiv 1609.04802), residual blocks at a
  quarter of the size and pixel shuffle, over the bicubic interpolation; its adversary comes with training.

Smaller than the originals (about the shipped IDN's cost), GroupNorm for BatchNorm. None is held to the cells'
values: ``trust`` is 0.

Shapes: as nets.idn, ``features`` (B, >= 7, S, S) with blocks, base and mask first, S a multiple of 16.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nets.network import FrameNetwork

BLOCKS, BASE = slice(0, 3), slice(3, 6)
"""Channels of ``nets.observation.Observation.features``, both less 0.5."""


@dataclass(frozen=True)
class InpainterConfig:
    """Sizes and kind of an Inpainter."""

    conv: Literal["partial", "gated"] = "partial"
    adapted: bool = False
    """the paper's "++": cells are seen"""
    widths: tuple[int, ...] = (48, 96, 160, 224)
    """channels at 1/2, 1/4, ... of the size"""


class PartialConv(nn.Module):
    """Convolution over valid pixels, scaled by their share of the window; a window with a valid pixel makes
    its middle valid."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, C, H, W), valid (B, 1, H, W) -> both at the new size."""
        kernel, stride = self.conv.kernel_size[0], self.conv.stride[0]
        share = F.avg_pool2d(valid, kernel, stride, kernel // 2)
        seen = (share > 0).to(x.dtype)
        y = self.conv(x * valid) / share.clamp_min(0.5 / kernel**2) + self.bias.view(1, -1, 1, 1)
        return y * seen, seen


class GatedConv(nn.Module):
    """Features times a learned gate; the mask is a channel of the input and needs no rule."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, 2 * outputs, kernel, stride, kernel // 2)

    def forward(self, x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        value, gate = self.conv(x).chunk(2, 1)
        return value * torch.sigmoid(gate), F.max_pool2d(valid, self.conv.stride[0])


class PlainConv(nn.Module):
    """What partial convolutions become where nothing is missing."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)

    def forward(self, x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        return self.conv(x), F.max_pool2d(valid, self.conv.stride[0])


class Inpainter(FrameNetwork):
    """Encoder with strides, decoder with nearest up-sampling and skips, as both papers have it."""

    config: InpainterConfig

    def __init__(self, config: InpainterConfig | None = None) -> None:
        super().__init__()
        self.config = config or InpainterConfig()
        layer = self._layer()
        sizes = (4, *self.config.widths)
        self.down = nn.ModuleList(layer(a, b, 5 if a == 4 else 3, 2) for a, b in pairwise(sizes))
        pairs = zip(sizes[:0:-1], sizes[-2::-1], strict=True)
        self.up = nn.ModuleList(layer(a + b, b, 3, 1) for a, b in pairs)
        self.norms = nn.ModuleList(nn.GroupNorm(8, c) for c in (*sizes[2:], *sizes[-2:0:-1]))
        self.last = nn.Conv2d(4, 3, 3, padding=1)

    def _layer(self) -> type[PartialConv | GatedConv | PlainConv]:
        if self.config.conv == "gated":
            return GatedConv
        return PlainConv if self.config.adapted else PartialConv

    def body(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        blocks, base = features[:, BLOCKS] + 0.5, features[:, BASE] + 0.5
        picture = blocks if self.config.adapted else blocks * mask
        x, valid = torch.cat([picture, mask], 1), mask
        skips = []
        norms = iter(self.norms)
        for n, down in enumerate(self.down):
            skips.append((x, valid))
            x, valid = down(x, valid)
            x = F.leaky_relu(next(norms)(x) if n else x, 0.2)
        for n, up in enumerate(self.up):
            skip, skip_valid = skips.pop()
            x, valid = (F.interpolate(t, scale_factor=2.0) for t in (x, valid))
            # A partial convolution knows one mask: valid where either half is.
            x, valid = up(torch.cat([x, skip], 1), torch.maximum(valid, skip_valid))
            if n < len(self.up) - 1:
                x = F.leaky_relu(next(norms)(x), 0.2)
        out = self.last(x)
        guess = blocks + out if self.config.adapted else out + 0.5
        return guess - base, features.new_zeros(len(features))


@dataclass(frozen=True)
class SRResNetConfig:
    """Sizes of an SRResNet."""

    width: int = 64
    blocks: int = 12
    """16 in the paper"""
    shrink: int = 4
    """factor of super-resolution"""


class SRResNet(FrameNetwork):
    """SRGAN's generator: residual blocks at low resolution, then pixel shuffle."""

    config: SRResNetConfig

    def __init__(self, config: SRResNetConfig | None = None) -> None:
        super().__init__()
        self.config = config or SRResNetConfig()
        width, shrink = self.config.width, self.config.shrink
        self.first = nn.Conv2d(3 * shrink**2, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1),
                nn.GroupNorm(8, width),
                nn.PReLU(),
                nn.Conv2d(width, width, 3, padding=1),
                nn.GroupNorm(8, width),
            )
            for _ in range(self.config.blocks)
        )
        self.last = nn.Conv2d(width, 3 * shrink**2, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def body(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        del mask  # super-resolution knows no holes
        first = self.first(F.pixel_unshuffle(features[:, BASE], self.config.shrink))
        x = first
        for block in self.blocks:
            x = x + block(x)
        return F.pixel_shuffle(self.last(x + first), self.config.shrink), features.new_zeros(len(features))
