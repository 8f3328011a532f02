"""Multi-frame accumulation: grids that no single frame shows well enough to be found.

Isolated edges are summed up where they lie. Those of a grid that stays fall on the same pixels on every
frame, what chance puts there does not. A frame of a faint mosaic in small cells may show it at once where its
grid is known, and yet not give it away. So sums only say what to look for; each frame shows by itself whether
it is there (``redetect``). Small cells are looked for by their period at the same time, in one frame
(``periodicity``).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nets.pixelation import Operator
from pipeline.mosaic.edges import PixelBox
from pipeline.mosaic.grid_fit import LineGrid, fit_line_grid, fit_near, span
from pipeline.mosaic.periodicity import periodic_grids
from pipeline.mosaic.screening import STRIDE_PX, SampledEdges, accumulated_candidates, want_candidates
from pipeline.picture.fetch import Fetch
from pipeline.types import Axis, Box, Grid

_FRAMES = 4
"""Frames from one search to the next; each takes those since the last but one. The tracker looks ahead for
twice as many, so no frame has left yet when a mosaic is found that is there from the first frame on."""
_MOST_SKIPPED = 3
"""Searches that are left out where those before were in vain: grass and bricks have edges on every frame."""
_MOST_PARTS = 6
"""Parts of the picture that are searched, the tight ones first."""
_MARGIN_PX = 32
"""px around a candidate of the screening that are searched with it."""
_TRIES = (_FRAMES, 1, 2)
"""Frames on which a grid is looked for: that of the search, the next and the one after."""
_SMALL = 0.125
"""Of the picture: of larger parts a device gives profiles one by one, and not the edges at once."""
_SAME_PLACE = 0.5
"""IoU from which two hints are in one place."""
_SAME_PITCH = 0.02
"""Relative; pitches this near each other are one grid's."""


