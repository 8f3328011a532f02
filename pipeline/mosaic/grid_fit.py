"""The line grid of one axis: pitch and phase of the lines between cells, fitted to a profile of edges.

``profile[i]`` counts the isolated edges at pixel i over ``rows`` rows (or columns). A mosaic puts them on the
lines ``ceil(origin + k * pitch)``. A line earns its count minus a threshold that is above what lies between
the lines, so the grid of half the pitch loses by its empty lines, that of twice the pitch by those it misses.

``fit_line_grid`` searches all pitches, ``fit_near`` about one pitch, ``subdivide`` looks for lines that are
hard to see between those found, ``whole_cells`` sets pitch and phase by a box of a whole number of cells.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nets.pixelation import EPS, cell_edges
from pipeline.mosaic.edges import faint_edges, soft_edges
from pipeline.types import Axis

MIN_PITCH_PX = 4.0
"""px, smallest pitch that is looked for."""
LINE_LIMIT = 0.6
"""Share of the rows that a line counts for at most: one long edge must not make a grid."""
DRIFT_PX = 1.5
"""px that neighbouring pitches which are tried drift apart over the profile."""
_MEANS, _LEAST_SHARE = 2.0, 0.05
"""A line must hold this many times the mean of the profile, and this share of the rows."""
_LEAST_CELLS = 2.5
"""Cells in a profile at the widest pitch that is looked for."""
_BIN_PX = 0.5
"""px, width of a bin of a folded profile."""
_HYPOTHESES = 6
"""Coarse maxima that are refined."""
_SAME_PITCH = 0.02
"""Relative; coarse maxima this near each other are one."""
_AS_MUCH = 0.999
"""Share of the edges that a grid in whole px must collect to be taken."""
_PIXEL_EPS = 1e-6
"""px; a line so near behind a pixel's border lies on it."""

SQUARE = 1.15
"""Ratio of the pitches of both axes up to which cells count as square."""
_FULL = 0.5
"""Least ratio of edges on the lines of a finer grid to those on the coarser one's."""
_FULL_IF_SQUARE = 0.2
"""The same where it makes cells square; 25 frames of dark training faces have 0.27 to 0.69, 20 clips in
cells that are not square 0.003 at most."""

NEAR_PITCH = 0.05
"""Relative change of the pitch from one frame to the next: a resized region grows by a few px."""
NEAR_WEIGHTS = np.array([0.5, 1.0, 0.5])
"""Weights of a line's pixel and those beside it, while the pitch is about right only."""
_BETWEEN = 0.5
"""Ratio of edges halfway (or at thirds) to those on the lines from which cells are a half or a third."""
_EMPTY = 0.2
"""Ratio of edges on some lines to those on every second (or third) up to which cells are twice (three times)
as wide."""

_WHOLE_REACH_PX = 4
"""px that the sides of a box of whole cells may lie from those found, at most."""
_WHOLE_REACH_CELLS = 0.3
"""Cells, the same; or a cell farther in or out. With more, any box in small cells would be a whole one."""
_MOVED_COST = 0.3
"""What it costs to put the sides a cell away from where they were found, in fuller lines."""
_WHOLE_DRIFT_PX = 1.5
"""px that the box may be wider or narrower than the free grid makes that many cells."""
_LINE_COST = 0.25
"""Share of the fuller lines' edges that a line must have to be worth having in the box."""
_KEPT = 0.99
"""Share of the edges on the free grid that the lines in the box must hold."""
_SIDE_FULL = 0.1
"""Share of the fuller lines' edges that each side needs."""


@dataclass(frozen=True, slots=True)
class LineGrid:
    """Fit of a profile. Line k lies at ceil(origin + k * pitch)."""

    pitch: float
    """px"""
    origin: float
    """px, of line 0, the first one in use"""
    lines: int
    """Lines in use, from the first to the last that earned."""
    filled: float
    """0..1, share of those that earned"""
    gain: float
    """What they earned, in edges."""
    on: float
    """0..1, edges per row on a line in use"""
    off: float
    """0..1, edges per row between the lines in use"""

    @property
    def end(self) -> float:
        """px, of the last line in use"""
        return self.origin + (self.lines - 1) * self.pitch


