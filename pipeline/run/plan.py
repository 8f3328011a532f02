"""A job on its file: what follows from it before anything runs."""

from __future__ import annotations

import logging
import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.config import RunConfig
from pipeline.engines import EngineSpec
from pipeline.errors import InputError, UsageError
from pipeline.faces.input_picture import Scales, scales
from pipeline.notes import decided
from pipeline.run.job import AnonymizeJob, Job, ReconstructJob
from pipeline.run.memory import PREFETCH_HANDS, MemoryBound, crop_bytes, engine_bytes, frame_bytes
from pipeline.stages.restore import batches_held
from pipeline.stages.window import frames_held
from pipeline.track.select import Choice
from pipeline.types import Box, ManualRegion, StreamInfo

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """The part of the source that is read and written."""

    start_pts: int | None
    end_pts: int | None
    frames: int


@dataclass(frozen=True, slots=True)
class ReconstructPlan(Plan):
    """A job on its file, with its network."""

    cores_per_batch: int
    """Windows of one track that go through the engine together."""
    memory: MemoryBound


@dataclass(frozen=True, slots=True)
class AnonymizePlan(Plan):
    """A job on its file."""

    choice: Choice
    scales: Scales


def reconstruct_plan(
    job: ReconstructJob, info: StreamInfo, spec: EngineSpec, config: RunConfig, calls: int = 1
) -> ReconstructPlan:
    """Resolves times to pts and sizes to bounds, for an engine that takes ``calls`` at a time.

    Raises UsageError where no frame is left.
    """
    span = _part(job, info)
    cores = max(1, config.window.batch_frames // spec.core)
    memory = MemoryBound(
        decoded_frames=config.decode.prefetch_frames + PREFETCH_HANDS,
        track_frames=config.track.look_ahead_frames + 1,
        tracked_frames=config.crop.prefetch_frames + PREFETCH_HANDS,
        window_frames=frames_held(spec.core, spec.context, cores),
        restored_frames=(batches_held(calls) - 1) * spec.core * cores,
        painted_frames=config.encode.prefetch_frames + PREFETCH_HANDS,
        frame_bytes=frame_bytes(info),
        crop_bytes=crop_bytes(spec),
        engine_bytes=engine_bytes(spec, config.restore.batch_size, calls),
    )
    return ReconstructPlan(span.start_pts, span.end_pts, span.frames, cores, memory)


def anonymize_plan(job: AnonymizeJob, info: StreamInfo, config: RunConfig) -> AnonymizePlan:
    """Resolves times and places. Raises UsageError where no frame is left, a region lies outside the picture
    or a person or a track does not exist, InputError for tracks of another file."""
    _check_tracks(job, info)
    span, selection = _part(job, info), job.selection
    first_s = float(info.pts[0] * info.time_base)
    choice = Choice(
        keep=frozenset(selection.keep),
        only=None if selection.only is None else frozenset(selection.only),
        keep_tracks=frozenset(selection.keep_tracks),
        only_tracks=None if selection.only_tracks is None else frozenset(selection.only_tracks),
        regions=absolute(selection.regions, info),
        excluded=absolute(selection.excluded, info, "--exclude-region"),
        during=tuple(
            (None if a is None else a + first_s, None if b is None else b + first_s)
            for a, b in selection.during
        ),
    )
    sizes = scales(info, config.faces.min_face_px)
    return AnonymizePlan(span.start_pts, span.end_pts, span.frames, choice, sizes)


def _part(job: Job, info: StreamInfo) -> Plan:
    """Times as pts. Raises UsageError where no frame is left."""
    start_pts, end_pts = _pts_at(info, job.start_s), _pts_at(info, job.end_s)
    first, end = _span(info, start_pts, end_pts)
    if first >= end:
        raise UsageError(
            f"{job.source}: no frame between --start and --end; it lasts {info.duration_s:.3f} s"
        )
    return Plan(start_pts, end_pts, end - first)


def _check_tracks(job: AnonymizeJob, info: StreamInfo) -> None:
    if job.tracks is None:
        return
    if any(t.first_frame + len(t.boxes) > len(info.pts) for t in job.tracks):
        raise InputError(
            f"{job.source} has {len(info.pts)} frames, fewer than the tracks; they are of another file"
        )
    chosen = job.selection
    for sort, known, options in (
        ("person", {t.person for t in job.tracks}, (chosen.keep, chosen.only or ())),
        ("track", {t.track for t in job.tracks}, (chosen.keep_tracks, chosen.only_tracks or ())),
    ):
        for option, numbers in zip(("--keep", "--only"), options, strict=True):
            unknown = sorted(set(numbers) - known)
            if unknown:
                have = ", ".join(str(n) for n in sorted(known) if n > 0) or "none"
                raise UsageError(f"{option} {unknown[0]}: there is no such {sort}; there are {have}")


def absolute(
    manual: Sequence[ManualRegion], info: StreamInfo, option: str = "--region"
) -> tuple[ManualRegion, ...]:
    """Regions whose times count from the first frame: in presentation time, clipped to the picture.

    Raises UsageError, naming ``option``, for one that covers no pixel or no frame.
    """
    return tuple(_absolute(region, info, option) for region in manual)


def _absolute(region: ManualRegion, info: StreamInfo, option: str) -> ManualRegion:
    box = region.box
    asked = f"{option} {box.x0:g},{box.y0:g},{box.width:g},{box.height:g}"
    x0, y0, x1, y1 = box.pixels(info.width, info.height)
    if x0 >= x1 or y0 >= y1:
        raise UsageError(f"{asked} lies outside the {info.width}x{info.height} picture")
    inside = Box(max(box.x0, 0), max(box.y0, 0), min(box.x1, info.width), min(box.y1, info.height))
    if inside != box:
        decided(
            log, "%s reaches beyond the %dx%d picture; it ends at the border", asked, info.width, info.height
        )
    first, end = _span(info, _pts_at(info, region.start_s), _pts_at(info, region.end_s))
    if first >= end:
        raise UsageError(
            f"{asked} names a time in which no frame lies; the clip lasts {info.duration_s:.3f} s"
        )
    first_s = float(info.pts[0] * info.time_base)

    def moved(time_s: float | None) -> float | None:
        return None if time_s is None else time_s + first_s

    return replace(region, box=inside, start_s=moved(region.start_s), end_s=moved(region.end_s))


def _span(info: StreamInfo, start_pts: int | None, end_pts: int | None) -> tuple[int, int]:
    """Half-open range of indices of the frames between two times."""
    first = 0 if start_pts is None else bisect_left(info.pts, start_pts)
    return first, len(info.pts) if end_pts is None else bisect_left(info.pts, end_pts)


_LATEST_S = 1e9
"""Later than any footage ends; the pts of the largest float is no number."""


def _pts_at(info: StreamInfo, time_s: float | None) -> int | None:
    """First pts at or after ``time_s`` seconds from the first frame."""
    if time_s is None:
        return None
    time_s = min(time_s, _LATEST_S)
    # A rounding error must not move the time past the frame that it names.
    return info.pts[0] + math.ceil(time_s / float(info.time_base) - 1e-6)
