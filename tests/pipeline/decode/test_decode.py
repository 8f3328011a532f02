"""Decoding: every frame once, in order, with its exact time, bit for bit as FFmpeg gives it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.decode import open_decoder
from pipeline.decode.planes import packing, plane_shapes, unpack
from pipeline.decode.source import probe
from pipeline.errors import InputError, UsageError
from pipeline.types import Frame
from tests.support.clips import Audio, Extras, number_in, picture, video_frame, write_clip

LOSSLESS = {
    "yuv420p": "ffv1",
    "yuv422p": "ffv1",
    "yuv444p": "ffv1",
    "yuv411p": "ffv1",
    "yuv440p": "ffv1",
    "yuva420p": "ffv1",
    "yuva444p10le": "ffv1",
    "yuv420p10le": "ffv1",
    "yuv422p10le": "ffv1",
    "yuv444p12le": "ffv1",
    "yuv420p16le": "ffv1",
    "gray": "ffv1",
    "gray10le": "ffv1",
    "gbrp10le": "ffv1",
    "gbrap12le": "ffv1",
    "gbrp": "utvideo",
    "gbrap": "utvideo",
}


def expected(index: int, width: int, height: int, pix_fmt: str) -> list[np.ndarray]:
    """The picture of a clip in the order of components (R, G, B for gbr formats)."""
    stored = picture(index, width, height, pix_fmt)
    return [stored[c.plane] for c in av.VideoFormat(pix_fmt, width, height).components]


def numbers(frames: list[Frame]) -> list[int]:
    return [number_in(frame.planes[0].numpy()) for frame in frames]


@pytest.mark.parametrize("pix_fmt", LOSSLESS)
@pytest.mark.parametrize("size", [(64, 48), (67, 45)])
def test_planes_are_those_that_were_encoded(tmp_path: Path, pix_fmt: str, size: tuple[int, int]) -> None:
    width, height = size
    clip = write_clip(
        tmp_path / "clip.nut", frames=3, width=width, height=height, pix_fmt=pix_fmt, codec=LOSSLESS[pix_fmt]
    )
    with open_decoder(clip) as decoder:
        frames = list(decoder.frames())
    assert decoder.info.bit_depth == av.VideoFormat(pix_fmt).components[0].bits
    assert len(frames) == 3
    for frame in frames:
        assert frame.pix_fmt == pix_fmt
        want = expected(frame.index, width, height, pix_fmt)
        assert [tuple(p.shape) for p in frame.planes] == list(plane_shapes(pix_fmt, width, height))
        for plane, values in zip(frame.planes, want, strict=True):
            assert plane.dtype == (torch.uint8 if decoder.info.bit_depth <= 8 else torch.uint16)
            assert plane.is_contiguous()
            assert np.array_equal(plane.numpy(), values)


_PACKED = """
    nv12 nv21 nv16 nv24 nv42 yuyv422 uyvy422 yvyu422 rgb24 bgr24 rgb0 bgr0 0rgb 0bgr rgba bgra argb abgr
    rgb48le bgr48le rgba64le bgra64le rgb48be p010le p012le p016le p210le p216le p410le p416le y210le y212le
    vuya vuyx ayuv xv36le yuv420p10be gray16be gbrp10be
