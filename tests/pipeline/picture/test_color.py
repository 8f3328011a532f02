"""Planes <-> RGB against FFmpeg's own conversion, and there and back."""

from __future__ import annotations

import itertools

import av
import numpy as np
import pytest
import torch
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import InputError
from pipeline.picture.color import Conversion, Model, conversion, pixel_format
from pipeline.types import Colour

YUV = [
    f"yuv{chroma}p{depth}"
    for chroma, depth in itertools.product(("420", "422", "444"), ("", "10le", "12le", "16le"))
] + ["yuv440p", "yuv411p", "yuva420p", "yuva444p10le"]
FORMATS = [*YUV, "gray", "gray10le", "gray16le", "gbrp", "gbrp10le", "gbrap12le"]
MATRICES = {
    "bt709": Colorspace.ITU709,
    "smpte170m": Colorspace.SMPTE170M,
    "bt470bg": Colorspace.ITU624,
    "bt2020nc": Colorspace.BT2020,
    "fcc": Colorspace.FCC,
    "smpte240m": Colorspace.SMPTE240M,
}
EXACT = Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP | Interpolation.ACCURATE_RND


def colour(matrix: str = "bt709", range_: str = "tv") -> Colour:
    return Colour(matrix=matrix, range=range_, primaries="unknown", transfer="unknown")


def smooth_rgb(height: int, width: int) -> Tensor:
    """(3, H, W) in [0.1, 0.9], slow enough that the siting of chroma hardly shows."""
    y, x = torch.meshgrid(torch.linspace(0, 2, height), torch.linspace(0, 2.5, width), indexing="ij")
    return 0.5 + 0.4 * torch.stack([torch.sin(x + 0.3), torch.cos(y + x / 2), torch.sin(y * 1.3 - x)])


def to_av(planes: tuple[Tensor, ...], pix_fmt: str, width: int, height: int) -> av.VideoFrame:
    frame = av.VideoFrame(width, height, pix_fmt)
    for component, plane in zip(frame.format.components, planes, strict=False):
        target = frame.planes[component.plane]
        dtype = np.uint8 if component.bits <= 8 else np.uint16
        view: NDArray[np.integer] = np.frombuffer(target, dtype).reshape(target.height, -1)
        view[:, : plane.shape[1]] = plane.numpy().astype(dtype)
    return frame


def from_av(frame: av.VideoFrame) -> tuple[Tensor, ...]:
    planes = []
    for component in frame.format.components:
        source = frame.planes[component.plane]
        dtype = np.uint8 if component.bits <= 8 else np.uint16
        view = np.frombuffer(source, dtype).reshape(source.height, -1)[:, : component.width]
        planes.append(torch.from_numpy(view.astype(np.int32)))
    return tuple(planes)


def with_alpha(planes: tuple[Tensor, ...], pix_fmt: str) -> tuple[Tensor, ...]:
    opaque = len(av.VideoFormat(pix_fmt).components) > len(planes)
    return (*planes, torch.full_like(planes[0], 2 ** pixel_format(pix_fmt).bits - 1)) if opaque else planes


CASES = [(f, "bt709", "tv") for f in FORMATS] + [
    ("yuv444p10le", m, r) for m, r in itertools.product(MATRICES, ("tv", "pc"))
]


@pytest.mark.parametrize(("pix_fmt", "matrix", "range_"), CASES)
def test_agrees_with_ffmpeg_both_ways(pix_fmt: str, matrix: str, range_: str) -> None:
    height, width = 96, 128
    if pix_fmt.startswith("gray"):
        range_ = "pc"  # FFmpeg's scaler knows gray in full range only
    convert = conversion(pix_fmt, colour(matrix, range_), width, height)
    rgb = smooth_rgb(height, width)
    if convert.format.model is Model.GRAY:
        rgb = rgb[:1].expand(3, -1, -1)
    planes = with_alpha(convert.from_rgb(rgb), pix_fmt)
    full = ColorRange.JPEG if range_ == "pc" else ColorRange.MPEG
    theirs = to_av(planes, pix_fmt, width, height).reformat(
        format="gbrp16le",
        interpolation=EXACT,
        src_colorspace=MATRICES[matrix],
        dst_colorspace=MATRICES[matrix],
        src_color_range=full,
        dst_color_range=ColorRange.JPEG,
    )
    their_rgb = torch.stack(from_av(theirs)).float() / 65535
    # In 8-bit steps: FFmpeg dithers and sums in 15 bits, and sites chroma in the middle of its pixels.
    covered = convert.format.step_x * convert.format.step_y
    inner = (slice(None), slice(4, -4), slice(4, -4))
    difference = (convert.to_rgb(planes) - their_rgb)[inner].abs().max()
    assert difference < (2 if covered == 1 else 1 + covered) / 255

    full_rgb = to_av(tuple((rgb * 65535).round().int()), "gbrp16le", width, height)
    back = from_av(
        full_rgb.reformat(
            format=pix_fmt,
            interpolation=EXACT,
            src_colorspace=MATRICES[matrix],
            dst_colorspace=MATRICES[matrix],
            src_color_range=ColorRange.JPEG,
            dst_color_range=full,
        )
    )
    for ours, other in zip(planes[: convert.format.colour_planes], back, strict=False):
        assert ours.shape == other.shape
        inside = (ours - other).float()[2:-2, 2:-2].abs() / 2 ** (convert.format.bits - 8)
        assert inside.max() <= (2 if covered == 1 else 3)


