"""Frames between two detections of a face, which nobody has looked at yet: looked at where the face turned or
jumped, so that masks do not lag behind it. Only the face's surroundings are looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from pipeline.faces import Face
from pipeline.track import SLACK_S
from pipeline.track.extend import line_between
from pipeline.track.face_track import FaceTrack, seconds
from pipeline.types import Box, FaceRegion, Found, Frame, Region

Look: TypeAlias = "Callable[[Frame, Box], Face | None]"
"""The face near to where one is expected on a frame; None: there is none."""
_OFF_THE_LINE = 0.1
"""Sizes of the face; a mask of 1.3 times the face leaves 0.15 on each side. Small faces jitter by half."""
_SAME_FACE_IOU = 0.3
_JUMP, _JUMP_S, _ALIKE = 2.5, 0.3, 1.5
"""Sizes of the face and seconds that it may have jumped between two detections, and by what factor the sizes
of the two may differ."""


def look_between(track: FaceTrack, held: Iterable[Found[Region]], look: Look) -> None:
    """Detects on the frames to either side of the last detection but one, where the face turned there so much
    that it is not on the line between two detections."""
    times, boxes = track.times[-3:], track.boxes[-3:]
    if len(times) < 3 or not isinstance(track.regions[-2], FaceRegion):
        return
    straight, middle = line_between(times[1], (times[0], times[2]), (boxes[0], boxes[2])), boxes[1]
    apart = max(abs(p - q) for p, q in zip(straight.centre, middle.centre, strict=True))
    before_s, after_s = times[1] - times[0], times[2] - times[1]
    # Of a face that speeds up evenly; in the middle of a gap of g seconds it is off by acceleration g² / 8.
    acceleration = 2 * apart / (before_s * after_s)
    for gap_s, ends in ((before_s, slice(0, 2)), (after_s, slice(1, 3))):
        start_s, end_s = times[ends]
        off = acceleration * gap_s**2 / 8
        if start_s < track.looked_s or off <= _OFF_THE_LINE * max(middle.width, middle.height):
            continue
        track.looked_s = end_s
        for item in held:
            time_s = seconds(item)
            if start_s + SLACK_S < time_s < end_s - SLACK_S:
                expected = line_between(time_s, times[ends], boxes[ends])
                face = look(item.frame, expected)
                if face is not None and _alike(face.box, expected):
                    track.insert(time_s, FaceRegion(face.box, face.score, face.landmarks))


def may_be_one(old: FaceTrack, new: FaceTrack) -> bool:
    """Whether a face may have jumped from where it was seen last to where a track begins."""
    a, b = old.boxes[-1], new.boxes[0]
    apart = max(abs(p - q) for p, q in zip(a.centre, b.centre, strict=True))
    larger = max(a.width, a.height, b.width, b.height)
    return new.times[0] - old.times[-1] <= _JUMP_S and _alike(a, b) and apart <= _JUMP * larger


def follow(
    track: FaceTrack,
    new: FaceTrack,
    frames: Iterable[Found[Region]],
    look: Look,
) -> bool:
    """Detects on the frames after a track's last detection, one by one, while the face is seen.

    True where it comes to where ``new`` begins: the track has the detections on the way and that of ``new``,
    then. Else it stays as it is.
    """
    way: list[tuple[float, FaceRegion]] = []
    last = track.boxes[-1]
    for item in frames:
        time_s = seconds(item)
        if time_s <= track.times[-1] + SLACK_S:
            continue
        face = look(item.frame, last)
        if face is None or not _alike(face.box, last):
            return False
        if time_s == new.times[0]:
            if face.box.iou(new.boxes[0]) < _SAME_FACE_IOU:
                return False
            for when, region in way:
                track.insert(when, region)
            track.add(time_s, new.regions[0])
            return True
        last = face.box
        way.append((time_s, FaceRegion(face.box, face.score, face.landmarks)))
    return False


def _alike(a: Box, b: Box) -> bool:
    """Whether two boxes may be of one face at about the same time, by their sizes."""
    smaller, larger = sorted(max(box.width, box.height) for box in (a, b))
    return larger <= _ALIKE * smaller
