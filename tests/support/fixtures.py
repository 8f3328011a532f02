"""What several tests share: a network that adds nothing, and two small clips."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.engines import EngineSpec
from pipeline.engines.spec import KEY, input_shapes
from tests.support.clips import Audio, Extras, write_clip
from tests.support.mosaics import locked, pixelate

SPEC = EngineSpec(
    net="idn", version="test", weights_sha256="0" * 64, window=1, context=0, size_px=64, cells=64
)
MOSAIC_BOX = (64, 32, 144, 112)
MOSAIC_SIZE = (224, 160)


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """residual = 0, so that interpolation comes out; trust = mean of the mask."""
    shapes = {name: list(shape[1:]) for name, shape in input_shapes(SPEC, 1).items()}
    size = SPEC.size_px
    constants = {"start": [0], "end": [3], "channels": [2], "space": [2, 3, 4]}
    initial = [numpy_helper.from_array(np.array(value), name) for name, value in constants.items()]
    zero = numpy_helper.from_array(np.zeros((), np.float32), "zero")
    graph = helper.make_graph(
        [
            helper.make_node("Slice", ["features", "start", "end", "channels"], ["three"]),
            helper.make_node("Mul", ["three", "zero"], ["residual"]),
            helper.make_node("ReduceMean", ["mask", "space"], ["trust"], keepdims=0),
        ],
        "nothing",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["B", *s]) for n, s in shapes.items()],
        [
            helper.make_tensor_value_info("residual", TensorProto.FLOAT, ["B", 1, 3, size, size]),
            helper.make_tensor_value_info("trust", TensorProto.FLOAT, ["B", 1]),
        ],
        [*initial, zero],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {KEY: json.dumps(asdict(SPEC))})
    path = tmp_path_factory.mktemp("network") / "nothing.onnx"
    onnx.save(model, str(path))
    return path


@pytest.fixture(scope="session")
def plain_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """25 frames without a mosaic, and sound."""
    extras = Extras(audio=[Audio()], metadata={"comment": "holiday", "title": "sea"})
    return write_clip(tmp_path_factory.mktemp("plain") / "plain.mp4", frames=25, extras=extras)


@pytest.fixture(scope="session")
def mosaic_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 frames with one mosaic of 8 x 8 cells in MOSAIC_BOX."""
    noise = np.random.default_rng(0).uniform(0, 255, (220, 300)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 4)
    scene = np.interp(smooth, (smooth.min(), smooth.max()), (20, 235)).astype(np.uint8)

    def draw(index: int, width: int, height: int, pix_fmt: str) -> list[np.ndarray[Any, Any]]:
        assert pix_fmt == "yuv420p"
        luma = np.ascontiguousarray(scene[index : index + height, index : index + width])
        grey = np.full((height // 2, width // 2), 128, np.uint8)
        return [pixelate(luma, locked(MOSAIC_BOX, (8, 8))), grey, grey]

    width, height = MOSAIC_SIZE
    path = tmp_path_factory.mktemp("mosaic") / "mosaic.mp4"
    options = {"preset": "veryfast", "crf": "16"}
    return write_clip(path, frames=30, width=width, height=height, options=options, draw=draw)
