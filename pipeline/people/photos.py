"""Who stays visible because a photo shows them: a face is left only where the network is sure who it is.

A track is compared with the photos where it shows its face best near its birth, and once it is left on every
frame on which it is detected, so that a track that passes to somebody else is covered again from the next
detection. It is left from a look that is nearer than ``people.sure`` on, until one that is farther than
``STAYS``. A track that is too small or too weak to look at is covered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
    """A track that was left."""

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


class KeptByPhoto:
    """Says of each region whether a photo shows its person, frame by frame in order."""

    def __init__(self, photos: Sequence[Photo], looker: Looker, sure: float) -> None:
        """``sure``: distance below which a look is the person of a photo."""
        self._photos = photos
        self._looker = looker
        self._sure = sure
        self._tracks: dict[int, _Compared] = {}
        self.matches: dict[int, Match] = {}
        """By track, of those that were left."""

    def leaves(self, tracked: TrackedRegion[Region], item: TrackedFaces) -> bool:
        """Whether a region of ``item`` stays as it is."""
        state = self._tracks.get(tracked.track)
        if state is None:
            state = self._tracks[tracked.track] = _Compared()
            reference = item.references.get(tracked.track)
            if reference is not None and reference.score >= _SURE_SCORE:
                self._compare(tracked.track, state, reference.frame, reference.box)
        time_s = float(item.frame.pts * item.frame.time_base)
        crowded = state.left and any(
            t.track != tracked.track and t.region.box.iou(tracked.region.box) > 0 for t in item.regions
        )
        due = tracked.seen and (state.left or time_s >= state.again_s)
        if crowded or due:
            self._compare(tracked.track, state, item.frame, tracked.region.box)
            if not state.left:
                state.again_s, state.wait_s = time_s + state.wait_s, 2 * state.wait_s
        if tracked.last:
            del self._tracks[tracked.track]
        return state.left

    def _compare(self, track: int, state: _Compared, frame: Frame, box: Box) -> None:
        look = self._looker.look(frame, box)
        if look is None:
            state.left = False
            return
        distance, photo = min((float(np.linalg.norm(p.embedding - look)), p.name) for p in self._photos)
        state.left = distance < (STAYS if state.left else self._sure)
        if state.left:
            known = self.matches.get(track)
            if known is None or distance < known.distance:
                self.matches[track] = Match(photo, distance)
