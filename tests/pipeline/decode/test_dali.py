"""DALI alone: what it takes and refuses, and how its pictures become native planes again."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.decode import OFF_BY, DecoderName, open_decoder
from pipeline.decode.chroma_subsample import clipped, planes_of_rgb, planes_of_ycbcr
from pipeline.decode.dali import DaliDecoder
from pipeline.decode.planes import unpack
from pipeline.decode.source import open_source
from pipeline.errors import InputError, MissingError
from tests.pipeline.decode.test_contract import FAST, LOSSLESS, VARIABLE, muted
from tests.support.clips import Extras, picture, write_clip

DALI = pytest.mark.dali


def enlarged(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bilinear, twice as wide and high, samples in the middle of their pixels, border repeated: written as
    the sum that it is, not as the matrix that `undo` inverts."""
    for axis in (0, 1):
        before = np.take(plane, [0, *range(plane.shape[axis] - 1)], axis)
        after = np.take(plane, [*range(1, plane.shape[axis]), -1], axis)
        pair = np.stack([0.75 * plane + 0.25 * before, 0.75 * plane + 0.25 * after], axis + 1)
        plane = pair.reshape([2 * n if k == axis else n for k, n in enumerate(plane.shape)])
    return plane


def nvdec_picture(planes: list[NDArray[np.uint8]]) -> Tensor:
    """(1, H, W, 3): what DALI's reader makes of NV12."""
    luma, *chroma = planes
    wide = [np.rint(enlarged(plane.astype(float))).astype(np.uint8) for plane in chroma]
    return torch.from_numpy(np.stack([luma, *wide], -1)[None])


@pytest.mark.parametrize("size", [(2, 2), (6, 4), (160, 96), (34, 130)])
@pytest.mark.parametrize("kind", ["noise", "moving"])
def test_chroma_comes_back_within_two_levels(size: tuple[int, int], kind: str) -> None:
    planes = picture(3, *size, "yuv420p")
    if kind == "noise":
        random = np.random.default_rng(5)
        planes = [random.integers(0, 256, plane.shape, dtype=np.uint8) for plane in planes]
    got = planes_of_ycbcr(nvdec_picture(planes))
    assert torch.equal(got[0][0], torch.from_numpy(planes[0]))
    off = [
        (ours[0].short() - torch.from_numpy(plane).short()).abs()
        for ours, plane in zip(got[1:], planes[1:], strict=True)
    ]
    assert all(plane.max() <= 2 for plane in off)
    if size == (160, 96):
        assert torch.cat([(plane == 0).float() for plane in off]).mean() > 0.9


def test_unrounded_chroma_comes_back_exactly() -> None:
    """Even planes over four bits: enlarging them gives whole numbers, so nothing was rounded."""
    random = np.random.default_rng(2)
    planes = [
        random.integers(0, 256, (32, 48), dtype=np.uint8),
        *(16 * random.integers(0, 16, (16, 24), dtype=np.uint8) for _ in range(2)),
    ]
    got = planes_of_ycbcr(nvdec_picture(planes))
    assert all(torch.equal(ours[0], torch.from_numpy(plane)) for ours, plane in zip(got, planes, strict=True))


@pytest.mark.parametrize("full_range", [True, False])
def test_grey_comes_back_from_rgb(full_range: bool) -> None:
    low, high = (0, 255) if full_range else (16, 235)
    luma = np.arange(low, high + 1, dtype=float)
    grey = np.rint((luma - low) * 255 / (high - low)).astype(np.uint8)
    grey = grey[: len(grey) // 4 * 4].reshape(2, -1)
    y, cb, cr = planes_of_rgb(torch.from_numpy(np.stack([grey] * 3, -1)[None]), full_range)
    assert y.flatten().tolist() == luma[: y.numel()].astype(int).tolist()
    assert set(cb.flatten().tolist()) == set(cr.flatten().tolist()) == {128}


def test_clipped_colours_are_known() -> None:
    pixels = torch.tensor([[[0, 9, 9], [9, 9, 255], [1, 128, 254]]], dtype=torch.uint8)
    assert clipped(pixels).tolist() == [[True, True, False]]


VP9 = {"codec": "libvpx-vp9", "options": FAST, "draw": muted}
REFUSED = {
    "4:2:2": ({"codec": "mjpeg", "options": {}, "pix_fmt": "yuvj422p"}, "keep its yuvj422p"),
    "4:4:4": ({"codec": "libvpx-vp9", "options": LOSSLESS, "pix_fmt": "yuv444p"}, "keep its yuv444p"),
    "odd size": ({**VP9, "width": 67}, "67x96 px is odd"),
    "full range": ({**VP9, "colour": {"range": "pc"}}, "full range"),
    "two streams": ({**VP9, "extras": Extras(second_video=(64, 48))}, "2 video streams"),
    "before zero": (
        {
            **VP9,
            "options": {**FAST, "lag-in-frames": "0"},
            "pts": range(-5, 5),
            "time_base": Fraction(1, 25),
            "container_options": {"avoid_negative_ts": "disabled"},
        },
        "before time zero",
    ),
}


@DALI
@pytest.mark.parametrize("name", REFUSED)
def test_what_would_not_come_out_right_is_refused(tmp_path: Path, name: str) -> None:
    settings, reason = REFUSED[name]
    suffix = ".ivf" if name == "before zero" else ".mkv"
    stream = 0 if name == "two streams" else None
    clip = write_clip(tmp_path / f"clip{suffix}", **settings)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f"{reason}.*; use --decoder pyav"):
        open_decoder(clip, decoder="dali", stream=stream)


