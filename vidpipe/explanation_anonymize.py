"""``vidpipe run --mode pixelize|protect --explain``: the pipeline as resolved, and the memory bound."""

from __future__ import annotations

import math
import os

from pydantic import BaseModel

from pipeline.config import Resolved, RunConfig
from pipeline.decode import open_decoder
from pipeline.engines.detector_runtime import calls_at_a_time
from pipeline.faces.input_picture import NET_FACE_PX, Scales, SmallPicture
from pipeline.flow import held_by
from pipeline.notes import collecting
from pipeline.run import replay
from pipeline.run.anonymize import place_of
from pipeline.run.job import CoverJob, CoverPlan, make_plan
from pipeline.run.memory import (
    CODEC_FRAMES,
    LIBRARIES_BYTES,
    MIB,
    PREFETCH_HANDS,
    PROGRAMS_BYTES,
    frame_bytes,
)
from pipeline.run.sidecar import SettingRecord, setting_records
from pipeline.track.faces import lookahead_frames
from pipeline.types import StreamInfo

FACES = 2
"""Faces at a time for which the memory bound is worked out."""
_TRACK_BYTES = 20
"""Per face and frame (``pipeline.run.track_records``)."""
_FINDERS_BYTES = 2 * PROGRAMS_BYTES
"""Compiled CenterFaces of the run and of the gate."""
_ACTIVATION_BYTES = 400
"""Per pixel of the pictures that they look at."""
_FURTHER_BYTES = 150
"""The same for each further call that runs at a time: 110 were measured."""


class CoverExplanation(BaseModel):
    """What a run would do."""

    input: str
    output: str
    exists: bool
    frames: int
    stages: list[str]
    decisions: list[str]
    settings: list[SettingRecord]
    memory_bytes: int
    """Most that the process may hold with FACES faces in the picture at a time."""
    memory_formula: str

    def as_text(self) -> str:
        """For people."""
        width = max(len(setting.name) for setting in self.settings)
        lines = [
            f"input     {self.input}",
            f"output    {self.output}{' (exists: needs --overwrite)' if self.exists else ''}",
            f"frames    {self.frames}",
            "",
            *(f"stage     {stage}" for stage in self.stages),
            "",
            *(f"chosen    {decision}" for decision in self.decisions),
            f"memory    at most {self.memory_formula}",
            "",
            *(
                f"setting   {setting.name:<{width}}  {setting.value!s:<10}  {setting.origin}"
                for setting in self.settings
            ),
        ]
        return "\n".join(lines)


def explanation(job: CoverJob, settings: Resolved) -> CoverExplanation:
    """Opens the input, and runs nothing. Raises what the run would raise that early."""
    config = settings.config
    with collecting() as notes:
        device = str(place_of(config))
        with open_decoder(job.source, device, decoder=config.decode.decoder) as decoder:
            info, decoded_by = decoder.info, decoder.name
        plan = make_plan(job, info, config)
    if job.tracks is None:
        looked = held_by(_calls(plan, config, device))
        held = lookahead_frames(info, config.faces) + looked
    else:
        held = replay.frames_held(job.tracks)
    decoded = config.decode.prefetch_frames + PREFETCH_HANDS
    painted = config.encode.prefetch_frames + PREFETCH_HANDS
    one = frame_bytes(info)
    tracks = FACES * plan.frames * _TRACK_BYTES
    per_pixel = _ACTIVATION_BYTES + _FURTHER_BYTES * (_calls(plan, config, device) - 1)
    finders = _FINDERS_BYTES + per_pixel * math.prod(plan.scales.fine.size_px)
    total = (decoded + held + painted + CODEC_FRAMES) * one + tracks + finders + LIBRARIES_BYTES
    formula = (
        f"({decoded} decoded + {held} in the look-ahead + {painted} painted + {CODEC_FRAMES} codec) frames x "
        f"{_mib(one)} + tracks of {FACES} faces on {plan.frames} frames {_mib(tracks)} + finders "
        f"{_mib(finders)} + libraries {_mib(LIBRARIES_BYTES)} = {_mib(total)}"
    )
    return CoverExplanation(
        input=f"{info.path}: {info.codec} {info.width}x{info.height} {info.pix_fmt}, rotation "
        f"{info.rotation}, {len(info.pts)} frames, {float(info.rate):.3f} frames/s, {info.duration_s:.3f} s",
        output=str(job.target),
        exists=any(os.path.exists(path) for path in (job.target, job.sidecar)),  # noqa: PTH110  never raises
        frames=plan.frames,
        stages=_stages(job, info, decoded_by, plan, settings, held),
        decisions=notes.all,
        settings=setting_records(settings),
        memory_bytes=total,
        memory_formula=formula,
    )


