"""NVDEC through PyAV as far as it goes without a GPU: FFmpeg's own decoder gives pictures in its formats."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from av.codec.hwaccel import HWAccel, hwdevices_available
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from torch import Tensor

from pipeline import cuda
from pipeline.decode import nvdec, open_decoder
from pipeline.decode.nvdec import NvdecDecoder, native_planes
from pipeline.decode.open import open_decoder_context, open_input
from pipeline.decode.relay import RelayDecoder
from pipeline.types import Frame
from tests.support.clips import picture, video_frame, write_clip

CLIPS: dict[str, dict[str, Any]] = {
    "h264": {"options": {"bf": "2", "g": "12"}},
    "hevc": {"codec": "libx265", "options": {"x265-params": "log-level=none"}},
    "hevc, 10 bits": {
        "codec": "libx265", "pix_fmt": "yuv420p10le", "options": {"x265-params": "log-level=none"}
    },
    "vp9": {"codec": "libvpx-vp9", "options": {"cpu-used": "8", "deadline": "realtime"}, "suffix": ".webm"},
    "variable rate": {"pts": [0, 7, 40, 41, 99, 300, 301, 302, 1000], "time_base": Fraction(1, 1000)},
}  # fmt: skip


def clip_of(folder: Path, name: str) -> Path:
    settings = {"frames": 20, "width": 166, "height": 90, **CLIPS[name]}
    suffix = settings.pop("suffix", ".mp4")
    if "pts" in settings:
        del settings["frames"]
    return write_clip(folder / f"clip{suffix}", **settings)


def as_nvdec(picture: VideoFrame, bits: int) -> tuple[Tensor, ...]:
    return native_planes(picture.reformat(format={8: "nv12", 10: "p010le"}[bits]), bits)


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> list[HWAccel]:
    """A GPU whose NVDEC is FFmpeg's decoder of the CPU, with the result in NVDEC's formats. What was asked of
    PyAV is kept."""
    asked: list[HWAccel] = []

    def opened(path: Path, *, hwaccel: HWAccel) -> Any:
        asked.append(hwaccel)
        return open_input(path)

    def context(self: NvdecDecoder, stream: VideoStream) -> VideoCodecContext:
        return open_decoder_context(stream)

    monkeypatch.setattr(cuda, "why_none", lambda: "")
    monkeypatch.setattr(cuda, "make_current", lambda device: None)
    monkeypatch.setattr(cuda, "settle", lambda device: None)
    monkeypatch.setattr(nvdec, "open_input", opened)
    monkeypatch.setattr(NvdecDecoder, "_context", context)
    monkeypatch.setattr(nvdec, "native_planes", as_nvdec)
    return asked


def told(frame: Frame) -> tuple[Any, ...]:
    return frame.index, frame.pts, frame.pix_fmt, frame.colour, frame.time_base, frame.key


def assert_same(ours: Iterator[Frame], theirs: Iterator[Frame]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert told(one) == told(other)
        for plane, wanted in zip(one.planes, other.planes, strict=True):
            assert plane.is_contiguous() and plane.dtype == wanted.dtype and torch.equal(plane, wanted)


@pytest.mark.parametrize("name", CLIPS)
def test_exact_on_a_gpu_is_nvdec_where_it_gives_every_sample(
    name: str, tmp_path: Path, pretended: list[HWAccel], caplog: pytest.LogCaptureFixture
) -> None:
    clip = clip_of(tmp_path, name)
    with (
        caplog.at_level(logging.INFO),
        open_decoder(clip, device="cuda:1", decoder="exact") as ours,
        open_decoder(clip) as theirs,
    ):
        assert ours.name == "PyAV on NVDEC"
        assert_same(ours.frames(), theirs.frames())
        cut = ours.info.pts[5], ours.info.pts[8]
        assert_same(ours.frames(*cut), theirs.frames(*cut))
    assert "decoder: PyAV on cuda:1's NVDEC: every sample exact" in caplog.text
    # FFmpeg takes PyTorch's context, not the primary one, and leaves pictures on the GPU.
    assert all(a.options == {"primary_ctx": "0", "current_ctx": "1"} for a in pretended)
    assert all(a.is_hw_owned and a.device_id == 1 for a in pretended)


def test_auto_is_nvdec_where_dali_does_not_suit(
    tmp_path: Path, pretended: list[HWAccel], caplog: pytest.LogCaptureFixture
) -> None:
    clip = clip_of(tmp_path, "hevc, 10 bits")
    with caplog.at_level(logging.INFO), open_decoder(clip, device="cuda:0") as decoder:
        assert decoder.name == "PyAV on NVDEC"
    assert "not DALI there" in caplog.text and len(pretended) == 1


@pytest.mark.parametrize("off", ["luma", "the second chroma plane", "time"])
def test_a_first_picture_that_differs_is_decoded_on_the_cpu(
    off: str, tmp_path: Path, pretended: list[HWAccel], monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = clip_of(tmp_path, "h264")

    def wrong(picture: VideoFrame, bits: int) -> tuple[Tensor, ...]:
        planes = as_nvdec(picture, bits)
        if off != "time":
            planes[0 if off == "luma" else 2][-1, -1] ^= 1
        return planes

    monkeypatch.setattr(nvdec, "native_planes", wrong)
    if off == "time":
        made = NvdecDecoder._made
        monkeypatch.setattr(NvdecDecoder, "_made", lambda self, index, *given: made(self, index + 1, *given))
    with open_decoder(clip, device="cuda:0", decoder="exact") as decoder:
        assert decoder.name == "PyAV"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"codec": "mpeg4"}, "NVDEC is not asked for mpeg4"),
        ({"pix_fmt": "yuv444p"}, "NVDEC does not give yuv444p"),
        ({"width": 67, "height": 45, "codec": "libvpx-vp9"}, "its size of 67x45 px is odd"),
        ({"options": {"x264-params": "tff=1"}, "field_order": 2}, "it is interlaced"),
    ],
)
def test_what_nvdec_would_not_give_is_decoded_on_the_cpu(
    settings: dict[str, Any],
    reason: str,
    tmp_path: Path,
    pretended: list[HWAccel],
    caplog: pytest.LogCaptureFixture,
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", **settings)
    with caplog.at_level(logging.INFO), open_decoder(clip, device="cuda:0", decoder="exact") as decoder:
        assert decoder.name == "PyAV"
    assert (
        f"as asked; sent to cuda:0 from pinned memory; not NVDEC through PyAV: {clip}: {reason}"
        in caplog.text
    )
    assert not pretended


def test_a_codec_that_ffmpeg_keeps_on_the_cpu_is_no_nvdec(
    tmp_path: Path,
    pretended: list[HWAccel],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(cuda, "why_none", lambda: "")
    monkeypatch.setattr(cuda, "make_current", lambda device: None)
    monkeypatch.setattr(nvdec, "open_input", lambda path, **given: open_input(path))
    with (
        caplog.at_level(logging.INFO),
        open_decoder(clip_of(tmp_path, "h264"), device="cuda:0", decoder="exact") as decoder,
    ):
        assert decoder.name == "PyAV"
    assert "NVDEC gives no picture (FFmpeg decodes h264 on the CPU alone)" in caplog.text


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_ffmpeg_says_so_and_the_cpu_decodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What PyAV raises where CUDA cannot begin is a reason, not an end."""
    monkeypatch.setattr(cuda, "why_none", lambda: "")
    monkeypatch.setattr(cuda, "make_current", lambda device: None)
    clip = clip_of(tmp_path, "h264")
    with caplog.at_level(logging.INFO), open_decoder(clip, device="cuda:0", decoder="exact") as decoder:
        assert decoder.name == "PyAV"
        assert len(list(decoder.frames())) == 20
    assert "NVDEC gives no picture (" in caplog.text


