"""Encoding: what goes in comes out, with every time and everything else of the source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.decode import open_decoder
from pipeline.decode.planes import packing, plane_shapes, unpack
from pipeline.decode.source import open_source, probe
from pipeline.encode import EncodeSettings
from pipeline.encode.codecs import chroma_place
from pipeline.encode.pixel_formats import Target, choose_format, to_picture
from pipeline.encode.pyav import PyAVEncoder
from pipeline.encode.verify import Verification, compare
from pipeline.types import Colour, Frame
from tests.support import SHARED
from tests.support.clips import Audio, Chapter, Extras, Subtitle, number_in, picture, write_clip

pytestmark = pytest.mark.slow

FAST = EncodeSettings(preset="ultrafast")


def reencode(
    source: Path, output: Path, settings: EncodeSettings = FAST, **cut: int | None
) -> tuple[str, ...]:
    """Decode and encode a file; returns what the encoder says is lost."""
    with open_decoder(source) as decoder, PyAVEncoder(decoder.source, output, settings, **cut) as encoder:  # type: ignore[arg-type]
        for frame in decoder.frames(cut.get("start_pts"), cut.get("end_pts")):
            encoder.write(frame)
        encoder.finish()
    return encoder.lost


def kept(source: Path, output: Path, settings: EncodeSettings = FAST, **cut: int | None) -> Verification:
    return compare(open_source(source), output, settings, **cut)  # type: ignore[arg-type]


def frames_of(path: Path) -> list[Frame]:
    with open_decoder(path) as decoder:
        return list(decoder.frames())


def packets_of(path: Path, kind: str) -> list[list[tuple[Fraction, bytes]]]:
    """Time in s and bytes of the packets of each stream of a kind."""
    with av.open(str(path)) as container:
        streams = [s for s in container.streams if s.type == kind]
        found: dict[int, list[tuple[Fraction, bytes]]] = {s.index: [] for s in streams}
        for packet in container.demux(streams) if streams else ():
            if packet.size:
                found[packet.stream.index].append(((packet.pts or 0) * packet.time_base, bytes(packet)))
        return list(found.values())


LOSSLESS = [
    ("yuv420p", "libx264", ".mp4"),
    ("yuv422p", "libx264", ".mp4"),
    ("yuv444p", "libx264", ".mkv"),
    ("yuv420p", "libx265", ".mp4"),
    ("yuv420p10le", "libx265", ".mkv"),
    ("yuv444p12le", "libx265", ".mkv"),
    ("gbrp", "libx265", ".mkv"),
    ("gbrp", "libx264rgb", ".mkv"),
    ("yuv420p", "libvpx-vp9", ".webm"),
    ("yuv420p", "ffv1", ".mkv"),
    ("yuv411p", "ffv1", ".mkv"),
    ("yuv422p10le", "ffv1", ".mkv"),
    ("yuv420p16le", "ffv1", ".mkv"),
    ("yuva420p", "ffv1", ".mkv"),
    ("yuva444p10le", "ffv1", ".mkv"),
    ("gbrp10le", "ffv1", ".mkv"),
    ("gbrp16le", "ffv1", ".nut"),
    ("gray12le", "ffv1", ".mkv"),
    ("gbrap", "utvideo", ".nut"),
    ("yuv422p", "huffyuv", ".avi"),
    ("rgb24", "png", ".mov"),
    ("rgba", "png", ".mov"),
    ("nv12", "rawvideo", ".nut"),
    ("yuyv422", "rawvideo", ".nut"),
]
WITHOUT_LOSS = {
    "libx264": {"qp": "0"},
    "libx264rgb": {"qp": "0"},
    "libx265": {"x265-params": "lossless=1:log-level=none"},
    "libvpx-vp9": {"lossless": "1"},
}


@pytest.mark.parametrize(("pix_fmt", "codec", "suffix"), LOSSLESS)
def test_lossless_in_and_out_is_bit_identical(tmp_path: Path, pix_fmt: str, codec: str, suffix: str) -> None:
    planar = packing(pix_fmt).planar
    source = write_clip(
        tmp_path / f"in{suffix}",
        frames=4,
        pts=range(4),
        time_base=Fraction(1, 25),
        codec="ffv1" if codec == "libx264rgb" else codec,
        pix_fmt="bgr0" if codec == "libx264rgb" else pix_fmt,
        options=WITHOUT_LOSS.get(codec, {}),
        draw=_any_format,
    )
    before = frames_of(source)
    assert {f.pix_fmt for f in before} == {planar}
    output = tmp_path / "out.nut"
    lost = reencode(source, output, EncodeSettings(codec="utvideo" if pix_fmt == "gbrap" else "ffv1"))
    after = frames_of(output)
    assert lost == ()
    assert len(after) == 4
    for a, b in zip(before, after, strict=True):
        assert b.pix_fmt == planar
        assert all(torch.equal(x, y) for x, y in zip(a.planes, b.planes, strict=True))


def _any_format(index: int, width: int, height: int, pix_fmt: str) -> list[np.ndarray[Any, Any]]:
    """Pictures for packed formats too: bytes that differ from sample to sample."""
    if len({c.plane for c in av.VideoFormat(pix_fmt).components}) == len(av.VideoFormat(pix_fmt).components):
        return picture(index, width, height, pix_fmt)
    rng = np.random.default_rng(index)
    step = {"rgb24": 3, "yuyv422": 2, "nv12": 1}.get(pix_fmt, 4)
    planes = [rng.integers(0, 256, (height, width * step), np.uint8)]
    return [*planes, rng.integers(0, 256, (height // 2, width), np.uint8)] if pix_fmt == "nv12" else planes


@pytest.mark.parametrize(
    ("source_format", "codec"),
    [
        ("yuv420p", "libx264"),
        ("yuv422p", "libx264"),
        ("yuv444p", "libx264"),
        ("gbrp", "libx264rgb"),
    ],
)
def test_x264_without_loss_gives_back_what_it_got(tmp_path: Path, source_format: str, codec: str) -> None:
    source = write_clip(tmp_path / "in.nut", frames=4, codec="ffvhuff", pix_fmt=source_format, options={})
    output = tmp_path / "out.mp4"
    reencode(source, output, EncodeSettings(codec=codec, crf=0, preset="ultrafast"))
    for a, b in zip(frames_of(source), frames_of(output), strict=True):
        assert a.pix_fmt == b.pix_fmt
        assert all(torch.equal(x, y) for x, y in zip(a.planes, b.planes, strict=True))


@given(
    source=st.sampled_from(
        ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "gray", "gbrp", "yuva420p", "yuv411p", "gbrap12le"]
    ),
    encoder=st.sampled_from(
        ["libx264", "libx264rgb", "libx265", "libvpx-vp9", "ffv1", "prores_ks", "utvideo", "png", "mjpeg"]
    ),
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    full=st.booleans(),
)
def test_a_format_without_losses_holds_every_sample(
    source: str, encoder: str, width: int, height: int, full: bool
) -> None:
    """Whatever format an encoder gets, the samples can be read back from it, if it says so."""
    target = choose_format(encoder, source, width, height)
    if target is None or target.losses:
        return
    colour = Colour("unknown", "pc" if full else "tv", "unknown", "unknown")
    fmt = av.VideoFormat(source, width, height)
    stored = picture(3, width, height, source)
    planes = tuple(torch.from_numpy(stored[c.plane]) for c in fmt.components)
    made = to_picture(planes, source, target, colour)
    assert (made.width, made.height, made.format.name) == (width, height, target.pix_fmt)
    back = _back(made, source)
    assert all(torch.equal(a, b) for a, b in zip(planes, back, strict=False))


def _back(made: av.VideoFrame, source: str) -> tuple[torch.Tensor, ...]:
    have = av.VideoFormat(packing(made.format.name).planar).components[0].bits
    want = av.VideoFormat(source).components[0].bits
    planes = []
    for plane, (rows, columns) in zip(
        unpack(made), plane_shapes(source, made.width, made.height), strict=False
    ):
        coarse_y, coarse_x = -(-plane.shape[0] // rows), -(-plane.shape[1] // columns)
        values = plane[::coarse_y, ::coarse_x].to(torch.int32) >> (have - want)
        planes.append(values.to(torch.uint8 if want <= 8 else torch.uint16))
    return tuple(planes)


def test_losses_are_said(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mkv", frames=2, codec="ffv1", pix_fmt="yuva420p")
    lost = reencode(source, tmp_path / "out.mp4", EncodeSettings(codec="h264"))
    assert lost == ("libx264 cannot hold the alpha plane",)
    target = choose_format("libx264", "gbrp16le", 32, 32)
    assert target is not None
    assert target.losses == ("RGB samples (to YUV)", "depth (16 to 10 bits)")


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".nut"])
def test_variable_times_come_out_exactly(tmp_path: Path, suffix: str) -> None:
    base = Fraction(1, 1000) if suffix == ".mkv" else Fraction(1, 12_800)
    times = np.cumsum(np.random.default_rng(4).integers(1, 700, 40)).tolist()
    times[0] = 0
    source = write_clip(tmp_path / f"in{suffix}", pts=times, time_base=base)
    output = tmp_path / f"out{suffix}"
    assert reencode(source, output, EncodeSettings(preset="medium")) == ()
    assert [t * probe(output).time_base for t in probe(output).pts] == [t * base for t in times]
    assert [number_in(f.planes[0].numpy()) for f in frames_of(output)] == list(range(40))
    assert probe(output).duration_s == pytest.approx(probe(source).duration_s, abs=1e-9)


@pytest.mark.parametrize("first", [1, 777, 90_000])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_a_late_start_stays_late(tmp_path: Path, suffix: str, first: int) -> None:
    base = {".ts": Fraction(1, 90_000), ".mkv": Fraction(1, 1000)}.get(suffix, Fraction(1, 12_800))
    offset = 90_000 if suffix == ".ts" else 0
    options = {"mpegts_copyts": "1"} if suffix == ".ts" else None
    times = [offset + first + 512 * k for k in range(12)]
    source = write_clip(
        tmp_path / f"in{suffix}",
        pts=times,
        time_base=base,
        container_options=options or ({"movie_timescale": "12800"} if suffix == ".mp4" else None),
        extras=Extras(audio=[Audio()]) if suffix == ".mp4" else None,
    )
    reencode(source, tmp_path / f"out{suffix}")
    made = probe(tmp_path / f"out{suffix}")
    assert [t * made.time_base for t in made.pts] == [t * base for t in times]


def test_times_below_zero_are_lifted_together_and_said(tmp_path: Path) -> None:
    source = write_clip(
        tmp_path / "in.ivf",
        pts=range(-5, 5),
        time_base=Fraction(1, 25),
        codec="libvpx-vp9",
        options={"cpu-used": "8", "deadline": "realtime", "lag-in-frames": "0"},
        container_options={"avoid_negative_ts": "disabled"},
    )
    lost = reencode(source, tmp_path / "out.mp4", FAST)
    assert lost == ("times below zero, which mp4 cannot hold: all are 0.200 s later",)
    made = probe(tmp_path / "out.mp4")
    assert [t * made.time_base * 25 for t in made.pts] == list(range(10))


EVERYTHING = Extras(
    audio=[Audio("deu"), Audio("eng", hertz=880)],
    subtitles=[Subtitle([(0.2, 0.9, "Guten Tag"), (1.2, 1.5, "Auf Wiedersehen")], "deu")],
    chapters=[Chapter(0, 0.8, "eins"), Chapter(0.8, 1.6, "zwei")],
    metadata={"title": "Ein Film", "comment": "von Hand"},
)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_everything_beside_the_picture_is_kept(tmp_path: Path, suffix: str) -> None:
    extras = EVERYTHING
    if suffix == ".mkv":
        extras = replace(
            extras,
            metadata={**extras.metadata, "where": "here"},
            attachments=[("font.ttf", "font/ttf", bytes(range(200)))],
            second_video=(64, 48),
        )
    source = write_clip(
        tmp_path / f"in{suffix}",
        frames=40,
        extras=replace(extras, cover=suffix != ".mov"),
        rotation=90,
        sample_aspect=Fraction(4, 3),
        colour={"matrix": "smpte170m", "range": "tv", "primaries": "smpte170m", "transfer": "smpte170m"},
        time_base=Fraction(1, 1000) if suffix == ".mkv" else Fraction(1, 12_800),
    )
    output = tmp_path / f"out{suffix}"
    settings = EncodeSettings(preset="ultrafast", metadata={"description": "faces are guesses"})
    lost = reencode(source, output, settings)
    conservation = kept(source, output, settings)
    assert conservation.broken == ()
    assert packets_of(source, "audio") == packets_of(output, "audio")
    names = {item.name for item in conservation.items}
    assert {
        "times",
        "chapters",
        "rotation",
        "audio stream 1",
        "audio stream 2",
        "subtitle stream 3",
        "tag title",
    } <= names
    assert suffix == ".mkv" or lost == ()
    with av.open(str(output)) as container:
        got = {key.lower(): value for key, value in container.metadata.items()}
    assert got["description"] == "faces are guesses"
    assert got["title"] == "Ein Film"


@pytest.mark.parametrize("codec", ["aac", "ac3", "libmp3lame", "pcm_s16le"])
@pytest.mark.parametrize("suffix", [".avi", ".mkv", ".mov", ".ts"])
def test_audio_of_any_codec_keeps_its_times(tmp_path: Path, codec: str, suffix: str) -> None:
    if (codec, suffix) == ("pcm_s16le", ".ts"):
        pytest.skip("MPEG-TS has no plain PCM")
    extras = Extras(audio=[Audio(codec=codec, start_s=2.0 if suffix == ".ts" else 0.0)])
    times = range(50, 75) if suffix == ".ts" else range(25)
    copyts = {"mpegts_copyts": "1"} if suffix == ".ts" else None
    source = write_clip(
        tmp_path / f"in{suffix}",
        pts=times,
        time_base=Fraction(1, 25),
        extras=extras,
        container_options=copyts,
    )
    output = tmp_path / f"out{suffix}"
    assert reencode(source, output) == ()
    assert kept(source, output).broken == ()


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
@pytest.mark.parametrize(("frames", "start"), [(1, None), (2, None), (3, None), (30, None), (30, 400)])
def test_a_second_video_with_reordered_frames_is_carried(
    tmp_path: Path, suffix: str, frames: int, start: int | None
) -> None:
    """Matroska tells no decoding time of its first packets."""
    source = write_clip(
        tmp_path / "in.mkv",
        frames=frames,
        time_base=Fraction(1, 1000),
        extras=Extras(second_video=(64, 48), second_codec="libx264"),
    )
    assert any(dts is None for dts in _decoding_times(source, 1)) or frames == 1
    output = tmp_path / f"out{suffix}"
    cut = {} if start is None else {"start_pts": start}
    reencode(source, output, FAST, **cut)
    assert [item.name for item in kept(source, output, FAST, **cut).broken if "stream" in item.name] == []
    times = [dts for dts in _decoding_times(output, 1) if dts is not None]
    assert times == sorted(set(times))


def _decoding_times(path: Path, index: int) -> list[int | None]:
    with av.open(str(path)) as container:
        return [packet.dts for packet in container.demux(container.streams[index]) if packet.size]


@pytest.mark.parametrize("first", [0, 1, 2, 3])
@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_mpegts_begins_when_its_source_does(tmp_path: Path, first: int, codec: str) -> None:
    """It cannot begin below 0, so frames are not reordered where their decoding would begin there."""
    times = [3600 * (first + k) for k in range(8)]
    source = write_clip(
        tmp_path / "in.ts",
        pts=times,
        time_base=Fraction(1, 90_000),
        container_options={"mpegts_copyts": "1"},
    )
    assert list(probe(source).pts) == times
    output = tmp_path / "out.ts"
    assert reencode(source, output, EncodeSettings(codec=codec)) == ()
    assert kept(source, output).broken == ()


@pytest.mark.parametrize("codec", ["pcm_s16le", "libmp3lame"])
@pytest.mark.parametrize("b_frames", [0, 2])
def test_avi_stays_in_sync(tmp_path: Path, codec: str, b_frames: int) -> None:
    """AVI tells decoding times only. They are those of showing, as no frame is reordered; of H.264 a reader
    that wants presentation times guesses otherwise, which is named."""
    source = write_clip(
        tmp_path / "in.avi",
        codec="mpeg4",
        options={"bf": str(b_frames)},
        time_base=Fraction(1, 25),
        extras=Extras(audio=[Audio(codec=codec)]),
    )
    output = tmp_path / "out.avi"
    *late, lost = reencode(source, output, EncodeSettings())
    assert "guess the times of h264" in lost
    assert ["from 0 on" in sentence for sentence in late] == [True] * (b_frames > 0)
    assert [i.name for i in kept(source, output).broken] == ["times"] * (b_frames > 0)
    assert _decoding_times(output, 0)[1:] == list(probe(source).pts)[1:]
    assert packets_of(source, "audio") == packets_of(output, "audio")
    assert [number_in(frame.planes[0].numpy()) for frame in frames_of(output)] == list(range(10))


@pytest.mark.parametrize("before", [".mp4", ".mkv", ".ts", ".nut", ".flv"])
@pytest.mark.parametrize(
    "after", [".mp4", ".m4v", ".3gp", ".f4v", ".mov", ".mkv", ".ts", ".nut", ".flv", ".avi", ".wmv", ".mpg"]
)
def test_from_container_to_container(tmp_path: Path, before: str, after: str) -> None:
    """Times and sound are kept, or it is said that they are not."""
    source = write_clip(tmp_path / f"in{before}", frames=12, extras=Extras(audio=[Audio(), Audio()]))
    output = tmp_path / f"out{after}"
    lost = reencode(source, output)
    broken = {item.name for item in kept(source, output).broken}
    assert "frames" not in broken
    if not lost:
        assert not broken & {"times", "audio stream 1", "audio stream 2"}
    assert [number_in(frame.planes[0].numpy()) for frame in frames_of(output)] == list(range(12))


@pytest.mark.parametrize(
    ("pix_fmt", "codec", "suffix", "encoder"),
    [
        ("yuv420p", "ffv1", ".ts", "libx264 yuv420p"),
        ("yuv420p", "libvpx-vp9", ".mpg", "mpeg2video yuv420p"),
        ("yuv420p", "libvpx-vp9", ".mov", "libx264 yuv420p"),
    ],
)
def test_what_a_container_cannot_hold_becomes_what_it_can(
    tmp_path: Path, pix_fmt: str, codec: str, suffix: str, encoder: str
) -> None:
    """MPEG systems take any codec without a word, and MOV refuses VP9 as late as in the header."""
    source = write_clip(tmp_path / "in.mkv", frames=8, pix_fmt=pix_fmt, codec=codec)
    output = tmp_path / f"out{suffix}"
    with open_decoder(source) as decoder, PyAVEncoder(decoder.source, output) as made:
        assert made.encoder == encoder
        for frame in decoder.frames():
            made.write(frame)
        made.finish()
    assert len(frames_of(output)) == 8


@pytest.mark.parametrize("rate", [25, 30])
def test_asf_keeps_times_within_its_millisecond(tmp_path: Path, rate: int) -> None:
    """Without times of showing either: frames that were reordered came back shuffled."""
    source = write_clip(tmp_path / "in.mp4", frames=30, rate=Fraction(rate))
    output = tmp_path / "out.wmv"
    lost = reencode(source, output, EncodeSettings())
    assert any("readers that guess" in sentence for sentence in lost)
    assert any("counts 1/1000 s" in sentence for sentence in lost) == (rate == 30)
    frames = frames_of(output)
    assert [number_in(frame.planes[0].numpy()) for frame in frames] == list(range(30))
    for number, frame in enumerate(frames):
        assert float((frame.pts - frames[0].pts) * frame.time_base) == pytest.approx(number / rate, abs=1e-3)


@pytest.mark.parametrize("pix_fmt", ["yuv420p10le", "yuv444p12le"])
@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("cut", [False, True])
def test_hevc_of_a_few_frames(tmp_path: Path, frames: int, pix_fmt: str, cut: bool) -> None:
    """Fewer than x265 reorders: it gave decoding times that it had never set, now and then."""
    source = write_clip(tmp_path / "in.nut", frames=8 if cut else frames, pix_fmt=pix_fmt, codec="ffv1")
    pts = probe(source).pts
    span: dict[str, int | None] = {"start_pts": pts[1], "end_pts": pts[1 + frames]} if cut else {}
    settings = EncodeSettings(codec="libx265", preset="ultrafast")
    for turn in range(3):
        output = tmp_path / f"out{turn}.mov"
        assert reencode(source, output, settings, **span) == ()
        assert kept(source, output, settings, **span).broken == ()


@pytest.mark.parametrize("cut", [False, True])
def test_nut_with_sound_that_begins_before_zero(tmp_path: Path, cut: bool) -> None:
    """AAC's priming in MP4 has times below 0, which NUT refuses."""
    source = write_clip(tmp_path / "in.mp4", frames=30, extras=Extras(audio=[Audio()]))
    assert packets_of(source, "audio")[0][0][0] < 0
    output = tmp_path / "out.nut"
    span = {"start_pts": probe(source).pts[10]} if cut else {}
    lost = reencode(source, output, **span)
    assert ["later" in sentence for sentence in lost] == ([] if cut else [True])
    (before,), (after,) = packets_of(source, "audio"), packets_of(output, "audio")
    frames = frames_of(output)
    if not cut:
        assert [data for _, data in after] == [data for _, data in before]
        late = frames[0].pts * frames[0].time_base
        assert 0 < late < Fraction(1, 5)
        assert max(abs(b[0] - a[0] - late) for a, b in zip(before, after, strict=True)) < Fraction(1, 1000)
    assert len(frames) == (20 if cut else 30)


