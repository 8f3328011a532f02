"""Fits the weights of ``pipeline.mosaic.sampling`` to training clips and pictures of faces:
`python -m tools.fit_sampling --clips CLIPS --pictures FACES --faces centerface.onnx --work FOLDER`.

Every track is drawn twice, as means and as point samples, under one recipe drawn at random: 6 to 24 cells
across 1 to 1.7 faces, a grid fixed in the frame or moving with the face, three codecs, and either the clip as
it is or its heads over a detailed picture that pans. Printed: the shares told right by weights of other
clips, and the weights of all, for ``pipeline/mosaic/weights/sampling.json``.
"""

from __future__ import annotations

import argparse
import random
import sys
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import skimage.data
from numpy.typing import NDArray

from benchmarks.mosaic_clips import MIN_FACE_PX, CenterFace, Recipe, draw, encode, faces, read, truth
from benchmarks.mosaics import frames
from nets.pixelation import Operator
from pipeline.mosaic.sampling import MAX_LOG_ODDS, read_features
from tests.support.mosaics import Mosaic

FRAMES = 4
_SEARCHED = 40
"""Frames of a clip that tracks are drawn from."""
_SCALES = (1.0, 1.0, 0.7, 0.5, 0.35)
_BOX = (1.0, 1.3, 1.7)
"""Sides of the mosaic, in those of the face"""
_CROP = 1.6
"""Side of a training picture, in those of its face"""
_PANS = (0, 0, 1, 3)
"""px per frame"""
_SAMPLES = (Operator.CENTRE, Operator.CENTRE, Operator.CENTRE, Operator.CORNER)
_CODECS = ("libx264", "libx264", "libx264", "libx265", "mpeg4")
_PHOTOS = ("brick", "grass", "gravel", "coffee", "chelsea", "astronaut", "rocket", "coins", "page", "text")
"""Of ``skimage.data``, which come with the package."""
_RIDGE = 0.01
_FOLDS = 6


@dataclass(frozen=True, slots=True)
class Track:
    """A mosaic over FRAMES frames of a clip, as a decoder shows it."""

    clip: str
    recipe: Recipe
    scene: str
    """what is behind the head: the clip itself ("") or a detailed picture's kind"""
    seen: NDArray[np.float64]
    """(frames, features): what ``pipeline.mosaic.sampling`` reads of its cells"""

    @property
    def sampled(self) -> bool:
        return self.recipe.operator is not Operator.AREA


def _rgb(path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) of a file."""
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR), dtype=np.uint8)[..., ::-1]


def _resized(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """(side, side, 3)"""
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def scenery(rng: random.Random, size: tuple[int, int], pictures: list[Path]) -> tuple[str, NDArray[np.uint8]]:
    """Its kind and RGB (H, W, 3) with details of all sizes: a photograph, a crowd or noise of 1/f^a."""
    width, height = size[0] + 64, size[1] + 64
    kind = rng.random()
    if kind < 0.4:
        name = rng.choice(_PHOTOS)
        photo = np.asarray(getattr(skimage.data, name)())
        photo = np.repeat(photo[..., None], 3, 2) if photo.ndim == 2 else photo[..., :3]
        side = rng.uniform(1.0, 2.5) * max(width, height)
        scale = side / min(photo.shape[:2])
        if scale < 1.0:
            photo = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        else:  # mirrored beside itself, as sharp as it is
            photo = np.concatenate([photo, photo[:, ::-1]], 1)
            photo = np.concatenate([photo, photo[::-1]], 0)
            times = (-(-need // has) for need, has in zip((height, width), photo.shape, strict=False))
            photo = np.tile(photo, (*times, 1))
        y, x = rng.randint(0, photo.shape[0] - height), rng.randint(0, photo.shape[1] - width)
        return name, np.ascontiguousarray(photo[y : y + height, x : x + width])
    if kind < 0.7:
        side = rng.randint(16, 90)
        rows, cols = height // side + 1, width // side + 1
        heads = [_rgb(rng.choice(pictures)) for _ in range(min(rows * cols, 60))]
        small = [_resized(f, side) for f in heads]
        lines = [np.concatenate([rng.choice(small) for _ in range(cols)], 1) for _ in range(rows)]
        return "crowd", np.concatenate(lines, 0)[:height, :width]
    noise = np.random.default_rng(rng.randrange(1 << 30))
    f = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :])
    f[0, 0] = 1.0
    filter_ = f ** -rng.uniform(0.4, 1.4) * np.exp(-((f / rng.uniform(0.1, 0.4)) ** 2))
    filter_[0, 0] = 0.0
    planes = [np.fft.ifft2(np.fft.fft2(noise.standard_normal((height, width))) * filter_).real for _ in "abc"]
    mix = np.stack([planes[0] + 0.3 * p for p in planes], -1)
    field = rng.uniform(60, 180) + rng.uniform(12, 55) * mix / mix.std()
    return "noise", np.clip(field, 0, 255).astype(np.uint8)


def over(
    picture: NDArray[np.uint8], boxes: list[NDArray[np.float64]], back: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Heads of a picture over another: an ellipse around each face box, feathered."""
    height, width = picture.shape[:2]
    alpha = np.zeros((height, width), np.float32)
    for x0, y0, x1, y1 in boxes:
        centre = round((x0 + x1) / 2), round(0.54 * y0 + 0.46 * y1)
        cv2.ellipse(alpha, centre, (round(0.62 * (x1 - x0)), round(0.66 * (y1 - y0))), 0, 0, 360, 1.0, -1)
    soft = cv2.GaussianBlur(alpha, (0, 0), 2.0)[..., None]
    mixed: NDArray[np.uint8] = np.round(soft * picture + (1 - soft) * back[:height, :width]).astype(np.uint8)
    return mixed


