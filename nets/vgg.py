"""VGG16 (Simonyan and Zisserman, arXiv 1409.1556), read from ImageNet weights under torchvision's names.

The perceptual and the style loss compare the outputs of its first three poolings, FD-VGG the last
convolution's.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of the 3x3 convolutions between poolings."""

_WANTED = (
    "holds no weights of VGG16; wanted its ImageNet weights as safetensors under torchvision's names, or "
    "train without perceptual and style loss"
)


class LossNetworkError(ValueError):
    """A file that holds no network for a loss. The text says what to do."""


def read_conv(weights: Mapping[str, Tensor], at: int, conv: nn.Conv2d) -> nn.Conv2d:
    """Gives a convolution the weights that torchvision calls ``features.{at}``, in float32.

    Raises ValueError where they are missing or of another shape.
    """
    for part in ("weight", "bias"):
        key, wanted = f"features.{at}.{part}", getattr(conv, part)
        if key not in weights or weights[key].shape != wanted.shape:
            raise ValueError(f"no {key} of shape {tuple(wanted.shape)}")
        wanted.data = weights[key].float()
    return conv


def stages(weights: Mapping[str, Tensor], count: int) -> list[nn.Sequential]:
    """The first ``count`` stages: convolutions with ReLU, then a pooling by 2. Raises ValueError for weights
    of another network."""
    at, inputs, made = 0, 3, []
    for sizes in STAGES[:count]:
        stage = nn.Sequential()
        for i, o in pairwise((inputs, *sizes)):
            stage.extend([read_conv(weights, at, nn.Conv2d(i, o, 3, padding=1)), nn.ReLU()])
            at += 2
        stage.append(nn.MaxPool2d(2))
        made.append(stage)
        at, inputs = at + 1, sizes[-1]
    return made


class VGG16(nn.Module):
    """VGG16 up to pool3, frozen: pictures (B, 3, H, W) -> the outputs of pool1, pool2 and pool3.

    As in RFR-Net (CVPR 2020), pictures in [0, 1] go in without ImageNet's normalisation: the weights 0.05 and
    120 of the losses belong to that scale.
    """

    def __init__(self, path: Path) -> None:
        """``path``: a safetensors file. Raises LossNetworkError."""
        super().__init__()
        try:
            self.stages = nn.ModuleList(stages(load_file(path), 3))
        except (OSError, SafetensorError, ValueError) as error:
            raise LossNetworkError(f"{path} {_WANTED} ({str(error).splitlines()[0]})") from error
        self.requires_grad_(False).eval()

    def forward(self, x: Tensor) -> list[Tensor]:
        out = []
        for stage in self.stages:
            x = stage(x)
            out.append(x)
        return out
