"""All mosaics of a picture at one scale: screening, then a region per candidate, and what it leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pipeline.config import FindConfig
from pipeline.mosaic.edges import PixelBox
from pipeline.mosaic.evidence import Evidence
from pipeline.mosaic.grid_fit import MIN_PITCH_PX
from pipeline.mosaic.multi_frame import EdgeAccumulator
from pipeline.mosaic.outline import outline
from pipeline.mosaic.redetect import locate_mosaic, looked_at, verify_mosaic
from pipeline.mosaic.region import RegionFit, axis_in_box, describe_region, fit_region, grid_in_picture
from pipeline.mosaic.rejection import Reject, Rejection, Rule, ignore
from pipeline.mosaic.score import is_blocking, is_on_codec_grid, judge_region, score_region
from pipeline.mosaic.screening import candidates, remaining_candidates, sample_edges, want_candidates
from pipeline.picture.fetch import Fetch
from pipeline.picture.resize import DeviceLuma, Luma
from pipeline.types import Box, Grid, MosaicRegion

MARGIN_PX = 32
"""px around a candidate of the screening, whose boxes end with the last block that fired."""
_DEPTH = 3
"""Mosaics found one inside the candidate of the other."""
_MAX_OVERLAP = 0.1
"""Share of the smaller box that two regions may have in common."""
_CUT_PX = 8
"""px from a part's side within which a region counts as cut by it."""
_GROWTHS = 8
"""Times that a mosaic is looked for around itself, by a cell and 24 px at a time."""
_SAME_REGION = 0.9
"""Share of the smaller box in common from which a wider region holds the one that it grew from."""
_EXPECTED_SHARE = 0.7
"""Share of the least score that an expected mosaic needs; measured on 20 training clips."""
SURE_SCORE = 0.5
"""0..1, score from which an expected mosaic is taken without looking for others in its place."""
_ALIGN_PX = 16
"""px; the part around a box that a person gave begins at a multiple of it."""


def find_at_scale(
    luma: Luma,
    settings: FindConfig,
    expected: Sequence[MosaicRegion] = (),
    accumulator: EdgeAccumulator | None = None,
    without: Sequence[Box] = (),
    reject: Reject = ignore,
) -> list[MosaicRegion]:
    """Mosaics of one picture, the strongest first; stateless but for the ``accumulator`` of its shot.

    ``luma`` is (H, W) uint8, C-contiguous, or on a device. ``expected`` are mosaics of the frames before:
    each is looked for where it was, which is cheap, and reported for what this picture shows of it;
    _EXPECTED_SHARE of ``min_score`` is enough then. What lies in ``without`` is not looked at. Boxes do not
    overlap by more than a tenth of the smaller one. ``reject`` is told why candidates are left out.
    """
    look = Look(luma, settings, expected, accumulator, without)
    look_ahead([look])
    return look.regions(reject)


def look_ahead(looks: Sequence[Look]) -> None:
    """Brings what several looks ask a device for, in two copies."""
    fetch = Fetch()
    for look in looks:
        look.want_screening(fetch)
    fetch.now()
    for look in looks:
        look.want_parts(fetch)
    fetch.now()


class Look:
    """``find_at_scale`` in steps, so that what it asks a device for can come with what others do."""

    def __init__(
        self,
        luma: Luma,
        settings: FindConfig,
        expected: Sequence[MosaicRegion] = (),
        accumulator: EdgeAccumulator | None = None,
        without: Sequence[Box] = (),
    ) -> None:
        self._luma, self._settings, self._accumulator = luma, settings, accumulator
        self.size = height, width = luma.shape
        self.found = [r for e in expected if (r := redetect_at_scale(luma, e, settings)) is not None]
        """Those that were expected."""
        # A weak one may be something else in truth: its place is searched as well.
        sure = (r.box for r in self.found if r.score >= SURE_SCORE)
        self._known = [b.pixels(width, height) for b in (*without, *sure)]
        self._edges = sample_edges(luma)
        for box in self._known:
            self._edges.erase(box)
        if accumulator is not None:
            accumulator.add(self._edges)
        self._hints: list[tuple[Box, Grid]] = []
        self._parts: list[PixelBox] = []

    def want_screening(self, fetch: Fetch) -> None:
        want_candidates(self._edges, fetch)
        if self._accumulator is not None:
            self._accumulator.want(fetch)

    def want_parts(self, fetch: Fetch) -> None:
        """To be called once, after ``want_screening``."""
        height, width = self.size
        if self._accumulator is not None:
            self._hints = self._accumulator.hints()
        self._parts = [
            (
                max(x0 - MARGIN_PX, 0),
                max(y0 - MARGIN_PX, 0),
                min(x1 + MARGIN_PX, width),
                min(y1 + MARGIN_PX, height),
            )
            for x0, y0, x1, y1 in candidates(self._edges)
        ]
        if isinstance(self._luma, DeviceLuma):
            self._luma.want(fetch, [*hinted_parts(self._hints, width, height), *self._parts])

    def regions(self, reject: Reject = ignore) -> list[MosaicRegion]:
        luma, settings, found, known = self._luma, self._settings, self.found.copy(), self._known
        height, width = self.size
        hinted = [r for box, grid in self._hints if (r := _hinted(luma, box, grid, settings))]
        if hinted and self._accumulator is not None:
            self._accumulator.confirm()
        found += hinted
        for part in self._parts:
            left, top, right, bottom = part
            evidence = Evidence.from_luma(luma[top:bottom, left:right])
            for a, b, c, d in known:
                evidence.erase((max(a - left, 0), max(b - top, 0), max(c - left, 0), max(d - top, 0)))
            picture = (0, 0, width, height)
            regions = [
                _grown(luma, r, settings) if _is_cut(r.box, part, picture) else r
                for r in regions_of_part(evidence, (left, top), settings, reject=reject)
            ]
            regions = [r for r in regions if _is_accepted(r, settings, reject)]
            found += regions
            known += [r.box.pixels(width, height) for r in regions if not _is_cut(r.box, part, picture)]
        blocking = [r for r in found if is_blocking(r, height, width)]
        for r in blocking:
            reject(Rejection(r.box, Rule.CODEC_GRID, "most of the picture lies on it"))
        return keep_apart([r for r in found if r not in blocking], reject=reject)


