"""Reduced formats: fewer bits, less chroma or another family, and still the same colour."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from pipeline.decode import open_decoder
from pipeline.decode.planes import packing, unpack
from pipeline.decode.source import open_source, probe
from pipeline.encode import EncodeSettings
from pipeline.encode.pixel_formats import Target, coded_colour, to_picture
from pipeline.encode.pyav import PyAVEncoder
from pipeline.picture.color import conversion
from pipeline.types import Colour
from tests.support.clips import Planes, write_clip

WIDTH, HEIGHT = 96, 64
LOSS = ("something",)
"""Any loss sends a frame down the way of reduction."""


def smooth(index: int, width: int, height: int, pix_fmt: str) -> Planes:
    """Gentle ramps with noise, far from gray and from both ends of the range."""
    rng = np.random.default_rng(index)
    planes: Planes = []
    for number, component in enumerate(av.VideoFormat(pix_fmt, width, height).components):
        rows, columns, top = component.height, component.width, 1 << component.bits
        ramp = np.linspace(0.3, 0.6 - 0.1 * number, columns) + np.linspace(0, 0.1, rows)[:, None]
        values = ramp * top + rng.integers(0, max(top >> 6, 4), (rows, columns))
        planes.append(values.astype(np.uint16 if component.bits > 8 else np.uint8))
    return planes


def reduced(source: str, target: str, colour: Colour) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Planes before, and after in the order of the target's planar format."""
    planes = [torch.from_numpy(plane) for plane in smooth(1, WIDTH, HEIGHT, source)]
    components = av.VideoFormat(source, WIDTH, HEIGHT).components
    assert len(components) == len(planes)
    made = to_picture(tuple(planes), source, Target(target, LOSS, ()), colour)
    assert made.format.name == target
    return planes, list(unpack(made))


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("yuv444p12le", "yuv422p10le"),
        ("yuv444p12le", "yuv444p10le"),
        ("yuv420p10le", "yuv420p"),
        ("yuv422p10le", "yuv420p"),
        ("yuv420p16le", "yuv420p12le"),
        ("yuv444p", "yuv420p"),
        ("yuva420p", "yuv420p"),
        ("yuva444p12le", "yuva444p10le"),
        ("gray12le", "gray10le"),
        ("gray16le", "gray"),
        ("gray16le", "yuv444p10le"),
        ("yuv420p10le", "gray"),
        ("gbrp12le", "gbrp"),
        ("gbrp10le", "bgr0"),
        ("gbrap16le", "gbrp10le"),
    ],
)
@pytest.mark.parametrize("matrix", ["unknown", "bt709", "smpte170m", "bt2020nc"])
@pytest.mark.parametrize("levels", ["unknown", "tv", "pc"])
def test_a_reduction_keeps_the_mean_of_every_plane(
    source: str, target: str, matrix: str, levels: str
) -> None:
    if source.startswith("gbr"):
        matrix = "gbr"
    before, after = reduced(source, target, Colour(matrix, levels, "unknown", "unknown"))
    bits = [av.VideoFormat(packing(name).planar).components[0].bits for name in (source, target)]
    middle = [1 << depth - 1 for depth in bits]
    for plane, (a, b) in enumerate(zip(before, after, strict=False)):
        scale = 2.0 ** (bits[1] - bits[0])
        zero = [0, 0]
        if levels == "pc" and plane < 3:
            scale = (2 ** bits[1] - 1) / (2 ** bits[0] - 1)
            zero = middle if plane in {1, 2} and source.startswith("yuv") else [0, 0]
        want = (a.double().mean().item() - zero[0]) * scale + zero[1]
        assert b.double().mean().item() == pytest.approx(want, abs=0.5)
    if source.startswith("gray"):
        assert all(bool((chroma == 1 << bits[1] - 1).all()) for chroma in after[1:])


