"""The contact sheet: who is in a clip, one row per person, in pages, before the long run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

from pipeline.encode.atomic_file import write_whole
from pipeline.picture.cutout import Picture, cut_out
from pipeline.run.names import PER_PAGE
from pipeline.run.people_records import WEAK_SCORE, PersonRecord
from pipeline.types import Box, StreamInfo, TrackedFaces

_CELL_PX = 176
_GAP_PX = 4
_SHOWN = 8
"""Pictures per person."""
_PER_TRACK = 4
"""Pictures of a track that are kept at least, where it has so many."""
_LABEL_PX = 330
_AROUND = 1.6
"""Side of a picture over the longer side of the face."""
_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 90]
_BRIGHT_LEVEL, _MOST_GAIN = 130, 4.0
"""Of 255, that the brightest twentieth of a picture has at least, and the factor that may make it so."""
_MOST_NAMED = 6
"""Tracks that a label names."""


@dataclass(frozen=True, slots=True)
class _Shot:
    """A picture of a track."""

    time_s: float
    jpeg: bytes


class ContactSheet:
    """Cuts pictures of tracks out of frames that pass by; of a track fewer than 2 x ``_PER_TRACK`` are kept,
    as JPEG of some 8 kB."""

    def __init__(self, info: StreamInfo) -> None:
        self._info = info
        self._first_s = float(info.pts[0] * info.time_base)
        self._shots: dict[int, list[_Shot]] = {}
        self._strides: dict[int, int] = {}
        self._counts: dict[int, int] = {}

    def watch(self, items: Iterator[TrackedFaces]) -> Iterator[TrackedFaces]:
        """The same items."""
        for item in items:
            for tracked in item.regions:
                if tracked.seen and self._is_due(tracked.track):
                    self._add(tracked.track, item, tracked.region.box)
            yield item

    def _is_due(self, track: int) -> bool:
        count = self._counts.get(track, 0)
        self._counts[track] = count + 1
        return count % self._strides.get(track, 1) == 0

    def _add(self, track: int, item: TrackedFaces, box: Box) -> None:
        time_s = float(item.frame.pts * item.frame.time_base) - self._first_s
        info = self._info
        picture = cut_out(
            item.frame,
            box,
            around=_AROUND,
            side_px=_CELL_PX,
            rotation=info.rotation,
            mirrored=info.mirrored,
        )
        picture = _brightened(picture)
        _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), _JPEG)
        shots = self._shots.setdefault(track, [])
        shots.append(_Shot(time_s, jpeg.tobytes()))
        if len(shots) >= 2 * _PER_TRACK:
            del shots[1::2]
            self._strides[track] = 2 * self._strides.get(track, 1)

    def save(self, paths: Sequence[Path], people: Sequence[PersonRecord]) -> None:
        """Writes one PNG per page (``pages``): some pictures of each person, the number, and the times.
        Raises OutputError."""
        for page, path in enumerate(paths):
            rows = people[page * PER_PAGE : (page + 1) * PER_PAGE]
            sheet = self._page(rows, f"page {page + 1} of {len(paths)}, {len(people)} people")
            coded = BytesIO()
            sheet.save(coded, format="PNG")
            write_whole(path, coded.getvalue())

    def _page(self, people: Sequence[PersonRecord], title: str) -> Image.Image:
        row_px, cell_px, top_px = _CELL_PX + _GAP_PX, _CELL_PX + _GAP_PX, 34
        size = (_LABEL_PX + _SHOWN * cell_px, top_px + max(len(people), 1) * row_px)
        sheet = Image.new("RGB", size, (24, 24, 24))
        draw = ImageDraw.Draw(sheet)
        draw.text((10, 8), f"{self._info.path.name}: {title}", fill=(190, 190, 190), font_size=16)
        for row, person in enumerate(people):
            top = top_px + row * row_px
            sure = person.score is None or person.score >= WEAK_SCORE
            draw.text((10, top), str(person.person), fill="white" if sure else (150, 150, 150), font_size=40)
            draw.multiline_text((10, top + 52), self._label(person), fill=(220, 220, 220), font_size=15)
            for column, shot in enumerate(_picked([self._shots.get(t, []) for t in person.tracks])):
                left = _LABEL_PX + column * cell_px
                sheet.paste(Image.open(BytesIO(shot.jpeg)), (left, top))
                place = (left + 4, top + _CELL_PX - 18)
                draw.text(place, _clock(shot.time_s), fill="white", font_size=13, stroke_width=2,
                          stroke_fill="black")  # fmt: skip
        return sheet

    def _label(self, person: PersonRecord) -> str:
        times = "once" if person.appearances == 1 else f"{person.appearances} times"
        span = (_clock(t - self._first_s) for t in (person.first_s, person.last_s))
        tracks = ", ".join(map(str, person.tracks[:_MOST_NAMED]))
        more = "" if len(person.tracks) <= _MOST_NAMED else f" and {len(person.tracks) - _MOST_NAMED} more"
        score = "" if person.score is None else f"score {person.score:.2f}"
        weak = ", may be no face" if person.score is not None and person.score < WEAK_SCORE else ""
        photo = "" if person.photo is None else f"\n{person.photo} at {person.distance:.2f}"
        return (
            f"{person.seconds:.1f} s on screen, {times}\n{' to '.join(span)}\n"
            f"track{'s' * (len(person.tracks) > 1)} {tracks}{more}\n{score}{weak}\n{person.decision}{photo}"
        )


def _picked(shots: list[list[_Shot]]) -> list[_Shot]:
    """At most ``_SHOWN`` pictures of a person's tracks: of as many tracks as possible, spread over each."""
    shots = [some for some in shots if some]
    if len(shots) > _SHOWN:
        shots = [shots[i] for i in _spread(len(shots), _SHOWN)]
    counts = [0] * len(shots)
    while sum(counts) < _SHOWN:
        free = [i for i, some in enumerate(shots) if counts[i] < len(some)]
        if not free:
            break
        counts[min(free, key=lambda i: counts[i])] += 1
    picked = [some[i] for some, n in zip(shots, counts, strict=True) for i in _spread(len(some), n)]
    return sorted(picked, key=lambda shot: shot.time_s)


def _spread(count: int, wanted: int) -> list[int]:
    """``wanted`` indices of ``count``, evenly over all; of one the middle."""
    if wanted == 1:
        return [count // 2]
    return [int(i) for i in np.linspace(0, count - 1, wanted).round()]


def _brightened(picture: Picture) -> Picture:
    """Faces in the dark are shown so that a person may tell who they are."""
    gain = _BRIGHT_LEVEL / max(float(np.percentile(picture, 95)), 1.0)
    if gain <= 1:
        return picture
    return np.asarray(cv2.convertScaleAbs(picture, alpha=min(gain, _MOST_GAIN)), np.uint8)


def _clock(time_s: float) -> str:
    minutes, seconds = divmod(max(time_s, 0.0), 60)
    return f"{int(minutes)}:{seconds:04.1f}"
