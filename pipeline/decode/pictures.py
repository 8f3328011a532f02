"""Packets become pictures: what can be decoded, and which of it is damaged."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from av.codec.codec import Capabilities
from av.container import InputContainer
from av.error import EOFError as EndOfStreamError
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Discard
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.decode.clock import Clock

log = logging.getLogger(__name__)

CONCEALING = frozenset(("hevc", "vvc"))
"""Codecs whose decoders fill what is missing at the end of a picture and never say so."""


class Pictures:
    """All pictures of a stream that can be decoded; a packet that cannot is left out and shows as a gap in
    time."""

    def __init__(
        self,
        container: InputContainer,
        decoder: VideoCodecContext,
        stream: VideoStream,
        headless: int,
        clock: Clock,
        lacking: frozenset[int] = frozenset(),
        broken: int | None = None,
        broken_dts: int | None = None,
    ) -> None:
        """With ``headless``, packets before the first key frame are not decoded: some decoders would give
        grey. ``lacking``: where packets begin that lack a part. ``broken``: time of a packet that is not
        decoded, since a decoder with a thread per frame would lose whole pictures by it; ``broken_dts``: its
        decoding time where it has no other."""
        self._container = container
        self._decoder = decoder
        self._stream = stream
        self._headless = headless
        self._clock = clock
        self._lacking = lacking
        self._broken, self._broken_dts = broken, broken_dts
        self._failed: set[int] = set()
        """Times of packets that broke off."""
        self._doubtful: set[int] = set()
        """Times of packets that lack a part, or are decoded after one that does, up to a key frame."""

    def __iter__(self) -> Iterator[VideoFrame]:
        for other in self._container.streams:
            if other.index != self._stream.index:
                other.discard = Discard.all
        packets = self._container.demux(self._stream)
        headless, doubtful = self._headless, False
        while True:
            try:
                packet: Packet[Any] = next(packets)
            except (StopIteration, FFmpegError):
                break
            headless = 0 if packet.is_keyframe else headless
            self._clock.move(packet)
            if packet.size and not headless and not self._is_broken(packet):
                doubtful = packet.pos in self._lacking or (doubtful and not packet.is_keyframe)
                if doubtful and packet.pts is not None:
                    self._doubtful.add(packet.pts)
                yield from self._decoded(packet)
        yield from self._decoded(None)

    def _is_broken(self, packet: Packet[Any]) -> bool:
        if self._broken_dts is not None:
            return packet.dts == self._broken_dts
        return self._broken is not None and packet.pts == self._broken

    def is_damaged(self, picture: VideoFrame) -> bool:
        """True for a picture of this stream that lacks a part, or refers to one that does."""
        return picture.is_corrupt or picture.pts in self._doubtful

    def _decoded(self, packet: Packet[Any] | None) -> list[VideoFrame]:
        """Without those whose own packet broke off: MPEG-2 gives what it has of them, and does not say so.

        Decoders with a thread per frame report a packet's failure with a later one, so of those nothing is
        noted.
        """
        try:
            pictures = self._decoder.decode(packet)
        except EndOfStreamError:
            return []
        except FFmpegError as error:
            log.debug("a packet cannot be decoded: %s", error)
            at_once = not self._decoder.codec.capabilities & Capabilities.frame_threads
            if at_once and packet is not None and packet.pts is not None:
                self._failed.add(packet.pts)
            return []
        return [p for p in pictures if p.pts not in self._failed] if self._failed else pictures


def first_damaged(expected: Sequence[int], pictures: Iterable[tuple[int, bool, bool]]) -> int | None:
    """The first of the ``expected`` times, ascending, whose picture is missing, damaged or refers to one that
    is; None where all are whole. ``pictures``: time, damaged or not, key frame or not; ascending."""
    at, refers = 0, False
    for time, damaged, key in pictures:
        if at < len(expected) and time > expected[at]:
            return expected[at]
        refers = damaged or (refers and not key)
        if at < len(expected) and time == expected[at]:
            if refers:
                return time
            at += 1
    return expected[at] if at < len(expected) else None
