"""The small upright RGB picture of a frame that a detector gets, and the way back to the frame's px."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pipeline.cuda import sent
from pipeline.faces import Face, FaceDetector, Picture
from pipeline.picture import resize
from pipeline.types import Box, Frame, StreamInfo

NET_FACE_PX = 20
"""Height of a face from which the detectors find it for sure (figures: ``pipeline.faces.centerface``)."""
SMALLEST_PX = 20
LEAST_SHARE = 1 / 54
"""of the shorter side: with ``SMALLEST_PX`` what ``min_face_px`` is by default: 20 px up to 1080 lines."""
_QUICK_PX = 40
_QUICK_SHARE = 0.08
"""of the shorter side: with ``_QUICK_PX`` the smallest face of quick detections, 86 px of 1080"""
_GATE_PX = 36
_GATE_SHARE = 0.06
"""of the shorter side: the same for the release check, whose scale is neither of the two others"""
_WORTH = 1.3
"""A quick detection that saves less than this factor of the pixels is not worth a second network."""
_MULTIPLE = 32
_GIVE = 0.08
_STEPS = 16
_TURNS = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}


@dataclass(frozen=True, slots=True)
class SmallPicture:
    """How frames of one stream become pictures of one size. The picture fills the upper left corner."""

    width: int
    height: int
    """Size in px of the part that is filled, as coded."""
    rotation: int
    """Degrees counter-clockwise from coded to upright."""
    frame_width: int
    frame_height: int
    mirrored: bool = False
    """Left and right change places against what is shown, so that the same detector sees something else."""
    shown_mirrored: bool = False
    """A player exchanges left and right (``StreamInfo.mirrored``)."""

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height) of the whole picture, upright, multiples of 32."""
        w, h = (self.height, self.width) if self.rotation % 180 else (self.width, self.height)
        return -(-w // _MULTIPLE) * _MULTIPLE, -(-h // _MULTIPLE) * _MULTIPLE

    @property
    def sure_face_px(self) -> float:
        """Height of a face, in px of the frame as coded, from which the detectors find it for sure."""
        return NET_FACE_PX * self.frame_height / self.height

    @property
    def _is_flipped(self) -> bool:
        """Against the picture as coded, once it is turned."""
        return self.mirrored != self.shown_mirrored

    def from_frame(self, frame: Frame) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB, about right in colour, black where nothing is shown."""
        small = resize.rgb_on_host(frame, self.width, self.height)
        small = turned_upright(small, self.rotation)
        if self._is_flipped:
            small = small[:, ::-1]
        full_width, full_height = self.size_px
        out = np.zeros((full_height, full_width, 3), np.uint8)
        out[: small.shape[0], : small.shape[1]] = small
        return out

    def on_device(self, frame: Frame) -> Tensor:
        """The same as (1, 3, H, W) float32 of whole levels, on the frame's device."""
        small = resize.rgb_on_device(frame, self.width, self.height)
        small = torch.rot90(small, self.rotation // 90, (1, 2))  # counter-clockwise
        if self._is_flipped:
            small = small.flip(2)
        full_width, full_height = self.size_px
        return F.pad(small, (0, full_width - small.shape[2], 0, full_height - small.shape[1]))[None]

    def back(self, face: Face) -> Face:
        """A face of the picture in px of the frame as coded."""
        box = face.box
        corners = self._points(np.array([[box.x0, box.y0], [box.x1, box.y1]], np.float64))
        (x0, y0), (x1, y1) = np.sort(corners, axis=0).tolist()
        marks = face.landmarks
        if marks is not None:
            marks = self._points(marks.astype(np.float64)).astype(np.float32)
            if self.mirrored:
                marks = marks[[1, 0, 2, 4, 3]]
        return Face(face.score, Box(x0, y0, x1, y1), marks)

    def _points(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = points[:, 0], points[:, 1]
        if self._is_flipped:
            x = (self.height if self.rotation % 180 else self.width) - x
        # What turning by the rotation did, undone.
        match self.rotation:
            case 90:
                x, y = self.width - y, x
            case 180:
                x, y = self.width - x, self.height - y
            case 270:
                x, y = y, self.height - x
        return np.stack([x * self.frame_width / self.width, y * self.frame_height / self.height], 1)


@dataclass(frozen=True, slots=True)
class DetectorView:
    """A detector and the small picture of a frame that it gets."""

    detector: FaceDetector
    picture: SmallPicture

    def faces(self, frame: Frame, min_score: float) -> list[Face]:
        """Faces in px of the frame as coded. The picture is made on the detector's device."""
        device = self.detector.device
        small: Picture
        if device.type == "cpu":
            small = self.picture.from_frame(frame)
        else:
            small = self.picture.on_device(sent(frame, device))
        return [self.picture.back(face) for face in self.detector(small, min_score)]


def turned_upright(picture: NDArray[np.uint8], rotation: int) -> NDArray[np.uint8]:
    """(H, W, 3), turned by ``rotation`` degrees counter-clockwise."""
    return np.asarray(cv2.rotate(picture, _TURNS[rotation]), np.uint8) if rotation else picture


def small_picture(info: StreamInfo, min_face_px: float, mirrored: bool = False) -> SmallPicture:
    """Scaled so that a face of ``min_face_px`` (px as coded) gets ``NET_FACE_PX``, never enlarged.

    Pixels become square, so that faces have their shape. Up to ``_GIVE`` smaller where that wastes less of
    the network's input, whose sides are multiples of 32.
    """
    most = min(1.0, NET_FACE_PX / min_face_px)
    aspect = float(info.sample_aspect)
    wide, high = max(1.0, aspect), max(1.0, 1 / aspect)

    def at(scale: float) -> SmallPicture:
        width = max(1, math.floor(info.width * wide * scale + 0.5))
        height = max(1, math.floor(info.height * high * scale + 0.5))
        return SmallPicture(
            width, height, info.rotation, info.width, info.height, mirrored, shown_mirrored=info.mirrored
        )

    sizes = [at(most * (1 - _GIVE * step / _STEPS)) for step in range(_STEPS + 1)]
    return min(sizes, key=lambda size: math.prod(size.size_px) / (size.width * size.height) ** 0.5)


@dataclass(frozen=True, slots=True)
class Scales:
    """The pictures of a run: to detect all faces, to detect quickly in between, and for the release check."""

    min_face_px: float
    """px of the picture as coded; smaller faces are not detected"""
    quick_face_px: float
    fine: SmallPicture
    quick: SmallPicture
    """``fine`` itself where that is hardly larger"""
    gate: SmallPicture


def scales(info: StreamInfo, min_face_px: float | None) -> Scales:
    """``min_face_px`` None: a share of the picture's size."""
    shorter = min(info.width, info.height)
    least = min_face_px or max(SMALLEST_PX, LEAST_SHARE * shorter)
    larger = max(least, _QUICK_PX, _QUICK_SHARE * shorter)
    fine, quick = small_picture(info, least), small_picture(info, larger)
    if math.prod(fine.size_px) < _WORTH * math.prod(quick.size_px):
        quick, larger = fine, least
    again = 1.5 * min_face_px if min_face_px else max(_GATE_PX, _GATE_SHARE * shorter)
    gate = small_picture(info, again, mirrored=True)
    return Scales(least, larger, fine, quick, gate)
