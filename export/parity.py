"""Does an exported network answer as PyTorch does? Measured in the task's own terms."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from export.onnx import Body
from nets.idn import IDN
from nets.nar import NAR
from pipeline.engines import Engine

MIN_PSNR_DB = {"fp32": 80.0, "bf16": 45.0, "fp16": 60.0}
"""Between the engine's residual and PyTorch's, peak 1. bf16 has 8 bits: at 45 dB its error is 1.4 grey
levels RMS at most, a tenth of what the best network gets wrong inside a mosaic (24 dB)."""


@dataclass(frozen=True)
class Parity:
    """Difference of an engine's outputs from PyTorch's in float32."""

    engine: str
    psnr_db: float
    """of the residual, peak 1"""
    max_error: float
    """of the residual"""
    max_trust_error: float

    def holds(self, precision: str) -> bool:
        """Whether the difference is within MIN_PSNR_DB for fp32, bf16 or fp16."""
        return self.psnr_db >= MIN_PSNR_DB[precision]


@torch.no_grad()
def compare(net: IDN | NAR, engine: Engine, features: Tensor, mask: Tensor) -> Parity:
    """Runs both on the same inputs (shapes as in pipeline.engines.EngineSpec)."""
    wanted, trust = Body(net.eval())(features, mask)
    got = engine.infer({"features": features, "mask": mask})
    error = got["residual"] - wanted
    return Parity(
        engine=engine.name,
        psnr_db=float(-10 * torch.log10((error**2).mean() + 1e-20)),
        max_error=float(error.abs().max()),
        max_trust_error=float((got["trust"] - trust).abs().max()),
    )
