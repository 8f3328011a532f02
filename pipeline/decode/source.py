"""A video file as it is before anything runs: looked at once, in one pass over its packets."""

from __future__ import annotations

import logging
import math
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.sidedata.sidedata import Type
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.decode.clock import may_restart
from pipeline.decode.color_tags import colour_of
from pipeline.decode.ending import may_break_off, whole_until
from pipeline.decode.field_order import INTERLACED_ORDERS, order_shown
from pipeline.decode.frame_data import held_data
from pipeline.decode.open import choose_stream, open_decoder_context, open_input
from pipeline.decode.packet_index import PacketIndex, index_packets, packets_of
from pipeline.decode.planes import bit_depth, packing
from pipeline.decode.side_data import description, side_data
from pipeline.errors import InputError
from pipeline.notes import warned
from pipeline.types import StreamInfo

log = logging.getLogger(__name__)

_PATIENCE = 300
"""Packets that are tried for a first picture: ten seconds of an open group of pictures."""
_PICTURE_DATA = (Type.MASTERING_DISPLAY_METADATA, Type.CONTENT_LIGHT_LEVEL)


@dataclass(frozen=True, slots=True)
class PictureTags:
    """Tags of the first picture that no stage reads: the encoder writes them to the output."""

    display_matrix: tuple[int, ...] | None
    """Nine numbers of FFmpeg's AV_PKT_DATA_DISPLAYMATRIX."""
    mastering_display: bytes | None
    """AVMasteringDisplayMetadata as it lies in memory."""
    content_light: tuple[int, int] | None
    """Maximum and frame-average light level in cd/m2."""
    field_order: int
    """AVFieldOrder as the first picture says it, else the container; see INTERLACED_ORDERS."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file, and the one video stream of it that is processed."""

    info: StreamInfo
    packets: PacketIndex
    tags: PictureTags
    metadata: Mapping[str, str]
    """The container's tags."""
    video_streams: int
    """Video streams in the file, attached pictures included."""
    side_data: Mapping[str, str]
    """What the container says of the stream beside its codec, by FFmpeg's names; see ``side_data``."""

    noticed: list[str]
    """What is missing at the end; while the pictures are decoded, what changes among them and no output can
    follow."""
    stamp: tuple[int, int]
    """Size of the file in bytes and time of its last change, as it was opened."""

    @property
    def path(self) -> Path:
        return self.info.path

    def check_unchanged(self) -> None:
        """Raises InputError where the file has grown or changed since it was opened."""
        if _stamp(self.path) != self.stamp:
            raise InputError(
                f"{self.path} has changed while it was read; wait until it is complete, or copy it first"
            )


def probe(path: Path, stream: int | None = None) -> StreamInfo:
    """``open_source(path, stream).info``."""
    return open_source(path, stream).info


def open_source(path: Path, stream: int | None = None) -> Source:
    """Reads all packets of the stream that would be processed, and decodes its first picture.

    ``stream`` is an index over streams of all kinds. Without it the default video stream is taken, else the
    largest; attached pictures never. The file is closed again. Raises InputError.
    """
    stamp = _stamp(path)
    with open_input(path) as container:
        video = choose_stream(container, path, stream)
        if video.time_base is None:
            raise InputError(f"{path}: stream {video.index} states no unit of time; remux it first")
        first = _FirstPicture(video, path)
        packets = index_packets(first.watch(packets_of(container, video)), container, video, path)
        if packets.breaks_off:
            warned(log, "%s is damaged or cut off: %s", path.name, packets.breaks_off)
        frame = first.picture()
        packets = _decodable(packets.shown_with(frame.dts), frame, video, path)
        noticed: list[str] = []
        if may_break_off(container, packets):
            packets = _without_broken_end(packets, video, path, noticed)
        return Source(
            info=_stream_info(container, video, frame, packets, path),
            packets=packets,
            tags=_picture_tags(frame, video.codec_context),
            metadata=dict(container.metadata),
            video_streams=len(container.streams.video),
            noticed=noticed,
            stamp=stamp,
            side_data=side_data(description(container), video.index),
        )


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:  # the caller says what is wrong, where it opens the file
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _decodable(packets: PacketIndex, first: VideoFrame, video: VideoStream, path: Path) -> PacketIndex:
    """The index without the frames at its beginning that nothing can be decoded from, which is said."""
    count, left_out = len(packets.pts), packets.headless
    if not packets.derived and first.pts is not None and packets.pts[0] < first.pts <= packets.pts[-1]:
        packets = packets.without(first.pts)
        left_out += count - len(packets.pts)
    if left_out:
        assert video.time_base is not None
        begin = float(packets.pts[0] * video.time_base)
        warned(
            log,
            "%s begins with %d pictures that cannot be decoded, because they refer to a picture before the "
            "file's beginning; they are left out, and times count from the first whole one, at %.3f s of the "
            "file's clock",
            *(path.name, left_out, begin),
        )
    return packets


