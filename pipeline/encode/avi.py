"""AVI: it counts frames of one rate and knows no other times, and tells when they are decoded, not shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from av.packet import Packet
from numpy.typing import NDArray

from pipeline.types import StreamInfo

_FASTEST = 1000
"""Frames/s that FFmpeg's muxer writes at most."""
_MOST_EMPTY = 50_000
"""Empty frames in a row; FFmpeg's muxer refuses 65,000."""
_SAME_TIME_S = 1e-3
_GUESSED = ("h264", "hevc")
"""Codecs of which FFmpeg's demuxer derives no times of showing."""


@dataclass(frozen=True, slots=True)
class FrameCount:
    """How times become numbers of frames."""

    rate: Fraction
    """Frames/s that the file states."""
    is_constant: bool
    """The times are whole frames, as exactly as the source's clock tells them."""
    first: int
    """Time of the first frame in the output, in units of ``unit``."""
    unit: Fraction
    """Of the source's clock, in seconds."""
    _heard: set[int] = field(default_factory=set)
    """Streams of sound whose first packet has come."""

    def number(self, pts: int) -> int:
        """Of the frame that is shown at ``pts``."""
        scale = self.unit * self.rate
        return round(self.first * scale) + round((pts - self.first) * scale)

    def place(self, packet: Packet[Any]) -> None:
        """Gives a packet whose times are in ``unit`` its number for a time."""
        packet.pts = packet.dts = self.number(packet.pts or 0)
        packet.time_base, packet.duration = 1 / self.rate, 1

    def late_sound(self, packet: Packet[Any]) -> str | None:
        """A sentence where a packet of another stream is its first one and begins too late to keep its time:
        AVI's muxer begins sound at 0."""
        stream = packet.stream
        if stream.type != "audio" or stream.index in self._heard:
            return None
        self._heard.add(stream.index)
        late_s = float((packet.pts or 0) * packet.time_base)
        if late_s < _SAME_TIME_S:
            return None
        late = f"audio stream {stream.index} is {late_s:.3f} s earlier against the picture"
        return f"avi begins sound at 0: {late}"


def frame_count(info: StreamInfo, frames: slice, shift_pts: int) -> FrameCount:
    """Of the frames at these positions, one at least, whose times are ``shift_pts`` less in the output."""
    pts = _times(info, frames)
    begin = int(pts[0]) - shift_pts
    rate = _constant_rate(pts - pts[0], info) if len(pts) > 1 else info.rate.limit_denominator(1 << 16)
    if rate is not None:
        return FrameCount(rate, True, begin, info.time_base)
    gap_s = max(float(max(np.diff(pts).max(), begin) * info.time_base), 1 / _FASTEST)
    clock = 1 / info.time_base if (info.time_base * _FASTEST).denominator == 1 else Fraction(_FASTEST)
    return FrameCount(min(clock, Fraction(int(_MOST_EMPTY / gap_s) or 1)), False, begin, info.time_base)


def _times(info: StreamInfo, frames: slice) -> NDArray[np.int64]:
    return np.array(info.pts[frames], np.int64)


def _constant_rate(times: NDArray[np.int64], info: StreamInfo) -> Fraction | None:
    """The rate at which all ``times``, from 0 on, are whole frames within one unit of their clock."""
    near = 1 / (int(np.median(np.diff(times))) * info.time_base)
    whole = max(round(near), 1)
    for rate in (info.rate, Fraction(whole), Fraction(whole * 1000, 1001), near):
        stated = rate.limit_denominator(1 << 16)
        places = times * float(stated * info.time_base)
        numbers = np.rint(places)
        units_off = (places - numbers) / float(stated * info.time_base)
        if stated <= _FASTEST and np.ptp(units_off) < 1 and np.diff(numbers).min() >= 1:
            return stated
    return None


def avi_losses(
    count: FrameCount, info: StreamInfo, frames: slice, encoded: str, from_avi: bool, early_sound: bool
) -> Iterator[str]:
    """Sentences about times that differ from the source's.

    ``frames``: positions of those in the output. ``encoded``: FFmpeg's name of its codec. ``early_sound``:
    sound begins before 0.
    """
    frame_s = float(1 / count.rate)
    if not count.is_constant:
        yield (
            f"avi tells one rate of frames: for times that vary it is {float(count.rate):g} frames/s, most "
            "frames empty"
        )
    times = _times(info, frames)
    times += count.first - times[0]
    scale = count.unit * count.rate
    if (times * scale.numerator % scale.denominator).any():
        numbers = round(count.first * scale) + np.rint((times - count.first) * float(scale))
        worst_s = np.abs(numbers * frame_s - times * float(count.unit)).max()
        yield f"avi counts frames of {frame_s:.4f} s: times are rounded by up to {worst_s * 1000:.3f} ms"
    if early_sound:
        yield (
            "avi cannot begin sound before 0: all streams are later by its priming, the picture by whole "
            f"frames ({frame_s:.4f} s)"
        )
    if count.first > 0 or early_sound:
        yield "avi begins with its first picture: readers show that one from 0 on, the others at their times"
    if not (from_avi and info.codec in _GUESSED):
        yield from guess_loss("avi", encoded, frame_s if count.is_constant else float(1 / info.rate))


def guess_loss(container: str, encoded: str, frame_s: float) -> Iterator[str]:
    """A sentence where readers do not know when pictures are shown. ``encoded``: FFmpeg's name of the codec;
    ``frame_s``: how long one is shown, in s."""
    if encoded in _GUESSED:
        yield (
            f"{container} tells decoding times only: readers that guess the times of {encoded} show its "
            f"pictures a frame later ({frame_s:.3f} s)"
        )
