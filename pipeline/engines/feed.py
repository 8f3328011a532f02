"""From what windows of frames show to what an engine is fed."""

from __future__ import annotations

from torch import Tensor

from nets.fusion import support
from nets.observation import Observation
from pipeline.engines import EngineSpec


def feed(obs: Observation, spec: EngineSpec) -> tuple[dict[str, Tensor], Observation]:
    """``obs`` holds the (B * T, ...) frames of windows -> the engine's inputs, and the observation of the
    (B * C, ...) core frames that its answer is composed with."""
    core = list(range(spec.context, spec.context + spec.core))
    of_core = support(obs, spec.window, core) if spec.fused else obs.pick(spec.window, core)
    read = of_core if spec.fused else obs
    frames = (-1, spec.frames)
    return {
        "features": read.features.unflatten(0, frames),
        "mask": (1 - read.weight).unflatten(0, frames),
    }, of_core