def _without_broken_end(
    packets: PacketIndex, video: VideoStream, path: Path, noticed: list[str]
) -> PacketIndex:
    """The index without a picture at the end of which a part is missing, which is said and ``noticed``."""
    end = whole_until(path, video.index, packets)
    if end is None or end <= packets.pts[0]:
        return packets
    left_out = int((packets.pts >= end).sum())
    time_s = float((end - packets.pts[0]) * (video.time_base or 1))
    what = "frame is" if left_out == 1 else "frames are"
    sentence = f"the file breaks off in a picture: {left_out} {what} left out, from {time_s:.3f} s on"
    noticed.append(sentence)
    warned(log, "%s: %s", path.name, sentence)
    return packets.until(end)


def same_stream(container: InputContainer, source: Source) -> VideoStream:
    """The stream of ``source`` in a container that was opened anew."""
    stream = container.streams[source.info.stream_index]
    assert isinstance(stream, VideoStream)
    return stream


def first_picture(source: Source) -> VideoFrame:
    """The first picture of the stream that can be decoded, as FFmpeg gives it. Raises InputError."""
    with open_input(source.path) as container:
        stream = same_stream(container, source)
        first = _FirstPicture(stream, source.path)
        for _ in first.watch(container.demux(stream)):
            if first.found:
                break
        return first.picture()


def _stream_info(
    container: InputContainer, video: VideoStream, frame: VideoFrame, packets: PacketIndex, path: Path
) -> StreamInfo:
    context, time_base, pix_fmt = video.codec_context, video.time_base, frame.format.name
    assert time_base is not None
    rate = _rate(video, packets)
    rotation, mirrored = _orientation(frame, path)
    duration = int(packets.pts[-1] - packets.pts[0]) + packets.last_duration
    return StreamInfo(
        path=path,
        stream_index=video.index,
        codec=context.name,
        width=frame.width,
        height=frame.height,
        rotation=rotation,
        mirrored=mirrored,
        sample_aspect=_sample_aspect(container, video),
        pix_fmt=pix_fmt,
        bit_depth=bit_depth(packing(pix_fmt).planar),
        colour=colour_of(frame, pix_fmt),
        time_base=time_base,
        pts=array("q", packets.pts.tobytes()),
        rate=rate or Fraction(len(packets.pts)) / (max(duration, 1) * time_base),
        interlaced=frame.interlaced_frame or context.field_order in INTERLACED_ORDERS,
        duration_s=float(duration * time_base),
    )


def _sample_aspect(container: InputContainer, video: VideoStream) -> Fraction:
    """Of the first picture, where the container does not state one for all: FFmpeg has looked further."""
    first = video.codec_context.sample_aspect_ratio if may_restart(container) else None
    return first or video.sample_aspect_ratio or Fraction(1)


