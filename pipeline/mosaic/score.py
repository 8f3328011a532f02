"""How sure: the score of a region that a grid was fitted to, and what is not a mosaic though a grid fits.

- Blocks of strong compression: pitch 8 or 16 on the codec's own grid, few edges, activity in the cells.
- Tables, tiles and bricks with gaps: a second line beside each line of the grid (the echo).
- Blinds: lines on one axis, next to none on the other.
- Drawings: a few long edges that some line grid happens to meet (most lines of the grid are empty).
- Bricks, windows and keys with joints: what lies on either side of a line is alike.
- Checks, plaid and bars: flat cells on a grid, but those two to four further on are alike again.

``is_clean_at_scale`` tells the opposite: pictures that plainly show no mosaic where frames around them do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.mosaic.bounds import Bounds
from pipeline.mosaic.edges import FAINT_PX, MAX_DIFFERENCE, PixelBox, difference_profile, transposed
from pipeline.mosaic.evidence import Evidence, PartGrid
from pipeline.mosaic.grid_fit import LineGrid
from pipeline.mosaic.rejection import Rule
from pipeline.picture.resize import Luma
from pipeline.types import Axis, Box, Grid, MosaicRegion

_OFF_WEIGHT = 12.0
"""What edges off the grid count against those on it; on / (off + floor) is 18 to 130 on 114 frames of
training clips at crf 18 to 28, below 9 for brick, tables and enlargements."""
_OFF_FLOOR = 0.004
"""0..1, share of edges off the grid that is added to theirs."""
_FILLED = 0.2
"""Share of the fuller lines' edges from which a line counts as filled."""
_QUIET, _LOUD = 0.3, 0.6
"""0..1, shares of active pixels between the lines that speak for flat cells, and against them."""
_FLAT_RIPPLE, _ROUGH_RIPPLE = 0.5, 0.75
"""The same of ``Bounds.ripple``; 1,361 frames in cells of 4 to 5.7 px, crf 28, have less than 0.5."""
_HALF = 0.2
"""Product that is called 0.5; 114 frames of training clips at crf 18 to 28 have 0.15 and more, 598 made-up
hard cases 0.14 and less, 1,305 unpixelated frames 0.05 and less."""
_CELL_EDGES = 10.0
"""Whole cell edges' worth of edge pixels that a region needs to be judged at full score."""

RISE = 0.5
"""0..1, least rise over lines, see ``rise_and_rest``; 1,807 mosaics of training clips have 0.74 and more, 12
pictures of bricks with joints 0.12 and less."""
_RISE_PX = 2
"""px that lines reach from their pixel in ``rise_and_rest``."""
_SECOND_GRID = 0.8
"""Most that neighbours differ by on a second grid beside the lines, over what they do on them; 1,807 mosaics
of training clips have 0.66 and less, drawn windows, calendars and tiles 0.94 and more."""
_SECOND_GRID_PX = 3
"""px from the lines to a second grid, at least."""

_REPEATED = 0.6
"""0..1, correlation of second differences of cells two to four apart from which cells repeat; 1,814 mosaics
of training clips have 0.48 and less, checks, plaid and gingham 0.73 to 0.95."""
_SOME_CELLS, _MANY_CELLS = 8, 16
"""Cells from which an axis is asked whether they repeat, and from which one axis is enough."""
_CLIPPED_QUANTILE = 0.9
"""Quantile of the second differences above which they count no more."""
_LEAST_CELL_DIFFERENCE = 1.0
"""Grey levels of second differences below which cells say nothing."""

_CODEC_PITCH_PX = 8
"""px, side of the blocks of MPEG-like codecs."""
_CODEC_EDGES = 0.2
"""0..1, share of edges that blocking puts on the codec's grid at most (MPEG-4 at its coarsest quantizer)."""
_PART_DRIFT_PX, _PART_PHASE_PX = 1.5, 1.0
"""px, drift over the lines in use and phase, up to which lines of a part may be those of a codec."""
_PICTURE_DRIFT_PX, _PICTURE_PHASE_PX = 1.0, 1.0
"""px, drift from the middle to the ends and phase, up to which a region's lines are those of a codec."""
_BLOCKING_SHARE = 0.6
"""Share of the picture from which a region on a codec's grid is blocking."""

