"""All mosaics of one frame: screening, then per candidate comb, extent, comb again, outline, operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pipeline.config import FindConfig
from pipeline.mosaic.evidence import Evidence, Pixels
from pipeline.mosaic.grid_fit import fit
from pipeline.mosaic.line_grid import MIN_PITCH_PX
from pipeline.mosaic.multi_frame import Pool
from pipeline.mosaic.outline import outline
from pipeline.mosaic.redetect import locate, verify
from pipeline.mosaic.region import axis, describe, grid
from pipeline.mosaic.score import rate
from pipeline.mosaic.screening import Sampled, Steps, candidates, remaining
from pipeline.mosaic.screening_cuda import DeviceLuma, Luma
from pipeline.types import Axis, Box, Grid, MosaicRegion

_MARGIN_PX = 32
"""Around a candidate of the screening, whose boxes end with the last block that fired."""
_DEPTH = 3
"""Mosaics found one inside the candidate of the other."""
_MAX_OVERLAP = 0.1
_BLOCKING_SHARE = 0.6
_CUT_PX = 8
_GROWTHS = 8
"""Times that a mosaic is looked for around itself, by a cell and 24 px at a time."""
_SAME = 0.9
"""Share of the smaller box in common from which a wider region holds the one that it grew from."""
_KNOWN = 0.7
"""Share of the least score that an expected mosaic needs. At 0.6, what a codec leaves of a mosaic on the
first frame without it passed once in 20 training clips."""
_DRIFT_PX, _PHASE_PX = 1.0, 1.0
"""What a fit of few lines is off."""
SURE = 0.5
"""Score from which an expected mosaic is taken without looking for others in its place."""


def find(
    luma: Luma,
    settings: FindConfig,
    expected: Sequence[MosaicRegion] = (),
    pool: Pool | None = None,
    without: Sequence[Box] = (),
) -> list[MosaicRegion]:
    """Mosaics of one picture, the strongest first; stateless but for the ``pool`` of its shot, if given.

    ``luma`` is (H, W) uint8, C-contiguous, or on a device. ``expected`` are mosaics of the frames before:
    each is looked for where it was, which is cheap, and reported for what this picture shows of it; _KNOWN
    of ``min_score`` is enough then. What lies in ``without`` is not looked at. Boxes do not overlap by more
    than a tenth of the smaller one.
    """
    height, width = luma.shape
    found = [r for e in expected if (r := again(luma, e, settings)) is not None]
    # A weak one may be something else in truth: its place is searched as well.
    whole = [b.pixels(width, height) for b in (*without, *(r.box for r in found if r.score >= SURE))]
    steps: Steps = luma.steps() if isinstance(luma, DeviceLuma) else Sampled.of(np.asarray(luma))
    for box in whole:
        steps.erase(box)
    if pool is not None:
        pool.add(steps)
        hinted = [r for box, lattice in pool.lattices() if (r := _pooled(luma, box, lattice, settings))]
        if hinted:
            pool.seen()
        found += hinted
    for x0, y0, x1, y1 in candidates(steps):
        left, top = max(x0 - _MARGIN_PX, 0), max(y0 - _MARGIN_PX, 0)
        right, bottom = min(x1 + _MARGIN_PX, width), min(y1 + _MARGIN_PX, height)
        evidence = Evidence.of(luma[top:bottom, left:right])
        for a, b, c, d in whole:
            evidence.erase((max(a - left, 0), max(b - top, 0), max(c - left, 0), max(d - top, 0)))
        part, picture = (left, top, right, bottom), (0, 0, width, height)
        regions = [
            _grown(luma, r, settings) if _is_cut(r.box, part, picture) else r
            for r in _regions(evidence, (left, top), settings)
        ]
        regions = [r for r in regions if _is_enough(r, settings.min_score, settings.min_cells)]
        found += regions
        whole += [r.box.pixels(width, height) for r in regions if not _is_cut(r.box, part, picture)]
    return apart([r for r in found if not _is_blocking(r, height, width)])


def apart(
    regions: Sequence[MosaicRegion], weight: Callable[[MosaicRegion], float] = lambda _: 1.0
) -> list[MosaicRegion]:
    """Those that overlap no stronger one, the strongest first: score times area times ``weight``."""
    kept: list[MosaicRegion] = []
    for region in sorted(regions, key=lambda r: -weight(r) * r.score * r.box.width * r.box.height):
        if not any(overlaps(region.box, other.box) for other in kept):
            kept.append(region)
    return kept


def again(luma: Luma, expected: MosaicRegion, settings: FindConfig) -> MosaicRegion | None:
    """The expected mosaic, if the picture, (H, W) uint8, shows enough of it."""
    region = None if expected.grid is None else verify(luma, expected.box, expected.grid)
    return region if _is_enough(region, _KNOWN * settings.min_score, settings.min_cells) else None


def _pooled(luma: Luma, box: Box, lattice: Grid, settings: FindConfig) -> MosaicRegion | None:
    """A mosaic that the frames before hint at, if the picture shows it."""
    region = locate(luma, box, lattice)
    if region is not None and region.grid is not None:
        # Seen from its own box, it may reach farther.
        second = locate(luma, region.box, region.grid)
        region = second if second is not None and second.score > region.score else region
    enough = _is_enough(region, settings.min_score, settings.min_cells)
    # What a codec leaves at the borders of its blocks stays in its place, too.
    return None if region is None or not enough or _is_codec_lattice(region) else region


def _is_enough(region: MosaicRegion | None, min_score: float, min_cells: int) -> bool:
    if region is None or region.grid is None or region.score < min_score:
        return False
    cells = min(region.box.width / region.grid.x.pitch, region.box.height / region.grid.y.pitch)
    return cells >= min_cells - 0.5


def _is_cut(box: Box, part: Pixels, picture: Pixels) -> bool:
    """True where a side lies at that of the part, inside the picture: a larger part may show more of it."""
    sides = zip((box.x0, box.y0, box.x1, box.y1), part, picture, strict=True)
    return any(abs(side - end) <= _CUT_PX and end != border for side, end, border in sides)


def _grown(luma: Luma, region: MosaicRegion, settings: FindConfig) -> MosaicRegion:
    """A mosaic that was seen up to the end of a part, which says nothing of where it ends itself.

    Its lattice is looked for around it until no more comes: a large mosaic in wide cells has few steps, and
    the screening may fire in its liveliest corner only.
    """
    for _ in range(_GROWTHS):
        wider = None if region.grid is None else locate(luma, region.box, region.grid)
        if wider is None or wider.score < settings.min_score:
            break
        gained = wider.box.width * wider.box.height - region.box.width * region.box.height
        if gained <= 0.0 or _overlap(wider.box, region.box) < _SAME:
            break
        region = wider
    return region


def _is_blocking(region: MosaicRegion, height: int, width: int) -> bool:
    """True for most of a picture in cells of 8 or 4 px from its corner: a codec that kept the means only."""
    large = region.box.width * region.box.height >= _BLOCKING_SHARE * height * width
    return large and _is_codec_lattice(region, (0.5, 1))


def _is_codec_lattice(region: MosaicRegion, multiples: Sequence[float] = (0.5, 1, 2, 4)) -> bool:
    """True for cells of a multiple of 8 px from the picture's corner on, as far as so many can tell."""
    return codec_axes(region, multiples) == 2


