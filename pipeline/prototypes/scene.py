"""Light and tint of a scene, in a few steps, read where no mask lies.

What is read here is released anyway, so it tells nothing of the face; its steps are counted all the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.picture.color import Conversion
from pipeline.types import Box, Frame

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue, about right for every stream."""
GAINS = (1.0, 0.78, 0.6, 0.4)
"""Of each step of light, brightest first."""
CASTS = ((1.0, 1.0, 1.0), (1.05, 0.99, 0.9), (0.94, 0.99, 1.05))
"""Gains of red, green and blue of each step of tint: neutral, warm, cool."""
LIGHT_BITS = math.log2(len(GAINS))
TINT_BITS = math.log2(2 * len(CASTS))
_BRIGHT = 0.7
"""Luma of what is well lit in a picture, from which on the gain is 1."""
_WARM = 0.45
"""Octaves by which the red of what is bright lies over its blue, or under it, where light has a tint."""
_GRAY = 0.07
"""Difference of channels, of 0..1, below which nearly all of a picture lies that has no colours."""
_POINTS = (36, 48)
"""Rows and columns of pixels that are read."""
_FEW = 40
_STAY = 0.12
"""Of a step's width: how far beyond its border the light must be to leave it."""


@dataclass(frozen=True, slots=True)
class Scene:
    """How a scene is lit."""

    light: int
    """of ``GAINS``"""
    cast: int
    """of ``CASTS``"""
    gray: bool
    """The picture has no colours but its tint."""

    def on(self, rgb: Tensor) -> Tensor:
        """Colours (3, ...) of 0..1 in this light."""
        if self.gray:
            luma = rgb.new_tensor(LUMA)
            rgb = torch.einsum("c,c...->...", luma, rgb).expand_as(rgb)
        gains = rgb.new_tensor(CASTS[self.cast]) * GAINS[self.light]
        return (rgb * gains.view(3, *[1] * (rgb.dim() - 1))).clamp(0, 1)


DAYLIGHT = Scene(0, 0, False)
"""Where nothing can be read."""


def read_scene(frame: Frame, masks: Sequence[Box], convert: Conversion, before: Scene | None = None) -> Scene:
    """The scene of a frame, from pixels in none of ``masks``; a light near a border of steps stays as it was
    ``before``. What is near to a face is its hair and its clothes, so all of the picture is read."""
    height, width = frame.planes[0].shape
    whole = _colours(frame, Box(0, 0, width, height), masks, convert)
    if whole.shape[1] < _FEW:
        return before or DAYLIGHT
    luma = np.array(LUMA, np.float32) @ whole
    cast, gray = _tint(whole)
    return Scene(_light(float(np.quantile(luma, 0.97)), before), cast, gray)


def _colours(frame: Frame, box: Box, masks: Sequence[Box], convert: Conversion) -> NDArray[np.float32]:
    """(3, n) RGB of pixels over a box that lie in the picture and in no mask."""
    height, width = frame.planes[0].shape
    x0, y0, x1, y1 = box.pixels(width, height)
    if x0 >= x1 or y0 >= y1:
        return np.empty((3, 0), np.float32)
    ys = np.unique(np.linspace(y0, y1 - 1, _POINTS[0]).astype(int))
    xs = np.unique(np.linspace(x0, x1 - 1, _POINTS[1]).astype(int))
    free = np.ones((len(ys), len(xs)), bool)
    for other in masks:
        free &= ~(
            ((ys >= other.y0 - 1) & (ys <= other.y1))[:, None] & ((xs >= other.x0 - 1) & (xs <= other.x1))
        )
    step_y, step_x = convert.format.step_y, convert.format.step_x
    planes = []
    for index, plane in enumerate(frame.planes[: convert.format.colour_planes]):
        rows, columns = (ys // step_y, xs // step_x) if index else (ys, xs)
        at = torch.from_numpy(rows).to(plane.device), torch.from_numpy(columns).to(plane.device)
        planes.append(plane.to(torch.int32)[at[0]][:, at[1]].cpu())
    rgb = convert.samples_to_rgb(torch.stack(planes).float()).clamp(0, 1).numpy()
    return np.asarray(rgb[:, free], np.float32)


def _light(luma: float, before: Scene | None) -> int:
    gain = max(luma, 1e-3) / _BRIGHT
    borders = [math.sqrt(a * b) for a, b in pairwise(GAINS)]
    step = sum(gain < border for border in borders)
    if before is not None and abs(step - before.light) == 1:
        border = borders[min(step, before.light)]
        if abs(math.log(gain / border)) < _STAY:
            return before.light
    return step


def _tint(rgb: NDArray[np.float32]) -> tuple[int, bool]:
    """(step of ``CASTS``, no colours beside it) of (3, n) RGB: the brightest is taken for white."""
    luma = np.array(LUMA, np.float32) @ rgb
    white = np.maximum(rgb[:, luma >= np.quantile(luma, 0.97)].mean(1), 0.02)
    octaves = math.log2(white[0] / white[2])
    cast = 1 if octaves > _WARM else 2 if octaves < -_WARM else 0
    even = rgb / white[:, None] * white.max()
    gray = float(np.quantile(even.max(0) - even.min(0), 0.97)) < _GRAY
    return cast, gray
