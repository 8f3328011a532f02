"""One region of a part of a picture: combs over all of it, extent, combs over the extent, extent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.mosaic import line_grid
from pipeline.mosaic.bounds import Extent, extent, span
from pipeline.mosaic.evidence import Evidence, Lattice, lines
from pipeline.mosaic.line_grid import Comb
from pipeline.mosaic.redetect import near
from pipeline.mosaic.score import rate
from pipeline.mosaic.subdivide import SQUARE, finest
from pipeline.types import Axis


@dataclass(frozen=True, slots=True)
class Fit:
    """A region in px of the part."""

    lattice: Lattice
    extent: Extent


def fit(evidence: Evidence, max_pitch_px: float) -> Fit | None:
    """The region with most steps on a lattice, or None. It need not be a mosaic: see ``rate``."""
    height, width = evidence.size
    across, down = evidence.profiles()
    x = line_grid.fit(across, height, max_pitch_px)
    y = line_grid.fit(down, width, max_pitch_px)
    # The clearer axis says where the region is; there the other one has less of its surroundings in it.
    if y is not None and (x is None or y.gain > x.gain):
        top, bottom = span(y, height)
        x = line_grid.fit(evidence.profiles((0, top, width, bottom))[0], bottom - top, max_pitch_px)
    elif x is not None:
        left, right = span(x, width)
        y = line_grid.fit(evidence.profiles((left, 0, right, height))[1], right - left, max_pitch_px)
    if x is None or y is None:
        return None
    pairs = [(x, y)]
    if max(x.pitch, y.pitch) > SQUARE * min(x.pitch, y.pitch):
        pairs += _square(evidence, x, y)
    fits = [f for a, b in pairs if (f := _over(evidence, a, b)) is not None]
    return max(fits, key=lambda f: rate(evidence, f.lattice, f.extent), default=None)


def _square(evidence: Evidence, x: Comb, y: Comb) -> Iterator[tuple[Comb, Comb]]:
    """The combs again where both have the pitch of one of them, looked for where that one is."""
    height, width = evidence.size
    left, right = span(x, width)
    top, bottom = span(y, height)
    down = near(evidence.profiles((left, 0, right, height))[1], right - left, Axis(x.pitch, 0.0))
    across = near(evidence.profiles((0, top, width, bottom))[0], bottom - top, Axis(y.pitch, 0.0))
    if down is not None:
        yield x, down
    if across is not None:
        yield across, y


def _over(evidence: Evidence, x: Comb, y: Comb) -> Fit | None:
    """The region of a pair of combs, which are fitted again to it."""
    height, width = evidence.size
    first = Lattice.over(evidence, x, y)
    found = extent(evidence, first)
    if found is None:
        return None
    x0, y0, x1, y1 = found.box
    across, down = evidence.profiles(found.box)
    new_x = _refit(across[x0:x1], y1 - y0, x, x0, evidence.luma[y0:y1], 1, y.pitch)
    if new_x is None:
        return None
    new_y = _refit(down[y0:y1], x1 - x0, y, y0, evidence.luma[:, x0:x1], 0, new_x.pitch)
    if new_y is None:
        return None
    if np.array_equal(lines(new_x, width), first.xs) and np.array_equal(lines(new_y, height), first.ys):
        lattice = replace(first, x=new_x, y=new_y)
    else:
        lattice = Lattice.over(evidence, new_x, new_y)
    found = extent(evidence, lattice)
    return None if found is None else Fit(lattice, found)


def _refit(
    profile: NDArray[np.float64],
    count: int,
    c: Comb,
    start: int,
    luma: NDArray[np.uint8],
    axis: int,
    other_pitch: float,
) -> Comb | None:
    """The comb fitted again to the profile of the region, which begins at ``start``; divided if need be."""
    again = line_grid.refit(profile, count, c.pitch, c.origin - start)
    if again is None:
        return None
    whole = (start, start + len(profile))
    finer = finest(replace(again, origin=again.origin + start), luma, axis, whole, other_pitch)
    if finer.pitch != again.pitch:
        again = line_grid.refit(profile, count, finer.pitch, finer.origin - start)
    return None if again is None else replace(again, origin=again.origin + start)
