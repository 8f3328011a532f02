"""CenterFace on either device, and on a GPU: pictures do not leave it, numbers of the likeliest places do.

``centerface`` is the same on the CPU. The network's maps stay on the device; of the ``cells`` cells with the
highest score, score, place and the 14 values that a face is made of are fetched, 16 numbers each. Where more
cells than that may be faces, the network is opened for more, so that no face is lost.

``open_on_device`` tests the detector: faces are drawn into a picture, and those that the CPU finds must be
found on the device. A detector that found nothing would have all faces released, and the release check, which
uses another detector of the same kind, would agree.
"""

from __future__ import annotations

import logging
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.engines.detector_runtime import compile_on_device
from pipeline.errors import CheckError, UsageError
from pipeline.faces import Face, FaceDetector, Library, Picture
from pipeline.faces.centerface import STRIDE, CenterFace, decoded, network
from pipeline.notes import decided

log = logging.getLogger(__name__)

FETCHED_CELLS = 512
"""Cells that are fetched: 32 KiB. A face takes 5 to 10."""
_CHANNELS = (1, 2, 2, 10)
"""Channels of the maps: score, log size, offset, landmarks"""
_SCORE_APART = 0.03
"""0..1; half precision differs by 0.002 on faces"""
_SIDES_APART = 0.03
"""of a box's longer side; half differs by 0.2 %"""
_SURE, _PERHAPS = 0.5, 0.4
"""Score of drawn faces that must be seen by the other one, and of what counts as seen."""
_DRAWN_PX = 96


