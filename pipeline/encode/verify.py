"""Was everything kept? A finished output against its source, by demuxing both."""

from __future__ import annotations

import hashlib
import logging
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import AttachmentStream, Stream
from numpy.typing import NDArray

from pipeline import decode
from pipeline.decode.open import codec_name, open_input
from pipeline.decode.planes import packing
from pipeline.decode.probe import probe
from pipeline.encode import EncodeSettings
from pipeline.encode.container import carried_tags
from pipeline.encode.passthrough import Cut, cut_of, is_rewritten_by_muxer
from pipeline.types import StreamInfo

_SAME_TIME_S = 1e-3
"""Two packets belong together within the coarsest clock among containers (Matroska's millisecond)."""


class State(StrEnum):
    KEPT = "kept"
    CHANGED = "changed"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that a run promises to keep."""

    name: str
    state: State
    source: str
    output: str


@dataclass(frozen=True, slots=True)
class Conservation:
    items: tuple[Item, ...]

    @property
    def broken(self) -> tuple[Item, ...]:
        """What was not kept."""
        return tuple(item for item in self.items if item.state is not State.KEPT)


def compare(
    source: StreamInfo,
    output: Path,
    settings: EncodeSettings | None = None,
    *,
    start_pts: int | None = None,
    end_pts: int | None = None,
) -> Conservation:
    """What an output kept of the frames ``start_pts <= pts < end_pts`` and of everything beside them.

    ``settings`` excuse what they ask for: dropped audio, tags that are overwritten. Raises InputError
    where either file cannot be read.
    """
    settings = settings or EncodeSettings()
    made = _probe_quietly(output)
    pts = np.frombuffer(array("q", source.pts), np.int64)
    first = 0 if start_pts is None else int(np.searchsorted(pts, start_pts))
    pts = pts[first : len(pts) if end_pts is None else int(np.searchsorted(pts, end_pts))]
    shift = int(pts[0]) if start_pts is not None and len(pts) else 0
    cut = cut_of(source, start_pts, end_pts, shift)
    items = [*_video(source, made, pts - shift)]
    with open_input(source.path) as before, open_input(output) as after:
        if start_pts is None and end_pts is None:
            items.append(_item("chapters", _chapters(before), _chapters(after)))
        items += _tags("tag", before.metadata, after.metadata, settings.metadata)
        items += _streams(before, after, source, made, cut, settings)
    return Conservation(tuple(items))


def _probe_quietly(output: Path) -> StreamInfo:
    """What a reader may wonder about in our own output is no news to its user: the comparison tells."""
    reader = logging.getLogger(decode.__name__)
    level = reader.level
    reader.setLevel(logging.ERROR)
    try:
        return probe(output)
    finally:
        reader.setLevel(level)


def _item(name: str, source: object, output: object) -> Item:
    state = State.KEPT if source == output else State.LOST if output in {None, "none", ""} else State.CHANGED
    return Item(name, state, str(source), str(output))


def _video(source: StreamInfo, made: StreamInfo, pts: NDArray[np.int64]) -> Iterator[Item]:
    yield _item("frames", len(pts), len(made.pts))
    yield _times(source, made, pts)
    yield _item("size", f"{source.width}x{source.height}", f"{made.width}x{made.height}")
    yield _item("rotation", source.rotation, made.rotation)
    yield _item("sample aspect", source.sample_aspect, made.sample_aspect)
    yield _item("bit depth", source.bit_depth, made.bit_depth)
    yield _item("pixel format", packing(source.pix_fmt).planar, packing(made.pix_fmt).planar)
    yield _item("interlaced", source.interlaced, made.interlaced)
    for name in ("matrix", "primaries", "transfer"):
        yield _item(f"colour {name}", getattr(source.colour, name), getattr(made.colour, name))
    yield _item("colour range", _range(source), _range(made))


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
    off = np.abs(pts[:n] * float(source.time_base) - got[:n] * float(made.time_base))
    worst = f"off by up to {off.max() * 1000:.3f} ms" if n else "none"
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
    name: str, source: Mapping[str, str], output: Mapping[str, str], excused: Mapping[str, str]
) -> Iterator[Item]:
    got = {key.lower(): value for key, value in output.items()}
    for key, value in carried_tags(source).items():
        if key.lower() not in {excuse.lower() for excuse in excused}:
            yield _item(f"{name} {key.lower()}", value, got.get(key.lower()))


@dataclass(slots=True)
class _Track:
    """Packets of one stream that is not the processed video."""

    stream: Stream
    digest: Any = field(default_factory=lambda: hashlib.blake2b(digest_size=8))
    times_s: array[float] = field(default_factory=lambda: array("d"))

    @property
    def label(self) -> str:
        return f"{len(self.times_s)} packets, {self.digest.hexdigest()}"


def _tracks(container: InputContainer, processed: int, cut: Cut | None) -> list[_Track]:
    tracks = {
        stream.index: _Track(stream)
        for stream in container.streams
        if stream.index != processed and not is_rewritten_by_muxer(stream, container)
    }
    for track in tracks.values():
        if isinstance(track.stream, AttachmentStream):
            track.digest.update(track.stream.data)
    packets = container.demux([t.stream for t in tracks.values()]) if tracks else iter(())
    while True:
        try:
            packet = next(packets)
        except (StopIteration, FFmpegError):  # the decoder has told of a damaged source
            return list(tracks.values())
        track = tracks[packet.stream.index]
        if packet.size <= (2 if codec_name(track.stream) == "mov_text" else 0):  # fillers of MP4's muxer
            continue
        time = packet.pts if packet.pts is not None else packet.dts
        if time is not None:
            time_s = time * packet.time_base
            if cut is not None and not cut.holds(time_s):
                continue
            track.times_s.append(float(time_s - (cut.shift_s if cut else 0)))
        track.digest.update(_without_framing(track.stream, packet))


def _without_framing(stream: Stream, packet: Packet[Any]) -> bytes:
    """A packet's bytes; AAC without the ADTS header that MPEG-TS has and MP4 has not (13818-7, 6.2)."""
    data = bytes(packet)
    if codec_name(stream) == "aac" and len(data) > 9 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0:
        return data[7 if data[1] & 1 else 9 :]
    return data


def _streams(
    before: InputContainer,
    after: InputContainer,
    source: StreamInfo,
    made: StreamInfo,
    cut: Cut,
    settings: EncodeSettings,
) -> Iterator[Item]:
    left = _tracks(after, made.stream_index, None)
    for track in _tracks(before, source.stream_index, cut):
        if track.stream.type == "audio" and settings.audio == "drop":
            continue
        name = f"{track.stream.type} stream {track.stream.index}"
        kind = track.stream.type, codec_name(track.stream)
        twin = next((t for t in left if (t.stream.type, codec_name(t.stream)) == kind), None)
        if twin is None:
            yield Item(name, State.LOST, track.label, "none")
            continue
        left.remove(twin)
        yield _item(name, track.label, twin.label)
        yield _item(f"{name} language", track.stream.language or "und", twin.stream.language or "und")
        yield _item(f"{name} disposition", *(_disposition(t.stream) for t in (track, twin)))
        if len(track.times_s) == len(twin.times_s):
            off = np.abs(np.array(track.times_s) - np.array(twin.times_s))
            worst = float(off.max()) if len(off) else 0.0
            state = State.KEPT if worst < _SAME_TIME_S else State.CHANGED
            yield Item(f"{name} times", state, "as they are", f"off by up to {worst * 1000:.3f} ms")


def _disposition(stream: Stream) -> str:
    return str(int(stream.disposition) & ~1)  # "default" is the muxer's to give where nobody has it
