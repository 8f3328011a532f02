"""What every decoder promises, on the same clips; and DALI against PyAV, frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.decode import DecoderName, open_decoder
from pipeline.types import Frame
from tests.support.clips import Planes, number_in, picture, write_clip

pytestmark = pytest.mark.slow

DECODERS = ["pyav", pytest.param("dali", marks=pytest.mark.dali)]
FAST = {"cpu-used": "8", "deadline": "realtime", "g": "10"}


def muted(index: int, width: int, height: int, pix_fmt: str) -> Planes:
    """`picture` in colours that RGB holds, whatever the range of luma."""
    luma, *chroma = (plane.astype(int) for plane in picture(index, width, height, pix_fmt))
    return [
        (60 + luma * 120 // 255).astype(np.uint8),
        *((118 + plane * 20 // 255).astype(np.uint8) for plane in chroma),
    ]


@dataclass(frozen=True)
class Clip:
    """A kind of file that both decoders read."""

    suffix: str
    codec: str
    pix_fmt: str = "yuv420p"
    options: dict[str, str] = field(default_factory=lambda: dict(FAST))
    pts: Sequence[int] = tuple(range(0, 37 * 40, 40))
    """ms"""
    time_base: Fraction = Fraction(1, 1000)
    size: tuple[int, int] = (160, 96)
    rotation: int = 0

    def write(self, folder: Path) -> Path:
        return write_clip(
            folder / f"clip{self.suffix}",
            pts=self.pts,
            time_base=self.time_base,
            codec=self.codec,
            pix_fmt=self.pix_fmt,
            options=self.options,
            width=self.size[0],
            height=self.size[1],
            rotation=self.rotation,
            draw=picture if self.pix_fmt == "gbrp" else muted,
        )


VARIABLE = [0, 7, 1000, 1001, 1002, 5000, 5512, 9999, 20000, 20001, *range(20480, 22000, 33)]
LOSSLESS = {**FAST, "lossless": "1"}
CLIPS = {
    "vp9": Clip(".webm", "libvpx-vp9"),
    "vp9-hidden": Clip(
        ".webm",
        "libvpx-vp9",
        options={"cpu-used": "5", "deadline": "good", "auto-alt-ref": "1", "lag-in-frames": "12", "g": "20"},
    ),
    "vp9-mp4": Clip(".mp4", "libvpx-vp9", time_base=Fraction(1, 12800), pts=range(0, 37 * 512, 512)),
    "vp9-variable": Clip(".mkv", "libvpx-vp9", pts=VARIABLE),
    "vp9-rgb": Clip(".mkv", "libvpx-vp9", "gbrp", LOSSLESS),
    "vp9-rgb-odd": Clip(".mkv", "libvpx-vp9", "gbrp", LOSSLESS, pts=VARIABLE, size=(67, 45)),
    "vp9-offset": Clip(".mkv", "libvpx-vp9", pts=range(5000, 6000, 40)),
    "vp9-width": Clip(".webm", "libvpx-vp9", size=(166, 90)),
    "vp8": Clip(".webm", "libvpx", options={**FAST, "crf": "4", "b": "4000000"}),
    "mjpeg": Clip(".avi", "mjpeg", "yuvj420p", {}, pts=range(25), time_base=Fraction(1, 25)),
    "mjpeg-turned": Clip(".mov", "mjpeg", "yuvj420p", {}, rotation=90),
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: clip.write(tmp_path_factory.mktemp(name)) for name, clip in CLIPS.items()}


def number(frame: Frame) -> int:
    """The number is in the plane that a file stores first: green, or luma."""
    return number_in(frame.planes[1 if frame.pix_fmt == "gbrp" else 0].numpy())


def told(frame: Frame) -> tuple[object, ...]:
    """All that a frame says about itself."""
    shapes = tuple((plane.shape, plane.dtype, plane.is_contiguous()) for plane in frame.planes)
    return frame.index, frame.pts, frame.pix_fmt, frame.colour, frame.time_base, frame.key, shapes


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("name", CLIPS)
def test_every_frame_comes_once_with_its_time(
    clips: dict[str, Path], name: str, decoder: DecoderName
) -> None:
    clip = CLIPS[name]
    with open_decoder(clips[name], decoder=decoder) as opened:
        info = opened.info
        frames = list(opened.frames())
        again = [frame.index for frame in opened.frames()]
    assert [t * info.time_base for t in info.pts] == [t * clip.time_base for t in clip.pts]
    assert [frame.pts for frame in frames] == list(info.pts)
    assert [frame.index for frame in frames] == again == list(range(len(clip.pts)))
    assert frames[0].key
    if clip.size[0] > 100:
        assert [number(frame) for frame in frames] == again


@pytest.mark.dali
@pytest.mark.parametrize("name", CLIPS)
def test_dali_gives_the_frames_of_pyav(clips: dict[str, Path], name: str) -> None:
    """RGB and luma bit for bit, chroma within a level (`pipeline.decode.chroma_subsample`)."""
    with open_decoder(clips[name]) as pyav, open_decoder(clips[name], decoder="dali") as dali:
        assert (pyav.info, pyav.name, dali.name) == (dali.info, "PyAV", "DALI")
        exact, count = 0, 0
        for want, got in zip(pyav.frames(), dali.frames(), strict=True):
            assert told(got) == told(want)
            planes = list(zip(got.planes, want.planes, strict=True))
            exact_planes = planes if want.pix_fmt == "gbrp" else planes[:1]
            assert all(torch.equal(ours, theirs) for ours, theirs in exact_planes)
            for ours, theirs in planes[len(exact_planes) :]:
                off = (ours.short() - theirs.short()).abs()
                assert off.max() <= 1
                exact, count = exact + int((off == 0).sum()), count + off.numel()
    assert exact >= 0.97 * count


TIMES = st.none() | st.integers(-10, VARIABLE[-1] + 10)


@pytest.mark.parametrize("decoder", DECODERS)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=TIMES, end=TIMES)
def test_a_range_is_a_slice_of_the_whole(
    clips: dict[str, Path], decoder: DecoderName, start: int | None, end: int | None
) -> None:
    with open_decoder(clips["vp9-variable"], decoder=decoder) as opened:
        frames = list(opened.frames(start, end))
    want = [
        k
        for k, time in enumerate(VARIABLE)
        if (start is None or time >= start) and (end is None or time < end)
    ]
    assert [(f.index, f.pts) for f in frames] == [(k, VARIABLE[k]) for k in want]
    assert [number(f) for f in frames] == want


@pytest.mark.parametrize("decoder", DECODERS)
def test_frames_own_their_memory(clips: dict[str, Path], decoder: DecoderName) -> None:
    with open_decoder(clips["vp9-rgb"], decoder=decoder) as opened:
        kept = list(opened.frames())
        before = [plane.clone() for frame in kept for plane in frame.planes]
        for frame in opened.frames():
            for plane in frame.planes:
                plane.zero_()
    after = [plane for frame in kept for plane in frame.planes]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert len({plane.untyped_storage().data_ptr() for plane in after}) == len(after)


@pytest.mark.parametrize("decoder", DECODERS)
def test_two_readers_of_one_decoder_do_not_disturb_each_other(
    clips: dict[str, Path], decoder: DecoderName
) -> None:
    with open_decoder(clips["vp9"], decoder=decoder) as opened:
        pts = opened.info.pts
        pairs = zip(opened.frames(), opened.frames(pts[5]), strict=False)
        assert [(a.index, b.index) for a, b in pairs] == [(k, k + 5) for k in range(len(pts) - 5)]


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_closed_decoder_gives_no_more(clips: dict[str, Path], decoder: DecoderName) -> None:
    with open_decoder(clips["vp9"], decoder=decoder) as opened:
        frames = opened.frames()
        next(frames)
    with pytest.raises(ValueError, match="closed"):
        next(frames)


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_file_that_was_replaced_is_read_anew(tmp_path: Path, decoder: DecoderName) -> None:
    path = tmp_path / "a b:c%.mkv"
    for count in (9, 23):
        write_clip(
            tmp_path / "made.mkv", frames=count, codec="libvpx-vp9", pix_fmt="gbrp", options=LOSSLESS
        ).rename(path)
        with open_decoder(path, decoder=decoder) as opened:
            assert [number(f) for f in opened.frames()] == list(range(count))
