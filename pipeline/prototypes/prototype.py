"""The shipped means of faces, and the cells of a mask drawn from one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
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
from pipeline.prototypes.variation import PLAIN, Variation

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


_LARGER, _LOWER = 1.14, 0.05
"""How much larger than the mean a face is painted, so that it fills its mask; half boxes by which lower."""
_FACE = (1.04, 1.1)
"""Half axes of the ellipse beyond which there is hair or neck, in half boxes."""
_RIM = 0.2
"""Width of soft edges."""
_SHADE = 0.7
"""Of the neck, which lies in the shade of the face."""


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
        u, v = _places(cells, scale, roll, (0.0, 0.0))
        return _means(self._sampled(u, v) / 255, cells)

    def head(
        self,
        cells: tuple[int, int],
        scale: float,
        roll: float,
        variation: Variation = PLAIN,
        place: tuple[float, float] = (0.0, 0.0),
    ) -> Tensor:
        """The same of a head that fills the mask: the mean's face, larger, under hair and over a neck that
        are made up. It differs by ``variation`` and lies by ``place`` half boxes (x, y) beside the middle of
        the mask."""
        u, v = _places(cells, scale, roll, place)
        away = np.hypot(u / _FACE[0], (v - _LOWER) / _FACE[1])
        # The face's outline stays where it looks to the side; its middle moves.
        seen_u = u - variation.turn * np.clip(1 - away**2, 0, None)
        skin = self._sampled(seen_u / _LARGER, (v - _LOWER) / _LARGER)
        lit = skin * (variation.gain * (1 + variation.shade * np.clip(u, -1, 1)))[..., None]
        face = np.clip((1 - away) / _RIM + 0.5, 0, 1)[..., None]
        hair = np.clip((variation.length - v) / _RIM + 0.5, 0, 1)[..., None]
        around = hair * np.asarray(variation.hair) + (1 - hair) * self._neck
        return _means((face * lit + (1 - face) * around) / 255, cells)

    def _sampled(self, u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float32]:
        """(h, w, 3) RGB of 0..255 at places in half boxes from the middle of the face."""
        at_x, at_y = (((z / SPAN + 1) / 2 * SIDE - 0.5).astype(np.float32) for z in (u, v))
        seen = cv2.remap(self.picture, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(seen, np.float32)

    @property
    def _neck(self) -> NDArray[np.float32]:
        """(3,) RGB of 0..255"""
        chin = self.picture[int(SIDE * 0.72) : int(SIDE * 0.78), SIDE // 2 - 3 : SIDE // 2 + 3]
        return np.asarray(chin.mean((0, 1)) * _SHADE)


def skin_colour(cells: Tensor) -> Tensor:
    """(3,) of (3, SKIN_CELLS, SKIN_CELLS) RGB over ``SKIN_PART`` of a face: the mean of the brighter half but
    the brightest cells, since hair, eyes and gleam are no skin."""
    flat = cells.flatten(1)
    order = (flat.new_tensor(LUMA) @ flat).argsort()
    count = len(order)
    return flat[:, order[count // 2 : count - count // 8]].mean(1)


def _places(
    cells: tuple[int, int], scale: float, roll: float, place: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(R * _FINE, C * _FINE) x and y of points of a mask, in half boxes from the middle of a face that is
    turned by ``roll`` degrees clockwise."""
    down, across = ((np.arange(n * _FINE) + 0.5) / (n * _FINE) * 2 - 1 for n in cells)
    v, u = np.meshgrid(down * scale - place[1], across * scale - place[0], indexing="ij")
    # In half boxes of the turned face's upright box -> in half boxes of the face.
    cos, sin = math.cos(math.radians(roll)), math.sin(math.radians(roll))
    x, y = u * math.hypot(WIDTH * cos, sin), v * math.hypot(WIDTH * sin, cos)
    return (x * cos + y * sin) / WIDTH, y * cos - x * sin


def _means(fine: NDArray[np.float64], cells: tuple[int, int]) -> Tensor:
    """(R * _FINE, C * _FINE, k) -> (k, R, C)"""
    rows, columns = cells
    means = fine.reshape(rows, _FINE, columns, _FINE, -1).mean((1, 3))
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