def test_nvdec_that_fails_at_a_frame_leaves_the_rest_to_the_cpu(
    tmp_path: Path,
    pretended: list[HWAccel],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    clip = clip_of(tmp_path, "h264")
    with open_decoder(clip, device="cuda:0", decoder="exact") as ours, open_decoder(clip) as theirs:
        assert isinstance(ours, RelayDecoder)
        numbered = NvdecDecoder._numbered

        def failing(self: NvdecDecoder, start: int | None) -> Iterator[tuple[int, VideoFrame]]:
            yield from (pair for pair in numbered(self, start) if pair[0] != 7)

        monkeypatch.setattr(NvdecDecoder, "_numbered", failing)
        assert_same(ours.frames(), theirs.frames())
    assert "PyAV on NVDEC stopped at frame 7" in caplog.text


@pytest.mark.parametrize(("nv", "planar", "bits"), [("nv12", "yuv420p", 8), ("p010le", "yuv420p10le", 10)])
def test_planes_are_picked_apart_in_memory_of_their_own(nv: str, planar: str, bits: int) -> None:
    planes = picture(3, 34, 18, planar)
    held = video_frame(planes, 34, 18, planar).reformat(format=nv)
    ours = native_planes(held, bits)
    before = [plane.clone() for plane in ours]
    for stored in held.planes:
        stored.update(bytes(stored.buffer_size))
    for plane, kept, wanted in zip(ours, before, planes, strict=True):
        assert plane.is_contiguous() and torch.equal(plane, kept)
        assert torch.equal(plane.to(torch.int32), torch.from_numpy(wanted.astype("int32")))


@pytest.mark.skipif(sys.platform != "linux", reason="PyAV's wheels for Linux and Windows have it")
def test_this_pyav_can_hand_over_cuda_frames() -> None:
    assert "cuda" in hwdevices_available()


@pytest.mark.gpu
@pytest.mark.parametrize("name", CLIPS)
def test_nvdec_gives_every_sample(name: str, tmp_path: Path) -> None:
    clip = clip_of(tmp_path, name)
    with open_decoder(clip, device="cuda:0", decoder="exact") as ours, open_decoder(clip) as theirs:
        assert ours.name == "PyAV on NVDEC"
        assert_same(cuda.to_host(ours.frames()), theirs.frames())