def codec_axes(region: MosaicRegion, multiples: Sequence[float] = (0.5, 1, 2, 4)) -> int:
    """On how many axes the lines are a codec's."""
    box = region.box
    if region.grid is None:
        return 0
    return sum(
        any(_is_multiple(a, (first + last) / 2, (last - first) / 2, 8.0 * m) for m in multiples)
        for a, first, last in ((region.grid.x, box.x0, box.x1), (region.grid.y, box.y0, box.y1))
    )


def _is_multiple(axis: Axis, middle: float, reach: float, pitch: float) -> bool:
    """True where the lines of ``axis`` drift by less than _DRIFT_PX from those at multiples of ``pitch`` px
    from the middle to the ends, and lie within _PHASE_PX (less in small cells) of them in the middle."""
    line = axis.origin + round((middle - axis.origin) / axis.pitch) * axis.pitch
    drift = abs(axis.pitch / pitch - 1.0) * reach
    return drift < _DRIFT_PX and abs(line - pitch * round(line / pitch)) <= min(_PHASE_PX, pitch / 8)


def overlaps(a: Box, b: Box) -> bool:
    """True where more of the smaller box than _MAX_OVERLAP lies in both."""
    return _overlap(a, b) >= _MAX_OVERLAP


def _overlap(a: Box, b: Box) -> float:
    """Area in common over that of the smaller box."""
    w = min(a.x1, b.x1) - max(a.x0, b.x0)
    h = min(a.y1, b.y1) - max(a.y0, b.y0)
    return max(w, 0.0) * max(h, 0.0) / max(min(a.width * a.height, b.width * b.height), 1.0)


