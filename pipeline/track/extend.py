"""A face track's box at any time: smoothed where the face was detected, extended where it was not.

Where a face was missed, what is covered grows with the time to the nearest detection and with how fast it
moves: it may have stopped, or gone on. Where its way leads out of the picture it ends there.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.track import SLACK_S
from pipeline.types import Box

SMOOTH_S = 0.25
"""Seconds, reach of the local line through the detected boxes, to either side."""
_SPEED_S = 0.35
"""Seconds; detections within this time of the nearest one tell the speed."""
_GROWTH_PER_S = 0.6
"""Share of its size per second by which a box without a detection grows, to all sides together."""
_SURE_S = 0.06
"""Seconds; so near to a detection, between two, a box does not grow. A face that speeds up by 10 of its sizes
per second squared is off by 2 % of its size in the middle between detections 0.12 s apart."""
_FARTHEST = 1.5
"""Sizes of the face that it is extrapolated at its speed, at most."""
_GONE = 1.5
"""Size of the box, over the detected one, that must be outside the picture where a face has left it."""
_KEPT = 0.9
"""Share of the detected box that the smoothed one contains at least; the mask's scale covers the rest."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How far from its detections a face is covered, in seconds."""

    before_s: float
    after_s: float
    picture: Box | None = None
    """px; a face whose way leads out of it is not covered beyond its exit"""


def box_at(time_s: float, times: Sequence[float], boxes: Sequence[Box], reach: Reach) -> Box | None:
    """The box to cover at a time; None where no detection of the face is near enough.

    ``times`` ascend and belong to ``boxes``, the detections of one track in one shot. Between two of
    them that ``reach`` joins the box moves evenly from one to the other.
    """
    after = bisect_left(times, time_s - SLACK_S)
    if after < len(times) and times[after] - time_s <= SLACK_S:
        return _smoothed(after, times, boxes)
    behind, ahead = _near(time_s, after, times, reach)
    if not (behind or ahead):
        return None
    last = times[after - 1] if after else None
    following = times[after] if after < len(times) else None
    if last is not None and following is not None and following - last <= reach.before_s + reach.after_s:
        ends = (_smoothed(after - 1, times, boxes), _smoothed(after, times, boxes))
        between = line_between(time_s, (last, following), ends)
        unsure_s = min(time_s - last, following - time_s) - _SURE_S
        return between.scaled(1 + _GROWTH_PER_S * max(unsure_s, 0.0))
    picture = reach.picture
    from_behind = _extrapolate(time_s, after - 1, times, boxes, picture) if behind else None
    from_ahead = _extrapolate(time_s, after, times, boxes, picture) if ahead else None
    if from_behind is not None and from_ahead is not None:
        return from_behind.hull(from_ahead)
    return from_behind or from_ahead


def line_between(time_s: float, times: Sequence[float], boxes: Sequence[Box]) -> Box:
    """The box that moves evenly from the first of two to the second."""
    share = (time_s - times[0]) / (times[1] - times[0])
    return Box(*(p + share * (q - p) for p, q in zip(*map(_corners, boxes), strict=True)))


def _near(time_s: float, after: int, times: Sequence[float], reach: Reach) -> tuple[bool, bool]:
    """Whether the last detection before a time and the first one from it on, ``after``, are near enough."""
    behind = after > 0 and time_s - times[after - 1] <= reach.after_s + SLACK_S
    return behind, after < len(times) and times[after] - time_s <= reach.before_s + SLACK_S


def _corners(box: Box) -> tuple[float, float, float, float]:
    return box.x0, box.y0, box.x1, box.y1


def _smoothed(at: int, times: Sequence[float], boxes: Sequence[Box]) -> Box:
    """The local line through the detections around one, at its time."""
    first = bisect_left(times, times[at] - SMOOTH_S)
    end = bisect_right(times, times[at] + SMOOTH_S)
    reach = min(at - first, end - 1 - at)  # as many before as after, so that motion gives no lag
    detected = boxes[at]
    if reach < 1:
        return detected
    # Of some four numbers NumPy's sums take several times as long.
    near = [boxes[i] for i in range(at - reach, at + reach + 1)]
    weights = [reach + 1 - abs(i) for i in range(-reach, reach + 1)]
    whole = sum(weights)

    def mean(sides: Iterable[float]) -> float:
        return sum(weight * side for weight, side in zip(weights, sides, strict=True)) / whole

    middle = Box(
        mean(b.x0 for b in near), mean(b.y0 for b in near), mean(b.x1 for b in near), mean(b.y1 for b in near)
    )
    return middle.hull(detected.scaled(_KEPT))


def _extrapolate(
    time_s: float, at: int, times: Sequence[float], boxes: Sequence[Box], picture: Box | None
) -> Box | None:
    """From detection ``at``: where it was, where it would be at its speed, and what lies between, grown.

    None where at its speed it has left the picture.
    """
    detected, away_s = boxes[at], time_s - times[at]
    vx, vy = _speed(at, times, boxes, past=away_s > 0)
    farthest = _FARTHEST * max(detected.width, detected.height)
    dx, dy = (max(-farthest, min(v * away_s, farthest)) for v in (vx, vy))
    moved = Box(detected.x0 + dx, detected.y0 + dy, detected.x1 + dx, detected.y1 + dy)
    if picture is not None and moved.scaled(_GONE).covered(picture) == 0.0:
        return None
    return detected.hull(moved).scaled(1 + _GROWTH_PER_S * abs(away_s))


def _speed(at: int, times: Sequence[float], boxes: Sequence[Box], past: bool) -> tuple[float, float]:
    """px per second around detection ``at``, from those before it or after it; 0 where it is the only one."""
    if past:
        first, end = bisect_left(times, times[at] - _SPEED_S), at + 1
    else:
        first, end = at, bisect_right(times, times[at] + _SPEED_S)
    if end - first < 2:
        return 0.0, 0.0
    t = np.array(times[first:end]) - times[at]
    t -= t.mean()
    xy = np.array([boxes[i].centre for i in range(first, end)])
    vx, vy = (t @ (xy - xy.mean(0)) / (t @ t)).tolist()
    return vx, vy
