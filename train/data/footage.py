"""What happens to a mosaic between the tool that made it and the finder that reads it.

A drawn mosaic is painted into a frame of its own raster, with soft edges; the frame is scaled, its gamma
changed, and it goes through a real codec. Then the crop stage of the pipeline reads it from the decoded
planes, so that training sees what a run sees. For a share of mosaics it reads them at a place that is a
little wrong, as a finder may give it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

from nets import pixelation
from nets.pixelation import Operator
from pipeline.picture.geometry import View
from pipeline.stages.crop import crop_region
from pipeline.types import Axis, Box, Colour, Crop, Frame, Grid, MosaicRegion, Shape, TrackedRegion
from train.data.codecs import draw_codec, through
from train.data.mosaic_geometry import Mosaic

LEAST_PX = 64
"""Side of a frame: codecs work on 16 to 64 px."""
UNTAGGED = Colour("unknown", "unknown", "unknown", "unknown")
"""As the decoders' streams are; read as the pipeline reads such files"""


@dataclass(frozen=True)
class Footage:
    """Shares of clips to which each thing happens, and how much of it. The codec happens to all."""

    soft: float = 0.2
    softness: tuple[float, float] = (0.03, 0.25)
    """width of a soft edge, in cells"""
    rescaled: float = 0.3
    scale: tuple[float, float] = (0.6, 1.5)
    """of the frame's side after pixelation, log-uniform"""
    gamma: float = 0.1
    exponent: tuple[float, float] = (0.7, 1.4)
    """of the whole picture after pixelation, log-uniform; the truth gets it as well"""
    misplaced: float = 0.1
    """read at a wrong place: sides off by some pixels or by a row of cells, pitch and phase by a little"""


@dataclass(frozen=True)
class Filmed:
    """A clip as the crop stage gives it. Shapes as in ``train.data.degrade.Example`` without B."""

    truth: Tensor
    image: Tensor
    mask: Tensor
    rows: Tensor
    cols: Tensor