def _calls(plan: CoverPlan, config: RunConfig, device: str) -> int:
    """Looks that run at a time."""
    if config.faces.finder != "centerface" or device != "cpu":
        return 1
    width, height = plan.scales.fine.size_px
    return calls_at_a_time((height, width), config.restore.threads or None)


def _stages(
    job: CoverJob, info: StreamInfo, decoder: str, plan: CoverPlan, settings: Resolved, held: int
) -> list[str]:
    config = settings.config
    faces, mask, protect = config.faces, config.mask, config.protect
    if job.tracks is None:
        find = [
            *_looks(plan.scales, config),
            f"track     one sight of {faces.birth_score} at least; covered {faces.fill_before_s:g} s before "
            f"and {faces.fill_after_s:g} s after; at most {held} frames in the look-ahead",
        ]
    else:
        find = [f"replay    {len(job.tracks)} tracks; nothing is detected"]
    colours = "measured on every frame"
    if job.mode == "protect":
        span = "the whole track" if protect.hold_s is None else f"{protect.hold_s:g} s"
        noise = (
            "" if protect.epsilon is None else f", Laplace noise for epsilon {protect.epsilon:g} each time"
        )
        change = "" if protect.perturb == "none" else f", changed by pixelizer-{protect.perturb}"
        colours = f"measured once and held for {span}{noise}{change}"
    quality = "" if config.encode.crf is None else f" crf {config.encode.crf:g}"
    gate = "gate      off"
    if config.gate.scan:
        every = _every(config.gate.every_s)
        gate = (
            f"gate      the output again, {every} at {_size(plan.scales.gate)}, mirrored; faces of score "
            f"{config.gate.min_score} and more"
        )
    form = f"{mask.look}, {mask.shape} of {mask.scale:g} x the face, {mask.blocks} blocks across"
    return [
        f"decode    {decoder}, {info.codec}",
        *find,
        f"mask      {form}; {colours}",
        f"encode    PyAV, {config.encode.codec}{quality}, audio {config.encode.audio}",
        gate,
    ]


def _looks(sizes: Scales, config: RunConfig) -> list[str]:
    faces = config.faces
    fine = (
        f"{_every(faces.fine_every_s)} at {_size(sizes.fine)} for faces of {sizes.min_face_px:.0f} px, which "
        f"become about {NET_FACE_PX} px"
    )
    if sizes.quick is sizes.fine:
        fine = fine.replace(_every(faces.fine_every_s), _every(faces.every_s))
    lines = [f"find      {faces.finder}, {fine}; score {faces.min_score} and more"]
    if sizes.quick is not sizes.fine:
        quick = f"{_every(faces.every_s)} at {_size(sizes.quick)} for faces of {sizes.quick_face_px:.0f} px"
        lines.append(f"          and {quick}")
    return lines


def _every(seconds: float) -> str:
    return f"every {seconds:g} s" if seconds else "every frame"


def _size(picture: SmallPicture) -> str:
    return "x".join(map(str, picture.size_px))


def _mib(count: int) -> str:
    return f"{count / MIB:.4g} MiB"