def hinted_parts(hints: Sequence[tuple[Box, Grid]], width: int, height: int) -> list[PixelBox]:
    """Parts of a picture in which hints are looked for, with room for a second look around what is found."""
    parts = (looked_at(box, grid, width, height) for box, grid in hints)
    return [(a - MARGIN_PX, b - MARGIN_PX, c + MARGIN_PX, d + MARGIN_PX) for a, b, c, d in parts]


def keep_apart(
    regions: Sequence[MosaicRegion],
    weight: Callable[[MosaicRegion], float] = lambda _: 1.0,
    reject: Reject = ignore,
) -> list[MosaicRegion]:
    """Those that overlap no stronger one, the strongest first: score times area times ``weight``."""
    kept: list[MosaicRegion] = []
    for region in sorted(regions, key=lambda r: -weight(r) * r.score * r.box.width * r.box.height):
        if not any(overlap(region.box, other.box) for other in kept):
            kept.append(region)
        else:
            reject(Rejection(region.box, Rule.OVERLAP, f"score {region.score:.2f}"))
    return kept


def redetect_at_scale(luma: Luma, expected: MosaicRegion, settings: FindConfig) -> MosaicRegion | None:
    """The expected mosaic, if the picture, (H, W) uint8, shows enough of it."""
    region = None if expected.grid is None else verify_mosaic(luma, expected.box, expected.grid)
    return region if _is_enough(region, _EXPECTED_SHARE * settings.min_score, settings.min_cells) else None


def read_grid_at_scale(luma: Luma, box: Box, settings: FindConfig) -> Grid | None:
    """Grid of a mosaic that a person pointed at, or None where none can be read.

    ``luma`` is (H, W) uint8. The box may be larger than the mosaic; half of ``min_score`` is enough, as the
    question is no longer whether there is a mosaic.
    """
    height, width = luma.shape
    x0, y0, x1, y1 = box.pixels(width, height)
    left, top = x0 // _ALIGN_PX * _ALIGN_PX, y0 // _ALIGN_PX * _ALIGN_PX
    if x1 - left < 2 * MIN_PITCH_PX or y1 - top < 2 * MIN_PITCH_PX:
        return None
    part = np.ascontiguousarray(luma[top:y1, left:x1])
    evidence = Evidence.from_luma(part)
    best = fit_region(evidence, settings.max_cell_px)
    if best is None:
        return None
    score = score_region(evidence, best.grid, best.bounds)
    if score < settings.min_score / 2:
        return None
    across, down = evidence.profiles(best.bounds.box)
    x, _ = axis_in_box(across, best.grid.x, (x0 - left, x1 - left), False)
    y, _ = axis_in_box(down, best.grid.y, (y0 - top, y1 - top), False)
    return grid_in_picture(part, x, y, best.bounds.box, (left, top), score)


def regions_of_part(
    evidence: Evidence,
    offset: tuple[int, int],
    settings: FindConfig,
    depth: int = _DEPTH,
    reject: Reject = ignore,
) -> list[MosaicRegion]:
    """Mosaics in a part of the picture, which begins at ``offset`` (x, y): the clearest, then those in the
    candidates that are left without it.

    Erases the edges of each. Those that the part cuts may have fewer cells than wanted.
    """
    (height, width), (left, top) = evidence.size, offset
    if not remaining_candidates(evidence.vertical, evidence.horizontal):
        whole = Box(left, top, left + width, top + height)
        reject(Rejection(whole, Rule.TAKEN, "too few are left"))
        return []
    best = clearest_of_part(evidence, offset, settings, reject)
    if best is None:
        return []
    fit, score = best
    outlined = outline(evidence, fit.grid, fit.bounds)
    regions = [describe_region(evidence, fit.grid, outlined, fit.bounds.strips, score, offset)]
    evidence.erase(outlined[0])
    left_over = remaining_candidates(evidence.vertical, evidence.horizontal) if depth else []
    for x0, y0, x1, y1 in left_over:
        dx, dy = max(x0 - MARGIN_PX, 0), max(y0 - MARGIN_PX, 0)
        part = evidence.cut((dx, dy, min(x1 + MARGIN_PX, width), min(y1 + MARGIN_PX, height)))
        regions += regions_of_part(part, (left + dx, top + dy), settings, depth - 1, reject)
    return regions