def film(
    clean: Tensor,
    operator: Operator,
    mosaic: Mosaic,
    truth: Tensor,
    ranges: Footage,
    generator: torch.Generator,
) -> Filmed:
    """clean (T, 3, F, F) and truth (T, 3, S, S), both in [0, 1] -> what is read of the mosaic, N cells.

    The frame shows the crop and nothing else, on at most F px: larger crops have larger cells in truth, on
    which a codec does less harm.
    """

    def draw(low: float, high: float) -> float:
        return low + float(torch.rand(1, generator=generator)) * (high - low)

    made = mosaic.scaled(_even(min(mosaic.crop, clean.shape[-1])))
    picture = _resized(clean, round(made.crop))
    rows, cols, weight = made.render(round(made.crop))
    blocks = pixelation.replicate(pixelation.sample(picture, rows, cols, operator), rows, cols)
    if draw(0, 1) < ranges.soft:
        weight = softened(weight, max(round(draw(*ranges.softness) * min(made.pitch)), 1))
    picture = picture + (blocks - picture) * weight
    scale = 1.0
    if draw(0, 1) < ranges.rescaled:
        side = _even(made.crop * _log_uniform(draw, ranges.scale))
        picture, scale = _resized(picture, side), side / made.crop
    if draw(0, 1) < ranges.gamma:
        exponent = _log_uniform(draw, ranges.exponent)
        picture, truth = picture.clamp(0, 1) ** exponent, truth**exponent
    error = draw_misplacement(draw) if draw(0, 1) < ranges.misplaced else EXACT
    codec, quality = draw_codec(generator)
    pictures = (picture.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    crops = []
    for t, planes in enumerate(through(pictures, codec, quality, generator)):
        frame = Frame(t, t, planes, codec.pix_fmt, UNTAGGED, Fraction(1, 25), key=t == 0)
        region = error.told(made, t, scale, operator)
        crops.append(_read(frame, region, truth.shape[-1], mosaic.cells))
    parts = (torch.stack([getattr(c, name) for c in crops]) for name in ("image", "mask", "rows", "cols"))
    return Filmed(truth, *parts)


def _read(frame: Frame, region: MosaicRegion, size_px: int, cells: int) -> Crop:
    side = frame.planes[0].shape[0]
    tracked = TrackedRegion(1, region, seen=True, born=False, last=False)
    crop = crop_region(frame, tracked, View(0, 0, side, side, 0), size_px, cells)
    if not isinstance(crop, Crop):
        raise TypeError(f"a drawn mosaic cannot be read: {crop}")
    return crop


@dataclass(frozen=True)
class Misplacement:
    """What a finder takes wrongly about a mosaic, in cells. The same on all frames of a clip."""

    sides: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """outwards: left, top, right, bottom"""
    phase: tuple[float, float] = (0.0, 0.0)
    pitch: tuple[float, float] = (1.0, 1.0)
    """factors, about the mosaic's middle"""

    def told(self, made: Mosaic, frame: int, scale: float, operator: Operator) -> MosaicRegion:
        """The mosaic of a frame as a finder's region, in px of a picture ``scale`` times its frame."""
        box, origin = made.box(frame), made.origins[frame]
        x, y = (
            self._axis(o, p, p * q, shift, middle, scale)
            for o, p, q, shift, middle in zip(
                origin, made.pitch, self.pitch, self.phase, box.centre, strict=True
            )
        )
        left, top, right, bottom = (
            side * pitch for side, pitch in zip(self.sides, (*made.pitch, *made.pitch), strict=True)
        )
        box = Box(
            (box.x0 - left) * scale,
            (box.y0 - top) * scale,
            (box.x1 + right) * scale,
            (box.y1 + bottom) * scale,
        )
        shape = Shape.ELLIPSE if made.ellipse else Shape.RECTANGLE
        return MosaicRegion(box, shape, 1.0, Grid(x, y, operator, 1.0))

    @staticmethod
    def _axis(origin: float, pitch: float, told: float, shift: float, middle: float, scale: float) -> Axis:
        moved = middle + (origin - middle) * told / pitch + shift * pitch
        return Axis(told * scale, moved * scale)


EXACT = Misplacement()


def draw_misplacement(draw: Callable[[float, float], float]) -> Misplacement:
    """Sides off by up to a fifth of a cell, every other time one of them by a whole row of cells; pitch and
    phase by what moves no cell by more than a sixth of its width."""
    sides = [draw(-0.2, 0.2) for _ in range(4)]
    if draw(0, 1) < 0.5:
        sides[int(draw(0, 4))] += 1.0 if draw(0, 1) < 0.5 else -1.0
    left, top, right, bottom = sides
    phase, pitch = (draw(-0.08, 0.08), draw(-0.08, 0.08)), (draw(0.99, 1.01), draw(0.99, 1.01))
    return Misplacement((left, top, right, bottom), phase, pitch)


def _log_uniform(draw: Callable[[float, float], float], ranges: tuple[float, float]) -> float:
    return math.exp(draw(math.log(ranges[0]), math.log(ranges[1])))


def _even(side: float) -> int:
    """The nearest whole size in px that a codec takes."""
    return max(2 * round(side / 2), LEAST_PX)


def _resized(pictures: Tensor, side: int) -> Tensor:
    """(T, 3, H, H) -> (T, 3, side, side), as an editor scales."""
    if pictures.shape[-1] == side:
        return pictures
    return F.interpolate(pictures, (side, side), mode="bicubic", antialias=True, align_corners=False)


def softened(weight: Tensor, radius: int) -> Tensor:
    """Weights that rise from the mosaic's edge to 1 within ``radius`` px inside of it; 0 outside."""
    blurred = F.avg_pool2d(weight, 2 * radius + 1, 1, radius, count_include_pad=False)
    return (2 * blurred - 1).clamp(0, 1) * weight