def of_clip(
    path: Path, detector: CenterFace, work: Path, pairs: int, pictures: list[Path], seed: int
) -> list[Track]:
    """``pairs`` recipes of one clip, each as means and as point samples."""
    rng = random.Random(f"{seed}-{path.stem}")
    start, found = faces(path, detector, _SEARCHED, work)
    out: list[Track] = []
    for _ in range(pairs if found else 0):
        scale = rng.choice(_SCALES)
        if float(np.mean(found[0][:, 3] - found[0][:, 1])) * scale < MIN_FACE_PX:
            scale = 1.0
        skip = rng.randrange(0, max(len(found[0]) - FRAMES, 0) + 1)
        boxes = [t[skip : skip + FRAMES] * scale for t in found]
        shown, rate = read(path, start + skip, start + skip + FRAMES, scale)
        height, width = (s // 2 * 2 for s in shown[0].shape[:2])
        shown = [s[:height, :width] for s in shown]
        scene = ""
        if rng.random() < 0.5:
            scene, back = scenery(rng, (width, height), pictures)
            pan = rng.choice(_PANS)
            shown = [over(s, [b[t] for b in boxes], back[t * pan :, t * pan :]) for t, s in enumerate(shown)]
        out += _pair(rng, path.stem, scene, shown, boxes[0], rate.limit_denominator(1001), work)
    return out


def of_picture(path: Path, work: Path, pictures: list[Path], seed: int) -> list[Track]:
    """A picture of a face that moves by pixels, sharper than clips are, as means and as point samples."""
    rng = random.Random(f"{seed}-{path.stem}")
    face_px = rng.uniform(MIN_FACE_PX, 240.0)
    side = round(face_px * _CROP)
    head = _resized(_rgb(path), side)
    around = round(0.4 * face_px)
    size = side + 2 * around
    canvas = np.pad(head, ((around, around), (around, around), (0, 0)), "symmetric")
    face = np.array([0.0, 0.0, face_px, face_px]) + (size - face_px) / 2
    scene, back = scenery(rng, (size, size), pictures) if rng.random() < 0.7 else ("", canvas)
    pan = rng.choice(_PANS)
    boxes = np.array([face - pan * t for t in range(FRAMES)])
    moved = [np.roll(canvas, (-pan * t, -pan * t), axis=(0, 1)) for t in range(FRAMES)]
    shown = [over(m, [b], back) if scene else m for m, b in zip(moved, boxes, strict=True)]
    shown = [np.ascontiguousarray(s[: size // 2 * 2, : size // 2 * 2]) for s in shown]
    return _pair(rng, path.stem, scene, shown, boxes, Fraction(25), work)


def _pair(
    rng: random.Random,
    clip: str,
    scene: str,
    shown: list[NDArray[np.uint8]],
    face: NDArray[np.float64],
    rate: Fraction,
    work: Path,
) -> list[Track]:
    """One recipe over a face, (frames, 4) px, as means and as point samples."""
    height, width = shown[0].shape[:2]
    around = _around(face, rng.choice(_BOX), (width, height))
    recipe = _recipe(rng, float((around[:, 2] - around[:, 0]).mean()))
    phase = rng.randrange(1 << 30)
    out = []
    for operator in (Operator.AREA, rng.choice(_SAMPLES)):
        one = replace(recipe, operator=operator)
        mosaics = truth(around, one, (width, height), phase)
        drawn = (draw(s, [m]) for s, m in zip(shown, mosaics, strict=True))
        encode(work / "clip.mp4", drawn, rate, one.codec, one.crf)
        decoded = zip(frames(work / "clip.mp4"), mosaics, strict=True)
        seen = [row for f, m in decoded if (row := _read(f.planes[0].numpy(), m)) is not None]
        if seen:
            out.append(Track(clip, one, scene, np.array(seen)))
    return out


def _around(face: NDArray[np.float64], by: float, size: tuple[int, int]) -> NDArray[np.float64]:
    """(frames, 4) boxes ``by`` times as large, cut to a picture of ``size`` (width, height) px."""
    middle, half = (face[:, :2] + face[:, 2:]) / 2, (face[:, 2:] - face[:, :2]) / 2 * by
    cut: NDArray[np.float64] = np.clip(np.concatenate([middle - half, middle + half], 1), 0, [*size, *size])
    return cut


def _recipe(rng: random.Random, width_px: float) -> Recipe:
    cells = rng.randint(6, max(min(24, int(width_px / 4.0)), 6))
    moving, whole = rng.random() < 0.5, rng.random() < 0.5
    codec = rng.choice(_CODECS)
    crf = rng.choice((3, 5, 8) if codec == "mpeg4" else (18, 23, 28))
    return Recipe(cells, moving, whole, Operator.AREA, crf, codec=codec)


def _read(luma: NDArray[np.uint8], mosaic: Mosaic) -> NDArray[np.float64] | None:
    """Features of one frame, (H, W) uint8, through the true grid; None where the cells are too few."""
    height, width = luma.shape
    x0, y0, x1, y1 = mosaic.box
    box = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
    return read_features(luma, mosaic.x, mosaic.y, box)


def fit(x: NDArray[np.float64], is_so: NDArray[np.bool_], ridge: float = _RIDGE) -> NDArray[np.float64]:
    """Weights of the columns of ``x`` (rows, features) and, last, the constant, for log odds of ``is_so``: a
    logistic regression by Newton's method, its standardised weights drawn to 0 a little, by ``ridge``."""
    mean, spread = x.mean(axis=0), x.std(axis=0)
    z = np.c_[(x - mean) / spread, np.ones(len(x))]
    drawn = ridge * np.r_[np.ones(x.shape[1]), 0.0]
    w = np.zeros(z.shape[1])
    for _ in range(25):
        p = 1.0 / (1.0 + np.exp(-z @ w))
        slope = z.T @ (p - is_so) / len(z) + drawn * w
        w -= np.linalg.solve((z * (p * (1 - p))[:, None]).T @ z / len(z) + np.diag(drawn), slope)
    return np.append(w[:-1] / spread, w[-1] - (w[:-1] * mean / spread).sum())


def judged(drawn: list[Track]) -> NDArray[np.float64]:
    """(tracks, 2): shares of frames and of tracks told right by weights of the other clips (six folds)."""
    clips = sorted({t.clip for t in drawn})
    out = np.zeros((len(drawn), 2))
    for k in range(_FOLDS):
        own = [i for i, t in enumerate(drawn) if clips.index(t.clip) % _FOLDS == k]
        w = _fitted([t for t in drawn if clips.index(t.clip) % _FOLDS != k])
        for i in own:
            log_odds = np.clip(drawn[i].seen @ w[:-1] + w[-1], -MAX_LOG_ODDS, MAX_LOG_ODDS)
            sampled = drawn[i].sampled
            out[i] = np.mean((log_odds > 0) == sampled), (log_odds.mean() > 0) == sampled
    return out


def _fitted(drawn: list[Track]) -> NDArray[np.float64]:
    seen = np.concatenate([t.seen for t in drawn])
    return fit(seen, np.concatenate([np.full(len(t.seen), t.sampled) for t in drawn]))


def table(drawn: list[Track], right: NDArray[np.float64]) -> str:
    """Markdown: what is told right of means and of samples, per group."""
    cells = np.array([t.recipe.blocks for t in drawn])
    detailed = np.array([bool(t.scene) for t in drawn])
    codecs = np.array([t.recipe.codec for t in drawn])
    groups = {
        "as it is": ~detailed,
        "detailed": detailed,
        "6 to 7 cells": cells < 8,
        "8 to 12": (cells >= 8) & (cells <= 12),
        "13 to 16": (cells >= 13) & (cells <= 16),
        "17 to 24": cells > 16,
        **{codec: codecs == codec for codec in sorted(set(_CODECS))},
        "all": cells > 0,
    }
    sampled = np.array([t.sampled for t in drawn])
    rows = ["| group | tracks | means: frames, tracks | samples: frames, tracks |", "|---|---|---|---|"]
    for name, own in groups.items():
        shares = [right[own & kind].mean(axis=0) for kind in (~sampled, sampled)]
        rows.append(f"| {name} | {own.sum()} |" + "".join(f" {f:.3f}, {t:.3f} |" for f, t in shares))
    return "\n".join(rows)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description="weights of pipeline.mosaic.sampling, and how good they are")
    parser.add_argument("--clips", type=Path, required=True, help="folder of training clips")
    parser.add_argument("--pictures", type=Path, required=True, help="folder of training faces, for crowds")
    parser.add_argument("--faces", type=Path, required=True, help="centerface.onnx")
    parser.add_argument("--work", type=Path, required=True, help="folder for boxes of faces")
    parser.add_argument("--pairs", type=int, default=10, help="recipes per clip")
    parser.add_argument("--stills", type=int, default=160, help="pictures of faces")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    detector = CenterFace(options.faces)
    pictures = sorted(options.pictures.rglob("*.jpg"))
    drawn: list[Track] = []
    for path in sorted(options.clips.glob("*.mp4")):
        drawn += of_clip(path, detector, options.work, options.pairs, pictures, options.seed)
    for path in random.Random(0).sample(pictures, options.stills):
        drawn += of_picture(path, options.work, pictures, options.seed)
    print(table(drawn, judged(drawn)), flush=True)
    print(", ".join(f"{w:.3f}" for w in _fitted(drawn)))


if __name__ == "__main__":
    main(sys.argv[1:])
