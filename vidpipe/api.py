"""The functions of ``import vidpipe``. Each does what the command of its name does.

Keywords are the common settings; ``settings`` takes any other by its dotted name in pipeline.yaml. What
neither sets comes from the environment (``VIDPIPE_ENCODE__CRF``), else the defaults. A keyword that is None
sets nothing.

``on_progress`` is called in the caller's thread after each frame with a ``Progress``; what it raises ends the
run, and nothing is left under the output's name. PyTorch's threads are the caller's business: one is best
(``torch.set_num_threads(1)``), since the stages' operations are small.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from export.convert import export as _export
from export.spec import Batch, Request, Target
from pipeline.config import Given, Resolved, resolve
from pipeline.decode.source import probe as _probe
from pipeline.engines import Precision
from pipeline.errors import CheckError, InputError, MissingError, OutputError, UsageError, VidpipeError
from pipeline.run.anonymize import anonymize
from pipeline.run.anonymize_sidecar import AnonymizeReport, Mode
from pipeline.run.job import AnonymizeJob, Selection
from pipeline.run.lifecycle import Progress
from pipeline.run.names import default_output
from pipeline.run.preview import preview as _preview
from pipeline.run.reconstruct import reconstruct as _reconstruct
from pipeline.run.release.verdict import ReleaseCheckError
from pipeline.run.sidecar import ReconstructReport
from pipeline.types import Box, Cells, ManualRegion, StreamInfo
from vidpipe.batches import batch
from vidpipe.explanation import Explanation, explain_anonymize, explain_reconstruct
from vidpipe.exports import check_output, put
from vidpipe.jobs import anonymize_job, reconstruct_job

__all__ = [
    "reconstruct",
    "pixelize",
    "protect",
    "preview",
    "probe",
    "explain",
    "export",
    "batch",
    "run",
    "cover",
    "Progress",
    "Selection",
    "ManualRegion",
    "Box",
    "Cells",
    "StreamInfo",
    "ReconstructReport",
    "AnonymizeReport",
    "Explanation",
    "VidpipeError",
    "UsageError",
    "InputError",
    "OutputError",
    "CheckError",
    "ReleaseCheckError",
    "MissingError",
]

PathLike = str | os.PathLike[str]
OnProgress = Callable[[Progress], None]


def reconstruct(
    source: PathLike,
    target: PathLike | None = None,
    *,
    net: str | None = None,
    engine: str | None = None,
    device: str | None = None,
    codec: str | None = None,
    crf: float | None = None,
    preset: str | None = None,
    audio: Literal["copy", "aac", "opus", "drop"] | None = None,
    regions: Sequence[ManualRegion] = (),
    start_s: float | None = None,
    end_s: float | None = None,
    settings: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    on_progress: OnProgress | None = None,
) -> ReconstructReport:
    """Reconstructs the pixelated faces of ``source``.

    Args:
        source: a video file.
        target: the output; by default ``{stem}.reconstruct{ext}`` beside the source.
        net: ``nar`` (many frames), ``idn`` (one frame) or ``auto``.
        engine: library that runs it: ``auto``, ``openvino``, ``onnxruntime``, ``torch``, ``tensorrt``, ...
        device: ``auto``, ``cpu`` or ``cuda:N``.
        codec, crf, preset: FFmpeg's name of an encoder, its quality (lower is better) and speed.
        audio: ``copy``, ``aac``, ``opus`` or ``drop``.
        regions: mosaics to reconstruct whatever the finder says; boxes in px of the picture as coded, times
            in seconds from the first frame, ``cells`` where compression has hidden them.
        start_s, end_s: the part of the file that is written, seconds from its first frame.
        resume: a journal is kept beside the output until it is whole, and a run that was stopped goes on.

    Returns what also stands in ``{target}.json``. Raises InputError, OutputError, UsageError, MissingError,
    and CheckError where the output does not keep what it must; then nothing is left under its name.
    """
    resolved = _resolve(
        settings,
        {
            "restore.net": net,
            "restore.engine": engine,
            "device": device,
            **_encode(codec, crf, preset, audio),
        },
    )
    path = Path(source)
    chosen = default_output(path, "reconstruct") if target is None else Path(target)
    job = reconstruct_job(
        path,
        chosen,
        resolved,
        manual=tuple(regions),
        start_s=start_s,
        end_s=end_s,
        overwrite=overwrite,
        resume_from_s=0.0 if resume else None,
    )
    return _reconstruct(job, resolved, on_progress or _silent)


def pixelize(
    source: PathLike,
    target: PathLike | None = None,
    *,
    blocks: int | None = None,
    look: Literal["mosaic", "blur", "solid"] | None = None,
    shape: Literal["ellipse", "box"] | None = None,
    scale: float | None = None,
    min_face_px: float | None = None,
    release_check: bool | None = None,
    device: str | None = None,
    codec: str | None = None,
    crf: float | None = None,
    preset: str | None = None,
    audio: Literal["copy", "aac", "opus", "drop"] | None = None,
    selection: Selection | None = None,
    earlier: PathLike | None = None,
    start_s: float | None = None,
    end_s: float | None = None,
    settings: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    on_progress: OnProgress | None = None,
) -> AnonymizeReport:
    """Covers the faces of ``source`` with a plain mosaic.

    Args:
        target: the output; by default ``{stem}.pixelize{ext}`` beside the source.
        blocks: cells across the shorter side of a face; None: 6, and 4 or 3 where the release check sees a
            face through them.
        look: ``mosaic``, ``blur`` (fewer cells, interpolated) or ``solid`` (black).
        shape: ``ellipse`` or ``box``.
        scale: of the mask over the face's box.
        min_face_px: smallest face that is found, px; by default 20 px up to 1080 lines, in proportion above.
        release_check: look through the encoded output for faces that no mask covers or that a mask shows.
        selection: who, where and when; by default everybody.
        earlier: JSON of a preview or an earlier run on the same file, whose people and tracks are taken: the
            numbers in a selection are theirs. Nothing is detected.

    The others are those of ``reconstruct``. Returns what also stands in ``{target}.json``. Raises
    ReleaseCheckError where a face is still seen in the output: then nothing stands under the target's name,
    and ``{target}.gate.json`` tells where.
    """
    more = {"faces.min_face_px": min_face_px, "gate.scan": release_check, "device": device}
    resolved = _resolve(
        settings, _mask(blocks, look, shape, scale) | more | _encode(codec, crf, preset, audio)
    )
    job = _anonymize_job(
        source, target, "pixelize", resolved, selection, earlier, start_s, end_s, overwrite, resume
    )
    return anonymize(job, resolved, on_progress or _silent)


def protect(
    source: PathLike,
    target: PathLike | None = None,
    *,
    values: Literal["nobody", "measured"] | None = None,
    nobody: Literal["nearest", "random"] | int | None = None,
    epsilon: float | None = None,
    hold_s: float | None = None,
    perturb: Literal["none", "block", "pixel"] | None = None,
    blocks: int | None = None,
    look: Literal["mosaic", "blur", "solid"] | None = None,
    shape: Literal["ellipse", "box"] | None = None,
    scale: float | None = None,
    min_face_px: float | None = None,
    release_check: bool | None = None,
    device: str | None = None,
    codec: str | None = None,
    crf: float | None = None,
    preset: str | None = None,
    audio: Literal["copy", "aac", "opus", "drop"] | None = None,
    selection: Selection | None = None,
    earlier: PathLike | None = None,
    start_s: float | None = None,
    end_s: float | None = None,
    settings: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    on_progress: OnProgress | None = None,
) -> AnonymizeReport:
    """Covers the faces of ``source`` with a grid that keeps to the face and whose colours are nobody's.

    Args:
        values: whose colours: means of other people, or the face's own, measured once (``measured``, which
            the three below ask for).
        nobody: which mean a person gets: by the skin, dark or not (``nearest``), by lot (``random``), or a
            number.
        epsilon: privacy budget of each measurement of a track's colours; None: no noise.
        hold_s: seconds after which colours are measured anew; None: never within a track.
        perturb: changes colours against a network that restores faces: whole cells (``block``) or within.

    The others are those of ``pixelize``.
    """
    more = {
        "protect.values": values,
        "protect.nobody": nobody,
        "protect.epsilon": epsilon,
        "protect.hold_s": hold_s,
        "protect.perturb": perturb,
        "faces.min_face_px": min_face_px,
        "gate.scan": release_check,
        "device": device,
    }
    resolved = _resolve(
        settings, _mask(blocks, look, shape, scale) | more | _encode(codec, crf, preset, audio)
    )
    job = _anonymize_job(
        source, target, "protect", resolved, selection, earlier, start_s, end_s, overwrite, resume
    )
    return anonymize(job, resolved, on_progress or _silent)


def preview(
    source: PathLike,
    target: PathLike | None = None,
    *,
    mode: Mode = "pixelize",
    selection: Selection | None = None,
    earlier: PathLike | None = None,
    settings: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    on_progress: OnProgress | None = None,
) -> AnonymizeReport:
    """Finds the people of ``source`` and writes a contact sheet instead of a video.

    ``target`` names the video that would be written; the sheet is ``{stem}.preview.png`` beside it, or
    ``{stem}.preview-01.png`` and so on for more than 12 people. The report's ``people`` have the numbers that
    a ``Selection`` takes; it is written as ``{stem}.preview.json``, for ``earlier``.
    """
    resolved = _resolve(settings, {})
    job = _anonymize_job(source, target, mode, resolved, selection, earlier, None, None, overwrite)
    return _preview(job, resolved, on_progress or _silent)


def probe(source: PathLike) -> StreamInfo:
    """The video stream of a file that would be processed: size, format, the times of all frames.

    Reads all packets and decodes one picture. Raises InputError.
    """
    return _probe(Path(source))


def explain(
    source: PathLike,
    target: PathLike | None = None,
    *,
    mode: Literal["reconstruct", "pixelize", "protect"] = "reconstruct",
    settings: Mapping[str, Any] | None = None,
) -> Explanation:
    """What a run would do and why, with its memory bound; nothing runs. ``print(plan.as_text())`` shows it.

    Opens the input and the network. Raises what the run would raise that early.
    """
    resolved, path = _resolve(settings, {}), Path(source)
    chosen = default_output(path, mode) if target is None else Path(target)
    if mode == "reconstruct":
        return explain_reconstruct(partial(reconstruct_job, path, chosen, resolved), resolved)
    return explain_anonymize(partial(anonymize_job, path, chosen, resolved, mode), resolved)


def export(
    network: str,
    *,
    to: Target = "onnx",
    precision: Precision = "fp32",
    batch: str | None = None,
    size_px: int = 128,
    window: int | None = None,
    output: PathLike | None = None,
    overwrite: bool = False,
    on_progress: Callable[[str, float], None] | None = None,
) -> Path:
    """Turns a network into an engine file, compares it with PyTorch and returns where it lies.

    Args:
        network: ``idn``, ``nar``, ... or the path of a ``.safetensors`` file of ``vidpipe train``.
        to: ``onnx``, ``openvino``, ``torch``, ``tensorrt`` or ``tensorrt-rtx``.
        precision: ``fp32``, ``fp16``, ``bf16`` or ``int8``.
        batch: windows per call as ``MIN:OPT:MAX``; None: the target's default.
        size_px: side of the canonical crop.
        window: frames of a window, for a network of many frames.
        output: a copy of the engine under this name; None: the file in the cache.
        on_progress: called with what is being done and the share that is done, 0 to 1.

    Raises UsageError, InputError, MissingError, OutputError, and CheckError where the engine does not
    answer as PyTorch does.
    """
    request = Request(network, to, precision, Batch.parse(batch) if batch else None, size_px, window)
    if output is not None:
        check_output(request, Path(output), overwrite)
    entry = _export(request, on_progress=on_progress) if on_progress else _export(request)
    return entry.file if output is None else put(entry, Path(output))


def _silent(progress: Progress) -> None:
    """No progress."""


def _resolve(settings: Mapping[str, Any] | None, keywords: Mapping[str, Any]) -> Resolved:
    given = {name: value for name, value in keywords.items() if value is not None}
    return resolve({name: Given(value, "argument") for name, value in {**(settings or {}), **given}.items()})


def _mask(
    blocks: int | None, look: str | None, shape: str | None, scale: float | None
) -> dict[str, int | float | str | None]:
    return {"mask.blocks": blocks, "mask.look": look, "mask.shape": shape, "mask.scale": scale}


def _encode(
    codec: str | None, crf: float | None, preset: str | None, audio: str | None
) -> dict[str, float | str | None]:
    return {"encode.codec": codec, "encode.crf": crf, "encode.preset": preset, "encode.audio": audio}


def _anonymize_job(
    source: PathLike,
    target: PathLike | None,
    mode: Mode,
    settings: Resolved,
    selection: Selection | None,
    earlier: PathLike | None,
    start_s: float | None,
    end_s: float | None,
    overwrite: bool,
    resume: bool = False,
) -> AnonymizeJob:
    path = Path(source)
    chosen = default_output(path, mode) if target is None else Path(target)
    return anonymize_job(
        path,
        chosen,
        settings,
        mode,
        selection=selection,
        earlier=None if earlier is None else Path(earlier),
        start_s=start_s,
        end_s=end_s,
        overwrite=overwrite,
        resume_from_s=0.0 if resume else None,
    )


def run(
    source: PathLike,
    target: PathLike | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> ReconstructReport:
    """Deprecated: ``vidpipe.reconstruct``."""
    warnings.warn("vidpipe.run is now vidpipe.reconstruct", DeprecationWarning, stacklevel=2)
    return reconstruct(source, target, settings=settings, overwrite=overwrite)


def cover(
    source: PathLike,
    target: PathLike | None = None,
    *,
    mode: Mode = "pixelize",
    settings: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> AnonymizeReport:
    """Deprecated: ``vidpipe.pixelize`` or ``vidpipe.protect``."""
    warnings.warn(f"vidpipe.cover is now vidpipe.{mode}", DeprecationWarning, stacklevel=2)
    do = pixelize if mode == "pixelize" else protect
    return do(source, target, settings=settings, overwrite=overwrite)
