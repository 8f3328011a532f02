"""Calls of an engine: its inputs, batches of a size that it takes, and a library's first call alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from nets.fusion import support
from nets.measurement import Part
from nets.observation import Observation
from pipeline.engines import EngineSpec

Run = Callable[[dict[str, Tensor]], dict[str, Tensor]]
"""Runs one batch of an allowed size; its outputs belong to the caller."""
_first_call = threading.Lock()
_called: set[str] = set()


def engine_inputs(
    obs: Observation, spec: EngineSpec, part: Part | None = None
) -> tuple[dict[str, Tensor], Observation]:
    """``obs`` of the (B * T, ...) frames of windows -> the engine's inputs, and the observation of the
    (B * C, ...) core frames that its answer is composed with. With ``part``, which holds all mosaics, a GPU
    is never waited for."""
    core = list(range(spec.context, spec.context + spec.core))
    of_core = support(obs, spec.window, core, part) if spec.fused else obs.pick(spec.window, core)
    read = of_core if spec.fused else obs
    frames = (-1, spec.frames)
    return {
        "features": read.features.unflatten(0, frames),
        "mask": (1 - read.weight).unflatten(0, frames),
    }, of_core


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


@contextmanager
def first_call_alone(library: str) -> Iterator[None]:
    """Put around calls that come from several threads: until one call of ``library`` has ended well, they run
    one at a time, whichever object they are calls of.

    What OpenVINO's bindings prepare on their first call (pybind11's view of NumPy, tables of dtypes) lies in
    C++ statics whose making runs Python. A thread that makes one and waits for the interpreter's lock, and
    one that holds the lock and waits for the static, would wait for each other for ever.
    """
    if library in _called:
        yield
        return
    with _first_call:
        yield
        _called.add(library)
