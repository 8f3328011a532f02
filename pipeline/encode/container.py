"""The output container: format, clock, tags and chapters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from math import lcm
from pathlib import Path

import numpy as np
from av.container import InputContainer, OutputContainer

from pipeline.decode.open import is_cover
from pipeline.encode.cut import Cut
from pipeline.encode.passthrough import early_sound
from pipeline.types import StreamInfo

# Tags that describe the file they stand in; a muxer writes its own.
_OWN_TAGS = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration", "alpha_mode"}
GIVEN_TAGS = {"handler_name", "vendor_id", "language", "duration"}
"""Tags of a stream that muxers write by themselves, or that are compared as what they are."""
_OWN_PREFIXES = ("bps", "number_of_", "_statistics_")
# What MP4 keeps among its iTunes tags, and MOV in its user data; any other name needs the QuickTime way
# of storing all tags by name.
_MP4_TAGS = {
    "title", "artist", "author", "album_artist", "composer", "writer", "album", "date", "comment", "genre",
    "copyright", "grouping", "lyrics", "description", "synopsis", "show", "episode_id", "network", "keywords",
    "episode_sort", "season_number", "media_type", "hd_video", "gapless_playback", "compilation", "track",
    "disc", "creation_time", "sort_name", "sort_artist", "sort_album", "sort_composer", "sort_show",
}  # fmt: skip
_MOV_TAGS = {
    "title", "artist", "author", "album", "date", "genre", "copyright", "make", "model", "location",
    "keywords", "creation_time",
}  # fmt: skip
MOV_FAMILY = {"mp4", "mov", "ipod", "3gp", "3g2", "f4v"}
"""FFmpeg's names of one muxer; ipod is .m4v and .m4a."""
_CLOCKS = {
    **{"matroska": ("Matroska", 1000), "webm": ("WebM", 1000), "flv": ("FLV", 1000), "asf": ("ASF", 1000)},
    **{"mpegts": ("MPEG-TS", 90_000), "vob": ("MPEG-PS", 90_000)},
}
"""Name, and units a second."""