"""


@pytest.mark.parametrize("pix_fmt", _PACKED.split())
def test_packed_formats_hold_the_same_samples_as_their_planar_twin(pix_fmt: str) -> None:
    """libswscale, an independent hand, packs the planes; picking them apart must give them back."""
    planar = packing(pix_fmt).planar
    stored = picture(5, 48, 32, planar)
    frame = video_frame(stored, 48, 32, planar)
    try:
        packed = frame.reformat(format=pix_fmt, interpolation="POINT")
    except ValueError as error:
        pytest.fail(f"libswscale cannot write {pix_fmt}: {error}")
    planes = unpack(packed)
    assert len(planes) == len(av.VideoFormat(planar).components)
    for plane, values in zip(planes, expected(5, 48, 32, planar), strict=True):
        assert np.array_equal(plane.numpy(), values)


def test_palettes_become_rgba() -> None:
    indices = np.arange(256, dtype=np.uint8).reshape(16, 16)
    frame = av.VideoFrame(16, 16, "pal8")
    rows = np.zeros((16, frame.planes[0].line_size), np.uint8)
    rows[:, :16] = indices
    frame.planes[0].update(rows.tobytes())
    palette = np.random.default_rng(3).integers(0, 256, (256, 4), np.uint8)  # BGRA
    frame.planes[1].update(palette.tobytes())
    red, green, blue, alpha = (plane.numpy().ravel() for plane in unpack(frame))
    assert np.array_equal(np.stack([blue, green, red, alpha], 1), palette)


@pytest.mark.parametrize("pix_fmt", ["gbrpf32le", "bayer_rggb8", "xyz12le", "grayf32le"])
def test_formats_without_integer_planes_are_refused(pix_fmt: str) -> None:
    with pytest.raises(InputError, match=f"{pix_fmt} is not supported; convert"):
        packing(pix_fmt)


def test_frames_own_their_memory(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=12)
    with open_decoder(clip) as decoder:
        kept = list(decoder.frames())
    before = [plane.clone() for frame in kept for plane in frame.planes]
    with open_decoder(clip) as decoder:
        for frame in decoder.frames():
            frame.planes[0].zero_()
    assert all(torch.equal(a, b) for a, b in zip(before, (p for f in kept for p in f.planes), strict=True))


AS_THEY_ARE = {".ts": {"mpegts_copyts": "1"}, ".nut": {"avoid_negative_ts": "disabled"}}
VARIABLE = [0, 7, 1000, 1001, 1002, 5000, 5512, 9999, 20000, 20001, 20480, 40000]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".ts", ".nut"])
def test_times_are_exact(tmp_path: Path, suffix: str) -> None:
    base = {".mkv": Fraction(1, 1000), ".ts": Fraction(1, 90_000)}.get(suffix, Fraction(1, 12_800))
    times = [t + 90_000 for t in VARIABLE] if suffix == ".ts" else VARIABLE
    clip = write_clip(
        tmp_path / f"clip{suffix}",
        pts=times,
        time_base=base,
        options={"preset": "medium"},
        container_options=AS_THEY_ARE.get(suffix),
    )
    with open_decoder(clip) as decoder:
        frames = list(decoder.frames())
        assert [t * decoder.info.time_base for t in decoder.info.pts] == [t * base for t in times]
        assert [f.pts for f in frames] == list(decoder.info.pts)
        assert [f.index for f in frames] == list(range(len(times)))
        assert numbers(frames) == list(range(len(times)))
        assert frames[0].key


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Variable rate, B-frames, a key frame every 12 frames."""
    times = np.cumsum(np.random.default_rng(1).integers(1, 900, 60)).tolist()
    options = {"preset": "medium", "g": "12", "keyint_min": "12", "sc_threshold": "0"}
    return write_clip(tmp_path_factory.mktemp("long") / "clip.mp4", pts=times, options=options)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_range_is_a_slice_of_the_whole(long_clip: Path, data: st.DataObject) -> None:
    with open_decoder(long_clip) as decoder:
        last = decoder.info.pts[-1]
        start = data.draw(st.none() | st.integers(-10, last + 10))
        end = data.draw(st.none() | st.integers(-10, last + 10))
        frames = list(decoder.frames(start, end))
        want = [
            (k, pts)
            for k, pts in enumerate(decoder.info.pts)
            if (start is None or pts >= start) and (end is None or pts < end)
        ]
    assert [(f.index, f.pts) for f in frames] == want
    assert numbers(frames) == [k for k, _ in want]


@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [
        (".mkv", "libx264", {"preset": "medium", "g": "10"}),
        (".ts", "libx264", {"preset": "medium", "g": "10"}),
        (".mkv", "libx265", {"preset": "ultrafast", "x265-params": "log-level=none:keyint=10:open-gop=1"}),
        (".webm", "libvpx-vp9", {"cpu-used": "8", "deadline": "realtime", "g": "10"}),
        (".avi", "libx264", {"preset": "medium", "g": "10"}),
        (".h264", "libx264", {"preset": "medium", "g": "10"}),
    ],
)
def test_seeking_lands_on_the_frame_in_every_container(
    tmp_path: Path, suffix: str, codec: str, options: dict[str, str]
) -> None:
    clip = write_clip(
        tmp_path / f"clip{suffix}",
        pts=range(40),
        time_base=Fraction(1, 25),
        codec=codec,
        options=options,
        extras=Extras(audio=[Audio()]) if suffix in {".ts", ".avi"} else None,
    )
    with open_decoder(clip) as decoder:
        assert len(decoder.info.pts) == 40
        for first in (0, 1, 9, 10, 11, 25, 39):
            frames = list(decoder.frames(decoder.info.pts[first]))
            assert numbers(frames) == list(range(first, 40))


def test_negative_times_are_kept(tmp_path: Path) -> None:
    clip = write_clip(
        tmp_path / "clip.ivf",
        pts=range(-5, 5),
        time_base=Fraction(1, 25),
        codec="libvpx-vp9",
        options={"cpu-used": "8", "deadline": "realtime", "lag-in-frames": "0"},
        container_options={"avoid_negative_ts": "disabled"},
    )
    with open_decoder(clip) as decoder:
        assert [t * decoder.info.time_base * 25 for t in decoder.info.pts] == list(range(-5, 5))
        assert numbers(list(decoder.frames())) == list(range(10))


