"""PyTorch -> a ``torch.export`` program, for GPUs without TensorRT and without ONNX Runtime's CUDA.

Weights and graph are float32; the engine, which knows the GPU, applies the precision by autocast
(``pipeline.engines.torch``).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch.export import Dim, save

from export.graph_formats import Body, check_size, example_inputs
from nets.checkpoint import Runnable
from pipeline.engines import EngineSpec
from pipeline.engines.spec import KEY, to_json
from pipeline.errors import UsageError


def to_program(net: Runnable, spec: EngineSpec, path: Path) -> None:
    """Writes a .pt2 with the batch free within the spec's range, and the spec beside it.

    Raises UsageError for int8 and for a size that the network cannot take.
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
