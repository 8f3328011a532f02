"""Fits the weights of ``pipeline.mosaic.cell_strips`` to training clips:
`python -m tools.fit_bounds --clips CLIPS --faces centerface.onnx --work FOLDER`.

Faces scaled to 46 to 100 px are pixelated in 8 to 12 cells, half of them with less contrast, and encoded by
x264 at crf 18 to 32. Strips are described in a box whose other two sides are off by a cell or so, as those
are that a finder starts with. Weights are fitted to every second clip. Printed: the share of strips of the
other clips that they tell right, and the weights, for ``pipeline/mosaic/weights/cell_strips.json``. These
differ a little from run to run, as what x264 makes does.
"""

from __future__ import annotations

import argparse
import random
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.mosaic_clips import CenterFace, Recipe, around, draw, encode, faces, read, truth
from benchmarks.mosaics import frames
from nets.pixelation import Operator
from pipeline.mosaic.cell_strips import strip_features
from pipeline.mosaic.grid_fit import line_pixels
from pipeline.types import Axis
from tests.support.mosaics import Mosaic
from tools.fit_sampling import fit

_FRAMES = 14
_LOOKED_AT = (1, 6, 12)
_REACH = 8
"""Strips beside the mosaic on each side"""
_OFF = 1.2
"""Cells, standard deviation of the other two sides"""
_RIDGE = 1e-4
_OUTER = 2
"""Strips at a side, which are the ones to be told from those beside it"""


@dataclass(frozen=True, slots=True)
class StripSamples:
    """All strips of some frames."""

    seen: NDArray[np.float64]
    """(n, 9)"""
    own: NDArray[np.bool_]
    """(n,): of the mosaic"""
    depth: NDArray[np.int64]
    """(n,): strips of the mosaic between it and the nearer side"""


def of_clip(path: Path, detector: CenterFace, work: Path, recipes: int, seed: int) -> list[StripSamples]:
    """``recipes`` mosaics over one clip's largest face."""
    rng = random.Random(f"{seed}-{path.stem}")
    start, found = faces(path, detector, _FRAMES, work)
    found = [t for t in found if len(t) == _FRAMES]
    if not found:
        return []
    face = max(found, key=lambda t: float((t[:, 2] - t[:, 0]).mean()))
    own = float((face[:, 2] - face[:, 0]).mean())
    out: list[StripSamples] = []
    for k in range(recipes):
        width = rng.uniform(46.0, min(100.0, max(1.2 * own, 47.0)))
        shown, rate = read(path, start, start + _FRAMES, width / own)
        part, boxes = around(shown[0].shape[:2], face * (width / own), width)
        shown = [np.ascontiguousarray(s[part]) for s in shown]
        if rng.random() < 0.5:
            gain, level = rng.uniform(0.45, 1.0), rng.uniform(0.0, 40.0)
            shown = [np.clip(s * gain + level * (1.0 - gain), 0, 255).astype(np.uint8) for s in shown]
        blocks = max(4, min(rng.choice((8, 10, 12, 12)), int(width / 4)))
        operator = rng.choice((Operator.AREA, Operator.AREA, Operator.CENTRE))
        crf = rng.choice((18, 23, 28, 28, 32))
        recipe = Recipe(blocks, rng.random() < 0.5, rng.random() < 0.5, operator, crf)
        size = (shown[0].shape[1], shown[0].shape[0])
        mosaics = truth(boxes, recipe, size, seed * 1000 + k)
        drawn = (draw(s, [m]) for s, m in zip(shown, mosaics, strict=True))
        encode(work / "clip.mp4", drawn, rate.limit_denominator(1001), recipe.codec, recipe.crf)
        for t, frame in enumerate(frames(work / "clip.mp4")):
            if t in _LOOKED_AT:
                out += of_frame(frame.planes[0].numpy(), mosaics[t], rng)
    return out


def of_frame(luma: NDArray[np.uint8], mosaic: Mosaic, rng: random.Random) -> list[StripSamples]:
    """Columns and rows of cells in and around one mosaic of a picture, (H, W) uint8."""
    x0, y0, x1, y1 = mosaic.box
    across = _of_axis(luma, mosaic.x, mosaic.y, (x0, x1), (y0, y1), rng)
    down = _of_axis(np.ascontiguousarray(luma.T), mosaic.y, mosaic.x, (y0, y1), (x0, x1), rng)
    return [s for s in (across, down) if s is not None]


def _of_axis(
    luma: NDArray[np.uint8],
    x: Axis,
    y: Axis,
    run: tuple[int, int],
    span: tuple[int, int],
    rng: random.Random,
) -> StripSamples | None:
    height, width = luma.shape
    top, bottom = (int(np.clip(s + rng.gauss(0.0, _OFF) * y.pitch, 0, height)) for s in span)
    at = line_pixels(x, width)
    at = at[(at >= run[0] - _REACH * x.pitch) & (at <= run[1] + _REACH * x.pitch)]
    own = (at[:-1] >= run[0]) & (at[1:] <= run[1])
    beside = (at[1:] <= run[0]) | (at[:-1] >= run[1])
    first, last = int(own.argmax()), int(own.argmax() + own.sum())
    if last - first < 3 or bottom - top < 4 * y.pitch:
        return None
    seen = strip_features(luma, line_pixels(y, height), (top, bottom), at, (first, last))
    if seen is None:
        return None
    order = np.arange(len(own))
    told = own | beside  # the others are cut
    return StripSamples(seen[told], own[told], np.minimum(order - first, last - 1 - order)[told])


def joined(parts: list[StripSamples]) -> StripSamples:
    """All in one."""
    return StripSamples(
        np.concatenate([p.seen for p in parts]),
        np.concatenate([p.own for p in parts]),
        np.concatenate([p.depth for p in parts]),
    )


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description="weights of pipeline.mosaic.cell_strips, and how good they are"
    )
    parser.add_argument("--clips", type=Path, required=True, help="folder of training clips")
    parser.add_argument("--faces", type=Path, required=True, help="centerface.onnx")
    parser.add_argument("--work", type=Path, required=True, help="folder for boxes of faces")
    parser.add_argument("--recipes", type=int, default=20, help="per clip")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)
    detector = CenterFace(options.faces)
    clips = sorted(options.clips.glob("*.mp4"))
    drawn = [of_clip(p, detector, options.work, options.recipes, options.seed) for p in clips]
    learned = joined([s for strips in drawn[0::2] for s in strips])
    other = joined([s for strips in drawn[1::2] for s in strips])
    weights = fit(learned.seen, learned.own, _RIDGE)
    right = (other.seen @ weights[:-1] + weights[-1] > 0) == other.own
    outer = other.own & (other.depth < _OUTER)
    print(f"{len(learned.own)} strips learned from; right of {len(other.own)} others:")
    shares = right.mean(), right[outer].mean(), right[~other.own].mean()
    print("all {:.4f}, outer two {:.4f}, beside {:.4f}".format(*shares))
    print(", ".join(f"{w:.3f}" for w in weights))


if __name__ == "__main__":
    main(sys.argv[1:])
