"""IDN: Iterative Depixelization Network, one frame in, one frame out.

Paper: Zhong, Du, Zhou, Cao, He, "Delving deep into pixelized face recovery and defense",
Neurocomputing 513 (2022) 233-246, sections 3.1 to 3.3. No code was published; the backbone follows
its stated base, RFR-Net (CVPR 2020).

Parts, in the paper's words: a Dynamic Feature Recovering module run ``recurrences`` times with
shared weights (two dynamic dilated convolutions, eq. (3), that shrink the mask, eq. (4); then an
encoder-decoder with skips and cross-stage attention, eq. (1)); a Cross-stage Fusion, eq. (2).

Differences, each for a reason given in papers.md 2.3 and 3.2:
- The pixelated picture is not zeroed; mask, place in the cell and pitch are further channels.
- Stem mask by min-pooling, later masks by max-pooling with the centre rule; one channel.
- eq. (2): the last mask is forced to 1 and the denominator clamped at 1, so no pixel divides by 0
  and a box of any size closes, whatever the number of recurrences.
- Features outside the mask are not zeroed between recurrences but reset to the stem's, so the
  observed colours stay present in every recurrence.
- GroupNorm or none for BatchNorm; pixel shuffle for transposed convolutions.
- The output is a residual over the bicubic interpolation of the samples, projected to data
  consistency (output block means = samples), scaled by ``trust`` that the network estimates itself.
- The dilation is a constant of the configuration, about block / stride, since engines are static.

Shapes: image (B, 3, S, S) RGB in [0, 1], mask (B, 1, S, S), rows and cols (B, N, S) ->
restored (B, 3, S, S), trust (B,). S is a multiple of ``stride * 2 ** len(widths)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nets.blocks import (
    ConvKind,
    CrossStageAttention,
    DynamicDilatedConv,
    Norm,
    ResidualBlock,
    Up,
    grow_mask,
    norm_layer,
    shrink_mask,
)
from nets.grid import CHANNELS, compose, observe


@dataclass(frozen=True)
class IDNConfig:
    """Sizes of an IDN. The defaults are the shipped network; ``paper()`` is RFR's size."""

    width: int = 48
    """channels of the recurrent loop"""
    widths: tuple[int, ...] = (96, 192)
    """channels of the encoder-decoder's levels, each at half the size of the one before"""
    stride: int = 4
    """of the loop's maps against the picture; 2 in the paper"""
    kernel: int = 5
    """of the loop's dynamic dilated convolutions"""
    dilation: int = 2
    """of their pixelated branch, in px of the loop's maps"""
    recurrences: int = 3
    middle: int = 2
    """dilated layers at the bottom of the encoder-decoder"""
    tail: int = 16
    """channels at full resolution"""
    norm: Norm = "group"
    """300 steps gain 0.28 dB over bicubic with GroupNorm at rate 1e-3; without a norm 0.10 at 3e-4, and 2e-3
    diverges"""
    conv: ConvKind = "dynamic"
    attention: Literal["cross", "ordinary", "none"] = "cross"
    attention_level: int = 0
    """0: at the bottom; 1: after the first step up"""
    fusion: Literal["cross", "mean", "last"] = "cross"

    @staticmethod
    def paper() -> IDNConfig:
        """RFR's widths, 7x7 loops at half resolution, 6 recurrences, attention at 32x32."""
        return IDNConfig(
            width=64,
            widths=(128, 256, 512),
            stride=2,
            kernel=7,
            dilation=5,
            recurrences=6,
            middle=3,
            tail=32,
            attention_level=1,
        )


class Reasoning(nn.Module):
    """The encoder-decoder of the loop: down, dilated middle, attention, up with skips."""

    def __init__(self, config: IDNConfig) -> None:
        super().__init__()
        sizes = (config.width, *config.widths)
        bottom = sizes[-1]
        self.level = config.attention_level
        self.carry = config.attention == "cross"
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), norm_layer(config.norm, b), nn.LeakyReLU(0.1))
            for a, b in pairwise(sizes)
        )
        self.middle = nn.Sequential(
            *(
                layer
                for _ in range(config.middle)
                for layer in (
                    nn.Conv2d(bottom, bottom, 3, padding=2, dilation=2),
                    norm_layer(config.norm, bottom),
                    nn.LeakyReLU(0.1),
                )
            )
        )
        self.up = nn.ModuleList(
            Up(a, b, b, config.norm) for a, b in zip(sizes[:0:-1], sizes[-2::-1], strict=True)
        )
        self.attention = (
            None
            if config.attention == "none"
            else CrossStageAttention(sizes[-1 - config.attention_level], config.recurrences)
        )

    def forward(self, x: Tensor, score: Tensor | None, recurrence: int) -> tuple[Tensor, Tensor | None]:
        skips = [x]
        for down in self.down:
            skips.append(down(skips[-1]))
        y = skips.pop()
        y = y + self.middle(y)
        for level in range(len(self.up) + 1):
            if self.attention is not None and level == self.level:
                y, score = self.attention(y, score, recurrence, self.carry)
            if level < len(self.up):
                y = self.up[level](y, skips.pop())
        return y, score