_CLEAN = 0.6
"""Differences of neighbours between the lines over those on them, above which there are no cells; of 1,420
frames of training clips with cells one has more, of 380 without 97 %."""
_LEAST_CLEAN = 1.0
"""Grey levels that neighbours differ by, below which there is little to see."""
_INNER = 6
"""A side may be off by half a cell, or by this part of the box if that is less."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The score of a region and its factors."""

    score: float
    """0..1; 0.5 is the border"""
    contrast: float = 0.0
    """0..1, edges on against off the grid"""
    filled: float = 0.0
    """0..1, share of the lines that are filled, of the axis with fewer"""
    echo: float = 0.0
    """0..1, edges on a parallel grid over those on the grid, of the axis with more"""
    quiet: float = 0.0
    """0..1, flatness of the cells"""
    size: float = 0.0
    """0..1, share of the edges needed to be sure"""
    rule: Rule = Rule.LOW_SCORE
    """What speaks against it where the score is too low."""

    def figures(self) -> str:
        """All factors in one line."""
        if self.rule in (Rule.REPEATED, Rule.JOINTS):
            return f"score {self.score:.2f}"
        return (
            f"score {self.score:.2f}: contrast {self.contrast:.2f}, filled {self.filled:.2f}, "
            f"echo {self.echo:.2f}, quiet {self.quiet:.2f}, size {self.size:.2f}"
        )


def judge_region(evidence: Evidence, grid: PartGrid, found: Bounds) -> Judgement:
    """Judges a region by the product of: edges on against off the grid; lines that are filled; no echo; quiet
    cells; size."""
    x, y = grid.x, grid.y
    xs, ys = grid.within(found.box)
    if _repeats(evidence.luma, xs, ys):
        return Judgement(0.0, rule=Rule.REPEATED)
    if not _parts_cells(evidence.luma, found.box, grid):
        return Judgement(0.0, rule=Rule.JOINTS)
    across, down = evidence.profiles(found.box)
    across, down = across[: found.box[2]], down[: found.box[3]]
    on = found.on
    of_codec = _may_be_codec_lines(x), _may_be_codec_lines(y)
    if all(of_codec):
        on = max(on - _CODEC_EDGES, 0.0)
    contrast = on / (on + _OFF_WEIGHT * (found.off + _OFF_FLOOR))
    filled = min(_filled(across, xs), _filled(down, ys))
    echo = max(_echo(across, xs, x.pitch), _echo(down, ys, y.pitch))
    quiet = (_LOUD - found.active) / (_LOUD - _QUIET)
    if not any(of_codec):  # whose blocks are flat, too, and any grid fits the other axis of a plain picture
        quiet = max(quiet, (_ROUGH_RIPPLE - found.ripple) / (_ROUGH_RIPPLE - _FLAT_RIPPLE))
    quiet = min(max(quiet, 0.0), 1.0)
    size = min((across[xs].sum() / y.pitch + down[ys].sum() / x.pitch) / _CELL_EDGES, 1.0)
    product = float(contrast * filled * (1.0 - echo) * quiet * size)
    rule = Rule.CODEC_GRID if all(of_codec) else Rule.LOW_SCORE
    return Judgement(product / (product + _HALF), contrast, filled, echo, quiet, float(size), rule)


def score_region(evidence: Evidence, grid: PartGrid, found: Bounds) -> float:
    """0..1; 0.5 is the border."""
    return judge_region(evidence, grid, found).score


