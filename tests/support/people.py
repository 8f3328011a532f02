"""Two people in three shots: scikit-image's portrait, and a face that is drawn."""

from __future__ import annotations

import importlib.util
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import skimage
import torch
from numpy.typing import NDArray
from PIL import Image

from pipeline.faces.centerface_cuda import drawn
from pipeline.types import Box, Frame
from tests.support.clips import write_clip
from tests.support.faces_scene import COLOUR, RATE

needs_dlib = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("dlib", "face_recognition_models")),
    reason="dlib-bin or face_recognition_models is not installed",
)
SIZE = (384, 288)
SHOT = 8
"""Frames of each shot"""
PORTRAIT = (176, 68, 268, 176)
"""The face in scikit-image's portrait, x0, y0, x1, y1 in its px"""
DRAWN = (74, 62, 182, 202)
"""The face in the drawing, of 256 px"""
_AT = 250
"""Where the drawing's left side is in the picture; it stands at the bottom"""
_DRAWING_PX = 96


def shot_of(index: int) -> int:
    return min(index // SHOT, 2)


def picture(index: int) -> NDArray[np.uint8]:
    """(288, 384, 3). Shot 0 shows the portrait, 1 the drawing, 2 both: the portrait smaller and darker."""
    width, height = SIZE
    shot, move = shot_of(index), index % SHOT // 2
    portrait = skimage.data.astronaut()
    if shot == 0:
        return np.ascontiguousarray(portrait[10 : 10 + height, 40 + move : 40 + move + width])
    whole = np.full((height, width, 3), 60 + 60 * shot, np.uint8)
    if shot == 2:
        small = cv2.resize(portrait[:330, 90:350], (208, 264), interpolation=cv2.INTER_AREA)
        whole[24:, :208] = (small * 0.8).astype(np.uint8)
    left = _AT + move
    whole[height - _DRAWING_PX :, left : left + _DRAWING_PX] = drawn((_DRAWING_PX, _DRAWING_PX))
    return whole


def boxes(index: int) -> dict[str, Box]:
    """Where the two are on a frame."""
    shot, move = shot_of(index), index % SHOT // 2
    x0, y0, x1, y1 = PORTRAIT
    found = {}
    if shot == 0:
        found["portrait"] = Box(x0 - 40 - move, y0 - 10, x1 - 40 - move, y1 - 10)
    if shot == 2:
        found["portrait"] = Box((x0 - 90) * 0.8, y0 * 0.8 + 24, (x1 - 90) * 0.8, y1 * 0.8 + 24)
    if shot:
        scale, top = _DRAWING_PX / 256, SIZE[1] - _DRAWING_PX
        left = _AT + move
        a, b, c, d = (side * scale for side in DRAWN)
        found["drawn"] = Box(left + a, top + b, left + c, top + d)
    return found


def frame(index: int) -> Frame:
    planes = torch.from_numpy(picture(index)).permute(2, 0, 1).contiguous().unbind(0)
    return Frame(index, index, tuple(planes), "gbrp", COLOUR, Fraction(1, RATE), index == 0)


def write_two_people(path: Path) -> Path:
    """3 x ``SHOT`` frames at 25 frames/s."""
    width, height = SIZE

    def draw(index: int, w: int, h: int, pix_fmt: str) -> list[NDArray[np.uint8]]:
        planes = (
            av.VideoFrame.from_ndarray(picture(index), format="rgb24").reformat(format=pix_fmt).to_ndarray()
        )
        luma, chroma = planes[:h], planes[h:].reshape(2, h // 2, w // 2)
        return [luma, chroma[0], chroma[1]]

    return write_clip(path, frames=3 * SHOT, width=width, height=height, draw=draw)


def write_photo(path: Path) -> Path:
    """Of the portrait, mirrored, so that it is another picture than the clip's."""
    Image.fromarray(skimage.data.astronaut()[:300, 60:380][:, ::-1]).save(path)
    return path
