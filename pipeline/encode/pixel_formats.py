"""Which pixel format an encoder gets, and the way there from a frame's planes.

The way is without loss wherever the encoder has a format that holds all samples: gray gets neutral
chroma, coarser chroma is repeated, shallower samples are widened, a missing alpha is opaque.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import av
import numpy as np
import torch
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from torch import Tensor

from pipeline.decode.planes import is_writable, packing, plane_shapes, unpack
from pipeline.errors import InputError
from pipeline.types import Colour

# They refuse odd sizes where chroma is halved; 4:2:0 of H.264 and HEVC cannot even be cropped to one.
_EVEN_SIZES = {"libx264", "libx264rgb", "libx265", "libsvtav1", "h264_nvenc", "hevc_nvenc", "av1_nvenc"}


@dataclass(frozen=True, slots=True)
class _Traits:
    rgb: bool
    gray: bool
    alpha: bool
    depth: int
    coarse_x: int
    coarse_y: int
    """Binary logarithm of luma samples per chroma sample."""


@dataclass(frozen=True, slots=True)
class Target:
    """The chosen format."""

    pix_fmt: str
    losses: tuple[str, ...]
    """Losses of samples, each as in "the alpha plane"."""
    notes: tuple[str, ...]
    """Conversions without loss, each as a clause."""


def _traits(planar: str) -> _Traits:
    fmt = av.VideoFormat(planar, 64, 64)
    components = fmt.components
    chroma = components[1] if len(components) > 2 else None
    return _Traits(
        rgb=fmt.is_rgb,
        gray=chroma is None,
        alpha=len(components) in {2, 4},
        depth=components[0].bits,
        coarse_x=(64 // chroma.width).bit_length() - 1 if chroma else 0,
        coarse_y=(64 // chroma.height).bit_length() - 1 if chroma else 0,
    )


def choose_format(encoder: str, source: str, width: int, height: int) -> Target | None:
    """The encoder's format nearest to planar format ``source``; None where the size rules all out."""
    wanted = _traits(source)
    ranked = []
    for order, fmt in enumerate(av.Codec(encoder, "w").video_formats or [av.VideoFormat(source)]):
        # yuvj is yuv with a range, which the colour tags say.
        if fmt.name.startswith("yuvj") or not is_writable(fmt.name):
            continue
        try:
            planar = packing(fmt.name).planar
        except InputError:
            continue
        has = _traits(planar)
        odd = (width % (1 << has.coarse_x), height % (1 << has.coarse_y)) != (0, 0)
        if odd and encoder in _EVEN_SIZES:
            continue
        losses = _losses(wanted, has)
        waste = (
            has.gray != wanted.gray,
            has.alpha != wanted.alpha,
            abs(has.depth - wanted.depth),
            abs(wanted.coarse_x - has.coarse_x) + abs(wanted.coarse_y - has.coarse_y),
            fmt.name != planar,
            order,
        )
        ranked.append((losses, waste, fmt.name, has))
    if not ranked:
        return None
    losses, _, name, has = min(ranked, key=lambda entry: (_weight(entry[0]), entry[1]))
    notes = []
    if not losses and (has.coarse_x, has.coarse_y) != (wanted.coarse_x, wanted.coarse_y) and not wanted.gray:
        notes.append(f"{width}x{height} px in {source} cannot be coded, so chroma is repeated to {name}")
    return Target(name, losses, tuple(notes))


def _losses(wanted: _Traits, has: _Traits) -> tuple[str, ...]:
    return tuple(
        text
        for text, lost in (
            ("colour (to gray)", has.gray and not wanted.gray),
            ("RGB samples (to YUV)", has.rgb != wanted.rgb),
            ("chroma resolution", has.coarse_x > wanted.coarse_x or has.coarse_y > wanted.coarse_y),
            (f"depth ({wanted.depth} to {has.depth} bits)", has.depth < wanted.depth),
            ("the alpha plane", wanted.alpha and not has.alpha),
        )
        if lost
    )


def _weight(losses: tuple[str, ...]) -> int:
    """Worse losses weigh more than all lesser ones together."""
    order = ("the alpha", "depth", "chroma", "RGB", "colour")
    return sum(1 << rank for loss in losses for rank, word in enumerate(order) if loss.startswith(word))


def coded_colour(source: str, target: Target, colour: Colour) -> Colour:
    """The description of a frame in the target's format: ``colour``, save where RGB becomes YUV or back."""
    have, want = _traits(source), _traits(packing(target.pix_fmt).planar)
    if have.rgb == want.rgb:
        return colour
    return (
        replace(colour, matrix="gbr", range="pc") if want.rgb else replace(colour, matrix="bt709", range="tv")
    )


