"""Losses of the two papers. Pictures are (B, 3, H, W) RGB in [0, 1]; every loss is a mean, a scalar.

IDN, equations (5) to (10), weights 6 / 1 / 0.05 / 120 / 0.1 (RFR's). NAR names reconstruction,
perceptual and adversarial losses without weights.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

PIXELIZED, NON_PIXELIZED, PERCEPTUAL, STYLE, TV = 6.0, 1.0, 0.05, 120.0, 0.1
"""Weights of eq. (10)."""
ADVERSARIAL, IDENTITY = 0.01, 0.005
"""Ours: the papers name none. On what an IDN restores after 2,600 steps the identity loss's gradient in the
mosaic is then a third of the L1's, the perceptual loss's a half, the style loss's eight times as large."""


_WANTED = (
    "holds no weights of VGG16; wanted its ImageNet weights as safetensors under torchvision's names, or "
    "train without perceptual and style loss"
)


class LossNetworkError(ValueError):
    """A file that holds no network for a loss. The text says what to do."""


_VGG16 = ((3, 64), (64, 64), None, (64, 128), (128, 128), None, (128, 256), (256, 256), (256, 256), None)


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


class VGG16(nn.Module):
    """VGG16 (arXiv 1409.1556) up to pool3, frozen; gives the outputs of pool1, pool2 and pool3.

    As RFR does, pictures in [0, 1] go in without ImageNet's normalisation: the weights 0.05 and 120
    are tuned to that scale (papers.md 3.2, row 9).
    """

    def __init__(self, path: Path) -> None:
        """``path``: safetensors with torchvision's names ``features.N.weight``. Raises
        LossNetworkError."""
        super().__init__()
        try:
            weights = load_file(path)
        except (OSError, SafetensorError) as error:
            raise LossNetworkError(f"{path} {_WANTED} ({str(error).splitlines()[0]})") from error
        self.stages = nn.ModuleList([nn.Sequential()])
        at = 0
        for layer in _VGG16:
            if layer is None:
                self.stages[-1].append(nn.MaxPool2d(2))  # type: ignore[operator]
                self.stages.append(nn.Sequential())
                at += 1
                continue
            conv = nn.Conv2d(*layer, 3, padding=1)
            for part in ("weight", "bias"):
                given, wanted = weights.get(f"features.{at}.{part}"), getattr(conv, part)
                if given is None or given.shape != wanted.shape:
                    raise LossNetworkError(
                        f"{path} {_WANTED} (features.{at}.{part} is missing or of another shape)"
                    )
                wanted.data = given.float()
            self.stages[-1].extend([conv, nn.ReLU()])  # type: ignore[operator]
            at += 2
        del self.stages[-1]
        self.requires_grad_(False).eval()

    def forward(self, x: Tensor) -> list[Tensor]:
        out = []
        for stage in self.stages:
            x = stage(x)
            out.append(x)
        return out


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
    """The generator's loss, -mean D(fake): a hinge there would saturate (papers.md 3.1, row 11)."""
    return -fake.mean()
