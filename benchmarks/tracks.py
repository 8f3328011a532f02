"""Small mosaics over time: `python -m benchmarks.tracks --clips CLIPS --faces centerface.onnx --work DIR`

Faces scaled to 48 to 75 px are pixelated in 8 to 12 cells and encoded by x264 at crf 28. Printed are the
shares of frames whose tracked region has an IoU over 0.8 with the mosaic:

- *still*: as the clips are;
- *shaken A px, P frames*: what single frames show is moved from side to side, as a sine, before it is
  tracked (only mosaics whose lattice moves with them);

and of clips that are not pixelated throughout the share of the other frames that show any region:

- *beyond*: pixelated on one half;
- *between*: not pixelated on 1 to 6 frames in their midst.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.mosaic_clips import CenterFace, Recipe, around, draw, encode, faces, read, truth
from benchmarks.mosaics import frames
from nets.pixelation import Operator
from pipeline.config import FindConfig, TrackConfig
from pipeline.stages.find_mosaics import find_mosaics, is_clean, redetect_with
from pipeline.track.mosaics import track
from pipeline.types import Box, Found, MosaicRegion, Strips
from tests.support.mosaics import Mosaic

_FRAMES = 24
_CRF = 28
_SHAKEN = ((5.0, 12.0), (20.0, 24.0), (40.0, 24.0), (20.0, 12.0))
"""px, frames"""


def clip(
    path: Path, detector: CenterFace, work: Path, rng: random.Random, shown: Collection[int]
) -> tuple[Path, list[Mosaic], bool] | None:
    """A clip around the largest face of ``path``, pixelated on the frames ``shown``; the truth, and whether
    its lattice moves with it. None without a face of so many frames."""
    start, found = faces(path, detector, _FRAMES, work)
    found = [t for t in found if len(t) == _FRAMES]
    if not found:
        return None
    face = max(found, key=lambda t: float((t[:, 2] - t[:, 0]).mean()))
    width = rng.uniform(48.0, 75.0)
    scale = width / float((face[:, 2] - face[:, 0]).mean())
    pictures, rate = read(path, start, start + _FRAMES, scale)
    part, boxes = around(pictures[0].shape[:2], face * scale, width)
    pictures = [np.ascontiguousarray(p[part]) for p in pictures]
    blocks = min(rng.choice((8, 10, 12)), int(width / 4))
    moving = rng.random() < 0.5
    operator = rng.choice((Operator.AREA, Operator.CENTRE))
    recipe = Recipe(blocks, moving, rng.random() < 0.5, operator, _CRF)
    size = (pictures[0].shape[1], pictures[0].shape[0])
    mosaics = truth(boxes, recipe, size, rng.randrange(1 << 30))
    drawn = (
        draw(p, [m] if t in shown else []) for t, (p, m) in enumerate(zip(pictures, mosaics, strict=True))
    )
    out = work / "clip.mp4"
    encode(out, drawn, rate.limit_denominator(1001), recipe.codec, recipe.crf)
    return out, mosaics, moving


def moved(region: MosaicRegion, by: float) -> MosaicRegion:
    """``by`` px to the right, with its lattice and what its strips say."""
    columns, rows = region.strips
    return replace(
        region,
        box=replace(region.box, x0=region.box.x0 + by, x1=region.box.x1 + by),
        grid=region.grid and replace(region.grid, x=replace(region.grid.x, origin=region.grid.x.origin + by)),
        strips=(columns and Strips(columns.ends + by, columns.log_odds), rows),
    )


def shaken(found: Iterable[Found[MosaicRegion]], path: NDArray[np.float64]) -> Iterator[Found[MosaicRegion]]:
    """Regions of each frame moved by ``path``, (frames,) px."""
    for item, by in zip(found, path, strict=True):
        yield replace(item, regions=tuple(moved(r, float(by)) for r in item.regions))


def right(
    found: Iterable[Found[MosaicRegion]], mosaics: list[Mosaic], path: NDArray[np.float64]
) -> list[bool]:
    """Of each frame, whether a track has an IoU over 0.8 with the mosaic, which is moved by ``path``."""
    tracked = track(found, settings=TrackConfig())
    out = []
    for item, mosaic, by in zip(tracked, mosaics, path, strict=True):
        x0, y0, x1, y1 = mosaic.box
        box = Box(x0 + by, y0, x1 + by, y1)
        out.append(any(t.region.box.iou(box) > 0.8 for t in item.regions))
    return out


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description="how well tracks hold small mosaics")
    parser.add_argument("--clips", type=Path, required=True, help="folder of training clips")
    parser.add_argument("--faces", type=Path, required=True, help="centerface.onnx")
    parser.add_argument("--work", type=Path, required=True, help="folder for boxes of faces")
    parser.add_argument("--recipes", type=int, default=4, help="per clip")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)
    detector, settings = CenterFace(options.faces), FindConfig()
    told: dict[str, list[bool]] = {}
    for source in sorted(options.clips.glob("*.mp4")):
        rng = random.Random(f"{options.seed}-{source.stem}")
        for _ in range(options.recipes):
            made = clip(source, detector, options.work, rng, range(_FRAMES))
            if made is None:
                break
            out, mosaics, moving = made
            found = list(find_mosaics(frames(out), settings=settings))
            for shake in (None, *_SHAKEN) if moving else (None,):
                path = np.zeros(_FRAMES)
                if shake is not None:
                    path = np.rint(shake[0] * np.sin(2 * np.pi * np.arange(_FRAMES) / shake[1]))
                name = "still" if shake is None else f"shaken {shake[0]:g} px, {shake[1]:g} frames"
                told.setdefault(name, []).extend(right(shaken(found, path), mosaics, path))
            half = rng.choice((range(_FRAMES // 2), range(_FRAMES // 2, _FRAMES)))
            first, count = rng.randrange(6, 12), rng.randint(1, 6)
            midst = range(first, first + count)
            for name, bare in (("beyond", [t for t in range(_FRAMES) if t not in half]), ("between", midst)):
                made = clip(source, detector, options.work, rng, [t for t in range(_FRAMES) if t not in bare])
                assert made is not None
                tracked = track(
                    find_mosaics(frames(made[0]), settings=settings),
                    settings=TrackConfig(),
                    redetect=redetect_with(settings),
                    is_clean=is_clean,
                )
                redrawn = [bool(item.regions) for t, item in enumerate(tracked) if t in bare]
                told.setdefault(name, []).extend(redrawn)
    for name, values in told.items():
        print(f"{name}: {np.mean(values):.4f} of {len(values)}")


if __name__ == "__main__":
    main(sys.argv[1:])
