"""A clip of one real face that moves: scikit-image's portrait under a camera."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import skimage
from numpy.typing import NDArray

from tests.support.clips import Audio, Extras, write_clip

FRAMES = 50
SIZE = (384, 288)
FACE = (176, 68, 268, 176)
"""In scikit-image's portrait: x0, y0, x1, y1 in its px"""


def _corner(index: int) -> tuple[int, int]:
    """Of the part of the portrait that frame ``index`` shows."""
    return 30 + index, 20 - index // 5


def face_box(index: int) -> tuple[int, int, int, int]:
    """Where the face is in frame ``index``."""
    x, y = _corner(index)
    return FACE[0] - x, FACE[1] - y, FACE[2] - x, FACE[3] - y


def read_clip(path: Path, indices: Sequence[int]) -> list[NDArray[np.uint8]]:
    """The frames with these numbers, as RGB."""
    with av.open(path) as container:
        frames = enumerate(container.decode(video=0))
        return [np.asarray(f.to_ndarray(format="rgb24"), np.uint8) for i, f in frames if i in set(indices)]


def write_portrait(path: Path) -> Path:
    """2 s of one face, with sound."""
    portrait = skimage.data.astronaut()
    width, height = SIZE

    def draw(index: int, w: int, h: int, pix_fmt: str) -> list[NDArray[np.uint8]]:
        x, y = _corner(index)
        picture = np.ascontiguousarray(portrait[y : y + h, x : x + w])
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pix_fmt)
        planes = frame.to_ndarray()
        luma, chroma = planes[:h], planes[h:].reshape(2, h // 2, w // 2)
        return [luma, chroma[0], chroma[1]]

    extras = Extras(audio=[Audio()])
    return write_clip(path, frames=FRAMES, width=width, height=height, draw=draw, extras=extras)
