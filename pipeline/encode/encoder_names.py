"""Names that users and FFmpeg have for encoders and their speeds. Imports nothing heavy."""

from __future__ import annotations

import re

import av

from pipeline.errors import OutputError, UsageError

# Encoders that continue a source's codec. MPEG-4 part 2 is left out: its encoder knows coarse clocks only,
# and cannot keep times.
FAMILY = {
    "h264": ("libx264", "libx264rgb"),
    "hevc": ("libx265",),
    "av1": ("libsvtav1",),
    "libdav1d": ("libsvtav1",),
    "vp8": ("libvpx",),
    "vp9": ("libvpx-vp9",),
    "prores": ("prores_ks",),
    "mjpeg": ("mjpeg",),
    **{
        name: (name,)
        for name in ("ffv1", "ffvhuff", "huffyuv", "utvideo", "magicyuv", "png", "qtrle", "rawvideo")
    },
}

# x264's names of speeds, which are everybody's, on the scales of encoders that count.
SPEEDS = (
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo",
)  # fmt: skip
NVENC_SPEEDS = ("p1", "p1", "p2", "p3", "p4", "p5", "p6", "p7", "p7", "p7")


def is_in_ffmpeg(name: str) -> bool:
    """Whether this FFmpeg was built with the encoder."""
    try:
        av.Codec(name, "w")
    except ValueError:  # av.codec.codec.UnknownCodecError
        return False
    return True


def encoders_named(codec: str) -> tuple[str, ...]:
    """Encoders for what a user wrote: an encoder's name, or a codec's."""
    names = FAMILY.get(codec, (codec,))
    for name in filter(is_in_ffmpeg, names):
        if (kind := av.Codec(name, "w").type) != "video":
            raise OutputError(f"{name} is no video encoder but one for {kind}; try auto, libx264 or libx265")
    if not any(is_in_ffmpeg(name) for name in names):
        raise OutputError(f"there is no encoder {codec} in this FFmpeg; try auto, libx264, libx265 or ffv1")
    return names


def check_preset(preset: str, codec: str) -> None:
    """Raises UsageError for a word that no encoder of those that ``auto`` takes, or of a codec, knows as a
    speed. Other encoders have words of their own."""
    ours = {"auto", *FAMILY, *(name for names in FAMILY.values() for name in names)}
    words = {*SPEEDS, *NVENC_SPEEDS}
    if codec in ours and preset not in words and not re.fullmatch(r"-?\d{1,3}", preset):
        raise UsageError(f"no encoder has a preset {preset!r}; wanted {', '.join(SPEEDS)}")
