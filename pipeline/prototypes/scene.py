"""Light and tint of a scene, in a few steps, read where no mask lies.

What is read here is released anyway, so it tells nothing of the face; its steps are counted all the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.picture.color import Conversion
from pipeline.types import Box, Frame

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue, about right for every stream."""
GAINS = (1.0, 0.92, 0.35)
"""Of each step of light, brightest first."""
CASTS = ((1.0, 1.0, 1.0), (1.04, 1.0, 0.96), (0.97, 1.0, 1.03))
"""Gains of red, green and blue of each step of tint: neutral, warm, cool."""
LIGHT_BITS = math.log2(len(GAINS))
TINT_BITS = math.log2(2 * len(CASTS))
_DIMMER = (0.48, 0.34)
"""Luma of what is well lit in a picture, below which the next step of light begins. On 73 training clips skin
is hardly darker in a picture between them (0.92 times); below the second lies film of the dark."""
_WARM, _COOL = 0.4, -0.06
"""Octaves by which the mean red of a picture lies over its mean blue, from which it is warm or cool. On the
same clips skin follows the mean (correlation 0.33) a little, and not the brightest pixels (-0.03)."""
_DARK = 0.08
"""Luma below which pixels tell nothing of tint."""
_GRAY, _FAINT = 0.1, 0.25
"""Difference of channels as a share of the largest, which counts as 0.25 at least, below which nearly all of
a picture lies that has no colours."""
_POINTS = (36, 48)
"""Rows and columns of pixels that are read."""
_FEW = 40
_STAY = 0.2
"""How far beyond its border the light must be to leave a step, natural logarithm."""


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
    luma = max(luma, 1e-3)
    step = sum(luma < border for border in _DIMMER)
    if before is not None and abs(step - before.light) == 1:
        border = _DIMMER[min(step, before.light)]
        if abs(math.log(luma / border)) < _STAY:
            return before.light
    return step


def _tint(rgb: NDArray[np.float32]) -> tuple[int, bool]:
    """(step of ``CASTS``, no colours beside it) of (3, n) RGB."""
    luma = np.array(LUMA, np.float32) @ rgb
    seen = luma > _DARK
    mean = np.maximum(rgb[:, seen].mean(1), 0.02) if seen.sum() >= _FEW else np.ones(3)
    octaves = math.log2(mean[0] / mean[2])
    cast = 1 if octaves > _WARM else 2 if octaves < _COOL else 0
    if seen.sum() < _FEW:
        return cast, False
    white = np.maximum(rgb[:, luma >= np.quantile(luma, 0.97)].mean(1), 0.02)
    even = rgb[:, seen] / white[:, None] * white.max()
    most = even.max(0)
    gray = float(np.quantile((most - even.min(0)) / np.maximum(most, _FAINT), 0.97)) < _GRAY
    return cast, gray
