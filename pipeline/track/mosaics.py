"""Mosaics of single frames -> tracks: one region per living track on the frames from its birth to its end.

Association is Hungarian on overlap and pitch. What leaves for a frame is decided when the
``look_ahead_frames`` after it have come, so that a birth is confirmed before its first frame leaves, a gap is
filled from both sides, and smoothing (``pipeline.track.smooth``) looks as far ahead as back and does not lag.
A frame of a gap that plainly shows no mosaic is not filled: tools leave single frames unpixelated.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from nets.pixelation import Operator
from pipeline.config import TrackConfig
from pipeline.mosaic.sampling import sampling_of
from pipeline.track.smooth import smoothed
from pipeline.types import Found, Frame, MosaicRegion, Tracked, TrackedRegion

Redetect = Callable[[Frame, MosaicRegion], MosaicRegion | None]
"""Looks for a region of a frame in another frame near it; None where that does not show it."""
IsClean = Callable[[Frame, MosaicRegion], bool]
"""Whether a frame plainly shows that there is nothing in the place of a region of frames around it."""

_PITCH_WEIGHT = 0.5
"""What a pitch twice as large costs, in units of overlap: pitch decides which region, overlap whether."""
_REPEATED_SHARE = 0.6
"""Share of the look-ahead that shows a weak mosaic with one grid: chance repeats no grid."""
_REPEATED_PITCH = 0.03
"""Relative; pitches this near each other are one grid's."""
REPEATED_SCORE = 0.42
"""0..1, least mean score of such a mosaic. Bricks and tables, which repeat theirs, reach 0.41."""

_STRONG_HITS = 2
"""Frames that are enough where they show a mosaic strongly; false ones in seven training clips at MPEG-4's
coarsest quantizer have a score of 0.47 at most."""
_CHANGE_LOG_ODDS = 0.5
"""Mean log odds over all frames of a track from which its sampling changes."""


@dataclass(slots=True)
class _MosaicTrack:
    """Detections of one mosaic, by position in the stream."""

    seen: dict[int, MosaicRegion]
    found: int
    """the first that the finder showed; those before it were redetected"""
    first: int
    last: int
    closed: bool = False
    number: int | None = field(default=None)
    """identity, given when its first frame leaves"""
    log_odds: float = 0.0
    """that its cells hold point samples: sum over all frames that showed it so far"""
    read: int = 0
    """frames that had a grid"""
    operator: Operator | None = None
    """its sampling, as told last"""

    def __post_init__(self) -> None:
        for region in self.seen.values():
            self.weigh(region)

    def weigh(self, region: MosaicRegion) -> None:
        if region.grid is not None:
            self.log_odds += region.grid.log_odds
            self.read += 1

    def with_sampling(self, region: MosaicRegion) -> MosaicRegion:
        """The region with the track's sampling. No tool changes it from frame to frame, and single frames are
        often mistaken: it changes only where all frames so far, weighed together, say otherwise."""
        if region.grid is None or self.log_odds == 0.0:
            return region
        if self.operator is None or abs(self.log_odds) > _CHANGE_LOG_ODDS * self.read:
            self.operator = sampling_of(self.log_odds)
        return replace(region, grid=replace(region.grid, operator=self.operator))


def track(
    found: Iterable[Found[MosaicRegion]],
    *,
    settings: TrackConfig,
    redetect: Redetect | None = None,
    is_clean: IsClean | None = None,
) -> Iterator[Tracked]:
    """Frames in order, each exactly once, with their tracks; at most ``look_ahead_frames`` + 1 are held.

    ``redetect`` looks for a new region in the frames before it that are still held; ``is_clean`` says which
    frames of a gap are not filled. Raises nothing of its own; a cut ends all tracks.
    """
    held: deque[Found[MosaicRegion]] = deque()
    tracks: list[_MosaicTrack] = []
    born = 0
    start = position = 0
    shots: deque[int] = deque([0])
    for item in found:
        if item.cut and position > shots[-1]:
            shots.append(position)
            for t in tracks:
                t.closed = True
        fresh = _associate([t for t in tracks if not t.closed], tracks, item.regions, position, settings)
        if redetect is not None:
            past = list(held)[max(shots[-1] - start, 0) :]
            for t in fresh:
                _look_back(t, past, [o for o in tracks if o is not t], redetect, settings.gap_frames)
        held.append(item)
        position += 1
        if len(held) > settings.look_ahead_frames:
            born = _settle_births(tracks, start, _shot_frames(shots, start, position), born, settings)
            yield _leave(tracks, held.popleft(), start, is_clean)
            start = _next(tracks, shots, start, settings)
    while held:
        born = _settle_births(tracks, start, _shot_frames(shots, start, position), born, settings)
        yield _leave(tracks, held.popleft(), start, is_clean)
        start = _next(tracks, shots, start, settings)


