"""The record of a run's tracks: every box of every frame, for release check, sidecar and a second rendering.

In memory it takes 20 bytes per face and frame: 4 MB for three faces through an hour at 20 frames/s.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from pipeline.run.sidecar import GridRecord, grid_record
from pipeline.types import Box, MosaicRegion, Region, StreamInfo, TrackedFaces, TrackedRegion

_NUMBERS = 5
"""Per frame: x0, y0, x1, y1, state"""
_FILLED, _SEEN, _COVERED = 0, 1, 2
"""A state is the sum of seen and covered."""
_MAX_PX = 1e6
"""Farther from the picture no box lies."""
_Numbers = TypeVar("_Numbers", bound=tuple[float, ...])


def _ordered(box: _Numbers) -> _Numbers:
    if box[2] <= box[0] or box[3] <= box[1]:
        raise ValueError("a box whose end does not lie behind its begin")
    return box


_Px = Annotated[float, Field(ge=-_MAX_PX, le=_MAX_PX)]
BoxNumbers = Annotated[tuple[_Px, _Px, _Px, _Px], AfterValidator(_ordered)]
SeenBoxNumbers = Annotated[tuple[_Px, _Px, _Px, _Px, int], AfterValidator(_ordered)]


class FaceTrackRecord(BaseModel):
    """A person as long as one track lasts, as in the sidecar. Times in seconds from the file's zero."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    track: int
    """From 1; rectangles by hand are -1, -2, ..."""
    person: int = 0
    """From 1, the same in all tracks of a person; 0 of rectangles by hand, and in reports of vidpipe 0.5."""
    score: float | None = None
    """0..1, of the best detection; None where nothing was detected."""
    kind: Literal["face", "mosaic"]
    """mosaic: it was pixelated already"""
    first_s: float
    last_s: float
    frames_seen: int
    frames_filled: int
    """Frames on which the face was not found and its place predicted."""
    frames_covered: int
    decision: Literal["covered", "left", "covered in part"]
    """left: by --keep, --only, --exclude-region or --during"""
    grid: GridRecord | None
    """Of a mosaic."""
    reference_frame: int | None = Field(ge=0)
    """Index of the frame where the face is seen best, for colours that are held."""
    reference_box: BoxNumbers | None
    first_frame: int = Field(ge=0)
    """Index of the frame that the first of ``boxes`` belongs to."""
    boxes: list[SeenBoxNumbers | None]
    """Per frame x0, y0, x1, y1 in px of the picture as coded, without the mask's scale, and 1 where the face
    was seen, 0 where it was predicted; null where the track pauses."""


@dataclass(slots=True)
class _Rows:
    kind: Literal["face", "mosaic"]
    first_frame: int
    grid: GridRecord | None
    reference: tuple[int, Box] | None
    person: int
    score: float | None = None
    rows: array[float] = field(default_factory=lambda: array("f"))

    def set(self, frame: int, box: Box, state: int) -> None:
        at = (frame - self.first_frame) * _NUMBERS
        missing = at - len(self.rows)
        if missing > 0:
            self.rows.extend([math.nan] * missing)
        self.rows[at : at + _NUMBERS] = array("f", [box.x0, box.y0, box.x1, box.y1, state])

    def at(self, frame: int) -> tuple[Box, int] | None:
        at = (frame - self.first_frame) * _NUMBERS
        if at < 0 or at >= len(self.rows) or math.isnan(self.rows[at]):
            return None
        x0, y0, x1, y1, state = self.rows[at : at + _NUMBERS]
        return Box(x0, y0, x1, y1), int(state)