def to_picture(planes: tuple[Tensor, ...], source: str, target: Target, colour: Colour) -> VideoFrame:
    """A frame of PyAV in the target's format. ``planes`` as in Frame, in planar format ``source``.

    Fewer bits or less chroma are libswscale's work, with its dither; matrix and range stay as they are.
    Between RGB and YUV the picture becomes that of `coded_colour`.
    """
    height, width = planes[0].shape
    planar = packing(target.pix_fmt).planar
    have, want = _traits(source), _traits(planar)
    if target.losses and have.rgb == want.rgb and (have.gray or want.gray):
        # Only luma is left. libswscale takes gray for full range, so it gets YUV without colour instead.
        planes, source = (_luma(planes[0], have.depth, want.depth, colour),), _named("gray", want.depth)
    elif target.losses:
        whole = _filled(planes, source, width, height)
        chroma_too = (have.coarse_x, have.coarse_y) != (want.coarse_x, want.coarse_y)
        if have.rgb == want.rgb and have.depth > want.depth and chroma_too:
            # At once, libswscale would take the bits off by a shift in full range too.
            family = f"yuv{'a' if want.alpha else ''}{source.removeprefix('yuv').removeprefix('a')[:4]}"
            whole = _reformatted(whole, _named(family, want.depth), colour, colour)
        return _reformatted(whole, target.pix_fmt, colour, coded_colour(source, target, colour))
    if planar != source:
        planes = _widened(planes, source, planar, full_range=colour.range == "pc" or _traits(source).rgb)
    return _filled(planes, target.pix_fmt, width, height)


# libswscale's tables of coefficients, under the matrices that PyAV writes back for them.
_SWS = {
    "bt709": Colorspace.ITU709,
    "fcc": Colorspace.FCC,
    "smpte170m": Colorspace.ITU601,
    "bt470bg": Colorspace.ITU601,
    "smpte240m": Colorspace.SMPTE240M,
    "bt2020nc": Colorspace.BT2020,
}


def _reformatted(frame: VideoFrame, pix_fmt: str, before: Colour, after: Colour) -> VideoFrame:
    # An untagged matrix matters only on the way to RGB; it is read there as in pipeline.picture.color.
    usual = "bt709" if frame.width >= 1280 or frame.height > 576 else "smpte170m"
    matrix = after.matrix if before.matrix == "gbr" else before.matrix
    table = _SWS.get(matrix, _SWS[usual])
    return frame.reformat(
        format=pix_fmt,
        src_colorspace=table,
        dst_colorspace=table,
        src_color_range=_sws_range(before),
        dst_color_range=_sws_range(after),
        interpolation=Interpolation.BILINEAR | Interpolation.ACCURATE_RND,
    )


def _sws_range(colour: Colour) -> ColorRange:
    full = colour.range == "pc" or colour.matrix == "gbr"
    return ColorRange.JPEG if full else ColorRange.MPEG


def _luma(plane: Tensor, have: int, want: int, colour: Colour) -> Tensor:
    """A plane of luma with at most ``want`` bits."""
    if have <= want:
        return plane
    height, width = plane.shape
    chroma = torch.full((-(-height // 2), -(-width // 2)), 1 << (have - 1), dtype=plane.dtype)
    whole = _filled((plane, chroma, chroma), _named("yuv420p", have), width, height)
    return unpack(_reformatted(whole, _named("yuv420p", want), colour, colour))[0]


def _named(family: str, depth: int) -> str:
    return family if depth == 8 else f"{family}{depth}le"


def _widened(planes: tuple[Tensor, ...], source: str, target: str, full_range: bool) -> tuple[Tensor, ...]:
    have, want = _traits(source), _traits(target)
    height, width = planes[0].shape
    shapes = plane_shapes(target, width, height)
    colours = planes[: 1 if have.gray else 3]
    result = []
    for plane, (rows, columns) in zip(colours, shapes, strict=False):
        repeat = (-(-rows // plane.shape[0]), -(-columns // plane.shape[1]))
        wide = plane.repeat_interleave(repeat[0], 0).repeat_interleave(repeat[1], 1)[:rows, :columns]
        result.append(_deepened(wide, have.depth, want.depth, full_range))
    dtype = torch.uint8 if want.depth <= 8 else torch.uint16
    while len(result) < (1 if want.gray else 3):
        result.append(torch.full(shapes[len(result)], 1 << (want.depth - 1), dtype=dtype))
    if want.alpha:
        alpha = _deepened(planes[-1], have.depth, want.depth, full_range=True) if have.alpha else None
        result.append(
            torch.full((height, width), (1 << want.depth) - 1, dtype=dtype) if alpha is None else alpha
        )
    return tuple(result)


def _deepened(plane: Tensor, have: int, want: int, full_range: bool) -> Tensor:
    """More bits: a shift in limited range, where 16 becomes 64; repeated bits in full range (255, 1023)."""
    if have == want:
        return plane
    values = plane.to(torch.int32)
    low = values >> max(2 * have - want, 0) if full_range else 0
    return ((values << (want - have)) | low).to(torch.uint8 if want <= 8 else torch.uint16)


def _filled(planes: tuple[Tensor, ...], pix_fmt: str, width: int, height: int) -> VideoFrame:
    """Samples put where ``pix_fmt``, planar or packed, wants them."""
    layout = packing(pix_fmt)
    frame = VideoFrame(width, height, pix_fmt)
    for tensor, (plane, first, step) in zip(planes, layout.places, strict=False):
        samples = tensor.numpy()
        stored = np.frombuffer(memoryview(frame.planes[plane]), samples.dtype)
        rows = stored.reshape(-1, frame.planes[plane].line_size // samples.itemsize)
        place = rows[: samples.shape[0], first : first + (samples.shape[1] - 1) * step + 1 : step]
        place[:] = samples << layout.shift if layout.shift else samples
    return frame
