"""The processed video of an output: its encoder, and the stream that takes the packets."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

import av
from av.container import OutputContainer
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from torch import Tensor

from pipeline.decode.color_tags import MATRIX, PRIMARIES, RANGE, TRANSFER, Tagged, number_of
from pipeline.decode.field_order import INTERLACED_ORDERS, FieldFilter, field_marker
from pipeline.decode.planes import packing
from pipeline.decode.side_data import CROPPING, DISPLAY_MATRIX, DOLBY_VISION
from pipeline.decode.source import PictureTags, Source
from pipeline.encode.codecs import COUNTING, Choice, counted_rate
from pipeline.encode.container import MOV_FAMILY
from pipeline.encode.pixel_formats import coded_colour
from pipeline.errors import OutputError
from pipeline.types import Colour

_HOLD_SIDE_DATA = MOV_FAMILY | {"matroska", "webm"}
_GLOBAL_HEADER = 1 << 22
"""AV_CODEC_FLAG_GLOBAL_HEADER: these containers keep a codec's parameters in their own head."""
_APPLE_TAGS = ("hvc1", "dvh1")
"""What Apple's players ask for in HEVC; ``dvh1`` is Dolby Vision that nothing else can show."""
CARRIES_RPU = ("hevc",)


@dataclass(slots=True)
class VideoTrack:
    """Pictures in, packets out."""

    stream: VideoStream
    coder: VideoCodecContext
    order: int
    """AVFieldOrder of the frames; 0 or 1 where they are progressive."""
    codec: str
    """FFmpeg's name of the codec."""
    carries_rpu: bool
    """Dolby Vision's configuration is declared, so its RPUs belong to the pictures."""
    time_base: Fraction
    """Of pictures and packets, in seconds."""
    is_copy: bool
    """The stream says all that the source's says beside its codec."""
    _another: Callable[[], VideoCodecContext]
    """Makes an encoder like ``coder``."""
    _marker: FieldFilter | None = None
    _counted: array[int] | None = None
    """Times of all pictures so far, where the encoder counts pictures instead of telling times."""

    def encode(self, picture: VideoFrame | None) -> list[av.Packet[VideoStream]]:
        """Packets of the output's stream; None flushes the encoder."""
        if picture is not None and self.order in INTERLACED_ORDERS:
            self._marker = self._marker or field_marker(self.order, picture)
            picture = self._marker(picture) or picture
        if picture is not None and self._counted is not None:
            self._counted.append(picture.pts or 0)
            picture.pts, picture.time_base = len(self._counted) - 1, self.coder.time_base
        packets = self.coder.encode(picture)
        for packet in packets:
            packet.stream = self.stream
            if self._counted is not None:
                packet.pts, packet.dts = (self._time(n) for n in (packet.pts, packet.dts))
                packet.time_base = self.time_base
        return packets

    def _time(self, number: int | None) -> int | None:
        """Of a picture by its number; before the first one at the encoder's rate."""
        assert self._counted is not None
        if number is None or number >= 0:
            return None if number is None else self._counted[number]
        return self._counted[0] + round(number * self.coder.time_base / self.time_base)

    def open(self) -> None:
        """Open the encoder. Raises FFmpegError and ValueError where it does not take the video."""
        self.coder.open()
        if self.is_copy:
            self.stream.codec_context.extradata = self.coder.extradata

    def renew(self) -> None:
        """A new encoder in place of one that was flushed. Raises FFmpegError and OutputError."""
        coder = self._another()
        coder.open()
        if coder.extradata != self.coder.extradata:
            raise OutputError(f"what encodes {self.codec} here cannot be opened twice; leave --resume out")
        self.coder = coder


