"""Which detection belongs to which track: Norfair, in its maintained fork norfair-enough, which needs NumPy,
SciPy and rich alone. It is imported with the first face: it brings SciPy's statistics, and a run that sees no
face needs none of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.track.face_track import FaceTrack
from pipeline.types import Region

if TYPE_CHECKING:
    from norfair import Tracker
    from norfair.tracker import TrackedObject

_FARTHEST_MATCH = 0.9
"""1 - IoU with the last detection, from which it is another face."""


class Association:
    """Norfair's tracker: which detection belongs to which track, within one shot."""

    def __init__(self, patience_frames: int) -> None:
        # With a period of the whole patience a face that is hit once lives as long as one that is hit often.
        self._patience = max(patience_frames, 1)
        self._tracker: Tracker | None = None
        """Once there was a face."""
        self._tracks: dict[int, FaceTrack] = {}

    def join(self, old: FaceTrack, new: FaceTrack) -> None:
        """What goes on with ``new`` goes on with ``old``."""
        ended = {i for i, track in self._tracks.items() if track is old}
        if self._tracker is None:
            return
        kept = [o for o in self._tracker.tracked_objects if _identity(o) not in ended]
        self._tracker.tracked_objects = kept
        self._tracks = {i: old if t is new else t for i, t in self._tracks.items() if i not in ended}

    def update(self, time_s: float, start_s: float, regions: Sequence[Region]) -> list[FaceTrack]:
        """Gives each region to its track; returns the tracks that are new."""
        if self._tracker is None and not regions:
            return []
        from norfair import Detection  # noqa: PLC0415  heavy

        detections = [
            Detection(np.array([[r.box.x0, r.box.y0], [r.box.x1, r.box.y1]]), data=(time_s, r))
            for r in regions
        ]
        new = []
        tracker = self._tracker = self._tracker or _tracker(self._patience)
        tracker.update(detections, period=self._patience)
        alive: dict[int, FaceTrack] = {}
        for tracked in tracker.tracked_objects:
            identity = _identity(tracked)
            track = self._tracks.get(identity)
            if track is None:
                track = FaceTrack(start_s)
                new.append(track)
            alive[identity] = track
            when, region = tracked.last_detection.data
            if when == time_s:
                track.add(time_s, region)
        self._tracks = alive
        return new


def _tracker(patience_frames: int) -> Tracker:
    from norfair import NoFilterFactory, Tracker  # noqa: PLC0415  heavy

    return Tracker(
        "iou",
        _FARTHEST_MATCH,
        hit_counter_max=patience_frames,
        initialization_delay=0,
        # Where a missed face goes is decided in ``extend``; the Kalman filter's boxes turn inside out.
        filter_factory=NoFilterFactory(),
        past_detections_length=0,
    )


def _identity(tracked: TrackedObject) -> int:
    number = tracked.initializing_id
    assert number is not None
    return int(number)