class IDN(nn.Module):
    """The network. ``config`` is kept with the weights, see nets.checkpoint."""

    def __init__(self, config: IDNConfig | None = None) -> None:
        super().__init__()
        config = config or IDNConfig()
        self.config = config
        if config.stride % 2:
            raise ValueError(f"stride is {config.stride}; the stem needs an even one")
        unshuffle = config.stride // 2
        width, kernel, dilation = config.width, config.kernel, config.dilation
        self.stem = DynamicDilatedConv(CHANNELS * unshuffle**2, width, kernel, 1, stride=2, kind=config.conv)
        self.stem_second = DynamicDilatedConv(width, width, 3, dilation, kind=config.conv)
        self.loop_first = DynamicDilatedConv(width, width, kernel, dilation, kind=config.conv)
        self.loop_second = DynamicDilatedConv(width, width, kernel, dilation, kind=config.conv)
        self.loop_norm = norm_layer(config.norm, width)
        self.reason = Reasoning(config)
        self.expand = nn.Conv2d(width, config.tail * config.stride**2, 1)
        self.tail_first = nn.Conv2d(config.tail + CHANNELS, config.tail, 3, padding=1)
        self.tail_block = ResidualBlock(config.tail)
        self.tail_last = nn.Conv2d(config.tail, 3, 3, padding=1)
        self.trust = nn.Linear(width, 1)
        nn.init.zeros_(self.tail_last.weight)
        nn.init.zeros_(self.tail_last.bias)  # type: ignore[arg-type]
        nn.init.constant_(self.trust.bias, 2.0)

    def forward(self, image: Tensor, mask: Tensor, rows: Tensor, cols: Tensor) -> tuple[Tensor, Tensor]:
        """The whole map, observation and projection in float32. Shapes in the module's head."""
        obs = observe(image, mask, rows, cols)
        residual, trust = self.body(obs.features, mask)
        return compose(obs, image, residual.float(), trust.float()), trust.float()

    def body(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The learned part, the one that engines run, at any precision.

        features (B, CHANNELS, S, S), mask (B, 1, S, S) -> residual (B, 3, S, S), trust (B,) in [0, 1].
        """
        config = self.config
        unshuffle = config.stride // 2
        x = F.pixel_unshuffle(features, unshuffle) if unshuffle > 1 else features
        clean = shrink_mask(mask, config.stride)
        x = F.leaky_relu(self.stem(x, shrink_mask(mask, unshuffle) if unshuffle > 1 else mask), 0.1)
        stem = F.leaky_relu(self.stem_second(x, clean), 0.1)
        fused = self._recur(stem, clean)
        trust = torch.sigmoid(self.trust(fused.mean((-2, -1)))).squeeze(-1)
        y = F.leaky_relu(F.pixel_shuffle(self.expand(fused), config.stride), 0.1)
        y = F.leaky_relu(self.tail_first(torch.cat([y, features], dim=1)), 0.1)
        return self.tail_last(self.tail_block(y)), trust

    def _recur(self, stem: Tensor, clean: Tensor) -> Tensor:
        """Dynamic feature recovering, then cross-stage fusion: (B, width, h, w)."""
        config = self.config
        x, score = stem, None
        total, weights = torch.zeros_like(stem), torch.zeros_like(clean)
        for i in range(config.recurrences):
            last = i == config.recurrences - 1
            x = self.loop_first(x, clean)
            clean = grow_mask(clean, config.kernel)
            x = self.loop_second(x, clean)
            clean = torch.ones_like(clean) if last else grow_mask(clean, config.kernel)
            x = F.leaky_relu(self.loop_norm(x), 0.1) + stem
            x, score = self.reason(x, score, i)
            x = x * clean + stem * (1 - clean)
            gate = clean if config.fusion == "cross" else torch.ones_like(clean)
            if config.fusion == "last":
                total, weights = x, gate
            else:
                total, weights = total + x * gate, weights + gate
        return total / weights.clamp_min(1.0)
