"""MobileFaceNet gives a face's identity as a vector. It serves a loss and never a metric.

Chen et al., "MobileFaceNets", arXiv 1804.07573, trained with ArcFace; layers and names as in the public
PyTorch version, whose weights on CASIA-WebFace reach 99.3 % on LFW. Its input is ArcFace's chip, 112 x 96 px
aligned by five points; here a fixed place of the crop is cut instead, differentiably.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from nets.vgg import LossNetworkError

CHIP = (112, 96)
"""Height and width in px."""
_BLOCKS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
"""Expansion, channels, repeats, stride of the first."""
_TEMPLATE = (
    (30.2946, 51.6963),
    (65.5318, 51.5014),
    (48.0252, 71.7366),
    (33.5493, 92.3655),
    (62.7299, 92.2041),
)
"""Eyes, nose, corners of the mouth in a chip, px (ArcFace's, for a width of 96)."""
_IN_CROP = ((0.374, 0.476), (0.629, 0.471), (0.493, 0.617), (0.394, 0.726), (0.607, 0.721))
"""The same in a crop of 1.6 x the face, in shares of its side: the median of CenterFace's landmarks."""


class _Conv(nn.Module):
    """Convolution without bias, batch norm, PReLU unless ``linear``."""

    def __init__(
        self,
        i: int,
        o: int,
        kernel: int | tuple[int, int],
        stride: int,
        padding: int,
        groups: int = 1,
        linear: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(i, o, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(o)
        self.prelu = nn.Identity() if linear else nn.PReLU(o)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.prelu(self.bn(self.conv(x)))
        return out


class _Bottleneck(nn.Module):
    def __init__(self, i: int, o: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = i * expansion
        self.adds = stride == 1 and i == o
        self.conv = nn.Sequential(
            nn.Conv2d(i, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.PReLU(wide),
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.PReLU(wide),
            nn.Conv2d(wide, o, 1, bias=False),
            nn.BatchNorm2d(o),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return x + out if self.adds else out


class FaceEmbedding(nn.Module):
    """Frozen. ``forward``: chips (B, 3, 112, 96) RGB in [0, 1] -> (B, 128) of unit length."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _Conv(3, 64, 3, 2, 1)
        self.dw_conv1 = _Conv(64, 64, 3, 1, 1, groups=64)
        blocks, width = [], 64
        for expansion, channels, repeats, stride in _BLOCKS:
            for n in range(repeats):
                blocks.append(_Bottleneck(width, channels, stride if n == 0 else 1, expansion))
                width = channels
        self.blocks = nn.Sequential(*blocks)
        self.conv2 = _Conv(128, 512, 1, 1, 0)
        self.linear7 = _Conv(512, 512, (7, 6), 1, 0, groups=512, linear=True)
        self.linear1 = _Conv(512, 128, 1, 1, 0, linear=True)
        self.requires_grad_(False).eval()

    @staticmethod
    def load(path: Path) -> FaceEmbedding:
        """``path``: safetensors under the names of this file. Raises LossNetworkError."""
        net = FaceEmbedding()
        try:
            missing, unknown = net.load_state_dict(load_file(path), strict=False)
            missing = [name for name in missing if not name.endswith("num_batches_tracked")]
            reason = f"{len(missing)} tensors are missing, {len(unknown)} unknown"
        except (OSError, SafetensorError, RuntimeError) as error:
            missing, unknown, reason = ["all"], [], str(error).splitlines()[0]
        if missing or unknown:
            raise LossNetworkError(
                f"{path} holds no weights of MobileFaceNet ({reason}); wanted safetensors under the names of "
                "nets/mobilefacenet.py, or train without the identity loss"
            )
        return net

    def forward(self, chips: Tensor) -> Tensor:
        x = self.blocks(self.dw_conv1(self.conv1((chips * 255 - 127.5) / 128)))
        x = self.linear1(self.linear7(self.conv2(x))).flatten(1)
        return F.normalize(x.float())


def chips(crops: Tensor, placement: Tensor) -> Tensor:
    """(B, 3, S, S) crops -> (B, 3, 112, 96), where the face lies in a crop; differentiable.

    ``placement`` (B, 2, 3): from the crop's coordinates to those of the picture that it was made from by
    turning, shifting and mirroring, both in [-1, 1], as ``train.data.pictures.Clips``.
    """
    B = crops.shape[0]
    last = torch.tensor([0.0, 0.0, 1.0], device=crops.device).expand(B, 1, 3)
    there = torch.linalg.inv(torch.cat([placement, last], 1))[:, :2]
    to_picture = torch.tensor(_chip_to_crop(), device=crops.device, dtype=torch.float32)
    theta = there @ to_picture
    grid = F.affine_grid(theta, [B, 3, *CHIP], align_corners=False)
    return F.grid_sample(crops, grid, "bilinear", "border", align_corners=False)


def _chip_to_crop() -> list[list[float]]:
    """(3, 3): chip -> crop, both in [-1, 1]: the similarity that maps the template to the usual place."""
    chip = torch.tensor(_TEMPLATE, dtype=torch.float64) / torch.tensor([CHIP[1], CHIP[0]]) * 2 - 1
    crop = torch.tensor(_IN_CROP, dtype=torch.float64) * 2 - 1
    # No turn: faces are upright. Scale differs per axis as [-1, 1] spans 112 px on one and 96 on the other.
    size = torch.tensor([CHIP[1] / CHIP[0], 1.0], dtype=torch.float64)
    a, b = chip * size, crop
    mean_a, mean_b = a.mean(0), b.mean(0)
    scale = ((a - mean_a) * (b - mean_b)).sum() / ((a - mean_a) ** 2).sum()
    x, y = (mean_b - scale * mean_a).tolist()
    return [[float(scale * size[0]), 0.0, x], [0.0, float(scale), y], [0.0, 0.0, 1.0]]
