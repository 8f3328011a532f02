"""The part of ``vidpipe run`` for ``--mode pixelize`` and ``protect``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from vidpipe.cli.parse import manual_region, numbers, stretch

if TYPE_CHECKING:
    from pipeline.config import Resolved
    from pipeline.run.anonymize_sidecar import AnonymizeReport
    from pipeline.run.job import Selection
    from pipeline.run.track_records import FaceTrackRecord
    from vidpipe.cli.display import Display


@dataclass(frozen=True, slots=True)
class AnonymizeOptions:
    """Who, where and when, in the user's words."""

    keep: list[str]
    only: list[str] | None
    regions: list[str]
    excluded: list[str]
    during: list[str]
    tracks: Path | None
    start_s: float | None
    end_s: float | None
    overwrite: bool


def anonymize(
    source: Path,
    target: Path,
    mode: str,
    settings: Resolved,
    asked: AnonymizeOptions,
    display: Display,
    *,
    preview: bool,
    explain: bool,
) -> None:
    """Covers the faces of a file, or shows who is in it. Raises the errors of ``pipeline.errors``."""
    from pipeline.run.anonymize import anonymize as run
    from pipeline.run.preview import preview as run_preview
    from vidpipe.jobs import anonymize_job

    make_job = partial(
        anonymize_job,
        source,
        target,
        settings,
        cast("Literal['pixelize', 'protect']", mode),
        selection=_selection(asked),
        tracks=_tracks(asked, source),
        start_s=asked.start_s,
        end_s=asked.end_s,
        overwrite=asked.overwrite,
    )
    if explain:
        from vidpipe.explanation import explain_anonymize

        display.explained(explain_anonymize(make_job, settings))
        return
    job = make_job()
    with display.running():
        report = (run_preview if preview else run)(job, settings, display.on_frame)
    files = (job.sheet, job.preview_report) if preview else (target,)
    display.done(report.model_dump_json(), _summary(report), *files)


def _tracks(asked: AnonymizeOptions, source: Path) -> tuple[FaceTrackRecord, ...] | None:
    """Of ``--from``. Raises UsageError and InputError."""
    from pipeline.errors import InputError, UsageError
    from pipeline.run.anonymize_sidecar import read_report
    from pipeline.run.sidecar import file_record

    if asked.tracks is None:
        if asked.keep or asked.only is not None:
            option = "--keep" if asked.keep else "--only"
            raise UsageError(
                f"{option} names a track; see the tracks with --preview first, then add --from with its .json"
            )
        return None
    earlier = read_report(asked.tracks)
    if not source.is_file():
        raise InputError(f"{source} does not exist; check the name")
    if file_record(source).sha256 != earlier.input.sha256:
        raise InputError(f"{asked.tracks} has the tracks of another file, {earlier.input.name}")
    return tuple(earlier.tracks)


def _selection(asked: AnonymizeOptions) -> Selection:
    """Raises UsageError for what cannot be read."""
    from pipeline.run.anonymize_sidecar import ChoiceRecord
    from pipeline.run.job import Selection

    words = ChoiceRecord(
        keep=list(numbers(asked.keep, "--keep")),
        only=None if asked.only is None else list(numbers(asked.only, "--only")),
        regions=asked.regions,
        excluded=asked.excluded,
        during=asked.during,
        tracks_from=None if asked.tracks is None else asked.tracks.name,
    )
    return Selection(
        keep=tuple(words.keep),
        only=None if words.only is None else tuple(words.only),
        regions=tuple(manual_region(text) for text in asked.regions),
        excluded=tuple(manual_region(text, "--exclude-region") for text in asked.excluded),
        during=tuple(stretch(text, "--during") for text in asked.during),
        words=words,
    )


def _summary(report: AnonymizeReport) -> str:
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
    lines += _told(report)
    noised = [release for release in report.releases if release.noise_levels is not None]
    if noised:
        least, most = (pick(r.noise_levels or 0.0 for r in noised) for pick in (min, max))
        epsilon = max(release.epsilon or 0.0 for release in noised)
        lines.append(
            f"Laplace noise of scale {least:.1f} to {most:.1f} of 255 grey levels; epsilon {epsilon:g} at "
            "most per track, and the sum over the tracks of a person who has several"
        )
    return "\n".join(lines)


def _told(report: AnonymizeReport) -> list[str]:
    """What the masks of nobody tell, and what they do not take away."""
    chosen = [release for release in report.releases if release.values == "nobody"]
    if not chosen:
        return []
    each = "; ".join(f"{record.bits:.1f} bits: {record.what}" for record in chosen[0].bits)
    total = sum(release.told for release in chosen)
    people = "person" if all(release.person for release in chosen) else "track or person"
    return [
        f"faces of nobody: a {people} is told apart by at most {each}; {total:.0f} bits in all of {len(chosen)}",
        "not taken away: the outline at the masks' rims, hair, body, clothes, gait, voice, place",
    ]
