"""A square around a face, upright and in RGB, of any frame or picture: for sheets and for networks."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.picture.color import conversion
from pipeline.picture.geometry import upright
from pipeline.types import Box, Frame

Picture = NDArray[np.uint8]


def cut_out(
    frame: Frame, box: Box, *, around: float, side_px: int, rotation: int, mirrored: bool = False
) -> Picture:
    """(side_px, side_px, 3) RGB centred on ``box``, black beyond the picture.

    The square's side is ``around`` times the longer side of the box; ``rotation`` and ``mirrored`` are the
    stream's (``StreamInfo``).
    """
    height, width = frame.planes[0].shape
    convert = conversion(frame.pix_fmt, frame.colour, width, height)
    square = _square(box, around)
    step_x, step_y = convert.format.step_x, convert.format.step_y
    x0, y0, x1, y1 = square.pixels(width, height)
    x0, y0 = x0 // step_x * step_x, y0 // step_y * step_y
    if x1 <= x0 or y1 <= y0:
        return np.zeros((side_px, side_px, 3), np.uint8)
    planes = [frame.planes[0][y0:y1, x0:x1]]
    for plane in frame.planes[1 : convert.format.colour_planes]:
        planes.append(plane[y0 // step_y : -(-y1 // step_y), x0 // step_x : -(-x1 // step_x)])
    rgb = (convert.to_rgb(planes).clamp(0, 1) * 255).round().byte().cpu()
    whole = _placed(rgb.permute(1, 2, 0).numpy(), x0, y0, square)
    turned = upright(torch.from_numpy(whole).permute(2, 0, 1), rotation, mirrored).permute(1, 2, 0)
    return _resized(turned.numpy(), side_px)


def cut_out_of_picture(picture: Picture, box: Box, *, around: float, side_px: int) -> Picture:
    """The same of an upright RGB picture (H, W, 3)."""
    height, width = picture.shape[:2]
    square = _square(box, around)
    x0, y0, x1, y1 = square.pixels(width, height)
    if x1 <= x0 or y1 <= y0:
        return np.zeros((side_px, side_px, 3), np.uint8)
    return _resized(_placed(picture[y0:y1, x0:x1], x0, y0, square), side_px)


def _square(box: Box, around: float) -> Box:
    """On whole pixels."""
    side = max(round(around * max(box.width, box.height)), 1)
    x, y = round(box.centre[0] - side / 2), round(box.centre[1] - side / 2)
    return Box(x, y, x + side, y + side)


def _placed(part: Picture, x0: int, y0: int, square: Box) -> Picture:
    """The square, with ``part`` of the picture, which begins at ``x0``, ``y0``, where it belongs."""
    side, left, top = int(square.width), x0 - int(square.x0), y0 - int(square.y0)
    part = part[max(-top, 0) :, max(-left, 0) :]  # a chroma sample wider than the square
    left, top = max(left, 0), max(top, 0)
    whole = np.zeros((side, side, 3), np.uint8)
    part = part[: side - top, : side - left]
    whole[top : top + part.shape[0], left : left + part.shape[1]] = part
    return whole


def _resized(picture: Picture, side_px: int) -> Picture:
    smaller = picture.shape[0] > side_px
    how = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    resized = cv2.resize(np.ascontiguousarray(picture), (side_px, side_px), interpolation=how)
    return np.asarray(resized, np.uint8)
