"""Reduced precision is written into the graph: fp16 and bf16 by PyTorch's autocast, int8 by ONNX Runtime."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import Tensor, nn

from export.calibration import Faces, make
from pipeline.engines import EngineSpec

CALIBRATION_WINDOWS = 12
CALIBRATION_SEED = 1
"""Other windows than those that parity is measured on (``export.parity.SEED``)."""


class Reduced(nn.Module):
    """Runs a network as it was trained: matrix products and convolutions in ``dtype``, what autocast keeps in
    float32 (norms of vectors, places in a picture, softmax) in float32; float32 goes in and comes out."""

    def __init__(self, body: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.body = body
        self.dtype = dtype

    def forward(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast("cpu", dtype=self.dtype):
            residual, trust = self.body(features, mask)
        return residual.float(), trust.float()


def cast_constants(model: onnx.ModelProto) -> None:
    """Weights that a Cast follows are kept in the type that it casts to: half the size. In place."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    casts = [n for n in model.graph.node if n.op_type == "Cast" and n.input[0] in constants]
    for node in casts:
        value = constants[node.input[0]]
        kind = helper.tensor_dtype_to_np_dtype(node.attribute[0].i)
        array = numpy_helper.to_array(value).astype(kind)
        model.graph.initializer.append(numpy_helper.from_array(array, node.output[0]))
        model.graph.node.remove(node)
    used = {name for node in model.graph.node for name in node.input}
    for tensor in [t for t in model.graph.initializer if t.name not in used]:
        model.graph.initializer.remove(tensor)


def quantize(model: onnx.ModelProto, spec: EngineSpec, faces: Faces, symmetric: bool) -> onnx.ModelProto:
    """Turns convolutions to int8 (QDQ) with ranges calibrated on crops of ``faces``. Those at full
    resolution stay as they are: they are cheap and make the pixels (``docs/engines.md``).

    ``symmetric`` is the only form that TensorRT reads: signed, zero point 0. Without it activations are
    unsigned with a zero point, which OpenVINO needs: it computes the signed form wrongly.
    """
    from onnxruntime.quantization import (  # noqa: PLC0415  slow to import
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        plain, prepared, done = (str(Path(folder) / name) for name in ("a.onnx", "b.onnx", "c.onnx"))
        onnx.save(model, plain)
        with contextlib.redirect_stdout(io.StringIO()):  # both print
            quant_pre_process(plain, prepared, skip_symbolic_shape=True)
            quantize_static(
                prepared,
                done,
                _Reader(spec, faces),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Conv"],
                nodes_to_exclude=_full_size(onnx.load(prepared), spec.size_px),
                per_channel=True,
                activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                # TensorRT reads no int32, in which biases would be kept.
                extra_options={
                    "ActivationSymmetric": symmetric,
                    "WeightSymmetric": True,
                    "QuantizeBias": False,
                },
            )
        return onnx.load(done)


class _Reader:
    """Feeds the calibration: one window at a time."""

    def __init__(self, spec: EngineSpec, faces: Faces) -> None:
        inputs = make(faces, spec, CALIBRATION_WINDOWS, CALIBRATION_SEED).inputs(spec)
        least = spec.batch_min
        self._feeds = iter(
            {name: value[k : k + 1].expand(least, *value.shape[1:]).numpy() for name, value in inputs.items()}
            for k in range(CALIBRATION_WINDOWS)
        )

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._feeds, None)

    def __iter__(self) -> Iterator[dict[str, NDArray[np.float32]]]:
        return self._feeds


def _full_size(model: onnx.ModelProto, size_px: int) -> list[str]:
    """Names of the convolutions whose output has the picture's own size."""
    values: Any = [*model.graph.value_info, *model.graph.output]
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
    return [
        node.name
        for node in model.graph.node
        if node.op_type == "Conv" and shapes.get(node.output[0], [])[-2:] == [size_px, size_px]
    ]
