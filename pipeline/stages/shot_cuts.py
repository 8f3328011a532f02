"""Scene cuts, for the finders: seen in a small picture of about the right colours."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scenedetect import ContentDetector, FrameTimecode

from pipeline.picture.color import Model, pixel_format
from pipeline.picture.resize import area_on_host
from pipeline.types import Frame

_WIDTH_PX = 128
_THRESHOLD = 27.0
"""Mean change of hue, saturation and value between two frames; the default of ContentDetector."""


class Cuts:
    """Feed it the frames in order."""

    def __init__(self) -> None:
        self._detector = ContentDetector(threshold=_THRESHOLD, min_scene_len=0)

    def before(self, frame: Frame) -> bool:
        """True for the first frame of a new shot."""
        return self.before_thumbnail(frame.index, thumbnail(frame))

    def before_thumbnail(self, index: int, picture: NDArray[np.uint8]) -> bool:
        """The same for a frame of which there is a ``thumbnail``."""
        # the detector wants a running number; its unit does not matter to us
        return bool(self._detector.process_frame(FrameTimecode(index, fps=1.0), picture))


def thumbnail(frame: Frame) -> NDArray[np.uint8]:
    """(h, 128, 3) uint8 BGR, about right in colour."""
    fmt = pixel_format(frame.pix_fmt)
    height, width = frame.planes[0].shape
    size = (_WIDTH_PX, max(1, round(_WIDTH_PX * height / width)))
    small = [area_on_host(p, fmt.bits, *size) for p in frame.planes[: fmt.colour_planes]]
    match fmt.model:
        case Model.GRAY:
            return np.asarray(cv2.merge([small[0]] * 3), dtype=np.uint8)
        case Model.RGB:
            return np.asarray(cv2.merge(small[::-1]), dtype=np.uint8)
        case Model.YUV:
            y, u, v = small
            return np.asarray(cv2.cvtColor(cv2.merge([y, v, u]), cv2.COLOR_YCrCb2BGR), dtype=np.uint8)
