"""The record of what a run painted: every mask of every frame, without its colours.

In memory it takes 52 bytes per mask and frame: 11 MB for three faces through an hour at 20 frames/s.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from pipeline.types import Box, FaceRegion, Mask, Masked, Shape, TrackedRegion

_NUMBERS = 13
"""Per mask: its track, the box, the area, rows and columns of cells, samples per cell, flags."""
_ELLIPSE, _SMOOTH, _SHOWS = 1, 2, 4


@dataclass(frozen=True, slots=True)
class PaintedMask:
    """A mask as it was painted."""

    mask: Mask
    """In black; the face of its region is its own box."""
    shows_face: bool
    """Its colours come from a face that is under it: not from a place that a user pointed at, nor from where
    a face may have been."""

    @property
    def track(self) -> int:
        return self.mask.tracked.track


class PaintedMasks:
    """Listens to masks on their way to be painted. ``of_faces`` False: their colours are nobody's, whoever is
    under them."""

    def __init__(self, of_faces: bool = True) -> None:
        self._of_faces = of_faces
        self.frames = array("q")
        """Indices of the frames that have passed, ascending."""
        self._ends = array("q")
        self._rows = array("f")

    def listen(self, items: Iterator[Masked]) -> Iterator[Masked]:
        """The same items."""
        for item in items:
            for mask in item.masks:
                self._rows.extend(_row(mask, self._of_faces))
            self.frames.append(item.frame.index)
            self._ends.append(len(self._rows))
            yield item

    def on_frame(self, frame: int) -> list[PaintedMask]:
        """In the order in which they were painted. ``frame``: index in the source."""
        at = bisect_left(self.frames, frame)
        if at == len(self.frames) or self.frames[at] != frame:
            return []
        first = self._ends[at - 1] if at else 0
        return [_mask(self._rows[i : i + _NUMBERS]) for i in range(first, self._ends[at], _NUMBERS)]


def _row(mask: Mask, of_faces: bool) -> list[float]:
    tracked, box, area = mask.tracked, mask.box, mask.area or mask.box
    _, rows, columns = mask.samples.shape
    flags = (_ELLIPSE if mask.shape is Shape.ELLIPSE else 0) + (_SMOOTH if mask.smooth else 0)
    if of_faces and tracked.track > 0 and not tracked.filled and (rows, columns) != (1, 1):
        flags += _SHOWS
    corners = [box.x0, box.y0, box.x1, box.y1, area.x0, area.y0, area.x1, area.y1]
    return [tracked.track, *corners, rows, columns, mask.fine, flags]


def _mask(row: array[float]) -> PaintedMask:
    track, *corners, rows, columns, fine, flags = row
    box, area, bits = Box(*corners[:4]), Box(*corners[4:]), int(flags)
    tracked = TrackedRegion(int(track), FaceRegion(box, 1.0), seen=True, born=False, last=False)
    shape = Shape.ELLIPSE if bits & _ELLIPSE else Shape.RECTANGLE
    black = torch.zeros(3, int(rows), int(columns))
    own = None if area == box else area
    mask = Mask(tracked, box, shape, black, bool(bits & _SMOOTH), int(fine), own)
    return PaintedMask(mask, bool(bits & _SHOWS))
