"""Faces of single frames -> tracks that cover every frame on which the face may be seen.

Norfair associates detections with tracks, in its maintained fork norfair-enough, which needs NumPy, SciPy and
rich alone.

What leaves for a frame is decided when the ``look_ahead_s`` after it have come, so that a face is covered
from before its first detection (``pipeline.track.extend``), and a weak detection is believed when a strong
one follows.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from norfair import Detection, NoFilterFactory, Tracker
from norfair.tracker import TrackedObject

from pipeline.config import FacesConfig
from pipeline.track.extend import SMOOTH_S, Reach, box_at, is_reached
from pipeline.types import (
    Box,
    FaceRegion,
    Found,
    MosaicRegion,
    Reference,
    Region,
    Shape,
    StreamInfo,
    TrackedFaces,
    TrackedRegion,
)

_FARTHEST_MATCH = 0.9
"""1 - IoU with the last detection, from which it is another face."""
_MEMORY_S = 1.0
"""Seconds that detections are kept beyond the time in which anything asks for them."""


def look_ahead_s(settings: FacesConfig) -> float:
    """Seconds of frames that are held back."""
    return max(settings.covered_before_s, SMOOTH_S)


def lookahead_frames(info: StreamInfo, settings: FacesConfig) -> int:
    """The most frames that ``track_faces`` holds at one time, from the times of the file's frames."""
    times = np.asarray(info.pts, np.int64)
    reach = round(look_ahead_s(settings) / float(info.time_base))
    return int((np.searchsorted(times, times + reach, "right") - np.arange(len(times))).max()) + 2


@dataclass(slots=True)
class _FaceTrack:
    start_s: float
    """Seconds, of its shot."""
    times: list[float] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    regions: list[Region] = field(default_factory=list)
    best: float = 0.0
    end_s: float | None = None
    """Of its shot, once that is known."""
    number: int | None = None
    """Identity, given when its first frame leaves."""

    def add(self, time_s: float, region: Region) -> None:
        self.times.append(time_s)
        self.boxes.append(region.box)
        self.regions.append(region)
        self.best = max(self.best, region.score)

    def at(self, time_s: float, reach: Reach) -> Box | None:
        return box_at(time_s, self.times, self.boxes, reach) if self._in_shot(time_s) else None

    def is_on(self, time_s: float, reach: Reach) -> bool:
        """Whether ``at`` has a box."""
        return self._in_shot(time_s) and is_reached(time_s, self.times, reach)

    def _in_shot(self, time_s: float) -> bool:
        return self.start_s <= time_s and (self.end_s is None or time_s < self.end_s)

    def forget(self, before_s: float) -> None:
        """Drops detections that nothing will ask for any more; the last one stays."""
        count = min(bisect_left(self.times, before_s), len(self.times) - 1)
        del self.times[:count], self.boxes[:count], self.regions[:count]


class _Association:
    """Norfair's tracker: which detection belongs to which track, within one shot."""

    def __init__(self, patience_frames: int) -> None:
        # With a period of the whole patience a face that is hit once lives as long as one that is hit often.
        self._patience = max(patience_frames, 1)
        self._tracker = Tracker(
            "iou",
            _FARTHEST_MATCH,
            hit_counter_max=self._patience,
            initialization_delay=0,
            # Where a missed face goes is decided in ``extend``; the Kalman filter's boxes turn inside out.
            filter_factory=NoFilterFactory(),
            past_detections_length=0,
        )
        self._tracks: dict[int, _FaceTrack] = {}

    def update(self, time_s: float, start_s: float, regions: Sequence[Region]) -> list[_FaceTrack]:
        """Gives each region to its track; returns the tracks that are new."""
        detections = [
            Detection(np.array([[r.box.x0, r.box.y0], [r.box.x1, r.box.y1]]), data=(time_s, r))
            for r in regions
        ]
        new = []
        tracker = self._tracker
        tracker.update(detections, period=self._patience)
        alive: dict[int, _FaceTrack] = {}
        for tracked in tracker.tracked_objects:
            identity = _identity(tracked)
            track = self._tracks.get(identity)
            if track is None:
                track = _FaceTrack(start_s)
                new.append(track)
            alive[identity] = track
            when, region = tracked.last_detection.data
            if when == time_s:
                track.add(time_s, region)
        self._tracks = alive
        return new


