"""The request of an export, checked before anything is done."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from pipeline.engines import Precision
from pipeline.errors import UsageError

Target = Literal["onnx", "openvino", "torch", "tensorrt", "tensorrt-rtx"]
SUFFIX: dict[Target, str] = {
    "onnx": ".onnx",
    "openvino": ".xml",
    "torch": ".pt2",
    "tensorrt": ".engine",
    "tensorrt-rtx": ".engine",
}
"""Suffix of the file that an engine opens; OpenVINO's weights lie beside it in a .bin."""
Hardware = Literal["none", "ampere+", "same-capability"]
RTX_CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
"""What tensorrt_rtx builds for, without a GPU."""
DEFAULT_CAPABILITIES = ("8.0", "8.6", "8.9", "12.0")
MOST_WINDOWS = 1024


@dataclass(frozen=True, slots=True)
class Batch:
    """Windows per call: what an engine takes at least and at most, and what it is tuned for."""

    min: int
    opt: int
    max: int

    @staticmethod
    def parse(text: str) -> Batch:
        """``1:4:16``, or ``4`` for this size only. Raises UsageError for what no engine can hold."""
        if not re.fullmatch(r"\d+(:\d+:\d+)?", text):
            raise UsageError(f"--batch is {text!r}; wanted MIN:OPT:MAX such as 1:4:16, or one number")
        numbers = [int(part) for part in text.split(":")] * (1 if ":" in text else 3)
        least, best, most = numbers
        if not 1 <= least <= best <= most <= MOST_WINDOWS:
            raise UsageError(
                f"--batch is {text!r}, impossible; wanted 1 <= MIN <= OPT <= MAX <= {MOST_WINDOWS}"
            )
        return Batch(least, best, most)

    def __str__(self) -> str:
        return f"{self.min}:{self.opt}:{self.max}"


ANY_BATCH = Batch(1, 4, MOST_WINDOWS)
"""For ONNX, OpenVINO and PyTorch, which leave the size free at no cost."""
TENSORRT_BATCH = Batch(1, 4, 4)
"""For TensorRT, whose memory goes with the largest size: a quarter of what 16 takes, as much as a fixed 4
takes (docs/engines.md). A fixed size would compute four windows where one mosaic gives one."""


@dataclass(frozen=True, slots=True)
class Request:
    """One export. ``None`` where the network or the target has a default."""

    network: str
    """A shipped network (idn, nar, ...) or the path of a .safetensors file of ``vidpipe train``."""
    target: Target
    precision: Precision = "fp32"
    batch: Batch | None = None
    size_px: int = 128
    window: int | None = None
    """Frames of a window, for a network of many frames."""
    capabilities: tuple[str, ...] | None = None
    """Compute capabilities, tensorrt-rtx only."""
    version_compatible: bool = False
    """tensorrt only: the engine also loads in later versions of the same major version."""
    hardware: Hardware = "none"
    """tensorrt only: which other GPUs the engine also loads on."""

    signed: bool = False
    """int8 in the signed form that TensorRT reads; set for the graph that an engine is built from."""

    def __post_init__(self) -> None:
        _one_of("--to", self.target, get_args(Target))
        _one_of("--precision", self.precision, get_args(Precision))
        _one_of("--hardware-compatible", self.hardware, get_args(Hardware))
        if self.target != "tensorrt" and (self.version_compatible or self.hardware != "none"):
            raise UsageError(
                f"--to {self.target}: --version-compatible and --hardware-compatible are options of "
                "tensorrt; tensorrt-rtx has --compute-capability"
            )
        if self.capabilities is not None:
            if self.target != "tensorrt-rtx":
                raise UsageError(f"--to {self.target}: --compute-capability is an option of tensorrt-rtx")
            for capability in self.capabilities:
                _one_of("--compute-capability", capability, RTX_CAPABILITIES)
            if not self.capabilities or len(set(self.capabilities)) < len(self.capabilities):
                raise UsageError("--compute-capability: wanted each once, at least one, e.g. 8.6,8.9")

    @property
    def range(self) -> Batch:
        """The batch that was asked for, or the target's default."""
        return self.batch or (ANY_BATCH if self.target in ("onnx", "openvino", "torch") else TENSORRT_BATCH)


def _one_of(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"{option} is {value!r}; wanted {', '.join(known)}")
