"""TensorRT and TensorRT for RTX, on an NVIDIA GPU: one context, one stream, CUDA graphs, no copy to the host.

Written against the documented API of TensorRT 10 and 11 and of TensorRT for RTX 1.7. Sizes are those of
``batching.fitting``; each has buffers of its own, so that what was captured for it stays valid.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from pipeline import cuda
from pipeline.engines import engine_file, tensorrt_library
from pipeline.engines.batching import in_parts
from pipeline.engines.engine_file import (
    AGAIN,
    EngineFile,
    Header,
    check_owner,
    folder,
    is_signed,
    machine,
    sign,
)
from pipeline.engines.parity import Reference, measure
from pipeline.engines.spec import INPUTS, OUTPUTS, input_shapes
from pipeline.errors import CheckError, InputError, MissingError, UsageError, VidpipeError
from pipeline.notes import decided

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Program:
    """Buffers of one batch size, and what was captured over them."""

    buffers: dict[str, Tensor]
    call: Callable[[], None]


def fits(header: Header, path: Path, version: str, capability: str) -> None:
    """Raises InputError where an engine is for another version, GPU or kind of machine than these."""
    built, here = _key(header.library_version), _key(version)
    later = header.version_compatible and built[0] == here[0] and built <= here
    if version != header.library_version and not later:
        raise InputError(
            f"{path}: built by {header.library} {header.library_version}, here is {version}; {AGAIN}"
        )
    newer = header.newer_gpus and _key(capability) >= min(map(_key, header.capabilities))
    if capability not in header.capabilities and not newer:
        raise InputError(
            f"{path}: built for GPUs of compute capability {', '.join(header.capabilities)}, here is "
            f"{capability}; {AGAIN}"
        )
    if header.platform != machine():
        raise InputError(f"{path}: built for {header.platform}, here is {machine()}; {AGAIN}")


def _key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


class TensorRtEngine:
    """An engine file of ``vidpipe export --to tensorrt`` or ``tensorrt-rtx``.

    Inputs may lie on the CPU or on ``device`` ("cuda:N"); outputs lie where the inputs do. Raises InputError
    for a file that may not or cannot be opened, MissingError where library or GPU are not here, CheckError
    where the engine, on its first opening on this GPU, does not answer as PyTorch does.
    """

    def __init__(self, path: Path, device: str) -> None:
        opened = engine_file.read(path)
        header = opened.header
        self.spec = header.spec
        module = tensorrt_library.load(header.library)
        if device == "cpu":
            raise UsageError(
                f"{path}: TensorRT runs on an NVIDIA GPU, device cpu was asked; use an .onnx file"
            )
        if not torch.cuda.is_available():
            raise MissingError(f"device {device}: PyTorch sees no GPU here; use --device cpu")
        self._device = torch.device(device)
        major, minor = torch.cuda.get_device_capability(self._device)
        fits(header, path, module.__version__, f"{major}.{minor}")
        self.calls = 1
        self.name = f"{header.library} {device} {self.spec.precision}"
        self._captures = header.library == "tensorrt"  # tensorrt_rtx captures by itself
        self._heard: list[str] = []
        with torch.cuda.device(self._device):
            self._stream = cuda.OwnStream(self._device)
            self._logger = tensorrt_library.logger(module, self._heard)
            self._runtime, self._engine = _deserialised(module, self._logger, header, opened)
            self._runtime_cache = _RuntimeCache(header, self._device) if not self._captures else None
            self._context = self._open_context(module, path)
        self._programs: dict[int, Program] = {}
        _check_once(self, opened)

    def infer(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if self._context is None:
            raise ValueError(f"{self.name}: closed")
        where = inputs["mask"].device
        here = {name: cuda.pinned_to(inputs[name], self._device) for name in INPUTS}
        outputs = in_parts(here, self.spec, self._run)
        return {name: value.to(where) for name, value in outputs.items()}

    def close(self) -> None:
        """Graphs first, then the context, then the engine: each uses the next."""
        if self._context is None:
            return
        self._stream.wait()
        if self._runtime_cache is not None:
            self._runtime_cache.save()
        self._programs.clear()
        del self._context, self._engine, self._runtime
        self._context = self._engine = self._runtime = None

    def _run(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """On the engine's own stream, ordered after and before the caller's."""
        with self._stream.turn():
            program = self._program(inputs["mask"].shape[0])
            for name, x in inputs.items():
                program.buffers[name].copy_(x)
                self._stream.reads(x)
            program.call()
            outputs = {name: program.buffers[name].clone() for name in OUTPUTS}
        for value in outputs.values():
            self._stream.gives(value)
        return outputs

    def _program(self, size: int) -> Program:
        if size not in self._programs:
            spec = self.spec
            shapes = input_shapes(spec, size) | {
                "residual": (size, spec.core, 3, spec.size_px, spec.size_px),
                "trust": (size, spec.core),
            }
            buffers = {name: torch.zeros(shape, device=self._device) for name, shape in shapes.items()}

            def call() -> None:
                self._bind(buffers)
                self._execute()

            captured = self._stream.captured(call, self.name) if self._captures else call
            self._programs[size] = Program(buffers, captured)
        return self._programs[size]

    def _bind(self, buffers: dict[str, Tensor]) -> None:
        assert self._context is not None
        for name in INPUTS:
            if not self._context.set_input_shape(name, tuple(buffers[name].shape)):
                raise ValueError(f"{self.name}: refuses {name} of {tuple(buffers[name].shape)}")
        for name, buffer in buffers.items():
            self._context.set_tensor_address(name, buffer.data_ptr())

    def _execute(self) -> None:
        assert self._context is not None
        if not self._context.execute_async_v3(self._stream.handle):
            why = f"{self.name}: the call failed: {' '.join(self._heard[-1:])}"
            raise torch.OutOfMemoryError(why) if "memory" in why.lower() else RuntimeError(why)

    def _open_context(self, module: Any, path: Path) -> tensorrt_library.Context | None:
        engine = self._engine
        assert engine is not None
        names = {engine.get_tensor_name(i) for i in range(engine.num_io_tensors)}
        if names != {*INPUTS, *OUTPUTS} or any(engine.get_tensor_dtype(n) != module.float32 for n in names):
            raise InputError(f"{path}: has {sorted(names)}, wanted {sorted({*INPUTS, *OUTPUTS})}; {AGAIN}")
        context: tensorrt_library.Context | None
        if self._runtime_cache is None:
            context = engine.create_execution_context()
        else:
            config = cast("tensorrt_library.RtxEngine", engine).create_runtime_config()
            config.cuda_graph_strategy = module.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            self._runtime_cache.attach(config)
            context = cast("Any", engine).create_execution_context(config)
        if context is None:
            raise MissingError(
                f"{self.name}: no context ({' '.join(self._heard[-1:])}); is the GPU's memory full?"
            )
        return context


def _deserialised(
    module: Any, logger: Any, header: Header, opened: EngineFile
) -> tuple[tensorrt_library.Runtime | None, tensorrt_library.CudaEngine | None]:
    """The runtime must outlive the engine, so both are kept."""
    runtime: tensorrt_library.Runtime = module.Runtime(logger)
    runtime.engine_host_code_allowed = header.version_compatible  # such a plan holds the lean runtime
    plan = opened.part("plan")
    if header.library == "tensorrt_rtx":
        check_plan(module, cast("tensorrt_library.RtxRuntime", runtime), plan, opened.path)
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise InputError(f"{opened.path}: {header.library} cannot load it; {AGAIN}")
    return runtime, engine


def check_plan(module: Any, runtime: tensorrt_library.RtxRuntime, plan: bytes, path: Path) -> None:
    """Lets tensorrt_rtx check the plan's header, before it reads the rest. Raises InputError."""
    validity, reasons = runtime.get_engine_validity(plan[: runtime.engine_header_size])
    if validity != module.EngineValidity.INVALID:
        return
    kinds = module.EngineInvalidityDiagnostics
    known = [name for name in dir(kinds) if name.isupper() and int(getattr(kinds, name).value) & reasons]
    what = ", ".join(known).lower().replace("_", " ") or "no reason given: no driver?"
    raise InputError(f"{path}: tensorrt_rtx refuses it: {what}; {AGAIN}")


