"""The discriminator of the adversarial loss: five 4x4 convolutions, as in PatchGAN (Isola et al., CVPR 2017).

Spectral norm (Miyato et al., ICLR 2018) on every layer replaces BatchNorm, so that one batch of fakes cannot
be told from one of reals by its statistics. Its patches of logits go into the hinge losses of nets.losses.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class Discriminator(nn.Module):
    """(B, 3, S, S) RGB in [0, 1] -> logits (B, 1, S/16 - 3, S/16 - 3), high for real."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        sizes = (3, width, 2 * width, 4 * width, 8 * width)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            layers += [spectral_norm(nn.Conv2d(inputs, outputs, 4, 2, 1)), nn.LeakyReLU(0.2)]
        layers.append(spectral_norm(nn.Conv2d(sizes[-1], 1, 4, 1, 0)))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x * 2 - 1)  # type: ignore[no-any-return]
