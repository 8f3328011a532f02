"""ONNX Runtime, float32, on the CPU or an NVIDIA GPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor

from pipeline.engines.metadata import INPUTS, OUTPUTS, read_onnx
from pipeline.errors import InputError, MissingError

_CUDA = "CUDAExecutionProvider"


def has_cuda() -> bool:
    """Whether this build of the library can use an NVIDIA GPU."""
    return _CUDA in ort.get_available_providers()


class OnnxRuntimeEngine:
    """One session; any batch size that the file leaves free.

    ``device`` is "cpu" or "cuda:N"; ``threads`` None leaves their number to the library. Raises
    InputError for a file that is no network of ours, MissingError for a device that is not there.
    """

    def __init__(self, path: Path, device: str, threads: int | None) -> None:
        self.spec = read_onnx(path)
        self.name = f"onnxruntime {device} float32"
        options = ort.SessionOptions()
        options.log_severity_level = 3  # errors only: its warnings speak of graph optimisation
        if threads is not None:
            options.intra_op_num_threads = threads
        provider: str | tuple[str, dict[str, int]] = "CPUExecutionProvider"
        if device != "cpu":
            if not has_cuda():
                raise MissingError(f"device {device}: onnxruntime has no CUDA here; install onnxruntime-gpu")
            provider = (_CUDA, {"device_id": int(device.removeprefix("cuda:"))})
        try:
            session = ort.InferenceSession(str(path), options, providers=[provider])
        except Exception as error:  # its classes share no base but Exception
            raise InputError(
                f"{path}: onnxruntime cannot load it ({error}); delete it, the next run makes it anew"
            ) from error
        if device != "cpu" and _CUDA not in session.get_providers():
            raise MissingError(f"device {device}: onnxruntime could not use it (driver, CUDA, cuDNN)")
        self._session: ort.InferenceSession | None = session

    def infer(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if self._session is None:
            raise ValueError(f"{self.name}: closed")
        feed = {name: np.ascontiguousarray(inputs[name].numpy()) for name in INPUTS}
        outputs = self._session.run(list(OUTPUTS), feed)
        return {name: torch.from_numpy(value) for name, value in zip(OUTPUTS, outputs, strict=True)}

    def close(self) -> None:
        self._session = None
