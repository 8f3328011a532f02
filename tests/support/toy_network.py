"""A network of one file: it adds nothing to the interpolation of the cells."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nets.network import FrameNetwork
from nets.registry import Architecture, register


@dataclass(frozen=True)
class ToyConfig:
    """Sizes of a Toy."""

    gain: float = 0.0
    """of the interpolated picture, added to it"""


class Toy(FrameNetwork):
    """residual = gain * base; trust = share of clean pixels."""

    config: ToyConfig

    def __init__(self, config: ToyConfig | None = None) -> None:
        super().__init__()
        self.config = config or ToyConfig()
        self.gain = nn.Parameter(torch.full((1, 3, 1, 1), self.config.gain))

    def body(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        return self.gain * features[:, 3:6], mask.mean((1, 2, 3))


register(Architecture("toy", __name__, "Toy", "ToyConfig"))
