"""The detections of one face over time, and what makes them a track that is covered."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from pipeline.config import FacesConfig, TrackConfig
from pipeline.faces.input_picture import scales
from pipeline.faces.second_opinion import Opinion
from pipeline.track.evidence import ENOUGH, Evidence
from pipeline.track.extend import Reach, box_at
from pipeline.types import Box, FaceRegion, Found, Region, StreamInfo


@dataclass(slots=True)
class FaceTrack:
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

    def is_believed(self, belief: Belief) -> bool:
        if self.best < belief.birth_score:
            return False
        strongest = sorted(self.mosaics)[-belief.mosaic_hits :]
        if len(strongest) == belief.mosaic_hits and np.mean(strongest) >= belief.mosaic_score:
            return True
        return self.is_face and self.evidence.highest >= belief.enough

    def reach(self, belief: Belief) -> Reach:
        if not self.is_face:
            return belief.mosaic_reach
        in_all_looks = min(max(box.width, box.height) for box in self.boxes) >= belief.all_looks_px
        return belief.doubtful_reach if in_all_looks and not self.evidence.is_sure else belief.face_reach

    def at(self, time_s: float, belief: Belief) -> Box | None:
        reach = self.reach(belief)
        return box_at(time_s, self.times, self.boxes, reach) if self._in_shot(time_s) else None

    def _in_shot(self, time_s: float) -> bool:
        return self.start_s <= time_s and (self.end_s is None or time_s < self.end_s)

    def forget(self, before_s: float) -> None:
        """Drops detections that nothing will ask for any more; the last one stays."""
        count = min(bisect_left(self.times, before_s), len(self.times) - 1)
        del self.times[:count], self.boxes[:count], self.regions[:count]


@dataclass(frozen=True, slots=True)
class Belief:
    """What makes a track one that is covered, and how far."""

    birth_score: float
    enough: float
    """Log odds of its evidence"""
    mosaic_hits: int
    mosaic_score: float
    """Mean score of the strongest ``mosaic_hits`` mosaics of a track in which no face is seen"""
    face_reach: Reach
    doubtful_reach: Reach
    """Of a track that may show no face, so large that the looks before and after would have shown it, too"""
    all_looks_px: float
    """Size from which quick looks show a face, too"""
    mosaic_reach: Reach
    """Of mosaics alone: the same, since no face turns away in them."""

    @staticmethod
    def of(settings: FacesConfig, mosaics: TrackConfig, info: StreamInfo, *, asks: bool) -> Belief:
        """``asks``: there are second opinions."""
        strict, picture = settings.care == "strict", Box(0, 0, info.width, info.height)
        reach = Reach(settings.covered_before_s, settings.covered_after_s, picture)
        return Belief(
            settings.birth_score or settings.min_score,
            ENOUGH[settings.care] if asks else -math.inf,
            1 if strict else mosaics.min_hits,
            0.0 if strict else mosaics.birth_score,
            reach,
            Reach(settings.fine_look_s, settings.fine_look_s, picture) if asks else reach,
            scales(info, settings.min_face_px).quick_face_px,
            reach if strict else Reach(settings.look_s, settings.look_s, picture),
        )


def seconds(item: Found[Region]) -> float:
    """Presentation time of a frame."""
    return float(item.frame.pts * item.frame.time_base)
