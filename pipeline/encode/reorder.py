"""Whether frames may be coded in another order than they are shown in."""

from __future__ import annotations

from collections.abc import Sequence

from av.format import ContainerFormat

_NEGATIVE_TIMES = 0x40000
"""AVFMT_TS_NEGATIVE: a container that tells times below 0."""
_PRESENTATION_TIMES_ONLY = {"matroska", "webm", "ivf"}
_DECODING_TIMES_ONLY = {"avi", "asf"}
_REORDER_FRAMES = 4
"""Clips as short gain nothing from B-frames."""


def may_reorder(container: ContainerFormat, pts: Sequence[int], frames: slice, shift_pts: int) -> bool:
    """False where frames must be coded in the order of showing to keep their times.

    ``frames``: positions of those that are written, whose ``pts`` are ``shift_pts`` less in the output. AVI
    and ASF tell decoding times only. MPEG-TS, FLV and others cannot tell times below 0, where decoding would
    begin with the two frames of delay that x264 and x265 take for B-frames; Matroska tells no decoding times.
    Of fewer frames x265 gives decoding times that were never set.
    """
    first = frames.start
    if frames.stop - first <= _REORDER_FRAMES:
        return False
    delay = pts[min(first + 2, len(pts) - 1)] - pts[first]
    early = pts[first] - shift_pts < delay
    from_zero = not container.flags & _NEGATIVE_TIMES and container.name not in _PRESENTATION_TIMES_ONLY
    return container.name not in _DECODING_TIMES_ONLY and not (from_zero and early)