def clearest_of_part(
    evidence: Evidence, offset: tuple[int, int], settings: FindConfig, reject: Reject = ignore
) -> tuple[RegionFit, float] | None:
    """The region of a part with most edges on a grid, and its score, if it is a mosaic."""
    (height, width), (left, top) = evidence.size, offset
    best = fit_region(evidence, settings.max_cell_px)
    if best is None:
        whole = Box(left, top, left + width, top + height)
        reject(Rejection(whole, Rule.NO_GRID, f"cells of {MIN_PITCH_PX:g} to {settings.max_cell_px:g} px"))
        return None
    x0, y0, x1, y1 = best.bounds.box
    box = Box(left + x0, top + y0, left + x1, top + y1)
    judged = judge_region(evidence, best.grid, best.bounds)
    cells = min((x1 - x0) / best.grid.x.pitch, (y1 - y0) / best.grid.y.pitch)
    is_cut = min(x0, y0, width - x1, height - y1) <= _CUT_PX
    if judged.score < settings.min_score:
        reject(Rejection(box, judged.rule, judged.figures()))
        return None
    if cells < settings.min_cells - 0.5 and not is_cut:
        reject(Rejection(box, Rule.FEW_CELLS, f"{cells:.1f} cells, wanted {settings.min_cells}"))
        return None
    return best, judged.score


def _hinted(luma: Luma, box: Box, grid: Grid, settings: FindConfig) -> MosaicRegion | None:
    """A mosaic that the frames before hint at, if the picture shows it."""
    region = locate_mosaic(luma, box, grid)
    if region is not None and region.grid is not None:
        # From its own box it may reach farther.
        second = locate_mosaic(luma, region.box, region.grid)
        region = second if second is not None and second.score > region.score else region
    enough = _is_enough(region, settings.min_score, settings.min_cells)
    # What a codec leaves at the borders of its blocks stays in its place, too.
    return None if region is None or not enough or is_on_codec_grid(region) else region


def _is_enough(region: MosaicRegion | None, min_score: float, min_cells: int) -> bool:
    if region is None or region.grid is None or region.score < min_score:
        return False
    return _cells(region, region.grid) >= min_cells - 0.5


def _cells(region: MosaicRegion, grid: Grid) -> float:
    """Cells across or down, whichever are fewer."""
    return min(region.box.width / grid.x.pitch, region.box.height / grid.y.pitch)


def _is_accepted(region: MosaicRegion, settings: FindConfig, reject: Reject) -> bool:
    """``_is_enough`` of a region that has been grown, and why not."""
    if _is_enough(region, settings.min_score, settings.min_cells):
        return True
    rule = Rule.LOW_SCORE if region.score < settings.min_score else Rule.FEW_CELLS
    cells = 0.0 if region.grid is None else _cells(region, region.grid)
    reject(Rejection(region.box, rule, f"score {region.score:.2f}, {cells:.1f} cells"))
    return False


def _is_cut(box: Box, part: PixelBox, picture: PixelBox) -> bool:
    """True where a side lies at that of the part, inside the picture: a larger part may show more of it."""
    sides = zip((box.x0, box.y0, box.x1, box.y1), part, picture, strict=True)
    return any(abs(side - end) <= _CUT_PX and end != border for side, end, border in sides)


def _grown(luma: Luma, region: MosaicRegion, settings: FindConfig) -> MosaicRegion:
    """A mosaic that was found up to the end of a part, which says nothing of where it ends itself.

    Its grid is looked for around it until no more comes: a large mosaic in wide cells has few edges, and the
    screening may fire in its liveliest corner only.
    """
    for _ in range(_GROWTHS):
        wider = None if region.grid is None else locate_mosaic(luma, region.box, region.grid)
        if wider is None or wider.score < settings.min_score:
            break
        gained = wider.box.width * wider.box.height - region.box.width * region.box.height
        if gained <= 0.0 or _common_share(wider.box, region.box) < _SAME_REGION:
            break
        region = wider
    return region


def overlap(a: Box, b: Box) -> bool:
    """True where at least _MAX_OVERLAP of the smaller box lies in both."""
    return _common_share(a, b) >= _MAX_OVERLAP


def _common_share(a: Box, b: Box) -> float:
    """Area in common over that of the smaller box."""
    w = min(a.x1, b.x1) - max(a.x0, b.x0)
    h = min(a.y1, b.y1) - max(a.y0, b.y0)
    return max(w, 0.0) * max(h, 0.0) / max(min(a.width * a.height, b.width * b.height), 1.0)
