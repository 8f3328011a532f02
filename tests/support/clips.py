"""Test clips, made in-process. Every frame carries its number in the picture.

`write_clip` makes a file out of what a test cares about and leaves the rest plain: one call, keyword
arguments, no state. Pictures are a function of (index, size, format), so a test knows what must come
back without keeping it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.video.stream import VideoStream
from numpy.typing import NDArray

from pipeline.decode.field_order import INTERLACED_ORDERS, field_marker

if TYPE_CHECKING:
    from av.container.core import Chapter as AvChapter  # in its stubs alone

Planes = list[NDArray[Any]]
Picture = Callable[[int, int, int, str], Planes]

NUMBER_BITS = 12
AUDIO_RATE = 48_000
_COLOUR_OPTIONS = {
    "matrix": "colorspace",
    "range": "color_range",
    "primaries": "color_primaries",
    "transfer": "color_trc",
}


@dataclass(frozen=True)
class Audio:
    """A sine tone. ``start_s`` and ``seconds`` (default: the length of the video) place it."""

    language: str = "und"
    codec: str = "aac"
    hertz: float = 440.0
    start_s: float = 0.0
    seconds: float | None = None
    rise: float = 0.0
    """Hertz per second: a tone that rises tells when it was."""
    layout: str = "mono"
    """The tone is in each channel."""


@dataclass(frozen=True)
class Subtitle:
    """Lines of text as (start in s, end in s, text)."""

    lines: Sequence[tuple[float, float, str]]
    language: str = "und"


@dataclass(frozen=True)
class Chapter:
    start_s: float
    end_s: float
    title: str


@dataclass(frozen=True)
class Extras:
    """Streams and tags beside the video."""

    audio: Sequence[Audio] = ()
    subtitles: Sequence[Subtitle] = ()
    chapters: Sequence[Chapter] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    stream_metadata: Mapping[str, str] = field(default_factory=dict)
    attachments: Sequence[tuple[str, str, bytes]] = ()
    """(file name, mime type, content); Matroska only"""
    cover: bool = False
    """An attached picture (PNG), as in podcasts and films from shops."""
    second_video: tuple[int, int] | None = None
    """Width and height in px of a second video stream (same frames)."""
    second_codec: str = "ffv1"
    """Its encoder, with the encoder's own defaults."""


