"""Sound that is encoded anew: where it is asked for, where a container takes nothing else, and where it is
cut within its packets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Any, cast

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.layout import AudioLayout
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.codec import Codec
from av.codec.codec import Capabilities, UnknownCodecError
from av.container import OutputContainer
from av.error import FFmpegError
from av.packet import Packet

from pipeline.encode.cut import Cut

ASKED = {"aac": "aac", "opus": "libopus"}
"""FFmpeg's encoders by the names that users give."""
OPUS_ONLY = ("webm",)
"""Containers that take no sound of most films, and take Opus."""
_OPUS_RATE = 48_000
_BITS_PER_CHANNEL = {"aac": 96_000, "opus": 80_000}
"""Transparent to most ears."""
_LOSSLESS = ("pcm_", "alac", "flac")
_PADDED = ("pcm_bluray", "pcm_dvd")
"""PCM in blocks, which encoders fill up."""
_OTHER_ENCODERS = {"opus": "libopus", "mp3": "libmp3lame"}
_SAME_CLOCK_S = 0.01
"""Of two packets in a row: containers that count milliseconds, and clocks that run a little apart."""
_MOST_SILENCE = 1 << 15
"""Samples in one piece."""


def is_lossless(codec: str) -> bool:
    """True for sound that is the same after it was decoded and encoded again."""
    return codec.startswith(_LOSSLESS) and codec not in _PADDED and encoder_of(codec) is not None


def encoder_of(codec: str) -> str | None:
    """FFmpeg's encoder for a codec, None where this FFmpeg has none."""
    name = _OTHER_ENCODERS.get(codec, codec)
    with suppress(UnknownCodecError):
        found = Codec(name, "w")
        return name if found.type == "audio" and not found.capabilities & Capabilities.experimental else None
    return None


def codec_anew(codec: str, asked: str, *, joined: bool, is_cut: bool) -> str | None:
    """The codec in which sound is encoded anew that is ``asked`` for in another one, that edits join
    (``joined``), or of which a part is kept; None where its packets are copied.

    Packets cannot be parted: of what is lossless, each sample is kept; of other sound, each packet that
    begins in the part. Joints would leave gaps that MP4 and MOV cannot tell.
    """
    if asked in ASKED and asked != codec:
        return asked
    if joined:
        return codec if encoder_of(codec) is not None else "aac"
    return codec if is_cut and is_lossless(codec) else None


def canonical_name(stream: AudioStream) -> str:
    """FFmpeg's name of the codec, where decoders have several (mp3float)."""
    return str(stream.codec_context.codec.canonical_name)


class SoundEncoder:
    """One audio stream of the source, decoded and encoded for the output."""

    def __init__(self, source: AudioStream, out: OutputContainer, codec: str, cut: Cut) -> None:
        """``codec`` is one of `ASKED`, or the source's own."""
        self._source = source
        self._placed = Continuous(cut)
        context = source.codec_context
        rate = _OPUS_RATE if codec == "opus" else context.sample_rate
        name = encoder_of(codec)
        assert name is not None
        stream = out.add_stream(name, rate=rate)
        self.stream = cast(AudioStream, stream)
        coder = self.stream.codec_context
        self._layout = context.layout
        if not is_lossless(codec) and context.layout.name.endswith("channels"):
            # Containers of PCM may leave open which channels they are, and coders want to know.
            self._layout = AudioLayout(f"{context.layout.nb_channels}c")
        coder.layout = self._layout
        if codec in _BITS_PER_CHANNEL:
            coder.bit_rate = _BITS_PER_CHANNEL[codec] * max(context.layout.nb_channels, 1)
        elif is_lossless(codec):
            coder.format = context.format.name
        elif context.bit_rate:
            coder.bit_rate = context.bit_rate
        coder.open()
        self._resampler = AudioResampler(
            format=coder.format.name, layout=coder.layout, rate=rate, frame_size=coder.frame_size
        )

    @property
    def is_primed(self) -> bool:
        """True where the first packets begin before the first sample, as those of all lossy codecs."""
        return not is_lossless(canonical_name(self.stream))

    def packets(self, packet: Packet[Any] | None) -> Iterator[Packet[Any]]:
        """What is ready once ``packet`` is decoded; None for the end."""
        try:
            frames = self._source.codec_context.decode(packet)
        except FFmpegError:
            return
        yield from self.encode(frames)
        if packet is None:
            yield from self.flush()

    def encode(self, frames: Iterable[AudioFrame]) -> Iterator[Packet[Any]]:
        """What is ready after some frames."""
        for frame in frames:
            for placed in self._placed(frame):
                for resampled in self._resampler.resample(_in_layout(placed, self._layout)):
                    yield from self.stream.encode(resampled)

    def flush(self) -> Iterator[Packet[Any]]:
        """The rest."""
        for part in self._resampler.resample(None):
            yield from self.stream.encode(part)
        yield from self.stream.encode(None)


