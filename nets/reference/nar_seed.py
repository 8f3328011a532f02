"""NAR as the paper's authors describe it, for comparison: a spatial transformer learns the alignment.

Paper: Shuvi, Fish, Aberman, Shamir, Cohen-Or, "Neural Alignment for Face De-pixelization",
arXiv 2009.13856. Only abstract and introduction could be checked; sizes are ours ("NAR-style"). The
abstract's order is kept: alignment is learned between the pixelated frames, then each frame, supported by
its aligned neighbours, is encoded, then decoded to a higher resolution.

Parts: a spatial transformer (localisation network, affine, residual flow), an encoder shared by all
pairs of target and aligned neighbour, a fusion weighted by learned confidence, a decoder with skips.

Differences from the published pseudo code:
- The localisation network is convolutional with a pooled head shared by all neighbours (a fully
  connected layer over the latents would have 6e9 weights); it starts at the identity, its output is
  bounded, and it can be supervised with known motion.
- Frames are folded into the batch; warps are 2-D, ``align_corners=False``, border padding.
- What is warped are the interpolated samples with each pixel's place in its cell, at half
  resolution, not block pictures: block edges are no content. ``align="latent"`` warps encoded frames as
  the published summary has it, ``align="none"`` nothing; both are ablations.
- Fusion by softmax over neighbours takes any number of them; the target is explicit.
- No BatchNorm; pixel shuffle; a residual over the interpolated samples instead of tanh, projected
  to data consistency as in nets.idn.

Shapes: image (B, T, 3, S, S) RGB in [0, 1], mask (B, T, 1, S, S), rows and cols (B, T, N, S) ->
restored (B, C, 3, S, S), trust (B, C); T = core + 2 * context, C = core. S is a multiple of 128.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nets.blocks import Norm, ResidualBlock, Up, norm_layer
from nets.network import Network
from nets.observation import CHANNELS, compose, observe

PICTURE = 6
"""Channels that are aligned: 3 base, 1 mask, 2 place in the cell."""

MAX_AFFINE = 0.3
"""Largest departure of an affine's entries from the identity, in half pictures."""

MAX_FLOW = 0.05
"""Largest residual flow, in half pictures (6 px of 256)."""


@dataclass(frozen=True)
class SeedNARConfig:
    """Sizes of a SeedNAR; none is shipped."""

    core: int = 4
    """frames that a window restores"""
    context: int = 2
    """neighbours on either side that support each of them"""
    width: int = 48
    widths: tuple[int, ...] = (96, 192)
    """channels of the decoder's levels"""
    blocks: int = 2
    """residual blocks of the encoder"""
    middle: int = 2
    tail: int = 16
    """channels at full resolution"""
    norm: Norm = "group"
    align: Literal["frame", "latent", "none"] = "frame"
    flow: bool = True
    """residual flow on top of the affine"""

    @property
    def window(self) -> int:
        return self.core + 2 * self.context

    @staticmethod
    def paper() -> SeedNARConfig:
        """The published channels (64 to 512) and five frames."""
        return SeedNARConfig(core=1, context=2, width=64, widths=(128, 256, 512), blocks=4, tail=32)


