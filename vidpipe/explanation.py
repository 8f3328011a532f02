"""``vidpipe run --explain``: the resolved pipeline, what was chosen and why, and the memory bound."""

from __future__ import annotations

import os
from contextlib import closing

import torch
from pydantic import BaseModel

from pipeline.config import Resolved
from pipeline.decode import open_decoder
from pipeline.engines import EngineSpec
from pipeline.notes import collecting
from pipeline.run.plan import Plan, absolute, make_plan
from pipeline.run.reconstruct import open_restorer, place_of
from pipeline.run.sidecar import SettingRecord, setting_records
from pipeline.types import StreamInfo
from vidpipe.api import Request, job_for

FACES = 2
"""Faces at a time for which the memory bound is worked out."""


class Explanation(BaseModel):
    """What a run would do."""

    input: str
    output: str
    exists: bool
    """The output is there already; without --overwrite the run would refuse."""
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
        lines = [
            f"input     {self.input}",
            f"output    {self.output}{' (exists: needs --overwrite)' if self.exists else ''}",
            f"frames    {self.frames}",
            "",
            *(f"stage     {stage}" for stage in self.stages),
            "",
            *(f"chosen    {decision}" for decision in self.decisions),
            "",
            f"memory    at most {self.memory_formula}",
            "",
            *(
                f"setting   {setting.name:<{width}}  {setting.value!s:<10}  {setting.origin}"
                for setting in self.settings
            ),
        ]
        return "\n".join(lines)


def explanation(request: Request, settings: Resolved) -> Explanation:
    """Opens the input and the network, and runs nothing. Raises what the run would raise that early."""
    with collecting() as notes:
        job = job_for(request, settings)
        device = place_of(settings.config)
        with open_decoder(job.source, str(device), decoder=settings.config.decode.decoder) as decoder:
            info, decoded_by = decoder.info, decoder.name
        absolute(job.manual, info)
        with closing(open_restorer(job.network, settings.config, device)) as engine:
            spec, name, calls = engine.spec, engine.name, engine.calls
    plan = make_plan(job, info, spec, settings.config, calls)
    return Explanation(
        input=_describe(info),
        output=str(job.target),
        exists=any(os.path.exists(path) for path in (job.target, job.sidecar)),  # noqa: PTH110  never raises
        frames=plan.frames,
        stages=_stages(info, decoded_by, spec, name, plan, settings, device),
        decisions=notes.all,
        settings=setting_records(settings),
        memory_bytes=plan.memory.total_bytes(FACES),
        memory_formula=plan.memory.formula(FACES),
    )


def _describe(info: StreamInfo) -> str:
    return (
        f"{info.path}: stream {info.stream_index}, {info.codec} {info.width}x{info.height} {info.pix_fmt} "
        f"{info.colour.matrix} {info.colour.range}, rotation {info.rotation}, {len(info.pts)} frames, "
        f"{float(info.rate):.3f} frames/s, {info.duration_s:.3f} s"
    )


def _stages(
    info: StreamInfo,
    decoder: str,
    spec: EngineSpec,
    engine: str,
    plan: Plan,
    settings: Resolved,
    device: torch.device,
) -> list[str]:
    config, memory = settings.config, plan.memory
    encode = config.encode
    asked = (("crf", encode.crf), ("preset", encode.preset))
    quality = [f"{name} {value}" for name, value in asked if value is not None]
    return [
        f"device    {device}: where frames lie from decoder to encoder",
        f"decode    {decoder}, {info.codec}; at most {memory.decoded_frames} frames ahead of the next stage",
        f"find      mosaics of {config.find.min_cells} cells and more",
        f"track     looks {config.track.look_ahead_frames} frames ahead; "
        f"at most {memory.tracked_frames} frames ahead of the next stage",
        f"crop      {spec.size_px}x{spec.size_px} px, {config.crop.margin} x the mosaic's longer side",
        f"window    {spec.window} frames, {spec.core} of them restored; {plan.cores_per_batch} such a batch",
        f"restore   {spec.net} {spec.version} on {engine}, {config.restore.batch_size} windows a call",
        f"paste     inside the mosaics only; at most {memory.painted_frames} frames ahead of the encoder",
        f"encode    PyAV, {' '.join([encode.codec, *quality])}, audio {encode.audio}",
    ]
