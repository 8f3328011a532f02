"""ONNX Runtime, on the CPU or an NVIDIA GPU, at the precision that the file says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor

from pipeline.cuda import settle
from pipeline.engines.batching import first_call_alone, in_parts
from pipeline.engines.spec import INPUTS, OUTPUTS, read_onnx
from pipeline.errors import InputError, MissingError
from pipeline.flow import cores

_CUDA = "CUDAExecutionProvider"


def has_cuda() -> bool:
    """Whether this build of the library can use an NVIDIA GPU."""
    return _CUDA in ort.get_available_providers()


@contextmanager
def full_memory() -> Iterator[None]:
    """The library's errors of allocation become PyTorch's, which ``restore`` answers with smaller batches."""
    try:
        yield
    except Exception as error:  # its classes share no base but Exception
        if "Failed to allocate memory" in str(error) or "out of memory" in str(error).lower():
            raise torch.OutOfMemoryError(str(error)) from error
        raise


def open_session(
    model: str | bytes, what: str, device: torch.device, threads: int | None
) -> ort.InferenceSession:
    """A session for a file's path or its content, which is called ``what`` in errors.

    Raises MissingError for a GPU that the library cannot use, InputError for a graph that it cannot load.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 3  # errors only: its warnings speak of graph optimisation
    if threads is not None:
        options.intra_op_num_threads = threads
    provider: str | tuple[str, dict[str, int | str]] = "CPUExecutionProvider"
    if device.type != "cpu":
        if not has_cuda():
            raise MissingError(f"device {device}: onnxruntime has no CUDA here; install onnxruntime-gpu")
        # Memory as it is asked for, not doubled each time: another run may share the GPU.
        provider = (_CUDA, {"device_id": device.index or 0, "arena_extend_strategy": "kSameAsRequested"})
    try:
        with full_memory():
            session = ort.InferenceSession(model, options, providers=[provider])
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # its classes share no base but Exception
        raise InputError(
            f"{what}: onnxruntime cannot load it ({error}); delete it, the next run makes it anew"
        ) from error
    if device.type != "cpu" and _CUDA not in session.get_providers():
        raise MissingError(f"device {device}: onnxruntime could not use it (driver, CUDA, cuDNN)")
    return session


def run_bound(
    session: ort.InferenceSession,
    device: torch.device,
    inputs: Mapping[str, Tensor],
    outputs: Mapping[str, Tensor],
) -> None:
    """Reads and writes float32 tensors where they lie, by their addresses: no copy to the host.

    ``inputs`` and ``outputs`` lie on ``device``; outputs are contiguous and of the right shapes.
    """
    index = device.index or 0
    binding = session.io_binding()
    held = {name: x.contiguous() for name, x in inputs.items()}
    for name, x in held.items():
        binding.bind_input(name, device.type, index, np.float32, tuple(x.shape), x.data_ptr())
    for name, x in outputs.items():
        binding.bind_output(name, device.type, index, np.float32, tuple(x.shape), x.data_ptr())
    # The library has a stream of its own: what made the inputs must be done, and so must it.
    settle(device)
    with full_memory():
        session.run_with_iobinding(binding)
    binding.synchronize_outputs()


class OnnxRuntimeEngine:
    """One session; any batch size that the file leaves free.

    ``device`` is "cpu" or "cuda:N"; ``threads`` None leaves their number to the library; ``calls`` from as
    many threads share them. Tensors that lie on that GPU are read and written there, by their addresses;
    others are copied. Raises InputError for a file that is no network of ours, MissingError for a device that
    is not there.
    """

    def __init__(self, path: Path, device: str, threads: int | None, calls: int = 1) -> None:
        self.spec = read_onnx(path)
        self.calls = calls if device == "cpu" else 1
        if self.calls > 1:
            threads = max(1, (threads or cores()) // calls)
        kind = "float32" if self.spec.precision == "fp32" else self.spec.precision
        self.name = f"onnxruntime {device} {kind}"
        self._device = torch.device(device)
        session = open_session(str(path), str(path), self._device, threads)
        self._session: ort.InferenceSession | None = session

    def infer(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if self._session is None:
            raise ValueError(f"{self.name}: closed")
        on_gpu = all(inputs[name].device == self._device for name in INPUTS) and self._device.type == "cuda"
        return in_parts(inputs, self.spec, self._run_bound if on_gpu else self._run)

    def close(self) -> None:
        self._session = None

    def _run(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        assert self._session is not None
        feed = {name: np.ascontiguousarray(inputs[name].cpu().numpy()) for name in INPUTS}
        with full_memory(), first_call_alone("onnxruntime"):
            outputs = self._session.run(list(OUTPUTS), feed)
        where = inputs[INPUTS[0]].device
        return {name: torch.from_numpy(v).to(where) for name, v in zip(OUTPUTS, outputs, strict=True)}

    def _run_bound(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Without a copy to the host: the library writes into tensors that the caller then owns."""
        assert self._session is not None
        spec, count = self.spec, inputs["mask"].shape[0]
        shapes = {
            "residual": (count, spec.core, 3, spec.size_px, spec.size_px),
            "trust": (count, spec.core),
        }
        outputs = {name: torch.empty(shape, device=self._device) for name, shape in shapes.items()}
        run_bound(self._session, self._device, {name: inputs[name] for name in INPUTS}, outputs)
        return outputs