class DeviceCenterFace:
    """For pictures of ``size_px`` = (width, height), both multiples of 32. Raises MissingError."""

    def __init__(
        self,
        size_px: tuple[int, int],
        device: torch.device,
        library: Literal["auto", "torch", "onnxruntime"] = "auto",
        cells: int = FETCHED_CELLS,
    ) -> None:
        width, height = size_px
        if width % 32 or height % 32:
            raise ValueError(f"size {width}x{height}: wanted multiples of 32")
        self.device = device
        self._library: Literal["auto", "torch", "onnxruntime"] = library
        self._shape = (1, 3, height, width)
        self._cells = (height // STRIDE, width // STRIDE)
        self._open(cells)
        self.calls = 1
        self.name = f"centerface {width}x{height} on {self._program.name}"

    def __call__(self, picture: Picture, min_score: float) -> list[Face]:
        if not isinstance(picture, Tensor) or tuple(picture.shape) != self._shape:
            raise ValueError(f"picture is {tuple(picture.shape)}, {self.name} takes {self._shape}")
        rows = self._rows(picture)
        while len(rows) < self._cells[0] * self._cells[1] and rows[-1, 1] >= min_score:
            log.debug("%s: more than %d cells of score %s", self.name, len(rows), min_score)
            self._open(4 * len(rows))
            rows = self._rows(picture)
        rows = rows[rows[:, 1] >= min_score]
        rows = rows[np.argsort(rows[:, 0])]  # in the order of the picture, as the CPU has them
        ys, xs = np.divmod(rows[:, 0].astype(np.int64), self._cells[1])
        return decoded(rows[:, 1], ys, xs, rows[:, 2:].T)

    def _open(self, cells: int) -> None:
        self.fetched_cells = min(cells, self._cells[0] * self._cells[1])
        maps = [(1, channels, *self._cells) for channels in _CHANNELS]
        self._program = compile_on_device(
            network(), self._shape[2:], maps, self._likeliest, self.device, self._library
        )

    def _likeliest(self, maps: list[Tensor]) -> Tensor:
        """(n, 16): place, score and values of the likeliest cells, best first."""
        heat, *others = maps
        scores, at = heat.flatten().topk(self.fetched_cells)
        # A place is a whole number below 2 ** 24, exact in float32.
        values = torch.cat([x[0].flatten(1) for x in others])[:, at]
        return torch.cat([torch.stack([at.to(torch.float32), scores]), values]).T

    def _rows(self, picture: Tensor) -> NDArray[np.float32]:
        rows = np.asarray(self._program(picture).cpu().numpy(), np.float32)
        if not np.isfinite(rows).all():
            raise CheckError(f"{self.name}: its answer holds NaN or infinity; use --device cpu")
        return rows


def open_centerface(
    size_px: tuple[int, int], library: Library, threads: int | None, device: torch.device | None
) -> FaceDetector:
    """See `pipeline.faces.Opener`. On a GPU it has been compared with the CPU when this returns.

    Raises UsageError, MissingError, CheckError.
    """
    if device is None:
        return CenterFace(size_px, "auto" if library == "torch" else library, threads)
    return open_on_device(size_px, device, library)


def open_on_device(
    size_px: tuple[int, int], device: torch.device, library: Library = "auto"
) -> DeviceCenterFace:
    """A detector that was compared with the CPU's. Raises UsageError, MissingError, CheckError."""
    if library == "openvino":
        raise UsageError(f"--engine openvino runs on the CPU, --device {device} was asked; use auto")
    detector = DeviceCenterFace(size_px, device, library)
    compare(detector, size_px)
    return detector


def compare(detector: DeviceCenterFace, size_px: tuple[int, int]) -> None:
    """Raises CheckError where the detector does not find the same drawn faces as the CPU."""
    picture = drawn(size_px)
    on_cpu = CenterFace(size_px, "onnxruntime")(picture, _PERHAPS)
    sent = torch.from_numpy(picture).to(detector.device).permute(2, 0, 1)[None].float()
    on_device = detector(sent, _PERHAPS)
    for one, two, who in ((on_cpu, on_device, "the CPU"), (on_device, on_cpu, "it")):
        for face in one:
            if face.score >= _SURE and not any(_same(face, other) for other in two):
                x, y = face.box.centre
                raise CheckError(
                    f"{detector.name}: a face is drawn at {x:.0f}, {y:.0f}, and of the CPU and it only {who} "
                    "sees it; use --device cpu"
                )
    decided(log, "%s: sees the %d drawn faces that the CPU sees", detector.name, len(on_cpu))


def _same(one: Face, two: Face) -> bool:
    a, b = one.box, two.box
    apart = max(abs(a.x0 - b.x0), abs(a.y0 - b.y0), abs(a.x1 - b.x1), abs(a.y1 - b.y1))
    return abs(one.score - two.score) <= _SCORE_APART and apart <= max(1.0, _SIDES_APART * (a.y1 - a.y0))


def drawn(size_px: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W, 3): a face, drawn up to nine times, of 96 px and of 48."""
    width, height = size_px
    picture = np.full((height, width, 3), 100, np.uint8)
    whole = min(_DRAWN_PX, width, height)
    down, across = (min(3, size // whole) for size in (height, width))
    places = [
        (int(y), int(x))
        for y in np.linspace(0, height - whole, down)
        for x in np.linspace(0, width - whole, across)
    ]
    for i, (y, x) in enumerate(places):
        side = whole // (1 + i % 2)
        picture[y : y + side, x : x + side] = cv2.resize(_face(), (side, side), interpolation=cv2.INTER_AREA)
    return picture


def _face() -> NDArray[np.uint8]:
    """(256, 256, 3): ellipses in which CenterFace sees a face (score 0.86 at 96 px)."""
    picture = np.full((256, 256, 3), (90, 110, 130), np.uint8)

    def ellipse(x: int, y: int, wide: int, high: int, colour: tuple[int, int, int]) -> None:
        cv2.ellipse(picture, (x, y), (wide, high), 0, 0, 360, colour, -1, cv2.LINE_AA)

    ellipse(128, 250, 90, 50, (40, 50, 90))  # shoulders
    ellipse(128, 200, 26, 40, (190, 140, 110))  # neck
    ellipse(128, 118, 66, 84, (50, 35, 25))  # hair
    ellipse(128, 132, 54, 70, (215, 165, 135))
    for side in (-1, 1):
        ellipse(128 + side * 23, 118, 11, 6, (245, 245, 245))
        ellipse(128 + side * 23, 118, 5, 6, (50, 30, 20))
        ellipse(128 + side * 23, 102, 14, 4, (60, 40, 30))
        ellipse(128 + side * 55, 132, 7, 14, (195, 145, 115))
    ellipse(128, 148, 6, 16, (195, 140, 112))
    ellipse(128, 158, 10, 5, (180, 120, 100))
    ellipse(128, 178, 20, 6, (170, 70, 70))
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 1.2), np.uint8)
