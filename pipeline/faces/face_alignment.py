"""The detectors of the PyPI package ``face-alignment``: S3FD, BlazeFace, with FAN's landmarks.

The package fetches its weights over the network when they are first used and keeps them under ``TORCH_HOME``.
S3FD (Zhang et al., arXiv 1708.05237) is slow and finds small and turned faces; BlazeFace (Bazarevsky et al.,
arXiv 1907.05047) sees the whole picture at 128 px and finds large faces only. FAN (Bulat & Tzimiropoulos,
arXiv 1703.07332) is asked for landmarks where its weights are there.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import Any, Literal
from urllib.error import URLError

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.cuda import CPU
from pipeline.errors import MissingError
from pipeline.faces import Face, Library, Picture
from pipeline.types import Box

_SCORE_OPTION = {"s3fd": "filter_threshold", "blazeface": "min_score_thresh"}
_MODULE = {"s3fd": "sfd", "blazeface": "blazeface"}
_LEAST_SCORE = 0.05
"""Given to the package, which drops what is weaker; the caller's own bound comes after."""
# Of the 68 points: both eyes (six points each), tip of the nose, corners of the mouth.
_FIVE = (slice(36, 42), slice(42, 48), slice(30, 31), slice(48, 49), slice(54, 55))


def open_s3fd(
    size_px: tuple[int, int], library: Library, threads: int | None, device: torch.device | None
) -> FaceAlignmentDetector:
    """See `pipeline.faces.Opener`; pictures may have any size."""
    return FaceAlignmentDetector("s3fd")


def open_blazeface(
    size_px: tuple[int, int], library: Library, threads: int | None, device: torch.device | None
) -> FaceAlignmentDetector:
    """See `pipeline.faces.Opener`; pictures may have any size."""
    return FaceAlignmentDetector("blazeface")


class FaceAlignmentDetector:
    """One of the package's detectors, eager, on the CPU. Raises MissingError without package or weights."""

    def __init__(self, backend: Literal["s3fd", "blazeface"], landmarks: bool = False) -> None:
        if find_spec("face_alignment") is None:
            raise MissingError(
                f"--finder {backend}: the package is not installed; pip install face-alignment"
            )
        self.device = CPU
        self.calls = 1
        self.name = f"{backend} of face-alignment on torch cpu float32"
        self._aligner: Any = None
        try:
            if landmarks:
                package = importlib.import_module("face_alignment")
                self._aligner = package.FaceAlignment(
                    package.LandmarksType.TWO_D,
                    device="cpu",
                    face_detector=_MODULE[backend],
                    face_detector_kwargs={_SCORE_OPTION[backend]: _LEAST_SCORE},
                    compile=False,
                )
                self._detector = self._aligner.face_detector
            else:
                module = importlib.import_module(f"face_alignment.detection.{_MODULE[backend]}")
                self._detector = module.FaceDetector(device="cpu", **{_SCORE_OPTION[backend]: _LEAST_SCORE})
        except (URLError, OSError) as error:
            raise MissingError(
                f"--finder {backend}: its weights are not on this machine and cannot be fetched "
                f"({getattr(error, 'reason', error)}); go online once, or use --finder centerface"
            ) from error

    def __call__(self, picture: Picture, min_score: float) -> list[Face]:
        if not isinstance(picture, np.ndarray):
            raise TypeError(f"{self.name} runs on the CPU and takes arrays")
        with torch.inference_mode():
            rows = [row for row in self._detector.detect_from_image(picture) if float(row[-1]) >= min_score]
            points = self._landmarks(picture, rows)
        boxes = [Box(*(float(v) for v in row[:4])) for row in rows]
        faces = [
            Face(min(float(row[-1]), 1.0), box, spots)
            for row, box, spots in zip(rows, boxes, points, strict=True)
        ]
        return sorted(faces, key=lambda face: -face.score)

    def _landmarks(self, picture: NDArray[np.uint8], rows: list[Any]) -> list[NDArray[np.float32] | None]:
        if self._aligner is None or not rows:
            return [None] * len(rows)
        found = self._aligner.get_landmarks_from_image(picture, detected_faces=rows)
        return [np.stack([spots[part].mean(0) for part in _FIVE]).astype(np.float32) for spots in found]
