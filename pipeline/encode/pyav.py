"""Encoding on the CPU with FFmpeg, through PyAV."""

from __future__ import annotations

import contextlib
import logging
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
from av.container import OutputContainer
from av.error import FFmpegError, InvalidDataError
from av.packet import Packet
from av.video.stream import VideoStream

from pipeline.decode.open import is_cover
from pipeline.decode.planes import packing
from pipeline.decode.side_data import hidden_edges
from pipeline.decode.source import Source
from pipeline.encode import EncodeSettings
from pipeline.encode.atomic_file import AtomicFile, translated_errors
from pipeline.encode.avi import FrameCount, avi_losses, frame_count, guess_loss
from pipeline.encode.codecs import (
    Choice,
    choices,
    chroma_place,
    tag_options,
    with_field_order,
)
from pipeline.encode.container import (
    GIVEN_TAGS,
    MOV_FAMILY,
    clock_loss,
    container_options,
    cut_chapters,
    moved_tags,
    passthrough_tags,
    with_title,
)
from pipeline.encode.container_name import BLURAY_SUFFIXES, container_format
from pipeline.encode.cut import cut_of
from pipeline.encode.faststart import index_first
from pipeline.encode.passthrough import OtherStreams
from pipeline.encode.picture_data import CARRYING, PictureDataCarrier, padded, with_picture_data
from pipeline.encode.pixel_formats import coded_colour, to_picture
from pipeline.encode.release import released_tags
from pipeline.encode.reorder import may_reorder
from pipeline.encode.segments import SegmentedTrack, Segments
from pipeline.encode.takes import PROGRAM_STREAMS
from pipeline.encode.video_track import VideoTrack, add_video, tag_colour, without_edges
from pipeline.errors import OutputError
from pipeline.machine import require_room
from pipeline.notes import decided, warned
from pipeline.types import Frame

log = logging.getLogger(__name__)

_NON_NEGATIVE = {"matroska", "webm", "avi", "flv", "f4v", "mpegts", "asf"}
_WRITE_BYTES = 1 << 18
_PACK_BYTES = 2048
"""A pack of MPEG-PS tells the time of the first picture that begins in it, and of no other."""
_BUFFERING_S = 0.5
"""Of FFmpeg's muxer of MPEG-PS: what begins at so much or later keeps its times."""


