"""The part of a source that an output keeps."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.types import StreamInfo


@dataclass(frozen=True, slots=True)
class Cut:
    """The part of the source that is kept, and how far its times move."""

    start_s: Fraction | None
    end_s: Fraction | None
    shift_s: Fraction
    """Subtracted from every time of every stream."""

    @property
    def is_part(self) -> bool:
        """True where something is left out."""
        return self.start_s is not None or self.end_s is not None

    def holds(self, time_s: Fraction) -> bool:
        return (self.start_s is None or time_s >= self.start_s) and (
            self.end_s is None or time_s < self.end_s
        )

    def begin_of(self, time_s: Fraction, lasts_s: Fraction) -> Fraction | None:
        """When something that is shown from ``time_s`` on, for ``lasts_s``, begins within the part that is
        kept; None where nothing of it does."""
        if self.start_s is not None and time_s < self.start_s < time_s + lasts_s:
            time_s = self.start_s
        return time_s if self.holds(time_s) else None


WHOLE = Cut(None, None, Fraction(0))
"""Nothing is left out."""


def cut_of(info: StreamInfo, start_pts: int | None, end_pts: int | None, shift_pts: int) -> Cut:
    """The cut of frames ``start_pts <= pts < end_pts``: other streams begin with the first of them."""
    pts = info.pts
    start = None if start_pts is None else pts[min(bisect_left(pts, start_pts), len(pts) - 1)]
    return Cut(
        start_s=None if start is None else start * info.time_base,
        end_s=None if end_pts is None else end_pts * info.time_base,
        shift_s=shift_pts * info.time_base,
    )
