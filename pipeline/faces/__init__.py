"""Faces: finding them, choosing among them, and looking for those that were left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.types import Box

Backend = Literal["centerface", "s3fd", "blazeface"]


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
    """Finds faces in upright RGB pictures of one size. Not to be shared between threads."""

    name: str
    """Network and what runs it."""

    def __call__(self, picture: NDArray[np.uint8], min_score: float) -> list[Face]:
        """(H, W, 3) RGB -> faces of ``min_score`` and more, best first, none twice."""
        ...


def open_finder(
    backend: Backend,
    size_px: tuple[int, int],
    library: Literal["auto", "openvino", "onnxruntime"] = "auto",
    threads: int | None = None,
) -> FaceFinder:
    """Opens a finder for pictures of ``size_px`` = (width, height), multiples of 32.

    Raises MissingError where a package or its weights are not on this machine.
    """
    match backend:
        case "centerface":
            from pipeline.faces.centerface import CenterFace  # noqa: PLC0415  its libraries are heavy

            return CenterFace(size_px, library, threads)
        case "s3fd" | "blazeface":
            from pipeline.faces.alignment import FaceAlignmentFinder  # noqa: PLC0415

            return FaceAlignmentFinder(backend)
