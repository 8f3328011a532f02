"""The record of what a run painted: the outline of every mask of every frame.

In memory it takes 36 bytes per mask and frame: 8 MB for three faces through an hour at 20 frames/s.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.picture.grid_paint import Outline, outline
from pipeline.types import Box, Mask, Masked, Shape

_NUMBERS = 9
"""Per mask: its track, the box, rows and columns of cells, samples per cell, flags."""
_ELLIPSE, _SMOOTH, _SHOWS = 1, 2, 4


@dataclass(frozen=True, slots=True)
class PaintedMask:
    """A mask as it was painted."""

    track: int
    outline: Outline
    shows_face: bool
    """Its colours come from a face that is under it: not from a place that a user pointed at, nor from where
    a face may have been."""


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
    drawn, tracked = outline(mask), mask.tracked
    flags = (_ELLIPSE if drawn.shape is Shape.ELLIPSE else 0) + (_SMOOTH if drawn.smooth else 0)
    if of_faces and tracked.track > 0 and not tracked.filled and drawn.cells != (1, 1):
        flags += _SHOWS
    box = drawn.box
    return [tracked.track, box.x0, box.y0, box.x1, box.y1, *drawn.cells, drawn.fine, flags]


def _mask(row: array[float]) -> PaintedMask:
    track, x0, y0, x1, y1, rows, columns, fine, flags = row
    bits = int(flags)
    shape = Shape.ELLIPSE if bits & _ELLIPSE else Shape.RECTANGLE
    drawn = Outline(Box(x0, y0, x1, y1), shape, (int(rows), int(columns)), bool(bits & _SMOOTH), int(fine))
    return PaintedMask(int(track), drawn, bool(bits & _SHOWS))