def _filled(profile: NDArray[np.float64], at: NDArray[np.int64]) -> float:
    """Share of the lines with at least _FILLED of the edges of the fuller half of them."""
    if at.size == 0:
        return 0.0
    edges = np.sort(profile[at])
    return float((edges > _FILLED * edges[edges.size // 2 :].mean()).mean())


def _echo(profile: NDArray[np.float64], at: NDArray[np.int64], pitch: float) -> float:
    """Edges on the fullest parallel grid, two pixels or more away, over those on the grid; 0..1."""
    shifts = range(2, round(pitch) - 1)
    on = profile[at].mean() if at.size else 0.0
    if on <= 0.0 or len(shifts) == 0:
        return 0.0
    other = [profile[shifted[shifted < profile.size]].mean() for s in shifts if (shifted := at[:-1] + s).size]
    return float(min(max(other, default=0.0) / on, 1.0))


def _repeats(luma: NDArray[np.uint8], xs: NDArray[np.int64], ys: NDArray[np.int64]) -> bool:
    """True where whole cells between the lines repeat on an axis. ``luma`` is (H, W)."""
    if len(xs) < 2 or len(ys) < 2:
        return False
    part = luma[ys[0] : ys[-1], xs[0] : xs[-1]]
    rows = np.add.reduceat(part, ys[:-1] - ys[0], axis=0, dtype=np.float64) / np.diff(ys)[:, None]
    cells = np.add.reduceat(rows, xs[:-1] - xs[0], axis=1) / np.diff(xs)
    counts = cells.shape[1], cells.shape[0]
    alike = [
        _alike(values) if n >= _SOME_CELLS else 0.0
        for values, n in zip((cells, cells.T), counts, strict=True)
    ]
    if min(counts) >= _SOME_CELLS and sum(alike) / 2 > _REPEATED:
        return True
    return any(a > _REPEATED for a, n in zip(alike, counts, strict=True) if n >= _MANY_CELLS)


def _alike(cells: NDArray[np.float64]) -> float:
    """-1..1, how much cells two, three or four apart along the rows of (R, Q) are alike, whatever the light
    that falls on them."""
    second = 2 * cells[:, 1:-1] - cells[:, :-2] - cells[:, 2:]
    limit = np.quantile(np.abs(second), _CLIPPED_QUANTILE)
    second = np.clip(second, -limit, limit)
    second -= second.mean()
    energy = float((second**2).mean())
    if energy < _LEAST_CELL_DIFFERENCE**2:
        return 0.0
    return max(float((second[:, k:] * second[:, :-k]).mean()) / energy for k in (2, 3, 4))


def _parts_cells(luma: NDArray[np.uint8], box: PixelBox, grid: PartGrid) -> bool:
    """True where the lines part cells, and no others do. ``luma`` is (H, W)."""
    x0, y0, x1, y1 = box
    part = np.ascontiguousarray(luma[y0:y1, x0:x1])
    axes = (part, grid.xs - x0, grid.x.pitch), (transposed(part), grid.ys - y0, grid.y.pitch)
    return all(
        rise_and_rest(p, at, _RISE_PX)[0] > RISE and _second_grid(p, at, pitch) < _SECOND_GRID
        for p, at, pitch in axes
    )


def _second_grid(part: NDArray[np.uint8], at: NDArray[np.int64], pitch: float) -> float:
    """Differences on the fullest second grid over those on the lines, along the rows of (H, W). Joints have
    two sides, which scaling and motion soften."""
    smooth = cv2.blur(part.astype(np.float32), (1, FAINT_PX))
    edges = np.minimum(np.abs(np.diff(smooth, axis=1, prepend=smooth[:, :1])), MAX_DIFFERENCE).mean(axis=0)
    edges = np.maximum.reduce([edges[:-2], edges[1:-1], edges[2:]])  # one shorter on each side
    at = at[(at >= 1) & (at <= len(edges))] - 1
    beside = at[:-1, None] + np.arange(_SECOND_GRID_PX, round(pitch) - _SECOND_GRID_PX + 1)
    if len(at) < _SECOND_GRID_PX or not beside.size:
        return 0.0
    return float(edges[beside].mean(axis=0).max() / max(float(edges[at].mean()), 1e-6))


def rise_and_rest(part: NDArray[np.uint8], at: NDArray[np.int64], reach: int) -> tuple[float, float]:
    """What the two sides of lines differ by, over all differences of neighbours across them, 0..1; and what
    neighbours differ by elsewhere, over what they do there.

    Along the rows of (H, W) uint8; lines reach ``reach`` px from the columns ``at``.
    """
    smooth = cv2.blur(part.astype(np.float32), (1, FAINT_PX))
    at = at[(at >= reach) & (at < part.shape[1] - reach)]
    edges = np.abs(np.diff(smooth, axis=1, prepend=smooth[:, :1])).mean(axis=0)
    around = at[:, None] + np.arange(1 - reach, reach)
    sides = np.abs(smooth[:, at + reach - 1] - smooth[:, at - reach]).mean(axis=0)
    rest = np.ones(len(edges), dtype=bool)
    rest[around] = False
    if not at.size or not rest.any():
        return 0.0, 1.0
    on = max(float(edges[~rest].mean()), 1e-6)
    return float(sides.sum() / max(float(edges[around].sum()), 1e-6)), float(edges[rest].mean()) / on


def _may_be_codec_lines(grid: LineGrid) -> bool:
    """True where the lines of a part have pitch and phase of a codec's blocks, within what a fit of so few
    lines can tell. (It lowers the score. ``is_on_codec_grid`` is stricter and rejects.)

    Parts begin at a multiple of 8 px of the picture.
    """
    multiple = max(round(grid.pitch / _CODEC_PITCH_PX), 1) * _CODEC_PITCH_PX
    drift = abs(grid.pitch - multiple) * (grid.lines - 1)
    phase = (
        grid.origin + grid.pitch * (grid.lines - 1) / 2 - multiple * (grid.lines - 1) / 2
    ) % _CODEC_PITCH_PX
    return drift < _PART_DRIFT_PX and min(phase, _CODEC_PITCH_PX - phase) <= _PART_PHASE_PX


def is_blocking(region: MosaicRegion, height: int, width: int) -> bool:
    """True for most of a picture in cells of 8 or 4 px from its corner: a codec that kept the means only."""
    large = region.box.width * region.box.height >= _BLOCKING_SHARE * height * width
    return large and codec_axes(region, (0.5, 1)) == 2


def is_on_codec_grid(region: MosaicRegion) -> bool:
    """True for cells of a multiple of 8 px from the picture's corner on, as far as so many can tell."""
    return codec_axes(region) == 2


def codec_axes(region: MosaicRegion, multiples: Sequence[float] = (0.5, 1, 2, 4)) -> int:
    """On how many axes of a region its lines are those of a codec's blocks, or of ``multiples`` of them."""
    box = region.box
    if region.grid is None:
        return 0
    return sum(
        any(
            _lies_on_multiples(a, (first + last) / 2, (last - first) / 2, float(_CODEC_PITCH_PX) * m)
            for m in multiples
        )
        for a, first, last in ((region.grid.x, box.x0, box.x1), (region.grid.y, box.y0, box.y1))
    )


def _lies_on_multiples(axis: Axis, middle: float, reach: float, pitch: float) -> bool:
    """True where the lines of ``axis`` drift by less than _PICTURE_DRIFT_PX from those at multiples of
    ``pitch`` px from the middle to the ends, and lie within _PICTURE_PHASE_PX (less in small cells) of them
    in the middle."""
    line = axis.origin + round((middle - axis.origin) / axis.pitch) * axis.pitch
    drift = abs(axis.pitch / pitch - 1.0) * reach
    phase = abs(line - pitch * round(line / pitch))
    return drift < _PICTURE_DRIFT_PX and phase <= min(_PICTURE_PHASE_PX, pitch / 8)


def is_clean_at_scale(luma: Luma, box: Box, grid: Grid) -> bool:
    """True where ``luma``, (H, W) uint8, has no cells of the pitch of ``grid`` in ``box`` at any phase.

    In flat cells neighbouring pixels differ on the lines and hardly anywhere else; in a sharp face they
    differ everywhere. Where there is little to see either way the picture is not called clean.
    """
    height, width = luma.shape
    x0, y0, x1, y1 = box.pixels(width, height)
    x, y = (
        int(min(a.pitch / 2, (last - first) / _INNER))
        for a, first, last in ((grid.x, x0, x1), (grid.y, y0, y1))
    )
    part = np.ascontiguousarray(luma[y0 + y : y1 - y, x0 + x : x1 - x])
    if part.shape[0] < 2 * grid.y.pitch or part.shape[1] < 2 * grid.x.pitch:
        return False
    return _is_rough(part, grid.x.pitch) and _is_rough(transposed(part), grid.y.pitch)


def _is_rough(luma: NDArray[np.uint8], pitch: float) -> bool:
    """True where no line grid across (H, W) explains how the pixels along its rows differ."""
    edges = difference_profile(luma)
    for phase in np.arange(0.0, pitch):
        lines = np.ceil(phase + np.arange(int((len(edges) - 1 - phase) / pitch) + 1) * pitch).astype(int)
        on = np.zeros(len(edges), dtype=bool)
        on[lines[lines < len(edges)]] = True
        between = float(edges[~on].mean())
        if between <= max(_CLEAN * float(edges[on].mean()), _LEAST_CLEAN):
            return False
    return True