@DALI
@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"pix_fmt": "yuv420p10le"}, "would not keep its yuv420p10le, only 8 bits and 4:2:0"),
        ({"pix_fmt": "yuv422p"}, "would not keep its yuv422p"),
        ({"codec": "libx264rgb", "pix_fmt": "rgb24"}, "would not keep its gbrp"),
        ({"options": {"x264-params": "tff=1"}, "field_order": 2}, "it is interlaced"),
    ],
)
def test_what_nvdec_would_not_give_right_is_refused_before_it_is_asked(
    tmp_path: Path, settings: dict[str, object], reason: str
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", **settings)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f"{reason}.*; use --decoder pyav"):
        open_decoder(clip, device="cuda:0", decoder="dali")


@DALI
@pytest.mark.parametrize("codec", ["libx264", "ffv1"])
def test_codecs_that_the_device_lacks_are_named(tmp_path: Path, codec: str) -> None:
    clip = write_clip(tmp_path / "clip.mkv", codec=codec)
    name = codec.replace("libx264", "h264")
    with pytest.raises(MissingError, match=f"does not decode {name} on the CPU; use --decoder pyav"):
        open_decoder(clip, decoder="dali")


@DALI
def test_a_file_that_breaks_off_is_refused(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.webm", frames=40, **VP9).read_bytes()  # type: ignore[arg-type]
    cut = tmp_path / "cut.webm"
    cut.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(InputError, match=r"not one picture each.*; use --decoder pyav"):
        open_decoder(cut, decoder="dali")


@DALI
def test_a_packet_that_is_no_picture_is_refused_before_the_first_frame(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.webm", frames=20, **VP9)  # type: ignore[arg-type]
    with av.open(str(clip)) as container:
        packet = [bytes(packet) for packet in container.demux(video=0) if packet.size][13]
    whole = clip.read_bytes()
    clip.write_bytes(whole.replace(packet, bytes(len(packet))))
    with pytest.raises(InputError, match=r"its packets are not one picture each.*; use --decoder pyav"):
        open_decoder(clip, decoder="dali")


@DALI
def test_a_file_that_goes_while_it_is_read_is_an_input_error(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.webm", **VP9)  # type: ignore[arg-type]
    with open_decoder(clip, decoder="dali") as decoder:
        clip.unlink()
        with pytest.raises(InputError, match="DALI cannot open it"):
            list(decoder.frames())


@DALI
def test_colours_outside_rgb_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clip = write_clip(tmp_path / "clip.webm", codec="libvpx-vp9", options=FAST)
    with open_decoder(clip, decoder="dali"):
        pass
    assert "DALI gives no native planes; its first picture is off, luma by up to" in caplog.text


@DALI
def test_a_picture_that_is_not_that_of_ffmpeg_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = write_clip(tmp_path / "clip.mkv", codec="libvpx-vp9", pix_fmt="gbrp", options=LOSSLESS)
    monkeypatch.setattr("pipeline.decode.dali.unpack", lambda frame: tuple(p ^ 4 for p in unpack(frame)))
    with pytest.raises(InputError, match=r"differs from FFmpeg's by 4 levels.*; use --decoder pyav"):
        open_decoder(clip, decoder="dali")


@pytest.mark.slow
@DALI
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """150 frames of RGB are 41 MB; DALI may hold a few dozen of them."""
    pictures = [muted(index, 320, 288, "yuvj420p") for index in range(2)]
    clip = write_clip(
        tmp_path / "clip.avi",
        frames=150,
        width=320,
        height=288,
        codec="mjpeg",
        pix_fmt="yuvj420p",
        draw=lambda index, *_: pictures[index % 2],
    )
    process = psutil.Process()
    sizes = []
    with open_decoder(clip, decoder="dali") as decoder:
        for frame in decoder.frames():
            if frame.index % 20 == 0:
                sizes.append(process.memory_info().rss)
    assert max(sizes) - sizes[3] < 15e6


def test_without_dali_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nvidia.dali", None)
    clip = write_clip(tmp_path / "clip.mp4")
    with pytest.raises(MissingError, match=r"cannot be imported.*vidpipe\[dali\].*; use --decoder pyav"):
        open_decoder(clip, decoder="dali")


@pytest.mark.parametrize("decoder", ["exact", "pyav"])
def test_who_asks_for_every_sample_gets_it_on_a_gpu_too(
    decoder: DecoderName, tmp_path: Path, pretended: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    pretended(0)
    clip = write_clip(tmp_path / "clip.mp4")
    with caplog.at_level(logging.INFO), open_decoder(clip, device="cuda:0", decoder=decoder) as opened:
        assert opened.name == "PyAV"
    assert "as asked" in caplog.text


@DALI
def test_auto_is_dali_on_a_gpu_where_it_decodes_the_file(
    tmp_path: Path, pretended: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    """And what it changes is said in levels."""
    pretended(0)
    clip = write_clip(tmp_path / "clip.webm", codec="libvpx-vp9", options=FAST)
    with open_decoder(clip) as exact:
        wanted = list(exact.frames())
    with caplog.at_level(logging.INFO), open_decoder(clip, device="cuda:0") as decoder:
        assert decoder.name == "DALI"
        frames = list(decoder.frames())
    assert f"decoder: DALI on cuda:0: {OFF_BY}" in caplog.text
    assert [f.pts for f in frames] == [f.pts for f in wanted]
    for ours, theirs in zip(frames, wanted, strict=True):
        off = [
            int((a.short() - b.short()).abs().max()) for a, b in zip(ours.planes, theirs.planes, strict=True)
        ]
        assert off[0] == 0
        assert max(off) <= 2


@DALI
def test_auto_is_pyav_on_a_gpu_where_dali_says_other_things(
    tmp_path: Path, pretended: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    pretended(9)
    clip = write_clip(tmp_path / "clip.webm", codec="libvpx-vp9", options=FAST)
    with caplog.at_level(logging.INFO), open_decoder(clip, device="cuda:0") as decoder:
        assert decoder.name == "PyAV"
    assert "not DALI there" in caplog.text
    assert "DALI's first picture differs from FFmpeg's, chroma by up to" in caplog.text


def test_auto_is_pyav_on_a_gpu_without_dali(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "nvidia.dali", None)
    clip = write_clip(tmp_path / "clip.mp4")
    with caplog.at_level(logging.INFO), open_decoder(clip, device="cuda:0") as decoder:
        assert decoder.name == "PyAV"
    assert "cannot be imported" in caplog.text


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_driver_dali_on_a_gpu_is_missing(tmp_path: Path) -> None:
    pytest.importorskip("nvidia.dali")
    clip = write_clip(tmp_path / "clip.mp4")
    with pytest.raises(
        MissingError, match=r"decoder dali on cuda:0: .*CUDA is not available; use --decoder pyav"
    ):
        open_decoder(clip, device="cuda:0", decoder="dali")


class PretendedReader:
    """DALI on a GPU as far as it is known: counts frames, and gives NVDEC's pictures of a file."""

    def __init__(self, decoder: DaliDecoder, first: int, off: int) -> None:
        with open_decoder(decoder.info.path) as pyav:
            self.frames = list(pyav.frames())
        self.due, self.off = first, off

    def epoch_size(self, name: str) -> int:
        assert name == "video"
        return len(self.frames)

    def take(self, count: int) -> Tensor:
        taken = self.frames[self.due : self.due + count]
        self.due += count
        planes = [[plane.numpy() for plane in frame.planes] for frame in taken]
        return torch.cat([nvdec_picture([y, cb + self.off, cr]) for y, cb, cr in planes])


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Puts a pretended DALI on a GPU, whose blue is off by some levels, in DALI's place."""

    def put(off: int) -> None:
        monkeypatch.setattr("pipeline.decode.dali.check_library", lambda: None)
        monkeypatch.setattr("pipeline.cuda.settle", lambda device: None)
        monkeypatch.setattr(
            DaliDecoder,
            "_reader",
            lambda self, length, span=None: PretendedReader(self, span[0] if span else 0, off),
        )
        monkeypatch.setattr(DaliDecoder, "_next", lambda self, reader, due, count: reader.take(count))

    return put


def test_on_a_gpu_luma_passes_and_chroma_is_solved_for(
    tmp_path: Path, pretended: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    pretended(0)
    clip = write_clip(tmp_path / "clip.mp4", frames=11, options={"preset": "medium"})
    with open_decoder(clip) as pyav, open_decoder(clip, "cuda:0", decoder="dali") as decoder:
        assert decoder.name == "DALI"
        for start in (None, pyav.info.pts[6]):
            for want, got in zip(pyav.frames(start), decoder.frames(start), strict=True):
                assert (got.index, got.pts, got.key) == (want.index, want.pts, want.key)
                assert torch.equal(got.planes[0], want.planes[0])
                for ours, theirs in zip(got.planes[1:], want.planes[1:], strict=True):
                    off = (ours.short() - theirs.short()).abs()
                    assert off.max() <= 2
                    assert (off == 0).float().mean() > 0.85
    assert "its first picture is off, chroma by up to" in caplog.text


def test_on_a_gpu_chroma_that_is_off_is_refused(tmp_path: Path, pretended: Callable[[int], None]) -> None:
    pretended(4)
    clip = write_clip(tmp_path / "clip.mp4", draw=muted)
    with pytest.raises(InputError, match=r"differs from FFmpeg's, chroma by up to [3456] levels in"):
        open_decoder(clip, "cuda:0", decoder="dali")


@pytest.mark.parametrize(
    ("text", "kind", "told"),
    [
        (
            'Assert on "x" failed: Codec configuration not supported on this GPU. Codec: AV1',
            MissingError,
            "does not decode h264 yuv420p",
        ),
        (
            "CUDA runtime API error cudaErrorMemoryAllocation (2):\nout of memory",
            MissingError,
            "memory is full",
        ),
        ('Assert on "ret >= 0" failed: Failed to send packet to decoder: Invalid data', InputError, "packet"),
    ],
)
def test_errors_of_dali_are_one_line(
    tmp_path: Path, pretended: Callable[[int], None], text: str, kind: type[Exception], told: str
) -> None:
    pretended(0)
    with DaliDecoder(open_source(write_clip(tmp_path / "clip.mp4")), "cuda:0") as decoder:
        error = decoder.error(
            RuntimeError(f"Critical error in pipeline:\n{text}\nCurrent pipeline object"), 7
        )
    assert isinstance(error, kind)
    assert told in str(error)
    assert "\n" not in str(error)


GPU_CLIPS: dict[str, tuple[str, str, dict[str, str]]] = {
    "h264": (".mp4", "libx264", {"preset": "medium", "g": "12"}),
    "h264-ts": (".ts", "libx264", {"preset": "medium", "g": "12"}),
    "hevc-open": (
        ".mkv",
        "libx265",
        {"preset": "medium", "x265-params": "log-level=none:keyint=10:open-gop=1"},
    ),
    "vp9": (".webm", "libvpx-vp9", FAST),
    "av1": (".mkv", "libsvtav1", {"preset": "10"}),
}


@pytest.mark.gpu
@pytest.mark.parametrize("name", GPU_CLIPS)
def test_nvdec_gives_the_frames_of_pyav(tmp_path: Path, name: str) -> None:
    """Luma exactly, chroma within two levels, planes on the device; from the start and from the middle."""
    pytest.importorskip("nvidia.dali")
    suffix, codec, options = GPU_CLIPS[name]
    base = Fraction(1, 90_000) if suffix == ".ts" else Fraction(1, 1000)
    times = [90 * t for t in VARIABLE] if suffix == ".ts" else VARIABLE
    clip = write_clip(
        tmp_path / f"clip{suffix}",
        pts=times,
        time_base=base,
        codec=codec,
        options=options,
        width=320,
        height=240,
    )
    with open_decoder(clip) as pyav:
        try:
            dali = open_decoder(clip, device="cuda:0", decoder="dali")
        except MissingError as error:
            assert name == "av1"  # A100 and older have none
            assert "NVDEC of this GPU does not decode av1" in str(error)
            return
        with dali:
            for start in (None, pyav.info.pts[25]):
                for want, got in zip(pyav.frames(start), dali.frames(start), strict=True):
                    assert (got.index, got.pts, got.pix_fmt) == (want.index, want.pts, want.pix_fmt)
                    assert {plane.device for plane in got.planes} == {torch.device("cuda:0")}
                    off = [
                        (ours.cpu().short() - theirs.short()).abs().max()
                        for ours, theirs in zip(got.planes, want.planes, strict=True)
                    ]
                    assert off[0] == 0
                    assert max(off[1:]) <= 2
