"""The output of a run: how it is encoded, where it is written, and whether it kept what it must."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from pipeline.config import RunConfig
from pipeline.cuda import CPU
from pipeline.decode.open import open_input
from pipeline.decode.source import Source
from pipeline.encode import Encoder, EncodeSettings
from pipeline.encode.items import Item, State
from pipeline.encode.pyav import PyAVEncoder
from pipeline.encode.release import to_look_at
from pipeline.encode.segments import Segments
from pipeline.encode.takes import ways_out
from pipeline.encode.verify import compare
from pipeline.errors import CheckError, UsageError
from pipeline.notes import warned
from pipeline.run.job import Job
from pipeline.run.plan import Plan
from pipeline.run.sidecar import KeptRecord

log = logging.getLogger(__name__)

PICTURES = ("frames", "order of pictures")
"""What every output keeps."""
PROMISED = ("times", "size", "rotation", "order of fields")
"""What every output keeps, unless the encoder has said that its container cannot."""
_SENTENCE = 80
"""Characters of a value in a sentence."""


def encode_settings(
    source: Source,
    config: RunConfig,
    notice: str,
    quick: bool = False,
    device: torch.device = CPU,
    covers: bool = False,
) -> EncodeSettings:
    """With the notice as the file's comment, after what a comment of the source says.

    Where faces are covered (``covers``), what else could tell who is there stays behind, unless the settings
    say otherwise.
    """
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
        faststart=encode.faststart,
        keep_streams=encode.keep_streams or not covers,
        keep_metadata=encode.keep_metadata or not covers,
        keep_hidden=not covers,
        metadata={name: comment},
    )


def make_encoder(
    source: Source, job: Job, span: Plan, settings: EncodeSettings, segments: Segments | None = None
) -> Encoder:
    """The output file, not opened yet."""
    return PyAVEncoder(
        source,
        job.target,
        settings,
        overwrite=job.overwrite,
        start_pts=span.start_pts,
        end_pts=span.end_pts,
        segments=segments,
    )


def refuse_silence(encoder: Encoder, job: Job) -> None:
    """Raises UsageError where the output would lose sound that nobody asked to lose."""
    if encoder.lost_sound:
        with open_input(job.source) as source:
            ways = ways_out(source, job.target)
        raise UsageError(f"{job.target.name}: {encoder.lost_sound[0]}; {ways}")


def compared(
    source: Source, made: Path, encoder: Encoder, job: Job, span: Plan, settings: EncodeSettings
) -> tuple[list[KeptRecord], list[str]]:
    """What ``made`` kept of its source, and a sentence for each thing that it did not.

    Raises InputError where the source has changed meanwhile, CheckError where pictures,
    times or sound differ and the encoder has not said so.
    """
    source.check_unchanged()
    result = compare(
        source, made, settings, video=encoder.video, start_pts=span.start_pts, end_pts=span.end_pts
    )
    for item in result.broken:
        promised = item.name in PROMISED or item.name.startswith("audio stream")
        if item.name in PICTURES or (promised and not encoder.lost):
            raise CheckError(
                f"{job.target.name} would not keep {item.name}: {item.source} became {item.output}; "
                "nothing was written, please report this clip"
            )
    sentences = [f"{i.name}: {_short(i.source)} became {_short(i.output)}" for i in result.broken]
    for sentence in sentences:
        warned(log, "%s: %s", job.target.name, sentence)
    return [_record(item) for item in result.items], [*encoder.lost, *source.noticed, *sentences]


def _record(item: Item) -> KeptRecord:
    """What a tag said that was left behind on purpose is not told in the report either."""
    is_secret = item.state is State.REMOVED and "tag " in item.name
    source = "not told" if is_secret else _short(item.source)
    return KeptRecord(name=item.name, state=item.state, source=source, output=_short(item.output))


def left_to_look_at(source: Source, made: Path) -> list[str]:
    """What an output took along and may name or show people, for the report of a covered file."""
    with open_input(source.path) as before, open_input(made) as after:
        return to_look_at(before, after)


def _short(text: str) -> str:
    return text if len(text) <= _SENTENCE else f"{text[:_SENTENCE]}..."
