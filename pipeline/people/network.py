"""dlib's face recognition network: a face becomes 128 numbers, near each other for one person.

A ResNet of 29 convolutions, trained so that the embeddings of one person lie in a ball of radius 0.6
(https://github.com/davisking/dlib-models, public domain; 99.38 % on LFW at a distance of 0.6). The PyPI
package ``face_recognition_models`` (CC0) carries the files, ``dlib-bin`` (Boost licence) runs them on the
CPU: the extra ``people``.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import MissingError
from pipeline.picture.cutout import Picture

Embedding = NDArray[np.float64]
"""(128,)"""

AROUND, SIDE_PX = 1.6, 256
"""The picture that the network gets: a square of 1.6 x the longer side of the face's box, of this side."""
FACE_BOX = (0.18, 0.32, 0.79, 0.86)
"""Left, top, right, bottom of dlib's face box in such a picture, in shares of its side: median of what dlib's
detector finds on 250 training pictures (standard deviation 0.03 to 0.06)."""

_PACKAGE, _FOLDER = "face_recognition_models", "models"
_MARKS, _NETWORK = "shape_predictor_5_face_landmarks.dat", "dlib_face_recognition_resnet_model_v1.dat"


def find_package_file(package: str, inner: str) -> Path:
    """A file that a PyPI package carries, found without importing the package. Raises MissingError."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (path := Path(folder) / inner).is_file():
            return path
    raise MissingError(f"{inner} comes with the package {package}: pip install {package} --no-deps")


def is_installed() -> bool:
    """Whether ``DlibNetwork`` can be opened."""
    return all(importlib.util.find_spec(name) is not None for name in ("dlib", _PACKAGE))


class DlibNetwork:
    """The network with its landmarks, which align a face. Raises MissingError where the extra is missing."""

    def __init__(self) -> None:
        if importlib.util.find_spec("dlib") is None:
            raise MissingError("faces are recognised by dlib: pip install dlib-bin face_recognition_models")
        import dlib  # noqa: PLC0415 - optional

        self._dlib: Any = dlib
        self._predict = dlib.shape_predictor(str(find_package_file(_PACKAGE, f"{_FOLDER}/{_MARKS}")))
        self._embed = dlib.face_recognition_model_v1(
            str(find_package_file(_PACKAGE, f"{_FOLDER}/{_NETWORK}"))
        )

    def landmarks(self, picture: Picture) -> Any:
        """dlib's five points of the face in a picture of ``AROUND``, (SIDE_PX, SIDE_PX, 3)."""
        left, top, right, bottom = (round(share * SIDE_PX) for share in FACE_BOX)
        return self._predict(picture, self._dlib.rectangle(left, top, right, bottom))

    def embed(self, pictures: list[Picture], marks: Any) -> Embedding:
        """(M, 128) of pictures as above, all aligned by the same landmarks."""
        faces = self._dlib.full_object_detections([marks])
        chips = [self._dlib.get_face_chips(p, faces, size=150, padding=0.25)[0] for p in pictures]
        return np.array(self._embed.compute_face_descriptor(chips))

    def __call__(self, picture: Picture) -> Embedding:
        """(128,) of a picture as above."""
        embedding: Embedding = self.embed([picture], self.landmarks(picture))[0]
        return embedding
