"""Masks that lie over one another become one: which of them decides what all of them show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.types import Box

_JOIN, _PART = 0.5, 0.35
"""Shares of the smaller mask that the larger one covers, from which and below which they are one and two."""
_AS_COARSE = 0.8
"""An owner's cells have at least this share of the widest cell's size."""


class Overlaps:
    """Remembers which tracks were one on the frame before, so that the border is no flicker."""

    def __init__(self) -> None:
        self._joined: set[tuple[int, int]] = set()

    def owners(
        self, tracks: Sequence[int], boxes: Sequence[Box], kinds: Sequence[object], pitches: Sequence[float]
    ) -> list[int]:
        """For each mask the index of the one whose lattice it shows, itself where it lies alone.

        Only masks of one kind become one. Of several the earliest track decides whose cells are about as wide
        as the widest: a small face must not lay its small cells over a large one.
        """
        count = len(tracks)
        if count < 2:
            self._joined.clear()
            return list(range(count))
        share = _shares(boxes)
        group = list(range(count))
        joined: set[tuple[int, int]] = set()
        for i, j in zip(*np.nonzero(np.triu(share > _PART, 1)), strict=True):
            pair = min(tracks[i], tracks[j]), max(tracks[i], tracks[j])
            if kinds[i] != kinds[j] or not (share[i, j] >= _JOIN or pair in self._joined):
                continue
            joined.add(pair)
            old, new = group[j], group[i]
            group = [new if g == old else g for g in group]
        self._joined = joined
        return [_owner([k for k in range(count) if group[k] == g], tracks, pitches) for g in group]


def _owner(members: list[int], tracks: Sequence[int], pitches: Sequence[float]) -> int:
    widest = max(pitches[k] for k in members)
    return min((k for k in members if pitches[k] >= _AS_COARSE * widest), key=lambda k: tracks[k])


def _shares(boxes: Sequence[Box]) -> NDArray[np.float64]:
    """(n, n) share of the smaller box that lies in the other."""
    x0, y0, x1, y1 = np.array([(b.x0, b.y0, b.x1, b.y1) for b in boxes]).T
    across = np.minimum(x1[:, None], x1) - np.maximum(x0[:, None], x0)
    down = np.minimum(y1[:, None], y1) - np.maximum(y0[:, None], y0)
    area = (x1 - x0) * (y1 - y0)
    both = np.maximum(across, 0) * np.maximum(down, 0)
    return np.asarray(both / np.maximum(np.minimum(area[:, None], area), 1e-9))
