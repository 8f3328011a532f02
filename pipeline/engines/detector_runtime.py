"""Networks that are not ours, as they come in an ONNX file: pictures of one size go in, raw outputs come out.

A restoring network is opened with ``open_engine``; this is for finders, whose files carry no metadata.
"""

from __future__ import annotations

import threading
from importlib.util import find_spec
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.engines.warm_up import alone_at_first
from pipeline.flow import cores

Array = NDArray[np.float32]

_MOST_CALLS = 4
_MOST_PIXELS = 2 * 1792 * 1024
"""In all pictures of the calls that run at a time: each has activations of its own, in CenterFace about 110
bytes a pixel."""


class Program(Protocol):
    """A compiled network, to be called from any thread."""

    name: str
    """Library, device and precision."""
    calls: int
    """That may run at a time, each from a thread of its own; further ones wait."""

    def __call__(self, picture: NDArray[np.uint8]) -> list[Array]:
        """(H, W, 3) -> outputs in the order of the file, the library's own until this thread's next call."""
        ...


def calls_at_a_time(shape: tuple[int, int], threads: int | None = None) -> int:
    """For pictures of ``shape`` (H, W), on ``threads`` cores, None: all that this process may use."""
    return max(1, min(threads or cores(), _MOST_CALLS, _MOST_PIXELS // (shape[0] * shape[1])))


def compile_plain(
    model: bytes,
    shape: tuple[int, int],
    library: Literal["auto", "openvino", "onnxruntime"] = "auto",
    threads: int | None = None,
) -> Program:
    """Compiles a serialised ONNX model for pictures of ``shape`` = (H, W), on the CPU.

    Its one input is (1, 3, H, W) in 0..255. OpenVINO where it is installed (bf16 where the processor computes
    in it), else ONNX Runtime. ``calls_at_a_time`` share the cores: two threads of one call wait for each
    other after every layer, and where the decoder and x264 want the cores, too, that was a seventh of a run.
    """
    calls = calls_at_a_time(shape, threads)
    if library == "openvino" or (library == "auto" and find_spec("openvino") is not None):
        return _OpenVino(model, shape, calls, threads)
    return _OnnxRuntime(model, calls, threads)


class _OpenVino:
    def __init__(self, model: bytes, shape: tuple[int, int], calls: int, threads: int | None) -> None:
        import openvino as ov  # noqa: PLC0415  heavy, maybe not installed
        from openvino.preprocess import PrePostProcessor  # noqa: PLC0415

        core = ov.Core()
        bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        config: dict[str, str | int] = {
            "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
            "NUM_STREAMS": calls,
            "INFERENCE_NUM_THREADS": threads or cores(),
        }
        graph = core.read_model(model, b"")
        graph.reshape({graph.input(0).any_name: [1, 3, *shape]})
        # Bytes become numbers inside: a sixth of the time of a large picture, and the same numbers.
        wrap = PrePostProcessor(graph)
        wrap.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
        wrap.input().model().set_layout(ov.Layout("NCHW"))
        graph = wrap.build()
        self._compiled = core.compile_model(graph, "CPU", config)
        self._requests = threading.local()
        self._outputs = len(graph.outputs)
        self.calls = calls
        self.name = f"openvino cpu {'bf16' if bf16 else 'float32'}"

    def __call__(self, picture: NDArray[np.uint8]) -> list[Array]:
        with alone_at_first("plain"):
            request = self._request()
            request.infer([picture[None]], share_inputs=True)
            return [request.get_output_tensor(i).data for i in range(self._outputs)]

    def _request(self) -> Any:  # openvino is imported late
        """This thread's."""
        if not hasattr(self._requests, "own"):
            self._requests.own = self._compiled.create_infer_request()
        return self._requests.own


class _OnnxRuntime:
    def __init__(self, model: bytes, calls: int, threads: int | None) -> None:
        import onnxruntime  # noqa: PLC0415

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = max(1, (threads or cores()) // calls)
        self.calls = calls
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self.name = "onnxruntime cpu float32"

    def __call__(self, picture: NDArray[np.uint8]) -> list[Array]:
        blob = np.ascontiguousarray(picture.transpose(2, 0, 1)[None], dtype=np.float32)
        with alone_at_first("plain, onnxruntime"):
            return [np.asarray(value) for value in self._session.run(None, {self._input: blob})]
