"""Faces: finding them, choosing among them, and looking for those that were left."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.cuda import CPU
from pipeline.notes import decided
from pipeline.types import Box

log = logging.getLogger(__name__)

Backend = Literal["centerface", "s3fd", "blazeface"]
Picture = NDArray[np.uint8] | Tensor
"""(H, W, 3) of bytes for a finder on the CPU; (1, 3, H, W) float32, 0..255, on the device of any other."""


@dataclass(frozen=True, slots=True)
class Face:
    """A face in a picture."""

    score: float
    """0..1"""
    box: Box
    """px of the picture"""
    landmarks: NDArray[np.float32] | None
    """(5, 2) px: eyes, nose, corners of the mouth, left ones first; None where the finder gives none"""


class FaceFinder(Protocol):
    """Finds faces in upright RGB pictures of one size."""

    name: str
    """Network and what runs it."""
    calls: int
    """That may run at a time, each in a thread of its own; with 1 all of them belong in one thread."""
    device: torch.device
    """Where it runs, and where a picture must lie."""

    def __call__(self, picture: Picture, min_score: float) -> list[Face]:
        """RGB -> faces of ``min_score`` and more, best first, none twice."""
        ...


def open_finder(
    backend: Backend,
    size_px: tuple[int, int],
    library: Literal["auto", "openvino", "onnxruntime", "torch"] = "auto",
    threads: int | None = None,
    device: torch.device = CPU,
) -> FaceFinder:
    """Opens a finder for pictures of ``size_px`` = (width, height), multiples of 32.

    The finders of face-alignment run on the CPU, whatever the ``device``, which is said. Raises MissingError
    where a package or its weights are not on this machine, UsageError for a library that runs on no GPU,
    CheckError where the network on a GPU sees other faces than on the CPU.
    """
    match backend:
        case "centerface":
            from pipeline.faces.centerface import CenterFace  # noqa: PLC0415  its libraries are heavy

            if device.type == "cpu":
                return CenterFace(size_px, "auto" if library == "torch" else library, threads)
            from pipeline.faces.centerface_cuda import open_there  # noqa: PLC0415

            return open_there(size_px, device, library)
        case "s3fd" | "blazeface":
            from pipeline.faces.face_alignment import FaceAlignmentFinder  # noqa: PLC0415

            if device.type != "cpu":
                decided(log, "face finder %s: on the CPU, which gets a small picture of some frames", backend)
            return FaceAlignmentFinder(backend)
