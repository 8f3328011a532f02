"""Settings of a run: one small model per stage, in the order of the stages.

A value comes from a flag, else the environment (``VIDPIPE_ENCODE__CRF=20``), else a file shaped like
``pipeline.yaml`` that ``--config`` names, else the default below; where each came from is kept for
``--explain`` and the sidecar. No file is read that nobody named.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.errors import InputError, UsageError
from pipeline.faces import DETECTORS, names

ENV_PREFIX = "VIDPIPE_"
ENV_DELIMITER = "__"
_OTHER_VARIABLES = ("VIDPIPE_CACHE", "VIDPIPE_REQUIRE")
"""Of export.cache and of the tests."""
MAX_FILE_BYTES = 1 << 20
"""Of a file of settings; pipeline.yaml has 3 kB."""
_DEPTH = 2
"""Levels of names; what lies deeper is a value, and a wrong one."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DecodeConfig(_Section):
    decoder: Literal["auto", "exact", "pyav", "dali"] = Field("auto", description="library that decodes")
    prefetch_frames: int = Field(4, ge=1, le=256, description="frames decoded ahead, in a thread")


class FindConfig(_Section):
    min_cells: int = Field(4, ge=2, le=64, description="fewest cells across and down")
    max_cell_px: float = Field(110.0, ge=4, le=1000, description="widest cell, px")
    min_score: float = Field(0.35, ge=0, le=1, description="0..1, weakest region that a track goes on with")


class TrackConfig(_Section):
    min_iou: float = Field(0.2, ge=0, le=1, description="0..1, least overlap with the track's last box")
    min_hits: int = Field(3, ge=1, le=64, description="frames of the look-ahead that show a new mosaic")
    birth_score: float = Field(0.5, ge=0, le=1, description="0..1, mean score of those, at least")
    strong_score: float = Field(0.65, ge=0, le=1, description="0..1, mean score that two frames need")
    max_gap_frames: int = Field(6, ge=0, le=255, description="longest gap that is filled, frames")
    look_ahead_frames: int = Field(8, ge=1, le=256, description="frames held back to confirm and smooth")

    @property
    def gap_frames(self) -> int:
        """Longest gap that can be filled from both sides."""
        return min(self.max_gap_frames, self.look_ahead_frames - 1)


class CropConfig(_Section):
    margin: float = Field(
        1.6, ge=1.0, le=4.0, description="side of the crop over the longer side of the mosaic"
    )
    prefetch_frames: int = Field(8, ge=1, le=256, description="frames tracked ahead, in a thread")


class RestoreConfig(_Section):
    net: str = Field(
        "auto",
        description="auto: the better one by the cards; or a name or a .safetensors, .onnx or .engine file",
    )
    look: Literal["faithful", "natural"] = Field(
        "faithful", description="faithful: nearest to the truth, soft; natural: sharp, details are drawn"
    )
    engine: Literal["auto", "openvino", "onnxruntime", "torch", "tensorrt", "tensorrt-rtx"] = Field(
        "auto", description="library that runs the net"
    )
    threads: int = Field(0, ge=0, le=256, description="of the engine; 0: one per core")
    batch_size: int = Field(4, ge=1, le=64, description="windows per call of the engine, at most")


class WindowConfig(_Section):
    batch_frames: int = Field(
        8, ge=1, le=256, description="frames whose windows are restored together, about"
    )


