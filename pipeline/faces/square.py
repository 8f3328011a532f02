"""The upright square around a box that a small network gets, and the way back to the frame's px."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.faces import Face
from pipeline.faces.input_picture import SmallPicture, turned_upright
from pipeline.picture import resize
from pipeline.picture.color import pixel_format
from pipeline.types import Box, Frame


@dataclass(frozen=True, slots=True)
class Square:
    """A square on the screen, ``margin`` times the longer side of a box around its centre."""

    x: float
    y: float
    """Centre, px of the frame as coded."""
    half_width: float
    half_height: float
    """px of the frame as coded; they differ where pixels are not square."""
    side_px: int
    """Of the picture that is made of it."""
    rotation: int
    """Degrees counter-clockwise from coded to upright."""
    mirrored: bool = False
    """A player exchanges left and right."""

    @staticmethod
    def around(
        box: Box, margin: float, side_px: int, rotation: int, aspect: float, mirrored: bool = False
    ) -> Square:
        """``aspect``: width of a pixel over its height."""
        half = margin * max(box.width * aspect, box.height, 1.0) / 2
        return Square(*box.centre, half / aspect, half, side_px, rotation, mirrored)

    def picture(self, frame: Frame) -> NDArray[np.uint8]:
        """(side, side, 3) uint8 RGB, upright, about right in colour, black beyond the frame."""
        fmt = pixel_format(frame.pix_fmt)
        rows, columns = frame.planes[0].shape
        x0, x1 = _touched(self.x - self.half_width, self.x + self.half_width, columns, fmt.step_x)
        y0, y1 = _touched(self.y - self.half_height, self.y + self.half_height, rows, fmt.step_y)
        left, right = (self._place(v, self.x, self.half_width) for v in (x0, x1))
        top, bottom = (self._place(v, self.y, self.half_height) for v in (y0, y1))
        out = np.zeros((self.side_px, self.side_px, 3), np.uint8)
        if x0 >= x1 or y0 >= y1 or left >= right or top >= bottom:
            return out
        planes = []
        for at, plane in enumerate(frame.planes[: fmt.colour_planes]):
            down, across = (fmt.step_y, fmt.step_x) if at else (1, 1)
            planes.append(plane[y0 // down : -(-y1 // down), x0 // across : -(-x1 // across)])
        part = replace(frame, planes=tuple(planes))
        out[top:bottom, left:right] = resize.rgb_on_host(part, right - left, bottom - top)
        turned = turned_upright(out, self.rotation)
        return np.ascontiguousarray(turned[:, ::-1]) if self.mirrored else turned

    def back(self, face: Face, *, mirrored: bool = False) -> Face:
        """A face of the picture, or of its mirror image, in px of the frame as coded."""
        side, wide, high = self.side_px, 2 * self.half_width, 2 * self.half_height
        scaled = SmallPicture(side, side, self.rotation, 1, 1, mirrored, self.mirrored).back(face)
        box, left, top = scaled.box, self.x - self.half_width, self.y - self.half_height
        placed = Box(left + box.x0 * wide, top + box.y0 * high, left + box.x1 * wide, top + box.y1 * high)
        marks = scaled.landmarks
        if marks is not None:
            marks = (marks * (wide, high) + (left, top)).astype(np.float32)
        return Face(face.score, placed, marks)

    def _place(self, value: float, centre: float, half: float) -> int:
        """Of a coordinate of the frame in the picture before it is turned."""
        return min(max(round((value - centre + half) / (2 * half) * self.side_px), 0), self.side_px)


def _touched(low: float, high: float, size: int, step: int) -> tuple[int, int]:
    """Half-open range of px, of whole chroma samples, that a range touches within the frame."""
    first = max(math.floor(low / step) * step, 0)
    return first, min(math.ceil(high / step) * step, size)
