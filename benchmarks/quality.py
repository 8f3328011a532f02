"""What a run gives back, end to end: `python -m benchmarks.quality --clips ../shared/data/videos/test
--faces centerface.onnx`

Clips are pixelated over their faces and encoded, reconstructed by ``vidpipe run``'s own function with its
defaults, and the output file is compared with the original one inside the true mosaic, in RGB. The
baseline is the bicubic interpolation of the cell means of the same pixelated file on the true grid: what
one gets without a network, without a finder and without a second encoding.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.mosaic_clips import CenterFace, Recipe, draw, encode, faces, read, truth
from benchmarks.mosaics import PRODUCT
from nets import pixelation
from pipeline.config import Given, resolve
from pipeline.run.reconstruct import reconstruct
from pipeline.types import Axis
from tests.support.mosaics import Mosaic
from vidpipe.jobs import reconstruct_job

CELLS = 128
SHEET_PX = 200


@dataclass(frozen=True, slots=True)
class Score:
    """One clip under one recipe: PSNR in dB inside the mosaic, means over frames and faces."""

    clip: str
    recipe: str
    blocks: int
    crf: int
    operator: str
    nearest: float
    bicubic: float
    output: float

    @property
    def gain(self) -> float:
        """Of the output file over bicubic interpolation, dB."""
        return self.output - self.bicubic


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8], where: NDArray[np.bool_]) -> float:
    """Of RGB pictures (H, W, 3), over the pixels ``where``, in dB with peak 255."""
    error = (a[where].astype(np.float64) - b[where]) ** 2
    return float(10 * np.log10(255**2 / max(error.mean(), 1e-9)))


def bicubic(picture: NDArray[np.uint8], mosaic: Mosaic) -> NDArray[np.uint8]:
    """The picture with the mosaic's cell means interpolated on its true grid."""
    height, width = picture.shape[:2]
    inside = mosaic.mask(height, width)
    rows, cols = _members(mosaic.y, np.any(inside, 1)), _members(mosaic.x, np.any(inside, 0))
    x = torch.from_numpy(picture.copy()).permute(2, 0, 1).float() / 255
    weight = torch.from_numpy(inside).float().unsqueeze(0)
    means = pixelation.block_means(x, rows, cols, weight)
    present = (pixelation.coverage(rows, cols, weight) > 0).float()
    smooth = pixelation.interpolate(means, rows, cols, present)
    out = (smooth.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return np.where(inside[..., None], out, picture)


def _members(axis: Axis, touched: NDArray[np.bool_]) -> torch.Tensor:
    index = pixelation.axis_index(len(touched), axis.pitch, axis.origin)
    return pixelation.membership(index - int(index[np.flatnonzero(touched)[0]]), CELLS)


def run_one(
    source: Path,
    start: int,
    tracks: list[NDArray[np.float64]],
    recipe: Recipe,
    net: str,
    work: Path,
) -> tuple[Score, NDArray[np.uint8]]:
    """Scores one clip, and a row of the contact sheet: pixelated, bicubic, output, original."""
    frames, rate = read(source, start, start + len(tracks[0]))
    height, width = (s // 2 * 2 for s in frames[0].shape[:2])
    frames = [f[:height, :width] for f in frames]
    per_face = [truth(track, recipe, (width, height), seed=7 + i) for i, track in enumerate(tracks)]
    mosaics = [list(m) for m in zip(*per_face, strict=True)]
    pixelated, output = work / "pixelated.mp4", work / "output.mp4"
    encode(
        pixelated,
        (draw(f, m) for f, m in zip(frames, mosaics, strict=True)),
        rate,
        recipe.codec,
        recipe.crf,
    )
    settings = resolve({"restore.net": Given(net, "--net")})
    reconstruct(reconstruct_job(pixelated, output, settings, overwrite=True), settings, lambda _: None)
    seen, made = (read(p, 0, len(frames))[0] for p in (pixelated, output))
    values: list[tuple[float, float, float]] = []
    row: NDArray[np.uint8] | None = None
    for t, (clean, before, after) in enumerate(zip(frames, seen, made, strict=True)):
        for mosaic in mosaics[t]:
            where = mosaic.mask(height, width)
            smooth = bicubic(before, mosaic)
            values.append(tuple(psnr(x, clean, where) for x in (before, smooth, after)))  # type: ignore[arg-type]
            if t == len(frames) // 2 and row is None:
                row = _row([before, smooth, after, clean], mosaic)
    nearest, smooth_db, output_db = np.mean(values, axis=0)
    score = Score(
        source.stem,
        recipe.name,
        recipe.blocks,
        recipe.crf,
        str(recipe.operator),
        nearest,
        smooth_db,
        output_db,
    )
    assert row is not None
    return score, row


def _row(pictures: list[NDArray[np.uint8]], mosaic: Mosaic) -> NDArray[np.uint8]:
    x0, y0, x1, y1 = mosaic.box
    height, width = pictures[0].shape[:2]
    side = int(0.7 * max(x1 - x0, y1 - y0))
    cx, cy = (x0 + x1) // 2, (y0 + y1) // 2
    cut = (slice(max(cy - side, 0), min(cy + side, height)), slice(max(cx - side, 0), min(cx + side, width)))
    return np.concatenate(
        [cv2.resize(p[cut], (SHEET_PX, SHEET_PX), interpolation=cv2.INTER_AREA) for p in pictures], axis=1
    )


def interval(values: list[float], seed: int = 0) -> tuple[float, float, float]:
    """Mean and 95 % bootstrap interval over clips and recipes."""
    rng = np.random.default_rng(seed)
    sample = np.array(values)
    means = rng.choice(sample, (2000, len(sample))).mean(1)
    return float(sample.mean()), float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--faces", type=Path, required=True, help="centerface.onnx")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--recipes", type=int, default=3, help="drawn for each clip, seeded by its name")
    parser.add_argument("--net", default="auto")
    parser.add_argument("--work", type=Path, default=Path("out/quality"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    detector = CenterFace(options.faces)
    scores: list[Score] = []
    rows = []
    for path in sorted(options.clips.glob("*.mp4")):
        start, tracks = faces(path, detector, options.frames, options.work)
        if not tracks:
            continue
        for recipe in random.Random(path.stem).sample(PRODUCT, options.recipes):
            score, row = run_one(path, start, tracks, recipe, options.net, options.work)
            scores.append(score)
            rows.append(row)
            print(
                f"{path.stem:44} {recipe.name:44} {score.bicubic:6.2f} {score.output:6.2f} {score.gain:+.2f}",
                flush=True,
            )
    groups: dict[str, list[float]] = defaultdict(list)
    for score in scores:
        for key in ("all", f"{score.blocks} blocks", f"crf {score.crf}", score.operator):
            groups[key].append(score.gain)
    for key, gains in groups.items():
        mean, low, high = interval(gains)
        print(f"gain over bicubic, {key}: {mean:+.2f} dB [{low:+.2f}, {high:+.2f}], n = {len(gains)}")
    for i in range(0, len(rows), 8):
        cv2.imwrite(str(options.work / f"sheet_{i // 8}.png"), np.concatenate(rows[i : i + 8])[..., ::-1])
    if options.json:
        options.json.write_text(json.dumps([asdict(s) | {"gain": s.gain} for s in scores], indent=1))


if __name__ == "__main__":
    main()
