"""Bounds of one axis of a mosaic on one frame, by a vote of the frames around it.

- Small cells: frames say how much each strip of cells in and around the mosaic speaks for it (``Strips``).
  Motion is common to both sides, errors are a side's own: ``_motion`` says where the middle is on each frame.
  Moved with it, these log odds are added up over time, and the sides are where the sum is largest, to the
  pixel by those frames that are near it. (A forehead that is flat on one frame differs a little on others.)
- Elsewhere each side is that of most of its own frames, a Theil-Sen line.

Past and future weigh the same, so that it does not lag.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.types import Strips

_SIGMA_FRAMES = 2.0
"""Frames, standard deviation of the weights in time of sides."""
_OUTLIER_PX = 3.0
"""px; a side this far off what is expected is no jitter but an error; more where all sides vary."""
_OUTLIER_CELLS = 0.6
"""Cells, the same of small cells, whose sides go by whole ones."""
_TILT_RIDGE = 20.0
"""Frames squared, added to the spread of the times: at its ends a track has frames on one side only, from
which a line would lead far away."""
_STRIPS_SIGMA_FRAMES = 4.0
"""Frames, standard deviation of the weights in time of strips."""
_LEAST_FRAMES = 3
"""Frames with strips from which these tell where the sides are."""
_STEP_PX = 0.5
"""px from one place to the next where log odds are added up."""
_SAME_LENGTH_PX, _SAME_LENGTH = 4.0, 0.06
"""px, or share of the usual length, by which a box may differ from it and still show both sides."""
_UNLIKE = 0.5
"""Share of the usual length. A frame whose box differs by more, or has moved by more, shows neither."""
_MOST_FRAMES = 0.5
"""Share of frames of the usual length from which these tell how the mosaic moves."""
_STRAIGHT_PX = 1.5
"""px, median distance of the middles from a line up to which the motion is a line's."""
_JITTER_PX, _LEAST_JITTER_PX = 5.0, 2.0
"""px; a middle this near the line lies on it: where the motion is a line's, and where it is not."""


def theil_sen(times: NDArray[np.float64], values: NDArray[np.float64]) -> tuple[float, float]:
    """Slope and value at time 0 of the Theil-Sen line through two frames or more."""
    i, j = np.triu_indices(len(times), 1)
    slope = float(np.median((values[j] - values[i]) / (times[j] - times[i])))
    return slope, float(np.median(values - slope * times))


def is_enough(strips: Sequence[Strips | None]) -> bool:
    """True where enough frames have strips for ``vote_bounds`` to go by them."""
    return sum(s is not None for s in strips) >= _LEAST_FRAMES


def vote_bounds(
    times: NDArray[np.float64],
    starts: NDArray[np.float64],
    ends: NDArray[np.float64],
    strips: Sequence[Strips | None] = (),
) -> tuple[float, float]:
    """Start and end at time 0, px.

    ``times`` are (n,) distinct, in frames; ``starts`` and ``ends`` (n,) the sides that these frames show, px;
    ``strips`` one per frame, or none at all.
    """
    if len(times) == 1:
        return float(starts[0]), float(ends[0])
    motion = _motion(times, starts, ends)
    by_strips = _add_strips(times, motion, strips)
    if by_strips is None:
        return _vote_each(times, starts, ends)
    reach = max(_OUTLIER_PX, _OUTLIER_CELLS * by_strips.pitch)
    start = _smooth(times, starts - motion.middles, (0.0, by_strips.start - motion.now), reach)
    end = _smooth(times, ends - motion.middles, (0.0, by_strips.end - motion.now), reach)
    return motion.now + start, motion.now + end


def _vote_each(
    times: NDArray[np.float64], starts: NDArray[np.float64], ends: NDArray[np.float64]
) -> tuple[float, float]:
    """Both sides, each by its own frames: a side that does not show, before a wall, is better left where the
    picture begins than led over it.

    Where the frame's own box is as long as the frames around expect, and yet lies elsewhere, it has moved as
    no line does, and stays where it is.
    """
    start, end = (_smooth(times, v, theil_sen(times, v), None) for v in (starts, ends))
    now = np.flatnonzero(times == 0.0)
    if now.size:
        off = float(starts[now[0]]) - start, float(ends[now[0]]) - end
        if (
            abs(off[0] - off[1]) <= max(_OUTLIER_PX, _SAME_LENGTH * (end - start))
            and min(off, key=abs) ** 2 > _OUTLIER_PX**2
        ):
            shift = (off[0] + off[1]) / 2
            return start + shift, end + shift
    return start, end


