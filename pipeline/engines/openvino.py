"""OpenVINO on the CPU, bfloat16 where the processor computes in it, else float32."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import openvino as ov
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.engines.metadata import INPUTS, OUTPUTS, input_shapes, read_onnx
from pipeline.errors import InputError

log = logging.getLogger(__name__)


class OpenVinoEngine:
    """Compiles one program of static shape per batch size, when that size first comes.

    Sizes are rounded up to powers of two and the last window repeated, so that a run with batches of up
    to B needs at most 1 + log2(B) programs. ``threads`` None leaves their number to the library. Raises
    InputError for a file that is no network of ours.
    """

    def __init__(self, path: Path, threads: int | None) -> None:
        self.spec = read_onnx(path)
        self._core: ov.Core = ov.Core()
        bf16 = "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.name = f"openvino cpu {'bf16' if bf16 else 'float32'}"
        self._config: dict[str, str | int] = {
            "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        if threads is not None:
            self._config["INFERENCE_NUM_THREADS"] = threads
        try:
            self._model: ov.Model = self._core.read_model(str(path))
        except RuntimeError as error:
            raise InputError(
                f"{path}: OpenVINO cannot load it ({error}); delete it, the next run makes it anew"
            ) from error
        self._compiled: dict[int, ov.CompiledModel] = {}

    def infer(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        count = inputs["mask"].shape[0]
        size = 1 << (count - 1).bit_length()
        feed = {name: _padded(inputs[name], size) for name in INPUTS}
        outputs = self._program(size)(feed)
        return {name: torch.from_numpy(np.array(outputs[name][:count])) for name in OUTPUTS}

    def close(self) -> None:
        self._compiled.clear()

    def _program(self, size: int) -> ov.CompiledModel:
        if size not in self._compiled:
            log.debug(
                "%s: compiling %s %s for batches of %d", self.name, self.spec.net, self.spec.version, size
            )
            self._model.reshape({n: list(s) for n, s in input_shapes(self.spec, size).items()})
            self._compiled[size] = self._core.compile_model(self._model, "CPU", self._config)
        return self._compiled[size]


def _padded(x: Tensor, size: int) -> NDArray[np.float32]:
    """The batch with its last entry repeated up to ``size``."""
    missing = size - x.shape[0]
    full = torch.cat([x, x[-1:].expand(missing, *x.shape[1:])]) if missing else x
    array: NDArray[np.float32] = full.contiguous().numpy()
    return array
