"""Native planes from the pictures of DALI's video readers: chroma is subsampled again.

The readers give interleaved pictures with chroma enlarged to the size of luma, on both devices alike:
bilinearly, each chroma sample in the middle of its four pixels, the border repeated. The native planes are
the least squares solution of that, rounded.

- Y'CbCr (NVDEC): luma is exact. Chroma was rounded by half a level at most, and the solution is off by two
  levels at most, since the absolute weights sum to two on each axis. Of noise 92 % of the samples are exact,
  the rest off by one.
- RGB (libswscale, BT.601 whatever the stream's tags say): for colours inside RGB's cube luma is exact,
  because three rounded values determine luma and chroma to less than half a level, and so is more than 98 %
  of chroma. A colour outside the cube was clipped and is lost; `clipped` shows where.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

KR, KB = 0.299, 0.114
"""Weights of red and blue in luma: ITU-R BT.601-7, 2.5.1."""
_REACH = 10
"""Chroma samples to either side that the solution uses; its weights fall by a third with each."""


def planes_of_ycbcr(pictures: Tensor) -> tuple[Tensor, ...]:
    """(N, H, W, 3) uint8 Y'CbCr, H and W even -> Y (N, H, W), Cb and Cr (N, H/2, W/2) uint8."""
    luma, *chroma = pictures.unbind(-1)
    return luma.contiguous(), *(_levels(_halved(plane.float())) for plane in chroma)


def planes_of_rgb(pictures: Tensor, full_range: bool) -> tuple[Tensor, ...]:
    """(N, H, W, 3) uint8 RGB, H and W even -> Y (N, H, W), Cb and Cr (N, H/2, W/2) uint8."""
    red, green, blue = (plane.float() for plane in pictures.unbind(-1))
    luma = KR * red + (1 - KR - KB) * green + KB * blue
    offset, luma_scale, chroma_scale = (0, 1, 1) if full_range else (16, 219 / 255, 224 / 255)
    cb = 128 + (blue - luma) * (chroma_scale / (2 - 2 * KB))
    cr = 128 + (red - luma) * (chroma_scale / (2 - 2 * KR))
    return _levels(offset + luma * luma_scale), _levels(_halved(cb)), _levels(_halved(cr))


def clipped(picture: Tensor) -> Tensor:
    """(H, W, 3) uint8 RGB -> (H, W) bool: True where a value is 0 or 255, and may have been cut to that."""
    return ((picture == 0) | (picture == 255)).any(-1)


def _levels(values: Tensor) -> Tensor:
    return values.round().clamp(0, 255).byte()


def _halved(enlarged: Tensor) -> Tensor:
    """(N, 2h, 2w) float32 -> (N, h, w): the plane of which the enlarged one is nearest to ``enlarged``."""
    weights = torch.from_numpy(_solution()).to(enlarged.device)
    planes = enlarged[:, None]
    with torch.backends.cudnn.flags(allow_tf32=False):  # ten bits of mantissa would be too few
        planes = F.conv2d(_mirrored(planes, -2), weights[None, None, :, None], stride=(2, 1))
        planes = F.conv2d(_mirrored(planes, -1), weights[None, None, None, :], stride=(1, 2))
    return planes[:, 0]


def _mirrored(planes: Tensor, axis: int) -> Tensor:
    """Both ends continued as in a mirror, edge included: so an enlarged plane goes on if its source does."""
    size, beyond = planes.shape[axis], 2 * _REACH
    places = torch.arange(-beyond, size + beyond, device=planes.device) % (2 * size)
    return planes.index_select(axis, torch.minimum(places, 2 * size - 1 - places))


@cache
def _solution() -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Weights of 4 * _REACH + 2 enlarged samples for the one whose two they have in the middle."""
    count = 4 * _REACH
    enlarging = np.zeros((2 * count, count))
    for near in range(count):
        for place, other in ((2 * near, near - 1), (2 * near + 1, near + 1)):
            enlarging[place, near] += 0.75
            enlarging[place, min(max(other, 0), count - 1)] += 0.25
    middle = count // 2
    row: np.ndarray[tuple[int], np.dtype[np.float64]] = np.linalg.pinv(enlarging)[middle]
    return row[2 * (middle - _REACH) : 2 * (middle + _REACH) + 2].astype(np.float32)