def test_tags_that_mp4_has_no_name_for_are_kept_too(tmp_path: Path) -> None:
    metadata = {"title": "T", "com.example.camera": "X-1"}
    source = write_clip(
        tmp_path / "in.mp4",
        extras=Extras(metadata=metadata),
        container_options={"movflags": "+use_metadata_tags"},
    )
    reencode(source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert {key: container.metadata.get(key) for key in metadata} == metadata


def test_audio_can_be_dropped(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", extras=EVERYTHING)
    settings = EncodeSettings(preset="ultrafast", audio="drop")
    reencode(source, tmp_path / "out.mp4", settings)
    assert packets_of(tmp_path / "out.mp4", "audio") == []
    assert kept(source, tmp_path / "out.mp4", settings).broken == ()


def test_what_a_container_cannot_carry_is_said(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", extras=EVERYTHING)
    lost = reencode(source, tmp_path / "out.webm", EncodeSettings(preset="8"))
    text = "\n".join(lost)
    assert "webm takes no aac: audio stream 1 becomes opus" in text
    assert "webm cannot carry subtitle stream 3 (mov_text)" in text
    assert "counts" not in text, "of 25 frames/s each time is a whole millisecond"
    found = {item.name: item.state for item in kept(source, tmp_path / "out.webm").items}
    assert (found["audio stream 1"], found["subtitle stream 3"]) == ("replaced", "lost")


def test_a_stream_of_unknown_codec_is_said_and_the_rest_goes_on(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mov", extras=Extras(audio=[Audio(), Audio(codec="pcm_s16le")]))
    source.write_bytes(source.read_bytes().replace(b"sowt", b"zzz9"))
    lost = reencode(source, tmp_path / "out.mov")
    assert len(lost) == 1
    assert "cannot carry audio stream 2 (unknown codec)" in lost[0]
    assert [item.name for item in kept(source, tmp_path / "out.mov").broken] == ["audio stream 2"]


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "av1", "ffv1"])
def test_one_preset_is_good_for_every_codec(tmp_path: Path, codec: str) -> None:
    source = write_clip(tmp_path / "in.mkv", frames=3, time_base=Fraction(1, 1000))
    output = tmp_path / "out.mkv"
    assert reencode(source, output, EncodeSettings(codec=codec, preset="ultrafast")) == ()
    assert len(frames_of(output)) == 3


def test_a_changed_packet_is_noticed(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mkv", extras=Extras(audio=[Audio(codec="pcm_s16le")]))
    output = tmp_path / "out.mkv"
    reencode(source, output)
    content = bytearray(output.read_bytes())
    sound = packets_of(source, "audio")[0][3][1]
    at = content.find(sound)
    content[at + 100] ^= 1
    output.write_bytes(content)
    assert [item.name for item in kept(source, output).broken] == ["audio stream 1"]


@pytest.mark.parametrize("order", [2, 3])
def test_interlaced_stays_interlaced(tmp_path: Path, order: int) -> None:
    options = {"preset": "ultrafast", "x264-params": {2: "tff=1", 3: "bff=1"}[order]}
    source = write_clip(tmp_path / "in.mp4", options=options, field_order=order)
    assert reencode(source, tmp_path / "out.mp4") == ()
    assert open_source(tmp_path / "out.mp4").tags.field_order == order
    assert kept(source, tmp_path / "out.mp4").broken == ()


def test_ten_bits_hdr_and_chroma_location_are_kept(tmp_path: Path) -> None:
    master = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    options = {
        "preset": "ultrafast",
        "x265-params": f"log-level=none:master-display={master}:max-cll=1000,400",
        "chroma_sample_location": "topleft",
    }
    colour = {"matrix": "bt2020nc", "range": "tv", "primaries": "bt2020", "transfer": "smpte2084"}
    source = write_clip(
        tmp_path / "in.mp4", codec="libx265", pix_fmt="yuv420p10le", options=options, colour=colour
    )
    for codec in ("auto", "libx264"):
        output = tmp_path / f"{codec}.mp4"
        assert reencode(source, output, EncodeSettings(codec=codec, preset="ultrafast")) == ()
        assert kept(source, output).broken == ()
        before, after = open_source(source).tags, open_source(output).tags
        assert after.mastering_display == before.mastering_display is not None
        assert after.content_light == before.content_light == (1000, 400)
        with av.open(str(output)) as container:
            assert chroma_place(container, 0) == "topleft"


@pytest.mark.parametrize("size", [(161, 97), (1, 1), (2, 3), (33, 2)])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_odd_sizes_keep_their_size(tmp_path: Path, size: tuple[int, int], suffix: str) -> None:
    source = write_clip(
        tmp_path / "in.nut",
        frames=3,
        codec="rawvideo",
        pix_fmt="yuv420p",
        width=size[0],
        height=size[1],
        options={},
    )
    output = tmp_path / f"out{suffix}"
    reencode(source, output, EncodeSettings(codec="libx264", crf=0, preset="ultrafast"))
    made = frames_of(output)
    assert [tuple(f.planes[0].shape) for f in made] == [(size[1], size[0])] * 3
    for a, b in zip(frames_of(source), made, strict=True):
        assert torch.equal(a.planes[0], b.planes[0])
        rows, columns = a.planes[1].shape
        step_y = -(-b.planes[1].shape[0] // rows)
        step_x = -(-b.planes[1].shape[1] // columns)
        assert torch.equal(a.planes[1], b.planes[1][::step_y, ::step_x])


@pytest.mark.parametrize(("start", "end"), [(None, 20_000), (10_000, None), (10_000, 20_000)])
def test_a_cut_keeps_what_lies_in_it(tmp_path: Path, start: int | None, end: int | None) -> None:
    source = write_clip(tmp_path / "in.mp4", frames=60, extras=Extras(audio=[Audio()]))
    output = tmp_path / "out.mp4"
    cut = {"start_pts": start, "end_pts": end}
    reencode(source, output, FAST, **cut)
    pts = [t for t in probe(source).pts if (start is None or t >= start) and (end is None or t < end)]
    made = probe(output)
    shift = pts[0] if start is not None else 0
    assert [t * made.time_base for t in made.pts] == [(t - shift) * Fraction(1, 12_800) for t in pts]
    assert kept(source, output, FAST, **cut).broken == ()
    sound = packets_of(output, "audio")[0]
    low = Fraction(pts[0], 12_800)
    high = Fraction(end, 12_800) if end else Fraction(100)
    want = [
        data
        for time, data in packets_of(source, "audio")[0]
        if (start is None or time >= low) and time < high
    ]
    assert [data for _, data in sound] == want


def test_packets_are_interleaved_so_that_a_player_can_start(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mkv", frames=200, extras=Extras(audio=[Audio()]))
    output = tmp_path / "out.mkv"
    reencode(source, output, EncodeSettings(preset="medium"))
    clocks = {"video": 0.0, "audio": 0.0}
    with av.open(str(output)) as container:
        for packet in container.demux():
            if packet.size and packet.dts is not None:
                clocks[packet.stream.type] = float(packet.dts * packet.time_base)
                assert abs(clocks["video"] - clocks["audio"]) < 1.0


@pytest.mark.parametrize("late", [Audio(start_s=7.0, seconds=0.5), Audio(seconds=0.0), Audio(seconds=20.0)])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_streams_that_begin_late_or_are_empty_or_long(tmp_path: Path, late: Audio, suffix: str) -> None:
    extras = Extras(audio=[late], subtitles=[Subtitle([(7.5, 7.9, "spät")])])
    source = write_clip(tmp_path / f"in{suffix}", frames=200, width=48, height=32, extras=extras)
    output = tmp_path / f"out{suffix}"
    reencode(source, output)
    assert [[d for _, d in s] for s in packets_of(source, "audio") if s] == [
        [d for _, d in s] for s in packets_of(output, "audio") if s
    ]
    assert len(probe(output).pts) == 200


def test_frames_must_ascend(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4")
    with open_decoder(source) as decoder, PyAVEncoder(decoder.source, tmp_path / "out.mp4", FAST) as encoder:
        frames: Iterator[Frame] = decoder.frames()
        first = next(frames)
        encoder.write(first)
        with pytest.raises(ValueError, match="ascend"):
            encoder.write(first)
    assert not (tmp_path / "out.mp4").exists()


def test_a_target_format_is_one_the_encoder_has() -> None:
    target = choose_format("libx264", "yuv420p", 64, 64)
    assert target == Target("yuv420p", (), ())
    odd = choose_format("libx264", "yuv420p", 65, 64)
    assert odd is not None
    assert odd.pix_fmt == "yuv444p"
    assert "chroma is repeated" in odd.notes[0]


CLIPS = SHARED / "data" / "videos" / "test"


@pytest.mark.shared
@pytest.mark.skipif(not CLIPS.is_dir(), reason="the private clips are not beside the checkout")
def test_clips_from_the_wild_keep_everything(tmp_path: Path) -> None:
    clips = sorted(CLIPS.glob("*.mp4"))
    assert clips
    for source in clips:
        info = probe(source)
        end = info.pts[min(10, len(info.pts) - 1)]
        output = tmp_path / source.name
        reencode(source, output, FAST, end_pts=end)
        assert kept(source, output, FAST, end_pts=end).broken == ()
