"""Detectors' networks, as they come in an ONNX file: pictures of one size go in, raw outputs come out.

``compile_on_cpu`` takes and gives arrays. ``compile_on_device`` takes a tensor on a GPU and leaves the answer
there; its ``head`` makes a few numbers of the network's outputs, and under PyTorch on a GPU it is part of the
CUDA graph that a call replays. Our own networks carry metadata and are opened with ``open_engine``.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any, Literal, Protocol

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline import cuda
from pipeline.engines.batching import first_call_alone
from pipeline.engines.compiled import UNPINNED, compiled
from pipeline.engines.onnx_graph import Graph
from pipeline.flow import cores

Array = NDArray[np.float32]
Head = Callable[[list[Tensor]], Tensor]

_MAX_CALLS = 4
_MAX_PIXELS = 2 * 1792 * 1024
"""Pixels in all pictures of the calls that run at a time: each call has activations of its own."""


class Program(Protocol):
    """A compiled network, to be called from any thread."""

    name: str
    """Library, device and precision."""
    calls: int
    """Calls that may run at a time, each from a thread of its own; further ones wait."""

    def __call__(self, picture: NDArray[np.uint8]) -> list[Array]:
        """(H, W, 3) -> outputs in the order of the file, the library's own until this thread's next call."""
        ...


def calls_at_a_time(shape: tuple[int, int], threads: int | None = None) -> int:
    """How many calls run at a time for pictures of ``shape`` (H, W), on ``threads`` cores, None: all."""
    return max(1, min(threads or cores(), _MAX_CALLS, _MAX_PIXELS // (shape[0] * shape[1])))


def compile_on_cpu(
    model: bytes,
    shape: tuple[int, int],
    library: Literal["auto", "openvino", "onnxruntime"] = "auto",
    threads: int | None = None,
) -> Program:
    """Compiles a serialised ONNX model for pictures of ``shape`` = (H, W), on the CPU.

    Its one input is (1, 3, H, W) in 0..255. OpenVINO where it is installed (bf16 where the processor computes
    in it), else ONNX Runtime. ``calls_at_a_time`` calls share the cores, since two threads of one call would
    wait for each other after every layer.
    """
    calls = calls_at_a_time(shape, threads)
    if library == "openvino" or (library == "auto" and find_spec("openvino") is not None):
        return _OpenVino(model, shape, calls, threads or cores())
    return _OnnxRuntime(model, calls, threads)


class _OpenVino:
    def __init__(self, model: bytes, shape: tuple[int, int], calls: int, threads: int) -> None:
        import openvino as ov  # noqa: PLC0415  heavy, maybe not installed

        core = ov.Core()
        bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        config: dict[str, str | int | bool] = {
            **UNPINNED,
            "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
            "NUM_STREAMS": calls,
            "INFERENCE_NUM_THREADS": threads,
        }
        self._key = (hashlib.sha256(model).digest(), shape, *config.values())
        self._compile = partial(_compile, core, model, shape, config)
        self._requests = threading.local()
        self.calls = calls
        self.name = f"openvino cpu {'bf16' if bf16 else 'float32'}"

    def __call__(self, picture: NDArray[np.uint8]) -> list[Array]:
        with first_call_alone("openvino, detector"):
            request = self._request()
            request.infer([picture[None]], share_inputs=True)
            return [tensor.data for tensor in request.output_tensors]

    def _request(self) -> Any:  # openvino is imported late
        """This thread's. The first one compiles: many a run asks some of its networks nothing."""
        if not hasattr(self._requests, "own"):
            self._requests.own = compiled(self, self._key, self._compile).create_infer_request()
        return self._requests.own


def _compile(core: Any, model: bytes, shape: tuple[int, int], config: dict[str, str | int | bool]) -> Any:
    import openvino as ov  # noqa: PLC0415
    from openvino.preprocess import PrePostProcessor  # noqa: PLC0415

    graph = core.read_model(model, b"")
    graph.reshape({graph.input(0).any_name: [1, 3, *shape]})
    # Bytes become numbers inside: a sixth of the time of a large picture, and the same numbers.
    wrap = PrePostProcessor(graph)
    wrap.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    wrap.input().model().set_layout(ov.Layout("NCHW"))
    return core.compile_model(wrap.build(), "CPU", config)


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
        with first_call_alone("onnxruntime, detector"):
            return [np.asarray(value) for value in self._session.run(None, {self._input: blob})]


class DeviceProgram(Protocol):
    """A network compiled for a device."""

    name: str
    """Library, device and precision."""

    def __call__(self, picture: Tensor) -> Tensor:
        """(1, 3, H, W) float32 of 0..255 -> what ``head`` makes, the program's own until the next call."""
        ...


def compile_on_device(
    model: bytes,
    shape: tuple[int, int],
    outputs: Sequence[tuple[int, ...]],
    head: Head,
    device: torch.device,
    library: Literal["auto", "torch", "onnxruntime"] = "auto",
) -> DeviceProgram:
    """Compiles a serialised ONNX model for pictures of ``shape`` = (H, W); ``outputs`` are its maps' shapes.

    "auto" is PyTorch: it computes in the stages' own stream, so that nobody waits, in half precision, and a
    call is one launch. ONNX Runtime has a stream of its own, which the host waits for before and after.
    Raises MissingError where that has no CUDA, InputError for a graph that the library does not take.
    """
    if library == "onnxruntime":
        return _Bound(model, outputs, head, device)
    return _Torch(model, shape, head, device)


class _Torch:
    def __init__(self, model: bytes, shape: tuple[int, int], head: Head, device: torch.device) -> None:
        dtype = torch.float16 if device.type == "cuda" else torch.float32  # the CPU has no quick half
        self.name = f"torch {device} {str(dtype).removeprefix('torch.')}"
        self._graph, self._head, self._device = Graph(model, device, dtype), head, device
        self._picture = torch.zeros(1, 3, *shape, device=device)
        self._call: Callable[[], Tensor] = self._compute
        if device.type == "cuda":
            with torch.no_grad():
                self._call = cuda.captured(self._compute, device, self.name)

    def __call__(self, picture: Tensor) -> Tensor:
        with torch.no_grad():
            self._picture.copy_(picture)
            return self._call()

    def _compute(self) -> Tensor:
        return self._head(self._graph(self._picture))


class _Bound:
    def __init__(
        self, model: bytes, outputs: Sequence[tuple[int, ...]], head: Head, device: torch.device
    ) -> None:
        from pipeline.engines import onnxruntime  # noqa: PLC0415  heavy

        self.name = f"onnxruntime {device} float32"
        self._session = onnxruntime.open_session(model, "the face finder's network", device, None)
        self._run, self._head, self._device = onnxruntime.run_bound, head, device
        graph = onnx.load_from_string(model).graph
        weights = {w.name for w in graph.initializer}
        (self._input,) = (v.name for v in graph.input if v.name not in weights)
        names = [v.name for v in graph.output]
        self._maps = {
            name: torch.empty(shape, device=device) for name, shape in zip(names, outputs, strict=True)
        }

    def __call__(self, picture: Tensor) -> Tensor:
        self._run(self._session, self._device, {self._input: picture}, self._maps)
        with torch.no_grad():
            return self._head(list(self._maps.values()))
