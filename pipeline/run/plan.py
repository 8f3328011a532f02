"""What is to be done to one file, and what follows from it before anything runs."""

from __future__ import annotations

import logging
import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import RunConfig
from pipeline.engines import EngineSpec
from pipeline.errors import UsageError
from pipeline.notes import decided
from pipeline.run.memory import PREFETCH_HANDS, MemoryBound, crop_bytes, engine_bytes, frame_bytes
from pipeline.stages.restore import batches_held
from pipeline.stages.window import frames_held
from pipeline.types import Box, ManualRegion, StreamInfo

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done to one file."""

    source: Path
    target: Path
    network: Path
    """ONNX file with an ``EngineSpec`` in its metadata."""
    manual: tuple[ManualRegion, ...] = ()
    """Mosaics that a user has pointed out; their times count from the first frame, as the next two do."""
    start_s: float | None = None
    """Where to begin, seconds; None: at the first frame."""
    end_s: float | None = None
    """The first time that is left out; None: to the end."""
    overwrite: bool = False

    @property
    def sidecar(self) -> Path:
        """``out.mp4`` -> ``out.mp4.json``."""
        return self.target.with_name(f"{self.target.name}.json")


@dataclass(frozen=True, slots=True)
class Plan:
    """A job on its file, with its network."""

    start_pts: int | None
    end_pts: int | None
    frames: int
    """That will be read and written."""
    cores_per_batch: int
    """Windows of one track that go through the engine together."""
    memory: MemoryBound


def make_plan(job: Job, info: StreamInfo, spec: EngineSpec, config: RunConfig, calls: int = 1) -> Plan:
    """Resolves times to pts and sizes to bounds, for an engine that takes ``calls`` at a time. Raises
    UsageError where no frame is left."""
    start_pts, end_pts, first, end = span(info, job.source, job.start_s, job.end_s)
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
    return Plan(start_pts, end_pts, end - first, cores, memory)


def span(
    info: StreamInfo, source: Path, start_s: float | None, end_s: float | None
) -> tuple[int | None, int | None, int, int]:
    """Times between which frames are written, as pts, and the half-open range of their indices.

    Raises UsageError where no frame is left.
    """
    start_pts, end_pts = _pts_at(info, start_s), _pts_at(info, end_s)
    first, end = _span(info, start_pts, end_pts)
    if first >= end:
        raise UsageError(f"{source}: no frame between --start and --end; it lasts {info.duration_s:.3f} s")
    return start_pts, end_pts, first, end


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

    return ManualRegion(inside, moved(region.start_s), moved(region.end_s))


def _span(info: StreamInfo, start_pts: int | None, end_pts: int | None) -> tuple[int, int]:
    """Half-open range of indices of the frames between two times."""
    first = 0 if start_pts is None else bisect_left(info.pts, start_pts)
    return first, len(info.pts) if end_pts is None else bisect_left(info.pts, end_pts)


def _pts_at(info: StreamInfo, time_s: float | None) -> int | None:
    """First pts at or after ``time_s`` seconds from the first frame."""
    if time_s is None:
        return None
    # A rounding error must not move the time past the frame that it names.
    return info.pts[0] + math.ceil(time_s / float(info.time_base) - 1e-6)
