"""Pixelated crops are made from pictures of faces here: parity is measured and int8 calibrated on them.

A camera moves over each picture while the mosaic's grid stands still, as in the demo; the crop's side is
1.6 x the mosaic's longer side, as at run time. Without pictures of the user's own it is NASA's portrait of
Eileen Collins, which scikit-image ships.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nets.pixelation import axis_index, membership, pixelate
from pipeline.engines import EngineSpec
from pipeline.engines.parity import Crops
from pipeline.errors import InputError, MissingError
from pipeline.notes import decided

log = logging.getLogger(__name__)

Picture = NDArray[np.uint8]
"""(side, side, 3) RGB, one face, 1.6 x its longer side"""

PORTRAIT_CENTRE, PORTRAIT_SIDE = (222, 122), 174
"""Centre (x, y) and side of the crop of 1.6 x the face in the portrait, px."""
BLOCKS = (8, 10, 12)
"""Cells across the mosaic, in turn."""
WIDTH, HEIGHT = 0.53, 0.625
"""Width and height of the mosaic over the crop's side."""
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
MOST_PICTURES = 64


@dataclass(frozen=True)
class Faces:
    """Pictures to make crops from."""

    pictures: tuple[Picture, ...]
    source: str
    """For reports: what they are."""

    @property
    def digest(self) -> str:
        """SHA-256 over all the pixels."""
        whole = hashlib.sha256()
        for picture in self.pictures:
            whole.update(np.ascontiguousarray(picture).tobytes())
        return whole.hexdigest()


def faces(folder: Path | None = None) -> Faces:
    """The pictures of a folder (the first MOST_PICTURES by name), or the portrait.

    Raises InputError for a folder without pictures, MissingError where the portrait is not installed.
    """
    return _portrait() if folder is None else _folder(folder)


def faces_or_noise() -> Faces:
    """The portrait, or smooth noise where it is not installed: for the exports that ``run`` makes itself."""
    try:
        return _portrait()
    except MissingError:
        decided(log, "no portrait here (pip install 'vidpipe[demo]'): the export is compared on smooth noise")
    random = np.random.default_rng(0)
    noise = random.uniform(0, 255, (PORTRAIT_SIDE, PORTRAIT_SIDE, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), PORTRAIT_SIDE / 40)
    return Faces(
        (np.interp(smooth, (smooth.min(), smooth.max()), (0, 255)).astype(np.uint8),), "smooth noise"
    )


def _portrait() -> Faces:
    try:
        import skimage  # noqa: PLC0415  in the extra `demo`
    except ImportError as error:
        raise MissingError(
            "exports are compared on pictures of faces and there are none: pip install 'vidpipe[demo]' "
            "(it brings a portrait) or name a folder with --faces"
        ) from error
    (x, y), half = PORTRAIT_CENTRE, PORTRAIT_SIDE // 2
    cut = np.asarray(skimage.data.astronaut())[y - half : y + half, x - half : x + half]
    return Faces((cut,), "scikit-image's portrait (NASA, public domain)")


def _folder(folder: Path) -> Faces:
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES) if folder.is_dir() else []
    pictures: list[Picture] = []
    for file in files[:MOST_PICTURES]:
        bgr = cv2.imread(str(file), cv2.IMREAD_COLOR)
        if bgr is None:
            raise InputError(f"{file}: not a picture that can be read; remove it from --faces")
        side = min(bgr.shape[:2])
        top, left = (bgr.shape[0] - side) // 2, (bgr.shape[1] - side) // 2
        pictures.append(np.asarray(bgr[top : top + side, left : left + side, ::-1], np.uint8))
    if not pictures:
        raise InputError(
            f"--faces {folder}: no folder with pictures ({', '.join(SUFFIXES)}) of one face each"
        )
    return Faces(tuple(pictures), f"{len(pictures)} pictures of {folder.name}")


def make(source: Faces, spec: EngineSpec, windows: int, seed: int) -> Crops:
    """``windows`` windows of the spec's T, S and N. The same seed gives the same pixels."""
    made = [_window(source.pictures[k % len(source.pictures)], spec, k, seed) for k in range(windows)]
    image, truth, mask, rows, cols = (torch.stack(parts) for parts in zip(*made, strict=True))
    return Crops(image, truth, mask, rows, cols)


def _window(picture: Picture, spec: EngineSpec, k: int, seed: int) -> tuple[Tensor, ...]:
    random = np.random.default_rng((seed, k))
    size, frames = spec.size_px, spec.window
    clean = torch.from_numpy(_path(picture, size, frames, random)).permute(0, 3, 1, 2).contiguous()
    width, height = WIDTH * size, HEIGHT * size
    left, top = (size - width) / 2, (size - height) / 2
    pitch = width / BLOCKS[k % len(BLOCKS)]
    rows, cols = (
        membership(axis_index(size, pitch, start - random.uniform(0, pitch)), spec.cells)
        for start in (top, left)
    )
    inside = torch.zeros(1, size, size)
    inside[:, round(top) : round(top + height), round(left) : round(left + width)] = 1
    mosaic = pixelate(clean.float(), rows, cols, inside).round().clamp(0, 255).byte()
    mask, rows, cols = (x.byte().expand(frames, *x.shape) for x in (1 - inside, rows, cols))
    return mosaic, clean, mask, rows, cols


def _path(picture: Picture, size: int, frames: int, random: np.random.Generator) -> Picture:
    """(T, size, size, 3): the camera glides and zooms over the picture; half of the windows are mirrored."""
    side = picture.shape[0]
    zoom = random.uniform(0.9, 1.1) * (1 + random.uniform(-0.01, 0.01) * np.arange(frames))
    start, speed = random.uniform(-0.03, 0.03, 2) * side, random.uniform(-0.006, 0.006, 2) * side
    flipped = picture[:, ::-1] if random.random() < 0.5 else picture
    out = []
    for t in range(frames):
        scale = 2 * size / side * zoom[t]  # twice too large, then averaged: no aliasing
        x, y = side / 2 + start + speed * t
        matrix = np.array([[scale, 0, size - scale * x], [0, scale, size - scale * y]])
        border = cv2.BORDER_REFLECT_101
        large = cv2.warpAffine(
            flipped, matrix, (2 * size, 2 * size), flags=cv2.INTER_CUBIC, borderMode=border
        )
        out.append(cv2.resize(large, (size, size), interpolation=cv2.INTER_AREA))
    return np.asarray(out, np.uint8)