class SpatialTransformer(nn.Module):
    """Where each pixel of a target lies in its neighbour: affine plus residual flow.

    Input (P, 8, h, w), target and neighbour (RGB base and mask each) -> grid (P, h, w, 2) of
    sampling places in [-1, 1], and the affine (P, 2, 3).
    """

    def __init__(self, flow: bool, width: int = 32) -> None:
        super().__init__()
        sizes = (8, width, 2 * width, 2 * width)
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 5, 2, 2), nn.LeakyReLU(0.1)) for a, b in pairwise(sizes)
        )
        # 4x4 bins keep where the motion was seen: turn and zoom show only as its pattern.
        self.head = nn.Sequential(nn.Linear(2 * width * 16, 64), nn.LeakyReLU(0.1), nn.Linear(64, 6))
        self.flow = nn.Conv2d(2 * width, 2, 3, padding=1) if flow else None
        last = self.head[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        if self.flow is not None:
            nn.init.zeros_(self.flow.weight)
            nn.init.zeros_(self.flow.bias)  # type: ignore[arg-type]

    def forward(self, pair: Tensor) -> tuple[Tensor, Tensor]:
        x = pair
        for down in self.down:
            x = down(x)
        pooled = F.avg_pool2d(x, (x.shape[-2] // 4, x.shape[-1] // 4)).flatten(1)
        # float32 from here on: bf16 has 8 bits, a place in the picture wants 12.
        delta = torch.tanh(self.head(pooled).float()).reshape(-1, 2, 3) * MAX_AFFINE
        affine = delta + torch.eye(2, 3, device=delta.device)
        grid = base_grid(pair.shape[-2], pair.shape[-1], pair.device)
        places = torch.matmul(grid, affine.transpose(1, 2).unsqueeze(1))
        if self.flow is not None:
            flow = torch.tanh(self.flow(x).float()) * MAX_FLOW
            flow = F.interpolate(flow, size=pair.shape[-2:], mode="bilinear", align_corners=False)
            places = places + flow.permute(0, 2, 3, 1)
        return places, affine


def base_grid(h: int, w: int, device: torch.device) -> Tensor:
    """(1, h, w, 3): x, y, 1 of pixel centres in [-1, 1], as affine_grid(align_corners=False)."""
    y = (torch.arange(h, device=device) * 2 + 1) / h - 1
    x = (torch.arange(w, device=device) * 2 + 1) / w - 1
    columns, lines = x.expand(h, w), y.unsqueeze(-1).expand(h, w)
    return torch.stack([columns, lines, torch.ones_like(columns)], -1).unsqueeze(0)


class Decoder(nn.Module):
    """U-shaped: the fused features down to 1/16 and back up, residual."""

    def __init__(self, config: SeedNARConfig) -> None:
        super().__init__()
        sizes = (config.width, *config.widths)
        bottom = sizes[-1]
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), norm_layer(config.norm, b), nn.LeakyReLU(0.1))
            for a, b in pairwise(sizes)
        )
        self.middle = nn.Sequential(*(ResidualBlock(bottom, config.norm) for _ in range(config.middle)))
        self.up = nn.ModuleList(Up(a, b) for a, b in zip(sizes[:0:-1], sizes[-2::-1], strict=True))

    def forward(self, x: Tensor) -> Tensor:
        skips = [x]
        for down in self.down:
            skips.append(down(skips[-1]))
        y = self.middle(skips.pop())
        for up in self.up:
            y = up(y, skips.pop())
        return x.add(y)


