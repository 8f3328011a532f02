"""Networks that are not ours, as they come in an ONNX file: one static shape, raw inputs and outputs.

A restoring network is opened with ``open_engine``; this is for finders, whose files carry no metadata.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


class Program(Protocol):
    """A compiled network. Its outputs are copies, in the order of the file."""

    name: str
    """Library, device and precision."""

    def __call__(self, blob: Array) -> list[Array]: ...


def compile_plain(
    model: bytes,
    shape: Sequence[int],
    library: Literal["auto", "openvino", "onnxruntime"] = "auto",
    threads: int | None = None,
) -> Program:
    """Compiles a serialised ONNX model with one input for one shape, on the CPU.

    OpenVINO where it is installed (bf16 where the processor computes in it), else ONNX Runtime.
    """
    if library == "openvino" or (library == "auto" and find_spec("openvino") is not None):
        return _OpenVino(model, shape, threads)
    return _OnnxRuntime(model, threads)


class _OpenVino:
    def __init__(self, model: bytes, shape: Sequence[int], threads: int | None) -> None:
        import openvino as ov  # noqa: PLC0415  heavy, maybe not installed

        core = ov.Core()
        bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        config: dict[str, str | int] = {
            "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        if threads is not None:
            config["INFERENCE_NUM_THREADS"] = threads
        graph = core.read_model(model, b"")
        graph.reshape({graph.input(0).any_name: list(shape)})
        self._request = core.compile_model(graph, "CPU", config).create_infer_request()
        self._outputs = len(graph.outputs)
        self.name = f"openvino cpu {'bf16' if bf16 else 'float32'}"

    def __call__(self, blob: Array) -> list[Array]:
        self._request.infer([blob])
        return [np.array(self._request.get_output_tensor(i).data) for i in range(self._outputs)]


class _OnnxRuntime:
    def __init__(self, model: bytes, threads: int | None) -> None:
        import onnxruntime  # noqa: PLC0415

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self.name = "onnxruntime cpu float32"

    def __call__(self, blob: Array) -> list[Array]:
        return [np.asarray(value) for value in self._session.run(None, {self._input: blob})]
