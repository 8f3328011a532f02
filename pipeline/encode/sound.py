"""Sound that is encoded anew, where it is asked for or a container takes nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, cast

from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.error import FFmpegError
from av.packet import Packet

from pipeline.encode.cut import Cut

ENCODERS = {"aac": "aac", "opus": "libopus"}
"""FFmpeg's encoders by the names that users give."""
OPUS_ONLY = ("webm",)
"""Containers that take no sound of most films, and take Opus."""
_OPUS_RATE = 48_000
_BITS_PER_CHANNEL = {"aac": 96_000, "opus": 80_000}
"""Transparent to most ears."""


class SoundEncoder:
    """One audio stream of the source, decoded and encoded for the output."""

    def __init__(self, source: AudioStream, out: OutputContainer, codec: str, cut: Cut) -> None:
        self._source = source
        self._cut = cut
        context = source.codec_context
        rate = _OPUS_RATE if codec == "opus" else context.sample_rate
        stream = out.add_stream(ENCODERS[codec], rate=rate)
        self.stream = cast(AudioStream, stream)
        coder = self.stream.codec_context
        coder.layout = context.layout
        coder.bit_rate = _BITS_PER_CHANNEL[codec] * max(context.layout.nb_channels, 1)
        coder.open()
        self._resampler = AudioResampler(
            format=coder.format.name, layout=coder.layout.name, rate=rate, frame_size=coder.frame_size
        )

    def packets(self, packet: Packet[Any] | None) -> Iterator[Packet[Any]]:
        """What is ready once ``packet`` is decoded; None for the end."""
        try:
            frames = self._source.codec_context.decode(packet)
        except FFmpegError:
            return
        for frame in frames:
            if self._placed(frame):
                for part in self._resampler.resample(frame):
                    yield from self.stream.encode(part)
        if packet is None:
            for part in self._resampler.resample(None):
                yield from self.stream.encode(part)
            yield from self.stream.encode(None)

    def _placed(self, frame: AudioFrame) -> bool:
        """Moved to its time in the output; False outside the part that is kept."""
        unit = frame.time_base
        if frame.pts is None or unit is None or not self._cut.holds(Fraction(frame.pts * unit)):
            return False
        frame.pts -= round(self._cut.shift_s / unit)
        return True
