"""Fits the log odds of ``pipeline.track.evidence``: faces against what is none, on training data alone.

    python -m tools.fit_evidence --faces FACES/train --clips VIDEOS/train

Faces: pictures of the folder, made small, dark, blurred, turned or half hidden, on textures. What is none:
everything else that the detector sees there, in frames of the clips beside their largest faces, and in
scikit-image's pictures of things. Of both, sights below the score from which nobody is asked.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import skimage
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from pipeline.faces.centerface import CenterFace
from pipeline.faces.second_opinion import Opinion, SecondOpinion
from pipeline.types import Box, Colour, Frame

Picture = NDArray[np.uint8]
Sight = tuple[float, Opinion]

SIDE_PX = 512
ASKED_BELOW = 0.58
_TEXTURES = ("grass", "gravel", "brick")
_THINGS = (
    "cell",
    "chelsea",
    "coffee",
    "coins",
    "page",
    "rocket",
    "hubble_deep_field",
    "immunohistochemistry",
)
_SAME, _OTHER = 0.3, 0.05
"""IoU with a face from which a sight is one, and up to which it is none."""


def _frame(picture: Picture) -> Frame:
    planes = tuple(torch.from_numpy(np.ascontiguousarray(picture[..., i])) for i in range(3))
    colour = Colour("bt709", "pc", "unknown", "unknown")
    return Frame(0, 0, planes, "gbrp", colour, Fraction(1, 25), True)


def _spoilt(face: Picture, kind: int, height: float, generator: np.random.Generator) -> Picture:
    if kind == 1:
        dark = face * generator.uniform(0.03, 0.2) + generator.normal(0, 2, face.shape)
        return np.clip(dark, 0, 255).astype(np.uint8)
    if kind == 2:
        return np.asarray(cv2.GaussianBlur(face, (0, 0), generator.uniform(0.06, 0.16) * height), np.uint8)
    if kind == 3:
        return np.rot90(face, int(generator.integers(1, 4))).copy()
    if kind == 4:
        hidden, side = face.copy(), int(generator.uniform(0.35, 0.6) * len(face))
        hidden[side:] = generator.integers(0, 255, 3)
        return hidden
    return face


def pages(files: list[Path], count: int) -> Iterator[tuple[Picture, list[Box]]]:
    """Textures with faces, and their boxes. Every other page has small faces only."""
    generator = np.random.default_rng(0)
    for page in range(count):
        texture = getattr(skimage.data, _TEXTURES[page % 3])()
        out = np.repeat(np.asarray(texture, np.uint8)[:SIDE_PX, :SIDE_PX, None], 3, axis=2)
        cell, kind, truth = (64, 0, []) if page % 2 else (128, 1 + page // 2 % 4, [])
        for y in range(0, SIDE_PX, cell):
            for x in range(0, SIDE_PX, cell):
                height = generator.uniform(9, 22) if page % 2 else generator.uniform(24, 70)
                side = int(1.6 * height)  # the pictures show 1.6 times the face
                read = np.asarray(cv2.imread(str(files[generator.integers(len(files))])), np.uint8)
                small = np.asarray(cv2.resize(read, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
                out[y : y + side, x : x + side] = _spoilt(small[..., ::-1], kind, height, generator)
                low, high = 0.19 * side, 0.81 * side
                truth.append(Box(x + low, y + low, x + high, y + high))
        yield out, truth


def parts(clips: list[Path]) -> Iterator[tuple[Picture, list[Box] | None]]:
    """Frames of clips, whose faces are not known (None), and pictures of things."""
    for clip in clips:
        with av.open(clip) as container:
            for index, frame in enumerate(container.decode(video=0)):
                if index == 40:
                    yield np.asarray(frame.to_ndarray(format="rgb24"), np.uint8), None
                    break
    for name in _THINGS:
        picture = np.atleast_3d(np.asarray(getattr(skimage.data, name)(), np.uint8))
        yield np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture[..., :3].copy(), []


class Sights:
    """What the detector sees in pictures, with the second opinion on it."""

    def __init__(self) -> None:
        self._detector = CenterFace((SIDE_PX, SIDE_PX), threads=1)
        self._second = SecondOpinion(0, Fraction(1), threads=1)
        self.faces: list[Sight] = []
        self.others: list[Sight] = []

    def add(
        self, picture: Picture, truth: list[Box] | None, scale: float = 1.0, min_score: float = 0.1
    ) -> None:
        small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        page = np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8)
        part = np.asarray(small, np.uint8)[:SIDE_PX, :SIDE_PX]
        page[: part.shape[0], : part.shape[1]] = part
        found, frame = self._detector(page, min_score), _frame(page)
        known = [f.box for f in found if f.score >= ASKED_BELOW] if truth is None else truth
        for face in found:
            overlap = max((face.box.iou(box) for box in known), default=0.0)
            if face.score >= ASKED_BELOW or _OTHER < overlap <= _SAME:
                continue
            kind = self.faces if overlap > _SAME else self.others
            kind.append((face.score, self._second(frame, face.box)))


def fitted(features: NDArray[np.float64], is_face: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(n, k) -> (k,): logistic regression in which faces and others weigh the same."""
    weights = np.where(is_face, 0.5 / is_face.sum(), 0.5 / (~is_face).sum())
    sign = 2.0 * is_face - 1

    def loss(b: NDArray[np.float64]) -> float:
        return float((weights * np.logaddexp(0, -sign * (features @ b))).sum() + 1e-3 * (b[1:] ** 2).sum())

    return np.asarray(minimize(loss, np.zeros(features.shape[1])).x)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--pages", type=int, default=24)
    arguments = parser.parse_args()
    sights = Sights()
    for page, truth in pages(sorted(arguments.faces.rglob("*.jpg")), arguments.pages):
        sights.add(page, truth, 1.0, 0.15)
    for picture, boxes in parts(sorted(arguments.clips.glob("*.mp4"))):
        for scale in (1.0, 0.6, 0.35):
            sights.add(picture, boxes, scale, 0.1)
    both = [*sights.faces, *sights.others]
    is_face = np.arange(len(both)) < len(sights.faces)
    rows = [(1.0, np.log(s), np.log(o.close + 0.02), float(o.flag)) for s, o in both]
    features = np.array(rows, np.float64)
    print(f"{len(sights.faces)} faces, {len(sights.others)} others")
    for name, columns in (("score alone", [0, 1]), ("with the second opinion", [0, 1, 2, 3])):
        b = fitted(features[:, columns], is_face)
        odds = features[:, columns] @ b
        wrong = (
            f"{np.mean(odds[is_face] < 0):.3f} of faces below 0, {np.mean(odds[~is_face] >= 0):.3f} of others"
        )
        print(f"{name}: {np.round(b, 2).tolist()}; {wrong} not")


if __name__ == "__main__":
    main()
