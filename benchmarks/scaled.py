"""Footage that was scaled after pixelation.

`python -m benchmarks.scaled --clips CLIPS --faces centerface.onnx --work DIR`: the largest face of each
clip is scaled so that it is 120 or 200 px wide in the end, pixelated, scaled by each of _SCALES and encoded
by x264. Printed is, per scale, filter, width and crf, the share of frames whose tracked region has an IoU
over 0.8 with the mosaic, and of those whose pitch is within 2 %, too.
"""

from __future__ import annotations

import argparse
import random
import sys
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
from pipeline.types import Box, Grid
from tests.support.mosaics import Mosaic

_FRAMES = 12
_SIZES = ((120, 10), (200, 12))
"""px that the face is wide in the end, cells across"""
_SCALES = (
    (1.0, "linear"),
    (0.5, "cubic"),
    (2 / 3, "area"),
    (0.75, "lanczos"),
    (1.33, "linear"),
    (1.5, "cubic"),
    (2.0, "lanczos"),
    (2.25, "cubic"),
    (3.0, "cubic"),
)
_FILTERS = {
    "area": cv2.INTER_AREA,
    "cubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
    "linear": cv2.INTER_LINEAR,
}


def made(
    pictures: list[NDArray[np.uint8]], mosaics: list[Mosaic], scale: float, how: str
) -> list[NDArray[np.uint8]]:
    """Pictures with their mosaics, scaled to even sizes."""
    height, width = (round(size * scale / 2) * 2 for size in pictures[0].shape[:2])
    drawn = (draw(p, [m]) for p, m in zip(pictures, mosaics, strict=True))
    scaled = (cv2.resize(p, (width, height), interpolation=_FILTERS[how]) for p in drawn)
    return [np.asarray(p, np.uint8) for p in scaled]


def is_near(grid: Grid, mosaic: Mosaic, scale: float) -> bool:
    """Both pitches within 2 %."""
    pairs = (grid.x, mosaic.x), (grid.y, mosaic.y)
    return all(abs(seen.pitch / (true.pitch * scale) - 1.0) <= 0.02 for seen, true in pairs)


def scores(path: Path, mosaics: list[Mosaic], scale: float) -> list[tuple[bool, bool]]:
    """Of each frame: box right, and pitch, too."""
    settings = FindConfig()
    found = find_mosaics(frames(path), settings=settings)
    tracked = track(found, settings=TrackConfig(), redetect=redetect_with(settings), is_clean=is_clean)
    out = []
    for item, mosaic in zip(tracked, mosaics, strict=True):
        box = Box(*(v * scale for v in mosaic.box))
        good = [t.region.grid for t in item.regions if t.region.box.iou(box) > 0.8]
        out.append((bool(good), any(g is not None and is_near(g, mosaic, scale) for g in good)))
    return out


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description="mosaics in footage that was scaled after pixelation")
    parser.add_argument("--clips", type=Path, required=True, help="folder of training clips")
    parser.add_argument("--faces", type=Path, required=True, help="centerface.onnx")
    parser.add_argument("--work", type=Path, required=True, help="folder for boxes of faces")
    parser.add_argument("--every", type=int, default=4, help="of the clips every so manieth")
    parser.add_argument("--crf", type=int, nargs="+", default=[18, 26])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)
    detector = CenterFace(options.faces)
    told: dict[tuple[float, str, int, int], list[tuple[bool, bool]]] = {}
    for source in sorted(options.clips.glob("*.mp4"))[:: options.every]:
        rng = random.Random(f"{options.seed}-{source.stem}")
        start, found = faces(source, detector, _FRAMES, options.work)
        whole = [t for t in found if len(t) == _FRAMES]
        if not whole:
            continue
        face = max(whole, key=lambda t: float((t[:, 2] - t[:, 0]).mean()))
        for width, blocks in _SIZES:
            for scale, how in _SCALES:
                before = width / scale
                by = before / float((face[:, 2] - face[:, 0]).mean())
                pictures, rate = read(source, start, start + _FRAMES, by)
                part, boxes = around(pictures[0].shape[:2], face * by, before)
                pictures = [np.ascontiguousarray(p[part]) for p in pictures]
                size = (pictures[0].shape[1], pictures[0].shape[0])
                for crf in options.crf:
                    recipe = Recipe(blocks, rng.random() < 0.5, True, Operator.AREA, crf)
                    mosaics = truth(boxes, recipe, size, rng.randrange(1 << 30))
                    path = options.work / "clip.mp4"
                    scaled = iter(made(pictures, mosaics, scale, how))
                    encode(path, scaled, rate.limit_denominator(1001), recipe.codec, crf)
                    told.setdefault((scale, how, width, crf), []).extend(scores(path, mosaics, scale))
    for (scale, how, width, crf), values in told.items():
        box, pitch = np.mean(values, axis=0)
        print(
            f"x {scale:.2f} {how}, {width} px, crf {crf}: box {box:.3f}, pitch {pitch:.3f} of {len(values)}"
        )
    box, pitch = np.mean([v for values in told.values() for v in values], axis=0)
    print(f"all: box {box:.4f}, pitch {pitch:.4f} of {sum(map(len, told.values()))}")


if __name__ == "__main__":
    main(sys.argv[1:])