def line_threshold(profile: NDArray[np.float64], rows: int) -> float:
    """Edges that a line must hold to earn."""
    return max(_MEANS * float(profile.mean()), _LEAST_SHARE * rows)


def line_pixels(grid: LineGrid | Axis, size: int) -> NDArray[np.int64]:
    """Pixels in [1, size) where cells begin, on the whole axis."""
    first = int(np.floor(-grid.origin / grid.pitch))
    count = int(np.ceil(size / grid.pitch)) + 2
    at = np.array(cell_edges(grid.pitch, grid.origin, first, count), dtype=np.int64)
    return at[(at >= 1) & (at < size)]


def halfway_pixels(grid: LineGrid, size: int) -> NDArray[np.int64]:
    """Pixels in [1, size) in the middle between two lines."""
    return line_pixels(replace(grid, origin=grid.origin + grid.pitch / 2), size)


def span(grid: LineGrid, size: int) -> tuple[int, int]:
    """Pixels from the first to the last line in use."""
    return max(math.ceil(grid.origin), 0), min(math.ceil(grid.end), size)


def best_run(values: NDArray[np.float64]) -> tuple[int, int, float]:
    """Start, end (exclusive) and sum of the contiguous run with the largest sum (Kadane's algorithm)."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    low = np.minimum.accumulate(total)
    end = int(np.argmax(total[1:] - low[:-1])) + 1
    start = int(np.argmin(total[:end]))
    return start, end, float(total[end] - total[start])


def fit_line_grid(profile: NDArray[np.float64], rows: int, max_pitch_px: float) -> LineGrid | None:
    """Best line grid of a profile of isolated edges, or None where no three lines earn anything."""
    max_pitch = min(max_pitch_px, len(profile) / _LEAST_CELLS)
    if max_pitch < MIN_PITCH_PX or rows < 1:
        return None
    cost = line_threshold(profile, rows)
    earn = np.where(profile > 0.5 * cost, np.minimum(profile, LINE_LIMIT * rows), 0.0)
    fits = [refit(profile, rows, pitch, origin) for pitch, origin in _coarse(earn, cost, max_pitch)]
    # Half the pitch earns as much as the pitch, and a stray line may tip the scales; but half is empty.
    return max((f for f in fits if f is not None), key=lambda f: f.gain * math.sqrt(f.filled), default=None)


def _coarse(earn: NDArray[np.float64], cost: float, max_pitch: float) -> list[tuple[float, float]]:
    """Best (pitch, origin) pairs by folding the profile at each pitch.

    The fold has bins of half a pixel; a line takes three of them: the pixel that ``ceil`` may round it to,
    and the drift of the pitch.
    """
    size = len(earn)
    ratio = 1.0 + DRIFT_PX / size
    pitches = MIN_PITCH_PX * ratio ** np.arange(int(np.log(max_pitch / MIN_PITCH_PX) / np.log(ratio)) + 1)
    at = np.flatnonzero(earn)
    if at.size == 0:
        return []
    bins = int(np.ceil(max_pitch / _BIN_PX)) + 3
    index, counts = np.arange(len(pitches)), np.floor(pitches / _BIN_PX).astype(int)
    turns = at[None, :] / pitches[:, None]
    folded = ((turns - np.floor(turns)) * counts[:, None]).astype(int)
    flat = (folded + index[:, None] * bins).ravel()
    fold = np.bincount(flat, np.tile(earn[at], len(pitches)), len(pitches) * bins).reshape(-1, bins)
    for k in (0, 1):
        fold[index, counts + k] = fold[index, k]
    total = fold[:, :-2] + fold[:, 1:-1] + fold[:, 2:]
    total[np.arange(bins - 2)[None, :] >= counts[:, None]] = -np.inf
    best_bin = total.argmax(axis=1)
    score = total[index, best_bin] - cost * size / pitches
    found: list[tuple[float, float]] = []
    for i in np.argsort(-score):
        if any(abs(pitches[i] / p - 1) < _SAME_PITCH for p, _ in found):
            continue
        found.append((float(pitches[i]), float(best_bin[i] + 0.5) / counts[i] * float(pitches[i])))
        if len(found) == _HYPOTHESES:
            break
    return found


def refit(profile: NDArray[np.float64], rows: int, pitch: float, origin: float) -> LineGrid | None:
    """Best line grid near a first guess of pitch and origin; None where it has fewer than three lines."""
    size = len(profile)
    cost = line_threshold(profile, rows)
    earn = np.minimum(profile, LINE_LIMIT * rows)
    pitch, origin = _refine(earn, cost, pitch, origin)
    if pitch < MIN_PITCH_PX - 0.1:
        return None
    pitch, origin = _in_whole_px(earn, cost, pitch, origin)
    at = _lines_inside(pitch, origin, size)
    start, end, gain = best_run(earn[at] - cost)
    if end - start < 3:
        return None
    used = at[start:end]
    between = np.zeros(size, dtype=bool)
    between[used[0] : used[-1]] = True
    between[used] = False
    first = origin + np.ceil((used[0] - 1 - origin) / pitch + EPS) * pitch
    return LineGrid(
        pitch=pitch,
        origin=float(first),
        lines=end - start,
        filled=float((earn[used] > cost).mean()),
        gain=gain,
        on=float(profile[used].mean()) / rows,
        off=float(profile[between].mean()) / rows,
    )


def _lines_inside(pitch: float, origin: float, size: int) -> NDArray[np.int64]:
    """Pixels of all lines in [0, size), ascending; ``nets.pixelation.cell_edges`` for many at once."""
    first = int(np.ceil(-origin / pitch))
    last = int(np.floor((size - 1 - origin) / pitch))
    at = np.ceil(origin + np.arange(first, last + 1) * pitch - EPS * pitch).astype(np.int64)
    return np.asarray(at[(at >= 0) & (at < size)], dtype=np.int64)


def _refine(earn: NDArray[np.float64], cost: float, pitch: float, origin: float) -> tuple[float, float]:
    """Pitch and origin (of the line nearest the middle) with the largest gain near a first guess.

    Among equals the mean is taken: many (pitch, origin) round to the same pixels.
    """
    size = len(earn)
    middle = origin + round((size / 2 - origin) / pitch) * pitch
    reach = max(size / 2 / pitch, 1.0)
    for span_pitch, span_origin in ((1.2 / reach, 1.25), (0.5 / reach, 0.5), (0.2 / reach, 0.25)):
        dp = np.linspace(-span_pitch, span_pitch, 13)
        do = np.linspace(-span_origin, span_origin, 11)
        k = np.arange(-int(reach) - 1, int(reach) + 2)
        p, o = pitch + dp[:, None, None], middle + do[None, :, None]
        at = np.ceil(o + k * p - _PIXEL_EPS).astype(int)
        inside = (at >= 0) & (at < size)
        gain = np.where(inside, earn[np.clip(at, 0, size - 1)] - cost, 0.0).sum(axis=2)
        top = np.argwhere(gain >= gain.max() - 1e-9)
        pitch += float(dp[top[:, 0]].mean())
        middle += float(do[top[:, 1]].mean())
    return pitch, middle


def _in_whole_px(earn: NDArray[np.float64], cost: float, pitch: float, origin: float) -> tuple[float, float]:
    """The nearest pitch and origin in whole px if they earn as much: most mosaics have such cells.

    A grid in whole numbers is at the end of the interval of origins that round to the same pixels, so the
    middle, which is right on average, is half a pixel off for it.
    """
    at = _lines_inside(pitch, origin, len(earn))
    start, end, gain = best_run(earn[at] - cost)
    whole = round(pitch)
    for first in (int(at[start]), int(at[start]) + 1, int(at[start]) - 1):
        lines = first + whole * np.arange(end - start)
        lines = lines[(lines >= 0) & (lines < len(earn))]
        if (earn[lines] - cost).sum() >= _AS_MUCH * gain:
            return float(whole), float(first)
    return pitch, origin


def fit_near(
    profile: NDArray[np.float64],
    rows: int,
    axis: Axis,
    soft: Callable[[], NDArray[np.float64]] | None = None,
) -> LineGrid | None:
    """The line grid of about the pitch of ``axis``, at the phase that collects most edges.

    ``profile`` counts the isolated edges per pixel over ``rows`` rows or columns; the result is in its px.
    ``soft`` counts those that scaling has spread: where it leaves every other line sharp, they are no fewer.
    """
    size = len(profile)
    earn = np.convolve(np.minimum(profile, LINE_LIMIT * rows), NEAR_WEIGHTS, "same")
    drift = np.arange(-NEAR_PITCH, NEAR_PITCH, DRIFT_PX / size)
    pitches = axis.pitch * (1.0 + drift[:, None, None])
    phases = np.arange(0.0, axis.pitch, 0.5)[None, :, None]
    at = np.ceil(phases + np.arange(int(size / axis.pitch)) * pitches).astype(int)
    edges = np.where(at < size, earn[np.minimum(at, size - 1)], 0.0).sum(axis=2)
    best_pitch, best_phase = np.unravel_index(int(edges.argmax()), edges.shape)
    found = refit(profile, rows, float(pitches[best_pitch, 0, 0]), float(phases[0, best_phase, 0]))
    if found is None or abs(found.pitch / axis.pitch - 1.0) > NEAR_PITCH:
        return None
    if _is_misread(profile, found) and (soft is None or _is_misread(profile + soft(), found)):
        return None
    return found


def _is_misread(profile: NDArray[np.float64], found: LineGrid) -> bool:
    """True where the right grid has twice or three times the lines of this one, or a half or a third."""
    lines = found.origin + np.arange(found.lines) * found.pitch
    edges = profile[np.ceil(lines - _PIXEL_EPS).astype(int)]
    for parts in (2, 3):
        every = [float(edges[k::parts].mean()) for k in range(parts)]
        if sum(every) - max(every) < _EMPTY * max(every):
            return True
        between = np.ceil(lines[:-1] + found.pitch / parts - _PIXEL_EPS).astype(int)
        if found.pitch >= parts * MIN_PITCH_PX and profile[between].mean() > _BETWEEN * edges.mean():
            return True
    return False


def subdivide(
    grid: LineGrid, luma: NDArray[np.uint8], axis: int, bounds: tuple[int, int], other_pitch: float
) -> LineGrid:
    """The grid, or the one of a half, a third or a fifth of its pitch whose lines are hard to see.

    A dark mosaic may show every other line only, and scaling may leave every other line sharp. The lines
    between must be as full as the grid's own when faint and soft edges count too, or a part of that where
    they make cells square.
    """
    soft = soft_edges(luma, axis)
    square = round(grid.pitch / other_pitch)
    is_multiple = square >= 2 and abs(grid.pitch / square / other_pitch - 1.0) < SQUARE - 1.0
    for parts in ((square,) if is_multiple else ()) + (2, 3, 5):
        pitch = grid.pitch / parts
        finer = replace(grid, pitch=pitch, lines=(grid.lines - 1) * parts + 1)
        if pitch < MIN_PITCH_PX:
            break
        full = _FULL_IF_SQUARE if is_multiple and parts == square else _FULL
        at = line_pixels(finer, luma.shape[axis])
        both = faint_edges(luma, at, pitch, axis) | soft
        edges = both.sum(axis=1 - axis, dtype=np.float64)
        at = at[(at > bounds[0]) & (at < bounds[1])]
        own = np.isin(at, line_pixels(grid, luma.shape[axis]))
        if own.any() and not own.all() and edges[at[~own]].mean() > full * edges[at[own]].mean():
            return subdivide(finer, luma, axis, bounds, other_pitch)
    return grid


def whole_cells(
    profile: NDArray[np.float64], pitch: float, origin: float, start: int, end: int
) -> tuple[int, int, int] | None:
    """(start, end, cells) of the best division of a box into whole cells; None where it is not one.

    A mosaic made by resizing a region down and up again has pixel i of n cells over ``size`` px in cell
    floor(i * n / size): the two sides give pitch and phase better than the lines between.

    ``profile`` counts the isolated edges per pixel of the axis within the box's other axis; ``start`` and
    ``end`` are the sides found, ``pitch`` and ``origin`` the free grid, all in px of the profile. A side on
    the border of the picture shows no edge and does not move.
    """
    size = len(profile)
    numbers = np.arange(np.ceil(-origin / pitch), np.floor((size - 1 - origin) / pitch) + 1)
    free = np.ceil(origin + numbers * pitch - _PIXEL_EPS)
    free = free[(free > start) & (free < end)].astype(int)
    if free.size == 0:
        return None
    fuller = np.sort(profile[free])[free.size // 2 :].mean()
    places = np.meshgrid(_places(start, pitch, size), _places(end, pitch, size))
    first, last = (a.ravel() for a in places)
    cells = np.maximum(np.round((last - first) / pitch), 1).astype(int)
    fits = (np.abs(last - first - cells * pitch) <= _WHOLE_DRIFT_PX) & (cells >= 2)
    if not fits.any():
        return None
    first, last, cells = first[fits], last[fits], cells[fits]
    at = _whole_lines(first, last, cells)
    used = (np.arange(at.shape[1])[None, :] <= cells[:, None]) & (at > 0) & (at < size)
    edges = np.where(used, profile[np.clip(at, 0, size - 1)], 0.0)
    moved = (np.abs(first - start) + np.abs(last - end)) / pitch
    gain = (edges - _LINE_COST * fuller * used).sum(axis=1)
    best = int(np.argmax(gain - _MOVED_COST * fuller * moved))
    a, b, n = int(first[best]), int(last[best]), int(cells[best])
    sides = [profile[s] for s in (a, b) if 0 < s < size]
    inner = edges[best, 1:n].sum()
    if inner < _KEPT * profile[free[(free > a + 1) & (free < b - 1)]].sum():
        return None
    return None if min(sides, default=0.0) < _SIDE_FULL * fuller else (a, b, n)


def _whole_lines(
    first: NDArray[np.int64], last: NDArray[np.int64], cells: NDArray[np.int64]
) -> NDArray[np.int64]:
    """(candidates, most cells + 1): first pixel of each cell and of what follows the last."""
    k = np.arange(int(cells.max()) + 1)
    pitch = ((last - first) / cells)[:, None]
    return np.ceil(first[:, None] + k[None, :] * pitch - _PIXEL_EPS).astype(np.int64)


def _places(side: int, pitch: float, size: int) -> NDArray[np.int64]:
    """Pixels where a side of a box of whole cells may lie."""
    if side <= 0 or side >= size:
        return np.array([side], dtype=np.int64)
    reach = min(max(round(_WHOLE_REACH_CELLS * pitch), 1), _WHOLE_REACH_PX)
    offsets = {*range(-reach, reach + 1)}
    offsets |= {round(sign * pitch) + by for sign in (-1, 1) for by in (-1, 0, 1)}
    at = side + np.array(sorted(offsets), dtype=np.int64)
    return np.unique(np.clip(at, 0, size))
