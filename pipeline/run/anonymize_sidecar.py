"""The sidecar of a run that covers faces, and of a preview: everything that ``--from`` needs is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import InputError
from pipeline.run.sidecar import FileRecord, KeptRecord, SettingRecord, StageRecord
from pipeline.run.track_records import FaceTrackRecord

NOTICE = "Faces in this file were covered by vidpipe."

Mode = Literal["pixelize", "protect"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ChoiceRecord(_Record):
    """What a user chose, as the options were given."""

    keep: list[int]
    only: list[int] | None
    regions: list[str]
    excluded: list[str]
    during: list[str]
    tracks_from: str | None
    """Name of the sidecar whose tracks were used; None: found in this run."""


class UncoveredRecord(_Record):
    frame: int
    time_s: float
    """From the first frame."""
    box: tuple[float, float, float, float]
    """x0, y0, x1, y1 in px of the picture as coded"""
    score: float


class DetectionsRecord(_Record):
    """At how many frames the network looked. The others lie between two looks of the same shot."""

    fine: int
    """At a scale that shows the smallest faces."""
    quick: int
    """At a scale that shows faces of ``quick_face_px`` and more."""
    quick_face_px: float


class GateRecord(_Record):
    """What a second look at the encoded output found."""

    finder: str
    frames_decoded: int = 0
    """All of them, else there is no output."""
    frames_examined: int
    """That the network looked at."""
    uncovered: list[UncoveredRecord]
    passed: bool


class BitsRecord(_Record):
    what: str
    """that was chosen"""
    bits: float
    """At most, that it tells about a person: the logarithm of the number of outcomes."""


class ReleaseRecord(_Record):
    """Where the colours of a person come from: chosen once, or measured per track and noised."""

    track: int
    """The first one."""
    tracks: list[int] = []
    """All that show these colours; empty: ``track`` alone."""
    person: int = 0
    """0: not known, one record a track."""
    values: Literal["nobody", "measured"] = "measured"
    prototype: int | None = None
    """Of ``values`` nobody: number of the mean, from 1."""
    bits: list[BitsRecord] = []
    """Of ``values`` nobody: all that is told within the mask."""
    measurements: int
    """How often the face was measured."""
    smallest_cell_px: float | None = None
    """Of ``values`` measured: root of the pixels of the smallest cell."""
    noise_levels: float | None = None
    """Scale of the Laplace noise in grey levels of 255; None: no noise."""
    epsilon: float | None = None
    """Of the whole track: the budget of a measurement x the measurements."""
    perturbed_levels: float | None = None
    """Mean absolute change by ``protect.perturb``, grey levels of 255; None: not perturbed."""

    @property
    def told(self) -> float:
        """Sum of ``bits``."""
        return sum(record.bits for record in self.bits)


class AnonymizeReport(_Record):
    """Everything in ``{output}.json``."""

    schema_version: Literal[1] = 1
    notice: str = NOTICE
    mode: Mode
    versions: dict[str, str]
    settings: list[SettingRecord]
    input: FileRecord
    output: FileRecord | None
    """None where nothing was rendered: in a preview, and where the gate failed."""
    finder: str | None
    """None where the tracks came from elsewhere."""
    looks: DetectionsRecord | None = None
    """None where the tracks came from elsewhere."""
    min_face_px: float
    choice: ChoiceRecord
    frames: int
    """Written, or looked at in a preview."""
    frames_covered: int
    tracks: list[FaceTrackRecord]
    releases: list[ReleaseRecord]
    """Of mode protect."""
    gate: GateRecord | None
    """None: not asked for."""
    stages: list[StageRecord]
    waits_s: dict[str, float]
    bottleneck: str
    streaming_s: float
    elapsed_s: float
    conservation: list[KeptRecord]
    lost: list[str]
    warnings: list[str]

    def as_json(self) -> str:
        """The text of the sidecar; without indentation, since it holds every box of every frame."""
        return self.model_dump_json()


def read_report(path: Path) -> AnonymizeReport:
    """A sidecar of ``--mode pixelize`` or ``protect``. Raises InputError for anything else."""
    try:
        return AnonymizeReport.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the tracks in {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is no text; --from takes the .json that a run or --preview wrote"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise InputError(
            f"{path} is no sidecar of a run that covers faces ({where}: {first['msg']}); "
            "--from takes the .json that --mode pixelize, protect or --preview wrote"
        ) from error
