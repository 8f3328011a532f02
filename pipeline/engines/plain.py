"""Networks that are not ours, as they come in an ONNX file: pictures of one size go in, raw outputs come out.

A restoring network is opened with ``open_engine``; this is for finders, whose files carry no metadata.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


class Program(Protocol):
    """A compiled network."""

    name: str
    """Library, device and precision."""

    def __call__(self, picture: NDArray[np.uint8]) -> list[Array]:
        """(H, W, 3) -> outputs in the order of the file, the library's own until the next call."""
        ...


def compile_plain(
    model: bytes,
    shape: tuple[int, int],
    library: Literal["auto", "openvino", "onnxruntime"] = "auto",
    threads: int | None = None,
) -> Program:
    """Compiles a serialised ONNX model for pictures of ``shape`` = (H, W), on the CPU.

    Its one input is (1, 3, H, W) in 0..255.
    OpenVINO where it is installed (bf16 where the processor computes in it), else ONNX Runtime.
    """
    if library == "openvino" or (library == "auto" and find_spec("openvino") is not None):
        return _OpenVino(model, shape, threads)
    return _OnnxRuntime(model, threads)


class _OpenVino:
    def __init__(self, model: bytes, shape: tuple[int, int], threads: int | None) -> None:
        import openvino as ov  # noqa: PLC0415  heavy, maybe not installed
        from openvino.preprocess import PrePostProcessor  # noqa: PLC0415

        core = ov.Core()
        bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        config: dict[str, str | int] = {
            "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        if threads is not None:
            config["INFERENCE_NUM_THREADS"] = threads
        graph = core.read_model(model, b"")
        graph.reshape({graph.input(0).any_name: [1, 3, *shape]})
        # Bytes become numbers inside: a sixth of the time of a large picture, and the same numbers.
        wrap = PrePostProcessor(graph)
        wrap.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
        wrap.input().model().set_layout(ov.Layout("NCHW"))
        graph = wrap.build()
        self._request = core.compile_model(graph, "CPU", config).create_infer_request()
        self._outputs = len(graph.outputs)
        self.name = f"openvino cpu {'bf16' if bf16 else 'float32'}"

    def __call__(self, picture: NDArray[np.uint8]) -> list[Array]:
        self._request.infer([picture[None]], share_inputs=True)
        return [self._request.get_output_tensor(i).data for i in range(self._outputs)]


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

    def __call__(self, picture: NDArray[np.uint8]) -> list[Array]:
        blob = np.ascontiguousarray(picture.transpose(2, 0, 1)[None], dtype=np.float32)
        return [np.asarray(value) for value in self._session.run(None, {self._input: blob})]
