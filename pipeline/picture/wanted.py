"""What colours are wanted for: a region of a frame, and the cells over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.picture.color import Conversion
from pipeline.types import Box, Region, TrackedFaces, TrackedRegion

Cells = tuple[int, int]
"""rows, columns"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A region of ``item`` in ``cells``; all ``masks`` of its frame, of which one is the region's own."""

    item: TrackedFaces
    tracked: TrackedRegion[Region]
    cells: Cells
    masks: Sequence[Box]
    convert: Conversion
