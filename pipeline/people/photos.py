"""Who stays visible because a photo shows them: a face is left only where the network is sure who it is.

A track is compared with the photos where it shows its face best near its birth, and once it is left on every
frame on which it is detected; between two of these it is left only if both are near enough, so that somebody
else to whom a track passes is covered. It is left from a look on that is nearer than ``people.sure``, until
one that is farther than ``STAYS``. A track that is too small or too weak to look at is covered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.errors import InputError
from pipeline.faces import Face, FaceDetector
from pipeline.people.network import AROUND, SIDE_PX, DlibNetwork, Embedding
from pipeline.people.recognition import Looker
from pipeline.picture.cutout import cut_out_of_picture
from pipeline.types import Box, Frame, Region, TrackedFaces, TrackedRegion

PHOTO_SIZE_PX = (640, 640)
"""A photo is looked through at this size; black fills what its shape leaves."""
_SURE_SCORE = 0.5
"""0..1, of the face in a photo, and of a detection that is compared with it"""
STAYS = 0.45
"""Distance to a photo up to which a track that is left stays so."""
MOST_HELD_S = 0.5
"""Seconds that a frame waits for the next look; after that its face is covered."""
_AGAIN_S = 0.5
"""Seconds after which a track that was no match is compared again; then after twice the time."""


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo of one person."""

    name: str
    embedding: Embedding


@dataclass(slots=True)
class _Compared:
    left: bool = False
    again_s: float = -np.inf
    wait_s: float = _AGAIN_S


@dataclass(slots=True)
class Match:
    """Looks at a track and the photo that is nearest to them."""

    photo: str
    distance: float
    """Of the nearest look."""


def read_photo(path: Path, detector: FaceDetector, network: DlibNetwork) -> Photo:
    """``detector`` takes pictures of ``PHOTO_SIZE_PX``. Raises InputError for a file that cannot be read, and
    for a photo that does not show exactly one face."""
    try:
        with Image.open(path) as image:
            picture = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, UnidentifiedImageError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a photo: {error}") from error
    faces = _faces(picture, detector)
    if len(faces) != 1:
        raise InputError(f"{path} shows {len(faces) or 'no'} face{'s' * (len(faces) > 1)}; wanted one person")
    cut = cut_out_of_picture(picture, faces[0], around=AROUND, side_px=SIDE_PX)
    return Photo(path.name, network(cut))


def _faces(picture: NDArray[np.uint8], detector: FaceDetector) -> list[Box]:
    height, width = picture.shape[:2]
    scale = min(PHOTO_SIZE_PX[0] / width, PHOTO_SIZE_PX[1] / height)
    small = Image.fromarray(picture).resize((max(round(width * scale), 1), max(round(height * scale), 1)))
    whole = Image.new("RGB", PHOTO_SIZE_PX)
    whole.paste(small)
    found: list[Face] = detector(np.asarray(whole), _SURE_SCORE)
    boxes = [face.box for face in found]
    return [Box(b.x0 / scale, b.y0 / scale, b.x1 / scale, b.y1 / scale) for b in boxes]


@dataclass(slots=True)
class _Held:
    """A frame that waits until all is known of it."""

    item: TrackedFaces
    time_s: float
    left: dict[int, bool | None]
    """By track; None: the next look decides."""


class KeptByPhoto:
    """The stage: frames without the regions of people who stay visible."""

    def __init__(self, photos: Sequence[Photo], looker: Looker, sure: float) -> None:
        """``sure``: distance below which a look is the person of a photo."""
        self._photos = photos
        self._looker = looker
        self._sure = sure
        self._tracks: dict[int, _Compared] = {}
        self.matches: dict[int, Match] = {}
        """By track, of those that were left."""
        self.nearest: Match | None = None
        """Of all looks; None: there was none."""

    def __call__(self, items: Iterable[TrackedFaces]) -> Iterator[TrackedFaces]:
        """The frames in order. A frame between two looks at a face that was left waits for the second one,
        ``MOST_HELD_S`` at most: the face is left there only if both looks say so."""
        held: deque[_Held] = deque()
        for item in items:
            time_s = float(item.frame.pts * item.frame.time_base)
            left = {t.track: self._judged(t, item, time_s) for t in item.regions}
            for earlier in held:
                is_open = [track for track, known in earlier.left.items() if known is None and track in left]
                earlier.left.update({track: left[track] for track in is_open})
            held.append(_Held(item, time_s, left))
            while held and (None not in held[0].left.values() or time_s - held[0].time_s > MOST_HELD_S):
                yield _without(held.popleft())
        for frame in held:
            yield _without(frame)

    def _judged(self, tracked: TrackedRegion[Region], item: TrackedFaces, time_s: float) -> bool | None:
        """Whether a region is left; None where the next look at its track decides."""
        state = self._tracks.get(tracked.track)
        looked = state is None
        if state is None:
            state = self._tracks[tracked.track] = _Compared()
            reference = item.references.get(tracked.track)
            if reference is not None and reference.score >= _SURE_SCORE:
                self._compare(tracked.track, state, reference.frame, reference.box)
        crowded = state.left and any(
            t.track != tracked.track and t.region.box.iou(tracked.region.box) > 0 for t in item.regions
        )
        if crowded or (tracked.seen and (state.left or time_s >= state.again_s)):
            looked = True
            self._compare(tracked.track, state, item.frame, tracked.region.box)
            state.again_s = time_s + state.wait_s
            state.wait_s = _AGAIN_S if state.left else 2 * state.wait_s
        if tracked.last:
            del self._tracks[tracked.track]
        return state.left if looked or tracked.filled or not state.left else None

    def _compare(self, track: int, state: _Compared, frame: Frame, box: Box) -> None:
        look = self._looker.look(frame, box)
        if look is None:
            state.left = False
            return
        distance, photo = min((float(np.linalg.norm(p.embedding - look)), p.name) for p in self._photos)
        if self.nearest is None or distance < self.nearest.distance:
            self.nearest = Match(photo, distance)
        state.left = distance < (STAYS if state.left else self._sure)
        if state.left:
            known = self.matches.get(track)
            if known is None or distance < known.distance:
                self.matches[track] = Match(photo, distance)


def _without(frame: _Held) -> TrackedFaces:
    """Of what the looks left open, everything is covered."""
    covered = tuple(t for t in frame.item.regions if not frame.left[t.track])
    return replace(frame.item, regions=covered)
