"""CenterFace (Xu et al., arXiv 1911.03599, MIT; ``weights/README.md``).

A face is a peak of a heat map at a quarter of the input's size, with log size, offset and five landmarks.
On training clips, scaled to a face of n px, it finds (score 0.2 and more): n = 14: 60 %, 16: 91 %, 20: 100 %.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray

from pipeline.cuda import CPU
from pipeline.engines.detector_runtime import compile_on_cpu
from pipeline.faces import Face, Picture
from pipeline.faces.weights import shipped
from pipeline.types import Box

STRIDE = 4
"""px of the input per step of the maps"""
SAME_FACE_IOU = 0.3
"""from which the weaker of two boxes is dropped, as in the authors' code"""


class CenterFace:
    """CenterFace on the CPU, for pictures of ``size_px`` = (width, height), both multiples of 32.

    It may be called from any thread, ``calls`` calls at a time. Raises MissingError.
    """

    def __init__(
        self,
        size_px: tuple[int, int],
        library: Literal["auto", "openvino", "onnxruntime"] = "auto",
        threads: int | None = None,
    ) -> None:
        width, height = size_px
        if width % 32 or height % 32:
            raise ValueError(f"size {width}x{height}: wanted multiples of 32")
        self.device = CPU
        self._shape = (height, width, 3)
        self._program = compile_on_cpu(network(), (height, width), library, threads)
        self.calls = self._program.calls
        self.name = f"centerface {width}x{height} on {self._program.name}"

    def __call__(self, picture: Picture, min_score: float) -> list[Face]:
        if not isinstance(picture, np.ndarray) or picture.shape != self._shape:
            raise ValueError(f"picture is {tuple(picture.shape)}, {self.name} takes {self._shape}")
        heat, *others = (maps[0] for maps in self._program(picture))
        ys, xs = np.nonzero(heat[0] >= min_score)
        return decoded(heat[0, ys, xs], ys, xs, np.concatenate([maps[:, ys, xs] for maps in others]))


def decoded(
    scores: NDArray[np.float32], ys: NDArray[np.int64], xs: NDArray[np.int64], values: NDArray[np.float32]
) -> list[Face]:
    """The faces of n cells of the maps, best first, none twice.

    A face is a cell whose score no neighbour exceeds, as in CenterNet (Zhou et al., arXiv 1904.07850, section
    3); its place and size are the means of what it and its eight neighbours say, weighted by their scores, so
    that a small face lies more exactly than a cell. ``values`` (14, n): log height and width in cells, offset
    in y and x, five landmarks as (y, x) in units of the box from its corner.
    """
    if not len(scores):
        return []
    h, w = np.exp(values[:2]) * STRIDE
    top = (ys + values[2] + 0.5) * STRIDE - h / 2
    left = (xs + values[3] + 0.5) * STRIDE - w / 2
    points = values[4:].reshape(5, 2, -1)
    marks = np.stack([points[:, 1] * w + left, points[:, 0] * h + top], 1).reshape(10, -1)
    is_peak, mean = _of_neighbours(scores, ys, xs, np.concatenate([[left, top, w, h], marks]))
    scores, mean = scores[is_peak], mean[:, is_peak]
    kept = np.asarray(cv2.dnn.NMSBoxes(mean[:4].T.tolist(), scores.tolist(), 0.0, SAME_FACE_IOU), int).ravel()
    faces = []
    for i in kept:
        x0, y0, width, height = (float(v) for v in mean[:4, i])
        box = Box(x0, y0, x0 + width, y0 + height)
        faces.append(Face(float(scores[i]), box, mean[4:, i].reshape(5, 2).astype(np.float32)))
    return sorted(faces, key=lambda face: -face.score)


def _of_neighbours(
    scores: NDArray[np.float32], ys: NDArray[np.int64], xs: NDArray[np.int64], said: NDArray[np.float32]
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Of each of n cells: (n,) whether no neighbour has a higher score; (k, n) the mean of what it and its
    neighbours have ``said`` (k, n), weighted by their scores."""
    number = np.full((ys.max() + 3, xs.max() + 3), -1)
    number[ys + 1, xs + 1] = np.arange(len(scores))
    is_peak = np.ones(len(scores), bool)
    weights, total = np.zeros_like(scores), np.zeros_like(said)
    for dy in range(3):
        for dx in range(3):
            other = number[ys + dy, xs + dx]
            weight = np.where(other >= 0, scores[other], 0)
            is_peak &= weight <= scores
            weights += weight
            total += weight * said[:, other]
    return is_peak, total / weights


@cache
def network() -> bytes:
    """The ONNX file, of any size. Raises MissingError."""
    model = onnx.load_from_string(shipped("centerface.onnx"))
    # The file fixes batch 10 at 32x32; its layers take any size.
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            dim.Clear()
    content: bytes = model.SerializeToString()
    return content