class _RuntimeCache:
    """Kernels that tensorrt_rtx has compiled on this GPU, kept; without it each run compiles them."""

    def __init__(self, header: Header, device: torch.device) -> None:
        gpu = "-".join(torch.cuda.get_device_name(device).split())
        weights = header.spec.weights_sha256[:16]
        self._path = (
            folder() / f"kernels-{header.library_version}-{gpu}-{weights}-{header.spec.precision}.bin"
        )
        self._cache: Any = None

    def attach(self, config: Any) -> None:
        self._cache = config.create_runtime_cache()
        with suppress(OSError, VidpipeError):
            check_owner(self._path)
            content = self._path.read_bytes()
            if is_signed(content[64:], content[:64].decode("ascii", "replace")):
                self._cache.deserialize(content[64:])
        config.set_runtime_cache(self._cache)

    def save(self) -> None:
        content = bytes(memoryview(self._cache.serialize()))
        with suppress(OSError):  # it only saves time
            part = self._path.with_suffix(".part")
            part.write_bytes(sign(content).encode() + content)
            part.chmod(0o600)
            part.replace(self._path)


def _check_once(engine: TensorRtEngine, opened: EngineFile) -> None:
    """When first opened on this GPU: compared with the reference in the file; that it held is remembered."""
    gpu = torch.cuda.get_device_name(torch.device(engine._device))
    said = f"{opened.signature} {gpu}".encode()
    mark = folder() / "checked" / sign(said)[:32]
    if mark.exists():
        return
    parity = measure(engine, Reference.from_bytes(opened.part("reference")), engine.spec.precision)
    if not parity.holds:
        raise CheckError(
            f"{opened.path}: does not answer as PyTorch does, {parity}; build it anew or use another"
        )
    decided(log, "%s: first opened on %s, compared with PyTorch: %s", opened.path.name, gpu, parity)
    with suppress(OSError):
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.write_text(f"{parity}\n", encoding="utf-8")
