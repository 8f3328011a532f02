"""Decoding on the CPU with FFmpeg, through PyAV."""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Iterator
from fractions import Fraction
from math import floor
from types import TracebackType
from typing import Self

import numpy as np
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from torch import Tensor

from pipeline.decode.clock import Clock
from pipeline.decode.open import open_decoder_context, open_input, parked
from pipeline.decode.pictures import Pictures
from pipeline.decode.planes import packing, unpack
from pipeline.decode.source import Source, same_stream
from pipeline.errors import InputError
from pipeline.notes import decided, warned
from pipeline.types import Frame, StreamInfo

log = logging.getLogger(__name__)

_SHAPE = "the shape of pixels"


class PyAVDecoder:
    """A video stream as frames, see `pipeline.decode.Decoder`.

    FFmpeg decodes with as many threads as there are cores and keeps that many frames; nothing else is held.
    Interlaced frames come as they are coded. Passive: no thread of its own, not to be shared between threads.
    """

    name = "PyAV"

    def __init__(self, source: Source) -> None:
        self.source = source
        self._packets = source.packets
        self._planar = packing(source.info.pix_fmt).planar
        self._closed = False
        self._damaged = False
        """The picture that was given last lacks a part."""
        self._aspect: Fraction | None = None

    @property
    def info(self) -> StreamInfo:
        return self.source.info

    def frames(self, start_pts: int | None = None, end_pts: int | None = None) -> Iterator[Frame]:
        """Frames with start_pts <= pts < end_pts, each exactly once.

        Raises InputError, naming frame and time, at the first frame that is damaged or missing; the
        frames before it have been given by then.
        """
        pts = self.info.pts
        first = 0 if start_pts is None else bisect_left(pts, start_pts)
        end = len(pts) if end_pts is None else bisect_left(pts, end_pts)
        if first >= end:
            return
        due, before = first, -1
        refers_to_damage = False
        for index, picture in self._pictures(first):
            if self._closed:
                raise ValueError("the decoder is closed")
            gap = before >= 0 and index > before + 1
            refers_to_damage = self._damaged or ((refers_to_damage or gap) and not picture.key_frame)
            before = index
            if index < due:
                continue
            if index > due:
                self._missing(due)
            if index >= end:
                return
            if refers_to_damage:
                raise InputError(
                    f"{self._where(index)} is damaged or refers to a frame that is; repair the file, or "
                    "leave it out with --start and --end"
                )
            yield self._frame(index, picture)
            due = index + 1
            if due == end < len(pts):
                return
        if due < end or self._packets.breaks_off is not None:
            self._missing(due)

    def pictures(self, first: int) -> Iterator[tuple[int, VideoFrame]]:
        """Pictures as FFmpeg gives them with their positions, ascending, from ``first`` or before it on;
        without those that cannot be decoded."""
        return self._pictures(first)

    def close(self) -> None:
        """No more frames: iterators that are still open raise ValueError and let go of the file."""
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _pictures(self, first: int) -> Iterator[tuple[int, VideoFrame]]:
        """Decoded pictures with their positions, from ``first`` or before it on, in ascending order."""
        start = self._start_before(first)
        while True:
            given = -1
            for index, picture in self._numbered(start):
                if given < 0 and index > first and start is not None:
                    break  # the seek landed too late
                if index <= given:
                    warned(log, "%s: a second picture for frame %d is left out", self.info.path.name, index)
                    continue
                given = index
                yield index, picture
            else:
                return
            decided(log, "%s: seeking is inexact, decoding from the start", self.info.path.name)
            start = None

    def _start_before(self, first: int) -> int | None:
        """Time to seek to so that frame ``first`` can be decoded; None for the start of the file."""
        keys = self._packets.keys
        before = int(np.searchsorted(keys[:, 0], self.info.pts[first], side="right")) - 1
        # Frames of an open group may precede its key frame: the first group needs no seek at all.
        return int(keys[before, 1]) if before > 0 and not self._packets.pieces else None

    def _container(self) -> InputContainer:
        return open_input(self.info.path)

    def _context(self, stream: VideoStream) -> VideoCodecContext:
        return open_decoder_context(stream)

    def _numbered(self, start: int | None) -> Iterator[tuple[int, VideoFrame]]:
        with self._container() as container:
            stream = same_stream(container, self.source)
            if start is not None:
                container.seek(start, stream=stream)
            counted = 0
            headless = self._packets.headless if start is None else 0
            clock = Clock(self._packets.pieces)
            with parked(self._context(stream)) as context:
                lacking, *broken = self._packets.lacking, self._packets.broken_end, self._packets.broken_dts
                pictures = Pictures(container, context, stream, headless, clock, lacking, *broken)
                for picture in pictures:
                    self._look_at_aspect(context, picture)
                    if self._packets.derived or picture.pts is None:
                        index = counted
                    else:
                        index = bisect_left(self.info.pts, picture.pts)
                        if index < len(self.info.pts) and self.info.pts[index] != picture.pts:
                            continue  # left out: it cannot be decoded, or the file's edits hide it
                    counted = index + 1
                    if index < len(self.info.pts):
                        self._damaged = pictures.is_damaged(picture)
                        yield index, picture

    def _look_at_aspect(self, context: VideoCodecContext, picture: VideoFrame) -> None:
        """An output has one shape of pixels: another one in the middle of the stream is noticed once."""
        shape = context.sample_aspect_ratio
        said = any(sentence.startswith(_SHAPE) for sentence in self.source.noticed)
        if shape and self._aspect and shape != self._aspect and not said:
            sentence = (
                f"{_SHAPE} changes from {self._aspect} to {shape} at about "
                f"{picture.time or 0:.1f} s: {self.info.sample_aspect} is written"
            )
            self.source.noticed.append(sentence)
            warned(log, "%s: %s", self.info.path.name, sentence)
        self._aspect = self._aspect or shape

    def _frame(self, index: int, picture: VideoFrame) -> Frame:
        self._check_format(index, (picture.width, picture.height, picture.format.name))
        return self._made(index, picture, unpack(picture))

    def _check_format(self, index: int, got: tuple[int, int, str]) -> None:
        """Width, height and pixel format. Raises InputError where they change."""
        info = self.info
        if got != (info.width, info.height, info.pix_fmt):
            raise InputError(
                f"{self._where(index)} is {got[0]}x{got[1]} {got[2]}, "
                f"not {info.width}x{info.height} {info.pix_fmt}; split the file where its format changes"
            )

    def _made(self, index: int, picture: VideoFrame, planes: tuple[Tensor, ...]) -> Frame:
        info = self.info
        return Frame(
            index=index,
            pts=info.pts[index],
            planes=planes,
            pix_fmt=self._planar,
            colour=info.colour,
            time_base=info.time_base,
            key=bool(picture.key_frame),
        )

    def _missing(self, due: int) -> None:
        """Frames from ``due`` on never came: an error."""
        if due == len(self.info.pts):
            raise InputError(
                f"{self._where(due - 1)} is the last one in a file that is damaged or cut off "
                f"({self._packets.breaks_off}); repair it or end before that time"
            )
        why = f" ({self._packets.breaks_off})" if self._packets.breaks_off else ""
        raise InputError(
            f"{self._where(due)} cannot be decoded: the file is damaged or cut off there{why}; "
            "repair it or end before that time"
        )

    def _where(self, index: int) -> str:
        milliseconds = floor((self.info.pts[index] - self.info.pts[0]) * self.info.time_base * 1000)
        where = f"frame {index} of {len(self.info.pts)}, at {milliseconds / 1000:.3f} s,"
        return f"{self.info.path}: {where}"  # rounded down: --end at that time leaves the frame out
