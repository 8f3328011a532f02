"""On which frames the release check looks: on those farthest from the frames that the run looked at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from pipeline.track import SLACK_S

_LATE = 0.4
"""Share of the frames within reach of a look, the last of them, that the next look is one of: more looks
would cost more and see the same."""

_Times = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pace:
    """How far two looks may be apart; where frames are further apart, each is looked at."""

    seconds: float
    frames: int

    def __post_init__(self) -> None:
        if self.seconds < 0 or self.frames < 1:
            raise ValueError(
                f"no look in {self.seconds} s and {self.frames} frames; wanted 0 s and 1 frame up"
            )


def looked_at(times_s: Sequence[float], pace: Pace, seen: Sequence[bool]) -> list[bool]:
    """Which frames to look at.

    ``times_s`` ascend; ``seen`` are the frames that the run looked at. Of the frames within reach of the last
    look the one farthest in time from all of those is next, of equals the later one. The first look comes
    within half a step of the first frame.
    """
    times: _Times = np.asarray(times_s, np.float64)
    away_s = _away_s(times, times[np.asarray(seen, bool)])
    due = np.zeros(len(times), bool)
    last_s, at = float(times[0]) - pace.seconds / 2, -1
    while at < len(times) - 1:
        reached = int(np.searchsorted(times, last_s + pace.seconds + SLACK_S, "right"))
        end = min(max(reached, at + 2), at + 1 + pace.frames, len(times))
        first = end - math.ceil(_LATE * (end - at - 1))
        at = end - 1 - int(away_s[first:end][::-1].argmax())
        due[at], last_s = True, float(times[at])
    return [bool(look) for look in due]


def longest_unseen(seen: Sequence[bool]) -> int:
    """Frames in a row that nobody looked at, at most: a face that is shown no longer may be left. ``seen``:
    the frames that somebody looked at, among all of a file."""
    return max((sum(1 for _ in run) for looked, run in groupby(seen) if not looked), default=0)


def _away_s(times: _Times, looks: _Times) -> _Times:
    """Time from each frame to the nearest one that was looked at, whole milliseconds; 0 where none was."""
    if not len(looks):
        return np.zeros(len(times))
    after = np.searchsorted(looks, times)
    before = np.abs(times - looks[np.maximum(after - 1, 0)])
    away = np.minimum(before, np.abs(looks[np.minimum(after, len(looks) - 1)] - times))
    return np.asarray(np.round(away, 3), np.float64)