class PyAVEncoder:
    """A file with new pictures and everything else of the source, see `pipeline.encode.Encoder`.

    Times: every frame keeps its pts, in the source's time base. They move, all streams alike, in two
    cases: with ``start_pts`` the first frame that is kept gets time 0, since a player would else show
    nothing until then; and times below 0, which only IVF can hold, are lifted to 0. Other streams'
    packets are copied while frames are written, one held at most; with ``start_pts`` or ``end_pts`` only
    those that begin in that range. Passive: no thread of its own.

    Made or opened it raises OutputError where the file cannot be written as asked, UsageError where a setting
    is none of the encoder's, InputError where the source cannot be read again.
    """

    def __init__(
        self,
        source: Source,
        path: Path | str,
        settings: EncodeSettings | None = None,
        *,
        overwrite: bool = False,
        start_pts: int | None = None,
        end_pts: int | None = None,
        segments: Segments | None = None,
    ) -> None:
        """With ``segments`` the video is encoded in these, and those that have ended are taken from there."""
        self.path = path = Path(path)
        self._source = source
        self._info = info = source.info
        self._settings = settings or EncodeSettings()
        self._format = container_format(path)
        self._lost: list[str] = []
        self._removed: list[str] = []
        self._last_pts: int | None = None
        self._end_pts = end_pts
        self._segments = segments
        self._segmented: SegmentedTrack | None = None
        self._complete = False
        self._lifted = False
        self._carrier: PictureDataCarrier | None = None
        self._frame_count: FrameCount | None = None
        self._blackens: tuple[int, int, int, int] | None = None
        """Edges that the source's container hides and this one does not."""
        self._shift_pts = self._shift(start_pts)
        self._cut = cut_of(info, start_pts, end_pts, self._shift_pts)
        if self._format == "avi" and self._positions.start < self._positions.stop:
            self._frame_count = frame_count(info, self._positions, self._shift_pts)
        self._part = AtomicFile(path, info.path, overwrite)
        self._opened = contextlib.ExitStack()

    def open(self) -> None:
        """Begin the file: choose the encoder, declare all streams, write the header."""
        self._opened.callback(self._part.discard)
        self._part.create()
        self._others = OtherStreams(self._source, self._cut, self._settings)
        self._opened.callback(self._others.close)
        self._out, self._video, self._choice = self._open()
        moving = [stream.index for stream in self._out.streams.video if not is_cover(stream)]
        self._place = moving.index(self._video.stream.index)
        self._opened.callback(self._close_container)
        index = self._source.packets
        if index.picture_data and not index.derived and self._video.codec in CARRYING:
            first = None if self._cut.start_s is None else self._shift_pts
            self._carrier = PictureDataCarrier(self._source, first)
            self._opened.callback(self._carrier.close)
        if self._segments is not None:
            with translated_errors(self.path):
                self._segmented = SegmentedTrack(self._video, self._segments, self.encoder, self._shift_pts)
        decided(log, "%s: %s in %s", self.path.name, self.encoder, self._format)

    @property
    def lost(self) -> tuple[str, ...]:
        """Sentences about what of the source the output cannot carry."""
        return (*self._lost, *self._others.lost)

    @property
    def video(self) -> int:
        """Which of the file's video streams holds the frames: 0 for the first, attached pictures aside."""
        return self._place

    @property
    def lost_sound(self) -> tuple[str, ...]:
        """Those of ``lost`` that are of audio streams."""
        return tuple(self._others.lost_sound)

    @property
    def removed(self) -> tuple[str, ...]:
        """Sentences about what of the source was left behind, as the settings ask."""
        return (*self._removed, *self._others.removed)

    @property
    def encoder(self) -> str:
        """FFmpeg's names of the encoder and of the pixel format it gets, as ``libx264 yuv420p``."""
        return f"{self._choice.encoder} {self._choice.target.pix_fmt}"

    def write(self, frame: Frame) -> None:
        """Encode one frame. Raises OutputError, and ValueError for a frame out of order."""
        if self._last_pts is not None and frame.pts <= self._last_pts:
            raise ValueError(f"frame {frame.index} has pts {frame.pts} after {self._last_pts}; frames ascend")
        self._last_pts = frame.pts
        if self._segmented is not None and self._segmented.is_kept:
            with translated_errors(self.path):
                self._mux(self._segmented.skip())
            return
        planes = frame.planes
        if self._blackens is not None:
            rgb = frame.pix_fmt.startswith("gbr")
            planes = without_edges(planes, self._blackens, self._info.bit_depth, frame.colour, rgb)
        picture = to_picture(planes, frame.pix_fmt, self._choice.target, frame.colour)
        picture.pts, picture.time_base = frame.pts - self._shift_pts, self._info.time_base
        tag_colour(picture, coded_colour(frame.pix_fmt, self._choice.target, frame.colour))
        with translated_errors(self.path):
            self._mux((self._segmented or self._video).encode(picture))

    def complete(self) -> Path:
        """Write what the encoder and the other streams hold back. Returns where the whole file lies."""
        if self._last_pts is None:
            raise OutputError(f"no frame was written to {self.path}; the range holds none, choose another")
        with translated_errors(self.path):
            self._mux((self._segmented or self._video).encode(None))
            self._mux_others(None)
            self._out.close()
            self._part.complete()
            if self._settings.faststart and self._format in MOV_FAMILY:
                index_first(self._part.path)
        self._complete = True
        self._others.close()
        for sentence in self.lost:
            warned(log, "%s: %s", self.path.name, sentence)
        return self._part.path

    def finish(self) -> None:
        """`complete`, if that has not been, and put the file under its name."""
        if not self._complete:
            self.complete()
        self._part.commit()

    def close(self) -> None:
        """Without `finish` before: remove what was written. Idempotent."""
        self._part.discard()  # first: once it is closed, PyAV writes no trailer
        self._opened.close()

    def _close_container(self) -> None:
        with contextlib.suppress(FFmpegError, OSError):
            self._out.close()

    def __enter__(self) -> Self:
        try:
            self.open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _positions(self) -> slice:
        """Of the source's frames that are written."""
        pts = self._info.pts
        end = len(pts) if self._end_pts is None else bisect_left(pts, self._end_pts)
        return slice(bisect_left(pts, self._shift_pts), end)

    def _shift(self, start_pts: int | None) -> int:
        pts = self._info.pts
        if start_pts is not None:
            return pts[min(bisect_left(pts, start_pts), len(pts) - 1)]
        if pts[0] >= 0 or self._format == "ivf":
            return 0
        seconds = float(-pts[0] * self._info.time_base)
        self._lost.append(
            f"times below zero, which {self._format} cannot hold: all are {seconds:.3f} s later"
        )
        return pts[0]

    def _open(self) -> tuple[OutputContainer, VideoTrack, Choice]:
        """The container with its streams in the source's order, and the first encoder that opens."""
        info, source = self._info, self._others.source
        tags = with_field_order(self._source)
        place = chroma_place(source, info.stream_index)
        titles = self._tags(self._source.metadata, "") | dict(self._settings.metadata)
        options = container_options(
            *(self._format, source, titles, self._cut, self._lost),
            boxes=bool(self._source.side_data),
            of_bluray=self.path.suffix.lower() in BLURAY_SUFFIXES,
        )
        failures = []
        for choice in choices(self._settings, info, packing(info.pix_fmt).planar, self._format):
            lost: list[str] = []
            self._others.lost.clear()
            self._others.lost_sound.clear()
            self._others.removed.clear()
            out = av.open(
                self._part, "w", format=self._format, container_options=options, buffer_size=_WRITE_BYTES
            )
            for stream in source.streams:
                if stream.index == info.stream_index:
                    assert isinstance(stream, VideoStream)
                    encoding = tag_options(choice, tags, place, lost)
                    reorder = may_reorder(out.format, info.pts, self._positions, self._shift_pts)
                    encoding |= {} if reorder else {"bf": "0"}
                    video = add_video(out, choice, self._source, tags, stream, encoding)
                    if self._frame_count is not None:
                        video.stream.time_base = 1 / self._frame_count.rate
                    video.stream.disposition = stream.disposition
                    video.stream.metadata.update(self._tags(stream.metadata, stream.type))
                else:
                    self._others.add(stream, self._tags(stream.metadata, stream.type), out, self.path.suffix)
            try:
                video.open()
            except (FFmpegError, ValueError) as error:
                require_room(f"{self.path}: {choice.encoder} cannot be opened")
                failures.append(f"{choice.encoder} refuses")
                decided(log, "%s does not take this video: %s", choice.encoder, error)
                continue
            out.metadata.update(titles)
            cut_chapters(source, out, self._cut)
            try:
                with translated_errors(self.path):
                    out.start_encoding()
            except OutputError as error:
                # A container may refuse a codec as late as that (VP9 in MOV).
                if not isinstance(error.__cause__, FFmpegError):
                    raise
                failures.append(f"{self._format} refuses {choice.encoder}")
                decided(log, "%s", error)
                self._part.restart()
                continue
            self._note(choice, lost)
            edges = hidden_edges(self._source.side_data)
            if edges is not None and not video.is_copy:
                self._blackens = edges
                self._lost.append(f"{self._format} cannot hide the picture's edges: they are black")
            return out, video, choice
        raise OutputError(
            f"no encoder for {info.width}x{info.height} {info.pix_fmt} in {self._format} "
            f"({', '.join(failures) or 'none fits'}); choose another --codec or --preset, or write to .mkv"
        )

    def _tags(self, tags: Mapping[str, str], kind: str) -> dict[str, str]:
        """Those that are taken along; the others are named among what was removed."""
        carried = passthrough_tags(with_title(tags) if kind else tags)
        released = released_tags(carried, self._settings, kind)
        for name in carried.keys() - released.keys():
            given = bool(kind) and name.lower() in GIVEN_TAGS
            if not given and (sentence := f"tag {name} ({kind or 'file'})") not in self._removed:
                self._removed.append(sentence)
        lost: list[str] = []
        moved = moved_tags(released, self._info, self._cut, lost)
        self._lost += [sentence for sentence in lost if sentence not in self._lost]
        return moved

    def _note(self, choice: Choice, lost: list[str]) -> None:
        self._lost += lost
        self._lost += [f"{choice.encoder} cannot hold {loss}" for loss in choice.target.losses]
        loss = clock_loss(self._format, self._info, self._positions, self._shift_pts)
        self._lost += [loss] if loss else []
        early = self._format in _NON_NEGATIVE and self._others.has_unmarked_priming(self._format)
        early = early and self._shift_pts == 0
        codec = av.Codec(choice.encoder, "w").canonical_name
        source_format = self._others.source.format.name
        if self._format == "asf" and source_format != "asf":
            self._lost += guess_loss("asf", codec, float(1 / self._info.rate))
        if self._frame_count is not None:
            from_avi = source_format == "avi"
            self._lost += avi_losses(
                *(
                    self._frame_count,
                    self._info,
                    self._positions,
                    codec,
                    from_avi,
                    early,
                )
            )
        elif early:
            still = ", chapters are not" if self._others.source.chapters() else ""
            self._lost.append(
                f"{self._format} cannot begin sound before 0: all streams are later by its priming{still}"
            )
        begin = self._info.pts[self._positions.start] - self._shift_pts
        if self._format in PROGRAM_STREAMS and begin * self._info.time_base < _BUFFERING_S:
            self._lost.append(f"{self._format} begins with half a second of buffering: all streams are later")
        for note in (*choice.target.notes, *(f"{choice.encoder} ignores {what}" for what in choice.ignored)):
            warned(log, "%s: %s", self.path.name, note)

    def _mux(self, packets: Iterable[Packet[Any]]) -> None:
        for coded in packets:
            coded.duration = self._duration(coded)
            packet = self._with_data(coded)
            if self._format in PROGRAM_STREAMS:
                packet = padded(packet, _PACK_BYTES)
            if self._format == "mpegts" and packet.dts is not None and packet.dts < 0 and not self._lifted:
                self._lifted = True
                self._lost.append("mpegts cannot begin before 0, where decoding would: all streams are later")
            if packet.dts is not None:
                self._mux_others(packet.dts * packet.time_base)
            if self._frame_count is not None:
                self._frame_count.place(packet)
            self._out.mux(packet)

    def _mux_others(self, end_s: Fraction | None) -> None:
        """Up to a time of the output, or to the end."""
        for other in self._others.until(end_s):
            if self._frame_count is not None and (loss := self._frame_count.late_sound(other)):
                self._lost.append(loss)
            self._mux_other(other)

    def _mux_other(self, packet: Packet[Any]) -> None:
        """A packet that the container cannot take because it is damaged is left out, which is said."""
        index = packet.stream.index
        try:
            self._out.mux(packet)
        except InvalidDataError:
            self._others.leave_out(index)

    def _with_data(self, packet: Packet[Any]) -> Packet[Any]:
        """With what belongs to the picture in the source, where the codec has a place for it."""
        if self._carrier is None or packet.pts is None:
            return packet
        dts = None if packet.dts is None else packet.dts + self._shift_pts
        data = self._carrier.of(packet.pts + self._shift_pts, dts)
        if not self._video.carries_rpu:
            data = replace(data, rpu=None)
        if not self._settings.keep_metadata:
            data = data.without_private()
        return with_picture_data(packet, data, self._video.codec)

    def _duration(self, packet: Packet[Any]) -> int:
        """Until the next frame of the source, in the source's time base, which is the packet's too."""
        pts, end = self._info.pts, round(self._info.duration_s / self._info.time_base) + self._info.pts[0]
        after = bisect_left(pts, (packet.pts or 0) + self._shift_pts) + 1
        return (pts[after] if after < len(pts) else end) - pts[after - 1]
