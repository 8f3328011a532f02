"""Compares a finished output with its source, and lists what was kept, changed or lost."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from pipeline.decode.open import open_input, stream_index
from pipeline.decode.planes import packing
from pipeline.decode.side_data import DISPLAY_MATRIX, LIGHT, MASTERING
from pipeline.decode.source import Source, open_source
from pipeline.encode import EncodeSettings
from pipeline.encode.container import GIVEN_TAGS, moved_tags, passthrough_tags, with_title
from pipeline.encode.cut import cut_of
from pipeline.encode.items import Item, State, item
from pipeline.encode.pictures import compare_pictures
from pipeline.encode.release import released_tags
from pipeline.encode.tracks import compare_tracks
from pipeline.notes import silent
from pipeline.types import StreamInfo

_SAME_GAP_S = 2e-5
"""Of times that are as far apart as before: two roundings to MPEG's clock."""


@dataclass(frozen=True, slots=True)
class Verification:
    items: tuple[Item, ...]

    @property
    def broken(self) -> tuple[Item, ...]:
        """Items that were changed or lost."""
        return tuple(i for i in self.items if i.state in {State.CHANGED, State.LOST})


def compare(
    source: Source,
    output: Path,
    settings: EncodeSettings | None = None,
    *,
    video: int = 0,
    start_pts: int | None = None,
    end_pts: int | None = None,
) -> Verification:
    """Compares the frames ``start_pts <= pts < end_pts`` and everything beside them.

    ``video`` says which of the output's video streams holds the frames, see ``Encoder.video``. Differences
    that ``settings`` ask for are no losses: dropped audio, tags that are overwritten. Raises InputError where
    either file cannot be read, CheckError where the output has no such stream.
    """
    settings = settings or EncodeSettings()
    with silent():  # the comparison reports what is unusual about the output
        made = open_source(output, stream_index(output, video))
    info = source.info
    pts = np.frombuffer(array("q", info.pts), np.int64)
    first = 0 if start_pts is None else int(np.searchsorted(pts, start_pts))
    pts = pts[first : len(pts) if end_pts is None else int(np.searchsorted(pts, end_pts))]
    shift = int(pts[0]) if start_pts is not None and len(pts) else 0
    cut = cut_of(info, start_pts, end_pts, shift)
    items = [*_video(source, made, pts - shift)]
    items += compare_pictures(source, made, first, len(pts), settings)
    with open_input(source.path) as before, open_input(output) as after:
        if start_pts is None and end_pts is None:
            items.append(item("chapters", _chapters(before), _chapters(after)))
        tags = {k: v for k, v in source.metadata.items() if not _names_muxer(k, before, after)}
        items += _tags("tag", moved_tags(tags, info, cut, []), made.metadata, settings)
        processed = info.stream_index, made.info.stream_index
        ours, theirs = before.streams[processed[0]].metadata, after.streams[processed[1]].metadata
        items += _stream_tags(moved_tags(ours, info, cut, []), theirs, settings)
        items += compare_tracks(before, after, processed, source.packets.pieces, cut, settings)
    return Verification(tuple(items))


def _video(before: Source, after: Source, pts: NDArray[np.int64]) -> Iterator[Item]:
    source, made = before.info, after.info
    yield item("frames", len(pts), len(made.pts))
    yield _times(source, made, pts)
    yield item("size", f"{source.width}x{source.height}", f"{made.width}x{made.height}")
    yield item("rotation", _orientation(source), _orientation(made))
    yield item("sample aspect", source.sample_aspect, made.sample_aspect)
    yield item("bit depth", source.bit_depth, made.bit_depth)
    yield item("pixel format", packing(source.pix_fmt).planar, packing(made.pix_fmt).planar)
    yield item("interlaced", source.interlaced, made.interlaced)
    for name in ("matrix", "primaries", "transfer"):
        yield item(f"colour {name}", getattr(source.colour, name), getattr(made.colour, name))
    yield item("colour range", _range(source), _range(made))
    if before.tags.mastering_display is not None:
        same = before.tags.mastering_display == after.tags.mastering_display
        yield item("mastering display", "there", "there" if same else "none")
    if before.tags.content_light is not None:
        yield item("light levels", before.tags.content_light, after.tags.content_light)
    for name, value in before.side_data.items():
        if name not in {DISPLAY_MATRIX, MASTERING, LIGHT}:
            yield item(name, value, after.side_data.get(name))


