"""A second opinion on a face that the detector saw, from the surroundings of its box alone.

Two small networks give it.

- *The close look* is CenterFace once more, on another picture: the mirrored square around the box, scaled so
  that the face has the size that the network knows best, brightened where it is dark. A face is seen again; a
  sleeve or a pattern of leaves hardly ever is.
- *The flag* is MediaPipe's face landmark network (Kartynnik et al., arXiv 1907.06724): is there a face to
  have landmarks? It knows small and half-turned faces, and no head from behind or in full profile. So it may
  speak for a face, and its silence says little.

``weights/README.md`` tells where both come from.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.answers import answered
from pipeline.engines.detector_runtime import compile_on_cpu
from pipeline.faces import Face
from pipeline.faces.centerface import CenterFace
from pipeline.faces.square import Square
from pipeline.faces.weights import shipped
from pipeline.types import Box, Frame

FLAG_PX = 192
_FLAG_MARGIN = 1.6
_CLOSE_PX = 128
_CLOSE_MARGIN = 3.0
"""A face is 43 px high then."""
_WEAKEST = 0.02
"""Score, 0..1, of what the close look tells of at all."""
_SAME_FACE_IOU = 0.35
_ENOUGH = 0.4
"""Score of the close look from which the landmark network is not asked, too."""
_SEARCHED = 0.8
"""Sizes of the face that it may lie beside its expected place."""
_BRIGHT, _BRIGHTEST_GAIN = 230.0, 8.0
"""Level, of 255, to which the brightest 2 % of a dark crop are raised, and by what factor at most."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """Of one box on one frame."""

    close: float
    """0..1, score of the face that the close look sees in the same place"""
    flag: bool
    """True where the landmark network was asked and sees a face."""


class SecondOpinion:
    """Both networks, on the CPU, wherever frames lie. Rotation, sample aspect and mirroring are the stream's.

    Raises MissingError.
    """

    def __init__(
        self,
        rotation: int,
        sample_aspect: Fraction,
        library: Literal["auto", "openvino", "onnxruntime"] = "auto",
        threads: int | None = None,
        mirrored: bool = False,
    ) -> None:
        self._rotation, self._aspect, self._mirrored = rotation, float(sample_aspect), mirrored
        self._close = CenterFace((_CLOSE_PX, _CLOSE_PX), library, threads)
        self._flag = compile_on_cpu(shipped("face_flag.onnx"), (FLAG_PX, FLAG_PX), library, threads)
        self.asked = 0
        """Opinions given so far."""

    def __call__(self, frame: Frame, box: Box) -> Opinion:
        """On a box in px of the frame as coded."""
        self.asked += 1
        close, flag = answered(f"opinion {frame.index} {box}", partial(self._opinion, frame, box))
        return Opinion(close, flag)

    def _opinion(self, frame: Frame, box: Box) -> tuple[float, bool]:
        seen = self._seen(frame, box)
        close = max((f.score for f in seen if f.box.iou(box) > _SAME_FACE_IOU), default=0.0)
        if close >= _ENOUGH:
            return close, False
        picture = brightened(self._square(box, _FLAG_MARGIN, FLAG_PX).picture(frame))
        return close, float(self._flag(picture)[0].item()) > 0

    def look(self, frame: Frame, expected: Box, min_score: float) -> Face | None:
        """The face nearest to where one is expected, in px of the frame as coded; None: there is none."""
        look = partial(self._nearest, frame, expected, min_score)
        return answered(f"look {frame.index} {expected}", look)

    def _nearest(self, frame: Frame, expected: Box, min_score: float) -> Face | None:
        (x, y), reach = expected.centre, _SEARCHED * max(expected.width, expected.height)

        def away(face: Face) -> float:
            return max(abs(face.box.centre[0] - x), abs(face.box.centre[1] - y))

        near = [f for f in self._seen(frame, expected) if f.score >= min_score and away(f) <= reach]
        return min(near, key=away, default=None)

    def _seen(self, frame: Frame, box: Box) -> list[Face]:
        square = self._square(box, _CLOSE_MARGIN, _CLOSE_PX)
        picture = np.ascontiguousarray(brightened(square.picture(frame))[:, ::-1])
        return [square.back(face, mirrored=True) for face in self._close(picture, _WEAKEST)]

    def _square(self, box: Box, margin: float, side_px: int) -> Square:
        return Square.around(box, margin, side_px, self._rotation, self._aspect, self._mirrored)


def brightened(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3): a dark picture with its levels multiplied, a bright one as it is."""
    red, green, blue = (picture[..., i] for i in range(3))
    levels = np.bincount(np.maximum(np.maximum(red, green), blue).ravel(), minlength=256)
    # As np.percentile(..., 98), which takes ten times as long.
    at = 0.98 * (red.size - 1)
    low, high = np.searchsorted(levels.cumsum(), [int(at), int(at) + 1], "right").tolist()
    bright = low + (at - int(at)) * (high - low)
    gain = min(_BRIGHT / max(bright, 1.0), _BRIGHTEST_GAIN)
    if gain < 1.15:
        return picture
    return np.asarray(np.clip(picture * np.float32(gain), 0, 255), np.uint8)
