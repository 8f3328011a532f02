"""A face detector in one file: it takes the brightest square of a picture for a face."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.cuda import CPU
from pipeline.faces import DetectorKind, Face, Picture
from pipeline.types import Box
from tests.support.clips import Planes

SIDE_PX = 16


def bright_square(index: int, width: int, height: int, pix_fmt: str) -> Planes:
    """A bright square that moves two pixels a frame, before a striped dark wall."""
    luma = np.full((height, width), 40, np.uint8)
    luma[:, ::4] = 60
    x = 20 + 2 * index
    luma[40 : 40 + SIDE_PX, x : x + SIDE_PX] = 220
    luma[44:50, x + 4 : x + 8] = 120
    chroma = np.full((height // 2, width // 2), 128, np.uint8)
    return [luma, chroma, chroma]


class BrightestSquare:
    """Detects one square of ``SIDE_PX``, whose score is its mean level over 255."""

    name = "brightest square"
    calls = 1
    device = CPU

    def __call__(self, picture: Picture, min_score: float) -> list[Face]:
        assert isinstance(picture, np.ndarray)
        means = cv2.boxFilter(picture.mean(2), -1, (SIDE_PX, SIDE_PX), anchor=(0, 0))
        means = means[: 1 - SIDE_PX, : 1 - SIDE_PX]
        y, x = np.unravel_index(int(means.argmax()), means.shape)
        score = float(means[y, x]) / 255
        box = Box(float(x), float(y), float(x + SIDE_PX), float(y + SIDE_PX))
        return [Face(score, box, None)] if score >= min_score else []


KIND = DetectorKind(
    name="brightest",
    opener=lambda size_px, library, threads, device: BrightestSquare(),
    runs_on_gpu=False,
    calls_at_a_time=lambda shape, threads: 1,
    activation_bytes=12,
    further_activation_bytes=0,
    package="",
)
