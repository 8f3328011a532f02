"""Clips with known faces that anybody can make: scikit-image's portrait and pictures that show no face."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import skimage
from numpy.typing import NDArray

from benchmarks.face_labels import ClipLabels, Span, sha256_of
from tests.support.clips import write_clip
from tests.support.portrait import FACE, FRAMES, SIZE, face_box, write_portrait

_BARE = ("brick", "cell", "chelsea", "coffee", "grass", "gravel", "hubble_deep_field", "immunohistochemistry",
         "microaneurysms", "moon", "page", "retina", "rocket", "text")  # fmt: skip
"""Of scikit-image's pictures those without a person, that its package holds."""
_BARE_FRAMES = 8
"""of each, which the camera passes over"""
_HEIGHTS_PX = (24, 40, 64, 96)
"""Of the faces of a montage."""
_PART = (120, 10, 330, 260)
"""Of the portrait: head and shoulders."""
_WIDTH, _HEIGHT = 640, 360

Rgb = NDArray[np.uint8]


def _write(path: Path, frames: int, size: tuple[int, int], draw: Callable[[int], Rgb]) -> Path:
    def planes(index: int, width: int, height: int, pix_fmt: str) -> list[NDArray[np.uint8]]:
        picture = np.ascontiguousarray(draw(index))
        flat = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pix_fmt).to_ndarray()
        chroma = flat[height:].reshape(2, height // 2, width // 2)
        return [flat[:height], chroma[0], chroma[1]]

    return write_clip(path, frames=frames, width=size[0], height=size[1], draw=planes)


def _labels(path: Path, frames: int, size: tuple[int, int], spans: list[Span]) -> ClipLabels:
    return ClipLabels(
        clip=path.name, sha256=sha256_of(path), frames=frames, width=size[0], height=size[1], spans=spans
    )


def portrait(folder: Path) -> tuple[Path, ClipLabels]:
    """One face under a camera that moves."""
    path = write_portrait(folder / "portrait.mp4")
    keys = [(index, *map(float, face_box(index))) for index in range(FRAMES)]
    return path, _labels(path, FRAMES, SIZE, [Span(person=1, keys=keys)])


def _bare_picture(name: str, index: int) -> Rgb:
    """A part of a picture without a face, ``index`` steps along, in colour."""
    picture = np.asarray(getattr(skimage.data, name)(), np.uint8)
    picture = np.repeat(picture[..., None], 3, 2) if picture.ndim == 2 else picture[..., :3]
    scale = max((_WIDTH + 60) / picture.shape[1], (_HEIGHT + 60) / picture.shape[0])
    size = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
    large = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    x, y = 4 * index, 2 * index
    return large[y : y + _HEIGHT, x : x + _WIDTH]


def bare(folder: Path) -> tuple[Path, ClipLabels]:
    """No face at all: one shot per picture."""
    frames, path = _BARE_FRAMES * len(_BARE), folder / "no-face.mp4"
    _write(
        path,
        frames,
        (_WIDTH, _HEIGHT),
        lambda index: _bare_picture(_BARE[index // _BARE_FRAMES], index % _BARE_FRAMES),
    )
    return path, _labels(path, frames, (_WIDTH, _HEIGHT), [])


def montage(folder: Path) -> tuple[Path, ClipLabels]:
    """The portrait four times, small to large, each on a slow path of its own over a table."""
    x0, y0, x1, y1 = _PART
    head = skimage.data.astronaut()[y0:y1, x0:x1]
    ground = np.asarray(_bare_picture("coffee", 0), np.uint8)
    face = np.array(FACE, float) - (x0, y0, x0, y0)
    scales = [height / (face[3] - face[1]) for height in _HEIGHTS_PX]
    cells = [cv2.resize(head, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for scale in scales]
    lefts = np.cumsum([10, *(cell.shape[1] + 20 for cell in cells[:-1])])

    def corner(number: int, index: int) -> tuple[int, int]:
        return int(lefts[number]) + index // 3, 30 + (index if number % 2 else FRAMES - index)

    def draw(index: int) -> Rgb:
        picture = ground.copy()
        for number, cell in enumerate(cells):
            x, y = corner(number, index)
            picture[y : y + cell.shape[0], x : x + cell.shape[1]] = cell
        return picture

    path = _write(folder / "montage.mp4", FRAMES, (_WIDTH, _HEIGHT), draw)
    spans = []
    for number, scale in enumerate(scales):
        keys = []
        for index in range(FRAMES):
            a, b, c, d = (face * scale + (*corner(number, index), *corner(number, index))).tolist()
            keys.append((index, a, b, c, d))
        spans.append(Span(person=number + 1, keys=keys))
    return path, _labels(path, FRAMES, (_WIDTH, _HEIGHT), spans)


def public_clips(folder: Path) -> list[tuple[Path, ClipLabels]]:
    """All of them, written to ``folder``."""
    return [make(folder) for make in (portrait, montage, bare)]
