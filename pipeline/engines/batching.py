"""Batches of any size for engines that take a few sizes only: cut where too large, padded where too small."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from pipeline.engines import EngineSpec

Run = Callable[[dict[str, Tensor]], dict[str, Tensor]]
"""Runs one batch of an allowed size; its outputs belong to the caller."""


def fitting(count: int, spec: EngineSpec) -> int:
    """Size to pad ``count`` windows to: the next power of two within the file's range, so that a run with
    batches of up to B needs at most 1 + log2(B) programs."""
    return min(max(1 << (count - 1).bit_length(), spec.batch_min), max(spec.batch_max, count))


def padded(x: Tensor, size: int) -> Tensor:
    """The batch with its last entry repeated up to ``size``."""
    missing = size - x.shape[0]
    return torch.cat([x, x[-1:].expand(missing, *x.shape[1:])]) if missing else x


def in_parts(inputs: Mapping[str, Tensor], spec: EngineSpec, run: Run) -> dict[str, Tensor]:
    """Calls ``run`` with parts of at most ``spec.batch_max`` windows, padded to ``fitting`` sizes, and puts
    the outputs together: as many entries as went in."""
    count = inputs["mask"].shape[0]
    parts = []
    for first in range(0, count, spec.batch_max):
        part = {name: value[first : first + spec.batch_max] for name, value in inputs.items()}
        here = part["mask"].shape[0]
        size = fitting(here, spec)
        outputs = run({name: padded(value, size) for name, value in part.items()})
        parts.append({name: value[:here] for name, value in outputs.items()})
    if len(parts) == 1:
        return parts[0]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
