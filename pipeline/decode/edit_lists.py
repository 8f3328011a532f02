"""Edit lists of MP4 and MOV: which parts of a track are shown, and in which order.

FFmpeg shows the pictures of an edit list as they are meant, but of sound whole packets: where an edit begins
or ends within one, it is a packet too many or too few. Boxes: ISO/IEC 14496-12, 8.6.6.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from pipeline.decode.box_counts import boxes

_AROUND = frozenset((b"moov", b"trak", b"mdia", b"edts"))
_READ = frozenset((b"mvhd", b"tkhd", b"mdhd", b"elst"))
_MAX_LIST_BYTES = 1 << 17
"""4,096 edits, which `box_counts` admits, have at most 80 kB."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A part of a track. Times in seconds."""

    begin_s: Fraction
    """In what is shown."""
    end_s: Fraction
    media_s: Fraction | None
    """Where it begins in the track; None where nothing is shown."""


@dataclass(slots=True)
class _Track:
    number: int = 0
    unit: int = 0
    entries: list[tuple[int, int]] = field(default_factory=list)
    """Each edit's length in the movie's unit and its beginning in the track's, -1 for nothing."""


def several_edits(path: Path) -> Mapping[int, tuple[Edit, ...]]:
    """The edits of each track that has joints, by the track's number, which is `Stream.id`.

    A track whose one edit begins late, or which begins with nothing, has none. Empty for other files.
    """
    movie_unit, tracks = 0, [_Track()]
    with path.open("rb") as file:
        if file.read(8)[4:] not in {b"ftyp", b"moov", b"wide", b"mdat", b"free", b"skip"}:
            return {}
        for name, content in _index(file, 0, path.stat().st_size):
            if name == b"trak":
                tracks.append(_Track())
            elif name == b"mvhd":
                movie_unit = _after_dates(content)
            elif name == b"mdhd":
                tracks[-1].unit = _after_dates(content)
            elif name == b"tkhd":
                tracks[-1].number = _after_dates(content)
            else:
                tracks[-1].entries = _entries(content)
    found = {track.number: _edits(track, movie_unit) for track in tracks if track.unit and movie_unit}
    return {number: edits for number, edits in found.items() if len(edits) > 1}


def _index(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, bytes]]:
    """Names of the boxes, those around others before what they hold, and contents of those that are read."""
    for name, at, stop in boxes(file, start, end):
        if name in _READ:
            file.seek(at)
            yield name, file.read(min(stop - at, _MAX_LIST_BYTES))
        elif name in _AROUND:
            if name == b"trak":
                yield name, b""
            yield from _index(file, at, stop)


def _after_dates(content: bytes) -> int:
    """What follows two dates: units per second in ``mvhd`` and ``mdhd``, a track's number in ``tkhd``."""
    return int.from_bytes(content[20:24] if content[:1] == b"\1" else content[12:16], "big")


def _entries(content: bytes) -> list[tuple[int, int]]:
    form = ">Qqi" if content[:1] == b"\1" else ">Iii"
    size = struct.calcsize(form)
    count = min(int.from_bytes(content[4:8], "big"), (len(content) - 8) // size)
    return [struct.unpack_from(form, content, 8 + size * number)[:2] for number in range(count)]


def _edits(track: _Track, movie_unit: int) -> tuple[Edit, ...]:
    """Without what is empty at the beginning, which is a late begin, and at the end."""
    made: list[Edit] = []
    at = Fraction(0)
    for length, media in track.entries:
        begin, at = at, at + Fraction(length, movie_unit)
        edit = Edit(begin, at, Fraction(media, track.unit) if media >= 0 else None)
        if length > 0 and made and _goes_on(made[-1], edit, Fraction(1, movie_unit)):
            made[-1] = replace(made[-1], end_s=at)
        elif length > 0 and (media >= 0 or made):
            made.append(edit)
    while made and made[-1].media_s is None:
        made.pop()
    return tuple(made)


def _goes_on(edit: Edit, following: Edit, unit_s: Fraction) -> bool:
    """True where nothing is cut between two edits, whose lengths are rounded to ``unit_s``."""
    if edit.media_s is None or following.media_s is None:
        return edit.media_s is following.media_s
    return abs(edit.media_s + edit.end_s - edit.begin_s - following.media_s) <= unit_s
