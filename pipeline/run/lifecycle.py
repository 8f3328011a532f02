"""The last part of any run: frames into a file that stands there whole, kept as promised, or not at all."""

from __future__ import annotations

import platform
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from importlib import metadata
from pathlib import Path
from time import perf_counter
from typing import Protocol

import torch

from pipeline.config import RunConfig
from pipeline.cuda import CPU
from pipeline.decode.source import Source
from pipeline.encode import Encoder, EncodeSettings
from pipeline.encode.atomic_file import output_error
from pipeline.encode.pyav import PyAVEncoder
from pipeline.encode.verify import compare
from pipeline.errors import GateError, OutputError
from pipeline.run.sidecar import KeptRecord
from pipeline.run.timing import StageClock
from pipeline.types import Frame

LIBRARIES = ("vidpipe", "av", "torch", "numpy", "openvino", "onnxruntime")
"""Whose versions a report names."""
PROMISED = ("frames", "times", "size", "rotation")
"""What every output keeps, unless the encoder has said that its container cannot."""


class Files(Protocol):
    """What a job says about its files."""

    @property
    def source(self) -> Path: ...
    @property
    def target(self) -> Path: ...
    @property
    def sidecar(self) -> Path: ...
    @property
    def overwrite(self) -> bool: ...


class Span(Protocol):
    """The part of the source that is written."""

    @property
    def start_pts(self) -> int | None: ...
    @property
    def end_pts(self) -> int | None: ...


def versions() -> dict[str, str]:
    """Of Python and the libraries that are installed."""
    installed = {"python": platform.python_version()}
    for name in LIBRARIES:
        with suppress(metadata.PackageNotFoundError):  # openvino is not made for every processor
            installed[name] = metadata.version(name)
    return installed


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


def make_encoder(source: Source, job: Files, span: Span, settings: EncodeSettings) -> Encoder:
    """The output file, not opened yet."""
    try:
        # Where both are there, the encoder names the video.
        if job.sidecar.exists() and not (job.target.exists() or job.overwrite):
            raise OutputError(f"{job.sidecar} exists; choose another --output or add --overwrite")
    except OSError as error:  # of a name that is too long, or a folder that cannot be entered
        raise output_error(job.target, error) from error
    return PyAVEncoder(
        source,
        job.target,
        settings,
        overwrite=job.overwrite,
        start_pts=span.start_pts,
        end_pts=span.end_pts,
    )


def stream(
    frames: Generator[Frame], encoder: Encoder, clock: StageClock, on_written: Callable[[int], None]
) -> tuple[int, float]:
    """Encodes all frames; returns how many there were and how many seconds it took."""
    written, started = 0, perf_counter()
    with closing(frames):
        for frame in frames:
            begun = perf_counter()
            encoder.write(frame)
            clock.add("encode", "encode", perf_counter() - begun)
            written += 1
            on_written(written)
    return written, perf_counter() - started


def compared(
    source: Source, made: Path, encoder: Encoder, job: Files, span: Span, settings: EncodeSettings
) -> list[KeptRecord]:
    """What ``made`` kept of its source. Raises GateError where frames, times or audio differ unsaid."""
    result = compare(source, made, settings, start_pts=span.start_pts, end_pts=span.end_pts)
    for item in result.broken:
        promised = item.name in PROMISED or item.name.startswith("audio stream")
        if item.name == "frames" or (promised and not encoder.lost):
            raise GateError(
                f"{job.target.name} would not keep {item.name}: {item.source} became {item.output}; "
                "nothing was written, please report this clip"
            )
    return [KeptRecord(name=i.name, state=i.state, source=i.source, output=i.output) for i in result.items]
