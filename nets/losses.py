"""The losses of the two papers (nets.idn, nets.nar). Pictures are (B, 3, H, W) RGB in [0, 1]; every loss is
a mean, a scalar.

IDN has equations (5) to (10) with the weights 6 / 1 / 0.05 / 120 / 0.1 of RFR-Net. NAR names reconstruction,
perceptual and adversarial losses without weights.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nets.vgg import VGG16

PIXELIZED, NON_PIXELIZED, PERCEPTUAL, STYLE, TV = 6.0, 1.0, 0.05, 120.0, 0.1
"""Weights of eq. (10)."""
ADVERSARIAL, IDENTITY = 0.01, 0.005
"""Weights of the adversarial and the identity loss, ours: the papers name none."""


def pixelized(pred: Tensor, truth: Tensor, mask: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    """Eq. (5): L1 over the mosaic, averaged over all B, C, H, W. ``mask`` (B, 1, H, W), 1 clean.

    ``weight`` (B, 1, 1, 1) counts pictures differently; 1 is the paper's.
    """
    return ((pred - truth).abs() * (1 - mask) * weight).mean()


def non_pixelized(pred: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Eq. (6): L1 over the clean part, averaged over all B, C, H, W."""
    return ((pred - truth).abs() * mask).mean()


def total_variation(pred: Tensor) -> Tensor:
    """Eq. (9), over the whole picture."""
    across = (pred[..., :, 1:] - pred[..., :, :-1]).abs().mean()
    return across + (pred[..., 1:, :] - pred[..., :-1, :]).abs().mean()


def perceptual_and_style(vgg: VGG16, pred: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. (7) and (8). Eq. (8) keeps both of its normalisations: 120 is tuned to them."""
    with torch.no_grad():
        wanted = vgg(truth)
    got = vgg(pred)
    perceptual = torch.stack([F.l1_loss(g, w) for g, w in zip(got, wanted, strict=True)]).sum()
    style = torch.stack([F.l1_loss(_gram(g), _gram(w)) for g, w in zip(got, wanted, strict=True)]).sum()
    return perceptual, style


def _gram(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, C), over C * H * W."""
    flat = x.float().flatten(2)
    return torch.matmul(flat, flat.transpose(1, 2)) / flat[0].numel()


def adversary_hinge(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's loss: mean relu(1 - D(real)) + mean relu(1 + D(fake))."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def generator_hinge(fake: Tensor) -> Tensor:
    """The generator's loss, -mean D(fake): a hinge there would saturate."""
    return -fake.mean()