@pytest.mark.parametrize("matrix", ["unknown", "bt709", "smpte170m", "bt2020nc"])
@pytest.mark.parametrize("levels", ["tv", "pc"])
@pytest.mark.parametrize(("source", "target"), [("yuv444p", "gbrp"), ("gbrp", "yuv444p")])
def test_between_rgb_and_yuv_the_colour_stays(source: str, target: str, matrix: str, levels: str) -> None:
    colour = (
        Colour("gbr", "pc", "unknown", "unknown")
        if source == "gbrp"
        else Colour(matrix, levels, "unknown", "unknown")
    )
    before, after = reduced(source, target, colour)
    there = coded_colour(source, Target(target, LOSS, ()), colour)
    rgb = [
        conversion(name, tagged, WIDTH, HEIGHT).to_rgb(planes)
        for name, tagged, planes in ((source, colour, before), (target, there, after))
    ]
    assert (rgb[0].clamp(0, 1) - rgb[1].clamp(0, 1)).abs().mean().item() < 1.5 / 255


def test_an_untagged_film_of_twelve_bits_keeps_its_luma(tmp_path: Path) -> None:
    """ProRes 4444 decodes to 12 bits, and its encoder takes 10."""
    source = write_clip(
        tmp_path / "in.mov",
        frames=2,
        codec="prores_ks",
        pix_fmt="yuv444p10le",
        options={"profile": "4444"},
        time_base=Fraction(1, 25),
        draw=smooth,
    )
    output, settings = tmp_path / "out.mov", EncodeSettings(codec="prores")
    with open_decoder(source) as decoder, PyAVEncoder(decoder.source, output, settings) as encoder:
        for frame in decoder.frames():
            encoder.write(frame)
        encoder.finish()
    assert probe(source).colour.matrix == "unknown"
    with open_decoder(source) as before, open_decoder(output) as after:
        for a, b in zip(before.frames(), after.frames(), strict=True):
            scale = 2.0 ** (after.info.bit_depth - before.info.bit_depth)
            for x, y in zip(a.planes, b.planes, strict=True):
                assert y.double().mean().item() == pytest.approx(x.double().mean().item() * scale, abs=2)


@pytest.mark.parametrize(
    ("suffix", "encoder", "lost"),
    [
        (".mp4", "libx264 yuv420p", ("libx264 cannot hold the alpha plane",)),
        (".mov", "libx264 yuv420p", ("libx264 cannot hold the alpha plane",)),
        (".mkv", "libvpx-vp9 yuva420p", ()),
        (".nut", "ffv1 yuva420p", ()),
    ],
)
def test_a_container_gets_what_its_players_know(
    tmp_path: Path, suffix: str, encoder: str, lost: tuple[str, ...]
) -> None:
    """Alpha in VP9 lies beside the packets, where MP4 has no place; FFV1 in MP4 plays hardly anywhere."""
    source = write_clip(
        tmp_path / "in.nut",
        frames=2,
        codec="rawvideo",
        pix_fmt="yuva420p",
        time_base=Fraction(1, 25),
        draw=smooth,
    )
    opened = open_source(source)
    unknown = replace(opened, info=replace(opened.info, codec="a codec without an encoder"))
    with PyAVEncoder(unknown, tmp_path / f"out{suffix}") as made:
        assert made.encoder == encoder
        assert [sentence for sentence in made.lost if "cannot hold" in sentence] == list(lost)


def test_vp9_outside_matroska_says_that_alpha_is_lost(tmp_path: Path) -> None:
    source = write_clip(
        tmp_path / "in.mkv", frames=2, codec="libvpx-vp9", pix_fmt="yuva420p", options={"cpu-used": "8"}
    )
    with PyAVEncoder(open_source(source), tmp_path / "out.mp4", EncodeSettings(codec="vp9")) as made:
        assert made.encoder == "libvpx-vp9 yuv420p"
        assert made.lost == ("libvpx-vp9 cannot hold the alpha plane",)