def add_video(
    out: OutputContainer,
    choice: Choice,
    source: Source,
    tags: PictureTags,
    original: VideoStream,
    options: Mapping[str, str],
) -> VideoTrack:
    """Declares the stream. Where the container takes what ``original`` says beside its codec (spherical and
    stereo boxes, cropping, Dolby Vision, colour profiles), it is a copy of that stream with another encoder's
    pictures; else a new one."""
    info = source.info
    rate = info.rate.limit_denominator(1 << 16)
    is_copy = _is_copy(out.format.name, choice, source)
    if is_copy:
        stream: Stream = out.add_stream_from_template(original, opaque=True)
        coder = av.CodecContext.create(choice.encoder, "w")
        assert isinstance(coder, VideoCodecContext)
        coder.flags |= _GLOBAL_HEADER
        coder.framerate = rate
        tag = original.codec_context.codec_tag
        if out.format.name in MOV_FAMILY and original.codec_context.codec.canonical_name == "hevc":
            stream.codec_context.codec_tag = tag if tag in _APPLE_TAGS else _APPLE_TAGS[0]
    else:
        stream = out.add_stream(choice.encoder, rate=rate)
        assert isinstance(stream.codec_context, VideoCodecContext)
        coder = stream.codec_context
        if choice.encoder == "libx265" and out.format.name in MOV_FAMILY:
            coder.codec_tag = _APPLE_TAGS[0]
    assert isinstance(stream, VideoStream)
    counts = choice.encoder in COUNTING
    if counts:
        coder.framerate = counted_rate(choice.encoder, info.rate)
    flags, bit_rate, tolerance = coder.flags, coder.bit_rate or 0, coder.bit_rate_tolerance or 0
    framerate = coder.framerate

    def described(coder: VideoCodecContext) -> VideoCodecContext:
        coder.width, coder.height, coder.pix_fmt = info.width, info.height, choice.target.pix_fmt
        coder.time_base = 1 / coder.framerate if counts else info.time_base
        coder.sample_aspect_ratio = info.sample_aspect
        coder.thread_type = "AUTO"
        coder.field_order = tags.field_order
        coder.options = dict(options)
        tag_colour(coder, coded_colour(packing(info.pix_fmt).planar, choice.target, info.colour))
        return coder

    def another() -> VideoCodecContext:
        made = av.CodecContext.create(choice.encoder, "w")
        assert isinstance(made, VideoCodecContext)
        made.flags, made.bit_rate, made.bit_rate_tolerance = flags, bit_rate, tolerance
        made.framerate = framerate
        return described(made)

    stream.time_base = info.time_base
    described(coder)
    stream.set_display_matrix(tags.display_matrix)
    codec = av.Codec(choice.encoder, "w").canonical_name
    rpu = DOLBY_VISION in source.side_data and is_copy
    counted = array("q") if counts else None
    return VideoTrack(
        *(stream, coder, tags.field_order, codec, rpu, info.time_base, is_copy, another), _counted=counted
    )


def _is_copy(container: str, choice: Choice, source: Source) -> bool:
    names = set(source.side_data) - {DISPLAY_MATRIX}
    holds = container in _HOLD_SIDE_DATA and not (CROPPING in names and container in MOV_FAMILY)
    if not names or not holds or choice.target.pix_fmt != source.info.pix_fmt:
        return False
    codec = av.Codec(choice.encoder, "w").canonical_name
    if DOLBY_VISION in names and codec not in CARRIES_RPU:
        return False
    return codec == av.Codec(source.info.codec, "r").canonical_name


def tag_colour(tagged: Tagged, colour: Colour) -> None:
    """Write colour tags to an encoder or a frame."""
    tagged.colorspace = number_of(MATRIX, colour.matrix)
    tagged.color_range = number_of(RANGE, colour.range, unknown=0)
    tagged.color_primaries = number_of(PRIMARIES, colour.primaries)
    tagged.color_trc = number_of(TRANSFER, colour.transfer)


def without_edges(
    planes: tuple[Tensor, ...], edges: tuple[int, int, int, int], bit_depth: int, colour: Colour, rgb: bool
) -> tuple[Tensor, ...]:
    """The planes with black at the top, bottom, left and right, ``edges`` in px, as far as a chroma sample
    reaches. The alpha plane stays."""
    height, width = planes[0].shape
    top, bottom, left, right = edges
    black = 16 << (bit_depth - 8) if colour.range != "pc" and not rgb else 0
    made = []
    for number, plane in enumerate(planes):
        value = black if number == 0 or rgb else 1 << (bit_depth - 1)
        own = plane.clone()
        if number < 3:
            down, across = plane.shape[0] / height, plane.shape[1] / width
            own[: math.ceil(top * down)] = value
            own[plane.shape[0] - math.ceil(bottom * down) :] = value
            own[:, : math.ceil(left * across)] = value
            own[:, plane.shape[1] - math.ceil(right * across) :] = value
        made.append(own)
    return tuple(made)
