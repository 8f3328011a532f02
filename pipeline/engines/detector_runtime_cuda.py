"""Networks that are not ours on a device: a picture goes in and the answer comes out where it lies.

``plain`` is the same on the CPU. ``head`` is what is made of the network's outputs, a few numbers instead of
maps; under PyTorch on a GPU it is part of the CUDA graph that a call replays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import onnx
import torch
from torch import Tensor

from pipeline import cuda
from pipeline.engines.onnx_graph import Graph

Head = Callable[[list[Tensor]], Tensor]


class DeviceProgram(Protocol):
    """A compiled network."""

    name: str
    """Library, device and precision."""

    def __call__(self, picture: Tensor) -> Tensor:
        """(1, 3, H, W) float32 of 0..255 -> what ``head`` makes, the program's own until the next call."""
        ...


def compile_there(
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
