"""The detectors of the PyPI package ``face-alignment``: S3FD, BlazeFace, with FAN's landmarks.

The package would fetch its weights over the network, unchecked. Here they are fetched by hand: a detector
opens only with files in ``TORCH_HOME`` that have the hashes below.
S3FD (Zhang et al., arXiv 1708.05237) is slow and finds small and turned faces; BlazeFace (Bazarevsky et al.,
arXiv 1907.05047) sees the whole picture at 128 px and finds large faces only. FAN (Bulat & Tzimiropoulos,
arXiv 1703.07332) is asked for landmarks where its weights are there.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal
from urllib.error import URLError

import numpy as np
import torch
from numpy.typing import NDArray

from nets.digest import sha256
from pipeline.cuda import CPU
from pipeline.errors import MissingError
from pipeline.faces import Face, Library, Picture
from pipeline.types import Box

_SCORE_OPTION = {"s3fd": "filter_threshold", "blazeface": "min_score_thresh"}
_MODULE = {"s3fd": "sfd", "blazeface": "blazeface"}
_HOLLANCE = "https://github.com/hollance/BlazeFace-PyTorch/raw/master/"
_BULAT = "https://www.adrianbulat.com/downloads/python-fan/"
_WEIGHTS = {
    "s3fd": (("s3fd-619a316812.pth", "619a316812", _BULAT),),
    "blazeface": (
        ("blazeface.pth", "54ecff653feaaaf1f7d44b6aff28fd2fc50e483a4e847563b6dd261369c43ba4", _HOLLANCE),
        ("anchors.npy", "a10bb2fb93ab54ca426d6c750bfc3aad685028a16dcf231357d03694f261fd95", _HOLLANCE),
        ("blazefaceback.pth", "e2c03bb3ae45e769eaaa0a7cc7d4f61f54a5e3fbae6367d870166702e7022b11", _HOLLANCE),
        ("anchorsback.npy", "a10bb2fb93ab54ca426d6c750bfc3aad685028a16dcf231357d03694f261fd95", _HOLLANCE),
    ),
}
_LANDMARK_WEIGHTS = (("2DFAN4-cd938726ad.zip", "cd938726ad", _BULAT),)
"""(file, how its SHA-256 begins, where it lies); s3fd's and FAN's names hold the first ten digits."""
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


def _check_weights(backend: str, files: tuple[tuple[str, str, str], ...]) -> None:
    """Raises MissingError for a file that is not there or not the one that is known."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    for name, begins, place in files:
        path = folder / name
        if not path.is_file():
            raise MissingError(
                f"--finder {backend}: {path} is not there, and nothing is fetched during a run; "
                f"get it from {place}{name}, or use --finder centerface"
            )
        if not sha256(path).startswith(begins):
            raise MissingError(f"--finder {backend}: {path} has another SHA-256 than {begins}...; remove it")


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
        _check_weights(backend, (*_WEIGHTS[backend], *(_LANDMARK_WEIGHTS if landmarks else ())))
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
                f"--finder {backend}: its weights cannot be read ({getattr(error, 'reason', error)}); "
                "use --finder centerface"
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
