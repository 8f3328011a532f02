"""Planes made smaller, on any device: what OpenCV does on the CPU, as PyTorch does it on a GPU.

OpenCV computes in integers and PyTorch in float32; results, 0..255, differ by one level at most.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor


def to8(plane: Tensor, bits: int) -> Tensor:
    """(H, W) of ``bits`` -> (H, W) uint8, scaled and rounded; the same object at 8 bits."""
    if bits <= 8:
        return plane
    # uint16 has few operations on a GPU: int32 it is, and halves go to even as OpenCV rounds them
    scaled = plane.to(torch.int32).to(torch.float32) / (1 << (bits - 8))
    return scaled.round_().clamp_(0, 255).to(torch.uint8)


def area(plane: Tensor, width: int, height: int) -> Tensor:
    """(H, W) uint8 -> (height, width) uint8, each the mean over its share of the plane; only to smaller."""
    rows, cols = plane.shape
    down, across = _shares(rows, height, plane.device), _shares(cols, width, plane.device)
    return (down @ plane.to(torch.float32) @ across.T).round_().clamp_(0, 255).to(torch.uint8)


def linear(plane: Tensor, bits: int, width: int, height: int) -> Tensor:
    """(H, W) of ``bits`` -> (height, width) uint8: halved by area while twice as large, then interpolated."""
    rows, cols = plane.shape
    small = plane.to(torch.int32).to(torch.float32) if bits > 8 else plane.to(torch.float32)
    while rows >= 2 * height and cols >= 2 * width:
        rows, cols = rows // 2, cols // 2
        halved = F.avg_pool2d(small[None, None, : 2 * rows, : 2 * cols], 2)[0, 0]
        small = torch.floor(halved + 0.5)
    small = F.interpolate(small[None, None], (height, width), mode="bilinear", align_corners=False)[0, 0]
    return torch.round(small.round_() / (1 << max(bits - 8, 0))).clamp_(0, 255).to(torch.uint8)


@lru_cache(maxsize=32)
def _shares(size: int, wanted: int, device: torch.device) -> Tensor:
    """(wanted, size): the share of each pixel in each mean; rows sum to 1."""
    edges = torch.arange(wanted + 1, dtype=torch.float64) * (size / wanted)
    pixel = torch.arange(size, dtype=torch.float64)
    low = torch.maximum(pixel, edges[:-1, None])
    high = torch.minimum(pixel + 1, edges[1:, None])
    weights = (high - low).clamp_min(0)
    return (weights / weights.sum(1, keepdim=True)).to(torch.float32).to(device)
