"""What ``vidpipe pixelize`` and ``protect`` do with their flags."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Literal, cast

from vidpipe.cli.parse import manual_region, people, region, same_people, stretch

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
        resume_from_s=0.0 if asked.resume else None,
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


def check_words(asked: CoverFlags) -> None:
    """Whether what a selection says can be read, before anything heavy is imported. Raises UsageError."""
    people(asked.keep or [], "--keep")
    people(asked.only or [], "--only")
    for text in asked.same or []:
        same_people(text)
    for text in asked.region or []:
        region(text)
    for text in asked.exclude_region or []:
        region(text, "--exclude-region")
    for text in asked.during or []:
        stretch(text, "--during")


def _selection(asked: CoverFlags) -> Selection:
    """Raises UsageError for what cannot be read."""
    from pipeline.run.job import Selection
    from pipeline.text import printable

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
        "tracks_from": None if asked.tracks is None else printable(asked.tracks.name),
    }
    return replace(selection, words=selection.record().model_copy(update=as_said))


def _summary(report: AnonymizeReport) -> str:
    from pipeline.run.release.promises import told as weaker
    from pipeline.run.release.verdict import approval

    speed = f"{report.frames / report.streaming_s:.1f} frames/s, most time in {report.bottleneck}"
    tracks = [track for track in report.tracks if track.track > 0]
    persons = "1 person" if len(report.people) == 1 else f"{len(report.people)} people"
    people = f"{persons} in {len(tracks)} track{'s' * (len(tracks) != 1)}"
    if report.output is None:
        return "\n".join([f"{people} on {report.frames} frames; {speed}", *_by_photo(report)])
    on = f"on {report.frames_covered} of {report.frames} frames"
    if report.choice.only_regions:
        return f"{len(report.tracks)} regions covered, {on}; no face was looked for; {speed}"
    covered = sum(person.decision != "left" for person in report.people)
    regions = len(report.tracks) - len(tracks)
    by_hand = f" and {regions} region{'s' * (regions != 1)}" if regions else ""
    told = f"{covered} of {people}{by_hand} covered, {on}" if covered or regions else "nothing was covered"
    lines = [f"{told}; {speed}", *_by_photo(report)]
    if report.gate is not None:
        left = any(track.decision != "covered" for track in report.tracks)
        nobody = any(release.values == "nobody" for release in report.releases)
        lines.append(approval(report.gate, covered=covered + regions > 0, left=left, of_nobody=nobody))
    if report.weakened:
        lines.append(weaker(report.weakened))
    lines += _told(report)
    if report.removed:
        lines.append(f"left behind: {'; '.join(report.removed)}")
    if report.look_at:
        lines.append(f"look at these yourself: {'; '.join(report.look_at)}")
    noised = [release for release in report.releases if release.noise_levels is not None]
    if noised:
        least, most = (pick(r.noise_levels or 0.0 for r in noised) for pick in (min, max))
        epsilon = max(release.epsilon or 0.0 for release in noised)
        lines.append(
            f"Laplace noise of scale {least:.1f} to {most:.1f} of 255 grey levels; epsilon {epsilon:g} at "
            "most per track, and the sum over the tracks of a person who has several"
            f"{'; masks look like confetti, as --epsilon is small' if least > _CONFETTI else ''}"
        )
    return "\n".join(lines)


_CONFETTI = 40.0
"""Grey levels of noise from which coloured blocks are all that is seen."""


def _by_photo(report: AnonymizeReport) -> list[str]:
    """Who was left because of a photo, and how near the photo is."""
    lines = [
        f"person {person.person} was left for {person.photo}: {person.distance:.2f} from it at best; tracks "
        f"{', '.join(map(str, person.tracks))}"
        for person in report.people
        if person.photo is not None
    ]
    if report.choice.keep_faces and not lines:
        near = report.nearest_to_photo
        looked = "no face could be compared" if near is None else f"the nearest is {near:.2f} away"
        lines = [f"nobody is surely on {', '.join(report.choice.keep_faces)} ({looked}); all were covered"]
    return lines


def _told(report: AnonymizeReport) -> list[str]:
    """What the masks of nobody tell, and what they do not take away."""
    chosen = [release for release in report.releases if release.values == "nobody"]
    if not chosen:
        return []
    of_face = [record for record in chosen[0].bits if not record.outside]
    each = "; ".join(f"{record.bits:.1f} bits: {record.what}" for record in of_face) or "0 bits"
    scene = sum(record.bits for record in chosen[0].bits if record.outside)
    total = report.bits_of_faces or 0.0
    who = "people" if all(release.person for release in chosen) else "tracks"
    return [
        f"faces of nobody; a face tells at most {each}; {total:.1f} bits in all of {len(chosen)} {who}; "
        f"light and tint, {scene:.1f} bits each, are read outside the masks",
        "not taken away: the outline at the masks' rims, hair, body, clothes, gait, voice, place",
    ]
