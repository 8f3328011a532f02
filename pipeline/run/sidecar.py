"""The sidecar: what a run did, as JSON beside its output, and the observer that collects the tracks."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from nets.digest import sha256
from nets.pixelation import Operator
from pipeline.config import Resolved
from pipeline.text import printable
from pipeline.types import Cropped, MosaicRegion, Region, Tracked, TrackedRegion

NOTICE = (
    "Mosaics in this file may have been replaced by faces that vidpipe reconstructed: they are a model's "
    "guess, no evidence of anybody's identity."
)
"""True of every output: a container is marked before it is known whether there is a mosaic to reconstruct."""
BOXES_PER_TRACK = 64
"""At most so many boxes of a track are kept, evenly over its life."""
LIBRARIES = ("vidpipe", "av", "torch", "numpy", "openvino", "onnxruntime", "onnxruntime-gpu")
"""Whose versions a report names."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FileRecord(_Record):
    """A file as it was when the run read or wrote it."""

    name: str
    size_bytes: int
    sha256: str


class SettingRecord(_Record):
    name: str
    """Dotted, as in pipeline.yaml: ``encode.crf``."""
    value: Any
    origin: str
    """A flag, an environment variable, a file's name, or ``default``."""


class NetworkRecord(_Record):
    net: str
    version: str
    weights_sha256: str
    engine: str
    """Library, device and precision."""


class AxisRecord(_Record):
    pitch_px: float = Field(gt=0, le=1e6)
    origin_px: float = Field(ge=-1e6, le=1e6)


class GridRecord(_Record):
    """The grid where the track began."""

    x: AxisRecord
    y: AxisRecord
    operator: Operator
    confidence: float = Field(ge=0, le=1)
    """0..1"""


class BoxRecord(_Record):
    """One of a track's boxes, in px of the picture as coded, half-open."""

    pts: int
    x0: float
    y0: float
    x1: float
    y1: float


class TrackRecord(_Record):
    track: int
    first_pts: int
    last_pts: int
    first_s: float
    last_s: float
    frames_seen: int
    """Frames on which the mosaic was found."""
    frames_filled: int
    """Frames between or after those, on which it was predicted."""
    frames_restored: int
    """Frames on which it was reconstructed; fewer where its grid could not be read (see the warnings)."""
    grid: GridRecord | None
    boxes: list[BoxRecord]


class StageRecord(_Record):
    stage: str
    seconds: float
    """Spent in this stage alone; stages of one thread add up, threads overlap."""
    thread: Literal["decode", "find", "paint", "encode"]


class KeptRecord(_Record):
    """One thing that the output should have from the input."""

    name: str
    state: str
    """kept, changed or lost"""
    source: str
    output: str


class ReconstructReport(_Record):
    """Everything in ``{output}.json``."""

    schema_version: Literal[1] = 1
    notice: str = NOTICE
    mode: Literal["reconstruct"] = "reconstruct"
    versions: dict[str, str]
    settings: list[SettingRecord]
    input: FileRecord
    output: FileRecord
    network: NetworkRecord
    frames_written: int
    frames_restored: int
    """Frames with at least one reconstructed face."""
    tracks: list[TrackRecord]
    stages: list[StageRecord]
    waits_s: dict[str, float]
    """Seconds that a thread stood still, by the thread and what it waited for."""
    bottleneck: str
    """The stage that took the most time in the busiest thread."""
    streaming_s: float
    """From the first frame read to the last one written."""
    elapsed_s: float
    """With opening, comparing and hashing."""
    conservation: list[KeptRecord]
    """What was compared between input and output."""
    lost: list[str]
    """What the output's container or codec cannot carry."""
    warnings: list[str]

    def as_json(self) -> str:
        """The text of the sidecar."""
        return self.model_dump_json(indent=2)


def versions() -> dict[str, str]:
    """Of Python and the libraries that are installed."""
    installed = {"python": platform.python_version()}
    for name in LIBRARIES:
        if (version := _version(name)) is not None:  # openvino is not made for every processor
            installed[name] = version
    return installed


@cache
def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def setting_records(settings: Resolved) -> list[SettingRecord]:
    """Every setting with its value and origin."""
    return [
        SettingRecord(name=name, value=value, origin=printable(origin))
        for name, value, origin in settings.rows()
    ]


def file_record(path: Path, name: str | None = None) -> FileRecord:
    """Size and hash of a file, read in pieces; ``name`` where it will be called otherwise."""
    return FileRecord(name=printable(name or path.name), size_bytes=path.stat().st_size, sha256=sha256(path))


@dataclass(slots=True)
class _Track:
    first: TrackedRegion[MosaicRegion]
    first_pts: int
    last_pts: int
    seen: int = 0
    filled: int = 0
    restored: int = 0
    boxes: list[BoxRecord] = field(default_factory=list)
    stride: int = 1
    """Every so many frames a box is kept; doubles when the list is full."""

    def add(self, pts: int, tracked: TrackedRegion[MosaicRegion]) -> None:
        if (self.seen + self.filled) % self.stride == 0:
            box = tracked.region.box
            self.boxes.append(BoxRecord(pts=pts, x0=box.x0, y0=box.y0, x1=box.x1, y1=box.y1))
        if len(self.boxes) > BOXES_PER_TRACK:
            self.boxes = self.boxes[::2]
            self.stride *= 2
        self.last_pts = pts
        self.seen += tracked.seen
        self.filled += not tracked.seen


class MosaicRecorder:
    """Listens to the tracks that pass by. Memory grows with the number of tracks, not of frames."""

    def __init__(self) -> None:
        self._tracks: dict[int, _Track] = {}
        self.living = 0
        """Faces in the frame that passed last."""
        self.frames_restored = 0
        """Frames with at least one crop."""

    def listen(self, items: Iterator[Tracked]) -> Iterator[Tracked]:
        """The same items."""
        for item in items:
            self.living = len(item.regions)
            for tracked in item.regions:
                pts = item.frame.pts
                self._tracks.setdefault(tracked.track, _Track(tracked, pts, pts)).add(pts, tracked)
            yield item

    def listen_restored(self, items: Iterator[Cropped]) -> Iterator[Cropped]:
        """The same items; those of which ``listen`` has seen the tracks."""
        for item in items:
            self.frames_restored += bool(item.crops)
            for made in item.crops:
                self._tracks[made.tracked.track].restored += 1
            yield item

    def records(self, time_base: Fraction) -> list[TrackRecord]:
        """All tracks so far, in order of birth."""
        return [
            TrackRecord(
                track=identity,
                first_pts=track.first_pts,
                last_pts=track.last_pts,
                first_s=float(track.first_pts * time_base),
                last_s=float(track.last_pts * time_base),
                frames_seen=track.seen,
                frames_filled=track.filled,
                frames_restored=track.restored,
                grid=grid_record(track.first.region),
                boxes=track.boxes,
            )
            for identity, track in sorted(self._tracks.items())
        ]


def grid_record(region: Region) -> GridRecord | None:
    """The grid of a mosaic as the sidecar has it; None for faces and where none was read."""
    grid = region.grid if isinstance(region, MosaicRegion) else None
    if grid is None:
        return None
    return GridRecord(
        x=AxisRecord(pitch_px=grid.x.pitch, origin_px=grid.x.origin),
        y=AxisRecord(pitch_px=grid.y.pitch, origin_px=grid.y.origin),
        operator=grid.operator,
        confidence=grid.confidence,
    )
