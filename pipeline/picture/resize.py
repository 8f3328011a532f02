"""Planes made smaller, on the host and on a device.

On the host OpenCV does it in integers, on a device PyTorch in float32; results, 0..255, differ by one level
at most. ``*_array`` take arrays of the host, ``*_on_host`` tensors anywhere, and give arrays of the host; the
others take tensors and leave the result where they lie. Also here: the luma that mosaics are found in.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache, partial
from typing import Any, Protocol

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pipeline.picture.color import Model, pixel_format
from pipeline.picture.fetch import Fetch, PixelBox, covering, holds
from pipeline.types import Frame

Plane = NDArray[np.uint8] | NDArray[np.uint16]


class Luma(Protocol):
    """(H, W) uint8 of which parts are asked for: an array, or a plane on a device."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    def __getitem__(self, part: Any, /) -> Any: ...


class DeviceLuma:
    """(H, W) uint8 on a device; indexing by two slices copies a part to the host, unless that has come."""

    def __init__(self, plane: Tensor) -> None:
        self.plane = plane
        self.shape = tuple(plane.shape)
        self._came: list[tuple[PixelBox, NDArray[np.uint8]]] = []

    def want(self, fetch: Fetch, boxes: Iterable[PixelBox]) -> None:
        """Parts that will be asked for come with ``fetch``; what of them lies outside does not count."""
        height, width = self.shape
        inside = [(max(a, 0), max(b, 0), min(c, width), min(d, height)) for a, b, c, d in boxes]
        for box in covering([b for b in inside if not any(holds(came, b) for came, _ in self._came)]):
            x0, y0, x1, y1 = box
            fetch.want(self.plane[y0:y1, x0:x1], partial(self._keep, box))

    def _keep(self, box: PixelBox, part: NDArray[np.uint8]) -> None:
        self._came.append((box, part))

    def __getitem__(self, part: Any, /) -> NDArray[np.uint8]:
        (y0, y1, _), (x0, x1, _) = (s.indices(size) for s, size in zip(part, self.shape, strict=True))
        for (left, top, right, bottom), came in self._came:
            if holds((left, top, right, bottom), (x0, y0, x1, y1)):
                return came[y0 - top : y1 - top, x0 - left : x1 - left]
        return np.asarray(self.plane[y0:y1, x0:x1].contiguous().cpu().numpy(), np.uint8)


def luma8(frame: Frame) -> Luma:
    """(H, W) uint8: luma of YUV and gray, green of RGB, scaled to 8 bits and rounded. A view at 8 bits.

    It lies where the frame lies.
    """
    fmt = pixel_format(frame.pix_fmt)
    plane = frame.planes[1 if fmt.model is Model.RGB else 0]
    if plane.device.type != "cpu":
        return DeviceLuma(to8(plane, fmt.bits))
    luma: Luma = to8_array(plane.numpy(), fmt.bits)
    return luma


def shrunk(luma: Luma, times: int) -> Luma:
    """(H, W) uint8 at 1 / ``times`` of its size, 1 to 3, where it lies: rounded means, halves go up.

    Rows and columns over are lost.
    """
    if times == 1:
        return luma
    height, width = (size // times for size in luma.shape)
    if isinstance(luma, DeviceLuma):
        whole = luma.plane[: times * height, : times * width].to(torch.int32)
        sums = whole.reshape(height, times, width, times).sum((1, 3))
        return DeviceLuma(((2 * sums + times**2) // (2 * times**2)).to(torch.uint8))
    if not height or not width:
        return np.zeros((height, width), np.uint8)
    part = np.ascontiguousarray(luma[: times * height, : times * width])
    return np.asarray(cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def to8_array(plane: Plane, bits: int) -> NDArray[np.uint8]:
    """(H, W) of ``bits`` -> (H, W) uint8, scaled and rounded; a view at 8 bits."""
    if bits <= 8:
        return np.ascontiguousarray(plane, dtype=np.uint8)
    return np.asarray(cv2.convertScaleAbs(plane, alpha=1.0 / (1 << (bits - 8))), dtype=np.uint8)


def area_on_host(plane: Tensor, bits: int, width: int, height: int) -> NDArray[np.uint8]:
    """(H, W) of ``bits`` -> (height, width) uint8 by area, about right; resized where it lies."""
    rows, cols = plane.shape
    if plane.device.type != "cpu" and rows >= height and cols >= width:
        return np.asarray(area(to8(plane, bits), width, height).cpu().numpy(), np.uint8)
    # Of many rows two for each that is left tell enough: a whole factor is what OpenCV is quick at.
    few = 2 * height
    host = plane.cpu().numpy()
    some = host[np.arange(few) * rows // few] if rows > few else host
    return np.asarray(
        cv2.resize(to8_array(some, bits), (width, height), interpolation=cv2.INTER_AREA), np.uint8
    )


def linear_array(plane: Plane, bits: int, width: int, height: int) -> NDArray[np.uint8]:
    """(H, W) of ``bits`` -> (height, width) uint8: halved by area while twice as large, then interpolated.

    Halving by area is quick, and so is linear interpolation, which is anti-aliased enough below a half; area
    at any other ratio takes ten times as long.
    """
    rows, columns = plane.shape
    small = plane
    while rows >= 2 * height and columns >= 2 * width:
        rows, columns = rows // 2, columns // 2
        small = _resized(small[: 2 * rows, : 2 * columns], columns, rows, cv2.INTER_AREA)
    return to8_array(_resized(small, width, height, cv2.INTER_LINEAR), bits)


def _resized(plane: Plane, width: int, height: int, how: int) -> Plane:
    resized: Plane = cv2.resize(plane, (width, height), interpolation=how)  # type: ignore[assignment]
    return resized


def linear_on_host(plane: Tensor, bits: int, width: int, height: int) -> NDArray[np.uint8]:
    """As ``linear``; made smaller where it lies, larger on the host."""
    rows, columns = plane.shape
    if plane.device.type == "cpu" or rows * columns <= width * height:
        return linear_array(plane.cpu().numpy(), bits, width, height)
    return np.asarray(linear(plane, bits, width, height).cpu().numpy(), np.uint8)


def rgb_on_host(frame: Frame, width: int, height: int) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 RGB of the whole frame; BT.601 whatever the tag, which no detector minds."""
    fmt = pixel_format(frame.pix_fmt)
    small = [linear_on_host(p, fmt.bits, width, height) for p in frame.planes[: fmt.colour_planes]]
    match fmt.model:
        case Model.GRAY:
            return np.asarray(cv2.merge([small[0]] * 3), np.uint8)
        case Model.RGB:
            return np.asarray(cv2.merge(small), np.uint8)
        case Model.YUV:
            y, u, v = small
            if not is_full_range(frame):  # 16..235 to 0..255
                y = np.asarray(cv2.addWeighted(y, 255 / 219, y, 0, -16 * 255 / 219), np.uint8)
            return np.asarray(cv2.cvtColor(cv2.merge([y, v, u]), cv2.COLOR_YCrCb2RGB), np.uint8)


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
    """(..., H, W) uint8 -> (..., height, width) uint8, each the mean over its share of the plane; only to
    smaller."""
    rows, cols = plane.shape[-2:]
    down, across = _shares(rows, height, plane.device), _shares(cols, width, plane.device)
    return (down @ plane.to(torch.float32) @ across.T).round_().to(torch.uint8)


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


def rgb_on_device(frame: Frame, width: int, height: int) -> Tensor:
    """(3, height, width) float32, whole levels 0..255: the whole frame, about right in colour.

    BT.601 whatever the tag, as ``rgb_on_host`` has OpenCV do it, with its factors.
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
