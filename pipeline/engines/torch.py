"""PyTorch: the reference that other engines are compared with, and GPUs without another library.

On a GPU: weights in channels-last order, autocast to the file's precision, compiled by PyTorch's own compiler
where it works, and one CUDA graph per batch size. On a CPU it runs eagerly, in float32 or bfloat16.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from pipeline import cuda
from pipeline.engines import EngineSpec
from pipeline.engines.batching import in_parts
from pipeline.engines.spec import INPUTS, KEY, OUTPUTS, from_json, input_shapes
from pipeline.errors import InputError, MissingError
from pipeline.notes import warned

log = logging.getLogger(__name__)

_REDUCED = {"fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(slots=True)
class _Program:
    """The program of one batch size on a GPU: the inputs that it reads, and the call that replays it."""

    inputs: dict[str, Tensor]
    replay: Callable[[], tuple[Tensor, ...]]


class TorchEngine:
    """Runs a module that takes ``(features, mask)`` and returns ``(residual, trust)``.

    The module is used as it is, in the mode that it is in (call ``eval`` first), and moved to ``device``
    ("cpu", "cuda:0"). A file of fp16 runs in float32 on a CPU, where float16 is slower. ``compiled``: by
    ``torch.compile``; None: on a GPU. Results lie where the inputs do.
    """

    def __init__(
        self, module: nn.Module, spec: EngineSpec, device: str = "cpu", compiled: bool | None = None
    ) -> None:
        self.spec = spec
        self._device = torch.device(device)
        self._on_gpu = self._device.type == "cuda"
        dtype = _REDUCED.get(spec.precision)
        self._dtype = None if dtype is torch.float16 and not self._on_gpu else dtype
        kind = "float32" if self._dtype is None else str(self._dtype).removeprefix("torch.")
        self.calls = 1
        self.name = f"torch {device} {kind}"
        self._module: nn.Module | None = module.to(self._device)
        if self._on_gpu:
            cast("Any", module).to(memory_format=torch.channels_last)
        self._call: Callable[..., Any] = self._module
        if self._on_gpu if compiled is None else compiled:
            self._call = torch.compile(self._module, dynamic=False)
            self.name += ", compiled"
        self._eager = self._call is self._module
        self._programs: dict[int, _Program] = {}

    def infer(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if self._module is None:
            raise ValueError(f"{self.name}: closed")
        where = inputs["mask"].device
        here = {name: inputs[name].to(self._device) for name in INPUTS}
        with torch.no_grad():  # not inference_mode: outputs are the caller's to change
            outputs = in_parts(here, self.spec, self._replayed) if self._on_gpu else self._run(here)
        return {name: value.to(where) for name, value in outputs.items()}

    def close(self) -> None:
        self._programs.clear()
        self._module = None
        self._call = _closed

    def _run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        outputs = self._called(*(inputs[name] for name in INPUTS))
        return {name: value.clone() for name, value in zip(OUTPUTS, outputs, strict=True)}

    def _called(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The network's answer in float32."""
        with self._precision():
            try:
                outputs = self._call(*inputs)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:
                if self._eager or self._module is None:
                    raise
                # No C compiler, no Triton, a shape that it cannot: of many classes.
                lines = str(error).strip().splitlines() or [type(error).__name__]
                warned(log, "%s: it cannot be compiled here (%s); it runs as it is", self.name, lines[0])
                self._call, self._eager = self._module, True
                self.name = self.name.removesuffix(", compiled")
                outputs = self._call(*inputs)
        return tuple(value.float() for value in outputs)

    def _precision(self) -> AbstractContextManager[Any]:
        if self._dtype is None:
            return nullcontext()
        # The cache would hold reduced weights of another CUDA graph's memory.
        return torch.autocast(self._device.type, dtype=self._dtype, cache_enabled=False)

    def _replayed(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        size = inputs["mask"].shape[0]
        if size not in self._programs:
            self._programs[size] = self._captured(size)
        program = self._programs[size]
        for name in INPUTS:
            program.inputs[name].copy_(inputs[name])
        return {name: value.clone() for name, value in zip(OUTPUTS, program.replay(), strict=True)}

    def _captured(self, size: int) -> _Program:
        shapes = input_shapes(self.spec, size)
        held = {name: torch.zeros(shape, device=self._device) for name, shape in shapes.items()}

        def call() -> tuple[Tensor, ...]:
            return self._called(*(held[name] for name in INPUTS))

        return _Program(held, cuda.captured(call, self._device, self.name))


def _closed(*_: Tensor) -> tuple[Tensor, ...]:
    raise ValueError("the engine is closed")


def open_torch(path: Path, device: str) -> TorchEngine:
    """Loads a program saved by ``torch.export.save`` with the spec as extra file ``vidpipe``.

    Raises InputError for a file that is none, MissingError for a device that is not there.
    """
    if device != "cpu" and not torch.cuda.is_available():
        raise MissingError(f"device {device}: PyTorch sees no GPU here; use --device cpu")
    extra = {KEY: ""}
    try:
        program = torch.export.load(path, extra_files=extra)
    except Exception as error:  # zip, pickle and schema errors of many classes
        raise InputError(
            f"{path}: not a torch.export archive ({error}); delete it, the next run makes it anew"
        ) from error
    if not extra[KEY]:
        raise InputError(
            f"{path}: no {KEY!r} metadata, so not a network of vidpipe; delete it, the next run makes it anew"
        )
    if device != "cpu":
        from torch.export.passes import move_to_device_pass  # noqa: PLC0415  slow to import

        program = move_to_device_pass(program, device)  # tensors that the graph itself makes, too
    module = program.module()
    _forget_types(module)
    return TorchEngine(module, from_json(extra[KEY], path), device)


def _forget_types(module: Any) -> None:
    """Leaves out the exporter's checks of types, which do not hold under autocast."""
    for node in list(module.graph.nodes):
        if node.target is torch.ops.aten._assert_tensor_metadata.default:
            module.graph.erase_node(node)
    module.recompile()
