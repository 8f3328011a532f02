"""A mosaic smoothed by its neighbours in time: voted bounds, pooled grid, majority of shape and sampling.

*Bounds.* ``vote`` reads each side off the frames around, past and future alike, so that it does not lag.

*Grid.* Frames whose pitch is far from the median are left out. Then one of two models holds per track:

- *fixed in the frame*: all phases agree at one place of the picture. Pitch and phase are pooled, and the
  grid stays put while the box moves. A box that follows its face in steps of whole cells of it is where each
  frame shows it: no line in time leads over a jump.
- *locked to the region*: they do not. The pitch follows a line in time, as it grows with the region; the
  phase is the frame's own if it agrees with the phases relative to the box elsewhere, else theirs. The
  sides of the box keep their distance to the grid, so that both move together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from nets.pixelation import EPS
from pipeline.track import vote
from pipeline.types import Axis, Box, Grid, MosaicRegion, Shape

_TYPICAL_PITCH = 0.12
"""Relative distance from the median pitch up to which a frame counts: a resized region loses or gains a cell
(a twelfth), misread pitches are a third off or more."""
_FIXED_PX = 0.8
"""px, standard deviation of a line's place in the picture up to which the grid counts as fixed."""
_ONE_GRID_PX = 0.7
"""px, mean distance of all frames' outer lines to one pooled grid up to which that grid is theirs, even where
single boxes happen to be whole cells: with 4 to 7 px any box nearly is, and its pitch is pulled off."""
_SNAPPED_PX = 0.5
"""px, the same, and a side's distance from a line, up to which a box counts as one of whole cells that
jumps."""
_SNAPPED_SHARE = 0.6
"""Share of frames whose box lies on lines."""
_USUAL_COUNT = 0.25
"""Share of frames with as many cells that are no misreading: half of them where a box grows by a cell."""
_OWN_PITCH = 0.03
"""Relative; a frame's own pitch this near the line through its neighbours' is kept: it follows the region."""
_SAME_PHASE, _SAME_PHASE_PX = 0.25, 2.0
"""Cells, and at least px; a frame's own phase this near the expected one is kept."""
_IN_BOX_PX = 1.0
"""px; a frame's own phase is kept, too, where it lies in the frame's own box as in those of the frames
around: both have moved, as no line does."""

T = TypeVar("T")


def smoothed(seen: Mapping[int, MosaicRegion], at: int) -> MosaicRegion:
    """The mosaic at position ``at`` of the stream, from the detections at and around it (at least one).

    Where ``at`` itself is not among them, everything is predicted.
    """
    near = min(seen, key=lambda t: (abs(t - at), t))
    if len(seen) == 1:
        return seen[near]
    times = np.array(sorted(seen), dtype=np.float64) - at
    regions = [seen[t] for t in sorted(seen)]
    boxes = np.array([(r.box.x0, r.box.y0, r.box.x1, r.box.y1) for r in regions])
    shape = _majority([r.shape for r in regions])
    columns, rows = zip(*(r.strips for r in regions), strict=True)
    if shape is not Shape.RECTANGLE:
        columns = rows = ()
    x0, x1 = vote.vote_bounds(times, boxes[:, 0], boxes[:, 2], columns)
    y0, y1 = vote.vote_bounds(times, boxes[:, 1], boxes[:, 3], rows)
    box = Box(x0, y0, max(x1, x0 + 1.0), max(y1, y0 + 1.0))
    by_strips = vote.is_enough(columns), vote.is_enough(rows)
    box, grid = _smoothed_grid(times, regions, box, by_strips)
    score = regions[sorted(seen).index(near)].score
    return replace(seen[near], box=box, grid=grid, shape=shape, score=score, strips=(None, None))


def _majority(values: list[T]) -> T:
    return Counter(values).most_common(1)[0][0]


