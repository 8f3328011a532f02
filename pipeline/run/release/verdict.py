"""What the release check says of an output, in words."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.errors import CheckError
from pipeline.run.anonymize_sidecar import (
    DetectionsRecord,
    FewerBlocksRecord,
    GateRecord,
    SeenThroughRecord,
    UncoveredRecord,
)
from pipeline.run.job import AnonymizeJob

_NAMED = 5
"""Places that the error's line names; the report has all."""


class ReleaseCheckError(CheckError):
    """A face is still seen in the output; nothing was released. ``report.uncovered`` and
    ``report.seen_through`` tell where."""

    def __init__(self, text: str, report: GateRecord) -> None:
        super().__init__(text)
        self.report = report


def refusal(job: AnonymizeJob, gate: GateRecord, fewer: Sequence[FewerBlocksRecord] = ()) -> str:
    """One line for the faces that were seen, with what to do. ``fewer``: tracks that have fewer blocks
    already."""
    frames = len({(face.stream, face.frame) for face in gate.uncovered})
    said, do = [], []
    if gate.uncovered:
        said.append(f"would show a face on {frames} frames ({some(gate.uncovered)})")
        do.append("--region for what must be covered")
    if gate.seen_through:
        tracks = len(gate.seen_through)
        of = "one track" if tracks == 1 else f"{tracks} tracks"
        have = {record.track: record.blocks for record in fewer}
        least = [have[sight.track] for sight in gate.seen_through if sight.track in have]
        tried = f", with {min(least)} blocks, too" if least else ""
        said.append(f"shows faces through the masks of {of} ({some(gate.seen_through)}){tried}")
        do.append("fewer --blocks or --look solid")
    return (
        f"{job.target.name} {' and '.join(said)}; nothing was released. "
        f"Look there, then render again with --from {job.gate_report} and {' and '.join(do)}, "
        "or --gate off where it is no face"
    )


def some(places: Sequence[UncoveredRecord] | Sequence[SeenThroughRecord]) -> str:
    named = "; ".join(_place(place) for place in places[:_NAMED])
    more = len(places) - _NAMED
    return f"{named} and {more} more" if more > 0 else named


def _place(place: UncoveredRecord | SeenThroughRecord) -> str:
    x0, y0, x1, y1 = place.box
    where = f"frame {place.frame} at {place.time_s:.3f} s, {x0:.0f},{y0:.0f} to {x1:.0f},{y1:.0f}"
    if isinstance(place, SeenThroughRecord):
        return f"track {place.track}, {where}"
    return where if place.stream is None else f"stream {place.stream}, {where}"


def fleeting(looks: DetectionsRecord | None, gate: GateRecord | None) -> list[str]:
    """What the time between two looks leaves open: a sentence, or none where every frame was looked at.
    ``looks`` None: the tracks were given."""
    if looks is None:
        return []
    large = looks.frames_unseen if gate is None else gate.frames_unseen
    small = looks.frames_unseen_fine
    if not large and not small:
        return []
    said = f"below {looks.quick_face_px:.0f} px on {_frames(small)}" if small > large else ""
    if large:
        said = f"on {_frames(large)}{f', {said}' if said else ''}"
    return [f"a face that is shown {said} may be left (nobody looked there; --care strict looks everywhere)"]


def _frames(count: int) -> str:
    return "one frame" if count == 1 else f"up to {count} frames"


def approval(gate: GateRecord, *, covered: bool, left: bool, of_nobody: bool = False) -> str:
    """What was checked, for an output that has passed. ``covered``: there are masks in it; ``left``: faces
    were left by choice; ``of_nobody``: the masks' colours come from no face that is under them."""
    beside = " but those that were left by choice" if left else ""
    if not covered:
        said = f"no face was found in the output{beside}"
    elif of_nobody:
        said = f"every face that was found{beside} lies under a mask whose colours are nobody's"
    elif gate.masks_examined is None:
        said = f"every face that was found{beside} lies under a mask; nobody looked through the masks"
    else:
        said = f"every face that was found{beside} lies under a mask, and none is seen through it"
    looks = f"looked at {gate.frames_examined} of {gate.frames_decoded} frames"
    of = "one track" if gate.tracks_examined == 1 else f"{gate.tracks_examined} tracks"
    masks = f" and closely at the masks of {of}" if covered and gate.tracks_examined else ""
    return f"{said}; {looks}{masks}"
