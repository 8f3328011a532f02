"""OpenVINO on the CPU.

An ONNX file runs in bfloat16 where the processor computes in it, else in float32. In an IR file (.xml and
.bin, ``vidpipe export --to openvino``) the precision is part of the export, and what it says is what runs.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import openvino as ov
import torch
from torch import Tensor

from pipeline.engines import EngineSpec
from pipeline.engines.batching import first_call_alone, in_parts
from pipeline.engines.compiled import UNPINNED, compiled
from pipeline.engines.spec import INPUTS, KEY, OUTPUTS, from_json, input_shapes, read_onnx
from pipeline.errors import InputError

log = logging.getLogger(__name__)

_NAMES = {"f32": "float32", "f16": "float16", "bf16": "bf16"}


class OpenVinoEngine:
    """Compiles one program of static shape per batch size, when that size first comes.

    Sizes are those of ``batching.fitting``. ``threads`` None leaves their number to the library; ``calls``
    from as many threads share them. Raises InputError for a file that is no network of ours.
    """

    def __init__(self, path: Path, threads: int | None, calls: int = 1) -> None:
        self._core: ov.Core = ov.Core()
        if path.suffix == ".onnx":
            self.spec = read_onnx(path)
            self._model: ov.Model = _read(self._core, path)
        else:
            self._model = _read(self._core, path)
            self.spec = _spec_of_ir(self._model, path)
        hint = self._hint(path)
        self.name = f"openvino cpu {'int8, ' if self.spec.precision == 'int8' else ''}{_NAMES[hint]}"
        self._config: dict[str, str | int | bool] = {"INFERENCE_PRECISION_HINT": hint, **UNPINNED}
        if calls == 1:
            self._config["PERFORMANCE_HINT"] = "LATENCY"
        else:
            self._config["NUM_STREAMS"] = calls
        if threads is not None:
            self._config["INFERENCE_NUM_THREADS"] = threads
        self.calls = calls
        status = path.stat()
        self._file = (path.resolve(), status.st_ino, status.st_mtime_ns, status.st_size)
        self._compiled: dict[int, ov.CompiledModel] = {}
        self._compiling = threading.Lock()
        self._requests = threading.local()

    def infer(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return in_parts(inputs, self.spec, self._run)

    def close(self) -> None:
        self._compiled.clear()
        self._requests = threading.local()

    def _hint(self, path: Path) -> str:
        """The type that layers compute in, where the graph does not say int8."""
        able = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        fast = "bf16" if "BF16" in able else "f32"
        if path.suffix == ".onnx":
            return fast
        # float16 is how such a file is kept; a processor without it computes in float32.
        own = {"fp32": "f32", "fp16": "f16" if "FP16" in able else "f32", "bf16": "bf16", "int8": fast}
        return own[self.spec.precision]

    def _run(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        feed = {name: inputs[name].contiguous().numpy() for name in INPUTS}
        with first_call_alone("openvino"):
            outputs = self._request(feed["mask"].shape[0]).infer(feed)
            return {name: torch.from_numpy(np.array(outputs[name])) for name in OUTPUTS}

    def _request(self, size: int) -> ov.InferRequest:
        """This thread's, for batches of a size."""
        if not hasattr(self._requests, "own"):
            self._requests.own = {}
        own: dict[int, ov.InferRequest] = self._requests.own
        if size not in own:
            own[size] = self._program(size).create_infer_request()
        return own[size]

    def _program(self, size: int) -> ov.CompiledModel:
        with self._compiling:
            if size not in self._compiled:
                which = self.name, self.spec.net, self.spec.version, size
                log.debug("%s: compiling %s %s for batches of %d", *which)
                key = (self._file, size, *sorted(self._config.items()))
                self._compiled[size] = compiled(self, key, lambda: self._compile(size))
            return self._compiled[size]

    def _compile(self, size: int) -> ov.CompiledModel:
        self._model.reshape({n: list(s) for n, s in input_shapes(self.spec, size).items()})
        return self._core.compile_model(self._model, "CPU", self._config)


def _read(core: ov.Core, path: Path) -> ov.Model:
    try:
        return core.read_model(str(path))
    except RuntimeError as error:
        raise InputError(
            f"{path}: OpenVINO cannot load it ({error}); delete it, the next run makes it anew"
        ) from error


def _spec_of_ir(model: ov.Model, path: Path) -> EngineSpec:
    if not model.has_rt_info([KEY]):
        raise InputError(f"{path}: no {KEY!r} metadata, so not a network of vidpipe")
    return from_json(str(model.get_rt_info([KEY]).astype(str)), path)
