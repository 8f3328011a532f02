"""Pixel formats: what planes a decoded picture becomes.

A frame of ours is one tensor per component in the order of the format (Y, U, V[, A] or R, G, B[, A]).
Planar formats map to themselves. Packed formats map to the planar format of the same depth and
subsampling, by picking samples apart, so nothing is computed and nothing can be lost:

    nv12 nv21 -> yuv420p          p010 p012 p016 -> yuv420p10/12/16    y210 y212 -> yuv422p10/12
    nv16 yuyv422 uyvy422 yvyu422 -> yuv422p   nv24 nv42 vuyx -> yuv444p    vuya ayuv -> yuva444p
    p210 p212 p216 -> yuv422p10/12/16    p410 p412 p416 -> yuv444p10/12/16    xv36 -> yuv444p12
    rgb24 bgr24 rgb0 bgr0 0rgb 0bgr -> gbrp   rgba bgra argb abgr -> gbrap
    rgb48 bgr48 -> gbrp16         rgba64 bgra64 -> gbrap16
    ya8 ya16 -> gbrap gbrap16 (gray repeated, since no planar gray has alpha)
    pal8 -> gbrap (looked up)     monow monob -> gray (0 and 255)    rgb565 ... -> gbrp (widened to 8 bits)
    yuvj4xxp -> yuv4xxp, the full range being told by the colour

Big-endian formats are swapped. Floating-point, Bayer and XYZ formats are refused.
"""

from __future__ import annotations

from dataclasses import dataclass

import av
import numpy as np
import torch
from av.video.frame import VideoFrame
from torch import Tensor

from pipeline.errors import InputError


@dataclass(frozen=True, slots=True)
class Packing:
    """Where the samples of a format lie."""

    planar: str
    """The planar format with the same samples."""
    places: tuple[tuple[int, int, int], ...]
    """Per component: (stored plane, first element in a row, elements from sample to sample)."""
    shift: int = 0
    """Unused bits below each sample."""


def _interleaved(planar: str, order: tuple[int, ...], step: int, shift: int = 0) -> Packing:
    """All samples in plane 0, ``order`` saying which element of a pixel each component is."""
    return Packing(planar, tuple((0, first, step) for first in order), shift)


def _half_interleaved(planar: str, u: int, v: int, shift: int = 0) -> Packing:
    """Luma in plane 0, both chroma components taking turns in plane 1."""
    return Packing(planar, ((0, 0, 1), (1, u, 2), (1, v, 2)), shift)


_PACKED = {
    "nv12": _half_interleaved("yuv420p", 0, 1),
    "nv21": _half_interleaved("yuv420p", 1, 0),
    "nv16": _half_interleaved("yuv422p", 0, 1),
    "nv24": _half_interleaved("yuv444p", 0, 1),
    "nv42": _half_interleaved("yuv444p", 1, 0),
    "p010le": _half_interleaved("yuv420p10le", 0, 1, shift=6),
    "p012le": _half_interleaved("yuv420p12le", 0, 1, shift=4),
    "p016le": _half_interleaved("yuv420p16le", 0, 1),
    "p210le": _half_interleaved("yuv422p10le", 0, 1, shift=6),
    "p212le": _half_interleaved("yuv422p12le", 0, 1, shift=4),
    "p216le": _half_interleaved("yuv422p16le", 0, 1),
    "p410le": _half_interleaved("yuv444p10le", 0, 1, shift=6),
    "p412le": _half_interleaved("yuv444p12le", 0, 1, shift=4),
    "p416le": _half_interleaved("yuv444p16le", 0, 1),
    "yuyv422": Packing("yuv422p", ((0, 0, 2), (0, 1, 4), (0, 3, 4))),
    "yvyu422": Packing("yuv422p", ((0, 0, 2), (0, 3, 4), (0, 1, 4))),
    "uyvy422": Packing("yuv422p", ((0, 1, 2), (0, 0, 4), (0, 2, 4))),
    "y210le": Packing("yuv422p10le", ((0, 0, 2), (0, 1, 4), (0, 3, 4)), shift=6),
    "y212le": Packing("yuv422p12le", ((0, 0, 2), (0, 1, 4), (0, 3, 4)), shift=4),
    "vuya": _interleaved("yuva444p", (2, 1, 0, 3), 4),
    "vuyx": _interleaved("yuv444p", (2, 1, 0), 4),
    "ayuv": _interleaved("yuva444p", (1, 2, 3, 0), 4),
    "xv36le": _interleaved("yuv444p12le", (1, 0, 2), 4, shift=4),
    "rgb24": _interleaved("gbrp", (0, 1, 2), 3),
    "bgr24": _interleaved("gbrp", (2, 1, 0), 3),
    "rgb0": _interleaved("gbrp", (0, 1, 2), 4),
    "bgr0": _interleaved("gbrp", (2, 1, 0), 4),
    "0rgb": _interleaved("gbrp", (1, 2, 3), 4),
    "0bgr": _interleaved("gbrp", (3, 2, 1), 4),
    "rgba": _interleaved("gbrap", (0, 1, 2, 3), 4),
    "bgra": _interleaved("gbrap", (2, 1, 0, 3), 4),
    "argb": _interleaved("gbrap", (1, 2, 3, 0), 4),
    "abgr": _interleaved("gbrap", (3, 2, 1, 0), 4),
    "rgb48le": _interleaved("gbrp16le", (0, 1, 2), 3),
    "bgr48le": _interleaved("gbrp16le", (2, 1, 0), 3),
    "rgba64le": _interleaved("gbrap16le", (0, 1, 2, 3), 4),
    "bgra64le": _interleaved("gbrap16le", (2, 1, 0, 3), 4),
    "ya8": _interleaved("gbrap", (0, 0, 0, 1), 2),
    "ya16le": _interleaved("gbrap16le", (0, 0, 0, 1), 2),
}

