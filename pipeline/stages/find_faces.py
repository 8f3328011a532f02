"""Finder of faces as a stage: which frames the network looks at, and what it sees there.

Every frame is decoded, and compared with the one before it and with the one that was looked at last. The
network looks at the first and the last frame of a shot, at a frame that differs much from the last one it
looked at, and else so often that no more than ``FacesConfig.every_s`` lie between two looks, nor more than
``fine_every_s`` between two that see the smallest faces. A frame between two looks has no regions of its own:
tracks pass over it from the one to the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.config import FacesConfig, FindConfig
from pipeline.faces import Face
from pipeline.faces.input_picture import DetectorView
from pipeline.flow import spread
from pipeline.mosaic.finder import find_mosaics_in_picture
from pipeline.picture.resize import luma8
from pipeline.stages.shot_cuts import Cuts, thumbnail
from pipeline.track import SLACK_S
from pipeline.types import FaceRegion, Found, Frame, MosaicRegion, Region

_SAME_FACE_IOU = 0.3
_SAME_PLACE = 0.5
"""Share of a face that lies in a mosaic, from which it is the face under the mosaic."""
_CHANGE_LEVELS = 10.0
"""Mean difference of two thumbnails, of 255; a third of what makes a cut."""


@dataclass(slots=True)
class Looks:
    """How many frames the network has looked at."""

    quick: int = 0
    fine: int = 0
    """That is, with the fine eye, and the quick one where there are two."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """The newest frame: the one after it decides whether it is looked at."""

    frame: Frame
    time_s: float
    cut: bool
    thumbnail: NDArray[np.uint8]


class FaceLooker:
    """The stage, with the record of where it looked. ``quick`` is ``fine`` where one look sees all faces.

    With ``mosaics`` also faces that are pixelated already are found: each mosaic with its grid, grown by the
    face that the finder sees in it.
    """

    def __init__(
        self,
        fine: DetectorView,
        quick: DetectorView,
        settings: FacesConfig,
        mosaics: FindConfig | None = None,
    ) -> None:
        self._fine = fine
        self._quick = quick
        self._settings = settings
        self._mosaics = mosaics
        self._previous: list[MosaicRegion] = []
        self._looked_s = self._fine_s = -math.inf
        self._seen = np.empty(0, np.uint8)
        self.looks = Looks()
        """So far."""
        eyes = [fine] if quick is fine else [fine, quick]
        self.calls = min(eye.detector.calls for eye in eyes)
        """Frames that are looked at at a time."""
        self.name = ", ".join(eye.detector.name for eye in eyes)
        """Of what looks."""

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Found[Region]]:
        """Each frame with its faces, in px of the frame as coded, in order.

        One is held back, and with ``calls`` above 1 up to ``flow.lookahead_items(calls)`` are in here.

        Where to look depends on the frames alone, so looks at several of them run at a time.
        """
        for item, faces in spread(self._planned(frames), self.calls, "look"):
            yield self._found(item, faces)

    def _planned(self, frames: Iterable[Frame]) -> Iterator[tuple[_Waiting, Callable[[], list[Face]] | None]]:
        cuts = Cuts()
        waiting: _Waiting | None = None
        for frame in frames:
            small = thumbnail(frame)
            cut = cuts.before_thumbnail(frame.index, small)
            time_s = float(frame.pts * frame.time_base)
            if waiting is not None:
                yield waiting, self._look(waiting, None if cut else time_s)
            waiting = _Waiting(frame, time_s, cut or waiting is None, small)
        if waiting is not None:
            yield waiting, self._look(waiting, None)

    def _look(self, item: _Waiting, next_s: float | None) -> Callable[[], list[Face]] | None:
        """The look at a frame that is due for one. ``next_s``: time of the next frame of the same shot, None:
        there is none."""
        settings = self._settings
        fine = item.cut or next_s is None or next_s - self._fine_s > settings.fine_every_s + SLACK_S
        due = fine or next_s is None or next_s - self._looked_s > settings.every_s + SLACK_S
        if not due and cv2.absdiff(item.thumbnail, self._seen).mean() <= _CHANGE_LEVELS:
            return None
        self._looked_s, self._seen = item.time_s, item.thumbnail
        if fine or self._quick is self._fine:
            self._fine_s = item.time_s
            self.looks.fine += 1
        else:
            self.looks.quick += 1
        return partial(self._faces, item.frame, fine=fine)

    def _faces(self, frame: Frame, *, fine: bool) -> list[Face]:
        min_score = self._settings.min_score
        one_eye = self._quick is self._fine
        faces: list[Face] = [] if fine and one_eye else self._quick.faces(frame, min_score)
        if fine:
            # A face that both see keeps the box of the quick one, whose scale its other sights have.
            all_faces = self._fine.faces(frame, min_score)
            faces += [f for f in all_faces if all(f.box.iou(g.box) < _SAME_FACE_IOU for g in faces)]
        return faces

    def _found(self, item: _Waiting, faces: list[Face] | None) -> Found[Region]:
        """``faces`` None: nobody looked."""
        if faces is None:
            return Found(item.frame, (), item.cut)
        faces_found = [FaceRegion(f.box, f.score, f.landmarks) for f in faces]
        if self._mosaics is not None:
            expected = [] if item.cut else self._previous
            self._previous = find_mosaics_in_picture(luma8(item.frame), self._mosaics, expected)
            return Found(item.frame, tuple(_joined(faces_found, self._previous)), item.cut)
        return Found(item.frame, tuple(faces_found), item.cut)


def _joined(faces: list[FaceRegion], mosaics: list[MosaicRegion]) -> list[Region]:
    """Mosaics with the faces in them, and the other faces."""
    joined: list[Region] = []
    for mosaic in mosaics:
        inside = [f for f in faces if f.box.covered(mosaic.box) >= _SAME_PLACE]
        faces = [f for f in faces if f not in inside]
        box, score = mosaic.box, mosaic.score
        for face in inside:
            box, score = box.hull(face.box), max(score, face.score)
        joined.append(MosaicRegion(box, mosaic.shape, score, mosaic.grid))
    return joined + faces
