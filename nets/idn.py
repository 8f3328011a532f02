"""IDN: Iterative Depixelization Network, one frame in, one frame out.

Paper: Zhong, Du, Zhou, Cao, He, "Delving deep into pixelized face recovery and defense",
Neurocomputing 513 (2022) 233-246, sections 3.1 to 3.3. No code was published; the backbone follows
its stated base, RFR-Net (CVPR 2020).

Its parts, in the paper's words, are a Dynamic Feature Recovering module run ``recurrences`` times with
shared weights (two dynamic dilated convolutions, eq. (3), that shrink the mask, eq. (4); then an
encoder-decoder with skips and cross-stage attention, eq. (1)), and a Cross-stage Fusion, eq. (2).

Differences from the paper:
- The pixelated picture is not zeroed; mask, place in the cell and pitch are further channels.
- The stem's mask is min-pooled, so that a pixel at half size is clean only if all its pixels are; later
masks are   max-pooled with a centred window; masks have one channel.
- In eq. (2) the last mask is forced to 1 and the denominator clamped at 1, so no pixel divides by 0
  and a box of any size closes, whatever the number of recurrences.
- Features outside the mask are not zeroed between recurrences; every layer adds to the stem's, so
  the observed colours stay present. With ``reset`` they are reset to the stem's as in RFR-Net, whose holes
  hold nothing.
- GroupNorm or none replaces BatchNorm, pixel shuffle transposed convolutions.
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
from nets.network import FrameNetwork
from nets.observation import CHANNELS


@dataclass(frozen=True)
class IDNConfig:
    """Sizes of an IDN. The defaults are the shipped network; ``paper()`` has the size of RFR-Net."""

    channels: int = CHANNELS
    """features that go in; nets.nar has more"""
    width: int = 64
    """channels of the recurrent loop"""
    widths: tuple[int, ...] = (128, 256)
    """channels of the encoder-decoder's levels, each at half the size of the one before"""
    stride: int = 4
    """of the loop's maps against the picture; 2 in the paper"""
    kernel: int = 3
    """of the loop's dynamic dilated convolutions"""
    dilation: int = 2
    """of their pixelated branch, in px of the loop's maps"""
    recurrences: int = 2
    blocks: int = 1
    """residual blocks per level of the encoder and of the decoder"""
    middle: int = 2
    """residual blocks at the bottom of the encoder-decoder"""
    tail: int = 16
    """channels at full resolution"""
    norm: Norm = "group"
    conv: ConvKind = "dynamic"
    attention: Literal["cross", "ordinary", "none"] = "cross"
    attention_level: int = 0
    """0: at the bottom; 1: after the first step up"""
    fusion: Literal["cross", "mean", "last"] = "cross"
    lead: bool = False
    """add the three features after the first CHANNELS, a better guess less the base, by a gate (nets.nar)"""
    reset: bool = False
    """outside the mask, reset the loop's features to the stem's after each recurrence, as RFR-Net does"""

    @staticmethod
    def paper() -> IDNConfig:
        """The widths of RFR-Net, 7x7 loops at half resolution, 6 recurrences, attention at 32x32."""
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
            reset=True,
        )


class Reasoning(nn.Module):
    """The encoder-decoder of the loop: residual blocks on every level, attention, skips by addition."""

    def __init__(self, config: IDNConfig) -> None:
        super().__init__()
        sizes = (config.width, *config.widths)
        self.level = config.attention_level
        self.carry = config.attention == "cross"

        def blocks(channels: int, count: int) -> nn.Sequential:
            return nn.Sequential(*(ResidualBlock(channels, config.norm) for _ in range(count)))

        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, 2) for a, b in pairwise(sizes))
        self.encode = nn.ModuleList(blocks(c, config.blocks) for c in sizes[1:-1])
        self.middle = blocks(sizes[-1], config.middle)
        self.up = nn.ModuleList(Up(a, b) for a, b in zip(sizes[:0:-1], sizes[-2::-1], strict=True))
        self.decode = nn.ModuleList(blocks(c, config.blocks) for c in sizes[-2::-1])
        self.attention = (
            None
            if config.attention == "none"
            else CrossStageAttention(sizes[-1 - config.attention_level], config.recurrences)
        )

    def forward(self, x: Tensor, score: Tensor | None, recurrence: int) -> tuple[Tensor, Tensor | None]:
        skips, y = [x], self.down[0](x)
        for encode, down in zip(self.encode, self.down[1:], strict=True):
            skips.append(encode(y))
            y = down(skips[-1])
        y = self.middle(y)
        for level in range(len(self.up) + 1):
            if self.attention is not None and level == self.level:
                y, score = self.attention(y, score, recurrence, self.carry)
            if level < len(self.up):
                y = self.decode[level](self.up[level](y, skips.pop()))
        return y, score