def _identity(tracked: TrackedObject) -> int:
    number = tracked.initializing_id
    assert number is not None
    return int(number)


def track_faces(
    found: Iterable[Found[Region]], *, settings: FacesConfig, info: StreamInfo
) -> Iterator[TrackedFaces]:
    """Frames in order, each exactly once; at most ``lookahead_frames`` are in here. A cut ends all tracks."""
    patience = round((settings.covered_before_s + settings.covered_after_s) * float(info.rate))
    reach = Reach(settings.covered_before_s, settings.covered_after_s)
    held: deque[Found[Region]] = deque()
    association, shot_s = _Association(patience), -math.inf
    tracks: list[_FaceTrack] = []
    numbers = 0

    def leave(next_s: float | None) -> TrackedFaces:
        nonlocal numbers
        item = held.popleft()
        time_s = _seconds(item)
        regions, references = [], {}
        for track in tracks:
            box = track.at(time_s, reach) if track.best >= settings.birth_score else None
            if box is None:
                continue
            born = track.number is None
            if track.number is None:
                numbers += 1
                track.number = numbers
                references[numbers] = _reference(track, item, held)
            last = next_s is None or not track.is_on(next_s, reach)
            regions.append(_region(track, time_s, box, born=born, last=last))
        horizon_s = time_s - max(reach.after_s, SMOOTH_S) - _MEMORY_S
        for track in tracks:
            track.forget(horizon_s)
        tracks[:] = [t for t in tracks if t.times[-1] >= horizon_s and not _has_ended(t, time_s)]
        return TrackedFaces(item.frame, tuple(regions), references)

    for item in found:
        newest_s = _seconds(item)
        if item.cut:
            for track in tracks:
                track.end_s = newest_s if track.end_s is None else track.end_s
            association, shot_s = _Association(patience), newest_s
        tracks += association.update(newest_s, shot_s, item.regions)
        held.append(item)
        # The frame after the one that leaves must have its whole look-ahead, too: it tells the track's end.
        while len(held) > 1 and _seconds(held[1]) + look_ahead_s(settings) < newest_s:
            yield leave(_seconds(held[1]))
    while held:
        yield leave(_seconds(held[1]) if len(held) > 1 else None)


def _seconds(item: Found[Region]) -> float:
    return float(item.frame.pts * item.frame.time_base)


def _has_ended(track: _FaceTrack, time_s: float) -> bool:
    return track.end_s is not None and time_s >= track.end_s


def _region(track: _FaceTrack, time_s: float, box: Box, *, born: bool, last: bool) -> TrackedRegion[Region]:
    at = min(bisect_right(track.times, time_s), len(track.times)) - 1
    nearest = track.regions[max(at, 0)]
    seen = at >= 0 and track.times[at] == time_s
    score = nearest.score if seen else 0.0
    filled = at < 0 or (at == len(track.times) - 1 and not seen)
    region: Region
    if isinstance(nearest, MosaicRegion):
        region = MosaicRegion(box, Shape.ELLIPSE, score, nearest.grid)
    else:
        region = FaceRegion(box, score, nearest.landmarks if seen else None)
    return TrackedRegion(track.number or 0, region, seen=seen, born=born, last=last, filled=filled)


def _reference(track: _FaceTrack, item: Found[Region], held: Iterable[Found[Region]]) -> Reference:
    """The detection with the best score among the frames that are at hand."""
    frames = {_seconds(f): f.frame for f in (item, *held)}
    at_hand = [i for i, time_s in enumerate(track.times) if time_s in frames]
    if not at_hand:  # it was believed only after its detections had left
        return Reference(item.frame, track.boxes[-1])
    best = max(at_hand, key=lambda i: (isinstance(track.regions[i], FaceRegion), track.regions[i].score))
    return Reference(frames[track.times[best]], track.boxes[best])