def _orientation(info: StreamInfo) -> str:
    return f"{info.rotation}{' mirrored' if info.mirrored else ''}"


def _range(info: StreamInfo) -> str:
    """Silence means limited range in every codec of YUV, and some can say so only by silence."""
    rgb = av.VideoFormat(packing(info.pix_fmt).planar).is_rgb
    return "tv" if info.colour.range == "unknown" and not rgb else info.colour.range


def _times(source: StreamInfo, made: StreamInfo, pts: NDArray[np.int64]) -> Item:
    """Exact comparison of rational times; both files count in their own units."""
    ratio = source.time_base / made.time_base
    got = np.frombuffer(array("q", made.pts), np.int64)
    same = len(pts) == len(got) and bool((pts * ratio.numerator == got * ratio.denominator).all())
    if same:
        return Item("times", State.KEPT, f"{len(pts)} exact", f"{len(got)} exact")
    n = min(len(pts), len(got))
    off = got[:n] * float(made.time_base) - pts[:n] * float(source.time_base)
    worst = f"off by up to {np.abs(off).max() * 1000:.3f} ms" if n else "none"
    if len(pts) == len(got) and n and np.ptp(off) < _SAME_GAP_S:
        worst = f"all {abs(off[0]) * 1000:.3f} ms {'later' if off[0] > 0 else 'earlier'}"
    return Item("times", State.CHANGED, f"{len(pts)} exact", worst)


def _chapters(container: InputContainer) -> str:
    spans = []
    for chapter in container.chapters():
        base = chapter["time_base"] or Fraction(1)
        title = chapter["metadata"].get("title", "")
        spans.append(
            f"{float(chapter['start'] * base):.3f}-{float(chapter['end'] * base):.3f} {title}".strip()
        )
    return ", ".join(spans) or "none"


def _tags(
    name: str, source: Mapping[str, str], output: Mapping[str, str], settings: EncodeSettings, kind: str = ""
) -> Iterator[Item]:
    got = {key.lower(): value for key, value in output.items()}
    excused = {key.lower() for key in settings.metadata} if not kind else set()
    carried = passthrough_tags(source)
    released = released_tags(carried, settings, kind)
    for key, value in carried.items():
        if key not in released and got.get(key.lower()) != value:
            yield Item(f"{name} {key.lower()}", State.REMOVED, value, "none")
        elif key.lower() not in excused:
            told = got.get(key.lower())
            yield item(
                f"{name} {key.lower()}", value, value if told == _in_whole_seconds(key, value) else told
            )


def _names_muxer(name: str, before: InputContainer, after: InputContainer) -> bool:
    """True for AVI's ISFT: of the program that wrote the file, as other containers' ``encoder``."""
    return name.lower() == "software" and before.format.name == after.format.name == "avi"


def _in_whole_seconds(name: str, value: str) -> str | None:
    """A time of creation as MP4 and MOV count it, as FFmpeg writes it; None for another tag."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?Z", value)
    return f"{found.group(1)}.000000Z" if found and name.lower() == "creation_time" else None


def _stream_tags(
    before: Mapping[str, str], after: Mapping[str, str], settings: EncodeSettings
) -> Iterator[Item]:
    """Of the processed stream, but those that a muxer gives by itself."""
    tags = {k: v for k, v in with_title(before).items() if k.lower() not in GIVEN_TAGS}
    return _tags("video tag", tags, with_title(after), settings, "video")