class SeedNAR(Network):
    """The network; shapes in the module's head. The shipped NAR is nets.nar."""

    config: SeedNARConfig

    def __init__(self, config: SeedNARConfig | None = None) -> None:
        super().__init__()
        config = config or SeedNARConfig()
        self.config = config
        width = config.width
        self.transformer = SpatialTransformer(config.flow)
        self.encoder = nn.Sequential(
            nn.Conv2d(2 * PICTURE * 4, width, 3, padding=1),
            nn.LeakyReLU(0.1),
            *(ResidualBlock(width, config.norm) for _ in range(config.blocks)),
        )
        self.confidence = nn.Conv2d(width, 1, 1)
        self.fuse = nn.Conv2d(2 * width, width, 3, padding=1)
        self.decoder = Decoder(config)
        self.expand = nn.Conv2d(width, config.tail * 16, 1)
        self.tail_first = nn.Conv2d(config.tail + CHANNELS, config.tail, 3, padding=1)
        self.tail_block = ResidualBlock(config.tail)
        self.tail_last = nn.Conv2d(config.tail, 3, 3, padding=1)
        self.trust = nn.Linear(width, 1)
        nn.init.zeros_(self.tail_last.weight)
        nn.init.zeros_(self.tail_last.bias)  # type: ignore[arg-type]
        nn.init.constant_(self.trust.bias, 2.0)

    def forward(
        self, image: Tensor, mask: Tensor, rows: Tensor, cols: Tensor, means: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The whole map, observation and projection in float32. Shapes in the module's head; ``means``
        (B, T) as in nets.observation.observe."""
        B, T = image.shape[:2]
        means = torch.ones(B, T, device=image.device) if means is None else means
        obs = observe(*(x.flatten(0, 1) for x in (image, mask, rows, cols, means)))
        residual, trust, _ = self.body_and_motion(obs.features.unflatten(0, (B, T)), mask)
        first, last = self.config.context, self.config.context + self.config.core
        parts = (image, mask, rows, cols, means)
        core = observe(*(x[:, first:last].flatten(0, 1) for x in parts))
        out = compose(
            core,
            image[:, first:last].flatten(0, 1),
            residual.flatten(0, 1).float(),
            trust.flatten().float(),
        )
        return out.unflatten(0, (B, self.config.core)), trust.float()

    def body(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The learned part, the one that engines run, at any precision.

        features (B, T, CHANNELS, S, S), mask (B, T, 1, S, S) -> residual (B, C, 3, S, S),
        trust (B, C) in [0, 1].
        """
        residual, trust, _ = self.body_and_motion(features, mask)
        return residual, trust

    def body_and_motion(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As ``body``, and the affines (B, C, 2 * context, 2, 3) from core frames to neighbours, in
        [-1, 1] coordinates, for supervision with known motion."""
        config = self.config
        B, T = features.shape[:2]
        pictures = self._pictures(features, mask)
        small = F.avg_pool2d(pictures[:, :, :4].flatten(0, 1), 2).unflatten(0, (B, T))
        offsets = [k for k in range(-config.context, config.context + 1) if k != 0]
        targets = [c + config.context for c in range(config.core) for _ in offsets]
        others = [c + config.context + k for c in range(config.core) for k in offsets]
        target = pictures[:, targets].flatten(0, 1)
        other = pictures[:, others].flatten(0, 1)
        pair = torch.cat([small[:, targets], small[:, others]], dim=2).flatten(0, 1)
        places, affine = self.transformer(pair)
        encoded = self._encode_pairs(target, other, places)
        own = pictures[:, config.context : config.context + config.core].flatten(0, 1)
        own = self._encode(own, own)
        fused = self._fuse(own, encoded.unflatten(0, (B * config.core, len(offsets))))
        trust = torch.sigmoid(self.trust(fused.mean((-2, -1)))).reshape(B, config.core)
        core = features[:, config.context : config.context + config.core].flatten(0, 1)
        y = F.leaky_relu(F.pixel_shuffle(self.expand(self.decoder(fused)), 4), 0.1)
        y = F.leaky_relu(self.tail_first(torch.cat([y, core], dim=1)), 0.1)
        residual = self.tail_last(self.tail_block(y)).unflatten(0, (B, config.core))
        return residual, trust, affine.unflatten(0, (B, config.core, len(offsets)))

    def _pictures(self, features: Tensor, mask: Tensor) -> Tensor:
        """(B, T, PICTURE, S/2, S/2): base and mask averaged, place in the cell picked."""
        B, T = features.shape[:2]
        flat = features.flatten(0, 1)
        soft = F.avg_pool2d(torch.cat([flat[:, 3:6], mask.flatten(0, 1)], dim=1), 2)
        picked: Tensor = torch.cat([soft, flat[:, 7:9, ::2, ::2]], dim=1)
        return picked.reshape(B, T, *picked.shape[1:])

    def _encode(self, target: Tensor, other: Tensor) -> Tensor:
        pair = torch.cat([target, other], dim=1)
        encoded: Tensor = self.encoder(F.pixel_unshuffle(pair, 2))
        return encoded

    def _encode_pairs(self, target: Tensor, other: Tensor, places: Tensor) -> Tensor:
        """(P, width, S/4, S/4): each neighbour, aligned, encoded with its target."""
        match self.config.align:
            case "none":
                return self._encode(target, other)
            case "latent":
                return _warp(self._encode(other, other), places)
            case "frame":
                fine = F.interpolate(
                    places.permute(0, 3, 1, 2), scale_factor=2.0, mode="bilinear", align_corners=False
                ).permute(0, 2, 3, 1)
                return self._encode(target, _warp(other, fine))

    def _fuse(self, own: Tensor, encoded: Tensor) -> Tensor:
        """own (M, width, h, w), encoded (M, K, width, h, w) -> (M, width, h, w)."""
        everyone = torch.cat([own.unsqueeze(1), encoded], dim=1)
        M, K = everyone.shape[:2]
        weights: Tensor = self.confidence(everyone.flatten(0, 1)).unflatten(0, (M, K)).softmax(1)
        return F.leaky_relu(self.fuse(torch.cat([own, (everyone * weights).sum(1)], dim=1)), 0.1)


def _warp(x: Tensor, places: Tensor) -> Tensor:
    """Samples x (P, C, h, w) at places (P, h, w, 2) in [-1, 1]."""
    return F.grid_sample(x.float(), places, "bilinear", "border", align_corners=False).to(x.dtype)