class IDN(FrameNetwork):
    """The network; shapes in the module's head."""

    config: IDNConfig

    def __init__(self, config: IDNConfig | None = None) -> None:
        super().__init__()
        config = config or IDNConfig()
        self.config = config
        width, kernel, dilation = config.width, config.kernel, config.dilation
        self.stem = DynamicDilatedConv(
            config.channels * config.stride**2, width, kernel, dilation, kind=config.conv
        )
        self.loop_first = DynamicDilatedConv(width, width, kernel, dilation, kind=config.conv)
        self.loop_second = DynamicDilatedConv(width, width, kernel, dilation, kind=config.conv)
        self.loop_norm = norm_layer(config.norm, width)
        self.loop_second.start_at_zero()
        self.reason = Reasoning(config)
        self.expand = nn.Conv2d(width, config.tail * config.stride**2, 1)
        self.tail_first = nn.Conv2d(config.tail + config.channels, config.tail, 3, padding=1)
        self.tail_last = nn.Conv2d(config.tail, 4 if config.lead else 3, 3, padding=1)
        self.trust = nn.Linear(width, 1)
        nn.init.normal_(self.tail_last.weight, std=1e-3)
        nn.init.zeros_(self.tail_last.bias)  # type: ignore[arg-type]
        nn.init.constant_(self.trust.bias, 2.0)

    def body(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The learned part, the one that engines run, at any precision.

        features (B, channels, S, S), mask (B, 1, S, S) -> residual (B, 3, S, S), trust (B,) in [0, 1].
        """
        config = self.config
        clean = shrink_mask(mask, config.stride)
        stem = self.stem(F.pixel_unshuffle(features, config.stride), clean)
        fused = self._recur(stem, clean)
        trust = torch.sigmoid(self.trust(fused.mean((-2, -1)))).squeeze(-1)
        y = F.leaky_relu(F.pixel_shuffle(self.expand(fused), config.stride), 0.1)
        y = F.leaky_relu(self.tail_first(torch.cat([y, features], dim=1)), 0.1)
        out = self.tail_last(y)
        if config.lead:
            out = out[:, :3] + torch.sigmoid(out[:, 3:]) * features[:, CHANNELS : CHANNELS + 3]
        return out, trust

    def _recur(self, stem: Tensor, clean: Tensor) -> Tensor:
        """Dynamic feature recovering, then cross-stage fusion: (B, width, h, w)."""
        config = self.config
        x, score = stem, None
        total, weights = torch.zeros_like(stem), torch.zeros_like(clean)
        for i in range(config.recurrences):
            last = i == config.recurrences - 1
            y = F.silu(self.loop_first(self.loop_norm(x), clean))
            clean = grow_mask(clean, config.kernel)
            x = x + self.loop_second(y, clean)
            clean = torch.ones_like(clean) if last else grow_mask(clean, config.kernel)
            x, score = self.reason(x, score, i)
            if config.reset:
                x = x * clean + stem * (1 - clean)
            gate = clean if config.fusion == "cross" else torch.ones_like(clean)
            if config.fusion == "last":
                total, weights = x, gate
            else:
                total, weights = total + x * gate, weights + gate
        return total / weights.clamp_min(1.0)