def _associate(
    living: list[_MosaicTrack],
    tracks: list[_MosaicTrack],
    regions: tuple[MosaicRegion, ...],
    position: int,
    settings: TrackConfig,
) -> list[_MosaicTrack]:
    """Give each region to the living track that it fits, or to a new one. Returns the new ones."""
    free = set(range(len(regions)))
    if living and regions:
        iou = np.array([[t.seen[t.last].box.iou(r.box) for r in regions] for t in living])
        cost = -iou + _PITCH_WEIGHT * np.array(
            [[_pitch_gap(t.seen[t.last], r) for r in regions] for t in living]
        )
        cost[iou < settings.min_iou] = 1e3
        from scipy.optimize import linear_sum_assignment  # noqa: PLC0415  heavy

        for i, j in zip(*linear_sum_assignment(cost), strict=True):
            if iou[i, j] >= settings.min_iou:
                living[i].seen[position] = regions[j]
                living[i].last = position
                living[i].weigh(regions[j])
                free.discard(int(j))
    for t in living:
        t.closed = position - t.last > settings.gap_frames
    fresh = [_MosaicTrack({position: regions[j]}, position, position, position) for j in sorted(free)]
    tracks += fresh
    return fresh


def _look_back(
    new: _MosaicTrack,
    past: list[Found[MosaicRegion]],
    others: list[_MosaicTrack],
    redetect: Redetect,
    gap_frames: int,
) -> None:
    """Frames before the first one of a track that show it, too, become its own, over gaps of up to
    ``gap_frames``; ``past`` ends before it."""
    for at, item in zip(range(new.first - 1, -1, -1), reversed(past), strict=False):
        if new.first - at > gap_frames + 1:
            return
        region = redetect(item.frame, new.seen[new.first])
        if region is None:
            continue
        if any(at in o.seen and o.seen[at].box.iou(region.box) > 0.0 for o in others):
            return
        new.seen[at] = region
        new.first = at
        new.weigh(region)


def _pitch_gap(a: MosaicRegion, b: MosaicRegion) -> float:
    """|log2| of the ratio of the pitches, at most 1; 0 where one has no grid."""
    if a.grid is None or b.grid is None:
        return 0.0
    ratio = a.grid.x.pitch * a.grid.y.pitch / (b.grid.x.pitch * b.grid.y.pitch)
    return float(min(abs(np.log2(ratio)) / 2, 1.0))


def _shot_frames(shots: deque[int], start: int, position: int) -> int:
    """Frames of the shot of frame ``start`` that have been seen, from ``start`` on."""
    end = next((s for s in shots if s > start), position)
    return end - start


def _settle_births(
    tracks: list[_MosaicTrack], start: int, ahead: int, born: int, settings: TrackConfig
) -> int:
    """Number the tracks that begin on frame ``start`` or drop them. Returns the highest number given."""
    for t in [t for t in tracks if t.first == start]:
        scores = sorted(
            (r.score for at, r in t.seen.items() if at <= start + settings.look_ahead_frames), reverse=True
        )
        need = min(settings.min_hits, settings.look_ahead_frames + 1)
        if ahead < need:
            birth = len(scores) == ahead and bool(np.mean(scores) >= settings.strong_score)
        else:
            many = len(scores) >= need and bool(np.mean(scores[:need]) >= settings.birth_score)
            strong = len(scores) >= _STRONG_HITS and bool(
                np.mean(scores[:_STRONG_HITS]) >= settings.strong_score
            )
            birth = many or strong or _repeats_one_grid(t, start, min(ahead, settings.look_ahead_frames + 1))
        if birth:
            born += 1
            t.number = born
        elif start < t.found:
            # Too few frames ahead to tell yet: one that was redetected is given up, not the track.
            del t.seen[start]
            t.first = min(t.seen)
        else:
            tracks.remove(t)
    return born


def _repeats_one_grid(new: _MosaicTrack, start: int, frames: int) -> bool:
    """True where most of ``frames`` frames from ``start`` on show a mosaic in one grid, however weak."""
    regions = [r for at, r in new.seen.items() if at < start + frames]
    grids = [r.grid for r in regions if r.grid is not None]
    if len(grids) < max(_REPEATED_SHARE * frames, 2) or np.mean([r.score for r in regions]) < REPEATED_SCORE:
        return False
    pitch = np.array([(g.x.pitch, g.y.pitch) for g in grids])
    same = (np.abs(pitch / np.median(pitch, axis=0) - 1.0) <= _REPEATED_PITCH).all(axis=1)
    return bool(same.sum() >= _REPEATED_SHARE * frames)


def _leave(
    tracks: list[_MosaicTrack], item: Found[MosaicRegion], start: int, is_clean: IsClean | None
) -> Tracked:
    """Frame ``start`` with the regions of the tracks that live on it."""
    regions = []
    for t in tracks:
        if t.number is None or not t.first <= start <= t.last:
            continue
        region = smoothed(t.seen, start)
        seen = start in t.seen
        if seen or is_clean is None or not is_clean(item.frame, region):
            born, last = start == t.first, start == t.last
            regions.append(TrackedRegion(t.number, t.with_sampling(region), seen=seen, born=born, last=last))
    return Tracked(item.frame, tuple(regions))


def _next(tracks: list[_MosaicTrack], shots: deque[int], start: int, settings: TrackConfig) -> int:
    """Forget what lies too far back; returns the position of the next frame to leave."""
    start += 1
    tracks[:] = [t for t in tracks if t.last >= start or not t.closed]
    for t in tracks:
        for at in [at for at in t.seen if at < start - settings.look_ahead_frames and at != t.last]:
            del t.seen[at]
    while len(shots) > 1 and shots[1] <= start:
        shots.popleft()
    return start
