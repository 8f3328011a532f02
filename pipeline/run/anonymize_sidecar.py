"""The sidecar of a run that covers faces, and of a preview: everything that ``--from`` needs is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import InputError
from pipeline.run.people_records import PersonRecord
from pipeline.run.sidecar import FileRecord, KeptRecord, SettingRecord, StageRecord
from pipeline.run.track_records import FaceTrackRecord

NOTICE = "vidpipe has looked for faces in this file and covered those that it found."
"""True of every output: a container is marked before it is known whether there is a face to cover."""
MAX_BYTES = 1 << 28
"""Of a report that is read: 3 faces through 10 hours at 25 frames/s have 120 MB."""

Mode = Literal["pixelize", "protect"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ChoiceRecord(_Record):
    """What a user chose, as the options were given."""

    keep: list[int]
    """People, as ``only``."""
    only: list[int] | None
    regions: list[str]
    excluded: list[str]
    during: list[str]
    tracks_from: str | None
    """Name of the sidecar whose tracks were used; None: found in this run."""
    only_regions: bool = False
    """No face was looked for."""
    keep_tracks: list[int] = []
    only_tracks: list[int] | None = None
    same: list[str] = []
    """People that were put together by hand."""
    keep_faces: list[str] = []
    """File names of photos."""


class UncoveredRecord(_Record):
    """A face in the output that no mask covers."""

    frame: int
    time_s: float
    """From the first frame."""
    box: tuple[float, float, float, float]
    """x0, y0, x1, y1 in px of the picture as coded"""
    score: float
    stream: int | None = None
    """Index of another stream of the output; None: the one that the run wrote."""


class SeenThroughRecord(_Record):
    """A face that its masks show: the look at the track that shows it best."""

    track: int
    frame: int
    time_s: float
    """From the first frame."""
    box: tuple[float, float, float, float]
    """Of the face, x0, y0, x1, y1 in px of the picture as coded"""
    score: float


class FewerBlocksRecord(_Record):
    """A track that was covered once more with fewer blocks, since a face was seen through the first ones."""

    track: int
    before: int
    """Blocks across its face, through which it was seen."""
    blocks: int
    """That it got then."""
    seen: SeenThroughRecord


class WeakenedRecord(_Record):
    """A setting that covers, hides or checks less than its default does."""

    name: str
    """Dotted, as in pipeline.yaml."""
    value: Any
    usual: Any
    origin: str
    """A flag, an environment variable or a file's name."""


class DetectionsRecord(_Record):
    """At how many frames the network looked. The others lie between two looks of the same shot."""

    fine: int
    """At a scale that shows the smallest faces."""
    quick: int
    """At a scale that shows faces of ``quick_face_px`` and more."""
    quick_face_px: float
    frames_unseen: int = 0
    """In a row, at most, that were not looked at."""
    frames_unseen_fine: int = 0
    """The same of looks at the smallest faces."""


class GateRecord(_Record):
    """What a second look at the encoded output found."""

    finder: str
    frames_decoded: int = 0
    """All of them, else there is no output."""
    frames_examined: int
    """That the network looked at."""
    frames_unseen: int = 0
    """In a row, at most, that neither the run nor this check looked at."""
    masks_examined: int | None = None
    """Looks at masks close by; None: there was nothing to look with."""
    tracks_examined: int = 0
    """Whose masks they were."""
    uncovered: list[UncoveredRecord]
    seen_through: list[SeenThroughRecord] = []
    passed: bool


class BitsRecord(_Record):
    what: str
    """that was chosen"""
    bits: float
    """At most, that it tells about a person: the logarithm of the number of outcomes."""
    outside: bool
    """It was read outside the masks, in what is released anyway."""


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
    """Of ``values`` nobody: all that is told within the mask, over all frames."""
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
        """Bits that come from the face."""
        return sum(record.bits for record in self.bits if not record.outside)


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
    people: list[PersonRecord] = []
    """Whom the tracks show; empty in a report of vidpipe 0.5 and before."""
    nearest_to_photo: float | None = None
    """Distance of the nearest look to a photo of ``choice.keep_faces``, left or not; None: there was none."""
    recognised: str | None = None
    """What joined tracks of one person; None: every track was taken for a person of its own."""
    releases: list[ReleaseRecord]
    """Of mode protect."""
    bits_of_faces: float | None = None
    """Sum over ``releases`` of what is told of faces, in mode protect with values nobody."""
    gate: GateRecord | None
    """None: not asked for."""
    fewer_blocks: list[FewerBlocksRecord] = []
    """In the order in which they were decided: the last one of a track tells how it is covered."""
    weakened: list[WeakenedRecord] = []
    """Settings that are weaker than the defaults."""
    stages: list[StageRecord]
    waits_s: dict[str, float]
    bottleneck: str
    streaming_s: float
    elapsed_s: float
    conservation: list[KeptRecord]
    lost: list[str]
    removed: list[str] = []
    """What of the input was left behind: other pictures, tags and data of places, devices and people."""
    look_at: list[str] = []
    """What was taken along and may name people (subtitles, chapters, sound), and which faces may be left."""
    warnings: list[str]

    def as_json(self) -> str:
        """The text of the sidecar; without indentation, since it holds every box of every frame."""
        return self.model_dump_json()


def read_report(path: Path) -> AnonymizeReport:
    """A sidecar of ``--mode pixelize`` or ``protect``. Raises InputError for anything else."""
    wanted = "--from takes the .json that --mode pixelize, protect or --preview wrote"
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise InputError(f"{path} has more than {MAX_BYTES:,} bytes; {wanted}")
        return AnonymizeReport.model_validate_json(text)
    except OSError as error:
        raise InputError(f"cannot read the tracks in {path}: {error.strerror or error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise InputError(
            f"{path} is no sidecar of a run that covers faces ({where}: {first['msg']}); {wanted}"
        ) from error
