"""The part of ``vidpipe run`` for ``--mode pixelize`` and ``protect``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import typer

from vidpipe.cli.parse import manual_region, numbers, stretch

if TYPE_CHECKING:
    from pipeline.config import Resolved
    from pipeline.run.anonymize_sidecar import CoverReport
    from pipeline.run.job import CoverJob
    from vidpipe.cli.display import Show


@dataclass(frozen=True, slots=True)
class Asked:
    """Who, where and when, in the user's words."""

    keep: list[str]
    only: list[str] | None
    regions: list[str]
    excluded: list[str]
    during: list[str]
    tracks: Path | None
    start_s: float | None
    end_s: float | None


def cover(
    source: Path,
    target: Path,
    mode: str,
    settings: Resolved,
    asked: Asked,
    overwrite: bool,
    show: Show,
    *,
    preview: bool,
    explain: bool,
) -> None:
    """Covers the faces of a file, or shows who is in it. Raises the errors of ``pipeline.errors``."""
    from pipeline.run.anonymize import run
    from pipeline.run.preview import preview as run_preview

    job = _job(source, target, cast("Literal['pixelize', 'protect']", mode), asked, overwrite)
    if explain:
        from vidpipe.explanation_anonymize import explanation

        text = explanation(job, settings)
        typer.echo(text.model_dump_json(indent=2) if show.as_json else text.as_text())
        return
    if not preview:
        from vidpipe.api import pixelizer_for

        job = replace(job, network=pixelizer_for(settings, mode))
    with show.running():
        work = run_preview if preview else run
        report = work(job, settings, show.on_frame)
    files = (job.sheet, job.preview_report) if preview else (target,)
    show.done(report.model_dump_json(), _summary(report), *files)


def _job(
    source: Path, target: Path, mode: Literal["pixelize", "protect"], asked: Asked, overwrite: bool
) -> CoverJob:
    from pipeline.errors import InputError, UsageError
    from pipeline.run.anonymize_sidecar import ChoiceRecord, read_report
    from pipeline.run.job import CoverJob
    from pipeline.run.sidecar import file_record

    if asked.tracks is None and (asked.keep or asked.only is not None):
        option = "--keep" if asked.keep else "--only"
        raise UsageError(
            f"{option} names a track; see the tracks with --preview first, then add --from with its .json"
        )
    tracks = None
    if asked.tracks is not None:
        earlier = read_report(asked.tracks)
        if not source.is_file():
            raise InputError(f"{source} does not exist; check the name")
        if file_record(source).sha256 != earlier.input.sha256:
            raise InputError(f"{asked.tracks} has the tracks of another file, {earlier.input.name}")
        tracks = tuple(earlier.tracks)
    said = ChoiceRecord(
        keep=list(numbers(asked.keep, "--keep")),
        only=None if asked.only is None else list(numbers(asked.only, "--only")),
        regions=asked.regions,
        excluded=asked.excluded,
        during=asked.during,
        tracks_from=None if asked.tracks is None else asked.tracks.name,
    )
    return CoverJob(
        source=source,
        target=target,
        mode=mode,
        keep=tuple(said.keep),
        only=None if said.only is None else tuple(said.only),
        regions=tuple(manual_region(text) for text in asked.regions),
        excluded=tuple(manual_region(text, "--exclude-region") for text in asked.excluded),
        during=tuple(stretch(text, "--during") for text in asked.during),
        tracks=tracks,
        said=said,
        start_s=asked.start_s,
        end_s=asked.end_s,
        overwrite=overwrite,
    )


def _summary(report: CoverReport) -> str:
    covered = sum(track.frames_covered > 0 for track in report.tracks)
    speed = f"{report.frames / report.streaming_s:.1f} frames/s, most time in {report.bottleneck}"
    if report.output is None:
        return f"{len(report.tracks)} tracks on {report.frames} frames; {speed}"
    on = f"on {report.frames_covered} of {report.frames} frames"
    lines = [f"{covered} of {len(report.tracks)} tracks covered, {on}; {speed}"]
    if report.gate is not None:
        gate = report.gate
        left = any(track.decision != "covered" for track in report.tracks)
        beside = " beside those that were left by choice" if left else ""
        lines.append(
            f"no uncovered face found again in the output{beside}; looked at {gate.frames_examined} of "
            f"{gate.frames_decoded} frames"
        )
    noised = [release for release in report.releases if release.noise_levels is not None]
    if noised:
        least, most = (pick(r.noise_levels or 0.0 for r in noised) for pick in (min, max))
        epsilon = max(release.epsilon or 0.0 for release in noised)
        lines.append(
            f"Laplace noise of scale {least:.1f} to {most:.1f} of 255 grey levels; epsilon {epsilon:g} at "
            "most per track, and the sum over the tracks of a person who has several"
        )
    return "\n".join(lines)
