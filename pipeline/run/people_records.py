"""The people of a run, as its report tells of them: tracks put together, numbered by their time on screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from pipeline.errors import UsageError
from pipeline.run.track_records import FaceTrackRecord
from pipeline.types import StreamInfo

WEAK_SCORE = 0.5
"""0..1: who was never seen with this score, that of the release check, may be no face and comes last."""


class PersonRecord(BaseModel):
    """One person in one file. Times in seconds from the file's zero."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    person: int
    """From 1: in order of time on screen, those whom no detection was sure of last."""
    tracks: list[int]
    seconds: float
    """From the first to the last sight of each track, without what is filled before and after."""
    appearances: int
    """Times that the person comes into view: a shot or a part of one."""
    first_s: float
    last_s: float
    score: float | None
    """0..1, of the best detection; None where an earlier run did not tell."""
    decision: Literal["covered", "left", "covered in part"]
    photo: str | None = None
    """File name of the photo that the person was left for."""
    distance: float | None = None
    """Of the nearest look to that photo."""


def numbered(
    tracks: Sequence[FaceTrackRecord],
    info: StreamInfo,
    joined: Mapping[int, int] | None = None,
    photos: Mapping[int, tuple[str, float]] | None = None,
    *,
    keep_numbers: bool = False,
) -> tuple[list[FaceTrackRecord], list[PersonRecord]]:
    """The tracks with the final number of their person, and the people in order.

    ``joined`` maps persons that turned out to be one; ``photos`` has file name and distance by track.
    A track without a person is one of its own, those drawn by hand are nobody's. With ``keep_numbers`` people
    keep the numbers that they have.
    """
    joined = joined or {}
    groups: dict[tuple[bool, int], list[FaceTrackRecord]] = {}
    for track in tracks:
        if track.track > 0:
            key = (True, joined.get(track.person, track.person)) if track.person else (False, track.track)
            groups.setdefault(key, []).append(track)
    people = [_person(key[1], group, info, photos or {}) for key, group in groups.items()]
    if not keep_numbers:
        people.sort(key=lambda p: (p.score is not None and p.score < WEAK_SCORE, -p.seconds, p.tracks[0]))
        people = [p.model_copy(update={"person": number}) for number, p in enumerate(people, start=1)]
    people.sort(key=lambda p: p.person)
    number_of = {track: p.person for p in people for track in p.tracks}
    return [t.model_copy(update={"person": number_of.get(t.track, 0)}) for t in tracks], people


def _person(
    number: int,
    tracks: Sequence[FaceTrackRecord],
    info: StreamInfo,
    photos: Mapping[int, tuple[str, float]],
) -> PersonRecord:
    spans = sorted(_in_view(track) for track in tracks)
    seconds, appearances, end = 0.0, 0, -1
    for first, last in spans:
        appearances += first > end
        if last > end:
            seconds += _lasting(info, max(first, end + 1), last)
            end = last
    scores = [track.score for track in tracks if track.score is not None]
    decisions = {track.decision for track in tracks}
    matched = [photos[t.track] for t in tracks if t.track in photos]
    photo, distance = min(matched, key=lambda m: m[1], default=(None, None))
    return PersonRecord(
        person=number,
        tracks=sorted(track.track for track in tracks),
        seconds=round(seconds, 3),
        appearances=appearances,
        first_s=min(track.first_s for track in tracks),
        last_s=max(track.last_s for track in tracks),
        score=max(scores) if scores else None,
        decision=decisions.pop() if len(decisions) == 1 else "covered in part",
        photo=photo,
        distance=None if distance is None else round(distance, 3),
    )


def _in_view(track: FaceTrackRecord) -> tuple[int, int]:
    """Frames of the first and the last sight; of a track that was never seen, all of it."""
    seen = [i for i, row in enumerate(track.boxes) if row is not None and row[4]]
    first, last = (seen[0], seen[-1]) if seen else (0, len(track.boxes) - 1)
    return track.first_frame + first, track.first_frame + last


def _lasting(info: StreamInfo, first: int, last: int) -> float:
    """Seconds from the beginning of one frame to the end of another."""
    if last + 1 < len(info.pts):
        return float((info.pts[last + 1] - info.pts[first]) * info.time_base)
    return float((info.pts[last] - info.pts[first]) * info.time_base + 1 / info.rate)


def put_together(
    tracks: Sequence[FaceTrackRecord], same: Sequence[Sequence[int]]
) -> tuple[FaceTrackRecord, ...]:
    """Tracks whose people are made one, group by group, under the number of the first of a group.

    Raises UsageError for a person who is not there.
    """
    known, names = {track.person for track in tracks} - {0}, {0: 0}
    names.update((person, person) for person in known)
    for first, *others in same:
        for person in (first, *others):
            if person not in known:
                have = ", ".join(map(str, sorted(known))) or "none"
                raise UsageError(f"--same {person}: there is no such person; there are {have}")
        gone = {names[person] for person in others}
        names.update((person, names[first]) for person, name in names.items() if name in gone)
    return tuple(track.model_copy(update={"person": names[track.person]}) for track in tracks)


def of_people(tracks: Sequence[FaceTrackRecord]) -> tuple[FaceTrackRecord, ...]:
    """Tracks of a report, each with a person: its own number where the report knows no people."""
    known = any(track.person for track in tracks)
    return tuple(t if known else t.model_copy(update={"person": max(t.track, 0)}) for t in tracks)