class TrackRecorder:
    """Listens to tracks that pass by, first as they were found, then as they are covered."""

    def __init__(self) -> None:
        self._tracks: dict[int, _Rows] = {}
        self.living = 0
        """Faces covered in the frame that passed last."""
        self.frames_covered = 0
        """Frames with at least one mask."""
        self.frames = array("q")
        """Indices of the frames that have passed."""

    def listen(self, items: Iterator[TrackedFaces]) -> Iterator[TrackedFaces]:
        """The same items."""
        for item in items:
            for tracked in item.regions:
                rows = self._rows_of(tracked, item)
                rows.set(item.frame.index, tracked.region.box, _SEEN if tracked.seen else _FILLED)
                if tracked.seen:
                    rows.score = max(rows.score or 0.0, tracked.region.score)
            yield item

    def listen_covered(self, items: Iterator[TrackedFaces]) -> Iterator[TrackedFaces]:
        """The same items; of those that ``listen`` has seen the ones that are covered, and more."""
        for item in items:
            self.frames.append(item.frame.index)
            self.living = len(item.regions)
            self.frames_covered += bool(item.regions)
            for tracked in item.regions:
                rows = self._rows_of(tracked, item)
                rows.set(item.frame.index, tracked.region.box, _COVERED + tracked.seen)
            yield item

    def as_covered(self, items: Iterable[TrackedFaces]) -> Iterator[TrackedFaces]:
        """Of the same frames, passing once more with all their tracks, the regions that were covered."""
        for item in items:
            frame = item.frame.index
            covered = tuple(t for t in item.regions if self._was_covered(t.track, frame))
            self.living = len(covered)
            yield replace(item, regions=covered)

    def _was_covered(self, track: int, frame: int) -> bool:
        row = None if track not in self._tracks else self._tracks[track].at(frame)
        return row is not None and bool(row[1] & _COVERED)

    def _rows_of(self, tracked: TrackedRegion[Region], item: TrackedFaces) -> _Rows:
        rows = self._tracks.get(tracked.track)
        if rows is None:
            reference = item.references.get(tracked.track)
            at = None if reference is None else (reference.frame.index, reference.box)
            kind: Literal["face", "mosaic"] = "mosaic" if isinstance(tracked.region, MosaicRegion) else "face"
            rows = _Rows(kind, item.frame.index, grid_record(tracked.region), at, tracked.person)
            self._tracks[tracked.track] = rows
        return rows

    def on_frame(self, frame: int) -> tuple[list[tuple[int, Box]], list[tuple[int, Box]]]:
        """(track, box) of what is covered on a frame, and of the faces that are left by choice."""
        covered: list[tuple[int, Box]] = []
        left: list[tuple[int, Box]] = []
        for track, rows in self._tracks.items():
            row = rows.at(frame)
            if row is not None:
                (covered if row[1] & _COVERED else left).append((track, row[0]))
        return covered, left

    def records(self, info: StreamInfo) -> list[FaceTrackRecord]:
        """All tracks, in order of their numbers."""
        return [_record(track, rows, info) for track, rows in sorted(self._tracks.items())]


def _record(track: int, rows: _Rows, info: StreamInfo) -> FaceTrackRecord:
    count = len(rows.rows) // _NUMBERS
    frames = [rows.at(rows.first_frame + i) for i in range(count)]
    present = [row for row in frames if row is not None]
    covered = sum(bool(state & _COVERED) for _, state in present)
    seen = sum(bool(state & _SEEN) for _, state in present)
    reference = rows.reference
    return FaceTrackRecord(
        track=track,
        person=rows.person,
        score=None if rows.score is None else round(rows.score, 3),
        kind=rows.kind,
        first_s=_seconds(info.pts, rows.first_frame, info.time_base),
        last_s=_seconds(info.pts, rows.first_frame + count - 1, info.time_base),
        frames_seen=seen,
        frames_filled=len(present) - seen,
        frames_covered=covered,
        decision="left" if not covered else "covered" if covered == len(present) else "covered in part",
        grid=rows.grid,
        reference_frame=None if reference is None else reference[0],
        reference_box=None if reference is None else _rounded(reference[1]),
        first_frame=rows.first_frame,
        boxes=[None if row is None else (*_rounded(row[0]), row[1] & _SEEN) for row in frames],
    )


def _seconds(pts: Sequence[int], frame: int, time_base: Fraction) -> float:
    return float(pts[frame] * time_base)


def _rounded(box: Box) -> tuple[float, float, float, float]:
    return round(box.x0, 1), round(box.y0, 1), round(box.x1, 1), round(box.y1, 1)
