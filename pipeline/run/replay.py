"""Tracks of an earlier run or preview, put back onto the frames: rendering again without detecting."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from nets.pixelation import Operator
from pipeline.run.track_records import FaceTrackRecord
from pipeline.types import (
    Axis,
    Box,
    FaceRegion,
    Frame,
    Grid,
    MosaicRegion,
    Reference,
    Region,
    Shape,
    TrackedFaces,
    TrackedRegion,
)


@dataclass(frozen=True, slots=True)
class _Track:
    record: FaceTrackRecord
    grid: Grid | None
    first_seen: int
    """index of a frame; after ``last_seen`` where it was on none"""
    last_seen: int

    @staticmethod
    def of(record: FaceTrackRecord) -> _Track:
        seen = [record.first_frame + i for i, row in enumerate(record.boxes) if row is not None and row[4]]
        return _Track(record, _grid(record), *((seen[0], seen[-1]) if seen else (1, 0)))

    @property
    def end_frame(self) -> int:
        return self.record.first_frame + len(self.record.boxes)

    def on(self, frame: int) -> TrackedRegion[Region] | None:
        record = self.record
        row = record.boxes[frame - record.first_frame]
        if row is None:
            return None
        x0, y0, x1, y1, seen = row
        box, score = Box(x0, y0, x1, y1), float(seen)
        region: Region = FaceRegion(box, score)
        if record.kind == "mosaic":
            region = MosaicRegion(box, Shape.ELLIPSE, score, self.grid)
        born, last = frame == record.first_frame, frame == self.end_frame - 1
        filled = not self.first_seen <= frame <= self.last_seen
        return TrackedRegion(record.track, region, seen=bool(seen), born=born, last=last, filled=filled)


def frames_held(records: Sequence[FaceTrackRecord]) -> int:
    """The most frames that ``replay`` holds: a track's first one waits for that where it is seen best."""
    waits = [r.reference_frame - r.first_frame for r in records if r.reference_frame is not None]
    return max([0, *waits]) + 1


def replay(frames: Iterable[Frame], records: Sequence[FaceTrackRecord]) -> Iterator[TrackedFaces]:
    """Frames in order with the regions that the records have on them. Rectangles by hand are left out."""
    tracks = [_Track.of(r) for r in records if r.track > 0 and r.boxes]
    source = iter(frames)
    held: deque[Frame] = deque()
    while True:
        if not held:
            following = next(source, None)
            if following is None:
                return
            held.append(following)
        frame = held[0]
        alive = [t for t in tracks if t.record.first_frame <= frame.index < t.end_frame]
        references = {}
        for track in alive:
            wanted = track.record.reference_frame
            born = track.record.first_frame == frame.index
            if not born or wanted is None or track.record.reference_box is None:
                continue
            while held[-1].index < wanted and (following := next(source, None)) is not None:
                held.append(following)
            shown = next((f for f in held if f.index == wanted), None)
            if shown is not None:
                references[track.record.track] = Reference(shown, Box(*track.record.reference_box))
        regions = [region for track in alive if (region := track.on(frame.index)) is not None]
        held.popleft()
        yield TrackedFaces(frame, tuple(regions), references)


def _grid(record: FaceTrackRecord) -> Grid | None:
    grid = record.grid
    if grid is None:
        return None
    x, y = Axis(grid.x.pitch_px, grid.x.origin_px), Axis(grid.y.pitch_px, grid.y.origin_px)
    return Grid(x, y, Operator(grid.operator), grid.confidence)
