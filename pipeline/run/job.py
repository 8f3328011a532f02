"""What is to be done to one file, as somebody asks for it. Times count from the first frame, in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError, OutputError
from pipeline.run import names
from pipeline.run.anonymize_sidecar import ChoiceRecord, Mode
from pipeline.run.track_records import FaceTrackRecord
from pipeline.types import ManualRegion


@dataclass(frozen=True, slots=True)
class Job:
    """One file in, one file out."""

    source: Path
    target: Path
    start_s: float | None = None
    """Where to begin; None: at the first frame."""
    end_s: float | None = None
    """The first time that is left out; None: to the end."""
    overwrite: bool = False
    covers: bool = False
    """Whether the job may leave a gate report."""
    resume_from_s: float | None = None
    """A journal is kept for a file that lasts so many seconds or more, and the run goes on from one that is
    there; None: never."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Those beside the source that decide what the output is."""
        return ()

    def check_names(self) -> None:
        """Raises InputError and OutputError, see `pipeline.run.names.check_run`."""
        names.check_run(self.source, self.target, overwrite=self.overwrite, covers=self.covers)

    def __post_init__(self) -> None:
        """Raises InputError and OutputError for "." and "/", which name no file."""
        if not self.source.name:
            raise InputError(f"{self.source} is a folder; name a video file in it")
        if not self.target.name:
            raise OutputError(f"{self.target} is a folder; name a file in it")

    @property
    def sidecar(self) -> Path:
        """``out.mp4`` -> ``out.mp4.json``."""
        return names.sidecar(self.target)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconstructJob(Job):
    """Reconstruct the pixelated faces of a file."""

    network: Path
    """Engine file with an ``EngineSpec``."""
    manual: tuple[ManualRegion, ...] = ()
    """Mosaics that a user has pointed out."""

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.network,)


@dataclass(frozen=True, slots=True)
class Selection:
    """Who is covered, where and when, as a user chose."""

    keep: tuple[int, ...] = ()
    """People who stay as they are, by their numbers in a preview or an earlier run."""
    only: tuple[int, ...] | None = None
    """The people who are covered; None: all, if ``only_tracks`` is None, too."""
    keep_tracks: tuple[int, ...] = ()
    """Single tracks that stay as they are, whoever they are."""
    only_tracks: tuple[int, ...] | None = None
    """Single tracks that are covered, beside ``only``."""
    same: tuple[tuple[int, ...], ...] = ()
    """People who are one, under the number of the first of them."""
    keep_faces: tuple[Path, ...] = ()
    """Photos of people who stay as they are where it is sure who they are."""
    regions: tuple[ManualRegion, ...] = ()
    """Places that are covered, whatever is in them."""
    excluded: tuple[ManualRegion, ...] = ()
    """Places where faces stay as they are."""
    during: tuple[tuple[float | None, float | None], ...] = ()
    """Times in which faces are covered; empty: always."""
    only_regions: bool = False
    """``regions`` are covered and nothing else: no face is looked for, in the output neither."""
    words: ChoiceRecord | None = None
    """The same in the user's words, for the sidecar."""

    def record(self) -> ChoiceRecord:
        """For the sidecar."""
        return self.words or ChoiceRecord(
            keep=list(self.keep),
            only=None if self.only is None else list(self.only),
            keep_tracks=list(self.keep_tracks),
            only_tracks=None if self.only_tracks is None else list(self.only_tracks),
            same=[f"{people[0]}={','.join(map(str, people[1:]))}" for people in self.same],
            keep_faces=[path.name for path in self.keep_faces],
            regions=[_region_text(region) for region in self.regions],
            excluded=[_region_text(region) for region in self.excluded],
            during=[_span_text(*span) for span in self.during],
            tracks_from=None,
            only_regions=self.only_regions,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AnonymizeJob(Job):
    """Cover the faces of a file."""

    covers: bool = True
    mode: Mode = "pixelize"
    selection: Selection = Selection()
    tracks: tuple[FaceTrackRecord, ...] | None = None
    """Of an earlier run, each with its person, none with ``only_regions``; None: they are found."""
    perturber: Path | None = None
    """Engine file of the network that ``protect.perturb`` asks for."""

    @property
    def files(self) -> tuple[Path, ...]:
        perturber = () if self.perturber is None else (self.perturber,)
        return (*perturber, *self.selection.keep_faces)

    def sheets(self, pages: int) -> tuple[Path, ...]:
        """The pictures of a preview: ``out.preview.png``, or ``out.preview-01.png`` and so on."""
        return names.sheets(self.target, pages)

    @property
    def preview_report(self) -> Path:
        """The tracks of a preview: ``out.preview.json``."""
        return names.preview_report(self.target)

    @property
    def gate_report(self) -> Path:
        """What is left where the release check fails: ``out.mp4.gate.json``."""
        return names.gate_report(self.target)


def _region_text(region: ManualRegion) -> str:
    box = region.box
    place = f"{box.x0:g},{box.y0:g},{box.width:g},{box.height:g}"
    timed = region.start_s is not None or region.end_s is not None
    return f"{place}@{_span_text(region.start_s, region.end_s)}" if timed else place


def _span_text(start_s: float | None, end_s: float | None) -> str:
    return "-".join("" if time_s is None else f"{time_s:g}" for time_s in (start_s, end_s))
