"""Frames -> frames with their mosaics, found or given by a person, and scene cuts."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from pipeline.config import FindConfig
from pipeline.mosaic.finder import (
    find_mosaics_in_picture,
    is_clean_in_picture,
    read_grid_in_picture,
    redetect_in_picture,
)
from pipeline.mosaic.given_grid import GivenGrid
from pipeline.mosaic.multi_frame import EdgeAccumulator
from pipeline.mosaic.redetect import looked_at
from pipeline.mosaic.single_scale import hinted_parts
from pipeline.picture.fetch import Fetch, PixelBox
from pipeline.picture.resize import DeviceLuma, luma8
from pipeline.stages.shot_cuts import Cuts, coming_thumbnail
from pipeline.types import Found, Frame, ManualRegion, MosaicRegion, Shape

_MEMORY_FRAMES = 6
"""Frames on which a mosaic that was missed is still looked for where it was found last."""
_SMALLER, _PERIOD = (0, 3, 5), 7
"""Frames of each _PERIOD of a shot on which smaller pictures are searched; the tracker looks back over those
between. No mosaic that comes and goes every other or every third frame is off on all of them."""
_GIVEN_SCORE = 1.0
"""Score of a region that a person gave; the finder's own stay below."""
_SAME_PLACE = 0.1
"""IoU from which two regions are one mosaic."""


def find_mosaics(
    frames: Iterable[Frame], *, settings: FindConfig, manual: Sequence[ManualRegion] = ()
) -> Iterator[Found[MosaicRegion]]:
    """Each frame with its mosaics, in order, holding none back.

    Mosaics of the frames before are looked for first, within a shot.
    A manual region is taken as given; its grid is read inside it unless its cells are given, and None where
    that fails. What the finder
    sees in the same place gives way to it.
    """
    cuts = Cuts()
    recent: deque[list[MosaicRegion]] = deque(maxlen=_MEMORY_FRAMES)
    accumulator = EdgeAccumulator(settings.max_cell_px)
    measured = _measured(manual)
    in_shot = 0
    for frame in frames:
        luma = luma8(frame)
        fetch = Fetch()
        coming = coming_thumbnail(frame, fetch)
        if isinstance(luma, DeviceLuma):
            luma.want(fetch, _expected_parts(luma, _latest(recent), accumulator))
        fetch.now()
        cut = cuts.before_thumbnail(coming())
        if cut:
            measured = _measured(manual)
            recent.clear()
            accumulator = EdgeAccumulator(settings.max_cell_px)
            in_shot = 0
        given = [
            MosaicRegion(
                m.box,
                Shape.RECTANGLE,
                _GIVEN_SCORE,
                grid(luma) if grid else read_grid_in_picture(luma, m.box, settings),
            )
            for m, grid in zip(manual, measured, strict=True)
            if m.covers(frame)
        ]
        smaller = in_shot % _PERIOD in _SMALLER
        found = find_mosaics_in_picture(luma, settings, _latest(recent), accumulator, smaller=smaller)
        in_shot += 1
        found = [r for r in found if all(r.box.iou(g.box) < _SAME_PLACE for g in given)]
        recent.appendleft(found)
        yield Found(frame, (*given, *found), cut)


def _expected_parts(
    luma: DeviceLuma, expected: list[MosaicRegion], accumulator: EdgeAccumulator
) -> list[PixelBox]:
    """Parts of a picture that will be looked at whatever it shows, unless a shot begins with it."""
    height, width = luma.shape
    known = [(r.box, r.grid) for r in expected if r.scale == 1 and r.grid is not None]
    parts = [looked_at(box, grid, width, height) for box, grid in known]
    return [*parts, *hinted_parts(accumulator.pending(), width, height)]


def redetect_with(settings: FindConfig) -> Callable[[Frame, MosaicRegion], MosaicRegion | None]:
    """How the tracker looks for a mosaic in frames before the first one that showed it.

    A region that a person gave begins when they said.
    """

    def redetect(frame: Frame, region: MosaicRegion) -> MosaicRegion | None:
        if region.score == _GIVEN_SCORE:
            return None
        return redetect_in_picture(luma8(frame), region, settings)

    return redetect


def is_clean(frame: Frame, region: MosaicRegion) -> bool:
    """Whether a frame between those that show a mosaic plainly shows none."""
    return is_clean_in_picture(luma8(frame), region)


def _latest(recent: Iterable[list[MosaicRegion]]) -> list[MosaicRegion]:
    """Of regions in the same place the latest. ``recent`` has those of the last frames, latest first."""
    latest: list[MosaicRegion] = []
    for regions in recent:
        latest += [r for r in regions if all(r.box.iou(other.box) < _SAME_PLACE for other in latest)]
    return latest


def _measured(manual: Sequence[ManualRegion]) -> list[GivenGrid | None]:
    """For a new shot."""
    return [None if m.cells is None else GivenGrid(m.box, m.cells) for m in manual]