class EdgeAccumulator:
    """Isolated edges of the last frames of a shot, and the grids that they hint at."""

    def __init__(self, max_cell_px: float) -> None:
        """``max_cell_px``: widest cell."""
        self._max_cell_px = max_cell_px
        self._new: SampledEdges | None = None
        """Sums of the frames since the last search, and of those before"""
        self._old: SampledEdges | None = None
        self._frames = 0
        """in ``_new``"""
        self._last: SampledEdges | None = None
        """of the frame added last"""
        self._found: list[tuple[Box, Grid]] = []
        self._vain = 0
        """searches in a row that had where to look and found nothing that a frame showed"""
        self._turns = 0
        """times that a search was due since the last one"""

    def add(self, edges: SampledEdges) -> None:
        """Adds a frame's edges, those of mosaics that are known erased. All frames have one size."""
        if self._frames == _FRAMES:
            self._old, self._new, self._frames = self._new, None, 0
        if self._new is None:
            self._new = edges.copy()
        else:
            self._new.add(edges)
        self._frames += 1
        self._last = edges
        if self._frames == _FRAMES and self._old is not None:
            self._old.add(self._new)

    def pending(self) -> list[tuple[Box, Grid]]:
        """The hints of the next frame, where they are known before it is added."""
        return self._found if self._frames % _FRAMES + 1 in _TRIES[1:] else []

    def want(self, fetch: Fetch) -> None:
        """What ``hints`` asks for at once comes with ``fetch``."""
        is_due = self._frames == _FRAMES
        if self._last is not None and (is_due or (self._frames == 1 and self._old is None)):
            self._last.want(fetch, None, bands=True)
        if is_due and self._turns + 1 > min(self._vain, _MOST_SKIPPED):
            edges, frames = self._sums()
            want_candidates(edges, fetch, frames)

    def _sums(self) -> tuple[SampledEdges, int]:
        """Edges summed up for a search, and over how many frames."""
        edges = self._old or self._new
        assert edges is not None
        return edges, _FRAMES * (2 if self._old else 1)

    def hints(self) -> list[tuple[Box, Grid]]:
        """What to look for on the frame added last: place and grid, its sampling unknown. Often empty."""
        if self._frames == _FRAMES and self._new is not None and self._last is not None:
            # A picture's own periods are looked for each time: that is quick, and few pictures have any.
            self._found = periodic_grids(self._last)
            self._turns += 1
            if self._turns > min(self._vain, _MOST_SKIPPED):
                self._search(*self._sums())
                self._turns = 0
        elif self._frames == 1 and self._old is None and self._last is not None:
            # The first picture of a shot is coded by itself as a rule, and shows most.
            self._found = periodic_grids(self._last)
        return self._found if self._frames in _TRIES else []

    def confirm(self) -> None:
        """Says that a frame showed one of the ``hints``: searching is worth its time."""
        self._vain = 0

    def _search(self, edges: SampledEdges, frames: int) -> None:
        """Adds to what is looked for."""
        height, width = edges.size
        parts = accumulated_candidates(edges, frames)[:_MOST_PARTS]
        found = self._found
        self._vain = self._vain + 1 if parts else 0
        wide = [
            (
                max(x0 - _MARGIN_PX, 0),
                max(y0 - _MARGIN_PX, 0),
                min(x1 + _MARGIN_PX, width),
                min(y1 + _MARGIN_PX, height),
            )
            for x0, y0, x1, y1 in parts
        ]
        fetch = Fetch()
        edges.want_parts(fetch, [p for p in wide if (p[2] - p[0]) * (p[3] - p[1]) <= _SMALL * height * width])
        fetch.now()
        for part in wide:
            for x, y in self._line_grids(edges, part, frames):
                box = Box(x.origin, y.origin, x.end, y.end)
                if all(box.iou(b) < _SAME_PLACE or not _has_pitches(g, x, y) for b, g in found):
                    grid = Grid(Axis(x.pitch, x.origin), Axis(y.pitch, y.origin), Operator.AREA, 0.0)
                    found.append((box, grid))

    def _line_grids(
        self, edges: SampledEdges, part: PixelBox, frames: int
    ) -> list[tuple[LineGrid, LineGrid]]:
        """Pairs of line grids of a part, in px of the picture: the best of each axis where the other one is,
        and both at the pitch of one of these."""
        x0, y0, x1, y1 = part

        def across(first: int, last: int) -> tuple[NDArray[np.float64], int]:
            return edges.across((x0, y0 + first, x1, y0 + last)), _rows(y0 + first, y0 + last, frames)

        def down(first: int, last: int) -> tuple[NDArray[np.float64], int]:
            return edges.down((x0 + first, y0, x0 + last, y1)), _rows(x0 + first, x0 + last, frames)

        pairs: list[tuple[LineGrid | None, LineGrid | None]] = []
        x = fit_line_grid(*across(0, y1 - y0), self._max_cell_px)
        y = fit_line_grid(*down(0, x1 - x0), self._max_cell_px)
        if x is not None:
            pairs.append((x, fit_line_grid(*down(*span(x, x1 - x0)), self._max_cell_px)))
        if y is not None:
            pairs.append((fit_line_grid(*across(*span(y, y1 - y0)), self._max_cell_px), y))
        for a, b in [(a, b) for a, b in pairs if a is not None and b is not None]:
            rows, cols = down(*span(a, x1 - x0)), across(*span(b, y1 - y0))
            for pitch in (a.pitch, b.pitch):
                pairs.append((fit_near(*cols, Axis(pitch, 0.0)), fit_near(*rows, Axis(pitch, 0.0))))
        return [
            (replace(a, origin=a.origin + x0), replace(b, origin=b.origin + y0))
            for a, b in pairs
            if a is not None and b is not None
        ]


def _rows(first: int, last: int, frames: int) -> int:
    """Rows or columns over which a profile is summed up."""
    return max((last // STRIDE_PX - first // STRIDE_PX) * frames, 1)


def _has_pitches(grid: Grid, x: LineGrid, y: LineGrid) -> bool:
    return abs(grid.x.pitch / x.pitch - 1.0) < _SAME_PITCH and abs(grid.y.pitch / y.pitch - 1.0) < _SAME_PITCH
