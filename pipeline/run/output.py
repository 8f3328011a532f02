"""The output of a run: how it is encoded, where it is written, and whether it kept what it must."""

from __future__ import annotations

from pathlib import Path

import torch

from pipeline.config import RunConfig
from pipeline.cuda import CPU
from pipeline.decode.source import Source
from pipeline.encode import Encoder, EncodeSettings
from pipeline.encode.pyav import PyAVEncoder
from pipeline.encode.verify import compare
from pipeline.errors import CheckError
from pipeline.run.job import Job
from pipeline.run.plan import Plan
from pipeline.run.sidecar import KeptRecord

PROMISED = ("frames", "times", "size", "rotation")
"""What every output keeps, unless the encoder has said that its container cannot."""


def encode_settings(
    source: Source, config: RunConfig, notice: str, quick: bool = False, device: torch.device = CPU
) -> EncodeSettings:
    """With the notice as the file's comment, after what a comment of the source says."""
    tags = source.metadata
    name = next((tag for tag in tags if tag.lower() == "comment"), "comment")
    said = tags.get(name, "")
    comment = said if notice in said else f"{said} {notice}".lstrip()
    encode = config.encode
    return EncodeSettings(
        codec=encode.codec,
        crf=encode.crf,
        preset=encode.preset,
        quick=quick,
        gpu=(device.index or 0) if device.type == "cuda" else None,
        audio=encode.audio,
        metadata={name: comment},
    )


def make_encoder(source: Source, job: Job, span: Plan, settings: EncodeSettings) -> Encoder:
    """The output file, not opened yet."""
    return PyAVEncoder(
        source,
        job.target,
        settings,
        overwrite=job.overwrite,
        start_pts=span.start_pts,
        end_pts=span.end_pts,
    )


def compared(
    source: Source, made: Path, encoder: Encoder, job: Job, span: Plan, settings: EncodeSettings
) -> list[KeptRecord]:
    """What ``made`` kept of its source. Raises CheckError where frames, times or audio differ unsaid."""
    result = compare(source, made, settings, start_pts=span.start_pts, end_pts=span.end_pts)
    for item in result.broken:
        promised = item.name in PROMISED or item.name.startswith("audio stream")
        if item.name == "frames" or (promised and not encoder.lost):
            raise CheckError(
                f"{job.target.name} would not keep {item.name}: {item.source} became {item.output}; "
                "nothing was written, please report this clip"
            )
    return [KeptRecord(name=i.name, state=i.state, source=i.source, output=i.output) for i in result.items]