def test_missing_times_are_derived_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clip = write_clip(tmp_path / "clip.h264", options={"preset": "medium"})
    with open_decoder(clip) as decoder:
        frames = list(decoder.frames())
    assert numbers(frames) == list(range(10))
    steps = {b - a for a, b in zip(decoder.info.pts, decoder.info.pts[1:], strict=False)}
    assert steps == {Fraction(1, 25) / decoder.info.time_base}
    assert "clip.h264 has no times" in caplog.text


def test_avi_with_reordered_frames_shows_them_in_order(tmp_path: Path) -> None:
    clip = write_clip(
        tmp_path / "clip.avi", pts=range(20), time_base=Fraction(1, 25), options={"preset": "medium"}
    )
    with open_decoder(clip) as decoder:
        frames = list(decoder.frames())
    assert numbers(frames) == list(range(20))
    assert list(decoder.info.pts) == list(range(2, 22))  # the decoder holds two back


def test_what_a_header_says(tmp_path: Path) -> None:
    clip = write_clip(
        tmp_path / "clip.mp4",
        colour={"matrix": "bt2020nc", "range": "tv", "primaries": "bt2020", "transfer": "smpte2084"},
        pix_fmt="yuv420p10le",
        sample_aspect=Fraction(4, 3),
        rotation=90,
        rate=Fraction(30_000, 1001),
        time_base=Fraction(1001, 30_000),
        pts=range(10),
    )
    info = probe(clip)
    assert (info.width, info.height) == (160, 96)
    assert (info.rotation, info.sample_aspect, info.bit_depth) == (90, Fraction(4, 3), 10)
    colour = info.colour
    assert (colour.matrix, colour.range, colour.primaries, colour.transfer) == (
        "bt2020nc",
        "tv",
        "bt2020",
        "smpte2084",
    )
    assert info.rate == Fraction(30_000, 1001)
    assert info.duration_s == pytest.approx(10 * 1001 / 30_000, abs=1e-9)
    assert not info.interlaced


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_rotation_is_counter_clockwise(tmp_path: Path, rotation: int) -> None:
    assert probe(write_clip(tmp_path / "clip.mov", frames=1, rotation=rotation)).rotation == rotation


@pytest.mark.parametrize(("order", "flag"), [(2, "tff=1"), (3, "bff=1")])
def test_interlaced_frames_come_as_coded(tmp_path: Path, order: int, flag: str) -> None:
    options = {"preset": "ultrafast", "qp": "0", "x264-params": flag}
    clip = write_clip(tmp_path / "clip.mp4", options=options, field_order=order)
    with open_decoder(clip) as decoder:
        frames = list(decoder.frames())
    assert decoder.info.interlaced
    assert all(np.array_equal(f.planes[0].numpy(), picture(f.index, 160, 96, "yuv420p")[0]) for f in frames)


def test_vp9_keeps_its_alpha(tmp_path: Path) -> None:
    options = {"lossless": "1", "cpu-used": "8"}
    clip = write_clip(
        tmp_path / "clip.webm", frames=4, codec="libvpx-vp9", pix_fmt="yuva420p", options=options
    )
    with open_decoder(clip) as decoder:
        frames = list(decoder.frames())
    assert [f.pix_fmt for f in frames] == ["yuva420p"] * 4
    alpha = frames[2].planes[3].numpy().astype(int)
    assert np.abs(alpha - picture(2, 160, 96, "yuva420p")[3]).mean() < 8


def test_covers_and_small_pictures_are_not_the_film(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clip = write_clip(tmp_path / "clip.mp4", extras=Extras(cover=True))
    assert probe(clip).width == 160
    with pytest.raises(InputError, match="no video stream 7"):
        probe(clip, stream=7)
    both = write_clip(tmp_path / "both.mkv", extras=Extras(second_video=(320, 200)))
    assert probe(both).width == 320
    assert probe(both, stream=0).width == 160
    assert "2 video streams; stream 1 is processed" in caplog.text


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (3, 5), (17, 9)])
def test_tiny_and_odd_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    clip = write_clip(tmp_path / "clip.nut", frames=2, width=size[0], height=size[1], codec="rawvideo")
    with open_decoder(clip) as decoder:
        frames = list(decoder.frames())
    assert [f.planes[0].shape for f in frames] == [(size[1], size[0])] * 2
    assert np.array_equal(frames[1].planes[1].numpy(), picture(1, *size, "yuv420p")[1])


def test_a_closed_decoder_gives_no_more(tmp_path: Path) -> None:
    with open_decoder(write_clip(tmp_path / "clip.mp4")) as decoder:
        frames = decoder.frames()
        next(frames)
    with pytest.raises(ValueError, match="closed"):
        next(frames)


def test_unknown_devices_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="device tpu has no decoder; use cpu"):
        open_decoder(tmp_path / "clip.mp4", device="tpu")
