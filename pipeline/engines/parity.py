"""Compares an engine's answer on crops of real pictures with PyTorch's.

Both answers are made consistent with the mosaic (``nets.observation.compose``), then compared with each other
and with the truth, inside the mosaic. An exporter measures each engine that it builds. An engine that cannot
run where it was built carries its ``Reference`` with it, and is measured when it is first opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from pydantic import BaseModel, ConfigDict
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from nets.observation import Observation, compose, observe
from pipeline.engines import Engine, EngineSpec
from pipeline.engines.batching import engine_inputs


@dataclass(frozen=True, slots=True)
class Crops:
    """K windows of pixelated crops as a decoder gives them, and what is under the mosaic. All uint8."""

    image: Tensor
    """(K, T, 3, S, S) RGB"""
    truth: Tensor
    """(K, T, 3, S, S) RGB"""
    mask: Tensor
    """(K, T, 1, S, S), 1 clean"""
    rows: Tensor
    """(K, T, N, S) membership in cells"""
    cols: Tensor
    _prepared: list[tuple[EngineSpec, dict[str, Tensor], Observation]] = field(
        default_factory=list, init=False, repr=False, compare=False
    )
    """What the last spec asked for: it takes as long as a network does."""

    def inputs(self, spec: EngineSpec) -> dict[str, Tensor]:
        """Inputs of an engine, see ``EngineSpec``."""
        return self._for(spec)[0]

    def composed(self, spec: EngineSpec, residual: Tensor, trust: Tensor) -> Tensor:
        """An engine's answer as a picture: (K, C, 3, S, S), RGB in [0, 1]."""
        observation = self._for(spec)[1]
        image = self.image[:, spec.context : spec.context + spec.core].flatten(0, 1).float() / 255
        picture = compose(observation, image, residual.flatten(0, 1), trust.flatten())
        shaped: Tensor = picture.clamp(0, 1).unflatten(0, (self.mask.shape[0], spec.core))
        return shaped

    def _for(self, spec: EngineSpec) -> tuple[dict[str, Tensor], Observation]:
        if not self._prepared or self._prepared[0][0] != spec:
            parts = (self.image.float() / 255, self.mask.float(), self.rows.float(), self.cols.float())
            observed = observe(*(x.flatten(0, 1) for x in parts))
            self._prepared[:] = [(spec, *engine_inputs(observed, spec))]
        return self._prepared[0][1:]


_TENSORS = ("image", "truth", "mask", "rows", "cols")


@dataclass(frozen=True, slots=True)
class Reference:
    """Crops and PyTorch's answer in float32."""

    crops: Crops
    residual: Tensor
    """(K, C, 3, S, S)"""
    trust: Tensor
    """(K, C)"""

    def to_bytes(self) -> bytes:
        """As a safetensors file."""
        tensors = {name: getattr(self.crops, name).contiguous() for name in _TENSORS}
        return save_tensors(tensors | {"residual": self.residual, "trust": self.trust})

    @staticmethod
    def from_bytes(content: bytes) -> Reference:
        """Raises SafetensorError or KeyError for anything else than ``to_bytes`` gave."""
        tensors = load_tensors(content)
        crops = Crops(**{name: tensors[name] for name in _TENSORS})
        return Reference(crops, tensors["residual"], tensors["trust"])


@dataclass(frozen=True, slots=True)
class Limits:
    """Largest differences that an engine of a precision may have, inside the mosaic."""

    min_psnr_db: float
    """between the two answers, peak 1"""
    max_change_db: float
    """of the PSNR to the truth, either way"""


LIMITS = {
    "fp32": Limits(80.0, 0.001),
    "fp16": Limits(60.0, 0.01),
    "bf16": Limits(45.0, 0.05),
    "int8": Limits(40.0, 0.1),
}
"""An error at P dB that has nothing to do with the network's own (24 dB at best) costs
10 log10(1 + 10 ** ((24 - P) / 10)) dB of PSNR to the truth: 0.001 at 60 dB, 0.03 at 45, 0.11 at 40."""


class Parity(BaseModel):
    """Difference of an engine's answer from PyTorch's in float32. Pictures and PSNR have peak 1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    engine: str
    precision: str
    """fp32, fp16, bf16 or int8: which LIMITS hold"""
    psnr_db: float
    """between the two pictures, inside the mosaic"""
    truth_db: float
    """of PyTorch's picture against the truth, inside the mosaic"""
    change_db: float
    """of that, with the engine's picture"""
    max_error: float
    """of a pixel's channel"""
    max_trust_error: float
    windows: int
    holds: bool
    """within the LIMITS"""

    def __str__(self) -> str:
        limits = LIMITS[self.precision]
        return (
            f"{self.engine}: {self.psnr_db:.1f} dB between it and PyTorch (wanted {limits.min_psnr_db:.0f} "
            f"for {self.precision}), PSNR to the truth changed by {self.change_db:+.4f} dB "
            f"(allowed {limits.max_change_db:g}), largest error {self.max_error:.4f}"
        )


def measure(engine: Engine, reference: Reference, precision: str) -> Parity:
    """Runs the engine on the reference's crops, one window a call. NaN or infinity never hold."""
    crops, spec = reference.crops, engine.spec
    inputs = crops.inputs(spec)
    answers = [
        engine.infer({name: value[k : k + 1] for name, value in inputs.items()})
        for k in range(crops.mask.shape[0])
    ]
    residual, trust = (
        torch.cat([answer[name].cpu() for answer in answers]) for name in ("residual", "trust")
    )
    return parity(engine.name, spec, reference, {"residual": residual, "trust": trust}, precision)


def parity(
    name: str, spec: EngineSpec, reference: Reference, outputs: Mapping[str, Tensor], precision: str
) -> Parity:
    """Compares outputs for all of the reference's windows with PyTorch's."""
    crops, core = reference.crops, slice(spec.context, spec.context + spec.core)
    wanted = crops.composed(spec, reference.residual, reference.trust)
    came = crops.composed(spec, outputs["residual"], outputs["trust"])
    weight = 1 - crops.mask[:, core].float()
    truth = crops.truth[:, core].float() / 255
    before = _psnr_db(wanted, truth, weight)
    limits, apart, change = (
        LIMITS[precision],
        _psnr_db(came, wanted, weight),
        _psnr_db(came, truth, weight) - before,
    )
    return Parity(
        engine=name,
        precision=precision,
        psnr_db=apart,
        truth_db=before,
        change_db=change,
        max_error=float((came - wanted).abs().max()),
        max_trust_error=float((outputs["trust"] - reference.trust).abs().max()),
        windows=crops.mask.shape[0],
        holds=apart >= limits.min_psnr_db and abs(change) <= limits.max_change_db,
    )


def _psnr_db(a: Tensor, b: Tensor, weight: Tensor) -> float:
    """Pooled over all windows, peak 1; an error of 1e-10 RMS, 200 dB, counts as none."""
    error = (((a - b) ** 2) * weight).sum() / (weight.sum() * a.shape[-3])
    return float(-10 * torch.log10(error + 1e-20))
