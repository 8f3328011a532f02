"""Scene cuts, for the finders: seen in a small picture of about the right colours."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.picture.color import Model, PixelFormat, pixel_format
from pipeline.picture.fetch import Fetch
from pipeline.picture.resize import area, area_on_host, to8
from pipeline.types import Frame

_WIDTH_PX = 128
_THRESHOLD = 27.0
"""Mean change of hue, saturation and value between two frames, as in PySceneDetect's ContentDetector. The
package itself is not used: importing it executes whatever is called ``ffmpeg`` on the PATH."""


class Cuts:
    """Feed it the frames in order."""

    def __init__(self) -> None:
        self._last: NDArray[np.uint8] | None = None

    def before(self, frame: Frame) -> bool:
        """True for the first frame of a new shot."""
        return self.before_thumbnail(thumbnail(frame))

    def before_thumbnail(self, picture: NDArray[np.uint8]) -> bool:
        """The same for a frame of which there is a ``thumbnail``."""
        hsv = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2HSV), np.uint8)
        last, self._last = self._last, hsv
        return last is not None and float(cv2.absdiff(hsv, last).mean()) >= _THRESHOLD


def thumbnail(frame: Frame) -> NDArray[np.uint8]:
    """(h, 128, 3) uint8 BGR, about right in colour."""
    fetch = Fetch()
    coming = coming_thumbnail(frame, fetch)
    fetch.now()
    return coming()


def coming_thumbnail(frame: Frame, fetch: Fetch) -> Callable[[], NDArray[np.uint8]]:
    """Gives the ``thumbnail`` once ``fetch`` has brought what it is made of."""
    fmt = pixel_format(frame.pix_fmt)
    height, width = frame.planes[0].shape
    small_width, small_height = size = (_WIDTH_PX, max(1, round(_WIDTH_PX * height / width)))
    small: dict[int, NDArray[np.uint8]] = {}
    alike: dict[tuple[int, ...], list[int]] = {}
    for at, plane in enumerate(frame.planes[: fmt.colour_planes]):
        rows, cols = plane.shape
        if plane.device.type != "cpu" and rows >= small_height and cols >= small_width:
            alike.setdefault((rows, cols), []).append(at)
        else:
            small[at] = area_on_host(plane, fmt.bits, *size)
    for places in alike.values():
        planes = [to8(frame.planes[at], fmt.bits) for at in places]
        means = area(torch.stack(planes) if len(planes) > 1 else planes[0][None], *size)
        fetch.want(means, partial(_keep, small, places))
    return lambda: _as_bgr(fmt, [small[at] for at in range(fmt.colour_planes)])


def _keep(small: dict[int, NDArray[np.uint8]], places: list[int], came: NDArray[np.uint8]) -> None:
    """Planes (n, h, w) by their places."""
    small.update(zip(places, came, strict=True))


def _as_bgr(fmt: PixelFormat, small: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    match fmt.model:
        case Model.GRAY:
            return np.asarray(cv2.merge([small[0]] * 3), dtype=np.uint8)
        case Model.RGB:
            return np.asarray(cv2.merge(small[::-1]), dtype=np.uint8)
        case Model.YUV:
            y, u, v = small
            return np.asarray(cv2.cvtColor(cv2.merge([y, v, u]), cv2.COLOR_YCrCb2BGR), dtype=np.uint8)