class FacesConfig(_Section):
    finder: str = Field("centerface", description="face detector")
    min_face_px: float | None = Field(
        None,
        ge=8,
        le=4000,
        description="smallest face, px; null: 20 px up to 1080 lines, in proportion above",
    )
    every_s: float = Field(0.12, ge=0, le=0.5, description="longest time between two looks; 0: every frame")
    fine_every_s: float = Field(
        0.28, ge=0, le=0.5, description="the same of looks that see the smallest faces"
    )
    every_frames: int = Field(8, ge=1, le=240, description="most frames from one look to the next")
    fine_every_frames: int = Field(17, ge=1, le=240, description="the same of looks at the smallest faces")
    min_score: float = Field(0.15, gt=0, le=1, description="0..1, weakest sight that a track goes on with")
    birth_score: float | None = Field(
        None, gt=0, le=1, description="0..1, one sight at least that makes a track; null: as min_score"
    )
    care: Literal["strict", "balanced", "tidy"] = Field(
        "balanced", description="what is covered in doubt: all, what may be a face, what is likely one"
    )
    fill_before_s: float = Field(0.5, ge=0, le=10, description="seconds covered before a face is seen")
    fill_after_s: float = Field(0.5, ge=0, le=10, description="seconds covered after it was seen")

    @property
    def look_s(self) -> float:
        """Longest time between two looks in seconds; 0: every frame is looked at."""
        return 0.0 if self.care == "strict" else self.every_s

    @property
    def fine_look_s(self) -> float:
        """The same of looks that see the smallest faces."""
        return 0.0 if self.care == "strict" else self.fine_every_s

    @property
    def covered_before_s(self) -> float:
        """Seconds covered before a face is seen, at least as long as two detections are apart."""
        return max(self.fill_before_s, self.look_s, self.fine_look_s)

    @property
    def covered_after_s(self) -> float:
        """Seconds covered after a face was seen, at least as long as two detections are apart."""
        return max(self.fill_after_s, self.look_s, self.fine_look_s)


class PeopleConfig(_Section):
    recognise: Literal["auto", "on", "off"] = Field(
        "auto",
        description="join tracks of one person; auto: in previews, and for photos",
    )
    min_px: float = Field(32, ge=16, description="smallest face that is recognised, px")
    same: float = Field(0.45, gt=0, le=2, description="distance of embeddings below which it is one person")
    sure: float = Field(0.35, gt=0, le=0.45, description="the same for a person who is left for a photo")


class MaskConfig(_Section):
    look: Literal["mosaic", "blur", "solid"] = Field("mosaic", description="what is painted")
    blocks: int = Field(6, ge=1, le=64, description="across the face")
    shape: Literal["ellipse", "box"] = Field("ellipse", description="of the mask")
    scale: float = Field(1.3, ge=1, le=4, description="of the mask over the face's box")


class ProtectConfig(_Section):
    values: Literal["nobody", "measured"] = Field(
        "nobody", description="whose colours: means of other people, or the face's own, measured once"
    )
    nobody: str = Field(
        "nearest",
        pattern=r"^(nearest|random|[1-6])$",
        coerce_numbers_to_str=True,
        description="which mean a person gets: by the skin, dark or not (nearest), by lot, or this one",
    )
    hold_s: float | None = Field(
        None, gt=0, le=1e6, description="seconds colours are held; null: the whole track"
    )
    epsilon: float | None = Field(
        None, ge=1e-6, le=1e6, description="privacy budget per measurement; null: no noise"
    )
    dp_pixels: int = Field(16, ge=1, le=1 << 20, description="m, pixels that may differ")
    perturb: Literal["none", "block", "pixel"] = Field(
        "none", description="colours are changed against a network, once per measurement"
    )

    @model_validator(mode="before")
    @classmethod
    def _measured_for(cls, given: Any) -> Any:
        """Settings that only what is measured has ask for ``measured``, where nothing else is asked for."""
        if isinstance(given, dict) and "values" not in given and MEASURED_ONLY & given.keys():
            wanted = any(given[name] not in (None, "none") for name in MEASURED_ONLY & given.keys())
            return {**given, "values": "measured"} if wanted else given
        return given


MEASURED_ONLY = frozenset({"hold_s", "epsilon", "perturb"})
"""Settings of ``ProtectConfig`` that are about measured colours."""


class GateConfig(_Section):
    scan: bool = Field(True, description="look through the encoded output for faces")
    every_s: float = Field(0.12, ge=0, le=10, description="longest time between two looks; 0: every frame")
    every_frames: int = Field(8, ge=1, le=10_000, description="most frames from one look to the next")
    min_score: float = Field(0.5, gt=0, le=1, description="0..1, from which a face counts")


