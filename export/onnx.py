"""PyTorch -> ONNX, the file that every engine starts from.

The graph is the learned part of a network alone (``body``): features and mask in, residual and trust
out. Observation and projection stay outside, in float32 (``nets.grid``), so that an engine may run at
any precision without touching the measurement.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import onnx
import onnxslim
import torch
from torch import Tensor, nn

from nets.grid import CHANNELS
from nets.idn import IDN
from nets.nar import NAR
from pipeline.engines import EngineSpec

OPSET = 20
"""The first with GridSample under its final definition, which TensorRT 10 and OpenVINO read."""

CELLS = 64
"""Most cells per axis that the membership matrices hold."""


class Body(nn.Module):
    """The learned part under the one signature of all engines, see pipeline.engines.EngineSpec."""

    def __init__(self, net: IDN | NAR) -> None:
        super().__init__()
        self.net = net

    def forward(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """features (B, T, CHANNELS, S, S), mask (B, T, 1, S, S) -> residual (B, C, 3, S, S), trust (B, C)."""
        if isinstance(self.net, NAR):
            return self.net.body(features, mask)
        B, T = features.shape[:2]
        residual, trust = self.net.body(features.flatten(0, 1), mask.flatten(0, 1))
        return residual.unflatten(0, (B, T)), trust.reshape(B, T)


def spec_of(net: IDN | NAR, weights_sha256: str, version: str, size_px: int = 128) -> EngineSpec:
    """What the exported file will say of itself."""
    window, context = (net.config.window, net.config.context) if isinstance(net, NAR) else (1, 0)
    return EngineSpec(
        net=type(net).__name__.lower(),
        version=version,
        weights_sha256=weights_sha256,
        window=window,
        context=context,
        size_px=size_px,
        cells=CELLS,
    )


def example_inputs(spec: EngineSpec, batch: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random features and mask of the right shapes and ranges."""
    generator = torch.Generator().manual_seed(seed)
    size = spec.size_px
    features = torch.rand(batch, spec.window, CHANNELS, size, size, generator=generator) - 0.5
    mask = torch.ones(batch, spec.window, 1, size, size)
    mask[..., size // 5 : -size // 5, size // 5 : -size // 5] = 0
    return features, mask


def export_onnx(net: IDN | NAR, spec: EngineSpec, target: Path) -> None:
    """Writes ``target`` in one step: batch dynamic, everything else fixed, metadata under ``vidpipe``."""
    net = net.eval().float()
    batch = torch.export.Dim("batch", min=1, max=1024)
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            Body(net),
            example_inputs(spec, batch=2),
            dynamo=True,
            opset_version=OPSET,
            input_names=["features", "mask"],
            output_names=["residual", "trust"],
            dynamic_shapes={"features": {0: batch}, "mask": {0: batch}},
            verbose=False,
        )
    assert program is not None
    model = onnxslim.slim(program.model_proto)
    entry = model.metadata_props.add()
    entry.key, entry.value = "vidpipe", json.dumps(asdict(spec))
    onnx.checker.check_model(model, full_check=True)
    write_in_one_step(target, model.SerializeToString())


def write_in_one_step(target: Path, content: bytes) -> None:
    """Two processes that export at once both end with a whole file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of what it deprecates inside itself and of torchvision's absence."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
