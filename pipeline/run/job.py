"""What a covering run is asked for, and what that means on its file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.config import RunConfig
from pipeline.errors import InputError, UsageError
from pipeline.faces.input_picture import Scales, scales
from pipeline.run.anonymize_sidecar import ChoiceRecord, Mode
from pipeline.run.plan import absolute, span
from pipeline.run.track_records import FaceTrackRecord
from pipeline.track.select import Choice
from pipeline.types import ManualRegion, StreamInfo


@dataclass(frozen=True, slots=True)
class CoverJob:
    """What is to be done to one file. Times count from the first frame, in seconds."""

    source: Path
    target: Path
    mode: Mode
    keep: tuple[int, ...] = ()
    only: tuple[int, ...] | None = None
    regions: tuple[ManualRegion, ...] = ()
    excluded: tuple[ManualRegion, ...] = ()
    during: tuple[tuple[float | None, float | None], ...] = ()
    tracks: tuple[FaceTrackRecord, ...] | None = None
    """Of an earlier run; None: they are found."""
    said: ChoiceRecord | None = None
    """The choice in the user's words."""
    start_s: float | None = None
    end_s: float | None = None
    overwrite: bool = False
    network: Path | None = None
    """Engine file of the network that ``protect.perturb`` asks for."""

    @property
    def sidecar(self) -> Path:
        """``out.mp4`` -> ``out.mp4.json``."""
        return self.target.with_name(f"{self.target.name}.json")

    @property
    def sheet(self) -> Path:
        """What a preview shows: ``out.preview.png``."""
        return self.target.with_name(f"{self.target.stem}.preview.png")

    @property
    def preview_report(self) -> Path:
        """What a preview knows: ``out.preview.json``."""
        return self.target.with_name(f"{self.target.stem}.preview.json")

    @property
    def gate_report(self) -> Path:
        """What is left where the gate fails: ``out.mp4.gate.json``."""
        return self.target.with_name(f"{self.target.name}.gate.json")


@dataclass(frozen=True, slots=True)
class CoverPlan:
    """A job on its file."""

    start_pts: int | None
    end_pts: int | None
    frames: int
    """That will be read and written."""
    choice: Choice
    scales: Scales


def make_plan(job: CoverJob, info: StreamInfo, config: RunConfig) -> CoverPlan:
    """Resolves times and places. Raises UsageError where no frame is left or a region lies outside."""
    start_pts, end_pts, first, end = span(info, job.source, job.start_s, job.end_s)
    first_s = float(info.pts[0] * info.time_base)
    choice = Choice(
        keep=frozenset(job.keep),
        only=None if job.only is None else frozenset(job.only),
        regions=absolute(job.regions, info),
        excluded=absolute(job.excluded, info, "--exclude-region"),
        during=tuple(
            (None if a is None else a + first_s, None if b is None else b + first_s) for a, b in job.during
        ),
    )
    return CoverPlan(start_pts, end_pts, end - first, choice, scales(info, config.faces.min_face_px))


def check_tracks(job: CoverJob, info: StreamInfo) -> None:
    """Raises for numbers that no track has, and for tracks that lie beyond the file."""
    if job.tracks is None:
        return
    if any(t.first_frame + len(t.boxes) > len(info.pts) for t in job.tracks):
        raise InputError(
            f"{job.source} has {len(info.pts)} frames, fewer than the tracks; they are of another file"
        )
    known = {t.track for t in job.tracks}
    for option, numbers in (("--keep", job.keep), ("--only", job.only or ())):
        unknown = sorted(set(numbers) - known)
        if unknown:
            have = ", ".join(map(str, sorted(known))) or "none"
            raise UsageError(f"{option} {unknown[0]}: there is no such track; there are {have}")
