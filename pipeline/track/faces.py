"""Faces of single frames -> tracks that cover every frame on which the face may be seen.

Norfair associates detections with tracks, in its maintained fork norfair-enough, which needs NumPy, SciPy and
rich alone.

What leaves for a frame is decided when the ``look_ahead_s`` after it have come, so that a face is covered
from before its first detection (``pipeline.track.extend``), and a weak detection is believed when others
follow (``pipeline.track.evidence``). Where a face does not move in a line from one detection to the next, the
frames between them, which are held, are looked at, too.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from norfair import Detection, NoFilterFactory, Tracker
from norfair.tracker import TrackedObject

from pipeline.config import FacesConfig, TrackConfig
from pipeline.faces import Face
from pipeline.faces.second_opinion import Opinion, SecondOpinion
from pipeline.track import SLACK_S
from pipeline.track.evidence import ENOUGH, Evidence
from pipeline.track.extend import SMOOTH_S, Reach, box_at, is_reached, line_between
from pipeline.types import (
    Box,
    FaceRegion,
    Found,
    Frame,
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
_OFF_THE_LINE = 0.15
"""Sizes of the face: what a mask of 1.3 times the face leaves on each side."""
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
    evidence: Evidence = field(default_factory=Evidence)
    """That it is a face."""
    mosaics: list[float] = field(default_factory=list)
    """Scores of the mosaics in which no face was seen."""
    is_face: bool = False
    """The face detector saw it."""
    looked_s: float = -math.inf
    """Up to which the frames between detections were looked at, where that was needed."""
    end_s: float | None = None
    """Of its shot, once that is known."""
    number: int | None = None
    """Identity, given when its first frame leaves."""

    def add(self, time_s: float, region: Region) -> None:
        self.times.append(time_s)
        self.boxes.append(region.box)
        self.regions.append(region)
        self.best = max(self.best, region.score)

    def insert(self, time_s: float, region: Region) -> None:
        """A detection between two others."""
        at = bisect_left(self.times, time_s)
        self.times.insert(at, time_s)
        self.boxes.insert(at, region.box)
        self.regions.insert(at, region)

    def weigh(self, ask: Callable[[Box], Opinion] | None) -> None:
        """The newest detection as evidence."""
        region = self.regions[-1]
        score = region.score if isinstance(region, FaceRegion) else region.face_score
        if score == 0.0:
            self.mosaics.append(region.score)
            return
        self.is_face = True
        self.evidence.add(score, region.box, None if ask is None else partial(ask, region.box))

    def is_believed(self, belief: _Belief) -> bool:
        if self.best < belief.birth_score:
            return False
        strongest = sorted(self.mosaics)[-belief.mosaic_hits :]
        if len(strongest) == belief.mosaic_hits and np.mean(strongest) >= belief.mosaic_score:
            return True
        return self.is_face and self.evidence.highest >= belief.enough

    def reach(self, belief: _Belief) -> Reach:
        return belief.face_reach if self.is_face else belief.mosaic_reach

    def at(self, time_s: float, belief: _Belief) -> Box | None:
        reach = self.reach(belief)
        return box_at(time_s, self.times, self.boxes, reach) if self._in_shot(time_s) else None

    def is_on(self, time_s: float, belief: _Belief) -> bool:
        """Whether ``at`` has a box."""
        return self._in_shot(time_s) and is_reached(time_s, self.times, self.reach(belief))

    def _in_shot(self, time_s: float) -> bool:
        return self.start_s <= time_s and (self.end_s is None or time_s < self.end_s)

    def forget(self, before_s: float) -> None:
        """Drops detections that nothing will ask for any more; the last one stays."""
        count = min(bisect_left(self.times, before_s), len(self.times) - 1)
        del self.times[:count], self.boxes[:count], self.regions[:count]


@dataclass(frozen=True, slots=True)
class _Belief:
    """What makes a track one that is covered, and how far."""

    birth_score: float
    enough: float
    """Log odds of its evidence"""
    mosaic_hits: int
    mosaic_score: float
    """Mean score of the strongest ``mosaic_hits`` mosaics of a track in which no face is seen"""
    face_reach: Reach
    mosaic_reach: Reach
    """Of such a track: to the frames that were looked at before and after, since no face turns away in it."""

    @staticmethod
    def of(settings: FacesConfig, mosaics: TrackConfig, asks: bool) -> _Belief:
        strict = settings.care == "strict" or not asks
        reach = Reach(settings.covered_before_s, settings.covered_after_s)
        return _Belief(
            settings.birth_score or settings.min_score,
            -math.inf if strict else ENOUGH[settings.care],
            1 if strict else mosaics.min_hits,
            0.0 if strict else mosaics.birth_score,
            reach,
            reach if strict else Reach(settings.look_s, settings.look_s),
        )


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
    found: Iterable[Found[Region]],
    *,
    settings: FacesConfig,
    info: StreamInfo,
    second: SecondOpinion | None = None,
    mosaics: TrackConfig | None = None,
) -> Iterator[TrackedFaces]:
    """Frames in order, each exactly once; at most ``lookahead_frames`` are in here. A cut ends all tracks.

    ``second`` gives the second opinion and looks at frames between detections; without it any sight makes a
    track. ``mosaics``: what confirms a mosaic in which no face is seen.
    """
    patience = round((settings.covered_before_s + settings.covered_after_s) * float(info.rate))
    asks = second is not None and settings.care != "strict"
    belief = _Belief.of(settings, mosaics or TrackConfig(), asks)
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
            box = track.at(time_s, belief) if track.is_believed(belief) else None
            if box is None:
                continue
            born = track.number is None
            if track.number is None:
                numbers += 1
                track.number = numbers
                references[numbers] = _reference(track, item, held)
            last = next_s is None or not track.is_on(next_s, belief)
            regions.append(_region(track, time_s, box, born=born, last=last))
        horizon_s = time_s - max(belief.face_reach.after_s, SMOOTH_S) - _MEMORY_S
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
        ask = partial(second, item.frame) if asks and second is not None else None
        for track in tracks:
            if track.times[-1] == newest_s:
                track.weigh(ask)
                if second is not None and track.is_believed(belief):
                    _look_between(track, held, partial(second.look, min_score=settings.min_score))
        held.append(item)
        # The frame after the one that leaves must have its whole look-ahead, too: it tells the track's end.
        while len(held) > 1 and _seconds(held[1]) + look_ahead_s(settings) < newest_s:
            yield leave(_seconds(held[1]))
    while held:
        yield leave(_seconds(held[1]) if len(held) > 1 else None)


def _look_between(
    track: _FaceTrack, held: Iterable[Found[Region]], look: Callable[[Frame, Box], Face | None]
) -> None:
    """Detects on the frames around the last detection but one, where that lies off the line from the one
    before it to the one after it: so do the frames between them."""
    times, boxes = track.times[-3:], track.boxes[-3:]
    if len(times) < 3 or not isinstance(track.regions[-2], FaceRegion):
        return
    straight, middle = line_between(times[1], (times[0], times[2]), (boxes[0], boxes[2])), boxes[1]
    apart = max(abs(p - q) for p, q in zip(straight.centre, middle.centre, strict=True))
    if apart <= _OFF_THE_LINE * max(middle.width, middle.height):
        return
    after_s = max(times[0], track.looked_s)
    track.looked_s = times[2]
    for item in held:
        time_s = _seconds(item)
        side = 0 if time_s < times[1] else 1
        if not after_s + SLACK_S < time_s < times[2] - SLACK_S or abs(time_s - times[1]) <= SLACK_S:
            continue
        face = look(item.frame, line_between(time_s, times[side : side + 2], boxes[side : side + 2]))
        if face is not None:
            track.insert(time_s, FaceRegion(face.box, face.score, face.landmarks))


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
        region = FaceRegion(box, score)
    return TrackedRegion(track.number or 0, region, seen=seen, born=born, last=last, filled=filled)


def _reference(track: _FaceTrack, item: Found[Region], held: Iterable[Found[Region]]) -> Reference:
    """The detection with the best score among the frames that are at hand."""
    frames = {_seconds(f): f.frame for f in (item, *held)}
    at_hand = [i for i, time_s in enumerate(track.times) if time_s in frames]
    if not at_hand:  # it was believed only after its detections had left
        return Reference(item.frame, track.boxes[-1])
    best = max(at_hand, key=lambda i: (isinstance(track.regions[i], FaceRegion), track.regions[i].score))
    return Reference(frames[track.times[best]], track.boxes[best])