@given(
    pix_fmt=st.sampled_from(FORMATS),
    range_=st.sampled_from(["tv", "pc"]),
    matrix=st.sampled_from(list(MATRICES)),
    height=st.integers(1, 19),
    width=st.integers(1, 21),
    seed=st.integers(0, 1000),
)
def test_planes_come_back_unchanged(
    pix_fmt: str, range_: str, matrix: str, height: int, width: int, seed: int
) -> None:
    """Any planes, in or out of the gamut of RGB, siting and odd sizes included."""
    convert = conversion(pix_fmt, colour(matrix, range_), width, height)
    planes = random_planes(convert, height, width, seed)
    back = convert.from_rgb(convert.to_rgb(planes))
    for before, after in zip(planes, back, strict=True):
        assert torch.equal(before, after)


def random_planes(convert: Conversion, height: int, width: int, seed: int) -> tuple[Tensor, ...]:
    fmt = convert.format
    chroma = (-(-height // fmt.step_y), -(-width // fmt.step_x))
    shapes = [(height, width)] + [chroma] * (fmt.colour_planes - 1)
    gen = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(0, 2**fmt.bits, s, generator=gen, dtype=torch.int32) for s in shapes)


@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_rgb_of_even_colour_comes_back_within_half_a_step(pix_fmt: str) -> None:
    convert = conversion(pix_fmt, colour(), 64, 48)
    rgb = torch.tensor([0.2, 0.5, 0.7]).view(3, 1, 1).expand(3, 48, 64)
    if convert.format.model is Model.GRAY:
        rgb = rgb[:1].expand(3, -1, -1)
    back = convert.to_rgb(convert.from_rgb(rgb))
    luma = (back - rgb).mul(torch.tensor([0.2126, 0.7152, 0.0722]).view(3, 1, 1)).sum(0)
    assert luma.abs().max() <= 0.5001 * convert.step
    assert (back - rgb).abs().max() <= 1.5 * convert.step  # half a step of luma and one of chroma


def test_samples_convert_like_pixels() -> None:
    convert = conversion("yuv444p", colour(), 64, 48)
    planes = random_planes(convert, 6, 7, 1)
    samples = torch.stack([p.float() for p in planes])
    assert torch.equal(convert.samples_to_rgb(samples), convert.to_rgb(planes))


def test_chroma_ramp_is_linear_and_left_sited() -> None:
    convert = conversion("yuv420p", colour("bt709", "pc"), 64, 48)
    ramp = torch.arange(16, dtype=torch.int32).mul(8).expand(16, 16)
    luma = torch.full((32, 32), 128, dtype=torch.int32)
    across = convert.to_rgb((luma, ramp, torch.full_like(ramp, 128)))[2, 8]
    assert torch.allclose(across[2:29].diff(), across[3] - across[2], atol=1e-5)
    at_sample = convert.samples_to_rgb(torch.tensor([128.0, 8 * 5, 128.0]))[2]
    assert abs(float(across[10] - at_sample)) < 1e-5
    down = convert.to_rgb((luma, ramp.T.contiguous(), torch.full_like(ramp, 128)))[2, :, 8]
    assert torch.allclose(down[2:29].diff(), down[3] - down[2], atol=1e-5)
    assert abs(float((down[10] + down[11]) / 2 - at_sample)) < 1e-5


@pytest.mark.parametrize(
    ("width", "height", "like"), [(1280, 720, "bt709"), (720, 576, "smpte170m"), (640, 960, "bt709")]
)
def test_an_untagged_matrix_follows_the_size(width: int, height: int, like: str) -> None:
    untagged = conversion("yuv420p", colour("unknown", "unknown"), width, height)
    assert untagged == conversion("yuv420p", colour(like, "tv"), width, height)


def test_full_range_of_old_jpeg_formats_needs_no_tag() -> None:
    assert conversion("yuvj420p", colour("unknown", "unknown"), 640, 480).full_range


def test_what_is_not_handled_is_said_in_one_line() -> None:
    with pytest.raises(InputError, match="matrix ycgco is not handled"):
        conversion("yuv420p", colour("ycgco"), 64, 48)
    with pytest.raises(InputError, match="gbrpf32le"):
        pixel_format("gbrpf32le")
