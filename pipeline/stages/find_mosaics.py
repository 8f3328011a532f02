"""Finder of mosaics as a stage: regions and cuts of each frame, or regions that a person gave."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from pipeline.config import FindConfig
from pipeline.mosaic import finder
from pipeline.mosaic.finder import again, find, read_grid
from pipeline.mosaic.multi_frame import Pool
from pipeline.mosaic.screening_cuda import DeviceLuma, Luma
from pipeline.picture import resize
from pipeline.picture.color import Model, pixel_format
from pipeline.stages.shot_cuts import Cuts, to8
from pipeline.types import Box, Found, Frame, ManualRegion, MosaicRegion, Shape

__all__ = ["find_mosaics", "is_bare", "looked_for", "luma8"]

_MEMORY_FRAMES = 6
"""Frames on which a mosaic that was missed is still looked for where it was seen last."""
_SMALLER, _PERIOD = (0, 3, 5), 7
"""Frames of each _PERIOD of a shot on which smaller pictures are looked at; the tracker looks back over those
between. No mosaic that comes and goes every other or every third frame is off on all of them."""
_GIVEN_SCORE = 1.0
"""Of a region that a person gave; the finder's own stay below."""
_SAME_PLACE = 0.1
"""IoU from which two regions are one mosaic."""


def luma8(frame: Frame) -> Luma:
    """(H, W) uint8: luma of YUV and gray, green of RGB, scaled to 8 bits and rounded. A view at 8 bits.

    It lies where the frame lies."""
    fmt = pixel_format(frame.pix_fmt)
    plane = frame.planes[1 if fmt.model is Model.RGB else 0]
    if plane.device.type != "cpu":
        return DeviceLuma(resize.to8(plane, fmt.bits))
    luma: Luma = to8(plane.numpy(), fmt.bits)
    return luma


def find_mosaics(
    frames: Iterable[Frame], *, settings: FindConfig, manual: Sequence[ManualRegion] = ()
) -> Iterator[Found[MosaicRegion]]:
    """Each frame with its mosaics, in order, holding none back.

    Mosaics of the frames before are looked for first, within a shot.
    A manual region is taken as given; its grid is read inside it, and None where that fails. What the finder
    sees in the same place gives way to it.
    """
    cuts = Cuts()
    recent: deque[list[MosaicRegion]] = deque(maxlen=_MEMORY_FRAMES)
    pool = Pool(settings.max_cell_px)
    shown = 0
    for frame in frames:
        luma = luma8(frame)
        cut = cuts.before(frame)
        given = [_given(luma, m.box, settings) for m in manual if m.covers(frame)]
        if cut:
            recent.clear()
            pool = Pool(settings.max_cell_px)
            shown = 0
        seen = find(luma, settings, _latest(recent), pool, smaller=shown % _PERIOD in _SMALLER)
        shown += 1
        seen = [r for r in seen if all(r.box.iou(g.box) < _SAME_PLACE for g in given)]
        recent.appendleft(seen)
        yield Found(frame, (*given, *seen), cut)


def looked_for(settings: FindConfig) -> Callable[[Frame, MosaicRegion], MosaicRegion | None]:
    """What ``track`` asks about frames before the first one that showed a mosaic.

    A region that a person gave begins when they said.
    """

    def again_in(frame: Frame, region: MosaicRegion) -> MosaicRegion | None:
        return None if region.score == _GIVEN_SCORE else again(luma8(frame), region, settings)

    return again_in


def is_bare(frame: Frame, region: MosaicRegion) -> bool:
    """What ``track`` asks about frames between those that show a mosaic: whether they plainly show none."""
    return finder.is_bare(luma8(frame), region)


def _latest(recent: Iterable[list[MosaicRegion]]) -> list[MosaicRegion]:
    """Of regions in the same place the latest. ``recent`` has those of the last frames, latest first."""
    latest: list[MosaicRegion] = []
    for regions in recent:
        latest += [r for r in regions if all(r.box.iou(other.box) < _SAME_PLACE for other in latest)]
    return latest


def _given(luma: Luma, box: Box, settings: FindConfig) -> MosaicRegion:
    return MosaicRegion(box, Shape.RECTANGLE, _GIVEN_SCORE, read_grid(luma, box, settings))
