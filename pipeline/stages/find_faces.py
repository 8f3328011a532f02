"""Face detection as a stage: which frames the detector runs on, and what it finds there.

Every frame is decoded and compared with the frame before it and with the one on which the detector ran last.
The detector runs on the first and the last frame of a shot, on a frame that differs much from the last one it
ran on, and else so often that no more than ``FacesConfig.every_s`` and ``every_frames`` lie between two
detections, nor more than ``fine_every_s`` and ``fine_every_frames`` between two that find the smallest faces.
A frame between two detections has no regions: tracks pass over it from the one to the other.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.answers import answered
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
class DetectionCount:
    """On how many frames the detector ran."""

    quick: int = 0
    """In the quick view, which shows large faces."""
    fine: int = 0
    """In the fine view, and in the quick one where there are two."""
    frames: array[int] = field(default_factory=lambda: array("q"))
    """Indices of all of them."""
    fine_frames: array[int] = field(default_factory=lambda: array("q"))
    """Of those in the fine view."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """The newest frame: the one after it decides whether the detector runs on it."""

    frame: Frame
    time_s: float
    cut: bool
    thumbnail: NDArray[np.uint8]


class FaceDetection:
    """The stage, with the count of its detections. ``quick`` is ``fine`` where one view shows all faces.

    With ``mosaics`` also faces that are pixelated already are found: each mosaic with its grid, grown by the
    face that the detector finds in it.
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
        self._detected_s = self._fine_s = -math.inf
        self._detected_at = self._fine_at = 0
        self._seen = np.empty(0, np.uint8)
        self.count = DetectionCount()
        """So far."""
        views = [fine] if quick is fine else [fine, quick]
        self.calls = min(view.detector.calls for view in views)
        """Frames that are detected on at a time."""
        self.name = ", ".join(view.detector.name for view in views)
        """Of the detectors."""

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Found[Region]]:
        """Each frame with its faces, in px of the frame as coded, in order.

        One is held back, and with ``calls`` above 1 up to ``flow.lookahead_items(calls)`` are in here.

        Where the detector runs depends on the frames alone, so several frames are worked on at a time.
        """
        for item, faces in spread(self._planned(frames), self.calls, "detect"):
            yield self._found(item, faces)

    def _planned(self, frames: Iterable[Frame]) -> Iterator[tuple[_Waiting, Callable[[], list[Face]] | None]]:
        cuts = Cuts()
        waiting: _Waiting | None = None
        for frame in frames:
            small = thumbnail(frame)
            cut = cuts.before_thumbnail(small)
            time_s = float(frame.pts * frame.time_base)
            if waiting is not None:
                yield waiting, self._job(waiting, None if cut else time_s)
            waiting = _Waiting(frame, time_s, cut or waiting is None, small)
        if waiting is not None:
            yield waiting, self._job(waiting, None)

    def _job(self, item: _Waiting, next_s: float | None) -> Callable[[], list[Face]] | None:
        """The detection on a frame that is due for one. ``next_s``: time of the next frame of the same shot,
        None: there is none."""
        settings = self._settings
        following = item.frame.index + 1
        fine = (
            item.cut
            or next_s is None
            or next_s - self._fine_s > settings.fine_look_s + SLACK_S
            or following - self._fine_at > settings.fine_every_frames
        )
        due = (
            fine
            or (next_s or 0.0) - self._detected_s > settings.look_s + SLACK_S
            or following - self._detected_at > settings.every_frames
        )
        if not due and cv2.absdiff(item.thumbnail, self._seen).mean() <= _CHANGE_LEVELS:
            return None
        self.count.frames.append(item.frame.index)
        self._detected_s, self._detected_at, self._seen = item.time_s, item.frame.index, item.thumbnail
        if fine or self._quick is self._fine:
            self._fine_s, self._fine_at = item.time_s, item.frame.index
            self.count.fine += 1
            self.count.fine_frames.append(item.frame.index)
        else:
            self.count.quick += 1
        look = partial(self._looked, item.frame, fine=fine)
        return partial(answered, f"faces {item.frame.index} {fine:d}", look)

    def _looked(self, frame: Frame, *, fine: bool) -> list[Face]:
        min_score = self._settings.min_score
        if self._quick is self._fine:
            return self._fine.faces(frame, min_score)
        quick = self._quick.faces(frame, min_score)
        if not fine:
            return quick
        # Of a face found in both views the quick one's box is kept, whose scale its other detections have,
        # unless the face is too small for that view, which puts it beside its place then.
        sure_px, all_faces = self._quick.picture.sure_face_px, self._fine.faces(frame, min_score)
        small = [f for f in all_faces if max(f.box.width, f.box.height) < sure_px]
        faces = [f for f in quick if not _is_among(f, small)]
        return faces + [f for f in all_faces if not _is_among(f, faces)]

    def _found(self, item: _Waiting, faces: list[Face] | None) -> Found[Region]:
        """``faces`` None: the detector did not run."""
        if faces is None:
            return Found(item.frame, (), item.cut)
        faces_found = [FaceRegion(f.box, f.score, f.landmarks) for f in faces]
        if self._mosaics is not None:
            expected = [] if item.cut else self._previous
            self._previous = answered(
                f"mosaics {item.frame.index}",
                partial(_mosaics, item.frame, self._mosaics, expected),
            )
            return Found(item.frame, tuple(_joined(faces_found, self._previous)), item.cut)
        return Found(item.frame, tuple(faces_found), item.cut)


def _is_among(face: Face, others: list[Face]) -> bool:
    return any(face.box.iou(other.box) >= _SAME_FACE_IOU for other in others)


def _mosaics(frame: Frame, settings: FindConfig, expected: list[MosaicRegion]) -> list[MosaicRegion]:
    return find_mosaics_in_picture(luma8(frame), settings, expected)


def _joined(faces: list[FaceRegion], mosaics: list[MosaicRegion]) -> list[Region]:
    """Mosaics with the faces in them, and the other faces."""
    joined: list[Region] = []
    for mosaic in mosaics:
        inside = [f for f in faces if f.box.covered(mosaic.box) >= _SAME_PLACE]
        faces = [f for f in faces if f not in inside]
        box = mosaic.box
        for face in inside:
            box = box.hull(face.box)
        face_score = max((face.score for face in inside), default=0.0)
        score = max(mosaic.score, face_score)
        joined.append(MosaicRegion(box, mosaic.shape, score, mosaic.grid, face_score=face_score))
    return joined + faces