# Formats with samples that are no whole bytes, by the byte format to which libswscale widens them.
_WIDENED = {
    "pal8": "bgra",
    "monow": "gray",
    "monob": "gray",
    "rgb8": "rgb24",
    "bgr8": "rgb24",
    "rgb4_byte": "rgb24",
    "bgr4_byte": "rgb24",
    "rgb444le": "rgb24",
    "rgb555le": "rgb24",
    "rgb565le": "rgb24",
    "bgr555le": "rgb24",
    "bgr565le": "rgb24",
}


def packing(pix_fmt: str) -> Packing:
    """How the samples of a format lie. Raises InputError for a format that has no planar twin."""
    name = f"{pix_fmt[:-2]}le" if pix_fmt.endswith("be") else pix_fmt
    name = _WIDENED.get(name, name).replace("yuvj", "yuv")
    if name in _PACKED:
        return _PACKED[name]
    fmt = av.VideoFormat(name)
    components = fmt.components
    refused = fmt.is_bayer or fmt.is_bit_stream or fmt.has_palette or name.startswith("xyz")
    apart = len({c.plane for c in components}) == len(components)
    if refused or not components or not apart or max(c.bits for c in components) > 16 or "f16" in name:
        raise InputError(
            f"pixel format {pix_fmt} is not supported; convert the file to yuv420p, yuv444p or gbrp first"
        )
    return Packing(name, tuple((c.plane, 0, 1) for c in components))


def is_writable(pix_fmt: str) -> bool:
    """True where planes can be put back into the format as they came out of it."""
    return not pix_fmt.startswith("ya") and not pix_fmt.endswith("be") and pix_fmt not in _WIDENED


def plane_shapes(pix_fmt: str, width: int, height: int) -> tuple[tuple[int, int], ...]:
    """(rows, columns) of each plane of a planar format, in the order of the format."""
    components = av.VideoFormat(pix_fmt, width, height).components
    return tuple((c.height, c.width) for c in components)


def bit_depth(pix_fmt: str) -> int:
    """Bits per sample of a planar format."""
    return av.VideoFormat(pix_fmt).components[0].bits


def unpack(frame: VideoFrame) -> tuple[Tensor, ...]:
    """Planes of a decoded picture: (rows, columns) uint8 or uint16 each, without padding, in own memory."""
    name = frame.format.name
    layout = packing(name)
    swapped = name.endswith("be")
    if (byte_format := _WIDENED.get(name)) is not None:
        frame = frame.reformat(format=byte_format)
    wide: np.dtype[np.uint16] = np.dtype(">u2" if swapped else "<u2")
    dtype: np.dtype[np.uint8 | np.uint16] = wide if bit_depth(layout.planar) > 8 else np.dtype(np.uint8)
    shapes = plane_shapes(layout.planar, frame.width, frame.height)
    tensors = []
    for (rows, columns), (plane, first, step) in zip(shapes, layout.places, strict=True):
        source = frame.planes[plane]
        pitch = source.line_size // dtype.itemsize
        stored = np.frombuffer(memoryview(source), dtype).reshape(-1, pitch)
        samples = stored[:rows, first : first + (columns - 1) * step + 1 : step]
        own = np.array(samples, dtype.newbyteorder("="), order="C", copy=True)
        tensors.append(torch.from_numpy(np.right_shift(own, layout.shift, out=own) if layout.shift else own))
    return tuple(tensors)
