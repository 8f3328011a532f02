"""``--explain``: the resolved pipeline, what was chosen and why, and the memory bound. Nothing runs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel

from pipeline.config import Resolved, RunConfig, meanings, settings_file
from pipeline.engines import EngineSpec
from pipeline.faces.input_picture import NET_FACE_PX, Scales, SmallPicture
from pipeline.notes import collecting, silent
from pipeline.run.anonymize import Anonymize, memory_bound
from pipeline.run.job import AnonymizeJob, Job, ReconstructJob
from pipeline.run.lifecycle import OpenRun, opened
from pipeline.run.output import encode_settings, make_encoder
from pipeline.run.plan import AnonymizePlan, ReconstructPlan
from pipeline.run.recognise import joins
from pipeline.run.reconstruct import Reconstruct
from pipeline.run.sidecar import SettingRecord, setting_records
from pipeline.types import StreamInfo

FACES = 2
"""Faces at a time for which the memory bound is worked out."""


class Explanation(BaseModel):
    """What a run would do."""

    input: str
    output: str
    exists: bool
    """The output is there already and would be replaced."""
    frames: int
    stages: list[str]
    decisions: list[str]
    """What ``auto`` chose, and why."""
    settings: list[SettingRecord]
    memory_bytes: int
    """Most that the process may hold with FACES faces in the picture at a time."""
    memory_formula: str

    def as_text(self) -> str:
        """For people: one block per question."""
        width = max(len(setting.name) for setting in self.settings)
        origin_width = max(len(setting.origin) for setting in self.settings)
        does = meanings()
        lines = [
            f"input     {self.input}",
            f"output    {self.output}{' (exists, would be replaced)' if self.exists else ''}",
            f"frames    {self.frames}",
            "",
            *(f"stage     {stage}" for stage in self.stages),
            "",
            *(f"chosen    {decision}" for decision in self.decisions),
            "",
            f"memory    at most {self.memory_formula}",
            "",
            f"settings  {_of_files(self.settings)}",
            *(
                f"setting   {s.name:<{width}}  {s.value!s:<10}  {s.origin:<{origin_width}}  {does[s.name]}"
                for s in self.settings
            ),
        ]
        return "\n".join(lines)


def _of_files(settings: list[SettingRecord]) -> str:
    """Where settings come from, and what is not read."""
    here = Path("pipeline.yaml")
    named = any(s.origin.endswith((".yaml", ".yml")) for s in settings)
    unread = f"; {here} of this folder is not" if here.is_file() and not named else ""
    return f"a file is read if --config names it{unread}; {settings_file()} lists all with their defaults"


def explain_reconstruct(make_job: Callable[[], ReconstructJob], settings: Resolved) -> Explanation:
    """Opens the input and the network. Raises what the run would raise that early.

    ``make_job`` is called here, so that what it decides is told.
    """
    config = settings.config
    with collecting() as notes:
        job = make_job()
    with opened(Reconstruct(job, settings)) as run:
        _try_output(run, config)
        info, plan, engine = run.decoder.info, run.work.plan, run.work.stages.engine
        stages = _reconstruct_stages(
            info, run.decoder.name, engine.spec, engine.name, plan, settings, run.device
        )
    memory = plan.memory.total_bytes(FACES), plan.memory.formula(FACES)
    return _explanation(job, info, plan.frames, stages, notes.all + run.notes.all, settings, memory)


def explain_anonymize(make_job: Callable[[], AnonymizeJob], settings: Resolved) -> Explanation:
    """Opens the input and the detector. Raises what the run would raise that early. ``make_job`` as above."""
    config = settings.config
    with collecting() as notes:
        job = make_job()
    with opened(Anonymize(job, settings)) as run:
        _try_output(run, config)
        info, plan = run.decoder.info, run.work.plan
        bound = memory_bound(run.work.stages)
        stages = _anonymize_stages(job, info, run.decoder.name, plan, settings, bound.held_frames, run.device)
    memory = bound.total_bytes(FACES), bound.formula(FACES)
    return _explanation(job, info, plan.frames, stages, notes.all + run.notes.all, settings, memory)


def _try_output(run: OpenRun[Any], config: RunConfig) -> None:
    """Begins an output in a temporary folder and drops it. Raises what the run would raise there."""
    job, source = run.mode.job, run.decoder.source
    job.check_names()
    wanted = encode_settings(source, config, run.mode.notice, quick=run.mode.quick, device=run.device)
    with tempfile.TemporaryDirectory(prefix="vidpipe-") as folder, silent():
        trial = replace(job, target=Path(folder) / job.target.name)
        with make_encoder(source, trial, run.work.plan, wanted):
            pass


def _explanation(
    job: Job,
    info: StreamInfo,
    frames: int,
    stages: list[str],
    decisions: list[str],
    settings: Resolved,
    memory: tuple[int, str],
) -> Explanation:
    mirrored = " mirrored" if info.mirrored else ""
    return Explanation(
        input=(
            f"{info.path}: stream {info.stream_index}, {info.codec} {info.width}x{info.height} "
            f"{info.pix_fmt} {info.colour.matrix} {info.colour.range}, rotation {info.rotation}{mirrored}, "
            f"{len(info.pts)} frames, {float(info.rate):.3f} frames/s, {info.duration_s:.3f} s"
        ),
        output=str(job.target),
        exists=any(os.path.exists(path) for path in (job.target, job.sidecar)),  # noqa: PTH110  never raises
        frames=frames,
        stages=stages,
        decisions=decisions,
        settings=setting_records(settings),
        memory_bytes=memory[0],
        memory_formula=memory[1],
    )


def _reconstruct_stages(
    info: StreamInfo,
    decoder: str,
    spec: EngineSpec,
    engine: str,
    plan: ReconstructPlan,
    settings: Resolved,
    device: torch.device,
) -> list[str]:
    config, memory = settings.config, plan.memory
    encode = config.encode
    asked = (("crf", encode.crf), ("preset", encode.preset))
    quality = [f"{name} {value}" for name, value in asked if value is not None]
    return [
        f"device    {device}: where frames lie from decoder to encoder",
        f"{_decode(decoder, info, device)}; at most {memory.decoded_frames} frames ahead of the next stage",
        f"find      mosaics of {config.find.min_cells} cells and more",
        f"track     looks {config.track.look_ahead_frames} frames ahead; "
        f"at most {memory.tracked_frames} frames ahead of the next stage",
        f"crop      {spec.size_px}x{spec.size_px} px, {config.crop.margin} x the mosaic's longer side",
        f"window    {spec.window} frames, {spec.core} of them restored; {plan.cores_per_batch} such a batch",
        f"restore   {spec.net} {spec.version} on {engine}, {config.restore.batch_size} windows a call",
        f"paste     inside the mosaics only; at most {memory.painted_frames} frames ahead of the encoder",
        f"encode    PyAV, {' '.join([encode.codec, *quality])}, audio {encode.audio}",
    ]


def _anonymize_stages(
    job: AnonymizeJob,
    info: StreamInfo,
    decoder: str,
    plan: AnonymizePlan,
    settings: Resolved,
    held: int,
    device: torch.device,
) -> list[str]:
    config = settings.config
    faces, mask, protect = config.faces, config.mask, config.protect
    if job.tracks is None:
        find = [
            *_looks(plan.scales, config),
            f"track     {faces.care}; covered {faces.fill_before_s:g} s before and {faces.fill_after_s:g} s "
            f"after; at most {held} frames in the look-ahead",
        ]
    elif job.selection.only_regions:
        find = [f"regions   {len(job.selection.regions)} by hand; no face is looked for"]
    else:
        find = [f"replay    {len(job.tracks)} tracks; nothing is detected"]
    find += _people(job, config)
    colours = "measured on every frame"
    if job.mode == "protect" and protect.values == "nobody":
        colours = f"of means of other people, {protect.nobody}, once per person"
    elif job.mode == "protect":
        span = "the whole track" if protect.hold_s is None else f"{protect.hold_s:g} s"
        noise = (
            "" if protect.epsilon is None else f", Laplace noise for epsilon {protect.epsilon:g} each time"
        )
        change = "" if protect.perturb == "none" else f", changed by pixelizer-{protect.perturb}"
        colours = f"measured once and held for {span}{noise}{change}"
    quality = "" if config.encode.crf is None else f" crf {config.encode.crf:g}"
    gate = "gate      off"
    if config.gate.scan and not job.selection.only_regions:
        every = _every(config.gate.every_s)
        gate = (
            f"gate      the output again, {every} at {_size(plan.scales.gate)}, mirrored; faces of score "
            f"{config.gate.min_score} and more, beside the masks or through them"
        )
    form = f"{mask.look}, {mask.shape} of {mask.scale:g} x the face, {mask.blocks} blocks across"
    return [
        _decode(decoder, info, device),
        *find,
        f"mask      {form}; {colours}",
        f"encode    PyAV, {config.encode.codec}{quality}, audio {config.encode.audio}",
        gate,
    ]


def _decode(decoder: str, info: StreamInfo, device: torch.device) -> str:
    """Who decodes, and on a GPU by what of it."""
    on_cpu = device.type == "cpu" or decoder == "PyAV"
    unit = "" if on_cpu else ", one NVDEC unit of the GPU; vidpipe batch does several files on one"
    return f"decode    {decoder}, {info.codec}{unit}"


def _people(job: AnonymizeJob, config: RunConfig) -> list[str]:
    photos, people = job.selection.keep_faces, config.people
    lines = []
    if joins(job, config, previews=False):
        lines.append(f"people    tracks of one person are joined below a distance of {people.same:g}")
    if photos:
        lines.append(f"people    who is on one of {len(photos)} photos, nearer than {people.sure:g}, is left")
    return lines


def _looks(sizes: Scales, config: RunConfig) -> list[str]:
    faces = config.faces
    fine = (
        f"{_every(faces.fine_look_s)} at {_size(sizes.fine)} for faces of {sizes.min_face_px:.0f} px, which "
        f"become about {NET_FACE_PX} px"
    )
    if sizes.quick is sizes.fine:
        fine = fine.replace(_every(faces.fine_look_s), _every(faces.look_s))
    lines = [f"find      {faces.finder}, {fine}; score {faces.min_score} and more"]
    if sizes.quick is not sizes.fine:
        quick = f"{_every(faces.look_s)} at {_size(sizes.quick)} for faces of {sizes.quick_face_px:.0f} px"
        lines.append(f"          and {quick}")
    return lines


def _every(seconds: float) -> str:
    return f"every {seconds:g} s" if seconds else "every frame"


def _size(picture: SmallPicture) -> str:
    return "x".join(map(str, picture.size_px))
