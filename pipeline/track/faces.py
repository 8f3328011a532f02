"""Faces of single frames -> tracks that cover every frame on which the face may be seen.

What leaves for a frame is decided when the ``look_ahead_s`` after it have come, so that a face is covered
from before its first detection (``pipeline.track.extend``), and a weak detection is believed when others
follow (``pipeline.track.evidence``). Where a face does not move in a line from one detection to the next, the
frames between them, which are held, are looked at, too.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import numpy as np

from pipeline.config import FacesConfig, TrackConfig
from pipeline.faces.second_opinion import SecondOpinion
from pipeline.track.association import Association
from pipeline.track.between import Look, follow, look_between, may_be_one
from pipeline.track.extend import SMOOTH_S
from pipeline.track.face_track import Belief, FaceTrack, seconds
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
    tracks = _FaceTracks(settings, mosaics or TrackConfig(), info, second)
    held: deque[Found[Region]] = deque()
    for item in found:
        tracks.take(item, held)
        held.append(item)
        # The frame after the one that leaves must have its whole look-ahead, too: it tells the track's end.
        while len(held) > 1 and seconds(held[1]) + look_ahead_s(settings) < seconds(item):
            yield tracks.on(held.popleft(), held)
    while held:
        yield tracks.on(held.popleft(), held)


class _FaceTracks:
    """All tracks that may still be on a frame that is held."""

    def __init__(
        self,
        settings: FacesConfig,
        mosaics: TrackConfig,
        info: StreamInfo,
        second: SecondOpinion | None,
    ) -> None:
        asks = second is not None and settings.care != "strict"
        self._belief = Belief.of(settings, mosaics, info, asks=asks)
        self._ask = second if asks else None
        self._look = None if second is None else partial(second.look, min_score=settings.min_score)
        self._patience = round((settings.covered_before_s + settings.covered_after_s) * float(info.rate))
        self._association, self._shot_s = Association(self._patience), -math.inf
        self._tracks: list[FaceTrack] = []
        self._numbers = 0

    def take(self, item: Found[Region], held: Iterable[Found[Region]]) -> None:
        """The detections of the newest frame. ``held``: the frames before it that have not left."""
        newest_s = seconds(item)
        if item.cut:
            for track in self._tracks:
                track.end_s = newest_s if track.end_s is None else track.end_s
            self._association, self._shot_s = Association(self._patience), newest_s
        fresh = self._association.update(newest_s, self._shot_s, item.regions)
        if self._look is not None:
            self._join(fresh, [*held, item], self._look)
        self._tracks += fresh
        ask = None if self._ask is None else partial(self._ask, item.frame)
        for track in self._tracks:
            if track.times[-1] == newest_s:
                track.weigh(ask)
                if self._look is not None and track.is_believed(self._belief):
                    look_between(track, held, self._look)

    def _join(self, fresh: list[FaceTrack], frames: Sequence[Found[Region]], look: Look) -> None:
        """Takes from ``fresh``, which begin on the last frame, those that a track is followed to."""
        newest_s = seconds(frames[-1])
        missed = [t for t in self._tracks if t.times[-1] < newest_s and t.end_s is None]
        for track in [t for t in missed if t.is_face and t.is_believed(self._belief)]:
            for new in [f for f in fresh if may_be_one(track, f)]:
                if follow(track, new, frames, look):
                    self._association.join(track, new)
                    fresh.remove(new)
                    break

    def on(self, item: Found[Region], held: Sequence[Found[Region]]) -> TrackedFaces:
        """What is covered on the oldest frame, ``item``; ``held`` are those after it."""
        time_s, next_s = seconds(item), seconds(held[0]) if held else None
        regions, references = [], {}
        for track in self._tracks:
            box = track.at(time_s, self._belief) if track.is_believed(self._belief) else None
            if box is None:
                continue
            born = track.number is None
            if track.number is None:
                self._numbers += 1
                track.number = self._numbers
                references[track.number] = _reference(track, item, held)
            last = next_s is None or track.at(next_s, self._belief) is None
            regions.append(_region(track, time_s, box, born=born, last=last))
        horizon_s = time_s - max(self._belief.face_reach.after_s, SMOOTH_S) - _MEMORY_S
        for track in self._tracks:
            track.forget(horizon_s)
        self._tracks = [t for t in self._tracks if t.times[-1] >= horizon_s and not _has_ended(t, time_s)]
        return TrackedFaces(item.frame, tuple(regions), references)


def _has_ended(track: FaceTrack, time_s: float) -> bool:
    return track.end_s is not None and time_s >= track.end_s


def _region(track: FaceTrack, time_s: float, box: Box, *, born: bool, last: bool) -> TrackedRegion[Region]:
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


def _reference(track: FaceTrack, item: Found[Region], held: Iterable[Found[Region]]) -> Reference:
    """The detection with the best score among the frames that are at hand."""
    frames = {seconds(f): f.frame for f in (item, *held)}
    at_hand = [i for i, time_s in enumerate(track.times) if time_s in frames]
    if not at_hand:  # it was believed only after its detections had left
        return Reference(item.frame, track.boxes[-1], score=0.0)
    best = max(at_hand, key=lambda i: (isinstance(track.regions[i], FaceRegion), track.regions[i].score))
    return Reference(frames[track.times[best]], track.boxes[best], track.regions[best].score)
