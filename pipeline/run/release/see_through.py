"""Whether a mask shows the face that it covers: a face detector looks at the mask close by.

The mask's face is scaled to 96 px, whatever its size: the fewer pixels it has, the less is to be seen of the
blocks, and at 30 px the detector sees a head under any mask. At 96 px it sees none under 6 blocks or fewer
and most under 10, before a recogniser begins to name the person (docs/protect.md has the figures).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pipeline.faces import FaceDetector
from pipeline.faces.square import Square
from pipeline.run.release.painted import PaintedMask
from pipeline.types import Box, Frame, StreamInfo

FACE_PX = 96
"""Longer side of a face as the detector gets it."""
MARGIN = 2.0
"""Side of what it gets over the longer side of the face."""
SIDE_PX = round(MARGIN * FACE_PX)
EVERY_S = 2.0
"""Seconds between two looks at the masks of one track, at least."""
AT_A_TIME = 2
"""Masks of one frame that are looked at, at most; those that have waited longest come first."""
OFTEN = 0.25
"""Share of the looks at a track that show a face, from which it is seen through its masks. One look may
be mistaken, a quarter of them is not."""
_SAME_PLACE = 0.3
"""IoU of what is seen with the face that is covered."""


@dataclass(frozen=True, slots=True)
class MaskSight:
    """A look at one mask of the output."""

    track: int
    frame: int
    """Index in the source."""
    time_s: float
    """Of the source's clock."""
    box: Box
    """Of the face under the mask, px as coded."""
    score: float
    """0..1, that there is a face; 0: none"""


@dataclass(frozen=True, slots=True)
class MaskView:
    """A face detector for pictures of ``SIDE_PX`` that looks at masks close by."""

    detector: FaceDetector
    info: StreamInfo

    def score(self, frame: Frame, box: Box) -> float:
        """0..1, of a face in the place of ``box``."""
        info = self.info
        aspect = float(info.sample_aspect)
        square = Square.around(box, MARGIN, SIDE_PX, info.rotation, aspect, info.mirrored)
        seen = (square.back(face) for face in self.detector(square.picture(frame), 0.05))
        return max((face.score for face in seen if face.box.iou(box) >= _SAME_PLACE), default=0.0)


@dataclass(slots=True)
class _Track:
    looks: int = 0
    seen: int = 0
    best: MaskSight | None = None


@dataclass(slots=True)
class MaskSights:
    """Which masks are due for a look, and what the looks have shown."""

    min_score: float
    mask_scale: float
    _due_s: dict[int, float] = field(default_factory=dict)
    _tracks: dict[int, _Track] = field(default_factory=dict)

    @property
    def looks(self) -> int:
        """How many there were."""
        return sum(track.looks for track in self._tracks.values())

    @property
    def tracks(self) -> int:
        """Of how many tracks."""
        return len(self._tracks)

    def due(self, masks: Iterable[PaintedMask], time_s: float) -> list[tuple[int, Box]]:
        """(track, box of its face) of the masks to look at on a frame. Frames come in order."""
        waiting = [mask for mask in masks if mask.shows_face]
        waiting = [mask for mask in waiting if self._due_s.get(mask.track, -math.inf) <= time_s]
        waiting.sort(key=lambda mask: self._due_s.get(mask.track, -math.inf))
        chosen = waiting[:AT_A_TIME]
        self._due_s.update({mask.track: time_s + EVERY_S for mask in chosen})
        return [
            (mask.track, (mask.mask.area or mask.mask.box).scaled(1 / self.mask_scale)) for mask in chosen
        ]

    def add(self, sights: Iterable[MaskSight]) -> None:
        """What looks have shown."""
        for sight in sights:
            track = self._tracks.setdefault(sight.track, _Track())
            track.looks += 1
            track.seen += sight.score >= self.min_score
            if track.best is None or sight.score > track.best.score:
                track.best = sight

    def seen_through(self) -> Sequence[MaskSight]:
        """The best sight of each track whose face is seen through its masks, by track."""
        found = [t.best for t in self._tracks.values() if t.seen and t.seen >= OFTEN * t.looks]
        return sorted((best for best in found if best is not None), key=lambda best: best.track)