def _smoothed_grid(
    times: NDArray[np.float64], regions: list[MosaicRegion], box: Box, by_strips: tuple[bool, bool]
) -> tuple[Box, Grid | None]:
    """Grid at time 0, and the box, moved with a locked grid.

    ``by_strips``: strips of cells say where the sides are, across and down.
    """
    known = [(t, r.grid, r.box) for t, r in zip(times, regions, strict=True) if r.grid is not None]
    if not known:
        return box, None
    t = np.array([k[0] for k in known])
    grids = [k[1] for k in known]
    boxes = [k[2] for k in known]
    x = _AxisHistory(t, [g.x for g in grids], [(b.x0, b.x1) for b in boxes], by_strips[0])
    y = _AxisHistory(t, [g.y for g in grids], [(b.y0, b.y1) for b in boxes], by_strips[1])
    same = x.same & y.same
    confidence = float(np.mean([g.confidence * ok for g, ok in zip(grids, same, strict=True)]))
    free = not (x.is_whole() or y.is_whole()) and x.is_fixed() and y.is_fixed()
    if free or max(x.apart_px(), y.apart_px()) < _ONE_GRID_PX:
        axis_x, axis_y = x.fixed(box.x0), y.fixed(box.y0)
    else:
        axis_x, side_x = x.locked((box.x0, box.x1))
        axis_y, side_y = y.locked((box.y0, box.y1))
        box = Box(side_x[0], side_y[0], side_x[1], side_y[1])
    if (snapped := x.snapped()) is not None:
        axis_x, side_x = snapped
        box = Box(side_x[0], box.y0, side_x[1], box.y1)
    if (snapped := y.snapped()) is not None:
        axis_y, side_y = snapped
        box = Box(box.x0, side_y[0], box.x1, side_y[1])
    return box, Grid(axis_x, axis_y, _majority([g.operator for g in grids]), confidence)


