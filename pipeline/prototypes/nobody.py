"""The colours of people who are covered with a mean of many others: chosen once per person."""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass, field
from functools import partial

from torch import Tensor

from pipeline.answers import answered
from pipeline.config import MaskConfig
from pipeline.picture.color import Conversion
from pipeline.picture.grid_paint import measure
from pipeline.picture.wanted import Wanted
from pipeline.prototypes.choice import Told, choose, looks_at_the_face, told
from pipeline.prototypes.pose import roll
from pipeline.prototypes.prototype import SKIN_CELLS, SKIN_PART, TONES, Prototype, shipped, skin_colour
from pipeline.prototypes.scene import Scene, read_scene
from pipeline.prototypes.variation import PLAIN, Variation
from pipeline.types import Box, FaceRegion, Frame, Region, StreamInfo, TrackedFaces, TrackedRegion

_TURN = 15.0
"""Degrees of a step of roll."""
_TURNS_AT = 11.0
"""Degrees from the step that is shown, from which another one is."""
_MOST_TURN = 60.0
"""A face that seems to be turned further is not believed."""
_SLOW = 0.5
"""Weight of what was seen before in the roll."""
_SAME_PLACE = 0.3
"""IoU from which a track goes on with the mean of another one that was there until"""
_SAME_PLACE_S = 1.0
"""so many seconds before."""

_Person = tuple[int, int]
"""(person, 0) where that is known, else (0, track)"""


@dataclass(slots=True)
class Given:
    """What one person is covered with."""

    prototype: Prototype
    number: int
    """of the prototype, from 1"""
    told: tuple[Told, ...]
    measured: int
    """times that the face's colour was measured"""
    person: int
    variation: Variation
    tracks: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Track:
    """How a track is painted."""

    given: Given
    scene: Scene
    turn: float = 0.0
    """degrees, smoothed"""
    step: float = 0.0
    """degrees that are shown"""
    last_s: float = 0.0
    box: Box | None = None


class NobodyColours:
    """Of all tracks of a run, with the record of what was chosen."""

    of_nobody = True

    def __init__(self, info: StreamInfo, settings: MaskConfig, choosing: str) -> None:
        self._settings = settings
        self._choosing = choosing
        self._upright = float(info.rotation)
        self._means = shipped()
        self._people: dict[_Person, Given] = {}
        self._tracks: dict[int, _Track] = {}
        self._skin: dict[int, Tensor] = {}
        self._scene: tuple[float, Scene] | None = None
        """When the last track began, in s, and the scene then: tracks of one frame are lit alike."""

    @property
    def given(self) -> list[Given]:
        """What everybody got, in order of their first tracks."""
        unique = {id(g): g for g in self._people.values()}
        return sorted(unique.values(), key=lambda g: g.tracks[0])

    def begin(self, item: TrackedFaces, convert: Conversion) -> None:
        """Looks at the faces of tracks that are born on this frame, where they are seen best, if the choice
        asks for that."""
        if not looks_at_the_face(self._choosing):
            return
        for tracked in item.regions:
            reference = item.references.get(tracked.track)
            if reference is not None and _person(tracked) not in self._people:
                self._skin[tracked.track] = _skin(reference.frame, reference.box, convert)

    def samples(self, wanted: Wanted) -> Tensor:
        """(3, R, C): the head of nobody."""
        tracked, now_s = wanted.tracked, _seconds(wanted)
        track = self._tracks.get(tracked.track)
        if track is None:
            track = self._tracks[tracked.track] = self._begun(wanted)
        track.last_s, track.box = now_s, tracked.region.box
        self._turn(track, tracked.region)
        given, turn = track.given, self._upright + track.step
        place = given.variation.place(now_s)
        head = given.prototype.head(wanted.cells, self._settings.scale, turn, given.variation, place)
        return track.scene.on(head)

    def _begun(self, wanted: Wanted) -> _Track:
        frame, tracked, convert = wanted.item.frame, wanted.tracked, wanted.convert
        person, before = _person(tracked), self._before(tracked, _seconds(wanted))
        scene = self._read(wanted)
        given = self._people.get(person)
        if given is None and before is not None and not tracked.person:
            given = before.given
        skin = self._skin.pop(tracked.track, None)
        if given is None:
            if skin is None and looks_at_the_face(self._choosing):
                skin = _skin(frame, tracked.region.box, convert)
            given = self._drawn(tracked, skin, scene)
        self._people[person] = given
        given.tracks.append(tracked.track)
        turned = _Track(given, scene)
        if before is not None:
            turned.turn, turned.step = before.turn, before.step
        return turned

    def _drawn(self, tracked: TrackedRegion[Region], skin: Tensor | None, scene: Scene) -> Given:
        prototypes = self._means.prototypes
        others = [g.prototype for g in self.given]
        number = answered(
            f"nobody {tracked.track}",
            lambda: prototypes.index(choose(self._choosing, self._means, skin, scene, others)) + 1,
        )
        prototype, variation = prototypes[number - 1], PLAIN
        if not self._choosing.isdecimal():
            seed = answered(f"variation {tracked.track}", partial(secrets.randbits, 32))
            variation = Variation.drawn(seed, dark=prototype.tone == len(TONES) - 1)
        measured = int(skin is not None)
        return Given(prototype, number, told(self._choosing), measured, tracked.person, variation)

    def _read(self, wanted: Wanted) -> Scene:
        """The scene of a frame, read once."""
        now_s, last = _seconds(wanted), self._scene
        if last is not None and last[0] == now_s:
            return last[1]
        before = None if last is None else last[1]
        scene = read_scene(wanted.item.frame, wanted.masks, wanted.convert, before)
        self._scene = now_s, scene
        return scene

    def _before(self, tracked: TrackedRegion[Region], now_s: float) -> _Track | None:
        """The track that this one goes on with: one that was just there."""
        box = tracked.region.box
        near = [
            (track.last_s, number)
            for number, track in self._tracks.items()
            if track.box is not None
            and now_s - track.last_s <= _SAME_PLACE_S
            and track.box.iou(box) >= _SAME_PLACE
        ]
        return self._tracks[max(near)[1]] if near else None

    def _turn(self, track: _Track, region: Region) -> None:
        marks = region.landmarks if isinstance(region, FaceRegion) else None
        if marks is None:
            return
        turn = math.remainder(roll(marks) - self._upright, 360)
        if abs(turn) > _MOST_TURN:
            return
        track.turn = _SLOW * track.turn + (1 - _SLOW) * turn
        if abs(track.turn - track.step) > _TURNS_AT:
            track.step = round(track.turn / _TURN) * _TURN


def _seconds(wanted: Wanted) -> float:
    return float(wanted.item.frame.pts * wanted.item.frame.time_base)


def _person(tracked: TrackedRegion[Region]) -> _Person:
    return (tracked.person, 0) if tracked.person else (0, tracked.track)


def _skin(frame: Frame, face: Box, convert: Conversion) -> Tensor:
    """(3,) RGB of a face's skin."""
    (measured,) = measure(frame, [face.scaled(SKIN_PART)], [(SKIN_CELLS, SKIN_CELLS)], convert)
    return skin_colour(measured.samples)
