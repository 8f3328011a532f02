"""Tracked faces -> masks: what is painted over each face.

*Plain* (``hold`` None): the colours of each frame's own cells, as every pixelizer does it. A face that moves
under its cells shows them something new on every frame, and frames add up (NAR, arXiv 2009.13856).

*Protected*: the lattice is locked to the face and holds still. Its colours are nobody's
(``pipeline.prototypes``), or measured once (``pipeline.stages.held_colours``). Where a face was not seen,
before the first and after the last sight of a track, what lies around the mask is shown and nothing of what
is under it (``pipeline.stages.surroundings``). So it is in regions by hand where colours are nobody's.

Masks that overlap by half show one lattice (``pipeline.stages.overlap``). A perturbation that is trained
against a network (``pipeline.stages.perturb``) lies between this stage and ``paint``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from pipeline.config import MaskConfig, ProtectConfig
from pipeline.picture.color import Conversion, conversion
from pipeline.picture.grid_axes import extended
from pipeline.picture.grid_paint import measure
from pipeline.picture.wanted import Wanted
from pipeline.prototypes.nobody import NobodyColours
from pipeline.stages.held_colours import HeldColours
from pipeline.stages.lattices import Lattices
from pipeline.stages.overlap import Overlaps
from pipeline.stages.surroundings import from_around
from pipeline.types import (
    Box,
    FaceRegion,
    Mask,
    Masked,
    Region,
    Shape,
    StreamInfo,
    TrackedFaces,
    TrackedRegion,
)

_SURE_SCORE = 0.5
"""0..1, of a detection, from which a track gets the face of nobody; before that it would be a ghost."""


@dataclass(frozen=True, slots=True)
class _Lattice:
    """Colours over a box."""

    box: Box
    samples: Tensor


class Pixelizer:
    """The stage, with the record of what it chose or measured, in ``colours``. ``fewer``: blocks across the
    faces of single tracks, see ``Lattices``."""

    def __init__(
        self,
        info: StreamInfo,
        settings: MaskConfig,
        hold: ProtectConfig | None = None,
        fewer: Mapping[int, int] | None = None,
    ) -> None:
        self._settings = settings
        self._shape = Shape.ELLIPSE if settings.shape == "ellipse" else Shape.RECTANGLE
        self._lattices = Lattices(info, settings, fewer)
        self._overlaps = Overlaps()
        self._unsure: set[int] = set()
        self.colours: NobodyColours | HeldColours | None = None
        """None: of each frame's own cells."""
        if hold is not None and hold.values == "nobody":
            self.colours = NobodyColours(info, settings, hold.nobody)
        elif hold is not None:
            self.colours = HeldColours(settings, hold, self._lattices)

    def __call__(self, items: Iterable[TrackedFaces]) -> Iterator[Masked]:
        """Frames in order with a mask per region, in the order in which they are painted. Raises InputError
        for colours that are not handled."""
        for item in items:
            yield Masked(item.frame, self._masks(item) if item.regions else ())

    def _masks(self, item: TrackedFaces) -> tuple[Mask, ...]:
        frame, regions = item.frame, item.regions
        self._judge(item)
        boxes = [self._box(tracked) for tracked in regions]
        plain = [self._is_plain(tracked) for tracked in regions]
        if self._settings.look == "solid":
            black = _Lattice(Box(0, 0, 1, 1), torch.zeros(3, 1, 1))
            return tuple(self._mask(*one, black) for one in zip(regions, boxes, strict=True))
        height, width = frame.planes[0].shape
        convert = conversion(frame.pix_fmt, frame.colour, width, height)
        if self.colours is not None:
            self.colours.begin(item, convert)
        cells = [
            self._lattices.cells(
                tracked,
                tracked.region.box,
                refine=own or not isinstance(self.colours, HeldColours),
                even=not own and isinstance(self.colours, NobodyColours),
            )
            for tracked, own in zip(regions, plain, strict=True)
        ]
        ranks = [_rank(tracked.track) for tracked in regions]
        pitches = [min(box.height / r, box.width / c) for box, (r, c) in zip(boxes, cells, strict=True)]
        owners = self._overlaps.owners(ranks, boxes, plain, pitches)
        lattices = self._of_the_frame(item, boxes, cells, owners, plain, convert)
        for k in set(owners) - set(lattices):
            assert self.colours is not None
            wanted = Wanted(item, regions[k], cells[k], boxes, convert)
            lattices[k] = _Lattice(boxes[k], self.colours.samples(wanted))
        order = sorted(range(len(regions)), key=lambda k: (not plain[k], -ranks[owners[k]], -ranks[k]))
        return tuple(self._mask(regions[k], boxes[k], lattices[owners[k]]) for k in order)

    def _judge(self, item: TrackedFaces) -> None:
        """Which tracks may be none of a face: those that no sure detection has shown so far."""
        for tracked in item.regions:
            best = item.references.get(tracked.track)
            if best is not None and best.score < _SURE_SCORE and isinstance(tracked.region, FaceRegion):
                self._unsure.add(tracked.track)
            elif tracked.seen and tracked.region.score >= _SURE_SCORE:
                self._unsure.discard(tracked.track)

    def _is_plain(self, tracked: TrackedRegion[Region]) -> bool:
        """Whether colours of the frame are shown, and none of a face or of nobody."""
        if self.colours is None or tracked.filled:
            return True
        if self.colours.of_nobody and tracked.track in self._unsure:
            return True
        return tracked.track < 0 and self.colours.of_nobody

    def _of_the_frame(
        self,
        item: TrackedFaces,
        boxes: list[Box],
        cells: list[tuple[int, int]],
        owners: list[int],
        plain: list[bool],
        convert: Conversion,
    ) -> dict[int, _Lattice]:
        """By owner: lattices that reach over all masks that show them, of colours of this frame."""
        wanted = sorted({k for k in owners if plain[k]})
        hulls = [
            reduce(Box.hull, [box for box, owner in zip(boxes, owners, strict=True) if owner == k])
            for k in wanted
        ]
        spans = [extended(boxes[k], cells[k], hull) for k, hull in zip(wanted, hulls, strict=True)]
        grids, shapes = [span[0] for span in spans], [span[1] for span in spans]
        if self.colours is not None:
            samples = from_around(item.frame, grids, shapes, boxes, convert)
        else:
            samples = [m.samples for m in measure(item.frame, grids, shapes, convert)] if spans else []
        lattices = map(_Lattice, grids, samples)
        return dict(zip(wanted, lattices, strict=True))

    def _box(self, tracked: TrackedRegion[Region]) -> Box:
        return tracked.region.box.scaled(1.0 if tracked.track < 0 else self._settings.scale)

    def _mask(self, tracked: TrackedRegion[Region], box: Box, lattice: _Lattice) -> Mask:
        shape = Shape.RECTANGLE if tracked.track < 0 else self._shape
        smooth = self._settings.look == "blur"
        grid = box if self._settings.look == "solid" else lattice.box
        return Mask(tracked, grid, shape, lattice.samples, smooth, area=None if grid == box else box)


def _rank(track: int) -> int:
    """Earlier tracks first, regions by hand last."""
    return track if track > 0 else 2**40 - track
