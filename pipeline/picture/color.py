"""Native planes of a rectangle of a frame <-> RGB, for every planar YUV, gray and GBR format of integers.

RGB is (3, H, W) float32, gamma-coded as the stream is, 0 black and 1 white; it leaves [0, 1] where the
planes hold colours that RGB has not, and is not clamped here, so that planes -> RGB -> planes gives back
every sample.

*Matrix.* An untagged one is chosen as mpv and most players do: bt709 where the picture is at least 1280 px
wide or more than 576 px high, else smpte170m (BT.601). *Range.* ``yuvj*`` is full range whatever the tag;
an untagged range is tv for YUV and full for gray; RGB is always full.

*Chroma.* Samples of 4:2:0, 4:2:2, 4:1:1 lie on the left of the pixels that they cover (MPEG-2, H.264,
HEVC default) and vertically in their middle. Across, a sample goes to pixels by linear interpolation and
comes back by its dual filter (LeGall 5/3); down, by the pair that keeps the mean of two rows (biorthogonal
1.3). Both pairs are anti-aliased and exact inverses: chroma that nobody changed comes back unchanged.
Full-range ``yuvj420p`` is centred in theory; the shift of half a pixel in chroma is not followed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

import av
import torch
from torch import Tensor

from pipeline.errors import InputError
from pipeline.types import Colour

# Weights of red and blue in luma: ITU-R BT.709, BT.601, BT.2020, FCC Title 47, SMPTE 240M.
_LUMA = {
    "bt709": (0.2126, 0.0722),
    "smpte170m": (0.299, 0.114),
    "bt470bg": (0.299, 0.114),
    "bt2020nc": (0.2627, 0.0593),
    "fcc": (0.30, 0.11),
    "smpte240m": (0.212, 0.087),
}


class Model(Enum):
    GRAY = "gray"
    YUV = "yuv"
    RGB = "rgb"


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """What a planar pixel format means for the planes of a ``Frame``."""

    model: Model
    bits: int
    step_x: int
    """Pixels across that one chroma sample covers: 1, 2 or 4; 1 without chroma."""
    step_y: int
    """The same down."""

    @property
    def colour_planes(self) -> int:
        """Planes that carry colour; an alpha plane comes after them and is left alone."""
        return 1 if self.model is Model.GRAY else 3


@lru_cache(maxsize=64)
def pixel_format(name: str) -> PixelFormat:
    """Reads FFmpeg's description of a format. Raises InputError for one that is not handled."""
    fmt = av.VideoFormat(name)
    colour = [c for c in fmt.components if not c.is_alpha]
    bits = colour[0].bits
    if bits > 16 or fmt.has_palette or fmt.is_bit_stream or "bayer" in name or name.startswith("xyz"):
        raise InputError(f"pixel format {name}: planes of 8 to 16 bit integers are handled; convert it first")
    if len(colour) == 1:
        return PixelFormat(Model.GRAY, bits, 1, 1)
    if fmt.is_rgb:
        return PixelFormat(Model.RGB, bits, 1, 1)
    return PixelFormat(Model.YUV, bits, 64 // fmt.chroma_width(64), 64 // fmt.chroma_height(64))


@dataclass(frozen=True, slots=True)
class Conversion:
    """Planes <-> RGB for one format, matrix and range. Pure functions of whole chroma blocks."""

    format: PixelFormat
    red: float
    """Weight of red in luma."""
    blue: float
    full_range: bool

    def to_rgb(self, planes: Sequence[Tensor]) -> Tensor:
        """Planes of one rectangle, as in ``Frame``, -> (3, H, W) float32; of K of them, (K, h, w), ->
        (3, K, H, W).

        The rectangle starts on a chroma block; H and W are those of the first plane.
        """
        colours = planes[: self.format.colour_planes]
        samples = torch.empty(len(colours), *planes[0].shape, device=planes[0].device)
        samples[0] = planes[0]
        if self.format.model is Model.YUV:
            height, width = planes[0].shape[-2:]
            chroma = torch.stack([p.to(torch.float32) for p in colours[1:]])
            chroma = _spread_rows(_spread_columns(chroma, self.format.step_x), self.format.step_y)
            samples[1:] = chroma[..., :height, :width]
        else:
            for place, plane in zip(samples[1:], colours[1:], strict=True):
                place.copy_(plane)
        return self.samples_to_rgb(samples)

    def samples_to_rgb(self, samples: Tensor) -> Tensor:
        """(C, ...) float32 values of the native components at the same places -> (3, ...) RGB."""
        matrix, offset = _rgb_from_codes(self, samples.device)
        flat = torch.addmm(offset, matrix, samples.reshape(samples.shape[0], -1))
        return flat.view(3, *samples.shape[1:])

    def samples_from_rgb(self, rgb: Tensor) -> Tensor:
        """(3, ...) RGB -> (C, ...) int32 codes of the native components at the same places, clamped."""
        matrix, offset = _codes_from_rgb(self, rgb.device)
        flat = torch.addmm(offset, matrix, rgb.reshape(3, -1))
        return self._quantise(flat.view(-1, *rgb.shape[1:]))

    def from_rgb(self, rgb: Tensor) -> tuple[Tensor, ...]:
        """(3, H, W) float32 -> one int32 tensor per colour plane, rounded and clamped to the format;
        (3, K, H, W) -> those of K rectangles.

        Chroma planes are ceil(H / step_y) x ceil(W / step_x); the rectangle starts on a chroma block.
        """
        matrix, offset = _codes_from_rgb(self, rgb.device)
        codes = torch.addmm(offset, matrix, rgb.flatten(1)).view(-1, *rgb.shape[1:])
        if self.format.model is not Model.YUV:
            return tuple(self._quantise(codes).unbind(0))
        chroma = _gather_columns(_gather_rows(codes[1:], self.format.step_y), self.format.step_x)
        return (self._quantise(codes[0]), *self._quantise(chroma).unbind(0))

    @property
    def step(self) -> float:
        """Width of one quantisation step of luma in units of RGB."""
        return 1 / self._luma()[0]

    def matrix(self) -> tuple[Tensor, Tensor]:
        """Matrix (C, 3) and offset (C,), float64: codes = matrix @ rgb + offset."""
        scale, offset = self._luma()
        if self.format.model is Model.RGB:
            return torch.eye(3, dtype=torch.float64) * scale, torch.zeros(3, dtype=torch.float64)
        luma = torch.tensor([self.red, 1 - self.red - self.blue, self.blue], dtype=torch.float64)
        if self.format.model is Model.GRAY:
            return (luma * scale).unsqueeze(0), torch.tensor([offset], dtype=torch.float64)
        middle = 2.0 ** (self.format.bits - 1)
        chroma_scale = 2.0**self.format.bits - 1 if self.full_range else 224 * middle / 128
        red, _, blue = torch.eye(3, dtype=torch.float64)
        cb, cr = (blue - luma) / (2 * (1 - self.blue)), (red - luma) / (2 * (1 - self.red))
        matrix = torch.stack([luma * scale, cb * chroma_scale, cr * chroma_scale])
        return matrix, torch.tensor([offset, middle, middle], dtype=torch.float64)

    def _luma(self) -> tuple[float, float]:
        """Scale and offset: code = value * scale + offset."""
        if self.full_range:
            return 2.0**self.format.bits - 1, 0.0
        unit = 2 ** (self.format.bits - 8)
        return 219.0 * unit, 16.0 * unit

    def _quantise(self, codes: Tensor) -> Tensor:
        return codes.round_().clamp_(0, 2**self.format.bits - 1).to(torch.int32)


@lru_cache(maxsize=64)
def _codes_from_rgb(conversion: Conversion, device: torch.device) -> tuple[Tensor, Tensor]:
    """Matrix (C, 3) and offset (C, 1), float32, on a device."""
    matrix, offset = conversion.matrix()
    return matrix.float().to(device), offset.float().unsqueeze(1).to(device)


@lru_cache(maxsize=64)
def _rgb_from_codes(conversion: Conversion, device: torch.device) -> tuple[Tensor, Tensor]:
    """Matrix (3, C) and offset (3, 1), float32, on a device: rgb = matrix @ codes + offset."""
    matrix, offset = conversion.matrix()
    gray = conversion.format.model is Model.GRAY
    back = (1 / matrix.sum()).expand(3, 1) if gray else torch.linalg.inv(matrix)
    return back.float().to(device), -(back @ offset).float().unsqueeze(1).to(device)


@lru_cache(maxsize=64)
def conversion(pix_fmt: str, colour: Colour, width: int, height: int) -> Conversion:
    """The conversion of a frame of ``width`` x ``height`` px. Raises InputError for an unknown matrix."""
    fmt = pixel_format(pix_fmt)
    matrix = colour.matrix
    if fmt.model is not Model.YUV or matrix in {"unknown", "unspecified", "gbr"}:
        matrix = "bt709" if width >= 1280 or height > 576 else "smpte170m"
    if matrix not in _LUMA:
        raise InputError(f"colour matrix {matrix} is not handled; re-encode with one of {', '.join(_LUMA)}")
    if fmt.model is Model.RGB or pix_fmt.startswith("yuvj"):
        full = True
    elif fmt.model is Model.GRAY:
        full = colour.range != "tv"
    else:
        full = colour.range == "pc"
    red, blue = _LUMA[matrix]
    return Conversion(fmt, red, blue, full)


def _shifted(x: Tensor, by: int, dim: int) -> Tensor:
    """x[i + by] along ``dim`` for by = -1 or 1, the edge repeated."""
    size = x.shape[dim]
    if by > 0:
        return torch.cat([x.narrow(dim, 1, size - 1), x.narrow(dim, size - 1, 1)], dim)
    return torch.cat([x.narrow(dim, 0, 1), x.narrow(dim, 0, size - 1)], dim)


def _spread_columns(x: Tensor, step: int) -> Tensor:
    """Left-sited samples to pixels: (..., W) -> (..., W * step), linear."""
    while step > 1:
        wide = x.new_empty(*x.shape[:-1], 2 * x.shape[-1])
        wide[..., 0::2] = x
        wide[..., 1:-1:2] = (x[..., :-1] + x[..., 1:]).mul_(0.5)
        wide[..., -1] = x[..., -1]
        x = wide
        step //= 2
    return x


def _gather_columns(x: Tensor, step: int) -> Tensor:
    """Inverse of ``_spread_columns``, as lifting: the odd pixels' deviation from linear is shared out."""
    while step > 1:
        x = _even(x, -1)
        first, second = x[..., 0::2], x[..., 1::2]
        detail = second - (first + _shifted(first, 1, -1)).mul_(0.5)
        x = first + (_shifted(detail, -1, -1) + detail).mul_(0.25)
        step //= 2
    return x


def _spread_rows(x: Tensor, step: int) -> Tensor:
    """Samples between two rows to the rows: (..., H, W) -> (..., H * step, W), keeping the mean."""
    while step > 1:
        tall = x.new_empty(*x.shape[:-2], 2 * x.shape[-2], x.shape[-1])
        tall[..., 0::2, :] = x
        tall[..., 1::2, :] = x
        slope = (x[..., 2:, :] - x[..., :-2, :]).mul_(0.125)
        # The first and the last sample stay: they may cover one row only.
        tall[..., 2:-2:2, :] -= slope
        tall[..., 3:-2:2, :] += slope
        x = tall
        step //= 2
    return x


def _gather_rows(x: Tensor, step: int) -> Tensor:
    """Inverse of ``_spread_rows``: the mean of each pair."""
    while step > 1:
        x = _even(x, -2)
        x = (x[..., 0::2, :] + x[..., 1::2, :]).mul_(0.5)
        step //= 2
    return x


def _even(x: Tensor, dim: int) -> Tensor:
    """Repeats the last entry of an odd dimension."""
    size = x.shape[dim]
    return x if size % 2 == 0 else torch.cat([x, x.narrow(dim, size - 1, 1)], dim)
