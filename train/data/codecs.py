"""Real codecs in memory: pictures in, what a decoder makes of them out.

Encoders and decoders are FFmpeg's, through PyAV, without a container and with one thread, so that the same
pictures give the same bytes. A codec's noise is no white noise: it rings at the edges of cells, shares chroma
between four pixels, repeats what it did to the frame before, and differs from encoder to encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType

import av
import numpy as np
import torch
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray
from torch import Tensor

from pipeline.decode.planes import unpack

RATE = Fraction(25)
LEAD = 2
"""Frames before a single one: most frames of a file are not key frames but made from others."""
PAN_PX = 3
"""Largest motion per frame of that lead."""


_X264 = "mbtree=0:rc-lookahead=0"
"""Without x264's macroblock tree, which now and then gives other bytes for the same picture."""


@dataclass(frozen=True)
class Codec:
    """An encoder with its decoder, and the qualities that are drawn from."""

    name: str
    encoder: str
    decoder: str
    quality: tuple[int, int]
    """best and worst on the codec's own scale"""
    option: tuple[str, ...] = ("crf",)
    """options that the quality goes into"""
    options: Mapping[str, str] = field(default_factory=dict)
    pix_fmt: str = "yuv420p"


CODECS: Mapping[str, Codec] = MappingProxyType(
    {
        codec.name: codec
        for codec in (
            Codec("x264", "libx264", "h264", (16, 33), options={"preset": "medium", "x264-params": _X264}),
            Codec(
                "x264-fast", "libx264", "h264", (16, 33), options={"preset": "veryfast", "x264-params": _X264}
            ),
            Codec(
                "x265",
                "libx265",
                "hevc",
                (18, 35),
                options={
                    "preset": "superfast",
                    "x265-params": "log-level=none:pools=none:frame-threads=1:wpp=0",
                },
            ),
            Codec(
                "vp9",
                "libvpx-vp9",
                "vp9",
                (22, 48),
                options={"b": "0", "deadline": "realtime", "cpu-used": "6"},
            ),
            # Quantizers are held by their bounds: what FFmpeg's tool calls -q:v needs a field of each frame.
            Codec("mpeg4", "mpeg4", "mpeg4", (2, 8), ("qmin", "qmax")),
            Codec("jpeg", "mjpeg", "mjpeg", (2, 10), ("qmin", "qmax"), pix_fmt="yuvj420p"),
        )
    }
)
SHARES: Mapping[str, float] = MappingProxyType(
    {"x264": 0.3, "x264-fast": 0.25, "x265": 0.12, "vp9": 0.1, "mpeg4": 0.08, "jpeg": 0.15}
)
"""How often each is drawn: roughly what footage of the web is in."""


def draw_codec(generator: torch.Generator) -> tuple[Codec, int]:
    """A codec and a quality of its range."""
    which = torch.multinomial(torch.tensor(list(SHARES.values())), 1, generator=generator)
    codec = CODECS[list(SHARES)[int(which)]]
    low, high = codec.quality
    return codec, int(torch.randint(low, high + 1, (1,), generator=generator))


def through(
    pictures: NDArray[np.uint8], codec: Codec, quality: int, generator: torch.Generator
) -> list[tuple[Tensor, ...]]:
    """(T, H, W, 3) RGB, H and W even -> the planes of each frame after encoding and decoding, as in
    ``pipeline.types.Frame`` with ``codec.pix_fmt``.

    A single picture is the last frame of a short clip in which it pans. Raises ValueError for odd sizes.
    """
    T, H, W, _ = pictures.shape
    if H % 2 or W % 2:
        raise ValueError(f"pictures are {W} x {H} px; wanted even sizes, as chroma is halved")
    if T == 1:
        speed = torch.randint(-PAN_PX, PAN_PX + 1, (2,), generator=generator).tolist()
        moved = [np.roll(pictures[0], [k * s for s in speed], (0, 1)) for k in range(LEAD, 0, -1)]
        pictures = np.stack([*moved, pictures[0]])
    encoder, decoder = _open(codec, quality, W, H)
    out: list[tuple[Tensor, ...]] = []

    for pts, picture in enumerate([*pictures, None]):
        frame = None  # asks for what the encoder still holds
        if picture is not None:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
            frame = frame.reformat(format=codec.pix_fmt)
            frame.pts = pts
        for packet in encoder.encode(frame):
            out.extend(unpack(decoded) for decoded in decoder.decode(packet))
    out.extend(unpack(decoded) for decoded in decoder.decode(None))
    if len(out) != len(pictures):
        raise RuntimeError(f"{codec.name} gave {len(out)} frames back of {len(pictures)}")
    return out[-T:]


def _open(codec: Codec, quality: int, width: int, height: int) -> tuple[VideoCodecContext, VideoCodecContext]:
    encoder = av.CodecContext.create(codec.encoder, "w")
    decoder = av.CodecContext.create(codec.decoder, "r")
    assert isinstance(encoder, VideoCodecContext)
    assert isinstance(decoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, codec.pix_fmt
    encoder.time_base, encoder.framerate = 1 / RATE, RATE
    encoder.thread_count = decoder.thread_count = 1
    encoder.options = {**codec.options, **dict.fromkeys(codec.option, str(quality))}
    return encoder, decoder