class Continuous:
    """Decoded sound as an encoder wants it: one sample after the other, cut to the sample.

    Where samples are missing there is silence, where two packets overlap the first one counts. Times become
    those of the output, in units of a sample.
    """

    def __init__(self, cut: Cut) -> None:
        self._cut = cut
        self._next: int | None = None

    def __call__(self, frame: AudioFrame) -> Iterator[AudioFrame]:
        """What ``frame`` adds: nothing outside the part that is kept."""
        cut, rate = self._cut, frame.sample_rate
        if frame.pts is None or frame.time_base is None:
            if self._next is None:
                return
            at = self._next
        else:
            at = round((frame.pts * frame.time_base - cut.shift_s) * rate)
        if self._next is not None and abs(at - self._next) <= _SAME_CLOCK_S * rate:
            at = self._next
        first = at if cut.start_s is None else max(at, round((cut.start_s - cut.shift_s) * rate))
        end = at + frame.samples
        if cut.end_s is not None:
            end = min(end, round((cut.end_s - cut.shift_s) * rate))
        first = first if self._next is None else max(first, self._next)
        if first >= end:
            return
        if self._next is not None:
            yield from silence(frame, self._next, first)
        self._next = end
        yield part(frame, first - at, end - at, first)


def part(frame: AudioFrame, first: int, end: int, pts: int) -> AudioFrame:
    """Samples ``first`` to ``end`` of a frame, at the time ``pts`` in units of a sample."""
    if (first, end) != (0, frame.samples):
        step = 1 if frame.format.is_planar else frame.layout.nb_channels
        samples = np.ascontiguousarray(frame.to_ndarray()[:, first * step : end * step])
        frame = _like(frame, samples)
    frame.pts, frame.time_base = pts, Fraction(1, frame.sample_rate)
    return frame


def silence(like: AudioFrame, first: int, end: int) -> Iterator[AudioFrame]:
    """Silent frames over the samples ``first`` to ``end`` of a stream."""
    planar, channels = like.format.is_planar, like.layout.nb_channels
    level = 128 if like.format.name.startswith("u8") else 0
    kind = like.to_ndarray().dtype
    for at in range(first, end, _MOST_SILENCE):
        count = min(_MOST_SILENCE, end - at)
        shape = (channels, count) if planar else (1, channels * count)
        made = _like(like, np.full(shape, level, kind))
        made.pts, made.time_base = at, Fraction(1, like.sample_rate)
        yield made


def named_layout(layout: AudioLayout) -> AudioLayout:
    """FFmpeg's usual layout of so many channels where they have no names, as PCM in AVI and Matroska."""
    if not layout.name.endswith("channels"):
        return layout
    try:
        return AudioLayout(f"{layout.nb_channels}c")
    except ValueError:  # there is none of so many
        return layout


def _in_layout(frame: AudioFrame, layout: AudioLayout) -> AudioFrame:
    if frame.layout.name == layout.name:
        return frame
    made = AudioFrame.from_ndarray(frame.to_ndarray(), format=frame.format.name, layout=layout)
    made.sample_rate, made.pts, made.time_base = frame.sample_rate, frame.pts, frame.time_base
    return made


def _like(frame: AudioFrame, samples: np.ndarray[Any, Any]) -> AudioFrame:
    made = AudioFrame.from_ndarray(samples, format=frame.format.name, layout=frame.layout)
    made.sample_rate = frame.sample_rate
    return made
