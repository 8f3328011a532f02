"""Which encoder writes the video, with which options."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

import av
import numpy as np
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext

from pipeline.decode.field_order import INTERLACED_ORDERS, TOP_FIRST
from pipeline.decode.side_data import description
from pipeline.decode.source import PictureTags, Source
from pipeline.encode import EncodeSettings
from pipeline.encode.encoder_names import FAMILY, NVENC_SPEEDS, SPEEDS, is_in_ffmpeg
from pipeline.encode.pixel_formats import Target, choose_format
from pipeline.encode.takes import PROGRAM_STREAMS, encoders_for, keeps_raw, takes_pictures
from pipeline.errors import UsageError
from pipeline.notes import decided, warned
from pipeline.types import StreamInfo

log = logging.getLogger(__name__)

_NVENC = {"h264": "h264_nvenc", "hevc": "hevc_nvenc", "av1": "av1_nvenc", "libdav1d": "av1_nvenc"}
"""Encoders on the GPU, by the source's codec. H100 and A100 have none, though FFmpeg knows all of them."""
_ALWAYS = ("libx264", "libx264rgb", "libvpx-vp9", "libx265", "ffv1", "dvvideo", "libvpx")
"""Tried in this order where the source's codec has no encoder, or the container refuses it."""
_ALPHA_CONTAINERS = ("matroska", "webm")
"""Hold the alpha plane of VP8 and VP9, which lies beside the packets; others drop it."""
# Where players expect what. FFV1 in MP4 or MOV is legal and hardly anything plays it: there, as in any
# container that is not named here, samples that H.264 and HEVC cannot hold are lost, with a warning.
_ONLY_IN = {
    "libvpx-vp9": _ALPHA_CONTAINERS,
    "ffv1": ("matroska", "nut", "avi"),
    "dvvideo": ("dv",),
    "libvpx": ("ogg", "ogv"),
}

COUNTING = ("mpeg1video", "mpeg2video")
"""Encoders whose clock counts frames of one rate, and nothing between."""
_MPEG1_RATES = tuple(
    Fraction(*rate)
    for rate in ((24000, 1001), (24, 1), (25, 1), (30000, 1001), (30, 1), (50, 1), (60000, 1001), (60, 1))
)
"""ISO 11172-2, 2.4.3.2: frame_rate"""