class EncodeConfig(_Section):
    codec: str = Field("auto", min_length=1, description="FFmpeg's name of an encoder; auto: as the source")
    crf: float | None = Field(
        None, ge=0, le=63, description="in the encoder's scale, lower is better; null: its own"
    )
    preset: str | None = Field(None, min_length=1, description="speed, in the encoder's words; null: its own")
    audio: Literal["copy", "aac", "opus", "drop"] = Field("copy", description="what happens to audio streams")
    faststart: bool = Field(True, description="MP4, MOV: the index in front, for players on the web")
    keep_streams: bool = Field(
        False, description="pixelize, protect: other pictures are taken along, uncovered"
    )
    keep_metadata: bool = Field(
        False, description="pixelize, protect: tags and data of places, devices, people are taken along"
    )
    segment_s: float = Field(
        10.0, ge=0.1, le=3600, description="with a journal: seconds that are encoded by themselves and kept"
    )
    prefetch_frames: int = Field(8, ge=1, le=256, description="frames painted ahead, in a thread")


class RunConfig(_Section):
    """Everything that can be set about a run, in the order of the stages."""

    device: str = Field(
        "auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="where frames lie and networks run"
    )
    decode: DecodeConfig = DecodeConfig()
    find: FindConfig = FindConfig()
    track: TrackConfig = TrackConfig()
    crop: CropConfig = CropConfig()
    window: WindowConfig = WindowConfig()
    restore: RestoreConfig = RestoreConfig()
    faces: FacesConfig = FacesConfig()
    people: PeopleConfig = PeopleConfig()
    mask: MaskConfig = MaskConfig()
    protect: ProtectConfig = ProtectConfig()
    gate: GateConfig = GateConfig()
    encode: EncodeConfig = EncodeConfig()


@dataclass(frozen=True, slots=True)
class Given:
    """A value that somebody set, and where."""

    value: Any
    origin: str
    """``--crf``, ``VIDPIPE_ENCODE__CRF`` or the file's name"""


@dataclass(frozen=True, slots=True)
class Resolved:
    """A configuration, and the origin of each value by its dotted name (``encode.crf``)."""

    config: RunConfig
    origins: Mapping[str, str]

    def rows(self) -> Iterator[tuple[str, Any, str]]:
        """(dotted name, value, origin) of every knob, in order."""
        for name, value in _leaves(self.config.model_dump(mode="json")):
            yield name, value, self.origins.get(name, "default")


def resolve(flags: Mapping[str, Given] | None = None, file: Path | None = None) -> Resolved:
    """Merges flags over the environment over ``file`` over the defaults.

    ``flags`` has dotted names as keys. Raises UsageError naming the value, its origin and what was
    wanted, and InputError where the file cannot be read.
    """
    given: dict[str, Given] = {}
    if file is not None:
        given.update({name: Given(value, str(file)) for name, value in _leaves(_read(file))})
    given.update(_environment())
    given.update(flags or {})
    try:
        config = RunConfig(**_nested(given))
    except ValidationError as error:
        raise UsageError(_one_line(error, given)) from error
    track = config.track
    if track.max_gap_frames >= track.look_ahead_frames:
        raise UsageError(
            f"track.max_gap_frames is {track.max_gap_frames} and track.look_ahead_frames "
            f"{track.look_ahead_frames}; a gap is filled within the look-ahead, make it smaller"
        )
    faces = config.faces
    if faces.finder not in DETECTORS:
        origin = given["faces.finder"].origin
        raise UsageError(f"faces.finder is {faces.finder!r} (from {origin}); it should be {names()}")
    if faces.birth_score is not None and faces.birth_score < faces.min_score:
        raise UsageError(
            f"faces.birth_score is {faces.birth_score} and faces.min_score {faces.min_score}; "
            "no sight is weaker than min_score, raise birth_score"
        )
    origins = {name: item.origin for name, item in given.items()}
    return Resolved(config, origins | _whose_colours(config.protect, origins))


def _whose_colours(protect: ProtectConfig, origins: Mapping[str, str]) -> dict[str, str]:
    """Origin of ``protect.values`` where another setting decided it. Raises UsageError where both are given
    and do not go together."""
    named = {n: origins.get(f"protect.{n}") for n in sorted(MEASURED_ONLY)}
    asked = [origin for n, origin in named.items() if origin and getattr(protect, n) not in (None, "none")]
    if not asked:
        return {}
    if protect.values == "nobody":
        raise UsageError(
            f"{asked[0]} changes colours that are measured, and protect.values is nobody (from "
            f"{origins['protect.values']}): nothing is measured; leave one of them out"
        )
    return {} if "protect.values" in origins else {"protect.values": asked[0]}


