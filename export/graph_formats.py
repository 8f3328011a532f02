"""Files of graphs: PyTorch -> ONNX, which OpenVINO and TensorRT are made from, and -> ``torch.export``.

A graph is the learned part of a network alone (``body``): features and mask in, residual and trust
out. Observation and projection stay outside, in float32 (``nets.observation``), so that an engine may run at
any precision without touching the measurement. The precision is written into an ONNX graph
(``export.precision``): TensorRT 11 knows no other way, and the others follow what the graph says.
"""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import onnx.version_converter
import onnxslim
import torch
from torch import Tensor, nn
from torch.export import Dim, save

from export.calibration import Faces
from export.precision import Reduced, cast_constants, quantize
from nets.network import Network
from nets.registry import architecture_of
from pipeline.engines import EngineSpec
from pipeline.engines.spec import KEY, to_json
from pipeline.errors import InputError, UsageError

OPSET = 20
"""The first with GridSample under its final definition, which TensorRT 10 and OpenVINO read."""
OPSET_BF16 = 22
"""The first in which convolutions may be bfloat16. The exporter writes GroupNormalization from 21 on, whose
types must agree, which autocast's do not: so the file is made under OPSET and converted."""


class Body(nn.Module):
    """The learned part under the one signature of all engines, see pipeline.engines.EngineSpec."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net
        self.windowed = architecture_of(net).windowed

    def forward(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """features (B, F, channels, S, S), mask (B, F, 1, S, S) -> residual (B, C, 3, S, S), trust (B, C)."""
        if self.windowed:
            return self.net.body(features, mask)
        B, T = features.shape[:2]
        residual, trust = self.net.body(features.flatten(0, 1), mask.flatten(0, 1))
        return residual.unflatten(0, (B, T)), trust.reshape(B, T)


def example_inputs(spec: EngineSpec, batch: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random features and mask of the right shapes and ranges."""
    generator = torch.Generator().manual_seed(seed)
    size = spec.size_px
    features = torch.rand(batch, spec.frames, spec.channels, size, size, generator=generator) - 0.5
    mask = torch.ones(batch, spec.frames, 1, size, size)
    mask[..., size // 5 : -size // 5, size // 5 : -size // 5] = 0
    return features, mask


def to_onnx(net: Network, spec: EngineSpec, faces: Faces | None = None, symmetric: bool = False) -> bytes:
    """An ONNX file of the spec's precision: axis ``batch`` free within the spec's range, everything else
    fixed, float32 at the borders, metadata under ``metadata.KEY``.

    int8 is calibrated on ``faces``; ``symmetric`` as ``precision.quantize`` has it. Raises UsageError for a
    size that the network cannot take, InputError for a network that ONNX cannot express.
    """
    body = Body(net.eval().float())
    check_size(body, spec)
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(spec.precision)
    model = onnxslim.slim(_traced(Reduced(body, dtype) if dtype else body, spec))
    if dtype is torch.bfloat16:
        model = onnx.version_converter.convert_version(model, OPSET_BF16)
    if dtype:
        cast_constants(model)
    if spec.precision == "int8":
        assert faces is not None, "int8 is calibrated on pictures"
        model = quantize(model, spec, faces, symmetric)
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, to_json(spec)
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


def to_openvino(graph: Path, spec: EngineSpec, target: Path) -> None:
    """Converts an ONNX file of ours to OpenVINO's IR, an .xml with the weights beside it in a .bin. The graph
    keeps its precision. Raises InputError."""
    import openvino as ov  # noqa: PLC0415  slow to import, and not on every machine

    try:
        model = ov.Core().read_model(str(graph))
    except RuntimeError as error:
        raise InputError(
            f"OpenVINO cannot convert {spec.net}: {' '.join(str(error).split())[:300]}"
        ) from error
    model.set_rt_info(to_json(spec), [KEY])
    ov.save_model(model, str(target), compress_to_fp16=False)


def to_program(net: Network, spec: EngineSpec, path: Path) -> None:
    """Writes a ``torch.export`` program (.pt2), for GPUs without TensorRT and without ONNX Runtime's CUDA.
    The batch is free within the spec's range; the spec lies in the file.

    Weights and graph are float32; the engine, which knows the GPU, applies the precision by autocast
    (``pipeline.engines.torch``). Raises UsageError for int8 and for a size that the network cannot take.
    """
    if spec.precision == "int8":
        raise UsageError("--to torch: wanted --precision fp32, fp16 or bf16; int8 is for onnx and openvino")
    body = Body(net.eval().float())
    check_size(body, spec)
    least, most = spec.batch_min, spec.batch_max
    shapes = None if least == most else {name: {0: Dim.AUTO} for name in ("features", "mask")}
    with torch.no_grad():
        program = torch.export.export(
            body, example_inputs(spec, max(2, least) if shapes else least), dynamic_shapes=shapes
        )
    save(program, path, extra_files={KEY: to_json(spec)})


def _traced(module: nn.Module, spec: EngineSpec) -> onnx.ModelProto:
    static = spec.batch_min == spec.batch_max
    batch = None if static else Dim("batch", min=spec.batch_min, max=spec.batch_max)
    count = spec.batch_min if static else max(2, spec.batch_min)  # a 1 would be taken for fixed
    # Imported here, where Ctrl-C is Ctrl-C: the exporter wraps what interrupts its imports into its errors.
    importlib.import_module("torch._dynamo")
    with _quiet(), torch.no_grad():
        try:
            program = torch.onnx.export(
                module,
                example_inputs(spec, count),
                dynamo=True,
                opset_version=OPSET,
                input_names=["features", "mask"],
                output_names=["residual", "trust"],
                dynamic_shapes={"features": {0: batch}, "mask": {0: batch}} if batch is not None else None,
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise InputError(f"{spec.net} cannot be exported to ONNX: {_cause(error)}") from error
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    return model


def _cause(error: BaseException) -> str:
    """The first line of what lies at the bottom: the exporter wraps errors in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def check_size(body: Body, spec: EngineSpec) -> None:
    """Asks the network itself: only it knows how often it halves the picture."""
    try:
        with torch.no_grad():
            residual, _ = body(*example_inputs(spec, 1))
    except (RuntimeError, ValueError) as error:
        raise UsageError(
            f"--size is {spec.size_px}; {spec.net} cannot take it ({_cause(error)}); it was trained at 128"
        ) from error
    wanted = (1, spec.core, 3, spec.size_px, spec.size_px)
    if tuple(residual.shape) != wanted:
        raise UsageError(
            f"--size is {spec.size_px}; {spec.net} makes {tuple(residual.shape)} of it, wanted {wanted}; "
            "it was trained at 128"
        )


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