def _wrapped(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cells to [-0.5, 0.5)."""
    return (cells + 0.5) % 1.0 - 0.5


def _circular_mean(cells: NDArray[np.float64]) -> float:
    """Mean of phases in cells (period 1)."""
    return float(np.angle(np.exp(2j * np.pi * cells).mean()) / (2 * np.pi))


class _AxisHistory:
    """One axis of a track's grid over the frames around time 0."""

    def __init__(
        self, times: NDArray[np.float64], axes: list[Axis], sides: list[tuple[float, float]], by_strips: bool
    ) -> None:
        self._by_strips = by_strips
        pitch = np.array([a.pitch for a in axes])
        # one of them: the mean of the middle two may be near none
        typical = float(np.quantile(pitch, 0.5, method="nearest"))
        self.same = np.abs(pitch / typical - 1.0) < _TYPICAL_PITCH
        """(frames,) bool: pitch near the median"""
        self._times = times[self.same]
        self._pitch = pitch[self.same]
        self._sides = np.array(sides)[self.same]
        origin = np.array([a.origin for a in axes])[self.same]
        cells = (self._sides - origin[:, None]) / self._pitch[:, None]
        self._whole = (np.abs(cells - np.round(cells)) < 1e-6).all(axis=1)
        """(frames,) bool: the box is a whole number of cells"""
        count = np.round(cells[:, 1] - cells[:, 0])
        self._cells = int(np.median(count[self._whole])) if self._whole.any() else 0
        self._usual = self._whole & (np.abs(count - self._cells) <= 1)
        """of these, those of about as many cells as usual"""
        middle = self._sides.mean(axis=1)
        # the line nearest the middle of the box: the place of least error of a fit of pitch and phase
        self._line = origin + np.round((middle - origin) / self._pitch) * self._pitch

    def _place(self) -> tuple[float, float, NDArray[np.float64]]:
        """Pooled pitch, a place in the picture, and each frame's phase there in cells."""
        pitch = float(np.median(self._pitch))
        place = float(np.median(self._line))
        return pitch, place, (self._line - place) / pitch

    def is_fixed(self) -> bool:
        """True where all frames have a line in the same place of the picture."""
        pitch, _, phase = self._place()
        return bool(_wrapped(phase - _circular_mean(phase)).std() * pitch < _FIXED_PX)

    def apart_px(self) -> float:
        """Root mean square distance of the frames' first and last lines to the nearest of the pooled
        grid."""
        pitch, place, phase = self._place()
        place += _circular_mean(phase) * pitch
        first = self._line + np.ceil((self._sides[:, 0] - self._line) / self._pitch) * self._pitch
        last = self._line + np.floor((self._sides[:, 1] - self._line) / self._pitch) * self._pitch
        gaps = _wrapped((np.concatenate([first, last]) - place) / pitch) * pitch
        return float(np.sqrt(np.mean(gaps**2)))

    def is_whole(self) -> bool:
        """True where on most frames the box is a whole number of cells, about as many on each."""
        return bool(self._usual.mean() > 0.5)

    def _divided(self, sides: tuple[float, float]) -> tuple[Axis, tuple[float, float]]:
        """Grid and sides at time 0 of a box of whole cells, near ``sides`` where strips say where they are.

        The frame's own grid if its box has whole cells, taken to the sides that the frames around expect;
        else the usual number of cells between sides in whole px.
        """
        if not self._by_strips:
            sides = vote.vote_bounds(self._times[self._usual], *self._sides[self._usual].T)
        usual = [round(s) for s in sides]
        now = np.flatnonzero(self._whole & (self._times == 0.0))
        if now.size:
            pitch = float(self._pitch[now[0]])
            own = self._sides[now[0]]
            start, end = (
                float(o + np.round((u - o) / pitch) * pitch) for o, u in zip(own, usual, strict=True)
            )
            return Axis(pitch, start), (start, end)
        start, end = float(usual[0]), float(usual[1])
        return Axis((end - start) / self._cells, start), (start, end)

    def fixed(self, start: float) -> Axis:
        """Pooled grid, its cell 0 at the pixel ``start``."""
        pitch, place, phase = self._place()
        mean = _circular_mean(phase)
        mean += float(np.median(_wrapped(phase - mean)))
        return _anchored(pitch, place + mean * pitch, start)

    def snapped(self) -> tuple[Axis, tuple[float, float]] | None:
        """Pooled grid and sides at time 0 of a box that jumps by whole cells of it; None if it does not.

        Both sides jump together: a frame is believed if its box has as many cells as others have. If not, it
        has the box of the frame before or after, whichever is nearer to what it shows.
        """
        pitch, place, phase = self._place()
        mean = _circular_mean(phase)
        if self._by_strips or _wrapped(phase - mean).std() * pitch > _SNAPPED_PX:
            return None  # boxes that strips were made of end on lines wherever they are
        place += mean * pitch
        at = (self._sides - place) / pitch
        cells = np.round(at)
        count = cells[:, 1] - cells[:, 0]
        usual = (count[:, None] == count).mean(axis=1) >= _USUAL_COUNT
        good = usual & (np.abs(at - cells) * pitch <= _SNAPPED_PX).all(axis=1)
        if good.mean() < _SNAPPED_SHARE or np.ptp(cells[good, 0]) == 0:
            return None
        now = np.flatnonzero(self._times == 0.0)
        if now.size and good[now[0]]:
            best = int(now[0])
        else:
            times = np.where(good, self._times, np.nan)
            beside = [*np.flatnonzero(times < 0)[-1:], *np.flatnonzero(times > 0)[:1]]
            far = np.abs(at[beside] - at[now[0]]).sum(axis=1) if now.size else np.abs(self._times[beside])
            best = int(beside[int(far.argmin())])
        start, end = (place + float(c) * pitch for c in cells[best])
        return _anchored(pitch, start, start), (start, end)

    def locked(self, sides: tuple[float, float]) -> tuple[Axis, tuple[float, float]]:
        """Grid at time 0 and the sides of the box at their usual distance to it."""
        now = np.flatnonzero(self._times == 0.0)
        if self.is_whole() and (not now.size or self._whole[now[0]]):
            return self._divided(sides)
        enough = len(self._times) > 2
        pitch = vote.theil_sen(self._times, self._pitch)[1] if enough else float(np.median(self._pitch))
        relative = (self._line - self._sides[:, 0]) / self._pitch
        usual = _circular_mean(relative)
        usual += float(np.median(_wrapped(relative - usual)))
        line = sides[0] + usual * pitch
        if now.size:
            own_pitch, own = float(self._pitch[now[0]]), float(self._line[now[0]])
            if abs(own_pitch / pitch - 1.0) < _OWN_PITCH:
                pitch = own_pitch
            gap = float(_wrapped(np.array((own - line) / pitch))) * pitch
            in_box = abs(float(_wrapped(relative[now[0]] - usual))) * pitch <= _IN_BOX_PX
            if abs(gap) <= max(_SAME_PHASE * pitch, _SAME_PHASE_PX) or (pitch == own_pitch and in_box):
                line = own
        moved = []
        for k in (0, 1):
            distance = (self._sides[:, k] - self._line) / self._pitch
            mean = _circular_mean(distance)
            mean += float(np.median(_wrapped(distance - mean)))
            cell = round((sides[k] - line) / pitch - mean)
            moved.append(line + (cell + mean) * pitch)
        return _anchored(pitch, line, moved[0]), (moved[0], moved[1])


def _anchored(pitch: float, line: float, start: float) -> Axis:
    """Grid through ``line`` whose cell 0 holds the pixel that ``start`` rounds to."""
    pixel = np.floor(start + 0.5)
    return Axis(pitch, float(line + np.floor((pixel - line) / pitch + EPS) * pitch))
