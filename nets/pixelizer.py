"""The adversarial pixelizer changes a mosaic so that a restoring network does not restore it.

Paper: Zhong, Du, Zhou, Cao, He, "Delving deep into pixelized face recovery and defense", Neurocomputing 513
(2022) 233-246, section 3.4: delta = F(I_pix), pixel-wise (eq. 11, 12) or one value per block (eq. 13, 14),
trained so that a frozen IDN gives the mosaic back: l1 |G(I_pix + delta) - I_pix| + l2 |delta|. The paper says
"convolutional encoder-decoder" of the generator and nothing more.

Differences:
- It reads the colours of the cells alone (``nets.pixelizer_io``), not the frame: a change that depends on
  nothing else reveals no more than they do.
- delta is bounded by ``limit`` through tanh. Eq. (13) lacks the prime on its first term; meant is (11)'s.
- Blocks are changed by a network whose pixels are cells, not by averaging a picture-sized answer.

Shapes: features (B, CHANNELS, S, S) and mask (B, 1, S, S) of ``nets.pixelizer_io.read`` -> residual
(B, 3, S, S), the delta, and trust (B,), which is 0: nothing holds a delta to the mosaic that it changes. S
is a multiple of ``stride * 2 ** downs``.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nets.blocks import Norm, ResidualBlock, norm_layer
from nets.network import Network
from nets.observation import CHANNELS
from nets.pixelizer_io import Perturb


@dataclass(frozen=True)
class PixelizerConfig:
    """Sizes of a pixelizer."""

    perturb: Perturb = "block"
    size_px: int = 32
    """S: for block the most cells along an axis, for pixel the side of the finer grid"""
    width: int = 48
    downs: int = 1
    """halvings of the encoder, each with twice the channels"""
    blocks: int = 3
    """residual blocks in the middle"""
    stride: int = 1
    """space to depth before the first layer"""
    kernel: int = 3
    """of the first and the last layer"""
    limit: float = 0.1
    """largest change of a channel, in the range of 1"""
    norm: Norm = "group"

    @staticmethod
    def shipped(perturb: Perturb) -> PixelizerConfig:
        """A grid of up to 32 cells; or 80 px across, what the longer side of a mosaic has in an attacker's
        crop of 128."""
        if perturb == "block":
            return PixelizerConfig()
        return PixelizerConfig("pixel", size_px=80, width=48, downs=0, stride=4)

    @staticmethod
    def paper(perturb: Perturb) -> PixelizerConfig:
        """Half a ResNet generator of 256 px, 21.8 GFLOP: the largest that fits into the paper's 2.8 ms."""
        size_px = 32 if perturb == "block" else 256
        return PixelizerConfig(perturb, size_px, width=32, downs=2, blocks=6, kernel=7)


class Pixelizer(Network):
    """The generator F; shapes in the module's head."""

    config: PixelizerConfig

    def __init__(self, config: PixelizerConfig | None = None) -> None:
        super().__init__()
        config = config or PixelizerConfig()
        self.config = config
        sizes = [config.width * 2**level for level in range(config.downs + 1)]
        near = config.kernel // 2
        self.first = nn.Conv2d(CHANNELS * config.stride**2, sizes[0], config.kernel, padding=near)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in pairwise(sizes))
        self.middle = nn.Sequential(*(ResidualBlock(sizes[-1], config.norm) for _ in range(config.blocks)))
        self.up = nn.ModuleList(
            nn.Conv2d(b, a, 3, padding=1) for a, b in zip(sizes[-2::-1], sizes[:0:-1], strict=True)
        )
        self.norm = norm_layer(config.norm, sizes[0])
        self.last = nn.Conv2d(sizes[0], 3 * config.stride**2, config.kernel, padding=near)
        nn.init.normal_(self.last.weight, std=1e-2)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """The change: (B, 3, S, S), within ``limit``, 0 where there is no cell."""
        return self.body(features, mask)[0]

    def body(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """As the bodies of restoring networks, for the same engines; shapes in the module's head."""
        config = self.config
        skips = [F.silu(self.first(F.pixel_unshuffle(features, config.stride)))]
        x = skips[0]
        for down in self.down:
            x = F.silu(down(x))
            skips.append(x)
        x = self.middle(x)
        for up, skip in zip(self.up, skips[-2::-1], strict=True):
            x = F.silu(up(F.interpolate(x, scale_factor=2.0, mode="nearest"))) + skip
        x = F.pixel_shuffle(self.last(F.silu(self.norm(x))), config.stride)
        return torch.tanh(x) * config.limit * (1 - mask), mask.mean((1, 2, 3)) * 0