class _Loader(yaml.SafeLoader):
    """YAML without aliases: a few hundred bytes of them stand for more than any memory holds."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has aliases (*name), which settings do not need")
        return super().compose_node(parent, index)


def meanings() -> dict[str, str]:
    """What each setting does, by its dotted name, in the order of the stages."""
    said: dict[str, str] = {}
    for section, outer in RunConfig.model_fields.items():
        knobs = getattr(outer.annotation, "model_fields", None)
        if knobs is None:
            said[section] = outer.description or ""
        else:
            said |= {f"{section}.{name}": knob.description or "" for name, knob in knobs.items()}
    return said


def settings_file() -> Path:
    """The pipeline.yaml of this version, with every setting and its default: packaged, or in the checkout."""
    packaged = Path(__file__).with_name("pipeline.yaml")
    return packaged if packaged.is_file() else Path(__file__).resolve().parents[1] / "pipeline.yaml"


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            text = opened.read(MAX_FILE_BYTES + 1)
        if len(text) > MAX_FILE_BYTES:
            raise UsageError(
                f"{file} has more than {MAX_FILE_BYTES:,} bytes; wanted settings as in {settings_file()}"
            )
        content = yaml.load(text.decode("utf-8-sig"), _Loader)
    except OSError as error:
        raise InputError(f"cannot read the settings {file}: {error.strerror or error}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"{file} is not YAML: {' '.join(str(error).split())}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"{file} holds a {type(content).__name__}; wanted sections as in {settings_file()}")
    return content


def _environment() -> dict[str, Given]:
    given = {}
    for variable, value in os.environ.items():
        if not variable.startswith(ENV_PREFIX) or variable in _OTHER_VARIABLES:
            continue
        _check_variable(variable)
        name = variable.removeprefix(ENV_PREFIX).lower().replace(ENV_DELIMITER, ".")
        given[name] = Given(value, variable)
    return given


def _check_variable(variable: str) -> None:
    """Raises UsageError for a name of no section. Knobs inside a section are the model's to check."""
    section, delimiter, _ = variable.removeprefix(ENV_PREFIX).partition(ENV_DELIMITER)
    if section.lower() in RunConfig.model_fields:
        if not delimiter and section.lower() != "device":
            raise UsageError(f"{variable} sets a whole section; set its knobs one by one")
        return
    if delimiter:
        sections = ", ".join(RunConfig.model_fields).upper()
        raise UsageError(f"{variable}: there is no section {section}; there are {sections}")
    known = [_variable(name) for name, _ in _leaves(RunConfig().model_dump())] + list(_OTHER_VARIABLES)
    knobs = {name.rpartition(ENV_DELIMITER)[2].removeprefix(ENV_PREFIX): name for name in known}
    nearest = difflib.get_close_matches(section.upper(), knobs, n=1, cutoff=0)[0]
    raise UsageError(f"{variable} is no setting; the nearest name is {knobs[nearest]}")


def _variable(name: str) -> str:
    return ENV_PREFIX + name.replace(".", ENV_DELIMITER).upper()


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value and prefix.count(".") < _DEPTH:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _nested(given: Mapping[str, Given]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, item in given.items():
        *sections, knob = name.split(".")
        branch = tree
        for depth, section in enumerate(sections, start=1):
            branch = branch.setdefault(section, {})
            if not isinstance(branch, dict):
                whole = ".".join(sections[:depth])
                raise UsageError(f"{item.origin} sets {name}, but {whole} is a value, no section")
        branch[knob] = item.value
    return tree


def _one_line(error: ValidationError, given: Mapping[str, Given]) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    origin = given[name].origin if name in given else "the settings"
    if first["type"] == "extra_forbidden":
        known = [knob for knob, _ in _leaves(RunConfig().model_dump())]
        nearest = difflib.get_close_matches(name, known, n=1, cutoff=0)[0]
        return (
            f"{origin} sets {name}, which is not a setting; the nearest is {nearest}, "
            f"{settings_file()} lists all"
        )
    if name == "device":
        return f"device is {first['input']!r} (from {origin}); wanted auto, cpu, cuda or cuda:N"
    wanted = re.sub(r"^(Input|String|Value)", "it", first["msg"])
    return f"{name} is {first['input']!r} (from {origin}); {wanted}"
