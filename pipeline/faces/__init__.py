"""Face detectors: a table of them, and the protocol behind which each is one file.

To add one, write a file with an opener and one ``register`` below. What a run must know before anything is
opened (does it run on a GPU, how many calls at a time, how much memory) stands in its row. This module
imports no library that computes, so that settings and help texts can read the table.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from pipeline.errors import UsageError
from pipeline.notes import decided

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from pipeline.types import Box

log = logging.getLogger(__name__)

Library = Literal["auto", "openvino", "onnxruntime", "torch"]
HostPicture: TypeAlias = "NDArray[np.uint8]"
"""(H, W, 3) uint8 RGB, for a detector whose ``device`` is the CPU"""
DevicePicture: TypeAlias = "Tensor"
"""(1, 3, H, W) float32 RGB of 0..255, for a detector on any other device, and lying there"""
Picture: TypeAlias = "HostPicture | DevicePicture"


@dataclass(frozen=True, slots=True)
class Face:
    """A face in a picture."""

    score: float
    """0..1"""
    box: Box
    """px of the picture"""
    landmarks: NDArray[np.float32] | None
    """(5, 2) px: eyes, nose, corners of the mouth, left ones first; None where the detector gives none"""


class FaceDetector(Protocol):
    """Detects faces in upright RGB pictures of one size."""

    name: str
    """Network and what runs it."""
    calls: int
    """Calls that may run at a time, each in a thread of its own; with 1 all of them belong in one thread."""
    device: torch.device
    """Where it runs, and so what kind of picture it takes: see ``Picture``."""

    def __call__(self, picture: Picture, min_score: float) -> list[Face]:
        """RGB -> faces of ``min_score`` and more, best first, none twice."""
        ...


Opener = Callable[[tuple[int, int], Library, int | None, "torch.device | None"], FaceDetector]
"""(size_px, library, threads, device) -> a detector. ``size_px`` is (width, height), multiples of 32;
``threads`` None: all cores; ``device`` None: the CPU, the only one for a detector that runs on no GPU."""


@dataclass(frozen=True, slots=True)
class DetectorKind:
    """A row of the table."""

    name: str
    """Value of ``faces.finder``"""
    opener: Opener
    runs_on_gpu: bool
    calls_at_a_time: Callable[[tuple[int, int], int | None], int]
    """(shape, threads) -> ``FaceDetector.calls`` on the CPU, for pictures of shape (H, W)"""
    activation_bytes: int
    """Memory of one call, bytes per pixel of the picture"""
    further_activation_bytes: int
    """Memory of each further call that runs at a time, bytes per pixel"""
    package: str
    """PyPI package that brings the network; empty where none is needed"""

    def calls(self, shape: tuple[int, int], threads: int | None, on_gpu: bool) -> int:
        """Calls at a time once it is opened, for pictures of ``shape`` (H, W)."""
        return 1 if on_gpu and self.runs_on_gpu else self.calls_at_a_time(shape, threads)

    def memory_bytes(self, shape: tuple[int, int], calls: int) -> int:
        """Activations of ``calls`` at a time, for pictures of ``shape`` (H, W)."""
        per_pixel = self.activation_bytes + self.further_activation_bytes * (calls - 1)
        return per_pixel * shape[0] * shape[1]


DETECTORS: dict[str, DetectorKind] = {}


def register(kind: DetectorKind) -> None:
    """Adds a row. Raises ValueError for a name that is taken."""
    if kind.name in DETECTORS:
        raise ValueError(f"there is a face detector {kind.name} already")
    DETECTORS[kind.name] = kind


def detector_kind(name: str) -> DetectorKind:
    """A row. Raises UsageError for a name that is not in the table."""
    if name not in DETECTORS:
        raise UsageError(f"faces.finder is {name!r}; it should be {names()}")
    return DETECTORS[name]


def names() -> str:
    """``'a', 'b' or 'c'``, for messages."""
    *first, last = map(repr, DETECTORS)
    return f"{', '.join(first)} or {last}" if first else last


def open_detector(
    name: str,
    size_px: tuple[int, int],
    library: Library = "auto",
    threads: int | None = None,
    device: torch.device | None = None,
) -> FaceDetector:
    """Opens a detector for pictures of ``size_px`` = (width, height), multiples of 32.

    ``device`` None is the CPU. A detector that runs on no GPU is opened on the CPU, which is noted as a
    decision. Raises MissingError where a package or its weights are not on this machine, UsageError for a
    library that runs on no GPU and for an unknown name, CheckError where the network on a GPU finds other
    faces than on the CPU.
    """
    kind = detector_kind(name)
    on_cpu = device is None or device.type == "cpu"
    if not on_cpu and not kind.runs_on_gpu:
        decided(log, "face finder %s: on the CPU, which gets a small picture of some frames", name)
    return kind.opener(size_px, library, threads, device if kind.runs_on_gpu and not on_cpu else None)


def _later(module: str, name: str) -> Callable[..., Any]:
    """A function of a module of ``pipeline``, imported when it is first called: its libraries are heavy."""

    def call(*arguments: object) -> Any:
        package = __name__.removesuffix("faces")  # wherever this one is installed
        return getattr(import_module(f"{package}{module}"), name)(*arguments)

    return call


register(
    DetectorKind(
        name="centerface",
        opener=_later("faces.centerface_cuda", "open_centerface"),
        runs_on_gpu=True,
        calls_at_a_time=_later("engines.detector_runtime", "calls_at_a_time"),
        activation_bytes=400,
        further_activation_bytes=150,  # 110 were measured
        package="",
    )
)
for _name in ("s3fd", "blazeface"):
    register(
        DetectorKind(
            name=_name,
            opener=_later("faces.face_alignment", f"open_{_name}"),
            runs_on_gpu=False,
            calls_at_a_time=lambda shape, threads: 1,
            activation_bytes=400,
            further_activation_bytes=0,
            package="face-alignment",
        )
    )
