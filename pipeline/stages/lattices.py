"""How many cells lie over a track's mask: decided when it begins, and kept while it is neither too fine nor
much too coarse for the face's size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.config import MaskConfig
from pipeline.picture.grid_paint import cells_across, least_cell_px
from pipeline.picture.wanted import Cells
from pipeline.prototypes.pose import WIDTH
from pipeline.types import Box, MosaicRegion, Region, StreamInfo, TrackedRegion

_OF_A_MOSAIC = 0.5
"""A mosaic that is pixelated again gets at most this share of the cells that it has."""
_OF_A_BLUR = 0.4
"""A blur gets at most this share of the cells of the mosaic that it is as strong as: between their colours it
interpolates, and a detector sees through 4 interpolated cells what it sees through 10 blocks."""
_REFINED = 2
"""A face that could have so many times the cells has come near: it gets them."""
_ALL = 10**6
"""More blocks than there is room for."""
_GROWN = 1.05
_SPARE = 0.8
"""A face that has shrunk too far for its cells gets those of a face of this share of its size."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """What was decided, for a face of a size."""

    cells: Cells
    width: float
    height: float

    def is_of(self, face: Box) -> bool:
        """Whether the face has its size still, or has grown too little to ask again."""
        return (
            self.width <= face.width < self.width * _GROWN
            and self.height <= face.height < self.height * _GROWN
        )


class Lattices:
    """Of all tracks of a run. ``fewer``: blocks across the faces of tracks that get others than the settings
    say."""

    def __init__(
        self, info: StreamInfo, settings: MaskConfig, fewer: Mapping[int, int] | None = None
    ) -> None:
        self._settings = settings
        self._fewer = fewer or {}
        self._aspect = float(info.sample_aspect)
        height = info.width * self._aspect if info.rotation % 180 else info.height
        self._least_px = least_cell_px(height)
        self._kept: dict[int, _Kept] = {}

    def cells(
        self,
        tracked: TrackedRegion[Region],
        face: Box,
        *,
        refine: bool = True,
        even: bool = False,
    ) -> Cells:
        """(rows, columns) over the mask of a track whose face has this box.
        ``refine``: a face that comes near gets more. ``even``: as many as everybody's face has."""
        key = tracked.track
        kept = self._kept.get(key)
        if kept is not None and kept.is_of(face):
            return kept.cells
        shape = self._even(face) if even else face
        most = self._across(face, _ALL, tracked)
        cells = _least(self._wanted(tracked, shape), most)
        if kept is not None and not (refine and min(cells) >= _REFINED * min(kept.cells)):
            cells = kept.cells
            if cells[0] > most[0] or cells[1] > most[1]:
                cells = _least(self._wanted(tracked, shape.scaled(_SPARE)), most, cells)
        self._kept[key] = _Kept(cells, face.width, face.height)
        return cells

    def _even(self, face: Box) -> Box:
        """A box as large as the face's, upright, square or lying: how long a face is, is its own."""
        (x, y), width, height = face.centre, face.width * self._aspect, face.height
        ratio = min((WIDTH, 1.0, 1 / WIDTH), key=lambda r: abs(math.log(r * height / max(width, 1e-6))))
        h = math.sqrt(width * height / ratio) / 2
        w = h * ratio / self._aspect
        return Box(x - w, y - h, x + w, y + h)

    def _wanted(self, tracked: TrackedRegion[Region], face: Box) -> Cells:
        blocks, region = self._fewer.get(tracked.track, self._settings.blocks), tracked.region
        if self._settings.look == "blur":
            blocks = max(1, int(blocks * _OF_A_BLUR))
        if isinstance(region, MosaicRegion) and region.grid is not None:
            across = min(face.width / region.grid.x.pitch, face.height / region.grid.y.pitch)
            blocks = max(1, min(blocks, int(across * _OF_A_MOSAIC)))
        return self._across(face, blocks, tracked)

    def _across(self, face: Box, blocks: int, tracked: TrackedRegion[Region]) -> Cells:
        scale = 1.0 if tracked.track < 0 else self._settings.scale
        return cells_across(face, blocks, scale, self._aspect, self._least_px)


def _least(*cells: Cells) -> Cells:
    return min(c[0] for c in cells), min(c[1] for c in cells)