def _rate(video: VideoStream, packets: PacketIndex) -> Fraction | None:
    """The average rate that the file states; None where it states none, or its fields or its clock."""
    rate = video.average_rate or video.guessed_rate
    if not rate or len(packets.pts) < 2:
        return rate
    if rate * (video.time_base or 1) == 1 and int(np.diff(packets.pts).min()) > 1:
        return None
    span = float((packets.pts[-1] - packets.pts[0]) * (video.time_base or 1))
    counted = (len(packets.pts) - 1) / span if span > 0 else 0.0
    return None if abs(counted * 2 - rate) < 0.02 * rate else rate


def _picture_tags(frame: VideoFrame, context: VideoCodecContext) -> PictureTags:
    held = held_data(frame)
    side = {kind: bytes(memoryview(held[kind])) for kind in _PICTURE_DATA if kind in held}
    light = side.get(Type.CONTENT_LIGHT_LEVEL)
    return PictureTags(
        display_matrix=_display_matrix(frame),
        mastering_display=side.get(Type.MASTERING_DISPLAY_METADATA),
        content_light=tuple(np.frombuffer(light, "=u4")[:2].tolist()) if light else None,
        field_order=order_shown(frame, context.name, context.field_order),
    )


class _FirstPicture:
    """Decodes the packets that pass by until one of them gives a picture."""

    def __init__(self, stream: VideoStream, path: Path) -> None:
        self._stream = stream
        self._path = path
        self._decoder = open_decoder_context(stream)
        self._decoder.thread_count = 1  # threads would want as many packets first
        self._picture: VideoFrame | None = None
        self._key_seen = False
        self._tried = 0

    @property
    def found(self) -> bool:
        return self._picture is not None

    def picture(self) -> VideoFrame:
        """Raises InputError where there is none."""
        if self._picture is None:
            name = self._stream.codec_context.name
            raise InputError(
                f"{self._path}: no picture of stream {self._stream.index} ({name}) can be decoded; "
                "the file is damaged, encrypted or empty"
            )
        return self._picture

    def watch(self, packets: Iterator[Packet[Any]]) -> Iterator[Packet[Any]]:
        """The same packets. Raises InputError where none of them gives a picture."""
        try:
            for packet in packets:
                if not self.found:
                    self._try(packet)
                yield packet
        except FFmpegError as error:
            log.debug("%s: %s", self._path.name, error)
            self.picture()
            raise
        self.picture()

    def _try(self, packet: Packet[Any]) -> None:
        if packet.has_sidedata("encryption_info"):
            raise InputError(f"{self._path}: stream {self._stream.index} is encrypted; decrypt it first")
        self._key_seen = self._key_seen or packet.is_keyframe or self._tried >= _PATIENCE // 2
        if self._key_seen:  # before a key frame some decoders give grey
            self._picture = _decoded(self._decoder, packet)
        self._tried += 1
        if self._tried > _PATIENCE:
            self.picture()


def _decoded(decoder: VideoCodecContext, packet: object) -> VideoFrame | None:
    """First frame that a packet gives; None for none, and for a packet that cannot be decoded."""
    try:
        frames = decoder.decode(packet)  # type: ignore[arg-type]
    except FFmpegError:
        return None
    return frames[0] if frames else None


def _orientation(frame: VideoFrame, path: Path) -> tuple[int, bool]:
    """Quarter turns counter-clockwise in degrees, and whether left and right change places after them."""
    matrix = _display_matrix(frame)
    if matrix is None:
        return 0, False
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    mirrored = a * d - b * c < 0
    degrees = -math.degrees(math.atan2(b, -a if mirrored else a))
    turns = round(degrees / 90)
    if abs(degrees - 90 * turns) >= 1:
        warned(
            log, "%s is turned by %d degrees; faces are sought at %d", path.name, round(degrees), 90 * turns
        )
    return 90 * turns % 360, mirrored


def _display_matrix(frame: VideoFrame) -> tuple[int, ...] | None:
    held = held_data(frame)
    if Type.DISPLAYMATRIX not in held:
        return None
    return tuple(np.frombuffer(bytes(memoryview(held[Type.DISPLAYMATRIX])), "=i4").tolist())
