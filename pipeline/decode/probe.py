"""What a file holds, without decoding it: a pass over the packets, and the first picture for its tags."""

from __future__ import annotations

import logging
from array import array
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.sidedata.sidedata import SideDataContainer, Type
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.decode.color_tags import colour_of
from pipeline.decode.open import choose_stream, open_decoder_context, open_input
from pipeline.decode.packet_index import Scan, scan
from pipeline.decode.planes import bit_depth, packing
from pipeline.errors import InputError
from pipeline.notes import warned
from pipeline.types import StreamInfo

log = logging.getLogger(__name__)

_PATIENCE = 300
"""Packets that are tried for a first picture: ten seconds of an open group of pictures."""
_CARRIED = (Type.DISPLAYMATRIX, Type.MASTERING_DISPLAY_METADATA, Type.CONTENT_LIGHT_LEVEL)
INTERLACED_ORDERS = (2, 3, 4, 5)
"""FFmpeg's AVFieldOrder of interlaced streams: top or bottom field first, coded in either order"""


@dataclass(frozen=True, slots=True)
class PictureTags:
    """What belongs to the picture, but is no business of the stages: carried from file to file."""

    display_matrix: tuple[int, ...] | None
    """Nine numbers of FFmpeg's AV_PKT_DATA_DISPLAYMATRIX."""
    mastering_display: bytes | None
    """AVMasteringDisplayMetadata as it lies in memory."""
    content_light: tuple[int, int] | None
    """Maximum and frame-average light level in cd/m2."""
    field_order: int
    """AVFieldOrder, see INTERLACED_ORDERS."""


def probe(path: Path, stream: int | None = None) -> StreamInfo:
    """The video stream that would be processed. ``stream`` is an index over streams of all kinds.

    Without it the default video stream is taken, else the largest; attached pictures never. Times come
    from a pass over all packets; only the first picture is decoded. Raises InputError.
    """
    return probe_scanned(path, stream)[0]


def probe_scanned(path: Path, stream: int | None = None) -> tuple[StreamInfo, Scan]:
    """Like `probe`, with what else the pass over the packets told."""
    with open_input(path) as container:
        video = choose_stream(container, path, stream)
        frame = _first_picture(container, video, path)
        context = video.codec_context
        rate, time_base = video.average_rate or video.guessed_rate, video.time_base
        aspect = video.sample_aspect_ratio
        index, codec, order = video.index, context.name, context.field_order
    if time_base is None:
        raise InputError(f"{path}: stream {index} states no unit of time; remux it first")
    with open_input(path) as container:
        scanned = scan(container, choose_same(container, index), path)
    if scanned.breaks_off:
        warned(log, "%s is damaged or cut off: %s", path.name, scanned.breaks_off)
    pix_fmt = frame.format.name
    duration = int(scanned.pts[-1] - scanned.pts[0]) + scanned.last_duration
    info = StreamInfo(
        path=path,
        stream_index=index,
        codec=codec,
        width=frame.width,
        height=frame.height,
        rotation=_quarter_turns(frame, path),
        sample_aspect=aspect or Fraction(1),
        pix_fmt=pix_fmt,
        bit_depth=bit_depth(packing(pix_fmt).planar),
        colour=colour_of(frame, pix_fmt),
        time_base=time_base,
        pts=array("q", scanned.pts.tobytes()),
        rate=Fraction(rate) if rate else Fraction(len(scanned.pts)) / (max(duration, 1) * time_base),
        interlaced=frame.interlaced_frame or order in INTERLACED_ORDERS,
        duration_s=float(duration * time_base),
    )
    return info, scanned


def choose_same(container: InputContainer, index: int) -> VideoStream:
    """Stream ``index``, which an earlier look at the same file has chosen."""
    stream = container.streams[index]
    assert isinstance(stream, VideoStream)
    return stream


def picture_tags(info: StreamInfo) -> PictureTags:
    """Tags of the first picture of the stream. Raises InputError."""
    with open_input(info.path) as container:
        stream = choose_same(container, info.stream_index)
        frame = _first_picture(container, stream, info.path)
        held = cast(SideDataContainer, frame.side_data)  # the stub says TypedDict, it is a Mapping
        side = {kind: bytes(memoryview(held[kind])) for kind in _CARRIED if kind in held}
        order = stream.codec_context.field_order
    if info.interlaced and order not in INTERLACED_ORDERS:
        warned(log, "%s does not say which field comes first; the top one is assumed", info.path.name)
        order = INTERLACED_ORDERS[0]
    matrix = side.get(Type.DISPLAYMATRIX)
    light = side.get(Type.CONTENT_LIGHT_LEVEL)
    return PictureTags(
        display_matrix=tuple(np.frombuffer(matrix, "=i4").tolist()) if matrix else None,
        mastering_display=side.get(Type.MASTERING_DISPLAY_METADATA),
        content_light=tuple(np.frombuffer(light, "=u4")[:2].tolist()) if light else None,
        field_order=order,
    )


def first_picture(info: StreamInfo) -> VideoFrame:
    """The first picture of the stream that can be decoded, as FFmpeg gives it. Raises InputError."""
    with open_input(info.path) as container:
        return _first_picture(container, choose_same(container, info.stream_index), info.path)


def _first_picture(container: InputContainer, stream: VideoStream, path: Path) -> VideoFrame:
    decoder = open_decoder_context(stream)
    decoder.thread_count = 1  # threads would want as many packets first
    try:
        for count, packet in enumerate(container.demux(stream)):
            if packet.has_sidedata("encryption_info"):
                raise InputError(f"{path}: stream {stream.index} is encrypted; decrypt it first")
            if (frame := _decoded(decoder, packet)) is not None:
                return frame
            if count > _PATIENCE:
                break
    except FFmpegError as error:
        log.debug("%s: %s", path.name, error)
    raise InputError(
        f"{path}: no picture of stream {stream.index} ({stream.codec_context.name}) can be decoded; "
        "the file is damaged, encrypted or empty"
    )


def _decoded(decoder: VideoCodecContext, packet: object) -> VideoFrame | None:
    """First frame that a packet gives; None for none, and for a packet that cannot be decoded."""
    try:
        frames = decoder.decode(packet)  # type: ignore[arg-type]
    except FFmpegError:
        return None
    return frames[0] if frames else None


def _quarter_turns(frame: VideoFrame, path: Path) -> int:
    turns = round(frame.rotation / 90)
    if frame.rotation % 90:
        warned(
            log, "%s is turned by %d degrees; faces are sought at %d", path.name, frame.rotation, 90 * turns
        )
    return 90 * turns % 360
