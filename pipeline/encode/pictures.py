"""The pictures of an output beside those of its source: their order, their fields, what belongs to them.

Both files are decoded anew. A picture is known by the brightness of 16 x 16 places: a covered face changes
some of them, another picture changes most.
"""

from __future__ import annotations

import struct
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from pipeline.decode.field_order import is_top_first
from pipeline.decode.frame_data import EXIF, held_data
from pipeline.decode.picture_data import is_encoder_note
from pipeline.decode.pyav import PyAVDecoder
from pipeline.decode.source import Source
from pipeline.encode import EncodeSettings
from pipeline.encode.gop_codes import GopCode, compare_codes
from pipeline.encode.items import Item, State, item

_PLACES = 16
_MOST = 240
"""Pictures that are decoded at most, at the beginning, in the middle and at the end."""
_REACH = 2
"""Pictures before and after, with which one may have been exchanged."""
_LEVELS = 1.5
"""of 255: what coding may change in the brightness of a place"""
_OWN = {
    Type.DISPLAYMATRIX, Type.MASTERING_DISPLAY_METADATA, Type.CONTENT_LIGHT_LEVEL,
    Type.MOTION_VECTORS, Type.VIDEO_ENC_PARAMS, Type.REGIONS_OF_INTEREST, Type.VIDEO_HINT,
    Type.DOVI_METADATA,
}  # fmt: skip
"""Compared elsewhere, or made by the decoder."""
_LASTING = {"STEREO3D", "SPHERICAL", "AMBIENT_VIEWING_ENVIRONMENT", "ICC_PROFILE", "AFD", "PANSCAN"}
"""Hold until they are told anew, so how often they are told does not matter."""


@dataclass(slots=True)
class _Seen:
    sketches: list[NDArray[np.float32]] = field(default_factory=list)
    fields: list[str] = field(default_factory=list)
    data: Counter[str] = field(default_factory=Counter)
    codes: list[GopCode] = field(default_factory=list)
    shown_parts: list[str] = field(default_factory=list)
    """What MPEG-2 says of the part of the picture that a display shows, one after the other."""


def compare_pictures(
    source: Source, made: Source, first: int, count: int, settings: EncodeSettings
) -> Iterator[Item]:
    """``count`` pictures of the output with those of the source from position ``first`` on."""
    ours, theirs, wrong = _Seen(), _Seen(), 0
    for start, length in _windows(count):
        before, after = _Seen(), _Seen()
        _look(source, first, start, length, before)
        _look(made, 0, start, length, after)
        wrong += _misplaced(before.sketches, after.sketches)
        for total, part in ((ours, before), (theirs, after)):
            total.fields += part.fields
            total.data += part.data
            total.codes += part.codes
            total.shown_parts += part.shown_parts
    looked = sum(length for _, length in _windows(count))
    yield item("order of pictures", f"{looked} looked at", f"{looked - wrong} looked at")
    yield item("order of fields", _told(ours.fields), _told(theirs.fields))
    for name in sorted(ours.data):
        had, has = ours.data[name], theirs.data[name]
        if name in _LASTING:
            has = had if has else 0
        private = name in {Type.SEI_UNREGISTERED.name, EXIF} and not settings.keep_metadata
        if private and has < had:
            yield Item(f"picture data {name}", State.REMOVED, f"{had} pictures", f"{has} pictures")
        elif name == Type.GOP_TIMECODE.name and has:
            yield compare_codes(ours.codes, theirs.codes, max(round(source.info.rate), 1))
        elif name == Type.PANSCAN.name:
            yield item(f"picture data {name}", _told(ours.shown_parts), _told(theirs.shown_parts))
        else:
            yield item(f"picture data {name}", f"{had} pictures", f"{has} pictures" if has else "none")


def _windows(count: int) -> list[tuple[int, int]]:
    if count <= _MOST:
        return [(0, count)]
    part = _MOST // 3
    return [(0, part), ((count - part) // 2, part), (count - part, part)]


def _look(source: Source, begin: int, start: int, count: int, seen: _Seen) -> None:
    """At ``count`` pictures from ``start`` on, of those that begin at position ``begin``."""
    first = begin + start
    decoder = PyAVDecoder(source)
    for index, picture in decoder.pictures(first):
        if index < first:
            continue
        if index >= first + count:
            return
        seen.sketches.append(_sketch(picture))
        if index - first < 3:
            seen.fields.append(_field(picture))
        seen.data.update(_data(picture))
        for held in held_data(picture):
            if held.type is Type.GOP_TIMECODE:
                bits = int.from_bytes(bytes(memoryview(held)), sys.byteorder)
                seen.codes.append(GopCode(index - begin, bits))
            elif held.type is Type.PANSCAN and (part := _shown_part(picture, bytes(memoryview(held)))):
                seen.shown_parts.append(part)


def _sketch(picture: VideoFrame) -> NDArray[np.float32]:
    """(16, 16) brightness in 0..255."""
    small = picture.reformat(_PLACES, _PLACES, "gray", interpolation=Interpolation.AREA)
    rows = np.frombuffer(memoryview(small.planes[0]), np.uint8).reshape(_PLACES, -1)
    return rows[:, :_PLACES].astype(np.float32)


def _field(picture: VideoFrame) -> str:
    if not picture.interlaced_frame:
        return "progressive"
    return "top first" if is_top_first(picture) else "bottom first"


def _told(fields: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(fields)) or "none"


def _data(picture: VideoFrame) -> set[str]:
    """Names of what belongs to the picture."""
    names = set()
    for held in held_data(picture):
        content = bytes(memoryview(held))
        empty_scan = held.type is Type.PANSCAN and not _shown_part(picture, content)
        notes = held.type is Type.SEI_UNREGISTERED and is_encoder_note(content)
        if held.type not in _OWN and not empty_scan and not notes:
            names.add(held.type.name)
    return names


def _shown_part(picture: VideoFrame, content: bytes) -> str:
    """What FFmpeg's AVPanScan says: size and, where it is not the middle, up to three places in px, as a
    picture may have fields that are shown anew. Empty for the whole picture."""
    _, width, height, *places = struct.unpack("=3i6h", content[:24])
    if (width, height) in {(0, 0), (16 * picture.width, 16 * picture.height)} and not any(places):
        return ""
    return f"{width / 16:g}x{height / 16:g}" + "".join(f" {place / 16:+g}" for place in places if any(places))


def _misplaced(before: Sequence[NDArray[np.float32]], after: Sequence[NDArray[np.float32]]) -> int:
    """Pictures that are another one of those around their place. Half of their places at least differ from
    the picture that should be there, and hardly any from the other one."""
    wrong = abs(len(before) - len(after))
    for at, (ours, theirs) in enumerate(zip(before, after, strict=False)):
        own = _distance(ours, theirs)
        if own < _LEVELS:
            continue
        around = range(max(at - _REACH, 0), min(at + _REACH + 1, len(before)))
        nearest = min(_distance(before[other], theirs) for other in around)
        wrong += nearest < own / 2
    return wrong


def _distance(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(np.median(np.abs(one - other)))
