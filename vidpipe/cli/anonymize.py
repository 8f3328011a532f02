"""What ``vidpipe pixelize`` and ``protect`` do with their flags."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Literal, cast

from vidpipe.cli.parse import manual_region, people, same_people, stretch

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.config import Resolved
    from pipeline.run.anonymize_sidecar import AnonymizeReport
    from pipeline.run.job import Selection
    from vidpipe.cli.display import Display
    from vidpipe.cli.flags import CoverFlags


def anonymize(
    target: Path,
    mode: str,
    settings: Resolved,
    asked: CoverFlags,
    span_s: tuple[float | None, float | None],
    display: Display,
) -> None:
    """Covers the faces of a file, or shows who is in it. Raises the errors of ``pipeline.errors``."""
    from pipeline.run.anonymize import anonymize as run
    from pipeline.run.preview import preview as run_preview
    from pipeline.run.preview import sheets
    from vidpipe.jobs import anonymize_job

    make_job = partial(
        anonymize_job,
        asked.source,
        target,
        settings,
        cast("Literal['pixelize', 'protect']", mode),
        selection=_selection(asked),
        earlier=asked.tracks,
        start_s=span_s[0],
        end_s=span_s[1],
        overwrite=asked.overwrite,
    )
    if asked.explain:
        from vidpipe.explanation import explain_anonymize

        display.explained(explain_anonymize(make_job, settings))
        return
    job = make_job()
    with display.running():
        report = (run_preview if asked.preview else run)(job, settings, display.on_frame)
    files = (*sheets(job, report), job.preview_report) if asked.preview else (target,)
    display.done(report.model_dump_json(), _summary(report), *files)


def _selection(asked: CoverFlags) -> Selection:
    """Raises UsageError for what cannot be read."""
    from pipeline.run.job import Selection

    keep, keep_tracks = people(asked.keep or [], "--keep")
    only, only_tracks = people(asked.only or [], "--only")
    selection = Selection(
        keep=keep,
        only=None if asked.only is None else only,
        keep_tracks=keep_tracks,
        only_tracks=None if asked.only is None else only_tracks,
        same=tuple(same_people(text) for text in asked.same or []),
        keep_faces=tuple(asked.keep_face or []),
        regions=tuple(manual_region(text) for text in asked.region or []),
        excluded=tuple(manual_region(text, "--exclude-region") for text in asked.exclude_region or []),
        during=tuple(stretch(text, "--during") for text in asked.during or []),
        only_regions=asked.only_regions,
    )
    as_said = {
        "regions": asked.region or [],
        "excluded": asked.exclude_region or [],
        "during": asked.during or [],
        "tracks_from": None if asked.tracks is None else asked.tracks.name,
    }
    return replace(selection, words=selection.record().model_copy(update=as_said))


def _summary(report: AnonymizeReport) -> str:
    covered = sum(track.frames_covered > 0 for track in report.tracks)
    speed = f"{report.frames / report.streaming_s:.1f} frames/s, most time in {report.bottleneck}"
    if report.output is None:
        return f"{len(report.tracks)} tracks on {report.frames} frames; {speed}"
    on = f"on {report.frames_covered} of {report.frames} frames"
    if report.choice.only_regions:
        return f"{len(report.tracks)} regions covered, {on}; no face was looked for; {speed}"
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
