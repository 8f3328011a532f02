"""PyTorch, eager: the reference that other engines are compared with, and GPUs without another library."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.engines import EngineSpec
from pipeline.engines.metadata import INPUTS, KEY, OUTPUTS, from_json
from pipeline.errors import InputError, MissingError


class TorchEngine:
    """Runs a module that takes ``(features, mask)`` and returns ``(residual, trust)``.

    The module is used as it is, in the mode that it is in (call ``eval`` first), in float32, and moved
    to ``device`` ("cpu", "cuda:0"). Results lie where the inputs do.
    """

    def __init__(self, module: nn.Module, spec: EngineSpec, device: str = "cpu") -> None:
        self.spec = spec
        self.name = f"torch {device} float32"
        self._device = torch.device(device)
        self._module: nn.Module | None = module.to(self._device)

    def infer(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if self._module is None:
            raise ValueError(f"{self.name}: closed")
        with torch.inference_mode():
            outputs = self._module(*(inputs[name].to(self._device) for name in INPUTS))
        where = inputs["mask"].device
        return {name: value.to(where).clone() for name, value in zip(OUTPUTS, outputs, strict=True)}

    def close(self) -> None:
        self._module = None


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
    return TorchEngine(program.module(), from_json(extra[KEY], path), device)
