"""Planes made smaller, on any device: what OpenCV does on the CPU, as PyTorch does it on a GPU.

OpenCV computes in integers and PyTorch in float32; results, 0..255, differ by one level at most.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.picture.color import Model, pixel_format
from pipeline.types import Frame


def is_full_range(frame: Frame) -> bool:
    """Whether luma has all of 0..255 (at 8 bits), not 16..235."""
    return frame.colour.range == "pc" or frame.pix_fmt.startswith("yuvj")


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


def rgb(frame: Frame, width: int, height: int) -> Tensor:
    """(3, height, width) float32, whole levels 0..255: the whole frame, about right in colour.

    BT.601 whatever the tag, as ``faces.picture`` has OpenCV do it on the CPU, with its factors.
    """
    fmt = pixel_format(frame.pix_fmt)
    planes = [linear(p, fmt.bits, width, height).to(torch.float32) for p in frame.planes[: fmt.colour_planes]]
    match fmt.model:
        case Model.GRAY:
            return planes[0].expand(3, -1, -1)
        case Model.RGB:
            return torch.stack(planes)
        case Model.YUV:
            y, u, v = planes
            if not is_full_range(frame):  # 16..235 to 0..255
                y = ((y - 16) * (255 / 219)).round().clamp(0, 255)
            u, v = u - 128, v - 128
            colours = [y + 1.403 * v, y - 0.714 * v - 0.344 * u, y + 1.773 * u]
            return torch.stack(colours).round_().clamp_(0, 255)


@lru_cache(maxsize=32)
def _shares(size: int, wanted: int, device: torch.device) -> Tensor:
    """(wanted, size): the share of each pixel in each mean; rows sum to 1."""
    edges = torch.arange(wanted + 1, dtype=torch.float64) * (size / wanted)
    pixel = torch.arange(size, dtype=torch.float64)
    low = torch.maximum(pixel, edges[:-1, None])
    high = torch.minimum(pixel + 1, edges[1:, None])
    weights = (high - low).clamp_min(0)
    return (weights / weights.sum(1, keepdim=True)).to(torch.float32).to(device)
