"""Who is covered, where and when: what a user chose among the tracks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from pipeline.types import Box, FaceRegion, ManualRegion, Region, TrackedFaces, TrackedRegion


@dataclass(frozen=True, slots=True)
class Choice:
    """All times are presentation times in seconds."""

    keep: frozenset[int] = frozenset()
    """People who stay as they are."""
    only: frozenset[int] | None = None
    """The people who are covered; None: all, unless ``only_tracks`` names some."""
    keep_tracks: frozenset[int] = frozenset()
    only_tracks: frozenset[int] | None = None
    """The same for single tracks."""
    regions: tuple[ManualRegion, ...] = ()
    """Rectangles that are covered whatever is in them, at any time of their own."""
    excluded: tuple[ManualRegion, ...] = ()
    """Rectangles in which a face stays as it is while its centre lies there."""
    during: tuple[tuple[float | None, float | None], ...] = ()
    """Half-open times in which faces are covered; empty: always."""

    def spares(self, tracked: TrackedRegion[Region], time_s: float) -> bool:
        """Whether a found face stays as it is."""
        track, person = tracked.track, tracked.person
        if track in self.keep_tracks or person in self.keep:
            return True
        chosen = self.only is not None or self.only_tracks is not None
        if chosen and person not in (self.only or ()) and track not in (self.only_tracks or ()):
            return True
        return self.spares_place(tracked.region.box, time_s)

    def spares_place(self, box: Box, time_s: float) -> bool:
        """The same by place and time alone."""
        timed = not self.during or any(
            (start is None or time_s >= start) and (end is None or time_s < end) for start, end in self.during
        )
        x, y = box.centre
        return not timed or any(
            r.lasts_at(time_s) and r.box.x0 <= x < r.box.x1 and r.box.y0 <= y < r.box.y1
            for r in self.excluded
        )


Leaves = Callable[[TrackedRegion[Region], TrackedFaces], bool]
"""Whether a region of a frame stays as it is; asked once for every region."""


def select(
    items: Iterable[TrackedFaces], choice: Choice, leaves: Leaves | None = None
) -> Iterator[TrackedFaces]:
    """Frames with the regions that are to be covered: less those that ``choice`` spares, and those that
    ``leaves`` names. Regions by hand are tracks -1, -2, ... in order."""
    for item in items:
        time_s = float(item.frame.pts * item.frame.time_base)
        left = {t.track for t in item.regions if leaves is not None and leaves(t, item)}
        kept = [t for t in item.regions if t.track not in left and not choice.spares(t, time_s)]
        by_hand = [
            _by_hand(-1 - i, region.box)
            for i, region in enumerate(choice.regions)
            if region.covers(item.frame)
        ]
        yield replace(item, regions=(*kept, *by_hand))


def _by_hand(track: int, box: Box) -> TrackedRegion[Region]:
    # Where a rectangle begins and ends is not asked: what is held for it costs next to nothing.
    region = FaceRegion(box, 1.0)
    return TrackedRegion(track, region, seen=True, born=False, last=False)