def _regions(
    evidence: Evidence, offset: tuple[int, int], settings: FindConfig, depth: int = _DEPTH
) -> list[MosaicRegion]:
    """Mosaics in a part of the picture: the clearest, then those in the candidates that are left without it.

    Erases the steps of each. Those that the part cuts may have fewer cells than wanted.
    """
    best = fit(evidence, settings.max_cell_px) if remaining(evidence.vertical, evidence.horizontal) else None
    if best is None:
        return []
    x0, y0, x1, y1 = best.extent.box
    height, width = evidence.size
    score = rate(evidence, best.lattice, best.extent)
    cells = min((x1 - x0) / best.lattice.x.pitch, (y1 - y0) / best.lattice.y.pitch)
    is_cut = min(x0, y0, width - x1, height - y1) <= _CUT_PX
    if score < settings.min_score or (cells < settings.min_cells - 0.5 and not is_cut):
        return []
    outlined = outline(evidence, best.lattice, best.extent)
    regions = [describe(evidence, best.lattice, outlined, best.extent.strips, score, offset)]
    evidence.erase(outlined[0])
    left_over = remaining(evidence.vertical, evidence.horizontal) if depth else []
    for x0, y0, x1, y1 in left_over:
        left, top = max(x0 - _MARGIN_PX, 0), max(y0 - _MARGIN_PX, 0)
        part = evidence.cut((left, top, min(x1 + _MARGIN_PX, width), min(y1 + _MARGIN_PX, height)))
        regions += _regions(part, (offset[0] + left, offset[1] + top), settings, depth - 1)
    return regions


def read_grid(luma: Luma, box: Box, settings: FindConfig) -> Grid | None:
    """Grid of a mosaic that a person pointed at, or None where none can be read.

    ``luma`` is (H, W) uint8. The box may be larger than the mosaic; half of ``min_score`` is enough, as the
    question is no longer whether there is a mosaic.
    """
    height, width = luma.shape
    x0, y0, x1, y1 = box.pixels(width, height)
    left, top = x0 // 16 * 16, y0 // 16 * 16
    if x1 - left < 2 * MIN_PITCH_PX or y1 - top < 2 * MIN_PITCH_PX:
        return None
    part = np.ascontiguousarray(luma[top:y1, left:x1])
    evidence = Evidence.of(part)
    best = fit(evidence, settings.max_cell_px)
    if best is None:
        return None
    score = rate(evidence, best.lattice, best.extent)
    if score < settings.min_score / 2:
        return None
    across, down = evidence.profiles(best.extent.box)
    x, _ = axis(across, best.lattice.x, (x0 - left, x1 - left), False)
    y, _ = axis(down, best.lattice.y, (y0 - top, y1 - top), False)
    return grid(part, x, y, best.extent.box, (left, top), score)
