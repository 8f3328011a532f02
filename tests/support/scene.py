"""One frame with one known mosaic, in any pixel format and turned any way, and a network to stand in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from nets.pixelation import Operator, axis_index, membership, pixelate
from pipeline.engines import EngineSpec
from pipeline.picture.color import Conversion, conversion
from pipeline.types import Axis, Box, Colour, Frame, Grid, MosaicRegion, Shape, StreamInfo, TrackedRegion

COLOUR = Colour(matrix="bt709", range="tv", primaries="unknown", transfer="unknown")
TIME_BASE = Fraction(1, 25)


@dataclass(frozen=True, slots=True)
class Scene:
    clean: Tensor
    """(3, H, W) RGB before pixelation, in coded orientation"""
    mask: Tensor
    """(1, H, W) 1 in the mosaic"""
    frame: Frame
    region: MosaicRegion
    info: StreamInfo

    @property
    def convert(self) -> Conversion:
        return conversion(self.info.pix_fmt, COLOUR, self.info.width, self.info.height)

    def tracked(self, track: int = 1, *, born: bool = True, last: bool = True) -> TrackedRegion[MosaicRegion]:
        return TrackedRegion(track, self.region, seen=True, born=born, last=last)


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    """(3, H, W) in [0.1, 0.9]: soft colours with detail of a few pixels."""
    gen = torch.Generator().manual_seed(seed)
    image = torch.zeros(1, 3, height, width)
    for scale, weight in ((4, 0.5), (12, 1.0), (40, 1.5)):
        small = torch.rand(1, 3, height // scale + 2, width // scale + 2, generator=gen) - 0.5
        image += weight * torch.nn.functional.interpolate(small, (height, width), mode="bicubic")
    return (0.5 + 0.35 * image[0]).clamp(0.1, 0.9)


def _mask(region: MosaicRegion, width: int, height: int) -> Tensor:
    """(height, width) float32, 1 where the centre of a pixel lies in the region."""
    box = region.box
    x, y = torch.arange(width, dtype=torch.float64) + 0.5, torch.arange(height, dtype=torch.float64) + 0.5
    if region.shape is Shape.ELLIPSE:
        u = (x - box.centre[0]) / (box.width / 2)
        v = (y - box.centre[1]) / (box.height / 2)
        inside = u * u + (v * v).unsqueeze(1) <= 1
    else:
        inside = (x >= box.x0) & (x < box.x1) & ((y >= box.y0) & (y < box.y1)).unsqueeze(1)
    return inside.float()


def scene(
    box: tuple[int, int, int, int] = (37, 30, 133, 126),
    blocks: float = 8,
    *,
    pix_fmt: str = "yuv420p",
    shape: Shape = Shape.RECTANGLE,
    rotation: int = 0,
    phase: tuple[float, float] = (0.0, 0.0),
    size: tuple[int, int] = (170, 150),
    index: int = 0,
    seed: int = 0,
) -> Scene:
    """``blocks`` cells across ``box`` (px as displayed), the lattice shifted left and up by ``phase`` cells.

    ``size`` is the displayed one; the frame holds the picture as it is coded, so that a player turns it
    by ``rotation``.
    """
    width, height = size
    clean = picture(height, width, seed)
    pitch = (box[2] - box[0]) / blocks
    x, y = Axis(pitch, box[0] - phase[0] * pitch), Axis(pitch, box[1] - phase[1] * pitch)
    area = Box(*map(float, box))
    for _ in range(rotation // 90):
        clean = torch.rot90(clean, -1, (1, 2)).contiguous()
        area, x, y = _turned(area, x, y, clean.shape[2])
    region = MosaicRegion(area, shape, 1.0, Grid(x, y, Operator.AREA, 1.0))
    height, width = clean.shape[1:]
    cells = 2 + int(max(height, width) / pitch)
    first_y, first_x = axis_index(1, y.pitch, y.origin), axis_index(1, x.pitch, x.origin)
    rows = membership(axis_index(height, y.pitch, y.origin) - first_y, cells)
    cols = membership(axis_index(width, x.pitch, x.origin) - first_x, cells)
    mask = _mask(region, width, height).unsqueeze(0)
    convert = conversion(pix_fmt, COLOUR, width, height)
    dtype = torch.uint8 if convert.format.bits == 8 else torch.uint16
    rgb = pixelate(clean, rows, cols, mask)
    planes = tuple(p.to(dtype) for p in convert.from_rgb(rgb))
    if "a" in pix_fmt.removeprefix("gray"):
        planes = (*planes, torch.arange(height * width).view(height, width).to(dtype))
    frame = Frame(index, index * 2, planes, pix_fmt, COLOUR, TIME_BASE, key=index == 0)
    info = StreamInfo(
        path=Path("scene.mp4"), stream_index=0, codec="h264", width=width, height=height, rotation=rotation,
        sample_aspect=Fraction(1), pix_fmt=pix_fmt, bit_depth=convert.format.bits, colour=COLOUR,
        time_base=TIME_BASE, pts=(0,), rate=Fraction(25), interlaced=False, duration_s=1.0,
    )  # fmt: skip
    return Scene(clean, mask, frame, region, info)


def _turned(box: Box, x: Axis, y: Axis, width: int) -> tuple[Box, Axis, Axis]:
    """After turning the picture clockwise by 90 degrees into one of ``width``: (x, y) -> (width - y, x)."""
    cells = -(-(box.y1 - y.origin) // y.pitch)
    turned = Axis(y.pitch, width - (y.origin + cells * y.pitch))
    return Box(width - box.y1, box.x0, width - box.y0, box.x1), turned, x


class CubicEngine:
    """A network that adds nothing: bicubic interpolation of the cells, held to their samples."""

    calls = 1
    name = "cubic"

    def __init__(
        self, window: int = 1, context: int = 0, size_px: int = 64, cells: int = 16, fused: bool = False
    ) -> None:
        self.spec = EngineSpec("cubic", "1", "0" * 64, window, context, size_px, cells, fused)
        self.batches: list[int] = []

    def infer(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        batch, _, _, height, width = inputs["features"].shape
        self.batches.append(batch)
        core, where = self.spec.core, inputs["features"].device
        return {
            "residual": torch.zeros(batch, core, 3, height, width, device=where),
            "trust": torch.ones(batch, core, device=where),
        }

    def close(self) -> None:
        """Nothing to close."""
