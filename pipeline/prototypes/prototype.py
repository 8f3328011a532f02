"""The shipped means of faces, and the cells of a mask drawn from one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from pipeline.errors import InputError
from pipeline.prototypes.pose import WIDTH
from pipeline.prototypes.scene import LUMA

SIDE = 32
"""Samples of a mean along either axis."""
SPAN = 1.6
"""What a mean shows, in sizes of the face's box."""
TONES = ("light", "medium", "dark")
SHIPPED = Path(__file__).with_name("faces.safetensors")
_FINE = 6
"""Points per cell along either axis whose mean a cell is."""
SKIN_PART = 0.6
"""Of a face's box, from the middle: mostly skin."""
SKIN_CELLS = 5
"""Along either axis, over that part."""


@dataclass(frozen=True, slots=True, eq=False)
class Prototype:
    """The mean of many people's faces, upright, over ``SPAN`` x the box in which a face is detected."""

    picture: NDArray[np.float32]
    """(SIDE, SIDE, 3) RGB of 0..255, gamma-coded"""
    tone: int
    """of ``TONES``"""
    people: int

    @property
    def skin(self) -> Tensor:
        """(3,) RGB of the skin, 0..1, see ``skin_colour``."""
        return skin_colour(self.lattice((SKIN_CELLS, SKIN_CELLS), SKIN_PART, 0.0))

    def lattice(self, cells: tuple[int, int], scale: float, roll: float) -> Tensor:
        """(3, R, C) float32 RGB of 0..1: means over the cells of a mask of ``scale`` x the face's box, which
        is turned by ``roll`` degrees clockwise. Beyond what the mean shows its border is repeated."""
        return _lattice(self, cells, scale, roll)


def skin_colour(cells: Tensor) -> Tensor:
    """(3,) of (3, SKIN_CELLS, SKIN_CELLS) RGB over ``SKIN_PART`` of a face: the mean of the brighter half but
    the brightest cells, since hair, eyes and gleam are no skin."""
    flat = cells.flatten(1)
    order = (flat.new_tensor(LUMA) @ flat).argsort()
    count = len(order)
    return flat[:, order[count // 2 : count - count // 8]].mean(1)


@lru_cache(maxsize=1024)
def _lattice(prototype: Prototype, cells: tuple[int, int], scale: float, roll: float) -> Tensor:
    down, across = ((np.arange(n * _FINE) + 0.5) / (n * _FINE) * 2 - 1 for n in cells)
    v, u = np.meshgrid(down * scale, across * scale, indexing="ij")
    # In half boxes of the turned face's upright box -> in half boxes of the face.
    cos, sin = math.cos(math.radians(roll)), math.sin(math.radians(roll))
    x, y = u * math.hypot(WIDTH * cos, sin), v * math.hypot(WIDTH * sin, cos)
    u, v = (x * cos + y * sin) / WIDTH, y * cos - x * sin
    at = [((z / SPAN + 1) / 2 * SIDE - 0.5).astype(np.float32) for z in (u, v)]
    fine = cv2.remap(prototype.picture, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    rows, columns = cells
    means = fine.reshape(rows, _FINE, columns, _FINE, 3).mean((1, 3)) / 255
    return torch.from_numpy(np.ascontiguousarray(means.transpose(2, 0, 1), np.float32))


@dataclass(frozen=True, slots=True)
class PrototypeSet:
    """Means of all tones, lighter ones first."""

    prototypes: tuple[Prototype, ...]
    digest: str
    """SHA-256 of who went in"""

    def save(self, path: Path) -> None:
        """As safetensors: pictures (M, SIDE, SIDE, 3), tones (M,) and people (M,), uint8 and int32."""
        pictures = np.stack([p.picture for p in self.prototypes])
        numbers = {name: [getattr(p, name) for p in self.prototypes] for name in ("tone", "people")}
        tensors = {"pictures": np.clip(np.rint(pictures), 0, 255).astype(np.uint8)}
        tensors |= {name: np.array(values, np.int32) for name, values in numbers.items()}
        save_file(tensors, path, {"digest": self.digest})


@cache
def shipped() -> PrototypeSet:
    """Those of this package."""
    return load(SHIPPED)


def load(path: Path) -> PrototypeSet:
    """Reads a file of ``PrototypeSet.save``. Raises InputError."""
    try:
        with safe_open(path, "np") as file:
            pictures, tones, people = (file.get_tensor(name) for name in ("pictures", "tone", "people"))
            digest = (file.metadata() or {}).get("digest", "")
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} holds no prototypes: {error}") from error
    rows = zip(pictures.astype(np.float32), tones.tolist(), people.tolist(), strict=True)
    return PrototypeSet(tuple(Prototype(*row) for row in rows), digest)