def passthrough_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags without those that describe the source file itself."""
    return {
        name: value
        for name, value in tags.items()
        if name.lower() not in _OWN_TAGS and not name.lower().startswith(_OWN_PREFIXES)
    }


def with_title(tags: Mapping[str, str]) -> dict[str, str]:
    """A stream's tags with its title under that name: MP4 and MOV are read with ``name``, and written with
    ``title``."""
    made = dict(tags)
    name = next((key for key in made if key.lower() == "name"), None)
    if name is not None:
        made.setdefault("title", made.pop(name))
    return made


def moved_tags(tags: Mapping[str, str], info: StreamInfo, cut: Cut, lost: list[str]) -> dict[str, str]:
    """The tags with the time code of the first frame that is kept; what cannot be told goes to ``lost``."""
    made = dict(tags)
    for name, value in tags.items():
        if name.lower() == "timecode" and cut.start_s is not None:
            frames = round((cut.start_s - info.pts[0] * info.time_base) * info.rate)
            moved = moved_timecode(value, frames, info.rate)
            if moved is not None:
                made[name] = moved
                continue
            del made[name]
            lost.append(f"time code {value} cannot be moved to the first frame that is kept")
    return made


def moved_timecode(text: str, frames: int, rate: Fraction) -> str | None:
    """A time code (SMPTE 12M, ``HH:MM:SS:FF``, ``;`` before the frames where numbers are dropped) some frames
    later; None for a text that is none."""
    found = re.fullmatch(r"(\d\d):(\d\d):(\d\d)([:;.])(\d\d)", text)
    nominal = round(rate)
    if found is None or nominal < 1:
        return None
    hours, minutes, seconds, frame = (int(found.group(k)) for k in (1, 2, 3, 5))
    per_minute = nominal * 60
    dropped = round(nominal / 15) if found.group(4) != ":" else 0  # 2 of 30, 4 of 60
    count = ((hours * 60 + minutes) * 60 + seconds) * nominal + frame
    count -= dropped * (hours * 54 + minutes - minutes // 10)
    count += frames
    tens, rest = divmod(count, per_minute * 10 - 9 * dropped)
    if dropped and rest >= per_minute:
        rest += dropped * (1 + (rest - per_minute) // (per_minute - dropped))
    count = tens * per_minute * 10 + rest
    whole, frame = divmod(count, nominal)
    hours, minutes, seconds = whole // 3600 % 24, whole // 60 % 60, whole % 60
    return f"{hours:02}:{minutes:02}:{seconds:02}{found.group(4)}{frame:02}"


def container_options(
    container: str,
    source: InputContainer,
    tags: Mapping[str, str],
    cut: Cut,
    lost: list[str],
    boxes: bool = False,
    of_bluray: bool = False,
) -> dict[str, str]:
    """Options of the muxer that keep times exact and tags whole; what has no place goes to ``lost``.

    ``of_bluray`` is MPEG-TS as on Blu-ray and of AVCHD, in packets of 192 bytes. With ``boxes`` MP4 takes
    what stands beside the codec in boxes that are not part of its standard.
    """
    if container == "mpegts":
        return {"mpegts_copyts": "1", "mpegts_m2ts_mode": str(int(of_bluray))}
    if container == "nut" and cut.start_s is None and early_sound(Path(source.name)):
        lost.append("nut cannot begin before 0, where the sound does: all streams are later")
        return {}
    if container in {"nut", "ivf"}:  # no decoding times, so reordering makes none below 0
        return {"avoid_negative_ts": "disabled"}
    if container not in MOV_FAMILY:
        return {}
    clocks = [s.time_base.denominator for s in source.streams if s.time_base and s.type in {"video", "audio"}]
    common = lcm(*clocks)
    # Starts of streams are told in the movie's clock; in its usual milliseconds they would be rounded.
    clock = common if common < 1 << 31 else max(clocks)
    options = {"movie_timescale": str(clock)}
    if boxes:
        options["strict"] = "unofficial"
    known = _MOV_TAGS if container == "mov" else _MP4_TAGS
    free = [name for name in tags if name.lower().split("-")[0] not in known]
    if free and any(is_cover(stream) for stream in source.streams.video):
        lost.append(f"{container} has no place for tags of other names beside a cover: {', '.join(free)}")
    elif free:
        options["movflags"] = "+use_metadata_tags"
    return options


def cut_chapters(source: InputContainer, out: OutputContainer, cut: Cut) -> None:
    """Chapters of the part that is kept, moved with everything else."""
    chapters = []
    for chapter in source.chapters():
        base = chapter["time_base"] or Fraction(1)
        start, end = chapter["start"] * base, chapter["end"] * base
        start = start if cut.start_s is None else max(start, cut.start_s)
        end = end if cut.end_s is None else min(end, cut.end_s)
        if start < end:
            moved = (round((time - cut.shift_s) / base) for time in (start, end))
            chapters.append({**chapter, **dict(zip(("start", "end"), moved, strict=True))})
    if chapters:
        out.set_chapters(chapters)  # type: ignore[arg-type]  # still the TypedDict that it was


def clock_loss(container: str, info: StreamInfo, frames: slice, shift_pts: int) -> str | None:
    """A sentence where the container's clock cannot tell the times of the frames at these positions, which
    are ``shift_pts`` less in the output."""
    name, rate = _CLOCKS.get(container, ("", 0))
    scale = info.time_base * rate
    if scale.denominator == 1:
        return None
    times = np.array(info.pts[frames], np.int64) - shift_pts
    parts = times * scale.numerator % scale.denominator
    worst = int(np.minimum(parts, scale.denominator - parts).max(initial=0))
    if not worst:
        return None
    off_ms = 1000 * worst / scale.denominator / rate
    return f"{name} counts 1/{rate} s: times of pictures are rounded by up to {off_ms:.3f} ms"