def _smooth(
    times: NDArray[np.float64],
    values: NDArray[np.float64],
    near: tuple[float, float],
    reach: float | None,
) -> float:
    """Value at time 0 of the frames within ``reach`` px of the line ``near`` (slope, value at time 0); None:
    within what most of them are."""
    slope, start = near
    off = values - slope * times - start
    if reach is None:
        reach = max(_OUTLIER_PX, 3.0 * float(np.median(np.abs(off))))
    weight = np.exp(-0.5 * (times / _SIGMA_FRAMES) ** 2) * (np.abs(off) <= reach)
    if weight.sum() < 0.5:
        return start
    mean_t = float((weight * times).sum() / weight.sum())
    mean = float((weight * off).sum() / weight.sum())
    tilt = float((weight * (times - mean_t) * (off - mean)).sum())
    tilt /= float((weight * (times - mean_t) ** 2).sum()) + _TILT_RIDGE
    return start + mean - tilt * mean_t


@dataclass(frozen=True, slots=True)
class _Motion:
    middles: NDArray[np.float64]
    """(n,) px, of each frame"""
    now: float
    """px, at time 0, whether a frame is there or not"""


def _motion(times: NDArray[np.float64], starts: NDArray[np.float64], ends: NDArray[np.float64]) -> _Motion:
    """Where the middle is, from frames whose box is as long as usual; of another the side that lies nearer
    to where they expect it. All on one line where that is how it moves, or too few tell."""
    middles, length = (starts + ends) / 2, ends - starts
    usual = float(np.quantile(length, 0.5, method="nearest"))
    whole = np.abs(length - usual) <= max(_SAME_LENGTH_PX, _SAME_LENGTH * usual)
    if whole.mean() < _MOST_FRAMES or whole.sum() < 2:
        slope, now = _steadier(times, starts + usual / 2, ends - usual / 2)
        return _Motion(slope * times + now, now)
    slope, now = theil_sen(times[whole], middles[whole])
    straight = slope * times + now
    off = middles[whole] - straight[whole]
    expected = straight + np.interp(times, times[whole], off)
    by_start, by_end = starts + usual / 2, ends - usual / 2
    other = np.where(np.abs(by_start - expected) <= np.abs(by_end - expected), by_start, by_end)
    unlike = np.maximum(np.abs(other - expected), np.abs(length - usual)) > _UNLIKE * usual
    middles = np.where(whole, middles, np.where(unlike, expected, other))
    is_straight = np.median(np.abs(off)) <= _STRAIGHT_PX
    jitter = _JITTER_PX if is_straight else _LEAST_JITTER_PX
    middles = np.where(np.abs(middles - straight) <= jitter, straight, middles)
    own = middles[times == 0.0]
    gap = now if is_straight else now + float(np.interp(0.0, times[whole], off))
    return _Motion(middles, float(own[0]) if own.size else gap)


def _steadier(times: NDArray[np.float64], *ways: NDArray[np.float64]) -> tuple[float, float]:
    """The line of those values that lie nearest to theirs."""
    lines = [theil_sen(times, values) for values in ways]
    off = [float(np.median(np.abs(v - a * times - b))) for v, (a, b) in zip(ways, lines, strict=True)]
    return lines[int(np.argmin(off))]


@dataclass(frozen=True, slots=True)
class _ByStrips:
    start: float
    end: float
    """px, at time 0"""
    pitch: float
    """px, width of a strip"""


def _add_strips(
    times: NDArray[np.float64], motion: _Motion, strips: Sequence[Strips | None]
) -> _ByStrips | None:
    """Sides by the strips of all frames together; None where too few frames have any."""
    moved = motion.middles - motion.now
    seen = [(t, m, s) for t, m, s in zip(times, moved, strips, strict=bool(strips)) if s is not None]
    if not is_enough(strips):
        return None
    first = min(float(s.ends[0]) - m for _, m, s in seen)
    last = max(float(s.ends[-1]) - m for _, m, s in seen)
    at = np.arange(np.floor(first), np.ceil(last) + _STEP_PX, _STEP_PX)
    total = np.zeros_like(at)
    for t, m, s in seen:
        log_odds = np.append(0.0, np.cumsum(s.log_odds))
        total += np.exp(-0.5 * (t / _STRIPS_SIGMA_FRAMES) ** 2) * np.interp(at + m, s.ends, log_odds)
    middle = int(np.searchsorted(at, motion.now))
    if not 0 < middle < len(at):
        return None
    start = float(at[middle - int(total[: middle + 1][::-1].argmin())])
    end = float(at[middle + int(total[middle:].argmax())])
    return _ByStrips(start, end, float(np.median(np.concatenate([np.diff(s.ends) for _, _, s in seen]))))