# Nearly transparent to the eye at normal viewing distance, by each encoder's own scale.
NVENC_NAMES = tuple(dict.fromkeys(_NVENC.values()))
_PROBE_PX = 256
"""NVENC refuses less than 145 px."""
_DEFAULTS: dict[str, dict[str, str]] = {
    "libx264": {"crf": "18", "preset": "medium"},
    "libx264rgb": {"crf": "18", "preset": "medium"},
    "libx265": {"crf": "20", "preset": "medium", "x265-params": "log-level=error"},
    "libsvtav1": {"crf": "24", "preset": "8"},
    "libvpx-vp9": {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"},
    "libvpx": {"crf": "8", "b": "50M", "deadline": "good", "cpu-used": "4"},
    "mjpeg": {"flags": "+qscale", "global_quality": str(2 * 118)},
    **{name: {"flags": "+qscale", "global_quality": str(2 * 118), "bf": "2"} for name in COUNTING},
    "ffv1": {"level": "3"},
    **{name: {"rc": "vbr", "cq": "19", "b": "0", "preset": "p5", "tune": "hq"} for name in NVENC_NAMES},
}
# superfast, with the look-ahead over macroblocks that it leaves out and with B-frames at fixed places: half
# of the processor time of veryfast, for files that are 1 to 25 % larger.
_SUPERFAST = {"preset": "superfast", "x264-params": "mbtree=1:rc-lookahead=10:b-adapt=0"}
_QUICK: dict[str, dict[str, str]] = {
    "libx264": _SUPERFAST,
    "libx264rgb": _SUPERFAST,
    "libx265": {"preset": "veryfast"},
    "libsvtav1": {"preset": "10"},
    "libvpx-vp9": {"cpu-used": "6"},
    "libvpx": {"cpu-used": "6"},
}
_PRESET_OPTION = {"libvpx": "cpu-used", "libvpx-vp9": "cpu-used"}
_COUNTED_SPEEDS = {
    "libsvtav1": (12, 11, 10, 9, 9, 8, 6, 4, 2, 1),
    "libvpx-vp9": (8, 7, 6, 5, 5, 4, 3, 2, 1, 0),
    "libvpx": (8, 7, 6, 5, 5, 4, 3, 2, 1, 0),
}
_NAMED_SPEEDS = ("libx264", "libx264rgb", "libx265")
_WORST_CRF = 51
"""Worst quality of H.264 and HEVC at 8 bits; their options state no bound."""
_PARAMS = {"libx264": "x264-params", "libx264rgb": "x264-params", "libx265": "x265-params"}
_FIELDS = (
    "libx264",
    "libx264rgb",
    "prores_ks",
    "ffv1",
    "ffvhuff",
    "huffyuv",
    "rawvideo",
    "mpeg2video",
    "dvvideo",
)
"""Encoders of interlaced frames: the picture, or the container where the codec has no word for it, tells
which field comes first."""
FIELDS_LOST = "the order of fields"
_CHROMA_PLACES = ("left", "center", "topleft", "top", "bottomleft", "bottom")


@dataclass(frozen=True, slots=True)
class Choice:
    """An encoder ready to be opened."""

    encoder: str
    target: Target
    options: dict[str, str]
    ignored: tuple[str, ...]
    """Settings that the encoder has no option for."""


def choices(settings: EncodeSettings, info: StreamInfo, planar: str, container: str) -> Iterator[Choice]:
    """Encoders to try, best first.

    Raises OutputError where a named encoder does not exist or does not fit the container, UsageError where
    a preset or a quality is none of the encoder's: only what an encoder cannot do leads to the next one.
    """
    if settings.codec != "auto":
        names: tuple[str, ...] = encoders_for(settings.codec, container)
    else:
        mpeg = _mpeg_video(info) if container in PROGRAM_STREAMS else ()
        on_gpu = () if mpeg else _on_gpu(info, settings.gpu)
        always = (name for name in _ALWAYS if container in _ONLY_IN.get(name, (container,)))
        names = (*mpeg, *on_gpu, *FAMILY.get(info.codec, ()), *always)
    candidates = []
    for rank, name in enumerate(dict.fromkeys(names)):
        if not is_in_ffmpeg(name) or not takes_pictures(name, container):
            continue
        target = _target(name, planar, info, container)
        if target is not None and name == "rawvideo":
            size = info.width, info.height
            target = target if keeps_raw(target.pix_fmt, *size, container) else None
        if target is not None and info.interlaced and name not in _FIELDS:
            target = replace(target, losses=(*target.losses, FIELDS_LOST))
        if target is not None:
            losses = 0 if name in COUNTING else len(target.losses)
            candidates.append((losses, rank, name, target))
    # An encoder that keeps every sample goes before the source's own codec, and MPEG video before any other
    # where it stands at all.
    for _, _, name, target in sorted(candidates, key=lambda entry: entry[:2]):
        if name == "libsvtav1":  # it writes to the terminal itself, and asks nothing else how much
            os.environ.setdefault("SVT_LOG", "1")
        yield Choice(name, target, *_options(name, settings))


def _mpeg_video(info: StreamInfo) -> tuple[str, ...]:
    """MPEG-1 where the source is that, else MPEG-2."""
    return COUNTING if info.codec == "mpeg1video" and not info.interlaced else COUNTING[1:]


def counted_rate(encoder: str, rate: Fraction) -> Fraction:
    """That of a counting encoder's rates which is nearest to ``rate``, in frames/s."""
    known = _MPEG1_RATES if encoder == "mpeg1video" else av.Codec(encoder, "w").frame_rates or _MPEG1_RATES
    rates = [Fraction(one.numerator, one.denominator) for one in known]
    return min(rates, key=lambda one: abs(one / rate - 1))


def _on_gpu(info: StreamInfo, gpu: int | None) -> tuple[str, ...]:
    """NVENC's encoder that continues the source's codec, if there is one that encodes; why not is logged."""
    name = _NVENC.get(info.codec)
    if gpu is None or name is None or info.interlaced:
        return ()
    refusal = nvenc_refusal(name, gpu)
    decided(log, "encoder: %s", f"{name} on GPU {gpu}" if not refusal else f"on the CPU; {name}: {refusal}")
    return () if refusal else (name,)


@lru_cache(maxsize=16)
def nvenc_refusal(name: str, gpu: int) -> str:
    """Why an encoder of NVENC does not work on a GPU, found out by encoding a frame; empty where it does."""
    if not is_in_ffmpeg(name):
        return "not in this FFmpeg"
    writer = av.CodecContext.create(name, "w")
    assert isinstance(writer, VideoCodecContext)
    writer.width = writer.height = _PROBE_PX
    writer.pix_fmt, writer.time_base, writer.framerate = "yuv420p", Fraction(1, 25), Fraction(25)
    writer.options = {"gpu": str(gpu)}
    picture = av.VideoFrame(_PROBE_PX, _PROBE_PX, "yuv420p")
    for plane in picture.planes:
        plane.update(bytes([128]) * plane.buffer_size)
    picture.pts = 0
    try:
        packets = writer.encode(picture) + writer.encode(None)
    except (av.FFmpegError, ValueError, OSError) as error:
        return str(error).strip().splitlines()[0]
    return "" if any(packet.size for packet in packets) else "a frame went in and no packet came out"


def _target(encoder: str, planar: str, info: StreamInfo, container: str) -> Target | None:
    if encoder.startswith("libvpx") and planar.startswith("yuva") and container not in _ALPHA_CONTAINERS:
        opaque = choose_format(encoder, planar.replace("yuva", "yuv"), info.width, info.height)
        return opaque and replace(opaque, losses=(*opaque.losses, "the alpha plane"))
    return choose_format(encoder, planar, info.width, info.height)


def _options(encoder: str, settings: EncodeSettings) -> tuple[dict[str, str], tuple[str, ...]]:
    """Options of an encoder, and those settings that it has no option for. Raises UsageError."""
    options, ignored = dict(_DEFAULTS.get(encoder, {})), []
    if settings.quick and settings.preset is None:
        options |= _QUICK.get(encoder, {})
    context = av.CodecContext.create(encoder, "w")
    bounds = {option.name: (option.min, option.max) for option in context.supported_options.private}
    if settings.gpu is not None and encoder in NVENC_NAMES:
        options["gpu"] = str(settings.gpu)
    speed = _PRESET_OPTION.get(encoder, "preset")
    quality = "cq" if encoder in NVENC_NAMES else "crf"
    if settings.crf is not None and quality in bounds:
        options[quality] = _quality(encoder, settings.crf, bounds[quality])
    elif settings.crf is not None:
        ignored.append(f"crf {settings.crf:g}")
    if settings.preset is not None and speed in bounds:
        options[speed] = _speed(encoder, settings.preset, bounds[speed])
    elif settings.preset is not None:
        ignored.append(f"preset {settings.preset}")
    return options, tuple(ignored)


def _quality(encoder: str, crf: float, bounds: tuple[float, float]) -> str:
    worst = _WORST_CRF if encoder in _NAMED_SPEEDS else bounds[1]
    if not 0 <= crf <= worst:
        raise UsageError(f"{encoder} has no crf {crf:g}; wanted 0 (best) to {worst:g}")
    return f"{crf:g}"


def _speed(encoder: str, preset: str, bounds: tuple[float, float]) -> str:
    """The encoder's own word for a preset. Encoders would tell of a wrong one past our log."""
    if encoder in _COUNTED_SPEEDS and preset in SPEEDS:
        return str(_COUNTED_SPEEDS[encoder][SPEEDS.index(preset)])
    if encoder in NVENC_NAMES:
        if preset in SPEEDS:
            return NVENC_SPEEDS[SPEEDS.index(preset)]
        if preset in NVENC_SPEEDS:
            return preset
        raise UsageError(f"{encoder} has no preset {preset!r}; wanted p1 to p7, or {', '.join(SPEEDS)}")
    wanted = ", ".join(SPEEDS)
    if encoder in _COUNTED_SPEEDS:
        low, high = int(bounds[0]), int(bounds[1])
        if re.fullmatch(r"-?\d{1,3}", preset) and low <= int(preset) <= high:
            return preset
        wanted = f"{low} to {high}, or {wanted}"
    elif encoder not in _NAMED_SPEEDS or preset in SPEEDS:
        return preset
    raise UsageError(f"{encoder} has no preset {preset!r}; wanted {wanted}")


def with_field_order(source: Source) -> PictureTags:
    """The source's tags, with the top field first where interlaced video does not say which one is."""
    tags = source.tags
    if not source.info.interlaced or tags.field_order in INTERLACED_ORDERS:
        return tags
    warned(log, "%s does not say which field comes first; the top one is assumed", source.path.name)
    return replace(tags, field_order=INTERLACED_ORDERS[0])


def tag_options(choice: Choice, tags: PictureTags, place: str | None, lost: list[str]) -> dict[str, str]:
    """All options of an encoder, with those that write what PyAV has no attribute for.

    ``place`` is that of `chroma_place`. What the encoder cannot write is added to ``lost``.
    """
    encoder, options, params = choice.encoder, dict(choice.options), []
    if place is not None:
        options["chroma_sample_location"] = place
    interlaced = tags.field_order in INTERLACED_ORDERS
    if interlaced and encoder.startswith("libx264"):
        params.append("tff=1" if tags.field_order in TOP_FIRST else "bff=1")
    elif interlaced and encoder in {"prores_ks", "mpeg2video"}:
        options["flags"] = options.get("flags", "") + "+ildct"
    if tags.mastering_display is not None or tags.content_light is not None:
        if encoder in {"libx264", "libx265"}:
            params += _hdr(encoder, tags)
        else:
            lost.append(f"{encoder} takes no mastering display and content light data; they are lost")
    if params:
        name = _PARAMS[encoder]
        options[name] = ":".join([*([options[name]] if name in options else []), *params])
    return options


def _hdr(encoder: str, tags: PictureTags) -> list[str]:
    """SMPTE ST 2086 and CTA-861.3 data in the notation of x264 and x265."""
    params = []
    if tags.mastering_display is not None:
        # AVMasteringDisplayMetadata: rationals of R, G, B, white (x, y), least and most luminance, two flags
        pairs = np.frombuffer(tags.mastering_display, "=i4")[:20].reshape(10, 2)
        values = [Fraction(int(n), int(d)) if d else Fraction(0) for n, d in pairs]
        red, green, blue, white = ([round(v * 50_000) for v in values[k : k + 2]] for k in (0, 2, 4, 6))
        least, most = (round(v * 10_000) for v in values[8:10])
        option = "mastering-display" if encoder == "libx264" else "master-display"
        points = zip(("G", "B", "R", "WP"), (green, blue, red, white), strict=True)
        text = "".join(f"{name}({x},{y})" for name, (x, y) in points)
        params.append(f"{option}={text}L({most},{least})")
    if tags.content_light is not None:
        name = "cll" if encoder == "libx264" else "max-cll"
        params.append(f"{name}={tags.content_light[0]},{tags.content_light[1]}")
    return params


def chroma_place(container: InputContainer, stream_index: int) -> str | None:
    """Where chroma samples lie if the source says so and not "left", which encoders assume.

    PyAV has no attribute for it; FFmpeg's own description of a file names it.
    """
    text = description(container)
    line = re.search(rf"Stream #0:{stream_index}\b.*?Video:.*", text)
    notes = re.findall(r"\(([^()]*)\)", line.group()) if line else []
    words = [word for note in notes for word in note.split(", ")]
    found = next((word for word in words if word in _CHROMA_PLACES), None)
    return None if found == "left" else found
