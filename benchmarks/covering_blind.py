"""Sheets of two coverings side by side with the names hidden, for a person to choose from.

    python -m benchmarks.covering_blind CLIP... --reports DIR --out DIR --seed N

DIR/CLIP.pixelize.json are reports as ``benchmarks.covering --keep`` leaves them; deface is run, or its
detections are taken from ``--cache``. Both are painted the same way, a mosaic of 6 blocks across a box, so
that only the place and size of masks tell them apart. Which of them is A is drawn for each clip by the seed
and written to ``key.json``: judge the sheets before you open it. They show people and are never committed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from benchmarks.covering import Masks, deface_masks, masks_of
from benchmarks.covering_measure import Painted
from pipeline.run.anonymize_sidecar import read_report

_FRAMES = 6
_WIDTH_PX = 620
_BLOCKS = 6


def painted(picture: NDArray[np.uint8], masks: list[Painted]) -> NDArray[np.uint8]:
    """(H, W, 3) with the means of blocks under each mask."""
    out, (height, width) = picture.copy(), picture.shape[:2]
    for mask in masks:
        box = mask.box.scaled(mask.scale)
        x0, y0 = max(round(box.x0), 0), max(round(box.y0), 0)
        x1, y1 = min(round(box.x1), width), min(round(box.y1), height)
        if x0 >= x1 or y0 >= y1:
            continue
        cell = max(min(mask.box.width, mask.box.height) / _BLOCKS, 1.0)
        blocks = (max(round((x1 - x0) / cell), 1), max(round((y1 - y0) / cell), 1))
        small = cv2.resize(picture[y0:y1, x0:x1], blocks, interpolation=cv2.INTER_AREA)
        means = cv2.resize(small, (x1 - x0, y1 - y0), interpolation=cv2.INTER_NEAREST)
        (cx, cy), wide, high = box.centre, box.width / 2, box.height / 2
        y, x = np.mgrid[y0:y1, x0:x1] + 0.5
        inside = (
            ((x - cx) / wide) ** 2 + ((y - cy) / high) ** 2 < 1 if mask.ellipse else np.ones(x.shape, bool)
        )
        out[y0:y1, x0:x1][inside] = means[inside]
    return out


def pair(clip: Path, a: Masks, b: Masks) -> Image.Image:
    """Frames evenly over what both have, A on the left and B on the right."""
    count = min(len(a), len(b))
    wanted = {int((i + 0.5) * count / _FRAMES) for i in range(_FRAMES)}
    rows: list[NDArray[np.uint8]] = []
    with av.open(clip) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index in wanted:
                picture = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
                both = np.concatenate([painted(picture, a[index]), painted(picture, b[index])], axis=1)
                height = round(both.shape[0] * 2 * _WIDTH_PX / both.shape[1])
                rows.append(np.asarray(cv2.resize(both, (2 * _WIDTH_PX, height)), np.uint8))
    out = Image.fromarray(np.concatenate(rows))
    ImageDraw.Draw(out).text((5, 3), "A", fill="yellow", stroke_width=2, stroke_fill="black")
    ImageDraw.Draw(out).text((_WIDTH_PX + 5, 3), "B", fill="yellow", stroke_width=2, stroke_fill="black")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--reports", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "vidpipe-deface")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    generator, key = np.random.default_rng(given.seed), {}
    given.out.mkdir(parents=True, exist_ok=True)
    for clip in given.clips:
        ours = masks_of(read_report(given.reports / f"{clip.stem}.pixelize.json"))
        sides = [("vidpipe", ours), ("deface", deface_masks(clip, given.cache))]
        if generator.integers(2):
            sides.reverse()
        (key[clip.stem], a), (_, b) = sides
        pair(clip, a, b).save(given.out / f"{clip.stem}.png")
    (given.out / "key.json").write_text(json.dumps({"A": key}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