def picture(index: int, width: int, height: int, pix_fmt: str) -> Planes:
    """Planes of frame ``index`` in the storage order of a planar format: moving gradients and its number.

    Little-endian formats above 8 bits come as uint16. Deterministic, different on every frame.
    """
    fmt = av.VideoFormat(pix_fmt, width, height)
    planes: Planes = []
    for plane, component in sorted({c.plane: c for c in fmt.components}.items()):
        w, h, bits = component.width, component.height, component.bits
        top = (1 << bits) - 1
        y, x = np.mgrid[0:h, 0:w].astype(np.int64)
        values = (
            x * (3 + plane) + y * (5 - plane) + index * (7 + 2 * plane) + ((x // 8 + y // 8) % 2) * 40
        ) % 256
        values = values * top // 255
        if bits > 8:
            values = values // 4 * 4 + (x + y + index) % 4
        planes.append(values.astype(np.uint16 if bits > 8 else np.uint8))
    _write_number(planes[0], index, top=(1 << fmt.components[0].bits) - 1)
    return planes


def _number_cells(width: int, height: int) -> tuple[int, int] | None:
    """Width and height in px of a digit's cell; None in a picture too small to carry a number."""
    cell = width // NUMBER_BITS
    return (cell, min(2 * cell, height // 2)) if cell >= 2 and height >= 4 else None


def _write_number(luma: NDArray[Any], index: int, top: int) -> None:
    cells = _number_cells(luma.shape[1], luma.shape[0])
    if cells is None:
        return
    for bit in range(NUMBER_BITS):
        value = top * 9 // 10 if index >> bit & 1 else top // 10
        luma[: cells[1], bit * cells[0] : (bit + 1) * cells[0]] = value


def number_in(luma: NDArray[Any], bits: int = 8) -> int:
    """The number that a frame's luma (or gray, or first stored) plane carries; lossy coding is fine."""
    cells = _number_cells(luma.shape[1], luma.shape[0])
    if cells is None:
        raise ValueError(f"a picture of {luma.shape[1]}x{luma.shape[0]} px carries no number")
    middle = (1 << bits) / 2
    means = [luma[: cells[1], k * cells[0] : (k + 1) * cells[0]].mean() for k in range(NUMBER_BITS)]
    return sum(1 << k for k, mean in enumerate(means) if mean > middle)


def video_frame(planes: Planes, width: int, height: int, pix_fmt: str) -> av.VideoFrame:
    """Stored planes as a frame of PyAV."""
    frame = av.VideoFrame(width, height, pix_fmt)
    for plane, values in zip(frame.planes, planes, strict=True):
        rows = np.ascontiguousarray(values).view(np.uint8).reshape(values.shape[0], -1)
        padded = np.zeros((values.shape[0], plane.line_size), np.uint8)
        padded[:, : rows.shape[1]] = rows
        plane.update(padded.tobytes().ljust(plane.buffer_size, b"\0")[: plane.buffer_size])
    return frame


def write_clip(
    path: Path,
    *,
    frames: int = 10,
    width: int = 160,
    height: int = 96,
    pix_fmt: str = "yuv420p",
    codec: str = "libx264",
    options: Mapping[str, str] | None = None,
    pts: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 12800),
    rate: Fraction = Fraction(25),
    colour: Mapping[str, str] | None = None,
    sample_aspect: Fraction | None = None,
    rotation: int = 0,
    field_order: int = 0,
    extras: Extras | None = None,
    draw: Picture = picture,
    container_options: Mapping[str, str] | None = None,
    format: str | None = None,
) -> Path:
    """Write a clip; the container follows from the name. Returns ``path``.

    ``pts`` in units of ``time_base`` default to a constant rate. ``colour`` takes FFmpeg's names for
    matrix, range, primaries and transfer. ``rotation`` is counter-clockwise in degrees. ``field_order``
    is FFmpeg's number (2 top first, 3 bottom first). ``options`` go to the encoder; without any, x264 runs at
    preset ultrafast.
    """
    extras = extras or Extras()
    times = list(pts) if pts is not None else [round(k / rate / time_base) for k in range(frames)]
    out = av.open(str(path), "w", format=format, container_options=dict(container_options or {}))
    with out:
        out.metadata.update(extras.metadata)
        video = cast(VideoStream, out.add_stream(codec, rate=rate))
        video.width, video.height, video.pix_fmt = width, height, pix_fmt
        video.codec_context.time_base = video.time_base = time_base
        video.codec_context.thread_count = 1
        video.metadata.update(extras.stream_metadata)
        video.options = dict(
            {"preset": "ultrafast"} if options is None and codec == "libx264" else options or {}
        )
        video.options |= {_COLOUR_OPTIONS[name]: value for name, value in (colour or {}).items()}
        if sample_aspect is not None:
            video.codec_context.sample_aspect_ratio = sample_aspect
        if rotation:
            video.set_display_rotation(rotation)
        if field_order:
            video.codec_context.field_order = field_order
        seconds = float((times[-1] + 1) * time_base) if times else 0.0
        packets: list[av.Packet[Any]] = []
        for track in extras.audio:
            packets += _audio(out, track, seconds)
        for subtitle in extras.subtitles:
            packets += _subtitles(out, subtitle, "mov_text" if path.suffix in {".mp4", ".mov"} else "subrip")
        for name, mime, data in extras.attachments:
            out.add_attachment(name, mime, data)
        if extras.cover and path.suffix == ".mkv":  # Matroska keeps covers as attachments
            out.add_attachment("cover.png", "image/png", _cover_png())
        elif extras.cover:
            packets += _cover(out)
        if extras.chapters:
            out.set_chapters([_chapter(k, chapter) for k, chapter in enumerate(extras.chapters)])
        if extras.second_video:
            second = cast(VideoStream, out.add_stream(extras.second_codec, rate=rate))
            second.width, second.height = extras.second_video
            second.codec_context.time_base = second.time_base = time_base
            packets += _video(second, times, draw)
        packets += _video(video, times, draw, field_order)
        if not packets:  # a file with a stream and no frame in it
            out.start_encoding()
        # The muxer interleaves, but holds back no more than it is given in order.
        for packet in sorted(packets, key=lambda p: (p.dts or 0) * p.time_base):
            out.mux(packet)
    return path


def _video(stream: Any, times: Iterable[int], draw: Picture, order: int = 0) -> list[av.Packet[Any]]:
    context = stream.codec_context
    packets = []
    for index, time in enumerate(times):
        planes = draw(index, context.width, context.height, context.pix_fmt)
        frame = video_frame(planes, context.width, context.height, context.pix_fmt)
        frame.pts, frame.time_base = time, context.time_base
        if order in INTERLACED_ORDERS:
            frame = field_marker(order, frame)(frame) or frame
        packets += stream.encode(frame)
    return packets + list(stream.encode())


def _audio(out: Any, track: Audio, seconds: float) -> list[av.Packet[Any]]:
    stream = out.add_stream(track.codec, rate=AUDIO_RATE)
    stream.codec_context.layout = track.layout
    if track.codec.startswith("wma"):  # it has no usual rate
        stream.bit_rate = 128_000
    if track.codec == "vorbis":  # FFmpeg's own, which it does not trust
        stream.codec_context.options = {"strict": "experimental"}
    stream.metadata["language"] = track.language
    count = round(AUDIO_RATE * (seconds if track.seconds is None else track.seconds))
    tone = tone_of(track, count)
    resampler = AudioResampler(format=stream.codec_context.format.name, layout=track.layout, rate=AUDIO_RATE)
    packets = []
    for first in range(0, count, 1024):
        part = np.repeat(tone[None, first : first + 1024], stream.codec_context.layout.nb_channels, axis=0)
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=track.layout)
        frame.sample_rate, frame.time_base = AUDIO_RATE, Fraction(1, AUDIO_RATE)
        frame.pts = first + round(track.start_s * AUDIO_RATE)
        for converted in resampler.resample(frame):
            packets += stream.encode(converted)
    return packets + list(stream.encode())


def tone_of(track: Audio, count: int) -> NDArray[np.float32]:
    """The samples that a track is made of, from -1 to 1."""
    time_s = np.arange(count) / AUDIO_RATE
    turns = track.hertz * time_s + track.rise / 2 * time_s**2
    return np.sin(2 * np.pi * turns).astype(np.float32) * np.float32(0.3)


def _subtitles(out: Any, subtitle: Subtitle, codec: str) -> list[av.Packet[Any]]:
    stream = out.add_mux_stream(codec)
    stream.time_base = Fraction(1, 1000)
    stream.metadata["language"] = subtitle.language
    packets = []
    for start, end, text in subtitle.lines:
        data = text.encode()
        packet = av.Packet(struct.pack(">H", len(data)) + data if codec == "mov_text" else data)
        packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 1000), True
        packet.pts = packet.dts = round(start * 1000)
        packet.duration = round((end - start) * 1000)
        packets.append(packet)
    return packets


def _cover_png() -> bytes:
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt = 32, 32, "rgb24"
    encoder.time_base = Fraction(1, 90000)
    frame = video_frame([np.full((32, 96), 77, np.uint8)], 32, 32, "rgb24")
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode()])


def _cover(out: Any) -> list[av.Packet[Any]]:
    stream = out.add_mux_stream("png", width=32, height=32)
    stream.time_base = Fraction(1, 90000)
    stream.disposition = av.stream.Disposition.attached_pic
    packet = av.Packet(_cover_png())
    packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 90000), True
    packet.pts = packet.dts = 0
    return [packet]


def _chapter(index: int, chapter: Chapter) -> AvChapter:
    return {
        "id": index + 1,
        "start": round(chapter.start_s * 1000),
        "end": round(chapter.end_s * 1000),
        "time_base": Fraction(1, 1000),
        "metadata": {"title": chapter.title},
    }
