"""Tracked faces get the number of their person: when a track is born, and never another one after that.

A track is looked at where it shows its face best within the look-ahead of its birth (``Reference``), and a
few times more while it lasts, so that the next track of the same person finds more to compare with. A face
that is too small, or that the detector is not sure of, is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from pipeline.config import PeopleConfig
from pipeline.people.gallery import Gallery
from pipeline.people.network import AROUND, SIDE_PX, DlibNetwork, Embedding
from pipeline.picture.cutout import cut_out
from pipeline.types import Box, FaceRegion, Frame, Region, TrackedFaces, TrackedRegion

_FIRST_LOOK_S = 1.0
"""Seconds after its birth at which a track is looked at again; then after twice the time."""
_MOST_LOOKS = 3
"""At one track."""
_SURE_SCORE = 0.5
"""0..1, of a detection, from which a further look is taken."""
_SAME_PLACE = 0.3
"""IoU of two regions from which they may be one face that was found twice."""


class Looker:
    """Takes looks at the faces of one file's frames."""

    def __init__(self, network: DlibNetwork, rotation: int, min_px: float, mirrored: bool = False) -> None:
        self._network = network
        self._rotation, self._mirrored = rotation, mirrored
        self._min_px = min_px

    def look(self, frame: Frame, box: Box) -> Embedding | None:
        """None where the face is smaller than ``min_px``."""
        if max(box.width, box.height) < self._min_px:
            return None
        picture = cut_out(
            frame,
            box,
            around=AROUND,
            side_px=SIDE_PX,
            rotation=self._rotation,
            mirrored=self._mirrored,
        )
        return self._network(picture)


@dataclass(slots=True)
class _Followed:
    """A living track."""

    person: int
    next_look_s: float
    looks: int
    seen: bool = False

    def in_view(self, tracked: TrackedRegion[Region]) -> bool:
        """Whether the track is about to be seen, or is between two sights; after its last one it is not."""
        return not (tracked.filled and self.seen)


class Recognition:
    """The stage."""

    def __init__(self, looker: Looker, settings: PeopleConfig) -> None:
        self._looker = looker
        self._gallery = Gallery(settings.same)
        self._tracks: dict[int, _Followed] = {}
        self._together: frozenset[int] = frozenset()

    def __call__(self, items: Iterable[TrackedFaces]) -> Iterator[TrackedFaces]:
        """The same frames, each region with its person."""
        for item in items:
            time_s = float(item.frame.pts * item.frame.time_base)
            known = [t for t in item.regions if t.track in self._tracks]
            in_view = {self._tracks[t.track].person for t in known if self._tracks[t.track].in_view(t)}
            for tracked in item.regions:
                if tracked.track not in self._tracks:
                    in_view.add(self._meet(tracked, item, time_s, in_view))
            for tracked in item.regions:
                self._look_again(tracked, item.frame, time_s)
            self._notice_together(item.regions)
            people = tuple(replace(t, person=self._tracks[t.track].person) for t in item.regions)
            for tracked in item.regions:
                if tracked.last:
                    del self._tracks[tracked.track]
            yield replace(item, regions=people)

    def joined(self) -> dict[int, int]:
        """Once all frames have passed: people who turned out to be the same, see ``Gallery.joined``."""
        return self._gallery.joined()

    def _meet(
        self, tracked: TrackedRegion[Region], item: TrackedFaces, time_s: float, others: set[int]
    ) -> int:
        reference = item.references.get(tracked.track)
        look = None
        if (
            reference is not None
            and reference.score >= _SURE_SCORE
            and isinstance(tracked.region, FaceRegion)
        ):
            look = self._looker.look(reference.frame, reference.box)
        person = self._gallery.person_of(look, others)
        self._tracks[tracked.track] = _Followed(person, time_s + _FIRST_LOOK_S, looks=look is not None)
        return person

    def _look_again(self, tracked: TrackedRegion[Region], frame: Frame, time_s: float) -> None:
        track = self._tracks[tracked.track]
        track.seen |= tracked.seen
        sure = tracked.seen and tracked.region.score >= _SURE_SCORE and isinstance(tracked.region, FaceRegion)
        if not sure or track.looks >= _MOST_LOOKS or (track.looks and time_s < track.next_look_s):
            return
        look = self._looker.look(frame, tracked.region.box)
        if look is not None:
            track.looks += 1
            track.next_look_s = time_s + _FIRST_LOOK_S * 2**track.looks
            self._gallery.add(track.person, look)

    def _notice_together(self, regions: tuple[TrackedRegion[Region], ...]) -> None:
        shown = [t for t in regions if not t.filled]
        shown = [
            t
            for t in shown
            if not any(t is not u and t.region.box.iou(u.region.box) >= _SAME_PLACE for u in shown)
        ]
        people = frozenset(self._tracks[t.track].person for t in shown)
        if people != self._together:
            self._together = people
            self._gallery.seen_together(people)
