"""Scene cuts, for the finders: seen in a small picture of about the right colours."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scenedetect import ContentDetector, FrameTimecode
from torch import Tensor

from pipeline.picture import resize
from pipeline.picture.color import Model, pixel_format
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


def to8(plane: NDArray[np.uint8] | NDArray[np.uint16], bits: int) -> NDArray[np.uint8]:
    """Scaled to 8 bits and rounded; a view at 8 bits."""
    if bits <= 8:
        return np.ascontiguousarray(plane, dtype=np.uint8)
    return np.asarray(cv2.convertScaleAbs(plane, alpha=1.0 / (1 << (bits - 8))), dtype=np.uint8)


def thumbnail(frame: Frame) -> NDArray[np.uint8]:
    """(h, 128, 3) uint8 BGR, about right in colour."""
    fmt = pixel_format(frame.pix_fmt)
    height, width = frame.planes[0].shape
    size = (_WIDTH_PX, max(1, round(_WIDTH_PX * height / width)))
    small = [_area(p, fmt.bits, size) for p in frame.planes[: fmt.colour_planes]]
    match fmt.model:
        case Model.GRAY:
            return np.asarray(cv2.merge([small[0]] * 3), dtype=np.uint8)
        case Model.RGB:
            return np.asarray(cv2.merge(small[::-1]), dtype=np.uint8)
        case Model.YUV:
            y, u, v = small
            return np.asarray(cv2.cvtColor(cv2.merge([y, v, u]), cv2.COLOR_YCrCb2BGR), dtype=np.uint8)


def _area(plane: Tensor, bits: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The plane at ``size`` (width, height), 8 bits, on the host; resized where it lies."""
    rows, cols = plane.shape
    if plane.device.type != "cpu" and rows >= size[1] and cols >= size[0]:
        return np.asarray(resize.area(resize.to8(plane, bits), *size).cpu().numpy(), np.uint8)
    # Of many rows two for each that is left tell enough: a whole factor is what OpenCV is quick at.
    few = 2 * size[1]
    host = plane.cpu().numpy()
    some = host[np.arange(few) * rows // few] if rows > few else host
    return np.asarray(cv2.resize(to8(some, bits), size, interpolation=cv2.INTER_AREA), np.uint8)
