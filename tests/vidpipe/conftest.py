"""A network that adds nothing, small clips, and the command line with both, in-process or not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.engines import EngineSpec
from pipeline.engines.metadata import KEY, input_shapes
from tests.clips import Audio, Extras, write_clip
from tests.mosaics import locked, pixelate
from vidpipe.cli.main import Interrupts, run_command

ROOT = Path(__file__).resolve().parents[2]
SPEC = EngineSpec(
    net="idn", version="test", weights_sha256="0" * 64, window=1, context=0, size_px=64, cells=64
)
MOSAIC_BOX = (64, 32, 144, 112)
MOSAIC_SIZE = (224, 160)

# The network is put in when vidpipe.reconstruct is loaded, no earlier: a signal may come before.
_PROGRAM = """
import importlib.util, sys
from pathlib import Path

class Patch:
    def find_spec(self, name, path=None, target=None):
        if name != "vidpipe.reconstruct":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module
        def load_and_patch(module):
            load(module)
            module.default_net = lambda: "idn"
            module.engine_file = lambda net: Path({network!r})
        spec.loader.exec_module = load_and_patch
        return spec

sys.meta_path.insert(0, Patch())
from vidpipe.cli.main import main
main()
"""

Cli = Callable[..., int]


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


@pytest.fixture(scope="session")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough frames to be interrupted in."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    return write_clip(path, frames=400, width=640, height=352, rate=Fraction(50))


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, network: Path) -> Cli:
    """Runs a command line in this process with the test's network; returns the exit code."""
    monkeypatch.setattr("vidpipe.reconstruct.default_net", lambda: "idn")
    monkeypatch.setattr("vidpipe.reconstruct.engine_file", lambda net: network)
    # The command sets PyTorch's threads for its own process.
    monkeypatch.setattr("torch.set_num_threads", lambda count: None)

    def call(*arguments: object) -> int:
        return run_command([str(argument) for argument in arguments], Interrupts())

    return call


@pytest.fixture
def start(network: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts a command line in a process of its own with the test's network."""
    program = _PROGRAM.format(network=str(network))

    def begin(*arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", program, *map(str, arguments)]
        return subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
        )

    return begin
